//! Whether a quantile over all cycles differs between the engines.

use super::quantile::quantile;
use super::random::Random;

/// Random swaps of a test: the smallest p value is then 0.0001.
pub const RESAMPLES: u32 = 9999;

/// The latencies of one cycle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cycle<'a> {
    /// Of the baseline.
    pub baseline: &'a [f64],
    /// Of the candidate.
    pub candidate: &'a [f64],
}

/// A permutation test of a pooled quantile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelSwap {
    /// `ln(quantile of candidate / quantile of baseline)`.
    pub log_ratio: f64,
    /// Two-sided p value.
    pub p_value: f64,
}

/// Tests the `p` quantile over all cycles by swapping the engines' labels per cycle
/// with fair coins: `T = |ln q(candidate) - ln q(baseline)|`,
/// `p = (1 + #{T* >= T}) / (resamples + 1)` (Phipson & Smyth 2010).
///
/// The coin that drew the order of each cycle makes it exact, for one test at the end
/// of a run. `None` if an engine has no latencies.
pub fn label_swap(cycles: &[Cycle<'_>], p: f64, resamples: u32, seed: u64) -> Option<LabelSwap> {
    if cycles.iter().all(|cycle| cycle.baseline.is_empty())
        || cycles.iter().all(|cycle| cycle.candidate.is_empty())
    {
        return None;
    }
    let mut random = Random::new(seed);
    let observed = log_ratio(cycles, p, || false);
    let reached = (0..resamples)
        .filter(|_| log_ratio(cycles, p, || random.coin()).abs() >= observed.abs())
        .count();
    Some(LabelSwap {
        log_ratio: observed,
        p_value: (1 + reached) as f64 / (f64::from(resamples) + 1.0),
    })
}

/// The log ratio when the labels of a cycle are swapped wherever `swap` says so.
fn log_ratio(cycles: &[Cycle<'_>], p: f64, mut swap: impl FnMut() -> bool) -> f64 {
    let (mut baseline, mut candidate) = (Vec::new(), Vec::new());
    for cycle in cycles {
        let (a, b) = if swap() {
            (cycle.candidate, cycle.baseline)
        } else {
            (cycle.baseline, cycle.candidate)
        };
        baseline.extend_from_slice(a);
        candidate.extend_from_slice(b);
    }
    if baseline.is_empty() || candidate.is_empty() {
        // All on one side: as far from equal as can be.
        return f64::INFINITY;
    }
    let at = |values: &mut [f64]| {
        values.sort_unstable_by(f64::total_cmp);
        quantile(values, p).ln()
    };
    at(&mut candidate) - at(&mut baseline)
}
