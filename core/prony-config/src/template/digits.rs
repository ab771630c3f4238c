//! Numbers keep their digits on the way through an expression.
//!
//! JSON has one number for `1.10` and `1.1`. So a scalar that is written otherwise than its
//! value is shown stands in the context of expressions as a *mark*: its text between two
//! noncharacters of Unicode, which no text has that people exchange. An expression is computed
//! with values; if marks in their place give the same, it only passes them on, and their texts
//! are kept.
//!
//! A third noncharacter keeps a `${{` that a template gives from being one itself.

use std::borrow::Cow;

use serde_json::Value;

use super::scan::OPEN as TEMPLATE;
use crate::tree::{Kind, Node, Span};
use crate::yaml::scalar;

const OPEN: char = '\u{fdd0}';
const CLOSE: char = '\u{fdd1}';
/// A literal `${{`.
const LITERAL: &str = "$\u{fdd2}{{";

/// The value of a node for expressions.
pub(crate) fn marked(node: &Node) -> Value {
    node.to_value(&|node| node.written.as_deref().map(mark))
}

/// A node of a value for expressions: every part of it has the given place.
pub(super) fn node(value: &Value, span: &Span) -> Node {
    let below = |value: &Value| node(value, span);
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(value) => Kind::Bool(*value),
        Value::Number(value) => Kind::Number(value.clone()),
        Value::String(value) => match written(value) {
            Some(written) => return scalar::node(written, span.clone()),
            None => Kind::String(value.clone()),
        },
        Value::Array(items) => Kind::List(items.iter().map(below).collect()),
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| crate::tree::Entry {
                key: key.clone(),
                key_span: span.clone(),
                value: below(value),
            };
            Kind::Map(entries.iter().map(entry).collect())
        }
    };
    Node::new(kind, span.clone())
}

fn mark(written: &str) -> Value {
    Value::String(format!("{OPEN}{written}{CLOSE}"))
}

/// The text of a number, if a text is its mark.
fn written(text: &str) -> Option<&str> {
    let inner = text.strip_prefix(OPEN)?.strip_suffix(CLOSE)?;
    (!inner.contains([OPEN, CLOSE])).then_some(inner)
}

/// The value of an expression that is a number or a boolean as YAML writes it, such as `1.10`.
pub(super) fn literal(expression: &str) -> Option<Value> {
    let node = scalar::node(expression.trim(), 0..0);
    let is_value = !matches!(node.kind, Kind::String(_) | Kind::Null) || node.written.is_some();
    is_value.then(|| marked(&node))
}

/// The same value with numbers in the place of marks.
pub(crate) fn plain(value: &Value) -> Value {
    map(value, &|text| match written(text) {
        Some(written) => scalar::value(written),
        None => Value::String(text.to_owned()),
    })
}

/// The same value with each mark as the text that was written: as people read it.
pub fn shown(value: &Value) -> Value {
    map(value, &|text| Value::String(as_written(text).into_owned()))
}

/// A text with each mark in it as it was written.
pub(super) fn as_written(text: &str) -> Cow<'_, str> {
    replaced(text, &|written| written.to_owned())
}

/// A text with each mark in it as an expression would show the number.
fn as_computed(text: &str) -> Cow<'_, str> {
    replaced(text, &display)
}

/// A number as an expression shows it.
fn display(written: &str) -> String {
    minijinja::Value::from(minijinja::value::Serde(scalar::value(written))).to_string()
}

fn replaced<'t>(text: &'t str, by: &dyn Fn(&str) -> String) -> Cow<'t, str> {
    if !text.contains(OPEN) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        out.push_str(before);
        rest = if let Some((inner, after)) = after.split_once(CLOSE) {
            out.push_str(&by(inner));
            after
        } else {
            out.push(OPEN);
            after
        };
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Returns `true` if the result with marks says the same as the one with values.
pub(super) fn is_same(with_marks: &Value, with_values: &Value) -> bool {
    match (with_marks, with_values) {
        (Value::String(a), b) if written(a).is_some() => plain(with_marks) == *b,
        (Value::String(a), Value::String(b)) => as_computed(a) == *b,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// The same value with marks only where they are all of a text.
pub(super) fn settled(value: &Value) -> Value {
    map(value, &|text| match written(text) {
        Some(_) => Value::String(text.to_owned()),
        None => Value::String(as_written(text).into_owned()),
    })
}

/// The texts of the numbers of a value that are marked, each once.
pub(super) fn marks(value: &Value) -> Vec<String> {
    let found = std::cell::RefCell::new(Vec::new());
    map(value, &|text| {
        let mut found = found.borrow_mut();
        if let Some(written) = written(text)
            && !found.iter().any(|it| it == written)
        {
            found.push(written.to_owned());
        }
        Value::Null
    });
    found.into_inner()
}

/// The reason why the digits of a number would be lost, if an expression computes `value` from
/// it.
pub(super) fn lost(written: &str, value: &Value) -> Option<String> {
    if !scalar::is_exact(written) {
        return Some(format!(
            "`{written}` has more digits than can be computed with: put it in quotes, and use it as a text"
        ));
    }
    let shown = display(written);
    let is_number = scalar::value(written).is_number();
    (is_number && shown != written && has(value, &shown)).then(|| {
        format!("`{written}` becomes `{shown}` in a text that is computed: put it in quotes, or in a template of its own")
    })
}

/// Returns `true` if a text of a value contains another.
fn has(value: &Value, part: &str) -> bool {
    match value {
        Value::String(text) => text.contains(part),
        Value::Array(items) => items.iter().any(|item| has(item, part)),
        Value::Object(entries) => entries.values().any(|value| has(value, part)),
        _ => false,
    }
}

/// The same value with every `${{` as a literal one.
pub(super) fn with_literals(value: &Value) -> Value {
    map(value, &|text| {
        Value::String(text.replace(TEMPLATE, LITERAL))
    })
}

/// The same value with literal `${{` as they are read.
pub(crate) fn without_literals(value: &Value) -> Value {
    map(value, &|text| Value::String(spelled(text)))
}

/// A text with each literal `${{` as it is read.
pub(super) fn spelled(text: &str) -> String {
    text.replace(LITERAL, TEMPLATE)
}

/// Returns `true` if a text has a literal `${{`.
pub(super) fn has_literal(text: &str) -> bool {
    text.contains(LITERAL)
}

fn map(value: &Value, text: &dyn Fn(&str) -> Value) -> Value {
    match value {
        Value::String(string) => text(string),
        Value::Array(items) => items.iter().map(|item| map(item, text)).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), map(value, text)))
            .collect(),
        other => other.clone(),
    }
}
