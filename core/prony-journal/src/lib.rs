//! The journal of a run, and everything that is computed from it.
//!
//! ```text
//! Runner ─ Writer ─ journal.jsonl ─ read ─ samples ─ result ─ report
//! ```
//!
//! A number of a report has one way: [`read`], [`result_of`]. `prony run` takes it
//! right after a run, `prony report` whenever it is asked for again.

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

pub use folder::{Newest, RunFolder, find_run, newest_run, runs};
pub use interim::InterimAnalyses;
pub use journal::{
    Event, Family, Journal, ModelInfo, SCHEMA, Scope, StageOf, Started, Subject, Visited, Writer,
    is_running, read,
};
pub use noise::{KnownNoise, Noise};
pub use past::past;
pub use recorded::{recorded, seconds_between};
pub use report::{Reported, report};
pub use result::{result, result_of};
pub use subject::{api, mask, plugins, redact, source_of_prompts, subject};

/// Why a run could not go on at all. Failures of engines and models are no
/// errors: they are part of the result.
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
        /// What is wrong.
        reason: String,
    },
    /// No such run.
    #[error("there is no run `{name}`: give a folder below `{}`, `latest`, or a path{}", results.display(), folder::named(similar))]
    NoRun {
        /// What was asked for.
        name: String,
        /// Where runs are.
        results: std::path::PathBuf,
        /// Runs whose names are like it.
        similar: Vec<String>,
    },
    /// A file is no result of prony's, or of another version.
    #[error("`{}` is not a result that prony can read: {reason}", path.display())]
    NotAResult {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        reason: String,
    },
    /// A plugin is missing or damaged.
    #[error(transparent)]
    Plugin(#[from] prony_plugin_host::Error),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Of a file that could not be read or written.
    pub fn io(path: impl Into<std::path::PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

#[cfg(test)]
mod tests;
