//! The stages that send requests: `warmup` and `measure`.

use super::requests::Batch;
use super::{Link, Running, Staged, Trouble, VisitRun, attempt};
use crate::context::holds;
use prony_config::{Arrival, Cache, Condition, OnFailure, Step, Work};
use prony_journal::StageOf;
use prony_plan::Phase;
use std::time::Duration;

/// What the two kinds have in common.
pub(super) struct Stage<'v> {
    pub(super) phase: Phase,
    pub(super) id: String,
    pub(super) on_failure: OnFailure,
    condition: &'v Condition,
    before: &'v [Step],
    after: &'v [Step],
    pub(super) requests: u32,
    arrival: Arrival,
    shards: Option<u32>,
    duration: Option<Duration>,
    pub(super) cache: Option<Cache>,
    timeout: Option<Duration>,
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
                arrival: Arrival::Concurrency(1),
                shards: Some(1),
                duration: None,
                cache: None,
                timeout: stage.timeout.map(std),
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
            },
        }
    }
}

impl VisitRun<'_, '_> {
    pub(super) async fn work(
        &mut self,
        stage: &Stage<'_>,
        of_visit: &StageOf,
        running: &mut Running,
    ) -> Staged<()> {
        if !attempt!(self.open(stage, of_visit).await?) {
            return Ok(Ok(()));
        }
        let sent = self.send(stage, 0, stage.requests, running).await?;
        self.close(stage, of_visit, attempt!(sent)).await
    }

    /// Begins a stage; tells whether it sends anything.
    pub(super) async fn open(&mut self, stage: &Stage<'_>, of_visit: &StageOf) -> Staged<bool> {
        if stage.requests == 0 {
            return Ok(Ok(false));
        }
        let wanted = holds(stage.condition, &self.context());
        if wanted == Ok(false) {
            let at_ns = self.runner.now();
            self.runner.tell(of_visit.is_skipped(at_ns))?;
            return Ok(Ok(false));
        }
        self.begin(of_visit)?;
        attempt!(wanted);
        self.first_failure = None;
        attempt!(self.steps(of_visit, stage.before).await?);
        Ok(Ok(true))
    }

    /// Sends so many requests of the stage, from the one with the number `first` on.
    pub(super) async fn send(
        &mut self,
        stage: &Stage<'_>,
        first: u32,
        count: u32,
        running: &mut Running,
    ) -> Staged<u32> {
        if stage.phase == Phase::Measure {
            attempt!(self.ask_without_images(stage, running).await?);
        }
        self.first_sent_ns = None;
        let before = self.summary.measure_ns.get(&stage.id).copied();
        let before = Duration::from_nanos(before.unwrap_or_default());
        let batch = Batch {
            phase: stage.phase,
            stage: &stage.id,
            first,
            count,
            arrival: stage.arrival,
            shards: stage.shards,
            duration: stage.duration,
            cache: stage.cache,
            limit: stage.timeout.map(|limit| limit.saturating_sub(before)),
            has_images: true,
        };
        let begin = self.runner.now();
        let succeeded = self.send_batch(&batch, running).await?;
        // From the first sending, since encoding is prony's work, to the last
        // answer: that prony then finds out whether the engine has
        // crashed is no time of the engine's. When it was interrupted, to now:
        // requests were under way.
        if stage.phase == Phase::Measure {
            let end = match succeeded {
                Ok(_) => self.last_end_ns,
                Err(_) => self.runner.now(),
            };
            let begin = self.first_sent_ns.unwrap_or(begin);
            let time = end.saturating_sub(begin);
            self.windows.push((stage.id.clone(), (begin, end)));
            let of_stage = self.summary.measure_ns.entry(stage.id.clone());
            *of_stage.or_default() += time;
        }
        Ok(succeeded)
    }

    /// Sends over whatever links prony and the engine.
    pub(super) async fn send_batch(
        &mut self,
        batch: &Batch<'_>,
        running: &mut Running,
    ) -> Staged<u32> {
        let process = &mut running.process;
        match &mut running.link {
            Link::Http { target } => self.over_http(batch, target, process).await,
            Link::Stdio { pipe, .. } => self.over_stdio(batch, pipe, process).await,
            Link::Worker(worker) => self.over_worker(batch, worker, process).await,
        }
    }

    /// Ends a stage of which so many requests have succeeded.
    pub(super) async fn close(
        &mut self,
        stage: &Stage<'_>,
        of_visit: &StageOf,
        succeeded: u32,
    ) -> Staged<()> {
        if succeeded > 0 {
            return self.steps(of_visit, stage.after).await;
        }
        let why = self.first_failure.take();
        let why = why.map_or_else(String::new, |failed| {
            format!("; the first: {}: {}", failed.class.name(), failed.message)
        });
        Ok(Err(Trouble::Failed(format!(
            "none of {} requests succeeded{why}",
            stage.requests
        ))))
    }
}
