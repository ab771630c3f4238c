//! The machine.

use prony_plugin_sdk::result::Environment;
use sysinfo::System;

/// What can be read of this machine.
pub(crate) fn read() -> Environment {
    let system = System::new().map(|mut system| {
        system.refresh_memory();
        system.refresh_cpu_all();
        system
    });
    let cpus = system.as_ref().map_or(&[][..], System::cpus);
    let cpu = cpus
        .first()
        .map(|cpu| cpu.brand().trim().to_owned())
        .filter(|brand| !brand.is_empty());
    let unknown = || "unknown".to_owned();
    Environment {
        os: System::long_os_version().unwrap_or_else(|_| unknown()),
        kernel: System::kernel_version().unwrap_or_else(|_| unknown()),
        arch: std::env::consts::ARCH.to_owned(),
        cpu: cpu.unwrap_or_else(unknown),
        cpus: cpus.len() as u32,
        memory_bytes: system.as_ref().map_or(0, System::total_memory),
        load_average: System::load_average().map_or(0.0, |load| load.one),
    }
}
