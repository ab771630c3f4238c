//! What is sent and when, whatever carries it, and what comes of it.

use crate::Exchange;
use hdrhistogram::Histogram;
use std::fmt;
use std::ops::Range;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Requests of the form that a transport sends, and when they are sent.
#[derive(Debug)]
pub struct Load<R> {
    /// The requests; others refer to them by their index.
    pub requests: Vec<R>,
    /// Indices of requests that follow one another, each when the one before has ended,
    /// whether or not it succeeded: the turns of a conversation. A range of one is a request
    /// on its own. Begun in this order.
    pub sessions: Vec<Range<u32>>,
    /// Time between the end of a session's request and the next.
    pub think: Duration,
    /// When sessions begin.
    pub arrival: Arrival,
    /// Limit of each request, from its sending.
    pub timeout: Duration,
    /// No request is sent later than this after the start.
    pub until: Option<Duration>,
}

impl<R> Load<R> {
    /// One request on its own, now.
    pub(crate) fn of_one(request: R, timeout: Duration) -> Self {
        Self {
            requests: vec![request],
            sessions: single_request_sessions(1),
            think: Duration::ZERO,
            arrival: Arrival::Closed {
                concurrency: 1,
                ramp: Duration::ZERO,
            },
            timeout,
            until: None,
        }
    }
}

/// One session for each of `requests` requests.
pub fn single_request_sessions(requests: u32) -> Vec<Range<u32>> {
    (0..requests).map(|index| index..index + 1).collect()
}

/// When sessions begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// The next begins when one has ended.
    Closed {
        /// Sessions in progress.
        concurrency: u32,
        /// Time over which the first of them begin.
        ramp: Duration,
    },
    /// At set times.
    Open {
        /// Nanoseconds since the start, one for each session, ascending.
        offsets_ns: Vec<u64>,
        /// The most requests in flight; those that are due beyond wait for their turn,
        /// and their latency counts from when they were due. So does a session's later
        /// request, which is due when the one before has ended and was thought about.
        max_in_flight: u32,
    },
}

impl Arrival {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// The most requests in flight.
    pub(crate) fn max_in_flight(&self) -> u32 {
        match self {
            Self::Closed { concurrency, .. } => *concurrency,
            Self::Open { max_in_flight, .. } => *max_in_flight,
        }
    }
}

/// A request that ended.
#[derive(Debug)]
pub struct Done {
    /// Its index in [`Load::requests`].
    pub index: u32,
    /// What came back.
    pub exchange: Exchange,
    /// With one request in flight: the next is sent when this is dropped, so
    /// that nothing the receiver does overlaps a measurement.
    pub resume: Option<oneshot::Sender<()>>,
}

/// What the client itself did and needed.
#[derive(Debug, Clone)]
pub struct Usage {
    /// From the start to the end, in nanoseconds; of several shards the longest.
    pub wall_ns: u64,
    /// CPU time of the shards, in nanoseconds.
    pub cpu_ns: u64,
    /// Threads of the client; 0 for an engine in a worker, which sends and stamps for itself.
    pub shards: u32,
    /// Reads that brought bytes.
    pub reads: u64,
    /// Those of them that the kernel stamped.
    pub stamped_by_kernel: u64,
    /// Read lag: from the stamp to the end of the read, in nanoseconds.
    pub read_lag_ns: Histogram<u64>,
    /// How long the first byte of each read may have waited for it at most, in nanoseconds:
    /// since the client had last seen that nothing more was there. Empty where that is not
    /// known: of pipes.
    pub unseen_ns: Histogram<u64>,
    /// Send lag: from when a request could have been sent, being due and there being room
    /// for it, to its sending, in nanoseconds.
    pub send_lag_ns: Histogram<u64>,
    /// Requests that were due and never sent, because the load ended. What would have
    /// followed them was not due.
    pub dropped: Vec<u32>,
}

impl Default for Usage {
    /// Of a client with one shard that has done nothing.
    fn default() -> Self {
        Self::new(1)
    }
}

impl Usage {
    pub(crate) fn new(shards: u32) -> Self {
        let empty = || {
            Histogram::new_with_bounds(1, 100_000_000_000, 3)
                .unwrap_or_else(|_| unreachable!("the bounds are good"))
        };
        Self {
            wall_ns: 0,
            cpu_ns: 0,
            shards,
            reads: 0,
            stamped_by_kernel: 0,
            read_lag_ns: empty(),
            unseen_ns: empty(),
            send_lag_ns: empty(),
            dropped: Vec::new(),
        }
    }

    /// Whether the kernel stamped at least 99 in 100 reads. It takes a moment to begin with
    /// it; what came before is late by the read.
    pub fn is_stamped_by_kernel(&self) -> bool {
        self.stamped_by_kernel * 100 >= self.reads * 99
    }

    /// Adds another shard's.
    fn add(&mut self, other: &Self) {
        self.wall_ns = self.wall_ns.max(other.wall_ns);
        self.cpu_ns += other.cpu_ns;
        self.reads += other.reads;
        self.stamped_by_kernel += other.stamped_by_kernel;
        // Both have the same bounds.
        let _ = self.read_lag_ns.add(&other.read_lag_ns);
        let _ = self.unseen_ns.add(&other.unseen_ns);
        let _ = self.send_lag_ns.add(&other.send_lag_ns);
        self.shards += other.shards;
        self.dropped.extend(&other.dropped);
    }
}

/// A message of a driver to whoever started the load.
enum Message {
    Done(Done),
    /// A shard has nothing more to do. The last message of each.
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
    /// A load that `stop` ends, and where its driver reports.
    pub(crate) fn new(stop: impl Fn() + Send + Sync + 'static) -> (Self, Reporter) {
        let (sender, messages) = mpsc::unbounded_channel();
        let running = Self {
            messages,
            stop: Stop(Box::new(stop)),
            usage: None,
        };
        (running, Reporter(sender))
    }

    /// The next request that has ended; `None` when the load is over. Nothing is lost if
    /// this is cancelled.
    pub async fn next(&mut self) -> Option<Done> {
        loop {
            let message = self.messages.recv().await?;
            if let Some(done) = self.take(message) {
                return Some(done);
            }
        }
    }

    /// The same, outside of an asynchronous context.
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

    /// Usage of the shards that have ended so far: of all of them when the load is over.
    /// `None` if none has.
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// Ends it now, whatever is in flight.
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
pub(crate) struct Reporter(mpsc::UnboundedSender<Message>);

impl Reporter {
    /// Hands over a request that has ended. With one request in flight, what is returned
    /// resolves when the receiver is done with it.
    pub(crate) fn done<R>(
        &self,
        load: &Load<R>,
        index: u32,
        exchange: Exchange,
    ) -> Option<oneshot::Receiver<()>> {
        let is_waited_for = matches!(load.arrival, Arrival::Closed { concurrency: 1, .. });
        let (resume, resumed) = oneshot::channel();
        let done = Done {
            index,
            exchange,
            resume: is_waited_for.then_some(resume),
        };
        let sent = self.0.send(Message::Done(done));
        (is_waited_for && sent.is_ok()).then_some(resumed)
    }

    /// Hands over what the client did, as the last message.
    pub(crate) fn ended(&self, usage: Usage) {
        // Nobody may be listening any more.
        let _ = self.0.send(Message::Ended(usage));
    }

    /// Whether nobody is listening any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
