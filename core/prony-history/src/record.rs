//! A line of a history: one candidate in one run, and how it is made of the run's result.

use crate::identity::{self, Identities};
use prony_result::{
    Comparison, EngineInfo, EngineResult, Interval, ModelResult, RunResult, to_log_ratio,
    words::one_line,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Value of [`Record::schema`].
pub const SCHEMA: &str = "prony-history/1";

/// A line of `history/SERIES.jsonl`: a candidate in one run, with one model at one matrix point
/// in one `measure` stage. Log ratios are `ln(speed of the candidate / speed of the anchor)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// `prony-history/1`.
    pub schema: String,
    /// Identifies the line: the run, its start and a number within it.
    pub id: String,
    /// Place in time: start of the run unless it was given otherwise. RFC 3339, UTC.
    pub at: String,
    /// Commit that the candidate was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Branch or tag of the commit.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Digest of everything that is equal in all lines of a series: `setting`, and name, plugin
    /// and options of the candidate, without those that choose its version.
    pub series: String,
    /// Digest of what is measured: model, matrix point, stage, requests and their sending.
    pub setting: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Id of the model.
    pub model: String,
    /// Matrix point; absent without a matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// Id of the `measure` stage; absent if there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// Digest of the machine's properties, which identifies nobody.
    pub machine: String,
    /// The anchor; absent if the run had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Build>,
    /// The engine whose history it is.
    pub candidate: Build,
    /// Estimate of the log ratio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_ratio: Option<f64>,
    /// Lower end of its interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper end of its interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Confidence level of the interval, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<f64>,
    /// Differences up to this percentage count as none.
    pub margin_percent: f64,
    /// Cycles that the estimate rests on.
    pub cycles: u32,
    /// Log ratio of the throughput of every cycle.
    #[serde(default)]
    pub cycle_log_ratios: Vec<f64>,
    /// Numbers of the candidate by itself: machine and engine cannot be told apart in them.
    #[serde(default)]
    pub absolute: Absolute,
    /// Log ratios of prefill and decode.
    #[serde(default)]
    pub phases: Phases,
    /// Limits of the comparison; `prony explain` has a page on each.
    #[serde(default)]
    pub flags: Vec<String>,
    /// `true` if the line counts in the search for changes.
    pub valid: bool,
    /// Reason why it does not; absent if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An engine as it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Build {
    /// Its name in the pipeline.
    pub engine: String,
    /// Digest of what tells this build from others: plugin and options, and the pin of the
    /// pipeline, or else all versions and digests that were found.
    pub identity: String,
    /// Version that it reported, or its program printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 of its program or image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Numbers of an engine by itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Absolute {
    /// Output tokens per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_sec: Option<f64>,
    /// Median time to the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ms_p50: Option<f64>,
    /// Median gap between arrivals of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inter_token_latency_ms_p50: Option<f64>,
}

/// Log ratios of prefill and decode.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Phases {
    /// Prompt tokens up to the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<f64>,
    /// Output tokens after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<f64>,
}

/// Facts that a result does not hold.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Commit that the candidates were built from.
    pub commit: Option<String>,
    /// Its branch or tag.
    pub reference: Option<String>,
    /// Place in time, if not the start of the run.
    pub at: Option<String>,
}

/// Reason of a run without an anchor.
const NO_ANCHOR: &str = "absolute: machine and engine cannot be told apart, since no engine of the run is an anchor (`history: { anchor: true }`)";

impl Record {
    /// What no run can have measured, if there is something: numbers that JSON can hold and of
    /// which nothing could be computed.
    pub(crate) fn absurd(&self) -> Option<String> {
        /// A log ratio: a thousand times as fast.
        const MOST: f64 = 6.91;
        const MAX_MARGIN: f64 = 1000.0;
        let ends = [self.log_ratio, self.low, self.high];
        let phases = [self.phases.prefill, self.phases.decode];
        let ratios = ends.into_iter().chain(phases).flatten();
        let mut ratios = ratios.chain(self.cycle_log_ratios.iter().copied());
        let is_none = |it: &f64| !(-MOST..=MOST).contains(it);
        if let Some(ratio) = ratios.find(is_none) {
            return Some(format!("{ratio:e} is no log ratio of two speeds"));
        }
        if let (Some(low), Some(high)) = (self.low, self.high)
            && low > high
        {
            return Some("its `low` is above its `high`".to_owned());
        }
        if self.level.is_some_and(|it| it <= 0.0 || it >= 1.0) {
            return Some("its `level` is not between 0 and 1".to_owned());
        }
        let absolute = &self.absolute;
        let absolute = [
            absolute.output_tokens_per_sec,
            absolute.time_to_first_token_ms_p50,
            absolute.inter_token_latency_ms_p50,
        ];
        if absolute.into_iter().flatten().any(|it| it < 0.0) {
            return Some("it has a negative speed or time".to_owned());
        }
        if !(0.0..=MAX_MARGIN).contains(&self.margin_percent) {
            let words = format!("its `margin_percent` is not one of 0 to {MAX_MARGIN}");
            return Some(words);
        }
        let is_whole = self.anchor.is_some() && ends.iter().all(Option::is_some);
        (self.valid && !is_whole)
            .then(|| "it is `valid`, and has no interval to an anchor".to_owned())
    }

    /// Name of the series for people.
    pub fn label(&self) -> String {
        let parts = [
            Some(self.model.as_str()),
            self.cell.as_deref(),
            self.measure.as_deref(),
            Some(self.candidate.engine.as_str()),
        ];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        one_line(&parts.join(" · "))
    }
}

/// The lines of a run, and what is left out of it, each with its reason.
pub fn records(
    result: &RunResult,
    given: &Given,
    identities: &Identities,
) -> (Vec<Record>, Vec<String>) {
    let anchor = result.engines.iter().find(|it| {
        let part = it.history.as_ref();
        part.is_some_and(|part| part.anchor)
    });
    let (mut records, mut left_out) = (Vec::new(), Vec::new());
    let mut number = 0;
    for model in &result.models {
        let setting = identity::setting(result, model);
        let candidates = result.engines.iter();
        for candidate in candidates.filter(|it| anchor.is_none_or(|anchor| anchor.name != it.name))
        {
            let numbers = model.engines.iter().find(|it| it.engine == candidate.name);
            let Some(numbers) = numbers else {
                continue;
            };
            number += 1;
            let Some(setting) = &setting else {
                left_out.push(format!(
                    "{} · {}: the run ended before its requests were made, so nothing says which series it is of",
                    model.label(),
                    candidate.name
                ));
                continue;
            };
            let of = Of {
                result,
                model,
                anchor,
                candidate,
                numbers,
                identities,
            };
            let record = of.record(setting, number, given);
            match record.absurd() {
                Some(words) => left_out.push(format!("{}: {words}", record.label())),
                None => records.push(record),
            }
        }
    }
    (records, left_out)
}

/// The interval of a difference. One that an early look found to be an equivalence has only that
/// of the equivalence, which says as much.
fn interval(comparison: &Comparison) -> Option<Interval> {
    comparison.interval.or(comparison.interval_equivalent)
}

/// A candidate with a model in a run.
struct Of<'a> {
    result: &'a RunResult,
    model: &'a ModelResult,
    anchor: Option<&'a EngineInfo>,
    candidate: &'a EngineInfo,
    numbers: &'a EngineResult,
    identities: &'a Identities,
}

impl Of<'_> {
    fn record(&self, setting: &str, number: usize, given: &Given) -> Record {
        let run = &self.result.run;
        let comparison = self.comparison();
        let interval = comparison.and_then(interval);
        let reason = self.objection(comparison);
        let side =
            |side: Option<&prony_result::Judgement>| side?.difference_percent.map(to_log_ratio);
        Record {
            schema: SCHEMA.to_owned(),
            id: format!("{}@{}/{number}", run.id, run.started_at),
            at: given.at.clone().unwrap_or_else(|| run.started_at.clone()),
            commit: given.commit.clone(),
            reference: given.reference.clone(),
            series: self.identities.series(setting, self.candidate),
            setting: setting.to_owned(),
            pipeline: run.name.clone(),
            model: self.model.id.clone(),
            cell: self.model.cell.clone(),
            measure: self.model.measure.clone(),
            machine: self.result.environment.machine.clone(),
            anchor: self.anchor.map(|anchor| self.build(anchor)),
            candidate: self.build(self.candidate),
            log_ratio: comparison
                .and_then(|it| it.difference_percent)
                .map(to_log_ratio),
            low: interval.map(|it| to_log_ratio(it.low_percent)),
            high: interval.map(|it| to_log_ratio(it.high_percent)),
            level: interval.map(|it| it.level),
            margin_percent: comparison.map_or(2.0, |it| it.margin_percent),
            cycles: comparison.map_or(self.numbers.cycles, |it| it.cycles),
            cycle_log_ratios: comparison.map_or_else(Vec::new, |it| it.cycle_log_ratios.clone()),
            absolute: Absolute {
                output_tokens_per_sec: self.numbers.output_tokens_per_sec,
                time_to_first_token_ms_p50: self.numbers.time_to_first_token_ms.map(|it| it.p50),
                inter_token_latency_ms_p50: self.numbers.inter_token_latency_ms.map(|it| it.p50),
            },
            phases: Phases {
                prefill: side(comparison.and_then(|it| it.prefill.as_ref())),
                decode: side(comparison.and_then(|it| it.decode.as_ref())),
            },
            flags: comparison.map_or_else(Vec::new, |it| it.flags.clone()),
            valid: reason.is_none(),
            reason,
        }
    }

    /// The comparison with the anchor.
    fn comparison(&self) -> Option<&Comparison> {
        let anchor = self.anchor?;
        self.model
            .comparisons
            .iter()
            .find(|it| it.candidate == self.candidate.name && it.baseline == anchor.name)
    }

    /// The reason why the line does not count, if there is one.
    fn objection(&self, comparison: Option<&Comparison>) -> Option<String> {
        let Some(anchor) = self.anchor else {
            return Some(NO_ANCHOR.to_owned());
        };
        let of_anchor = self.numbers_of(&anchor.name);
        if let Some(other) = of_anchor.and_then(|it| identity::other_build(anchor, it)) {
            return Some(other);
        }
        if let Some(reason) = self.result.invalid.first() {
            return Some(format!("the numbers are not valid: {reason}"));
        }
        let Some(comparison) = comparison else {
            return Some(format!("not compared with the anchor `{}`", anchor.name));
        };
        if let Some(obstacle) = &comparison.obstacle {
            return Some(obstacle.clone());
        }
        if interval(comparison).is_none() || comparison.difference_percent.is_none() {
            return Some(format!("no interval: {}", comparison.reason));
        }
        None
    }

    fn numbers_of(&self, engine: &str) -> Option<&EngineResult> {
        self.model.engines.iter().find(|it| it.engine == engine)
    }

    fn build(&self, engine: &EngineInfo) -> Build {
        let numbers = self.numbers_of(&engine.name);
        let (version, sha256) = identity::found(engine, numbers);
        Build {
            engine: engine.name.clone(),
            identity: identity::identity(engine, numbers),
            version,
            sha256,
        }
    }
}
