//! Linux: `/proc` and `/sys`.

use crate::client;
use crate::fingerprint::Fingerprint;
use crate::linux_text as text;
use crate::state::{Power, ProcessTime, State};
use crate::tree::{Family, Seen, pause};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

const CPUS: &str = "/sys/devices/system/cpu";
/// Below normal priority, but enough to run when all CPUs are busy.
const NICENESS: i32 = 10;

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

fn word(path: impl AsRef<Path>) -> Option<String> {
    let text = read(path)?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Entries of a folder whose names begin with `start`, in order.
fn entries(folder: impl AsRef<Path>, start: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// `/sys/devices/system/cpu/cpu0`, …, without `cpufreq`.
fn cpus() -> Vec<PathBuf> {
    let mut cpus = entries(CPUS, "cpu");
    cpus.retain(|path| {
        path.file_name()
            .and_then(|name| name.to_str()?.strip_prefix("cpu"))
            .is_some_and(|index| index.parse::<u32>().is_ok())
    });
    cpus
}

/// The contents of a file for every CPU that has it.
fn of_cpus<'c>(cpus: &'c [PathBuf], file: &'c str) -> impl Iterator<Item = String> + 'c {
    cpus.iter().filter_map(move |cpu| read(cpu.join(file)))
}

pub(crate) fn fill_in(print: &mut Fingerprint) {
    let cpus = cpus();
    let packages: BTreeSet<String> = of_cpus(&cpus, "topology/physical_package_id").collect();
    print.sockets = u32::try_from(packages.len())
        .ok()
        .filter(|count| *count > 0);
    print.numa_nodes =
        read("/sys/devices/system/node/online").and_then(|list| text::list_len(&list));
    print.usable_cpus = sched_getaffinity(None).ok().map(|set| set.count());
    print.cpu_driver = word(format!("{CPUS}/cpu0/cpufreq/scaling_driver"));
    print.governor = text::joined(of_cpus(&cpus, "cpufreq/scaling_governor"));
    print.energy_preference = text::joined(of_cpus(&cpus, "cpufreq/energy_performance_preference"));
    print.boost = number(format!("{CPUS}/cpufreq/boost"))
        .map(|on| on == 1)
        .or_else(|| number(format!("{CPUS}/intel_pstate/no_turbo")).map(|off| off == 0));
    print.smt = number(format!("{CPUS}/smt/active")).map(|on| on == 1);

    let dmi = |file: &str| word(format!("/sys/class/dmi/id/{file}"));
    print.product = dmi("product_name").or_else(|| {
        // Boards without DMI.
        let model = word("/sys/firmware/devicetree/base/model")?;
        Some(model.trim_end_matches('\0').to_owned())
    });
    let maker = dmi("sys_vendor").unwrap_or_default();
    let product = format!("{maker} {}", print.product.as_deref().unwrap_or_default());
    print.virtual_machine = if text::virtual_product(&product) {
        Some(product.trim().to_owned())
    } else if read("/proc/cpuinfo").is_some_and(|cpuinfo| text::hypervisor_flag(&cpuinfo)) {
        Some("hypervisor flag".to_owned())
    } else {
        word("/sys/hypervisor/type")
    };
    print.container = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")]
        .into_iter()
        .find(|(file, _)| Path::new(file).exists())
        .map(|(_, name)| name)
        .or_else(|| text::container_of(&read("/proc/1/cgroup")?))
        .map(str::to_owned);
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    print.cpu_quota_millis = limit(&groups, "cpu", |folder| {
        let quota = || read(folder.join("cpu.cfs_quota_us"));
        let period = || read(folder.join("cpu.cfs_period_us"));
        read(folder.join("cpu.max"))
            .and_then(|it| text::cpu_max_millis(&it))
            .or_else(|| text::quota_millis(&quota()?, &period()?))
    });
    print.memory_limit_bytes = limit(&groups, "memory", |folder| {
        read(folder.join("memory.max"))
            .or_else(|| read(folder.join("memory.limit_in_bytes")))
            .and_then(|it| text::memory_max(&it))
    })
    .filter(|limit| *limit < print.memory_bytes);
}

/// The lowest limit of this process's control group and those above it, in both versions
/// of the hierarchy. Inside a container the path may be the host's; then the mount is the
/// container's own.
fn limit(groups: &str, controller: &str, of: impl Fn(&Path) -> Option<u64>) -> Option<u64> {
    let mut lowest: Option<u64> = None;
    for (mount, name) in [
        (PathBuf::from("/sys/fs/cgroup"), ""),
        (Path::new("/sys/fs/cgroup").join(controller), controller),
    ] {
        let path = text::cgroup_path(groups, name).unwrap_or("/");
        let folder = mount.join(path.trim_start_matches('/'));
        for folder in folder.ancestors().take_while(|it| it.starts_with(&mount)) {
            if let Some(value) = of(folder) {
                lowest = Some(lowest.map_or(value, |lowest| lowest.min(value)));
            }
        }
    }
    lowest
}

pub(crate) fn observe(state: &mut State) {
    power(state);
    clocks(state);
    let sensors = entries("/sys/class/thermal", "thermal_zone")
        .into_iter()
        .map(|zone| zone.join("temp"))
        .chain(
            entries("/sys/class/hwmon", "hwmon")
                .into_iter()
                .flat_map(|chip| entries(chip, "temp"))
                .filter(|file| file.to_string_lossy().ends_with("_input")),
        );
    state.temperature_c = sensors
        .filter_map(|file| text::temperature_c(&read(file)?))
        .max_by(f64::total_cmp);

    let pressure = |what: &str| {
        let text = read(format!("/proc/pressure/{what}"))?;
        text::pressure_us(&text).map(|us| us.saturating_mul(1000))
    };
    state.cpu_stall_ns = pressure("cpu");
    state.memory_stall_ns = pressure("memory");
    let memory = read("/proc/meminfo").unwrap_or_default();
    state.memory_available_bytes = text::kib_of(&memory, "MemAvailable:");
    state.shared_memory_bytes = text::kib_of(&memory, "Shmem:");
    state.swap_used_bytes = text::kib_of(&memory, "SwapTotal:")
        .zip(text::kib_of(&memory, "SwapFree:"))
        .map(|(total, free)| total.saturating_sub(free));
    state.swapped_bytes = read("/proc/vmstat")
        .and_then(|vmstat| text::swapped_pages(&vmstat))
        .map(|pages| pages.saturating_mul(rustix::param::page_size() as u64));
    state.steal_ns = cpu_ticks().map(|(_, steal)| steal.saturating_mul(tick_ns()));
}

pub(crate) fn out_of_memory_kills() -> Option<u64> {
    text::count_of(&read("/proc/vmstat")?, "oom_kill")
}

fn power(state: &mut State) {
    let mut mains = None;
    let mut discharging = false;
    for supply in entries("/sys/class/power_supply", "") {
        let kind = word(supply.join("type"));
        match kind.as_deref() {
            Some("Mains" | "USB") => {
                let online = number(supply.join("online")) == Some(1);
                mains = Some(mains.unwrap_or(false) || online);
            }
            // Batteries of mice have another scope.
            Some("Battery") if word(supply.join("scope")).as_deref() != Some("Device") => {
                discharging |= word(supply.join("status")).as_deref() == Some("Discharging");
                state.battery_percent = number(supply.join("capacity"))
                    .and_then(|percent| u32::try_from(percent).ok())
                    .or(state.battery_percent);
            }
            _ => {}
        }
    }
    state.power = match (mains, state.battery_percent) {
        (Some(true), _) => Some(Power::Ac),
        (_, Some(_)) if discharging => Some(Power::Battery),
        (_, Some(_)) => Some(Power::Ac),
        (_, None) => None,
    };
    state.low_power_mode =
        word("/sys/firmware/acpi/platform_profile").map(|profile| profile == "low-power");
}

fn clocks(state: &mut State) {
    let cpus = cpus();
    let mut mhz: Vec<f64> = of_cpus(&cpus, "cpufreq/scaling_cur_freq")
        .filter_map(|khz| khz.trim().parse::<f64>().ok())
        .map(|khz| khz / 1000.0)
        .collect();
    if mhz.is_empty() {
        mhz = text::cpuinfo_mhz(&read("/proc/cpuinfo").unwrap_or_default());
    }
    if !mhz.is_empty() {
        state.mean_clock_mhz = Some((mhz.iter().sum::<f64>() / mhz.len() as f64) as u32);
        state.max_clock_mhz = mhz.into_iter().max_by(f64::total_cmp).map(|it| it as u32);
    }
    // Each CPU of a package shows the package's count, so the highest of them counts.
    let counts = |file| of_cpus(&cpus, file).filter_map(|it| it.trim().parse::<u64>().ok());
    let cores = counts("thermal_throttle/core_throttle_count").reduce(u64::saturating_add);
    let packages = counts("thermal_throttle/package_throttle_count").max();
    state.throttle_count = match (cores, packages) {
        (None, None) => None,
        (cores, packages) => Some(cores.unwrap_or(0).saturating_add(packages.unwrap_or(0))),
    };
}

fn cpu_ticks() -> Option<(u64, u64)> {
    text::cpu_ticks(&read("/proc/stat")?)
}

fn tick_ns() -> u64 {
    1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)
}

pub(crate) fn busy_ns() -> Option<u64> {
    Some(cpu_ticks()?.0.saturating_mul(tick_ns()))
}

fn stats() -> impl Iterator<Item = text::Stat> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
        })
        .filter_map(|entry| stat(&entry.path()))
}

fn stat(process: &Path) -> Option<text::Stat> {
    // A name may not be UTF-8.
    let bytes = std::fs::read(process.join("stat")).ok()?;
    text::stat(&String::from_utf8_lossy(&bytes))
}

pub(crate) fn processes() -> Vec<ProcessTime> {
    stats().map(ProcessTime::from).collect()
}

impl From<text::Stat> for ProcessTime {
    fn from(stat: text::Stat) -> Self {
        Self {
            pid: stat.pid,
            group: stat.group,
            started: stat.started,
            name: stat.name,
            cpu_ns: stat.ticks.saturating_mul(tick_ns()),
        }
    }
}

pub(crate) fn descendants(of: u32) -> Vec<ProcessTime> {
    let mut all: Vec<text::Stat> = stats().collect();
    let family = family(&all, BTreeSet::from([of]));
    all.retain(|it| it.pid != of && family.contains(&it.pid) && !matches!(it.state, 'Z' | 'X'));
    all.into_iter().map(ProcessTime::from).collect()
}

pub(crate) fn members(of: &Family) -> Vec<ProcessTime> {
    let all: Vec<text::Stat> = stats().collect();
    let members = members_among(&all, of, |_| false);
    let found = all.into_iter().filter(|it| members.contains(&it.pid));
    found
        .filter(|it| !matches!(it.state, 'Z' | 'X'))
        .map(ProcessTime::from)
        .collect()
}

/// Ids of a family's processes, and of those `known` as such.
fn members_among(
    all: &[text::Stat],
    of: &Family,
    known: impl Fn(&text::Stat) -> bool,
) -> BTreeSet<u32> {
    let seeds = all
        .iter()
        .filter(|it| it.pid == of.leader || it.group == of.leader || known(it))
        .map(|it| it.pid);
    let mut seeds: BTreeSet<u32> = seeds.collect();
    // Orphans are adopted by this process, so only its own descendants need a look.
    let own = family(all, BTreeSet::from([std::process::id()]));
    seeds.extend(own.into_iter().filter(|pid| of.has_marked(*pid)));
    family(all, seeds)
}

pub(crate) fn ended_children(of: u32) -> Vec<u32> {
    let ended = stats().filter(|it| it.parent == of && it.state == 'Z');
    ended.map(|it| it.pid).collect()
}

/// The processes in `known` and their descendants.
fn family(all: &[text::Stat], known: BTreeSet<u32>) -> BTreeSet<u32> {
    let mut family = known;
    loop {
        let before = family.len();
        for stat in all {
            if family.contains(&stat.parent) {
                family.insert(stat.pid);
            }
        }
        if family.len() == before {
            return family;
        }
    }
}

pub(crate) fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|it| {
        let rest = it.strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    })?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// Id of this boot.
pub(crate) fn boot() -> Option<String> {
    let id = read("/proc/sys/kernel/random/boot_id")?;
    Some(id.trim().to_owned())
}

pub(crate) fn listeners(port: u16) -> Vec<Vec<ProcessTime>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.iter().filter_map(read);
    let inodes: Vec<u64> = tables
        .flat_map(|table| text::listening(&table, port))
        .collect();
    let mut sockets = vec![Vec::new(); inodes.len()];
    if inodes.is_empty() {
        return sockets;
    }
    for process in stats() {
        for file in entries(format!("/proc/{}/fd", process.pid), "") {
            let Ok(target) = std::fs::read_link(file) else {
                continue;
            };
            let target = target.to_string_lossy();
            let inode = target
                .strip_prefix("socket:[")
                .and_then(|it| it.strip_suffix(']'));
            let inode = inode.and_then(|it| it.parse().ok());
            let socket = inode.and_then(|it: u64| inodes.iter().position(|known| *known == it));
            if let Some(socket) = socket {
                sockets[socket].push(ProcessTime::from(process));
                break;
            }
        }
    }
    sockets
}

/// Gives the calling thread low priority, and keeps it off the CPUs in `avoid`.
pub(crate) fn keep_out_of_the_way(avoid: &[usize]) {
    // On Linux this affects only the calling thread.
    let _ = rustix::process::setpriority_process(None, NICENESS);
    if avoid.is_empty() {
        return;
    }
    if let Ok(mut set) = sched_getaffinity(None) {
        for cpu in avoid.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU) {
            set.unset(*cpu);
        }
        if set.count() > 0 {
            let _ = sched_setaffinity(None, &set);
        }
    }
}

/// A process and its tree.
pub(crate) struct Tree {
    of: Family,
    /// CPU ticks by id and start.
    members: BTreeMap<(u32, u64), u64>,
    alive: BTreeSet<(u32, u64)>,
    search_at: Instant,
}

impl Tree {
    pub(crate) fn new(of: Family) -> Self {
        Self {
            of,
            members: BTreeMap::new(),
            alive: BTreeSet::new(),
            search_at: Instant::now(),
        }
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.alive.iter().map(|(pid, _)| *pid).collect()
    }

    pub(crate) fn sample(&mut self) -> Seen {
        let begin = Instant::now();
        let search = begin >= self.search_at;
        if search {
            let spent = client::thread_cpu_ns();
            self.search();
            self.search_at = begin + pause(spent);
        }
        let (mut rss_bytes, mut high_water) = (None, None);
        let members = &mut self.members;
        self.alive.retain(|&(pid, started)| {
            let process = PathBuf::from(format!("/proc/{pid}"));
            // Another process may have got the id; one that has ended and was not waited
            // for holds nothing.
            let Some(stat) = stat(&process)
                .filter(|stat| stat.started == started && !matches!(stat.state, 'Z' | 'X'))
            else {
                return false;
            };
            members.insert((pid, started), stat.ticks);
            let rss = stat
                .rss_pages
                .saturating_mul(rustix::param::page_size() as u64);
            let sum: &mut u64 = rss_bytes.get_or_insert(0);
            *sum = sum.saturating_add(rss);
            if search {
                let mark = read(process.join("status"))
                    .and_then(|status| text::high_water_bytes(&status))
                    .unwrap_or(rss);
                let sum: &mut u64 = high_water.get_or_insert(0);
                *sum = sum.saturating_add(mark);
            }
            true
        });
        let ticks = self
            .members
            .values()
            .fold(0, |a: u64, b| a.saturating_add(*b));
        Seen {
            rss_bytes,
            cpu_ns: ticks.saturating_mul(tick_ns()),
            high_water_bytes: high_water,
        }
    }

    /// Surplus of the processes' resident set sizes over their proportional ones, in bytes:
    /// shared memory that a sum counts more than once. The kernel walks all pages for it,
    /// which takes milliseconds for gigabytes.
    pub(crate) fn counted_twice_bytes(&self) -> Option<u64> {
        if self.alive.len() < 2 {
            return Some(0);
        }
        let mut twice = 0_u64;
        for (pid, _) in &self.alive {
            let (own, resident) = text::shares(&read(format!("/proc/{pid}/smaps_rollup"))?)?;
            twice = twice.saturating_add(resident.saturating_sub(own));
        }
        Some(twice)
    }

    /// Searches for processes that belong to it.
    fn search(&mut self) {
        let all: Vec<text::Stat> = stats().collect();
        let known = |stat: &text::Stat| self.alive.contains(&(stat.pid, stat.started));
        let family = members_among(&all, &self.of, known);
        let found = all.iter().filter(|stat| family.contains(&stat.pid));
        self.alive
            .extend(found.map(|stat| (stat.pid, stat.started)));
    }
}

/// Energy of the processor packages (RAPL), where readable: on most systems only by root.
pub(crate) struct Packages {
    /// Counter, value at which it wraps, last value, all in microjoules.
    counters: Vec<(PathBuf, u64, u64)>,
    spent: u64,
}

impl Packages {
    pub(crate) fn new() -> Self {
        let counters = entries("/sys/class/powercap", "intel-rapl:")
            .into_iter()
            // Packages, not their parts.
            .filter(|zone| {
                let name = word(zone.join("name"));
                name.is_some_and(|name| name.starts_with("package"))
            })
            .filter_map(|zone| {
                let file = zone.join("energy_uj");
                let now = number(&file)?;
                Some((file, number(zone.join("max_energy_range_uj"))?, now))
            })
            .collect();
        Self { counters, spent: 0 }
    }

    /// Joules since creation.
    pub(crate) fn joules(&mut self) -> Option<f64> {
        if self.counters.is_empty() {
            return None;
        }
        for (file, range, last) in &mut self.counters {
            if let Some(now) = number(file) {
                let step = now
                    .checked_sub(*last)
                    .unwrap_or_else(|| range.saturating_sub(*last).saturating_add(now));
                self.spent = self.spent.saturating_add(step);
                *last = now;
            }
        }
        Some(self.spent as f64 / 1e6)
    }
}
