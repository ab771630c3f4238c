//! A pipeline file as it is written: the types that the JSON Schema is made from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Arrival, Compare, Duration, Engine, Load, Measure, Model, OnFailure, Ordered, Pipeline, Report,
    Reporter, Schedule, Setup, Stages, Step, Unload, Warmup, Workload,
};

/// The most engines, and the most reporters, of a pipeline.
pub(crate) const MAX_PLUGINS: usize = 64;

/// A benchmark of one or several LLM inference engines.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "prony pipeline")]
pub(crate) struct File {
    /// The version of this file format: 1.
    #[schemars(extend("const" = 1))]
    pub version: u32,
    /// What the pipeline is called: lower-case letters, digits, `.`, `_` and `-`.
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9._-]*$"), length(max = 100))]
    pub name: String,
    /// What the pipeline is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The engine under test, when there is one. The plugin's name is the engine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<PluginUse>,
    /// The engines under test by name, when there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = MAX_PLUGINS))]
    pub engines: Option<Ordered<PluginUse>>,
    /// The model, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The models, when there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub models: Option<Vec<Model>>,
    /// What is sent.
    pub workload: Workload,
    /// Reporters with options, by a name that the `report` stage uses.
    #[serde(default)]
    #[schemars(extend("maxProperties" = MAX_PLUGINS))]
    pub reporters: Ordered<PluginUse>,
    /// What the engines are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare: Option<CompareEntry>,
    /// How often and in which order the engines are visited.
    #[serde(default)]
    pub schedule: Schedule,
    /// The stages in order: `setup`, `load`, `warmup`, `measure`, `unload`, `report`.
    /// All but `measure` may be left out.
    pub stages: Vec<Stage>,
}

/// A plugin and its options.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PluginUse {
    /// The name of an installed plugin.
    pub plugin: String,
    /// The plugin's own options.
    #[serde(default)]
    pub config: Map<String, Value>,
}

/// What the engines are compared with.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Compare")]
pub(crate) struct CompareEntry {
    /// The engine that the others are compared with: the first one unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Differences up to this many percent count as equivalent: 2 unless given.
    #[serde(default = "margin_percent")]
    #[schemars(range(min = 0))]
    pub margin_percent: f64,
}

pub(crate) fn margin_percent() -> f64 {
    2.0
}

/// One stage: its kind as the only key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "stage")]
pub(crate) enum Stage {
    /// Prepares the machine. Runs once, before any engine starts.
    Setup(Setup),
    /// Starts the engine with the model and waits until it answers.
    Load(Load),
    /// Sends requests that are not measured.
    Warmup(Warmup),
    /// Sends the requests that are measured.
    Measure(MeasureEntry),
    /// Stops the engine and frees what it held. Runs even when an earlier stage failed.
    Unload(Unload),
    /// Writes the results. Runs once, at the end.
    Report(Report),
}

/// Sends the requests that are measured.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Measure")]
pub(crate) struct MeasureEntry {
    /// Steps that run before the first request, in order.
    pub before: Vec<Step>,
    /// Steps that run after the last request, in order.
    pub after: Vec<Step>,
    /// Number of requests: the number of prompts unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: Option<u32>,
    /// When requests are sent: `concurrency: 1` unless given.
    pub arrival: Arrival,
    /// The longest that the whole stage may take. Without it only the requests' own timeouts hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What happens when the stage fails: `continue` unless given.
    pub on_failure: OnFailure,
}

impl Default for MeasureEntry {
    fn default() -> Self {
        Self {
            before: Vec::new(),
            after: Vec::new(),
            requests: None,
            arrival: Arrival::default(),
            timeout: None,
            on_failure: OnFailure::Continue,
        }
    }
}

impl MeasureEntry {
    /// The stage with its default number of requests filled in.
    pub(crate) fn resolve(self, prompts: usize) -> Measure {
        Measure {
            before: self.before,
            after: self.after,
            requests: self.requests.unwrap_or(prompts as u32),
            arrival: self.arrival,
            timeout: self.timeout,
            on_failure: self.on_failure,
        }
    }
}

impl From<Measure> for MeasureEntry {
    fn from(measure: Measure) -> Self {
        Self {
            before: measure.before,
            after: measure.after,
            requests: Some(measure.requests),
            arrival: measure.arrival,
            timeout: measure.timeout,
            on_failure: measure.on_failure,
        }
    }
}

impl From<Pipeline> for File {
    fn from(pipeline: Pipeline) -> Self {
        let Stages {
            setup,
            load,
            warmup,
            measure,
            unload,
            report,
        } = pipeline.stages;
        let engine = |e: Engine| (e.name, PluginUse::new(e.plugin, e.config));
        let reporter = |r: Reporter| (r.name, PluginUse::new(r.plugin, r.config));
        Self {
            version: 1,
            name: pipeline.name,
            description: pipeline.description,
            engine: None,
            engines: Some(pipeline.engines.into_iter().map(engine).collect()),
            model: None,
            models: Some(pipeline.models),
            workload: pipeline.workload,
            reporters: pipeline.reporters.into_iter().map(reporter).collect(),
            compare: pipeline.compare.map(CompareEntry::from),
            schedule: pipeline.schedule,
            stages: vec![
                Stage::Setup(setup),
                Stage::Load(load),
                Stage::Warmup(warmup),
                Stage::Measure(measure.into()),
                Stage::Unload(unload),
                Stage::Report(report),
            ],
        }
    }
}

impl From<Compare> for CompareEntry {
    fn from(compare: Compare) -> Self {
        Self {
            baseline: Some(compare.baseline),
            margin_percent: compare.margin_percent,
        }
    }
}

impl PluginUse {
    /// A plugin without options.
    pub(crate) fn bare(plugin: &str) -> Self {
        Self::new(plugin.to_owned(), Map::new())
    }

    fn new(plugin: String, config: Map<String, Value>) -> Self {
        Self { plugin, config }
    }
}
