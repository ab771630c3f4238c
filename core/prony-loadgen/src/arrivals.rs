//! Send times in an open loop, independent of earlier requests.

use rand::SeedableRng as _;
use rand_distr::{Distribution as _, Exp, Gamma};
use rand_pcg::Pcg64Mcg;
use std::time::Duration;

/// An arrival process with a mean rate in requests per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Process {
    /// Equal gaps.
    Constant {
        /// Requests per second.
        rate: f64,
    },
    /// Exponential gaps: independent arrivals.
    Poisson {
        /// Requests per second.
        rate: f64,
    },
    /// Gamma-distributed gaps with shape `burstiness` and mean `1 / rate`. Below 1
    /// arrivals come in bursts, 1 is [`Process::Poisson`], above 1 they become regular.
    Gamma {
        /// Requests per second.
        rate: f64,
        /// The shape: the inverse of the squared coefficient of variation of the gaps.
        burstiness: f64,
    },
}

/// A rate or a shape that is not a positive, finite number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("rate and burstiness of an arrival process must be positive, finite numbers")]
pub struct BadProcess;

/// Arrival times in nanoseconds since the start, ascending: at most `count`, all before
/// `until`. A constant rate begins at 0; the others begin with a gap. Equal seeds give
/// equal times.
pub fn offsets_ns(
    process: Process,
    seed: u64,
    count: u32,
    until: Option<Duration>,
) -> Result<Vec<u64>, BadProcess> {
    let good = |x: f64| (x.is_finite() && x > 0.0).then_some(x).ok_or(BadProcess);
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut gap: Box<dyn FnMut() -> f64> = match process {
        Process::Constant { rate } => {
            let gap = 1.0 / good(rate)?;
            Box::new(move || gap)
        }
        Process::Poisson { rate } => {
            let gaps = Exp::new(good(rate)?).map_err(|_| BadProcess)?;
            Box::new(move || gaps.sample(&mut random))
        }
        Process::Gamma { rate, burstiness } => {
            let scale = 1.0 / (good(rate)? * good(burstiness)?);
            let gaps = Gamma::new(burstiness, scale).map_err(|_| BadProcess)?;
            Box::new(move || gaps.sample(&mut random))
        }
    };
    let until = until.map_or(f64::INFINITY, |until| until.as_secs_f64());
    let mut at = match process {
        Process::Constant { .. } => 0.0,
        _ => gap(),
    };
    let mut offsets = Vec::new();
    for k in 1..=count {
        if at >= until {
            break;
        }
        offsets.push((at * 1e9) as u64);
        at = match process {
            // Sums would drift.
            Process::Constant { rate } => f64::from(k) / rate,
            _ => at + gap(),
        };
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gaps(process: Process, count: u32) -> Vec<f64> {
        let offsets = offsets_ns(process, 7, count, None).expect("a process");
        offsets
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64 / 1e9)
            .collect()
    }

    fn mean_and_cv2(gaps: &[f64]) -> (f64, f64) {
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let var = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / n;
        (mean, var / (mean * mean))
    }

    #[test]
    fn the_gaps_have_the_mean_and_the_spread_that_they_should() {
        for (process, cv2) in [
            (Process::Constant { rate: 40.0 }, 0.0),
            (Process::Poisson { rate: 40.0 }, 1.0),
            (
                Process::Gamma {
                    rate: 40.0,
                    burstiness: 0.25,
                },
                4.0,
            ),
            (
                Process::Gamma {
                    rate: 40.0,
                    burstiness: 4.0,
                },
                0.25,
            ),
        ] {
            let (mean, seen) = mean_and_cv2(&gaps(process, 100_000));
            assert!((mean * 40.0 - 1.0).abs() < 0.03, "{process:?}: {mean}");
            assert!(
                (seen - cv2).abs() < 0.05 * cv2 + 1e-6,
                "{process:?}: {seen}"
            );
        }
    }

    #[test]
    fn a_constant_rate_does_not_drift() {
        let offsets =
            offsets_ns(Process::Constant { rate: 3.0 }, 0, 3_000_001, None).expect("a process");
        assert_eq!(offsets.last(), Some(&1_000_000_000_000_000));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(
                offsets_ns(Process::Poisson { rate }, 0, 1, None),
                Err(BadProcess)
            );
        }
    }

    proptest! {
        #[test]
        fn times_ascend_and_end(seed: u64, rate in 0.1..1e5_f64, burstiness in 0.01..100.0_f64, count in 0..500_u32, ms in 1..5000_u64) {
            let until = Duration::from_millis(ms);
            let process = Process::Gamma { rate, burstiness };
            let offsets = offsets_ns(process, seed, count, Some(until)).expect("a process");
            prop_assert!(offsets.is_sorted());
            prop_assert!(offsets.len() <= count as usize);
            prop_assert!(offsets.iter().all(|at| u128::from(*at) < until.as_nanos()));
            prop_assert_eq!(&offsets, &offsets_ns(process, seed, count, Some(until)).expect("a process"));
        }
    }
}
