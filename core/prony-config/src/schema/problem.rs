//! The wording of schema errors.

use prony_diagnostic::Diagnostic;
use serde_json::Value;

use crate::codes;
use crate::tree::{Entry, Found, Kind};
use crate::wording::{found as what, list, literal, nearest, similar, with_article};

pub(super) fn unknown_key(entry: &Entry, known: &[&str]) -> Diagnostic {
    let key = literal(&entry.key);
    let problem = Diagnostic::error(codes::UNKNOWN_KEY, format!("unknown key {key}"))
        .at(entry.key_span.clone(), "not a known key");
    misspelt(problem, entry, known, "key")
}

pub(super) fn missing_key(property: &str, found: &Found<'_>) -> Diagnostic {
    let property = literal(property);
    let label = match found.key {
        Some(entry) => format!("{} needs {property}", literal(&entry.key)),
        None => format!("{property} must be given here"),
    };
    Diagnostic::error(codes::MISSING_KEY, format!("missing key {property}"))
        .at(found.name_span(), label)
}

pub(super) fn wrong_type(found: &Found<'_>, schema: &Value) -> Diagnostic {
    let types = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one.as_str()],
        _ => Vec::new(),
    };
    let expected = either(types.iter().map(|t| type_name(t)));
    let problem = Diagnostic::error(
        codes::WRONG_TYPE,
        format!("{} must be {expected}", name(found)),
    )
    .at(value_span(found), format!("found {}", what(found.node)));
    let wants = |name| types.contains(&name);
    match &found.node.kind {
        Kind::Bool(_) | Kind::Number(_) if wants("string") => {
            problem.help("put it in quotes to make it a string")
        }
        Kind::String(text) if wants("integer") && text.parse::<i64>().is_ok() => {
            problem.help("remove the quotes to make it a number")
        }
        Kind::Null if wants("object") => {
            problem.help("write `{}` for a mapping without entries, or indent its keys below it")
        }
        Kind::Null => problem.help("give a value, or leave the key out"),
        _ => problem,
    }
}

pub(super) fn unknown_value(found: &Found<'_>, schema: &Value, options: &[&Value]) -> Diagnostic {
    let options: Vec<String> = options.iter().map(|option| plain(option)).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let given = plain(&found.node.to_json());
    let thing = match title(schema) {
        Some(title) => title.to_owned(),
        None => name(found),
    };
    let message = format!("unknown {thing} {}", literal(&given));
    let problem = Diagnostic::error(codes::UNKNOWN_VALUE, message)
        .at(value_span(found), "not one of the alternatives")
        .note(format!(
            "known: {}",
            list(&nearest(&given, options.iter().copied()))
        ));
    match similar(&given, options.iter().copied()) {
        Some(meant) => problem.suggest(
            "an alternative with a similar name exists",
            found.node.span.clone(),
            meant,
        ),
        None => problem,
    }
}

pub(super) fn not_constant(found: &Found<'_>, expected: &Value) -> Diagnostic {
    let expected = literal(&plain(expected));
    let message = format!("{} must be {expected}", name(found));
    Diagnostic::error(codes::UNKNOWN_VALUE, message)
        .at(value_span(found), format!("found {}", what(found.node)))
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

pub(super) fn no_tag(found: &Found<'_>, schema: &Value, tags: &[&str]) -> Diagnostic {
    let thing = title(schema).unwrap_or("alternative");
    let problem = Diagnostic::error(
        codes::WRONG_TYPE,
        format!("{} must be a mapping with one key", with_article(thing)),
    )
    .at(value_span(found), format!("found {}", what(found.node)))
    .note(format!("known: {}", list(tags)));
    match found.node.text() {
        Some(tag) if tags.contains(&tag) => problem.help(format!("write `{tag}: {{}}`")),
        _ => problem,
    }
}

pub(super) fn several_tags(entries: &[Entry], schema: &Value, tags: &[&str]) -> Diagnostic {
    let thing = title(schema).unwrap_or("alternative");
    let is_tag = |entry: &&Entry| tags.contains(&entry.key.as_str());
    let first = entries.iter().find(is_tag).unwrap_or(&entries[0]);
    let is_other = |entry: &&Entry| entry.key != first.key;
    let other = entries.iter().find(is_other).unwrap_or(first);
    let (first_name, other_name) = (literal(&first.key), literal(&other.key));
    let problem = Diagnostic::error(
        codes::WRONG_TYPE,
        format!("{} must be a mapping with one key", with_article(thing)),
    )
    .at(other.key_span.clone(), format!("a key beside {first_name}"))
    .and(first.key_span.clone(), format!("the {thing}"));
    if tags.contains(&other.key.as_str()) {
        problem.help(format!(
            "give {other_name} an item of its own, starting with `-`"
        ))
    } else {
        problem.help(format!(
            "indent {other_name} further to put it into {first_name}"
        ))
    }
}

pub(super) fn no_alternative(found: &Found<'_>, branches: &[Value]) -> Diagnostic {
    let types: Option<Vec<&str>> = branches
        .iter()
        .map(|branch| branch.get("type").and_then(Value::as_str))
        .collect();
    let message = match types {
        Some(types) => {
            let expected = either(types.iter().map(|t| type_name(t)));
            format!("{} must be {expected}", name(found))
        }
        None => format!("{} fits none of its alternatives", name(found)),
    };
    Diagnostic::error(codes::WRONG_TYPE, message)
        .at(value_span(found), format!("found {}", what(found.node)))
}

pub(super) fn pattern(found: &Found<'_>, schema: &Value, pattern: &str) -> Diagnostic {
    let value = literal(found.node.text().unwrap_or_default());
    let message = match title(schema) {
        Some(title) => format!("{value} is not {}", with_article(title)),
        None => format!("{value} is not allowed as {}", name(found)),
    };
    let problem = Diagnostic::error(codes::OUT_OF_RANGE, message)
        .at(value_span(found), "not of the form that is needed");
    match schema.get("description").and_then(Value::as_str) {
        Some(text) => problem.note(sentence(text)),
        None => problem.note(format!("the form as a regular expression: `{pattern}`")),
    }
}

pub(super) fn bound(found: &Found<'_>, relation: &str, limit: &Value) -> Diagnostic {
    let message = format!("{} must be {relation} {limit}", name(found));
    Diagnostic::error(codes::OUT_OF_RANGE, message)
        .at(value_span(found), format!("found {}", what(found.node)))
}

pub(super) fn empty(found: &Found<'_>) -> Diagnostic {
    Diagnostic::error(
        codes::OUT_OF_RANGE,
        format!("{} must not be empty", name(found)),
    )
    .at(value_span(found), "empty")
}

pub(super) fn too_many(found: &Found<'_>, limit: u64) -> Diagnostic {
    let message = format!("{} must have at most {limit} entries", name(found));
    let count = found.node.items().len() + found.node.entries().len();
    Diagnostic::error(codes::OUT_OF_RANGE, message).at(value_span(found), format!("found {count}"))
}

pub(super) fn other(found: &Found<'_>, reason: &str) -> Diagnostic {
    Diagnostic::error(
        codes::SCHEMA,
        format!("{} is not allowed: {reason}", name(found)),
    )
    .at(value_span(found), format!("found {}", what(found.node)))
}

/// Adds the known names, and the one that was probably meant.
fn misspelt(problem: Diagnostic, entry: &Entry, known: &[&str], thing: &str) -> Diagnostic {
    if known.is_empty() {
        return problem.help(format!("remove {}", literal(&entry.key)));
    }
    let names = nearest(&entry.key, known.iter().copied());
    let problem = problem.note(format!("known: {}", list(&names)));
    match similar(&entry.key, known.iter().copied()) {
        Some(meant) => problem.suggest(
            format!("{} with a similar name exists", with_article(thing)),
            entry.key_span.clone(),
            meant,
        ),
        None => problem,
    }
}

/// The key that a value belongs to, or `this value` in a list.
fn name(found: &Found<'_>) -> String {
    found
        .key
        .map_or_else(|| "this value".into(), |entry| literal(&entry.key))
}

/// The value, or its key when there is nothing to see of the value.
fn value_span(found: &Found<'_>) -> std::ops::Range<usize> {
    if found.node.span.is_empty() {
        found.name_span()
    } else {
        found.node.span.clone()
    }
}

/// What a schema calls its values, for use in a sentence.
fn title(schema: &Value) -> Option<&str> {
    schema.get("title").and_then(Value::as_str)
}

/// A description without its full stop and capital.
fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.').replace('\n', " ");
    let mut chars = text.chars();
    let first = chars.next().map(char::to_lowercase);
    first.into_iter().flatten().chain(chars).collect()
}

fn either<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(" or ")
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
