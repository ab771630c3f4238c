//! Graphics processors.

use serde::{Deserialize, Serialize};

/// Properties and settings of a GPU. NVIDIA's through NVML, if its driver is installed;
/// Apple's from the registry of devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// For example `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Dedicated memory in bytes; `None` if it shares the system's.
    pub memory_bytes: Option<u64>,
    /// Cores, if the system counts them (Apple's).
    pub cores: Option<u32>,
    /// Version of the driver.
    pub driver: Option<String>,
    /// Enforced power limit, in watts.
    pub power_limit_w: Option<u32>,
    /// `default`, `exclusive_process`, `prohibited`, …
    pub compute_mode: Option<String>,
    /// `true` if it is split into instances.
    pub mig: Option<bool>,
}

/// State of a GPU at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuState {
    /// Temperature of the chip, in °C.
    pub temperature_c: Option<u32>,
    /// Power draw of the board, in watts.
    pub power_w: Option<f64>,
    /// Clock of its multiprocessors, in MHz.
    pub sm_clock_mhz: Option<u32>,
    /// Clock of its memory, in MHz.
    pub memory_clock_mhz: Option<u32>,
    /// Memory in use by any process, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// Reasons for reduced clocks: names from [`SLOWING`] and others of NVML's.
    pub throttle_reasons: Vec<String>,
    /// Time with clocks reduced by heat since the driver was loaded, in nanoseconds. Only
    /// differences are meaningful.
    pub thermal_violation_ns: Option<u64>,
    /// Time with clocks reduced by the power limit since the driver was loaded, in
    /// nanoseconds.
    pub power_violation_ns: Option<u64>,
    /// Energy in joules since the driver was loaded.
    pub energy_j: Option<f64>,
    /// Share of the last moments in which some kernel ran, in percent.
    pub busy_percent: Option<u32>,
}

/// A GPU that the processes of an engine used, over a period, from samples every 500 ms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuUsage {
    /// Number of the GPU, from 0, in the driver's order.
    pub index: u32,
    /// Samples in the period.
    pub samples: u32,
    /// Highest temperature in °C.
    pub max_temperature_c: Option<u32>,
    /// Mean clock of the multiprocessors in MHz.
    pub mean_sm_clock_mhz: Option<f64>,
    /// Peak memory in bytes: of the processes if the driver tells them apart, else the
    /// increase since the sampler's start.
    pub peak_memory_bytes: Option<u64>,
    /// Energy of the whole board in joules, from readings every 100 ms; `None` for a period
    /// shorter than [`ENERGY_PERIOD`](crate::ENERGY_PERIOD).
    pub energy_joules: Option<f64>,
    /// Share of the samples, 0 to 1, for every reason for reduced clocks.
    pub throttled: std::collections::BTreeMap<String, f64>,
    /// Share of the time in which heat throttled it, by the driver's own account.
    pub thermal_share: Option<f64>,
    /// Share of the time in which its power limit held it, likewise.
    pub power_share: Option<f64>,
}

/// Reasons of [`GpuState::throttle_reasons`] due to heat or a failing supply rather than
/// a setting or an idle GPU. Excludes `sw_power_cap`, the power limit: some boards are at
/// it whenever they are busy.
pub(crate) const SLOWING: [&str; 4] = [
    "hw_slowdown",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
];
