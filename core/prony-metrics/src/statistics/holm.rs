//! Several models: the chance of any false winner stays what it is for one.

use super::evidence::Evidence;
use super::sequential::{Look, Rule, Sequential};

/// Verdicts on several models by Holm's step-down procedure (Holm 1979): each of `K` is
/// judged with `alpha / K`; once one has a winner, the others are with `alpha / (K - 1)`,
/// and so on (for group-sequential tests: Maurer & Bretz 2013).
///
/// `equivalent` is not adjusted: each such claim has its own error of 5 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holm {
    rule: Rule,
    models: usize,
}

impl Holm {
    /// For a number of models.
    pub fn new(rule: Rule, models: usize) -> Self {
        Self { rule, models }
    }

    /// Rule for a model while `k` of them have no winner yet.
    pub fn step(&self, k: usize) -> Sequential {
        Sequential::new(Rule {
            alpha: self.rule.alpha / k as f64,
            ..self.rule
        })
    }

    /// The verdicts on models by their cycles so far, so that it can be called after every
    /// cycle. `None` where a model has no cycles. There must not be more models than were
    /// said.
    pub fn judge(&self, models: &[&dyn Evidence]) -> Vec<Option<Look>> {
        let mut looks: Vec<Option<Look>> = vec![None; models.len()];
        let mut open: Vec<usize> = (0..models.len()).collect();
        let mut step = self.models;
        while !open.is_empty() {
            let sequential = self.step(step);
            for index in &open {
                looks[*index] = sequential.judge(models[*index]);
            }
            let before = open.len();
            open.retain(|index| !looks[*index].is_some_and(|look| look.decision.is_win()));
            if open.len() == before {
                break;
            }
            step -= before - open.len();
        }
        looks
    }
}
