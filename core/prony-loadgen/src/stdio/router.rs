//! Assigns lines to requests, and decides what is sent when.

use super::{Event, PER_READ, Shared};
use crate::Exchange;
use crate::clock::{now_ns, thread_cpu_ns};
use crate::deal::Rank;
use crate::exchange::{MAX_BODY, check_in_flight};
use crate::load::{Load, Reporter, Usage};
use crate::pace::{Due, Pace};
use prony_contract::Message;
use prony_record::{ErrorClass, Failed};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Maximum size of unassigned lines kept in the log, in bytes.
const MAX_LOGGED: usize = 1 << 20;
/// Maximum memory of a line, in bytes: its own and that of the stamps of its reads. Parsed
/// it may take sixteen times as much.
const MAX_LINE: usize = 16 << 20;

/// A request in flight.
struct Flight {
    due: Due,
    limit_ns: u64,
    exchange: Exchange,
    /// Number of the last read that returned something for it.
    last_read: Option<u64>,
}

/// The load in progress.
struct Active {
    load: Load<Message>,
    reporter: Reporter,
    pace: Pace,
    usage: Usage,
    start_ns: u64,
    cpu_ns: u64,
    reader_cpu_ns: u64,
    paused_ns: u64,
}

pub(super) struct Router {
    id_at: Vec<String>,
    log: File,
    logged: usize,
    /// `None` once the engine's input is to be closed.
    to_write: Option<Sender<(u64, Vec<u8>)>>,
    shared: Arc<Shared>,
    active: Option<Active>,
    /// Loads waiting for their turn.
    waiting: VecDeque<(Load<Message>, Reporter)>,
    /// By number, which is also their order in time.
    flights: BTreeMap<u64, Flight>,
    /// Numbers of flights.
    by_id: HashMap<String, u64>,
    next_flight: u64,
    /// Memory of all answers in flight, in bytes.
    in_flight: usize,
    /// The beginning of an incomplete line.
    partial: Vec<u8>,
    /// Reads of the incomplete line: end offset, number and stamp.
    pieces: Vec<(usize, u64, u64)>,
    reads: u64,
    is_over: bool,
}

impl Router {
    pub(super) fn new(
        id_at: Vec<String>,
        log: File,
        to_write: Sender<(u64, Vec<u8>)>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            id_at,
            log,
            logged: 0,
            to_write: Some(to_write),
            shared,
            active: None,
            waiting: VecDeque::new(),
            flights: BTreeMap::new(),
            by_id: HashMap::new(),
            next_flight: 0,
            in_flight: 0,
            partial: Vec::new(),
            pieces: Vec::new(),
            reads: 0,
            is_over: false,
        }
    }

    pub(super) fn run(&mut self, events: &Receiver<Event>) {
        prony_poll::exact_timers();
        loop {
            self.send_due();
            self.finish();
            if self.is_over && (self.to_write.is_none() || self.active.is_none()) {
                // Later loads find it closed, and end at once.
                return;
            }
            let next = self.next_ns();
            let event = if next == u64::MAX {
                events.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                events.recv_timeout(Duration::from_nanos(next.saturating_sub(now_ns())))
            };
            match event {
                Ok(event) => self.happened(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.expire();
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Read { at_ns, bytes } => {
                self.shared
                    .waiting
                    .fetch_sub(bytes.len() + PER_READ, Ordering::Relaxed);
                self.read(at_ns, &bytes);
            }
            Event::Ended { at_ns, error } => {
                self.is_over = true;
                let rest = std::mem::take(&mut self.partial);
                self.keep_for_log(&rest);
                let how = error.map_or_else(String::new, |error| format!(": {error}"));
                let message = format!("the engine closed its standard output{how}");
                self.lose(Failed::new(ErrorClass::Truncated, message), at_ns);
            }
            Event::Sending(number, at_ns) => {
                if let Some(flight) = self.flights.get_mut(&number) {
                    let stamps = &mut flight.exchange.seen.stamps;
                    stamps.sent_ns = at_ns;
                    stamps.intended_ns = flight.due.intended_ns.unwrap_or(at_ns);
                    if let (Some(sendable_ns), Some(active)) =
                        (flight.due.sendable_ns, &mut self.active)
                    {
                        let lag_ns = at_ns.saturating_sub(sendable_ns);
                        active.usage.send_lag_ns.saturating_record(lag_ns);
                    }
                }
            }
            Event::Written(number, at_ns) => {
                if let Some(flight) = self.flights.get_mut(&number) {
                    // An answer may be read before its request is reported as written.
                    let seen = &mut flight.exchange.seen;
                    let first = seen.reads_ns.first().copied().unwrap_or(u64::MAX);
                    seen.stamps.written_ns = Some(at_ns.min(first));
                }
            }
            Event::NotWritten(number, error) => {
                let message = format!("the engine does not read its standard input: {error}");
                let failed = Failed::new(ErrorClass::Truncated, message);
                self.send_no_more(&failed);
                // Answers to other requests may still be on their way.
                self.land(number, now_ns(), Some(failed));
            }
            Event::Start(load, reporter) => self.waiting.push_back((load, reporter)),
            Event::Stop => {
                if let Some(active) = &mut self.active {
                    active.pace.end(&active.load, now_ns());
                }
                if self.active.is_some() && !self.flights.is_empty() {
                    let message = "the load was ended, and what the engine was asked cannot be \
                                   called off";
                    self.lose(Failed::new(ErrorClass::Timeout, message), now_ns());
                }
            }
            Event::Close => self.to_write = None,
        }
    }

    /// Time of the next action, whatever happens.
    fn next_ns(&self) -> u64 {
        let limits = self.flights.values().map(|flight| flight.limit_ns);
        let limit = limits.min().unwrap_or(u64::MAX);
        let due = self
            .active
            .as_ref()
            .map_or(u64::MAX, |active| active.pace.next_ns(&active.load));
        limit.min(due)
    }

    fn send_due(&mut self) {
        if self.active.is_none()
            && let Some((load, reporter)) = self.waiting.pop_front()
        {
            let start_ns = now_ns();
            let mut pace = Pace::new(Rank::ONLY, Arc::default());
            pace.start(&load, start_ns);
            self.active = Some(Active {
                pace,
                load,
                reporter,
                usage: Usage::new(1),
                start_ns,
                cpu_ns: thread_cpu_ns(),
                reader_cpu_ns: self.shared.reader_cpu_ns.load(Ordering::Relaxed),
                paused_ns: self.shared.paused_ns.load(Ordering::Relaxed),
            });
            if self.shared.lost().is_some()
                && let Some(active) = &mut self.active
            {
                active.pace.stop();
            }
        }
        loop {
            let Some(active) = &mut self.active else {
                return;
            };
            let Some(due) = active.pace.due(&active.load, now_ns()) else {
                return;
            };
            self.send(due);
        }
    }

    fn send(&mut self, due: Due) {
        let Some(active) = &self.active else { return };
        let (message, now) = (&active.load.requests[due.index as usize], now_ns());
        let number = self.next_flight;
        self.next_flight += 1;
        let mut exchange = Exchange::default();
        let stamps = &mut exchange.seen.stamps;
        (stamps.intended_ns, stamps.sent_ns) = (due.intended_ns.unwrap_or(now), now);
        let flight = Flight {
            due,
            limit_ns: now.saturating_add(active.load.timeout.as_nanos() as u64),
            exchange,
            last_read: None,
        };
        let shared = message.ids.iter().find(|id| self.by_id.contains_key(*id));
        let wrong = if let Some(id) = shared {
            Some(format!("another request in flight has the id `{id}` too"))
        } else if message.line.contains('\n') {
            Some("the adapter made a message of several lines".to_owned())
        } else if message.ids.is_empty() || message.ends.is_empty() {
            Some("the adapter made a message without an id or without an end".to_owned())
        } else {
            None
        };
        if wrong.is_none() {
            for id in &message.ids {
                self.by_id.insert(id.clone(), number);
            }
        }
        let mut line = message.line.clone().into_bytes();
        self.in_flight += flight.exchange.size();
        self.flights.insert(number, flight);
        if let Some(wrong) = wrong {
            let failed = Failed::new(ErrorClass::Protocol, wrong);
            self.send_no_more(&failed);
            self.land(number, now, Some(failed));
            return;
        }
        line.push(b'\n');
        // A writer that has ended has reported the reason.
        if let Some(to_write) = &self.to_write {
            let _ = to_write.send((number, line));
        }
    }

    /// Cuts the bytes of a read into lines.
    fn read(&mut self, at_ns: u64, mut bytes: &[u8]) {
        let read = self.reads;
        self.reads += 1;
        if let Some(active) = &mut self.active {
            active.usage.reads += 1;
            active.usage.read_lag_ns.saturating_record(0);
        }
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end + 1);
            self.take(read, at_ns, line);
            self.line();
            bytes = rest;
        }
        if !bytes.is_empty() {
            self.take(read, at_ns, bytes);
        }
        if self.partial.len() + self.pieces.len() * size_of::<(usize, u64, u64)>() > MAX_LINE {
            (self.partial, self.pieces) = (Vec::new(), Vec::new());
            let message = format!(
                "the engine wrote a line of more than {} MiB",
                MAX_LINE >> 20
            );
            self.lose(Failed::new(ErrorClass::Protocol, message), at_ns);
        }
    }

    fn take(&mut self, read: u64, at_ns: u64, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        self.pieces.push((self.partial.len(), read, at_ns));
    }

    /// Handles a complete line.
    fn line(&mut self) {
        let (line, pieces) = (
            std::mem::take(&mut self.partial),
            std::mem::take(&mut self.pieces),
        );
        let parsed: Option<Value> = serde_json::from_slice(&line).ok();
        let found = parsed
            .as_ref()
            .and_then(|parsed| Some((parsed, *self.by_id.get(&self.id(parsed)?)?)));
        let Some((parsed, number)) = found else {
            self.keep_for_log(&line);
            return;
        };
        let Some(flight) = self.flights.get_mut(&number) else {
            return;
        };
        let before = flight.exchange.size();
        let Exchange {
            seen, body, ends, ..
        } = &mut flight.exchange;
        let mut from = 0;
        for (end, read, at_ns) in &pieces {
            body.extend_from_slice(&line[from..*end]);
            from = *end;
            if flight.last_read == Some(*read) {
                ends.pop();
            } else {
                flight.last_read = Some(*read);
                seen.reads_ns.push(*at_ns);
            }
            ends.push(body.len() as u32);
        }
        let at_ns = pieces.last().map_or_else(now_ns, |piece| piece.2);
        if body.len() > MAX_BODY {
            let limit = MAX_BODY >> 20;
            let message = format!("the answer is longer than {limit} MiB");
            self.lose(Failed::new(ErrorClass::Protocol, message), at_ns);
            return;
        }
        let size = flight.exchange.size();
        self.in_flight = self.in_flight + size - before;
        let index = flight.due.index as usize;
        if let Err(failed) = check_in_flight(size, self.in_flight, self.flights.len()) {
            self.lose(failed, at_ns);
            return;
        }
        let is_last = self.active.as_ref().is_some_and(|active| {
            let mut ends = active.load.requests[index].ends.iter();
            ends.any(|end| end.ends(parsed))
        });
        if is_last {
            self.land(number, at_ns, None);
        }
    }

    /// The id of a line's message.
    fn id(&self, line: &Value) -> Option<String> {
        self.id_at.iter().find_map(|at| match line.pointer(at)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    }

    fn keep_for_log(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() || self.logged > MAX_LOGGED {
            return;
        }
        self.logged += line.len();
        let mut kept = line.to_vec();
        if self.logged > MAX_LOGGED {
            kept =
                b"(more of what the engine wrote and belongs to no request is not kept)".to_vec();
        }
        if kept.last() != Some(&b'\n') {
            kept.push(b'\n');
        }
        // A log that cannot be written does not prevent the measurement.
        let _ = self.log.write_all(&kept);
    }

    fn send_no_more(&mut self, why: &Failed) {
        let lost = self.shared.lost.lock();
        lost.unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| why.clone());
        if let Some(active) = &mut self.active {
            active.pace.stop();
        }
    }

    /// Handles a lost connection: nothing more can be sent, and requests in flight fail.
    fn lose(&mut self, why: Failed, at_ns: u64) {
        self.send_no_more(&why);
        let numbers: Vec<u64> = self.flights.keys().copied().collect();
        for number in numbers {
            self.land(number, at_ns, Some(why.clone()));
        }
    }

    /// Handles the end of a request.
    fn land(&mut self, number: u64, end_ns: u64, failed: Option<Failed>) {
        let Some(flight) = self.flights.remove(&number) else {
            return;
        };
        self.in_flight = self.in_flight.saturating_sub(flight.exchange.size());
        let Some(active) = &mut self.active else {
            return;
        };
        for id in &active.load.requests[flight.due.index as usize].ids {
            if self.by_id.get(id) == Some(&number) {
                self.by_id.remove(id);
            }
        }
        let Flight {
            due, mut exchange, ..
        } = flight;
        let seen = &mut exchange.seen;
        seen.stamps.end_ns = end_ns.max(seen.stamps.sent_ns);
        seen.stamps.written_ns = seen.stamps.written_ns.or(seen.reads_ns.first().copied());
        seen.body_bytes = exchange.body.len() as u64;
        seen.failed = failed;
        exchange.shrink();
        let mut resumed_ns = end_ns;
        if let Some(resumed) = active.reporter.done(&active.load, due.index, exchange) {
            // Waits for the receiver, as requested. Always an error: the sender is
            // dropped, never used.
            let _ = resumed.blocking_recv();
            resumed_ns = now_ns();
        }
        active.usage.held_up_ns += active.reporter.wait_for_room();
        active
            .pace
            .ended(&active.load, due, end_ns, resumed_ns, now_ns());
    }

    /// Ends expired requests.
    fn expire(&mut self) {
        let now = now_ns();
        let late = self.flights.iter().find(|(_, it)| it.limit_ns <= now);
        let Some((&number, flight)) = late else {
            return;
        };
        let index = flight.due.index;
        let Some(active) = &self.active else { return };
        let limit = active.load.timeout;
        let message = format!("no complete answer within {limit:?}");
        let others = format!("given up: request {index} had {message} and cannot be called off");
        let lost = Failed::new(ErrorClass::Timeout, others);
        self.send_no_more(&lost);
        self.land(number, now, Some(Failed::new(ErrorClass::Timeout, message)));
        self.lose(lost, now);
    }

    /// Reports the end of the load, if it is over.
    fn finish(&mut self) {
        let is_over = |active: &mut Active| active.pace.is_over(&active.load);
        let Some(mut active) = self.active.take_if(is_over) else {
            return;
        };
        let reader = self.shared.reader_cpu_ns.load(Ordering::Relaxed);
        let usage = &mut active.usage;
        // A single busy thread holds up all: the busier one counts.
        usage.cpu_ns =
            (thread_cpu_ns() - active.cpu_ns).max(reader.saturating_sub(active.reader_cpu_ns));
        usage.wall_ns = now_ns() - active.start_ns;
        let paused_ns = self.shared.paused_ns.load(Ordering::Relaxed);
        usage.held_up_ns += paused_ns.saturating_sub(active.paused_ns);
        usage.dropped = active.pace.take_dropped();
        active.reporter.ended(active.usage);
    }
}

/// The answers to messages, all in flight, that bytes of an engine make.
#[cfg(feature = "fuzzing")]
pub(super) fn routed(
    messages: Vec<Message>,
    id_at: Vec<String>,
    reads: &[&[u8]],
) -> Vec<(u32, Exchange)> {
    let log = File::create("/dev/null").expect("a device");
    let (to_write, _queue) = std::sync::mpsc::channel();
    let shared = Arc::<Shared>::default();
    let mut router = Router::new(id_at, log, to_write, shared.clone());
    let (mut running, reporter) = crate::load::Running::new(|| {});
    let count = messages.len() as u32;
    let load = Load {
        sessions: crate::load::single_request_sessions(count),
        arrival: crate::load::Arrival::Closed {
            concurrency: count,
            ramp: crate::load::Ramp::NONE,
        },
        requests: messages,
        think: Duration::ZERO,
        delays: std::collections::BTreeMap::new(),
        timeout: Duration::from_hours(1),
        until: None,
        is_share: false,
    };
    router.happened(Event::Start(load, reporter));
    router.send_due();
    for (at_ns, bytes) in (1..).zip(reads) {
        let size = bytes.len() + PER_READ;
        shared.waiting.fetch_add(size, Ordering::Relaxed);
        let bytes = bytes.to_vec();
        router.happened(Event::Read { at_ns, bytes });
    }
    let (at_ns, error) = (u64::MAX, None);
    router.happened(Event::Ended { at_ns, error });
    router.finish();
    let mut answers = Vec::new();
    while let Some(done) = running.blocking_next() {
        answers.push((done.index, done.exchange));
    }
    answers
}
