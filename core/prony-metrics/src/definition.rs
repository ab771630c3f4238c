//! One recording, scored as several tools define what they report.
//!
//! The same words mean different things: the inter-token latency of one tool is the time
//! per output token of another. A journal has every arrival, so each definition can be
//! computed from the same requests, side by side. The definitions are data:
//! `definitions.json` of this crate.

use crate::statistics::{distribution, quantile};
use prony_record::Record;
use prony_result::{Cadence, Objectives};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// The metrics of one tool.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Name on the command line.
    pub name: &'static str,
    /// URL of the tool's definitions.
    pub source: &'static str,
    from: From,
    metrics: Vec<Defined>,
}

/// The moment that times are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum From {
    /// The time at which the request was due.
    Due,
    /// The time at which it was sent.
    Sending,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defined {
    /// The tool's name for it, with the unit.
    metric: &'static str,
    of: Quantity,
}

/// A quantity of a request, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Quantity {
    /// Time to the first arrival of text.
    FirstText,
    /// Time to the last arrival of text.
    LastText,
    /// Time to the end of the answer.
    End,
    /// Times between arrivals of text, one less than there are arrivals.
    Gaps,
    /// `(last text - first text) / (tokens - 1)`.
    LastLessFirstPerToken,
    /// `(end - first text) / (tokens - 1)`.
    EndLessFirstPerToken,
}

/// Every definition; prony's own is the first.
pub fn definitions() -> &'static [Definition] {
    static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../definitions.json"))
            .expect("definitions.json is valid")
    });
    &DEFINITIONS
}

/// A metric of one definition, over the requests that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scored {
    /// The tool's name for it, with its unit.
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
    /// To the end of the answer, as in [`Record::latency_ns`].
    end: f64,
    /// Generated tokens beyond the first; absent if nobody counts, or below 1.
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
            end: since(record.answered_ns.unwrap_or(record.stamps.end_ns)),
            more: record
                .tokens()
                .and_then(|tokens| tokens.checked_sub(1))
                .filter(|more| *more > 0)
                .map(f64::from),
            gaps: arrivals
                .windows(2)
                .map(|pair| pair[1].0.saturating_sub(pair[0].0) as f64 / 1e6)
                .collect(),
        })
    }

    /// The values of a quantity: one, several for the gaps, none if it cannot be told.
    fn of(&self, quantity: Quantity) -> Vec<f64> {
        let per_token = |ms: f64| self.more.map(|more| ms / more);
        let one = match quantity {
            Quantity::Gaps => return self.gaps.clone(),
            Quantity::FirstText => Some(self.first),
            Quantity::LastText => Some(self.last),
            Quantity::End => Some(self.end),
            Quantity::LastLessFirstPerToken => per_token(self.last - self.first),
            Quantity::EndLessFirstPerToken => per_token(self.end - self.first),
        };
        one.into_iter().collect()
    }
}

/// Scores requests by a definition; failed ones are passed over, as all of them do. A
/// metric without a value is left out.
pub fn score(definition: &Definition, records: &[&Record]) -> Vec<Scored> {
    let times: Vec<Times> = records
        .iter()
        .filter(|record| record.ok())
        .filter_map(|record| {
            let from_ns = match definition.from {
                From::Due => record.stamps.intended_ns,
                From::Sending => record.stamps.sent_ns,
            };
            Times::new(record, from_ns)
        })
        .collect();
    let defined = definition.metrics.iter();
    defined
        .filter_map(|it| {
            Scored::new(
                it.metric,
                times.iter().flat_map(|at| at.of(it.of)).collect(),
            )
        })
        .collect()
}

/// Numbers of tokens that [`Cadence::time_to_tokens_ms`] covers.
const TOKENS: [u32; 4] = [1, 8, 32, 128];

/// Evenness with which the text of successful requests came.
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
        let Some(count) = record.tokens() else {
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
