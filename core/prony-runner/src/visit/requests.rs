//! `warmup` and `measure`: requests, and what is kept of them.

use super::{CRASH_GRACE, Link, Running, Staged, Trouble, VisitRun, attempt};
use crate::Result;
use crate::journal::Event;
use crate::process::{Process, describe};
use crate::runner::{api, stopped};
use prony_loadgen::closed_loop::{self, Done};
use prony_loadgen::http::{Prepared, Target};
use prony_loadgen::local::Worker;
use prony_metrics::record::{ErrorClass, Failed, Observation, Phase, Place, Record};
use prony_plugin_host::Plugin;
use prony_plugin_sdk::{Event as Said, Kind, Request};
use std::sync::Arc;
use std::time::Duration;

impl VisitRun<'_, '_> {
    pub(super) async fn requests(
        &mut self,
        stage: &str,
        phase: Phase,
        running: &mut Running,
    ) -> Staged<()> {
        self.begin(stage)?;
        self.first_failure = None;
        self.first_sent_ns = None;
        let stages = &self.runner.pipeline.stages;
        let (before, after, count, timeout, concurrency) = match phase {
            Phase::Warmup => (
                stages.warmup.before.clone(),
                stages.warmup.after.clone(),
                stages.warmup.requests,
                stages.warmup.timeout,
                1,
            ),
            Phase::Measure => (
                stages.measure.before.clone(),
                stages.measure.after.clone(),
                stages.measure.requests,
                stages.measure.timeout,
                self.runner.plan.concurrency,
            ),
        };
        attempt!(self.steps(&before).await?);
        let limit = timeout.map(prony_config::Duration::to_std);
        let begin = self.runner.now();
        let succeeded = match &mut running.link {
            Link::Http { target } => {
                let target = target.clone();
                self.over_http(
                    phase,
                    count,
                    concurrency,
                    &target,
                    &mut running.process,
                    limit,
                )
                .await?
            }
            Link::Worker(worker) => {
                self.over_worker(phase, count, worker, &mut running.process, limit)
                    .await?
            }
        };
        // From the first sending, since encoding is prony's work, to the last
        // answer: that prony then finds out whether the engine has
        // crashed is no time of the engine's. When it was interrupted, to now:
        // requests were under way.
        if phase == Phase::Measure {
            let end = match succeeded {
                Ok(_) => self.last_end_ns,
                Err(_) => self.runner.now(),
            };
            let begin = self.first_sent_ns.unwrap_or(begin);
            self.summary.measure_ns = Some(end.saturating_sub(begin));
        }
        let succeeded = attempt!(succeeded);
        if count > 0 && succeeded == 0 {
            let why = self
                .first_failure
                .take()
                .map_or_else(String::new, |failed| {
                    format!("; the first: {}: {}", failed.class.name(), failed.message)
                });
            return Ok(Err(Trouble::Failed(format!(
                "none of {count} requests succeeded{why}"
            ))));
        }
        self.steps(&after).await
    }

    /// Request `index` of a stage; the prompts go round.
    fn request(&self, index: u32) -> Request {
        let workload = &self.runner.pipeline.workload;
        Request {
            api: api(workload.api),
            prompt: workload.prompts[index as usize % workload.prompts.len()].clone(),
            system: workload.system.clone(),
            max_tokens: workload.max_tokens,
            temperature: workload.temperature,
            top_p: workload.top_p,
            seed: workload.seed,
            stop: workload.stop.clone(),
            ignore_eos: workload.ignore_eos,
        }
    }

    fn place(&self, phase: Phase, index: u32) -> Place {
        Place {
            model: self.visit.model.clone(),
            engine: self.visit.engine.clone(),
            cycle: self.visit.cycle,
            phase,
            index,
            prompt: index % self.runner.pipeline.workload.prompts.len() as u32,
        }
    }

    /// Sends `count` requests; returns how many succeeded.
    async fn over_http(
        &mut self,
        phase: Phase,
        count: u32,
        concurrency: u32,
        target: &Target,
        process: &mut Option<Process>,
        limit: Option<Duration>,
    ) -> Staged<u32> {
        let plugin = attempt!(
            self.runner
                .registry
                .load(Kind::Engine, &self.engine.plugin)
                .map_err(|error| error.to_string())
        );
        let encode = |index| -> std::result::Result<Prepared, String> {
            let made = plugin
                .encode(&self.config, &self.model, &self.request(index))
                .map_err(|error| error.to_string())?;
            target.prepare(&made)
        };
        let requests: Vec<Prepared> = attempt!(
            (0..count)
                .map(encode)
                .collect::<std::result::Result<_, _>>()
        );
        let timeout = self.runner.pipeline.workload.request_timeout.to_std();
        let plan = closed_loop::Plan {
            target: target.clone(),
            requests,
            concurrency,
            timeout,
        };
        // The loop stops when this end says so, or is gone.
        let (end, ended) = tokio::sync::watch::channel(false);
        let mut done = match closed_loop::start(plan, ended) {
            Ok(done) => done,
            Err(error) => {
                return Ok(Err(
                    format!("the load generator did not start: {error}").into()
                ));
            }
        };
        let mut answered = vec![false; count as usize];
        let mut succeeded = 0;
        let mut stop = self.runner.stop.clone();
        let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
        let mut since = self.runner.now();
        let interrupted = loop {
            let next = tokio::select! {
                next = done.recv() => next,
                () = stopped(&mut stop) => break true,
                () = passed(deadline) => break false,
            };
            let Some(Done {
                index,
                exchange,
                resume,
            }) = next
            else {
                break false;
            };
            answered[index as usize] = true;
            let mut seen = exchange.seen;
            if let Some(failed) = &mut seen.failed {
                blame_crash(failed, process).await;
            }
            let said = self.decode(&plugin, &seen, &exchange.body, &exchange.ends);
            if self.keep(phase, index, seen, said)? {
                succeeded += 1;
            }
            since = self.runner.now();
            drop(resume);
        };
        let _ = end.send(true);
        if interrupted {
            return Ok(Err(Trouble::Interrupted));
        }
        self.unsent(
            phase,
            &answered,
            since,
            &Failed::new(ErrorClass::Timeout, "not finished within the stage's limit"),
        )?;
        Ok(Ok(succeeded))
    }

    fn decode(
        &self,
        plugin: &Arc<dyn Plugin>,
        seen: &Observation,
        body: &[u8],
        ends: &[u32],
    ) -> std::result::Result<Vec<Said>, prony_plugin_sdk::Error> {
        match seen.status {
            None => Ok(Vec::new()),
            Some(status) => plugin
                .decode(&self.config, status, body, ends)
                .map_err(prony_plugin_host::Error::into_reported),
        }
    }

    /// Has a worker answer `count` requests; returns how many succeeded.
    async fn over_worker(
        &mut self,
        phase: Phase,
        count: u32,
        worker: &mut Worker,
        process: &mut Option<Process>,
        limit: Option<Duration>,
    ) -> Staged<u32> {
        let timeout = self.runner.pipeline.workload.request_timeout.to_std();
        let mut stop = self.runner.stop.clone();
        let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
        let mut answered = vec![false; count as usize];
        let mut succeeded = 0;
        let mut over = Failed::new(ErrorClass::Timeout, "not finished within the stage's limit");
        let mut since = self.runner.now();
        for index in 0..count {
            let request = self.request(index);
            let (mut seen, said) = tokio::select! {
                answer = worker.generate(&request, timeout) => answer,
                () = stopped(&mut stop) => return Ok(Err(Trouble::Interrupted)),
                () = passed(deadline) => break,
            };
            answered[index as usize] = true;
            let mut lost = None;
            if let Some(failed) = &mut seen.failed {
                blame_crash(failed, process).await;
                lost = Some(failed.clone());
            }
            if self.keep(phase, index, seen, said)? {
                succeeded += 1;
            }
            since = self.runner.now();
            if let Some(failed) = lost {
                // A worker cannot call generation off, so nothing more can be asked of it.
                over = Failed::new(
                    ErrorClass::Crashed,
                    format!("not sent: request {index} failed ({})", failed.message),
                );
                break;
            }
        }
        self.unsent(phase, &answered, since, &over)?;
        Ok(Ok(succeeded))
    }

    /// Journals a request; tells whether it succeeded.
    fn keep(
        &mut self,
        phase: Phase,
        index: u32,
        mut seen: Observation,
        said: std::result::Result<Vec<Said>, prony_plugin_sdk::Error>,
    ) -> Result<bool> {
        let origin = self.runner.origin_ns;
        let stamps = &mut seen.stamps;
        for stamp in [
            &mut stamps.intended_ns,
            &mut stamps.sent_ns,
            &mut stamps.end_ns,
        ]
        .into_iter()
        .chain(stamps.written_ns.as_mut())
        .chain(stamps.head_ns.as_mut())
        .chain(&mut seen.reads_ns)
        {
            *stamp = stamp.saturating_sub(origin);
        }
        let max_tokens = self.runner.pipeline.workload.max_tokens;
        let record = Record::judge(self.place(phase, index), seen, said, max_tokens);
        self.last_end_ns = self.last_end_ns.max(record.stamps.end_ns);
        let sent = record.stamps.sent_ns;
        self.first_sent_ns = Some(self.first_sent_ns.map_or(sent, |first| first.min(sent)));
        let ok = record.ok();
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&record.failed);
        }
        self.runner.tell(Event::Request(Box::new(record)))?;
        Ok(ok)
    }

    /// Requests that were due and never answered are failures too. The first of
    /// them takes the time since the last answer: it was waited for.
    fn unsent(&mut self, phase: Phase, answered: &[bool], since: u64, why: &Failed) -> Result<()> {
        let mut waited_since = Some(since);
        for (index, answered) in (0..).zip(answered) {
            if !answered {
                let place = self.place(phase, index);
                let mut record = Record::unsent(place, self.runner.now(), why.clone());
                self.last_end_ns = self.last_end_ns.max(record.stamps.end_ns);
                if let Some(since) = waited_since.take() {
                    (record.stamps.intended_ns, record.stamps.sent_ns) = (since, since);
                }
                self.runner.tell(Event::Request(Box::new(record)))?;
            }
        }
        Ok(())
    }
}

/// If the process behind a broken connection has ended, that is what happened.
async fn blame_crash(failed: &mut Failed, process: &mut Option<Process>) {
    let suspicious = matches!(
        failed.class,
        ErrorClass::Connect | ErrorClass::Truncated | ErrorClass::Protocol | ErrorClass::Crashed
    );
    if let (true, Some(process)) = (suspicious, process)
        && let Some(status) = process.exited_within(CRASH_GRACE).await
    {
        *failed = Failed::new(
            ErrorClass::Crashed,
            format!(
                "the engine ended ({}): {}; {}",
                describe(status),
                failed.message,
                process.last_words()
            ),
        );
    }
}

/// Pending until the deadline, or for ever without one.
async fn passed(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
