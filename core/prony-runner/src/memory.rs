//! Resident memory of an engine's processes.

use std::collections::HashSet;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Sum over the process and its descendants: on Linux the kernel's high-water
/// mark of each, which no sampling can miss; elsewhere what they hold now.
/// Called between stages, never during one. `None` when the process is gone.
pub(crate) fn peak_bytes(leader: u32) -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::All,
        true,
        ProcessRefreshKind::nothing().with_memory(),
    );
    let mut family = HashSet::from([Pid::from_u32(leader)]);
    loop {
        let before = family.len();
        for (pid, process) in system.processes() {
            if process.thread_kind().is_none()
                && process
                    .parent()
                    .is_some_and(|parent| family.contains(&parent))
            {
                family.insert(*pid);
            }
        }
        if family.len() == before {
            break;
        }
    }
    let bytes: u64 = family
        .iter()
        .filter_map(|pid| system.process(*pid))
        .map(|process| high_water_bytes(process.pid()).unwrap_or_else(|| process.memory()))
        .sum();
    (bytes > 0).then_some(bytes)
}

#[cfg(target_os = "linux")]
fn high_water_bytes(pid: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(not(target_os = "linux"))]
fn high_water_bytes(_: Pid) -> Option<u64> {
    None
}
