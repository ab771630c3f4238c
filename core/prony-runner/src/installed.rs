//! Engines that prony installed, each in a Python environment of its own in the cache folder.

use prony_contract::Packages;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Name of the record in an environment, which is written last: an environment without one is
/// not whole.
pub const RECORD: &str = "prony.json";

/// The record of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The engine's packages and their places, of this system only.
    pub packages: Packages,
    /// Every package with its version, for example `mlx-lm==0.32.2`, and the commit of the
    /// repository, if there is one.
    pub versions: Vec<String>,
}

impl Installed {
    /// The whole environment of an engine, by the name of its plugin; `None` if there is none.
    pub fn of(cache: &Path, engine: &str) -> Option<Self> {
        let record = std::fs::read(folder(cache, engine).join(RECORD)).ok()?;
        serde_json::from_slice(&record).ok()
    }
}

/// Folder of an engine's environment, whole or not.
pub fn folder(cache: &Path, engine: &str) -> PathBuf {
    cache.join("engines").join(engine)
}
