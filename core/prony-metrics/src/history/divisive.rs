//! Change points: E-Divisive (Matteson & James 2014) in windows, then a test of neighbouring
//! segments as a whole (Fleming et al. 2023, as in Apache Otava), each by permutations. Only the
//! error of a bridge is taken to be normal.

use super::energy::{Pairs, TwoSamples, drawn, shuffle};
use super::wild::level;
use super::{STRONG, WEAK, WINDOW};
use crate::statistics::random::Random;
use statrs::distribution::{ContinuousCDF as _, Normal};

/// A change point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Index of the first value after the change; at least 1.
    pub index: usize,
    /// p value of the segments on both sides being from one distribution.
    pub p_value: f64,
    /// Level of the segment before it.
    pub before: f64,
    /// Level of the segment after it.
    pub after: f64,
}

impl Change {
    /// The level after it less that before it: a log ratio.
    pub fn difference(&self) -> f64 {
        self.after - self.before
    }
}

/// A place where values of another anchor begin, which are known to lie on the scale of those
/// before it with some error only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Junction {
    /// Index of the first value of the other anchor.
    pub index: usize,
    /// Variance of the bridge: of the difference between both anchors.
    pub variance: f64,
}

/// The change points of values, in order. A change is at least as large as `margin`; where a
/// junction lies in the segments beside it, by as much more as its bridge may be wrong at the error
/// of a change point, since that error looks like a change.
pub fn changes(values: &[f64], junctions: &[Junction], margin: f64) -> Vec<Change> {
    let mut found = weak(values);
    loop {
        let changes = measured(values, &found);
        let weakest = changes
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.p_value.total_cmp(&b.1.p_value));
        let Some((mut least, change)) = weakest else {
            return changes;
        };
        if change.p_value <= STRONG {
            // By how much each is more than it has to be.
            let excess = |at: usize| {
                let start = at.checked_sub(1).map_or(0, |at| changes[at].index);
                let end = changes.get(at + 1).map_or(values.len(), |it| it.index);
                let needed = margin + allowance(junctions, start, end);
                changes[at].difference().abs() - needed
            };
            let smallest = (0..changes.len()).min_by(|a, b| excess(*a).total_cmp(&excess(*b)));
            let smallest = smallest.expect("there is a change");
            if excess(smallest) >= 0.0 {
                return changes;
            }
            least = smallest;
        }
        found.remove(least);
    }
}

/// The largest error that the bridges between two indices are allowed.
pub(super) fn allowance(junctions: &[Junction], start: usize, end: usize) -> f64 {
    let between = junctions
        .iter()
        .filter(|it| start < it.index && it.index < end);
    let variance: f64 = between.map(|it| it.variance).sum();
    normal_quantile(1.0 - STRONG / 2.0) * variance.sqrt()
}

/// The quantile of the standard normal distribution.
pub(super) fn normal_quantile(p: f64) -> f64 {
    let normal = Normal::new(0.0, 1.0).expect("it exists");
    normal.inverse_cdf(p)
}

/// Change points with the levels of their segments and the p values of these.
fn measured(values: &[f64], found: &[usize]) -> Vec<Change> {
    let bound = |at: Option<usize>, otherwise| {
        at.and_then(|at| found.get(at))
            .copied()
            .unwrap_or(otherwise)
    };
    let of = |(at, index): (usize, &usize)| {
        let before = &values[bound(at.checked_sub(1), 0)..*index];
        let after = &values[*index..bound(Some(at + 1), values.len())];
        Change {
            index: *index,
            p_value: TwoSamples::new(before, after).p_value(STRONG, *index as u64),
            before: level(before),
            after: level(after),
        }
    };
    found.iter().enumerate().map(of).collect()
}

/// Indices that may be change points: of windows that overlap by half, as a change near the end of
/// one would else be missed.
fn weak(values: &[f64]) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    let mut start = 0;
    while start < values.len() {
        let window = &values[start..values.len().min(start + WINDOW)];
        let mut of_window = Vec::new();
        divide(window, start, &mut of_window);
        let last = of_window.iter().max().copied().unwrap_or_default();
        found.extend(of_window);
        start = last.max(start + WINDOW / 2);
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Divides values, which begin at an index, and their parts, for as long as chance does not
/// explain it.
fn divide(values: &[f64], start: usize, found: &mut Vec<usize>) {
    let mut pairs = Pairs::new(values.len());
    let Some(best) = pairs.best(values) else {
        return;
    };
    let mut random = Random::new(values.len() as u64);
    let mut shuffled = values.to_vec();
    let p_value = drawn(best.statistic, WEAK, || {
        shuffle(&mut shuffled, &mut random);
        pairs.best(&shuffled).map_or(0.0, |it| it.statistic)
    });
    // Of equal values nothing is larger than anything.
    if p_value > WEAK || best.statistic <= 0.0 {
        return;
    }
    let (before, after) = values.split_at(best.index);
    divide(before, start, found);
    found.push(start + best.index);
    divide(after, start + best.index, found);
}
