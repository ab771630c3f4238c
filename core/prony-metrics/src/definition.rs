//! One recording, scored as several tools define what they report.
//!
//! The same words mean different things: the inter-token latency of one tool is the time
//! per output token of another. A journal has every arrival, so each definition can be
//! computed from the same requests, side by side.

use crate::statistics::{distribution, quantile};
use prony_record::Record;
use prony_result::{Cadence, Objectives};
use serde::Serialize;

/// Whose definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Definition {
    /// prony's own: ARCHITECTURE.md.
    Prony,
    /// `vllm bench serve`: from sending; one inter-token latency for each chunk after the
    /// first (`vllm/benchmarks/serve.py`, `lib/endpoint_request_func.py`).
    Vllm,
    /// GenAI-Perf and `AIPerf`: from sending; the inter-token latency is a mean per request,
    /// `(latency - ttft) / (tokens - 1)` (their documentation of metrics).
    Aiperf,
    /// `MLPerf` inference, server scenario: from when the request was scheduled; time per
    /// output token `(last - first) / (tokens - 1)` (its `LoadGen`).
    Mlperf,
}

impl Definition {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Prony, Self::Vllm, Self::Aiperf, Self::Mlperf];

    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prony => "prony",
            Self::Vllm => "vllm",
            Self::Aiperf => "aiperf",
            Self::Mlperf => "mlperf",
        }
    }
}

/// A metric of one definition, over the requests that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scored {
    /// What the tool calls it, with its unit.
    pub metric: &'static str,
    /// Number of values.
    pub n: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile; absent with fewer than 44 values.
    pub p90: Option<f64>,
    /// 99th percentile; absent with fewer than 459 values.
    pub p99: Option<f64>,
    /// Largest.
    pub max: f64,
}

impl Scored {
    fn new(metric: &'static str, mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        let all = distribution(values)?;
        Some(Self {
            metric,
            n: all.n,
            mean: all.mean,
            p50: all.p50,
            p90: all.p90,
            p99: all.p99,
            max: all.max,
        })
    }
}

/// Times of a request in milliseconds, counted from where a definition counts.
struct Times {
    /// To the first token.
    first: f64,
    /// To the last arrival of text.
    last: f64,
    /// To the last byte.
    end: f64,
    /// Generated tokens beyond the first; absent if the engine does not say, or below 1.
    more: Option<f64>,
    gaps: Vec<f64>,
}

impl Times {
    fn new(record: &Record, from_ns: u64) -> Option<Self> {
        let since = |at: u64| at.saturating_sub(from_ns) as f64 / 1e6;
        let arrivals = &record.arrivals;
        Some(Self {
            first: since(arrivals.first()?.0),
            last: since(arrivals.last()?.0),
            end: since(record.stamps.end_ns),
            more: record
                .output_tokens
                .and_then(|tokens| tokens.checked_sub(1))
                .filter(|more| *more > 0)
                .map(f64::from),
            gaps: arrivals
                .windows(2)
                .map(|pair| pair[1].0.saturating_sub(pair[0].0) as f64 / 1e6)
                .collect(),
        })
    }
}

/// Scores requests by a definition; failed ones are passed over, as all of them do.
pub fn score(definition: Definition, records: &[&Record]) -> Vec<Scored> {
    let times: Vec<Times> = records
        .iter()
        .filter(|record| record.ok())
        .filter_map(|record| {
            let stamps = record.stamps;
            let from = match definition {
                Definition::Prony | Definition::Mlperf => stamps.intended_ns,
                Definition::Vllm | Definition::Aiperf => stamps.sent_ns,
            };
            Times::new(record, from)
        })
        .collect();
    let each = |of: fn(&Times) -> f64| times.iter().map(of).collect::<Vec<f64>>();
    let per_token = |of: fn(&Times) -> f64| -> Vec<f64> {
        let of_one = |it: &Times| Some(of(it) / it.more?);
        times.iter().filter_map(of_one).collect()
    };
    let gaps = || {
        times
            .iter()
            .flat_map(|it| it.gaps.iter().copied())
            .collect()
    };
    let scored = match definition {
        Definition::Prony => vec![
            Scored::new("time_to_first_token_ms", each(|it| it.first)),
            Scored::new(
                "time_per_output_token_ms",
                per_token(|it| it.end - it.first),
            ),
            Scored::new("inter_token_latency_ms", gaps()),
            Scored::new("request_latency_ms", each(|it| it.end)),
        ],
        Definition::Vllm => vec![
            Scored::new("TTFT (ms)", each(|it| it.first)),
            Scored::new("TPOT (ms)", per_token(|it| it.last - it.first)),
            Scored::new("ITL (ms)", gaps()),
            Scored::new("E2EL (ms)", each(|it| it.last)),
        ],
        Definition::Aiperf => vec![
            Scored::new("Time To First Token (ms)", each(|it| it.first)),
            Scored::new(
                "Inter Token Latency (ms)",
                per_token(|it| it.last - it.first),
            ),
            Scored::new("Request Latency (ms)", each(|it| it.last)),
        ],
        Definition::Mlperf => vec![
            Scored::new("First Token latency (ms)", each(|it| it.first)),
            Scored::new(
                "Time per Output Token (ms)",
                per_token(|it| it.last - it.first),
            ),
            Scored::new("Sample latency (ms)", each(|it| it.end)),
        ],
    };
    scored.into_iter().flatten().collect()
}

/// How many tokens [`Cadence::time_to_tokens_ms`] is told of.
const TOKENS: [u32; 4] = [1, 8, 32, 128];

/// How evenly the text of the requests that succeeded came.
pub fn cadence(records: &[&Record]) -> Cadence {
    const STALL: f64 = 5.0;
    let good = || records.iter().filter(|record| record.ok());
    let mut gaps: Vec<f64> = good()
        .flat_map(|record| record.arrivals.windows(2))
        .map(|pair| pair[1].0.saturating_sub(pair[0].0) as f64)
        .collect();
    gaps.sort_by(f64::total_cmp);
    let all: f64 = gaps.iter().sum();
    let stall_ratio = (all > 0.0).then(|| {
        let limit = STALL * quantile(&gaps, 0.5);
        // From 0, since the sum of nothing is -0.
        let stalls = gaps.iter().filter(|gap| **gap > limit);
        stalls.fold(0.0, |sum, gap| sum + gap) / all
    });
    let shared = gaps.iter().take_while(|gap| **gap <= 0.0).count();
    let shared_stamp_share = (!gaps.is_empty()).then(|| shared as f64 / gaps.len() as f64);
    let (mut arrivals, mut tokens) = (0, 0);
    for record in good() {
        let Some(count) = record.output_tokens else {
            tokens = 0;
            break;
        };
        arrivals += record.arrivals.len() as u64;
        tokens += u64::from(count);
    }
    let to_tokens = |count: u32| {
        let times = good().filter_map(|record| time_to_tokens_ms(record, count));
        Some((count, distribution(times.collect())?))
    };
    Cadence {
        time_to_tokens_ms: TOKENS.into_iter().filter_map(to_tokens).collect(),
        stall_ratio,
        arrivals_per_token: (tokens > 0).then(|| arrivals as f64 / tokens as f64),
        shared_stamp_share,
    }
}

/// From when a request was due to the arrival that completes its first `count` tokens.
fn time_to_tokens_ms(record: &Record, count: u32) -> Option<f64> {
    if record.arrivals.iter().any(|arrival| arrival.1 == 0) {
        return None;
    }
    let mut tokens = 0;
    let reached = record.arrivals.iter().find(|arrival| {
        tokens += arrival.1;
        tokens >= count
    })?;
    Some(reached.0.saturating_sub(record.stamps.intended_ns) as f64 / 1e6)
}

/// The share of all requests that succeeded and reached the objectives, 0 to 1; `None`
/// without requests. A request that failed, or of which an objective cannot be told, has
/// missed.
pub fn goodput_share(records: &[&Record], objectives: Objectives) -> Option<f64> {
    goodput_of(1.0, records, objectives)
}

/// [`goodput_share`] in percent, 0 to 100: 57 of 100 requests are 57 and not a rounding less.
pub fn goodput_percent(records: &[&Record], objectives: Objectives) -> Option<f64> {
    goodput_of(100.0, records, objectives)
}

/// The good requests over all, times `whole`.
fn goodput_of(whole: f64, records: &[&Record], objectives: Objectives) -> Option<f64> {
    let reached = |record: &&&Record| {
        let Some(times) = Times::new(record, record.stamps.intended_ns) else {
            return false;
        };
        let within = |bound: Option<f64>, value: Option<f64>| {
            bound.is_none_or(|bound| value.is_some_and(|value| value <= bound))
        };
        let per_token = times.more.map(|more| (times.end - times.first) / more);
        record.ok()
            && within(objectives.ttft_ms, Some(times.first))
            && within(objectives.tpot_ms, per_token)
            && within(objectives.latency_ms, Some(times.end))
    };
    let good = records.iter().filter(reached).count() as f64;
    (!records.is_empty()).then(|| good * whole / records.len() as f64)
}
