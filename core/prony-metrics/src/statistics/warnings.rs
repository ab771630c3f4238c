//! Reasons against trusting a run: warnings, never verdicts, as measurements close
//! in time resemble each other and the p values are too small for it.

use super::drift::{kendall, split, theil_sen};
use super::mean;
use super::quantile::{median, quantile};
use super::sequential::Decision;
use prony_result::words::Flag;
use std::collections::BTreeMap;

/// A trend over the run of more than this, as a log ratio, is a ramp.
pub const RAMP: f64 = 0.05;
/// A step of more than this, as a log ratio, is throttling.
pub const STEP: f64 = 0.03;
/// Cycles before and after a step.
const STEP_SIDE: usize = 2;
/// Below this p value a trend or an effect of the order is taken for one.
pub const SIGNIFICANT: f64 = 0.01;

/// A warning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Warning {
    /// The machine became slower or faster all along: cool it, or let it heat up first.
    ThermalRamp {
        /// Change of log latency over the run.
        change: f64,
    },
    /// The machine changed its speed at one point.
    ThrottleStep {
        /// Change of log latency.
        shift: f64,
        /// Cycles before it.
        after: usize,
    },
    /// The verdicts by sums and by medians differ: a few slow requests decide.
    OutlierSensitive,
}

impl Warning {
    /// As in results.
    pub fn flag(self) -> Flag {
        match self {
            Self::ThermalRamp { .. } => Flag::ThermalRamp,
            Self::ThrottleStep { .. } => Flag::ThrottleStep,
            Self::OutlierSensitive => Flag::OutlierSensitive,
        }
    }
}

/// A request, for what is left of its latency without engine and question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// The engine.
    pub engine: usize,
    /// The question; it must come up in more than one cycle, or it takes the drift
    /// of its cycle with it.
    pub question: usize,
    /// The cycle.
    pub cycle: u32,
    /// Start, in seconds since the start of the run.
    pub at_s: f64,
    /// Latency, in seconds.
    pub latency_s: f64,
}

/// `ln latency` without the median of its question and then that of its engine, in
/// the order of `requests`.
pub fn residuals(requests: &[Request]) -> Vec<f64> {
    let mut residuals: Vec<f64> = requests.iter().map(|it| it.latency_s.ln()).collect();
    subtract_medians(&mut residuals, requests, |it| it.question);
    subtract_medians(&mut residuals, requests, |it| it.engine);
    residuals
}

fn subtract_medians(values: &mut [f64], requests: &[Request], group: impl Fn(&Request) -> usize) {
    let mut groups = BTreeMap::<usize, Vec<f64>>::new();
    for (value, request) in values.iter().zip(requests) {
        groups.entry(group(request)).or_default().push(*value);
    }
    let medians: BTreeMap<usize, f64> = groups
        .into_iter()
        .map(|(group, values)| (group, median(&values)))
        .collect();
    for (value, request) in values.iter_mut().zip(requests) {
        *value -= medians[&group(request)];
    }
}

/// Mean time and median residual of each cycle, in order. The cycle is the unit here
/// too: the requests of one cycle share its conditions.
pub fn per_cycle(requests: &[Request]) -> Vec<(f64, f64)> {
    let mut cycles = BTreeMap::<u32, (Vec<f64>, Vec<f64>)>::new();
    for (request, residual) in requests.iter().zip(residuals(requests)) {
        let (times, residuals) = cycles.entry(request.cycle).or_default();
        times.push(request.at_s);
        residuals.push(residual);
    }
    cycles
        .into_values()
        .map(|(times, residuals)| (mean(&times), median(&residuals)))
        .collect()
}

/// `thermal_ramp`: a Theil-Sen slope of more than 5 % over the run, and a Kendall p
/// value below 0.01. `points` are `(time, residual)` in the order of time.
pub fn thermal_ramp(points: &[(f64, f64)]) -> Option<Warning> {
    let y: Vec<f64> = points.iter().map(|point| point.1).collect();
    let duration = points.last()?.0 - points.first()?.0;
    let change = theil_sen(points)? * duration;
    let p_value = kendall(&y)?.p_value;
    (change.abs() > RAMP && p_value < SIGNIFICANT).then_some(Warning::ThermalRamp { change })
}

/// `throttle_step`: the best split into two means shifts by more than 3 %, with at
/// least two cycles on each side, and by more than cycles differ anyway: the p value of
/// Student's t at that place, times the number of places (Bonferroni), is below 0.01.
/// Without that, normal noise of 3 % from cycle to cycle sets it in half of all short runs.
pub fn throttle_step(points: &[(f64, f64)]) -> Option<Warning> {
    let y: Vec<f64> = points.iter().map(|point| point.1).collect();
    let split = split(&y, STEP_SIDE)?;
    let places = (y.len() + 1).saturating_sub(2 * STEP_SIDE) as f64;
    let p_value = places * split.p_value(y.len());
    (split.shift.abs() > STEP && p_value < SIGNIFICANT).then_some(Warning::ThrottleStep {
        shift: split.shift,
        after: split.at,
    })
}

/// `outlier_sensitive`: sums and medians lead to different verdicts. Whether a run that
/// decides nothing may go on makes no difference.
pub fn outlier_sensitive(sum: Decision, med: Decision) -> Option<Warning> {
    let differ = sum != med && (sum.is_conclusive() || med.is_conclusive());
    differ.then_some(Warning::OutlierSensitive)
}

/// Number of values outside Tukey's fences (Tukey 1977). They are counted and
/// never dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outliers {
    /// More than 1.5 and at most 3 interquartile ranges away from the quartiles.
    pub mild: usize,
    /// More than 3 away.
    pub far: usize,
}

/// Counts outliers, for example among the [`residuals`] of an engine.
pub fn outliers(values: &[f64]) -> Outliers {
    if values.is_empty() {
        return Outliers::default();
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (quantile(&sorted, 0.25), quantile(&sorted, 0.75));
    let outside = |fences: f64| {
        let reach = fences * (high - low);
        let within = low - reach..=high + reach;
        values.iter().filter(|x| !within.contains(x)).count()
    };
    let far = outside(3.0);
    Outliers {
        mild: outside(1.5) - far,
        far,
    }
}
