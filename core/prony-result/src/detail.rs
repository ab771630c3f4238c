//! Numbers of single requests, visits and cycles, for reporters that draw.
//!
//! A reporter whose manifest `wants` them finds them under `detail` in its result;
//! `result.json` never has them. All of it together stays within a budget of bytes, and
//! [`Detail::thinned`] says what that cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Numbers behind a result, for reporters that want them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Detail {
    /// One entry for each of the result's `models`, in the same order.
    pub models: Vec<ModelDetail>,
    /// Sentences on what is left out to stay within the budget.
    #[serde(default)]
    pub thinned: Vec<String>,
}

/// The numbers behind one entry of the result's `models`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelDetail {
    /// One entry for each of its `engines`, in the same order.
    pub engines: Vec<EngineDetail>,
    /// One entry for each of its `comparisons`, in the same order.
    pub comparisons: Vec<ComparisonDetail>,
}

/// The numbers behind one engine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineDetail {
    /// Engine name.
    pub engine: String,
    /// Distributions by the name of their metric. The value of the metric at any share of
    /// the requests can be read off.
    pub curves: BTreeMap<String, Curve>,
    /// Its visits, in order of time.
    pub visits: Vec<VisitDetail>,
    /// Single requests: the same ones for every engine of the model, as far as they were
    /// sent.
    pub timelines: Vec<Timeline>,
}

/// A distribution by its order statistics. Times are in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Curve {
    /// Number of values.
    pub n: u64,
    /// Number of requests that failed and have no value.
    pub failed: u64,
    /// Value `k` of the `K + 1` is the smallest that at least the share `k / K` of the values do
    /// not exceed; the first is the minimum.
    pub quantiles: Vec<f64>,
    /// The lowest of each of these quantiles over the cycles; empty if cycles cannot be told
    /// apart, or one has no value.
    #[serde(default)]
    pub low: Vec<f64>,
    /// The highest of each over the cycles, likewise.
    #[serde(default)]
    pub high: Vec<f64>,
}

/// A visit: one engine's share of a cycle. A segment that reloads the engine is a visit of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VisitDetail {
    /// Cycle, from 1.
    pub cycle: u32,
    /// Number of the segment, from 1.
    pub part: u32,
    /// Time at which it began, in seconds since the run's start.
    pub begun_s: f64,
    /// Its stages in order of time.
    pub stages: Vec<StageDetail>,
    /// From starting the engine until it was ready, in milliseconds.
    pub load_ms: Option<f64>,
    /// From asking the engine to end until its processes were gone, in milliseconds.
    pub unload_ms: Option<f64>,
    /// Peak resident memory of the engine's processes.
    pub peak_memory_bytes: Option<u64>,
    /// Output tokens per second of its `measure` stage; absent in a cycle in which something
    /// failed.
    pub output_tokens_per_sec: Option<f64>,
    /// Resident memory of the engine's processes: milliseconds since the first sample, and the
    /// highest number of bytes in the interval that begins there.
    #[serde(default)]
    pub memory: Vec<(u64, u64)>,
    /// Remarks on the state of the machine.
    #[serde(default)]
    pub machine: Vec<String>,
}

/// A stage of a visit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageDetail {
    /// Its kind: `load`, `warmup`, `measure` or `unload`.
    pub stage: String,
    /// Its id, if other than the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Time at which it began, in seconds since the run's start.
    pub begun_s: f64,
    /// Time at which the next one began or the visit ended, likewise.
    pub ended_s: f64,
}

/// A request, by the times at which it was sent and its texts came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// Cycle, from 1.
    pub cycle: u32,
    /// Number of the request in its stage, from 0.
    pub index: u32,
    /// Time at which it was due, in milliseconds since the first request of its visit was.
    pub due_ms: f64,
    /// Time at which it was sent, in milliseconds since it was due.
    pub sent_ms: f64,
    /// Times at which texts came, likewise: the first ones.
    pub texts_ms: Vec<f64>,
    /// Time at which it ended, likewise.
    pub end_ms: f64,
    /// Number of texts.
    pub texts: u64,
    /// Class of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The numbers behind a comparison.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparisonDetail {
    /// Candidate engine.
    pub candidate: String,
    /// Its cycles without a failure, in order.
    pub cycles: Vec<CycleDetail>,
    /// The interim analyses, in order.
    pub looks: Vec<LookDetail>,
}

/// A cycle of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CycleDetail {
    /// Cycle, from 1.
    pub cycle: u32,
    /// The engine that was visited first.
    pub first: Option<String>,
    /// Difference in percent, above zero where the candidate is faster: of a verdict on the
    /// typical request the median over questions, else of the throughputs.
    pub difference_percent: f64,
}

/// An interim analysis.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LookDetail {
    /// Number of cycles used.
    pub cycles: u32,
    /// `faster`, `slower`, `equivalent`, `continue` or `inconclusive`.
    pub decision: String,
    /// Lower end of the interval of the difference, in percent.
    pub low_percent: Option<f64>,
    /// Upper end.
    pub high_percent: Option<f64>,
}
