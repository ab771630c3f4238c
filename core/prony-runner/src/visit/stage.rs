//! The stages that send requests: `warmup` and `measure`.

use prony_config::{Arrival, Cache, Condition, OnFailure, Question, Step, Work};
use prony_record::Phase;
use std::time::Duration;

/// The common options of a `warmup` or `measure` stage.
pub(crate) struct Stage<'v> {
    pub(super) phase: Phase,
    pub(super) id: String,
    pub(super) on_failure: OnFailure,
    pub(super) condition: &'v Condition,
    pub(super) before: &'v [Step],
    pub(super) after: &'v [Step],
    pub(super) requests: u32,
    pub(super) arrival: Arrival,
    pub(super) shards: Option<u32>,
    pub(super) duration: Option<Duration>,
    pub(super) cache: Option<Cache>,
    pub(super) timeout: Option<Duration>,
    /// Content of the requests, in place of the workload's.
    pub(super) question: Option<&'v Question>,
}

impl<'v> Stage<'v> {
    pub(super) fn new(work: &'v Work, id: String) -> Self {
        let std = prony_config::Duration::to_std;
        match work {
            Work::Warmup(stage) => Self {
                phase: Phase::Warmup,
                id,
                on_failure: stage.on_failure,
                condition: &stage.condition,
                before: &stage.before,
                after: &stage.after,
                requests: stage.requests,
                arrival: stage.arrival,
                shards: stage.arrival.is_one_at_a_time().then_some(1),
                duration: None,
                cache: None,
                timeout: stage.timeout.map(std),
                question: stage.question.as_ref(),
            },
            Work::Measure(stage) => Self {
                phase: Phase::Measure,
                id,
                on_failure: stage.on_failure,
                condition: &stage.condition,
                before: &stage.before,
                after: &stage.after,
                requests: stage.requests,
                arrival: stage.arrival,
                shards: stage.shards,
                duration: stage.duration.map(std),
                cache: stage.cache,
                timeout: stage.timeout.map(std),
                question: None,
            },
        }
    }
}
