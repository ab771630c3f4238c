//! Methods that are often used for such data. No verdict of a run rests on them; they are
//! here so that it can be shown what they would have said.

use prony_metrics::statistics::{Decision, mean, quantile, standard_deviation};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};
use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};

/// The mean of paired differences under a normal distribution (Student 1908).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Student {
    pub(crate) mean: f64,
    pub(crate) standard_error: f64,
    /// `n - 1`.
    pub(crate) degrees_of_freedom: f64,
}

impl Student {
    /// Of the differences `d`; `None` of fewer than two, or if all are equal.
    pub(crate) fn new(d: &[f64]) -> Option<Self> {
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

    /// `mean / standard error`.
    pub(crate) fn t(&self) -> f64 {
        self.mean / self.standard_error
    }

    /// Two-sided p value of a mean of zero.
    pub(crate) fn p_value(&self) -> f64 {
        2.0 * standard_t(self.degrees_of_freedom).sf(self.t().abs())
    }
}

/// Two-sided p value of equal means of two independent samples of at least two values
/// (Welch 1947).
pub(crate) fn welch_p_value(x: &[f64], y: &[f64]) -> f64 {
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

/// The percentile bootstrap interval of a mean (Efron & Tibshirani 1993, chapter 13) at
/// level `1 - alpha`, from `resamples` samples drawn from `d`; `None` of fewer than two
/// values, or if all are equal. With 20 values or fewer it excludes the truth in 10 to
/// 20 % of all cases instead of 5 %.
pub(crate) fn bootstrap(d: &[f64], alpha: f64, resamples: usize, seed: u64) -> Option<(f64, f64)> {
    if d.len() < 2 || d.iter().all(|x| x.total_cmp(&d[0]).is_eq()) {
        return None;
    }
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    // All indexes are equally likely up to `n / 2^64`.
    let mut index = || ((u128::from(random.next_u64()) * d.len() as u128) >> 64) as usize;
    let mut draw = vec![0.0; d.len()];
    let mut means: Vec<f64> = (0..resamples)
        .map(|_| {
            draw.fill_with(|| d[index()]);
            mean(&draw)
        })
        .collect();
    means.sort_by(f64::total_cmp);
    Some((
        quantile(&means, alpha / 2.0),
        quantile(&means, 1.0 - alpha / 2.0),
    ))
}

/// The Mann-Whitney test, which takes requests to be independent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MannWhitney {
    /// Pairs in which the first sample's value is larger, ties counted as half.
    pub(crate) u: f64,
    /// Two-sided p value by normal approximation, tie-corrected and with a continuity
    /// correction.
    pub(crate) p_value: f64,
}

/// Compares two samples (Mann & Whitney 1947); `None` if one is empty or all values
/// are equal.
pub(crate) fn mann_whitney(x: &[f64], y: &[f64]) -> Option<MannWhitney> {
    let pairs = x.len() * y.len();
    let count = |larger: &dyn Fn(f64, f64) -> bool| -> usize {
        let row = |a: &f64| y.iter().filter(|b| larger(*a, **b)).count();
        x.iter().map(row).sum()
    };
    let u = (count(&|a, b| a > b) + count(&|a, b| a >= b)) as f64 / 2.0;
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
    let away = (u - pairs as f64 / 2.0).abs() - 0.5;
    let p_value = (2.0 * Normal::standard().sf(away / variance.sqrt())).min(1.0);
    Some(MannWhitney { u, p_value })
}

/// Signed ranks after every cycle, of at most 40, by critical values from simulated signs: they
/// hold if the sizes of the differences come in any order, and so not on a machine whose noise
/// grows.
pub(crate) struct Table {
    /// The first look with a critical value, and those from there on.
    critical: (usize, &'static [usize]),
}

/// With an error of 4 % over all looks.
pub(crate) const WINNER: Table = Table {
    critical: (
        9,
        &[
            0, 0, 2, 3, 5, 7, 10, 14, 17, 21, 26, 31, 37, 43, 50, 56, 63, 71, 80, 88, 97, 107, 117,
            128, 139, 150, 162, 175, 187, 201, 214, 229,
        ],
    ),
};

/// With one of 10 %.
pub(crate) const EQUIVALENT: Table = Table {
    critical: (
        8,
        &[
            0, 0, 2, 4, 6, 8, 11, 15, 19, 24, 28, 34, 40, 46, 53, 60, 68, 76, 85, 94, 104, 114,
            125, 136, 148, 160, 173, 185, 199, 214, 228, 243, 259,
        ],
    ),
};

impl Table {
    /// The interval of the differences `d`, if a look at their number has one.
    fn interval(&self, d: &[f64]) -> Option<(f64, f64)> {
        let (first, critical) = self.critical;
        let critical = *critical.get(d.len().checked_sub(first)?)?;
        let mut averages: Vec<f64> = d
            .iter()
            .enumerate()
            .flat_map(|(i, x)| d[i..].iter().map(|y| f64::midpoint(*x, *y)))
            .collect();
        averages.sort_by(f64::total_cmp);
        Some((averages[critical], averages[averages.len() - 1 - critical]))
    }

    /// The first decision on up to 40 differences, and their number then.
    pub(crate) fn judge(d: &[f64], margin: f64) -> (Decision, usize) {
        let most = d.len().min(40);
        for n in 1..=most {
            match WINNER.interval(&d[..n]) {
                Some((low, _)) if low > 0.0 => return (Decision::Faster, n),
                Some((_, high)) if high < 0.0 => return (Decision::Slower, n),
                _ => {}
            }
            let equal = EQUIVALENT.interval(&d[..n]);
            if equal.is_some_and(|(low, high)| -margin < low && high < margin) {
                return (Decision::Equivalent, n);
            }
        }
        (Decision::Inconclusive, most)
    }
}
