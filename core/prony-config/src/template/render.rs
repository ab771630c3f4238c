//! Evaluates templates, given values for their names.

use minijinja::ErrorKind;
use minijinja::value::Serde;
use serde_json::Value;

use super::expression::{compile, environment, repeats};
use super::scan::{Part, Unclosed, parts};
use crate::yaml::MAX_BYTES;

/// Maximum length of a text made by a template, in bytes.
pub(super) const MAX_TEXT: usize = MAX_BYTES;

/// Replaces the templates of a value, including its lists and mappings. A string that is
/// exactly one template becomes the expression's value with its type; any other stays a
/// string. Keys are never templates. Fails with the reason.
pub fn render_value(value: &Value, context: &Value) -> Result<Value, String> {
    match value {
        Value::String(text) => render_scalar(text, context),
        Value::Array(items) => items.iter().map(|v| render_value(v, context)).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, v)| Ok((key.clone(), render_value(v, context)?)))
            .collect(),
        other => Ok(other.clone()),
    }
}

/// Replaces the templates of a text. Fails with the reason.
pub fn render_str(text: &str, context: &Value) -> Result<String, String> {
    let mut out = String::new();
    for part in split(text)? {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Expression(expression) => match value(expression, context)? {
                Value::Null => return Err(failure(expression, NO_VALUE)),
                Value::String(text) => out.push_str(&text),
                other => out.push_str(&other.to_string()),
            },
        }
        if out.len() > MAX_TEXT {
            return Err(format!("the text gets longer than {MAX_TEXT} bytes"));
        }
    }
    Ok(out)
}

/// Replaces the templates of one value.
pub(super) fn render_scalar(text: &str, context: &Value) -> Result<Value, String> {
    match split(text)?.as_slice() {
        [Part::Expression(expression)] => value(expression, context),
        _ => render_str(text, context).map(Value::String),
    }
}

fn split(text: &str) -> Result<Vec<Part<'_>>, String> {
    let unclosed = |Unclosed(at)| format!("a template is not closed: `{}`", &text[at..]);
    parts(text).map(|part| part.map_err(unclosed)).collect()
}

/// The error of an expression without a value.
pub(super) const NO_VALUE: &str = "it has no value";

fn failure(expression: &str, reason: &str) -> String {
    format!("cannot evaluate `{}`: {reason}", expression.trim())
}

fn value(expression: &str, context: &Value) -> Result<Value, String> {
    evaluate(expression, context).map_err(|reason| failure(expression, &reason))
}

/// Evaluates one expression. Fails with the reason.
pub(super) fn evaluate(expression: &str, context: &Value) -> Result<Value, String> {
    let fail = |error: minijinja::Error| match error.kind() {
        ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        kind => error
            .detail()
            .map_or_else(|| kind.to_string(), str::to_owned),
    };
    let environment = environment();
    let compiled = compile(&environment, expression).map_err(fail)?;
    let names: Vec<String> = compiled.undeclared_variables(true).into_iter().collect();
    if repeats(expression, context, &names) {
        return Err("it repeats a list: `*` is for numbers".to_owned());
    }
    let value = compiled
        .eval(minijinja::Value::from(Serde(context)))
        .map_err(fail)?;
    if value.is_undefined() {
        return Err(NO_VALUE.to_owned());
    }
    serde_json::to_value(&value).map_err(|error| error.to_string())
}
