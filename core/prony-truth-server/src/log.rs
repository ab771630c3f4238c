//! Log of the server, one entry per request.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// One answer. All times are nanoseconds of the machine's monotonic clock
/// (`CLOCK_MONOTONIC`), so that a client on the same machine can compare them to its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The number of the request, from 0, in the order in which requests were received.
    pub request: u32,
    /// Its path, with its query.
    #[serde(default)]
    pub path: String,
    /// Its header `x-request-id`.
    pub id: Option<String>,
    /// Digest of its body as JSON: equal bodies have equal ones, within a version of the server.
    #[serde(default)]
    pub body: u64,
    /// Time at which its last byte had been read.
    pub received_ns: u64,
    /// For each write, the time right before the system call. A write that did not fit
    /// into the socket is one write all the same.
    pub writes_ns: Vec<u64>,
    /// For each write, when it was due.
    pub intended_ns: Vec<u64>,
    /// For each write, its tokens: 0 for a head or an end alone, and in a
    /// recording, of which they are not known.
    pub tokens_per_write: Vec<u32>,
    /// `true` if all was written that belongs to the answer; `false` if the server ended it
    /// by a fault, or the client went away.
    pub complete: bool,
}

/// Destination of entries. Clones have the same one.
#[derive(Debug, Clone, Default)]
pub struct Log(Option<Arc<Mutex<Sink>>>);

#[derive(Debug)]
enum Sink {
    Memory(Vec<Entry>),
    File(File),
}

impl Log {
    /// Nothing is kept, as with `default`.
    pub fn none() -> Self {
        Self(None)
    }

    /// They are kept, without a limit, for [`entries`](Self::entries).
    pub fn in_memory() -> Self {
        Self(Some(Arc::new(Mutex::new(Sink::Memory(Vec::new())))))
    }

    /// They are written to a new file, one JSON object a line. It is written while no
    /// answer is due, and at the end; a server that is killed while it is busy has
    /// written less than it has done.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        Ok(Self(Some(Arc::new(Mutex::new(Sink::File(file))))))
    }

    /// Entries kept in memory so far, in the order in which answers ended.
    pub fn entries(&self) -> Vec<Entry> {
        match self.sink().as_deref() {
            Some(Sink::Memory(entries)) => entries.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Writes `entry`. A disk that is full does not end the server.
    pub(crate) fn keep(&self, entry: Entry) {
        match self.sink().as_deref_mut() {
            Some(Sink::Memory(entries)) => entries.push(entry),
            Some(Sink::File(file)) => {
                if let Ok(mut line) = serde_json::to_vec(&entry) {
                    line.push(b'\n');
                    let _ = file.write_all(&line);
                }
            }
            None => {}
        }
    }

    fn sink(&self) -> Option<std::sync::MutexGuard<'_, Sink>> {
        // Nothing is left half done by a thread that panics.
        let place = self.0.as_ref()?;
        Some(place.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
