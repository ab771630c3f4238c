//! One visit: load, warm-ups and measurements, unload of one engine with one
//! model.

mod load;
mod requests;
mod resident;
mod without_images;
mod work;

use crate::Result;
use crate::context::text;
use crate::process::Process;
use crate::runner::Runner;
use crate::tape::Tape;
use prony_config::{Cell, Engine, OnFailure, Part, Step};
use prony_contract::{Endpoint, Message, Model};
use prony_journal::{Event, StageOf, Visited};
use prony_loadgen::local::Worker;
use prony_loadgen::stdio::Pipe;
use prony_loadgen::target::Target;
use prony_machine::{Change, Sampler, State};
use prony_plan::{Ids, Visit};
use prony_record::Failed;
use prony_tokenizer::Tokenizer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use work::Stage;

pub(crate) use resident::{Seat, run as resident};

/// How long a broken connection may precede the end of the process behind it.
const CRASH_GRACE: Duration = Duration::from_millis(300);

/// What a visit means for the rest of the run; the last counts for most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// A stage failed, and the run goes on with the next one.
    Continue,
    /// The engine is not tried with this model again.
    SkipModel,
    /// The run ends.
    Run,
    /// The user said stop.
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

/// Why a stage ended early.
enum Trouble {
    /// A step of the user's failed.
    Step(String),
    /// Anything else did.
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
    /// Watches it.
    sampler: Option<Sampler>,
    link: Link,
}

/// Watches the processes of an engine. A machine that does not let itself be watched is
/// no reason not to measure.
fn watch(process: &Process) -> Option<Sampler> {
    let options = prony_machine::Options::default();
    Sampler::start(process.id(), options).ok()
}

/// How requests reach it.
enum Link {
    Http {
        target: Target,
    },
    Stdio {
        pipe: Pipe,
        /// What is said before the input is closed.
        closing: Vec<Message>,
    },
    Worker(Worker),
}

/// A visit that has its turn.
pub(crate) struct VisitRun<'v, 'a> {
    runner: &'v mut Runner<'a>,
    state: &'v mut Visiting<'a>,
}

/// What is known of a visit, also while another one has its turn.
pub(crate) struct Visiting<'a> {
    visit: &'a Visit,
    /// What is sent.
    tape: Arc<Tape>,
    /// Counts the tokens of answers.
    tokenizer: Option<Arc<Tokenizer>>,
    cell: &'a Cell,
    engine: &'a Engine,
    part: &'a Part,
    ids: Ids,
    model: Model,
    revision: Option<&'a str>,
    /// When it began, since the run's origin, and what the machine was doing then.
    begun: (u64, State),
    /// Whether another engine is loaded at the same time.
    has_company: bool,
    /// Since when another engine has its turn, and for how long others have had theirs.
    away: (Option<u64>, u64),
    /// Where the engine is to listen, once that is chosen.
    at: Option<Endpoint>,
    /// The engine's config, once its templates are filled in.
    config: Value,
    summary: Visited,
    /// End of the request that ended last, since the run's origin.
    last_end_ns: u64,
    /// When the first request of the stage was sent, since the run's origin.
    first_sent_ns: Option<u64>,
    /// Why the first request of the stage that failed did so.
    first_failure: Option<Failed>,
    /// When each `measure` stage sent its first request and had its last answer, since the
    /// run's origin.
    windows: Vec<(String, (u64, u64))>,
    /// Processor time of the engine in the visit, in seconds.
    engine_cpu_s: Option<f64>,
    /// The number of the last request over standard input.
    numbered: u64,
    /// Tokens of prompts without their images, by the engine's count, once it was asked; of
    /// cold requests apart.
    without_images: BTreeMap<bool, BTreeMap<u32, u32>>,
}

impl<'a> std::ops::Deref for VisitRun<'_, 'a> {
    type Target = Visiting<'a>;

    fn deref(&self) -> &Self::Target {
        self.state
    }
}

impl std::ops::DerefMut for VisitRun<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.state
    }
}

impl<'a> Visiting<'a> {
    /// `path` is where the model is. `None` if the cell does not have what the
    /// visit names, which a plan of the same pipeline rules out.
    pub(crate) fn new(
        runner: &Runner<'a>,
        visit: &'a Visit,
        cell: &'a Cell,
        path: Option<&Path>,
    ) -> Option<Self> {
        let part = (visit.part as usize).checked_sub(1)?;
        let of_model = (visit.cell.as_str(), visit.model.as_str());
        let model = cell.models.iter().find(|model| model.id == visit.model)?;
        Some(Self {
            visit,
            tape: runner.tapes.get(&of_model)?.clone(),
            tokenizer: runner.tokenizers.get(&of_model).cloned(),
            cell,
            begun: (runner.now(), State::read()),
            has_company: false,
            away: (None, 0),
            engine: cell.engines.iter().find(|it| it.name == visit.engine)?,
            part: cell.parts.get(part)?,
            ids: prony_plan::ids(&cell.parts).into_iter().nth(part)?,
            model: Model {
                id: visit.model.clone(),
                path: path.map(text),
            },
            revision: model.revision.as_deref(),
            at: None,
            config: Value::Null,
            summary: Visited {
                visit: visit.clone(),
                load_time_ns: None,
                measure_ns: BTreeMap::new(),
                peak_memory_bytes: None,
                measure_cpu_s: BTreeMap::new(),
                machine: Vec::new(),
                total_ns: 0,
            },
            last_end_ns: 0,
            first_sent_ns: None,
            first_failure: None,
            windows: Vec::new(),
            engine_cpu_s: None,
            numbered: 0,
            without_images: BTreeMap::new(),
        })
    }
}

impl Drop for VisitRun<'_, '_> {
    fn drop(&mut self) {
        self.state.away.0 = Some(self.runner.now());
    }
}

impl<'v, 'a> VisitRun<'v, 'a> {
    pub(crate) fn new(runner: &'v mut Runner<'a>, state: &'v mut Visiting<'a>) -> Self {
        if let Some(since) = state.away.0.take() {
            state.away.1 += runner.now().saturating_sub(since);
        }
        Self { runner, state }
    }

    /// Runs the stages. Whatever happens, the engine is unloaded.
    pub(crate) async fn run(mut self) -> Result<Option<Stop>> {
        let mut running = None;
        let mut end = self.begin_visit(&mut running).await?;
        if let (Some(running), None) = (&mut running, end) {
            for stage in self.work_stages() {
                let of_visit = self.stage(stage.phase.name(), &stage.id);
                let done = self.work(&stage, &of_visit, running).await?;
                end = end.max(self.settle(&of_visit, done, stage.on_failure)?);
                if end > Some(Stop::Continue) {
                    break;
                }
            }
        }
        self.end_visit(running, end).await
    }

    /// Loads the engine.
    async fn begin_visit(&mut self, running: &mut Option<Running>) -> Result<Option<Stop>> {
        let load = self.stage("load", &self.ids.load);
        let loaded = self.load(&load, running).await?;
        self.settle(&load, loaded, self.part.load.on_failure)
    }

    /// What is between load and unload, in order.
    fn work_stages(&self) -> Vec<Stage<'a>> {
        let part = self.part;
        let work = part.work.iter().zip(self.ids.work.clone());
        work.map(|(work, id)| Stage::new(work, id)).collect()
    }

    /// Unloads the engine if there is one, and journals the visit.
    async fn end_visit(
        mut self,
        running: Option<Running>,
        end: Option<Stop>,
    ) -> Result<Option<Stop>> {
        let unload = self.stage("unload", &self.ids.unload);
        let unloaded = self.unload(&unload, running).await?;
        let end = end.max(self.settle(&unload, unloaded, self.part.unload.on_failure)?);
        let (begin, before) = &self.begun;
        let total_ns = self.runner.now().saturating_sub(*begin + self.away.1);
        let after = State::read();
        let change = Change::between(before, &after, &[], self.engine_cpu_s);
        let mut warnings = change.warnings(&self.runner.machine, &after);
        if self.engine_cpu_s.is_none() || self.has_company {
            // What a server that was there before uses, or another engine, cannot be told
            // from the rest.
            warnings.retain(|warning| warning.code != "busy_machine");
        }
        self.summary.total_ns = total_ns;
        self.summary.machine.extend(warnings);
        self.runner.tell(Event::Visit(self.state.summary.clone()))?;
        Ok(end)
    }

    fn stage(&self, kind: &'static str, id: &str) -> StageOf {
        StageOf {
            kind,
            id: id.to_owned(),
            visit: Some(self.visit.clone()),
        }
    }

    /// Journals a stage's failure and says what follows from it.
    fn settle(
        &mut self,
        stage: &StageOf,
        outcome: std::result::Result<(), Trouble>,
        policy: OnFailure,
    ) -> Result<Option<Stop>> {
        let (step, message) = match outcome {
            Ok(()) => return Ok(None),
            Err(Trouble::Interrupted) => return Ok(Some(Stop::Interrupted)),
            Err(Trouble::Step(message)) => (true, message),
            Err(Trouble::Failed(message)) => (false, message),
        };
        self.runner.tell(stage.failed(step, message))?;
        Ok(Some(policy.into()))
    }

    fn begin(&mut self, stage: &StageOf) -> Result<()> {
        let at_ns = self.runner.now();
        self.runner.tell(stage.begins(at_ns))
    }

    async fn steps(&mut self, stage: &StageOf, steps: &[Step]) -> Staged<()> {
        let (base, log) = (self.base(), format!("{}-steps", self.label()));
        let done = self.runner.steps(steps, &base, &stage.id, &log).await?;
        Ok(done.map_err(|message| {
            if *self.runner.stop.borrow() {
                Trouble::Interrupted
            } else {
                Trouble::Step(message)
            }
        }))
    }

    /// `model-engine-c1`, safe as a file name and short enough for one.
    fn label(&self) -> String {
        const LONGEST: usize = 200;
        let Visit {
            cell,
            model,
            engine,
            cycle,
            part,
        } = self.visit;
        let cell = if cell.is_empty() {
            String::new()
        } else {
            format!("-{cell}")
        };
        let name: String = format!("{model}-{engine}{cell}")
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
        match part {
            1 => format!("{name}-c{cycle}"),
            part => format!("{name}-c{cycle}-p{part}"),
        }
    }

    fn log(&self) -> PathBuf {
        self.runner
            .folder
            .logs()
            .join(format!("{}.log", self.label()))
    }

    /// What templates can name beside what is known everywhere.
    fn base(&self) -> Value {
        let mut base = self.cell.context.clone();
        base["model"] = json!({ "id": self.model.id });
        // What is not given is not there: so it can have a default.
        if let Some(path) = &self.model.path {
            base["model"]["path"] = json!(path);
        }
        if let Some(revision) = self.revision {
            base["model"]["revision"] = json!(revision);
        }
        base["engine"] = json!({ "name": self.visit.engine });
        if let Some(at) = &self.at {
            base["engine"]["host"] = json!(at.host);
            base["engine"]["port"] = json!(at.port);
        }
        base
    }

    fn context(&self) -> Value {
        self.runner.context(&self.base())
    }

    /// Ends watching, and keeps what was seen.
    fn look_back(&mut self, mut sampler: Sampler) {
        sampler.finish();
        let origin = self.runner.origin_ns;
        let state = &mut *self.state;
        for (stage, (from, to)) in &state.windows {
            let window = sampler.window(origin + from, origin + to);
            if let Some(cpu_s) = window.cpu_seconds {
                let of_stage = state.summary.measure_cpu_s.entry(stage.clone());
                *of_stage.or_default() += cpu_s;
            }
        }
        let total = sampler.stop().total;
        self.summary.peak_memory_bytes = total.peak_rss_bytes;
        self.engine_cpu_s = total.cpu_seconds;
        for (index, gpu) in total.gpus.iter().enumerate() {
            self.summary.machine.extend(gpu.warnings(index));
        }
    }

    async fn unload(&mut self, stage: &StageOf, running: Option<Running>) -> Staged<()> {
        let Some(Running {
            process,
            sampler,
            link,
        }) = running
        else {
            return Ok(Ok(()));
        };
        // While the processes can still be asked.
        if let Some(sampler) = sampler {
            self.look_back(sampler);
        }
        self.begin(stage)?;
        let unload = &self.part.unload;
        // Steps that fail must not keep the engine alive.
        let before = self.steps(stage, &unload.before).await?;
        let grace = unload.timeout.to_std();
        if let Link::Stdio { pipe, closing } = &link {
            self.say_goodbye(pipe, closing, grace).await?;
        }
        // A worker ends when its orders do, and so may any other that reads them.
        drop(link);
        if let Some(process) = process
            && process.stop(grace).await
        {
            let message = killed(self.visit);
            self.runner.tell(Event::Warning { message })?;
        }
        attempt!(before);
        self.steps(stage, &unload.after).await
    }
}

impl VisitRun<'_, '_> {
    /// What an engine is told before its input is closed. That it does not listen keeps
    /// nobody from ending it.
    async fn say_goodbye(
        &mut self,
        pipe: &Pipe,
        closing: &[Message],
        grace: Duration,
    ) -> Result<()> {
        for message in closing {
            if pipe.lost().is_some() {
                break;
            }
            if let Err(words) = pipe.ask(message.clone(), grace).await {
                let message = format!(
                    "{}: `{}` (cycle {}) did not unload as it should: {words}",
                    self.visit.model, self.visit.engine, self.visit.cycle
                );
                self.runner.tell(Event::Warning { message })?;
                break;
            }
        }
        Ok(())
    }
}

fn killed(visit: &Visit) -> String {
    let of_cell = match (visit.cell.as_str(), visit.part) {
        ("", 1) => String::new(),
        ("", part) => format!(", part {part}"),
        (cell, 1) => format!(", {cell}"),
        (cell, part) => format!(", {cell}, part {part}"),
    };
    format!(
        "{}: `{}` (cycle {}{of_cell}) or a process of its own did not end when asked and was killed",
        visit.model, visit.engine, visit.cycle
    )
}
