//! Device and compute threads.

use crate::config::DeviceChoice;
use candle_core::Device;
use prony_plugin_sdk::{Error, Result};
use std::sync::Mutex;

/// Opens the device selected by the config.
pub(crate) fn device(choice: DeviceChoice) -> Result<Device> {
    let missing = |name: &str| {
        Err(Error::config(
            "/device",
            format!("this build has no `{name}`: build it with `--features {name}`"),
        ))
    };
    let opened = match choice {
        DeviceChoice::Auto | DeviceChoice::Cuda if cfg!(feature = "cuda") => Device::new_cuda(0),
        DeviceChoice::Auto | DeviceChoice::Metal if cfg!(feature = "metal") => Device::new_metal(0),
        DeviceChoice::Auto | DeviceChoice::Cpu => return Ok(Device::Cpu),
        DeviceChoice::Cuda => return missing("cuda"),
        DeviceChoice::Metal => return missing("metal"),
    };
    opened.map_err(|error| Error::engine(format!("cannot open the device: {error}")))
}

/// Number of compute threads of this process, once fixed.
static FIXED: Mutex<Option<usize>> = Mutex::new(None);

/// Fixes the number of compute threads: candle has one pool per process, sized at its
/// first use, so a second load with another number is refused.
pub(crate) fn fix_threads(asked: Option<usize>) -> Result<usize> {
    if asked == Some(0) {
        return Err(Error::config(
            "/threads",
            "`threads` is 0, expected at least 1",
        ));
    }
    let mut fixed = FIXED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let threads = match *fixed {
        Some(threads) => threads,
        None => *fixed.insert(start_pools(asked.unwrap_or_else(default_threads))),
    };
    match asked {
        Some(asked) if asked != threads => Err(Error::config(
            "/threads",
            format!(
                "`threads` is {asked}, but this process already computes with {threads}: the number is fixed at the first load"
            ),
        )),
        _ => Ok(threads),
    }
}

/// The number given by the environment or candle, but never more than the process may
/// use: the workers of candle's pool spin while they wait for each other.
fn default_threads() -> usize {
    let usable = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    candle_core::utils::get_num_threads().clamp(1, usable)
}

/// Starts both pools used by candle; returns the actual number of threads.
fn start_pools(threads: usize) -> usize {
    for name in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        let value = threads.to_string();
        if std::env::var(name).as_ref() != Ok(&value) {
            // SAFETY: candle sizes its pool from the environment and has no other
            // way in. An engine is loaded before its process does anything else,
            // and no code here reads the environment past `std`, which locks it.
            unsafe { std::env::set_var(name, value) };
        }
    }
    // An error means that the pool already exists; only its size matters.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global();
    let barrier = candle_core::utils::barrier_pool().n_workers() + 1;
    if rayon::current_num_threads() == threads {
        barrier
    } else {
        rayon::current_num_threads()
    }
}
