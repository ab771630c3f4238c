//! `McNemar`'s test of a difference between the engines' failure rates.

use super::Binomial;

/// The exact two-sided p value of `McNemar`'s test (`McNemar` 1947): of the paired
/// requests that failed on one engine only, each side's share is a fair coin's.
///
/// `only_baseline` and `only_candidate` count the pairs in which only that engine
/// failed: `min(1, 2 P(Bin(b + c, 1/2) <= min(b, c)))`.
pub fn mcnemar(only_baseline: u64, only_candidate: u64) -> f64 {
    let coins = Binomial::new(only_baseline + only_candidate, 0.5);
    (2.0 * coins.cdf(only_baseline.min(only_candidate))).min(1.0)
}
