//! Where a run's files are.

use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// `results/<date-time>-<name>/`.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Creates the folder of a new run below `results`.
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
        Ok(folder)
    }

    /// Lets `latest` beside the folder point to it: the run has ended.
    pub fn make_latest(&self) -> Result<()> {
        let results = self.path.parent().unwrap_or(Path::new("."));
        point_latest(results, &self.id())
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

/// The runs below `results`, oldest first.
pub fn runs(results: &Path) -> Vec<RunFolder> {
    let entries = std::fs::read_dir(results).into_iter().flatten().flatten();
    let mut runs: Vec<RunFolder> = entries
        // Not `latest`, which is a link.
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| RunFolder::open(&entry.path()))
        .filter(|folder| folder.journal().is_file())
        .collect();
    // Ids start with the time.
    runs.sort_by_key(RunFolder::id);
    runs
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
    // No run has ended yet, but one may have died or be going on.
    if let ("latest", Some(newest)) = (name, runs(results).pop()) {
        return Ok(newest);
    }
    Err(Error::NoRun {
        name: name.to_owned(),
        results: results.to_owned(),
    })
}
