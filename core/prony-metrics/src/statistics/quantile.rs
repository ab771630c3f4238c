//! Quantiles, their estimates and intervals, and how many values they need.

use super::Binomial;
use prony_result::Distribution;

/// Quantile of type 7 (Hyndman & Fan 1996; the default of R and numpy): linear
/// interpolation at `1 + (n - 1) p`. `sorted` must be ascending and not empty.
pub fn quantile(sorted: &[f64], p: f64) -> f64 {
    debug_assert!(!sorted.is_empty() && (0.0..=1.0).contains(&p));
    let at = (sorted.len() - 1) as f64 * p;
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

/// Error of the interval of the median in a [`distribution`].
const MEDIAN_ALPHA: f64 = 0.05;

/// Mean, extremes, median, and the percentiles for which there are samples enough; `None`
/// without samples.
pub fn distribution(mut samples: Vec<f64>) -> Option<Distribution> {
    samples.sort_by(f64::total_cmp);
    let (min, max) = (*samples.first()?, *samples.last()?);
    let n = samples.len() as u64;
    let percentile = |p| (n >= min_samples_for_quantile(p)).then(|| quantile(&samples, p));
    let median = quantile_interval(&samples, 0.5, MEDIAN_ALPHA);
    let (p50_low, p50_high) = median.low.zip(median.high).unzip();
    Some(Distribution {
        n,
        mean: samples.iter().sum::<f64>() / samples.len() as f64,
        min,
        p50: quantile(&samples, 0.5),
        p50_low,
        p50_high,
        p90: percentile(0.9),
        p95: percentile(0.95),
        p99: percentile(0.99),
        max,
    })
}

/// The median, a quantile of type 7; not of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// The interval of a quantile between two order statistics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileInterval {
    /// Rank of the lower end, from 1; 0: unbounded.
    pub rank_low: u64,
    /// Rank of the upper end, from 1; `n + 1`: unbounded.
    pub rank_high: u64,
    /// Lower end; `None` where so few values give none.
    pub low: Option<f64>,
    /// Upper end; `None` where so few values give none.
    pub high: Option<f64>,
    /// The probability that it covers the quantile, for independent values.
    pub level: f64,
}

/// The distribution-free interval of the `p` quantile at level `1 - alpha` (David &
/// Nagaraja 2003, section 7.1).
///
/// The number of values below the quantile is binomial, so the ranks are
/// `low = F⁻¹(alpha / 2)` and `high = F⁻¹(1 - alpha / 2) + 1` of `Bin(n, p)`.
///
/// It takes the values to be independent. Requests under drift are not, and then it
/// is too narrow: it describes, and no verdict rests on it. `sorted` must be
/// ascending and not empty.
pub fn quantile_interval(sorted: &[f64], p: f64, alpha: f64) -> QuantileInterval {
    let n = sorted.len() as u64;
    let below = Binomial::new(n, p);
    let (rank_low, rank_high) = ranks(&below, alpha);
    let at = |rank: u64| {
        let index = rank.checked_sub(1)?;
        sorted.get(index as usize).copied()
    };
    let missed = rank_low.checked_sub(1).map_or(0.0, |rank| below.cdf(rank));
    QuantileInterval {
        rank_low,
        rank_high,
        low: at(rank_low),
        high: at(rank_high),
        level: below.cdf(rank_high - 1) - missed,
    }
}

/// Ranks from 1 of the ends of an interval; see [`quantile_interval`].
fn ranks(below: &Binomial, alpha: f64) -> (u64, u64) {
    let low = below.quantile(alpha / 2.0);
    (low, below.quantile(1.0 - alpha / 2.0) + 1)
}

/// Ranks from 1 of the ends of the interval of the median of `n` values that a
/// [`distribution`] has, as in [`QuantileInterval`].
pub(crate) fn median_ranks(n: u64) -> (u64, u64) {
    ranks(&Binomial::new(n, 0.5), MEDIAN_ALPHA)
}

/// The fewest requests of which at most `over` may lie above a bound, so that with
/// the given confidence a share `p` of all lie below it: the smallest `h + over` with
/// `P(Bin(h + over, 1 - p) <= over) <= 1 - confidence` is reached at this `h`.
///
/// `p` must lie between 0 and 1; a maximum is reached by no number of requests.
///
/// The rule by which `MLPerf` ends a run early (its `LoadGen`, `early_stopping.cc`).
pub fn min_samples_within(over: u64, p: f64, confidence: f64) -> u64 {
    assert!(0.0 < p && p < 1.0, "`p` lies between 0 and 1");
    let enough = |h: u64| Binomial::new(h + over, 1.0 - p).cdf(over) <= 1.0 - confidence;
    let mut high = 1;
    while !enough(high) {
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = u64::midpoint(low, high);
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// The confidence that a percentile which is shown is not just the maximum.
const PERCENTILE_CONFIDENCE: f64 = 0.99;

/// The fewest values of which the `p` quantile may be shown: with fewer, the largest
/// one may well lie below it. 44 for p90, 90 for p95, 459 for p99; with fewer it is a
/// "maximum of n".
pub fn min_samples_for_quantile(p: f64) -> u64 {
    min_samples_within(0, p, PERCENTILE_CONFIDENCE)
}
