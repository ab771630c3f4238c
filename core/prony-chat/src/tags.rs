//! The tags of a template, looked at before it is compiled: the compiler, and what it
//! makes, call themselves for what is nested, until the stack is used up.

use crate::{Error, Result};
use std::fmt::Write as _;

/// Most names, literals and marks in a tag. A long one has some dozens.
const MAX_TOKENS: usize = 500;
/// Most tags of a template. A long one has some hundreds.
const MAX_TAGS: usize = 2_000;
/// Deepest nesting of brackets in a tag.
const MAX_BRACKETS: usize = 32;

/// The template as it is compiled. `{% generation %}`, a tag of `transformers` for training
/// that renders what it encloses, becomes the plain scope that it is. After each
/// `{% set a.b = ... %}`, `a` goes through the filter `held`. Fails with [`Error::Syntax`]
/// for a template that nests too deep to compile.
pub(crate) fn prepared(template: &str, held: &str) -> Result<String> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    let mut tags = 0;
    while let Some(start) = rest.find("{%").into_iter().chain(rest.find("{{")).min() {
        let start = rest.find("{#").map_or(start, |comment| comment.min(start));
        let (before, tag) = rest.split_at(start + 2);
        out.push_str(before);
        let refused = |reason: String| Error::Syntax {
            line: 1 + template[..template.len() - tag.len()].matches('\n').count(),
            reason,
        };
        let end = match &before[start..] {
            "{#" => tag.find("#}"),
            "{{" => length(tag, "}}").map_err(refused)?,
            _ => length(tag, "%}").map_err(refused)?,
        };
        rest = tag;
        // The compiler tells of a tag without an end.
        let Some(end) = end else { break };
        rest = &tag[end..];
        if !before.ends_with("{%") {
            out.push_str(&tag[..end]);
            continue;
        }
        tags += 1;
        if tags > MAX_TAGS {
            return Err(refused(format!("there are more than {MAX_TAGS} tags")));
        }
        let body = &tag[..end];
        match plain(body) {
            "generation" => out.push_str(&body.replace("generation", "with")),
            "endgeneration" => out.push_str(&body.replace("endgeneration", "endwith")),
            "raw" => {
                let text = rest.match_indices("{%").find(|(at, mark)| {
                    let tag = &rest[at + mark.len()..];
                    let end = tag.find("%}").unwrap_or(tag.len());
                    plain(&tag[..end]) == "endraw"
                });
                let length = text.map_or(rest.len(), |(at, _)| at);
                out.push_str(body);
                out.push_str(&rest[..length]);
                rest = &rest[length..];
            }
            words => match assigned(words) {
                Some(target) => {
                    // The second tag ends as the first did, so that white space stays.
                    let open = body.trim_end_matches(['-', '+']);
                    let close = &body[open.len()..];
                    out.push_str(open);
                    let _ = write!(out, "%}}{{% set _held = ({target})|{held} {close}");
                }
                None => out.push_str(body),
            },
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// A tag without white space and marks at its ends.
fn plain(body: &str) -> &str {
    body.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+')
}

/// Target of a `set`: a name, several, or for an attribute its object. `None` for
/// another tag, and for the `set` of a block, which is a text.
fn assigned(words: &str) -> Option<&str> {
    let (target, value) = words.strip_prefix("set")?.split_once('=')?;
    let is_target = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.,()".contains(c);
    let is_one = target.starts_with(|c: char| c.is_whitespace() || c == '(');
    if !is_one || value.starts_with('=') || !target.chars().all(is_target) {
        return None;
    }
    let object = target.split('.').next().unwrap_or(target).trim();
    let is_pair = target.contains([',', '(']);
    Some(if is_pair { target.trim() } else { object })
}

/// Bytes of a tag up to its `mark`, which may stand in brackets and texts; `None` without
/// it. The error is the reason for refusing it.
fn length(tag: &str, mark: &str) -> std::result::Result<Option<usize>, String> {
    let bytes = tag.as_bytes();
    let (mut at, mut depth, mut tokens) = (0, 0_usize, 0);
    let mut in_word = false;
    while let Some(byte) = bytes.get(at) {
        if depth == 0 && bytes[at..].starts_with(mark.as_bytes()) {
            return Ok(Some(at));
        }
        let was_in_word = in_word;
        in_word = byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
        match byte {
            b'"' | b'\'' => {
                at += 1;
                while let Some(inner) = bytes.get(at).filter(|inner| *inner != byte) {
                    at += if *inner == b'\\' { 2 } else { 1 };
                }
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_token = if in_word {
            !was_in_word
        } else {
            !byte.is_ascii_whitespace()
        };
        tokens += usize::from(is_token);
        if depth > MAX_BRACKETS {
            return Err(format!("brackets nest deeper than {MAX_BRACKETS}"));
        }
        if tokens > MAX_TOKENS {
            return Err(format!("a tag has more than {MAX_TOKENS} parts"));
        }
        at += 1;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_followed_by_its_check_and_ends_as_before() {
        for (template, expected) in [
            (
                "{%- set ns.a = 1 -%}\n",
                "{%- set ns.a = 1 %}{% set _held = (ns)|h -%}\n",
            ),
            (
                "{% set a, b = c %}",
                "{% set a, b = c %}{% set _held = (a, b)|h %}",
            ),
            (
                "{% set a = '%}=' %}x",
                "{% set a = '%}=' %}{% set _held = (a)|h %}x",
            ),
            ("{% set a | f(b=1) %}x", "{% set a | f(b=1) %}x"),
            (
                "{% if a == b %}{# {% set a = 1 %} #}",
                "{% if a == b %}{# {% set a = 1 %} #}",
            ),
            (
                "{% raw %}{% set a = 1 %}{%- endraw %}",
                "{% raw %}{% set a = 1 %}{%- endraw %}",
            ),
            (
                "{%- generation %}{{ {'a': {}} }}",
                "{%- with %}{{ {'a': {}} }}",
            ),
        ] {
            let found = prepared(template, "h").expect(template);
            // A space before the mark of the end is none of the template's.
            assert_eq!(found.replace("  ", " "), expected);
        }
    }
}
