//! Errors, each with the way out.

use std::io;
use std::path::PathBuf;

/// Reason why files of a model are not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that is not one of the hub.
    #[error("`{name}` is no {kind} of the hub: {expected}")]
    Name {
        /// Kind of the name.
        kind: &'static str,
        /// The name.
        name: String,
        /// The rule that it breaks.
        expected: &'static str,
    },
    /// The hub cannot be reached, and the files are not in the cache folder.
    #[error(
        "{endpoint} cannot be reached ({reason}), and not all files of `{id}` are in {}: give a mirror by `HF_ENDPOINT`; or on a machine that reaches the hub run `prony model pull {id}{files}` or `hf download {id}{files}`, and copy its folder {} there; or set the model's `path` to files that you have", folder.display(), folder.display()
    )]
    Unreachable {
        /// Address of the hub.
        endpoint: Box<str>,
        /// The model.
        id: Box<str>,
        /// The files, each after a blank.
        files: Box<str>,
        /// Reason in words.
        reason: Box<str>,
        /// The model's folder in the cache folder.
        folder: PathBuf,
    },
    /// The hub refuses.
    #[error("{endpoint} does not give `{id}`: {reason}")]
    Refused {
        /// Address of the hub.
        endpoint: String,
        /// The model.
        id: String,
        /// Reason in words, with the way out.
        reason: String,
    },
    /// An answer that is none of a hub.
    #[error("{endpoint} does not answer like a hub: {reason}; is `HF_ENDPOINT` right?")]
    Answer {
        /// Address of the hub.
        endpoint: String,
        /// Reason in words.
        reason: String,
    },
    /// No file has a name that is wanted.
    #[error("`{id}` has no file `{pattern}` at {commit}; it has {there}")]
    NoFile {
        /// The model.
        id: String,
        /// The name that is wanted.
        pattern: String,
        /// The commit.
        commit: String,
        /// Files that there are.
        there: String,
    },
    /// A file is not what it should be.
    #[error("{}: {reason}", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// Difference, with the way out.
        reason: String,
    },
    /// A download that broke off too often. What has come is kept.
    #[error("{url} breaks off ({reason}); what has come is kept: start again to go on")]
    BrokenOff {
        /// Address of the file.
        url: String,
        /// Last reason in words.
        reason: String,
    },
    /// The disk has no room.
    #[error("{id} needs {needed} more in {}, and {free} are free: make room, or set `HF_HUB_CACHE` to a folder elsewhere", cache.display())]
    Full {
        /// The model.
        id: String,
        /// Bytes needed, for people.
        needed: String,
        /// Bytes free, for people.
        free: String,
        /// Cache folder.
        cache: PathBuf,
    },
    /// A file or folder that cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Reason.
        error: io::Error,
    },
    /// A damaged lock file.
    #[error("{}: {reason}; delete it to lock the models anew", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Reason in words.
        reason: String,
    },
    /// Ended by [`Watch::is_interrupted`](crate::Watch::is_interrupted).
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }
}

/// Result of the hub.
pub type Result<T, E = Error> = std::result::Result<T, E>;
