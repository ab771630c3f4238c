//! The result of a run, as handed to reporters and written to `result.json`.
//!
//! Published as `schemas/result.v1.json`. Names carry their unit. Everything here can be
//! computed again from the run's journal.

mod account;
mod comparison;
pub mod detail;
mod engine;
mod load;
mod metric;
mod model;
pub mod quantity;
pub mod rule;
mod run;
mod threshold;
pub mod words;
mod work;

pub use comparison::{
    Comparison, Family, Interval, Judgement, Lengths, Outliers, Overall, SameWork, TailJudgement,
    TestStatistic, Verdict,
};
pub use detail::Detail;
pub use engine::{
    CacheCheck, CacheOutcome, Cadence, CycleResult, Distribution, Energy, EngineResult, GpuResult,
    OwnClock, OwnCount, PromptCheck, SettingInForce, TokenCheck,
};
pub use load::{Client, Delivered, ErrorRange, Selfcheck};
pub use metric::{Better, Column, Group, METRICS, Metric, Source, Statistic, Unit};
pub use model::{Cache, Failure, ModelResult, NoiseFloor, Rendering};
pub use quantity::{Quantity, Series};
pub use run::{
    CellInfo, ContainerImage, EngineInfo, Environment, HistoryRole, ImageInfo, Outcome, PluginInfo,
    Program, RankInfo, Run, Workload,
};
pub use threshold::{Objectives, ThresholdResult};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The difference in percent that a log ratio stands for: `100 (exp(d) - 1)`.
pub fn to_percent(log_ratio: f64) -> f64 {
    log_ratio.exp_m1() * 100.0
}

/// The log ratio that a difference in percent is: `ln(1 + p / 100)`.
pub fn to_log_ratio(percent: f64) -> f64 {
    (percent / 100.0).ln_1p()
}

/// Value of [`RunResult::schema`].
pub const SCHEMA: &str = "prony-result/1";

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// `prony-result/1`.
    pub schema: String,
    /// Version of prony that measured.
    pub prony_version: String,
    /// The run itself.
    pub run: Run,
    /// The workload of every engine, except at matrix points that state their own.
    pub workload: Workload,
    /// The matrix points, in order; empty without a matrix.
    pub cells: Vec<CellInfo>,
    /// The machine.
    pub environment: Environment,
    /// The engines under comparison, in the pipeline's order.
    pub engines: Vec<EngineInfo>,
    /// The plugins used by the run.
    pub plugins: Vec<PluginInfo>,
    /// One entry per enabled model, in the pipeline's order; with a matrix or several
    /// `measure` stages, one per matrix point, model and `measure` stage.
    pub models: Vec<ModelResult>,
    /// All comparisons of the run and their shared error; absent without comparisons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// One number over several models, for each matrix point, `measure` stage and
    /// candidate that has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overall: Vec<Overall>,
    /// Outcomes of the thresholds, one per bound and engine.
    pub thresholds: Vec<ThresholdResult>,
    /// Measured accuracy of the load client on this machine, if the pipeline asks for it:
    /// one entry per load shape checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selfcheck: Vec<Selfcheck>,
    /// Reasons why the numbers are invalid, for example a load client that could not keep
    /// up; empty if they are valid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalid: Vec<String>,
    /// Caveats about the numbers, one sentence each.
    pub warnings: Vec<String>,
    /// Numbers of single requests, visits and cycles, for a reporter whose manifest `wants`
    /// them; never in `result.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<Detail>>,
}
