//! The journal of a run, and everything computed from it.
//!
//! ```text
//! Runner ─ Writer ─ journal.jsonl ─ read ─ samples ─ result ─ report
//! ```
//!
//! Every number of a report takes the same way: [`read`], [`result_of`]; in `prony run`
//! right after the run, in `prony report` at any later time.

mod folder;
mod interim;
mod journal;
mod noise;
mod past;
mod recorded;
mod report;
mod result;
mod samples;
mod subject;

pub use folder::{Newest, RunFolder, find_run, newest_run, now, runs};
pub use interim::InterimAnalyses;
pub use journal::{
    Event, Family, Journal, KnownNoise, ModelInfo, SCHEMA, Scope, StageEnergy, StageOf, Started,
    Subject, Visited, Writer, is_running, read,
};
pub use noise::Noise;
pub use past::past;
pub use recorded::{recorded, seconds_between};
pub use report::{Reported, report};
pub use result::{result, result_of};
pub use subject::{api, mask, plugins, redact, source_of_prompts, subject};

/// Errors that prevent a run or a report. Failures of engines and models are not errors:
/// they are part of the result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the run could not be read or written.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The journal is damaged.
    #[error("`{}`, line {line}: {reason}", path.display())]
    Journal {
        /// The journal.
        path: std::path::PathBuf,
        /// Line, from 1.
        line: usize,
        /// Description of the damage.
        reason: String,
    },
    /// There is no such run.
    #[error("there is no run `{name}`: give a folder below `{}`, `latest`, or a path{}", results.display(), folder::named(similar))]
    NoRun {
        /// Name that was asked for.
        name: String,
        /// Folder of the runs.
        results: std::path::PathBuf,
        /// Runs with similar names.
        similar: Vec<String>,
    },
    /// A file is not a result of prony, or has another version.
    #[error("`{}` is not a result that prony can read: {reason}", path.display())]
    NotAResult {
        /// The file.
        path: std::path::PathBuf,
        /// Reason for rejecting it.
        reason: String,
    },
    /// A plugin is missing or damaged.
    #[error(transparent)]
    Plugin(#[from] prony_plugin_host::Error),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Wraps an I/O error with the path of the file.
    pub fn io(path: impl Into<std::path::PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

#[cfg(test)]
mod tests;
