//! The way from text to pipeline.

use std::sync::{Arc, LazyLock};

use prony_diagnostic::{Diagnostic, Source};
use serde_json::Value;

use crate::file::File;
use crate::schema::{Checker, check_plugins, schema};
use crate::tree::{Found, Span};
use crate::{Pipeline, Plugins, codes, resolve, template, yaml};

/// The most diagnostics of one run: a file with more is not the file meant.
const MAX_DIAGNOSTICS: usize = 50;

/// Checks the text of a pipeline file and reads it.
///
/// `name` is what diagnostics call the file. On success the diagnostics are
/// warnings; on failure at least one of them is an error. They come in the
/// order of the file.
pub fn load(
    name: &str,
    text: &str,
    plugins: &dyn Plugins,
) -> Result<(Pipeline, Vec<Diagnostic>), Vec<Diagnostic>> {
    let source = Arc::new(Source::new(name, text));
    let (pipeline, mut diagnostics) = check(text, plugins);
    if pipeline.is_none() {
        keep_sound_suggestions(text, plugins, &mut diagnostics);
    }
    let diagnostics = tidy(diagnostics, &source);
    match pipeline {
        Some(pipeline) => Ok((pipeline, diagnostics)),
        None => Err(diagnostics),
    }
}

/// For the caller that does the reading: a file that can not be read.
pub fn unreadable(name: &str, reason: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::error(
        codes::UNREADABLE,
        format!("can not read the file: {reason}"),
    )
    .in_file(&Arc::new(Source::new(name, "")))
}

/// The pipeline, unless there are errors, and everything found.
fn check(text: &str, plugins: &dyn Plugins) -> (Option<Pipeline>, Vec<Diagnostic>) {
    static SCHEMA: LazyLock<Value> = LazyLock::new(schema);
    static CHECKER: LazyLock<Result<Checker<'static>, String>> =
        LazyLock::new(|| Checker::new(&SCHEMA));

    let root = match yaml::parse(text) {
        Ok(root) => root,
        Err(problem) => return (None, vec![*problem]),
    };
    let document = Found {
        key: None,
        node: &root,
    };
    let mut problems = template::check(text, &root);
    match &*CHECKER {
        Ok(checker) => problems.extend(checker.check(&document, false)),
        Err(reason) => problems.push(Diagnostic::error(codes::SCHEMA, reason)),
    }
    problems.extend(check_plugins(&root, plugins));
    if !problems.is_empty() {
        return (None, problems);
    }
    match serde_json::from_value::<File>(root.to_json()) {
        Ok(file) => resolve::resolve(file, &root, plugins),
        // The schema comes from the same types, so this is a fault of prony's.
        Err(error) => {
            let problem = Diagnostic::error(codes::SCHEMA, "the file can not be read");
            (None, vec![problem.note(error.to_string())])
        }
    }
}

/// A suggestion is offered only if the file is valid once all of them are
/// applied; otherwise it becomes a help in words.
fn keep_sound_suggestions(text: &str, plugins: &dyn Plugins, diagnostics: &mut [Diagnostic]) {
    let mut edits: Vec<(Span, &str)> = diagnostics
        .iter()
        .filter_map(|d| d.suggestion.as_ref())
        .map(|s| (s.span.clone(), s.replacement.as_str()))
        .collect();
    if edits.is_empty() {
        return;
    }
    edits.sort_by_key(|(span, _)| span.start);
    edits.dedup();
    let apart = edits.is_sorted_by(|(a, _), (b, _)| a.end <= b.start);
    if apart && check(&apply(text, &edits), plugins).0.is_some() {
        return;
    }
    for diagnostic in diagnostics {
        if let Some(suggestion) = diagnostic.suggestion.take() {
            diagnostic.help.insert(0, suggestion.in_words());
        }
    }
}

/// A text with edits made, which are in order and do not overlap.
fn apply(text: &str, edits: &[(Span, &str)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (span, replacement) in edits {
        out.push_str(&text[at..span.start]);
        out.push_str(replacement);
        at = span.end;
    }
    out.push_str(&text[at..]);
    out
}

/// In the order of the file, each once, not too many, each pointing at one line.
fn tidy(mut diagnostics: Vec<Diagnostic>, source: &Arc<Source>) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|d| d.primary.as_ref().map(|label| label.span.start));
    diagnostics.dedup();
    let more = diagnostics.len().saturating_sub(MAX_DIAGNOSTICS);
    // An error must not give way to warnings that come before it.
    if more > 0 {
        diagnostics.sort_by_key(|d| !d.is_error());
    }
    diagnostics.truncate(MAX_DIAGNOSTICS);
    if let (Some(last), 1..) = (diagnostics.last_mut(), more) {
        last.notes
            .push(format!("{more} more problems are not shown"));
    }
    for diagnostic in &mut diagnostics {
        diagnostic.source = Some(Arc::clone(source));
        let labels = diagnostic
            .primary
            .iter_mut()
            .chain(&mut diagnostic.secondary);
        for label in labels {
            label.span = first_line(&source.text, &label.span);
        }
    }
    diagnostics
}

/// The part of a range on its first line, without spaces at its end.
fn first_line(text: &str, span: &Span) -> Span {
    let Some(covered) = text.get(span.clone()) else {
        return span.clone();
    };
    let line = covered.lines().next().unwrap_or_default().trim_end();
    span.start..span.start + line.len()
}
