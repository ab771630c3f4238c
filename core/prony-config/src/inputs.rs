//! Inputs of loading a pipeline.

use crate::Plugins;
use crate::foreign::Importer;

/// All inputs of loading a pipeline. Nothing else is read.
pub struct Inputs<'a> {
    /// Name and text of the pipeline file, then of its overlays.
    pub files: Vec<(String, String)>,
    /// `PATH=VALUE` settings, applied in order after all files.
    pub set: &'a [String],
    /// `NAME=VALUE` of variables that the pipeline declares.
    pub var: &'a [String],
    /// Reads a file that a pipeline extends; the error is a reason in words.
    pub read: &'a dyn Fn(&str) -> Result<String, String>,
    /// Looks up an environment variable listed by the pipeline.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The installed plugins.
    pub plugins: &'a dyn Plugins,
    /// The tools whose files are told from pipelines.
    pub importers: &'a [Importer],
}

impl<'a> Inputs<'a> {
    /// Returns `true` if there are several files, or settings.
    pub(crate) fn is_layered(&self) -> bool {
        self.files.len() > 1 || !self.set.is_empty()
    }

    /// A single file without overlays or settings.
    pub fn one(name: &str, text: &str, plugins: &'a dyn Plugins) -> Self {
        Self {
            files: vec![(name.to_owned(), text.to_owned())],
            set: &[],
            var: &[],
            read: &|_| Err("there is nothing to read it with".to_owned()),
            env: &|_| None,
            plugins,
            importers: &[],
        }
    }
}
