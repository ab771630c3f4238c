//! The template engine, with the filters that a report needs.

use crate::markup;
use crate::view::View;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use prony_plugin_sdk::words::{self, MISSING};
use prony_plugin_sdk::{Error, ErrorKind, result::RankInfo};
use std::collections::BTreeMap;

const NAME: &str = "report.md";

/// An environment that holds `source` as its only template.
pub(crate) fn environment(source: &str) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()?;
    environment.set_syntax(syntax);

    environment.add_filter("md", |value: Value, max: Option<usize>| {
        let text = text(&value);
        markup::escape(&max.map_or_else(|| text.clone(), |max| markup::brief(&text, max)))
    });
    environment.add_filter("row", |cells: Vec<Value>| {
        markup::row(cells.iter().map(text))
    });
    environment.add_filter("rule", |cells: Vec<Value>| markup::rule(cells.len()));
    environment.add_filter("fence", |value: Value, language: Option<String>| {
        markup::fence(&text(&value), &language.unwrap_or_default())
    });
    environment.add_filter("number", |value: Option<f64>| {
        words::optional(value, words::number)
    });
    environment.add_filter("percentile", |value: Option<f64>| {
        value.map_or_else(|| "n too small".to_owned(), words::number)
    });
    environment.add_filter("percent", |value: Option<f64>| {
        words::optional(value, words::signed_percent)
    });
    environment.add_filter("ms", |value: f64| format!("{value:.3} ms"));
    environment.add_filter("percent_of", |value: Option<f64>| {
        value.map_or_else(|| MISSING.to_owned(), |value| format!("{value:.1} %"))
    });
    environment.add_filter("share", |value: Option<f64>| {
        words::optional(value, words::share)
    });
    environment.add_filter("seconds", |value: Option<f64>| {
        words::optional(value, words::seconds)
    });
    environment.add_filter("bytes", |value: Option<u64>| {
        value.map_or_else(|| MISSING.to_owned(), words::bytes)
    });
    environment.add_filter("counted", |value: u64, noun: String| {
        words::count(value, &noun)
    });
    environment.add_filter("ranks", |value: Serde<Vec<RankInfo>>| words::ranks(&value));
    environment.add_filter("counts", |value: Serde<BTreeMap<String, u64>>| {
        counts(&value)
    });

    environment.add_template_owned(NAME, source.to_owned())?;
    Ok(environment)
}

/// The report.
pub(crate) fn render(
    environment: &Environment<'_>,
    view: &View,
) -> Result<String, minijinja::Error> {
    environment.get_template(NAME)?.render(Serde(view))
}

/// The error message for a template that does not work: place, problem, and the line
/// itself.
pub(crate) fn error(error: &minijinja::Error, source: &str, own: bool) -> Error {
    let line = error
        .line()
        .and_then(|number| Some((number, source.lines().nth(number.checked_sub(1)?)?)));
    let detail = error
        .detail()
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    let message = match line {
        Some((number, line)) => {
            let line = markup::brief(&words::one_line(line), 80);
            format!("line {number}: {}{detail}, in `{line}`", error.kind())
        }
        None => format!("{}{detail}", error.kind()),
    };
    if own {
        Error::config("/template", message)
    } else {
        Error::new(ErrorKind::Internal, format!("built-in template, {message}"))
    }
}

/// `length (3), stop (1)`.
fn counts(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> = counts
        .iter()
        .map(|(what, times)| format!("{what} ({times})"))
        .collect();
    if counts.is_empty() {
        MISSING.to_owned()
    } else {
        counts.join(", ")
    }
}

fn text(value: &Value) -> String {
    if value.is_none() || value.is_undefined() {
        MISSING.to_owned()
    } else {
        value.to_string()
    }
}
