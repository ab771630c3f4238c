//! The options of the engine. The doc comments become its JSON Schema.

use candle_core::quantized::GgmlDType;
use prony_plugin_sdk::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// Options of the candle engine. By default it serves the GGUF file at the model's
/// `path`, in its stored types, on the CPU.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Source of the weights. Defaults to the GGUF file at the model's `path`.
    pub weights: Option<Weights>,
    /// Type of the weight matrices in memory.
    #[schemars(extend("x-prony-role" = "quantisation"))]
    pub dtype: Dtype,
    /// Compute device.
    #[schemars(extend("x-prony-role" = "resources"))]
    pub device: DeviceChoice,
    /// Compute threads on the CPU. Defaults to one per physical core, at most as many as
    /// this process may use. Fixed for the life of a process.
    #[schemars(range(min = 1, max = 1024), extend("x-prony-role" = "resources"))]
    pub threads: Option<usize>,
    /// Maximum number of tokens (prompt and answer) of one request. Defaults to the
    /// model's context length; more is refused.
    #[schemars(range(min = 1), extend("x-prony-role" = "context"))]
    pub context: Option<usize>,
}

/// Source of the weights.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// A GGUF file with the Llama architecture.
    Gguf(#[schemars(extend("x-prony-path" = "file"))] String),
    /// Seeded random weights with a byte-level tokenizer. Needs no file and is ready at
    /// once; generates nonsense, the same for equal seeds.
    Synthetic(Synthetic),
}

/// Shape of a model with random weights.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Synthetic {
    /// Transformer blocks.
    #[schemars(range(min = 1, max = 1024))]
    pub layers: usize,
    /// Width of the residual stream; a multiple of twice `heads`.
    #[schemars(range(min = 2, max = 65536))]
    pub hidden: usize,
    /// Width of the feed-forward layer.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub intermediate: usize,
    /// Attention heads; a multiple of `kv_heads`.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// Key-value heads.
    #[schemars(range(min = 1, max = 1024))]
    pub kv_heads: usize,
    /// Vocabulary size: 256 bytes, begin, end, and made-up words.
    #[schemars(range(min = 258, max = 1_048_576))]
    pub vocab: usize,
    /// Maximum number of tokens of one request.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub context: usize,
    /// Seed of the weights.
    pub seed: u64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            layers: 4,
            hidden: 512,
            intermediate: 1536,
            heads: 8,
            kv_heads: 4,
            vocab: 4096,
            context: 2048,
            seed: 1,
        }
    }
}

impl Synthetic {
    /// Checks constraints that a schema cannot express.
    pub(crate) fn check(&self) -> Result<()> {
        let at = |field: &str, message: String| {
            Err(Error::config(
                format!("/weights/synthetic/{field}"),
                message,
            ))
        };
        let ranges = [
            ("layers", self.layers, 1, 1024),
            ("hidden", self.hidden, 2, 65536),
            ("intermediate", self.intermediate, 1, 1 << 20),
            ("heads", self.heads, 1, 1024),
            ("kv_heads", self.kv_heads, 1, 1024),
            ("vocab", self.vocab, 258, 1 << 20),
            ("context", self.context, 1, 1 << 20),
        ];
        for (field, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return at(
                    field,
                    format!("`{field}` is {value}, expected {least} to {most}"),
                );
            }
        }
        if !self.hidden.is_multiple_of(2 * self.heads) {
            return at(
                "hidden",
                format!(
                    "`hidden` ({}) must be a multiple of twice `heads` ({})",
                    self.hidden, self.heads
                ),
            );
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return at(
                "kv_heads",
                format!(
                    "`heads` ({}) must be a multiple of `kv_heads` ({})",
                    self.heads, self.kv_heads
                ),
            );
        }
        Ok(())
    }
}

/// Type of the weight matrices in memory. Norms are always `f32`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// As stored in the file; `f32` for synthetic weights.
    #[default]
    Native,
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8 bits, blocks of 32.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 4 bits and a minimum, blocks of 32.
    #[serde(rename = "q4_1")]
    Q4_1,
    /// 4 bits, blocks of 32.
    #[serde(rename = "q4_0")]
    Q4_0,
    /// 6 bits, blocks of 256.
    Q6K,
    /// 5 bits, blocks of 256.
    Q5K,
    /// 4 bits, blocks of 256.
    Q4K,
}

impl Dtype {
    /// The type to convert to; `None` keeps the stored one.
    pub(crate) fn target(self) -> Option<GgmlDType> {
        Some(match self {
            Self::Native => return None,
            Self::F32 => GgmlDType::F32,
            Self::F16 => GgmlDType::F16,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q4_1 => GgmlDType::Q4_1,
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q6K => GgmlDType::Q6K,
            Self::Q5K => GgmlDType::Q5K,
            Self::Q4K => GgmlDType::Q4K,
        })
    }
}

/// Compute device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceChoice {
    /// The accelerator that this plugin was built for, else the CPU.
    Auto,
    /// The CPU.
    #[default]
    Cpu,
    /// Apple's Metal (needs a build with the feature `metal`).
    Metal,
    /// NVIDIA's CUDA (needs a build with the feature `cuda`).
    Cuda,
}
