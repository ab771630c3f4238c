//! How many requests after a start are not yet like the later ones.

use super::mean;

/// The end of a warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmUp {
    /// Values to discard.
    pub discard: usize,
    /// Whether the rest is steady. If not, half of the values were discarded and it
    /// may go on: measure longer, or report the start-up separately.
    pub steady: bool,
}

/// The marginal standard error rule MSER (White 1997): discards the `d <= n / 2` values
/// that minimise `sum over i > d of (y_i - mean_d)^2 / (n - d)^2`, the squared error of
/// what is left as an estimate of the mean. `None` of fewer than two values.
pub fn mser(y: &[f64]) -> Option<WarmUp> {
    let n = y.len();
    if n < 2 {
        return None;
    }
    let error = |d: usize| squares(&y[d..]) / ((n - d) as f64).powi(2);
    let discard = (0..=n / 2).min_by(|a, b| error(*a).total_cmp(&error(*b)))?;
    Some(WarmUp {
        discard,
        steady: discard < n / 2,
    })
}

/// The same for several engines, which must all discard the same: the most that one
/// of them needs, and steady only if all are.
pub fn shared(engines: &[&[f64]]) -> Option<WarmUp> {
    let each: Option<Vec<WarmUp>> = engines.iter().map(|y| mser(y)).collect();
    each?.into_iter().reduce(|a, b| WarmUp {
        discard: a.discard.max(b.discard),
        steady: a.steady && b.steady,
    })
}

/// Sum of squared deviations from the mean.
pub(super) fn squares(y: &[f64]) -> f64 {
    let mean = mean(y);
    y.iter().map(|y| (y - mean).powi(2)).sum()
}
