//! The 99th percentile over all cycles together.

use super::{Arm, Ratios, to_percent};
use crate::facts::Facts;
use crate::statistics::label_swap::{Cycle, RESAMPLES, label_swap};
use crate::statistics::quantile::min_samples_for_quantile;
use crate::statistics::sequential::ALPHA;
use prony_result::{TailJudgement, Verdict};
use std::collections::BTreeMap;

const P: f64 = 0.99;
/// Fixed, so that equal records give equal results.
const SEED: u64 = 0;

/// Tests the 99th percentile of `time_ns` over the cycles that have a number; `None` if
/// an engine has too few requests for it.
///
/// In each cycle a coin decided which engine came first, so under the null hypothesis the
/// labels of a cycle are exchangeable. The requests of one cycle stay together.
pub(super) fn tail(
    baseline: Arm<'_>,
    candidate: Arm<'_>,
    numbers: &Ratios,
    time_ns: impl Fn(&Facts) -> Option<u64>,
) -> Option<TailJudgement> {
    let times = |arm: Arm<'_>| -> BTreeMap<u32, Vec<f64>> {
        let mut times = BTreeMap::<u32, Vec<f64>>::new();
        for record in arm.good() {
            let time = time_ns(record).filter(|time| *time > 0);
            let of_cycle = times.entry(record.cycle).or_default();
            of_cycle.extend(time.map(|time| time as f64));
        }
        times
    };
    let (of_baseline, of_candidate) = (times(baseline), times(candidate));
    let cycles: Vec<Cycle<'_>> = numbers
        .cycles()
        .iter()
        .filter_map(|cycle| {
            Some(Cycle {
                baseline: of_baseline.get(cycle)?,
                candidate: of_candidate.get(cycle)?,
            })
        })
        .collect();
    let fewest = min_samples_for_quantile(P) as usize;
    let enough = |of: fn(&Cycle<'_>) -> usize| cycles.iter().map(of).sum::<usize>() >= fewest;
    if !enough(|it| it.baseline.len()) || !enough(|it| it.candidate.len()) {
        return None;
    }
    let found = label_swap(&cycles, P, RESAMPLES, SEED)?;
    // The ratio is of times: below zero if the candidate is faster.
    let faster = -found.log_ratio;
    Some(TailJudgement {
        verdict: if found.p_value > ALPHA {
            Verdict::Inconclusive
        } else if faster > 0.0 {
            Verdict::Faster
        } else {
            Verdict::Slower
        },
        difference_percent: to_percent(faster),
        p_value: found.p_value,
        cycles: cycles.len() as u32,
    })
}
