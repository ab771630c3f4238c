//! The folder of a run and the files in it.

use crate::journal::{self, Event};
use crate::reader;
use crate::{Error, Result};
use jiff::Timestamp;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Component, Path, PathBuf};
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
        folder.make_logs()?;
        // Else a loss of power may lose the folder and all that is in it.
        prony_files::sync_folder(results);
        prony_files::sync_folder(&prony_files::folder(results));
        Ok(folder)
    }

    /// Returns `true` for the name of a file in the folder that a run works with and no result
    /// comes from. It may hold what engines answered, unmasked.
    pub fn is_working_file(name: &str) -> bool {
        matches!(
            name,
            ".spare" | "answers.bin" | "answers.damaged" | "requests.bin"
        )
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

    /// The folder of a run at a path of the user's choice, and `true` if the run has begun. A
    /// new or empty folder will do, and one in which a run was killed before its first line
    /// was whole: nothing had begun, and its files are removed.
    ///
    /// # Errors
    ///
    /// It holds other files, which a run would write over.
    pub fn at(path: &Path) -> Result<(Self, bool)> {
        let folder = Self::open(path);
        std::fs::create_dir_all(path).map_err(Error::io(path))?;
        let journal = folder.journal();
        let mut begin = Vec::new();
        let is_there = match prony_files::open(&journal) {
            Ok(file) => {
                let mut file = BufReader::new(file).take(reader::MAX_LINE as u64);
                let read = file.read_until(b'\n', &mut begin);
                read.map_err(Error::io(&journal))?;
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(Error::io(journal)(error)),
        };
        if reader::is_begin(&begin) && begin.ends_with(b"\n") {
            return Ok((folder, true));
        }
        let is_cut = is_there && reader::is_begin(&begin);
        if let Some(found) = folder.foreign(is_cut)? {
            return Err(Error::NotARun {
                path: path.to_owned(),
                found,
            });
        }
        if is_cut {
            if journal::is_running(&journal) {
                let words = "the run is in progress";
                return Err(Error::io(journal)(std::io::Error::other(words)));
            }
            // The journal last: with it the others are known.
            for entry in std::fs::read_dir(path).map_err(Error::io(path))? {
                let other = entry.map_err(Error::io(path))?.path();
                if other != journal && !other.is_dir() {
                    std::fs::remove_file(&other).map_err(Error::io(&other))?;
                }
            }
            std::fs::remove_file(&journal).map_err(Error::io(&journal))?;
        }
        prony_files::sync_folder(&prony_files::folder(path));
        Ok((folder, false))
    }

    /// Name of a file that is not of a run that was killed at its very beginning, if there is
    /// one. `is_cut` says whether a journal was begun, which comes before other files.
    fn foreign(&self, is_cut: bool) -> Result<Option<String>> {
        let path = &self.path;
        for entry in std::fs::read_dir(path).map_err(Error::io(path))? {
            let entry = entry.map_err(Error::io(path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(Error::io(path))?;
            let is_own = match name.as_str() {
                "logs" => {
                    let is_empty = |mut logs: std::fs::ReadDir| logs.next().is_none();
                    kind.is_dir() && std::fs::read_dir(entry.path()).is_ok_and(is_empty)
                }
                "journal.jsonl" | "pipeline.yaml" | ".spare" => is_cut && kind.is_file(),
                _ => {
                    let is_temporary = name.starts_with('.')
                        && Path::new(&*name).extension().is_some_and(|it| it == "new");
                    is_cut && is_temporary && kind.is_file()
                }
            };
            if !is_own {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Makes the folder of logs, unless it is there. A link in its place is not followed.
    pub fn make_logs(&self) -> Result<()> {
        let logs = self.logs();
        match std::fs::create_dir(&logs) {
            Ok(()) => {
                prony_files::sync_folder(&self.path);
                Ok(())
            }
            Err(_) if std::fs::symlink_metadata(&logs).is_ok_and(|it| it.is_dir()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let words = "it is no folder, and logs go into one: remove it";
                Err(Error::io(logs)(std::io::Error::other(words)))
            }
            Err(error) => Err(Error::io(logs)(error)),
        }
    }

    /// Seconds since something was last written to the journal, by the clock of the system; 0 if
    /// nobody knows.
    pub fn seconds_since_written(&self) -> f64 {
        let written = std::fs::metadata(self.journal()).and_then(|it| it.modified());
        let since = written.ok().and_then(|it| it.elapsed().ok());
        since.unwrap_or_default().as_secs_f64()
    }

    /// `to`, as seen from this folder: both absolute, or both relative to the same.
    pub fn to(&self, to: &Path) -> PathBuf {
        let (mut from, mut to) = (self.path.components(), to.components());
        let mut common = (from.clone(), to.clone());
        while let (Some(a), Some(b)) = (from.next(), to.next()) {
            if a != b {
                break;
            }
            common = (from.clone(), to.clone());
        }
        let up = common.0.map(|_| Component::ParentDir);
        let relative: PathBuf = up.chain(common.1).collect();
        if relative.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            relative
        }
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the folder.
    pub fn id(&self) -> String {
        // `.` has a name, too.
        let full = self.path.canonicalize().ok();
        let name = self.path.file_name();
        let name = name.or_else(|| full.as_deref()?.file_name());
        name.unwrap_or_default().to_string_lossy().into_owned()
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

/// The folder that the paths in the `pipeline.yaml` of a run are relative to, as far as it is
/// still there; `None` if `folder` is no run, or an old one.
pub fn pipeline_folder(folder: &RunFolder) -> Option<PathBuf> {
    let started = reader::started(&folder.journal()).ok()?;
    let found = folder.path.join(started.pipeline_folder?);
    found.canonicalize().ok().filter(|found| found.is_dir())
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
const MAX_OFFERED: usize = 3;

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
    offered.truncate(MAX_OFFERED);
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
#[derive(Debug, Clone)]
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
        let Ok(journal) = reader::read(&run.journal()) else {
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
    use std::fs;
    use std::time::Duration;

    #[test]
    fn a_folder_of_the_user_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in [
            ("pipeline.yaml", "mine"),
            ("journal.jsonl", "one line of mine"),
            ("journal.jsonl", "{\"event\":\"party\"}\n"),
            ("logs", "a file"),
            ("notes.txt", ""),
            (".spare", ""),
        ] {
            let path = folder.path().join("own");
            fs::create_dir(&path).expect("a folder");
            let file = path.join(name);
            fs::write(&file, content).expect("a file");
            let error = RunFolder::at(&path).expect_err("it is no run").to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
            let left = fs::read_to_string(&file).expect("it is still there");
            assert_eq!(left, content);
            assert_eq!(fs::read_dir(&path).expect("a folder").count(), 1);
            fs::remove_dir_all(&path).expect("removed");
        }
    }

    #[test]
    fn a_run_that_was_killed_at_its_beginning_begins_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/run");
        let (run, begun) = RunFolder::at(&path).expect("a new folder");
        assert!(!begun);
        run.make_logs().expect("a folder");
        assert!(!RunFolder::at(&path).expect("nothing but `logs`").1);
        for begin in ["", "{\"ev", "{\"event\":\"started\",\"schema\":"] {
            fs::write(run.journal(), begin).expect("a file");
            for other in ["pipeline.yaml", ".spare", ".a1b2c3.new"] {
                fs::write(path.join(other), "").expect("a file");
            }
            assert!(!RunFolder::at(&path).expect("an own beginning").1);
            let left = fs::read_dir(&path).expect("a folder").flatten();
            let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
            assert_eq!(left, ["logs"]);
        }
        fs::write(run.journal(), "{\"event\":\"started\"}\n").expect("a file");
        assert!(RunFolder::at(&path).expect("a run").1);
    }

    #[test]
    fn logs_are_made_and_never_behind_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = RunFolder::open(folder.path());
        run.make_logs().expect("made");
        run.make_logs().expect("already there");
        fs::remove_dir(run.logs()).expect("removed");
        std::os::unix::fs::symlink("/tmp", run.logs()).expect("a link");
        let error = run.make_logs().expect_err("a link").to_string();
        assert!(error.contains("it is no folder"), "{error}");
    }

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
