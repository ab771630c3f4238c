//! The wording of schema errors.

use prony_diagnostic::Diagnostic;
use prony_result::Group;
use serde_json::Value;

use crate::template::is_template;
use crate::tree::{Entry, Found, Kind, Node};
use crate::wording::{
    alternatives, found as what, list, literal, offer, quoted, similar, with_article,
};
use crate::yaml::scalar;
use crate::{codes, duration};

/// Patterns of the names under a section, and of stages and variables, with a
/// description.
pub(super) const FORMS: [(&str, &str); 6] = [
    (
        "^[a-z][a-z0-9_]*$",
        "lower-case letters, digits and `_`, with a letter first",
    ),
    (
        "^[A-Za-z_][A-Za-z0-9_]*$",
        "letters, digits and `_`, with no digit first",
    ),
    (
        "^[a-z0-9][a-z0-9._-]*$",
        "lower-case letters, digits, `.`, `_` and `-`, with a letter or digit first",
    ),
    ("^[0-9a-f]{64}$", "64 lower-case hexadecimal digits"),
    ("^[FP][0-9]{4}$", "`F` or `P` and four digits"),
    (
        "^(~|\\.{1,2})?/",
        "a path that begins with `/`, `./`, `../` or `~/`",
    ),
];

/// Roots of template names: a text that contains one of them is an expression.
const ROOTS: [&str; 8] = [
    "vars.",
    "env.",
    "matrix.",
    "stages.",
    "model.",
    "engine.",
    "prony.",
    "pipeline.",
];

/// A key that identifies an alternative, and its content.
pub(super) struct Form<'s> {
    pub(super) tag: &'s str,
    pub(super) value: &'s Value,
}

impl Form<'_> {
    fn is(&self, kind: &str) -> bool {
        self.value.get("type").is_some_and(|one| one == kind)
    }

    /// For example `measure: {}`.
    fn example(&self) -> String {
        format!("{}: {}", self.tag, placeholder(self.value))
    }
}

/// Other names of an option, in a plugin's schema: words with `_` between them.
const ALIASES: &str = "x-prony-aliases";

/// Reports a key that is another name of an option, such as the engine's own, if it is one.
pub(super) fn other_name(entry: &Entry, schema: &Value, node: &Node) -> Option<Diagnostic> {
    let word = entry.key.trim_start_matches('-').replace('-', "_");
    let options = schema.get("properties")?.as_object()?;
    let (name, _) = options.iter().find(|(_, option)| {
        let aliases = option.get(ALIASES).and_then(Value::as_array);
        aliases.is_some_and(|all| all.iter().any(|alias| *alias == *word))
    })?;
    let (key, option) = (literal(&entry.key), literal(name));
    let problem = Diagnostic::error(codes::UNKNOWN_KEY, format!("unknown key {key}"))
        .at(entry.key_span.clone(), format!("is {option} here"));
    Some(if node.entry(name).is_some() {
        problem.help(format!("{option} is given, too: remove {key}"))
    } else {
        problem.suggest(format!("write {option}"), entry.key_span.clone(), name)
    })
}

/// Reports an unknown key. `is_only` states that it has no unknown siblings.
pub(super) fn unknown_key(
    entry: &Entry,
    found: &Found<'_>,
    known: &[&str],
    is_only: bool,
) -> Diagnostic {
    let key = literal(&entry.key);
    let problem = Diagnostic::error(codes::UNKNOWN_KEY, format!("unknown key {key}"))
        .at(entry.key_span.clone(), "not a known key");
    let guess = similar(&entry.key, known.iter().copied());
    if guess.is_none() && known.contains(&"config") {
        let problem = problem.note("the options of a plugin stand under `config`");
        let message = "put it under `config`";
        let is_single = is_only && found.node.entry("config").is_none();
        let span = entry.key_span.start..entry.value.span.end;
        if !is_single || span.start >= span.end {
            return problem.help(message);
        }
        let value = inline(&entry.value);
        return problem.suggest(
            message,
            span,
            format!("config: {{ {}: {value} }}", entry.key),
        );
    }
    if entry.key == "if" && known.contains(&"on_failure") {
        return problem
            .note("`load`, `unload` and `report` have no condition: what is loaded is unloaded, and there is always a result")
            .help("put the `if` on `warmup`, `measure` or a step; `exclude` in the matrix leaves out an engine or a model, and `enabled: false` a model");
    }
    if entry.key.bytes().all(|b| b.is_ascii_digit()) && entry.value.kind.is_null() {
        return problem.help("write a number without `,`, which ends it here");
    }
    if entry.key == "retry" && known.contains(&"on_failure") {
        return problem
            .note("a stage is not tried again: a start or a request that failed counts")
            .help("put `retry` on a step in `before` or `after`");
    }
    misspelt(problem, entry, known, "key")
}

/// The message for a missing required key.
pub(crate) fn missing_message(property: &str) -> String {
    format!("missing key {}", literal(property))
}

pub(super) fn missing_key(property: &str, found: &Found<'_>, schema: Option<&Value>) -> Diagnostic {
    let name = literal(property);
    let label = match found.key {
        Some(entry) => format!("{} needs {name}", literal(&entry.key)),
        None => format!("{name} must be given here"),
    };
    let value = placeholder(schema.unwrap_or(&Value::Null));
    Diagnostic::error(codes::MISSING_KEY, missing_message(property))
        .at(found.name_span(), label)
        .help(format!("add `{property}: {value}`"))
}

/// Reports that none of the keys is given of which one must be.
pub(super) fn none_given(found: &Found<'_>, keys: &[&str]) -> Diagnostic {
    let message = match keys {
        [one, other] => format!("neither {} nor {} is given", literal(one), literal(other)),
        keys => format!("none of {} is given", list(keys)),
    };
    let label = match found.key {
        Some(entry) => format!("{} needs one of them", literal(&entry.key)),
        None => "one of them is needed here".to_owned(),
    };
    Diagnostic::error(codes::MISSING_KEY, message)
        .at(found.name_span(), label)
        .help(format!("give one of {}", both(keys)))
}

/// Reports several keys of which only one may be given.
pub(super) fn several_given(found: &Found<'_>, keys: &[&str]) -> Option<Diagnostic> {
    let entries = found.node.entries().iter();
    let mut given = entries.filter(|entry| keys.contains(&entry.key.as_str()));
    let (first, second) = (given.next()?, given.next()?);
    let message = format!(
        "{} and {} exclude each other",
        literal(&first.key),
        literal(&second.key)
    );
    Some(
        Diagnostic::error(codes::SCHEMA, message)
            .at(
                second.key_span.clone(),
                format!("{} here", literal(&second.key)),
            )
            .and(
                first.key_span.clone(),
                format!("{} here", literal(&first.key)),
            )
            .help(format!("give one of {}", both(keys))),
    )
}

/// Names in backticks with `and` before the last.
fn both(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
    match names.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        all => all.concat(),
    }
}

/// Reports a value of the wrong type. `item` is the schema of a list's items.
pub(super) fn wrong_type(found: &Found<'_>, schema: &Value, item: Option<&Value>) -> Diagnostic {
    let types = types(schema);
    let expected = match title(schema) {
        Some(title) if types == ["string"] => with_article(title),
        _ => either(types.iter().map(|t| type_name(t))),
    };
    let problem = Diagnostic::error(
        codes::WRONG_TYPE,
        format!("{} must be {expected}", name(found)),
    )
    .at(value_span(found), format!("found {}", what(found.node)));
    let span = found.node.span.clone();
    if let Some(way) = of_template(found.node, &types) {
        return problem.help(way);
    }
    match conversion(found, schema, item) {
        Some((message, text)) if !span.is_empty() => problem.suggest(message, span, text),
        _ => problem.help(conversion_in_words(found, &types, &expected)),
    }
}

/// The way from a text that a template gave to the number or the boolean that is wanted.
fn of_template(node: &Node, types: &[&str]) -> Option<&'static str> {
    let text = node.text()?;
    // What is written takes more than the text and its quotes.
    let is_written = node.span.len() <= text.len() + "''".len();
    if is_written {
        return None;
    }
    let is_number = types.contains(&"integer") || types.contains(&"number");
    if is_number && number(text.trim(), types.contains(&"number")).is_some() {
        return Some(if types.contains(&"number") {
            "the template gives a text: write the variable without quotes, and nothing beside the template"
        } else {
            "the template gives a text: write the variable without quotes, and nothing beside the template; of what is always a text `| int` makes a whole number: `${{ env.NAME | int }}`"
        });
    }
    (types.contains(&"boolean") && truth(text).is_some()).then_some(
        "the template gives a text: write the variable without quotes, as `true` or `false`; compare what is always a text: `${{ env.NAME == 'true' }}`",
    )
}

/// Guesses what was meant by a value of the wrong type: the reason, and the text to use.
fn conversion(
    found: &Found<'_>,
    schema: &Value,
    item: Option<&Value>,
) -> Option<(&'static str, String)> {
    let types = types(schema);
    let wants = |name| types.contains(&name);
    let node = found.node;
    if let Kind::Number(number) = &node.kind
        && title(schema) == Some("duration")
    {
        let meant = duration::meant(&number.to_string())?;
        let text = match number.as_u64() {
            Some(seconds) => format!("{seconds}s"),
            None => meant.to_string(),
        };
        return Some(("give a unit: `ms`, `s`, `m` or `h`", text));
    }
    if let Some(text) = node.text() {
        let quotes = "remove the quotes";
        if wants("boolean")
            && let Some(value) = truth(text)
        {
            let value = value.to_string();
            let message = if value == text {
                quotes
            } else {
                "in YAML 1.2 it is a text; write the boolean"
            };
            return Some((message, value));
        }
        if (wants("integer") || wants("number"))
            && let Some(number) = number(text, wants("number"))
        {
            let message = if number == text {
                quotes
            } else {
                "in YAML 1.2 it is a text; write the number"
            };
            return Some((message, number));
        }
        if is_expression(text) {
            let template = format!("${{{{ {} }}}}", text.trim());
            return Some(("make it a template", quoted(&template)));
        }
    }
    let is_scalar = !matches!(node.kind, Kind::Null | Kind::List(_) | Kind::Map(_));
    let takes = |schema: &Value| schema.get("type").is_some() && has_type(&node.kind, schema);
    if is_scalar && wants("array") && item.is_some_and(takes) {
        if let Some(words) = node.text().and_then(flags) {
            let words: Vec<String> = words.into_iter().map(quoted).collect();
            return Some(("make it a list of words", format!("[{}]", words.join(", "))));
        }
        return Some(("make it a list", format!("[{}]", inline(node))));
    }
    if let [entry] = node.entries()
        && wants("string")
        && found.item_of.is_some()
        && entry.key_span.start < entry.value.span.end
        && let Some(words) = entry.value.words()
    {
        let text = format!("{}: {words}", entry.key);
        return Some(("a text with `: ` in it needs quotes", quoted(&text)));
    }
    if let Some(text) = node.text()
        && wants("object")
        && let Some([Value::String(key)]) = schema
            .get("required")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
        && self::types(&schema["properties"][key]).contains(&"string")
    {
        return Some((
            "make it a mapping that says what it is",
            format!("{{ {key}: {} }}", quoted(text)),
        ));
    }
    None
}

fn conversion_in_words(found: &Found<'_>, types: &[&str], expected: &str) -> String {
    let wants = |name| types.contains(&name);
    if (wants("integer") || wants("number"))
        && let Some(number) = found.node.text().and_then(in_full)
    {
        return format!("write the number in full: `{number}`");
    }
    let is_root = found.key.is_none() && found.item_of.is_none();
    let text = match &found.node.kind {
        Kind::Null if wants("object") => {
            "write `{}` for a mapping without entries, or indent its keys below it"
        }
        Kind::Null if found.item_of.is_some() => "give a value, or remove the item",
        Kind::Null => "give a value, or leave the key out",
        Kind::Bool(_) | Kind::Number(_) if wants("string") => {
            "put it in quotes to make it a string"
        }
        Kind::Number(_) if wants("integer") => "round it to a whole number",
        _ if is_root => "start with `version: 1` and the other keys, without `-` before them",
        Kind::List(_) if wants("object") => {
            "write `NAME: VALUE` for each entry, without `-` or `[` and `]`"
        }
        Kind::Map(_) if wants("array") => "put `-` before each item, or all into `[` and `]`",
        Kind::Map(_) if wants("string") && found.item_of.is_some() => {
            "write a text; one with `: ` in it needs quotes"
        }
        Kind::List(_) | Kind::Map(_) => "write a single value",
        _ if wants("boolean") => {
            "write `true`, `false` or a template that gives one, such as `\"${{ vars.NAME }}\"`"
        }
        _ if wants("object") => "write `NAME: VALUE` for each entry",
        _ => return format!("write {expected}"),
    };
    text.to_owned()
}

/// Reads a text as `true` or `false` as in other versions of YAML, or in quotes.
fn truth(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "yes" | "on" | "y" | "true" => Some(true),
        "no" | "off" | "n" | "false" => Some(false),
        _ => None,
    }
}

/// Reads a number in quotes, or with separators between its digits.
fn number(text: &str, fraction: bool) -> Option<String> {
    let groups: Vec<&str> = text.trim().split(['_', ',', ' ']).collect();
    let in_thousands = groups[1..].iter().all(|group| group.len() == 3);
    if !in_thousands && text.contains([',', ' ']) {
        return None;
    }
    let number = groups.concat();
    match scalar::resolve(&number) {
        (Kind::Number(value), _) => (fraction || !value.is_f64()).then_some(number),
        _ => None,
    }
}

/// Reads a text such as `10k` or `1.5M`, if it is a whole number.
fn in_full(text: &str) -> Option<u64> {
    /// Every whole number up to here has an exact float.
    const MAX_EXACT: f64 = 1e15;
    let text = text.trim();
    let (digits, factor) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 1e3),
        (at, 'M') => (&text[..at], 1e6),
        _ => return None,
    };
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let number = digits.trim_end();
    let number = number.chars().all(is_number).then(|| number.parse::<f64>());
    let number = number?.ok()? * factor;
    (number.fract() == 0.0 && number < MAX_EXACT).then_some(number as u64)
}

/// The words of a text that looks like a command line.
fn flags(text: &str) -> Option<Vec<&str>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_simple = !text.contains(['"', '\'', '\\']);
    let has_flag = words.iter().any(|word| word.starts_with('-'));
    (words.len() > 1 && is_simple && has_flag).then_some(words)
}

fn is_expression(text: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let mut words = text.split(|c| !is_word(c));
    words.any(|word| {
        ROOTS
            .iter()
            .any(|root| word.len() > root.len() && word.starts_with(root))
    })
}

pub(super) fn unknown_value(found: &Found<'_>, schema: &Value, options: &[&Value]) -> Diagnostic {
    let given = found.node.to_json();
    let kind = std::mem::discriminant(&given);
    let is_other = options.iter().all(|o| std::mem::discriminant(*o) != kind);
    let options: Vec<String> = options.iter().map(|option| plain(option)).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    if is_other {
        let expected = title(schema).map_or_else(|| "one of several".into(), with_article);
        let message = format!("{} must be {expected}", name(found));
        let help = match found.node.kind {
            Kind::Null if found.key.is_some() => "write one of them, or leave the key out",
            _ => "write one of them",
        };
        return Diagnostic::error(codes::WRONG_TYPE, message)
            .at(value_span(found), format!("found {}", what(found.node)))
            .note(format!("known: {}", list(&options)))
            .help(help);
    }
    let given = plain(&given);
    let thing = match title(schema) {
        Some(title) => title.to_owned(),
        None => name(found),
    };
    let message = format!("unknown {thing} {}", literal(&given));
    let problem = Diagnostic::error(codes::UNKNOWN_VALUE, message)
        .at(value_span(found), "not one of the alternatives");
    let problem = if title(schema) == Some("metric") {
        metrics(problem)
    } else {
        problem.note(alternatives("known", &given, &options))
    };
    offer(
        problem,
        similar(&given, options.iter().copied()),
        &found.node.span,
        "an alternative with a similar name exists",
        "write one of them",
    )
}

/// Adds the list of metrics that can be bounded: too long for a line.
fn metrics(problem: Diagnostic) -> Diagnostic {
    Group::ALL.into_iter().fold(problem, |problem, group| {
        let bounded = group.metrics().filter(|it| it.is_bounded);
        let names: Vec<String> = bounded.map(|it| literal(it.name)).collect();
        problem.note(format!("{}: {}", group.name(), names.join(", ")))
    })
}

pub(super) fn not_constant(found: &Found<'_>, expected: &Value) -> Diagnostic {
    let expected = plain(expected);
    let message = format!("{} must be {}", name(found), literal(&expected));
    let problem = Diagnostic::error(codes::UNKNOWN_VALUE, message)
        .at(value_span(found), format!("found {}", what(found.node)));
    let span = found.node.span.clone();
    if span.is_empty() {
        problem.help(format!("write {}", literal(&expected)))
    } else {
        problem.suggest("write the one value there is", span, expected)
    }
}

pub(super) fn unknown_tag(entry: &Entry, schema: &Value, tags: &[&str]) -> Diagnostic {
    let thing = title(schema).unwrap_or("alternative");
    let message = format!("unknown {thing} {}", literal(&entry.key));
    let problem = Diagnostic::error(codes::UNKNOWN_VALUE, message).at(
        entry.key_span.clone(),
        format!("not {}", with_article(thing)),
    );
    misspelt(problem, entry, tags, thing)
}

pub(super) fn no_tag(found: &Found<'_>, schema: &Value, forms: &[Form<'_>]) -> Diagnostic {
    let thing = title(schema).map_or_else(|| name(found), with_article);
    let known: Vec<&str> = forms.iter().map(|form| form.tag).collect();
    let problem = Diagnostic::error(
        codes::WRONG_TYPE,
        format!("{thing} must be a mapping with one key"),
    )
    .at(value_span(found), format!("found {}", what(found.node)))
    .note(format!("known: {}", list(&known)));
    let message = "write it as a mapping with one key";
    // A bare name in a list needs no braces.
    let edit = |form: String| match found.item_of {
        Some(_) => form,
        None => format!("{{ {form} }}"),
    };
    let span = found.node.span.clone();
    if let Some(text) = found.node.text()
        && let Some(form) = forms.iter().find(|form| form.tag == text)
    {
        return problem.suggest(message, span, edit(form.example()));
    }
    let is_scalar = !matches!(found.node.kind, Kind::Null | Kind::List(_) | Kind::Map(_));
    let takes = |form: &&Form<'_>| {
        form.value.get("type").is_some() && has_type(&found.node.kind, form.value)
    };
    let mut taking = forms.iter().filter(takes);
    if is_scalar && let (Some(form), None) = (taking.next(), taking.next()) {
        let text = format!("{}: {}", form.tag, inline(found.node));
        return problem.suggest(message, span, edit(text));
    }
    match forms.first() {
        Some(form) => problem.help(format!("{message}, such as `{}`", form.example())),
        None => problem.help(message),
    }
}

pub(super) fn several_tags(
    found: &Found<'_>,
    entries: &[Entry],
    schema: &Value,
    forms: &[Form<'_>],
) -> Diagnostic {
    let thing = title(schema).unwrap_or("alternative");
    let whole = title(schema).map_or_else(|| name(found), with_article);
    let form = |entry: &Entry| forms.iter().find(|form| form.tag == entry.key);
    let first = entries.iter().find(|entry| form(entry).is_some());
    let first = first.unwrap_or(&entries[0]);
    let is_other = |entry: &&Entry| entry.key != first.key;
    let other = entries.iter().find(is_other).unwrap_or(first);
    let (first_name, other_name) = (literal(&first.key), literal(&other.key));
    let problem = Diagnostic::error(
        codes::WRONG_TYPE,
        format!("{whole} must be a mapping with one key"),
    )
    .at(other.key_span.clone(), format!("a key beside {first_name}"))
    .and(first.key_span.clone(), format!("the {thing}"));
    match (form(first), form(other)) {
        (None, _) => {
            let known: Vec<&str> = forms.iter().map(|form| form.tag).collect();
            problem.help(format!("write one of {}", list(&known)))
        }
        (_, Some(_)) if found.item_of.is_some() => problem.help(format!(
            "give {other_name} an item of its own, starting with `-`"
        )),
        (_, Some(_)) => problem.help(format!("keep {first_name} or {other_name}")),
        (Some(form), None) if form.is("object") => problem.help(format!(
            "indent {other_name} further to put it into {first_name}"
        )),
        (Some(form), None) => {
            let value = &first.value;
            let given = has_type(&value.kind, form.value) || value.text().is_some_and(is_template);
            let whole = if given {
                format!("{}: {}", first.key, inline(value))
            } else {
                form.example()
            };
            problem.help(format!("remove {other_name}: all of it is `{whole}`"))
        }
    }
}

pub(super) fn no_alternative(found: &Found<'_>, branches: &[Value]) -> Diagnostic {
    let form = |branch: &Value| {
        let words = branch.get("enum").and_then(Value::as_array);
        match words.map(|words| words.iter().map(|it| literal(&plain(it)))) {
            Some(words) => Some(words.collect::<Vec<String>>().join(" or ")),
            None => Some(type_name(branch.get("type")?.as_str()?).to_owned()),
        }
    };
    let forms: Option<Vec<String>> = branches.iter().map(form).collect();
    let (message, help) = match forms {
        Some(forms) => {
            let expected = either(forms.iter().map(String::as_str));
            let message = format!("{} must be {expected}", name(found));
            (message, format!("write {expected}"))
        }
        None => (
            format!("{} fits none of its alternatives", name(found)),
            WHERE_RULES_ARE.to_owned(),
        ),
    };
    Diagnostic::error(codes::WRONG_TYPE, message)
        .at(value_span(found), format!("found {}", what(found.node)))
        .help(help)
}

pub(super) fn pattern(found: &Found<'_>, schema: &Value, pattern: &str) -> Diagnostic {
    let text = found.node.text().unwrap_or_default();
    let message = match title(schema) {
        Some(title) => format!("{} is not {}", literal(text), with_article(title)),
        None => format!("{} is not allowed as {}", literal(text), name(found)),
    };
    let problem = Diagnostic::error(codes::OUT_OF_RANGE, message)
        .at(value_span(found), "not of the form that is needed");
    let span = found.node.span.clone();
    if let Some((_, form)) = FORMS.iter().find(|(known, _)| *known == pattern) {
        // A list holds names of things defined elsewhere: not ours to choose.
        let meant = identifier(text, pattern).filter(|_| found.item_of.is_none());
        return match meant {
            Some(meant) => problem.suggest(format!("use {form}"), span, meant),
            None => problem.help(format!("use {form}")),
        };
    }
    if let Some(form) = schema.get("patternErrorMessage").and_then(Value::as_str) {
        return problem.help(form);
    }
    let problem = match schema.get("description").and_then(Value::as_str) {
        Some(text) => problem.note(sentence(text)),
        None => problem.note(format!("the form as a regular expression: `{pattern}`")),
    };
    if title(schema) != Some("duration") {
        return problem.help("write it in that form");
    }
    match duration::meant(text) {
        Some(meant) => problem.suggest("write one number and one unit", span, meant.to_string()),
        None => problem.help(duration::forms(text)),
    }
}

/// Reports a key that does not match the pattern of its mapping.
pub(super) fn key_pattern(entry: &Entry, found: &Found<'_>, pattern: &str) -> Diagnostic {
    let message = format!(
        "{} is not allowed as a key of {}",
        literal(&entry.key),
        name(found)
    );
    let problem = Diagnostic::error(codes::OUT_OF_RANGE, message)
        .at(entry.key_span.clone(), "not of the form that is needed");
    let form = FORMS.iter().find(|(known, _)| *known == pattern);
    match (form, identifier(&entry.key, pattern)) {
        (Some((_, form)), Some(meant)) => {
            problem.suggest(format!("use {form}"), entry.key_span.clone(), meant)
        }
        (Some((_, form)), None) => problem.help(format!("use {form}")),
        (None, _) => problem
            .note(format!("the form as a regular expression: `{pattern}`"))
            .help("write it in that form"),
    }
}

/// The nearest name allowed by one of the patterns for names.
fn identifier(text: &str, pattern: &str) -> Option<String> {
    let (upper, others, filler) = match FORMS.iter().position(|(known, _)| *known == pattern)? {
        0 => (false, "_", '_'),
        1 => (true, "_", '_'),
        2 => (false, "._-", '-'),
        _ => return None,
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    let mapped = text.trim().chars().map(|c| match c {
        c if !allowed(c) => filler,
        c if upper => c,
        c => c.to_ascii_lowercase(),
    });
    let mapped: String = mapped.collect();
    let is_first = |c: char| c.is_ascii_alphabetic() || filler == '-' && c.is_ascii_digit();
    let name = &mapped[mapped.find(is_first)?..];
    Some(name.trim_end_matches(filler).to_owned())
}

pub(super) fn bound(found: &Found<'_>, relation: &str, limit: &Value) -> Diagnostic {
    let message = format!("{} must be {relation} {limit}", name(found));
    let help = match relation {
        "at least" => format!("use {limit} or more"),
        "at most" => format!("use {limit} or less"),
        _ => format!("use a number {relation} {limit}"),
    };
    Diagnostic::error(codes::OUT_OF_RANGE, message)
        .at(value_span(found), format!("found {}", what(found.node)))
        .help(help)
}

pub(super) fn empty(found: &Found<'_>) -> Diagnostic {
    let help = match found.node.kind {
        Kind::List(_) => "put an item into it",
        Kind::Map(_) => "put an entry into it",
        _ => "give it a text",
    };
    Diagnostic::error(
        codes::OUT_OF_RANGE,
        format!("{} must not be empty", name(found)),
    )
    .at(value_span(found), "empty")
    .help(help)
}

/// Reports a value with too many or too few elements.
pub(super) fn size(found: &Found<'_>, relation: &str, limit: u64) -> Diagnostic {
    let (count, one, several) = match &found.node.kind {
        Kind::List(items) => (items.len(), "item", "items"),
        Kind::Map(entries) => (entries.len(), "entry", "entries"),
        _ => {
            let text = found.node.text().unwrap_or_default();
            (text.chars().count(), "character", "characters")
        }
    };
    let counted = |count: u64| {
        let noun = if count == 1 { one } else { several };
        format!("{count} {noun}")
    };
    let message = format!("{} must have {relation} {}", name(found), counted(limit));
    let verb = if relation == "at most" {
        "take out"
    } else {
        "add"
    };
    let difference = limit.abs_diff(count as u64);
    Diagnostic::error(codes::OUT_OF_RANGE, message)
        .at(value_span(found), counted(count as u64))
        .help(format!("{verb} {}", counted(difference)))
}

/// Reports repeated items of a list.
pub(super) fn repeated(found: &Found<'_>) -> Option<Diagnostic> {
    let items = found.node.items();
    let values: Vec<Value> = items.iter().map(Node::to_json).collect();
    let (second, first) = values.iter().enumerate().find_map(|(index, value)| {
        let first = values[..index].iter().position(|other| other == value)?;
        Some((index, first))
    })?;
    let message = format!("{} must not have an item twice", name(found));
    Some(
        Diagnostic::error(codes::OUT_OF_RANGE, message)
            .at(items[second].span.clone(), "given again")
            .and(items[first].span.clone(), "first given here")
            .help("keep one of the two"),
    )
}

pub(super) fn other(found: &Found<'_>, reason: &str) -> Diagnostic {
    Diagnostic::error(
        codes::SCHEMA,
        format!("{} is not allowed: {reason}", name(found)),
    )
    .at(value_span(found), format!("found {}", what(found.node)))
    .help(WHERE_RULES_ARE)
}

const WHERE_RULES_ARE: &str = "see the rule in `prony schema plugin NAME` for a plugin's options, or else in `prony schema pipeline`";

/// Adds the known names, and the one that was probably meant.
fn misspelt(problem: Diagnostic, entry: &Entry, known: &[&str], thing: &str) -> Diagnostic {
    if known.is_empty() {
        return problem.help(format!("remove {}", literal(&entry.key)));
    }
    offer(
        problem.note(alternatives("known", &entry.key, known)),
        similar(&entry.key, known.iter().copied()),
        &entry.key_span,
        format!("{} with a similar name exists", with_article(thing)),
        "write one of the known ones, or remove it",
    )
}

/// Name of a value in messages: its key or that of its list.
fn name(found: &Found<'_>) -> String {
    match (found.key, found.item_of) {
        (Some(entry), _) => literal(&entry.key),
        (None, Some(list)) => format!("an item of {}", literal(&list.key)),
        (None, None) => "a pipeline".into(),
    }
}

/// A value on one line.
fn inline(node: &Node) -> String {
    match node.text() {
        Some(text) => quoted(text),
        None => node.to_json().to_string(),
    }
}

pub(super) fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one.as_str()],
        _ => Vec::new(),
    }
}

/// An example value that fits a schema.
fn placeholder(schema: &Value) -> String {
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    match types(schema)[..] {
        ["object"] if schema.get("properties").is_some() && schema.get("required").is_none() => {
            "{}".into()
        }
        ["object"] => "{ … }".into(),
        ["array"] => "[…]".into(),
        ["integer"] => "1".into(),
        _ => "…".into(),
    }
}

/// The place of the value, or of its key if the value is empty.
fn value_span(found: &Found<'_>) -> std::ops::Range<usize> {
    if found.node.span.is_empty() {
        found.name_span()
    } else {
        found.node.span.clone()
    }
}

/// The title of a schema, for use in a sentence.
fn title(schema: &Value) -> Option<&str> {
    schema.get("title").and_then(Value::as_str)
}

/// A description without its full stop and initial capital.
fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.').replace('\n', " ");
    let mut chars = text.chars();
    let first = chars.next().map(char::to_lowercase);
    first.into_iter().flatten().chain(chars).collect()
}

/// `a`, `a or b`, `a, b or c`.
fn either<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        all => all.concat(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn type_name(json: &str) -> &str {
    match json {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a mapping",
        "null" => "left out",
        other => other,
    }
}

/// Returns `true` if a value has the type required by a schema, or the schema requires
/// none.
pub(super) fn has_type(kind: &Kind, schema: &Value) -> bool {
    let json = match kind {
        Kind::Null => "null",
        Kind::Bool(_) => "boolean",
        Kind::Number(number) if number.is_f64() => "number",
        Kind::Number(_) => "integer",
        Kind::String(_) => "string",
        Kind::List(_) => "array",
        Kind::Map(_) => "object",
    };
    let fits = |name: &Value| name == json || json == "integer" && name == "number";
    match schema.get("type") {
        Some(Value::Array(types)) => types.iter().any(fits),
        Some(only) => fits(only),
        None => true,
    }
}
