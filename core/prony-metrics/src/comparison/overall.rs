//! One number over several models.

use super::{Bound, Ratios, in_percent, to_percent};
use crate::statistics::models::{geometric_mean, synchronous};
use crate::statistics::sequential::ALPHA;
use crate::statistics::{Interval, LogRatios, Rule, Sequential, mean, standard_deviation};
use prony_result::{Comparison, Overall, TestStatistic};
use statrs::distribution::{ContinuousCDF as _, Normal};

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
    let cycles_of: Vec<Vec<u32>> = models.iter().map(|it| it.numbers.cycles()).collect();
    let shared = cycles_of.windows(2).all(|it| it[0] == it[1]);
    let (estimate, interval) = if shared {
        let series: Vec<Vec<f64>> = models
            .iter()
            .map(|it| match it.numbers.statistic {
                TestStatistic::Throughput => it.numbers.throughputs(),
                _ => it.numbers.medians(Bound::Middle),
            })
            .collect();
        let series: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
        let means = LogRatios(synchronous(&series));
        let judge = Sequential::new(Rule::new(margin_percent, cycles as usize));
        let look = judge.judge(&means)?;
        (look.estimate, judge.interval(&means, &look))
    } else {
        approximate(models)?
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
fn approximate(models: &[ModelComparison<'_>]) -> Option<(f64, Option<Interval>)> {
    let evidence = models.iter().map(|it| it.numbers.evidence(Bound::Middle));
    let influences: Option<Vec<Vec<f64>>> = evidence.map(|it| it.influences(it.cycles())).collect();
    let influences = influences?;
    let estimates: Vec<f64> = influences.iter().map(|it| mean(it)).collect();
    let enough = influences.iter().all(|it| it.len() >= 2);
    let error = |d: &Vec<f64>| standard_deviation(d) / (d.len() as f64).sqrt();
    let errors: Vec<f64> = if enough {
        influences.iter().map(error).collect()
    } else {
        Vec::new()
    };
    let mean = geometric_mean(&estimates, &errors)?;
    let estimate = mean.ratio.ln();
    let reach = Normal::standard().inverse_cdf(1.0 - ALPHA / 2.0) * mean.standard_error;
    let interval = Interval {
        low: estimate - reach,
        high: estimate + reach,
        level: 1.0 - ALPHA,
    };
    Some((estimate, enough.then_some(interval)))
}
