//! Student's t.

use crate::statistics::{mean, standard_deviation};
use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// The mean of paired differences under a normal distribution (Student 1908).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Student {
    /// The mean.
    pub mean: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// `n - 1`.
    pub degrees_of_freedom: f64,
}

/// Two one-sided tests of equivalence (Schuirmann 1987).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tost {
    /// t and p value of "not above `-margin`".
    pub lower: (f64, f64),
    /// t and p value of "not below `margin`".
    pub upper: (f64, f64),
}

impl Tost {
    /// The larger p value of the two.
    pub fn p_value(&self) -> f64 {
        self.lower.1.max(self.upper.1)
    }
}

impl Student {
    /// Of the differences `d`; `None` of fewer than two, or if all are equal.
    pub fn new(d: &[f64]) -> Option<Self> {
        if d.len() < 2 {
            return None;
        }
        let n = d.len() as f64;
        let standard_error = standard_deviation(d) / n.sqrt();
        (standard_error > 0.0).then(|| Self {
            mean: mean(d),
            standard_error,
            degrees_of_freedom: n - 1.0,
        })
    }

    fn distribution(&self) -> StudentsT {
        standard_t(self.degrees_of_freedom)
    }

    /// `mean / standard error`.
    pub fn t(&self) -> f64 {
        self.mean / self.standard_error
    }

    /// Two-sided p value of a mean of zero.
    pub fn p_value(&self) -> f64 {
        2.0 * self.distribution().sf(self.t().abs())
    }

    /// The interval of the mean at level `1 - alpha`.
    pub fn interval(&self, alpha: f64) -> (f64, f64) {
        let reach = self.distribution().inverse_cdf(1.0 - alpha / 2.0) * self.standard_error;
        (self.mean - reach, self.mean + reach)
    }

    /// Whether the mean lies inside `±margin`.
    pub fn equivalence(&self, margin: f64) -> Tost {
        let lower = (self.mean + margin) / self.standard_error;
        let upper = (self.mean - margin) / self.standard_error;
        Tost {
            lower: (lower, self.distribution().sf(lower)),
            upper: (upper, self.distribution().cdf(upper)),
        }
    }
}

/// Two-sided p value of equal means of two independent samples of at least two values
/// (Welch 1947).
pub fn welch_p_value(x: &[f64], y: &[f64]) -> f64 {
    let of = |values: &[f64]| {
        let n = values.len() as f64;
        (standard_deviation(values).powi(2) / n, n - 1.0)
    };
    let ((x_error, x_freedom), (y_error, y_freedom)) = (of(x), of(y));
    let error = x_error + y_error;
    let freedom = error.powi(2) / (x_error.powi(2) / x_freedom + y_error.powi(2) / y_freedom);
    let t = (mean(x) - mean(y)) / error.sqrt();
    2.0 * standard_t(freedom).sf(t.abs())
}

fn standard_t(freedom: f64) -> StudentsT {
    StudentsT::new(0.0, 1.0, freedom).expect("the degrees of freedom are positive")
}
