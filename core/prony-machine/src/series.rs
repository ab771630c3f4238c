//! Aggregation of a process tree's samples; pure.

use crate::gpu::{GpuState, GpuUsage};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Shortest period of which an energy is given. The boards' counters are updated about ten
/// times a second, and some watch only a part of that time (Yang, Adamek and Armour, "Part-time
/// Power Measurements: nvidia-smi's Lack of Attention", 2023).
pub const ENERGY_PERIOD: Duration = Duration::from_secs(1);

/// Intervals of [`Usage::memory`], at most.
const MAX_INTERVALS: u64 = 200;

/// A process tree at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at_ns: u64,
    /// Resident memory in bytes, summed over the processes.
    pub(crate) rss_bytes: u64,
    /// CPU time of all processes that were ever part of it, in nanoseconds.
    pub(crate) cpu_ns: u64,
}

/// Counters of energy at one moment, in joules; only differences are meaningful.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Energy {
    pub(crate) at_ns: u64,
    pub(crate) processor_j: Option<f64>,
    /// For every GPU.
    pub(crate) gpus_j: Vec<Option<f64>>,
}

impl Energy {
    pub(crate) fn is_known(&self) -> bool {
        self.processor_j.is_some() || self.gpus_j.iter().any(Option::is_some)
    }
}

/// The GPUs at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct GpuSample {
    pub(crate) at_ns: u64,
    pub(crate) gpus: Vec<GpuState>,
    /// Memory that the tree's processes hold on each; `None` if none.
    pub(crate) own_memory_bytes: Vec<Option<u64>>,
}

/// Resources used by a process tree in a period.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// Samples in the period.
    pub samples: u32,
    /// Peak resident memory in bytes, summed over the processes; shared pages count for
    /// each. On macOS the physical footprint if larger, which includes system memory used
    /// by the GPU.
    pub peak_rss_bytes: Option<u64>,
    /// Mean resident memory, in bytes.
    pub mean_rss_bytes: Option<u64>,
    /// User and system time in seconds, accurate to about 10 ms per process; spread
    /// evenly between two samples.
    pub cpu_seconds: Option<f64>,
    /// Peak GPU memory in bytes over all GPUs, as in [`GpuUsage::peak_memory_bytes`].
    pub peak_gpu_memory_bytes: Option<u64>,
    /// Energy in joules of the processor packages, for all processes (RAPL, where
    /// readable); `None` for a period shorter than [`ENERGY_PERIOD`].
    pub processor_energy_joules: Option<f64>,
    /// The GPUs that the processes used at any time, in the driver's order.
    pub gpus: Vec<GpuUsage>,
}

/// Resources used by a process tree from the sampler's start to its stop.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// The totals. The peak is the system's high-water mark if larger than any sample: it
    /// misses nothing, but adds up the peaks of processes that may have occurred at
    /// different times. Of several processes it is less the shared memory that was counted
    /// for each of them at the end (resident minus proportional set size).
    #[serde(flatten)]
    pub total: Window,
    /// Longest time between two samples in nanoseconds, as a measure of their
    /// reliability.
    pub longest_gap_ns: u64,
    /// Resident memory over time: milliseconds since the first sample, and the highest number
    /// of bytes in the interval that begins there. Intervals are equal, and few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<(u64, u64)>,
}

/// The samples of a tree, in order of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    pub(crate) samples: Vec<Sample>,
    pub(crate) energy: Vec<Energy>,
    pub(crate) gpus: Vec<GpuSample>,
    pub(crate) high_water_bytes: Option<u64>,
    /// Shared memory that was counted for each of several processes, at the end.
    pub(crate) counted_twice_bytes: Option<u64>,
}

impl Series {
    /// Usage from `begin` to `end`, in nanoseconds of the clock.
    pub(crate) fn window(&self, begin: u64, end: u64) -> Window {
        let inside = between(&self.samples, |it| it.at_ns, begin, end);
        let sum: u128 = inside.iter().map(|it| u128::from(it.rss_bytes)).sum();
        // Two neighbours on each side are enough, and a run may be long.
        let from = self.samples.partition_point(|it| it.at_ns < begin);
        let to = self.samples.partition_point(|it| it.at_ns <= end);
        let near = &self.samples[from.saturating_sub(1).min(to)..(to + 1).min(self.samples.len())];
        let points: Vec<(u64, f64)> = near
            .iter()
            .map(|it| (it.at_ns, it.cpu_ns as f64 / 1e9))
            .collect();
        Window {
            samples: inside.len() as u32,
            peak_rss_bytes: inside.iter().map(|it| it.rss_bytes).max(),
            mean_rss_bytes: sum
                .checked_div(inside.len() as u128)
                .and_then(|mean| u64::try_from(mean).ok()),
            cpu_seconds: at(&points, end)
                .zip(at(&points, begin))
                .map(|(last, first)| (last - first).max(0.0)),
            peak_gpu_memory_bytes: between(&self.gpus, |it| it.at_ns, begin, end)
                .iter()
                .filter_map(|it| it.own_memory_bytes.iter().copied().flatten().reduce(sum_of))
                .max(),
            processor_energy_joules: self.joules(begin, end, |it| it.processor_j),
            gpus: self.used_gpus(begin, end),
        }
    }

    /// Increase of an energy counter in a period. `None` for one that is too short, or that
    /// readings do not cover.
    pub(crate) fn joules(
        &self,
        begin: u64,
        end: u64,
        of: impl Fn(&Energy) -> Option<f64>,
    ) -> Option<f64> {
        let points: Vec<(u64, f64)> = self
            .energy
            .iter()
            .filter_map(|it| Some((it.at_ns, of(it)?)))
            .collect();
        let is_covered = points.first()?.0 <= begin && end <= points.last()?.0;
        let is_long = end.checked_sub(begin)? >= ENERGY_PERIOD.as_nanos() as u64;
        (is_covered && is_long).then(|| Some((at(&points, end)? - at(&points, begin)?).max(0.0)))?
    }

    fn used_gpus(&self, begin: u64, end: u64) -> Vec<GpuUsage> {
        let inside = between(&self.gpus, |it| it.at_ns, begin, end);
        let count = self.gpus.iter().map(|it| it.gpus.len()).max().unwrap_or(0);
        let own = |it: &GpuSample, index: usize| it.own_memory_bytes.get(index).copied().flatten();
        (0..count)
            .filter(|&index| self.gpus.iter().any(|it| own(it, index).is_some()))
            .map(|index| {
                let states: Vec<(u64, &GpuState)> = inside
                    .iter()
                    .filter_map(|it| Some((it.at_ns, it.gpus.get(index)?)))
                    .collect();
                GpuUsage {
                    index: index as u32,
                    peak_memory_bytes: inside.iter().filter_map(|it| own(it, index)).max(),
                    energy_joules: self
                        .joules(begin, end, |it| it.gpus_j.get(index).copied().flatten()),
                    ..usage(&states)
                }
            })
            .collect()
    }

    pub(crate) fn usage(&self) -> Usage {
        let mut total = self.window(0, u64::MAX);
        let peak = total.peak_rss_bytes.max(self.high_water_bytes);
        let twice = self.counted_twice_bytes.unwrap_or(0);
        let once = |bytes: u64| bytes.saturating_sub(twice);
        total.peak_rss_bytes = peak.map(once);
        total.mean_rss_bytes = total.mean_rss_bytes.map(once);
        let gaps = self.samples.windows(2);
        Usage {
            total,
            longest_gap_ns: gaps
                .map(|pair| pair[1].at_ns.saturating_sub(pair[0].at_ns))
                .max()
                .unwrap_or(0),
            memory: self.memory(),
        }
    }

    /// The highest memory of up to [`MAX_INTERVALS`] equal intervals that have samples.
    fn memory(&self) -> Vec<(u64, u64)> {
        let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) else {
            return Vec::new();
        };
        let lasted = last.at_ns.saturating_sub(first.at_ns);
        // Whole milliseconds, so that no interval begins twice.
        let step = (lasted / (MAX_INTERVALS * 1_000_000) + 1) * 1_000_000;
        let mut intervals: Vec<(u64, u64)> = Vec::new();
        for sample in &self.samples {
            let at = sample.at_ns.saturating_sub(first.at_ns) / step * (step / 1_000_000);
            match intervals.last_mut() {
                Some((begin, bytes)) if *begin == at => *bytes = sample.rss_bytes.max(*bytes),
                _ => intervals.push((at, sample.rss_bytes)),
            }
        }
        intervals
    }
}

fn between<T>(items: &[T], time: impl Fn(&T) -> u64, begin: u64, end: u64) -> &[T] {
    let from = items.partition_point(|it| time(it) < begin);
    let to = items.partition_point(|it| time(it) <= end);
    items.get(from..to).unwrap_or_default()
}

/// A counter's value at a time, interpolated linearly between its neighbours; constant
/// before the first point and after the last.
fn at(points: &[(u64, f64)], time: u64) -> Option<f64> {
    let after = points.partition_point(|(at, _)| *at <= time);
    let Some(&(t1, v1)) = points.get(after) else {
        return points.last().map(|(_, value)| *value);
    };
    let Some(&(t0, v0)) = after.checked_sub(1).and_then(|before| points.get(before)) else {
        return Some(v1);
    };
    Some(v0 + (v1 - v0) * (time - t0) as f64 / (t1 - t0) as f64)
}

fn sum_of(one: u64, other: u64) -> u64 {
    one.saturating_add(other)
}

/// Clocks and heat of a GPU, from its states in order of time.
fn usage(states: &[(u64, &GpuState)]) -> GpuUsage {
    let clocks: Vec<f64> = states
        .iter()
        .filter_map(|(_, it)| it.sm_clock_mhz)
        .map(f64::from)
        .collect();
    let share = |counter: fn(&GpuState) -> Option<u64>| {
        let ((from, first), (to, last)) = (states.first()?, states.last()?);
        let time = to.checked_sub(*from).filter(|time| *time > 0)?;
        let held = counter(last)?.saturating_sub(counter(first)?);
        Some(held as f64 / time as f64)
    };
    let mut usage = GpuUsage {
        samples: states.len() as u32,
        max_temperature_c: states.iter().filter_map(|(_, it)| it.temperature_c).max(),
        mean_sm_clock_mhz: (!clocks.is_empty())
            .then(|| clocks.iter().sum::<f64>() / clocks.len() as f64),
        thermal_share: share(|it| it.thermal_violation_ns),
        power_share: share(|it| it.power_violation_ns),
        ..GpuUsage::default()
    };
    for reason in states.iter().flat_map(|(_, it)| &it.throttle_reasons) {
        *usage.throttled.entry(reason.clone()).or_default() += 1.0 / states.len() as f64;
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(of: &[(u64, u64, u64)]) -> Series {
        Series {
            samples: of
                .iter()
                .map(|&(at_ns, rss_bytes, cpu_ns)| Sample {
                    at_ns,
                    rss_bytes,
                    cpu_ns,
                })
                .collect(),
            ..Series::default()
        }
    }

    #[test]
    fn a_window_takes_its_part() {
        let second = 1_000_000_000;
        let mut series = series(&[
            (second, 10, 0),
            (2 * second, 50, second),
            (3 * second, 20, 3 * second),
            (4 * second, 30, 3 * second),
        ]);
        let window = series.window(second * 3 / 2, second * 5 / 2);
        assert_eq!(window.samples, 1);
        assert_eq!(window.peak_rss_bytes, Some(50));
        // Half of one second, and half of two.
        assert!((window.cpu_seconds.expect("it is known") - 1.5).abs() < 1e-9);
        let between = series.window(second * 9 / 4, second * 5 / 2);
        assert_eq!((between.samples, between.peak_rss_bytes), (0, None));
        assert!((between.cpu_seconds.expect("it is known") - 0.5).abs() < 1e-9);
        series.high_water_bytes = Some(60);
        let usage = series.usage();
        assert_eq!(usage.total.peak_rss_bytes, Some(60));
        assert_eq!(usage.total.mean_rss_bytes, Some(27));
        assert_eq!(usage.longest_gap_ns, second);
        assert!((usage.total.cpu_seconds.expect("it is known") - 3.0).abs() < 1e-9);
        assert_eq!(Series::default().usage(), Usage::default());
    }

    #[test]
    fn energy_is_of_periods_that_are_long_enough() {
        let second = 1_000_000_000;
        let energy = |at: u64| Energy {
            at_ns: at * second,
            processor_j: None,
            gpus_j: vec![Some(100.0 * at as f64), Some(7.0 * at as f64)],
        };
        let gpus = |at: u64, reason: &str| GpuSample {
            at_ns: at * second,
            gpus: vec![
                GpuState {
                    throttle_reasons: vec!["hw_slowdown".to_owned()],
                    ..GpuState::default()
                },
                GpuState {
                    temperature_c: Some(60 + at as u32),
                    sm_clock_mhz: Some(1000 + 100 * at as u32),
                    throttle_reasons: vec![reason.to_owned()],
                    thermal_violation_ns: Some(at * second / 10),
                    ..GpuState::default()
                },
            ],
            own_memory_bytes: vec![None, Some(100 * at)],
        };
        let series = Series {
            energy: (1..=4).map(energy).collect(),
            gpus: vec![gpus(1, "a"), gpus(2, "b"), gpus(3, "b"), gpus(4, "b")],
            ..Series::default()
        };
        let window = series.window(3 * second / 2, 7 * second / 2);
        assert_eq!(window.peak_gpu_memory_bytes, Some(300));
        assert_eq!(window.processor_energy_joules, None);
        // The first GPU is not the engine's.
        let [gpu] = window.gpus.as_slice() else {
            panic!("{window:?}");
        };
        assert_eq!((gpu.index, gpu.samples), (1, 2));
        assert_eq!(gpu.energy_joules, Some(14.0));
        assert_eq!(gpu.max_temperature_c, Some(63));
        assert_eq!(gpu.mean_sm_clock_mhz, Some(1250.0));
        assert_eq!(gpu.throttled.get("b"), Some(&1.0));
        assert_eq!(gpu.thermal_share, Some(0.1));
        // What the readings do not cover, or is too short, has none.
        let joules = |begin, end| series.window(begin, end).gpus[0].energy_joules;
        assert_eq!(joules(second / 2, 2 * second), None);
        assert_eq!(joules(3 * second, 5 * second), None);
        assert_eq!(joules(2 * second, 5 * second / 2), None);
        assert_eq!(joules(second, 2 * second), Some(7.0));
    }

    proptest! {
        #[test]
        fn windows_side_by_side_add_up(
            steps in proptest::collection::vec((1..1_000_u64, 0..1_000_u64, 0..1_000_u64), 0..20),
            mut cuts in proptest::collection::vec(0..20_000_u64, 3),
        ) {
            let (mut time, mut cpu) = (0, 0);
            let samples: Vec<_> = steps
                .iter()
                .map(|&(step, rss, used)| {
                    (time, cpu) = (time + step, cpu + used);
                    (time, rss, cpu)
                })
                .collect();
            let series = series(&samples);
            cuts.sort_unstable();
            let used = |a: usize, b: usize| series.window(cuts[a], cuts[b]).cpu_seconds;
            match (used(0, 1), used(1, 2), used(0, 2)) {
                (Some(a), Some(b), Some(both)) => prop_assert!((a + b - both).abs() < 1e-9),
                others => prop_assert!(steps.is_empty(), "{others:?}"),
            }
        }

        #[test]
        fn no_window_panics(
            times in proptest::collection::vec(any::<(u64, u64, u64)>(), 0..20),
            begin: u64,
            end: u64,
        ) {
            let mut times = times;
            times.sort_unstable();
            series(&times).window(begin, end);
        }
    }
}
