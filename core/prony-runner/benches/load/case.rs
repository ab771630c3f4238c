//! What is measured: cases, clients, and what a client measured.

use crate::reference;
use prony_loadgen::Exchange;
use prony_loadgen::client::{Arrival, Load, Message, alone, start};
use prony_loadgen::target::Target;
use prony_plugin_sdk::{HttpRequest, Pair};
use prony_truth_server::{Config, Identity, Server};
use rustix::time::{ClockId, clock_gettime};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// A server's schedule, and how many streams it is asked for.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) streams: u32,
    /// Answers of each stream, one after the other.
    pub(crate) answers: u32,
    pub(crate) tokens: u32,
    pub(crate) first_ms: u64,
    pub(crate) gap_ms: u64,
    pub(crate) tls: bool,
    pub(crate) gzip: bool,
}

const PLAIN: Case = Case {
    name: "64 streams, 50/10 ms",
    streams: 64,
    answers: 1,
    tokens: 256,
    first_ms: 50,
    gap_ms: 10,
    tls: false,
    gzip: false,
};

impl Case {
    pub(crate) const FIREHOSE: Self = Self {
        name: "64 streams, firehose",
        answers: 40,
        first_ms: 0,
        gap_ms: 0,
        ..PLAIN
    };
    pub(crate) const PACED: &[Self] = &[
        PLAIN,
        Self {
            name: "512 streams, 50/20 ms",
            streams: 512,
            tokens: 128,
            gap_ms: 20,
            ..PLAIN
        },
        Self {
            name: "4096 streams, 500/500 ms",
            streams: 4096,
            tokens: 8,
            first_ms: 500,
            gap_ms: 500,
            ..PLAIN
        },
        Self {
            name: "64 streams, 50/10 ms, gzip",
            gzip: true,
            ..PLAIN
        },
        Self {
            name: "64 streams, 50/10 ms, HTTPS",
            tls: true,
            ..PLAIN
        },
    ];

    fn config(&self) -> Config {
        Config {
            tokens: self.tokens,
            time_to_first_token: Duration::from_millis(self.first_ms),
            inter_token_latency: Duration::from_millis(self.gap_ms),
            gzip: self.gzip,
            ..Config::default()
        }
    }

    /// Those that can do it.
    pub(crate) fn clients(&self) -> &'static [Client] {
        if self.tls {
            &Client::ALL[1..]
        } else {
            &Client::ALL
        }
    }

    /// The request that all clients send.
    pub(crate) fn request(&self) -> HttpRequest {
        let coding = Pair {
            name: "accept-encoding".into(),
            value: "gzip".into(),
        };
        HttpRequest {
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            headers: self.gzip.then_some(coding).into_iter().collect(),
            body: r#"{"messages":[{"role":"user","content":"go"}]}"#.into(),
        }
    }

    pub(crate) fn load(&self, url: &str, look_every: Duration) -> Load {
        let target = Target::new(url).unwrap();
        let request = Arc::new(target.prepare(&self.request()).unwrap());
        let requests = self.streams * self.answers;
        Load {
            target,
            requests: vec![request; requests as usize],
            sessions: alone(requests),
            think: Duration::ZERO,
            arrival: Arrival::Closed {
                concurrency: self.streams,
                ramp: Duration::ZERO,
            },
            timeout: Duration::from_mins(2),
            until: None,
            shards: 1,
            look_every,
        }
    }
}

/// The server's process.
pub(crate) fn serve(case: &str) {
    let case = std::iter::once(&Case::FIREHOSE)
        .chain(Case::PACED)
        .find(|it| it.name == case)
        .unwrap();
    let mut config = case.config();
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("certificate.pem");
    if case.tls {
        let identity = Identity::self_signed().unwrap();
        std::fs::write(&certificate, identity.certificate_pem()).unwrap();
        config.tls = Some(identity);
    }
    let server = Server::spawn(config).unwrap();
    println!("{}\n{}", server.url, certificate.display());
    std::io::stdout().flush().unwrap();
    // Until the client's process is gone.
    let _ = std::io::read_to_string(std::io::stdin());
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Reference,
    Prony,
    /// With a look at the sockets each millisecond at most.
    PronyBatched,
}

/// What a client measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) events: u64,
    pub(crate) wall_ns: u64,
    /// Processor time of the whole process.
    pub(crate) cpu_ns: u64,
    /// Mean time to the first token beyond the server's, in microseconds.
    pub(crate) first_us: f64,
    /// 99th percentile of the gaps beyond the server's, in microseconds.
    pub(crate) gap_p99_us: f64,
}

impl Client {
    const ALL: [Self; 3] = [Self::Reference, Self::Prony, Self::PronyBatched];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Prony => "prony",
            Self::PronyBatched => "prony, looking each ms",
        }
    }

    pub(crate) fn run(self, case: &Case, url: &str) -> Measured {
        let look = match self {
            Self::Reference => {
                let (seen, wall_ns, cpu_ns) = reference::run(case, url);
                return measured(case, seen, wall_ns, cpu_ns);
            }
            Self::Prony => Duration::ZERO,
            Self::PronyBatched => Duration::from_millis(1),
        };
        let (exchanges, wall_ns, cpu_ns) = record(case, url, look);
        let seen = exchanges.into_iter().map(|exchange| {
            assert_eq!(exchange.seen.failed, None);
            (exchange.seen.stamps.sent_ns, exchange.seen.reads_ns)
        });
        measured(case, seen.collect(), wall_ns, cpu_ns)
    }
}

/// Runs prony's client: what came back, wall and processor time.
pub(crate) fn record(case: &Case, url: &str, look_every: Duration) -> (Vec<Exchange>, u64, u64) {
    let before = cpu_ns();
    let mut running = start(case.load(url, look_every)).unwrap();
    let (mut exchanges, mut wall_ns) = (Vec::new(), 0);
    while let Some(message) = running.messages.blocking_recv() {
        match message {
            Message::Done(done) => exchanges.push(done.exchange),
            Message::Ended(usage) => wall_ns = usage.wall_ns,
        }
    }
    (exchanges, wall_ns, cpu_ns() - before)
}

/// From when each request was sent, and when each of its reads arrived.
fn measured(case: &Case, seen: Vec<(u64, Vec<u64>)>, wall_ns: u64, cpu_ns: u64) -> Measured {
    assert_eq!(seen.len(), (case.streams * case.answers) as usize);
    let (mut first, mut gaps) = (0.0, Vec::new());
    for (sent, reads) in &seen {
        let reads = &reads[..reads.len().min(case.tokens as usize)];
        first += (reads[0] - sent) as f64 - case.first_ms as f64 * 1e6;
        gaps.extend(reads.windows(2).map(|pair| pair[1] - pair[0]));
    }
    gaps.sort_unstable();
    // A firehose can bring an answer in one read.
    let p99 = gaps.get(gaps.len() * 99 / 100).copied().unwrap_or_default();
    Measured {
        events: seen.len() as u64 * u64::from(case.tokens),
        wall_ns,
        cpu_ns,
        first_us: first / seen.len() as f64 / 1e3,
        gap_p99_us: (p99 as f64 - case.gap_ms as f64 * 1e6) / 1e3,
    }
}

/// Processor time of this process so far, in nanoseconds.
pub(crate) fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
