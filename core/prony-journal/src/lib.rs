//! The journal of a run, and everything computed from it.
//!
//! ```text
//! Runner ─ Writer ─ journal.jsonl ─ read ─ samples ─ result ─ report
//! ```
//!
//! Every number of a report takes the same way: [`read`], [`result_of`]; in `prony run`
//! right after the run, in `prony report` at any later time.

mod detail;
mod folder;
mod groups;
mod inputs;
mod interim;
mod journal;
mod left_out;
mod line;
mod listed;
mod measurements;
mod merge;
mod noise;
mod past;
mod reader;
mod recorded;
mod report;
mod result;
mod samples;
mod source;
mod subject;
mod verify;
mod warnings;
mod writer;

pub use folder::{Newest, RunFolder, find_run, newest_run, now, pipeline_folder, runs};
pub use inputs::{Digests, Input, InputKind};
pub use interim::InterimAnalyses;
pub use journal::{
    Cause, Event, Family, Journal, KnownNoise, ModelInfo, SCHEMA, Scope, StageEnergy, StageOf,
    Started, Subject, Visited, World, is_running,
};
pub use left_out::{LeftOut, LeftOutCycles};
pub use listed::{ListCache, Listed, ListedVerdict, listed};
pub use measurements::{Measurement, measurements};
pub use merge::{NoParts, merge};
pub use noise::Noise;
pub use past::past;
pub use reader::{MAX_LINE, Placed, Reader, read};
pub use recorded::{recorded, result_file, seconds_between};
pub use report::{Reported, files, keep_result, report, wanted};
pub use result::{Extent, result, result_of, result_with};
pub use subject::{api, plugins, source_of_prompts, subject};
pub use verify::{Verified, verify};
pub use writer::{Reopened, Writer};

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
    /// The journal is not what it was a moment ago.
    #[error("`{}` was changed while it was read", path.display())]
    Changed {
        /// The journal.
        path: std::path::PathBuf,
    },
    /// An event from which the secrets cannot be removed.
    #[error("secrets cannot be taken out of the journal: {0}")]
    Secrets(serde_json::Error),
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
    /// A folder has files that a run in it would write over.
    #[error("`{}` holds `{found}`, and no run of this command: give a new or an empty folder", path.display())]
    NotARun {
        /// The folder.
        path: std::path::PathBuf,
        /// Name of a file in it.
        found: String,
    },
    /// A file is not a result of prony, or has another version.
    #[error("`{}` is not a result that prony can read: {reason}", path.display())]
    NotAResult {
        /// The file.
        path: std::path::PathBuf,
        /// Reason for rejecting it.
        reason: String,
    },
    /// A run cannot be resumed: it would be another experiment.
    #[error(
        "the run cannot be resumed, since it would be another experiment: {}",
        named(differences)
    )]
    Differs {
        /// The differences.
        differences: Vec<Difference>,
    },
    /// Answers of a run are left in a file that the next stage would write over.
    #[error("{0}; to go on without them, move the file out of the folder")]
    Left(String),
    /// A run has ended, so nothing is left to resume.
    #[error("the run has ended ({}), so nothing is left to resume", outcome.word())]
    Ended {
        /// Its outcome.
        outcome: prony_result::Outcome,
    },
    /// Runs are not parts of one.
    #[error(transparent)]
    NoParts(#[from] NoParts),
    /// A plugin is missing or damaged.
    #[error(transparent)]
    Plugin(#[from] prony_plugin_host::Error),
}

/// Something that must be the same in a run that is resumed, and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub what: String,
    /// Value when the run began.
    pub then: String,
    /// Value now.
    pub now: String,
}

fn named(differences: &[Difference]) -> String {
    let names: Vec<&str> = differences.iter().map(|it| it.what.as_str()).collect();
    names.join(", ")
}

/// A row for each difference, with the columns in line.
pub fn table(differences: &[Difference]) -> Vec<String> {
    let width = |of: fn(&Difference) -> &str| {
        let lengths = differences.iter().map(|it| of(it).chars().count());
        lengths.max().unwrap_or_default()
    };
    let (what, then) = (width(|it| &it.what), width(|it| &it.then));
    let rows = differences.iter().map(|it| {
        format!(
            "  {:what$}  then {:then$}  now {}",
            it.what, it.then, it.now
        )
    });
    rows.collect()
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
