//! The Llama forward pass: `RMSNorm`, rotary positions on interleaved pairs,
//! grouped-query attention over a preallocated cache, `SwiGLU`.

use crate::matrix::Matrix;
use crate::weights::{Hyper, Source, engine_error};
use candle_core::{D, DType, Device, IndexOp, Result as Candle, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};
use candle_nn::rotary_emb::rope_i;
use prony_plugin_sdk::{Error, Result};

/// Tokens per pass through the model: bounds the memory of prefill.
const CHUNK: usize = 512;
/// The cache grows in steps of this many tokens.
const CACHE_STEP: usize = 256;

struct Block {
    attention_norm: Tensor,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    output: Matrix,
    feed_norm: Tensor,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
    /// Keys and values, `[kv_heads, capacity, head_dim]`.
    cache: Option<(Tensor, Tensor)>,
}

/// Rotation tables, `[capacity, head_dim / 2]`.
struct Rotations {
    cos: Tensor,
    sin: Tensor,
    /// The tables divided by the square root of the head's width: queries need both, and
    /// a rotation is linear.
    query_cos: Tensor,
    query_sin: Tensor,
}

/// A Llama model and the state of one sequence.
pub struct Llama {
    hyper: Hyper,
    device: Device,
    frequencies: Vec<f32>,
    embedding: Matrix,
    blocks: Vec<Block>,
    norm: Tensor,
    /// `None`: tied to the embedding.
    head: Option<Matrix>,
    rotations: Option<Rotations>,
    capacity: usize,
    filled: usize,
}

impl Llama {
    /// Takes all weights from a source.
    pub fn load(source: &mut dyn Source, device: &Device) -> Result<Self> {
        let hyper = source.hyper().clone();
        let (wide, narrow) = (
            hyper.heads * hyper.head_dim,
            hyper.kv_heads * hyper.head_dim,
        );
        let matrix =
            |source: &mut dyn Source, name: &str, rows: usize, columns: usize| -> Result<Matrix> {
                Matrix::new(source.matrix(name, rows, columns)?)
                    .map_err(engine_error(&format!("cannot use tensor `{name}`")))
            };
        let embedding = matrix(source, "token_embd.weight", hyper.vocab, hyper.hidden)?;
        let mut blocks = Vec::new();
        for index in 0..hyper.layers {
            let name = |part: &str| format!("blk.{index}.{part}.weight");
            blocks.push(Block {
                attention_norm: source.vector(&name("attn_norm"), hyper.hidden)?,
                query: matrix(source, &name("attn_q"), wide, hyper.hidden)?,
                key: matrix(source, &name("attn_k"), narrow, hyper.hidden)?,
                value: matrix(source, &name("attn_v"), narrow, hyper.hidden)?,
                output: matrix(source, &name("attn_output"), hyper.hidden, wide)?,
                feed_norm: source.vector(&name("ffn_norm"), hyper.hidden)?,
                gate: matrix(source, &name("ffn_gate"), hyper.intermediate, hyper.hidden)?,
                up: matrix(source, &name("ffn_up"), hyper.intermediate, hyper.hidden)?,
                down: matrix(source, &name("ffn_down"), hyper.hidden, hyper.intermediate)?,
                cache: None,
            });
        }
        let norm = source.vector("output_norm.weight", hyper.hidden)?;
        let head = if source.has("output.weight") {
            Some(matrix(source, "output.weight", hyper.vocab, hyper.hidden)?)
        } else {
            None
        };
        let half = hyper.head_dim / 2;
        let mut frequencies: Vec<f32> = (0..half)
            .map(|pair| {
                hyper
                    .rope_base
                    .powf(-2.0 * pair as f32 / hyper.head_dim as f32)
            })
            .collect();
        if source.has("rope_freqs.weight") {
            let factors = source
                .vector("rope_freqs.weight", half)?
                .to_vec1::<f32>()
                .map_err(engine_error("cannot use tensor `rope_freqs.weight`"))?;
            for (frequency, factor) in frequencies.iter_mut().zip(factors) {
                *frequency /= factor;
            }
        }
        Ok(Self {
            hyper,
            device: device.clone(),
            frequencies,
            embedding,
            blocks,
            norm,
            head,
            rotations: None,
            capacity: 0,
            filled: 0,
        })
    }

    /// Shape of the model.
    pub fn hyper(&self) -> &Hyper {
        &self.hyper
    }

    /// Starts a new sequence of at most `tokens` tokens. Allocates the cache, so that
    /// nothing is allocated between two tokens.
    pub fn start(&mut self, tokens: usize) -> Result<()> {
        self.filled = 0;
        if tokens > self.capacity {
            let capacity = tokens.next_multiple_of(CACHE_STEP);
            self.grow(capacity).map_err(engine_error(&format!(
                "cannot make a cache for {capacity} tokens"
            )))?;
            self.capacity = capacity;
        }
        Ok(())
    }

    fn grow(&mut self, capacity: usize) -> Candle<()> {
        let Hyper {
            kv_heads, head_dim, ..
        } = self.hyper;
        for block in &mut self.blocks {
            // Frees the old one first.
            block.cache = None;
            let zeros = || Tensor::zeros((kv_heads, capacity, head_dim), DType::F32, &self.device);
            block.cache = Some((zeros()?, zeros()?));
        }
        let angles: Vec<f32> = (0..capacity)
            .flat_map(|position| {
                self.frequencies
                    .iter()
                    .map(move |frequency| position as f32 * frequency)
            })
            .collect();
        let table = |map: fn(f32) -> f32, scale: f32| {
            let values: Vec<f32> = angles.iter().map(|angle| map(*angle) * scale).collect();
            Tensor::from_vec(values, (capacity, head_dim / 2), &self.device)
        };
        let scale = (head_dim as f32).sqrt().recip();
        self.rotations = Some(Rotations {
            cos: table(f32::cos, 1.0)?,
            sin: table(f32::sin, 1.0)?,
            query_cos: table(f32::cos, scale)?,
            query_sin: table(f32::sin, scale)?,
        });
        Ok(())
    }

    /// Appends tokens to the sequence; returns the logits after the last one.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        if tokens.is_empty() || self.filled + tokens.len() > self.capacity {
            return Err(Error::new(
                prony_plugin_sdk::ErrorKind::Internal,
                format!(
                    "{} tokens after {} do not fit a cache for {}",
                    tokens.len(),
                    self.filled,
                    self.capacity
                ),
            ));
        }
        if let Some(id) = tokens.iter().find(|id| **id as usize >= self.hyper.vocab) {
            return Err(Error::engine(format!(
                "token {id} is beyond the {} rows of the embedding",
                self.hyper.vocab
            )));
        }
        self.forward(tokens)
            .map_err(engine_error("the forward pass failed"))
    }

    fn forward(&mut self, tokens: &[u32]) -> Candle<Vec<f32>> {
        let mut last = None;
        for chunk in tokens.chunks(CHUNK) {
            let hidden = self.blocks_forward(chunk)?;
            self.filled += chunk.len();
            last = Some(hidden.narrow(0, chunk.len() - 1, 1)?);
        }
        let Some(last) = last else {
            candle_core::bail!("no tokens")
        };
        let last = rms_norm(&last.contiguous()?, &self.norm, self.hyper.rms_eps)?;
        self.head
            .as_ref()
            .unwrap_or(&self.embedding)
            .forward(&last)?
            .i(0)?
            .to_vec1()
    }

    fn blocks_forward(&mut self, tokens: &[u32]) -> Candle<Tensor> {
        let Some(rotations) = &self.rotations else {
            candle_core::bail!("no sequence was started")
        };
        let (count, start) = (tokens.len(), self.filled);
        let step = Step {
            hyper: &self.hyper,
            count,
            end: start + count,
            start,
            cos: rotations.cos.narrow(0, start, count)?,
            sin: rotations.sin.narrow(0, start, count)?,
            query_cos: rotations.query_cos.narrow(0, start, count)?,
            query_sin: rotations.query_sin.narrow(0, start, count)?,
            mask: causal_mask(start, count, &self.device)?,
        };
        let mut x = self.embedding.rows(&Tensor::new(tokens, &self.device)?)?;
        for block in &self.blocks {
            let attended = step.attend(
                block,
                &rms_norm(&x, &block.attention_norm, self.hyper.rms_eps)?,
            )?;
            x = (x + attended)?;
            let normed = rms_norm(&x, &block.feed_norm, self.hyper.rms_eps)?;
            let gated = (block.gate.forward(&normed)?.silu()? * block.up.forward(&normed)?)?;
            x = (x + block.down.forward(&gated)?)?;
        }
        Ok(x)
    }
}

/// `[count, start + count]`: 0 where a token may look, else minus infinity. `None` for a
/// single token, which may look everywhere.
fn causal_mask(start: usize, count: usize, device: &Device) -> Candle<Option<Tensor>> {
    if count == 1 {
        return Ok(None);
    }
    let end = start + count;
    let values: Vec<f32> = (0..count)
        .flat_map(|row| {
            (0..end).map(move |column| {
                if column <= start + row {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            })
        })
        .collect();
    Tensor::from_vec(values, (count, end), device).map(Some)
}

/// State shared by all blocks in one pass.
struct Step<'a> {
    hyper: &'a Hyper,
    start: usize,
    count: usize,
    end: usize,
    cos: Tensor,
    sin: Tensor,
    query_cos: Tensor,
    query_sin: Tensor,
    mask: Option<Tensor>,
}

impl Step<'_> {
    fn attend(&self, block: &Block, x: &Tensor) -> Candle<Tensor> {
        let Hyper {
            heads,
            kv_heads,
            head_dim,
            ..
        } = *self.hyper;
        let (count, end, shared) = (self.count, self.end, heads / kv_heads);
        let Some((keys, values)) = &block.cache else {
            candle_core::bail!("no sequence was started")
        };

        let query = self.by_head(&block.query.forward(x)?, heads)?;
        let key = self.by_head(&block.key.forward(x)?, kv_heads)?;
        let value = self.by_head(&block.value.forward(x)?, kv_heads)?;
        let query = rope_i(&query, &self.query_cos, &self.query_sin)?;
        let key = rope_i(&key, &self.cos, &self.sin)?;
        keys.slice_set(&key.squeeze(0)?, 1, self.start)?;
        values.slice_set(&value.squeeze(0)?, 1, self.start)?;

        // The heads that share a key-value head are rows of one product: no
        // copy of the cache is needed.
        let query = query.reshape((kv_heads, shared * count, head_dim))?;
        let mut scores = query.matmul(&keys.narrow(1, 0, end)?.t()?)?;
        if let Some(mask) = &self.mask {
            scores = scores
                .reshape((heads, count, end))?
                .broadcast_add(mask)?
                .reshape((kv_heads, shared * count, end))?;
        }
        let attended = softmax_last_dim(&scores)?.matmul(&values.narrow(1, 0, end)?)?;
        let attended = match count {
            1 => attended.reshape((1, heads * head_dim))?,
            _ => attended
                .reshape((heads, count, head_dim))?
                .transpose(0, 1)?
                .flatten_from(D::Minus2)?,
        };
        block.output.forward(&attended)
    }

    /// `[count, n · head_dim]` → `[1, n, count, head_dim]`.
    fn by_head(&self, x: &Tensor, n: usize) -> Candle<Tensor> {
        let head_dim = self.hyper.head_dim;
        match self.count {
            1 => x.reshape((1, n, 1, head_dim)),
            count => x
                .reshape((1, count, n, head_dim))?
                .transpose(1, 2)?
                .contiguous(),
        }
    }
}
