//! The statistics behind a verdict, as pure functions.
//!
//! The unit of inference is the cycle: one fresh start of both engines, in an order that a
//! coin draws. Each gives a contribution to a score ([`evidence`]), above zero where the
//! candidate is faster.
//!
//! - [`sequential`]: the verdict, at every interim analysis; from [`evidence`], of which
//!   [`level`] is one kind, by the tests of [`orders`], or by [`bets`] where a run has no last
//!   cycle;
//! - [`holm`]: several models; [`models`]: one number over all of them;
//! - [`aggregate`]: from the requests of a cycle to `d`;
//! - [`mod@quantile`], [`label_swap`]: latencies; [`mcnemar`]: failures;
//! - [`pilot`]: number of cycles needed; [`advice`]: requests of a visit;
//! - [`warnings`]: evidence against trusting a run; from [`drift`];
//! - [`shift`]: two runs that were not interleaved.
//!
//! Everything random takes a seed, so equal inputs give equal results.

pub mod advice;
pub mod aggregate;
pub mod bets;
mod control;
pub mod drift;
pub mod evidence;
pub mod holm;
pub mod label_swap;
pub mod level;
pub mod mcnemar;
pub mod models;
pub mod orders;
pub mod pilot;
pub mod predecessor;
pub mod quantile;
pub(crate) mod random;
pub mod sequential;
pub mod shift;
pub mod signed_rank;
pub mod warnings;

pub use evidence::{Evidence, LogRatios};
pub use quantile::{distribution, quantile};
pub use sequential::{Decision, Interval, Look, Rule, Sequential};
pub use signed_rank::{SignedRank, critical_value, smallest_sample};

use statrs::distribution::DiscreteCDF as _;

/// The arithmetic mean of at least one value.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation of a sample, with `n - 1`; for at least two values.
pub fn standard_deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (squares / (values.len() as f64 - 1.0)).sqrt()
}

/// Maximum number of false winners attributable to chance among `comparisons` of an
/// engine with itself, each of which names one with a probability of at most 5 %: the
/// 97.5 % quantile. 3 of 20.
pub fn chance_wins(comparisons: u64) -> u64 {
    Binomial::new(comparisons, 0.05).quantile(0.975)
}

/// The binomial distribution of `n` trials, each a success with probability `p`.
struct Binomial(statrs::distribution::Binomial);

impl Binomial {
    fn new(n: u64, p: f64) -> Self {
        Self(statrs::distribution::Binomial::new(p, n).expect("`p` is a probability"))
    }

    /// `P(X <= k)`.
    fn cdf(&self, k: u64) -> f64 {
        self.0.cdf(k)
    }

    /// The smallest `k` with `P(X <= k) >= p`.
    fn quantile(&self, p: f64) -> u64 {
        let (mut below, mut reached) = (0, self.0.n());
        while below < reached {
            let middle = u64::midpoint(below, reached);
            if self.cdf(middle) >= p {
                reached = middle;
            } else {
                below = middle + 1;
            }
        }
        reached
    }
}
