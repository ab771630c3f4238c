//! The renderers. Each takes diagnostics and returns text.

pub(crate) mod github;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod sarif;

use std::ops::Range;

use serde::Serialize;

use crate::{Diagnostic, Label, Place, Source, Suggestion};

/// Where something is: a file and, unless the whole file is meant, where in it.
struct Spot<'a> {
    file: &'a str,
    range: Option<Range<Place>>,
}

impl<'a> Spot<'a> {
    /// Where a diagnostic is; none when it is about no file.
    fn of(diagnostic: &'a Diagnostic) -> Option<Self> {
        match &diagnostic.primary {
            Some(label) => Self::of_label(diagnostic, label),
            None => diagnostic.source.as_deref().map(|source| Self {
                file: &source.name,
                range: None,
            }),
        }
    }

    fn of_label(diagnostic: &'a Diagnostic, label: &'a Label) -> Option<Self> {
        let source = label.source_in(diagnostic)?;
        Some(Self::within(source, &label.span))
    }

    fn of_edit(diagnostic: &'a Diagnostic, suggestion: &'a Suggestion) -> Option<Self> {
        let source = suggestion.source_in(diagnostic)?;
        Some(Self::within(source, &suggestion.span))
    }

    fn within(source: &'a Source, span: &Range<usize>) -> Self {
        Self {
            file: &source.name,
            range: Some(source.places(span)),
        }
    }
}

/// What a diagnostic says, line by line, for where neither the lines of the
/// file nor the edit are shown.
fn words(diagnostic: &Diagnostic) -> Vec<String> {
    let label = diagnostic.primary.as_ref().map(|label| &label.text);
    let first = match label.filter(|text| !text.is_empty()) {
        Some(label) => format!("{}: {label}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    let mut lines = vec![first];
    lines.extend(diagnostic.notes.iter().map(|it| format!("note: {it}")));
    lines.extend(diagnostic.help.iter().map(|it| format!("help: {it}")));
    let edit = diagnostic.suggestion.iter().map(Suggestion::in_words);
    lines.extend(edit.map(|it| format!("help: {it}")));
    lines
}

fn pretty(value: &impl Serialize) -> String {
    // Strings and numbers only: this cannot fail.
    serde_json::to_string_pretty(value).unwrap_or_default()
}
