//! `prony selfcheck`: the load client against the server with a known schedule.

use crate::arguments::{Global, Selfcheck};
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome, output, pipeline, plugins};
use prony_config::{Arrival, Pipeline};
use prony_loadgen::Exchange;
use prony_loadgen::client::{Load, Message, Usage, alone, start};
use prony_loadgen::target::Target;
use prony_metrics::validity::BUSY_PERCENT;
use prony_plugin_sdk::result::Client;
use prony_plugin_sdk::{HttpRequest, Pair};
use prony_runner::sending;
use prony_truth_server::Entry;
use serde::Serialize;
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The server's schedule: that of a small model on a good machine.
const FIRST_MS: u32 = 50;
const GAP_MS: u32 = 10;
const TOKENS: u32 = 64;
/// Errors of gaps beyond this make times of tokens meaningless.
const WORST_GAP_US: f64 = 1000.0;
/// Later sends than this are late, in milliseconds.
const WORST_DELAY_MS: f64 = 10.0;
/// The least and the most requests of a check.
const FEWEST: u32 = 20;
const MOST: u32 = 20_000;

/// What one way of sending came to.
#[derive(Debug, Serialize)]
struct Check {
    /// The way of sending, in words.
    arrival: String,
    requests: u32,
    tokens: u64,
    /// From the server's write to the stamp of the arrival.
    arrival_error_us: Error,
    /// Between the gap of two arrivals and that of their writes, either way.
    gap_error_us: Error,
    client: Client,
    /// Why times measured like this are not to be trusted; empty if they are.
    invalid: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Error {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Error {
    /// From nanoseconds.
    fn of(mut ns: Vec<i64>) -> Self {
        ns.sort_unstable();
        let at = |share: f64| {
            let index = (ns.len().saturating_sub(1) as f64 * share).round() as usize;
            ns.get(index).copied().unwrap_or_default() as f64 / 1e3
        };
        Self {
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

pub(crate) fn run(global: &Global, arguments: &Selfcheck) -> Outcome {
    let arrivals = match &arguments.pipeline {
        None => arguments
            .concurrency
            .iter()
            .map(|concurrency| Arrival::Concurrency(*concurrency))
            .collect(),
        Some(source) => {
            let registry = plugins::registry(global)?;
            let source = crate::arguments::Source {
                file: source.clone(),
                layers: crate::arguments::Layers::default(),
            };
            let Some(loaded) = pipeline::open(global, &source, &registry) else {
                return Ok(Exit::InvalidPipeline);
            };
            of_pipeline(&loaded.pipeline)
        }
    };
    let mut checks = Vec::new();
    for arrival in arrivals {
        if !global.quiet {
            eprintln!(
                "checking {} for about {} s",
                words(arrival),
                arguments.seconds
            );
        }
        let check = check(arrival, arguments.seconds)
            .map_err(|message| Failure::new(Exit::RunFailed, message))?;
        checks.push(check);
    }
    if arguments.json {
        print_json(&checks)?;
    } else {
        output::line(format_args!("{}", table(&checks)));
    }
    let valid = checks.iter().all(|check| check.invalid.is_empty());
    Ok(if valid { Exit::Ok } else { Exit::NotValid })
}

/// The ways of sending of a pipeline, each once.
fn of_pipeline(pipeline: &Pipeline) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for measure in pipeline.cells.iter().flat_map(prony_config::Cell::measures) {
        if !arrivals.contains(&measure.arrival) {
            arrivals.push(measure.arrival);
        }
    }
    arrivals
}

fn words(arrival: Arrival) -> String {
    match arrival {
        Arrival::Concurrency(concurrency) => format!("concurrency {concurrency}"),
        Arrival::Ramp(ramp) => format!("ramp to {}", ramp.concurrency),
        Arrival::Constant(rate) => format!("constant, {} a second", rate.rate),
        Arrival::Poisson(rate) => format!("poisson, {} a second", rate.rate),
        Arrival::Gamma(bursts) => format!(
            "gamma with burstiness {}, {} a second",
            bursts.burstiness, bursts.rate
        ),
    }
}

/// How many requests take about so many seconds.
fn requests(arrival: Arrival, seconds: u32) -> u32 {
    let each_s = f64::from(FIRST_MS + GAP_MS * TOKENS) / 1e3;
    let rate = arrival
        .rate()
        .unwrap_or_else(|| f64::from(arrival.most_in_flight()) / each_s);
    let least = FEWEST.max(arrival.rate().map_or(arrival.most_in_flight(), |_| 0));
    ((rate * f64::from(seconds)) as u32).clamp(least.min(MOST), MOST)
}

fn check(arrival: Arrival, seconds: u32) -> Result<Check, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let log = folder.path().join("truth.jsonl");
    let server = Server::start(&log)?;
    let requests = requests(arrival, seconds);
    let (exchanges, usage) = send(&server.url, arrival, requests)?;
    let truth = entries(&log, requests as usize)?;
    let (mut arrivals, mut gaps, mut tokens) = (Vec::new(), Vec::new(), 0);
    for (index, exchange) in &exchanges {
        if let Some(failed) = &exchange.seen.failed {
            return Err(format!(
                "request {index} to the truth server failed: {}: {}",
                failed.class.name(),
                failed.message
            ));
        }
        let entry = truth
            .get(index)
            .ok_or_else(|| format!("the truth server did not log request {index}"))?;
        let seen = seen(exchange, entry);
        tokens += seen.len() as u64;
        arrivals.extend(seen.iter().map(|(stamp, write)| apart(*stamp, *write)));
        gaps.extend(seen.windows(2).map(|pair| {
            let (first, second) = (pair[0], pair[1]);
            (apart(second.0, first.0) - apart(second.1, first.1)).abs()
        }));
    }
    let client = sending::client(&usage);
    let mut check = Check {
        arrival: words(arrival),
        requests,
        tokens,
        arrival_error_us: Error::of(arrivals),
        gap_error_us: Error::of(gaps),
        client,
        invalid: Vec::new(),
    };
    check.invalid = reasons(&check);
    Ok(check)
}

fn reasons(check: &Check) -> Vec<String> {
    let mut reasons = Vec::new();
    let gap = check.gap_error_us.p99;
    if gap > WORST_GAP_US {
        reasons.push(format!(
            "one gap between tokens in a hundred is wrong by {gap:.0} µs or more"
        ));
    }
    let cpu = check.client.cpu_percent;
    if cpu > BUSY_PERCENT {
        reasons.push(format!(
            "the load client used {cpu:.0} % of its processor time"
        ));
    }
    let late = check.client.send_delay_p99_ms;
    if late > WORST_DELAY_MS {
        reasons.push(format!(
            "one request in a hundred was sent {late:.1} ms late or later"
        ));
    }
    reasons
}

/// Nanoseconds from `from` to `to`.
fn apart(to: u64, from: u64) -> i64 {
    to.wrapping_sub(from).cast_signed()
}

/// For each token in order: the stamp of the read that brought it, and when it was written.
fn seen(exchange: &Exchange, entry: &Entry) -> Vec<(u64, u64)> {
    let body = String::from_utf8_lossy(&exchange.body);
    let (mut seen, mut token, mut from) = (Vec::new(), 0, 0);
    for (count, write) in entry.tokens_per_write.iter().zip(&entry.writes_ns) {
        for _ in 0..*count {
            let text = format!("\" t{token}\"");
            let Some(at) = body[from..].find(&text) else {
                return seen;
            };
            from += at + text.len();
            // Where the token's line is complete.
            let read = exchange.ends.partition_point(|end| (*end as usize) < from);
            if let Some(stamp) = exchange.seen.reads_ns.get(read) {
                seen.push((*stamp, *write));
            }
            token += 1;
        }
    }
    seen
}

fn send(
    url: &str,
    arrival: Arrival,
    requests: u32,
) -> Result<(Vec<(u32, Exchange)>, Usage), String> {
    let target = Target::new(url).map_err(|error| error.to_string())?;
    let prepared = (0..requests).map(|index| {
        let request = HttpRequest {
            method: "POST".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            headers: vec![Pair {
                name: "x-request-id".to_owned(),
                value: index.to_string(),
            }],
            body: r#"{"messages":[{"role":"user","content":"?"}]}"#.to_owned(),
        };
        target.prepare(&request).map(Arc::new)
    });
    let mut running = start(Load {
        requests: prepared.collect::<Result<_, _>>()?,
        target: target.clone(),
        sessions: alone(requests),
        think: Duration::ZERO,
        arrival: sending::arrival(arrival, 0, requests, None)?,
        timeout: Duration::from_mins(1),
        until: None,
        shards: 1,
        look_every: sending::look_every(arrival),
    })
    .map_err(|error| error.to_string())?;
    let (mut exchanges, mut usage) = (Vec::new(), None::<Usage>);
    while let Some(message) = running.messages.blocking_recv() {
        match message {
            Message::Done(done) => exchanges.push((done.index, done.exchange)),
            Message::Ended(ended) => match &mut usage {
                Some(usage) => usage.add(&ended),
                None => usage = Some(ended),
            },
        }
    }
    let usage = usage.ok_or("the load client ended early")?;
    Ok((exchanges, usage))
}

/// The truth server in a process of its own.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(log: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the truth server did not start: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .arg("truth-server")
            .args(["--tokens", &TOKENS.to_string()])
            .args(["--time-to-first-token-ms", &FIRST_MS.to_string()])
            .args(["--inter-token-latency-us", &(GAP_MS * 1000).to_string()])
            .arg("--log")
            .arg(log)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(failed)?;
        }
        let url = line.trim().strip_prefix("listening on ");
        let url = url.ok_or("the truth server did not say where it listens")?;
        Ok(Self {
            url: url.to_owned(),
            child,
        })
    }
}

/// What the server did, by the request's id. It writes its log when it has nothing else to do.
fn entries(log: &Path, requests: usize) -> Result<HashMap<u32, Entry>, String> {
    let begin = Instant::now();
    loop {
        let text = std::fs::read_to_string(log).map_err(|error| error.to_string())?;
        if text.lines().count() >= requests || begin.elapsed() > Duration::from_secs(5) {
            let entries = text.lines().filter_map(|line| {
                let entry: Entry = serde_json::from_str(line).ok()?;
                Some((entry.id.as_ref()?.parse().ok()?, entry))
            });
            return Ok(entries.collect());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn table(checks: &[Check]) -> String {
    let mut text = format!(
        "Against a server that sends {TOKENS} tokens, the first after {FIRST_MS} ms and then one each {GAP_MS} ms:\n"
    );
    for check in checks {
        let Check {
            arrival,
            requests,
            tokens,
            arrival_error_us: arrivals,
            gap_error_us: gaps,
            client,
            invalid,
        } = check;
        let stamps = match client.stamps.as_str() {
            "kernel" => "by the kernel",
            _ => "after each read",
        };
        let lines = [
            format!("{arrival}: {requests} requests, {tokens} tokens, stamped {stamps}"),
            format!(
                "  arrivals after the server's write   p50 {:.0} µs   p99 {:.0} µs   max {:.0} µs",
                arrivals.p50, arrivals.p99, arrivals.max
            ),
            format!(
                "  error of gaps between tokens        p50 {:.0} µs   p99 {:.0} µs   max {:.0} µs",
                gaps.p50, gaps.p99, gaps.max
            ),
            format!(
                "  late in sending                     p90 {:.0} µs   p99 {:.0} µs",
                client.send_delay_p90_ms * 1e3,
                client.send_delay_p99_ms * 1e3
            ),
            format!(
                "  processor time of the client        {:.1} % of a core",
                client.cpu_percent
            ),
        ];
        text.push('\n');
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        if invalid.is_empty() {
            text.push_str("  valid: times measured like this are the server's\n");
        }
        for reason in invalid {
            text.push_str("  NOT VALID: ");
            text.push_str(reason);
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    text
}
