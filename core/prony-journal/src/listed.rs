//! A run in a line: what `prony list` shows of it.
//!
//! It is kept in prony's cache folder, so that a run is judged once: in the folder of the run, which
//! may be a stranger's, it would be shown unchecked. What was kept holds for the same journal, and
//! for the same program.

use crate::Result;
use crate::folder::RunFolder;
use crate::inputs::{Version, version};
use crate::journal;
use crate::result::result_of;
use prony_plugin_host::sha256_of;
use prony_result::{Outcome, Run, RunResult, Verdict};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Bytes of a file, at most.
const MAX_BYTES: u64 = 64 << 20;
/// Bytes at the beginning and the end of a journal by which it is known.
const MARGIN: u64 = 64 << 10;

/// Cache of the lines of runs, and the prony that made them.
#[derive(Debug, Clone)]
pub struct ListCache {
    /// The folder.
    pub folder: PathBuf,
    /// SHA-256 of the program, which another one's judgement does not bind.
    pub program: String,
}

impl ListCache {
    /// Lines of runs that are kept, at most. One has some kilobytes.
    const MAX_KEPT: usize = 10_000;

    /// Removes the oldest lines beyond a maximum. Those of runs that are gone are among them
    /// sooner or later, and a run whose line is removed is judged again.
    pub fn trim(&self) {
        self.trim_to(Self::MAX_KEPT);
    }

    fn trim_to(&self, most: usize) {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten();
        let paths: Vec<PathBuf> = entries.flatten().map(|it| it.path()).collect();
        let Some(excess) = paths.len().checked_sub(most).filter(|it| *it > 0) else {
            return;
        };
        let dated = paths.into_iter().filter_map(|path| {
            let written = std::fs::metadata(&path).and_then(|it| it.modified()).ok()?;
            Some((written, path))
        });
        let mut dated: Vec<_> = dated.collect();
        dated.sort();
        for (_, path) in dated.into_iter().take(excess) {
            // Another prony may have removed it.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A run, its verdicts and its thresholds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// The verdicts, in the order of the result.
    pub verdicts: Vec<ListedVerdict>,
    /// Number of thresholds.
    pub thresholds: u32,
    /// Number of those that are missed.
    pub missed: u32,
    /// `false` if the numbers are not valid.
    pub valid: bool,
}

/// The verdict of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedVerdict {
    /// Label of the model, with matrix point and stage if there are several.
    pub label: String,
    /// The engine that was compared with.
    pub baseline: String,
    /// The engine that was compared.
    pub candidate: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The difference in percent, above zero where the candidate is faster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference_percent: Option<f64>,
    /// The verdict in words.
    pub sentence: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    program: String,
    journal: State,
    listed: Listed,
}

/// State of a journal, by which a change is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    version: Version,
    /// SHA-256 of its beginning and its end.
    ends: String,
}

impl State {
    fn of(journal: &Path) -> io::Result<Self> {
        let file: File = prony_files::open(journal)?;
        let metadata = file.metadata()?;
        let length = metadata.len();
        let mut ends = vec![0; length.min(2 * MARGIN) as usize];
        let middle = ends.len() / 2;
        let (head, tail) = ends.split_at_mut(middle);
        file.read_exact_at(head, 0)?;
        file.read_exact_at(tail, length - tail.len() as u64)?;
        Ok(Self {
            version: version(&metadata),
            ends: sha256_of(&ends),
        })
    }
}

impl Listed {
    fn new(result: RunResult) -> Self {
        let of_model = |model: &prony_result::ModelResult| {
            let label = model.label();
            let comparisons = model.comparisons.iter();
            let verdict = move |it: &prony_result::Comparison| ListedVerdict {
                label: label.clone(),
                baseline: it.baseline.clone(),
                candidate: it.candidate.clone(),
                verdict: it.verdict,
                difference_percent: it.difference_percent,
                sentence: it.sentence(),
            };
            comparisons.map(verdict).collect::<Vec<_>>()
        };
        Self {
            verdicts: result.models.iter().flat_map(of_model).collect(),
            thresholds: result.thresholds.len() as u32,
            missed: result.thresholds.iter().filter(|it| !it.passed).count() as u32,
            valid: result.invalid.is_empty(),
            run: result.run,
        }
    }
}

/// A run for a list: as it was kept, or judged anew.
///
/// # Errors
///
/// The journal cannot be read.
pub fn listed(folder: &RunFolder, cache: &ListCache) -> Result<Listed> {
    let journal = folder.journal();
    // In this order: a run that ends in between is judged again the next time.
    let state = State::of(&journal).ok();
    let running = journal::is_running(&journal);
    let place = place(folder, cache).zip(state).filter(|_| !running);
    if let Some((path, state)) = &place
        && let Some(kept) = kept(path, state, &cache.program)
    {
        return Ok(kept);
    }
    let listed = Listed::new(result_of(folder)?);
    if let Some((path, state)) = place.filter(|_| listed.run.outcome != Outcome::Running) {
        let program = cache.program.clone();
        keep(&path, program, state, &listed);
    }
    Ok(listed)
}

/// The file of a run in the cache, by its path.
fn place(folder: &RunFolder, cache: &ListCache) -> Option<PathBuf> {
    let path = folder.path().canonicalize().ok()?;
    let name = sha256_of(path.as_os_str().as_encoded_bytes());
    Some(cache.folder.join(format!("{name}.json")))
}

fn kept(path: &Path, state: &State, program: &str) -> Option<Listed> {
    let bytes = prony_files::read(path, MAX_BYTES).ok()?;
    let kept: Kept = serde_json::from_slice(&bytes).ok()?;
    let holds = kept.program == program && kept.journal == *state;
    holds.then_some(kept.listed)
}

/// Keeps it for the next time. Where nobody may write, it is judged again.
fn keep(path: &Path, program: String, journal: State, listed: &Listed) {
    let kept = Kept {
        program,
        journal,
        listed: listed.clone(),
    };
    if let Ok(json) = serde_json::to_vec(&kept) {
        let _ = std::fs::create_dir_all(prony_files::folder(path));
        let _ = prony_files::replace(path, &json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// A run in `run`, and the place for `cache`.
    fn run() -> (tempfile::TempDir, RunFolder, ListCache) {
        let folder = tempfile::tempdir().expect("a folder");
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compared");
        let of = RunFolder::open(&folder.path().join("run"));
        std::fs::create_dir(of.path()).expect("a folder");
        std::fs::copy(fixture.join("journal.jsonl"), of.journal()).expect("a copy");
        let cache = ListCache {
            folder: folder.path().join("cache/listed"),
            program: "a".to_owned(),
        };
        (folder, of, cache)
    }

    fn file_of(run: &RunFolder, cache: &ListCache) -> PathBuf {
        place(run, cache).expect("a place")
    }

    #[test]
    fn a_run_is_judged_once_until_its_journal_or_the_program_changes() {
        let (_folder, run, cache) = run();
        let first = listed(&run, &cache).expect("a run");
        assert!(!first.verdicts.is_empty() && first.valid);
        let path = file_of(&run, &cache);
        // What is kept is what is shown.
        let text = std::fs::read_to_string(&path).expect("it is kept");
        let marked = text.replace(&first.run.name, "marked");
        std::fs::write(&path, &marked).expect("written");
        assert_eq!(listed(&run, &cache).expect("a run").run.name, "marked");
        let other = ListCache {
            program: "b".to_owned(),
            ..cache.clone()
        };
        assert_eq!(listed(&run, &other).expect("a run"), first, "another prony");
        std::fs::write(&path, &marked).expect("written");
        let mut journal = File::options()
            .append(true)
            .open(run.journal())
            .expect("the journal");
        journal.write_all(b"torn").expect("written");
        drop(journal);
        assert_eq!(listed(&run, &cache).expect("a run"), first, "judged again");
        std::fs::write(&path, "{}").expect("written");
        assert_eq!(listed(&run, &cache).expect("a run"), first, "damaged");
    }

    #[test]
    fn a_journal_with_the_same_length_and_time_of_change_is_judged_again() {
        let (_folder, run, cache) = run();
        let first = listed(&run, &cache).expect("a run");
        let path = file_of(&run, &cache);
        let text = std::fs::read_to_string(&path).expect("it is kept");
        std::fs::write(&path, text.replace(&first.run.name, "marked")).expect("written");
        let journal = File::options().write(true).open(run.journal());
        let journal = journal.expect("the journal");
        let changed = journal.metadata().and_then(|it| it.modified());
        let mut bytes = std::fs::read(run.journal()).expect("a journal");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        journal.write_all_at(&bytes, 0).expect("written");
        journal.set_modified(changed.expect("a time")).expect("set");
        drop(journal);
        let again = listed(&run, &cache);
        assert!(again.is_err() || again.expect("a run").run.name == first.run.name);
    }

    #[test]
    fn what_a_folder_brings_along_is_not_believed() {
        let (_folder, run, cache) = run();
        let first = listed(&run, &cache).expect("a run");
        let text = std::fs::read_to_string(file_of(&run, &cache)).expect("it is kept");
        let marked = text.replace(&first.run.name, "marked");
        for name in ["listed.json", ".listed.json"] {
            std::fs::write(run.path().join(name), &marked).expect("written");
        }
        std::fs::remove_file(file_of(&run, &cache)).expect("removed");
        assert_eq!(listed(&run, &cache).expect("a run"), first);
    }

    #[test]
    fn the_oldest_lines_are_removed_beyond_a_number() {
        let (_folder, run, cache) = run();
        listed(&run, &cache).expect("a run");
        let own = file_of(&run, &cache);
        let now = std::time::SystemTime::now();
        for age in 1..=5 {
            let path = cache.folder.join(format!("{age}.json"));
            let file = File::create(path).expect("a file");
            let then = now - std::time::Duration::from_hours(age);
            file.set_modified(then).expect("set");
        }
        cache.trim_to(10);
        assert_eq!(std::fs::read_dir(&cache.folder).expect("it").count(), 6);
        cache.trim_to(3);
        let left = std::fs::read_dir(&cache.folder).expect("a folder");
        let mut left: Vec<PathBuf> = left.flatten().map(|it| it.path()).collect();
        left.sort();
        let mut expected = vec![
            own,
            cache.folder.join("1.json"),
            cache.folder.join("2.json"),
        ];
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn a_run_in_progress_is_not_kept() {
        let (_folder, run, cache) = run();
        let text = std::fs::read_to_string(run.journal()).expect("a journal");
        let lines: Vec<&str> = text.lines().collect();
        let part = lines[..lines.len() / 2].join("\n") + "\n";
        std::fs::write(run.journal(), part).expect("written");
        let file = File::open(run.journal()).expect("the journal");
        file.lock().expect("locked");
        let of = listed(&run, &cache).expect("a run");
        assert_eq!(of.run.outcome, Outcome::Running);
        assert!(!file_of(&run, &cache).exists());
        drop(file);
        let broken = listed(&run, &cache).expect("a run").run.outcome;
        assert_eq!(broken, Outcome::Interrupted);
        assert!(file_of(&run, &cache).exists());
    }
}
