//! Writes a journal.

use crate::journal::{Event, Started, is_running};
use crate::reader::{Placed, Reader};
use crate::{Error, Result, line};
use prony_plugin_host::Digester;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A journal being written. It stays locked until dropped, which distinguishes a run in
/// progress from one that died.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    /// Number of the last line.
    number: u64,
    /// Its bytes so far.
    length: u64,
    /// Digest of them.
    digest: Digester,
    /// A file that is removed when the disk is full, so that the last lines fit.
    spare: PathBuf,
}

/// Time that others may take, at most, to ask whether a run is in progress.
const ASKED: Duration = Duration::from_secs(5);

/// Bytes of the spare file.
const SPARE: usize = 1 << 20;

impl Writer {
    /// Creates the journal; fails if it exists.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::options()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(Error::io(path))?;
        // Where files cannot be locked, a run in progress looks interrupted.
        let _ = file.lock();
        file.sync_all().map_err(Error::io(path))?;
        prony_files::sync_folder(&prony_files::folder(path));
        Self {
            path: path.to_owned(),
            file,
            number: 0,
            length: 0,
            digest: Digester::default(),
            spare: spare(path),
        }
        .with_spare()
    }

    /// Appends an event.
    pub fn append(&mut self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_vec(event).map_err(|error| Error::Io {
            path: self.path.clone(),
            source: error.into(),
        })?;
        line::seal(&mut line, self.number + 1);
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            // What is there stays whole.
            let _ = self.file.set_len(self.length);
            return Err(Error::io(&self.path)(error));
        }
        self.number += 1;
        self.length += line.len() as u64;
        self.digest.update(&line);
        Ok(())
    }

    /// Bytes so far: the place of the next event.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Makes room for the last lines on a disk that is full.
    pub fn make_room(&self) {
        let _ = std::fs::remove_file(&self.spare);
    }

    fn with_spare(self) -> Result<Self> {
        prony_files::replace(&self.spare, &vec![0; SPARE]).map_err(Error::io(&self.spare))?;
        Ok(self)
    }

    /// SHA-256 of all bytes so far, for `finished`.
    pub fn sha256(&self) -> String {
        self.digest.clone().finish()
    }

    /// Flushes everything to the disk. Not for use during a measurement.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.make_room();
    }
}

/// The spare file beside a journal.
fn spare(journal: &Path) -> PathBuf {
    journal.with_file_name(".spare")
}

/// The journal of a run that is over, to be read and then gone on with. It is locked.
#[derive(Debug)]
pub struct Reopened {
    file: File,
    reader: Reader,
}

impl Reopened {
    /// Locks and opens a journal; fails if the run is in progress.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |words: &str| Error::io(path)(std::io::Error::other(words.to_owned()));
        // Only a plain file.
        prony_files::open(path).map_err(Error::io(path))?;
        let file = File::options().append(true).open(path);
        let file = file.map_err(Error::io(path))?;
        // Another prony that asks whether the run is in progress shares the lock for a moment.
        let begin = Instant::now();
        while matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            if is_running(path) || begin.elapsed() > ASKED {
                return Err(failed("the run is in progress"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let reader = Reader::with_digest(path)?;
        if !reader.has_checksums() {
            return Err(failed("it is of an earlier prony, and can be read only"));
        }
        Ok(Self { file, reader })
    }

    /// The first event.
    pub fn started(&self) -> &Started {
        self.reader.started()
    }

    /// Shows all events after the first, in order; then the journal can be gone on with. Fails
    /// if lines are missing.
    pub fn read_on(mut self, mut see: impl FnMut(&Placed) -> Result<()>) -> Result<Writer> {
        let path = self.reader.path().to_owned();
        for placed in self.reader.by_ref() {
            let placed = placed?;
            if let Event::Damaged { missing: 1.., .. } = placed.event {
                let words = placed.event.damage().unwrap_or_default();
                return Err(Error::io(&path)(std::io::Error::other(words)));
            }
            see(&placed)?;
        }
        let complete = self.reader.complete();
        self.file.set_len(complete).map_err(Error::io(&path))?;
        Writer {
            spare: spare(&path),
            path,
            file: self.file,
            number: self.reader.number(),
            length: complete,
            digest: self.reader.digest_before().cloned().unwrap_or_default(),
        }
        .with_spare()
    }
}
