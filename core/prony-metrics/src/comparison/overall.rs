//! One number over several models.

use super::{Ratios, in_percent, numbers, to_percent};
use crate::statistics::models::{geometric_mean, synchronous};
use crate::statistics::sequential::ALPHA;
use crate::statistics::{Interval, Rule, Sequential, SignedRank, standard_deviation};
use prony_result::{Comparison, Overall};
use statrs::distribution::{ContinuousCDF as _, Normal};
use std::collections::BTreeSet;

/// A model's contribution to the mean.
#[derive(Debug, Clone, Copy)]
pub struct ModelComparison<'a> {
    /// Label of the model in reports.
    pub model: &'a str,
    /// Comparison of the model.
    pub comparison: &'a Comparison,
    /// Log ratios of its cycles.
    pub numbers: &'a Ratios,
}

/// The geometric mean of the ratios over `models`, the models of one matrix point,
/// `measure` stage and candidate; `None` with fewer than two. `cycles` were planned.
///
/// The set of models was fixed before the run: if one of them was not measured, or not on
/// the same work, there is no number.
pub fn overall(
    models: &[ModelComparison<'_>],
    margin_percent: f64,
    cycles: u32,
) -> Option<Overall> {
    let [first, _, ..] = models else {
        return None;
    };
    let missing = models.iter().find(|part| !is_usable(part.comparison));
    let mut overall = Overall {
        baseline: first.comparison.baseline.clone(),
        candidate: first.comparison.candidate.clone(),
        cell: None,
        measure: None,
        models: models.len() as u32,
        difference_percent: None,
        interval: None,
        reason: missing.map(|part| format!("{}: {}", part.model, part.comparison.reason)),
    };
    if missing.is_some() {
        return Some(overall);
    }
    let numbers: Vec<&[(u32, f64)]> = models.iter().map(|it| &it.numbers.cycles[..]).collect();
    let series: Vec<Vec<f64>> = numbers.iter().map(|it| numbers::values(it)).collect();
    let of = |it: &&[(u32, f64)]| -> BTreeSet<u32> { it.iter().map(|(cycle, _)| *cycle).collect() };
    let shared = numbers.windows(2).all(|it| of(&it[0]) == of(&it[1]));
    let (estimate, interval) = if shared {
        let series: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
        let means = synchronous(&series);
        let judge = Sequential::new(Rule::new(margin_percent, cycles as usize));
        let look = judge.look(&means)?;
        (look.estimate, look.interval)
    } else {
        approximate(&series)?
    };
    overall.difference_percent = Some(to_percent(estimate));
    overall.interval = interval.map(in_percent);
    Some(overall)
}

/// Returns `true` if the engines did the same work without failures, as far as known;
/// otherwise the comparison has an obstacle.
fn is_usable(comparison: &Comparison) -> bool {
    comparison.obstacle.is_none()
}

/// For models with different cycles: the mean of their estimates, and the normal interval
/// from their standard errors.
fn approximate(series: &[Vec<f64>]) -> Option<(f64, Option<Interval>)> {
    let estimates: Option<Vec<f64>> = series
        .iter()
        .map(|d| Some(SignedRank::new(d)?.estimate()))
        .collect();
    let enough = series.iter().all(|d| d.len() >= 2);
    let error = |d: &Vec<f64>| standard_deviation(d) / (d.len() as f64).sqrt();
    let errors: Vec<f64> = if enough {
        series.iter().map(error).collect()
    } else {
        Vec::new()
    };
    let mean = geometric_mean(&estimates?, &errors)?;
    let estimate = mean.ratio.ln();
    let reach = Normal::standard().inverse_cdf(1.0 - ALPHA / 2.0) * mean.standard_error;
    let interval = Interval {
        low: estimate - reach,
        high: estimate + reach,
        level: 1.0 - ALPHA,
    };
    Some((estimate, enough.then_some(interval)))
}
