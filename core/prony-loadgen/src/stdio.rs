//! Sends requests to a process that exchanges lines of JSON over its standard input and
//! output.
//!
//! There are three threads per engine. The *reader* does nothing but read, stamp and hand
//! over; the *writer* stamps and writes, so that a full pipe holds up nobody else; the
//! *router* cuts lines, finds out which request each belongs to and whether it is the
//! last, and decides what is sent when.
//!
//! An answer cannot be cancelled. So a request that took too long, like anything else
//! that breaks the connection, ends it ([`Pipe::lost`]).

mod router;

use crate::clock::{now_ns, thread_cpu_ns};
use crate::load::{LOOK_EVERY, Load, Reporter, Running};
use prony_contract::Message;
use prony_record::Failed;
use router::Router;
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::Builder;
use std::time::Duration;

/// Buffer size of a read: the capacity of a pipe.
const READ: usize = 64 << 10;
/// Memory of reads that may wait for the router before the reader pauses, in bytes: what
/// the router still has to look at before it notices that a load is to end.
const MAX_WAITING: usize = 8 << 20;
/// Memory that each of these reads takes beside its bytes.
const PER_READ: usize = 64;

/// An event for the router, from the other threads or from [`Pipe`].
enum Event {
    Read {
        at_ns: u64,
        bytes: Vec<u8>,
    },
    /// There is nothing more to read.
    Ended {
        at_ns: u64,
        error: Option<io::Error>,
    },
    /// The flight with this number is being written, since this time.
    Sending(u64, u64),
    /// The flight with this number was written at this time.
    Written(u64, u64),
    NotWritten(u64, io::Error),
    Start(Load<Message>, Reporter),
    Stop,
    /// Nothing more will be sent.
    Close,
}

/// State shared by the threads.
#[derive(Default)]
struct Shared {
    lost: Mutex<Option<Failed>>,
    /// Bytes that wait for the router.
    waiting: AtomicUsize,
    /// CPU time of the reader, in nanoseconds.
    reader_cpu_ns: AtomicU64,
    /// Time that the reader has paused, in nanoseconds: a full pipe holds up the engine.
    paused_ns: AtomicU64,
}

impl Shared {
    fn lost(&self) -> Option<Failed> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.clone()
    }
}

/// prony's end of an engine's standard input and output.
pub struct Pipe {
    events: mpsc::Sender<Event>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pipe")
    }
}

impl Pipe {
    /// Uses pipes in blocking mode. `id_at` are JSON pointers to the id of a line's
    /// message; lines of no message go to `log`, up to 1 MiB.
    pub fn new(input: File, output: File, id_at: Vec<String>, log: File) -> io::Result<Self> {
        let (events, told) = mpsc::channel();
        let (to_write, queue) = mpsc::channel();
        let shared = Arc::<Shared>::default();
        let reader = (output, events.clone(), shared.clone());
        Builder::new()
            .name("stdio-read".to_owned())
            .spawn(move || read(reader.0, &reader.1, &reader.2))?;
        let writer = (input, events.clone());
        Builder::new()
            .name("stdio-write".to_owned())
            .spawn(move || write(writer.0, &queue, &writer.1))?;
        let mut router = Router::new(id_at, log, to_write, shared.clone());
        Builder::new()
            .name("stdio-route".to_owned())
            .spawn(move || router.run(&told))?;
        Ok(Self { events, shared })
    }

    /// Starts a load; concurrent loads run one after the other.
    pub fn start(&self, load: Load<Message>) -> Running {
        let events = self.events.clone();
        let (running, reporter) = Running::new(move || {
            let _ = events.send(Event::Stop);
        });
        // If the router has ended, the reporter is dropped, and the load is over.
        let _ = self.events.send(Event::Start(load, reporter));
        running
    }

    /// Sends one message and waits for its answer. The error holds the engine's message,
    /// if any.
    pub async fn ask(&self, message: Message, limit: Duration) -> Result<(), String> {
        let ends = message.ends.clone();
        let mut running = self.start(Load::of_one(message, limit));
        let Some(done) = running.next().await else {
            let lost = self.lost().map(|lost| lost.message);
            return Err(lost.unwrap_or_else(|| "the engine is gone".to_owned()));
        };
        let exchange = done.exchange;
        if let Some(failed) = exchange.seen.failed {
            return Err(failed.message);
        }
        let last = exchange.body.trim_ascii_end();
        let last = last.rsplit(|byte| *byte == b'\n').next().unwrap_or(last);
        let line: Value = serde_json::from_slice(last).unwrap_or_default();
        let refusal = ends.iter().find(|end| end.failed && end.ends(&line));
        match refusal.and_then(|end| line.pointer(&end.at)) {
            None => Ok(()),
            Some(Value::String(words)) => Err(words.clone()),
            Some(words) => Err(words.to_string()),
        }
    }

    /// The reason why nothing more can be sent, if any.
    pub fn lost(&self) -> Option<Failed> {
        self.shared.lost()
    }
}

impl Drop for Pipe {
    /// Closes the engine's input.
    fn drop(&mut self) {
        let _ = self.events.send(Event::Close);
    }
}

/// The answers to messages that are all in flight when an engine writes these bytes, read by
/// read, and ends; for the fuzzer.
#[cfg(feature = "fuzzing")]
pub fn routed(
    messages: Vec<Message>,
    id_at: Vec<String>,
    reads: &[&[u8]],
) -> Vec<(u32, crate::Exchange)> {
    router::routed(messages, id_at, reads)
}

fn read(mut output: File, events: &mpsc::Sender<Event>, shared: &Shared) {
    let mut room = vec![0; READ];
    loop {
        let read = output.read(&mut room);
        let at_ns = now_ns();
        let event = match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) => Event::Ended { at_ns, error: None },
            Err(error) => Event::Ended {
                at_ns,
                error: Some(error),
            },
            Ok(count) => Event::Read {
                at_ns,
                bytes: room[..count].to_vec(),
            },
        };
        let is_over = matches!(event, Event::Ended { .. });
        if let Event::Read { bytes, .. } = &event {
            let size = bytes.len() + PER_READ;
            shared.waiting.fetch_add(size, Ordering::Relaxed);
        }
        if events.send(event).is_err() || is_over {
            return;
        }
        let cpu_ns = thread_cpu_ns();
        shared.reader_cpu_ns.store(cpu_ns, Ordering::Relaxed);
        let is_full = || shared.waiting.load(Ordering::Relaxed) > MAX_WAITING;
        while is_full() {
            let since_ns = now_ns();
            std::thread::sleep(LOOK_EVERY);
            let paused_ns = now_ns() - since_ns;
            shared.paused_ns.fetch_add(paused_ns, Ordering::Relaxed);
        }
    }
}

/// Writes lines until there are no more; then closes the input.
fn write(mut input: File, lines: &mpsc::Receiver<(u64, Vec<u8>)>, events: &mpsc::Sender<Event>) {
    for (flight, line) in lines {
        // Sent first: no answer can come before it.
        let told = events.send(Event::Sending(flight, now_ns()));
        let event = match input.write_all(&line) {
            Ok(()) => Event::Written(flight, now_ns()),
            Err(error) => Event::NotWritten(flight, error),
        };
        if told.is_err() || events.send(event).is_err() {
            return;
        }
    }
}
