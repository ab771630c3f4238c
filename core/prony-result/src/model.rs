//! The result of one model.

#[cfg(doc)]
use super::CellInfo;
use super::{Comparison, EngineResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The result of one model, at one matrix point and in one `measure` stage where there
/// are several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelResult {
    /// Id of the model.
    pub id: String,
    /// Its size label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// File or folder with its weights, if the pipeline names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// SHA-256 of that file, if the pipeline pins it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Revision to be fetched by the engines, if the pipeline names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// SHA-256 of the request set: runs with equal digests sent the same prompts. Absent
    /// if the run ended before making it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tape: Option<String>,
    /// The conversations that prony rendered as prompts; absent if every engine rendered
    /// them itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendering: Option<Rendering>,
    /// The matrix point, as in [`CellInfo::id`]; absent without a matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// Id of the `measure` stage; absent if the matrix point has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// Unmeasured requests before the stage, since the engine was loaded.
    pub warmup_requests: u32,
    /// How they were sent, in words: `4 at a time`, `poisson, 4 a second`. Absent if one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_sending: Option<String>,
    /// Measured requests per visit.
    pub requests_per_visit: u32,
    /// Requests in flight; in an open loop, the maximum.
    pub concurrency: u32,
    /// Arrival process of an open loop, in words: `poisson, 4 a second`. Absent in a
    /// closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<String>,
    /// Maximum time during which requests were sent, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// State of the prefix caches requested by the pipeline; absent if unstated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// One entry per engine to be measured, in the pipeline's order.
    pub engines: Vec<EngineResult>,
    /// Comparisons of the candidates with the baseline.
    pub comparisons: Vec<Comparison>,
    /// Differences measured between an engine and itself on this machine; absent where
    /// `prony aa` has not measured them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_floor: Option<NoiseFloor>,
    /// Failed stages.
    pub failures: Vec<Failure>,
}

impl ModelResult {
    /// Label in reports, for example `SmolLM2-135M · concurrency=4 · burst`: the model
    /// and, where there are several, the matrix point and the `measure` stage.
    pub fn label(&self) -> String {
        label(&self.id, self.cell.as_deref(), self.measure.as_deref())
    }
}

pub(super) fn label(model: &str, cell: Option<&str>, measure: Option<&str>) -> String {
    let parts: Vec<&str> = [Some(model), cell, measure].into_iter().flatten().collect();
    parts.join(" · ")
}

/// Conversations that prony rendered as prompts with the model's chat template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rendering {
    /// Engines that take raw prompts and got the rendered ones. Empty if the pipeline names
    /// a `chat_template` and all engines render themselves.
    pub engines: Vec<String>,
    /// File that the chat template comes from.
    pub template: String,
    /// SHA-256 of the chat template.
    pub template_sha256: String,
    /// Local time that the template was given, for the whole run; absent unless it put the
    /// date into a prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// Reason why the tokens of the rendered prompts are not counted; absent if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncounted: Option<String>,
}

/// State of an engine's prefix cache during a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// Every prompt is computed: no request of the pipeline is answered from a cache.
    Cold,
    /// A prompt sent before is answered from the cache.
    Warm,
}

impl Cache {
    /// Name in YAML, JSON and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

/// Differences found when an engine is compared with itself; the true difference is zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NoiseFloor {
    /// The engine on both sides. If a run compared several with themselves, the one with
    /// the largest deviation.
    pub engine: String,
    /// Standard deviation of the difference per cycle, in percent.
    pub standard_deviation_percent: f64,
    /// Smallest true difference, in percent, that the cycles planned for this run are
    /// expected to detect; absent if there are too few cycles to detect any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detectable_percent: Option<f64>,
    /// Runs that named a winner, all of them wrongly.
    pub wins: u32,
    /// Runs of the engine against itself.
    pub runs: u32,
    /// Cycles of all of them together.
    pub cycles: u32,
    /// Time of the last run: RFC 3339, UTC.
    pub at: String,
}

/// A stage that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The engine.
    pub engine: String,
    /// The cycle, from 1.
    pub cycle: u32,
    /// Id of the stage: `setup`, `load`, `warmup`, `measure` or `unload`, unless renamed
    /// by the pipeline.
    pub stage: String,
    /// Description of the failure.
    pub message: String,
    /// `true` if the engine's plugin failed. Absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plugin: bool,
    /// `true` if the engine had no part in it: the run was broken off in this cycle, or the
    /// journal is damaged there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outside: bool,
}
