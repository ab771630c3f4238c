//! An OpenAI-compatible server that does exactly what it is told: tokens on an
//! absolute schedule, and every fault that an engine can have.
//!
//! It is how prony is held to the truth: what a run reports about this server can be
//! compared with what the server did, write by write ([`Entry`]). That includes images:
//! the server looks at each one, counts it as [`IMAGE_TOKENS`] and refuses what is none.
//!
//! One thread serves thousands of connections. Tokens that are due at different times
//! are written one by one, each at its time; tokens that are due at the same time, as
//! with no latency at all, are written as fast as the sockets take them.
//!
//! Under `/v1/`, `GET /v1/models` names the model `truth`; everything else is a request
//! to it, a chat if the path ends with `/chat/completions`, and is always answered with
//! a stream. `GET /props` tells the settings (`model`, `context`, `version`) and `GET /metrics`
//! the counters, as Prometheus has them. Any other path is answered with `ok`.
//!
//! With a [`Recording`] all that is otherwise: whatever the path, each request is answered
//! with the recorded bytes, raw, piece by piece, each piece at its time after the request.

mod account;
mod answer;
mod body;
mod clock;
mod connection;
mod event_loop;
mod fault;
mod images;
mod log;
mod prompt;
mod recording;
mod request;
mod schedule;
mod stdio;
mod stream;
mod tls;
mod transport;

pub use body::Framing;
pub use fault::Fault;
pub use log::{Entry, Log};
pub use prompt::PromptTokens;
pub use recording::Recording;
pub use stdio::{StdioConfig, StdioFault, serve_stdio};
pub use tls::Identity;

use event_loop::{EventLoop, Shared, Thread};
use prony_poll::{Poller, raise_open_files};
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Tokens of every prompt without its images, as the usage says, or of every message's
/// template where words are counted ([`PromptTokens`]).
pub const PROMPT_TOKENS: u32 = 7;

/// The server's name of its model.
pub const MODEL: &str = "truth";

/// Tokens that each image adds to the prompt.
pub const IMAGE_TOKENS: u32 = 256;

/// Behaviour of the server.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct Config {
    /// Tokens per answer, unless the request asks for fewer (`max_completion_tokens` or
    /// `max_tokens`).
    pub tokens: u32,
    /// An answer ends after this many tokens by itself (finish reason `stop`), unless the
    /// request has `ignore_eos`.
    pub eos_after: Option<u32>,
    /// The most tokens of a prompt; a longer one is refused with HTTP 400.
    pub context: Option<u32>,
    /// At a temperature above 0 the texts of answers depend on the seed.
    pub samples: bool,
    /// From the last byte of the request to the first token.
    pub time_to_first_token: Duration,
    /// From token to token.
    pub inter_token_latency: Duration,
    /// Each token is due earlier or later by up to this, uniformly; never before the
    /// request or the token ahead of it.
    pub jitter: Duration,
    /// With the numbers of request and token it decides the jitter.
    pub seed: u64,
    /// Tokens per write (at least 1), due with the last of them. If all tokens are due at
    /// the same time, this is of no account.
    pub coalesce: u32,
    /// The tokens of a write are one event.
    pub merge: bool,
    /// Framing of bodies.
    pub framing: Framing,
    /// Bodies are compressed, each write so that it can be read at once, if the client
    /// accepts it.
    pub gzip: bool,
    /// TLS is spoken.
    pub tls: Option<Identity>,
    /// Method of counting prompts.
    pub prompt_tokens: PromptTokens,
    /// The usage tells how many words at the prompt's beginning were those of an earlier
    /// prompt (`cached_tokens`), as if of a prefix cache. Prompts are then counted by
    /// words. Nothing gets faster by it.
    pub prefix_cache: bool,
    /// The usage claims so many cached prompt tokens, whatever the prompt. Overrides
    /// [`Self::prefix_cache`].
    pub claim_cached: Option<u32>,
    /// The usage says nothing of cached tokens; the counters do.
    pub hide_cached: bool,
    /// The model that the server claims to have, in place of [`MODEL`].
    pub claim_model: Option<String>,
    /// The context that the server claims to have, in tokens.
    pub claim_context: u32,
    /// The counters claim so many requests more for each that came, of as many tokens each as
    /// an answer has at most.
    pub claim_requests: u32,
    /// The answer to every request, in place of what all else here says of answers.
    pub recording: Option<Recording>,
    /// Fault to show, if any.
    pub fault: Option<Fault>,
    /// The first request (from 0) with the fault.
    pub fault_from: u32,
    /// Duration of [`Fault::Stall`] and [`Fault::SlowHeaders`].
    pub stall: Duration,
    /// Handling of images.
    pub images: Images,
    /// Threads (at least 1). Connections are given to them in turn.
    pub threads: usize,
    /// Destination of the log.
    pub log: Log,
}

/// Handling of the images of requests. All are looked at, whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// They count as tokens of the prompt.
    Counted,
    /// The same, and a request without one is answered with HTTP 400, so that an answer
    /// proves that an image arrived.
    Required,
    /// They are left out of the prompt.
    Dropped,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tokens: 16,
            eos_after: None,
            context: None,
            samples: false,
            time_to_first_token: Duration::from_millis(20),
            inter_token_latency: Duration::from_millis(5),
            jitter: Duration::ZERO,
            seed: 0,
            coalesce: 1,
            merge: false,
            framing: Framing::Chunked,
            gzip: false,
            tls: None,
            prompt_tokens: PromptTokens::Constant,
            prefix_cache: false,
            claim_cached: None,
            hide_cached: false,
            claim_model: None,
            claim_context: 4096,
            claim_requests: 0,
            recording: None,
            fault: None,
            fault_from: 0,
            stall: Duration::from_secs(3),
            images: Images::Counted,
            threads: 1,
            log: Log::none(),
        }
    }
}

/// Serves until the process ends, or until waiting for sockets fails. Raises the number
/// of sockets that the process may open to what the system allows.
pub fn serve(listener: &TcpListener, config: Config) -> io::Result<()> {
    let (shared, pollers) = prepare(config)?;
    run(&shared, pollers, listener.try_clone()?)
}

/// A server in this process. It ends when this is dropped, or soon after.
pub struct Server {
    /// `http://127.0.0.1:PORT`, or with `https`.
    pub url: String,
    shared: Arc<Shared>,
    /// Until it is waited for.
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    /// Starts one on a free port of 127.0.0.1.
    pub fn spawn(config: Config) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let scheme = if config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let (shared, pollers) = prepare(config)?;
        let shared = Arc::new(shared);
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || run(&shared, pollers, listener)
        });
        Ok(Self {
            url,
            shared,
            thread: Some(thread),
        })
    }

    /// Entries logged so far, if the log is in memory. An answer gets there when
    /// the server is not busy any more, a few milliseconds after it.
    pub fn log(&self) -> Vec<Entry> {
        self.shared.config.log.entries()
    }

    /// Ends all connections and the server. What was logged in memory is complete then,
    /// and returned.
    pub fn stop(mut self) -> io::Result<Vec<Entry>> {
        stop(&self.shared);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended?,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => {}
        }
        Ok(self.shared.config.log.entries())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&self.shared);
    }
}

fn prepare(config: Config) -> io::Result<(Shared, Vec<Poller>)> {
    raise_open_files();
    let pollers = (0..config.threads.max(1))
        .map(|_| Poller::new())
        .collect::<io::Result<Vec<_>>>()?;
    let threads = pollers.iter().map(|poller| Thread {
        inbox: Mutex::default(),
        waker: poller.waker(),
    });
    let shared = Shared {
        threads: threads.collect(),
        config,
        cache: prompt::PrefixCache::default(),
        answered: AtomicU32::new(0),
        counters: account::Counters::default(),
        stop: AtomicBool::new(false),
    };
    Ok((shared, pollers))
}

fn stop(shared: &Shared) {
    shared.stop.store(true, Ordering::Release);
    for thread in &shared.threads {
        // It works as long as the poller is there; if it is not, the thread has ended.
        let _ = thread.waker.wake();
    }
}

/// Runs all threads, the first one being this.
fn run(shared: &Shared, pollers: Vec<Poller>, listener: TcpListener) -> io::Result<()> {
    let mut loops = Vec::new();
    let mut listener = Some(listener);
    for (thread, poller) in pollers.into_iter().enumerate() {
        loops.push(EventLoop::new(shared, thread, poller, listener.take())?);
    }
    let rest = loops.split_off(1);
    std::thread::scope(|scope| {
        for event_loop in rest {
            scope.spawn(|| {
                let ended = event_loop.run();
                stop(shared);
                ended
            });
        }
        let ended = loops.pop().map_or(Ok(()), EventLoop::run);
        stop(shared);
        ended
    })
}
