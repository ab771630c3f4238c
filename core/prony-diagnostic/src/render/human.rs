//! For people: the source line with the place underlined, as rustc shows it.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Patch, Renderer, Snippet};

use crate::{Diagnostic, Label, Severity, Source};

/// The longest line that is shown, in bytes. Laying out a line takes time that
/// grows with its length, and nobody reads one this long.
const MAX_LINE: usize = 2_000;

/// Renders diagnostics for a terminal, one after the other with an empty line
/// between them. The text ends with a line break unless it is empty.
pub fn human(diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut out = String::new();
    for diagnostic in diagnostics {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&renderer.render(&report(diagnostic)));
        out.push('\n');
    }
    out
}

fn report(diagnostic: &Diagnostic) -> Vec<Group<'_>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code);
    let mut main = match (&diagnostic.source, &diagnostic.primary) {
        (Some(source), Some(primary)) if fits(source, diagnostic) => {
            title.element(annotated(source, primary, &diagnostic.secondary))
        }
        (Some(source), Some(primary)) => title
            .element(origin(source, primary))
            .element(Level::NOTE.message(primary.text.as_str())),
        (Some(source), None) => title.element(Origin::path(source.name.as_str())),
        (None, _) => Group::with_title(title),
    };
    for note in &diagnostic.notes {
        main = main.element(Level::NOTE.message(note.as_str()));
    }
    for help in &diagnostic.help {
        main = main.element(Level::HELP.message(help.as_str()));
    }
    let (Some(source), Some(suggestion)) = (&diagnostic.source, &diagnostic.suggestion) else {
        return vec![main];
    };
    if !fits(source, diagnostic) {
        return vec![main.element(Level::HELP.message(suggestion.in_words()))];
    }
    let span = source.clamp(&suggestion.span);
    let window = source.lines(&span);
    let patch = Patch::new(relative(&span, &window), suggestion.replacement.as_str());
    let edit = Level::HELP
        .secondary_title(suggestion.message.as_str())
        .element(snippet(source, &window).patch(patch));
    vec![main, edit]
}

/// Whether the lines pointed at are of a length that can be shown.
fn fits(source: &Source, diagnostic: &Diagnostic) -> bool {
    let labels = diagnostic.primary.iter().chain(&diagnostic.secondary);
    let spans = labels.map(|label| &label.span);
    spans
        .chain(diagnostic.suggestion.iter().map(|s| &s.span))
        .all(|span| source.lines(&source.clamp(span)).len() <= MAX_LINE)
}

/// The place alone, for a line that is too long to show.
fn origin<'a>(source: &'a Source, primary: &Label) -> Origin<'a> {
    let place = source.place(primary.span.start);
    Origin::path(source.name.as_str())
        .line(place.line)
        .char_column(place.column)
}

fn annotated<'a>(
    source: &'a Source,
    primary: &'a Label,
    secondary: &'a [Label],
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let spans: Vec<_> = std::iter::once(primary)
        .chain(secondary)
        .map(|label| source.clamp(&label.span))
        .collect();
    let window = spans
        .iter()
        .map(|span| source.lines(span))
        .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
        .unwrap_or_default();
    let labels = std::iter::once((AnnotationKind::Primary, primary))
        .chain(secondary.iter().map(|l| (AnnotationKind::Context, l)));
    let annotations = labels.zip(&spans).map(|((kind, label), span)| {
        let text = (!label.text.is_empty()).then_some(label.text.as_str());
        kind.span(relative(span, &window)).label(text)
    });
    snippet(source, &window)
        .path(source.name.as_str())
        .annotations(annotations)
}

/// Only the lines needed: what is outside the window costs nothing.
fn snippet<'a, T: Clone>(source: &'a Source, window: &Range<usize>) -> Snippet<'a, T> {
    Snippet::source(&source.text[window.clone()]).line_start(source.place(window.start).line)
}

fn relative(span: &Range<usize>, window: &Range<usize>) -> Range<usize> {
    span.start - window.start..span.end - window.start
}
