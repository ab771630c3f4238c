//! The run itself: what was asked, of what, and where.

#[cfg(doc)]
use super::{ModelResult, RunResult};
use prony_contract::Api;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    #[schemars(extend("enum" = ["interleaved", "sequential"]))]
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
    /// Between the turns of a conversation; absent without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think_ms: Option<u64>,
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
}
