//! Several models: the chance of any false winner stays what it is for one.

use super::sequential::{Decision, Look, Rule, Sequential};

/// Holm's adjusted p values (Holm 1979), in the order of `p`:
/// `max over j <= i of min(1, (k - j + 1) p_(j))`.
pub fn adjust(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest: f64 = 0.0;
    for (rank, index) in order.into_iter().enumerate() {
        largest = largest.max(((p.len() - rank) as f64 * p[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

/// The verdicts on `K` models by Holm's step-down procedure: each is judged with
/// `alpha / K`; once one has a winner, the others are with `alpha / (K - 1)`, and so on
/// (for group-sequential tests: Maurer & Bretz 2013).
///
/// `models` are the log ratios of each model's cycles so far, so that it can be
/// called after every cycle. `None` where a model has no cycles. `equivalent` is not
/// adjusted: each such claim has its own error of 5 %.
pub fn judge(models: &[&[f64]], rule: Rule) -> Vec<Option<Look>> {
    let mut looks: Vec<Option<Look>> = vec![None; models.len()];
    let mut open: Vec<usize> = (0..models.len()).collect();
    while !open.is_empty() {
        let sequential = Sequential::new(Rule {
            alpha: rule.alpha / open.len() as f64,
            ..rule
        });
        for index in &open {
            looks[*index] = sequential.judge(models[*index]);
        }
        let before = open.len();
        open.retain(|index| !looks[*index].is_some_and(|look| look.decision.is_win()));
        if open.len() == before {
            break;
        }
    }
    looks
}

/// Whether none of the models needs another cycle.
pub fn settled(looks: &[Option<Look>]) -> bool {
    looks
        .iter()
        .all(|look| look.is_some_and(|look| look.decision != Decision::Continue))
}
