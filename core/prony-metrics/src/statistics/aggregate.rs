//! From the requests of a cycle to its log ratio.
//!
//! Rates are ratios of sums. The mean of the requests' rates weighs a short answer like
//! a long one, so that an engine can look faster by being fast where it matters least.

use super::mean;
use super::quantile::median;

/// Mean output lengths of a question that differ by more than this share are not
/// the same work.
pub const LENGTH_TOLERANCE: f64 = 0.01;

/// Returns `true` if two mean output lengths of one question differ so much that only times
/// per token may be compared.
pub fn length_mismatch(baseline: f64, candidate: f64) -> bool {
    (baseline - candidate).abs() > LENGTH_TOLERANCE * baseline.max(candidate)
}

/// `ln(candidate / baseline)` of two rates: the statistic `sum` of a cycle when the rates
/// are ratios of sums.
pub fn log_ratio(baseline: f64, candidate: f64) -> f64 {
    (candidate / baseline).ln()
}

/// Latencies of both engines for one question, or one block of a cycle, in seconds; per
/// token where lengths differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block<'a> {
    /// Of the baseline, at least one.
    pub baseline: &'a [f64],
    /// Of the candidate, at least one.
    pub candidate: &'a [f64],
}

/// The statistic `med` of a cycle: the median over blocks of
/// `mean ln(baseline) - mean ln(candidate)`, above zero where the candidate is faster.
/// It speaks for the typical request, and hardly moves with a single slow one. `None`
/// without blocks.
pub fn median_log_ratio(blocks: &[Block<'_>]) -> Option<f64> {
    let mean_ln = |values: &[f64]| mean(&values.iter().map(|it| it.ln()).collect::<Vec<_>>());
    let ratios: Vec<f64> = blocks
        .iter()
        .map(|block| mean_ln(block.baseline) - mean_ln(block.candidate))
        .collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}

/// Requests of each engine in a cycle that its `p` quantile takes.
pub const MIN_PER_CYCLE: usize = 10;

/// The log ratio of a latency quantile of one cycle, above zero where the candidate is
/// faster; to be judged like that of throughput. `None` below
/// [`MIN_PER_CYCLE`] requests on either side.
pub fn quantile_log_ratio(block: Block<'_>, p: f64) -> Option<f64> {
    let at = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        (sorted.len() >= MIN_PER_CYCLE).then(|| super::quantile::quantile(&sorted, p).ln())
    };
    Some(at(block.baseline)? - at(block.candidate)?)
}
