//! The machine.

use prony_machine::{Fingerprint, Gpu, State};
use prony_result::Environment;

/// The description of a machine in the result.
pub(crate) fn of(machine: &Fingerprint, state: &State) -> Environment {
    Environment {
        os: machine.os.clone(),
        kernel: machine.kernel.clone(),
        arch: machine.arch.clone(),
        cpu: machine.cpu.clone(),
        cpus: machine.logical_cpus,
        memory_bytes: machine.memory_bytes,
        load_average: state.load_average.unwrap_or_default(),
        machine: machine.digest.clone(),
        virtual_machine: Some(machine.virtual_machine.is_some()),
        governor: machine.governor.clone(),
        gpus: machine.gpus.iter().map(gpu).collect(),
    }
}

fn gpu(gpu: &Gpu) -> String {
    match &gpu.driver {
        Some(driver) => format!("{} (driver {driver})", gpu.name),
        None => gpu.name.clone(),
    }
}
