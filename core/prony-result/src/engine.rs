//! One model on one engine.

use super::{Client, Delivered};
use prony_contract::CounterKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// One model on one engine: all cycles together, warm-up excluded. The default is of one that
/// was not measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// `protocol`, `engine_error`, `truncated`, `empty`, `oom`, `crashed`, `plugin`).
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
    /// From sending to the end of the answer, successful requests.
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
    /// Prompt tokens that came from a prefix cache; 0 also for engines that do not report them.
    pub cached_tokens: u64,
    /// Number of successful requests for which the engine reports them; absent from results
    /// that are older than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens_told: Option<u64>,
    /// Finding on the state of the prefix cache that the pipeline asks for; absent
    /// if it asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheCheck>,
    /// Its count of tokens against an independent one; absent without a tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_check: Option<TokenCheck>,
    /// Its count of prompt tokens against that of the prompts as prony renders them; absent
    /// where prony renders or counts none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_check: Option<PromptCheck>,
    /// Reasoning tokens of successful requests, where the engine names them; they are among
    /// the output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Sum of the measure stages' wall-clock time.
    pub total_time_s: f64,
    /// Time from starting the engine to its being ready, with the requests that load its model.
    pub load_time_ms: Option<Distribution>,
    /// Time from starting the engine to the first token of its first answer, warm-ups included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_to_first_token_ms: Option<Distribution>,
    /// Time from asking the engine to end until all its processes were gone, without the requests
    /// that unload its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unload_time_ms: Option<Distribution>,
    /// Highest resident memory of its processes, sampled.
    pub peak_memory_bytes: Option<u64>,
    /// Highest memory of its processes on all GPUs, sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_gpu_memory_bytes: Option<u64>,
    /// Energy that it took; absent where nothing counts energy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<Energy>,
    /// The GPUs that it used while measuring.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuResult>,
    /// CPU time of its processes while measuring, in percent of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// The load client's own figures; absent for engines inside a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// Delivery of the load that was asked for; absent for engines inside a
    /// process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Delivered>,
    /// Evenness with which text came, successful requests.
    #[serde(default)]
    pub cadence: Cadence,
    /// The engine's own times, beside prony's; in no verdict. Absent if it reports none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_clock: Option<OwnClock>,
    /// Reasons why generation stopped, each with its number of requests.
    pub finish_reasons: BTreeMap<String, u64>,
    /// Tokens of successful requests that the engine generated and did not send, by its own
    /// count; they are in no rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_tokens: Option<u64>,
    /// From the end of the answer to the end of the stream; absent where all streams end
    /// with their answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_tail_ms: Option<Distribution>,
    /// Remarks on responses, each with its number of successful requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, u64>,
    /// Models that the engine says it served.
    pub served_models: Vec<String>,
    /// The model that was asked for, if the engine says that it answered with another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_model: Option<String>,
    /// Versions that the engine reported.
    pub engine_versions: Vec<String>,
    /// Settings that the engine was asked about, beside what was asked for; empty if there is
    /// no way to ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<SettingInForce>,
    /// The engine's own counters over the measure stages, beside prony's counts; in no rate
    /// and no verdict. Empty if it tells none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_counts: Vec<OwnCount>,
    /// The answer to the first prompt, as a check that it is an answer.
    pub sample_output: Option<String>,
}

/// Energy that an engine took while measuring. The machine's idle power, measured before any
/// engine ran, is taken off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Energy {
    /// Energy of the boards of the GPUs that it used, in joules per output token of a successful
    /// request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_j_per_token: Option<f64>,
    /// Energy of the processor packages in the same unit, prony's own work included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor_j_per_token: Option<f64>,
    /// Mean power of the GPUs that it used, in watts, idle power included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_gpu_power_w: Option<f64>,
    /// Idle power of these GPUs, in watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_gpu_power_w: Option<f64>,
    /// Reason why an energy is not given, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
}

/// A GPU while an engine that used it was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuResult {
    /// Number of the GPU, from 0, in the driver's order.
    pub index: u32,
    /// Mean clock of its multiprocessors, in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_sm_clock_mhz: Option<f64>,
    /// Highest temperature in °C.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_temperature_c: Option<u32>,
    /// Share of the samples, 0 to 1, for every reason for reduced clocks, by NVML's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub throttled: BTreeMap<String, f64>,
}

/// Evidence in an engine's counts on its prefix cache, where a pipeline states a state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CacheCheck {
    /// Conclusion from the other fields.
    pub outcome: CacheOutcome,
    /// Successful requests that can show the state: with `cold` all, with `warm` those
    /// whose prompt had been answered before, since the engine was loaded.
    pub requests: u64,
    /// Number of them for which the engine reports prompt tokens and cached tokens.
    pub counted: u64,
    /// Number of them that were not in that state; absent where only the engine's counters tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<u64>,
    /// Number of them that found tokens in a cache that is to be cold, of which nothing tells
    /// whether all were of the beginning that a chat template gives every request: prony has
    /// no tokenizer of the model, or only the engine's counters tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unexplained: Option<u64>,
    /// With `warm`, number of successful requests beside them whose prompt had not been answered
    /// before, and of which the engine does not show that they were in that state; by its counters
    /// all with such prompts. Absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<u64>,
    /// Cached tokens over prompt tokens of the counted requests, 0 to 1.
    pub cached_share: Option<f64>,
    /// `true` if it is the engine's counters that say so, of all requests together, and its
    /// answers do not tell. `broken` is then 0: which requests it were is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_counters: bool,
}

/// A setting that an engine says is in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SettingInForce {
    /// Its name: that of the option in the engine's config, if there is one.
    pub name: String,
    /// Value that was asked for; absent if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Value>,
    /// Values in force, in the order of the visits and each once; empty if the engine does
    /// not tell.
    pub in_force: Vec<Value>,
    /// `true` if a value in force is not the one that was asked for.
    pub differs: bool,
}

/// A count of an engine's own, over all its clients, beside prony's count of the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OwnCount {
    /// Subject of the count. Times are sums over requests, in seconds.
    pub kind: CounterKind,
    /// Increase of the engine's counter from before the `measure` stage to after it.
    pub engine: f64,
    /// prony's count of the same visits: of the requests that were sent, and of the tokens and
    /// times of those that succeeded. Its time to first token stands beside the time of
    /// prefills. Absent if the answers do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prony: Option<f64>,
    /// Number of cycles whose visits have the counter before and after.
    pub cycles: u32,
}

/// Conclusion on the state of the prefix cache that a measurement is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheOutcome {
    /// It did, as far as its own counts of cached tokens say.
    Kept,
    /// It did not: the numbers are not of that state, and not valid.
    Broken,
    /// Nothing says: it does not report cached tokens, no request could show them, or they may
    /// be more than a chat template explains.
    Unverified,
}

/// The engine's count of generated tokens against an independent one, made of the text with
/// the model's tokenizer. Independent only of engines that do not use prony's tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCheck {
    /// Successful requests that were counted both ways.
    pub requests: u64,
    /// Number of them whose counts differ by more than special tokens explain.
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

/// An engine's count of prompt tokens against that of the prompts as prony renders them with
/// the model's chat template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PromptCheck {
    /// Successful requests whose prompt prony rendered and counted.
    pub requests: u64,
    /// Requests among them whose prompt tokens the engine counts too.
    pub counted: u64,
    /// Requests among the counted whose counts differ: the engine got another prompt.
    pub mismatched: u64,
    /// The largest difference of one request: the engine's count less that of the
    /// rendering. Absent if the engine counts none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_difference: Option<i64>,
}

/// Times by an engine's own clock, of the successful requests for which it tells them. Those
/// that cannot be right, being longer than the request or stamps of another clock, are left
/// out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OwnClock {
    /// Time in the engine before work on the request began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<Distribution>,
    /// Time from there to the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_ms: Option<Distribution>,
    /// Queue, where reported, plus prefill; or else from sending to the engine's first stamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ms: Option<Distribution>,
    /// prony's time to first token, from sending, less the engine's, of each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_difference_ms: Option<Distribution>,
    /// Decode over the tokens after the first; or else the same from the engine's stamps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_per_output_token_ms: Option<Distribution>,
    /// prony's counterpart: time from the first text to the last over the tokens in between, of
    /// the requests for which the engine tells its own. Absent if streams leave a doubt of more
    /// than 1 % about these tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_time_per_output_token_ms: Option<Distribution>,
    /// Time from the engine's stamp of a text to its arrival, all texts together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_ms: Option<Distribution>,
}

/// One cycle of one engine. A cycle that was cut short is not there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CycleResult {
    /// The cycle, from 1.
    pub cycle: u32,
    /// Due time of its first measured request, in seconds since the run's start.
    pub start_s: f64,
    /// End of its last measured request, in seconds since the run's start.
    pub end_s: f64,
    /// As [`EngineResult::output_tokens_per_sec`]; absent if something in the cycle failed, or
    /// tokens are not counted or their count is not plausible.
    pub output_tokens_per_sec: Option<f64>,
}

/// Evenness of the text, whatever the chunks: times until so many tokens had come do not
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
    /// Share of arrivals that one read brought together with the arrival before, so that they
    /// have its stamp; 0 to 1, the first arrivals of requests left out. Absent without gaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_stamp_share: Option<f64>,
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
    /// 95th percentile; absent with fewer than 90 samples.
    #[serde(default)]
    pub p95: Option<f64>,
    /// 99th percentile; absent with fewer than 459 samples.
    #[serde(default)]
    pub p99: Option<f64>,
    /// Largest.
    pub max: f64,
}
