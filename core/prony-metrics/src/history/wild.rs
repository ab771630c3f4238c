//! Wild nights: single runs far from those around them, which are no change and hide none.

use crate::statistics::quantile;

/// Runs that say what is usual around one.
const AROUND: usize = 21;
/// Distance from the usual, in robust standard deviations, that is wild.
const FAR: f64 = 5.0;
/// The same in margins, where the runs differ by little: a change is never wild for being seen.
const MARGINS: f64 = 3.0;
/// Of a normal distribution: standard deviations for each median absolute deviation.
const NORMAL: f64 = 1.4826;

/// Values of which none is farther from the median of those around it than a bound, where it is
/// put (winsorised). So a night does not count for more than a change of that size.
pub(super) fn bounded(values: &[f64], margin: f64) -> Vec<f64> {
    let around = AROUND.min(values.len());
    let bound = |(at, value): (usize, &f64)| {
        let start = at.saturating_sub(around / 2).min(values.len() - around);
        let window = &values[start..start + around];
        let usual = median(window.to_vec());
        let distances = window.iter().map(|it| (it - usual).abs());
        let scatter = NORMAL * median(distances.collect());
        let most = (FAR * scatter).max(MARGINS * margin);
        if most > 0.0 {
            value.clamp(usual - most, usual + most)
        } else {
            *value
        }
    };
    values.iter().enumerate().map(bound).collect()
}

/// The level of values: the mean of their middle half (Tukey's midmean), which a quarter of them
/// cannot pull away. Of fewer than four it is their mean.
pub(super) fn level(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted.len() / 4;
    crate::statistics::mean(&sorted[cut..sorted.len() - cut])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}
