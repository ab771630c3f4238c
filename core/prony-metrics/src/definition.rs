//! One recording, scored as several tools define what they report.
//!
//! The same words mean different things: the inter-token latency of one tool is the time
//! per output token of another. A journal has every arrival, so each definition can be
//! computed from the same requests, side by side. The definitions are data:
//! `definitions.json` of this crate.

use crate::durations::Sorted;
use crate::facts::{Facts, TOKENS};
use crate::statistics::quantile::{distribution, min_samples_for_quantile, quantile};
use prony_result::{Cadence, Objectives};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The metrics of one tool.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Name on the command line.
    pub name: &'static str,
    /// The tool, and where it says or computes what it reports.
    pub source: &'static str,
    #[serde(default)]
    percentile: Percentile,
    metrics: Vec<Defined>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defined {
    /// The tool's name for it, with the unit.
    metric: &'static str,
    of: Quantity,
}

/// Computation of a metric by a tool.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Quantity {
    /// The time between two moments of a request, in milliseconds, divided by a count and
    /// weighted with another, if they are given.
    Time {
        from: Moment,
        to: Moment,
        per: Option<Count>,
        weight: Option<Count>,
    },
    /// Times between one arrival and the next, in milliseconds: one less than there are.
    Gaps { between: Arrivals },
    /// Tokens of a request over the time between two of its moments, per second.
    Speed {
        tokens: Count,
        from: Moment,
        to: Moment,
    },
    /// All that was counted in the requests that succeeded, per second of the time from one
    /// moment of the first request to another of the last; of several cycles both are added up.
    Rate {
        of: Count,
        from: Moment,
        to: Moment,
        over: Over,
    },
}

/// A moment of a request.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Moment {
    /// It was due.
    Due,
    /// Its sending began.
    Sending,
    /// The first chunk of the answer arrived, be it with text or not.
    FirstChunk,
    /// The first text arrived, reasoning included.
    FirstText,
    /// The second text arrived.
    SecondText,
    /// The first text behind the reasoning arrived.
    FirstAnswer,
    /// The last text arrived.
    LastText,
    /// The last chunk of the answer arrived, be it with text or not.
    LastChunk,
    /// The answer was complete, as in [`Facts::latency_ns`].
    Answered,
    /// The last byte of the stream arrived.
    StreamEnd,
}

/// Arrivals of which a tool takes a time.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Arrivals {
    /// Chunks with text.
    Texts,
    /// Those, and chunks of the answer without text: a role or a finish reason alone.
    Chunks,
}

/// A count of a request.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Count {
    /// The request itself.
    Requests,
    /// Tokens of the prompt.
    PromptTokens,
    /// Generated tokens.
    OutputTokens,
    /// Generated tokens beyond the first.
    LaterTokens,
    /// Tokens of the prompt and generated ones.
    AllTokens,
}

/// Requests whose time a tool counts.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Over {
    /// All of them.
    All,
    /// Requests that succeeded.
    Succeeded,
}

/// Method by which a tool finds the `p` quantile of `n` sorted values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Percentile {
    /// Between the two values around `p (n - 1)`, counted from 0, as `numpy` does unless told
    /// otherwise.
    #[default]
    Interpolated,
    /// The first value at which the share of the weights reaches `p`.
    InvertedCdf,
    /// The value `floor(p n)`, counted from 0.
    Floor,
}

/// A rounding less than a share does not make its quantile the next value.
const ROUNDED: f64 = 1.0 - 1e-12;

impl Percentile {
    /// The quantile of at least one duration, in milliseconds.
    fn of_durations(self, sorted: &Sorted, p: f64) -> f64 {
        let n = sorted.len() as f64;
        let near = |index: f64| sorted.near(index as u64) as f64 / 1e6;
        match self {
            Self::Interpolated => sorted.quantile_ms(p),
            Self::Floor => near(n * p),
            Self::InvertedCdf => near((n * p * ROUNDED).ceil() - 1.0),
        }
    }

    /// The quantile of at least one value, sorted, each with its weight.
    fn of(self, sorted: &[(f64, f64)], p: f64) -> f64 {
        let values: Vec<f64> = sorted.iter().map(|it| it.0).collect();
        let last = values.len() - 1;
        match self {
            Self::Interpolated => quantile(&values, p),
            Self::Floor => values[((values.len() as f64 * p) as usize).min(last)],
            Self::InvertedCdf => {
                let share = p * sorted.iter().map(|it| it.1).sum::<f64>() * ROUNDED;
                let mut reached = 0.0;
                let at = sorted.iter().position(|(_, weight)| {
                    reached += weight;
                    reached >= share
                });
                values[at.unwrap_or(last)]
            }
        }
    }
}

/// Every definition; prony's own is the first. The rates of prony's own depend on the requests
/// in flight and are in its result.
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
    /// Number of values; 1 for a rate.
    pub n: u64,
    /// Arithmetic mean, weighted if the tool weights it.
    pub mean: f64,
    /// Median; absent for a rate, which has no distribution.
    pub p50: Option<f64>,
    /// 90th percentile; absent with fewer than 44 values.
    pub p90: Option<f64>,
    /// 99th percentile; absent with fewer than 459 values.
    pub p99: Option<f64>,
    /// Largest; absent for a rate.
    pub max: Option<f64>,
}

impl Scored {
    /// A rate; `None` unless it is a finite number.
    pub fn rate(metric: &'static str, mean: f64) -> Option<Self> {
        mean.is_finite().then_some(Self {
            metric,
            n: 1,
            mean,
            p50: None,
            p90: None,
            p99: None,
            max: None,
        })
    }

    /// From durations.
    fn of_durations(metric: &'static str, percentile: Percentile, sorted: &Sorted) -> Option<Self> {
        let n = sorted.len();
        let certain =
            |p| (n >= min_samples_for_quantile(p)).then(|| percentile.of_durations(sorted, p));
        (n > 0).then(|| Self {
            metric,
            n,
            mean: sorted.mean_ms(),
            p50: Some(percentile.of_durations(sorted, 0.5)),
            p90: certain(0.9),
            p99: certain(0.99),
            max: Some(sorted.max() as f64 / 1e6),
        })
    }

    /// From values and their weights.
    fn new(
        metric: &'static str,
        percentile: Percentile,
        mut values: Vec<(f64, f64)>,
    ) -> Option<Self> {
        values.retain(|(value, weight)| value.is_finite() && *weight > 0.0);
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let max = values.last()?.0;
        let n = values.len() as u64;
        let at = |p| percentile.of(&values, p);
        let certain = |p| (n >= min_samples_for_quantile(p)).then(|| at(p));
        let weights: f64 = values.iter().map(|it| it.1).sum();
        Some(Self {
            metric,
            n,
            mean: values.iter().map(|it| it.0 * it.1).sum::<f64>() / weights,
            p50: Some(at(0.5)),
            p90: certain(0.9),
            p99: certain(0.99),
            max: Some(max),
        })
    }
}

impl Quantity {
    /// The value of a request with its weight; `None` if it cannot be told, as without a count
    /// of tokens.
    fn of_request(self, record: &Facts) -> Option<(f64, f64)> {
        let ms = |from: Moment, to: Moment| {
            let passed = to.of(record)?.saturating_sub(from.of(record)?);
            Some(passed as f64 / 1e6)
        };
        let count = |count: Option<Count>| count.map_or(Some(1.0), |it| it.of(record));
        match self {
            Self::Time {
                from,
                to,
                per,
                weight,
            } => ms(from, to).and_then(|ms| Some((ms / count(per)?, count(weight)?))),
            Self::Speed { tokens, from, to } => {
                ms(from, to).and_then(|ms| Some((tokens.of(record)? * 1e3 / ms, 1.0)))
            }
            Self::Gaps { .. } | Self::Rate { .. } => None,
        }
    }
}

impl Moment {
    fn of(self, record: &Facts) -> Option<u64> {
        let text = |fewest: u32, ns: u64| (record.texts >= fewest).then_some(ns);
        match self {
            Self::Due => Some(record.intended_ns),
            Self::Sending => Some(record.sent_ns),
            Self::FirstChunk => record.chunks_ns().map(|it| it.0),
            Self::FirstText => text(1, record.first_ns),
            Self::SecondText => text(2, record.second_ns),
            Self::FirstAnswer => record.first_answer_ns.or(text(1, record.first_ns)),
            Self::LastText => text(1, record.last_ns),
            Self::LastChunk => record.chunks_ns().map(|it| it.1),
            Self::Answered => Some(record.answered_ns),
            Self::StreamEnd => Some(record.end_ns),
        }
    }
}

impl Count {
    /// `None` if nobody counts, or if it is nothing.
    fn of(self, record: &Facts) -> Option<f64> {
        let count = match self {
            Self::Requests => 1,
            Self::PromptTokens => record.prompt_tokens?,
            Self::OutputTokens => record.tokens()?,
            Self::LaterTokens => record.tokens()?.checked_sub(1)?,
            Self::AllTokens => record.tokens()?.checked_add(record.prompt_tokens?)?,
        };
        (count > 0).then(|| f64::from(count))
    }
}

/// Time from one moment of a cycle's first request to another of its last, in seconds, of all
/// cycles together.
fn duration_s(records: &[&Facts], from: Moment, to: Moment) -> f64 {
    let mut cycles = BTreeMap::<u32, (u64, u64)>::new();
    for record in records {
        let (Some(from), Some(to)) = (from.of(record), to.of(record)) else {
            continue;
        };
        let cycle = cycles.entry(record.cycle).or_insert((from, to));
        *cycle = (cycle.0.min(from), cycle.1.max(to));
    }
    let times = cycles.values().map(|(from, to)| to.saturating_sub(*from));
    // A journal may claim any time.
    times.fold(0, u64::saturating_add) as f64 / 1e9
}

/// Scores requests by a definition. Failed ones are passed over, but for the time that they
/// take of a rate. A metric without a value is left out.
///
/// `texts` and `chunks` are the gaps between the texts, and between the chunks, of those that
/// succeeded.
pub fn score(
    definition: &Definition,
    records: &[&Facts],
    texts: &Sorted,
    chunks: &Sorted,
) -> Vec<Scored> {
    let good: Vec<&Facts> = records.iter().copied().filter(|it| it.ok()).collect();
    let scored = |it: &Defined| {
        let (of, from, to, over) = match it.of {
            Quantity::Rate { of, from, to, over } => (of, from, to, over),
            Quantity::Gaps { between } => {
                let gaps = match between {
                    Arrivals::Texts => texts,
                    Arrivals::Chunks => chunks,
                };
                return Scored::of_durations(it.metric, definition.percentile, gaps);
            }
            Quantity::Time { .. } | Quantity::Speed { .. } => {
                let values = good.iter().filter_map(|record| it.of.of_request(record));
                return Scored::new(it.metric, definition.percentile, values.collect());
            }
        };
        if good.is_empty() {
            return None;
        }
        let counted = good.iter().map(|record| of.of(record));
        let total: f64 = counted.sum::<Option<f64>>()?;
        let timed = match over {
            Over::All => records,
            Over::Succeeded => &good,
        };
        Scored::rate(it.metric, total / duration_s(timed, from, to))
    };
    definition.metrics.iter().filter_map(scored).collect()
}

/// Evenness with which the text of successful requests came. `gaps` are those between their
/// texts.
pub fn cadence(records: &[&Facts], gaps: &Sorted) -> Cadence {
    let good = || records.iter().filter(|record| record.ok());
    let all = gaps.sum();
    let stall_ratio = (all > 0.0).then(|| gaps.stalls() / all);
    let shared_stamp_share = (!gaps.is_empty()).then(|| gaps.zeros() as f64 / gaps.len() as f64);
    let (mut arrivals, mut tokens) = (0, 0);
    for record in good() {
        let Some(count) = record.tokens() else {
            tokens = 0;
            break;
        };
        arrivals += u64::from(record.texts);
        tokens += u64::from(count);
    }
    let to_tokens = |(number, count): (usize, u32)| {
        let times = good().filter_map(|record| {
            let at = record.to_tokens_ns[number];
            (at > 0).then(|| at.saturating_sub(record.intended_ns) as f64 / 1e6)
        });
        Some((count, distribution(times.collect())?))
    };
    let numbered = TOKENS.into_iter().enumerate();
    Cadence {
        time_to_tokens_ms: numbered.filter_map(to_tokens).collect(),
        stall_ratio,
        arrivals_per_token: (tokens > 0).then(|| arrivals as f64 / tokens as f64),
        shared_stamp_share,
    }
}

/// The share of all requests that succeeded and reached the objectives, 0 to 1; `None`
/// without requests. A request that failed, or of which an objective cannot be told, has
/// missed.
pub fn goodput_share(records: &[Facts], objectives: Objectives) -> Option<f64> {
    goodput_of(1.0, records, objectives)
}

/// [`goodput_share`] in percent, 0 to 100: 57 of 100 requests are 57 and not a rounding less.
pub fn goodput_percent(records: &[Facts], objectives: Objectives) -> Option<f64> {
    goodput_of(100.0, records, objectives)
}

/// The good requests over all, times `whole`.
fn goodput_of(whole: f64, records: &[Facts], objectives: Objectives) -> Option<f64> {
    let reached = |record: &&Facts| {
        let within = |bound: Option<f64>, from, to, per| {
            let time = Quantity::Time {
                from,
                to,
                per,
                weight: None,
            };
            let value = || time.of_request(record).map(|it| it.0);
            bound.is_none_or(|bound| value().is_some_and(|value| value <= bound))
        };
        let per_token = Some(Count::LaterTokens);
        record.ok()
            && record.texts > 0
            && within(objectives.ttft_ms, Moment::Due, Moment::FirstText, None)
            && within(
                objectives.tpot_ms,
                Moment::FirstText,
                Moment::Answered,
                per_token,
            )
            && within(objectives.latency_ms, Moment::Due, Moment::Answered, None)
    };
    let good = records.iter().filter(reached).count() as f64;
    (!records.is_empty()).then(|| good * whole / records.len() as f64)
}
