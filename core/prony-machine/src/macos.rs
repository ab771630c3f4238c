//! macOS: its commands, and a library for the sampler.

use crate::client;
use crate::fingerprint::Fingerprint;
use crate::gpu::Gpu;
use crate::macos_text as text;
use crate::state::{ProcessTime, State};
use crate::tree::{Family, Seen, pause};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::process::{Command, Stdio};
use std::time::Instant;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// The output of a system command, even if it fails: `sysctl` fails if one of several
/// names does not exist.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .env("LC_ALL", "C")
        .output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn sysctls(names: &[&str]) -> impl Fn(&str) -> Option<String> {
    let all = output("/usr/sbin/sysctl", names);
    move |name| text::sysctl(&all, name).map(str::to_owned)
}

pub(crate) fn fill_in(print: &mut Fingerprint) {
    let value = sysctls(&[
        "hw.model",
        "hw.packages",
        "hw.perflevel0.physicalcpu",
        "kern.hv_vmm_present",
    ]);
    let number = |name: &str| value(name).and_then(|it| it.parse::<u32>().ok());
    print.product = value("hw.model");
    print.sockets = number("hw.packages");
    print.performance_cores = number("hw.perflevel0.physicalcpu");
    if number("kern.hv_vmm_present") == Some(1) {
        print.virtual_machine = Some("kern.hv_vmm_present".to_owned());
    }
    let gpu = text::gpu(&output(
        "/usr/sbin/ioreg",
        &["-rd1", "-c", "AGXAccelerator"],
    ));
    print.gpus.extend(gpu.map(|(name, cores)| Gpu {
        name,
        cores,
        ..Gpu::default()
    }));
}

pub(crate) fn out_of_memory_kills() -> Option<u64> {
    None
}

pub(crate) fn observe(state: &mut State) {
    (state.power, state.battery_percent) =
        text::battery(&output("/usr/bin/pmset", &["-g", "batt"]));
    let settings = output("/usr/bin/pmset", &["-g"]);
    state.low_power_mode = text::setting(&settings, "lowpowermode").map(|mode| mode == 1);
    let therm = output("/usr/bin/pmset", &["-g", "therm"]);
    state.speed_limit_percent = text::setting(&therm, "CPU_Speed_Limit");
    let value = sysctls(&["kern.memorystatus_vm_pressure_level", "vm.swapusage"]);
    // 1 is normal, 2 a warning, 4 critical.
    state.memory_short = value("kern.memorystatus_vm_pressure_level")
        .and_then(|level| level.parse::<u32>().ok())
        .map(|level| level > 1);
    state.swap_used_bytes = value("vm.swapusage").and_then(|it| text::swap_used_bytes(&it));
    state.swapped_bytes = text::swapped_bytes(&output("/usr/bin/vm_stat", &[]));
    // On macOS pressure counts; free memory says little.
}

/// The system adopts orphans itself, and tells the environment only to debuggers.
pub(crate) fn members(_of: &Family) -> Vec<ProcessTime> {
    Vec::new()
}

/// There are no adopted orphans.
pub(crate) fn ended_children(_of: u32) -> Vec<u32> {
    Vec::new()
}

/// As [`members`].
pub(crate) fn descendants(_of: u32) -> Vec<ProcessTime> {
    Vec::new()
}

/// The system tells the environment only to debuggers.
pub(crate) fn variable(_pid: u32, _name: &str) -> Option<String> {
    None
}

/// Nothing that is left over could be found.
pub(crate) fn boot() -> Option<String> {
    None
}

/// The system does not tell without reading every process's files.
pub(crate) fn listeners(_port: u16) -> Vec<Vec<ProcessTime>> {
    Vec::new()
}

/// Uses `ps`, which may see the processes of all users; this process may not.
pub(crate) fn processes() -> Vec<ProcessTime> {
    text::processes(&output("/bin/ps", &["-axo", "pid=,pgid=,time=,comm="]))
}

/// Sum over the processes.
pub(crate) fn busy_ns() -> Option<u64> {
    None
}

/// Gives the calling thread a background quality of service.
pub(crate) fn keep_out_of_the_way(_: &[usize]) {
    // SAFETY: it changes the calling thread and takes no pointers.
    unsafe {
        libc::pthread_set_qos_class_self_np(libc::qos_class_t::QOS_CLASS_UTILITY, 0);
    }
}

/// A process and its tree.
pub(crate) struct Tree {
    root: Pid,
    system: Option<System>,
    /// CPU time in milliseconds by id and start.
    members: BTreeMap<(Pid, u64), u64>,
    alive: BTreeSet<(Pid, u64)>,
    search_at: Instant,
}

impl Tree {
    pub(crate) fn new(of: Family) -> Self {
        Self {
            root: Pid::from_u32(of.leader),
            system: System::new().ok(),
            members: BTreeMap::new(),
            alive: BTreeSet::new(),
            search_at: Instant::now(),
        }
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.alive.iter().map(|(pid, _)| pid.as_u32()).collect()
    }

    /// Footprints hold no shared pages.
    #[allow(clippy::unused_self)]
    pub(crate) fn counted_twice_bytes(&self) -> Option<u64> {
        Some(0)
    }

    pub(crate) fn sample(&mut self) -> Seen {
        let begin = Instant::now();
        let search = begin >= self.search_at;
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
        let (mut rss_bytes, mut high_water) = (None, None);
        if let Some(system) = &mut self.system {
            let pids: Vec<Pid> = self.alive.iter().map(|(pid, _)| *pid).collect();
            let which = if search {
                ProcessesToUpdate::All
            } else {
                ProcessesToUpdate::Some(&pids)
            };
            let spent = client::thread_cpu_ns();
            system.refresh_processes_specifics(which, true, what);
            if search {
                search_in(system, self.root, &mut self.alive);
                self.search_at = begin + pause(spent);
            }
            let members = &mut self.members;
            self.alive.retain(|&(pid, started)| {
                let Some(process) = system
                    .process(pid)
                    .filter(|process| process.start_time() == started)
                else {
                    return false;
                };
                let used = members.entry((pid, started)).or_default();
                *used = process.accumulated_cpu_time().max(*used);
                let (footprint, mark) = footprint(pid).unwrap_or((0, 0));
                *rss_bytes.get_or_insert(0) += process.memory().max(footprint);
                if search {
                    *high_water.get_or_insert(0) += mark.max(process.memory());
                }
                true
            });
        }
        Seen {
            rss_bytes,
            cpu_ns: self.members.values().sum::<u64>() * 1_000_000,
            high_water_bytes: high_water,
        }
    }
}

/// Finds processes that descend from the root.
fn search_in(system: &System, root: Pid, alive: &mut BTreeSet<(Pid, u64)>) {
    let mut family: HashSet<Pid> = alive.iter().map(|(pid, _)| *pid).collect();
    family.insert(root);
    loop {
        let before = family.len();
        for (pid, process) in system.processes() {
            if process
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
    let found = family.iter().filter_map(|pid| system.process(*pid));
    alive.extend(found.map(|process| (process.pid(), process.start_time())));
}

/// A process's physical footprint and its peak, in bytes. Unlike the resident set it
/// includes what the GPU uses on the process's behalf.
fn footprint(pid: Pid) -> Option<(u64, u64)> {
    let pid = i32::try_from(pid.as_u32()).ok()?;
    let mut usage = std::mem::MaybeUninit::<libc::rusage_info_v4>::zeroed();
    // SAFETY: the buffer is of the struct that the flavor names, and outlives the call;
    // the parameter's type is one for all flavors.
    let failed =
        unsafe { libc::proc_pid_rusage(pid, libc::RUSAGE_INFO_V4, usage.as_mut_ptr().cast()) } != 0;
    if failed {
        return None;
    }
    // SAFETY: zeroed, which is a valid value of this struct of integers, and then filled
    // in by the call.
    let usage = unsafe { usage.assume_init() };
    Some((
        usage.ri_phys_footprint,
        usage.ri_lifetime_max_phys_footprint,
    ))
}

/// Energy of the processor packages, which only root can read here.
pub(crate) struct Packages;

impl Packages {
    pub(crate) fn new() -> Self {
        Self
    }

    #[allow(clippy::unused_self)]
    pub(crate) fn joules(&mut self) -> Option<f64> {
        None
    }
}
