//! NVIDIA's GPUs, through the library of their driver. It is loaded once, on first use;
//! without it there are no GPUs.

use crate::gpu::{Gpu, GpuState};
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{
    Clock, ComputeMode, PerformancePolicy, TemperatureSensor,
};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::{Device, Nvml};
use std::collections::BTreeMap;
use std::sync::OnceLock;

fn library() -> Option<&'static Nvml> {
    static LIBRARY: OnceLock<Option<Nvml>> = OnceLock::new();
    LIBRARY.get_or_init(|| Nvml::init().ok()).as_ref()
}

fn devices() -> impl Iterator<Item = Device<'static>> {
    library().into_iter().flat_map(|library| {
        let count = library.device_count().unwrap_or(0);
        (0..count).filter_map(|index| library.device_by_index(index).ok())
    })
}

pub(crate) fn gpus() -> Vec<Gpu> {
    let driver = library().and_then(|library| library.sys_driver_version().ok());
    devices()
        .map(|device| Gpu {
            name: device.name().unwrap_or_else(|_| "unknown".to_owned()),
            memory_bytes: device.memory_info().ok().map(|memory| memory.total),
            cores: None,
            driver: driver.clone(),
            power_limit_w: device
                .enforced_power_limit()
                .ok()
                .map(|milliwatts| milliwatts / 1000),
            compute_mode: device.compute_mode().ok().map(|mode| {
                match mode {
                    ComputeMode::Default => "default",
                    ComputeMode::ExclusiveThread => "exclusive_thread",
                    ComputeMode::Prohibited => "prohibited",
                    ComputeMode::ExclusiveProcess => "exclusive_process",
                }
                .to_owned()
            }),
            mig: device.mig_mode().ok().map(|mode| mode.current == 1),
        })
        .collect()
}

pub(crate) fn states() -> Vec<GpuState> {
    devices()
        .map(|device| {
            let violation = |policy| {
                let status = device.violation_status(policy).ok()?;
                Some(status.violation_time)
            };
            GpuState {
                temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
                power_w: device
                    .power_usage()
                    .ok()
                    .map(|milliwatts| f64::from(milliwatts) / 1e3),
                sm_clock_mhz: device.clock_info(Clock::SM).ok(),
                memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
                memory_used_bytes: device.memory_info().ok().map(|memory| memory.used),
                throttle_reasons: device
                    .current_throttle_reasons()
                    .map(names)
                    .unwrap_or_default(),
                thermal_violation_ns: violation(PerformancePolicy::Thermal),
                power_violation_ns: violation(PerformancePolicy::Power),
                energy_j: energy(&device),
                busy_percent: device.utilization_rates().ok().map(|it| it.gpu),
            }
        })
        .collect()
}

/// Energy of each GPU in joules since the driver was loaded.
pub(crate) fn joules() -> Vec<Option<f64>> {
    devices().map(|device| energy(&device)).collect()
}

fn energy(device: &Device<'_>) -> Option<f64> {
    let millijoules = device.total_energy_consumption().ok()?;
    Some(millijoules as f64 / 1e3)
}

/// `sw_power_cap`, …
fn names(reasons: ThrottleReasons) -> Vec<String> {
    reasons
        .iter_names()
        .map(|(name, _)| name.to_lowercase())
        .filter(|name| name != "user_defined_clocks" && name != "none")
        .collect()
}

/// Memory in bytes held by these processes on each GPU. `None` if NVML knows none of
/// them: in a process namespace, as in a container, it uses other ids.
pub(crate) fn memory_of(pids: &[u32]) -> Option<Vec<u64>> {
    let of_device = |device: Device<'_>| {
        // A process may be listed for computing and for graphics, with the same sum.
        let mut held = BTreeMap::new();
        let listed = [
            device.running_compute_processes(),
            device.running_graphics_processes(),
        ];
        for process in listed.into_iter().flatten().flatten() {
            if let (true, UsedGpuMemory::Used(bytes)) =
                (pids.contains(&process.pid), process.used_gpu_memory)
            {
                held.insert(process.pid, bytes);
            }
        }
        (!held.is_empty()).then(|| held.values().sum())
    };
    let held: Vec<Option<u64>> = devices().map(of_device).collect();
    let known = held.iter().any(Option::is_some);
    known.then(|| held.into_iter().map(Option::unwrap_or_default).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_the_names_of_the_library() {
        let reasons = ThrottleReasons::SW_POWER_CAP | ThrottleReasons::HW_THERMAL_SLOWDOWN;
        assert_eq!(names(reasons), ["sw_power_cap", "hw_thermal_slowdown"]);
        assert_eq!(names(ThrottleReasons::NONE), [""; 0]);
        for name in crate::gpu::SLOWING {
            assert!(
                ThrottleReasons::from_name(&name.to_uppercase()).is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_machine_without_the_driver_has_no_gpus() {
        // With a driver this only checks that nothing fails.
        assert_eq!(gpus().len(), states().len());
        assert_eq!(gpus().len(), joules().len());
        assert_eq!(memory_of(&[]), None);
    }
}
