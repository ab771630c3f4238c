//! The history of a benchmark: a folder with a line for each candidate of each run, and the
//! changes that its series show.
//!
//! A run becomes [`Record`]s by [`records`], a folder of them is a [`Store`], and one of its files,
//! analysed, is a [`Series`], which [`text`] and [`page`] show.  Design: docs/history.md.

mod identity;
mod page;
mod record;
mod series;
mod show;
mod store;

pub use identity::Identities;
pub use page::page;
pub use record::{Absolute, Build, Given, Phases, Record, SCHEMA, records};
pub use series::{Change, Run, Segment, Series, Suspicion, day, short};
pub use show::text;
pub use store::{Added, CODES, Store, add};

use std::path::PathBuf;

/// Reason why a history was not read, or got no line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A plugin of the run is not installed: its options could not be told apart, and the run
    /// would be put into another series.
    #[error(
        "the plugin `{plugin}` of the engine `{engine}` is not installed here, so nothing says which of its options choose a version: install it (`prony plugin add`), or name its lock with `--lock`"
    )]
    NoPlugin {
        /// Name of the plugin.
        plugin: String,
        /// Name of the engine in the pipeline.
        engine: String,
    },
    /// A file or folder cannot be read or written.
    #[error("`{}`: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A line cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}
