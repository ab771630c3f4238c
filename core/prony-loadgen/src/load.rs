//! A load, its usage and its results, whatever the transport.

use crate::Exchange;
use crate::clock::now_ns;
use crate::deal::Rank;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Requests in a transport's format, and their arrival times.
#[derive(Debug)]
pub struct Load<R> {
    /// The requests; others refer to them by their index.
    pub requests: Vec<R>,
    /// Indices of requests that follow one another, each when the one before has ended,
    /// whether or not it succeeded: the turns of a conversation. A range of one is a
    /// single request. Sessions begin in this order.
    pub sessions: Vec<Range<u32>>,
    /// Pause between the end of a session's request and the next.
    pub think: Duration,
    /// Pauses before single requests, by their index, where it is not `think`.
    pub delays: BTreeMap<u32, Duration>,
    /// Start times of the sessions.
    pub arrival: Arrival,
    /// Timeout of each request, from its sending.
    pub timeout: Duration,
    /// Time after the start beyond which nothing is sent.
    pub until: Option<Duration>,
    /// `true` if it is the share of a rank: others send the rest at the same time.
    pub is_share: bool,
}

impl<R> Load<R> {
    /// A single request, now.
    pub(crate) fn of_one(request: R, timeout: Duration) -> Self {
        Self {
            requests: vec![request],
            sessions: single_request_sessions(1),
            think: Duration::ZERO,
            delays: BTreeMap::new(),
            arrival: Arrival::Closed {
                concurrency: 1,
                ramp: Ramp::NONE,
            },
            timeout,
            until: None,
            is_share: false,
        }
    }
}

impl<R> Load<R> {
    /// Pause between the end of a session's request and the next, which has this index.
    pub(crate) fn pause(&self, index: u32) -> Duration {
        self.delays.get(&index).copied().unwrap_or(self.think)
    }

    /// Returns `true` if the next request waits until the last answer was received
    /// ([`Done::resume`]).
    pub fn is_one_at_a_time(&self) -> bool {
        !self.is_share && matches!(self.arrival, Arrival::Closed { concurrency: 1, .. })
    }
}

/// Makes one session for each of `requests` requests.
pub fn single_request_sessions(requests: u32) -> Vec<Range<u32>> {
    (0..requests).map(|index| index..index + 1).collect()
}

/// Start times of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A session begins when another has ended.
    Closed {
        /// Sessions in progress.
        concurrency: u32,
        /// Begin of the first of them.
        ramp: Ramp,
    },
    /// At set times.
    Open {
        /// Nanoseconds since the start, one for each session, ascending.
        offsets_ns: Vec<u64>,
        /// Maximum number of requests in flight; further ones wait, and their latency
        /// counts from when they were due. A session's later request is due when the one
        /// before has ended and the pause is over.
        max_in_flight: u32,
    },
}

/// The begin of the first sessions of a closed loop, one slot after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ramp {
    /// Time over which the slots begin.
    over: Duration,
    /// Number of the first slot, of the slots of all ranks.
    first: u32,
    /// Distance between the numbers of slots that follow one another.
    step: u32,
    /// Number of slots of all ranks, at least 1.
    of: u32,
}

impl Ramp {
    /// All begin at the start.
    pub const NONE: Self = Self {
        over: Duration::ZERO,
        first: 0,
        step: 1,
        of: 1,
    };

    /// So many slots begin evenly over a time.
    pub fn new(over: Duration, slots: u32) -> Self {
        Self {
            over,
            of: slots.max(1),
            ..Self::NONE
        }
    }

    /// The begin of a rank's slots alone.
    pub(crate) fn dealt(self, rank: Rank) -> Self {
        Self {
            first: self.first + rank.number * self.step,
            step: self.step * rank.of,
            ..self
        }
    }

    pub(crate) fn over(self) -> Duration {
        self.over
    }

    /// Begin of a slot, since the start.
    pub(crate) fn begin(self, slot: u32) -> Duration {
        if self.over.is_zero() {
            return Duration::ZERO;
        }
        self.over * (self.first + slot * self.step) / self.of
    }
}

impl Arrival {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// Maximum number of requests in flight.
    pub fn max_in_flight(&self) -> u32 {
        match self {
            Self::Closed { concurrency, .. } => *concurrency,
            Self::Open { max_in_flight, .. } => *max_in_flight,
        }
    }
}

/// Memory of answers that their receiver has not let go yet, in bytes, beyond which the
/// client waits for it, and reads nothing meanwhile: [`Usage::held_up_ns`].
pub const MAX_WAITING: usize = 64 << 20;

/// Failure of a request that was in flight when its load was ended.
pub(crate) const CUT_OFF: &str = "the load was ended before the answer";

/// Interval between looks of a client that waits for its receiver.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A share of the memory of the answers that wait for their receiver, until it is dropped.
#[derive(Debug)]
pub struct Held {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Held {
    fn new(bytes: usize, all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(bytes, Ordering::Relaxed);
        Self {
            bytes,
            all: all.clone(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_nothing() -> Self {
        Self::new(0, &Arc::default())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A request that ended.
#[derive(Debug)]
pub struct Done {
    /// Index in [`Load::requests`].
    pub index: u32,
    /// The answer.
    pub exchange: Exchange,
    /// With one request in flight: the next is sent when this is dropped, so that nothing
    /// the receiver does overlaps a measurement.
    pub resume: Option<oneshot::Sender<()>>,
    /// The answer's share of [`MAX_WAITING`]: to be kept for as long as the answer is.
    pub held: Held,
}

/// Activity and resource use of the client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Usage {
    /// Time from the start to the end, in nanoseconds; the longest of several shards.
    pub wall_ns: u64,
    /// CPU time of the shards, in nanoseconds.
    pub cpu_ns: u64,
    /// Threads of the client; 0 for an engine in a worker, which sends and stamps for
    /// itself.
    pub shards: u32,
    /// Reads that returned bytes.
    pub reads: u64,
    /// Reads stamped by the kernel.
    pub stamped_by_kernel: u64,
    /// Read lag: from the stamp to the end of the read, in nanoseconds.
    #[serde(with = "counts")]
    pub read_lag_ns: Histogram<u64>,
    /// Read lag of each byte, in nanoseconds: that of the read which brought it.
    #[serde(with = "counts")]
    pub byte_lag_ns: Histogram<u64>,
    /// Upper bound of the time that the first byte of each read waited unseen, in
    /// nanoseconds: since the client last saw an empty socket. Empty where unknown: for
    /// pipes.
    #[serde(with = "counts")]
    pub unseen_ns: Histogram<u64>,
    /// Send lag: from when a request could have been sent, being due and with room for
    /// it, to its sending, in nanoseconds.
    #[serde(with = "counts")]
    pub send_lag_ns: Histogram<u64>,
    /// Requests of an open loop that were due but never sent, because the load ended, each
    /// with its due time by the clock. Their followers were not due.
    pub dropped: Vec<(u32, u64)>,
    /// Time in which the client read and sent nothing because its receiver was behind, in
    /// nanoseconds; the longest of several shards.
    pub held_up_ns: u64,
}

impl Default for Usage {
    /// Usage of an idle client with one shard.
    fn default() -> Self {
        Self::new(1)
    }
}

impl Usage {
    pub(crate) fn new(shards: u32) -> Self {
        Self {
            wall_ns: 0,
            cpu_ns: 0,
            shards,
            reads: 0,
            stamped_by_kernel: 0,
            read_lag_ns: empty_histogram(),
            byte_lag_ns: empty_histogram(),
            unseen_ns: empty_histogram(),
            send_lag_ns: empty_histogram(),
            dropped: Vec::new(),
            held_up_ns: 0,
        }
    }

    /// Returns `true` if the kernel stamped at least 99 % of the reads. It starts with a
    /// short delay; earlier stamps are late by the read.
    pub fn is_stamped_by_kernel(&self) -> bool {
        self.stamped_by_kernel * 100 >= self.reads * 99
    }

    /// Adds the usage of another shard, or rank.
    pub fn add(&mut self, other: &Self) {
        self.wall_ns = self.wall_ns.max(other.wall_ns);
        self.cpu_ns += other.cpu_ns;
        self.reads += other.reads;
        self.stamped_by_kernel += other.stamped_by_kernel;
        // Both have the same bounds.
        let _ = self.read_lag_ns.add(&other.read_lag_ns);
        let _ = self.byte_lag_ns.add(&other.byte_lag_ns);
        let _ = self.unseen_ns.add(&other.unseen_ns);
        let _ = self.send_lag_ns.add(&other.send_lag_ns);
        self.shards += other.shards;
        self.dropped.extend(&other.dropped);
        self.held_up_ns = self.held_up_ns.max(other.held_up_ns);
    }
}

fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 100_000_000_000, 3)
        .unwrap_or_else(|_| unreachable!("the bounds are good"))
}

/// A histogram as its values and how often each was recorded.
mod counts {
    use super::{Histogram, empty_histogram};
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        histogram: &Histogram<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let values = histogram.iter_recorded();
        serializer.collect_seq(values.map(|it| (it.value_iterated_to(), it.count_at_value())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Histogram<u64>, D::Error> {
        let mut histogram = empty_histogram();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            histogram.saturating_record_n(value, count);
        }
        Ok(histogram)
    }
}

/// A message from a driver to the owner of the load.
enum Message {
    Done(Done),
    /// A shard has finished. The last message of each.
    Ended(Usage),
}

/// A load in progress. It ends when all requests are done or when this is dropped.
#[derive(Debug)]
pub struct Running {
    messages: mpsc::UnboundedReceiver<Message>,
    stop: Stop,
    usage: Option<Usage>,
}

impl Running {
    /// A load that `stop` ends, and the reporter for its driver.
    pub(crate) fn new(stop: impl Fn() + Send + Sync + 'static) -> (Self, Reporter) {
        let (sender, messages) = mpsc::unbounded_channel();
        let running = Self {
            messages,
            stop: Stop(Box::new(stop)),
            usage: None,
        };
        let reporter = Reporter {
            messages: sender,
            waiting: Arc::default(),
        };
        (running, reporter)
    }

    /// The next request that has ended; `None` when the load is over. Cancel-safe.
    pub async fn next(&mut self) -> Option<Done> {
        loop {
            let message = self.messages.recv().await?;
            if let Some(done) = self.take(message) {
                return Some(done);
            }
        }
    }

    /// Blocking form of [`Self::next`], for use outside of an asynchronous context.
    pub fn blocking_next(&mut self) -> Option<Done> {
        loop {
            let message = self.messages.blocking_recv()?;
            if let Some(done) = self.take(message) {
                return Some(done);
            }
        }
    }

    fn take(&mut self, message: Message) -> Option<Done> {
        match message {
            Message::Done(done) => return Some(done),
            Message::Ended(ended) => match &mut self.usage {
                Some(usage) => usage.add(&ended),
                None => self.usage = Some(ended),
            },
        }
        None
    }

    /// Usage of the shards that have ended so far; of all of them when the load is over.
    /// `None` if none has.
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// Ends the load now. What is in flight fails, with its stamps and the end of the load as
    /// its end.
    pub fn stop(&self) {
        (self.stop.0)();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Stop(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stop")
    }
}

/// A driver's end of a [`Running`].
#[derive(Clone)]
pub(crate) struct Reporter {
    messages: mpsc::UnboundedSender<Message>,
    /// Bytes of answers that the owner has not let go yet.
    waiting: Arc<AtomicUsize>,
}

impl Reporter {
    /// Hands over a request that has ended. With one request in flight, the returned
    /// receiver resolves when the owner is done with it.
    pub(crate) fn done<R>(
        &self,
        load: &Load<R>,
        index: u32,
        exchange: Exchange,
    ) -> Option<oneshot::Receiver<()>> {
        let is_waited_for = load.is_one_at_a_time();
        let (resume, resumed) = oneshot::channel();
        let done = Done {
            index,
            resume: is_waited_for.then_some(resume),
            held: Held::new(exchange.size(), &self.waiting),
            exchange,
        };
        let sent = self.messages.send(Message::Done(done));
        (is_waited_for && sent.is_ok()).then_some(resumed)
    }

    /// Returns `true` if more than [`MAX_WAITING`] waits for an owner who is still there.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > MAX_WAITING && !self.is_closed()
    }

    /// Waits until no more than [`MAX_WAITING`] waits for the owner; returns the time, in
    /// nanoseconds.
    pub(crate) fn wait_for_room(&self) -> u64 {
        if !self.is_full() {
            return 0;
        }
        let since_ns = now_ns();
        while self.is_full() {
            std::thread::sleep(LOOK_EVERY);
        }
        now_ns() - since_ns
    }

    /// Hands over the client's usage, as the last message.
    pub(crate) fn ended(&self, usage: Usage) {
        // The owner may be gone.
        let _ = self.messages.send(Message::Ended(usage));
    }

    /// Returns `true` if the owner is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }
}
