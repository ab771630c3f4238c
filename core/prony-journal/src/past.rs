//! What earlier runs took, for estimating the next one.

use crate::folder::{RunFolder, runs};
use crate::journal::{self, Event, Scope};
use prony_plan::{Past, StageKind};
use prony_record::Phase;
use prony_result::Outcome;
use std::collections::HashMap;
use std::path::Path;

/// What the visits of the newest finished run of the pipeline `name` took, and
/// which run that was. `None` if there is none below `results`.
pub fn past(results: &Path, name: &str) -> Option<(RunFolder, Past)> {
    runs(results).into_iter().rev().find_map(|folder| {
        // The first line says whether the rest is of interest.
        let started = journal::started(&folder.journal()).ok()?;
        if started.subject.name != name {
            return None;
        }
        let past = took(&journal::read(&folder.journal()).ok()?.events)?;
        Some((folder, past))
    })
}

/// What is known of a visit that has not ended.
#[derive(Debug, Default)]
struct UnderWay {
    requests: u64,
    warmup_ns: u64,
    failed: bool,
}

/// What the visits of a run took. `None` if it has not come to its end, or all
/// have failed.
fn took(events: &[Event]) -> Option<Past> {
    let to_the_end = |event: &Event| matches!(event, Event::Finished { outcome, .. } if *outcome != Outcome::Interrupted);
    if !events.last().is_some_and(to_the_end) {
        return None;
    }
    let mut past = Past::default();
    // Two engines can be under way at once.
    let mut under_way: HashMap<&str, UnderWay> = HashMap::new();
    for event in events {
        match event {
            Event::Stage {
                stage,
                visit: Some(visit),
                ..
            } if *stage == StageKind::Load => {
                under_way.insert(&visit.engine, UnderWay::default());
            }
            Event::Request(record) => {
                let of = under_way.entry(&record.id.engine).or_default();
                of.requests += 1;
                if record.id.phase == Phase::Warmup {
                    of.warmup_ns += record.latency_ns();
                }
            }
            Event::Failed {
                scope: Scope::Visit(visit),
                ..
            } => under_way.entry(&visit.engine).or_default().failed = true,
            Event::Visit(visited) => {
                let of = under_way.remove(visited.visit.engine.as_str());
                // One that ended early says nothing about those that do not.
                let Some(of) = of.filter(|it| !it.failed) else {
                    continue;
                };
                let request_ns = of.warmup_ns + visited.measure_ns.values().sum::<u64>();
                let seconds = |ns: u64| ns as f64 / 1e9;
                past.add(
                    &visited.visit,
                    of.requests,
                    seconds(request_ns),
                    seconds(visited.total_ns),
                );
            }
            _ => {}
        }
    }
    (!past.is_empty()).then_some(past)
}
