//! The run itself: its workload, its engines and its machine.

#[cfg(doc)]
use super::{ModelResult, RunResult};
use prony_contract::Api;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every model on every engine was measured.
    Completed,
    /// Something failed; see [`ModelResult::failures`].
    Failed,
    /// The run was interrupted; the numbers cover what had been measured by then.
    Interrupted,
    /// The run is in progress; the numbers cover what has been measured so far.
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
    /// Start time: RFC 3339, UTC.
    pub started_at: String,
    /// Seconds from start to end.
    pub duration_s: f64,
    /// Outcome of the run.
    pub outcome: Outcome,
    /// SHA-256 of the resolved pipeline.
    pub pipeline_sha256: String,
    /// Planned number of cycles.
    pub cycles: u32,
    /// `interleaved` or `sequential`.
    #[schemars(extend("enum" = ["interleaved", "sequential"]))]
    pub order: String,
    /// Seed of the order.
    pub seed: u64,
    /// The other processes that sent the load, beside the one that led; empty if it was alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<RankInfo>,
}

/// A process that sent a share of the load, other than the one that led, which is rank 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RankInfo {
    /// Its number.
    pub rank: u32,
    /// Name of its machine.
    pub host: String,
    /// Logical CPUs that it may use.
    pub cpus: u32,
}

/// The work requested of every engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// Chat or plain completions.
    pub api: Api,
    /// The prompts; request `i` of a stage has number `i` modulo their count. Empty if
    /// they come from elsewhere.
    pub prompts: Vec<String>,
    /// Source of the prompts in words, such as `10 synthetic prompts`; absent if they are
    /// in the pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Images sent with the prompts; each round of prompts starts with the next image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageInfo>,
    /// System message before every prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Upper limit of generated tokens per request.
    pub max_tokens: u32,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f64,
    /// Nucleus sampling, if set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Seed sent with every request.
    pub seed: u64,
    /// Texts at which engines stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// `true` if the output length was forced.
    pub ignore_eos: bool,
    /// Timeout of one request, in milliseconds.
    pub request_timeout_ms: u64,
    /// Pause between the turns of a conversation, in milliseconds; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think_ms: Option<u64>,
}

/// An image that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageInfo {
    /// The file, as the pipeline names it.
    pub path: String,
    /// SHA-256 of the file; absent if the run ended before reading it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A matrix point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CellInfo {
    /// `axis=value,axis=value`; [`ModelResult::cell`] refers to it.
    pub id: String,
    /// The value of every axis.
    pub matrix: serde_json::Map<String, serde_json::Value>,
    /// The workload of this matrix point, if it differs from [`RunResult::workload`].
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
    /// Digest of the properties that make numbers comparable: processor, memory, system,
    /// GPUs and their settings. Equal on the same machine; identifies nobody.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub machine: String,
    /// `true` for a virtual machine; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machine: Option<bool>,
    /// CPU frequency governor, for example `performance`.
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
    /// `true` for the engine that the others are compared with.
    pub baseline: bool,
    /// Its config as the pipeline states it.
    pub config: serde_json::Value,
    /// Its part in a history, if the pipeline gives it one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryRole>,
    /// The programs that prony started for it, as a rule one; empty if it started none, and
    /// in results that are older than this field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Program>,
    /// The images of containers that its command ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerImage>,
}

/// Role of an engine in the history of many runs, as the pipeline states it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryRole {
    /// `true` for the engine that every run measures the others against.
    pub anchor: bool,
    /// Version that it has to report, or its program to print.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 that its program or its container's image has to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A program of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Program {
    /// Its path.
    pub path: String,
    /// The packages that prony installed for it, with versions; empty if it installed none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// SHA-256 of its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The first lines that it prints for `--version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Reason why its version is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_unknown: Option<String>,
}

/// The image of a container that an engine ran in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerImage {
    /// Its name, as the command has it.
    pub name: String,
    /// SHA-256: the digest of the repository, or else the id of an image that was built there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Reason why that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// A plugin used by the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// `engine` or `reporter`.
    pub kind: prony_contract::Kind,
    /// Its version.
    pub version: String,
    /// `wasm` (sandboxed) or `native` (not sandboxed).
    #[schemars(extend("enum" = ["wasm", "native"]))]
    pub form: String,
    /// Contract version it speaks.
    pub contract: String,
    /// Digest of its file.
    pub sha256: String,
    /// `true` for a build of a folder that somebody works on: its version names no certain
    /// source. Absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dev: bool,
}
