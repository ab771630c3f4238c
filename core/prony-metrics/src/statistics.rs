//! Quantiles and the Wilcoxon signed-rank interval.

use prony_plugin_sdk::result::Distribution;

/// Quantile of type 7 (Hyndman & Fan 1996; the default of R and numpy): linear
/// interpolation at `1 + (n - 1) p`. `sorted` must be ascending and not empty.
pub fn quantile(sorted: &[f64], p: f64) -> f64 {
    debug_assert!(!sorted.is_empty() && (0.0..=1.0).contains(&p));
    let at = (sorted.len() - 1) as f64 * p;
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

/// Mean, extremes, median and 90th percentile; `None` without samples.
pub fn distribution(mut samples: Vec<f64>) -> Option<Distribution> {
    samples.sort_by(f64::total_cmp);
    let (min, max) = (*samples.first()?, *samples.last()?);
    Some(Distribution {
        n: samples.len() as u64,
        mean: samples.iter().sum::<f64>() / samples.len() as f64,
        min,
        p50: quantile(&samples, 0.5),
        p90: quantile(&samples, 0.9),
        max,
    })
}

/// The Hodges-Lehmann estimate and the signed-rank interval of paired
/// differences.
///
/// Estimate: the median of the Walsh averages `(d_i + d_j) / 2`, `i <= j`.
/// Interval: their order statistics `w + 1` and `M - w` (from 1), where `w` is
/// the largest critical value with two-sided probability of at most `alpha`
/// (Hollander, Wolfe & Chicken 2014, sections 3.1 to 3.3).
#[derive(Debug, Clone, PartialEq)]
pub struct SignedRank {
    walsh: Vec<f64>,
    n: usize,
}

/// A signed-rank interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The confidence level that it attains; at least what was asked for.
    pub level: f64,
}

impl SignedRank {
    /// Of the differences `d`; `None` when there are none.
    pub fn new(d: &[f64]) -> Option<Self> {
        if d.is_empty() {
            return None;
        }
        let mut walsh = Vec::with_capacity(d.len() * (d.len() + 1) / 2);
        for (i, x) in d.iter().enumerate() {
            walsh.extend(d[i..].iter().map(|y| f64::midpoint(*x, *y)));
        }
        walsh.sort_by(f64::total_cmp);
        Some(Self { walsh, n: d.len() })
    }

    /// The Hodges-Lehmann estimate.
    pub fn estimate(&self) -> f64 {
        quantile(&self.walsh, 0.5)
    }

    /// The interval at level `1 - alpha`; `None` when so few differences can
    /// give none (fewer than 6 at 0.05, fewer than 5 at 0.1).
    pub fn interval(&self, alpha: f64) -> Option<Interval> {
        let (w, tail) = critical_value(self.n, alpha)?;
        Some(Interval {
            low: self.walsh[w],
            high: self.walsh[self.walsh.len() - 1 - w],
            level: 1.0 - 2.0 * tail,
        })
    }
}

/// The smallest number of differences for which [`SignedRank::interval`] exists:
/// all of one sign must be rarer than `alpha`, `2^(1 - n) <= alpha`.
pub fn smallest_sample(alpha: f64) -> usize {
    (1.0 - alpha.log2()).ceil() as usize
}

/// Largest `w` with `2 P(W+ <= w) <= alpha` for `n` differences under the null
/// hypothesis, and `P(W+ <= w)`.
///
/// The distribution is exact: rank `r` enters the sum with probability ½, so
/// the distribution of `n` ranks follows from that of `n - 1`.
pub fn critical_value(n: usize, alpha: f64) -> Option<(usize, f64)> {
    let total = n * (n + 1) / 2;
    let mut probability = vec![0.0_f64; total + 1];
    probability[0] = 1.0;
    for rank in 1..=n {
        for sum in (0..=rank * (rank + 1) / 2).rev() {
            let without = probability[sum];
            let with = if sum >= rank {
                probability[sum - rank]
            } else {
                0.0
            };
            probability[sum] = f64::midpoint(without, with);
        }
    }
    let mut best = None;
    let mut tail = 0.0;
    for (w, p) in probability.iter().enumerate() {
        tail += p;
        if 2.0 * tail > alpha {
            break;
        }
        best = Some((w, tail));
    }
    best
}
