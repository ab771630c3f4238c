//! The folder of a run and the files in it.

use crate::journal::{self, Event};
use crate::{Error, Result};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// `results/<date-time>-<name>/`.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Creates the folder of a new run below `results`.
    pub fn create(results: &Path, name: &str) -> Result<Self> {
        std::fs::create_dir_all(results).map_err(Error::io(results))?;
        let stamp = now().strftime("%Y-%m-%d-%H-%M-%S").to_string();
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

    /// Points `latest`, beside the folder, to it: the run has ended and is reported.
    pub fn make_latest(&self) -> Result<()> {
        let results = self.path.parent().unwrap_or(Path::new("."));
        point_latest(results, &self.id())
    }

    /// The folder of an existing run.
    pub fn open(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the folder.
    pub fn id(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Path of the journal.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// Path of the pipeline with every default spelled out.
    pub fn pipeline(&self) -> PathBuf {
        self.path.join("pipeline.yaml")
    }

    /// Path of the output of engines and steps.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
}

/// The time, or the nearest one that can be written, if the clock is set to another age.
pub fn now() -> Timestamp {
    written(SystemTime::now())
}

fn written(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(if time < SystemTime::UNIX_EPOCH {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// Replaces `latest` atomically, so that it always points to a run.
fn point_latest(results: &Path, id: &str) -> Result<()> {
    let latest = results.join("latest");
    let new = results.join(format!(".latest-{}", std::process::id()));
    // Left over from a killed process.
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(id, &new).map_err(Error::io(&new))?;
    std::fs::rename(&new, &latest)
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&new);
        })
        .map_err(Error::io(latest))
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

/// Finds the run named by a user: a folder, its journal or result, or a name below
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
    // No run has ended yet, but one may have died or be in progress.
    if let ("latest", Some(newest)) = (name, runs(results).pop()) {
        return Ok(newest);
    }
    Err(Error::NoRun {
        name: name.to_owned(),
        results: results.to_owned(),
        similar: similar(results, name),
    })
}

/// Maximum number of runs suggested in place of a missing one.
const OFFERED: usize = 3;

/// The runs that may be meant by a name: those that contain it, newest first, or else the
/// most similar.
fn similar(results: &Path, name: &str) -> Vec<String> {
    let ids: Vec<String> = runs(results).iter().map(RunFolder::id).collect();
    let containing = ids.iter().rev().filter(|id| id.contains(name));
    let mut offered: Vec<String> = containing.cloned().collect();
    if offered.is_empty() {
        let ids = ids.iter().map(String::as_str);
        let nearest = prony_config::nearest(name, ids).into_iter();
        offered = nearest.map(ToOwned::to_owned).collect();
    }
    offered.truncate(OFFERED);
    offered
}

/// Formats names for the end of a message.
pub(crate) fn named(similar: &[String]) -> String {
    let names: Vec<String> = similar.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("; similar: {}", names.join(", "))
    }
}

/// The run used if none is named.
#[derive(Debug)]
pub struct Newest {
    /// The newest run that is over.
    pub folder: RunFolder,
    /// The run that `latest` points to, if it is another one: the newest died.
    pub latest: Option<RunFolder>,
    /// Newer runs still in progress.
    pub running: Vec<RunFolder>,
}

/// The newest run below `results` that is over, whether it ended or died.
pub fn newest_run(results: &Path) -> Result<Newest> {
    let mut newest = Newest {
        folder: find_run(results, "latest")?,
        latest: None,
        running: Vec::new(),
    };
    let latest = newest.folder.id();
    let later = runs(results).into_iter().rev();
    for run in later.take_while(|run| run.id() > latest) {
        // In this order: a run that ends in between has a last line.
        let running = journal::is_running(&run.journal());
        // A run that died before its first line has nothing to report.
        let Ok(journal) = journal::read(&run.journal()) else {
            continue;
        };
        // A run with an end, newer than `latest`, ended before the one that `latest`
        // points to.
        if matches!(journal.events.last(), Some(Event::Finished { .. })) {
            continue;
        }
        if running {
            newest.running.push(run);
        } else {
            newest.latest = Some(std::mem::replace(&mut newest.folder, run));
            break;
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn any_clock_gives_a_time() {
        for seconds in [0, 1 << 31, 253_402_207_200, 1 << 40, 1 << 62] {
            let far = Duration::from_secs(seconds);
            for time in [
                SystemTime::UNIX_EPOCH.checked_add(far),
                SystemTime::UNIX_EPOCH.checked_sub(far),
            ] {
                let text = time.map(|time| written(time).strftime("%Y-%m-%dT%H").to_string());
                assert!(text.is_none_or(|text| text.len() >= 13), "{seconds}");
            }
        }
    }

    #[test]
    fn what_cannot_be_replaced_by_a_link_stays() {
        let results = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(results.path().join("latest")).expect("a folder");
        std::fs::write(results.path().join("latest/mine"), "").expect("a file");
        assert!(point_latest(results.path(), "run").is_err());
        let left = std::fs::read_dir(results.path()).expect("a folder").count();
        assert_eq!(left, 1);
    }
}
