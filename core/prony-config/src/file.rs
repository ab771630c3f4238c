//! A pipeline file as it is written: the types that the JSON Schema is made from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Arrival, Cache, Condition, Duration, Load, Model, OnFailure, Ordered, Report, Schedule, Setup,
    Step, Threshold, Unload, Warmup, Workload,
};

/// The most engines, and the most reporters, of a pipeline.
pub(crate) const MAX_PLUGINS: usize = 64;

/// A benchmark of one or several LLM inference engines.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "prony pipeline")]
pub(crate) struct File {
    /// The version of this file format: 1.
    #[schemars(extend("const" = 1, "x-literal" = true))]
    pub version: u32,
    /// What the pipeline is called: lower-case letters, digits, `.`, `_` and `-`.
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9._-]*$"), length(max = 100))]
    pub name: String,
    /// What the pipeline is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A pipeline file that this one is laid over, relative to this file. Mappings are
    /// merged, other values replaced; `null` removes a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), extend("x-literal" = true))]
    // Here for the schema: `merge` takes it out before a file is read into types.
    pub extends: Option<String>,
    /// Values by name, for `${{ vars.NAME }}`; `--var NAME=VALUE` changes one for a run.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    #[schemars(extend("propertyNames" = {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}))]
    pub vars: Ordered<Value>,
    /// Environment variables that the pipeline may read, for `${{ env.NAME }}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$")), extend("x-literal" = true))]
    pub env: Vec<String>,
    /// Warnings that do not apply to this pipeline, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allow>,
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
    /// Everything is run once for every combination of values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Matrix>,
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
    /// What the results must reach: a run that misses one ends with exit code 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<Threshold>,
    /// The stages in order: `setup`, then `load`, any number of `warmup` and `measure`,
    /// `unload`, and once more from `load` for a fresh start, then `report`. All but one
    /// `measure` may be left out.
    #[schemars(length(min = 1, max = 1000))]
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

/// A warning that does not apply.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allow {
    /// The warning's code, for example `F0004`; `prony explain CODE` says what it is about.
    #[schemars(regex(pattern = "^[FP][0-9]{4}$"), extend("x-literal" = true))]
    pub code: String,
    /// Why it does not apply here. It is written into the results.
    #[schemars(length(min = 1), extend("x-literal" = true))]
    pub reason: String,
}

/// Values by axis; everything is run once for every combination.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matrix {
    /// The axes, for `${{ matrix.AXIS }}`: each a list of texts, numbers, `true` or `false`.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16,
        "propertyNames" = {"pattern": "^[a-z][a-z0-9_]*$"}))]
    pub axes: Ordered<Axis>,
    /// Points beside the combinations: a value for every axis, and `engine` or `model`
    /// to have it with that one only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Ordered<Scalar>>,
    /// Combinations to leave out: those with all of these values, of axes, `engine` or `model`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Ordered<Scalar>>,
}

/// The values of an axis.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Axis(#[schemars(length(min = 1, max = 1000))] pub Vec<Scalar>);

/// A text, a number, `true` or `false`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Scalar(#[schemars(extend("type" = ["string", "number", "boolean"]))] pub Value);

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

impl Stage {
    /// Whether it runs, of those that have an `if`.
    pub(crate) fn condition(&self) -> Option<&Condition> {
        match self {
            Self::Setup(stage) => Some(&stage.condition),
            Self::Warmup(stage) => Some(&stage.condition),
            Self::Measure(stage) => Some(&stage.condition),
            Self::Load(_) | Self::Unload(_) | Self::Report(_) => None,
        }
    }
}

/// Sends the requests that are measured.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Measure")]
pub(crate) struct MeasureEntry {
    /// Its name in results and templates: `measure` unless given, then `measure_2` and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"), length(max = 64), extend("x-literal" = true))]
    pub id: Option<String>,
    /// Whether the stage runs: `true` unless given. Usually a template.
    #[serde(rename = "if", skip_serializing_if = "Condition::is_always")]
    pub condition: Condition,
    /// Steps that run before the first request, in order.
    pub before: Vec<Step>,
    /// Steps that run after the last request, in order.
    pub after: Vec<Step>,
    /// Number of requests, of which each turn of a conversation is one: the number of
    /// prompts (of a `dataset` its `limit`) unless given, or with a rate and a `duration`,
    /// what comes in that time. A `dataset` without a `limit` needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: Option<u32>,
    /// When requests are sent: `concurrency: 1` unless given.
    pub arrival: Arrival,
    /// Threads of the load client, at most one for each request in flight: unless given one
    /// for each 2,048 requests in flight, and at most a quarter of the machine's cores. Each
    /// has its own share of the requests. More are of use only where they are too busy,
    /// which results say, and not for engines inside a process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub shards: Option<u32>,
    /// For how long requests are sent; those in flight then are waited for. Without it
    /// all `requests` are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// The state of the engines' prefix caches that is measured, which is verified by the
    /// cached tokens that engines report: `cold`, or `warm`. Not stated unless given, and
    /// then not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// The longest that the whole stage may take. Without it only the requests' own timeouts hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What happens when the stage fails: `continue` unless given.
    pub on_failure: OnFailure,
}

impl Default for MeasureEntry {
    fn default() -> Self {
        Self {
            id: None,
            condition: Condition::default(),
            before: Vec::new(),
            after: Vec::new(),
            requests: None,
            arrival: Arrival::default(),
            shards: None,
            duration: None,
            cache: None,
            timeout: None,
            on_failure: OnFailure::Continue,
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
