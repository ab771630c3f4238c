//! For programs: one versioned object.

use serde::Serialize;

use super::{Spot, pretty};
use crate::Diagnostic;

/// Version of the object below. It changes when readers would have to.
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
    #[serde(flatten)]
    at: At<'a>,
    label: Option<&'a str>,
    secondary: Vec<Secondary<'a>>,
    notes: &'a [String],
    help: &'a [String],
    suggestion: Option<Edit<'a>>,
}

#[derive(Serialize)]
struct Secondary<'a> {
    #[serde(flatten)]
    at: At<'a>,
    label: &'a str,
}

#[derive(Serialize)]
struct Edit<'a> {
    message: &'a str,
    #[serde(flatten)]
    at: At<'a>,
    replacement: &'a str,
}

#[derive(Serialize)]
struct At<'a> {
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    end_line: Option<usize>,
    end_column: Option<usize>,
}

/// Renders diagnostics as one JSON object. Lines and columns count from 1, columns in
/// characters; the end is exclusive. They are null if a diagnostic has no place.
pub fn json(diagnostics: &[Diagnostic]) -> String {
    pretty(&Report {
        schema: SCHEMA,
        diagnostics: diagnostics.iter().map(entry).collect(),
    })
}

fn entry(diagnostic: &Diagnostic) -> Entry<'_> {
    let secondary = diagnostic.secondary.iter().map(|label| Secondary {
        at: at(Spot::of_label(diagnostic, label)),
        label: &label.text,
    });
    let suggestion = diagnostic.suggestion.as_ref().map(|edit| Edit {
        message: &edit.message,
        at: at(Spot::of_edit(diagnostic, edit)),
        replacement: &edit.replacement,
    });
    Entry {
        code: diagnostic.code,
        severity: diagnostic.severity.name(),
        message: &diagnostic.message,
        at: at(Spot::of(diagnostic)),
        label: diagnostic.primary.as_ref().map(|l| l.text.as_str()),
        secondary: secondary.collect(),
        notes: &diagnostic.notes,
        help: &diagnostic.help,
        suggestion,
    }
}

fn at(spot: Option<Spot<'_>>) -> At<'_> {
    let file = spot.as_ref().map(|spot| spot.file);
    let range = spot.and_then(|spot| spot.range);
    let (start, end) = range.map(|range| (range.start, range.end)).unzip();
    At {
        file,
        line: start.map(|place| place.line),
        column: start.map(|place| place.column),
        end_line: end.map(|place| place.line),
        end_column: end.map(|place| place.column),
    }
}
