//! One number over several models.

use super::{Ratios, in_percent, numbers, percent};
use crate::statistics::models::{geometric_mean, synchronous};
use crate::statistics::sequential::ALPHA;
use crate::statistics::{Interval, Rule, Sequential, SignedRank, standard_deviation};
use prony_result::{Comparison, Overall};
use statrs::distribution::{ContinuousCDF as _, Normal};
use std::collections::BTreeSet;

/// A model's part in the mean.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// What reports call the model.
    pub model: &'a str,
    /// What was said of it.
    pub comparison: &'a Comparison,
    /// Its numbers.
    pub numbers: &'a Ratios,
}

/// The geometric mean of the ratios over `parts`, which are the models of one matrix point,
/// `measure` stage and candidate; `None` of fewer than two. `cycles` were planned.
///
/// The set of models was fixed before the run: if one of them was not measured, or not on
/// the same work, there is no number.
pub fn overall(parts: &[Part<'_>], margin_percent: f64, cycles: u32) -> Option<Overall> {
    let [first, _, ..] = parts else {
        return None;
    };
    let missing = parts.iter().find(|part| !is_usable(part.comparison));
    let mut overall = Overall {
        baseline: first.comparison.baseline.clone(),
        candidate: first.comparison.candidate.clone(),
        point: None,
        measure: None,
        models: parts.len() as u32,
        difference_percent: None,
        interval: None,
        reason: missing.map(|part| format!("{}: {}", part.model, part.comparison.reason)),
    };
    if missing.is_some() {
        return Some(overall);
    }
    let numbers: Vec<&[(u32, f64)]> = parts.iter().map(|it| &it.numbers.cycles[..]).collect();
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
    overall.difference_percent = Some(percent(estimate));
    overall.interval = interval.map(in_percent);
    Some(overall)
}

/// Whether the engines did the same work without failing, as far as it is known: what
/// was withheld of the whole answers was in the way.
fn is_usable(comparison: &Comparison) -> bool {
    comparison.obstacle.is_none()
}

/// Models with cycles of their own: the mean of their estimates, and the normal interval
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
