//! What results must reach.

use prony_result::{Metric, Statistic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Ordered, Scalar};

/// A bound on a metric. It holds for every engine, model, matrix point and `measure` stage
/// that it does not leave out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// What is bounded, by its name in `result.json`.
    pub metric: &'static Metric,
    /// Which number of a distribution: `p50` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistic: Option<Statistic>,
    /// The longest time to first token of a request that counts as goodput.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttft_ms: Option<f64>,
    /// The longest time per output token of a request that counts as goodput.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tpot_ms: Option<f64>,
    /// The longest latency of a request that counts as goodput.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub latency_ms: Option<f64>,
    /// The least that is good enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most that is good enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The engine that it is for: all unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The model that it is for, by id: all unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The `measure` stage that it is for, by id: all unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// The matrix points that it is for: those with these values of axes, all unless given.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub matrix: Ordered<Scalar>,
}
