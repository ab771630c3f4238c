//! Two independent samples: what runs that were not interleaved are compared by, where the
//! user says that they may be.

use super::Interval;
use super::quantile::quantile;
use statrs::distribution::{ContinuousCDF as _, Normal};

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

    /// The exact two-sided p value of the Mann-Whitney test, of samples without ties.
    fn p_value(x: &[f64], y: &[f64]) -> f64 {
        let above = |a: &f64| y.iter().filter(|b| a > b).count();
        let above: usize = x.iter().map(above).sum();
        let less = above.min(x.len() * y.len() - above);
        let tail: f64 = null_distribution(x.len(), y.len())[..=less].iter().sum();
        (2.0 * tail).min(1.0)
    }

    #[test]
    fn the_interval_excludes_zero_exactly_when_the_test_rejects() {
        let (mut rejected, mut kept) = (0, 0);
        for (n, m) in [(4, 4), (6, 6), (8, 5), (12, 12)] {
            for step in -20..=20 {
                let (x, y) = samples(n, m, f64::from(step) * 0.05);
                let shift = Shift::new(&x, &y).expect("there are values");
                let interval = shift.interval(0.05).expect("there are enough");
                let p = p_value(&x, &y);
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
