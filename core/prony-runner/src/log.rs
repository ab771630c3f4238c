//! The logs of engines and steps: whatever a process prints, within a limit.
//!
//! A process writes to its log itself, so that prony has no part in it; each write is
//! appended. Of what has grown beyond the limit the middle is cut out, and the process goes
//! on writing behind the rest.

use memchr::memmem;
use prony_config::Secrets;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Size of a log beyond which it is cut, in bytes.
const MAX_LOG: u64 = 64 << 20;
/// Its beginning, which stays, in bytes.
const KEPT: u64 = 32 << 20;
/// Interval between looks at its size.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A name as a safe and short name of a file.
pub(crate) fn safe_name(name: &str) -> String {
    const MAX: usize = 200;
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    name.chars().take(MAX).map(safe).collect()
}

/// Opens a log for appending, within its limit.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    keep_within(&file, path, MAX_LOG, KEPT)?;
    Ok(file)
}

/// Keeps a log within its limit for ever.
pub(crate) async fn keep(file: File, path: PathBuf) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // A log that cannot be cut does not prevent the measurement.
        let _ = keep_within(&file, &path, MAX_LOG, KEPT);
    }
}

/// Cuts a log, of a process that has ended.
pub(crate) fn cut(path: &Path) {
    let opened = File::options().append(true).open(path);
    // A log that cannot be cut is long, and no less true.
    let _ = opened.and_then(|file| keep_within(&file, path, MAX_LOG, KEPT));
}

/// Cuts the middle out of a log that is longer than `max`: its first `kept` bytes and its end
/// stay, with a mark between them.
fn keep_within(mut file: &File, path: &Path, max: u64, kept: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length <= max {
        return Ok(());
    }
    let end = (kept / 32).min(length - kept);
    let mut last = Vec::new();
    let mut read = File::open(path)?;
    read.seek(SeekFrom::Start(length - end))?;
    read.take(end).read_to_end(&mut last)?;
    file.set_len(kept)?;
    let cut = length - kept - end;
    write!(
        file,
        "\n[prony: {cut} bytes of this log are cut out here]\n"
    )?;
    file.write_all(&last)
}

/// Lengths of logs in which secrets were looked for, by file.
pub(crate) type Lengths = BTreeMap<PathBuf, u64>;

/// Takes secrets out of the logs in a folder, in place and of the same length, since processes
/// may still write to them. `masked` remembers what was looked at. A process writes to its log
/// itself, so a secret is there until then.
pub(crate) fn mask(folder: &Path, secrets: &Secrets, masked: &mut Lengths) {
    if secrets.longest() == 0 {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let done = masked.entry(path.clone()).or_default();
        match mask_log(&path, secrets, *done) {
            Ok(length) => *done = length,
            Err(error) => {
                tracing::warn!("`{}` may hold secrets: {error}", path.display());
            }
        }
    }
}

/// Masks what a log has from byte `done` on. Returns its length.
fn mask_log(path: &Path, secrets: &Secrets, done: u64) -> io::Result<u64> {
    let length = std::fs::symlink_metadata(path)?;
    if !length.is_file() || length.len() == done {
        return Ok(done);
    }
    let file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    // It may have been cut; and a secret may have begun before.
    let done = if length < done { 0 } else { done };
    let from = done.saturating_sub(secrets.longest() as u64);
    let mut text = vec![0; usize::try_from(length - from).map_err(io::Error::other)?];
    file.read_exact_at(&mut text, from)?;
    if secrets.blank(&mut text) {
        file.write_all_at(&text, from)?;
    }
    Ok(length)
}

/// A search for a text in what a process logs.
#[derive(Debug)]
pub(crate) struct Search {
    /// Offset of what was not looked at yet.
    at: u64,
    /// The end of what was: the text may have begun in it.
    before: Vec<u8>,
    found: bool,
}

impl Search {
    /// From the byte `start` of the log on.
    pub(crate) fn new(start: u64) -> Self {
        Self {
            at: start,
            before: Vec::new(),
            found: false,
        }
    }

    /// Returns `true` if `text`, the same in each call, has been logged.
    pub(crate) fn finds(&mut self, log: &Path, text: &[u8]) -> bool {
        // A log that cannot be read has nothing yet.
        self.found = self.found || self.look(log, text).unwrap_or(false);
        self.found
    }

    fn look(&mut self, log: &Path, text: &[u8]) -> io::Result<bool> {
        const PIECE: u64 = 1 << 20;
        let mut file = File::open(log)?;
        // It may have been cut.
        self.at = self.at.min(file.metadata()?.len());
        file.seek(SeekFrom::Start(self.at))?;
        loop {
            let read = (&mut file).take(PIECE).read_to_end(&mut self.before)?;
            self.at += read as u64;
            if memmem::find(&self.before, text).is_some() {
                return Ok(true);
            }
            let kept = text.len().saturating_sub(1).min(self.before.len());
            self.before.drain(..self.before.len() - kept);
            if read == 0 {
                return Ok(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_however_it_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut log = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .expect("a log");
        log.write_all(b"ready, said the one before\n")
            .expect("written");
        let start = log.metadata().expect("a log").len();
        let mut search = Search::new(start);
        for byte in b"not rea\nnow rea" {
            log.write_all(&[*byte]).expect("written");
            assert!(!search.finds(&path, b"ready"));
        }
        log.write_all(&vec![b'x'; 3 << 20]).expect("written");
        assert!(!search.finds(&path, b"ready"));
        log.write_all(b"rea").expect("written");
        assert!(!search.finds(&path, b"ready"));
        log.write_all(b"dy").expect("written");
        assert!(search.finds(&path, b"ready"));
        // Also when it is cut afterwards.
        log.set_len(0).expect("cut");
        assert!(search.finds(&path, b"ready"));
        let mut later = Search::new(start);
        assert!(!later.finds(&path, b"ready"));
        log.write_all(b"ready").expect("written");
        assert!(later.finds(&path, b"ready"));
        assert!(!Search::new(0).finds(&folder.path().join("none"), b"ready"));
    }

    #[test]
    fn a_log_keeps_its_beginning_and_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        // As the process has it.
        let mut process = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .expect("a log");
        let ours = process.try_clone().expect("a log");
        for line in 0..1000 {
            writeln!(process, "line {line}").expect("written");
            keep_within(&ours, &path, 4000, 2000).expect("cut");
        }
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(text.len() <= 4100, "{}", text.len());
        assert!(
            text.starts_with("line 0\n") && text.ends_with("line 999\n"),
            "{text}"
        );
        assert!(text.contains("[prony: "), "{text}");
    }
}
