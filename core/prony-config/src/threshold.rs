//! What results must reach.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A bound on a metric. It holds for every engine, model and measure stage that
/// it does not leave out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// What is bounded, by its name in `result.json`.
    pub metric: Metric,
    /// Which number of a distribution: `p50` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistic: Option<Statistic>,
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
}

/// A metric that can be bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "metric")]
pub enum Metric {
    /// Output tokens of successful requests over the time of all requests.
    OutputTokensPerSec,
    /// Share of requests that succeeded, 0 to 1.
    SuccessRate,
    /// From sending to the last byte.
    RequestLatencyMs,
    /// From sending to the first token.
    TimeToFirstTokenMs,
    /// Gaps between arrivals of text.
    InterTokenLatencyMs,
    /// Time after the first token by the tokens after the first.
    TimePerOutputTokenMs,
    /// From starting the engine to its being ready.
    LoadTimeMs,
    /// Highest resident memory of the engine's processes.
    PeakMemoryBytes,
    /// Wall-clock time of the measure stages.
    TotalTimeS,
}

impl Metric {
    /// Its name in `result.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::OutputTokensPerSec => "output_tokens_per_sec",
            Self::SuccessRate => "success_rate",
            Self::RequestLatencyMs => "request_latency_ms",
            Self::TimeToFirstTokenMs => "time_to_first_token_ms",
            Self::InterTokenLatencyMs => "inter_token_latency_ms",
            Self::TimePerOutputTokenMs => "time_per_output_token_ms",
            Self::LoadTimeMs => "load_time_ms",
            Self::PeakMemoryBytes => "peak_memory_bytes",
            Self::TotalTimeS => "total_time_s",
        }
    }

    /// Whether it is a distribution, of which a threshold bounds one number.
    pub fn is_distribution(self) -> bool {
        matches!(
            self,
            Self::RequestLatencyMs
                | Self::TimeToFirstTokenMs
                | Self::InterTokenLatencyMs
                | Self::TimePerOutputTokenMs
                | Self::LoadTimeMs
        )
    }
}

/// A number of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "statistic")]
pub enum Statistic {
    /// The arithmetic mean.
    Mean,
    /// The smallest value.
    Min,
    /// The median.
    #[default]
    P50,
    /// The 90th percentile. It needs 44 samples.
    P90,
    /// The 99th percentile. It needs 459 samples.
    P99,
    /// The largest value.
    Max,
}

impl Statistic {
    /// Its name in `result.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Min => "min",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::Max => "max",
        }
    }
}
