//! Cases, clients, and the measurements of a client.

use crate::reference;
use prony_contract::{HttpRequest, Pair};
use prony_loadgen::Exchange;
use prony_loadgen::client::Http;
use prony_loadgen::load::{Arrival, Load, Ramp, single_request_sessions};
use prony_loadgen::target::{Prepared, Target};
use prony_truth_server::{Config, Entry, Identity, Log, Server};
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

    /// Cases about the way of requests to the server.
    pub(crate) const WAVES: &[Self] = &[
        Self {
            name: "512 streams, 4 waves",
            streams: 512,
            answers: 4,
            tokens: 8,
            gap_ms: 20,
            ..PLAIN
        },
        Self {
            name: "4096 streams, 3 waves",
            streams: 4096,
            answers: 3,
            tokens: 2,
            first_ms: 500,
            gap_ms: 500,
            ..PLAIN
        },
    ];

    fn config(&self) -> Config {
        Config {
            tokens: self.tokens,
            time_to_first_token: Duration::from_millis(self.first_ms),
            inter_token_latency: Duration::from_millis(self.gap_ms),
            gzip: self.gzip,
            log: if self.is_paced() {
                Log::in_memory()
            } else {
                Log::none()
            },
            ..Config::default()
        }
    }

    /// Returns `true` if it is about times.
    fn is_paced(&self) -> bool {
        self.first_ms > 0
    }

    /// Clients that can run it.
    pub(crate) fn clients(&self) -> &'static [Client] {
        if self.tls || self.gzip {
            &Client::ALL[1..]
        } else {
            &Client::ALL
        }
    }

    /// The request of a stream, the same for all clients.
    pub(crate) fn request(&self, stream: u32) -> HttpRequest {
        let header = |name: &str, value: String| Pair {
            name: name.into(),
            value,
        };
        let mut headers = Vec::new();
        if self.is_paced() {
            headers.push(header("x-request-id", stream.to_string()));
        }
        if self.gzip {
            headers.push(header("accept-encoding", "gzip".into()));
        }
        HttpRequest {
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            headers,
            body: r#"{"messages":[{"role":"user","content":"go"}]}"#.into(),
            ..HttpRequest::default()
        }
        // Looking for them is part of the measured path.
        .ends_at(["data: [DONE]", "data:[DONE]"])
    }

    fn load(&self, target: &Target) -> Load<Arc<Prepared>> {
        let each = (0..self.streams).map(|it| Arc::new(target.prepare(&self.request(it)).unwrap()));
        let each: Vec<_> = each.collect();
        let requests = self.streams * self.answers;
        Load {
            requests: each.into_iter().cycle().take(requests as usize).collect(),
            sessions: single_request_sessions(requests),
            think: Duration::ZERO,
            delays: std::collections::BTreeMap::new(),
            arrival: Arrival::Closed {
                concurrency: self.streams,
                ramp: Ramp::NONE,
            },
            timeout: Duration::from_mins(2),
            until: None,
            is_share: false,
        }
    }
}

/// The server's process.
pub(crate) fn serve(case: &str) {
    let case = std::iter::once(&Case::FIREHOSE)
        .chain(Case::PACED)
        .chain(Case::WAVES)
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
    // Until the client's process is gone. For each line it is told of the answers since
    // the last one.
    let mut told = 0;
    for _ in std::io::stdin().lines() {
        let entries = server.log();
        println!("{}", serde_json::json!(entries[told..]));
        told = entries.len();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Reference,
    Prony,
    /// With a look at the sockets each millisecond at most.
    PronyBatched,
}

/// Measurements of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) events: u64,
    pub(crate) wall_ns: u64,
    /// CPU time of the whole process.
    pub(crate) cpu_ns: u64,
    /// Mean time from the server's write of the first token to its stamp, in microseconds.
    pub(crate) first_us: f64,
    /// 99th percentile of what gaps between tokens are off the gaps between the server's
    /// writes, in microseconds.
    pub(crate) gap_p99_us: f64,
    /// Time from the client's stamp of sending to the server's having read the request, in
    /// microseconds: of the first request of each stream, and of all others, if there are any.
    pub(crate) receipts: (Receipts, Option<Receipts>),
}

/// Times that requests were on their way, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Receipts {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Receipts {
    fn new(mut us: Vec<f64>) -> Option<Self> {
        us.sort_unstable_by(f64::total_cmp);
        let at = |share: usize| us.get(us.len() * share / 100).copied();
        Some(Self {
            p50: at(50)?,
            p99: at(99)?,
        })
    }
}

/// Answer to a request.
pub(crate) struct Seen {
    pub(crate) bytes: Vec<u8>,
    /// For each read, where it ends in `bytes`, and its stamp.
    pub(crate) reads: Vec<(usize, u64)>,
    pub(crate) stream: u32,
    /// Time at which sending began.
    pub(crate) sent_ns: u64,
}

impl Client {
    const ALL: [Self; 3] = [Self::Reference, Self::Prony, Self::PronyBatched];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Prony => "prony",
            Self::PronyBatched => "prony, polling each ms",
        }
    }

    pub(crate) fn run(self, case: &Case, server: &mut crate::Server) -> Measured {
        let look = match self {
            Self::Reference => {
                let (seen, wall_ns, cpu_ns) = reference::run(case, &server.url);
                return measured(case, seen, server, wall_ns, cpu_ns);
            }
            Self::Prony => Duration::ZERO,
            Self::PronyBatched => Duration::from_millis(1),
        };
        let (exchanges, wall_ns, cpu_ns) = record(case, &server.url, look);
        let seen = exchanges.into_iter().map(|(index, mut exchange)| {
            assert_eq!(exchange.seen.failed, None);
            exchange.unpack();
            let ends = exchange.ends.iter().map(|end| *end as usize);
            Seen {
                reads: ends.zip(exchange.seen.reads_ns).collect(),
                bytes: exchange.body,
                stream: index % case.streams,
                sent_ns: exchange.seen.stamps.sent_ns,
            }
        });
        measured(case, seen.collect(), server, wall_ns, cpu_ns)
    }
}

/// Runs prony's client; returns the answers, wall-clock and CPU time.
pub(crate) fn record(
    case: &Case,
    url: &str,
    poll_every: Duration,
) -> (Vec<(u32, Exchange)>, u64, u64) {
    let before = cpu_ns();
    let http = Http {
        poll_every,
        ..Http::new(Target::new(url).unwrap())
    };
    let mut running = http.start(case.load(&http.target)).unwrap();
    let mut exchanges = Vec::new();
    while let Some(done) = running.blocking_next() {
        exchanges.push((done.index, done.exchange));
    }
    let wall_ns = running.usage().unwrap().wall_ns;
    (exchanges, wall_ns, cpu_ns() - before)
}

fn measured(
    case: &Case,
    mut seen: Vec<Seen>,
    server: &mut crate::Server,
    wall_ns: u64,
    cpu_ns: u64,
) -> Measured {
    assert_eq!(seen.len(), (case.streams * case.answers) as usize);
    let (mut first, mut gaps) = (0.0, Vec::new());
    let (mut early, mut later) = (Vec::new(), Vec::new());
    if case.is_paced() {
        let mut truth = server.entries(seen.len());
        // The answers of a stream, in order.
        truth.sort_by_key(|it| (stream(it), it.received_ns));
        seen.sort_by_key(|it| (it.stream, it.sent_ns));
        for (nth, (seen, entry)) in seen.iter().zip(&truth).enumerate() {
            assert_eq!(seen.stream, stream(entry));
            let receipt = apart(entry.received_ns, seen.sent_ns);
            if nth % case.answers as usize == 0 {
                early.push(receipt);
            } else {
                later.push(receipt);
            }
            let tokens = tokens(seen, entry);
            assert_eq!(tokens.len(), case.tokens as usize);
            let late: Vec<f64> = tokens
                .iter()
                .map(|(at, wrote)| apart(*at, *wrote))
                .collect();
            first += late[0];
            gaps.extend(late.windows(2).map(|pair| (pair[1] - pair[0]).abs()));
        }
    }
    gaps.sort_unstable_by(f64::total_cmp);
    Measured {
        events: seen.len() as u64 * u64::from(case.tokens),
        wall_ns,
        cpu_ns,
        first_us: first / seen.len() as f64,
        gap_p99_us: gaps.get(gaps.len() * 99 / 100).copied().unwrap_or_default(),
        receipts: (
            Receipts::new(early).unwrap_or_default(),
            Receipts::new(later),
        ),
    }
}

/// For each token in order: the stamp of the read that brought the end of its text, and
/// when it was written.
fn tokens(seen: &Seen, entry: &Entry) -> Vec<(u64, u64)> {
    let (mut tokens, mut from) = (Vec::new(), 0);
    for (count, wrote) in entry.tokens_per_write.iter().zip(&entry.writes_ns) {
        for _ in 0..*count {
            let text = format!("\" t{}\"", tokens.len());
            from +=
                memchr::memmem::find(&seen.bytes[from..], text.as_bytes()).unwrap() + text.len();
            let read = seen.reads.partition_point(|(end, _)| *end < from);
            tokens.push((seen.reads[read].1, *wrote));
        }
    }
    tokens
}

/// Microseconds from `from` to `to`.
fn apart(to: u64, from: u64) -> f64 {
    to.wrapping_sub(from).cast_signed() as f64 / 1e3
}

/// The stream that an answer belongs to.
fn stream(entry: &Entry) -> u32 {
    entry.id.as_ref().unwrap().parse().unwrap()
}

/// CPU time of this process so far, in nanoseconds.
pub(crate) fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
