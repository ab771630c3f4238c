//! A weight matrix in the form that multiplies fastest on the device.

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{D, DType, Device, Module, Result, Tensor};
use half::f16;
use std::borrow::Cow;
use std::sync::Arc;

/// Number of values in a block of the 4-bit types, and the sizes of their blocks.
const BLOCK: usize = 32;
const Q4_0_BYTES: usize = 18;
const Q4_1_BYTES: usize = 20;

/// A weight matrix, applied as `x · Wᵀ`.
pub(crate) enum Matrix {
    /// Blocks, multiplied without conversion.
    Packed(Arc<QTensor>),
    /// `Q4_1` on the CPU, where candle has vector code for `Q4_0` only. A value `d·q + m`
    /// equals `d·(q - 8) + (m + 8d)`: a `Q4_0` value plus a constant per block, which
    /// multiplies the sum of the block's inputs. The sums are exact here (ggml rounds
    /// them to 16 bits), so answers agree more often with those of the same weights in
    /// `f32`.
    Shifted {
        blocks: Arc<QTensor>,
        constants: Tensor,
    },
    /// Floats.
    Dense(QMatMul),
}

impl Matrix {
    pub(crate) fn new(weights: QTensor) -> Result<Self> {
        let device = weights.device();
        let dense = |weights| QMatMul::from_arc(weights).map(Self::Dense);
        let weights = Arc::new(weights);
        match weights.dtype() {
            // Accelerate does not multiply 16-bit floats.
            GgmlDType::F16 if cfg!(feature = "accelerate") && device.is_cpu() => dense(weights),
            GgmlDType::F16 => Ok(Self::Dense(QMatMul::TensorF16(
                weights.dequantize_f16(&device)?,
            ))),
            GgmlDType::F32 | GgmlDType::BF16 => dense(weights),
            GgmlDType::Q4_1 if device.is_cpu() => shift(&weights),
            _ => Ok(Self::Packed(weights)),
        }
    }

    /// `x · Wᵀ` for `[rows, columns]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Packed(weights) => x.apply_op1_no_bwd(weights.as_ref()),
            Self::Shifted { blocks, constants } => {
                let sums = x.reshape(((), constants.dim(0)?, BLOCK))?.sum(D::Minus1)?;
                x.apply_op1_no_bwd(blocks.as_ref())? + sums.matmul(constants)?
            }
            Self::Dense(weights) => weights.forward(x),
        }
    }

    /// Rows of the matrix.
    pub(crate) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        match self {
            Self::Packed(weights) => weights.embedding(ids),
            Self::Shifted { blocks, constants } => {
                let (count, per_row) = (ids.elem_count(), constants.dim(0)?);
                let shifts = constants
                    .t()?
                    .index_select(ids, 0)?
                    .reshape((count, per_row, 1))?;
                let rows = blocks.embedding(ids)?.reshape((count, per_row, BLOCK))?;
                rows.broadcast_add(&shifts)?
                    .reshape((count, per_row * BLOCK))
            }
            Self::Dense(weights) => weights.embedding(ids)?.to_dtype(DType::F32),
        }
    }
}

/// Separates the constants of a `Q4_1` matrix.
fn shift(weights: &QTensor) -> Result<Matrix> {
    let (rows, columns) = weights.shape().dims2()?;
    let stored = weights.data()?;
    let count = stored.len() / Q4_1_BYTES;
    let (mut blocks, mut constants) = (
        Vec::with_capacity(count * Q4_0_BYTES),
        Vec::with_capacity(count),
    );
    for block in stored.chunks_exact(Q4_1_BYTES) {
        let number = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        blocks.extend_from_slice(&block[..2]);
        blocks.extend_from_slice(&block[4..]);
        constants.push(number(2) + 8.0 * number(0));
    }
    let blocks = QTensor::new(
        QStorage::from_data(Cow::Owned(blocks), &Device::Cpu, GgmlDType::Q4_0)?,
        (rows, columns),
    )?;
    let constants = Tensor::from_vec(constants, (rows, columns / BLOCK), &Device::Cpu)?.t()?;
    Ok(Matrix::Shifted {
        blocks: Arc::new(blocks),
        constants,
    })
}
