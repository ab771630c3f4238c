//! Shared parts of a run: its journal, its clock, and the user's steps.

use crate::context::{self, evaluate};
use crate::step::{self, StepEnvironment};
use crate::{Error, Options, Result};
use prony_config::{Pipeline, Step};
use prony_journal::{Event, InterimAnalyses, RunFolder, Writer};
use prony_loadgen::clock::now_ns;
use prony_machine::Fingerprint;
use prony_plan::{Plan, Visit};
use prony_plugin_host::Registry;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use tokio::sync::watch;

/// Reason why a stage ended early.
#[derive(Debug)]
pub(crate) enum StageError {
    /// The journal cannot be written, so the run ends.
    Journal(Error),
    /// A user's step failed.
    Step(String),
    /// Anything else failed.
    Failed(String),
    /// The user interrupted the run.
    Interrupted,
}

impl From<Error> for StageError {
    fn from(error: Error) -> Self {
        Self::Journal(error)
    }
}

impl From<String> for StageError {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// A run in progress, shared by engines loaded at the same time.
pub(crate) struct Run<'a> {
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) plan: &'a Plan,
    pub(crate) registry: &'a Registry,
    pub(crate) options: &'a Options,
    pub(crate) folder: &'a RunFolder,
    /// Becomes `true` when the user interrupts the run.
    pub(crate) stop: watch::Receiver<bool>,
    /// Clock reading that is the origin of all times in the journal.
    pub(crate) origin_ns: u64,
    /// The machine.
    pub(crate) machine: Fingerprint,
    /// Engines that took too long over questions about themselves: they are not asked again.
    pub(crate) silent: RefCell<BTreeSet<String>>,
    history: RefCell<History<'a>>,
}

/// The receivers of events, and their state.
struct History<'a> {
    journal: Writer,
    observer: &'a mut dyn FnMut(&Event),
    /// The interim analyses; `None` if nothing is compared.
    interim: Option<InterimAnalyses<'a>>,
    /// `true` if something failed.
    failed: bool,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        inputs: &crate::Inputs<'a>,
        machine: Fingerprint,
        interim: Option<InterimAnalyses<'a>>,
        stop: watch::Receiver<bool>,
        observer: &'a mut dyn FnMut(&Event),
    ) -> Result<Self> {
        Ok(Self {
            pipeline: inputs.pipeline,
            plan: inputs.plan,
            registry: inputs.registry,
            options: inputs.options,
            folder: inputs.folder,
            stop,
            origin_ns: now_ns(),
            machine,
            silent: RefCell::default(),
            history: RefCell::new(History {
                journal: Writer::create(&inputs.folder.journal())?,
                observer,
                interim,
                failed: false,
            }),
        })
    }

    /// Appends an event to the journal, then shows it to the observer.
    pub(crate) fn tell(&self, event: Event) -> Result<()> {
        let mut history = self.history.borrow_mut();
        history.failed |= matches!(event, Event::Failed { .. });
        history.journal.append(&event)?;
        if let Some(interim) = &mut history.interim {
            interim.see(&event);
        }
        (history.observer)(&event);
        Ok(())
    }

    /// Shows an event only to the observer.
    pub(crate) fn show(&self, event: &Event) {
        (self.history.borrow_mut().observer)(event);
    }

    /// Flushes the journal to the disk. Not for use during a measurement.
    pub(crate) fn sync(&self) -> Result<()> {
        self.history.borrow().journal.sync()
    }

    /// Returns `true` if something has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.history.borrow().failed
    }

    /// Begins the comparisons of another model.
    pub(crate) fn begin_comparisons(&self) {
        if let Some(interim) = &mut self.history.borrow_mut().interim {
            interim.begin();
        }
    }

    /// Analyses the comparisons of the model of `of`, after a cycle of `seconds`.
    pub(crate) fn judge(&self, of: &Visit, seconds: f64) -> Result<()> {
        let events = {
            let mut history = self.history.borrow_mut();
            let interim = history.interim.as_mut();
            interim.map_or_else(Vec::new, |interim| interim.analyse(of, seconds))
        };
        events.into_iter().try_for_each(|event| self.tell(event))
    }

    /// Returns `true` if the model needs no further cycle.
    pub(crate) fn is_settled(&self) -> bool {
        let history = self.history.borrow();
        history
            .interim
            .as_ref()
            .is_some_and(InterimAnalyses::is_settled)
    }

    /// Returns `true` if the model needs another replacement cycle, when `spent` have
    /// been used.
    pub(crate) fn wants_replacement(&self, spent: usize) -> bool {
        let history = self.history.borrow();
        let interim = history.interim.as_ref();
        interim.is_some_and(|interim| interim.wants_replacement(spent))
    }

    /// Nanoseconds since the run's origin.
    pub(crate) fn now(&self) -> u64 {
        now_ns().saturating_sub(self.origin_ns)
    }

    /// Returns `true` if the user has interrupted the run.
    pub(crate) fn is_interrupted(&self) -> bool {
        *self.stop.borrow()
    }

    pub(crate) fn step_environment(&self) -> StepEnvironment {
        let logs = self.folder.logs();
        StepEnvironment {
            folder: self.options.folder.clone(),
            cache: self.options.cache.clone(),
            // Steps run in another folder.
            logs: std::path::absolute(&logs).unwrap_or(logs),
        }
    }

    /// The names available to templates: `base`, `stages`, and those known everywhere.
    pub(crate) fn context(&self, base: &Value, stages: &Value) -> Value {
        let Options { cache, folder, .. } = self.options;
        context::context(base, cache, folder, stages)
    }

    /// Runs steps in order, up to the first that fails. Their outputs are added to
    /// `stages`, for later templates. `base` holds the names available in addition to
    /// those known everywhere; `stage` is the id of the stage, `log` the name of the
    /// steps' log.
    pub(crate) async fn steps(
        &self,
        steps: &[Step],
        base: &Value,
        stage: &str,
        log: &str,
        stages: &mut Value,
    ) -> std::result::Result<(), StageError> {
        let environment = self.step_environment();
        for step in steps {
            let context = self.context(base, stages);
            let name = step::name(step);
            let failed = |message| StageError::Step(format!("step `{name}`: {message}"));
            let reason = left_out(step, &context, &environment).map_err(failed)?;
            let skipped = reason.is_some();
            self.tell(Event::Step {
                name: name.clone(),
                skipped,
                reason: reason.map(ToOwned::to_owned),
            })?;
            if skipped {
                continue;
            }
            let outputs = self.step(step, &context, &environment, log).await?;
            for (output, value) in outputs.given {
                stages[stage]["outputs"][output] = value.into();
            }
            for ignored in outputs.ignored {
                let message = format!("step `{name}` {ignored}");
                self.tell(Event::Warning { message })?;
            }
        }
        Ok(())
    }

    /// Runs a step, with the retries of its `retry`.
    async fn step(
        &self,
        step: &Step,
        context: &Value,
        environment: &StepEnvironment,
        log: &str,
    ) -> std::result::Result<step::Outputs, StageError> {
        let mut interruption = self.stop.clone();
        let mut attempt = 0;
        loop {
            let command = step::command(step, context, environment).map_err(|message| {
                StageError::Step(format!("step `{}`: {message}", step::name(step)))
            })?;
            let done = tokio::select! {
                done = step::run(step, command, environment, log) => done,
                () = interrupted(&mut interruption) => return Err(StageError::Interrupted),
            };
            match done {
                Ok(outputs) => return Ok(outputs),
                // Ctrl-C reaches the step, too.
                Err(_) if self.is_interrupted() => return Err(StageError::Interrupted),
                Err(message) if attempt == step.retry => return Err(StageError::Step(message)),
                Err(message) => {
                    attempt += 1;
                    let of = step.retry;
                    let message = format!("{message}; trying again ({attempt} of {of})");
                    self.tell(Event::Warning { message })?;
                }
            }
        }
    }
}

/// The reason for skipping a step, if it is skipped.
fn left_out(
    step: &Step,
    context: &Value,
    environment: &StepEnvironment,
) -> std::result::Result<Option<&'static str>, String> {
    if !evaluate(&step.condition, context)? {
        return Ok(Some("its `if` is false"));
    }
    Ok(step::is_done(step, context, environment)?.then_some("done already"))
}

/// Pending until the user interrupts the run.
pub(crate) async fn interrupted(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left to interrupt it.
        std::future::pending::<()>().await;
    }
}
