//! Aggregation of a process tree's samples; pure.

use crate::gpu::GpuUsage;
use serde::{Deserialize, Serialize};

/// A process tree at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at_ns: u64,
    /// Resident memory in bytes, summed over the processes.
    pub(crate) rss_bytes: u64,
    /// CPU time of all processes that were ever part of it, in nanoseconds.
    pub(crate) cpu_ns: u64,
}

/// Values that are slower to read, and read less often.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Slow {
    pub(crate) at_ns: u64,
    pub(crate) gpu_memory_bytes: Option<u64>,
    /// Joules since the sampler's start.
    pub(crate) gpu_energy_j: Option<f64>,
    pub(crate) cpu_energy_j: Option<f64>,
    /// For every GPU: temperature, clock, reasons.
    pub(crate) gpus: Vec<(Option<u32>, Option<u32>, Vec<String>)>,
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
    /// Peak GPU memory in bytes, from samples every 500 ms: of the processes if the
    /// driver distinguishes them, else the increase over all GPUs since the sampler's
    /// start.
    pub peak_gpu_memory_bytes: Option<u64>,
    /// Energy in joules of all GPUs, for all processes (NVML).
    pub gpu_energy_joules: Option<f64>,
    /// Energy in joules of the processor packages, for all processes (RAPL, where
    /// readable).
    pub cpu_energy_joules: Option<f64>,
    /// The GPUs, in the driver's order.
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
}

/// The samples of a tree, in order of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    pub(crate) samples: Vec<Sample>,
    pub(crate) slow: Vec<Slow>,
    pub(crate) high_water_bytes: Option<u64>,
    /// Shared memory that was counted for each of several processes, at the end.
    pub(crate) counted_twice_bytes: Option<u64>,
}

impl Series {
    /// Usage from `begin` to `end`, in nanoseconds of the clock.
    pub(crate) fn window(&self, begin: u64, end: u64) -> Window {
        let inside = between(&self.samples, |it| it.at_ns, begin, end);
        let slow = between(&self.slow, |it| it.at_ns, begin, end);
        let sum: u128 = inside.iter().map(|it| u128::from(it.rss_bytes)).sum();
        let spent = |counter: &dyn Fn(&Slow) -> Option<f64>| {
            let points: Vec<(u64, f64)> = self
                .slow
                .iter()
                .filter_map(|it| Some((it.at_ns, counter(it)?)))
                .collect();
            Some((at(&points, end)? - at(&points, begin)?).max(0.0))
        };
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
            peak_gpu_memory_bytes: slow.iter().filter_map(|it| it.gpu_memory_bytes).max(),
            gpu_energy_joules: spent(&|it| it.gpu_energy_j),
            cpu_energy_joules: spent(&|it| it.cpu_energy_j),
            gpus: gpus(slow),
        }
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
        }
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

fn gpus(slow: &[Slow]) -> Vec<GpuUsage> {
    let count = slow.iter().map(|it| it.gpus.len()).max().unwrap_or(0);
    (0..count)
        .map(|index| {
            let seen: Vec<_> = slow.iter().filter_map(|it| it.gpus.get(index)).collect();
            let clocks: Vec<f64> = seen.iter().filter_map(|it| it.1).map(f64::from).collect();
            let mut usage = GpuUsage {
                samples: seen.len() as u32,
                max_temperature_c: seen.iter().filter_map(|it| it.0).max(),
                mean_sm_clock_mhz: (!clocks.is_empty())
                    .then(|| clocks.iter().sum::<f64>() / clocks.len() as f64),
                ..GpuUsage::default()
            };
            for reason in seen.iter().flat_map(|it| &it.2) {
                *usage.throttled.entry(reason.clone()).or_default() += 1.0 / seen.len() as f64;
            }
            usage
        })
        .collect()
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
    fn energy_and_gpus_come_from_slow_samples() {
        let slow = |at_ns, joules, reason: &str| Slow {
            at_ns,
            gpu_energy_j: Some(joules),
            gpus: vec![(Some(40), Some(1000), vec![reason.to_owned()])],
            ..Slow::default()
        };
        let series = Series {
            slow: vec![
                slow(100, 0.0, "a"),
                slow(200, 8.0, "b"),
                slow(300, 10.0, "b"),
            ],
            ..Series::default()
        };
        let window = series.window(150, 300);
        assert_eq!(window.gpu_energy_joules, Some(6.0));
        assert_eq!(window.cpu_energy_joules, None);
        assert_eq!(window.gpus[0].throttled.get("b"), Some(&1.0));
        assert_eq!(window.gpus[0].mean_sm_clock_mhz, Some(1000.0));
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
