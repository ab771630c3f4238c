//! The Wilcoxon signed-rank test, its estimate and its interval.

use super::Interval;
use super::quantile::quantile;

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

    /// The number of differences.
    pub fn count(&self) -> usize {
        self.n
    }

    /// `W+`: the number of Walsh averages above zero, which is the sum of the ranks of
    /// the positive differences (Tukey). Averages of exactly zero are in neither
    /// `W+` nor `W-`.
    pub fn positive(&self) -> usize {
        self.walsh.iter().filter(|average| **average > 0.0).count()
    }

    /// `W-`: the number of Walsh averages below zero.
    pub fn negative(&self) -> usize {
        self.walsh.iter().filter(|average| **average < 0.0).count()
    }

    /// The exact two-sided p value of no difference, for a single look at the data.
    /// Averages of zero count against a difference.
    pub fn p_value(&self) -> f64 {
        let less = self.walsh.len() - self.positive().max(self.negative());
        let tail: f64 = null_distribution(self.n)[..=less].iter().sum();
        (2.0 * tail).min(1.0)
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
pub fn critical_value(n: usize, alpha: f64) -> Option<(usize, f64)> {
    let mut best = None;
    let mut tail = 0.0;
    for (w, p) in null_distribution(n).iter().enumerate() {
        tail += p;
        if 2.0 * tail > alpha {
            break;
        }
        best = Some((w, tail));
    }
    best
}

/// `P(W+ = w)` of `n` differences under the null hypothesis, by `w`.
fn null_distribution(n: usize) -> Vec<f64> {
    (1..=n).fold(vec![1.0], |probability, rank| with_rank(&probability, rank))
}

/// The distribution of the sum of `rank` ranks from that of `rank - 1`. It is exact: the
/// new rank enters the sum with probability ½.
fn with_rank(probability: &[f64], rank: usize) -> Vec<f64> {
    let at = |sum: Option<usize>| {
        let known = sum.and_then(|sum| probability.get(sum));
        known.copied().unwrap_or(0.0)
    };
    (0..probability.len() + rank)
        .map(|sum| f64::midpoint(at(Some(sum)), at(sum.checked_sub(rank))))
        .collect()
}
