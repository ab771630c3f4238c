//! What a user sees while a run goes on: a bar on a terminal, a line per visit
//! otherwise.

use crate::arguments::Global;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use prony_metrics::record::{Phase, Record};
use prony_plan::Plan;
use prony_runner::Event;
use std::io::IsTerminal as _;
use std::time::Duration;

/// Follows the events of a run.
pub(crate) struct Progress {
    quiet: bool,
    bar: Option<ProgressBar>,
    visits: usize,
    visit: usize,
    requests_per_visit: u64,
    concurrency: u32,
    stage: String,
    /// Measured requests of the current visit.
    measured: Vec<Record>,
}

impl Progress {
    pub(crate) fn new(global: &Global, plan: &Plan) -> Self {
        let bar = (!global.quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template(
                "{bar:24} {pos}/{len} requests, {elapsed} so far, {eta} to go  {msg}",
            );
            let bar =
                ProgressBar::with_draw_target(Some(plan.requests()), ProgressDrawTarget::stderr());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        let requests_per_visit =
            u64::from(plan.warmup_requests) + u64::from(plan.measured_requests);
        Self {
            quiet: global.quiet,
            bar,
            visits: plan.visits.len(),
            visit: 0,
            requests_per_visit,
            concurrency: plan.concurrency,
            stage: String::new(),
            measured: Vec::new(),
        }
    }

    pub(crate) fn see(&mut self, event: &Event) {
        if let Event::Stage { stage, .. } = event {
            self.stage.clone_from(stage);
        }
        match event {
            Event::Stage {
                stage,
                model: Some(model),
                engine: Some(engine),
                cycle: Some(cycle),
                ..
            } => {
                if stage == "load" {
                    self.visit += 1;
                    self.measured.clear();
                }
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("{model} on {engine}, cycle {cycle}: {stage}"));
                }
            }
            Event::Stage { stage, .. } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(stage.clone());
                }
            }
            Event::Step { name, skipped } => self.say(&format!(
                "{}: {name}{}",
                self.stage,
                if *skipped { " (done already)" } else { "" }
            )),
            Event::Request(record) => {
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                }
                if record.place.phase == Phase::Measure {
                    self.measured.push((**record).clone());
                }
            }
            Event::Visit(visit) => {
                // Also when requests were left out.
                if let Some(bar) = &self.bar {
                    bar.set_position(self.visit as u64 * self.requests_per_visit);
                }
                let line = format!(
                    "[{}/{}] {} on {}, cycle {}: {}",
                    self.visit,
                    self.visits,
                    visit.model,
                    visit.engine,
                    visit.cycle,
                    self.outcome(visit)
                );
                self.say(&line);
            }
            Event::Failed {
                model,
                engine,
                stage,
                message,
                ..
            } => {
                let subject: Vec<&str> = [model.as_deref().unwrap_or_default(), engine.as_str()]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect();
                self.say(&format!(
                    "failed: {} {stage}: {message}",
                    subject.join(" on ")
                ));
            }
            Event::Skipped { model, engine } => {
                let on = engine
                    .as_ref()
                    .map_or_else(String::new, |engine| format!(" on {engine}"));
                self.say(&format!("skipping the rest of {model}{on}"));
            }
            Event::Warning { message } => self.say(&format!("warning: {message}")),
            Event::Started(_) | Event::Finished { .. } => {}
        }
    }

    fn outcome(&self, visit: &prony_metrics::summary::Visit) -> String {
        let good = self.measured.iter().filter(|record| record.ok()).count();
        let mut parts = Vec::new();
        if let Some(load) = visit.load_time_ns {
            parts.push(format!("loaded in {:.2} s", load as f64 / 1e9));
        }
        if !self.measured.is_empty() {
            parts.push(format!("{good} of {} requests", self.measured.len()));
        }
        let records: Vec<&Record> = self.measured.iter().collect();
        if let Some(rate) = prony_metrics::summary::throughput(&records, &[visit], self.concurrency)
        {
            parts.push(format!("{rate:.1} tok/s"));
        }
        if parts.is_empty() {
            "nothing measured".to_owned()
        } else {
            parts.join(", ")
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// The run is over.
    pub(crate) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
