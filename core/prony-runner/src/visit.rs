//! One visit: load, warmup, measure, unload of one engine with one model.

mod load;
mod requests;

use crate::journal::Event;
use crate::process::Process;
use crate::runner::{Runner, text};
use crate::{Result, memory};
use prony_config::{Engine, OnFailure, Step};
use prony_loadgen::http::Target;
use prony_loadgen::local::Worker;
use prony_metrics::record::{Failed, Phase};
use prony_metrics::summary;
use prony_plan::Visit;
use prony_plugin_sdk::{Endpoint, Model};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// How long a broken connection may precede the end of the process behind it.
const CRASH_GRACE: Duration = Duration::from_millis(300);

/// Why a visit ends the ordinary course of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A stage failed; its policy.
    Policy(OnFailure),
    /// The user said stop.
    Interrupted,
}

/// Why a stage ended early.
enum Trouble {
    Failed(String),
    Interrupted,
}

impl From<String> for Trouble {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// A stage's outcome, inside the outcome of keeping the journal.
type Staged<T> = Result<std::result::Result<T, Trouble>>;

/// Unwraps the inner result or returns it.
macro_rules! attempt {
    ($staged:expr) => {
        match $staged {
            Ok(value) => value,
            Err(trouble) => return Ok(Err(trouble.into())),
        }
    };
}
use attempt;

/// A started engine.
struct Running {
    /// Its process; `None` when attached.
    process: Option<Process>,
    link: Link,
}

/// How requests reach it.
enum Link {
    Http { target: Target },
    Worker(Worker),
}

pub(crate) struct VisitRun<'v, 'a> {
    runner: &'v mut Runner<'a>,
    visit: &'v Visit,
    engine: &'v Engine,
    model: Model,
    /// The engine's config, once its templates are filled in.
    config: Value,
    summary: summary::Visit,
    /// End of the request that ended last, since the run's origin.
    last_end_ns: u64,
    /// When the first request of the stage was sent, since the run's origin.
    first_sent_ns: Option<u64>,
    /// Why the first request of the stage that failed did so.
    first_failure: Option<Failed>,
}

impl<'v, 'a> VisitRun<'v, 'a> {
    pub(crate) fn new(
        runner: &'v mut Runner<'a>,
        visit: &'v Visit,
        engine: &'v Engine,
        path: Option<PathBuf>,
    ) -> Self {
        let summary = summary::Visit {
            model: visit.model.clone(),
            engine: visit.engine.clone(),
            cycle: visit.cycle,
            load_time_ns: None,
            measure_ns: None,
            peak_memory_bytes: None,
        };
        let model = Model {
            id: visit.model.clone(),
            path: path.as_deref().map(text),
        };
        Self {
            runner,
            visit,
            engine,
            model,
            config: Value::Null,
            summary,
            last_end_ns: 0,
            first_sent_ns: None,
            first_failure: None,
        }
    }

    /// Runs the stages. Whatever happens, the engine is unloaded.
    pub(crate) async fn run(mut self) -> Result<Option<Stop>> {
        let stages = &self.runner.pipeline.stages;
        let (load, warmup, measure, unload) = (
            &stages.load,
            &stages.warmup,
            &stages.measure,
            &stages.unload,
        );
        let mut running = None;
        let loaded = self.load(&mut running).await?;
        let mut end = self.settle("load", loaded, load.on_failure)?;
        self.look_at_memory(running.as_ref());
        if let (Some(running), None) = (&mut running, end) {
            if warmup.requests > 0 {
                let warmed = self.requests("warmup", Phase::Warmup, running).await?;
                end = self.settle("warmup", warmed, warmup.on_failure)?;
                self.look_at_memory(Some(running));
            }
            if matches!(end, None | Some(Stop::Policy(OnFailure::Continue))) {
                let measured = self.requests("measure", Phase::Measure, running).await?;
                end = self
                    .settle("measure", measured, measure.on_failure)?
                    .or(end);
                self.look_at_memory(Some(running));
            }
        }
        let unloaded = self.unload(running).await?;
        end = end.or(self.settle("unload", unloaded, unload.on_failure)?);
        self.runner.tell(Event::Visit(self.summary.clone()))?;
        Ok(end)
    }

    /// Journals a stage's failure and says what follows from it.
    fn settle(
        &mut self,
        stage: &str,
        outcome: std::result::Result<(), Trouble>,
        policy: OnFailure,
    ) -> Result<Option<Stop>> {
        match outcome {
            Ok(()) => Ok(None),
            Err(Trouble::Interrupted) => Ok(Some(Stop::Interrupted)),
            Err(Trouble::Failed(message)) => {
                self.runner.fail(
                    Some(&self.visit.model),
                    &self.visit.engine,
                    self.visit.cycle,
                    stage,
                    message,
                )?;
                Ok(Some(Stop::Policy(policy)))
            }
        }
    }

    fn begin(&mut self, stage: &str) -> Result<()> {
        let at_ns = self.runner.now();
        self.runner.tell(Event::Stage {
            stage: stage.to_owned(),
            model: Some(self.visit.model.clone()),
            engine: Some(self.visit.engine.clone()),
            cycle: Some(self.visit.cycle),
            at_ns,
        })
    }

    async fn steps(&mut self, steps: &[Step]) -> Staged<()> {
        let (context, log) = (self.context(None), format!("{}-steps", self.label()));
        let done = self.runner.steps(steps, &context, &log).await?;
        Ok(done.map_err(|message| {
            if *self.runner.stop.borrow() {
                Trouble::Interrupted
            } else {
                Trouble::Failed(message)
            }
        }))
    }

    /// `model-engine-c1`, safe as a file name and short enough for one.
    fn label(&self) -> String {
        const LONGEST: usize = 200;
        let name = format!("{}-{}", self.visit.model, self.visit.engine);
        let name: String = name
            .chars()
            .take(LONGEST)
            .map(|c| {
                if c.is_ascii_alphanumeric() || "._-".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        format!("{name}-c{}", self.visit.cycle)
    }

    fn log(&self) -> PathBuf {
        self.runner
            .folder
            .logs()
            .join(format!("{}.log", self.label()))
    }

    fn context(&self, at: Option<&Endpoint>) -> Value {
        let mut context = self.runner.context();
        context["model"] = json!({ "id": self.model.id, "path": self.model.path });
        context["engine"] = json!({ "name": self.visit.engine });
        if let Some(at) = at {
            context["engine"]["host"] = json!(at.host);
            context["engine"]["port"] = json!(at.port);
        }
        context
    }

    fn look_at_memory(&mut self, running: Option<&Running>) {
        let now = running
            .and_then(|running| running.process.as_ref())
            .and_then(|process| memory::peak_bytes(process.id()));
        self.summary.peak_memory_bytes = self.summary.peak_memory_bytes.max(now);
    }

    async fn unload(&mut self, running: Option<Running>) -> Staged<()> {
        let Some(Running { process, link }) = running else {
            return Ok(Ok(()));
        };
        self.begin("unload")?;
        let stage = self.runner.pipeline.stages.unload.clone();
        // Steps that fail must not keep the engine alive.
        let before = self.steps(&stage.before).await?;
        // A worker ends when its orders do.
        drop(link);
        if let Some(process) = process {
            let grace = stage.timeout.to_std();
            if process.stop(grace).await {
                let message = format!(
                    "{}: `{}` (cycle {}) or a process of its own did not end when asked and was killed",
                    self.visit.model, self.visit.engine, self.visit.cycle
                );
                self.runner.tell(Event::Warning { message })?;
            }
        }
        attempt!(before);
        self.steps(&stage.after).await
    }
}
