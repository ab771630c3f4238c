//! Creeping change: Mann and Kendall's test, and the slope of Theil and Sen.

use super::STRONG;
use crate::statistics::quantile;
use statrs::distribution::{ContinuousCDF as _, Normal};

/// Minimum number of values for a trend: the normal approximation is good from 10 on.
pub const MIN_TREND: usize = 12;

/// Values of a trend, at most: the last ones, since all pairs of them are looked at.
const MAX_TREND: usize = 1000;

/// A trend within a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Median of the slopes between all pairs (Sen 1968): log ratio a run.
    pub slope: f64,
    /// Two-sided p value of no trend (Mann 1945, Kendall 1975).
    pub p_value: f64,
}

/// The trend of the last 1,000 values at most, if they have one, from 12 values on.
pub fn trend(values: &[f64]) -> Option<Trend> {
    if values.len() < MIN_TREND {
        return None;
    }
    let values = &values[values.len().saturating_sub(MAX_TREND)..];
    let p_value = mann_kendall(values);
    (p_value <= STRONG).then(|| Trend {
        slope: slope(values),
        p_value,
    })
}

/// The two-sided p value of Mann and Kendall's test, by the normal approximation with corrections
/// for ties and continuity.
pub(super) fn mann_kendall(values: &[f64]) -> f64 {
    let mut sum = 0_i64;
    for (at, one) in values.iter().enumerate() {
        for other in &values[at + 1..] {
            sum += i64::from(other > one) - i64::from(other < one);
        }
    }
    let of = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted
        .chunk_by(|a, b| a.total_cmp(b).is_eq())
        .map(|it| of(it.len() as f64))
        .sum();
    let variance = (of(values.len() as f64) - ties) / 18.0;
    if variance <= 0.0 || sum == 0 {
        return 1.0;
    }
    let z = (sum.unsigned_abs() as f64 - 1.0) / variance.sqrt();
    let normal = Normal::new(0.0, 1.0).expect("it exists");
    (2.0 * normal.sf(z)).min(1.0)
}

/// Theil and Sen's slope of at least two values, a step apart.
pub(super) fn slope(values: &[f64]) -> f64 {
    let mut slopes = Vec::with_capacity(values.len() * (values.len() - 1) / 2);
    for (at, one) in values.iter().enumerate() {
        for (steps, other) in values[at + 1..].iter().enumerate() {
            slopes.push((other - one) / (steps + 1) as f64);
        }
    }
    slopes.sort_by(f64::total_cmp);
    quantile(&slopes, 0.5)
}
