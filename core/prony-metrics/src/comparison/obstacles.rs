//! Obstacles to a verdict, whatever the numbers say.

use super::{Arm, MAX_DEGRADED, MIN_SUCCESS_RATE, Ratios, StudyDesign};
use crate::credit::Credits;
use crate::facts::Facts;
use crate::statistics::aggregate::length_mismatch;
use prony_result::words::{Flag, count};
use std::collections::BTreeSet;

/// Obstacles to verdicts that rest on the work of both engines, in words.
pub(super) struct Obstacles {
    /// Failures, or a stage that only one engine went through.
    pub(super) failures: Option<String>,
    /// The flag of failures.
    pub(super) flag: Option<Flag>,
    /// Counts of tokens.
    pub(super) tokens: Option<String>,
    /// Answers of different length.
    pub(super) lengths: Option<String>,
}

impl Obstacles {
    pub(super) fn new(
        baseline: Arm<'_>,
        candidate: Arm<'_>,
        credits: &Credits,
        numbers: &Ratios,
    ) -> Self {
        let failed = failures(baseline, candidate, credits, numbers);
        Self {
            failures: uneven(baseline, candidate)
                .or_else(|| uneven(candidate, baseline))
                .or_else(|| failed.as_ref().map(|it| it.reason.clone())),
            flag: failed.and_then(|it| it.flag),
            tokens: tokens(baseline, candidate, credits),
            lengths: lengths(baseline, candidate, credits),
        }
    }
}

/// Answers of which no common part can be timed.
pub(super) fn nothing_in_common(numbers: &Ratios) -> Option<String> {
    let withheld = numbers.withheld()?;
    let is_of_request = numbers.statistic.is_of_request();
    is_of_request.then(|| format!("not the same work: {}", withheld.reason()))
}

/// One start of each engine: whatever was found holds for these two processes.
pub(super) fn single_start(design: StudyDesign) -> Option<String> {
    (design.cycles == 1).then(|| {
        "a single start of each engine: what was found is conditional on this process start"
            .to_owned()
    })
}

/// A stage that one engine went through and its `if` kept from the other: the
/// two did not do the same work.
fn uneven(measured: Arm<'_>, skipped: Arm<'_>) -> Option<String> {
    let cycles: BTreeSet<u32> = measured.facts().iter().map(|it| it.cycle).collect();
    let uneven = skipped.skipped.intersection(&cycles).count();
    (uneven > 0).then(|| {
        format!(
            "the `if` of the stage left out `{}` in {uneven} of the cycles in which `{}` was measured",
            skipped.name, measured.name
        )
    })
}

/// An obstacle to every verdict.
struct Failures {
    flag: Option<Flag>,
    reason: String,
}

/// Failures that forbid every verdict, if there are such.
fn failures(
    baseline: Arm<'_>,
    candidate: Arm<'_>,
    credits: &Credits,
    numbers: &Ratios,
) -> Option<Failures> {
    for arm in [baseline, candidate] {
        if arm.facts().is_empty() {
            return Some(Failures {
                flag: None,
                reason: format!("`{}` was not measured", arm.name),
            });
        }
        let rate = arm.success_rate();
        if rate < MIN_SUCCESS_RATE {
            return Some(Failures {
                flag: Some(Flag::LowSuccessRate),
                reason: format!(
                    "only {:.1} % of the requests to `{}` succeeded; {:.0} % are needed",
                    rate * 100.0,
                    arm.name,
                    MIN_SUCCESS_RATE * 100.0
                ),
            });
        }
    }
    // Without token counts no cycle has a number; that is told by `tokens`.
    if tokens(baseline, candidate, credits).is_some() {
        return None;
    }
    let degraded = numbers.degraded.len();
    let all = numbers.cycles().len() + degraded;
    (degraded as f64 > MAX_DEGRADED * all as f64).then(|| Failures {
        flag: Some(Flag::DegradedCycles),
        reason: format!("{degraded} of {all} cycles have a failure"),
    })
}

/// Counts of tokens that forbid every verdict that rests on them.
fn tokens(baseline: Arm<'_>, candidate: Arm<'_>, credits: &Credits) -> Option<String> {
    let of = |arm: Arm<'_>, credit: &dyn Fn(&Facts) -> Option<u32>| {
        let missing = arm.good().find(|record| credit(record).is_none())?;
        let name = arm.name;
        let why = if missing.is_withheld {
            format!("not the same work: the number of tokens that `{name}` counts cannot be right")
        } else {
            format!("`{name}` does not say how many tokens it generated")
        };
        Some(format!(
            "{why}; with a `tokenizer` of the model prony counts them itself"
        ))
    };
    let counted = |arm: Arm<'_>, credit: &dyn Fn(&Facts) -> Option<u32>| {
        // Records of before counts were looked at when they were taken.
        let mut good = arm.good();
        let is_used = |it: &Facts| !it.is_plausible && credit(it) == it.output_tokens;
        good.any(is_used).then(|| {
            format!(
                "not the same work: `{}` counts more tokens than its answers have bytes",
                arm.name
            )
        })
    };
    of(baseline, &|it| credits.baseline(it))
        .or_else(|| of(candidate, &|it| credits.candidate(it)))
        .or_else(|| counted(baseline, &|it| credits.baseline(it)))
        .or_else(|| counted(candidate, &|it| credits.candidate(it)))
}

/// Answers of different length: only times per token may be compared.
fn lengths(baseline: Arm<'_>, candidate: Arm<'_>, credits: &Credits) -> Option<String> {
    let a = baseline.lengths(|it| credits.baseline(it));
    let b = candidate.lengths(|it| credits.candidate(it));
    let both = a
        .iter()
        .filter_map(|(question, a)| Some((*a, *b.get(question)?)));
    let both: Vec<(f64, f64)> = both.collect();
    let differ = both.iter().filter(|(a, b)| length_mismatch(*a, *b)).count();
    (differ > 0).then(|| {
        format!(
            "not the same work: the answers to {differ} of {} differ in length by more than 1 %",
            count(both.len() as u64, "question")
        )
    })
}
