//! The workload's dataset.

use crate::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A file or folder with prompts, in one of many formats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// A file, also one packed by gzip, or a folder of text files, relative to the pipeline
    /// file. The format is recognised by the first record. Each record is a conversation. A
    /// conversation of several turns becomes one request per message of the user, sent one
    /// after the other with the messages before it; the answers in it are the file's, never an
    /// engine's. A record may have a limit for its answers, and a time for the arrival `replay`.
    #[schemars(length(min = 1))]
    pub path: String,
    /// The format, where it is not to be recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<DatasetFormat>,
    /// Name of the column of a CSV file, or of the key of JSON objects, that has the prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub column: Option<String>,
    /// Number of conversations passed over at the beginning. Defaults to 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(max = 100_000_000))]
    pub offset: u32,
    /// Number of conversations used, after `offset`. Reading stops there, unless records share
    /// a `session_id`. Defaults to all. A stage's `requests` are turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub limit: Option<u32>,
    /// Number of conversations drawn from these by the schedule's `seed`, each at most once.
    /// Without a `limit` the whole file is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub sample: Option<u32>,
    /// Characters of a conversation, by its longest request: the last turn with everything
    /// before it. Others are left out, and not counted by `offset`, `limit` and `sample`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_chars: Option<Interval>,
    /// Tokens of a conversation, by its longest request and without what a chat template adds.
    /// Others are left out. Counted with the model's tokenizer unless they are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<Interval>,
    /// Recorded length of each answer in tokens. Conversations with others, or with none, are
    /// left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<Interval>,
    /// Tokens of a block of the `hash_ids` of a Mooncake trace. Defaults to 512, or to what fits
    /// the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub block_tokens: Option<u32>,
    /// Pause between the end of an answer and the next turn of the conversation, where the
    /// dataset states none. Defaults to `0s`.
    #[serde(default = "crate::pipeline::no_time")]
    pub think: Duration,
}

impl Dataset {
    /// All conversations of a file.
    pub fn at(path: String) -> Self {
        Self {
            path,
            format: None,
            column: None,
            offset: 0,
            limit: None,
            sample: None,
            input_chars: None,
            input_tokens: None,
            output_tokens: None,
            block_tokens: None,
            think: crate::pipeline::no_time(),
        }
    }
}

/// Format of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "format of a dataset")]
pub enum DatasetFormat {
    /// prony's own lines: `prompt`, `messages` or `input_tokens`, with `max_tokens` and `at_ms`.
    Prony,
    /// `ShareGPT`: `conversations` of `from` and `value`.
    Sharegpt,
    /// Requests of `OpenAI`'s API: `messages`, also in the `body` of a batch.
    Openai,
    /// `prompt` and `output_tokens`.
    Custom,
    /// Mooncake's traces: `input_length`, `output_length`, `hash_ids` and `timestamp`.
    Mooncake,
    /// The `BurstGPT` trace, as CSV.
    Burstgpt,
    /// Azure's traces of inference, as CSV.
    Azure,
    /// `AIPerf`: `text`, `texts` and `images`, or `turns` of them, with `timestamp` or `delay`.
    Aiperf,
    /// `GuideLLM`: `prompt`, `prompt_tokens_count` and `output_tokens_count`.
    Guidellm,
    /// Dolly: `instruction`, `context` and `response`.
    Dolly,
    /// Alpaca: `instruction`, `input` and `output`.
    Alpaca,
    /// MT-bench: `turns` of texts.
    MtBench,
    /// A prompt on each line, or in each file of a folder.
    Text,
    /// A column of CSV or a key of JSON, by `column`.
    Column,
}

impl DatasetFormat {
    /// All formats.
    pub const ALL: [Self; 14] = [
        Self::Prony,
        Self::Sharegpt,
        Self::Openai,
        Self::Custom,
        Self::Mooncake,
        Self::Burstgpt,
        Self::Azure,
        Self::Aiperf,
        Self::Guidellm,
        Self::Dolly,
        Self::Alpaca,
        Self::MtBench,
        Self::Text,
        Self::Column,
    ];

    /// Its name in pipelines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prony => "prony",
            Self::Sharegpt => "sharegpt",
            Self::Openai => "openai",
            Self::Custom => "custom",
            Self::Mooncake => "mooncake",
            Self::Burstgpt => "burstgpt",
            Self::Azure => "azure",
            Self::Aiperf => "aiperf",
            Self::Guidellm => "guidellm",
            Self::Dolly => "dolly",
            Self::Alpaca => "alpaca",
            Self::MtBench => "mt_bench",
            Self::Text => "text",
            Self::Column => "column",
        }
    }
}

/// Lengths from a minimum to a maximum, both included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Interval {
    /// Minimum. Defaults to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000))]
    pub min: Option<u32>,
    /// Maximum. Defaults to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000))]
    pub max: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
