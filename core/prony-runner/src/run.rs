//! Shared parts of a run: its journal, its clock, and the user's steps.

use crate::context::{self, evaluate};
use crate::failed::FailedBodies;
use crate::launched::Launched;
use crate::log::Lengths;
use crate::resume::{Before, read_before};
use crate::step::{self, StepEnvironment};
use crate::{Error, Options, Result};
use prony_config::{Pipeline, Step};
use prony_journal::{
    Cause, Digests, Event, Input, InputKind, InterimAnalyses, Reopened, RunFolder, Writer,
};
use prony_loadgen::clock::now_ns;
use prony_machine::Fingerprint;
use prony_plan::{Plan, Visit};
use prony_plugin_host::Registry;
use prony_ranks::Ranks;
use prony_result::Outcome;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tokio::sync::{Mutex, watch};

/// Reason why a stage ended early.
#[derive(Debug)]
pub(crate) enum StageError {
    /// The journal cannot be written, so the run ends.
    Journal(Error),
    /// A user's step failed.
    Step(String),
    /// The engine's plugin failed.
    Plugin(String),
    /// A rank was lost, and the run ends: with fewer it would be another load.
    Rank(String),
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

impl From<prony_plugin_host::Error> for StageError {
    fn from(error: prony_plugin_host::Error) -> Self {
        if error.is_of_plugin() {
            Self::Plugin(error.to_string())
        } else {
            Self::Failed(error.to_string())
        }
    }
}

impl StageError {
    /// Cause and description of the failure of a stage; the error itself if it is none.
    pub(crate) fn into_failure(self) -> std::result::Result<(Cause, String), Self> {
        match self {
            Self::Step(message) => Ok((Cause::Step, message)),
            Self::Plugin(message) => Ok((Cause::Plugin, message)),
            Self::Rank(message) => Ok((Cause::Rank, message)),
            Self::Failed(message) => Ok((Cause::Engine, message)),
            other => Err(other),
        }
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
    /// The other ranks, if there are any.
    pub(crate) ranks: Option<Mutex<Ranks>>,
    /// Number of ranks, with this process, if there are others.
    world: Option<u32>,
    /// Name of this machine for ranks on others; `None` if there are none.
    reached_at: Option<String>,
    /// The machine.
    pub(crate) machine: Fingerprint,
    /// Engines that took too long over questions about themselves: they are not asked again.
    pub(crate) silent: RefCell<BTreeSet<String>>,
    /// Raw bodies of failed requests.
    pub(crate) failed_bodies: RefCell<FailedBodies>,
    /// Digests of files.
    digests: RefCell<Digests>,
    /// The inputs that are in the journal, by kind and path.
    inputs: RefCell<BTreeSet<(InputKind, String, PathBuf)>>,
    /// Programs that were started for engines and are not among them yet.
    programs: RefCell<Vec<Launched>>,
    /// Lengths of the logs in which secrets were looked for.
    masked_logs: RefCell<Lengths>,
    /// The part of the run that was done before, if it is resumed.
    pub(crate) before: Option<Before>,
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
    /// `true` if a rank was lost.
    lost_rank: bool,
    /// A visit of the cycle under way.
    current: Option<Visit>,
    /// `true` once the end of the run is in the journal.
    has_ended: bool,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        inputs: &crate::Inputs<'a>,
        machine: Fingerprint,
        mut interim: Option<InterimAnalyses<'a>>,
        journal: Option<Reopened>,
        ranks: Option<Ranks>,
        stop: watch::Receiver<bool>,
        observer: &'a mut dyn FnMut(&Event),
    ) -> Result<Self> {
        let (before, journal) = match journal {
            None => (None, Writer::create(&inputs.folder.journal())?),
            Some(journal) => {
                let (before, journal) = read_before(journal, &mut interim)?;
                (Some(before), journal)
            }
        };
        let failed = before.as_ref().is_some_and(|it| it.failed);
        // Times go on where they ended.
        let ran_ns = before.as_ref().map_or(0, |it| it.last_ns);
        Ok(Self {
            pipeline: inputs.pipeline,
            plan: inputs.plan,
            registry: inputs.registry,
            options: inputs.options,
            folder: inputs.folder,
            stop,
            origin_ns: now_ns().wrapping_sub(ran_ns),
            world: ranks.as_ref().map(Ranks::world),
            reached_at: ranks
                .as_ref()
                .filter(|ranks| !ranks.are_all_here())
                .map(|ranks| ranks.host().to_owned()),
            ranks: ranks.map(Mutex::new),
            machine,
            silent: RefCell::default(),
            failed_bodies: RefCell::default(),
            digests: RefCell::new(Digests::open(&inputs.options.cache)),
            inputs: RefCell::default(),
            programs: RefCell::default(),
            masked_logs: RefCell::default(),
            before,
            history: RefCell::new(History {
                journal,
                observer,
                interim,
                failed,
                lost_rank: false,
                current: None,
                has_ended: false,
            }),
        })
    }

    /// Appends an event to the journal, then shows it to the observer.
    pub(crate) fn tell(&self, event: Event) -> Result<()> {
        // Servers, engines and steps repeat what they were given.
        let secrets = &self.pipeline.secrets;
        let written = secrets.masked(&event).map_err(Error::Secrets)?;
        let told = self.before.as_ref();
        let accepts = self.options.accept_new_setup;
        if told.map_or(Ok(false), |it| it.has_told(&written, accepts))? {
            return Ok(());
        }
        let mut history = self.history.borrow_mut();
        history.failed |= matches!(event, Event::Failed { rank: false, .. });
        history.lost_rank |= matches!(event, Event::Failed { rank: true, .. });
        let position = history.journal.length();
        history.journal.append(&written)?;
        match &event {
            Event::Stage {
                visit: Some(visit), ..
            } => history.current = Some(visit.clone()),
            Event::Cycle { .. } => history.current = None,
            Event::Finished { .. } => history.has_ended = true,
            _ => {}
        }
        if let Some(interim) = &mut history.interim {
            interim.see(&written, position);
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

    /// Ends a run whose journal has no more room: the cycle under way is broken off. A run whose
    /// end is written, and could not be flushed, has ended.
    pub(crate) fn end_full(&self) -> Result<()> {
        let current = {
            let mut history = self.history.borrow_mut();
            history.journal.make_room();
            if history.has_ended {
                return Ok(());
            }
            history.current.take()
        };
        if let Some(current) = current {
            let all = self.plan.visits.iter().chain(&self.plan.replacements);
            let own = all.filter(|it| it.is_of_model(&current) && it.cycle == current.cycle);
            self.tell(Event::Degraded {
                visits: own.cloned().collect(),
                reason: "there was no room on the disk for the rest of this cycle".to_owned(),
            })?;
        }
        self.finish(Outcome::Interrupted)
    }

    /// Journals the end of the run.
    pub(crate) fn finish(&self, outcome: Outcome) -> Result<()> {
        let sha256 = Some(self.history.borrow().journal.sha256());
        let at_ns = self.now();
        self.tell(Event::Finished {
            outcome,
            at_ns,
            sha256,
        })?;
        self.sync()
    }

    /// Journals an input with its digest, once. Not for use during a measurement.
    pub(crate) fn tell_input(&self, kind: InputKind, of: &str, path: &Path) -> Result<()> {
        if !self.is_new(kind, of, path) {
            return Ok(());
        }
        self.tell(Event::Input(self.input(kind, of, path)))
    }

    /// SHA-256 of a file, remembered for as long as the file stays the same.
    pub(crate) fn digest(&self, path: &Path) -> std::io::Result<String> {
        let stopped = || self.is_interrupted();
        let digest = self.digests.borrow_mut().of(path, &stopped);
        digest.map(|(sha256, _)| sha256)
    }

    /// Returns `true` the first time.
    fn is_new(&self, kind: InputKind, of: &str, path: &Path) -> bool {
        let key = (kind, of.to_owned(), path.to_owned());
        self.inputs.borrow_mut().insert(key)
    }

    fn input(&self, kind: InputKind, of: &str, path: &Path) -> Input {
        let stopped = || self.is_interrupted();
        self.digests.borrow_mut().input(kind, of, path, &stopped)
    }

    /// Notes a program that was started for an engine.
    pub(crate) fn note_program(&self, launched: Launched) {
        self.programs.borrow_mut().push(launched);
    }

    /// Journals the programs of engines with digests and versions, and the images of
    /// containers, once each: after a visit rather than while the engine loads.
    pub(crate) async fn tell_programs(&self) -> Result<()> {
        let logs = self.step_environment().logs;
        for launched in self.programs.take() {
            let (engine, program) = (&launched.engine, &launched.program);
            if !self.is_new(InputKind::Program, engine, program) {
                continue;
            }
            let mut input = self.input(InputKind::Program, engine, program);
            match self.unless_interrupted(launched.version(&logs)).await {
                Ok(version) => input.version = Some(version),
                Err(why) => input.unknown = Some(why),
            }
            self.tell(Event::Input(input))?;
            let image = self.unless_interrupted(async { Ok(launched.image(&logs).await) });
            if let Ok(Some((image, digest))) = image.await {
                let (sha256, unknown) = match digest {
                    Ok(digest) => (Some(digest), None),
                    Err(why) => (None, Some(why)),
                };
                self.tell(Event::Input(Input {
                    kind: InputKind::Container,
                    of: engine.clone(),
                    path: image,
                    sha256,
                    bytes: None,
                    version: None,
                    unknown,
                }))?;
            }
        }
        Ok(())
    }

    /// The answer of a program, unless the user interrupts the run.
    async fn unless_interrupted<T>(
        &self,
        asked: impl Future<Output = std::result::Result<T, String>>,
    ) -> std::result::Result<T, String> {
        let mut stop = self.stop.clone();
        tokio::select! {
            told = asked => told,
            () = interrupted(&mut stop) => Err("the run was interrupted".to_owned()),
        }
    }

    /// Takes secrets out of what engines and steps have printed since the last call.
    pub(crate) fn mask_logs(&self) {
        let mut masked = self.masked_logs.borrow_mut();
        crate::log::mask(&self.folder.logs(), &self.pipeline.secrets, &mut masked);
    }

    /// Returns `true` if something has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.history.borrow().failed
    }

    /// Returns `true` if a rank was lost.
    pub(crate) fn has_lost_rank(&self) -> bool {
        self.history.borrow().lost_rank
    }

    /// Begins the comparisons of another model.
    pub(crate) fn begin_comparisons(&self) {
        if let Some(interim) = &mut self.history.borrow_mut().interim {
            interim.begin();
        }
    }

    /// Ends a cycle of `seconds`, and analyses the comparisons of the model of `of`.
    pub(crate) fn end_cycle(&self, of: &Visit, seconds: f64) -> Result<()> {
        self.tell(Event::Cycle {
            point: of.point.clone(),
            model: of.model.clone(),
            cycle: of.cycle,
            seconds,
        })?;
        let events = {
            let mut history = self.history.borrow_mut();
            let interim = history.interim.as_mut();
            let events = interim.map(|interim| interim.analyse(of, seconds));
            events.transpose()?.unwrap_or_default()
        };
        events.into_iter().try_for_each(|event| self.tell(event))?;
        self.sync()
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

    /// Number of ranks that send a load of so many requests in flight; `None` if this process
    /// sends it alone.
    pub(crate) fn ranks_for(&self, most: u32) -> Option<u32> {
        self.world.filter(|world| *world <= most)
    }

    /// The host at which engines are to listen.
    pub(crate) fn host(&self) -> String {
        let host = self.reached_at.clone();
        host.unwrap_or_else(|| "127.0.0.1".to_owned())
    }

    /// Returns `true` if there are ranks on other machines.
    pub(crate) fn has_ranks_elsewhere(&self) -> bool {
        self.reached_at.is_some()
    }

    /// Nanoseconds since the run's origin.
    pub(crate) fn now(&self) -> u64 {
        self.since_origin(now_ns())
    }

    /// Nanoseconds from the run's origin to a reading of the clock; 0 for one before it.
    pub(crate) fn since_origin(&self, ns: u64) -> u64 {
        since(self.origin_ns, ns)
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
            let command = step::command(step, context, environment, &self.pipeline.secrets)
                .map_err(|message| {
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

/// However a run ends, unless it is killed outright.
impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.mask_logs();
    }
}

/// Nanoseconds from the reading `origin_ns` of the clock to another one; 0 for one before it.
pub(crate) fn since(origin_ns: u64, ns: u64) -> u64 {
    // The origin of a resumed run may lie before that of the clock.
    let since = ns.wrapping_sub(origin_ns).cast_signed();
    since.max(0).cast_unsigned()
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
