//! Finds `${{ }}` in a text.

use std::ops::Range;

pub(super) const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// Maximum length of an expression in bytes, with its `}}`. It bounds the work on hostile
/// texts.
pub(super) const MAX_EXPRESSION: usize = 500;

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Literal text.
    Text(&'a str),
    /// The inside of a template.
    Expression(&'a str),
}

/// A template that is opened but not closed within the limit, by the offset of its `${{`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclosed(pub(super) usize);

/// Returns `true` if a text contains a template.
pub fn is_template(text: &str) -> bool {
    text.contains(OPEN)
}

/// Offsets of the templates in a text.
pub(super) fn starts(text: &str) -> impl Iterator<Item = usize> {
    text.match_indices(OPEN).map(|(at, _)| at)
}

/// The parts of a text in order, without empty texts. An unclosed template ends it.
pub(super) fn parts(text: &str) -> impl Iterator<Item = Result<Part<'_>, Unclosed>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        let (part, end) = match rest.find(OPEN) {
            _ if rest.is_empty() => return None,
            None => (Ok(Part::Text(rest)), text.len()),
            Some(0) => match inside(text, at) {
                None => (Err(Unclosed(at)), text.len()),
                Some(inner) => {
                    let end = inner.end + CLOSE.len();
                    (Ok(Part::Expression(&text[inner])), end)
                }
            },
            Some(open) => (Ok(Part::Text(&rest[..open])), at + open),
        };
        at = end;
        Some(part)
    })
}

/// The inside of the template that opens at an offset. A `}}` in a string or of an inner
/// mapping does not close it, unless nothing else does.
fn inside(text: &str, open: usize) -> Option<Range<usize>> {
    let start = open + OPEN.len();
    let limit = text.floor_char_boundary(start + MAX_EXPRESSION);
    let window = &text[start..limit];
    let end = balanced_end(window).or_else(|| window.find(CLOSE))?;
    Some(start..start + end)
}

fn balanced_end(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0_usize;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth > 0 => depth -= 1,
            (None, '}') if text[at..].starts_with(CLOSE) => return Some(at),
            _ => {}
        }
    }
    None
}
