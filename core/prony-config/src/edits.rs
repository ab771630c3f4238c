//! Edits that diagnostics offer.

use std::collections::HashMap;

use prony_diagnostic::Diagnostic;

use crate::inputs::Inputs;
use crate::tree::Span;

/// A suggestion is offered only if the pipeline is valid once all of them are
/// applied; otherwise it becomes a help in words.
pub(crate) fn keep_sound(
    inputs: &Inputs<'_>,
    diagnostics: &mut [Diagnostic],
    is_valid: &dyn Fn(&Inputs<'_>) -> bool,
) {
    let mut edits: HashMap<&str, Vec<(Span, &str)>> = HashMap::new();
    for diagnostic in &*diagnostics {
        if let Some(suggestion) = &diagnostic.suggestion
            && let Some(source) = suggestion.source.as_ref().or(diagnostic.source.as_ref())
        {
            let edit = (suggestion.span.clone(), suggestion.replacement.as_str());
            edits.entry(&source.name).or_default().push(edit);
        }
    }
    if edits.is_empty() {
        return;
    }
    let mut sound = true;
    for edits in edits.values_mut() {
        edits.sort_by_key(|(span, _)| span.start);
        edits.dedup();
        sound &= edits.is_sorted_by(|(a, _), (b, _)| a.end <= b.start);
    }
    let edited = |name: &str, text: &str| {
        edits
            .get(name)
            .map_or_else(|| text.to_owned(), |edits| apply(text, edits))
    };
    // Arguments share their names, so an edit of one cannot be tried out.
    sound &= !edits.keys().any(|name| name.starts_with("--"));
    if sound {
        let files = inputs
            .files
            .iter()
            .map(|(name, text)| (name.clone(), edited(name, text)));
        let tried = Inputs {
            files: files.collect(),
            // An edit is about the text.
            look: &|_| Ok(()),
            read: &|name| (inputs.read)(name).map(|text| edited(name, &text)),
            ..*inputs
        };
        if is_valid(&tried) {
            return;
        }
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
