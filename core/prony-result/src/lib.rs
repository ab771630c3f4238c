//! The result of a run: what reporters get and what `result.json` holds.
//!
//! Published as `schemas/result.v1.json`. Names carry their unit. Everything
//! here can be computed again from the run's journal.

mod comparison;
mod engine;
mod load;
mod metric;
mod model;
mod run;
mod threshold;
pub mod words;
mod work;

pub use comparison::{
    Comparison, Family, Interval, Judgement, Lengths, Outliers, Overall, SameWork, TailJudgement,
    Verdict,
};
pub use engine::{
    CacheCheck, CacheOutcome, Cadence, CycleResult, Distribution, EngineResult, TokenCheck,
};
pub use load::{Client, Delivered, ErrorRange, Selfcheck};
pub use metric::{Better, Column, Group, METRICS, Metric, Source, Statistic, Unit};
pub use model::{Cache, Failure, ModelResult, NoiseFloor};
pub use run::{CellInfo, EngineInfo, Environment, ImageInfo, Outcome, PluginInfo, Run, Workload};
pub use threshold::{Objectives, ThresholdResult};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Value of [`RunResult::schema`].
pub const SCHEMA: &str = "prony-result/1";

/// Everything a run found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// `prony-result/1`.
    pub schema: String,
    /// Version of prony that measured.
    pub prony_version: String,
    /// The run itself.
    pub run: Run,
    /// What was asked of every engine, except in cells that say otherwise.
    pub workload: Workload,
    /// The points of the matrix, in order; none without a matrix.
    pub cells: Vec<CellInfo>,
    /// The machine.
    pub environment: Environment,
    /// The engines under comparison, in the pipeline's order.
    pub engines: Vec<EngineInfo>,
    /// The plugins that took part.
    pub plugins: Vec<PluginInfo>,
    /// One entry per enabled model, in the pipeline's order; with a matrix or
    /// several `measure` stages one per cell, model and `measure` stage.
    pub models: Vec<ModelResult>,
    /// What holds for all comparisons of the run together; absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// One number over several models, for each cell, `measure` stage and candidate that
    /// has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overall: Vec<Overall>,
    /// What the results had to reach, for every engine it was asked of.
    pub thresholds: Vec<ThresholdResult>,
    /// What the load client is worth on this machine, if the pipeline asks for it: one entry
    /// per way of sending that was checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selfcheck: Vec<Selfcheck>,
    /// Why the numbers are not valid, for example because the load client could not keep
    /// up; empty if they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalid: Vec<String>,
    /// What a reader must know before believing a number.
    pub warnings: Vec<String>,
}
