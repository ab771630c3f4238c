//! Two independent samples.

use crate::statistics::Interval;
use crate::statistics::quantile::quantile;
use statrs::distribution::{ContinuousCDF as _, Normal};

/// The Mann-Whitney test, which takes requests to be independent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannWhitney {
    /// Pairs in which the first sample's value is larger, ties counted as half.
    pub u: f64,
    /// Two-sided p value by normal approximation, tie-corrected.
    pub p_normal: f64,
    /// The same with a continuity correction.
    pub p_corrected: f64,
    /// Whether there are ties, which the exact distribution does not know.
    pub ties: bool,
    /// Pairs in which the first sample's value is larger.
    above: usize,
    sizes: (usize, usize),
}

/// Compares two samples (Mann & Whitney 1947); `None` if one is empty or all values
/// are equal.
pub fn mann_whitney(x: &[f64], y: &[f64]) -> Option<MannWhitney> {
    let pairs = x.len() * y.len();
    let count = |larger: &dyn Fn(f64, f64) -> bool| -> usize {
        let row = |a: &f64| y.iter().filter(|b| larger(*a, **b)).count();
        x.iter().map(row).sum()
    };
    let above = count(&|a, b| a > b);
    let not_below = count(&|a, b| a >= b);
    let u = (above + not_below) as f64 / 2.0;
    let mut pooled = [x, y].concat();
    pooled.sort_by(f64::total_cmp);
    let ties: f64 = pooled
        .chunk_by(|a, b| a >= b)
        .map(|equal| (equal.len() as f64).powi(3) - equal.len() as f64)
        .sum();
    let total = pooled.len() as f64;
    let variance = pairs as f64 / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance.is_nan() || variance <= 0.0 {
        return None;
    }
    let away = (u - pairs as f64 / 2.0).abs();
    let two_sided = |away: f64| (2.0 * Normal::standard().sf(away / variance.sqrt())).min(1.0);
    Some(MannWhitney {
        u,
        p_normal: two_sided(away),
        p_corrected: two_sided(away - 0.5),
        ties: ties > 0.0,
        above,
        sizes: (x.len(), y.len()),
    })
}

impl MannWhitney {
    /// The exact two-sided p value; `None` with ties. It takes a time that grows with
    /// the fourth power of the sizes: seconds for two samples of 150.
    pub fn p_exact(&self) -> Option<f64> {
        if self.ties {
            return None;
        }
        let (n, m) = self.sizes;
        let less = self.above.min(n * m - self.above);
        let tail: f64 = null_distribution(n, m)[..=less].iter().sum();
        Some((2.0 * tail).min(1.0))
    }
}

/// By how much two independent samples differ, whatever their distribution, if it is the
/// same but for a shift.
#[derive(Debug, Clone, PartialEq)]
pub struct Shift {
    /// All `y - x`, in ascending order.
    differences: Vec<f64>,
    sizes: (usize, usize),
}

impl Shift {
    /// From `x` to `y`; `None` if one is empty.
    pub fn new(x: &[f64], y: &[f64]) -> Option<Self> {
        if x.is_empty() || y.is_empty() {
            return None;
        }
        let pairs = y.iter().flat_map(|b| x.iter().map(move |a| b - a));
        let mut differences: Vec<f64> = pairs.collect();
        differences.sort_by(f64::total_cmp);
        let sizes = (x.len(), y.len());
        Some(Self { differences, sizes })
    }

    /// The Hodges-Lehmann estimate: the median of all differences.
    pub fn estimate(&self) -> f64 {
        quantile(&self.differences, 0.5)
    }

    /// The interval at level `1 - alpha` that excludes zero exactly when the Mann-Whitney
    /// test rejects (Hollander, Wolfe & Chicken 2014, section 4.3); `None` where so few
    /// values can give none. Exact up to samples of 100, by normal approximation above.
    pub fn interval(&self, alpha: f64) -> Option<Interval> {
        /// Above, the exact distribution takes seconds.
        const EXACT: usize = 100;
        let (n, m) = self.sizes;
        let (u, tail) = if n.max(m) <= EXACT {
            let mut best = None;
            let mut tail = 0.0;
            for (u, p) in null_distribution(n, m).iter().enumerate() {
                tail += p;
                if 2.0 * tail > alpha {
                    break;
                }
                best = Some((u, tail));
            }
            best?
        } else {
            let pairs = (n * m) as f64;
            let deviation = (pairs * (n + m + 1) as f64 / 12.0).sqrt();
            let z = Normal::standard().inverse_cdf(1.0 - alpha / 2.0);
            let u = pairs / 2.0 - z * deviation - 0.5;
            ((u > 0.0).then_some(u.floor() as usize)?, alpha / 2.0)
        };
        Some(Interval {
            low: self.differences[u],
            high: self.differences[self.differences.len() - 1 - u],
            level: 1.0 - 2.0 * tail,
        })
    }
}

/// `P(U = u)` of samples of `n` and `m` values without ties, by `u`. The largest value
/// of all is of the first sample with probability `n / (n + m)`, and is then larger than
/// `m` of the other.
fn null_distribution(n: usize, m: usize) -> Vec<f64> {
    // By size of the first sample, for a second one that grows.
    let mut rows: Vec<Vec<f64>> = vec![vec![1.0]; n + 1];
    for m in 1..=m {
        let mut next = vec![vec![1.0]];
        for n in 1..=n {
            let first = n as f64 / (n + m) as f64;
            let row = (0..=n * m)
                .map(|u| {
                    let with = u.checked_sub(m).and_then(|u| next[n - 1].get(u));
                    let without = rows[n].get(u);
                    first * with.unwrap_or(&0.0) + (1.0 - first) * without.unwrap_or(&0.0)
                })
                .collect();
            next.push(row);
        }
        rows = next;
    }
    rows.swap_remove(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `y` is `x` moved by `by`, with gaps that make no two differences equal.
    fn samples(n: usize, m: usize, by: f64) -> (Vec<f64>, Vec<f64>) {
        let spread = |i: usize| (i as f64 * 0.618_033_988_749).fract();
        let x = (1..=n).map(spread).collect();
        let y = (n + 1..=n + m).map(|i| spread(i) + by).collect();
        (x, y)
    }

    #[test]
    fn the_interval_excludes_zero_exactly_when_the_test_rejects() {
        let (mut rejected, mut kept) = (0, 0);
        for (n, m) in [(4, 4), (6, 6), (8, 5), (12, 12)] {
            for step in -20..=20 {
                let (x, y) = samples(n, m, f64::from(step) * 0.05);
                let shift = Shift::new(&x, &y).expect("there are values");
                let interval = shift.interval(0.05).expect("there are enough");
                let test = mann_whitney(&x, &y).expect("values differ");
                let p = test.p_exact().expect("there are no ties");
                let excludes = interval.low > 0.0 || interval.high < 0.0;
                assert_eq!(excludes, p <= 0.05, "{n}, {m}, {step}: {p}, {interval:?}");
                assert!(interval.low <= shift.estimate() && shift.estimate() <= interval.high);
                if excludes { rejected += 1 } else { kept += 1 }
            }
        }
        assert!(rejected > 20 && kept > 20, "{rejected}, {kept}");
    }

    #[test]
    fn so_few_values_give_no_interval() {
        let (x, y) = samples(3, 3, 1.0);
        let shift = Shift::new(&x, &y).expect("there are values");
        assert_eq!(
            shift.interval(0.05),
            None,
            "1 of 20 orders is 5 % on each side"
        );
        assert_eq!(Shift::new(&[], &y), None);
    }
}
