//! All texts of one load in one space of offsets, like a compiler's source map: a span of
//! the tree identifies a place in one of several files.

use std::sync::Arc;

use prony_diagnostic::{Diagnostic, Label, Source};

use crate::tree::{Kind, Node, Span};

/// The texts, concatenated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    all: String,
    sources: Vec<(usize, Arc<Source>)>,
}

impl Texts {
    /// Adds a text; its spans start at the returned offset.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> usize {
        let start = self.all.len();
        self.all.push_str(text);
        // Keeps an empty range at the end of one text out of the next.
        self.all.push('\n');
        self.sources
            .push((start, Arc::new(Source::new(name, text))));
        start
    }

    /// The text of a span; empty if it is out of range.
    pub(crate) fn get(&self, span: &Span) -> &str {
        self.all.get(span.clone()).unwrap_or_default()
    }

    /// The names and texts, in the order they were added.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.sources.iter().map(|(_, source)| source)
    }

    /// The source that contains an offset, and the start of that source.
    fn source(&self, offset: usize) -> Option<(usize, &Arc<Source>)> {
        let after = self.sources.partition_point(|(start, _)| *start <= offset);
        let (start, source) = self.sources.get(after.checked_sub(1)?)?;
        Some((*start, source))
    }

    /// Makes the spans of a diagnostic relative to their files, each on one line.
    pub(crate) fn place(&self, diagnostic: &mut Diagnostic) {
        let main = match &diagnostic.primary {
            Some(label) => self.source(label.span.start),
            None => self.source(0),
        };
        let main = main.map(|(_, source)| Arc::clone(source));
        if diagnostic.source.is_none() {
            diagnostic.source.clone_from(&main);
        }
        let labels = diagnostic
            .primary
            .iter_mut()
            .chain(&mut diagnostic.secondary);
        for Label { span, source, .. } in labels {
            *source = self.relative(span, main.as_ref());
            if let Some(text) = source.as_ref().or(main.as_ref()) {
                *span = first_line(&text.text, span);
            }
        }
        if let Some(suggestion) = &mut diagnostic.suggestion {
            suggestion.source = self.relative(&mut suggestion.span, main.as_ref());
        }
    }

    /// Makes a span relative to its source. Returns the source, unless it is the main
    /// one.
    fn relative(&self, span: &mut Span, main: Option<&Arc<Source>>) -> Option<Arc<Source>> {
        let (start, source) = self.source(span.start)?;
        *span = span.start - start..span.end.saturating_sub(start).min(source.text.len());
        main.is_none_or(|main| !Arc::ptr_eq(main, source))
            .then(|| Arc::clone(source))
    }
}

/// Moves every span of a tree.
pub(crate) fn shift(node: &mut Node, by: usize) {
    let moved = |span: &Span| span.start + by..span.end + by;
    node.span = moved(&node.span);
    match &mut node.kind {
        Kind::List(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Kind::Map(entries) => {
            for entry in entries {
                entry.key_span = moved(&entry.key_span);
                shift(&mut entry.value, by);
            }
        }
        _ => {}
    }
}

/// Moves the spans of a diagnostic that does not know its file's offset yet.
pub(crate) fn shift_diagnostic(diagnostic: &mut Diagnostic, by: usize) {
    let labels = diagnostic
        .primary
        .iter_mut()
        .chain(&mut diagnostic.secondary);
    for label in labels {
        label.span = label.span.start + by..label.span.end + by;
    }
    if let Some(suggestion) = &mut diagnostic.suggestion {
        suggestion.span = suggestion.span.start + by..suggestion.span.end + by;
    }
}

/// The part of a range on its first line, without spaces at its end.
fn first_line(text: &str, span: &Span) -> Span {
    let Some(covered) = text.get(span.clone()) else {
        return span.clone();
    };
    let line = covered.lines().next().unwrap_or_default().trim_end();
    span.start..span.start + line.len()
}
