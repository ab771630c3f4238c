//! One thread of the client: its connections, and the loop that serves them.

use super::flight::{Flight, Job, Received};
use super::link::{Link, words};
use super::polls::Polls;
use super::socket::{Socket, Stamper};
use super::{SPARE_CONNECTIONS, Shared, first_connections};
use crate::clock::{now_ns, thread_cpu_ns};
use crate::deal::Rank;
use crate::exchange::check_in_flight;
use crate::load::{Arrival, CUT_OFF, Reporter, Usage};
use crate::pace::Pace;
use prony_poll::{Event, Events, Interest, Poller};
use prony_record::{ErrorClass, Failed};
use slab::Slab;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Timeout of a connection attempt; a local server answers in microseconds.
const CONNECT_LIMIT_NS: u64 = 10_000_000_000;
/// A reused connection that ends within this time after a request was sent, or within two
/// round trips where that is longer, had been closed before the server saw the request.
const STALE_WITHIN_NS: u64 = 10_000_000;
/// Buffer size of a read, in bytes.
const READ: usize = 64 << 10;
/// Maximum number of reads in a turn, shared by the connections that have something; at
/// least one each. So a server that sends without end delays neither timeouts nor others.
const MAX_READS: usize = 64;
/// Time for a response to end after its answer's own end mark, in nanoseconds. Servers that
/// end it send the rest within a millisecond; others hold the connection open.
const TAIL_LIMIT_NS: u64 = 20_000_000;

struct Connection {
    link: Link,
    phase: Phase,
    /// Distinguishes its present use from others, for timeouts.
    generation: u64,
    /// `true` if it was idle before its present use.
    kept: bool,
    /// Time at which opening began, then the time it took: at least a round trip.
    opening_ns: u64,
}

enum Phase {
    /// Connecting to the address with this index; then the request to send.
    Opening(usize, Option<Job>),
    Idle,
    Busy(Box<Flight>),
}

struct Shard {
    shared: Arc<Shared>,
    reporter: Reporter,
    poller: Poller,
    stamper: Stamper,
    scratch: Vec<u8>,
    plain: Vec<u8>,
    connections: Slab<Connection>,
    /// Idle connections, oldest first: a server that serves one connection at a time
    /// serves the oldest.
    idle: VecDeque<usize>,
    /// Number of connections being opened without a request.
    warming: usize,
    /// `true` if the last connection could be opened, or none was tried.
    is_reachable: bool,
    /// Generation of the newest connection.
    generation: u64,
    /// Timeouts of connection attempts and requests: time, connection, generation.
    limits: BinaryHeap<Reverse<(u64, usize, u64)>>,
    pace: Pace,
    /// Index of the last address that worked.
    address: usize,
    polls: Polls,
    usage: Usage,
}

/// Runs one part of the load.
pub(super) fn run(shared: Arc<Shared>, part: Rank, poller: Poller, reporter: Reporter) {
    prony_poll::exact_timers();
    let mut this = Shard {
        pace: Pace::new(part, shared.next_session.clone()),
        shared,
        reporter,
        poller,
        stamper: Stamper::new(),
        scratch: vec![0; READ],
        plain: Vec::new(),
        connections: Slab::new(),
        idle: VecDeque::new(),
        warming: 0,
        is_reachable: true,
        generation: 0,
        limits: BinaryHeap::new(),
        address: 0,
        polls: Polls::new(now_ns()),
        usage: Usage::new(1),
    };
    this.run(part);
}

impl Shard {
    fn run(&mut self, part: Rank) {
        self.warm(first_connections(part, &self.shared.load));
        self.shared.ready.wait();
        let settled_ns = || now_ns() + self.shared.settling.as_nanos() as u64;
        let start_ns = *self.shared.start_ns.get_or_init(settled_ns);
        let cpu_ns = thread_cpu_ns();
        self.pace.start(&self.shared.load, start_ns);
        self.serve();
        let mut usage = std::mem::replace(&mut self.usage, Usage::new(1));
        usage.cpu_ns = thread_cpu_ns() - cpu_ns;
        // It may have been stopped before the start.
        usage.wall_ns = now_ns().saturating_sub(start_ns);
        usage.dropped = self.pace.take_dropped();
        self.reporter.ended(usage);
    }

    /// Opens connections and waits until they are open or have failed.
    fn warm(&mut self, count: u32) {
        for _ in 0..count {
            self.open(None);
        }
        let mut events = Events::with_capacity(256);
        while self.warming > 0 && !self.stopped() {
            self.wait(&mut events);
        }
    }

    fn stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed) || self.reporter.is_closed()
    }

    fn serve(&mut self) {
        let mut events = Events::with_capacity(1024);
        let poll_every = self.shared.poll_every;
        let mut polled = 0;
        loop {
            if self.stopped() {
                self.cut_off();
                return;
            }
            // One reading of the clock: anything due meanwhile waits for the next turn.
            let now = now_ns();
            while let Some(due) = self.pace.due(&self.shared.load, now) {
                self.launch(Job { due, first: None });
            }
            self.keep_spares();
            if self.pace.is_over(&self.shared.load) {
                return;
            }
            if !poll_every.is_zero() && self.usage.is_stamped_by_kernel() {
                // The kernel stamps arrivals in the meantime.
                let next_poll = polled + poll_every.as_nanos() as u64;
                let now = now_ns();
                let rest = self
                    .pace
                    .next_ns(&self.shared.load)
                    .min(next_poll)
                    .saturating_sub(now);
                if rest > 0 {
                    std::thread::sleep(Duration::from_nanos(rest));
                }
            }
            self.wait(&mut events);
            polled = now_ns();
        }
    }

    /// Ends what is in flight, because the load is ended.
    fn cut_off(&mut self) {
        self.pace.end(&self.shared.load, now_ns());
        if self.reporter.is_closed() {
            return;
        }
        let tokens: Vec<usize> = self.connections.iter().map(|it| it.0).collect();
        for token in tokens {
            let failed = Failed::new(ErrorClass::Timeout, CUT_OFF);
            match &mut self.connections[token].phase {
                Phase::Opening(_, job) => {
                    if let Some(job) = job.take() {
                        self.give_up(job, failed);
                    }
                }
                Phase::Idle => {}
                Phase::Busy(flight) if flight.is_answered() => self.landing(token, Ok(false)),
                Phase::Busy(_) => self.landing(token, Err(failed)),
            }
        }
    }

    /// Waits for the sockets, handles what they bring, and handles expired timeouts.
    fn wait(&mut self, events: &mut Events) {
        let limit = self.limits.peek().map_or(u64::MAX, |limit| limit.0.0);
        let next = self.pace.next_ns(&self.shared.load).min(limit);
        let before_ns = now_ns();
        let timeout =
            (next < u64::MAX).then(|| Duration::from_nanos(next.saturating_sub(before_ns)));
        if let Err(error) = self.poller.wait(events, timeout) {
            tracing::error!("waiting for sockets: {error}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let since_ns = self.polls.waited(before_ns, now_ns(), events.is_full());
        self.stamper.refresh();
        let reads = self.usage.reads;
        let share = (MAX_READS / events.len().max(1)).max(1);
        for event in events.iter() {
            self.happened(event, share);
        }
        let reads = self.usage.reads - reads;
        if reads > 0 {
            // Once for all, so that a read costs no more: an overestimate for the first
            // ones.
            let unseen_ns = now_ns().saturating_sub(since_ns);
            self.usage.unseen_ns.saturating_record_n(unseen_ns, reads);
        }
        self.expire();
    }

    /// Sends over an idle connection, or opens one.
    fn launch(&mut self, job: Job) {
        while let Some(token) = self.idle.pop_front() {
            // A close that has arrived since the last poll.
            if self.is_alive(token) {
                self.connections[token].kept = true;
                self.send(token, job);
                return;
            }
            self.connections.remove(token);
        }
        self.open(Some(job));
    }

    /// Returns `true` if an idle connection is as the last answer left it.
    fn is_alive(&mut self, token: usize) -> bool {
        let link = &mut self.connections[token].link;
        match link.read(&mut self.stamper, &mut self.scratch, &mut self.plain) {
            Ok(None) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            // The server closed it, or sent something unsolicited.
            Ok(Some(_)) => false,
        }
    }

    /// Keeps some connections ready, so that an open loop does not wait for them.
    fn keep_spares(&mut self) {
        let Arrival::Open { max_in_flight, .. } = self.shared.load.arrival else {
            return;
        };
        // Without a listener, it would retry endlessly.
        while self.is_reachable
            && self.pace.has_arrivals(&self.shared.load)
            && self.idle.len() + self.warming < SPARE_CONNECTIONS as usize
            && self.connections.len() < max_in_flight as usize
        {
            self.open(None);
        }
    }

    fn open(&mut self, job: Option<Job>) {
        self.open_at(self.address, 0, job);
    }

    /// Opens a connection to an address, after `tried` others failed.
    fn open_at(&mut self, first: usize, tried: usize, job: Option<Job>) {
        let shared = self.shared.clone();
        let (addresses, mut why) = match shared.addresses() {
            Ok(addresses) => (addresses, None),
            Err(unknown) => (&[][..], Some(unknown)),
        };
        for tried in tried..addresses.len() {
            let address = addresses[(first + tried) % addresses.len()];
            let opened = Socket::connect(&address)
                .and_then(|socket| Link::new(socket, shared.encryption.as_ref()));
            match opened {
                Ok(link) => {
                    if job.is_none() {
                        self.warming += 1;
                    }
                    self.generation += 1;
                    let token = self.connections.insert(Connection {
                        link,
                        phase: Phase::Opening(tried, job),
                        generation: self.generation,
                        kept: false,
                        opening_ns: now_ns(),
                    });
                    let limit = now_ns() + CONNECT_LIMIT_NS;
                    self.limits.push(Reverse((limit, token, self.generation)));
                    let link = &self.connections[token].link;
                    let registered =
                        self.poller
                            .register(link.as_fd(), token as u64, Interest::WRITE);
                    if let Err(error) = registered {
                        self.not_opened(token, &error);
                    }
                    return;
                }
                Err(error) => why = Some(self.unreachable(&error)),
            }
        }
        self.is_reachable = false;
        if let Some(job) = job {
            let why = why.unwrap_or_else(|| self.unreachable(&io::Error::other("no address")));
            self.give_up(job, why);
        }
    }

    fn unreachable(&mut self, error: &io::Error) -> Failed {
        self.is_reachable = false;
        let address = &self.shared.target.address;
        Failed::new(
            ErrorClass::Connect,
            format!("no connection to {address}: {}", words(error)),
        )
    }

    /// Tries the next address, or gives up.
    fn not_opened(&mut self, token: usize, error: &io::Error) {
        let Connection {
            phase: Phase::Opening(tried, job),
            ..
        } = self.connections.remove(token)
        else {
            return;
        };
        if job.is_none() {
            self.warming -= 1;
        }
        let addresses = self.shared.addresses().map_or(0, <[_]>::len);
        if tried + 1 < addresses {
            self.open_at(self.address, tried + 1, job);
            return;
        }
        let why = self.unreachable(error);
        if let Some(job) = job {
            self.give_up(job, why);
        }
    }

    /// Ends a request that could not be sent.
    fn give_up(&mut self, job: Job, why: Failed) {
        let now = now_ns();
        let request = self.shared.load.requests[job.due.index as usize].clone();
        let mut flight = Flight::new(job, request, now);
        flight.exchange.seen.stamps.end_ns = now;
        flight.exchange.seen.failed = Some(why);
        self.landed(flight);
    }

    /// Handles an event, with at most `reads` reads.
    fn happened(&mut self, event: Event, reads: usize) {
        let token = event.token as usize;
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        match &mut connection.phase {
            Phase::Opening(..) => self.opening(token, event),
            Phase::Idle => {
                if !self.is_alive(token) {
                    self.idle.retain(|idle| *idle != token);
                    self.connections.remove(token);
                }
            }
            Phase::Busy(flight) => {
                let whole = flight.request.len();
                if event.writable && (flight.written < whole || connection.link.is_encrypted()) {
                    self.write(token);
                }
                if event.readable || event.closed {
                    self.read(token, reads);
                }
            }
        }
    }

    fn opening(&mut self, token: usize, event: Event) {
        let connection = &mut self.connections[token];
        let link = &mut connection.link;
        let mut step = || -> io::Result<Option<Interest>> {
            if event.writable || event.closed {
                link.connected()?;
            }
            if event.readable {
                match link.read(&mut self.stamper, &mut self.scratch, &mut self.plain) {
                    Ok(Some(arrived)) if arrived.count == 0 => {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
            let flushed = link.flush()?;
            Ok((link.is_handshaking() || !flushed).then_some(Interest {
                read: true,
                write: !flushed,
            }))
        };
        let stepped = step().and_then(|interest| {
            let wanted = interest.unwrap_or(Interest::READ);
            self.poller.modify(link.as_fd(), token as u64, wanted)?;
            Ok(interest.is_none())
        });
        match stepped {
            Ok(false) => {}
            Err(error) => self.not_opened(token, &error),
            Ok(true) => {
                let opening = std::mem::replace(&mut connection.phase, Phase::Idle);
                connection.opening_ns = now_ns().saturating_sub(connection.opening_ns);
                if let Phase::Opening(tried, job) = opening {
                    let addresses = self.shared.addresses().map_or(0, <[_]>::len);
                    self.address = (self.address + tried) % addresses;
                    self.is_reachable = true;
                    if let Some(job) = job {
                        self.send(token, job);
                    } else {
                        self.warming -= 1;
                        self.generation += 1;
                        connection.generation = self.generation;
                        self.idle.push_back(token);
                    }
                }
            }
        }
    }

    /// Sends over an open connection.
    fn send(&mut self, token: usize, job: Job) {
        self.generation += 1;
        let request = self.shared.load.requests[job.due.index as usize].clone();
        // The time that it takes is a send lag.
        let loaded = request.load();
        let connection = &mut self.connections[token];
        connection.generation = self.generation;
        let now = now_ns();
        if let (None, Some(sendable_ns)) = (job.first, job.due.sendable_ns) {
            self.usage
                .send_lag_ns
                .saturating_record(now.saturating_sub(sendable_ns));
        }
        let mut flight = Box::new(Flight::new(job, request, now));
        let unread = match loaded {
            Ok(loaded) => {
                flight.loaded = loaded;
                None
            }
            Err(error) => {
                let message = format!("prony could not read the request from its file: {error}");
                Some(Failed::new(ErrorClass::Plugin, message))
            }
        };
        connection.phase = Phase::Busy(flight);
        let limit = now.saturating_add(self.shared.load.timeout.as_nanos() as u64);
        self.limits.push(Reverse((limit, token, self.generation)));
        match unread {
            None => self.write(token),
            Some(failed) => self.landing(token, Err(failed)),
        }
    }

    fn write(&mut self, token: usize) {
        let connection = &mut self.connections[token];
        let Phase::Busy(flight) = &mut connection.phase else {
            return;
        };
        let link = &mut connection.link;
        let bytes = flight.request.bytes(flight.loaded.as_ref());
        let mut write = || -> io::Result<bool> {
            while flight.written < bytes.len() {
                match link.write(&bytes[flight.written..]) {
                    Ok(count) => flight.written += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            link.flush()
        };
        let stamps = &mut flight.exchange.seen.stamps;
        let wanted = match write() {
            Ok(true) if stamps.written_ns.is_none() => {
                stamps.written_ns = Some(now_ns());
                Interest::READ
            }
            Ok(true) => Interest::READ,
            Ok(false) => Interest {
                read: true,
                write: true,
            },
            Err(error) => {
                let failed = flight.broken(&error);
                self.landing(token, Err(failed));
                return;
            }
        };
        let first = flight.written == flight.request.len() && wanted == Interest::READ;
        if first {
            flight.loaded = None;
        }
        // It already waits for reading only, unless it could not write.
        if (!first || flight.stalled)
            && let Err(error) = self.poller.modify(link.as_fd(), token as u64, wanted)
        {
            let failed = flight.broken(&error);
            self.landing(token, Err(failed));
            return;
        }
        if let Phase::Busy(flight) = &mut self.connections[token].phase {
            flight.stalled = !first;
        }
    }

    fn read(&mut self, token: usize, reads: usize) {
        let connections = self.connections.len();
        let connection = &mut self.connections[token];
        let Phase::Busy(flight) = &mut connection.phase else {
            return;
        };
        let mut reads = 0..reads;
        let outcome = loop {
            // Who sends without end must not keep the others waiting; the poller tells of
            // what is left.
            if reads.next().is_none() {
                break None;
            }
            let read = connection
                .link
                .read(&mut self.stamper, &mut self.scratch, &mut self.plain);
            let arrived = match read {
                Ok(Some(arrived)) => arrived,
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break None,
                Err(error) => break Some(Err(flight.broken(&error))),
            };
            if arrived.count == 0 {
                break Some(flight.end_of_file(arrived.at_ns).map(|()| false));
            }
            self.usage.reads += 1;
            self.usage.stamped_by_kernel += u64::from(arrived.by_kernel);
            let lag_ns = arrived.read_ns - arrived.at_ns;
            self.usage.read_lag_ns.saturating_record(lag_ns);
            let byte_lag_ns = &mut self.usage.byte_lag_ns;
            byte_lag_ns.saturating_record_n(lag_ns, arrived.count as u64);
            let bytes = if connection.link.is_encrypted() {
                &self.plain[..]
            } else {
                &self.scratch[..arrived.count]
            };
            match flight.receive(arrived, bytes) {
                Ok(Received::All(keep)) => break Some(Ok(keep)),
                Ok(Received::Answer) => {
                    // The rest of the response comes at once, or is not waited for.
                    let limit = arrived.read_ns + TAIL_LIMIT_NS;
                    let generation = connection.generation;
                    self.limits.push(Reverse((limit, token, generation)));
                }
                Ok(Received::Part) => {}
                Err(failed) => break Some(Err(failed)),
            }
            let all = flight.count(&self.shared.in_flight);
            let size = flight.size();
            if let Err(failed) = check_in_flight(size, all, connections) {
                break Some(Err(failed));
            }
            // Usually that was all; another read would only confirm it.
            if arrived.count < READ {
                break None;
            }
        };
        // What breaks after the answer's own end is not the answer's.
        let answered = flight.is_answered();
        let outcome = outcome.map(|outcome| {
            if answered {
                outcome.or(Ok(false))
            } else {
                outcome
            }
        });
        if let Some(outcome) = outcome {
            self.landing(token, outcome);
        }
    }

    /// Handles the end of a request: `true` if its connection can be reused.
    fn landing(&mut self, token: usize, outcome: Result<bool, Failed>) {
        let connection = &mut self.connections[token];
        let Phase::Busy(mut flight) = std::mem::replace(&mut connection.phase, Phase::Idle) else {
            return;
        };
        flight.discount(&self.shared.in_flight);
        let kept = connection.kept;
        // The server's close was under way when the request was sent.
        let stale_within_ns = STALE_WITHIN_NS.max(2 * connection.opening_ns);
        if outcome == Ok(true) {
            self.generation += 1;
            connection.generation = self.generation;
            self.idle.push_back(token);
        } else {
            self.connections.remove(token);
            flight.exchange.seen.closed = outcome.is_ok();
        }
        let stamps = &mut flight.exchange.seen.stamps;
        if let Err(failed) = outcome {
            if stamps.end_ns == 0 {
                stamps.end_ns = now_ns();
            }
            // A server may close a kept connection at any time, also while a request is
            // on its way. If it is found closed at once, the engine is not to blame, and
            // the request is sent again on a new connection. If the server closed it
            // later, it had the request, and failed.
            let stale = kept
                && failed.class == ErrorClass::Truncated
                && flight.is_unanswered()
                && flight.job.first.is_none()
                && flight.exchange.seen.stamps.end_ns
                    < flight.exchange.seen.stamps.sent_ns + stale_within_ns;
            if stale {
                let mut job = flight.job;
                job.first = Some(flight.exchange.seen.stamps);
                self.open(Some(job));
                return;
            }
            flight.exchange.seen.failed = Some(failed);
        }
        self.landed(*flight);
    }

    /// Reports that a request has ended, and continues with what follows it.
    fn landed(&mut self, flight: Flight) {
        let Flight {
            job, mut exchange, ..
        } = flight;
        if let Some(first) = job.first {
            // The user waited, so time counts from the first sending.
            let stamps = &mut exchange.seen.stamps;
            (stamps.intended_ns, stamps.sent_ns) = (first.intended_ns, first.sent_ns);
            exchange.seen.resent = true;
        }
        exchange.seen.body_bytes = exchange.body.len() as u64;
        exchange.shrink();
        let end_ns = exchange.seen.stamps.end_ns;
        let mut resumed_ns = end_ns;
        let load = &self.shared.load;
        if let Some(resumed) = self.reporter.done(load, job.due.index, exchange) {
            // Waits for the receiver, as requested. Always an error: the sender is
            // dropped, never used.
            let _ = resumed.blocking_recv();
            resumed_ns = now_ns();
        }
        self.usage.held_up_ns += self.reporter.wait_for_room();
        self.pace.ended(load, job.due, end_ns, resumed_ns, now_ns());
    }

    /// Ends expired requests and connection attempts.
    fn expire(&mut self) {
        let now = now_ns();
        while let Some(Reverse((at, token, generation))) = self.limits.peek().copied() {
            if at > now {
                return;
            }
            self.limits.pop();
            let Some(connection) = self.connections.get(token) else {
                continue;
            };
            if connection.generation != generation {
                continue;
            }
            match connection.phase {
                Phase::Idle => {}
                Phase::Opening(..) => {
                    let limit = Duration::from_nanos(CONNECT_LIMIT_NS);
                    let error =
                        io::Error::new(io::ErrorKind::TimedOut, format!("not within {limit:?}"));
                    self.not_opened(token, &error);
                }
                Phase::Busy(ref flight) if flight.is_answered() => self.landing(token, Ok(false)),
                Phase::Busy(_) => {
                    let limit = self.shared.load.timeout;
                    let failed = Failed::new(
                        ErrorClass::Timeout,
                        format!("no complete answer within {limit:?}"),
                    );
                    self.landing(token, Err(failed));
                }
            }
        }
    }
}
