//! Evaluates templates, given values for their names.

use minijinja::ErrorKind;
use minijinja::value::Serde;
use serde_json::Value;

use super::digits;
use super::expression::{compile, environment, names, repeats, without_texts};
use super::scan::{Part, Unclosed, is_template, parts};
use super::shell::Shell;
use crate::yaml::{MAX_BYTES, scalar};

/// Maximum length of a text made by a template, in bytes.
pub(super) const MAX_TEXT: usize = MAX_BYTES;

/// Replaces the templates of a value, including its lists and mappings. A string that is
/// exactly one template becomes the expression's value with its type; any other stays a
/// string. A number that is written otherwise than it is shown, such as `1.10`, becomes its
/// text. In a list, a template that gives null gives no item, and one that gives a list gives
/// its items. Keys are never templates. Fails with the reason.
pub fn render_value(value: &Value, context: &Value) -> Result<Value, String> {
    match value {
        Value::String(text) => {
            let value = render_scalar(text, context)?;
            Ok(digits::shown(&digits::without_literals(&value)))
        }
        Value::Array(items) => {
            let mut rendered = Vec::with_capacity(items.len());
            for item in items {
                let is_made = item.as_str().is_some_and(is_template);
                match render_value(item, context)? {
                    Value::Null if is_made => {}
                    Value::Array(made) if is_made => rendered.extend(made),
                    value => rendered.push(value),
                }
            }
            Ok(Value::Array(rendered))
        }
        Value::Object(entries) => entries
            .iter()
            .map(|(key, v)| Ok((key.clone(), render_value(v, context)?)))
            .collect(),
        other => Ok(other.clone()),
    }
}

/// Replaces the templates of a text. Fails with the reason.
pub fn render_str(text: &str, context: &Value) -> Result<String, String> {
    fill_text(text, context).map(|text| digits::spelled(&text))
}

/// Replaces the templates of a shell text: each value becomes one word, each item of a list one. A
/// text that is exactly one template is the shell text that it gives. Fails with the reason.
pub fn render_shell(text: &str, context: &Value) -> Result<String, String> {
    fill_shell(text, context).map(|text| digits::spelled(&text))
}

/// As [`render_shell`], for a text of which a `${{` that is given is a literal one.
pub(super) fn fill_shell(text: &str, context: &Value) -> Result<String, String> {
    let parts = split(text)?;
    if let [Part::Expression(_)] = parts.as_slice() {
        return fill_text(text, context);
    }
    let mut shell = Shell::default();
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Text(text) => {
                shell.read(text);
                out.push_str(text);
            }
            Part::Expression(expression) => {
                let words = match value(expression, context)? {
                    Value::Null => return Err(failure(expression, NO_VALUE)),
                    Value::Array(items) => items,
                    value => vec![value],
                };
                for (index, word) in words.iter().enumerate() {
                    let word = match digits::shown(word) {
                        Value::String(text) => text,
                        other => other.to_string(),
                    };
                    let word = shell.value(&word);
                    out.push_str(if index > 0 { " " } else { "" });
                    out.push_str(&word.map_err(|reason| failure(expression, &reason))?);
                }
            }
        }
        if out.len() > MAX_TEXT {
            return Err(TOO_LONG.to_owned());
        }
    }
    Ok(out)
}

fn fill_text(text: &str, context: &Value) -> Result<String, String> {
    let mut out = String::new();
    for part in split(text)? {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Expression(expression) => match value(expression, context)? {
                Value::Null => return Err(failure(expression, NO_VALUE)),
                Value::String(text) => out.push_str(&digits::as_written(&text)),
                other => out.push_str(&digits::plain(&other).to_string()),
            },
        }
        if out.len() > MAX_TEXT {
            return Err(TOO_LONG.to_owned());
        }
    }
    Ok(out)
}

/// Replaces the templates of one value. Numbers are marked as in the context, and a `${{` that
/// is given is a literal one.
pub(super) fn render_scalar(text: &str, context: &Value) -> Result<Value, String> {
    match split(text)?.as_slice() {
        [Part::Expression(expression)] => value(expression, context),
        _ => fill_text(text, context).map(Value::String),
    }
}

fn split(text: &str) -> Result<Vec<Part<'_>>, String> {
    let unclosed = |Unclosed(at)| format!("a template is not closed: `{}`", &text[at..]);
    parts(text).map(|part| part.map_err(unclosed)).collect()
}

/// The error of a text that gets too long.
pub(super) const TOO_LONG: &str = "the text gets too long";

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
    if let Some(value) = digits::literal(expression) {
        return Ok(value);
    }
    let context = digits::without_literals(context);
    let value = compute(expression, &digits::plain(&context))?;
    let marks = digits::marks(&context);
    if marks.is_empty() {
        return Ok(digits::with_literals(&value));
    }
    // A text that is repeated for a number would take all memory.
    let may_repeat = without_texts(expression).contains('*');
    if !may_repeat
        && let Ok(passed) = compute(expression, &context)
        && digits::is_same(&passed, &value)
    {
        return Ok(digits::with_literals(&digits::settled(&passed)));
    }
    match marks.iter().find_map(|mark| digits::lost(mark, &value)) {
        Some(reason) => Err(reason),
        None => Ok(digits::with_literals(&value)),
    }
}

fn compute(expression: &str, context: &Value) -> Result<Value, String> {
    let fail = |error: minijinja::Error| match error.kind() {
        ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        kind => error
            .detail()
            .map_or_else(|| kind.to_string(), str::to_owned),
    };
    let environment = environment();
    let compiled = compile(&environment, expression).map_err(fail)?;
    let names = names(&environment, &compiled, expression);
    if repeats(expression, context, &names) {
        return Err("it repeats a list: `*` is for numbers".to_owned());
    }
    let value = compiled
        .eval(minijinja::Value::from(Serde(context)))
        .map_err(fail)?;
    if value.is_undefined() {
        return Err(NO_VALUE.to_owned());
    }
    if value.is_number() && f64::try_from(value.clone()).is_ok_and(|value| !value.is_finite()) {
        return Err("it gives no finite number".to_owned());
    }
    let value = serde_json::to_value(&value).map_err(|error| error.to_string())?;
    Ok(whole(value))
}

/// The same value with whole floats as integers, as where they are written.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(scalar::whole(number)),
        Value::Array(items) => items.into_iter().map(whole).collect(),
        Value::Object(entries) => entries
            .into_iter()
            .map(|(key, value)| (key, whole(value)))
            .collect(),
        other => other,
    }
}
