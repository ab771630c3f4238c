//! Systems without an NVIDIA driver.

use crate::gpu::{Gpu, GpuState};

pub(crate) fn gpus() -> Vec<Gpu> {
    Vec::new()
}

pub(crate) fn states() -> Vec<GpuState> {
    Vec::new()
}

pub(crate) fn joules() -> Vec<Option<f64>> {
    Vec::new()
}

pub(crate) fn memory_of(_: &[u32]) -> Option<Vec<u64>> {
    None
}
