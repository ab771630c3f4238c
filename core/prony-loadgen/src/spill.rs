//! Answers kept in a file while a load runs, so that neither a killed prony nor a long load
//! costs any, and none takes memory.
//!
//! A thread of its own writes each answer as soon as it is handed over. The pages belong to
//! the system from then on, whatever becomes of this process; only a machine that loses its
//! power may lose some.
//!
//! The file is a line of the caller's own, then the answers in the order in which they ended:
//!
//! ```text
//! length of the rest   u64    all numbers little-endian
//! CRC-32 of the rest   u32
//! reads with a stamp   u32
//! reads with an end    u32
//! length of the head   u32
//! head                 JSON
//! stamp of each read   u64
//! end of each read     u32
//! body                 bytes
//! ```

use crate::Exchange;
use crate::exchange::{Coding, MAX_IN_FLIGHT};
use crate::load::Held;
use prony_contract::{Error, Event, Pair};
use prony_record::{Failed, Stamps};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

/// Size of what is written at a time, in bytes, if so much waits.
const PIECE: usize = 256 << 10;
/// Longest first line, in bytes.
const MAX_LINE: u64 = 64 << 20;
/// Bytes before the rest of an answer.
const PREFIX: usize = 12;
/// Bytes of that rest, at least: three counts.
const MIN_REST: u64 = 12;
/// Bytes of it, at most: as much as the client takes in, and the head.
const MAX_REST: u64 = MAX_IN_FLIGHT as u64 + (64 << 20);

/// Everything of an answer but its bytes and reads.
#[derive(Serialize, Deserialize)]
struct AnswerHead<'a> {
    index: u32,
    stamps: Stamps,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    body_bytes: u64,
    resent: bool,
    closed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_detail: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<Cow<'a, Failed>>,
    coding: Coding,
    #[serde(default, skip_serializing_if = "<[Pair]>::is_empty")]
    headers: Cow<'a, [Pair]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Cow<'a, Result<Vec<Event>, Error>>>,
}

/// An answer, with the index of its request.
type Answer = (u32, Exchange, Held);

/// A file of answers that is being written.
#[derive(Debug)]
pub struct Spill {
    path: PathBuf,
    queue: mpsc::Sender<Answer>,
    writer: JoinHandle<Written>,
    has_failed: Arc<AtomicBool>,
}

/// The end of the writing thread.
#[derive(Debug)]
struct Written {
    failed: Option<io::Error>,
    /// Size of the file up to the last answer that is whole.
    length: u64,
    /// Answers that could not be written.
    left: Vec<Answer>,
}

/// Fate of the answers.
#[derive(Debug)]
pub struct Kept {
    /// The answers in the file, in order.
    pub answers: SpillReader,
    /// The answers that could not be written, in order.
    pub left: Vec<(u32, Exchange)>,
    /// Reason why they could not.
    pub failed: Option<io::Error>,
}

impl Spill {
    /// Creates the file, for its owner only, in the place of an older one; `line` is its
    /// first line, without a line break.
    pub fn create(path: &Path, line: &[u8]) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let line = [line, b"\n"].concat();
        if let Err(error) = file.write_all(&line) {
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        let length = line.len() as u64;
        let (queue, answers) = mpsc::channel();
        let has_failed = Arc::new(AtomicBool::new(false));
        let flag = has_failed.clone();
        let writer = std::thread::Builder::new()
            .name("answers".to_owned())
            .spawn(move || write(&mut file, length, &answers, &flag))?;
        Ok(Self {
            path: path.to_owned(),
            queue,
            writer,
            has_failed,
        })
    }

    /// Has an answer written.
    pub fn keep(&self, index: u32, exchange: Exchange, held: Held) {
        // The thread lives until the queue is closed, or the answer goes with a panic that
        // `finish` finds.
        let _ = self.queue.send((index, exchange, held));
    }

    /// Returns `true` once an answer could not be written: no other will be.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Waits until everything is written.
    pub fn finish(self) -> io::Result<Kept> {
        drop(self.queue);
        let written = self.writer.join();
        let written = written.map_err(|_| io::Error::other("the writing thread panicked"))?;
        let (line, mut answers) = SpillReader::open(&self.path)?;
        // Some of those that are left may be there, too.
        answers.left = written.length.saturating_sub(line.len() as u64 + 1);
        let left = written.left.into_iter();
        Ok(Kept {
            answers,
            left: left.map(|(index, exchange, _)| (index, exchange)).collect(),
            failed: written.failed,
        })
    }
}

/// Writes answers behind the first `length` bytes until there are no more; keeps them in
/// memory after an error.
fn write(
    file: &mut File,
    mut length: u64,
    answers: &Receiver<Answer>,
    has_failed: &AtomicBool,
) -> Written {
    let (mut bytes, mut waiting) = (Vec::new(), Vec::new());
    while let Ok(first) = answers.recv() {
        let mut next = Some(first);
        while let Some((index, exchange, held)) = next {
            append(&mut bytes, index, &exchange);
            waiting.push((index, exchange, held));
            next = (bytes.len() < PIECE)
                .then(|| answers.try_recv().ok())
                .flatten();
        }
        if let Err(error) = file.write_all(&bytes) {
            has_failed.store(true, Ordering::Relaxed);
            // Without the part that was written; if that fails too, a reader stops there.
            let _ = file.set_len(length);
            waiting.extend(answers.iter());
            return Written {
                failed: Some(error),
                length,
                left: waiting,
            };
        }
        length += bytes.len() as u64;
        waiting.clear();
        bytes.clear();
        bytes.shrink_to(PIECE);
    }
    Written {
        failed: None,
        length,
        left: Vec::new(),
    }
}

/// Appends an answer to `bytes`.
fn append(bytes: &mut Vec<u8>, index: u32, exchange: &Exchange) {
    let Exchange {
        seen,
        body,
        ends,
        events,
        coding,
        headers,
        // Heads are kept for authors of plugins, one request at a time.
        head: _,
    } = exchange;
    let head = AnswerHead {
        index,
        stamps: seen.stamps,
        status: seen.status,
        body_bytes: seen.body_bytes,
        resent: seen.resent,
        closed: seen.closed,
        status_detail: seen.status_detail.as_deref().map(Cow::Borrowed),
        failed: seen.failed.as_ref().map(Cow::Borrowed),
        coding: *coding,
        headers: Cow::Borrowed(headers),
        events: events.as_ref().map(Cow::Borrowed),
    };
    let head = serde_json::to_vec(&head).unwrap_or_else(|_| unreachable!("they are plain data"));
    let begin = bytes.len();
    bytes.extend_from_slice(&[0; PREFIX]);
    for count in [seen.reads_ns.len(), ends.len(), head.len()] {
        bytes.extend_from_slice(&(count as u32).to_le_bytes());
    }
    bytes.extend_from_slice(&head);
    for stamp in &seen.reads_ns {
        bytes.extend_from_slice(&stamp.to_le_bytes());
    }
    for end in ends {
        bytes.extend_from_slice(&end.to_le_bytes());
    }
    bytes.extend_from_slice(body);
    let rest = &bytes[begin + PREFIX..];
    let crc = crc32fast::hash(rest).to_le_bytes();
    let length = (rest.len() as u64).to_le_bytes();
    bytes[begin..begin + 8].copy_from_slice(&length);
    bytes[begin + 8..begin + PREFIX].copy_from_slice(&crc);
}

/// The part of a file of answers that could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Answers that are damaged.
    pub answers: u64,
    /// Bytes at the end in which no answer could be told from another: a killed prony may
    /// leave part of one there.
    pub bytes: u64,
}

/// The answers in a file, in order. A damaged one is passed over; behind a length that
/// cannot be right nothing is read.
#[derive(Debug)]
pub struct SpillReader {
    file: BufReader<File>,
    /// Bytes of the file that are not read yet.
    left: u64,
    lost: Lost,
}

impl SpillReader {
    /// Opens a file; returns its first line, without the line break, and the answers.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the file ends within its first line:
    /// whoever wrote it was killed before there were answers.
    pub fn open(path: &Path) -> io::Result<(Vec<u8>, Self)> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut file = BufReader::new(file);
        let mut line = Vec::new();
        (&mut file).take(MAX_LINE).read_until(b'\n', &mut line)?;
        let left = length.saturating_sub(line.len() as u64);
        if line.pop() != Some(b'\n') {
            // A disk that lost its power leaves zeros, and may have had answers there.
            let kind = if left > 0 || line.contains(&0) {
                io::ErrorKind::InvalidData
            } else {
                io::ErrorKind::UnexpectedEof
            };
            return Err(io::Error::new(kind, "its first line is not whole"));
        }
        let lost = Lost::default();
        Ok((line, Self { file, left, lost }))
    }

    /// The answers so far that could not be read.
    pub fn lost(&self) -> Lost {
        self.lost
    }

    fn read(&mut self) -> io::Result<Option<(u32, Exchange)>> {
        let mut rest = Vec::new();
        while self.left > 0 {
            let mut prefix = [0; PREFIX];
            if self.left < PREFIX as u64 {
                break;
            }
            self.file.read_exact(&mut prefix)?;
            let (length, crc) = prefix.split_at(8);
            let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
            if !(MIN_REST..=MAX_REST.min(self.left - PREFIX as u64)).contains(&length) {
                break;
            }
            self.left -= PREFIX as u64 + length;
            rest.clear();
            // Takes memory for what is there, not for what the length says.
            (&mut self.file).take(length).read_to_end(&mut rest)?;
            if crc32fast::hash(&rest).to_le_bytes() == crc
                && let Some(answer) = parse(&rest)
            {
                return Ok(Some(answer));
            }
            self.lost.answers += 1;
        }
        self.lost.bytes += std::mem::take(&mut self.left);
        Ok(None)
    }
}

impl Iterator for SpillReader {
    type Item = io::Result<(u32, Exchange)>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            self.left = 0;
        }
        read.transpose()
    }
}

/// An answer from what follows its prefix.
fn parse(rest: &[u8]) -> Option<(u32, Exchange)> {
    let (counts, rest) = rest.split_at_checked(3 * size_of::<u32>())?;
    let (counts, _) = counts.as_chunks();
    let [reads, ends, length] = *counts else {
        return None;
    };
    let size = |count: [u8; 4], each: usize| (u32::from_le_bytes(count) as usize).checked_mul(each);
    let (head, rest) = rest.split_at_checked(size(length, 1)?)?;
    let (stamps, rest) = rest.split_at_checked(size(reads, size_of::<u64>())?)?;
    let (ends, body) = rest.split_at_checked(size(ends, size_of::<u32>())?)?;
    let head: AnswerHead<'_> = serde_json::from_slice(head).ok()?;
    let (stamps, _) = stamps.as_chunks();
    let (ends, _) = ends.as_chunks();
    let mut exchange = Exchange {
        body: body.to_vec(),
        ends: ends.iter().map(|end| u32::from_le_bytes(*end)).collect(),
        events: head.events.map(Cow::into_owned),
        coding: head.coding,
        headers: head.headers.into_owned(),
        ..Exchange::default()
    };
    let seen = &mut exchange.seen;
    seen.stamps = head.stamps;
    seen.status = head.status;
    seen.reads_ns = stamps.iter().map(|it| u64::from_le_bytes(*it)).collect();
    seen.body_bytes = head.body_bytes;
    seen.resent = head.resent;
    seen.closed = head.closed;
    seen.status_detail = head.status_detail.map(Cow::into_owned);
    seen.failed = head.failed.map(Cow::into_owned);
    Some((head.index, exchange))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prony_contract::EventKind;
    use prony_record::ErrorClass;

    fn answered(index: u32) -> Exchange {
        let mut exchange = Exchange {
            body: format!("data: {index}\n\n").into_bytes(),
            ends: vec![5, 9 + index],
            coding: Coding::Gzip,
            ..Exchange::default()
        };
        let seen = &mut exchange.seen;
        seen.reads_ns = vec![u64::MAX, u64::from(index)];
        seen.status = Some(200);
        seen.body_bytes = 7;
        seen.stamps.head_ns = Some(3);
        exchange
    }

    /// An answer of an engine in a worker, and one that failed.
    fn others() -> [Exchange; 2] {
        let event = Event {
            read: 0,
            kind: EventKind::Text,
            tokens: 1,
            ns: 0,
            text: "a\nb".to_owned(),
        };
        let mut of_worker = Exchange {
            events: Some(Ok(vec![event])),
            ..Exchange::default()
        };
        of_worker.seen.reads_ns = vec![4];
        let mut failed = Exchange {
            events: Some(Err(Error::engine("no"))),
            ..Exchange::default()
        };
        failed.seen.failed = Some(Failed::new(ErrorClass::Timeout, "late"));
        failed.seen.status_detail = Some("`x`".to_owned());
        (failed.seen.closed, failed.seen.resent) = (true, true);
        [of_worker, failed]
    }

    fn kept(path: &Path, exchanges: &[Exchange]) -> Kept {
        let spill = Spill::create(path, b"{}").expect("a file");
        for (index, exchange) in (0..).zip(exchanges) {
            spill.keep(index, exchange.clone(), Held::of_nothing());
        }
        assert!(!spill.has_failed());
        spill.finish().expect("written")
    }

    #[test]
    fn answers_come_back_as_they_were_and_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("answers");
        let exchanges: Vec<Exchange> = (0..3000).map(answered).chain(others()).collect();
        let kept = kept(&path, &exchanges);
        assert!(kept.failed.is_none() && kept.left.is_empty());
        let read: Vec<(u32, Exchange)> = kept.answers.map(|it| it.expect("whole")).collect();
        let expected: Vec<(u32, Exchange)> = (0..).zip(exchanges).collect();
        assert_eq!(read, expected);
        assert_eq!(SpillReader::open(&path).expect("a file").0, b"{}");
    }

    #[test]
    fn a_file_that_was_cut_or_damaged_has_what_is_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("answers");
        let exchanges = [answered(0), answered(1), others()[0].clone()];
        drop(kept(&path, &exchanges));
        let whole = std::fs::read(&path).expect("a file");
        let read = |bytes: &[u8]| -> Option<Vec<u32>> {
            std::fs::write(&path, bytes).expect("a file");
            let (_, answers) = SpillReader::open(&path).ok()?;
            let answers: Vec<_> = answers.map(|it| it.expect("read")).collect();
            for (index, exchange) in &answers {
                assert_eq!(exchange, &exchanges[*index as usize]);
            }
            Some(answers.into_iter().map(|it| it.0).collect())
        };
        assert_eq!(read(&whole), Some(vec![0, 1, 2]));
        let mut most = 0;
        for length in 0..whole.len() {
            match read(&whole[..length]) {
                None => assert!(length < 3, "only the first line is needed"),
                Some(found) => {
                    assert_eq!(found, (0..found.len() as u32).collect::<Vec<_>>());
                    assert!((most..3).contains(&found.len()), "{length}");
                    most = found.len();
                }
            }
        }
        assert_eq!(most, 2);
        for at in 3..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            assert!(read(&flipped).is_none_or(|found| found.len() < 3), "{at}");
        }
    }

    #[test]
    fn damage_costs_only_what_is_damaged_and_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("answers");
        let exchanges = [answered(0), answered(1), answered(2), answered(3)];
        drop(kept(&path, &exchanges));
        let whole = std::fs::read(&path).expect("a file");
        let each = (whole.len() - 3) / 4;
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("a file");
            let (_, mut answers) = SpillReader::open(&path).expect("a file");
            let read: Vec<u32> = answers.by_ref().map(|it| it.expect("read").0).collect();
            (read, answers.lost())
        };
        let lost = |answers, bytes| Lost { answers, bytes };
        assert_eq!(read(&whole), (vec![0, 1, 2, 3], lost(0, 0)));
        // Checksum, counts, head, body.
        for at in [8, 12, 40, each - 1] {
            let mut flipped = whole.clone();
            flipped[3 + each + at] ^= 0x10;
            assert_eq!(read(&flipped), (vec![0, 2, 3], lost(1, 0)), "{at}");
        }
        for length in [0, 11, 1 << 20, u64::MAX] {
            let mut forged = whole.clone();
            forged[3 + each..][..8].copy_from_slice(&length.to_le_bytes());
            assert_eq!(read(&forged), (vec![0], lost(0, 3 * each as u64)));
        }
        assert_eq!(read(&whole[..whole.len() - 1]).1, lost(0, each as u64 - 1));
        let zeros = [&whole[..], &[0; 4096]].concat();
        assert_eq!(read(&zeros), (vec![0, 1, 2, 3], lost(0, 4096)));
    }

    #[test]
    fn a_length_that_no_answer_has_takes_no_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("answers");
        drop(kept(&path, &[answered(0)]));
        let mut file = File::options().append(true).open(&path).expect("a file");
        // A sparse file as long as it says.
        let huge: u64 = 1 << 40;
        file.write_all(&huge.to_le_bytes()).expect("written");
        file.set_len(huge * 2).expect("a length");
        let (_, mut answers) = SpillReader::open(&path).expect("a file");
        assert_eq!(answers.by_ref().filter_map(Result::ok).count(), 1);
        assert!(answers.lost().bytes > huge);
    }

    #[test]
    fn a_first_line_that_was_cut_has_no_answers_and_zeros_may_have_had_some() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("answers");
        for (bytes, kind) in [
            (&b""[..], io::ErrorKind::UnexpectedEof),
            (b"{\"schema\":", io::ErrorKind::UnexpectedEof),
            (b"{\"schema\":\0\0", io::ErrorKind::InvalidData),
        ] {
            std::fs::write(&path, bytes).expect("a file");
            let error = SpillReader::open(&path).expect_err("it is not whole");
            assert_eq!(error.kind(), kind, "{bytes:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_be_written_is_still_there() {
        let (queue, answers) = mpsc::channel();
        for index in 0..5 {
            queue
                .send((index, answered(index), Held::of_nothing()))
                .expect("a queue");
        }
        drop(queue);
        let mut full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("a device");
        let has_failed = AtomicBool::new(false);
        let written = write(&mut full, 3, &answers, &has_failed);
        assert!(has_failed.into_inner());
        let failed = written.failed.expect("a full disk");
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
        let left: Vec<u32> = written.left.iter().map(|it| it.0).collect();
        assert_eq!((written.length, left), (3, vec![0, 1, 2, 3, 4]));
    }
}
