//! Carry-over, which an engine leaves behind for the next visit, in numbers that still have it.
//!
//! If a visit after engine `j` is slower by `k_j` (a log ratio), a cycle's number is
//! `d_c = advantage + Σ_j k_j x_cj + noise`, where `x_cj` is 1 if the baseline came right after
//! `j`, -1 if the candidate did, and 0 if both or neither did. Orders drawn by a coin leave the
//! advantage and all `k_j` to be told apart. The fit is by iterated least squares with the
//! biweight of Beaton & Tukey (1974), begun with equal weights so that visits after one engine
//! are not taken for bursts of load; its error is that of an M estimate (Huber 1981, 7.6).
//!
//! It only objects to verdicts, so it needs no exact level of its own. Simulated with three
//! engines or with two and several requests in flight, one of which slows the next visit by
//! 3 %, it leaves 3 to 8 % false winners of 8 to 99 %.

use super::Decision;
use super::evidence::{CUT, NORMAL, biweight};
use super::quantile::median;
use std::collections::BTreeSet;

/// The engines visited right before the baseline and the candidate of a cycle, by any number
/// that tells them apart; `None` where nothing is known, as before the first visit.
pub type Before = [Option<u32>; 2];

/// Returns `true` if what engines leave behind does not explain a decision.
///
/// `own` are the cycles' numbers, log ratios above zero where the candidate is faster, and
/// `before` the engines before both visits of each. Where predecessors explain no more than
/// chance would, a decision stands. Else a winner must be one without them, at 5 %, and engines
/// within the `margin` (a log ratio) must be that without them.
pub fn withstands(own: &[f64], before: &[Before], decision: Decision, margin: f64) -> bool {
    /// Two-sided 5 % of the normal distribution.
    const CRITICAL: f64 = 1.96;
    let Some(fit) = Fit::new(own, before) else {
        return true;
    };
    match decision {
        _ if fit.explained <= 1.0 => true,
        Decision::Faster => fit.advantage > CRITICAL * fit.standard_error,
        Decision::Slower => fit.advantage < -CRITICAL * fit.standard_error,
        Decision::Equivalent => fit.advantage.abs() <= margin,
        Decision::Continue | Decision::Inconclusive => true,
    }
}

/// Returns `true` if what engines leave behind is worth telling: predecessors explain far more
/// than chance would. Fisher's F of 7 has a p value below 0.01 from 20 cycles on.
pub fn is_told(own: &[f64], before: &[Before]) -> bool {
    Fit::new(own, before).is_some_and(|fit| fit.explained > 7.0)
}

/// The advantage without what predecessors do.
struct Fit {
    advantage: f64,
    standard_error: f64,
    /// Variance that predecessors explain, each, over that of what is left (Fisher's F): about
    /// 1 if they do nothing.
    explained: f64,
}

impl Fit {
    /// `None` where predecessors do not differ between cycles, or nearly no cycle is left over.
    fn new(own: &[f64], before: &[Before]) -> Option<Self> {
        const ROUNDS: usize = 10;
        let columns = columns(before);
        let left_over = own.len() as f64 - columns.len() as f64;
        if columns.len() < 2 || left_over < 1.0 {
            return None;
        }
        let mut weights = vec![1.0; own.len()];
        let mut rest = Vec::new();
        let mut cut = 0.0;
        let mut advantage = 0.0;
        for _ in 0..ROUNDS {
            let inverse = inverse(products(&columns, &weights))?;
            let products_with_own: Vec<f64> =
                columns.iter().map(|it| dot3(it, &weights, own)).collect();
            let found: Vec<f64> = inverse
                .iter()
                .map(|row| dot(row, &products_with_own))
                .collect();
            advantage = found[0];
            let fitted = |c: usize| -> f64 {
                let parts = columns.iter().zip(&found);
                parts.map(|(column, factor)| column[c] * factor).sum()
            };
            rest = (0..own.len()).map(|c| own[c] - fitted(c)).collect();
            let sizes: Vec<f64> = rest.iter().map(|it| it.abs()).collect();
            cut = CUT * NORMAL * median(&sizes).max(f64::MIN_POSITIVE);
            weights = rest.iter().map(|it| biweight(it / cut)).collect();
        }
        let slope = |it: &f64| {
            let u2 = (it / cut).powi(2);
            if u2 < 1.0 {
                (1.0 - u2) * (1.0 - 5.0 * u2)
            } else {
                0.0
            }
        };
        let slope = rest.iter().map(slope).sum::<f64>() / own.len() as f64;
        let bread = inverse(products(&columns, &vec![1.0; own.len()]))?;
        let influence = |c: usize| -> f64 {
            let of_cycle: f64 = columns.iter().zip(&bread[0]).map(|(it, b)| it[c] * b).sum();
            of_cycle * weights[c] * rest[c] / slope
        };
        let scatter: f64 = (0..own.len()).map(|c| influence(c).powi(2)).sum();
        let total: f64 = weights.iter().sum();
        let mean = dot(&weights, own) / total;
        let alone: Vec<f64> = own.iter().map(|own| own - mean).collect();
        let all = dot3(&alone, &weights, &alone);
        let left = dot3(&rest, &weights, &rest);
        let predecessors = columns.len() as f64 - 1.0;
        Some(Self {
            advantage,
            standard_error: (scatter * own.len() as f64 / left_over).sqrt(),
            explained: (all - left) / predecessors / (left / left_over),
        })
    }
}

/// Share of a column's square below which it is a sum of others.
const SMALL: f64 = 1e-9;

/// The column of the advantage, 1 in every cycle, and those of the predecessors that are no sum
/// of others.
fn columns(before: &[Before]) -> Vec<Vec<f64>> {
    let mut columns = vec![vec![1.0; before.len()]];
    let mut basis: Vec<Vec<f64>> = Vec::new();
    let mut add = |column: &Vec<f64>| {
        let mut rest = column.clone();
        for direction in &basis {
            let part = dot(&rest, direction);
            rest.iter_mut()
                .zip(direction)
                .for_each(|(it, along)| *it -= part * along);
        }
        let size = dot(&rest, &rest);
        let is_new = size > SMALL * dot(column, column).max(1.0);
        if is_new {
            basis.push(rest.into_iter().map(|it| it / size.sqrt()).collect());
        }
        is_new
    };
    add(&columns[0]);
    let engines: BTreeSet<u32> = before.iter().flatten().flatten().copied().collect();
    for engine in engines {
        let is = |it: Option<u32>| f64::from(u8::from(it == Some(engine)));
        let column: Vec<f64> = before.iter().map(|[a, b]| is(*a) - is(*b)).collect();
        if add(&column) {
            columns.push(column);
        }
    }
    columns
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn dot3(a: &[f64], weights: &[f64], b: &[f64]) -> f64 {
    a.iter()
        .zip(weights)
        .zip(b)
        .map(|((a, w), b)| a * w * b)
        .sum()
}

/// The weighted products of all pairs of columns.
fn products(columns: &[Vec<f64>], weights: &[f64]) -> Vec<Vec<f64>> {
    let row = |a: &Vec<f64>| columns.iter().map(|b| dot3(a, weights, b)).collect();
    columns.iter().map(row).collect()
}

/// The inverse of a symmetric matrix (Gauss & Jordan); `None` if it has none.
fn inverse(mut matrix: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    let size = matrix.len();
    for (k, row) in matrix.iter_mut().enumerate() {
        row.extend((0..size).map(|j| f64::from(u8::from(j == k))));
    }
    for k in 0..size {
        let largest = |a: &usize, b: &usize| matrix[*a][k].abs().total_cmp(&matrix[*b][k].abs());
        let pivot = (k..size).max_by(largest)?;
        matrix.swap(k, pivot);
        let head = matrix[k][k];
        if head.abs() < SMALL {
            return None;
        }
        matrix[k].iter_mut().for_each(|it| *it /= head);
        let own = matrix[k].clone();
        for row in matrix
            .iter_mut()
            .enumerate()
            .filter(|(j, _)| *j != k)
            .map(|it| it.1)
        {
            let factor = row[k];
            row.iter_mut()
                .zip(&own)
                .for_each(|(it, own)| *it -= factor * own);
        }
    }
    Some(matrix.into_iter().map(|row| row[size..].to_vec()).collect())
}
