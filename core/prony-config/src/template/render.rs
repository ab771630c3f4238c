//! Templates to values, once the variables have some.

use minijinja::ErrorKind;
use minijinja::value::Serde;
use serde_json::Value;

use super::expression::{compile, environment, repeats};
use super::fill::MAX_TEXT;
use super::scan::{Part, Unclosed, parts};

/// Fills in the templates of a value, in lists and mappings too. A string that
/// is exactly one template becomes the expression's value with its type; any
/// other stays a string. Keys are never templates.
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

/// Fills in the templates of a text.
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

/// Fills in the templates of one value.
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

/// Why an expression fails that gives nothing.
pub(super) const NO_VALUE: &str = "it has no value";

fn failure(expression: &str, reason: &str) -> String {
    format!("cannot evaluate `{}`: {reason}", expression.trim())
}

fn value(expression: &str, context: &Value) -> Result<Value, String> {
    evaluate(expression, context).map_err(|reason| failure(expression, &reason))
}

/// The value of one expression, or why it has none.
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
