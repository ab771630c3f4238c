//! A pipeline as the rest of prony sees it: checked, with every default filled in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Condition, Duration, Measure, Report, Segment, Setup, Threshold, Work};

/// A checked pipeline. It is written as a pipeline file in which every default
/// is spelled out, and loading that file gives the same pipeline again; what
/// comes from `env` or `matrix` is written as the template that it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// What the pipeline is called.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The engines as written, in that order: for reports. At least one, names
    /// unique. What runs is in the matrix points.
    pub engines: Vec<Engine>,
    /// All models as written, enabled or not, ids unique: for reports.
    pub models: Vec<Model>,
    /// What the engines are compared with; always there when there are several engines.
    pub compare: Option<Compare>,
    /// How often and in which order the engines are visited.
    pub schedule: Schedule,
    /// Runs once, before the matrix points.
    pub setup: Setup,
    /// The points of the matrix, in order; one when there is no matrix.
    pub points: Vec<MatrixPoint>,
    /// Runs once, at the end.
    pub report: Report,
    /// What writes the results, in the order of the `report` stage.
    pub reporters: Vec<Reporter>,
    /// What the results must reach.
    pub thresholds: Vec<Threshold>,
    /// The file that this comes from with every default spelled out.
    pub(crate) resolved: Value,
}

impl Pipeline {
    /// Comparisons of the run, which share its chance of naming a false winner: of each
    /// matrix point, model and `measure` stage, every engine with the baseline.
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

/// One point of the matrix: a pipeline in which every axis has a value.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixPoint {
    /// `axis=value,axis=value` in the order of the axes; `None` without a matrix.
    /// The same for the same point of every pipeline.
    pub id: Option<String>,
    /// The engines, as many and in the same order as the pipeline's; options may
    /// hold templates of the run.
    pub engines: Vec<Engine>,
    /// The enabled models.
    pub models: Vec<Model>,
    /// Engine and model pairs that are left out, by name and id.
    pub excluded: Vec<(String, String)>,
    /// What is sent.
    pub workload: Workload,
    /// The visits of a turn of one engine, at least one.
    pub segments: Vec<Segment>,
    /// What templates of the run can name beside what the run itself knows:
    /// `vars`, `env` and `matrix`.
    pub context: Value,
}

impl MatrixPoint {
    /// Whether an engine is run with a model in this matrix point.
    pub fn runs(&self, engine: &str, model: &str) -> bool {
        !self.excluded.iter().any(|(e, m)| e == engine && m == model)
    }

    /// The measure stages of all segments, in order.
    pub fn measures(&self) -> impl Iterator<Item = &Measure> {
        let work = self.segments.iter().flat_map(|segment| &segment.work);
        work.filter_map(|work| match work {
            Work::Measure(measure) => Some(measure),
            Work::Warmup(_) => None,
        })
    }

    /// Unmeasured requests of a turn.
    pub fn warmup_requests(&self) -> u32 {
        let work = self.segments.iter().flat_map(|segment| &segment.work);
        work.map(|work| match work {
            Work::Warmup(warmup) => warmup.requests,
            Work::Measure(_) => 0,
        })
        .sum()
    }
}

/// An engine under test: a plugin and what it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Engine {
    /// What the pipeline calls it; the plugin's name when given as `engine`.
    pub name: String,
    /// The plugin that drives it.
    pub plugin: String,
    /// The plugin's own options; may hold templates.
    pub config: Map<String, Value>,
}

/// A reporter: a plugin and what it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Reporter {
    /// What the pipeline calls it.
    pub name: String,
    /// The plugin that writes the report.
    pub plugin: String,
    /// The plugin's own options.
    pub config: Map<String, Value>,
}

/// What the engines are compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// The engine that the others are compared with.
    pub baseline: String,
    /// Differences up to this many percent count as equivalent.
    pub margin_percent: f64,
}

/// A model to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The name that engines know the model by, for example `Qwen/Qwen2.5-0.5B-Instruct`.
    #[schemars(length(min = 1))]
    pub id: String,
    /// The size as a label for reports, for example `135M`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The file or folder with the weights, for engines that read them from disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The revision of the model that engines are to fetch; `model.revision` in templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The SHA-256 of the file at `path`, as 64 lower-case hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: Option<String>,
    /// What prony counts the tokens of answers with, to check the engines' own counts: a
    /// `tokenizer.json`, a folder that holds one, or a GGUF file. Synthetic prompts are
    /// made with it too, unless they name their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Whether the model is run: `true` unless given.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// What is sent to the engines. Request `i` uses prompt `i` modulo their number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The prompts; requests go through them in turn. This, `prompt_files`, `dataset` or
    /// `synthetic` must be given, and only one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub prompts: Vec<String>,
    /// Files with a prompt each, as UTF-8 text, relative to the pipeline file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub prompt_files: Vec<String>,
    /// A file with a prompt on each line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Dataset>,
    /// Prompts of exact lengths, made of a tokenizer's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<Synthetic>,
    /// Image files sent with the prompts, one each: PNG, JPEG, WebP or GIF, relative
    /// to the pipeline file; for `api: chat` only. Each round of prompts starts with the
    /// next image, so that every prompt meets every image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// How a prompt is sent: `chat` unless given.
    #[serde(default)]
    pub api: Api,
    /// A system message put before every prompt; for `api: chat` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The most tokens an engine may generate for a request: 100 unless given.
    #[serde(default = "max_tokens")]
    #[schemars(range(min = 1))]
    pub max_tokens: u32,
    /// The sampling temperature: 0.7 unless given. 0 means the likeliest token each time.
    #[serde(default = "temperature")]
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// Nucleus sampling: the share of probability to sample from, up to 1. Not sent unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub top_p: Option<f64>,
    /// The sampling seed, always sent: 0 unless given.
    #[serde(default)]
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub seed: u64,
    /// Texts at which an engine stops generating.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Whether engines that can do so go on to `max_tokens` past the end of the
    /// answer, so that all outputs have one length: `false` unless given.
    #[serde(default)]
    pub ignore_eos: bool,
    /// The longest that a request may take: `5m` unless given.
    #[serde(default = "request_timeout")]
    pub request_timeout: Duration,
}

impl Workload {
    /// The keys that say where prompts come from.
    pub const SOURCES: [&str; 4] = ["prompts", "prompt_files", "dataset", "synthetic"];

    /// How many different prompts there are; `None` if only a file knows.
    pub fn prompt_count(&self) -> Option<u32> {
        if let Some(dataset) = &self.dataset {
            return dataset.limit;
        }
        if let Some(synthetic) = &self.synthetic {
            return Some(synthetic.count);
        }
        Some((self.prompts.len() + self.prompt_files.len()) as u32)
    }
}

/// A file with prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// A file of JSON lines, relative to the pipeline file: `{"prompt": "…"}`,
    /// `{"messages": [{"role": "user", "content": "…"}]}`, or `{"input_tokens": 500}` for a
    /// prompt that is made by the model's tokenizer; each with `max_tokens` if its answers
    /// have a limit of their own, and with `at_ms`, when it is due, for the arrival
    /// `replay`. Each line is a conversation. One of several turns becomes a request for
    /// each message of `user`, sent one after the other with the messages before it; the
    /// answers in it are the file's, never an engine's.
    #[schemars(length(min = 1))]
    pub path: String,
    /// How many conversations are taken, from the first line on: all unless given. A
    /// stage's `requests` are turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub limit: Option<u32>,
    /// How long a user takes between the end of an answer and the next turn of the
    /// conversation: `0s` unless given.
    #[serde(default = "no_time")]
    pub think: Duration,
}

/// Prompts of exact lengths, all different. Equal seeds of the schedule give equal prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// How many prompts are made.
    #[schemars(range(min = 1, max = 100_000))]
    pub count: u32,
    /// The length of each prompt in tokens, its prefix included; without what a chat
    /// template or `system` adds.
    pub input_tokens: Length,
    /// The most tokens of each answer: `max_tokens` unless given. With `ignore_eos` it is
    /// the number of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<Length>,
    /// What prompts begin with that share it: nothing unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
    /// A `tokenizer.json`, a folder that holds one, or a GGUF file, relative to the
    /// pipeline file: the model's `path` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub tokenizer: Option<String>,
}

/// Beginnings that prompts share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prefix {
    /// Length of each in tokens.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub tokens: u32,
    /// How many different ones there are: 1 unless given. Prompts take them in turn.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100_000))]
    pub groups: u32,
}

/// How long something is, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "length")]
pub enum Length {
    /// Always the same.
    Fixed(#[schemars(description = "Number of tokens.", range(min = 1, max = 1_000_000))] u32),
    /// Every length between two, both included, equally often.
    Uniform(Bounds),
    /// Normal; what falls outside of the bounds is moved to the nearest.
    Normal(Normal),
    /// Log-normal; what falls outside of the bounds is moved to the nearest.
    Lognormal(Lognormal),
}

/// The least and the most tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The least.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min: u32,
    /// The most.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: u32,
}

/// A normal distribution of lengths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normal {
    /// The mean before it is bounded.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub mean: f64,
    /// The standard deviation before it is bounded.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub stddev: f64,
    /// The least.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min: u32,
    /// The most.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: u32,
}

/// A log-normal distribution of lengths.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lognormal {
    /// The median before it is bounded.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub median: f64,
    /// The standard deviation of the logarithm.
    #[schemars(range(min = 0, max = 10))]
    pub sigma: f64,
    /// The least.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min: u32,
    /// The most.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: u32,
}

/// How a prompt is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "API")]
pub enum Api {
    /// As one user message, rendered with the model's chat template.
    #[default]
    Chat,
    /// As it is, for the model to go on from.
    Completions,
}

/// How often and in which order the engines are visited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// The most fresh starts of every engine with every model: 1 unless given. Where
    /// engines are compared, at most 100, and `stop` says whether fewer may do.
    #[schemars(range(min = 1, max = 10_000))]
    pub cycles: u32,
    /// When the cycles of a model end: `decided` unless given.
    pub stop: Stop,
    /// Whether the two engines of a cycle stay loaded side by side and take turns in the
    /// order ABBA or BAAB: `false` unless given.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resident: bool,
    /// With `resident`, how often each cycle goes through ABBA or BAAB: 3 unless given.
    /// The `requests` of a `measure` are of one engine in one cycle, and are spread over
    /// its turns, of which there are twice as many.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub blocks: Option<u32>,
    /// The seed of the order: 0 unless given.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub seed: u64,
    /// Which engine goes first: `interleaved` unless given.
    pub order: Order,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            cycles: 1,
            stop: Stop::default(),
            resident: false,
            blocks: None,
            seed: 0,
            order: Order::default(),
        }
    }
}

/// The most cycles of a comparison. Its critical values are simulated beforehand for
/// every cycle, and twice as many cycles take four times as long.
pub const MAX_COMPARED_CYCLES: u32 = 100;

impl Schedule {
    /// Blocks of a cycle whose engines stay loaded; `None` where each visit loads its own.
    pub fn blocks(&self) -> Option<u32> {
        self.resident.then(|| self.blocks.unwrap_or(3))
    }
}

/// When the cycles of a model end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "stop")]
pub enum Stop {
    /// As soon as every comparison of the model has a verdict.
    #[default]
    Decided,
    /// After all cycles, whatever is known before.
    Never,
}

/// Which engine goes first in a cycle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "order")]
pub enum Order {
    /// A fair coin, seeded, decides for every cycle and model.
    #[default]
    Interleaved,
    /// Always the order in which the engines are written.
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

fn no_time() -> Duration {
    Duration::from_millis(0)
}

fn request_timeout() -> Duration {
    Duration::from_secs(300)
}
