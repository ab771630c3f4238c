//! Formatting of values and names in messages.

use crate::tree::{Kind, Node, Span};
use prony_diagnostic::Diagnostic;

/// Maximum number of alternatives listed in a message.
const LISTED: usize = 8;
/// Maximum length of a quoted text, in characters.
const QUOTED: usize = 60;

/// A text in backticks, on one line, shortened to fit a message.
pub fn literal(text: &str) -> String {
    let mut out = String::from("`");
    for (count, c) in text.chars().enumerate() {
        if count == QUOTED {
            out.push('…');
            break;
        }
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out.push('`');
    out
}

/// A text in YAML quotes, valid wherever it is put.
pub(crate) fn quoted(text: &str) -> String {
    if text.contains(|c: char| c.is_control()) {
        serde_json::Value::from(text).to_string()
    } else if text.contains(['"', '\\']) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        format!("\"{text}\"")
    }
}

/// Sorts names by their distance to a word, nearest first.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ranked: Vec<_> = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&shorten(word), name), name))
        .collect();
    ranked.sort_by_key(|(distance, _)| *distance);
    ranked.into_iter().map(|(_, name)| name).collect()
}

/// The name that was probably meant: the same in another case, one that starts with the
/// word, or one that differs in a few letters.
pub fn similar<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Minimum prefix length: shorter words match too much.
    const MIN_PREFIX: usize = 3;
    // The word itself is no help if it is wrong there.
    let names: Vec<&str> = names.into_iter().filter(|name| *name != word).collect();
    let lower = shorten(word).to_lowercase();
    if let Some(name) = names
        .iter()
        .copied()
        .find(|name| name.to_lowercase() == lower)
    {
        return Some(name);
    }
    let name = nearest(&lower, names.iter().copied()).into_iter().next()?;
    let distance = strsim::damerau_levenshtein(&lower, name);
    let mut longer = names.iter().copied().filter(|name| {
        // A path with one more part is another name.
        let rest = name.strip_prefix(&*lower);
        rest.is_some_and(|rest| !rest.contains('.'))
    });
    if distance > 1
        && lower.chars().count() >= MIN_PREFIX
        && let (Some(only), None) = (longer.next(), longer.next())
    {
        return Some(only);
    }
    let length = name.chars().count();
    // A two-letter word is no slip: `if` is not meant to be `id`.
    let is_word = length.max(lower.chars().count()) > 2;
    let is_slip = is_word && distance <= 1 + length / 4 && distance < length;
    is_slip.then_some(name)
}

/// The names that could stand in the place of a word, nearest first, after a heading.
pub(crate) fn alternatives(heading: &str, word: &str, names: &[&str]) -> String {
    format!("{heading}: {}", list(&nearest(word, names.iter().copied())))
}

/// Offers to put the name that was probably meant in the place of the span, since it
/// `exists`; without one the way out is `otherwise`.
pub(crate) fn offer(
    problem: Diagnostic,
    meant: Option<&str>,
    span: &Span,
    exists: impl Into<String>,
    otherwise: &str,
) -> Diagnostic {
    match meant {
        Some(meant) => problem.suggest(exists, span.clone(), meant),
        None => problem.help(otherwise),
    }
}

/// Bounds the cost, which is the product of both lengths.
fn shorten(word: &str) -> String {
    word.chars().take(QUOTED).collect()
}

/// Names in backticks with commas, the excess as a number.
pub fn list(names: &[&str]) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(LISTED)
        .map(|name| literal(name))
        .collect();
    let shown = shown.join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The type of a value, with the value if it is short.
pub fn found(node: &Node) -> String {
    match &node.kind {
        Kind::Null => "nothing".into(),
        Kind::Bool(value) => format!("the boolean `{value}`"),
        Kind::Number(value) => {
            let value = node
                .written
                .as_deref()
                .map_or_else(|| value.to_string(), str::to_owned);
            format!("the number {}", literal(&value))
        }
        Kind::String(value) if node.written.is_some() => format!("the number {}", literal(value)),
        Kind::String(value) => format!("the string {}", literal(value)),
        Kind::List(items) if items.is_empty() => "an empty list".into(),
        Kind::List(_) => "a list".into(),
        Kind::Map(entries) if entries.is_empty() => "an empty mapping".into(),
        Kind::Map(_) => "a mapping".into(),
    }
}

/// A noun with `a` or `an` before it.
pub(crate) fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u', 'A']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {noun}")
}
