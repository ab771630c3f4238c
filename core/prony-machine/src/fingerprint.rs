//! The properties of a machine that make the numbers of two runs comparable.

use crate::gpu::Gpu;
use crate::os;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sysinfo::System;

/// The machine, as far as it can be read. `None` means unknown, or meaningless on this
/// system.
///
/// Sources: sysinfo for the processor's name, memory and versions; on Linux `/proc` and
/// `/sys`, on macOS `sysctl` and `ioreg`; NVML for NVIDIA's GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fingerprint {
    /// First 12 hexadecimal digits of the SHA-256 of everything below.
    pub digest: String,
    /// For example `Debian GNU/Linux 12`.
    pub os: String,
    /// Version of the kernel.
    pub kernel: String,
    /// `x86_64`, `aarch64`, …
    pub arch: String,
    /// Product name, for example `Mac15,6`; no serial number.
    pub product: Option<String>,
    /// The processor's name.
    pub cpu: String,
    /// Physical cores.
    pub physical_cores: Option<u32>,
    /// Logical CPUs.
    pub logical_cpus: u32,
    /// Logical CPUs that this process may use.
    pub usable_cpus: Option<u32>,
    /// Fast cores, if there are several kinds.
    pub performance_cores: Option<u32>,
    /// Processor packages.
    pub sockets: Option<u32>,
    /// Memory nodes.
    pub numa_nodes: Option<u32>,
    /// Physical memory in bytes.
    pub memory_bytes: u64,
    /// Evidence of a virtual machine, for example `hypervisor flag`.
    pub virtual_machine: Option<String>,
    /// Evidence of a container, for example `docker`.
    pub container: Option<String>,
    /// CPU frequency driver, for example `intel_pstate`.
    pub cpu_driver: Option<String>,
    /// The governors in use, sorted, joined by `+`.
    pub governor: Option<String>,
    /// The energy preferences in use, sorted, joined by `+`.
    pub energy_preference: Option<String>,
    /// `true` if cores may run above their nominal clock.
    pub boost: Option<bool>,
    /// `true` if cores run several threads at once.
    pub smt: Option<bool>,
    /// CPU quota of this process's control group, in thousandths of a CPU.
    pub cpu_quota_millis: Option<u64>,
    /// Memory limit of that group, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// The GPUs, in the driver's order.
    pub gpus: Vec<Gpu>,
}

/// A field in which two fingerprints differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Name of the field; `gpus.0.driver` for one of a GPU.
    pub what: String,
    /// Value in the first; `unknown` if it has none.
    pub first: String,
    /// Value in the second.
    pub second: String,
}

impl Fingerprint {
    /// Reads this machine. Takes up to a second if a GPU's driver has to be loaded, so it
    /// is for the start of a run.
    pub fn read() -> Self {
        let system = System::new().ok().map(|mut system| {
            system.refresh_memory();
            system.refresh_cpu_all();
            system
        });
        let cpus = system.as_ref().map_or(&[][..], System::cpus);
        let cpu = cpus.first().map(|cpu| cpu.brand().trim().to_owned());
        let unknown = || "unknown".to_owned();
        let mut print = Self {
            os: System::long_os_version().unwrap_or_else(|_| unknown()),
            kernel: System::kernel_version().unwrap_or_else(|_| unknown()),
            arch: std::env::consts::ARCH.to_owned(),
            cpu: cpu
                .filter(|brand| !brand.is_empty())
                .unwrap_or_else(unknown),
            physical_cores: System::physical_core_count()
                .ok()
                .and_then(|cores| u32::try_from(cores).ok()),
            logical_cpus: cpus.len() as u32,
            memory_bytes: system.as_ref().map_or(0, System::total_memory),
            gpus: crate::nvml::gpus(),
            ..Self::default()
        };
        os::fill_in(&mut print);
        print.digest = print.compute_digest();
        print
    }

    /// Computes the value of [`Self::digest`].
    pub fn compute_digest(&self) -> String {
        let mut hash = Sha256::new();
        for (name, value) in self.parts() {
            // Names and values have no line breaks.
            hash.update(format!("{name}={}\n", value.replace('\n', " ")));
        }
        let digest = hash.finalize();
        let mut first = [0; 8];
        first[2..].copy_from_slice(&digest[..6]);
        format!("{:012x}", u64::from_be_bytes(first))
    }

    /// The fields that differ in `other`; empty if the digests are equal.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let (first, second) = (self.parts(), other.parts());
        let value = |parts: &[(String, String)], name: &str| {
            parts
                .iter()
                .find(|(it, _)| it == name)
                .map_or_else(|| "unknown".to_owned(), |(_, value)| value.clone())
        };
        let mut names: Vec<&String> = first.iter().map(|(name, _)| name).collect();
        for (name, _) in &second {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
            .into_iter()
            .map(|name| Difference {
                what: name.clone(),
                first: value(&first, name),
                second: value(&second, name),
            })
            .filter(|difference| difference.first != difference.second)
            .collect()
    }

    /// Names and values of the known fields. Memory counts in whole GiB, since the
    /// kernel's own share depends on its version.
    fn parts(&self) -> Vec<(String, String)> {
        const GIB: u64 = 1 << 30;
        let mut parts: Vec<(String, Option<String>)> = Vec::new();
        let mut part = |name: &str, value: Option<String>| parts.push((name.to_owned(), value));
        let number = |value: Option<u32>| value.map(|it| it.to_string());
        let yes = |value: Option<bool>| value.map(|it| it.to_string());
        part("os", Some(self.os.clone()));
        part("kernel", Some(self.kernel.clone()));
        part("arch", Some(self.arch.clone()));
        part("product", self.product.clone());
        part("cpu", Some(self.cpu.clone()));
        part("physical_cores", number(self.physical_cores));
        part("logical_cpus", Some(self.logical_cpus.to_string()));
        part("usable_cpus", number(self.usable_cpus));
        part("performance_cores", number(self.performance_cores));
        part("sockets", number(self.sockets));
        part("numa_nodes", number(self.numa_nodes));
        let gib = self.memory_bytes.div_ceil(GIB);
        part("memory", Some(format!("{gib} GiB")));
        part("virtual_machine", self.virtual_machine.clone());
        part("container", self.container.clone());
        part("cpu_driver", self.cpu_driver.clone());
        part("governor", self.governor.clone());
        part("energy_preference", self.energy_preference.clone());
        part("boost", yes(self.boost));
        part("smt", yes(self.smt));
        let quota = self.cpu_quota_millis.map(|it| it.to_string());
        part("cpu_quota_millis", quota);
        let limit = self.memory_limit_bytes.map(|it| it.to_string());
        part("memory_limit_bytes", limit);
        for (index, gpu) in self.gpus.iter().enumerate() {
            let mut part = |name: &str, value| part(&format!("gpus.{index}.{name}"), value);
            part("name", Some(gpu.name.clone()));
            part("memory_bytes", gpu.memory_bytes.map(|it| it.to_string()));
            part("cores", number(gpu.cores));
            part("driver", gpu.driver.clone());
            part("power_limit_w", number(gpu.power_limit_w));
            part("compute_mode", gpu.compute_mode.clone());
            part("mig", yes(gpu.mig));
        }
        parts
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Fingerprint {
        Fingerprint {
            os: "Linux 12".to_owned(),
            cpu: "Example 9".to_owned(),
            logical_cpus: 8,
            memory_bytes: 33_500_000_000,
            gpus: vec![Gpu {
                name: "GPU".to_owned(),
                driver: Some("1.2".to_owned()),
                ..Gpu::default()
            }],
            ..Fingerprint::default()
        }
    }

    #[test]
    fn a_digest_is_of_what_matters() {
        let one = example();
        let mut other = one.clone();
        other.memory_bytes += 5_000_000;
        assert_eq!(one.compute_digest(), other.compute_digest());
        assert_eq!(one.differences(&other), []);
        other.gpus[0].driver = Some("1.3".to_owned());
        other.smt = Some(false);
        assert_ne!(one.compute_digest(), other.compute_digest());
        let found: Vec<_> = one
            .differences(&other)
            .into_iter()
            .map(|it| (it.what, it.first, it.second))
            .collect();
        let of = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            found,
            [
                of("gpus.0.driver", "1.2", "1.3"),
                of("smt", "unknown", "false")
            ]
        );
    }

    #[test]
    fn a_digest_is_the_same_everywhere() {
        assert_eq!(example().compute_digest(), "1947df7ba2cb");
    }

    #[test]
    fn this_machine_can_be_read() {
        let print = Fingerprint::read();
        assert!(print.logical_cpus > 0 && print.memory_bytes > 0);
        assert_eq!(print.digest, print.compute_digest());
        let json = serde_json::to_string(&print).expect("it has no odd keys");
        let back: Fingerprint = serde_json::from_str(&json).expect("it was just written");
        assert_eq!(back, print);
        let host = System::host_name().unwrap_or_default();
        assert!(host.len() < 4 || !json.contains(&host), "{json}");
    }
}
