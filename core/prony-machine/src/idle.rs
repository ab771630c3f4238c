//! Power that the machine draws while it does nothing.

use crate::series::{Energy, Series};
use crate::{now_ns, nvml, os};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Time between two readings.
const STEP: Duration = Duration::from_millis(100);
/// Time over which a mean power is taken.
const WINDOW: Duration = Duration::from_secs(2);
/// Difference of two successive means, as a ratio, up to which a GPU is at rest: after work
/// its clocks, and the power, fall over some seconds.
const MAX_DRIFT: f64 = 1.05;
/// Share of the readings in which an idle GPU may be seen at work.
const MAX_BUSY_SHARE: f64 = 0.1;

/// Power of the machine before any engine runs, in watts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdlePower {
    /// Of each GPU's board, in the driver's order; `None` if it was not idle, or does not
    /// count its energy.
    pub gpus_w: Vec<Option<f64>>,
    /// Of the processor packages (RAPL, where readable).
    pub processor_w: Option<f64>,
}

impl IdlePower {
    /// Measures idle power: waits until the power of every GPU has come to rest, at most for `limit` or
    /// until `is_stopped`. Returns `None` at once if nothing here counts energy.
    pub fn measure(limit: Duration, is_stopped: impl Fn() -> bool) -> Option<Self> {
        let mut packages = os::Packages::new();
        let mut read = || Reading {
            energy: Energy {
                at_ns: now_ns(),
                processor_j: packages.joules(),
                gpus_j: nvml::joules(),
            },
            at_work: Vec::new(),
        };
        let mut readings = vec![read()];
        if !readings[0].energy.is_known() {
            return None;
        }
        let begin = now_ns();
        loop {
            std::thread::sleep(STEP);
            let gpus = nvml::states();
            let at_work = gpus.iter().map(|gpu| gpu.busy_percent > Some(0));
            readings.push(Reading {
                at_work: at_work.collect(),
                ..read()
            });
            let is_over = is_stopped() || u128::from(now_ns() - begin) >= limit.as_nanos();
            let idle = idle_power(&readings);
            let counts = readings[0].energy.gpus_j.iter().map(Option::is_some);
            let is_settled = |idle: &Self| {
                let known = idle.gpus_w.iter().map(Option::is_some);
                known.zip(counts).all(|(known, counts)| known || !counts)
            };
            if is_over || idle.as_ref().is_some_and(is_settled) {
                return idle;
            }
        }
    }
}

/// The counters at one moment, and which GPUs were at work.
struct Reading {
    energy: Energy,
    at_work: Vec<bool>,
}

/// The power over the last [`WINDOW`]; `None` as long as there are not two windows.
fn idle_power(readings: &[Reading]) -> Option<IdlePower> {
    let (first, last) = (readings.first()?, readings.last()?);
    let window = WINDOW.as_nanos() as u64;
    let (early, late) = (
        last.energy.at_ns.checked_sub(2 * window)?,
        last.energy.at_ns - window,
    );
    if first.energy.at_ns > early {
        return None;
    }
    let series = Series {
        energy: readings.iter().map(|it| it.energy.clone()).collect(),
        ..Series::default()
    };
    let end = last.energy.at_ns;
    let watts = |begin, end, of: &dyn Fn(&Energy) -> Option<f64>| {
        Some(series.joules(begin, end, of)? / WINDOW.as_secs_f64())
    };
    let recent: Vec<&Reading> = readings
        .iter()
        .filter(|it| it.energy.at_ns > late)
        .collect();
    let of_gpu = |index: usize| {
        let joules = |it: &Energy| it.gpus_j.get(index).copied().flatten();
        let (before, now) = (watts(early, late, &joules)?, watts(late, end, &joules)?);
        let working = recent
            .iter()
            .filter(|it| it.at_work.get(index) == Some(&true));
        let is_idle = working.count() as f64 <= MAX_BUSY_SHARE * recent.len() as f64;
        let is_at_rest = before.max(now) <= MAX_DRIFT * before.min(now);
        (is_idle && is_at_rest).then_some(now)
    };
    Some(IdlePower {
        gpus_w: (0..last.energy.gpus_j.len()).map(of_gpu).collect(),
        processor_w: watts(late, end, &|it| it.processor_j),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings every second, of GPUs that draw these powers in watts.
    fn readings(powers: &[[f64; 3]], is_at_work: bool) -> Vec<Reading> {
        let mut joules = [0.0; 3];
        let reading = |(at, powers): (usize, &[f64; 3])| {
            let energy = Energy {
                at_ns: at as u64 * 1_000_000_000,
                processor_j: Some(5.0 * at as f64),
                gpus_j: joules.map(Some).to_vec(),
            };
            for (sum, power) in joules.iter_mut().zip(powers) {
                *sum += power;
            }
            Reading {
                energy,
                at_work: vec![false, is_at_work, false],
            }
        };
        powers.iter().enumerate().map(reading).collect()
    }

    #[test]
    fn a_gpu_that_works_or_has_just_worked_has_no_idle_power() {
        let powers = [
            [70.0, 300.0, 120.0],
            [70.0, 300.0, 110.0],
            [71.0, 300.0, 100.0],
            [71.0, 300.0, 90.0],
            [0.0; 3],
        ];
        assert_eq!(idle_power(&readings(&powers[..4], true)), None);
        let idle = idle_power(&readings(&powers, true)).expect("two windows");
        assert_eq!(idle.gpus_w, [Some(71.0), None, None]);
        assert_eq!(idle.processor_w, Some(5.0));
    }

    #[test]
    fn a_machine_without_counters_does_not_wait() {
        let begin = now_ns();
        let measured = IdlePower::measure(Duration::from_secs(6), || false).is_some();
        // With counters this only checks that nothing fails.
        assert_eq!(now_ns() - begin >= 4_000_000_000, measured);
    }
}
