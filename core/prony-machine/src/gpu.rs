//! Graphics processors.

use serde::{Deserialize, Serialize};

/// What a GPU is, and how it is set. NVIDIA's through NVML, if its driver is
/// there; Apple's from the registry of devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// For example `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its own memory in bytes; `None` if it shares the system's.
    pub memory_bytes: Option<u64>,
    /// Cores, where the system counts them (Apple's).
    pub cores: Option<u32>,
    /// Version of the driver.
    pub driver: Option<String>,
    /// Limit of its power in watts, as enforced.
    pub power_limit_w: Option<u32>,
    /// `default`, `exclusive_process`, `prohibited`, …
    pub compute_mode: Option<String>,
    /// Whether it is split into instances.
    pub mig: Option<bool>,
}

/// How a GPU is at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuState {
    /// Of the chip, in °C.
    pub temperature_c: Option<u32>,
    /// Draw of the board in watts.
    pub power_w: Option<f64>,
    /// Clock of its multiprocessors in MHz.
    pub sm_clock_mhz: Option<u32>,
    /// Clock of its memory in MHz.
    pub memory_clock_mhz: Option<u32>,
    /// Memory in use, by whomever, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// What keeps its clocks down: names from [`SLOWING`] and others of NVML's.
    pub throttle_reasons: Vec<String>,
    /// Since the driver was loaded, time with clocks kept down by heat, in
    /// nanoseconds. Only the difference of two means something.
    pub thermal_violation_ns: Option<u64>,
    /// The same for the limit of its power.
    pub power_violation_ns: Option<u64>,
    /// Energy in joules since the driver was loaded.
    pub energy_j: Option<f64>,
}

/// How a GPU was over a window of time, from samples every 500 ms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuUsage {
    /// Samples in the window.
    pub samples: u32,
    /// Highest temperature in °C.
    pub max_temperature_c: Option<u32>,
    /// Mean clock of the multiprocessors in MHz.
    pub mean_sm_clock_mhz: Option<f64>,
    /// Share of the samples, 0 to 1, for every reason that kept clocks down.
    pub throttled: std::collections::BTreeMap<String, f64>,
}

/// Reasons of [`GpuState::throttle_reasons`] that are about heat or a failing
/// supply and not about a setting or an idle GPU. `sw_power_cap`, the power limit
/// at work, is not one of them: some boards run there whenever they are busy.
pub(crate) const SLOWING: [&str; 4] = [
    "hw_slowdown",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
];
