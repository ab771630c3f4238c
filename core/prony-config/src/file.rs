//! The pipeline file as written: types from which the JSON Schema is generated.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Arrival, Cache, Condition, Duration, HistoryRole, Load, Model, OnFailure, Ordered, Report,
    Schedule, Setup, Step, Threshold, Unload, Warmup, Workload,
};

/// Maximum number of engines, and of reporters, in a pipeline.
pub(crate) const MAX_PLUGINS: usize = 64;

/// A benchmark of one or several LLM inference engines.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "prony pipeline")]
pub(crate) struct File {
    /// Version of this file format: 1.
    #[schemars(extend("const" = 1, "x-literal" = true))]
    pub version: u32,
    /// Name of the pipeline: lower-case letters, digits, `.`, `_` and `-`.
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9._-]*$"), length(max = 100))]
    pub name: String,
    /// Purpose of the pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A pipeline file that this one overlays, relative to this file. Mappings are
    /// merged, other values replaced; `null` removes a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), extend("x-literal" = true))]
    // Only for the schema: `merge` removes it before a file is read into types.
    pub extends: Option<String>,
    /// Values by name, for `${{ vars.NAME }}`; `--var NAME=VALUE` changes one for a run.
    #[serde(default, skip_serializing_if = "Ordered::is_empty")]
    #[schemars(extend("propertyNames" = {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}))]
    pub vars: Ordered<Value>,
    /// Environment variables that the pipeline may read, for `${{ env.NAME }}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$")), extend("x-literal" = true))]
    pub env: Vec<String>,
    /// Environment variables that hold secrets: no text of prony shows their values. `env` need
    /// not list them, and need not be used; those of `env` with a name such as `HF_TOKEN` are
    /// secrets anyway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$")), extend("x-literal" = true))]
    pub secrets: Vec<String>,
    /// Warnings that do not apply to this pipeline, and the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allow>,
    /// The engine under test, if there is one. The plugin's name is the engine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineUse>,
    /// The engines under test by name, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = MAX_PLUGINS))]
    pub engines: Option<Ordered<EngineUse>>,
    /// The model, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The models, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub models: Option<Vec<Model>>,
    /// Axes and their values; every combination is run once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Matrix>,
    /// The requests to send.
    pub workload: Workload,
    /// Reporters with options, by the name used in the `report` stage.
    #[serde(default)]
    #[schemars(extend("maxProperties" = MAX_PLUGINS))]
    pub reporters: Ordered<PluginUse>,
    /// Baseline and margin of the comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare: Option<CompareEntry>,
    /// Number of cycles and order of the engines.
    #[serde(default)]
    pub schedule: Schedule,
    /// Bounds on the results: a run that misses one ends with exit code 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<Threshold>,
    /// The stages in order: `setup`, then `load`, any number of `warmup` and `measure`,
    /// `unload`, and again from `load` for a fresh start, then `report`. All but one
    /// `measure` are optional.
    #[schemars(length(min = 1, max = 1000))]
    pub stages: Vec<Stage>,
}

/// A plugin and its options.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PluginUse {
    /// Name of an installed plugin, `NAME@VERSION` for one version of it, or `path` of a plugin
    /// that somebody works on.
    pub plugin: PluginName,
    /// Options of the plugin.
    #[serde(default)]
    pub config: Map<String, Value>,
}

/// An engine: its plugin, options and part in a history.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EngineUse {
    /// Name of an installed plugin, `NAME@VERSION` for one version of it, or `path` of a plugin
    /// that somebody works on.
    pub plugin: PluginName,
    /// Options of the plugin.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// Part of the engine in the history of many runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryRole>,
}

/// The plugin of an engine or a reporter.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum PluginName {
    /// An installed one.
    Name(String),
    /// A built file, or the folder of a project, relative to the pipeline's folder.
    Path { path: String },
}

impl PluginName {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Name(name) | Self::Path { path: name } => name,
        }
    }

    pub(crate) fn into_string(self) -> String {
        match self {
            Self::Name(name) | Self::Path { path: name } => name,
        }
    }
}

impl JsonSchema for PluginName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PluginName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // One schema of two types, so that a mistake in one form is not told as one in both.
        json_schema!({
            "type": ["string", "object"],
            "properties": {
                "path": {
                    "type": "string",
                    "description": "A built file, or the folder of a project, relative to the pipeline's folder. Begins with `/`, `./`, `../` or `~/`. Reports say that such a run cannot be reproduced.",
                    "pattern": "^(~|\\.{1,2})?/",
                }
            },
            "required": ["path"],
            "additionalProperties": false,
        })
    }
}

/// A warning that does not apply, and the reason.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allow {
    /// Code of the warning, for example `F0004`; `prony explain CODE` describes it.
    #[schemars(regex(pattern = "^[FP][0-9]{4}$"), extend("x-literal" = true))]
    pub code: String,
    /// Reason why it does not apply. Written into the results.
    #[schemars(length(min = 1), extend("x-literal" = true))]
    pub reason: String,
}

/// Values by axis; every combination is run once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matrix {
    /// The axes, for `${{ matrix.AXIS }}`: each a list of texts, numbers, `true` or
    /// `false`, or of lists of these, which are spliced into a list of words.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 16,
        "propertyNames" = {"pattern": "^[a-z][a-z0-9_]*$"}))]
    pub axes: Ordered<Axis>,
    /// Points in addition to the combinations: a value for every axis, and `engine` or
    /// `model` to limit it to that one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Ordered<Scalar>>,
    /// Combinations to leave out: those with all of these values of axes, `engine` or
    /// `model`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Ordered<Scalar>>,
}

/// The values of an axis.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Axis(#[schemars(length(min = 1, max = 1000))] pub Vec<Scalar>);

/// A text, a number, `true` or `false`, or a list of these, such as the words of a command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(rename = "AxisValue")]
pub struct Scalar(
    #[schemars(extend(
        "type" = ["string", "number", "boolean", "array"],
        "items" = {"type": ["string", "number", "boolean"]}
    ))]
    pub Value,
);

/// Baseline and margin of the comparison.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Compare")]
pub(crate) struct CompareEntry {
    /// The engine that the others are compared with. Defaults to the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Differences up to this percentage count as equivalent. Defaults to 2.
    #[serde(default = "margin_percent")]
    #[schemars(range(min = 0))]
    pub margin_percent: f64,
}

pub(crate) fn margin_percent() -> f64 {
    2.0
}

/// A stage: its kind as the only key.
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
    /// Stops the engine and frees its resources. Runs even if an earlier stage failed.
    Unload(Unload),
    /// Writes the results. Runs once, at the end.
    Report(Report),
}

impl Stage {
    /// Condition of the stage, for kinds that have an `if`.
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
    /// Name in results and templates. Defaults to `measure`, then `measure_2` and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"), length(max = 64), extend("x-literal" = true))]
    pub id: Option<String>,
    /// Condition of the stage, usually a template. Defaults to `true`.
    #[serde(rename = "if", skip_serializing_if = "Condition::is_always")]
    pub condition: Condition,
    /// Steps that run before the first request, in order.
    pub before: Vec<Step>,
    /// Steps that run after the last request, in order.
    pub after: Vec<Step>,
    /// Number of requests, counting each turn of a conversation. Defaults to the number
    /// of prompts (the `sample` or `limit` of a `dataset`) or, with a rate and a `duration`, to the
    /// requests due in that time. Required for a `dataset` without either.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: Option<u32>,
    /// Arrival process of the requests. Defaults to `concurrency: 1`.
    pub arrival: Arrival,
    /// Threads of the load client, at most one per request in flight. Defaults to one per
    /// 2,048 requests in flight, and at most a quarter of the machine's cores. Each
    /// handles its own share of the requests. More help only if these are too busy, which
    /// results report, and not for engines inside a process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub shards: Option<u32>,
    /// Time during which requests are sent; those then in flight are completed. Without
    /// it all `requests` are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// Expected state of the engines' prefix caches, `cold` or `warm`, verified by the
    /// cached tokens that engines report. Not verified by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Timeout of the whole stage. Without it only the requests' own timeouts hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Reaction to a failure of the stage. Defaults to `continue`.
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
        Self {
            plugin: PluginName::Name(plugin.to_owned()),
            config: Map::new(),
        }
    }
}
