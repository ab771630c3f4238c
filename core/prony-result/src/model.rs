//! What a run found out about one model.

#[cfg(doc)]
use super::CellInfo;
use super::{Comparison, EngineResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a run found out about one model: in one cell and in one `measure`
/// stage, where there are several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelResult {
    /// Its id.
    pub id: String,
    /// Its size label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The file or folder with its weights, if the pipeline names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Digest of that file, where the pipeline pins it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The revision that engines were to fetch, if the pipeline names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// SHA-256 of all that requests were made of: runs with equal ones sent the same
    /// prompts. Absent if the run did not get as far as making it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tape: Option<String>,
    /// The point of the matrix, as in [`CellInfo::id`]; absent without a matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// Id of the `measure` stage; absent when the cell has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// Unmeasured requests before the stage, since the engine was loaded.
    pub warmup_requests: u32,
    /// Measured requests of each visit.
    pub requests_per_visit: u32,
    /// Requests in flight; in an open loop, at most.
    pub concurrency: u32,
    /// How an open loop sent them, in words: `poisson, 4 a second`. Absent in a closed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<String>,
    /// For how long requests were sent at most, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The state of the engines' prefix caches that the pipeline asks for; absent if it does
    /// not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// One entry per engine that was to be measured, in the pipeline's order.
    pub engines: Vec<EngineResult>,
    /// The candidates against the baseline.
    pub comparisons: Vec<Comparison>,
    /// What an engine of these shows against itself on this machine; absent where `prony aa`
    /// has not measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_floor: Option<NoiseFloor>,
    /// What went wrong, if anything.
    pub failures: Vec<Failure>,
}

impl ModelResult {
    /// What reports call it, for example `SmolLM2-135M · concurrency=4 · burst`:
    /// the model and, where there are several, the cell and the `measure` stage.
    pub fn label(&self) -> String {
        label(&self.id, self.cell.as_deref(), self.measure.as_deref())
    }
}

pub(super) fn label(model: &str, cell: Option<&str>, measure: Option<&str>) -> String {
    let parts: Vec<&str> = [Some(model), cell, measure].into_iter().flatten().collect();
    parts.join(" · ")
}

/// The state of an engine's prefix cache that a measurement is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// Every prompt is computed: nothing that the pipeline sends is answered from a cache.
    Cold,
    /// A prompt that was sent before is answered from the cache.
    Warm,
}

impl Cache {
    /// As in YAML, JSON and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

/// What comparing an engine with itself has shown: differences that are none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NoiseFloor {
    /// The engine that was on both sides. If several of a run were, that with the largest
    /// deviation.
    pub engine: String,
    /// Standard deviation of a cycle's difference, in percent.
    pub standard_deviation_percent: f64,
    /// The smallest true difference, in percent, that the cycles planned for this run can be
    /// expected to show; absent if they are too few for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detectable_percent: Option<f64>,
    /// Runs that named a winner, which there is not.
    pub wins: u32,
    /// Runs of the engine against itself.
    pub runs: u32,
    /// Cycles of all of them together.
    pub cycles: u32,
    /// When the last of them was made: RFC 3339, UTC.
    pub at: String,
}

/// A stage that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The engine.
    pub engine: String,
    /// The cycle, from 1.
    pub cycle: u32,
    /// Id of the stage: `setup`, `load`, `warmup`, `measure` or `unload`, unless
    /// the pipeline calls it something else.
    pub stage: String,
    /// What happened.
    pub message: String,
}
