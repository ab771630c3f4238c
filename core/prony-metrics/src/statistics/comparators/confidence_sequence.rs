//! An interval that is valid at all times, without a last look.

use super::Student;

/// An anytime-valid t interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfidenceSequence {
    /// The interval is `mean ± half_width`; infinite while there is too little data.
    pub half_width: f64,
    /// Logarithm of the e-value against a mean of zero: reject at `ln(1 / alpha)`.
    pub log_e_value: f64,
}

/// The Gaussian-mixture t confidence sequence of Wang & Ramdas (2023) at level
/// `1 - alpha` for the differences `d`, with mixture precision `g` (1 is usual):
/// `kappa = (sqrt(1 + n g) / alpha)^(2 / n)`, half width
/// `s / sqrt(n) sqrt((n - 1)(kappa - 1) / (1 - kappa / (1 + n g)))`.
///
/// For open-ended runs. It costs power: 40 instead of 87 % where engines are reloaded
/// on a machine that drifts. `None` of fewer than two differences, or if all are equal.
pub fn confidence_sequence(d: &[f64], g: f64, alpha: f64) -> Option<ConfidenceSequence> {
    let student = Student::new(d)?;
    let n = d.len() as f64;
    let wide = 1.0 + n * g;
    let kappa = (wide.sqrt() / alpha).powf(2.0 / n);
    let half_width = if kappa < wide {
        student.standard_error * ((n - 1.0) * (kappa - 1.0) / (1.0 - kappa / wide)).sqrt()
    } else {
        f64::INFINITY
    };
    let u = student.t().powi(2) / (n - 1.0);
    Some(ConfidenceSequence {
        half_width,
        log_e_value: n / 2.0 * ((1.0 + u) / (1.0 + u / wide)).ln() - wide.ln() / 2.0,
    })
}
