//! The state of the machine at one moment.

use crate::gpu::GpuState;
use crate::{client, now_ns, os};
use serde::{Deserialize, Serialize};

/// Power source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// The mains.
    Ac,
    /// A battery.
    Battery,
}

/// CPU time of a process up to one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessTime {
    /// Process id.
    pub pid: u32,
    /// Its process group.
    pub group: u32,
    /// Start time, in units of the system's; distinguishes processes that had the same
    /// id.
    pub started: u64,
    /// The program's name, without its path.
    pub name: String,
    /// User and system time in nanoseconds.
    pub cpu_ns: u64,
}

/// The machine at one moment. Counters start at an arbitrary time; a
/// [`Change`](crate::Change) evaluates two of them.
///
/// Sources: on Linux `/proc` (`stat`, `loadavg`, `meminfo`, `vmstat`, `pressure`,
/// `PID/stat`) and `/sys` (`thermal`, `hwmon`, `cpufreq`, `power_supply`); on macOS `ps`,
/// `pmset`, `sysctl` and `vm_stat`; NVML for NVIDIA's GPUs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Time of reading, as [`now_ns`](crate::now_ns) counts.
    pub at_ns: u64,
    /// Load average over one minute.
    pub load_average: Option<f64>,
    /// Power source; `None` also without a battery.
    pub power: Option<Power>,
    /// Charge of the battery in percent.
    pub battery_percent: Option<u32>,
    /// `true` if the system is set to save energy.
    pub low_power_mode: Option<bool>,
    /// Highest temperature of any sensor in °C.
    pub temperature_c: Option<f64>,
    /// Mean clock of the CPUs in MHz.
    pub mean_clock_mhz: Option<u32>,
    /// Highest clock of a CPU in MHz.
    pub max_clock_mhz: Option<u32>,
    /// Number of times a processor lowered its clock because of heat, since boot.
    pub throttle_count: Option<u64>,
    /// Maximum CPU speed allowed by the system, in percent of full speed (macOS).
    pub speed_limit_percent: Option<u32>,
    /// CPU time used by all processes, in nanoseconds, since boot.
    pub busy_ns: Option<u64>,
    /// CPU time given to other guests of the host instead, in nanoseconds.
    pub steal_ns: Option<u64>,
    /// Time in which some task waited for a CPU, in nanoseconds.
    pub cpu_stall_ns: Option<u64>,
    /// Time in which some task waited for memory, in nanoseconds.
    pub memory_stall_ns: Option<u64>,
    /// `true` if the system reports a shortage of memory (macOS).
    pub memory_short: Option<bool>,
    /// Memory available without swapping, in bytes.
    pub memory_available_bytes: Option<u64>,
    /// Memory shared by processes, and of files in memory, in bytes (Linux): it can outlive the
    /// processes.
    pub shared_memory_bytes: Option<u64>,
    /// Swap space in use, in bytes.
    pub swap_used_bytes: Option<u64>,
    /// Bytes written to and read from swap space since boot.
    pub swapped_bytes: Option<u64>,
    /// CPU time of this process in nanoseconds.
    pub own_cpu_ns: u64,
    /// CPU time of its child processes that have ended, in nanoseconds.
    pub ended_children_cpu_ns: u64,
    /// The GPUs, in the driver's order.
    pub gpus: Vec<GpuState>,
    /// CPU time of every process so far. Not kept: it names programs.
    #[serde(skip)]
    pub processes: Vec<ProcessTime>,
}

impl State {
    /// Reads this machine. Takes some milliseconds, more with thousands of processes, so
    /// it must not run during a measurement.
    pub fn read() -> Self {
        let mut state = Self {
            load_average: sysinfo::System::load_average().ok().map(|load| load.one),
            gpus: crate::nvml::states(),
            ..Self::default()
        };
        os::observe(&mut state);
        // Together, and last: their differences are compared with each other.
        state.processes = os::processes();
        state.busy_ns = os::busy_ns();
        state.own_cpu_ns = client::process_cpu_ns();
        state.ended_children_cpu_ns = client::ended_children_cpu_ns();
        state.at_ns = now_ns();
        state
    }
}

/// Number of processes that the kernel has ended since boot because memory ran out. `None` where
/// the system does not tell (macOS).
pub fn out_of_memory_kills() -> Option<u64> {
    os::out_of_memory_kills()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_read() {
        let state = State::read();
        assert!(state.at_ns > 0 && state.own_cpu_ns > 0);
        let own = std::process::id();
        assert!(state.processes.iter().any(|process| process.pid == own));
        let json = serde_json::to_string(&state).expect("it has no odd keys");
        assert!(!json.contains("processes"));
    }
}
