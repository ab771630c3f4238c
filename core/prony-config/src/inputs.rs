//! Inputs of loading a pipeline.

use crate::Plugins;
use crate::foreign::Tool;
use crate::named::NamedFile;

/// A file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The reason in words.
    pub reason: String,
    /// The way out, if there is more to say than to name another file.
    pub help: Option<String>,
}

impl Unreadable {
    /// The way out for any of them.
    pub(crate) const HELP: &'static str =
        "name a file that is there and can be read, with UTF-8 text in it";
}

impl From<&str> for Unreadable {
    fn from(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            help: None,
        }
    }
}

/// All inputs of loading a pipeline. Nothing else is read.
pub struct Inputs<'a> {
    /// Name and text of the pipeline file, then of its overlays.
    pub files: Vec<(String, String)>,
    /// `PATH=VALUE` settings, applied in order after all files.
    pub set: &'a [String],
    /// `NAME=VALUE` of variables that the pipeline declares.
    pub var: &'a [String],
    /// Reads a file that a pipeline extends.
    pub read: &'a dyn Fn(&str) -> Result<String, Unreadable>,
    /// Looks at a file that the pipeline names, such as a model: why it cannot be read, in words
    /// that name it. Asked of a pipeline without other mistakes and without steps in `setup`,
    /// which may make the files; not with [`assume_env`](Self::assume_env).
    pub look: &'a dyn Fn(&NamedFile) -> Result<(), Unreadable>,
    /// Looks up an environment variable listed by the pipeline.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Takes variables that are not set for set, to any value; only for [`check_all`](crate::check_all).
    pub assume_env: bool,
    /// The installed plugins.
    pub plugins: &'a dyn Plugins,
    /// The tools whose files are told from pipelines.
    pub tools: &'a [Tool],
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
            read: &|_| Err("there is nothing to read it with".into()),
            look: &|_| Ok(()),
            env: &|_| None,
            assume_env: false,
            plugins,
            tools: &[],
        }
    }
}
