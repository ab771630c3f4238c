//! The data of one diagnostic.

use std::ops::Range;
use std::sync::Arc;

use crate::Source;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file can be used, but the user should know.
    Warning,
    /// The file cannot be used.
    Error,
}

impl Severity {
    /// The word shown for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A byte range of a source and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The file pointed into, if it is another than the diagnostic's.
    pub source: Option<Arc<Source>>,
    /// The bytes meant.
    pub span: Range<usize>,
    /// What is the matter here; may be empty.
    pub text: String,
}

impl Label {
    /// The file it points into: its own, else that of its diagnostic.
    pub fn source_in<'a>(&'a self, diagnostic: &'a Diagnostic) -> Option<&'a Arc<Source>> {
        self.source.as_ref().or(diagnostic.source.as_ref())
    }
}

/// An edit that solves the problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// The file to edit, if it is another than the diagnostic's.
    pub source: Option<Arc<Source>>,
    /// What the edit does, for example `a key with a similar name exists`.
    pub message: String,
    /// The bytes to replace.
    pub span: Range<usize>,
    /// The text to put there.
    pub replacement: String,
}

impl Suggestion {
    /// The file it edits: its own, else that of its diagnostic.
    pub fn source_in<'a>(&'a self, diagnostic: &'a Diagnostic) -> Option<&'a Arc<Source>> {
        self.source.as_ref().or(diagnostic.source.as_ref())
    }

    /// The same for where an edit cannot be shown.
    pub fn in_words(&self) -> String {
        format!("{}: `{}`", self.message, self.replacement)
    }
}

/// One thing to tell the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable code such as `P0101`.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, on its own.
    pub message: String,
    /// The file it is about, if it is about one.
    pub source: Option<Arc<Source>>,
    /// Where it is wrong; none when no place in the file is to blame.
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

    /// Points at the place that is wrong, in the diagnostic's file.
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

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
