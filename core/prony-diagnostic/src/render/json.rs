//! For programs: one versioned object.

use serde::Serialize;

use crate::{Diagnostic, Place, Suggestion};

/// The version of the object below. It changes when a reader would have to.
const SCHEMA: &str = "prony-diagnostics/1";

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    diagnostics: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'static str,
    severity: &'static str,
    message: &'a str,
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    end_line: Option<usize>,
    end_column: Option<usize>,
    label: Option<&'a str>,
    notes: &'a [String],
    help: Vec<String>,
}

/// Renders diagnostics as one JSON object. Lines and columns count from 1,
/// columns in characters; the end is exclusive. They are null when a
/// diagnostic has no place.
pub fn json(diagnostics: &[Diagnostic]) -> String {
    let report = Report {
        schema: SCHEMA,
        diagnostics: diagnostics.iter().map(entry).collect(),
    };
    // Strings and numbers only: this can not fail.
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

fn entry(diagnostic: &Diagnostic) -> Entry<'_> {
    let source = diagnostic.source.as_deref();
    let span = diagnostic.primary.as_ref().map(|label| &label.span);
    let places: Option<(Place, Place)> = source
        .zip(span)
        .map(|(source, span)| (source.place(span.start), source.place(span.end)));
    let suggestion = diagnostic.suggestion.as_ref();
    Entry {
        code: diagnostic.code,
        severity: diagnostic.severity.name(),
        message: &diagnostic.message,
        file: source.map(|source| source.name.as_str()),
        line: places.map(|(start, _)| start.line),
        column: places.map(|(start, _)| start.column),
        end_line: places.map(|(_, end)| end.line),
        end_column: places.map(|(_, end)| end.column),
        label: diagnostic.primary.as_ref().map(|l| l.text.as_str()),
        notes: &diagnostic.notes,
        help: diagnostic
            .help
            .iter()
            .cloned()
            .chain(suggestion.map(Suggestion::in_words))
            .collect(),
    }
}
