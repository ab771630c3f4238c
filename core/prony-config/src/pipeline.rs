//! The checked pipeline, with every default filled in.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::meaning;
use crate::{
    Cache, Condition, Dataset, Duration, Measure, Report, Secrets, Segment, Setup, Threshold, Work,
};

/// A checked pipeline. Written out, it is a pipeline file with every default spelled out,
/// which loads to the same pipeline again; values from `env` or `matrix` are written as
/// their templates.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Name of the pipeline.
    pub name: String,
    /// Purpose of the pipeline.
    pub description: Option<String>,
    /// The engines as written, in order: for reports. At least one, names unique. Matrix
    /// points hold the engines that run.
    pub engines: Vec<Engine>,
    /// All models as written, enabled or not, ids unique: for reports.
    pub models: Vec<Model>,
    /// Baseline and margin; always present with several engines.
    pub compare: Option<Compare>,
    /// Number of cycles and order of the engines.
    pub schedule: Schedule,
    /// Runs once, before the matrix points.
    pub setup: Setup,
    /// The matrix points, in order; one if there is no matrix.
    pub points: Vec<MatrixPoint>,
    /// Runs once, at the end.
    pub report: Report,
    /// Reporters, in the order of the `report` stage.
    pub reporters: Vec<Reporter>,
    /// Bounds on the results.
    pub thresholds: Vec<Threshold>,
    /// The secrets of the file and of the environment, which no text may show.
    pub secrets: Secrets,
    /// The original file with every default spelled out.
    pub(crate) resolved: Value,
}

impl Pipeline {
    /// Comparisons of the run, which share its probability of naming a false winner: of
    /// each matrix point, model and `measure` stage, every engine with the baseline.
    pub fn comparisons(&self) -> u32 {
        let Some(compare) = &self.compare else {
            return 0;
        };
        let of_point = |point: &MatrixPoint| {
            let measures = point.measures();
            let measures = measures.filter(|it| it.condition != Condition::Is(false));
            let candidates = |model: &Model| {
                let runs = |engine: &&Engine| point.runs(&engine.name, &model.id);
                let engines = point.engines.iter().filter(runs);
                let others = engines.filter(|engine| engine.name != compare.baseline);
                if point.runs(&compare.baseline, &model.id) {
                    others.count()
                } else {
                    0
                }
            };
            measures.count() * point.models.iter().map(candidates).sum::<usize>()
        };
        self.points.iter().map(of_point).sum::<usize>() as u32
    }
}

impl Serialize for Pipeline {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.resolved.serialize(serializer)
    }
}

/// A matrix point: a pipeline in which every axis has a value.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixPoint {
    /// `axis=value,axis=value` in the order of the axes; `None` without a matrix. Equal
    /// for the same point of every pipeline.
    pub id: Option<String>,
    /// The engines, as many and in the same order as the pipeline's; options may
    /// hold templates of the run.
    pub engines: Vec<Engine>,
    /// The enabled models.
    pub models: Vec<Model>,
    /// Engine and model pairs left out, by name and id.
    pub excluded: Vec<(String, String)>,
    /// The requests to send.
    pub workload: Workload,
    /// The segments of a visit, at least one.
    pub segments: Vec<Segment>,
    /// Values for templates of the run, in addition to what the run itself knows: `vars`,
    /// `env` and `matrix`.
    pub context: Value,
}

impl MatrixPoint {
    /// Returns `true` if an engine runs with a model at this matrix point.
    pub fn runs(&self, engine: &str, model: &str) -> bool {
        !self.excluded.iter().any(|(e, m)| e == engine && m == model)
    }

    /// The value of each axis as reports show it: a number that is written otherwise than JSON
    /// shows it is a text, and a list its items with spaces between them.
    pub fn values(&self) -> Map<String, Value> {
        let matrix = self.context.get("matrix").and_then(Value::as_object);
        let value = |(axis, value): (&String, &Value)| {
            let shown = match crate::template::shown(value) {
                Value::Array(_) => meaning::id_text(value).into(),
                other => other,
            };
            (axis.clone(), shown)
        };
        matrix.into_iter().flatten().map(value).collect()
    }

    /// The `measure` stages of all segments, in order.
    pub fn measures(&self) -> impl Iterator<Item = &Measure> {
        let work = self.segments.iter().flat_map(|segment| &segment.work);
        work.filter_map(|work| match work {
            Work::Measure(measure) => Some(measure),
            Work::Warmup(_) => None,
        })
    }

    /// State of the prefix cache that the `warmup` stage with this id prepares: the state that
    /// the measurements up to the next warm-up declare. `warm` needs the prompts as they are, so
    /// it comes before `cold`, whose own requests begin with what no cache knows.
    pub fn warmup_cache(&self, id: &str) -> Option<Cache> {
        let is_it = |work: &Work| matches!(work, Work::Warmup(it) if it.id.as_deref() == Some(id));
        let mut segments = self.segments.iter();
        let after = segments.find_map(|segment| {
            let at = segment.work.iter().position(is_it)?;
            Some(&segment.work[at + 1..])
        });
        let Some(after) = after else {
            let mut measures = self.measures();
            return measures.find_map(|it| it.cache.filter(|cache| *cache == Cache::Cold));
        };
        let is_warmup = |work: &&Work| matches!(work, Work::Warmup(_));
        let measures = after.iter().skip_while(is_warmup);
        let states = measures.map_while(|work| match work {
            Work::Measure(measure) => Some(measure.cache),
            Work::Warmup(_) => None,
        });
        let states: Vec<Cache> = states.flatten().collect();
        let has = |state: &Cache| states.contains(state);
        [Cache::Warm, Cache::Cold].into_iter().find(has)
    }

    /// Number of unmeasured requests in a visit.
    pub fn warmup_requests(&self) -> u32 {
        let work = self.segments.iter().flat_map(|segment| &segment.work);
        work.map(|work| match work {
            Work::Warmup(warmup) => warmup.requests,
            Work::Measure(_) => 0,
        })
        .sum()
    }
}

/// An engine under test: a plugin and its options.
#[derive(Debug, Clone, PartialEq)]
pub struct Engine {
    /// Name in the pipeline; the plugin's name when given as `engine`.
    pub name: String,
    /// The plugin that drives it.
    pub plugin: String,
    /// Options of the plugin; may hold templates.
    pub config: Map<String, Value>,
    /// Part in the history of many runs, if it has one.
    pub history: Option<HistoryRole>,
}

/// Role of an engine in the history of many runs, `prony history`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryRole {
    /// Makes the engine the anchor: the one build that every run measures the others against, so
    /// that runs on different days and machines are comparable. It is the baseline. Defaults to
    /// `false`.
    #[serde(default)]
    pub anchor: bool,
    /// Version that the engine has to report, or its program to print for `--version`, in full or
    /// as one of its words; a run with another one is no part of the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub version: Option<String>,
    /// SHA-256 that its program or its container's image has to have, likewise: 64 lower-case
    /// hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
}

/// A reporter: a plugin and its options.
#[derive(Debug, Clone, PartialEq)]
pub struct Reporter {
    /// Name in the pipeline.
    pub name: String,
    /// The plugin that writes the report.
    pub plugin: String,
    /// Options of the plugin.
    pub config: Map<String, Value>,
}

/// Baseline and margin of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// The engine that the others are compared with.
    pub baseline: String,
    /// Differences up to this percentage count as equivalent.
    pub margin_percent: f64,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name of the model as known to engines, for example `Qwen/Qwen2.5-0.5B-Instruct`.
    #[schemars(length(min = 1))]
    pub id: String,
    /// Size label for reports, for example `135M`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The file or folder with the weights, for engines that read them from disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Instead of `path`: files to fetch from the Hugging Face hub in `setup`, as names with `*`,
    /// `?` and `[…]` as in a shell; `["*"]` is all. The `id` is then the model's id on the hub.
    /// The commit and the digests are locked in `models.lock` beside the pipeline. `model.path`
    /// in templates is the file, or the folder of several. What lies in one of the folders of
    /// `--models` is not fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub files: Vec<String>,
    /// Revision of the model to be fetched, by prony or by engines; `model.revision` in
    /// templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The SHA-256 of the file at `path`, as 64 lower-case hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
    /// Tokenizer for counting the tokens of answers, to check the engines' own counts: a
    /// `tokenizer.json`, a folder that holds one, or a GGUF file. Also makes synthetic
    /// prompts, unless they name their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// File with the chat template to render for engines that take raw prompts, in Jinja.
    /// Defaults to the model's own: that of the folder or GGUF file at `path`, else at
    /// `tokenizer`. Counts of prompt tokens by engines that render it themselves are held
    /// against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub chat_template: Option<String>,
    /// Runs the model. Defaults to `true`.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// Requests to the engines. Request `i` uses prompt `i` modulo their number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The prompts; requests use them in turn. Exactly one of this, `prompt_files`,
    /// `dataset` and `synthetic` is required.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub prompts: Vec<String>,
    /// Files with one prompt each, as UTF-8 text, relative to the pipeline file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub prompt_files: Vec<String>,
    /// A file or folder with prompts or conversations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Dataset>,
    /// Prompts of exact lengths, made from a tokenizer's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<Synthetic>,
    /// Image files sent with the prompts, one each: PNG, JPEG, WebP or GIF, relative
    /// to the pipeline file; for `api: chat` only. Each round of prompts starts with the
    /// next image, so that every prompt meets every image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Request format of a prompt. Defaults to `chat`.
    #[serde(default)]
    pub api: Api,
    /// System message before every prompt; for `api: chat` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Maximum number of tokens to generate per request. Defaults to 100.
    #[serde(default = "max_tokens")]
    #[schemars(range(min = 1))]
    pub max_tokens: u32,
    /// Sampling temperature. Defaults to 0.7. 0 always takes the likeliest token.
    #[serde(default = "temperature")]
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// Nucleus sampling: the share of probability to sample from, up to 1. Not sent by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub top_p: Option<f64>,
    /// Sampling seed, always sent. Defaults to 0.
    #[serde(default)]
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub seed: u64,
    /// Texts at which an engine stops generating.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Forces engines that support it to generate `max_tokens` beyond the end of the
    /// answer, so that all outputs have the same length. Defaults to `false`.
    #[serde(default)]
    pub ignore_eos: bool,
    /// Timeout of a request. Defaults to `5m`.
    #[serde(default = "request_timeout")]
    pub request_timeout: Duration,
    /// Number of timeouts in a row after which the engine is taken to hang and its stage has
    /// failed; at least as many as requests are in flight. Defaults to `3`.
    #[serde(default = "max_timeouts")]
    #[schemars(range(min = 1))]
    pub max_timeouts: u32,
}

impl Workload {
    /// Keys that give the source of the prompts.
    pub const SOURCES: [&str; 4] = ["prompts", "prompt_files", "dataset", "synthetic"];

    /// Number of different prompts; `None` if only a file knows.
    pub fn prompt_count(&self) -> Option<u32> {
        if let Some(dataset) = &self.dataset {
            return dataset.sample.or(dataset.limit);
        }
        if let Some(synthetic) = &self.synthetic {
            return Some(synthetic.count);
        }
        Some((self.prompts.len() + self.prompt_files.len()) as u32)
    }
}

/// Prompts of exact lengths, all different. Equal seeds of the schedule give equal
/// prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// Number of prompts.
    #[schemars(range(min = 1, max = 100_000))]
    pub count: u32,
    /// Length of each prompt in tokens, including its prefix; excluding the tokens added
    /// by a chat template or `system`.
    pub input_tokens: Length,
    /// Maximum number of tokens per answer; with `ignore_eos`, the exact number. Defaults
    /// to `max_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<Length>,
    /// Shared beginning of the prompts. Defaults to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
    /// A `tokenizer.json`, a folder that holds one, or a GGUF file, relative to the
    /// pipeline file. Defaults to the model's `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub tokenizer: Option<String>,
}

/// Shared beginnings of prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prefix {
    /// Length of each prefix in tokens.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub tokens: u32,
    /// Number of different prefixes, which prompts use in turn. Defaults to 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100_000))]
    pub groups: u32,
}

/// A length, or a distribution of lengths, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "length")]
pub enum Length {
    /// The same length for all.
    Fixed(#[schemars(description = "Number of tokens.", range(min = 1, max = 1_000_000))] u32),
    /// Uniform between two bounds, both included.
    Uniform(Bounds),
    /// Normal; lengths outside the bounds are clamped.
    Normal(Normal),
    /// Log-normal; lengths outside the bounds are clamped.
    Lognormal(Lognormal),
}

/// Minimum and maximum number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Minimum.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min: u32,
    /// Maximum.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: u32,
}

/// A normal distribution of lengths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normal {
    /// Mean before clamping.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub mean: f64,
    /// Standard deviation before clamping.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub stddev: f64,
    /// Minimum.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min: u32,
    /// Maximum.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: u32,
}

/// A log-normal distribution of lengths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lognormal {
    /// Median before clamping.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub median: f64,
    /// Standard deviation of the logarithm.
    #[schemars(range(min = 0, max = 10))]
    pub sigma: f64,
    /// Minimum.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min: u32,
    /// Maximum.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: u32,
}

/// Request format of a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "API")]
pub enum Api {
    /// As one user message, rendered with the model's chat template: by the engine, or by
    /// prony for an engine that takes raw prompts.
    #[default]
    Chat,
    /// Unchanged, for the model to continue.
    Completions,
}

/// Number of cycles and order of the engines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Maximum number of cycles: fresh starts of every engine with every model. Defaults
    /// to 1. A comparison needs about 60, or 30 with `resident`, and has at most 127; `stop`
    /// may end it earlier. `open`: no maximum; a comparison goes on until it is decided or
    /// you end it.
    pub cycles: Cycles,
    /// Condition that ends the cycles of a model. Defaults to `decided`.
    pub stop: Stop,
    /// Keeps the two engines of a cycle loaded side by side, taking turns in the order
    /// ABBA or BAAB. Defaults to `false`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resident: bool,
    /// With `resident`, number of ABBA or BAAB blocks per cycle. Defaults to 3. The
    /// `requests` of a `measure` are per engine and cycle, spread over the engine's
    /// turns, two per block.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub blocks: Option<u32>,
    /// Seed of the order. Defaults to 0.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub seed: u64,
    /// Order of the engines. Defaults to `interleaved`.
    pub order: Order,
    /// Assumption about what a visit leaves behind for the next one: heat, caches, memory.
    /// Defaults to `removed`.
    pub carry_over: CarryOver,
    /// Reference work before each `load` and after each `unload`, for engines that take minutes
    /// to load: the drift of the machine that it shows is taken out of the comparison.
    /// Defaults to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
}

/// A fixed amount of prony's own work beside each visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Its duration at the beginning of the run, in seconds. Defaults to 2.
    #[schemars(range(min = 1, max = 30))]
    pub seconds: u32,
}

impl Default for Control {
    fn default() -> Self {
        Self { seconds: 2 }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            cycles: Cycles::AtMost(1),
            stop: Stop::default(),
            resident: false,
            blocks: None,
            seed: 0,
            order: Order::default(),
            carry_over: CarryOver::default(),
            control: None,
        }
    }
}

/// Number of cycles of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cycles {
    /// At most this number.
    AtMost(u32),
    /// No maximum: until everything is decided, or the user ends the run.
    Open,
}

/// Cycles that are planned of a run without a maximum: more than anybody waits for.
pub const OPEN_CYCLES: u32 = 1000;

impl Cycles {
    /// The word in a pipeline for a run without a maximum.
    const OPEN: &'static str = "open";

    /// Number of cycles that are planned.
    pub fn planned(self) -> u32 {
        match self {
            Self::AtMost(cycles) => cycles,
            Self::Open => OPEN_CYCLES,
        }
    }

    /// Returns `true` if there is no maximum.
    pub fn is_open(self) -> bool {
        self == Self::Open
    }
}

impl Serialize for Cycles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AtMost(cycles) => serializer.serialize_u32(*cycles),
            Self::Open => serializer.serialize_str(Self::OPEN),
        }
    }
}

impl<'de> Deserialize<'de> for Cycles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Cycles;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of cycles or `open`")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Cycles, E> {
                u32::try_from(number)
                    .map(Cycles::AtMost)
                    .map_err(|_| E::custom(format!("{number} cycles are more than there can be")))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Cycles, E> {
                if word == Cycles::OPEN {
                    Ok(Cycles::Open)
                } else {
                    Err(E::invalid_value(Unexpected::Str(word), &self))
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Cycles {
    fn schema_name() -> Cow<'static, str> {
        "Cycles".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "number of cycles",
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 10_000 },
                { "type": "string", "enum": [Self::OPEN] },
            ],
        })
    }
}

/// Maximum number of cycles in a comparison: the code whose orders its tests compare has no
/// coins for more.
pub const MAX_COMPARED_CYCLES: u32 = prony_result::rule::MAX_CYCLES;

impl Schedule {
    /// Blocks per cycle whose engines stay loaded; `None` if each visit loads its own.
    pub fn blocks(&self) -> Option<u32> {
        self.resident.then(|| self.blocks.unwrap_or(3))
    }
}

/// Assumption about what a visit leaves behind for the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "carry_over")]
pub enum CarryOver {
    /// It may depend on the engine: it is taken out of the comparison of two engines, or a
    /// verdict that it may explain is withheld.
    #[default]
    Removed,
    /// Nothing, or the same after either engine. A verdict then takes fewer cycles, and is
    /// wrong if that is not so.
    None,
}

/// Condition that ends the cycles of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "stop")]
pub enum Stop {
    /// As soon as every comparison of the model has a verdict.
    #[default]
    Decided,
    /// After all cycles, regardless of verdicts.
    Never,
}

/// Order of the engines within a cycle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "order")]
pub enum Order {
    /// Random: a fair coin, seeded, for every cycle and model.
    #[default]
    Interleaved,
    /// Fixed: the order in which the engines are written.
    Sequential,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn max_tokens() -> u32 {
    100
}

fn temperature() -> f64 {
    0.7
}

pub(crate) fn no_time() -> Duration {
    Duration::from_millis(0)
}

fn max_timeouts() -> u32 {
    3
}

fn request_timeout() -> Duration {
    Duration::from_secs(300)
}
