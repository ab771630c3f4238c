//! The sequence of a visit, whatever the engine is: load, the stages that send requests,
//! unload.
//!
//! ```text
//! Unloaded ── load ──▸ Ready ── open ──▸ InStage ── send … send, close ──▸ Ready … ── unload
//!     │                  │                  │
//!     └── fails          └──────────────────┴── fails: Ready if the policy is `continue`
//!         ▾                                     ▾ and it was not the load
//!       Over, from where only unload follows   Over
//! ```
//!
//! With `resident`, two engines are loaded at the same time and take turns; one that is over
//! passes its turns over:
//!
//! ```text
//! load A, load B ─ warm-up A, warm-up B ─ A B B A, A B B A, … ─ unload A, unload B
//! ```
//!
//! A is the one that the cycle's coin put first.

use super::account::Account;
use super::requests::Batch;
use super::stage::Stage;
use crate::process::Stopped;
use crate::run::StageError;
use prony_config::{Condition, OnFailure, Segment, Step};
use prony_journal::{Cause, Event, Result, Scope, StageEnergy, StageOf, Visited};
use prony_machine::Warning;
use prony_plan::{Ids, StageKind};
use prony_record::{ErrorClass, Failed, Phase};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::sync::watch;

/// Turns of the two engines in a block.
const BLOCK: [usize; 4] = [0, 1, 1, 0];

/// The consequence of a visit for the rest of the run; later variants are more severe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// A stage failed, and the run goes on with the next one.
    Continue,
    /// The engine is not tried with this model again.
    SkipModel,
    /// The run ends.
    Run,
    /// The user interrupted the run.
    Interrupted,
}

impl From<OnFailure> for Stop {
    fn from(policy: OnFailure) -> Self {
        match policy {
            OnFailure::Continue => Self::Continue,
            OnFailure::SkipModel => Self::SkipModel,
            OnFailure::Stop => Self::Run,
        }
    }
}

/// Time in which a `measure` stage had requests in flight, in nanoseconds since the run's
/// origin: from the first sending to the last answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    /// The stage's id.
    pub(super) stage: String,
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
}

/// The outcome of a batch of requests.
pub(crate) struct Sent {
    /// The number that succeeded.
    pub(super) succeeded: std::result::Result<u32, StageError>,
    /// Send time of the first, in nanoseconds since the run's origin.
    pub(super) first_sent_ns: Option<u64>,
    /// End of the last answer, in nanoseconds since the run's origin; 0 without any.
    pub(super) last_end_ns: u64,
    /// Time from which none was in flight, in nanoseconds since the run's origin, if it is known.
    pub(super) stopped_ns: Option<u64>,
    /// Error of the first one that failed.
    pub(super) first_failure: Option<Failed>,
    /// Reason why the stage has failed although requests succeeded: the engine is gone, or
    /// hangs.
    pub(super) lost: Option<String>,
}

/// Resources used by an engine's processes while it was loaded.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// Peak resident memory, in bytes.
    pub(super) peak_memory_bytes: Option<u64>,
    /// Peak memory on all GPUs, in bytes.
    pub(super) peak_gpu_memory_bytes: Option<u64>,
    /// As [`prony_machine::Usage::memory`].
    pub(super) memory: Vec<(u64, u64)>,
    /// CPU time in each `measure` stage, in seconds, by stage id.
    pub(super) measure_cpu_s: BTreeMap<String, f64>,
    /// Energy in each `measure` stage, by stage id.
    pub(super) energy: BTreeMap<String, StageEnergy>,
    /// Share of the model that was in memory before the engine was started.
    pub(super) page_cache_share: Option<f64>,
}

/// The end of an engine.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(super) stopped: Stopped,
    /// Time from asking it to end until all of it was gone; `None` if it was attached.
    pub(super) time_ns: Option<u64>,
    /// A process that listens on the engine's port afterwards, and the port.
    pub(super) listens: Option<(String, u16)>,
    /// Memory that is in use now and was not before it was loaded, in words, such as `1.2 GiB
    /// of shared memory`.
    pub(super) kept: Vec<String>,
}

impl Ended {
    /// Caveats, each after `engine`, which is named in the beginning.
    fn warnings(&self, engine: &str) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.stopped.killed {
            warnings.push(format!(
                "{engine} or a process of its own did not end when asked and was killed"
            ));
        }
        if let [first, others @ ..] = self.stopped.strays.as_slice() {
            let others = match others.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            warnings.push(format!(
                "{engine} left `{first}`{others} running outside its process group; it was killed"
            ));
        }
        if let [first, others @ ..] = self.stopped.left.as_slice() {
            let others = match others.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            warnings.push(format!(
                "{engine} left `{first}`{others} running, which could not be killed"
            ));
        }
        if let Some((name, port)) = &self.listens {
            warnings.push(format!(
                "after {engine} was unloaded, `{name}` still listens on its port {port}"
            ));
        }
        warnings.extend(self.kept.iter().map(|kept| {
            format!("after {engine} was unloaded, {kept} more is in use than before it was loaded")
        }));
        warnings
    }
}

/// Effects of a visit on its engine and its surroundings. The sequence knows nothing else
/// of either.
pub(crate) trait EngineSide {
    /// Nanoseconds since the run's origin.
    fn now_ns(&self) -> u64;

    /// Journals an event.
    fn tell(&mut self, event: Event) -> Result<()>;

    /// Evaluates the `if` of a stage.
    fn evaluate(&self, condition: &Condition) -> std::result::Result<bool, String>;

    /// Runs steps of the stage with this id.
    async fn steps(&mut self, stage: &str, steps: &[Step]) -> std::result::Result<(), StageError>;

    /// Starts the engine and waits until it is ready. Returns the time taken in
    /// nanoseconds; `None` if it was already running.
    async fn start(&mut self, limit: Duration) -> std::result::Result<Option<u64>, StageError>;

    /// Returns `true` if there is something to stop, ready or not.
    fn is_running(&self) -> bool;

    /// Does what must precede the requests of a `measure` stage: asks for the lengths of
    /// prompts without their images, and for the settings in force.
    async fn prepare(&mut self, stage: &Stage<'_>) -> std::result::Result<(), StageError>;

    /// Sends requests and journals the answers.
    async fn send(&mut self, batch: &Batch<'_>) -> Sent;

    /// The models that the server lists, in words, if it answered a request of the last batch
    /// with HTTP 404. Asks the server once a visit.
    async fn known_models(&mut self) -> Option<String>;

    /// Stops sampling the engine's processes; returns their use, with the CPU time of each
    /// window in `measured`.
    fn look_back(&mut self, measured: &[Window]) -> Used;

    /// Stops the engine; kills it if it has not ended by itself within `grace`.
    async fn stop(&mut self, grace: Duration) -> std::result::Result<Ended, StageError>;

    /// The engine's own account of the visit.
    fn account(&mut self) -> Account;

    /// Warnings about the machine during the visit.
    fn warnings(&self) -> Vec<Warning>;
}

/// The state of an engine in its visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not loaded yet.
    Unloaded,
    /// Loaded, and in no stage.
    Ready,
    /// In a stage, of which `succeeded` requests have succeeded.
    InStage { succeeded: u32 },
    /// Only `unload` follows.
    Over,
}

/// An operation on an engine.
#[derive(Clone, Copy)]
enum Action<'s, 'v> {
    Load,
    Open(&'s Stage<'v>),
    Send(&'s Stage<'v>, Share),
    Close(&'s Stage<'v>),
    Unload,
}

/// A share of the requests of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    /// Number of its first request within the stage, from 0.
    first: u32,
    count: u32,
}

/// The outcome of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Loaded,
    Opened,
    /// The stage is skipped by its `if`, or has no requests.
    LeftOut,
    /// The number of requests that succeeded.
    Sent(u32),
    Closed,
    Unloaded,
    Failed(Stop),
}

impl State {
    /// The state that follows.
    fn after(self, outcome: Outcome) -> Self {
        match (self, outcome) {
            (Self::InStage { succeeded }, Outcome::Sent(more)) => Self::InStage {
                succeeded: succeeded + more,
            },
            (_, Outcome::Opened) => Self::InStage { succeeded: 0 },
            (_, Outcome::Loaded | Outcome::LeftOut | Outcome::Closed)
            // The engine is up, and the policy lets the next stage use it.
            | (Self::Ready | Self::InStage { .. }, Outcome::Failed(Stop::Continue)) => Self::Ready,
            (_, Outcome::Sent(_) | Outcome::Unloaded | Outcome::Failed(_)) => Self::Over,
        }
    }
}

/// A visit: one load-to-unload of one engine with one model.
pub(crate) struct Visit<'v, E> {
    planned: &'v prony_plan::Visit,
    segment: &'v Segment,
    ids: Ids,
    engine: E,
    state: State,
    /// The worst consequence of its failures.
    end: Option<Stop>,
    load_time_ns: Option<u64>,
    unload_time_ns: Option<u64>,
    /// Its measurements, in order.
    measured: Vec<Window>,
    /// Error of the stage's first request that failed.
    first_failure: Option<Failed>,
    used: Used,
    /// Time of its own turns, in nanoseconds.
    own_ns: u64,
}

impl<'v, E: EngineSide> Visit<'v, E> {
    /// A visit of `engine`, for a segment with these stage ids.
    pub(super) fn new(
        planned: &'v prony_plan::Visit,
        segment: &'v Segment,
        ids: Ids,
        engine: E,
    ) -> Self {
        Self {
            planned,
            segment,
            ids,
            engine,
            state: State::Unloaded,
            end: None,
            load_time_ns: None,
            unload_time_ns: None,
            measured: Vec::new(),
            first_failure: None,
            used: Used::default(),
            own_ns: 0,
        }
    }

    /// The consequence for the rest of the run, and the engine's side.
    pub(crate) fn into_end(self) -> (Option<Stop>, E) {
        (self.end, self.engine)
    }

    /// The stages between load and unload, in order.
    fn stages(&self) -> Vec<Stage<'v>> {
        let work = self.segment.work.iter().zip(self.ids.work.clone());
        work.map(|(work, id)| Stage::new(work, id)).collect()
    }

    /// Does the action if the state allows it, and skips it otherwise.
    async fn turn(&mut self, action: Action<'_, '_>) -> Result<()> {
        let segment = self.segment;
        let begin = self.engine.now_ns();
        let (of, policy) = match action {
            Action::Load => (
                self.of(StageKind::Load, &self.ids.load),
                segment.load.on_failure,
            ),
            Action::Open(stage) | Action::Send(stage, _) | Action::Close(stage) => {
                (self.of(stage.phase.into(), &stage.id), stage.on_failure)
            }
            Action::Unload => (
                self.of(StageKind::Unload, &self.ids.unload),
                segment.unload.on_failure,
            ),
        };
        let done = match (self.state, action) {
            (State::Unloaded, Action::Load) => self.load(&of).await,
            (State::Ready, Action::Open(stage)) => self.open(stage, &of).await,
            (State::InStage { succeeded }, Action::Send(stage, share)) => {
                self.send(stage, share, succeeded).await
            }
            (State::InStage { succeeded }, Action::Close(stage)) => {
                self.close(stage, succeeded).await
            }
            (_, Action::Unload) => self.unload(&of).await,
            _ => return Ok(()),
        };
        let outcome = self.settle(&of, done, policy)?;
        if let Outcome::Failed(stop) = outcome {
            self.end = self.end.max(Some(stop));
        }
        self.state = self.state.after(outcome);
        self.own_ns += self.engine.now_ns().saturating_sub(begin);
        Ok(())
    }

    /// Journals a failure, and returns its consequence.
    fn settle(
        &mut self,
        stage: &StageOf,
        done: std::result::Result<Outcome, StageError>,
        policy: OnFailure,
    ) -> Result<Outcome> {
        let error = match done {
            Ok(outcome) => return Ok(outcome),
            Err(StageError::Journal(error)) => return Err(error),
            Err(error) => error,
        };
        let Ok((cause, message)) = error.into_failure() else {
            return Ok(Outcome::Failed(Stop::Interrupted));
        };
        self.engine.tell(stage.failed(cause, message))?;
        Ok(Outcome::Failed(match cause {
            // Fewer ranks would send another load.
            Cause::Rank => Stop::Run,
            Cause::Step | Cause::Plugin | Cause::Engine => policy.into(),
        }))
    }

    fn of(&self, kind: StageKind, id: &str) -> StageOf {
        StageOf {
            kind,
            id: id.to_owned(),
            scope: Scope::Visit(self.planned.clone()),
        }
    }

    fn begin(&mut self, stage: &StageOf) -> Result<()> {
        let at_ns = self.engine.now_ns();
        self.engine.tell(stage.begins(at_ns))
    }

    async fn load(&mut self, of: &StageOf) -> std::result::Result<Outcome, StageError> {
        self.begin(of)?;
        let load = &self.segment.load;
        self.engine.steps(&of.id, &load.before).await?;
        self.load_time_ns = self.engine.start(load.timeout.to_std()).await?;
        self.engine.steps(&of.id, &load.after).await?;
        Ok(Outcome::Loaded)
    }

    async fn open(
        &mut self,
        stage: &Stage<'_>,
        of: &StageOf,
    ) -> std::result::Result<Outcome, StageError> {
        if stage.requests == 0 {
            return Ok(Outcome::LeftOut);
        }
        let wanted = self.engine.evaluate(stage.condition);
        if wanted == Ok(false) {
            let at_ns = self.engine.now_ns();
            self.engine.tell(of.is_skipped(at_ns))?;
            return Ok(Outcome::LeftOut);
        }
        self.begin(of)?;
        wanted?;
        self.first_failure = None;
        self.engine.steps(&of.id, stage.before).await?;
        Ok(Outcome::Opened)
    }

    /// Sends a share of a stage in which `before_it` requests have succeeded so far.
    async fn send(
        &mut self,
        stage: &Stage<'_>,
        share: Share,
        before_it: u32,
    ) -> std::result::Result<Outcome, StageError> {
        let measures = stage.phase == Phase::Measure;
        if measures {
            self.engine.prepare(stage).await?;
        }
        let before = self.measured_ns().remove(&stage.id);
        let before = Duration::from_nanos(before.unwrap_or_default());
        let batch = Batch {
            phase: stage.phase,
            stage: &stage.id,
            first: share.first,
            count: share.count,
            arrival: stage.arrival,
            shards: stage.shards,
            duration: stage.duration,
            cache: stage.cache,
            limit: stage.timeout.map(|limit| limit.saturating_sub(before)),
            has_images: true,
            question: stage.question,
        };
        let begin = self.engine.now_ns();
        let sent = self.engine.send(&batch).await;
        if measures {
            // From the first sending, since encoding is prony's work, to the last answer:
            // the following check for a crash is not the engine's time. After an
            // interruption, until the requests in flight were given up.
            self.measured.push(Window {
                stage: stage.id.clone(),
                from_ns: sent.first_sent_ns.unwrap_or(begin),
                to_ns: match sent.succeeded {
                    Ok(_) => sent.last_end_ns,
                    Err(_) => sent.stopped_ns.unwrap_or_else(|| self.engine.now_ns()),
                },
            });
        }
        if self.first_failure.is_none() {
            self.first_failure = sent.first_failure;
        }
        let succeeded = sent.succeeded?;
        match sent.lost {
            None => Ok(Outcome::Sent(succeeded)),
            Some(lost) if before_it + succeeded > 0 => Err(StageError::Failed(lost)),
            Some(_) => Err(self.none_succeeded(stage).await),
        }
    }

    async fn close(
        &mut self,
        stage: &Stage<'_>,
        succeeded: u32,
    ) -> std::result::Result<Outcome, StageError> {
        if succeeded > 0 {
            self.engine.steps(&stage.id, stage.after).await?;
            return Ok(Outcome::Closed);
        }
        Err(self.none_succeeded(stage).await)
    }

    async fn none_succeeded(&mut self, stage: &Stage<'_>) -> StageError {
        let why = self.first_failure.take();
        let is_of_plugin = why
            .as_ref()
            .is_some_and(|failed| failed.class == ErrorClass::Plugin);
        let mut why = why.map_or_else(String::new, |failed| {
            format!("; the first: {}: {}", failed.class.name(), failed.message)
        });
        if let Some(models) = self.engine.known_models().await {
            why = why + "; " + &models;
        }
        let message = format!("none of {} requests succeeded{why}", stage.requests);
        if is_of_plugin {
            StageError::Plugin(message)
        } else {
            StageError::Failed(message)
        }
    }

    async fn unload(&mut self, of: &StageOf) -> std::result::Result<Outcome, StageError> {
        if !self.engine.is_running() {
            return Ok(Outcome::Unloaded);
        }
        // While the processes can still be queried.
        self.used = self.engine.look_back(&self.measured);
        self.begin(of)?;
        let unload = &self.segment.unload;
        // Failing steps must not keep the engine alive.
        let before = self.engine.steps(&of.id, &unload.before).await;
        let ended = self.engine.stop(unload.timeout.to_std()).await?;
        self.unload_time_ns = ended.time_ns;
        for warning in ended.warnings(&named(self.planned)) {
            let message = format!("{}: {warning}", self.planned.model);
            self.engine.tell(Event::Warning { message })?;
        }
        before?;
        self.engine.steps(&of.id, &unload.after).await?;
        Ok(Outcome::Unloaded)
    }

    /// Wall-clock time of each `measure` stage, in nanoseconds, by its id.
    fn measured_ns(&self) -> BTreeMap<String, u64> {
        let mut times = BTreeMap::<String, u64>::new();
        for window in &self.measured {
            let time = times.entry(window.stage.clone()).or_default();
            *time += window.to_ns.saturating_sub(window.from_ns);
        }
        times
    }

    /// Journals the visit.
    fn finish(&mut self) -> Result<()> {
        let used = std::mem::take(&mut self.used);
        let account = self.engine.account();
        let visited = Visited {
            visit: self.planned.clone(),
            load_time_ns: self.load_time_ns,
            unload_time_ns: self.unload_time_ns,
            measure_ns: self.measured_ns(),
            peak_memory_bytes: used.peak_memory_bytes,
            peak_gpu_memory_bytes: used.peak_gpu_memory_bytes,
            memory: used.memory,
            energy: used.energy,
            page_cache_share: used.page_cache_share,
            measure_cpu_s: used.measure_cpu_s,
            settings: account.settings,
            counters: account.counters,
            machine: self.engine.warnings(),
            total_ns: self.own_ns,
        };
        self.engine.tell(Event::Visit(visited))
    }
}

/// The turns of the engines in a stage: the number of the engine, from 0, and its share.
fn turns(stage: &Stage<'_>, engines: usize, blocks: u32) -> Vec<(usize, Share)> {
    if stage.phase == Phase::Warmup || engines != 2 {
        let all = Share {
            first: 0,
            count: stage.requests,
        };
        return (0..engines).map(|engine| (engine, all)).collect();
    }
    let count = stage.requests / (2 * blocks);
    let mut sent = [0; 2];
    let turn = |engine: usize| {
        let first = sent[engine];
        sent[engine] += count;
        (engine, Share { first, count })
    };
    (0..blocks).flat_map(|_| BLOCK).map(turn).collect()
}

/// Runs visits whose engines are loaded at the same time: one, or two that take turns in
/// `blocks`. All are unloaded in any case, unless the journal cannot be written; then
/// dropping them ends them.
pub(crate) async fn run<E: EngineSide>(
    visits: &mut [Visit<'_, E>],
    blocks: u32,
    stop: &watch::Receiver<bool>,
) -> Result<()> {
    for visit in &mut *visits {
        if !*stop.borrow() {
            visit.turn(Action::Load).await?;
        }
    }
    let stages = visits.first().map_or_else(Vec::new, Visit::stages);
    for stage in &stages {
        for visit in &mut *visits {
            visit.turn(Action::Open(stage)).await?;
        }
        for (engine, share) in turns(stage, visits.len(), blocks) {
            visits[engine].turn(Action::Send(stage, share)).await?;
        }
        for visit in &mut *visits {
            visit.turn(Action::Close(stage)).await?;
        }
    }
    for visit in visits {
        visit.turn(Action::Unload).await?;
        visit.finish()?;
    }
    Ok(())
}

/// The engine of a visit, in a sentence.
fn named(visit: &prony_plan::Visit) -> String {
    let point = visit.point.as_ref();
    let mut of_point = point.map_or_else(String::new, |point| format!(", {point}"));
    if visit.segment > 1 {
        let _ = write!(of_point, ", part {}", visit.segment);
    }
    format!("`{}` (cycle {}{of_point})", visit.engine, visit.cycle)
}
