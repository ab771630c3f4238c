//! Sends requests to a server.
//!
//! Our own socket loop, because the point is to stamp as close to the network as
//! possible and to do nothing else there: general clients parse, allocate and hop
//! between tasks before the caller learns that bytes arrived. Each shard is a thread
//! with its own connections, so that nothing crosses threads before a request has ended.

mod flight;
mod gate;
mod link;
mod polls;
mod shard;
mod socket;

use crate::Exchange;
use crate::deal::Rank;
use crate::load::{Load, Running};
use crate::target::{Prepared, Target};
use gate::Gate;
use link::Encryption;
use prony_contract::HttpRequest;
use prony_poll::{Poller, Waker};
use prony_record::{ErrorClass, Failed, refusal};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The answer that bytes of a server make, read by read; for the fuzzer.
#[cfg(feature = "fuzzing")]
pub fn received(request: Arc<Prepared>, reads: &[&[u8]]) -> Exchange {
    flight::received(request, reads)
}

/// Most bytes of an answer that a message quotes.
const MAX_QUOTED: usize = 300;

/// A server, and how requests are sent to it.
#[derive(Debug, Clone)]
pub struct Http {
    /// The server.
    pub target: Target,
    /// Threads that send: at least 1, and at most one for each request in flight.
    pub shards: u32,
    /// The least time between two looks at the sockets. With the kernel's stamps it costs
    /// no accuracy and saves much CPU time; without them it is not used.
    pub poll_every: Duration,
}

/// State shared by all shards.
struct Shared {
    load: Load<Arc<Prepared>>,
    target: Target,
    poll_every: Duration,
    /// Of the server; looked up by the first shard that needs them.
    addresses: OnceLock<Result<Vec<SocketAddr>, Failed>>,
    encryption: Option<Encryption>,
    /// The next session of a closed loop.
    next_session: Arc<AtomicU32>,
    stopped: AtomicBool,
    /// Bytes that all answers in flight occupy, of all shards.
    in_flight: AtomicUsize,
    /// All have their first connections.
    ready: Gate,
    /// From then to the start.
    settling: Duration,
    start_ns: OnceLock<u64>,
}

impl Shared {
    /// The server's addresses, or why there are none. Looking a name up may take seconds, so
    /// only shards ask, which are threads of their own.
    fn addresses(&self) -> Result<&[SocketAddr], Failed> {
        let look_up = || {
            let address = &self.target.address;
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

/// Number of requests in flight from which on the client looks at its sockets less often.
const MIN_FOR_RARE_POLLS: u32 = 256;
/// Interval of these looks. The kernel stamps arrivals in between.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Threads of the client: as many as were `asked` for, or one per 2,048 requests in flight, at
/// most a quarter of the machine's `cores`.
///
/// One thread reads some 3.5 million tokens a second, which is enough for nearly every
/// load. Thousands of streams are different, since each of their tokens is a separate
/// read. The cores belong primarily to the engine, which mostly runs on the same machine.
fn shards(asked: Option<u32>, max_in_flight: u32, cores: usize) -> u32 {
    const STREAMS: u32 = 2048;
    let most = u32::try_from(cores / 4).unwrap_or(u32::MAX).max(1);
    asked.unwrap_or_else(|| max_in_flight.div_ceil(STREAMS).clamp(1, most))
}

impl Http {
    /// As many threads and looks as `max_in_flight` requests take on this machine; `asked` is a
    /// number of threads that was stated.
    pub fn fit(target: Target, asked: Option<u32>, max_in_flight: u32) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            target,
            shards: shards(asked, max_in_flight, cores),
            poll_every: if max_in_flight < MIN_FOR_RARE_POLLS {
                Duration::ZERO
            } else {
                LOOK_EVERY
            },
        }
    }

    /// One thread, which looks at its sockets as soon as they have something.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            shards: 1,
            poll_every: Duration::ZERO,
        }
    }

    /// Starts a load on threads of its own. Connections are made before the first request
    /// is sent, and settle ([`settling_time`]): what is measured is the engine, not the
    /// handshake.
    ///
    /// An error means that threads, pollers or as many sockets are not to be had, or that no
    /// certificate authority is known.
    pub fn start(&self, load: Load<Arc<Prepared>>) -> io::Result<Running> {
        let Poised { running, shared } = self.poise(load)?;
        shared.ready.arrive();
        Ok(running)
    }

    /// As [`Self::start`], and nothing is sent before [`Poised::go`].
    pub fn poise(&self, load: Load<Arc<Prepared>>) -> io::Result<Poised> {
        let sessions = u32::try_from(load.sessions.len()).unwrap_or(u32::MAX);
        let max_in_flight = load.arrival.max_in_flight().min(sessions);
        check_open_files(max_in_flight).map_err(io::Error::other)?;
        let encryption = match &self.target.encrypted_for {
            Some(name) => Some(Encryption::new(name).map_err(io::Error::other)?),
            None => None,
        };
        let shards = self.shards.max(1).min(max_in_flight.max(1));
        let parts = (0..shards).map(|number| Rank { number, of: shards });
        let connections = parts.map(|part| first_connections(part, &load)).sum();
        let shared = Arc::new(Shared {
            settling: match encryption {
                None => settling_time(connections),
                // The handshakes were with whoever accepted them.
                Some(_) => Duration::ZERO,
            },
            load,
            target: self.target.clone(),
            poll_every: self.poll_every,
            addresses: OnceLock::new(),
            encryption,
            next_session: Arc::default(),
            stopped: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            // The owner is one of those that it waits for.
            ready: Gate::new(shards as usize + 1),
            start_ns: OnceLock::new(),
        });
        let pollers = (0..shards)
            .map(|_| Poller::new())
            .collect::<io::Result<Vec<_>>>()?;
        let wakers: Vec<Waker> = pollers.iter().map(Poller::waker).collect();
        // Dropped on the way out if a thread cannot be started: those that were end then.
        let (running, reporter) = Running::new({
            let shared = shared.clone();
            move || {
                shared.stopped.store(true, Ordering::Relaxed);
                shared.ready.open();
                for waker in &wakers {
                    // A shard that has ended cannot be woken.
                    let _ = waker.wake();
                }
            }
        });
        for (number, poller) in (0..).zip(pollers) {
            let (shared, reporter) = (shared.clone(), reporter.clone());
            let part = Rank { number, of: shards };
            std::thread::Builder::new()
                .name(format!("loadgen-{number}"))
                .spawn(move || shard::run(shared, part, poller, reporter))?;
        }
        Ok(Poised { running, shared })
    }
}

/// A load whose connections are made, and which has not started. Dropped, it never does.
pub struct Poised {
    running: Running,
    shared: Arc<Shared>,
}

impl Poised {
    /// Waits until all connections are open or have failed; returns the time that they are to
    /// be left alone then ([`settling_time`]).
    pub fn wait(&self) -> Duration {
        self.shared.ready.wait_for_all_but(1);
        self.shared.settling
    }

    /// Starts the load at a reading of the clock ([`crate::clock::now_ns`]).
    pub fn go(self, start_ns: u64) -> Running {
        let Self { running, shared } = self;
        // Nothing else sets it before the gate opens.
        let _ = shared.start_ns.set(start_ns);
        shared.ready.arrive();
        running
    }

    /// Ends it, for another thread that waits.
    pub fn stopper(&self) -> impl Fn() + Send + use<> {
        let shared = self.shared.clone();
        move || {
            shared.stopped.store(true, Ordering::Relaxed);
            shared.ready.open();
        }
    }
}

/// Connections that a part of a load opens before the start.
fn first_connections<R>(part: Rank, load: &Load<R>) -> u32 {
    let slots = part.slots(load);
    if load.arrival.is_open() {
        slots.min(SPARE_CONNECTIONS)
    } else {
        slots
    }
}

/// Idle connections that each shard of an open loop keeps ready for what comes next.
const SPARE_CONNECTIONS: u32 = 8;

/// Time that `connections` without TLS are left alone before the first request is sent.
///
/// A connection is open for the client as soon as the other side's kernel has queued it,
/// and nothing tells the client when the server accepts it. A server that is still accepting
/// gets to the first requests late, and they alone would seem slow. Servers accept one
/// connection after the other, so the pause grows with their number; how long is in
/// `docs/load.md`. A single connection needs none. With TLS the handshake proves that the
/// connection was accepted.
pub fn settling_time(connections: u32) -> Duration {
    const BASE: Duration = Duration::from_millis(10);
    const EACH: Duration = Duration::from_micros(200);
    const MAX: Duration = Duration::from_secs(2);
    if connections < 2 {
        return Duration::ZERO;
    }
    EACH.saturating_mul(connections)
        .saturating_add(BASE)
        .min(MAX)
}

/// Files that are open beside connections: of the runner, its engines and plugins.
const BESIDE: u64 = 64;

/// Checks that as many files and sockets can be open as a load with `max_in_flight` requests
/// takes, and raises this process's limit as far as the system allows. The error names the
/// number and the way out.
pub fn check_open_files(max_in_flight: u32) -> Result<(), String> {
    let needed = u64::from(max_in_flight) + BESIDE;
    match prony_poll::raise_open_files() {
        Some(limit) if limit < needed => Err(format!(
            "{max_in_flight} requests in flight need {needed} open files, and the system allows \
             this process {limit}: `ulimit -n {needed}` raises that, or the administrator does"
        )),
        _ => Ok(()),
    }
}

/// Longest answer to a question, in bytes.
pub const MAX_ANSWER: usize = 4 << 20;

/// Sends one question over a connection of its own. An answer longer than [`MAX_ANSWER`] is a
/// failure, and not read to its end.
pub async fn once(
    target: &Target,
    question: &HttpRequest,
    timeout: Duration,
) -> io::Result<Exchange> {
    let prepared = target.prepare(question);
    let prepared = prepared.map_err(|words| io::Error::new(io::ErrorKind::InvalidInput, words))?;
    let request = Arc::new(prepared.with_max_body(MAX_ANSWER));
    let mut running = Http::new(target.clone()).start(Load::of_one(request, timeout))?;
    let done = running.next().await;
    let done =
        done.ok_or_else(|| io::Error::other("the load generator ended without an answer"))?;
    Ok(done.exchange)
}

/// What a readiness probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The server answered with 200.
    Ready,
    /// It did not. Its answer in words; `None` if there was none.
    NotReady(Option<String>),
}

/// Asks whether `GET path` is answered with 200 within `limit`.
///
/// # Errors
///
/// The probe cannot be made, which says nothing about the server: the system gives no thread or
/// file for it, or `path` is none.
pub async fn probe(target: &Target, path: &str, limit: Duration) -> io::Result<Probe> {
    let exchange = once(target, &HttpRequest::get(path), limit).await?;
    Ok(match (&exchange.seen.failed, exchange.seen.status) {
        (Some(failed), _) if failed.class == ErrorClass::Connect => Probe::NotReady(None),
        (Some(failed), _) => Probe::NotReady(Some(failed.message.clone())),
        (None, Some(200)) => Probe::Ready,
        (None, _) => Probe::NotReady(Some(words_of_refusal(&exchange))),
    })
}

/// Status and beginning of the body of an answer, in a line.
pub fn words_of_refusal(answer: &Exchange) -> String {
    let Exchange { seen, body, .. } = answer;
    let words = String::from_utf8_lossy(&body[..body.len().min(MAX_QUOTED)]);
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = words.escape_debug().to_string();
    let status = seen.status.unwrap_or_default();
    refusal(status, seen.status_detail.as_deref(), &words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_chosen_by_streams_and_cores_unless_given() {
        let chosen = |streams, cores| shards(None, streams, cores);
        assert_eq!(chosen(1, 64), 1);
        assert_eq!(chosen(2048, 64), 1);
        assert_eq!(chosen(2049, 64), 2);
        assert_eq!(chosen(8192, 64), 4);
        assert_eq!(chosen(8192, 8), 2);
        assert_eq!(chosen(8192, 2), 1);
        assert_eq!(shards(Some(3), 1, 2), 3);
    }
}
