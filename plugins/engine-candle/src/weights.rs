//! Sources of weights: a GGUF file or a seeded generator. Both supply named matrices and
//! vectors, checked for their shape.

use crate::config::{Dtype, Synthetic};
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use prony_plugin_sdk::{Error, Result};
use rand_pcg::{Pcg32, rand_core::Rng};
use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Shape and constants of a Llama model.
#[derive(Debug, Clone, PartialEq)]
pub struct Hyper {
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub intermediate: usize,
    /// Attention heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Number of rows of the embedding.
    pub vocab: usize,
    /// Context length in tokens.
    pub context: usize,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Epsilon added to the mean square in norms.
    pub rms_eps: f32,
}

/// A source of named weights.
pub trait Source {
    /// Shape of the model.
    fn hyper(&self) -> &Hyper;
    /// Returns `true` if the source has the tensor.
    fn has(&self, name: &str) -> bool;
    /// A matrix on the device, in the type selected by the config.
    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<QTensor>;
    /// A vector of `f32` on the device.
    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor>;
}

pub(crate) fn engine_error(what: &str) -> impl Fn(candle_core::Error) -> Error + '_ {
    move |error| {
        let text = error.to_string();
        Error::engine(format!(
            "{what}: {}",
            text.lines().next().unwrap_or_default()
        ))
    }
}

/// Quantisation works on whole blocks of a row.
fn check_blocks(name: &str, columns: usize, dtype: GgmlDType) -> Result<()> {
    let block = dtype.block_size();
    if columns.is_multiple_of(block) {
        return Ok(());
    }
    Err(Error::config(
        "/dtype",
        format!(
            "rows of `{name}` have {columns} values, but `{}` works on blocks of {block}",
            format!("{dtype:?}").to_lowercase()
        ),
    ))
}

/// Weights from a GGUF file.
pub struct Gguf {
    path: String,
    file: BufReader<File>,
    content: Content,
    hyper: Hyper,
    dtype: Dtype,
    device: Device,
}

impl Gguf {
    /// Opens a file and reads the model's metadata.
    pub fn open(path: &str, dtype: Dtype, device: &Device) -> Result<Self> {
        let file = File::open(Path::new(path))
            .map_err(|error| Error::engine(format!("cannot open `{path}`: {error}")))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Error::engine(format!(
                "`{path}` is a folder, expected a GGUF file"
            )));
        }
        let mut file = BufReader::with_capacity(1 << 20, file);
        let unreadable =
            |why: String| Error::engine(format!("`{path}` is not a readable GGUF file: {why}"));
        // candle does not validate some fields (an alignment of 0 makes it divide by 0).
        let content = catch_unwind(AssertUnwindSafe(|| Content::read(&mut file)))
            .map_err(|_| unreadable("its header is malformed".to_owned()))?
            .map_err(|error| {
                unreadable(
                    error
                        .to_string()
                        .lines()
                        .next()
                        .unwrap_or_default()
                        .to_owned(),
                )
            })?;
        let hyper = read_hyper(path, &content)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            content,
            hyper,
            dtype,
            device: device.clone(),
        })
    }

    /// A metadata string.
    pub fn string(&self, key: &str) -> Option<&str> {
        self.content
            .metadata
            .get(key)
            .and_then(|value| value.to_string().ok())
            .map(String::as_str)
    }

    /// A metadata number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.content.metadata.get(key).and_then(as_u64)
    }

    /// A metadata flag.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.content
            .metadata
            .get(key)
            .and_then(|value| value.to_bool().ok())
    }

    /// A metadata array.
    pub fn array(&self, key: &str) -> Option<&[Value]> {
        self.content
            .metadata
            .get(key)
            .and_then(|value| value.to_vec().ok())
            .map(Vec::as_slice)
    }

    fn read(&mut self, name: &str, shape: &[usize], device: &Device) -> Result<QTensor> {
        let path = &self.path;
        let Some(info) = self.content.tensor_infos.get(name) else {
            return Err(Error::engine(format!(
                "`{path}` has no tensor `{name}`, which a Llama model needs"
            )));
        };
        if info.shape.dims() != shape {
            let found = info.shape.dims();
            return Err(Error::engine(format!(
                "tensor `{name}` of `{path}` has the shape {found:?}, expected {shape:?}"
            )));
        }
        // candle multiplies without a check.
        if shape
            .iter()
            .try_fold(1_usize, |product, size| product.checked_mul(*size))
            .is_none_or(|count| count > 1 << 40)
        {
            return Err(Error::engine(format!(
                "tensor `{name}` of `{path}` is impossibly large: {shape:?}"
            )));
        }
        let block = info.ggml_dtype.block_size();
        if let Some(columns) = shape
            .last()
            .filter(|columns| !columns.is_multiple_of(block))
        {
            return Err(Error::engine(format!(
                "tensor `{name}` of `{path}` has rows of {columns} values, which its type {:?} cannot have",
                info.ggml_dtype
            )));
        }
        info.read(&mut self.file, self.content.tensor_data_offset, device)
            .map_err(engine_error(&format!(
                "cannot read tensor `{name}` of `{path}`"
            )))
    }
}

pub(crate) fn as_u64(value: &Value) -> Option<u64> {
    Some(match *value {
        Value::U8(v) => v.into(),
        Value::U16(v) => v.into(),
        Value::U32(v) => v.into(),
        Value::U64(v) => v,
        Value::I8(v) => u64::try_from(v).ok()?,
        Value::I16(v) => u64::try_from(v).ok()?,
        Value::I32(v) => u64::try_from(v).ok()?,
        Value::I64(v) => u64::try_from(v).ok()?,
        _ => return None,
    })
}

fn read_hyper(path: &str, content: &Content) -> Result<Hyper> {
    let wrong = |message: String| Error::engine(format!("`{path}`: {message}"));
    let metadata = &content.metadata;
    let architecture = metadata
        .get("general.architecture")
        .and_then(|value| value.to_string().ok())
        .map_or("", String::as_str);
    if architecture != "llama" {
        return Err(wrong(format!(
            "its architecture is `{architecture}`, this engine runs `llama`"
        )));
    }
    let optional = |key: &str| -> Result<Option<usize>> {
        let Some(value) = metadata.get(key) else {
            return Ok(None);
        };
        // 2^24 exceeds any model, and prevents overflow of products.
        match as_u64(value).filter(|number| (1..=1 << 24).contains(number)) {
            Some(number) => Ok(Some(number as usize)),
            None => Err(wrong(format!(
                "`{key}` is {value:?}, expected one whole number of 1 to {}",
                1 << 24
            ))),
        }
    };
    let needed =
        |key: &str| optional(key)?.ok_or_else(|| wrong(format!("its metadata has no `{key}`")));
    let float = |key: &str| metadata.get(key).and_then(|value| value.to_f32().ok());

    let hidden = needed("llama.embedding_length")?;
    let heads = needed("llama.attention.head_count")?;
    let kv_heads = optional("llama.attention.head_count_kv")?.unwrap_or(heads);
    let head_dim = match optional("llama.attention.key_length")? {
        Some(length) => length,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            return Err(wrong(format!(
                "its width {hidden} is not a multiple of its {heads} heads"
            )));
        }
    };
    let vocab = match content
        .tensor_infos
        .get("token_embd.weight")
        .map(|info| info.shape.dims())
    {
        Some([rows, _]) => *rows,
        _ => return Err(wrong("it has no matrix `token_embd.weight`".to_owned())),
    };
    let hyper = Hyper {
        layers: needed("llama.block_count")?,
        hidden,
        intermediate: needed("llama.feed_forward_length")?,
        heads,
        kv_heads,
        head_dim,
        vocab,
        context: needed("llama.context_length")?,
        rope_base: float("llama.rope.freq_base").unwrap_or(10_000.0),
        rms_eps: float("llama.attention.layer_norm_rms_epsilon").ok_or_else(|| {
            wrong("its metadata has no `llama.attention.layer_norm_rms_epsilon`".to_owned())
        })?,
    };
    if !heads.is_multiple_of(kv_heads) {
        return Err(wrong(format!(
            "its {heads} heads are not a multiple of its {kv_heads} key-value heads"
        )));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(wrong(format!(
            "its heads are {head_dim} wide, expected an even number"
        )));
    }
    if let Some(rotated) =
        optional("llama.rope.dimension_count")?.filter(|rotated| *rotated != head_dim)
    {
        return Err(wrong(format!(
            "it rotates {rotated} of the {head_dim} values of a head; only whole heads are supported"
        )));
    }
    if let Some(value_length) =
        optional("llama.attention.value_length")?.filter(|length| *length != head_dim)
    {
        return Err(wrong(format!(
            "its values are {value_length} wide and its keys {head_dim}; only equal widths are supported"
        )));
    }
    if let Some(kind) = metadata
        .get("llama.rope.scaling.type")
        .and_then(|value| value.to_string().ok())
        .filter(|kind| *kind != "none")
    {
        return Err(wrong(format!(
            "it uses rotary scaling `{kind}`, which is not supported"
        )));
    }
    if metadata
        .get("llama.expert_count")
        .and_then(as_u64)
        .is_some_and(|experts| experts > 0)
    {
        return Err(wrong(
            "it is a mixture of experts, which is not supported".to_owned(),
        ));
    }
    if let Some(name) = content
        .tensor_infos
        .keys()
        .find(|name| name.rsplit('.').next() == Some("bias"))
    {
        return Err(wrong(format!(
            "it has a bias (`{name}`), which is not supported"
        )));
    }
    if content.tensor_infos.len() > 12 + hyper.layers * 16 {
        return Err(wrong(format!(
            "it has {} tensors, more than {} Llama blocks have",
            content.tensor_infos.len(),
            hyper.layers
        )));
    }
    Ok(hyper)
}

impl Source for Gguf {
    fn hyper(&self) -> &Hyper {
        &self.hyper
    }

    fn has(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<QTensor> {
        let stored = self
            .content
            .tensor_infos
            .get(name)
            .map(|info| info.ggml_dtype);
        let device = self.device.clone();
        match self.dtype.target() {
            Some(target) if Some(target) != stored => {
                check_blocks(name, columns, target)?;
                let read = self.read(name, &[rows, columns], &Device::Cpu)?;
                read.dequantize(&Device::Cpu)
                    .and_then(|floats| QTensor::quantize_onto(&floats, target, &device))
                    .map_err(engine_error(&format!("cannot convert tensor `{name}`")))
            }
            _ => self.read(name, &[rows, columns], &device),
        }
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor> {
        let device = self.device.clone();
        self.read(name, &[length], &Device::Cpu)?
            .dequantize(&device)
            .map_err(engine_error(&format!("cannot convert tensor `{name}`")))
    }
}

/// Seeded random weights. Every tensor has its own stream, so a tensor does not depend on
/// those made before it.
pub struct Random {
    hyper: Hyper,
    seed: u64,
    dtype: GgmlDType,
    device: Device,
}

impl Random {
    /// A generator for a checked shape.
    pub fn new(shape: &Synthetic, dtype: Dtype, device: &Device) -> Result<Self> {
        shape.check()?;
        let hyper = Hyper {
            layers: shape.layers,
            hidden: shape.hidden,
            intermediate: shape.intermediate,
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.hidden / shape.heads,
            vocab: shape.vocab,
            context: shape.context,
            rope_base: 10_000.0,
            rms_eps: 1e-5,
        };
        Ok(Self {
            hyper,
            seed: shape.seed,
            dtype: dtype.target().unwrap_or(GgmlDType::F32),
            device: device.clone(),
        })
    }

    fn uniform(&self, name: &str, count: usize, bound: f32) -> Vec<f32> {
        // FNV-1a: the stream of a tensor is its name.
        let stream = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let mut random = Pcg32::new(self.seed, stream);
        let scale = bound / (1_u32 << 23) as f32;
        (0..count)
            .map(|_| ((random.next_u32() >> 8) as f32 - (1_u32 << 23) as f32) * scale)
            .collect()
    }
}

impl Source for Random {
    fn hyper(&self) -> &Hyper {
        &self.hyper
    }

    fn has(&self, name: &str) -> bool {
        // Not tied: a random model with tied embeddings would repeat one token.
        name == "output.weight"
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<QTensor> {
        check_blocks(name, columns, self.dtype)?;
        // Variance 1/columns, so that activations keep their size.
        let values = self.uniform(name, rows * columns, (3.0 / columns as f32).sqrt());
        Tensor::from_vec(values, (rows, columns), &Device::Cpu)
            .and_then(|floats| QTensor::quantize_onto(&floats, self.dtype, &self.device))
            .map_err(engine_error(&format!("cannot make tensor `{name}`")))
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Tensor> {
        let values = self
            .uniform(name, length, 0.1)
            .into_iter()
            .map(|value| 1.0 + value)
            .collect();
        Tensor::from_vec(values, length, &self.device)
            .map_err(engine_error(&format!("cannot make tensor `{name}`")))
    }
}
