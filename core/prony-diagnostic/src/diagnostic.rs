//! The data of one diagnostic.

use std::ops::Range;
use std::sync::Arc;

use crate::Source;

/// Severity of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file can be used, but the user should know.
    Warning,
    /// The file cannot be used.
    Error,
}

impl Severity {
    /// Name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A byte range of a source, with a text about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The file of the range, if other than the diagnostic's.
    pub source: Option<Arc<Source>>,
    /// The byte range.
    pub span: Range<usize>,
    /// Description of the problem here; may be empty.
    pub text: String,
}

impl Label {
    /// The file of the label: its own, else that of its diagnostic.
    pub fn source_in<'a>(&'a self, diagnostic: &'a Diagnostic) -> Option<&'a Arc<Source>> {
        self.source.as_ref().or(diagnostic.source.as_ref())
    }
}

/// An edit that solves the problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// The file to edit, if other than the diagnostic's.
    pub source: Option<Arc<Source>>,
    /// Description of the edit, for example `a key with a similar name exists`.
    pub message: String,
    /// The byte range to replace.
    pub span: Range<usize>,
    /// The replacement.
    pub replacement: String,
}

impl Suggestion {
    /// The file to edit: its own, else that of its diagnostic.
    pub fn source_in<'a>(&'a self, diagnostic: &'a Diagnostic) -> Option<&'a Arc<Source>> {
        self.source.as_ref().or(diagnostic.source.as_ref())
    }

    /// The suggestion in words, where an edit cannot be shown.
    pub fn in_words(&self) -> String {
        format!("{}: `{}`", self.message, self.replacement)
    }
}

/// One message to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable code such as `P0101`.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// Description of the problem, readable on its own.
    pub message: String,
    /// The file concerned, if any.
    pub source: Option<Arc<Source>>,
    /// Place of the problem; `None` if no place in the file is to blame.
    pub primary: Option<Label>,
    /// Other places that explain it.
    pub secondary: Vec<Label>,
    /// Facts.
    pub notes: Vec<String>,
    /// Actions.
    pub help: Vec<String>,
    /// An edit; only if applying it gives a valid file.
    pub suggestion: Option<Suggestion>,
}

impl Diagnostic {
    /// An error without a place yet.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    /// A warning without a place yet.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    fn new(severity: Severity, code: &'static str, message: String) -> Self {
        Self {
            code,
            severity,
            message,
            source: None,
            primary: None,
            secondary: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
            suggestion: None,
        }
    }

    /// Names the file without pointing into it.
    #[must_use]
    pub fn in_file(mut self, source: &Arc<Source>) -> Self {
        self.source = Some(Arc::clone(source));
        self
    }

    /// Points at the place of the problem, in the diagnostic's file.
    #[must_use]
    pub fn at(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.primary = Some(Label {
            source: None,
            span,
            text: label.into(),
        });
        self
    }

    /// Points at a place that explains it, in the diagnostic's file.
    #[must_use]
    pub fn and(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.secondary.push(Label {
            source: None,
            span,
            text: label.into(),
        });
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Adds an action.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Offers an edit of the diagnostic's file.
    #[must_use]
    pub fn suggest(
        mut self,
        message: impl Into<String>,
        span: Range<usize>,
        replacement: impl Into<String>,
    ) -> Self {
        self.suggestion = Some(Suggestion {
            source: None,
            message: message.into(),
            span,
            replacement: replacement.into(),
        });
        self
    }

    /// Returns `true` for an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
