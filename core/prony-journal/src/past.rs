//! Durations of earlier runs, for estimating the next one.

use crate::folder::{RunFolder, runs};
use crate::journal::{Event, Scope};
use crate::reader::{self, Reader};
use prony_plan::{Past, StageKind};
use prony_record::Phase;
use prony_result::Outcome;
use std::collections::HashMap;
use std::path::Path;

/// Durations of the visits of the newest finished run of the pipeline `name`, and that
/// run. `None` if there is none below `results`.
pub fn past(results: &Path, name: &str) -> Option<(RunFolder, Past)> {
    runs(results).into_iter().rev().find_map(|folder| {
        // The first line tells whether the rest is relevant.
        let started = reader::started(&folder.journal()).ok()?;
        if started.subject.name != name {
            return None;
        }
        let past = took(Reader::open(&folder.journal()).ok()?)?;
        Some((folder, past))
    })
}

/// A visit that has not ended.
#[derive(Debug, Default)]
struct UnderWay {
    requests: u64,
    warmup_ns: u64,
    failed: bool,
}

/// Durations of the visits of a run. `None` if it has not ended, or all failed.
fn took(journal: Reader) -> Option<Past> {
    let mut past = Past::default();
    // Two engines can be under way at once.
    let mut under_way: HashMap<String, UnderWay> = HashMap::new();
    let mut has_ended = false;
    for placed in journal {
        let event = placed.ok()?.event;
        has_ended =
            matches!(event, Event::Finished { outcome, .. } if outcome != Outcome::Interrupted);
        match event {
            Event::Stage {
                stage: StageKind::Load,
                visit: Some(visit),
                ..
            } => {
                under_way.insert(visit.engine, UnderWay::default());
            }
            Event::Request(record) => {
                let latency_ns = record.latency_ns();
                let of = under_way.entry(record.id.engine).or_default();
                of.requests += 1;
                if record.id.phase == Phase::Warmup {
                    of.warmup_ns = of.warmup_ns.saturating_add(latency_ns);
                }
            }
            Event::Failed {
                scope: Scope::Visit(visit),
                ..
            } => under_way.entry(visit.engine).or_default().failed = true,
            Event::Visit(visited) => {
                let of = under_way.remove(visited.visit.engine.as_str());
                // A visit that ended early says nothing about complete ones.
                let Some(of) = of.filter(|it| !it.failed) else {
                    continue;
                };
                let measured = visited.measure_ns.values().copied();
                let request_ns = measured.fold(of.warmup_ns, u64::saturating_add);
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
    (has_ended && !past.is_empty()).then_some(past)
}
