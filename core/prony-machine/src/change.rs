//! The difference between two states of the machine.

use crate::fingerprint::Fingerprint;
use crate::gpu::{GpuUsage, SLOWING};
use crate::state::{Power, ProcessTime, State};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;

/// CPU time of other processes, in CPUs, above which a machine counts as busy: a quarter
/// of one core, more than an idle desktop uses.
const BUSY_CPUS: f64 = 0.25;
/// The same limit as a share of all CPUs; the larger one counts.
const BUSY_SHARE: f64 = 0.01;
/// Limit of the share of requested CPU time that went to other guests of the host.
const STEAL: f64 = 0.01;
/// Limit of the share of time in which some task waited for memory.
const MEMORY_STALL: f64 = 0.01;
/// Minimum share of memory that must be available.
const MEMORY_AVAILABLE: f64 = 0.05;
/// Limit of bytes to and from swap space.
const SWAPPED: u64 = 8 << 20;
/// Limit of the share of time in which heat throttled a GPU.
const GPU_HEAT: f64 = 0.001;
/// Limit of the share of time in which a GPU was held at its power limit.
const GPU_POWER: f64 = 0.1;

/// A caveat about the numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// `on_battery`, `low_power_mode`, `governor_not_performance`,
    /// `thermal_throttled`, `busy_machine`, `steal`, `memory_pressure`, `swapping`
    /// or `gpu_throttled`.
    pub code: Cow<'static, str>,
    /// The observation, with its value. No capital, no full stop.
    pub message: String,
}

impl Warning {
    fn new(code: &'static str, message: String) -> Self {
        let code = Cow::Borrowed(code);
        Self { code, message }
    }
}

/// A process group that used CPU time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BusyGroup {
    /// Name of its program that used most, without its path.
    pub name: String,
    /// CPUs kept busy, on average.
    pub cpus: f64,
}

/// The difference between two states.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// Time between them, in seconds.
    pub wall_s: f64,
    /// CPUs busy on average, with any process.
    pub busy_cpus: Option<f64>,
    /// CPUs busy on average with processes other than prony's and the engine's.
    pub others_cpus: Option<f64>,
    /// The process group among the others that used most; processes that started and
    /// ended in between are not seen.
    pub busiest: Option<BusyGroup>,
    /// Share of requested CPU time that went to other guests of the host.
    pub steal_share: Option<f64>,
    /// Share of the time in which some task waited for a CPU.
    pub cpu_stall_share: Option<f64>,
    /// Share of the time in which some task waited for memory.
    pub memory_stall_share: Option<f64>,
    /// Bytes to and from swap space.
    pub swapped_bytes: Option<u64>,
    /// Number of times a processor lowered its clock because of heat.
    pub throttle_count: Option<u64>,
}

impl Change {
    /// Computes the change from `before` to `after`. `engine` lists the current processes
    /// of an engine, and `engine_cpu_seconds` the CPU time they used in between; if prony
    /// started them and they have ended, the system's account of it is used if it is
    /// larger.
    pub fn between(
        before: &State,
        after: &State,
        engine: &[u32],
        engine_cpu_seconds: Option<f64>,
    ) -> Self {
        let wall_ns = after.at_ns.saturating_sub(before.at_ns);
        if wall_ns == 0 {
            return Self::default();
        }
        let wall = wall_ns as f64;
        let since = |of: fn(&State) -> Option<u64>| Some(of(after)?.saturating_sub(of(before)?));
        let share = |ns: Option<u64>| ns.map(|ns| ns as f64 / wall);
        let busy = since(|state| state.busy_ns);
        let steal = since(|state| state.steal_ns);
        let own = after.own_cpu_ns.saturating_sub(before.own_cpu_ns) as f64;
        // An engine that has ended is among the children and must not be subtracted
        // twice; one that is running, or ran under a process that left, is not.
        let children = after
            .ended_children_cpu_ns
            .saturating_sub(before.ended_children_cpu_ns) as f64;
        let spent = own + children.max(engine_cpu_seconds.unwrap_or(0.0) * 1e9);
        let (all, busiest) = others(before, after, engine, wall);
        let others_cpus = busy
            .map(|busy| ((busy as f64 - spent) / wall).max(0.0))
            // Without a total, the sum over the processes serves.
            .or(all);
        Self {
            wall_s: wall / 1e9,
            busy_cpus: share(busy),
            others_cpus,
            busiest,
            steal_share: steal.zip(busy).map(|(steal, busy)| {
                let asked = (steal + busy) as f64;
                if asked > 0.0 {
                    steal as f64 / asked
                } else {
                    0.0
                }
            }),
            cpu_stall_share: share(since(|state| state.cpu_stall_ns)),
            memory_stall_share: share(since(|state| state.memory_stall_ns)),
            swapped_bytes: since(|state| state.swapped_bytes),
            throttle_count: since(|state| state.throttle_count),
        }
    }

    /// Warnings about this period, and about the machine at its end.
    ///
    /// The limits: others used more than a quarter of a core and 1 % of all CPUs; 1 % of
    /// the CPU time was stolen; some task waited for memory in 1 % of the time, or less
    /// than 5 % of memory is available; 8 MiB were swapped; any throttling due to heat.
    pub fn warnings(&self, machine: &Fingerprint, after: &State) -> Vec<Warning> {
        let mut warnings = after.warnings(machine);
        let mut warn = |code, message| warnings.push(Warning::new(code, message));
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let limit = BUSY_CPUS.max(BUSY_SHARE * f64::from(machine.logical_cpus));
        if let Some(cpus) = self.others_cpus.filter(|cpus| *cpus > limit) {
            let most = self.busiest.as_ref().map_or_else(String::new, |group| {
                let share = group.cpus * 100.0;
                format!(", `{}` {share:.0} %", group.name)
            });
            let share = cpus * 100.0;
            warn(
                "busy_machine",
                format!("other processes used {share:.0} % of a core{most}"),
            );
        }
        if let Some(share) = self.steal_share.filter(|share| *share > STEAL) {
            let share = percent(share);
            warn(
                "steal",
                format!("{share} of the CPU time went to other guests of the host"),
            );
        }
        if let Some(share) = self
            .memory_stall_share
            .filter(|share| *share > MEMORY_STALL)
        {
            let share = percent(share);
            warn(
                "memory_pressure",
                format!("tasks waited for memory in {share} of the time"),
            );
        }
        if let Some(bytes) = self.swapped_bytes.filter(|bytes| *bytes > SWAPPED) {
            let mib = bytes >> 20;
            warn(
                "swapping",
                format!("{mib} MiB went to or came from swap space"),
            );
        }
        if let Some(count) = self.throttle_count.filter(|count| *count > 0) {
            warn(
                "thermal_throttled",
                format!("the processor lowered its clock for heat, {count} times"),
            );
        }
        warnings
    }
}

impl State {
    /// Warnings about this moment, mainly for a run's first state: it runs on a battery
    /// or saves energy, the governor is not `performance`, clocks are throttled, or less
    /// than 5 % of memory is available.
    pub fn warnings(&self, machine: &Fingerprint) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |code, message| warnings.push(Warning::new(code, message));
        if self.power == Some(Power::Battery) {
            let charge = self
                .battery_percent
                .map_or_else(String::new, |percent| format!(", charged to {percent} %"));
            warn("on_battery", format!("power comes from a battery{charge}"));
        }
        if self.low_power_mode == Some(true) {
            warn(
                "low_power_mode",
                "the system is set to save energy".to_owned(),
            );
        }
        if let Some(governor) = machine.governor.as_ref().filter(|it| *it != "performance") {
            // Drivers that choose clocks themselves follow the preference, and call
            // everything but the extreme `powersave`.
            if machine.energy_preference.as_deref() != Some("performance") {
                warn(
                    "governor_not_performance",
                    format!("the CPU governor is `{governor}`"),
                );
            }
        }
        if let Some(limit) = self.speed_limit_percent.filter(|limit| *limit < 100) {
            warn(
                "thermal_throttled",
                format!("CPUs are limited to {limit} % of their speed"),
            );
        }
        let available = self
            .memory_available_bytes
            .map(|bytes| bytes as f64 / machine.memory_bytes.max(1) as f64)
            .filter(|share| *share < MEMORY_AVAILABLE);
        if let Some(share) = available {
            let share = share * 100.0;
            warn(
                "memory_pressure",
                format!("{share:.1} % of memory is available"),
            );
        } else if self.memory_short == Some(true) {
            warn(
                "memory_pressure",
                "the system says that memory is short".to_owned(),
            );
        }
        warnings
    }
}

impl GpuUsage {
    /// Warnings about a GPU that an engine used: heat or a failing supply throttled it, or it
    /// was at its power limit in 10 % of the time. By the driver's account of the time where
    /// there is one, else by the samples.
    pub fn warnings(&self) -> Vec<Warning> {
        let index = self.index;
        let warning = |message| Warning::new("gpu_throttled", message);
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let mut warnings = Vec::new();
        if let Some(share) = self.thermal_share.filter(|share| *share > GPU_HEAT) {
            let share = percent(share);
            let message = format!("heat kept GPU {index} down in {share} of the time");
            warnings.push(warning(message));
        }
        if let Some(share) = self.power_share.filter(|share| *share > GPU_POWER) {
            let share = percent(share);
            let message = format!("its power limit kept GPU {index} down in {share} of the time");
            warnings.push(warning(message));
        }
        if !warnings.is_empty() {
            return warnings;
        }
        let slowing = self.throttled.iter().filter(|(reason, share)| {
            SLOWING.contains(&reason.as_str()) || (*reason == "sw_power_cap" && **share > GPU_POWER)
        });
        let of_samples = slowing.map(|(reason, share)| {
            let share = share * 100.0;
            warning(format!(
                "GPU {index} was kept down in {share:.0} % of samples: `{reason}`"
            ))
        });
        of_samples.collect()
    }
}

/// CPUs kept busy by processes other than prony's and the engine's, and the group of them
/// that used most. `None` if no processes are known.
fn others(
    before: &State,
    after: &State,
    engine: &[u32],
    wall_ns: f64,
) -> (Option<f64>, Option<BusyGroup>) {
    if after.processes.is_empty() {
        return (None, None);
    }
    let own = std::process::id();
    let key = |process: &ProcessTime| (process.pid, process.started);
    let earlier: HashMap<_, _> = before
        .processes
        .iter()
        .map(|process| (key(process), process.cpu_ns))
        .collect();
    let group_of = |pid: &u32| {
        let mut processes = after.processes.iter();
        processes.find(|process| process.pid == *pid)
    };
    let engines: Vec<u32> = engine
        .iter()
        .filter_map(group_of)
        .map(|p| p.group)
        .collect();
    let mut groups: HashMap<u32, (u64, u64, &str)> = HashMap::new();
    for process in &after.processes {
        // Excludes prony itself, not its group: a script that started it may do other
        // work.
        if process.pid == own || engine.contains(&process.pid) || engines.contains(&process.group) {
            continue;
        }
        let since = earlier.get(&key(process)).copied().unwrap_or(0);
        let used = process.cpu_ns.saturating_sub(since);
        let (sum, most, name) = groups.entry(process.group).or_default();
        *sum += used;
        if used > *most || name.is_empty() {
            (*most, *name) = (used, &process.name);
        }
    }
    let all = groups.values().map(|(sum, ..)| *sum).sum::<u64>() as f64 / wall_ns;
    // By name, too, so that ties are stable.
    let most = groups
        .into_values()
        .max_by_key(|(sum, _, name)| (*sum, *name))
        .filter(|(sum, ..)| *sum > 0)
        .map(|(sum, _, name)| BusyGroup {
            name: name.to_owned(),
            cpus: sum as f64 / wall_ns,
        });
    (Some(all), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, group: u32, name: &str, cpu_ns: u64) -> ProcessTime {
        ProcessTime {
            pid,
            group,
            started: 5,
            name: name.to_owned(),
            cpu_ns,
        }
    }

    fn codes(warnings: &[Warning]) -> Vec<&str> {
        warnings.iter().map(|warning| &*warning.code).collect()
    }

    fn machine() -> Fingerprint {
        Fingerprint {
            logical_cpus: 8,
            memory_bytes: 1 << 34,
            ..Fingerprint::default()
        }
    }

    #[test]
    fn others_are_what_is_left() {
        const SECOND: u64 = 1_000_000_000;
        // Ids that cannot be prony's own.
        let pid = |offset: u32| u32::MAX - offset;
        let before = State {
            at_ns: SECOND,
            busy_ns: Some(0),
            processes: vec![process(pid(1), pid(1), "indexer", 7 * SECOND)],
            ..State::default()
        };
        let after = State {
            at_ns: 11 * SECOND,
            busy_ns: Some(50 * SECOND),
            own_cpu_ns: 2 * SECOND,
            processes: vec![
                process(pid(1), pid(1), "indexer", 9 * SECOND),
                process(pid(2), pid(1), "helper", SECOND),
                process(pid(3), pid(3), "engine", 40 * SECOND),
            ],
            ..State::default()
        };
        let change = Change::between(&before, &after, &[pid(3)], Some(42.0));
        assert!((change.busy_cpus.expect("it is known") - 5.0).abs() < 1e-9);
        assert!((change.others_cpus.expect("it is known") - 0.6).abs() < 1e-9);
        let busiest = change.busiest.clone().expect("there is one");
        assert_eq!(busiest.name, "indexer");
        assert!((busiest.cpus - 0.3).abs() < 1e-9);
        let uncounted = State {
            busy_ns: None,
            ..after.clone()
        };
        let change_of_processes = Change::between(&before, &uncounted, &[pid(3)], None);
        assert_eq!(change_of_processes.busy_cpus, None);
        assert!((change_of_processes.others_cpus.expect("it is known") - 0.3).abs() < 1e-9);
        let warnings = change.warnings(&machine(), &after);
        assert_eq!(codes(&warnings), ["busy_machine"]);
        assert_eq!(
            warnings[0].message,
            "other processes used 60 % of a core, `indexer` 30 %"
        );
    }

    #[test]
    fn every_warning_has_its_code_and_value() {
        let before = State {
            at_ns: 1,
            busy_ns: Some(0),
            steal_ns: Some(0),
            memory_stall_ns: Some(0),
            swapped_bytes: Some(0),
            throttle_count: Some(3),
            ..State::default()
        };
        let after = State {
            at_ns: 1_000_000_001,
            power: Some(Power::Battery),
            battery_percent: Some(81),
            low_power_mode: Some(true),
            speed_limit_percent: Some(70),
            memory_available_bytes: Some(1 << 28),
            busy_ns: Some(97_000_000),
            steal_ns: Some(3_000_000),
            memory_stall_ns: Some(50_000_000),
            swapped_bytes: Some(64 << 20),
            throttle_count: Some(5),
            ..State::default()
        };
        let mut machine = machine();
        machine.governor = Some("powersave".to_owned());
        let warnings = Change::between(&before, &after, &[], None).warnings(&machine, &after);
        let lines: Vec<String> = warnings
            .iter()
            .map(|warning| format!("{}: {}", warning.code, warning.message))
            .collect();
        assert_eq!(
            lines,
            [
                "on_battery: power comes from a battery, charged to 81 %",
                "low_power_mode: the system is set to save energy",
                "governor_not_performance: the CPU governor is `powersave`",
                "thermal_throttled: CPUs are limited to 70 % of their speed",
                "memory_pressure: 1.6 % of memory is available",
                "steal: 3.0 % of the CPU time went to other guests of the host",
                "memory_pressure: tasks waited for memory in 5.0 % of the time",
                "swapping: 64 MiB went to or came from swap space",
                "thermal_throttled: the processor lowered its clock for heat, 2 times",
            ]
        );
        machine.energy_preference = Some("performance".to_owned());
        assert!(!codes(&after.warnings(&machine)).contains(&"governor_not_performance"));
    }

    #[test]
    fn a_quiet_machine_gives_no_warning() {
        let state = State::read();
        let change = Change::between(&state, &state, &[], None);
        assert_eq!(change, Change::default());
        assert_eq!(change.warnings(&machine(), &State::default()), []);
    }

    #[test]
    fn reasons_of_settings_are_no_warning() {
        let mut usage = GpuUsage {
            index: 1,
            throttled: [
                ("gpu_idle", 1.0),
                ("sw_power_cap", 0.05),
                ("hw_slowdown", 0.01),
            ]
            .map(|(name, share)| (name.to_owned(), share))
            .into(),
            ..GpuUsage::default()
        };
        let messages = |usage: &GpuUsage| -> Vec<String> {
            let warnings = usage.warnings();
            assert!(codes(&warnings).iter().all(|it| *it == "gpu_throttled"));
            warnings.into_iter().map(|it| it.message).collect()
        };
        assert_eq!(
            messages(&usage),
            ["GPU 1 was kept down in 1 % of samples: `hw_slowdown`"]
        );
        // What the driver says of the whole time is said once.
        (usage.thermal_share, usage.power_share) = (Some(0.02), Some(0.5));
        assert_eq!(
            messages(&usage),
            [
                "heat kept GPU 1 down in 2.0 % of the time",
                "its power limit kept GPU 1 down in 50.0 % of the time",
            ]
        );
    }
}
