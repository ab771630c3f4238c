//! The result of a run: what reporters get and what `result.json` holds.
//!
//! Published as `schemas/result.v1.json`. Names carry their unit. Everything
//! here can be computed again from the run's journal.

use crate::Api;
use crate::words::{self, MISSING};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

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

/// The load client against a server with a known schedule, sending as the pipeline does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Selfcheck {
    /// The way of sending, in words: `concurrency 4`, `poisson, 40 a second`.
    pub arrival: String,
    /// The most requests in flight.
    pub concurrency: u32,
    /// Requests a second of an open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Requests that were sent.
    pub requests: u32,
    /// Tokens that were held against their write.
    pub tokens: u64,
    /// From the server's write of a request's first token to the stamp of its arrival.
    pub first_error_us: ErrorRange,
    /// The same of every token.
    pub arrival_error_us: ErrorRange,
    /// Between the gap of two arrivals and that of their writes, either way.
    pub gap_error_us: ErrorRange,
    /// What the client did and needed.
    pub client: Client,
    /// Why times measured like this are not to be trusted; empty if they are.
    pub invalid: Vec<String>,
}

/// How wrong times are, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorRange {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

impl Selfcheck {
    /// What reports say of it, without a full stop.
    pub fn sentence(&self) -> String {
        let (first, gaps) = (self.first_error_us, self.gap_error_us);
        format!(
            "{}: first tokens seen {} µs (p50) and {} µs (p99) after the server's write, gaps wrong by {} µs and {} µs: {}",
            words::one_line(&self.arrival),
            words::number(first.p50),
            words::number(first.p99),
            words::number(gaps.p50),
            words::number(gaps.p99),
            if self.invalid.is_empty() {
                "VALID"
            } else {
                "NOT VALID"
            }
        )
    }
}

impl RunResult {
    /// What was delivered of the load that was asked for, all engines together, without a
    /// full stop; `None` where nothing was sent over a connection.
    pub fn load_sentence(&self) -> Option<String> {
        let engines = self.models.iter().flat_map(|model| &model.engines);
        let all: Vec<&Delivered> = engines.filter_map(|it| it.delivered.as_ref()).collect();
        let most = all.iter().map(|it| it.max_in_flight).max()?;
        let sum = |of: fn(&Delivered) -> u64| all.iter().map(|it| of(it)).sum::<u64>();
        let requests = words::count(sum(|it| it.intended), "request");
        let mut text = format!(
            "{} of {requests} sent, at most {most} in flight",
            sum(|it| it.sent)
        );
        let residuals = all.iter().filter_map(|it| it.littles_law_residual_percent);
        if let Some(worst) = residuals.max_by(|a, b| a.abs().total_cmp(&b.abs())) {
            let _ = write!(
                text,
                ", Little's law within {} %",
                words::number(worst.abs())
            );
        }
        text += if self.invalid.is_empty() {
            ": VALID"
        } else {
            ": NOT VALID"
        };
        Some(text)
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every model on every engine was measured.
    Completed,
    /// Something failed; see [`ModelResult::failures`].
    Failed,
    /// It was interrupted; the numbers are of what had been measured by then.
    Interrupted,
    /// It is not over; the numbers are of what has been measured so far.
    Running,
}

/// The run itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Name of the result folder.
    pub id: String,
    /// Name of the pipeline.
    pub name: String,
    /// Its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Seconds from start to end.
    pub duration_s: f64,
    /// How it ended.
    pub outcome: Outcome,
    /// SHA-256 of the resolved pipeline.
    pub pipeline_sha256: String,
    /// Fresh starts of the engines that were planned.
    pub cycles: u32,
    /// `interleaved` or `sequential`.
    pub order: String,
    /// Seed of the order.
    pub seed: u64,
}

/// What was asked of every engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// Chat or plain completions.
    pub api: Api,
    /// The prompts; request `i` of a stage has number `i` modulo their count.
    /// Empty where they come from elsewhere.
    pub prompts: Vec<String>,
    /// Where the prompts come from, in words, such as `10 synthetic prompts`; absent where
    /// the pipeline itself has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The images that went with them; each round of prompts starts with the next one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageInfo>,
    /// System message before every prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Upper limit of generated tokens per request.
    pub max_tokens: u32,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f64,
    /// Nucleus sampling, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Seed sent with every request.
    pub seed: u64,
    /// Texts at which engines stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Whether the output length was forced.
    pub ignore_eos: bool,
    /// Limit of one request.
    pub request_timeout_ms: u64,
}

/// An image that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageInfo {
    /// The file, as the pipeline names it.
    pub path: String,
    /// Its digest; absent if the run did not get as far as reading it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A point of the matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CellInfo {
    /// `axis=value,axis=value`; what [`ModelResult::cell`] refers to.
    pub id: String,
    /// The value of every axis.
    pub matrix: serde_json::Map<String, serde_json::Value>,
    /// What was asked here, if it is not what [`RunResult::workload`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
}

/// The machine, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// For example `Debian GNU/Linux 12`.
    pub os: String,
    /// Kernel version.
    pub kernel: String,
    /// `x86_64`, `aarch64`, …
    pub arch: String,
    /// CPU model.
    pub cpu: String,
    /// Logical CPUs.
    pub cpus: u32,
    /// Physical memory.
    pub memory_bytes: u64,
    /// One-minute load average when the run started.
    pub load_average: f64,
    /// Digest over what makes numbers comparable: the processor, memory, system, GPUs and
    /// their settings. Equal on the same machine; it names nobody.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub machine: String,
    /// Whether it is a virtual machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machine: Option<bool>,
    /// What sets the processor's clock, for example `performance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// The GPUs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
}

/// An engine under comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineInfo {
    /// Its name in the pipeline.
    pub name: String,
    /// The plugin behind it.
    pub plugin: String,
    /// Whether the others are compared with it.
    pub baseline: bool,
    /// Its config as the pipeline states it.
    pub config: serde_json::Value,
}

/// A plugin that took part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// `engine` or `reporter`.
    pub kind: crate::Kind,
    /// Its version.
    pub version: String,
    /// `wasm` (sandboxed) or `native` (not sandboxed).
    pub form: String,
    /// Contract version it speaks.
    pub contract: String,
    /// Digest of its file.
    pub sha256: String,
}

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

fn label(model: &str, cell: Option<&str>, measure: Option<&str>) -> String {
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

/// Whether an engine kept to the state of the prefix cache that a measurement is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheOutcome {
    /// It did, as far as its own counts of cached tokens say.
    Kept,
    /// It did not: the numbers are not of that state, and not valid.
    Broken,
    /// Nothing says: it does not report cached tokens, or no request could show them.
    Unverified,
}

/// What the counts of an engine say of its prefix cache, where a pipeline states a state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheCheck {
    /// What follows from the rest.
    pub outcome: CacheOutcome,
    /// Successful requests that can show the state: with `cold` all, with `warm` those
    /// whose prompt had been answered before, since the engine was loaded.
    pub requests: u64,
    /// Those of them for which the engine reports prompt tokens and cached tokens.
    pub counted: u64,
    /// Those of them that were not in that state.
    pub broken: u64,
    /// Cached tokens over prompt tokens of the counted requests, 0 to 1.
    pub cached_share: Option<f64>,
}

/// The engine's count of generated tokens against an independent one, made of the text with
/// the model's tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCheck {
    /// Successful requests that were counted both ways.
    pub requests: u64,
    /// Those of them whose counts differ by more than special tokens explain.
    pub mismatched: u64,
    /// Generated tokens of these requests by the engine's count, reasoning excluded.
    pub engine_tokens: u64,
    /// The same by the independent count.
    pub counted_tokens: u64,
    /// The largest difference of one request: the engine's count less the independent one.
    pub largest_difference: i64,
    /// Throughput by the independent count; absent unless all successful requests have one.
    pub output_tokens_per_sec: Option<f64>,
}

/// Whether two engines did the same work: their answers to the same requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SameWork {
    /// Pairs of successful answers to the same request of the same cycle.
    pub pairs: u64,
    /// Pairs whose answers are equal, over all pairs, 0 to 1. Reasoning is not compared.
    pub identical_share: f64,
    /// Characters that the answers of the other pairs have in common at their beginning,
    /// median; absent if all are equal.
    pub first_divergence_characters_p50: Option<f64>,
    /// Who counted the lengths below: `engine`, or `tokenizer` if all of them were counted
    /// independently.
    pub lengths_by: String,
    /// Output tokens of the baseline's answers in these pairs.
    pub baseline_output_tokens: Option<Lengths>,
    /// Output tokens of the candidate's answers in these pairs.
    pub candidate_output_tokens: Option<Lengths>,
    /// Questions (a prompt, with its image) of which both lengths are known.
    pub questions: u32,
    /// Those of them whose answers differ in length by more than 1 %, all their pairs taken
    /// together.
    pub questions_of_unequal_length: u32,
    /// The largest such difference: the candidate's length over the baseline's less 1, in
    /// percent.
    pub largest_length_difference_percent: Option<f64>,
    /// The largest difference in prompt tokens of one pair: the candidate's less the
    /// baseline's, by the engines' own counts. A few tokens are another chat template; many
    /// are another prompt, such as one without its image.
    pub largest_prompt_difference_tokens: Option<i64>,
}

impl SameWork {
    /// Whether the answers to every question are equally long, within 1 %. If not, what an
    /// answer took as a whole is not comparable, and only what is per token is.
    pub fn is_of_equal_length(&self) -> bool {
        self.questions_of_unequal_length == 0
    }
}

/// The lengths of answers in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lengths {
    /// Number of answers.
    pub n: u64,
    /// Shortest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// Longest.
    pub max: f64,
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

/// One model on one engine: all cycles together, warm-up excluded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineResult {
    /// The engine.
    pub engine: String,
    /// Cycles in which it was measured.
    pub cycles: u32,
    /// Requests that were due.
    pub requests: u64,
    /// Requests that succeeded by every rule.
    pub succeeded: u64,
    /// `succeeded / requests`, 0 to 1; absent without requests.
    pub success_rate: Option<f64>,
    /// Failed requests by class (`connect`, `timeout`, `http_4xx`, `http_5xx`,
    /// `protocol`, `engine_error`, `truncated`, `empty`, `oom`, `crashed`).
    pub errors: BTreeMap<String, u64>,
    /// The first message of each class.
    pub error_messages: BTreeMap<String, String>,
    /// Generated tokens of successful requests.
    pub output_tokens: u64,
    /// Output tokens of successful requests over the time of *all* requests
    /// (ratio of sums): a failed request costs time and brings no tokens.
    pub output_tokens_per_sec: Option<f64>,
    /// The throughput of each cycle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_cycle: Vec<CycleResult>,
    /// From sending to the last byte, successful requests.
    pub request_latency_ms: Option<Distribution>,
    /// From sending to the first token.
    pub time_to_first_token_ms: Option<Distribution>,
    /// From sending to the first token of the answer itself, of requests with reasoning
    /// before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_answer_token_ms: Option<Distribution>,
    /// Gaps between arrivals of text, all successful requests together.
    pub inter_token_latency_ms: Option<Distribution>,
    /// `(latency - time to first token) / (tokens - 1)` per request.
    pub time_per_output_token_ms: Option<Distribution>,
    /// Output tokens per request.
    pub output_tokens_per_request: Option<Distribution>,
    /// Prompt tokens per request, where the engine says.
    pub prompt_tokens_per_request: Option<Distribution>,
    /// Prompt tokens that came from a prefix cache.
    pub cached_tokens: u64,
    /// Whether it kept to the state of the prefix cache that the pipeline asks for; absent
    /// if it asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheCheck>,
    /// Its count of tokens against an independent one; absent without a tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_check: Option<TokenCheck>,
    /// Reasoning tokens of successful requests, where the engine names them; they are among
    /// the output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Sum of the measure stages' wall-clock time.
    pub total_time_s: f64,
    /// From starting the engine to its being ready.
    pub load_time_ms: Option<Distribution>,
    /// Highest resident memory of its processes, sampled.
    pub peak_memory_bytes: Option<u64>,
    /// Processor time of its processes while measuring, in percent of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// What the load client itself did; absent for engines inside a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// Whether the load that was asked for was delivered; absent for engines inside a
    /// process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Delivered>,
    /// How evenly text came, successful requests.
    #[serde(default)]
    pub cadence: Cadence,
    /// Why generation stopped, counted.
    pub finish_reasons: BTreeMap<String, u64>,
    /// Models that the engine says it served.
    pub served_models: Vec<String>,
    /// Versions that the engine reported.
    pub engine_versions: Vec<String>,
    /// The answer to the first prompt, as a check that it is an answer.
    pub sample_output: Option<String>,
}

/// One cycle of one engine. A cycle that was cut short is not there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CycleResult {
    /// The cycle, from 1.
    pub cycle: u32,
    /// When its first measured request was due, in seconds since the run's start.
    pub start_s: f64,
    /// When its last measured request ended, in seconds since the run's start.
    pub end_s: f64,
    /// As [`EngineResult::output_tokens_per_sec`]; absent if something in the cycle failed, or
    /// tokens are not counted or their count is not plausible.
    pub output_tokens_per_sec: Option<f64>,
}

/// What the load client did and needed: the proof that it is not what was measured. Of
/// several visits the worst.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    /// Who stamped arrivals, at least 99 in 100: `kernel`, when a segment came from the
    /// network; else `read`, right after reading it, which is later the busier the client is.
    pub stamps: String,
    /// Reads that brought bytes.
    pub reads: u64,
    /// From the stamp to the end of the read, 99th percentile.
    pub read_delay_p99_ms: f64,
    /// From when a request could have been sent to its sending, 90th percentile.
    pub send_delay_p90_ms: f64,
    /// The same, 99th percentile.
    pub send_delay_p99_ms: f64,
    /// Processor time in percent of the cores that it may use, one for each of its threads.
    pub cpu_percent: f64,
    /// Requests of an open loop that were due and never sent, because the stage ended.
    pub dropped: u64,
}

impl Client {
    /// The worse of both in everything.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            stamps: if self.stamps == other.stamps {
                self.stamps
            } else {
                "read".to_owned()
            },
            reads: self.reads + other.reads,
            read_delay_p99_ms: self.read_delay_p99_ms.max(other.read_delay_p99_ms),
            send_delay_p90_ms: self.send_delay_p90_ms.max(other.send_delay_p90_ms),
            send_delay_p99_ms: self.send_delay_p99_ms.max(other.send_delay_p99_ms),
            cpu_percent: self.cpu_percent.max(other.cpu_percent),
            dropped: self.dropped + other.dropped,
        }
    }
}

/// The load that was delivered, against the one that was asked for. Of all visits together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Delivered {
    /// Requests that were due.
    pub intended: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// How many were due in a second, from the first to the last.
    pub intended_per_sec: Option<f64>,
    /// How many were sent in a second, from the first to the last.
    pub sent_per_sec: Option<f64>,
    /// Requests in flight in the mean, from the first sending to the last byte.
    pub mean_in_flight: Option<f64>,
    /// The most requests in flight.
    pub max_in_flight: u32,
    /// By how much `requests ending in a second × their mean latency` is more than the mean
    /// in flight, in percent, over the middle 80 % of each visit: Little's law, which holds
    /// for a steady load. Absent with fewer than 10 requests there.
    pub littles_law_residual_percent: Option<f64>,
}

impl Delivered {
    /// What reports say of it, without a full stop.
    pub fn sentence(&self) -> String {
        let Self {
            intended,
            sent,
            max_in_flight,
            ..
        } = self;
        let mut text = format!("{sent} of {} sent", words::count(*intended, "request"));
        if let (Some(due), Some(sent)) = (self.intended_per_sec, self.sent_per_sec) {
            let (due, sent) = (words::number(due), words::number(sent));
            let _ = write!(text, ", {sent} a second of {due} that were due");
        }
        if let Some(mean) = self.mean_in_flight {
            let mean = words::number(mean);
            let _ = write!(
                text,
                ", {mean} in flight in the mean and {max_in_flight} at most"
            );
        }
        if let Some(residual) = self.littles_law_residual_percent {
            let residual = words::signed_percent(residual);
            let _ = write!(text, ", Little's law off by {residual}");
        }
        text
    }
}

/// How evenly text comes, whatever the chunks: times until so many tokens had come do not
/// depend on how an engine cuts them, gaps between chunks do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cadence {
    /// From when a request was due until so many tokens (1, 8, 32, 128) had come, of the
    /// requests that had so many and whose every arrival names its tokens. Nothing is
    /// interpolated: empty where arrivals do not name their tokens.
    pub time_to_tokens_ms: BTreeMap<u32, Distribution>,
    /// Share of the time between first and last arrival that lies in gaps of more than five
    /// times the median gap, over all requests; 0 to 1. Absent without gaps.
    pub stall_ratio: Option<f64>,
    /// Arrivals of text for each output token: below 1 an engine sends several tokens at a
    /// time. Absent where an engine does not count tokens.
    pub arrivals_per_token: Option<f64>,
}

/// A distribution. Percentiles are of type 7, and absent where there are too few samples:
/// then the largest may well lie below them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Number of samples.
    pub n: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// Lower end of the order-statistic interval of the median, at a level of at least
    /// 95 % for independent samples; absent with fewer than 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_low: Option<f64>,
    /// Its upper end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_high: Option<f64>,
    /// 90th percentile; absent with fewer than 44 samples.
    pub p90: Option<f64>,
    /// 99th percentile; absent with fewer than 459 samples.
    #[serde(default)]
    pub p99: Option<f64>,
    /// Largest.
    pub max: f64,
}

/// What can be said about a candidate against the baseline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The candidate is faster.
    Faster,
    /// The candidate is slower.
    Slower,
    /// They differ by less than the margin.
    Equivalent,
    /// The data does not say.
    #[default]
    Inconclusive,
}

/// A candidate against the baseline, for one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The baseline engine.
    pub baseline: String,
    /// The candidate engine.
    pub candidate: String,
    /// The verdict on the candidate.
    pub verdict: Verdict,
    /// The faster engine, if the verdict names one.
    pub winner: Option<String>,
    /// Candidate's throughput over the baseline's, minus 1, in percent:
    /// Hodges-Lehmann estimate over cycles. After an early stop it is biased away from
    /// zero, so the interval comes first.
    pub difference_percent: Option<f64>,
    /// Interval of the difference: the signed-rank interval with the critical value of
    /// the look, valid at all looks together. Absent where so few cycles give none.
    pub interval: Option<Interval>,
    /// The interval that must lie inside the margin for `equivalent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_equivalent: Option<Interval>,
    /// Whether it lies inside the margin: of a winner, that it is faster by less than
    /// the margin.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub within_margin: bool,
    /// Difference of the pooled throughputs (ratio of sums), in percent.
    pub pooled_difference_percent: Option<f64>,
    /// Differences up to this count as none, in percent.
    pub margin_percent: f64,
    /// Cycles that the verdict rests on: those up to the look that gave it, or all.
    pub cycles: u32,
    /// Number of the cycle after which the verdict fell; absent if none fell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<u32>,
    /// Cycles left out because a request of theirs failed.
    pub degraded_cycles: u32,
    /// `ln(candidate / baseline)` of each cycle's throughput, also of cycles after the
    /// verdict.
    pub cycle_log_ratios: Vec<f64>,
    /// The p value of no difference as if the cycles had been looked at once: nominal,
    /// no verdict rests on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal_p_value: Option<f64>,
    /// Cycles that a run needs to tell a difference of the margin, judged from how much
    /// these differ: a normal approximation for 90 % power. From 6 cycles on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_cycles: Option<u32>,
    /// Wall-clock time of a cycle, in seconds: the median from one start to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle_s: Option<f64>,
    /// The difference that the planned cycles can tell, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detectable_percent: Option<f64>,
    /// The typical request: the median over questions of the ratio of times per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median: Option<Judgement>,
    /// The time to the first token, per prompt token where both engines count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<Judgement>,
    /// The time per output token after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<Judgement>,
    /// Output tokens over the latencies of their requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_to_end: Option<Judgement>,
    /// The median latency of each cycle, where it has 10 requests on each engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p50: Option<Judgement>,
    /// The 90th percentile of the latency of each cycle, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p90: Option<Judgement>,
    /// The p value of one engine failing no more often than the other (exact `McNemar`
    /// test of paired requests), where a request failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_p_value: Option<f64>,
    /// Latencies far from those of the same engine and question, per engine. They count
    /// like all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outliers: Vec<Outliers>,
    /// What forbids a verdict whatever the numbers say, in words; absent if nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// Why the verdict is what it is, in words.
    pub reason: String,
    /// What limits the comparison, for example `length_mismatch`; `prony explain` has a
    /// page on each.
    pub flags: Vec<String>,
    /// Whether both did the same work; absent if no request was answered by both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_work: Option<SameWork>,
}

/// What can be said of one side of the work, by the same rule as the verdict. It is not
/// among the comparisons that the verdicts are adjusted for, and names no winner.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// On the candidate.
    pub verdict: Verdict,
    /// By how much the candidate is faster, in percent of the baseline's speed:
    /// Hodges-Lehmann estimate over cycles.
    pub difference_percent: Option<f64>,
    /// Its interval; absent where so few cycles give none.
    pub interval: Option<Interval>,
    /// Cycles that it rests on.
    pub cycles: u32,
}

/// Latencies beyond Tukey's fences, of what is left when the medians of question and
/// engine are taken away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outliers {
    /// The engine.
    pub engine: String,
    /// More than 1.5 and at most 3 interquartile ranges beyond the quartiles.
    pub mild: u64,
    /// More than 3.
    pub far: u64,
}

/// All comparisons of a run: every cell, model, `measure` stage and candidate that was
/// planned. They are judged together by Holm's procedure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Family {
    /// How many were planned.
    pub comparisons: u32,
    /// The chance of naming any winner that is none, at most, 0 to 1.
    pub alpha: f64,
    /// The chance of one claim of `equivalent` being wrong, at most; not adjusted.
    pub alpha_equivalent: f64,
    /// Comparisons that name a winner.
    pub winners: u32,
    /// Comparisons that are equivalent.
    pub equivalent: u32,
    /// The others.
    pub inconclusive: u32,
}

/// A candidate against the baseline over several models: the geometric mean of the
/// ratios. It takes no part in any verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overall {
    /// The baseline engine.
    pub baseline: String,
    /// The candidate engine.
    pub candidate: String,
    /// The point of the matrix; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// Id of the `measure` stage; absent when the cell has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// Models in it.
    pub models: u32,
    /// The geometric mean of the ratios, minus 1, in percent. Absent if a model has no
    /// verdict that can be trusted: the set of models is fixed before the run.
    pub difference_percent: Option<f64>,
    /// Its interval: of the mean log ratios of the cycles where the models share cycles,
    /// else by the normal approximation.
    pub interval: Option<Interval>,
    /// Why there is no number, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A bound on a metric, and whether one engine kept to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdResult {
    /// What is bounded: the name of a field of [`EngineResult`].
    pub metric: String,
    /// Which field of its [`Distribution`], if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistic: Option<String>,
    /// The least that is good enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most that is good enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The engine.
    pub engine: String,
    /// The model.
    pub model: String,
    /// The point of the matrix; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// Id of the `measure` stage; absent when the cell has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// What was measured, in the metric's unit.
    pub value: Option<f64>,
    /// Why there is no value, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// Whether the value is there and within the bounds.
    pub passed: bool,
}

impl ThresholdResult {
    /// What reports call the measured thing, as [`ModelResult::label`].
    pub fn label(&self) -> String {
        label(&self.model, self.cell.as_deref(), self.measure.as_deref())
    }

    /// What is bounded, for example `request_latency_ms p90`.
    pub fn what(&self) -> String {
        match &self.statistic {
            Some(statistic) => format!("{} {statistic}", self.metric),
            None => self.metric.clone(),
        }
    }

    /// The bound in words, for example `at least 50`.
    pub fn bound(&self) -> String {
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (None, None) => MISSING.to_owned(),
        }
    }

    /// The value as reports show it. One that misses its bound is never rounded
    /// to it.
    pub fn shown(&self) -> String {
        let Some(value) = self.value else {
            return MISSING.to_owned();
        };
        let rounded = words::number(value);
        let mut bounds = [self.min, self.max].into_iter().flatten();
        if !self.passed && bounds.any(|bound| words::number(bound) == rounded) {
            return value.to_string();
        }
        rounded
    }

    /// `pass` or `FAIL`.
    pub fn word(&self) -> &'static str {
        if self.passed { "pass" } else { "FAIL" }
    }

    /// What came of it, as a sentence without a full stop.
    pub fn sentence(&self) -> String {
        let found = match self.value {
            Some(_) => format!("is {}", self.shown()),
            None => match &self.missing {
                Some(why) => format!("has no value ({why})"),
                None => "has no value".to_owned(),
            },
        };
        let sentence = format!(
            "{} on {}: {} {found}, {} is asked for",
            self.label(),
            self.engine,
            self.what(),
            self.bound()
        );
        words::one_line(&sentence)
    }
}

/// An interval, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Lower end.
    pub low_percent: f64,
    /// Upper end.
    pub high_percent: f64,
    /// Confidence level that it attains, 0 to 1.
    pub level: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(value: Option<f64>, passed: bool) -> ThresholdResult {
        ThresholdResult {
            metric: "request_latency_ms".to_owned(),
            statistic: Some("p90".to_owned()),
            min: None,
            max: Some(500.0),
            engine: "e".to_owned(),
            model: "m".to_owned(),
            cell: Some("quant=q8".to_owned()),
            measure: Some("burst".to_owned()),
            value,
            missing: None,
            passed,
        }
    }

    #[test]
    fn thresholds_are_sentences() {
        assert_eq!(
            threshold(Some(812.4), false).sentence(),
            "m · quant=q8 · burst on e: request_latency_ms p90 is 812.4, at most 500 is asked for"
        );
        assert_eq!(
            threshold(None, false).sentence(),
            "m · quant=q8 · burst on e: request_latency_ms p90 has no value, at most 500 is asked for"
        );
        let few = ThresholdResult {
            missing: Some("7 samples are too few".to_owned()),
            ..threshold(None, false)
        };
        assert!(
            few.sentence()
                .contains("has no value (7 samples are too few), at most")
        );
    }

    #[test]
    fn what_misses_a_bound_does_not_look_as_if_it_met_it() {
        assert_eq!(threshold(Some(499.96), true).shown(), "500.0");
        assert_eq!(threshold(Some(500.04), false).shown(), "500.04");
    }

    #[test]
    fn what_was_delivered_is_a_sentence() {
        let delivered = Delivered {
            intended: 120,
            sent: 118,
            intended_per_sec: Some(40.0),
            sent_per_sec: Some(38.52),
            mean_in_flight: Some(3.94),
            max_in_flight: 4,
            littles_law_residual_percent: Some(0.8),
        };
        assert_eq!(
            delivered.sentence(),
            "118 of 120 requests sent, 38.5 a second of 40.0 that were due, 3.94 in flight in the mean and 4 at most, Little's law off by +0.8 %"
        );
    }

    #[test]
    fn bounds_are_words() {
        let bound = |min, max| {
            let it = threshold(None, false);
            ThresholdResult { min, max, ..it }.bound()
        };
        assert_eq!(bound(Some(0.99), None), "at least 0.99");
        assert_eq!(bound(Some(1.0), Some(2.5)), "1 to 2.5");
    }
}
