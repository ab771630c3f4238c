//! The end of a model of which nothing is left to compare.

use prony_config::{Pipeline, Stop};
use prony_plan::Visit;
use std::collections::HashSet;

/// Reason to end a model before the cycle `next`: each of its comparisons has lost an engine,
/// which failed and is not tried again, so further cycles would measure what nothing is compared
/// with. `None` if there is none, or the pipeline wants all cycles.
pub(super) fn none_left(
    pipeline: &Pipeline,
    visits: &[Visit],
    next: &[Visit],
    skipped: &HashSet<&str>,
) -> Option<String> {
    let (compare, next) = (pipeline.compare.as_ref()?, next.first()?);
    if pipeline.schedule.stop == Stop::Never {
        return None;
    }
    let mut planned: Vec<&str> = Vec::new();
    for engine in visits.iter().map(|it| it.engine.as_str()) {
        if !planned.contains(&engine) {
            planned.push(engine);
        }
    }
    let is_left = |engine: &&str| !skipped.contains(engine);
    let left: Vec<&str> = planned.iter().copied().filter(is_left).collect();
    if !can_compare(&planned, &compare.baseline) || can_compare(&left, &compare.baseline) {
        return None;
    }
    let gone = planned.iter().filter(|engine| skipped.contains(*engine));
    let gone: Vec<String> = gone.map(|engine| format!("`{engine}`")).collect();
    let done = next.cycle.saturating_sub(1);
    let of = visits.last().map_or(done, |visit| visit.cycle);
    let name = match &next.point {
        Some(point) => format!("{} ({point})", next.model),
        None => next.model.clone(),
    };
    Some(format!(
        "{name}: ended after {done} of {of} cycles, since nothing is left to compare: {} failed and {} not tried again (`stop: never` in `schedule` goes on)",
        gone.join(" and "),
        if gone.len() == 1 { "is" } else { "are" }
    ))
}

/// Returns `true` if the baseline is among the engines, and another one.
fn can_compare(engines: &[&str], baseline: &str) -> bool {
    engines.contains(&baseline) && engines.len() > 1
}
