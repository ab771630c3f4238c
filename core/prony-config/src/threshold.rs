//! Bounds on results.

use prony_result::{Metric, Statistic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Ordered, Scalar};

/// A bound on a metric, for every engine, model, matrix point and `measure` stage not
/// excluded by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// The bounded metric, by its name in `result.json`.
    pub metric: &'static Metric,
    /// The bounded statistic of a distribution. Defaults to `p50`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistic: Option<Statistic>,
    /// Maximum time to first token of a request that counts as goodput.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttft_ms: Option<f64>,
    /// Maximum time per output token of a request that counts as goodput.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tpot_ms: Option<f64>,
    /// Maximum latency of a request that counts as goodput.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub latency_ms: Option<f64>,
    /// Lower bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Upper bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Limits the threshold to one engine. Defaults to all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Limits the threshold to one model, by id. Defaults to all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Limits the threshold to one `measure` stage, by id. Defaults to all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// Limits the threshold to matrix points with these values of axes. Defaults to all.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    pub matrix: Ordered<Scalar>,
}
