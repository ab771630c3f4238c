//! The text that a diagnostic points into.

use std::ops::Range;

/// A file as read: display name and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path or name shown to the user.
    pub name: String,
    /// The whole text; empty when the file could not be read.
    pub text: String,
}

/// A position in a text: lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Source {
    /// A source from its name and text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// The line and column of a byte offset; an offset past the end counts as the end.
    pub fn place(&self, offset: usize) -> Place {
        let before = &self.text[..self.boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The lines and columns of a range, whose end is exclusive.
    pub(crate) fn places(&self, span: &Range<usize>) -> Range<Place> {
        let span = self.clamp(span);
        self.place(span.start)..self.place(span.end)
    }

    /// The nearest character boundary at or before an offset.
    fn boundary(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset)
    }

    /// A range that is safe to slice with and not inverted.
    pub(crate) fn clamp(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.boundary(span.start);
        start..self.boundary(span.end).max(start)
    }

    /// The range of the whole lines that a range touches.
    pub(crate) fn lines(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[span.end..]
            .find('\n')
            .map_or(self.text.len(), |at| span.end + at);
        start..end
    }
}
