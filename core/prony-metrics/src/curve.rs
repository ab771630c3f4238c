//! Distributions by their order statistics, for drawing.

use crate::durations::Sorted;
use crate::facts::Facts;
use prony_result::detail::Curve;
use std::collections::BTreeMap;

/// Steps of the share from 0 to 1.
pub const STEPS: usize = 256;

const MS: f64 = 1e6;

/// The curve of a time, in nanoseconds, over requests of several cycles; `None` without a value.
pub fn curve(requests: &[Facts], of: impl Fn(&Facts) -> Option<u64>) -> Option<Curve> {
    let mut by_cycle: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut failed = 0;
    for request in requests {
        let values = by_cycle.entry(request.cycle).or_default();
        if request.ok() {
            values.extend(of(request));
        } else {
            failed += 1;
        }
    }
    let mut all: Vec<u64> = by_cycle.values().flatten().copied().collect();
    let mut bounds: Option<(Vec<f64>, Vec<f64>)> = None;
    let is_envelope = by_cycle.len() > 1 && by_cycle.values().all(|it| !it.is_empty());
    for values in by_cycle.values_mut().filter(|_| is_envelope) {
        let quantiles = quantiles(values);
        match &mut bounds {
            None => bounds = Some((quantiles.clone(), quantiles)),
            Some((low, high)) => {
                for (at, value) in quantiles.into_iter().enumerate() {
                    low[at] = value.min(low[at]);
                    high[at] = value.max(high[at]);
                }
            }
        }
    }
    let (low, high) = bounds.unwrap_or_default();
    (!all.is_empty()).then(|| Curve {
        n: all.len() as u64,
        failed,
        quantiles: quantiles(&mut all),
        low,
        high,
    })
}

/// The curve of durations; `None` without any, or if there are too many to be kept.
pub fn of_durations(durations: &Sorted) -> Option<Curve> {
    let all = durations.kept().filter(|it| !it.is_empty())?;
    Some(Curve {
        n: all.len() as u64,
        quantiles: of_sorted(all),
        ..Curve::default()
    })
}

/// Quantiles at all steps, in milliseconds, of at least one value in nanoseconds.
fn quantiles(values: &mut [u64]) -> Vec<f64> {
    values.sort_unstable();
    of_sorted(values)
}

fn of_sorted(values: &[u64]) -> Vec<f64> {
    let at = |step: usize| (step * values.len()).div_ceil(STEPS).max(1) - 1;
    (0..=STEPS)
        .map(|step| values[at(step)] as f64 / MS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_smallest_value_that_its_share_does_not_exceed() {
        for n in [1_usize, 2, 3, 7, 256, 257, 1000] {
            let values: Vec<u64> = (1..=n as u64).map(|it| it * 1_000_000).collect();
            let found = of_sorted(&values);
            assert_eq!(found.len(), STEPS + 1);
            let ends = [found[0], found[STEPS]].map(|it| it as u64);
            assert_eq!(ends, [1, n as u64], "{n}");
            for (step, value) in found.iter().enumerate().skip(1) {
                let not_above = values.iter().filter(|it| **it as f64 <= value * MS).count();
                let below = values
                    .iter()
                    .filter(|it| (**it as f64) < value * MS)
                    .count();
                // In whole numbers, so that nothing is rounded.
                assert!(not_above * STEPS >= step * n, "{n} {step}");
                assert!(below * STEPS < step * n, "{n} {step}");
            }
        }
    }
}
