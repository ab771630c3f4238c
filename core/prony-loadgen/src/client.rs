//! Sends requests to a server.
//!
//! Our own socket loop, because the point is to stamp as close to the network as
//! possible and to do nothing else there: general clients parse, allocate and hop
//! between tasks before the caller learns that bytes arrived. Each shard is a thread
//! with its own connections, so that nothing crosses threads before a request has ended.

mod flight;
mod gate;
mod link;
mod shard;
mod socket;

use crate::Exchange;
use crate::target::{Prepared, Target};
use gate::Gate;
use hdrhistogram::Histogram;
use link::Encryption;
use prony_contract::HttpRequest;
use prony_poll::{Poller, Waker};
use prony_record::{ErrorClass, Failed};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What to send, where and when.
#[derive(Debug)]
pub struct Load {
    /// Where.
    pub target: Target,
    /// The requests; equal ones can share their bytes.
    pub requests: Vec<Arc<Prepared>>,
    /// Which of them follow one another, each when the one before has ended, whether or not
    /// it succeeded: the turns of a conversation. A range of one is a request on its own.
    /// Begun in this order.
    pub sessions: Vec<Range<u32>>,
    /// Between the end of a session's request and the next.
    pub think: Duration,
    /// When sessions begin.
    pub arrival: Arrival,
    /// Limit of each request, from its sending.
    pub timeout: Duration,
    /// No request is sent later than this after the start.
    pub until: Option<Duration>,
    /// Threads that send; at least 1.
    pub shards: u32,
    /// The least time between two looks at the sockets. With the kernel's stamps it costs
    /// no accuracy and saves much processor time; without them it is not used.
    pub look_every: Duration,
}

/// Sessions of one request each, for so many requests.
pub fn alone(requests: u32) -> Vec<Range<u32>> {
    (0..requests).map(|index| index..index + 1).collect()
}

/// When sessions begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// The next begins when one has ended.
    Closed {
        /// Sessions in progress.
        concurrency: u32,
        /// Over how long the first of them begin.
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

/// What the client tells.
#[derive(Debug)]
pub enum Message {
    /// A request has ended.
    Done(Done),
    /// A shard has nothing more to do. The last message of each.
    Ended(Usage),
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
    /// Processor time of the shards, in nanoseconds.
    pub cpu_ns: u64,
    /// How many shards there are.
    pub shards: u32,
    /// Reads that brought bytes.
    pub reads: u64,
    /// Those of them that the kernel stamped.
    pub stamped_by_kernel: u64,
    /// From the stamp to the end of the read, in nanoseconds: how far behind the client was.
    pub behind_ns: Histogram<u64>,
    /// From when a request could have been sent, being due and there being room for it, to
    /// its sending, in nanoseconds: how late the client was.
    pub late_ns: Histogram<u64>,
    /// Requests that were due and never sent, because the load ended. What would have
    /// followed them was not due.
    pub dropped: Vec<u32>,
}

impl Usage {
    pub(crate) fn new() -> Self {
        let empty = || {
            Histogram::new_with_bounds(1, 100_000_000_000, 3)
                .unwrap_or_else(|_| unreachable!("the bounds are good"))
        };
        Self {
            wall_ns: 0,
            cpu_ns: 0,
            shards: 1,
            reads: 0,
            stamped_by_kernel: 0,
            behind_ns: empty(),
            late_ns: empty(),
            dropped: Vec::new(),
        }
    }

    /// Whether the kernel stamped at least 99 in 100 reads. It takes a moment to begin with
    /// it; what came before is late by the read.
    pub fn is_stamped_by_kernel(&self) -> bool {
        self.stamped_by_kernel * 100 >= self.reads * 99
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.wall_ns = self.wall_ns.max(other.wall_ns);
        self.cpu_ns += other.cpu_ns;
        self.reads += other.reads;
        self.stamped_by_kernel += other.stamped_by_kernel;
        // Both have the same bounds.
        let _ = self.behind_ns.add(&other.behind_ns);
        let _ = self.late_ns.add(&other.late_ns);
        self.shards += other.shards;
        self.dropped.extend(&other.dropped);
    }
}

/// A load in progress. It ends when all requests are done or when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// What the shards tell; ends after their last message.
    pub messages: mpsc::UnboundedReceiver<Message>,
    pub(crate) stop: Stop,
}

impl Running {
    /// Ends it now, whatever is in flight.
    pub fn stop(&self) {
        (self.stop.0)();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        (self.stop.0)();
    }
}

/// What ends a load.
pub(crate) struct Stop(pub(crate) Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stop")
    }
}

/// What all shards share.
struct Shared {
    load: Load,
    /// Of the server; looked up by the first shard that needs them.
    addresses: OnceLock<Result<Vec<SocketAddr>, Failed>>,
    encryption: Option<Encryption>,
    /// The next session of a closed loop.
    next: AtomicUsize,
    stopped: AtomicBool,
    /// All are ready to start.
    ready: Gate,
    start_ns: OnceLock<u64>,
}

impl Shared {
    /// The server's addresses, or why there are none. Looking a name up may take seconds, so
    /// only shards ask, which are threads of their own.
    fn addresses(&self) -> Result<&[SocketAddr], Failed> {
        let look_up = || {
            let address = &self.load.target.address;
            match address.to_socket_addrs() {
                Ok(addresses) => Ok(addresses.collect()),
                Err(error) => {
                    let message = format!("no connection to {address}: {error}");
                    Err(Failed::new(ErrorClass::Connect, message))
                }
            }
        };
        let known = self.addresses.get_or_init(look_up);
        known.as_deref().map_err(Clone::clone)
    }
}

/// Starts a load on threads of its own. Connections are made before the first request is
/// sent: what is measured is the engine, not the handshake.
pub fn start(load: Load) -> io::Result<Running> {
    let streams = match &load.arrival {
        Arrival::Closed { concurrency, .. } => *concurrency,
        Arrival::Open { max_in_flight, .. } => *max_in_flight,
    };
    if let Some(limit) = prony_poll::raise_open_files()
        && u64::from(streams) + BESIDE > limit
    {
        return Err(io::Error::other(format!(
            "{streams} requests in flight need as many open files, and the system allows this \
             process {limit}; `ulimit -n` raises that"
        )));
    }
    let encryption = match &load.target.encrypted_for {
        Some(name) => Some(Encryption::new(name).map_err(io::Error::other)?),
        None => None,
    };
    let shards = load.shards.max(1).min(streams.max(1)) as usize;
    let shared = Arc::new(Shared {
        load,
        addresses: OnceLock::new(),
        encryption,
        next: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
        ready: Gate::new(shards),
        start_ns: OnceLock::new(),
    });
    let (sender, messages) = mpsc::unbounded_channel();
    let mut pollers = (0..shards)
        .map(|_| Poller::new())
        .collect::<io::Result<Vec<_>>>()?;
    let wakers: Vec<Waker> = pollers.iter().map(Poller::waker).collect();
    // Dropped on the way out if a thread cannot be started: those that were end then.
    let running = Running {
        messages,
        stop: Stop(Box::new({
            let shared = shared.clone();
            move || {
                shared.stopped.store(true, Ordering::Relaxed);
                shared.ready.open();
                for waker in &wakers {
                    // A shard that has ended cannot be woken.
                    let _ = waker.wake();
                }
            }
        })),
    };
    for (number, poller) in pollers.drain(..).enumerate() {
        let (shared, sender) = (shared.clone(), sender.clone());
        std::thread::Builder::new()
            .name(format!("loadgen-{number}"))
            .spawn(move || shard::run(shared, number, shards, poller, sender))?;
    }
    Ok(running)
}

/// Files that are open beside connections, and some for the runner.
const BESIDE: u64 = 64;

/// Sends one request over a connection of its own.
pub async fn once(
    target: &Target,
    request: Arc<Prepared>,
    timeout: Duration,
) -> io::Result<Exchange> {
    let mut running = start(Load {
        target: target.clone(),
        requests: vec![request],
        sessions: alone(1),
        think: Duration::ZERO,
        arrival: Arrival::Closed {
            concurrency: 1,
            ramp: Duration::ZERO,
        },
        timeout,
        until: None,
        shards: 1,
        look_every: Duration::ZERO,
    })?;
    match running.messages.recv().await {
        Some(Message::Done(done)) => Ok(done.exchange),
        _ => Err(io::Error::other(
            "the load generator ended without an answer",
        )),
    }
}

/// Whether `GET path` answers 200 within `limit`. For readiness probes.
pub async fn answers_200(target: &Target, path: &str, limit: Duration) -> bool {
    let request = HttpRequest {
        method: "GET".to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        ..HttpRequest::default()
    };
    let Ok(request) = target.prepare(&request) else {
        return false;
    };
    once(target, Arc::new(request), limit)
        .await
        .is_ok_and(|exchange| exchange.seen.failed.is_none() && exchange.seen.status == Some(200))
}
