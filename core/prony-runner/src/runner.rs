//! The run: setup, visits, the end.

use crate::context::{self, text};
use crate::images::Images;
use crate::selfcheck;
use crate::setup::{self, ModelFiles, Tokenizers};
use crate::step::{self, Surroundings};
use crate::tape::Tape;
use crate::visit::{Seat, Stop, VisitRun, Visiting, resident};
use crate::{Error, Result, environment};
use prony_config::{Cell, Model, OnFailure, Pipeline, Step};
use prony_journal::{
    Event, Looks, Noise, RunFolder, SCHEMA, StageOf, Started, Writer, plugins, source_of_prompts,
    subject, unsaid,
};
use prony_loadgen::clock::now_ns;
use prony_machine::{Fingerprint, State};
use prony_plan::{Plan, Visit};
use prony_plugin_host::{Registry, sha256_of};
use prony_result::Outcome;
use prony_tokenizer::Tokenizer;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// What a run needs beside its pipeline.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the pipeline file, absolute.
    pub folder: PathBuf,
    /// prony's cache folder, absolute.
    pub cache: PathBuf,
    /// The command that serves an in-process engine; the plugin's name follows.
    pub worker: Vec<String>,
    /// The command that runs the truth server, for a selfcheck; its options follow.
    pub truth_server: Vec<String>,
}

/// A run, ready to start.
pub struct Runner<'a> {
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) plan: &'a Plan,
    pub(crate) registry: &'a Registry,
    pub(crate) options: &'a Options,
    pub(crate) folder: &'a RunFolder,
    pub(crate) stop: watch::Receiver<bool>,
    observer: &'a mut dyn FnMut(&Event),
    journal: Writer,
    /// Reading of the clock that all times of the journal start from.
    pub(crate) origin_ns: u64,
    /// What the machine is.
    pub(crate) machine: Fingerprint,
    failed: bool,
    /// What the workloads' images are.
    pub(crate) images: Images,
    /// What is sent, by cell and model.
    pub(crate) tapes: HashMap<(&'a str, &'a str), Arc<Tape>>,
    /// What the tokens of answers are counted with, by cell and model.
    pub(crate) tokenizers: HashMap<(&'a str, &'a str), Arc<Tokenizer>>,
    /// `stages` of templates: the outputs of `setup`, and of the current turn.
    pub(crate) stages: Value,
    /// What is known of the comparisons; `None` if nothing is compared.
    looks: Option<Looks<'a>>,
}

/// A model of a cell that is being measured.
struct OfModel<'a, 'v> {
    /// Any visit of it.
    of: &'a Visit,
    cell: &'a Cell,
    /// Where it is.
    path: Option<&'v Path>,
    /// `stages` of templates as `setup` left it.
    after_setup: &'v Value,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// How.
    pub outcome: Outcome,
}

impl<'a> Runner<'a> {
    /// Writes the resolved pipeline and the journal's first line. `resolved` is
    /// the pipeline with every default spelled out, as a pipeline file; `notes`
    /// is what there is to say about it in the results, a line each. `observer`
    /// sees every event after the journal has it.
    #[expect(
        clippy::too_many_arguments,
        reason = "the arrows that meet here; a struct would only rename them"
    )]
    pub fn new(
        pipeline: &'a Pipeline,
        resolved: &str,
        notes: Vec<String>,
        plan: &'a Plan,
        registry: &'a Registry,
        options: &'a Options,
        folder: &'a RunFolder,
        stop: watch::Receiver<bool>,
        observer: &'a mut dyn FnMut(&Event),
    ) -> Result<Self> {
        std::fs::write(folder.pipeline(), resolved).map_err(Error::io(folder.pipeline()))?;
        let (machine, state) = (Fingerprint::read(), State::read());
        let mut notes = notes;
        notes.extend(state.warnings(&machine).into_iter().map(|it| it.message));
        let subject = subject(pipeline);
        let (noise, problem) = Noise::open(&options.cache, &machine.digest);
        notes.extend(problem);
        let noise = noise.of(&subject, plan);
        let started = Started {
            schema: SCHEMA.to_owned(),
            prony_version: env!("CARGO_PKG_VERSION").to_owned(),
            run: folder.id(),
            started_at: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string(),
            pipeline_sha256: sha256_of(resolved.as_bytes()),
            subject: subject.clone(),
            plan: plan.clone(),
            environment: environment::of(&machine, &state),
            plugins: plugins(pipeline, registry)?,
            noise,
            notes,
        };
        let looks = Looks::new(plan, &subject, pipeline.schedule.stop);
        let journal = Writer::create(&folder.journal())?;
        let mut runner = Self {
            pipeline,
            plan,
            registry,
            options,
            folder,
            stop,
            observer,
            journal,
            origin_ns: now_ns(),
            machine,
            failed: false,
            images: Images::default(),
            tapes: HashMap::new(),
            tokenizers: HashMap::new(),
            stages: Value::Null,
            looks,
        };
        runner.tell(Event::Started(Box::new(started)))?;
        Ok(runner)
    }

    /// Appends to the journal, then tells the observer.
    pub(crate) fn tell(&mut self, event: Event) -> Result<()> {
        self.failed |= matches!(event, Event::Failed { .. });
        self.journal.append(&event)?;
        if let Some(looks) = &mut self.looks {
            looks.see(&event);
        }
        (self.observer)(&event);
        Ok(())
    }

    /// Tells the observer alone.
    pub(crate) fn show(&mut self, event: &Event) {
        (self.observer)(event);
    }

    /// Nanoseconds since the run's origin.
    pub(crate) fn now(&self) -> u64 {
        now_ns().saturating_sub(self.origin_ns)
    }

    pub(crate) fn surroundings(&self) -> Surroundings {
        let logs = self.folder.logs();
        Surroundings {
            folder: self.options.folder.clone(),
            cache: self.options.cache.clone(),
            // Steps run in another folder.
            logs: std::path::absolute(&logs).unwrap_or(logs),
        }
    }

    /// Runs to the end. Failures of engines and models are in the journal; an
    /// error means that the journal itself could not be kept.
    pub async fn run(mut self) -> Result<Finished> {
        let may_go_on = self.setup().await?;
        if may_go_on && !*self.stop.borrow() {
            self.visits().await?;
        }
        let outcome = if *self.stop.borrow() {
            Outcome::Interrupted
        } else if self.failed {
            Outcome::Failed
        } else {
            Outcome::Completed
        };
        let at_ns = self.now();
        self.tell(Event::Finished { outcome, at_ns })?;
        self.journal.sync()?;
        Ok(Finished { outcome })
    }

    async fn visits(&mut self) -> Result<()> {
        let paths = self.prepare_models()?;
        let after_setup = self.stages.clone();
        let (plan, cells) = (self.plan, cells(self.pipeline));
        for visits in plan.models() {
            let Some(of) = visits.first() else { continue };
            let of_model = (of.cell.as_str(), of.model.as_str());
            let (Some(cell), Some(path)) = (cells.get(of_model.0), paths.get(&of_model)) else {
                continue;
            };
            let model = OfModel {
                of,
                cell,
                path: path.as_deref(),
                after_setup: &after_setup,
            };
            if !self.cycles(&model, visits).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The cycles of a model, until its comparisons are decided; tells whether the run
    /// goes on.
    async fn cycles(&mut self, model: &OfModel<'a, '_>, visits: &'a [Visit]) -> Result<bool> {
        let plan = self.plan;
        if let Some(looks) = &mut self.looks {
            looks.begin();
        }
        // A model that fails on one engine is still measured on the others: what
        // is measured must not depend on which came first.
        let mut skipped = HashSet::new();
        let same = |a: &Visit, b: &Visit| a.cycle == b.cycle;
        for cycle in visits.chunk_by(same) {
            if !self.cycle(model, cycle, &mut skipped).await? {
                return Ok(false);
            }
            if self.looks.as_ref().is_some_and(Looks::is_settled) {
                return self.settle(model, visits, cycle);
            }
        }
        for (spent, cycle) in plan.spare(model.of).chunk_by(same).enumerate() {
            if !self.looks.as_ref().is_some_and(|it| it.wants_spare(spent)) {
                break;
            }
            if !self.cycle(model, cycle, &mut skipped).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Says which cycles the verdicts make needless.
    fn settle(
        &mut self,
        model: &OfModel<'a, '_>,
        visits: &[Visit],
        last: &[Visit],
    ) -> Result<bool> {
        let number = |visits: &[Visit]| visits.last().map_or(0, |visit| visit.cycle);
        let (cycles, of) = (number(last), number(visits));
        if cycles < of {
            self.tell(Event::Stopped {
                cell: model.of.cell.clone(),
                model: model.of.model.clone(),
                cycles,
                of,
            })?;
        }
        Ok(true)
    }

    /// One cycle, and a look after it; tells whether the run goes on.
    async fn cycle(
        &mut self,
        model: &OfModel<'a, '_>,
        visits: &'a [Visit],
        skipped: &mut HashSet<&'a str>,
    ) -> Result<bool> {
        let begin = self.now();
        // One that is left takes its turns alone, so it needs no company either.
        let take_turns = visits
            .iter()
            .all(|it| !skipped.contains(it.engine.as_str()));
        let blocks = self.plan.blocks.filter(|_| take_turns && visits.len() == 2);
        if let Some(blocks) = blocks
            && !self.in_turns(model, visits, blocks, skipped).await?
        {
            return Ok(false);
        }
        for visit in visits.iter().filter(|_| blocks.is_none()) {
            if *self.stop.borrow() {
                return Ok(false);
            }
            if skipped.contains(visit.engine.as_str()) {
                continue;
            }
            if visit.part == 1 {
                self.begin_turn(model.cell, model.after_setup);
            }
            let Some(mut visiting) = Visiting::new(self, visit, model.cell, model.path) else {
                continue;
            };
            let stop = VisitRun::new(self, &mut visiting).run().await?;
            self.journal.sync()?;
            if !self.goes_on(visit, stop, skipped)? {
                return Ok(false);
            }
        }
        let seconds = self.now().saturating_sub(begin) as f64 / 1e9;
        if let Some(looks) = &mut self.looks {
            for event in looks.look(model.of, seconds) {
                self.tell(event)?;
            }
        }
        Ok(true)
    }

    /// A cycle whose engines stay loaded; tells whether the run goes on.
    async fn in_turns(
        &mut self,
        model: &OfModel<'a, '_>,
        visits: &'a [Visit],
        blocks: u32,
        skipped: &mut HashSet<&'a str>,
    ) -> Result<bool> {
        if *self.stop.borrow() {
            return Ok(false);
        }
        let mut seats = Vec::new();
        for visit in visits {
            let Some(visiting) = Visiting::new(self, visit, model.cell, model.path) else {
                continue;
            };
            self.begin_turn(model.cell, model.after_setup);
            seats.push(Seat::new(visiting, self.stages.clone()));
        }
        let ends = resident(self, seats, blocks).await?;
        self.journal.sync()?;
        let mut goes_on = true;
        for (visit, end) in visits.iter().zip(ends) {
            goes_on &= self.goes_on(visit, end, skipped)?;
        }
        Ok(goes_on)
    }

    /// What the end of a visit means for the rest; whether there is one.
    fn goes_on(
        &mut self,
        visit: &'a Visit,
        stop: Option<Stop>,
        skipped: &mut HashSet<&'a str>,
    ) -> Result<bool> {
        match stop {
            None | Some(Stop::Continue) => Ok(true),
            Some(Stop::SkipModel) => {
                self.skip((&visit.cell, &visit.model), Some(&visit.engine))?;
                skipped.insert(&visit.engine);
                Ok(true)
            }
            Some(Stop::Run | Stop::Interrupted) => Ok(false),
        }
    }

    /// Finds and checks the models of all cells. Paths by cell and id, without
    /// the models that cannot be had.
    fn prepare_models(&mut self) -> Result<HashMap<(&'a str, &'a str), Option<PathBuf>>> {
        let visits = self.plan.visits.iter();
        let visited: HashSet<(&str, &str)> = visits
            .map(|visit| (visit.cell.as_str(), visit.model.as_str()))
            .collect();
        let mut paths = HashMap::new();
        let (mut files, mut tokenizers) = (ModelFiles::default(), Tokenizers::default());
        for cell in &self.pipeline.cells {
            for model in &cell.models {
                let of_model = (cell.id.as_str(), model.id.as_str());
                if !visited.contains(&of_model) {
                    continue;
                }
                let context = self.context(&cell.context);
                let folder = &self.options.folder;
                let (images, seed) = (&self.images, self.pipeline.schedule.seed);
                let prepared = prepare(model, &context, folder, &mut files).and_then(|path| {
                    let own = setup::tokenizer_path(model, &context, folder)?;
                    let tape = own.as_deref().or(path.as_deref());
                    let tape = Tape::new(cell, tape, folder, images, seed)?;
                    let tokenizer = own.map(|own| tokenizers.open(&own)).transpose()?;
                    Ok((path, tape, tokenizer))
                });
                match prepared {
                    Ok((path, tape, tokenizer)) => {
                        if let Some(path) = &path {
                            self.tell(Event::Model {
                                cell: cell.id.clone(),
                                model: model.id.clone(),
                                path: unsaid(&text(path), cell),
                                sha256: model.sha256.clone(),
                            })?;
                        }
                        self.tell(Event::Tape {
                            cell: cell.id.clone(),
                            model: model.id.clone(),
                            sha256: tape.sha256.clone(),
                            prompts: tape.prompts.len() as u32,
                            source: source_of_prompts(&cell.workload).map(|it| unsaid(&it, cell)),
                        })?;
                        self.tapes.insert(of_model, Arc::new(tape));
                        if let Some(tokenizer) = tokenizer {
                            self.tokenizers.insert(of_model, tokenizer);
                        }
                        paths.insert(of_model, path);
                    }
                    Err(message) => {
                        self.tell(self.of_setup(Some(of_model)).failed(false, message))?;
                        self.skip(of_model, None)?;
                    }
                }
            }
        }
        Ok(paths)
    }

    /// Only outputs of `setup` last longer than a turn.
    fn begin_turn(&mut self, cell: &Cell, after_setup: &Value) {
        let ids = context::all_ids(&cell.parts);
        self.stages = context::no_outputs(ids.iter().map(String::as_str));
        if let (Some(stages), Some(known)) = (self.stages.as_object_mut(), after_setup.as_object())
        {
            stages.extend(known.clone());
        }
    }

    fn skip(&mut self, (cell, model): (&str, &str), engine: Option<&str>) -> Result<()> {
        self.tell(Event::Skipped {
            cell: cell.to_owned(),
            model: model.to_owned(),
            engine: engine.map(ToOwned::to_owned),
        })
    }

    /// The stage `setup`, as far as it is about one model, or altogether.
    fn of_setup(&self, model: Option<(&str, &str)>) -> StageOf {
        let id = self.pipeline.setup.id.clone();
        StageOf {
            kind: "setup",
            id: id.unwrap_or_else(|| "setup".to_owned()),
            visit: model.map(|(cell, model)| Visit {
                cell: cell.to_owned(),
                model: model.to_owned(),
                engine: String::new(),
                cycle: 0,
                part: 1,
            }),
        }
    }

    /// Tells whether the run may go on.
    async fn setup(&mut self) -> Result<bool> {
        let stage = self.pipeline.setup.clone();
        let of_setup = self.of_setup(None);
        self.stages = context::no_outputs([of_setup.id.as_str()]);
        // The names that do not depend on the cell.
        let first = self.pipeline.cells.first();
        let mut base = first.map_or(Value::Null, |cell| cell.context.clone());
        if let Some(base) = base.as_object_mut() {
            base.shift_remove("matrix");
        }
        let wanted = context::holds(&stage.condition, &self.context(&base));
        let at_ns = self.now();
        self.tell(match wanted {
            Ok(false) => of_setup.is_skipped(at_ns),
            _ => of_setup.begins(at_ns),
        })?;
        let limit = stage.timeout.map(prony_config::Duration::to_std);
        let work = async {
            let wanted = match wanted {
                Ok(wanted) => wanted,
                Err(message) => return Ok(Err((false, message))),
            };
            let steps = |steps: Vec<Step>| if wanted { steps } else { Vec::new() };
            let (before, after) = (steps(stage.before), steps(stage.after));
            if let Err(message) = self.steps(&before, &base, &of_setup.id, "setup").await? {
                return Ok(Err((true, message)));
            }
            // Whatever the stage's `if` says, this must hold.
            if let Err(message) = setup::check_plugins(self.pipeline, self.plan, self.registry) {
                return Ok(Err((false, message)));
            }
            if let Err(message) = self.read_images()? {
                return Ok(Err((false, message)));
            }
            if wanted
                && stage.selfcheck
                && let Err(message) = self.selfcheck().await?
            {
                return Ok(Err((false, message)));
            }
            let done = self.steps(&after, &base, &of_setup.id, "setup").await?;
            Ok(done.map_err(|message| (true, message)))
        };
        let done: Result<std::result::Result<(), (bool, String)>> = match limit {
            None => work.await,
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                let message = format!("it took longer than its limit of {limit:?}");
                Ok(Err((false, message)))
            }),
        };
        match done? {
            Ok(()) => Ok(true),
            Err(_) if *self.stop.borrow() => Ok(false),
            Err((step, message)) => {
                self.tell(of_setup.failed(step, message))?;
                Ok(stage.on_failure != OnFailure::Stop)
            }
        }
    }

    /// Holds the load client against the truth where the pipeline asks most of it.
    async fn selfcheck(&mut self) -> Result<std::result::Result<(), String>> {
        let mut stop = self.stop.clone();
        for way in selfcheck::hardest(self.pipeline) {
            let command = &self.options.truth_server;
            let logs = self.surroundings().logs;
            let done = tokio::select! {
                done = selfcheck::check(command, &logs, way, selfcheck::SECONDS) => done,
                () = stopped(&mut stop) => return Ok(Err("interrupted".to_owned())),
            };
            match done {
                Ok(check) => self.tell(Event::Selfcheck(Box::new(check)))?,
                Err(message) => return Ok(Err(format!("selfcheck: {message}"))),
            }
        }
        Ok(Ok(()))
    }

    /// Reads the images of all cells, each once, before anything is measured.
    fn read_images(&mut self) -> Result<std::result::Result<(), String>> {
        for path in self
            .pipeline
            .cells
            .iter()
            .flat_map(|cell| &cell.workload.images)
        {
            match self.images.read(path, &self.options.folder) {
                Ok(None) => {}
                Ok(Some(sha256)) => self.tell(Event::Image {
                    path: path.clone(),
                    sha256,
                })?,
                Err(message) => return Ok(Err(message)),
            }
        }
        Ok(Ok(()))
    }

    /// Runs steps in order, up to the first that fails. What they give is in
    /// `stages` of templates from the next one on. `base` is what templates can
    /// name beside what is known everywhere; `stage` is the id of the stage.
    pub(crate) async fn steps(
        &mut self,
        steps: &[Step],
        base: &Value,
        stage: &str,
        log: &str,
    ) -> Result<std::result::Result<(), String>> {
        let surroundings = self.surroundings();
        let mut stop = self.stop.clone();
        for step in steps {
            let context = self.context(base);
            let name = step::name(step);
            let reason = match left_out(step, &context, &surroundings) {
                Ok(reason) => reason,
                Err(message) => return Ok(Err(format!("step `{name}`: {message}"))),
            };
            let skipped = reason.is_some();
            self.tell(Event::Step {
                name: name.clone(),
                skipped,
                reason: reason.map(ToOwned::to_owned),
            })?;
            if skipped {
                continue;
            }
            let mut attempt = 0;
            let outputs = loop {
                let command = match step::command(step, &context, &surroundings) {
                    Ok(command) => command,
                    Err(message) => return Ok(Err(format!("step `{name}`: {message}"))),
                };
                let done = tokio::select! {
                    done = step::run(step, command, &surroundings, log) => done,
                    () = stopped(&mut stop) => return Ok(Err("interrupted".to_owned())),
                };
                match done {
                    Ok(outputs) => break outputs,
                    Err(message) if attempt == step.retry => return Ok(Err(message)),
                    Err(message) => {
                        attempt += 1;
                        let of = step.retry;
                        let message = format!("{message}; trying again ({attempt} of {of})");
                        self.tell(Event::Warning { message })?;
                    }
                }
            };
            for (output, value) in outputs.given {
                self.stages[stage]["outputs"][output] = value.into();
            }
            for ignored in outputs.ignored {
                let message = format!("step `{name}` {ignored}");
                self.tell(Event::Warning { message })?;
            }
        }
        Ok(Ok(()))
    }

    /// What templates can name: `base`, and what is known everywhere.
    pub(crate) fn context(&self, base: &Value) -> Value {
        let Options { cache, folder, .. } = self.options;
        context::context(base, cache, folder, &self.stages)
    }
}

/// Why a step does not run, if it does not.
fn left_out(
    step: &Step,
    context: &Value,
    surroundings: &Surroundings,
) -> std::result::Result<Option<&'static str>, String> {
    if !context::holds(&step.condition, context)? {
        return Ok(Some("its `if` is false"));
    }
    Ok(step::is_done(step, context, surroundings)?.then_some("done already"))
}

fn prepare(
    model: &Model,
    context: &Value,
    folder: &std::path::Path,
    files: &mut ModelFiles,
) -> std::result::Result<Option<PathBuf>, String> {
    let path = setup::model_path(model, context, folder)?;
    if let Some(path) = &path {
        files.check(model, path)?;
    }
    Ok(path)
}

fn cells(pipeline: &Pipeline) -> HashMap<&str, &Cell> {
    let cells = pipeline.cells.iter();
    cells.map(|cell| (cell.id.as_str(), cell)).collect()
}

/// Pending until the run is to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left who could say stop.
        std::future::pending::<()>().await;
    }
}
