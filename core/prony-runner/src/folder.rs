//! Where a run's files are.

use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// `results/<date-time>-<name>/`.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Creates the folder of a new run below `results` and lets `latest` point
    /// to it.
    pub fn create(results: &Path, name: &str) -> Result<Self> {
        std::fs::create_dir_all(results).map_err(Error::io(results))?;
        let stamp = jiff::Timestamp::now()
            .strftime("%Y-%m-%d-%H-%M-%S")
            .to_string();
        let mut id = format!("{stamp}-{name}");
        for attempt in 2.. {
            let path = results.join(&id);
            match std::fs::create_dir(&path) {
                Ok(()) => break,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    id = format!("{stamp}-{name}-{attempt}");
                }
                Err(error) => {
                    return Err(Error::Io {
                        path,
                        source: error,
                    });
                }
            }
        }
        let folder = Self {
            path: results.join(&id),
        };
        let logs = folder.logs();
        std::fs::create_dir(&logs).map_err(Error::io(logs))?;
        point_latest(results, &id)?;
        Ok(folder)
    }

    /// An existing run's folder.
    pub fn open(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name.
    pub fn id(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// The pipeline with every default spelled out.
    pub fn pipeline(&self) -> PathBuf {
        self.path.join("pipeline.yaml")
    }

    /// What engines and steps printed.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
}

/// Replaces `latest` so that it always points to a run.
fn point_latest(results: &Path, id: &str) -> Result<()> {
    let latest = results.join("latest");
    let new = results.join(format!(".latest-{}", std::process::id()));
    // A left-over of a killed process.
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(id, &new).map_err(Error::io(&new))?;
    std::fs::rename(&new, &latest).map_err(Error::io(latest))
}

/// The run that a user names: a folder, its journal or result, or a name below
/// `results` (`latest`, …).
pub fn find_run(results: &Path, name: &str) -> Result<RunFolder> {
    let named = Path::new(name);
    let parent = named.parent().filter(|_| named.is_file());
    let candidates = [
        parent.map(Path::to_owned),
        Some(named.to_owned()),
        Some(results.join(name)),
    ];
    for path in candidates.into_iter().flatten() {
        let path = path.canonicalize().unwrap_or(path);
        let folder = RunFolder::open(&path);
        if folder.journal().is_file() {
            return Ok(folder);
        }
    }
    Err(Error::NoRun {
        name: name.to_owned(),
        results: results.to_owned(),
    })
}
