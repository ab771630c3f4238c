//! One number over several models.

use super::mean;

/// A geometric mean of ratios over models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeometricMean {
    /// `exp(mean of the log ratios)`.
    pub ratio: f64,
    /// Standard error of its logarithm.
    pub standard_error: f64,
}

/// The geometric mean of independent models' ratios, given as log ratios and their
/// standard errors: `exp(mean d_k)`, error `sqrt(sum se_k^2) / K`. `None` without models.
///
/// Never the arithmetic mean of ratios, which depends on which engine is the
/// baseline (Fleming & Wallace 1986). The set of models must be fixed beforehand.
pub fn geometric_mean(log_ratios: &[f64], standard_errors: &[f64]) -> Option<GeometricMean> {
    if log_ratios.is_empty() {
        return None;
    }
    let squares: f64 = standard_errors.iter().map(|error| error * error).sum();
    Some(GeometricMean {
        ratio: mean(log_ratios).exp(),
        standard_error: squares.sqrt() / log_ratios.len() as f64,
    })
}

/// The mean log ratio of each cycle over models that share their cycles: one series,
/// to be judged like that of a model. `models[k][c]` is model `k` in cycle `c`; it ends
/// with the shortest.
pub fn synchronous(models: &[&[f64]]) -> Vec<f64> {
    let cycles = models.iter().map(|d| d.len()).min().unwrap_or(0);
    (0..cycles)
        .map(|cycle| models.iter().map(|d| d[cycle]).sum::<f64>() / models.len() as f64)
        .collect()
}
