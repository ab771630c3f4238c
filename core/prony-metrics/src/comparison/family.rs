//! The comparisons of a run under one rule.

use super::{Bound, Ratios};
use crate::statistics::holm::Holm;
use crate::statistics::{Evidence, Interval, Look, Rule, Sequential};

/// The comparisons of a run, judged together: every matrix point, model, `measure` stage and
/// candidate that was planned. The rule is fixed before the first cycle.
///
/// With `K` of them each is judged with the error `ALPHA / K`; once one has a winner, the
/// others are with `ALPHA / (K - 1)`, and so on (Holm). Whatever stands in the way of a
/// verdict is not asked here: it withholds the verdict, and gives the others nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    pub(super) rule: Rule,
    pub(super) comparisons: usize,
}

impl Family {
    /// Of `comparisons` planned comparisons, each of at most `cycles` cycles.
    pub fn new(margin_percent: f64, cycles: u32, comparisons: usize) -> Self {
        Self::by(Rule::new(margin_percent, cycles as usize), comparisons)
    }

    /// Of `comparisons` planned comparisons, judged by a rule that was fixed before the
    /// first cycle.
    pub fn by(rule: Rule, comparisons: usize) -> Self {
        Self {
            rule,
            comparisons: comparisons.max(1),
        }
    }

    /// The look of each comparison that decides it, or its last one; `None` where there
    /// is no cycle yet. There must not be more than were planned.
    pub fn looks(&self, numbers: &[Ratios]) -> Vec<Option<Look>> {
        let evidence = numbers.iter().map(|it| it.evidence(Bound::Middle));
        let evidence: Vec<Box<dyn Evidence>> = evidence.collect();
        let evidence: Vec<&dyn Evidence> = evidence.iter().map(AsRef::as_ref).collect();
        Holm::new(self.rule, self.comparisons).judge(&evidence)
    }

    /// The interval that a look's decision rests on.
    pub fn interval(&self, numbers: &Ratios, look: &Look) -> Option<Interval> {
        let evidence = numbers.evidence(Bound::Middle);
        self.judge(look.alpha)
            .deciding_interval(evidence.as_ref(), look)
    }

    /// Returns `true` if cycles may be added until everything is decided.
    pub fn is_open(&self) -> bool {
        self.rule.open
    }

    /// Number of planned comparisons.
    pub fn comparisons(&self) -> usize {
        self.comparisons
    }

    /// The judge of one comparison at a two-sided error.
    pub(super) fn judge(&self, alpha: f64) -> Sequential {
        let rule = self.rule;
        Sequential::new(Rule { alpha, ..rule })
    }
}
