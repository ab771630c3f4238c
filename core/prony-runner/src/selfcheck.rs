//! The load client against the server with a known schedule: how wrong the times are that
//! it measures on this machine, sending as a pipeline does.

use crate::process::Process;
use crate::sending;
use prony_config::{Arrival, MatrixPoint, Pipeline};
use prony_contract::{HttpRequest, Pair};
use prony_loadgen::Exchange;
use prony_loadgen::client::Http;
use prony_loadgen::load::{Load, Usage, single_request_sessions};
use prony_loadgen::target::Target;
use prony_metrics::validity::BUSY_PERCENT;
use prony_result::{ErrorRange, Selfcheck};
use prony_truth_server::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// The server's schedule, that of a small model on a good machine: to the first token.
pub const FIRST_MS: u32 = 50;
/// To each one after it.
pub const GAP_MS: u32 = 10;
/// Number of requests.
pub const TOKENS: u32 = 64;
/// Duration of a check that a pipeline asks for, in seconds.
pub(crate) const SECONDS: u32 = 3;
/// Errors of gaps beyond this make times of tokens meaningless.
const WORST_GAP_US: f64 = 1000.0;
/// Later sends than this are late, in milliseconds.
const WORST_DELAY_MS: f64 = 10.0;
/// The least and the most requests of a check.
const MIN_REQUESTS: u32 = 20;
const MAX_REQUESTS: u32 = 20_000;
/// The most requests in flight in the place of a recording.
const MAX_REPLAYED: u32 = 64;
/// Time that the server may take to start, and to write its log.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A shape of sending.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadShape {
    /// Arrival process of the requests.
    pub arrival: Arrival,
    /// Threads that send them, if that is not for prony to choose.
    pub shards: Option<u32>,
}

/// The shapes of sending of a pipeline, each once. How fast a recording is replayed is not
/// known before it is read, so in its place is a closed loop of as many requests in flight.
pub fn shapes(pipeline: &Pipeline) -> Vec<LoadShape> {
    let mut shapes = Vec::new();
    for measure in pipeline.points.iter().flat_map(MatrixPoint::measures) {
        let shape = LoadShape {
            arrival: match measure.arrival {
                Arrival::Replay(replay) => {
                    Arrival::Concurrency(replay.max_in_flight.min(MAX_REPLAYED))
                }
                other => other,
            },
            shards: measure.shards,
        };
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    shapes
}

/// Load shapes that ask most of the client: the closed loop with the most requests in flight and
/// the open loop with the highest rate.
pub(crate) fn hardest(pipeline: &Pipeline) -> Vec<LoadShape> {
    let (open, closed): (Vec<LoadShape>, Vec<LoadShape>) = shapes(pipeline)
        .into_iter()
        .partition(|it| it.arrival.rate().is_some());
    let rate = |it: &LoadShape| it.arrival.rate().unwrap_or_default();
    let closed = closed
        .into_iter()
        .max_by_key(|it| it.arrival.max_in_flight());
    let open = open.into_iter().max_by(|a, b| rate(a).total_cmp(&rate(b)));
    closed.into_iter().chain(open).collect()
}

/// Number of requests that take about `seconds`.
fn requests(arrival: Arrival, seconds: u32) -> u32 {
    let each_s = f64::from(FIRST_MS + GAP_MS * TOKENS) / 1e3;
    let rate = arrival
        .rate()
        .unwrap_or_else(|| f64::from(arrival.max_in_flight()) / each_s);
    let least = MIN_REQUESTS.max(arrival.rate().map_or(arrival.max_in_flight(), |_| 0));
    ((rate * f64::from(seconds)) as u32).clamp(least.min(MAX_REQUESTS), MAX_REQUESTS)
}

/// Sends for about so many seconds and holds every token against its write. `command`
/// starts the truth server, whose options follow; what it says goes to files in `folder`,
/// which are removed. An error means that there is nothing to say.
pub async fn check(
    command: &[String],
    folder: &Path,
    shape: LoadShape,
    seconds: u32,
) -> Result<Selfcheck, String> {
    let arrival = shape.arrival;
    let log = folder.join("selfcheck.jsonl");
    let said = folder.join("selfcheck.log");
    // Those of a check that was interrupted.
    for file in [&log, &said] {
        let _ = std::fs::remove_file(file);
    }
    let (server, url) = serve(command, &log, &said).await?;
    let requests = requests(arrival, seconds);
    let (exchanges, usage) = send(&url, shape, requests).await?;
    let truth = entries(&log, requests as usize).await?;
    server.stop_group(Duration::ZERO).await;
    for file in [&log, &said] {
        let _ = std::fs::remove_file(file);
    }
    let (mut first, mut arrivals, mut gaps, mut tokens) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let mut receipts = Vec::new();
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
        let sent_ns = exchange.seen.stamps.sent_ns;
        receipts.push((sent_ns, apart(entry.received_ns, sent_ns)));
        let seen = seen(exchange, entry);
        tokens += seen.len() as u64;
        first.extend(seen.first().map(|(stamp, write)| apart(*stamp, *write)));
        arrivals.extend(seen.iter().map(|(stamp, write)| apart(*stamp, *write)));
        gaps.extend(seen.windows(2).map(|pair| {
            let (first, second) = (pair[0], pair[1]);
            (apart(second.0, first.0) - apart(second.1, first.1)).abs()
        }));
    }
    let (first_receipt, later_receipt) = waves(arrival, receipts);
    let mut check = Selfcheck {
        arrival: prony_plan::describe(arrival),
        concurrency: arrival.max_in_flight(),
        rate: arrival.rate(),
        requests,
        tokens,
        first_error_us: range(first),
        arrival_error_us: range(arrivals),
        gap_error_us: range(gaps),
        first_receipt_us: first_receipt,
        later_receipt_us: later_receipt,
        client: sending::client(&usage),
        invalid: Vec::new(),
    };
    check.invalid = reasons(&check);
    Ok(check)
}

/// Ranges of how long requests were on their way, of the first wave and of all others.
/// `receipts` are when each was sent and how long it took, in nanoseconds.
///
/// The server's own reading counts and not its kernel's stamp: the kernel also stamps what
/// comes over a connection that the server has not accepted yet, and just that is to be seen.
fn waves(
    arrival: Arrival,
    mut receipts: Vec<(u64, i64)>,
) -> (Option<ErrorRange>, Option<ErrorRange>) {
    receipts.sort_unstable();
    let wave = match arrival {
        Arrival::Concurrency(concurrency @ 2..) => concurrency as usize,
        _ => 0,
    };
    let later = receipts.split_off(wave.min(receipts.len()));
    let range = |receipts: Vec<(u64, i64)>| {
        let ns: Vec<i64> = receipts.into_iter().map(|receipt| receipt.1).collect();
        (!ns.is_empty()).then(|| range(ns))
    };
    (range(receipts), range(later))
}

/// From nanoseconds.
fn range(mut ns: Vec<i64>) -> ErrorRange {
    ns.sort_unstable();
    let at = |share: f64| {
        let index = (ns.len().saturating_sub(1) as f64 * share).round() as usize;
        ns.get(index).copied().unwrap_or_default() as f64 / 1e3
    };
    ErrorRange {
        p50: at(0.5),
        p99: at(0.99),
        max: at(1.0),
    }
}

fn reasons(check: &Selfcheck) -> Vec<String> {
    let mut reasons = Vec::new();
    let gap = check.gap_error_us.p99;
    if gap > WORST_GAP_US {
        reasons.push(format!(
            "one gap between tokens in a hundred is wrong by {gap:.0} µs or more"
        ));
    }
    let cpu = check.client.cpu_percent;
    if cpu > BUSY_PERCENT {
        reasons.push(format!("the load client used {cpu:.0} % of its CPU time"));
    }
    let late = check.client.send_delay_p99_ms;
    if late > WORST_DELAY_MS {
        reasons.push(format!(
            "one request in a hundred was sent {late:.1} ms late or later"
        ));
    }
    if let (Some(first), Some(later)) = (check.first_receipt_us, check.later_receipt_us) {
        let later_by = first.p50 - later.p50;
        if later_by > WORST_GAP_US {
            reasons.push(format!(
                "the server had the first requests {later_by:.0} µs later than others, after \
                 they were sent: it was still accepting connections"
            ));
        }
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

async fn send(
    url: &str,
    LoadShape { arrival, shards }: LoadShape,
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
            ..HttpRequest::default()
        };
        target.prepare(&request).map(Arc::new)
    });
    let mut sessions = single_request_sessions(requests);
    let begin = sending::arrival(arrival, 0, &mut sessions, None, |_| None)?;
    let load = Load {
        requests: prepared.collect::<Result<_, _>>()?,
        sessions,
        think: Duration::ZERO,
        delays: BTreeMap::new(),
        arrival: begin,
        timeout: Duration::from_mins(1),
        until: None,
        is_share: false,
    };
    let http = Http::fit(target, shards, arrival.max_in_flight());
    let mut running = http.start(load).map_err(|error| error.to_string())?;
    let mut exchanges = Vec::new();
    while let Some(done) = running.next().await {
        exchanges.push((done.index, done.exchange));
    }
    let usage = running.usage().ok_or("the load client ended early")?;
    Ok((exchanges, usage.clone()))
}

/// The truth server in a process of its own, and where it listens.
async fn serve(command: &[String], log: &Path, said: &Path) -> Result<(Process, String), String> {
    let (program, arguments) = command
        .split_first()
        .ok_or("there is no command for the truth server")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args(["--tokens", &TOKENS.to_string()])
        .args(["--time-to-first-token-ms", &FIRST_MS.to_string()])
        .args(["--inter-token-latency-us", &(GAP_MS * 1000).to_string()])
        .arg("--log")
        .arg(log);
    let mut process = Process::start(command, said)
        .map_err(|error| format!("the truth server did not start: {error}"))?;
    let begin = Instant::now();
    loop {
        let text = std::fs::read_to_string(said).unwrap_or_default();
        let listens = |line: &str| line.strip_prefix("listening on ").map(ToOwned::to_owned);
        let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        if let Some(url) = complete.lines().find_map(listens) {
            return Ok((process, url));
        }
        if process.exited().is_some() || begin.elapsed() > PATIENCE {
            let last = process.last_words();
            return Err(format!("the truth server does not listen; {last}"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Server log by request id. The server writes its log when it has nothing else to do.
async fn entries(log: &Path, requests: usize) -> Result<HashMap<u32, Entry>, String> {
    let begin = Instant::now();
    loop {
        let text = std::fs::read_to_string(log).map_err(|error| error.to_string())?;
        if text.lines().count() >= requests || begin.elapsed() > PATIENCE {
            let entries = text.lines().filter_map(|line| {
                let entry: Entry = serde_json::from_str(line).ok()?;
                Some((entry.id.as_ref()?.parse().ok()?, entry))
            });
            return Ok(entries.collect());
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sent one after the other; the first `slow` took 5 ms longer.
    fn receipts(requests: u64, slow: u64) -> Vec<(u64, i64)> {
        let took = |nth| if nth < slow { 5_030_000 } else { 30_000 };
        (0..requests).rev().map(|nth| (nth, took(nth))).collect()
    }

    fn check(arrival: Arrival, receipts: Vec<(u64, i64)>) -> Selfcheck {
        let none = || range(Vec::new());
        let (first_receipt_us, later_receipt_us) = waves(arrival, receipts);
        Selfcheck {
            arrival: prony_plan::describe(arrival),
            concurrency: arrival.max_in_flight(),
            rate: None,
            requests: 1,
            tokens: 1,
            first_error_us: none(),
            arrival_error_us: none(),
            gap_error_us: none(),
            first_receipt_us,
            later_receipt_us,
            client: sending::client(&Usage::default()),
            invalid: Vec::new(),
        }
    }

    #[test]
    fn a_first_wave_that_comes_late_is_told() {
        let eight = Arrival::Concurrency(8);
        let late = check(eight, receipts(24, 8));
        assert_eq!(late.first_receipt_us.map(|it| it.p50), Some(5030.0));
        assert_eq!(late.later_receipt_us.map(|it| it.max), Some(30.0));
        assert_eq!(reasons(&late).len(), 1);
        assert_eq!(reasons(&check(eight, receipts(24, 0))), [""; 0]);
        // All are late alike: that is the server.
        assert_eq!(reasons(&check(eight, receipts(24, 24))), [""; 0]);
        // There is nothing to compare with.
        let only = check(eight, receipts(8, 8));
        assert_eq!(only.later_receipt_us, None);
        assert_eq!(reasons(&only), [""; 0]);
        // One connection needs no settling, and an open loop has no waves.
        let one = check(Arrival::Concurrency(1), receipts(24, 1));
        assert_eq!(one.first_receipt_us, None);
        assert_eq!(one.later_receipt_us.map(|it| it.max), Some(5030.0));
    }
}
