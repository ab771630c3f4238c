//! For people: the source line with the place underlined, as in rustc.

use std::ops::Range;

use annotate_snippets::{
    Annotation, AnnotationKind, Element, Group, Level, Origin, Padding, Patch, Renderer, Snippet,
};

use crate::{Diagnostic, Label, Severity, Source, Suggestion};

/// Maximum length of a line that is shown, in bytes. Layout time grows with the length,
/// and nobody reads lines this long.
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
    let mut elements = Vec::new();
    if let (Some(source), None) = (&diagnostic.source, &diagnostic.primary) {
        elements.push(Origin::path(source.name.as_str()).into());
    }
    for (source, labels) in by_source(diagnostic) {
        if labels.iter().all(|(_, label)| fits(source, &label.span)) {
            elements.push(annotated(source, &labels).into());
        } else {
            for (_, label) in labels {
                name_place(&mut elements, source, label);
            }
        }
    }
    elements.extend(diagnostic.notes.iter().map(|it| message(Level::NOTE, it)));
    elements.extend(diagnostic.help.iter().map(|it| message(Level::HELP, it)));
    let mut edit = None;
    if let Some(suggestion) = &diagnostic.suggestion {
        match suggestion.source_in(diagnostic) {
            Some(source) if fits(source, &suggestion.span) => {
                edit = Some(edited(source, suggestion));
            }
            _ => elements.push(Level::HELP.message(suggestion.in_words()).into()),
        }
    }
    let main = Group::with_title(title).elements(elements);
    std::iter::once(main).chain(edit).collect()
}

fn message<'a>(level: Level<'a>, text: &'a str) -> Element<'a> {
    level.message(text).into()
}

type Labels<'a> = Vec<(AnnotationKind, &'a Label)>;

/// The labels of each file, the file of the primary label first: a file is
/// shown once.
fn by_source(diagnostic: &Diagnostic) -> Vec<(&Source, Labels<'_>)> {
    let primary = diagnostic.primary.iter();
    let labels = primary.map(|label| (AnnotationKind::Primary, label)).chain(
        diagnostic
            .secondary
            .iter()
            .map(|label| (AnnotationKind::Context, label)),
    );
    let mut files: Vec<(&Source, Labels<'_>)> = Vec::new();
    for (kind, label) in labels {
        let Some(source) = label.source_in(diagnostic) else {
            continue;
        };
        match files.iter_mut().find(|(known, _)| *known == &**source) {
            Some((_, labels)) => labels.push((kind, label)),
            None => files.push((source, vec![(kind, label)])),
        }
    }
    files
}

/// Returns `true` if the lines of a range are short enough to be shown.
fn fits(source: &Source, span: &Range<usize>) -> bool {
    source.lines(&source.clamp(span)).len() <= MAX_LINE
}

/// Names only the place, for a line that is too long to show.
fn name_place<'a>(elements: &mut Vec<Element<'a>>, source: &'a Source, label: &'a Label) {
    if !elements.is_empty() {
        elements.push(Padding.into());
    }
    let place = source.place(label.span.start);
    let origin = Origin::path(source.name.as_str())
        .line(place.line)
        .char_column(place.column);
    elements.push(origin.into());
    if !label.text.is_empty() {
        elements.push(message(Level::NOTE, &label.text));
    }
}

fn annotated<'a>(source: &'a Source, labels: &Labels<'a>) -> Snippet<'a, Annotation<'a>> {
    let spans: Vec<_> = labels
        .iter()
        .map(|(_, label)| source.clamp(&label.span))
        .collect();
    let window = spans
        .iter()
        .map(|span| source.lines(span))
        .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
        .unwrap_or_default();
    let annotations = labels.iter().zip(&spans).map(|((kind, label), span)| {
        let text = (!label.text.is_empty()).then_some(label.text.as_str());
        kind.span(relative(span, &window)).label(text)
    });
    snippet(source, &window).annotations(annotations)
}

fn edited<'a>(source: &'a Source, suggestion: &'a Suggestion) -> Group<'a> {
    let span = source.clamp(&suggestion.span);
    let window = source.lines(&span);
    let patch = Patch::new(relative(&span, &window), suggestion.replacement.as_str());
    Level::HELP
        .secondary_title(suggestion.message.as_str())
        .element(snippet(source, &window).patch(patch))
}

/// Only the lines needed: text outside the window costs nothing.
fn snippet<'a, T: Clone>(source: &'a Source, window: &Range<usize>) -> Snippet<'a, T> {
    Snippet::source(&source.text[window.clone()])
        .line_start(source.place(window.start).line)
        .path(source.name.as_str())
}

fn relative(span: &Range<usize>, window: &Range<usize>) -> Range<usize> {
    span.start - window.start..span.end - window.start
}
