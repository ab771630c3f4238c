//! Trends and steps in a series.

use super::mean;
use super::quantile::median;
use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};

/// Kendall's rank correlation with time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kendall {
    /// `tau-b`, from -1 to 1.
    pub tau: f64,
    /// Two-sided p value of no trend.
    pub p_value: f64,
}

/// Up to this length the distribution without ties is computed, not approximated.
const EXACT: usize = 60;

/// Kendall's test of a trend of `y` (Kendall 1938; Mann 1945), in the order of time.
///
/// Exact for up to 60 values without ties, with the normal approximation of the
/// tie-corrected variance otherwise. `None` of fewer than two values or if all are equal.
pub fn kendall(y: &[f64]) -> Option<Kendall> {
    let n = y.len();
    let pairs = n * n.checked_sub(1)? / 2;
    let (mut up, mut down) = (0_usize, 0_usize);
    for (i, a) in y.iter().enumerate() {
        up += y[i + 1..].iter().filter(|b| *b > a).count();
        down += y[i + 1..].iter().filter(|b| *b < a).count();
    }
    if up + down == 0 {
        return None;
    }
    let score = up as f64 - down as f64;
    let ties = pairs - up - down;
    let p_value = if ties == 0 && n <= EXACT {
        let tail: f64 = inversions(n)[..=up.min(down)].iter().sum();
        (2.0 * tail).min(1.0)
    } else {
        let of = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
        let corrected = of(n as f64) - tie_groups(y).map(of).sum::<f64>();
        let z = score.abs() / (corrected / 18.0).sqrt();
        2.0 * Normal::standard().sf(z)
    };
    Some(Kendall {
        tau: score / ((pairs - ties) as f64 * pairs as f64).sqrt(),
        p_value,
    })
}

/// The sizes of the groups of equal values.
fn tie_groups(y: &[f64]) -> impl Iterator<Item = f64> {
    let mut sorted = y.to_vec();
    sorted.sort_by(f64::total_cmp);
    let sizes: Vec<f64> = sorted
        .chunk_by(|a, b| a >= b)
        .map(|group| group.len() as f64)
        .collect();
    sizes.into_iter()
}

/// `P(k inversions)` of a random order of `n` values, by `k`. The value that is put in
/// last makes 0 to `n - 1` of them, all equally likely.
fn inversions(n: usize) -> Vec<f64> {
    let mut probability = vec![1.0];
    for values in 2..=n {
        let longer = probability.len() + values - 1;
        probability = (0..longer)
            .map(|k| {
                let from = k.saturating_sub(values - 1);
                let to = (k + 1).min(probability.len());
                probability[from..to].iter().sum::<f64>() / values as f64
            })
            .collect();
    }
    probability
}

/// The Theil-Sen slope (Theil 1950; Sen 1968): the median slope between two points
/// `(time, y)` at different times. `None` without such a pair.
pub fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let slopes: Vec<f64> = points
        .iter()
        .enumerate()
        .flat_map(|(i, a)| points[i + 1..].iter().map(move |b| (a, b)))
        .filter(|(a, b)| a.0.total_cmp(&b.0).is_ne())
        .map(|(a, b)| (b.1 - a.1) / (b.0 - a.0))
        .collect();
    (!slopes.is_empty()).then(|| median(&slopes))
}

/// The best split of a series into two means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Split {
    /// Values before it.
    pub at: usize,
    /// Mean after it minus mean before it.
    pub shift: f64,
    /// Sum of squared deviations from the two means.
    pub squares: f64,
    /// Sum of squared deviations from one mean.
    pub squares_unsplit: f64,
}

impl Split {
    /// Two-sided p value of Student's t test for the shift between the two parts of `n`
    /// values, as if the place had been known before.
    pub fn p_value(&self, n: usize) -> f64 {
        let freedom = n as f64 - 2.0;
        let between = (self.squares_unsplit - self.squares).max(0.0);
        let t = (between / (self.squares / freedom)).sqrt();
        if t.is_nan() || freedom <= 0.0 {
            return 1.0;
        }
        let student =
            StudentsT::new(0.0, 1.0, freedom).expect("the degrees of freedom are positive");
        2.0 * student.sf(t)
    }
}

/// Splits `y` where the squared deviations from two means are least, with at least
/// `side` values on each side (Hinkley 1970). `None` if it is too short.
pub fn split(y: &[f64], side: usize) -> Option<Split> {
    let side = side.max(1);
    let last = y.len().checked_sub(side)?;
    let cost = |at: usize| squares(&y[..at]) + squares(&y[at..]);
    let at = (side..=last).min_by(|a, b| cost(*a).total_cmp(&cost(*b)))?;
    Some(Split {
        at,
        shift: mean(&y[at..]) - mean(&y[..at]),
        squares: cost(at),
        squares_unsplit: squares(y),
    })
}

/// Sum of squared deviations from the mean.
fn squares(y: &[f64]) -> f64 {
    let mean = mean(y);
    y.iter().map(|y| (y - mean).powi(2)).sum()
}
