//! The run: setup, visits, end.

use crate::answers::{LeftAnswers, Means, recover_answers};
use crate::chat::{Chat, Places};
use crate::context::{self, evaluate, text};
use crate::images::Images;
use crate::request_set::{RequestSet, is_cold};
use crate::resume::{ModelDone, check_same};
use crate::run::{Run, StageError, interrupted};
use crate::selfcheck;
use crate::setup::{self, ModelFiles, Tokenizers};
use crate::visit::{self, Material, Stop};
use crate::{Error, Result, environment};
use jiff::tz::TimeZone;
use prony_config::{MatrixPoint, Model, OnFailure, Pipeline, Setup, Step};
use prony_journal::{
    Event, InputKind, InterimAnalyses, Noise, Reopened, RunFolder, SCHEMA, Scope, StageOf, Started,
    plugins, source_of_prompts, subject,
};
use prony_machine::{Control, Fingerprint, IdlePower, ProcessId, State};
use prony_plan::{ModelKey, Plan, StageKind, Visit};
use prony_plugin_host::{Registry, sha256_of};
use prony_result::Outcome;
use prony_tokenizer::Tokenizer;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Time in which GPUs may come to rest before the power of the idle machine is measured.
const IDLE: Duration = Duration::from_mins(1);

/// Inputs of a run besides its pipeline.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the pipeline file, absolute.
    pub folder: PathBuf,
    /// prony's cache folder, absolute.
    pub cache: PathBuf,
    /// The lock files of plugins that are there.
    pub locks: Vec<PathBuf>,
    /// The command that serves an in-process engine; the plugin's name follows.
    pub worker: Vec<String>,
    /// The command that runs the truth server, for a selfcheck; its options follow.
    pub truth_server: Vec<String>,
    /// `true` if a resumed run may go on with other outputs of the steps of `setup`.
    pub accept_new_setup: bool,
}

/// Inputs of a run.
pub struct Inputs<'a> {
    /// The pipeline to measure.
    pub pipeline: &'a Pipeline,
    /// The pipeline with every default spelled out, as a pipeline file.
    pub resolved: &'a str,
    /// Notes on the pipeline for the results, one line each.
    pub notes: Vec<String>,
    /// The visits, in order.
    pub plan: &'a Plan,
    /// The plugins.
    pub registry: &'a Registry,
    /// Paths and commands.
    pub options: &'a Options,
    /// Folder for the run's files.
    pub folder: &'a RunFolder,
    /// The run that died, if this is to go on with it.
    pub resume: Option<Resume>,
}

/// A run that died, opened to go on with it.
pub struct Resume {
    journal: Reopened,
}

impl Resume {
    /// Opens and locks the journal of a run; fails if the run is in progress.
    pub fn open(folder: &RunFolder) -> Result<Self> {
        let journal = Reopened::open(&folder.journal())?;
        Ok(Self { journal })
    }

    /// The first event of the run.
    pub fn started(&self) -> &Started {
        self.journal.started()
    }
}

/// A run, ready to start.
pub struct Runner<'a> {
    run: Run<'a>,
    /// The images of the workloads.
    images: Images,
    /// The request sets, by matrix point and model.
    request_sets: HashMap<ModelKey<'a>, Arc<RequestSet>>,
    /// Renders conversations for engines that take raw prompts, by matrix point and model.
    chats: HashMap<ModelKey<'a>, Arc<Chat>>,
    /// Tokenizers for counting the tokens of answers, by matrix point and model.
    tokenizers: HashMap<ModelKey<'a>, Arc<Tokenizer>>,
    /// Tokenizers for counting the tokens of cold prompts, by matrix point and model.
    cold_tokenizers: HashMap<ModelKey<'a>, Arc<Tokenizer>>,
    /// `stages` of templates after `setup`.
    after_setup: Value,
    /// The fixed load beside each visit.
    control: Option<Control>,
}

/// A model at a matrix point that is being measured.
struct OfModel<'r> {
    /// Any visit of it.
    of: &'r Visit,
    point: &'r MatrixPoint,
    material: Material<'r>,
}

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Outcome of the run.
    pub outcome: Outcome,
}

impl<'a> Runner<'a> {
    /// Writes the resolved pipeline and the journal's first line. `stop` becomes `true`
    /// when the user interrupts the run; `observer` sees every event after it has been
    /// journalled.
    pub fn new(
        mut inputs: Inputs<'a>,
        stop: watch::Receiver<bool>,
        observer: &'a mut dyn FnMut(&Event),
    ) -> Result<Self> {
        let mut resume = inputs.resume.take();
        let Inputs {
            pipeline,
            resolved,
            plan,
            registry,
            options,
            folder,
            ..
        } = inputs;
        let (machine, state) = (Fingerprint::read(), State::read());
        let mut notes = inputs.notes.clone();
        notes.extend(state.warnings(&machine).into_iter().map(|it| it.message));
        let subject = subject(pipeline);
        let (noise, problem) = Noise::open(&options.cache, &machine.digest);
        notes.extend(problem);
        // As runs against itself were written.
        let written = pipeline.secrets.masked(&subject).map_err(Error::Secrets)?;
        let noise = noise.of(&written, plan);
        let started = Started {
            schema: SCHEMA.to_owned(),
            prony_version: env!("CARGO_PKG_VERSION").to_owned(),
            run: folder.id(),
            started_at: prony_journal::now()
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string(),
            pipeline_sha256: sha256_of(resolved.as_bytes()),
            pipeline_folder: seen_from(folder, &options.folder),
            subject: subject.clone(),
            plan: plan.clone(),
            environment: environment::of(&machine, &state),
            plugins: plugins(pipeline, registry)?,
            noise,
            notes,
            process: Some(ProcessId::own()),
        };
        let gap_s = folder.seconds_since_written();
        let mut recovered = None;
        if let Some(died) = resume.take() {
            // Before anything is changed.
            check_same(died.started(), &started)?;
            // It takes the lock itself.
            drop(died);
            let means = || {
                Ok(Means {
                    registry,
                    secrets: pipeline.secrets.clone(),
                })
            };
            match recover_answers(folder, means) {
                Some(LeftAnswers::Recovered(told)) => recovered = Some(told),
                Some(LeftAnswers::Unread(told)) => return Err(Error::Left(told)),
                None => {}
            }
            resume = Some(Resume::open(folder)?);
        }
        folder.make_logs()?;
        let interim =
            InterimAnalyses::new(plan, &subject, pipeline.schedule.stop, &folder.journal());
        let journal = resume.map(|it| it.journal);
        let run = Run::new(&inputs, machine, interim, journal, stop, observer)?;
        if let Some(before) = &run.before {
            run.tell(Event::Resumed {
                resumed_at: started.started_at,
                gap_s,
                process: ProcessId::own(),
            })?;
            // The journal has it already.
            if let Some(message) = recovered {
                run.show(&Event::Warning { message });
            }
            for event in before.owed.clone() {
                run.tell(event)?;
            }
            let ended = before.end_left_over();
            if !ended.is_empty() {
                let message = format!(
                    "what the run had left running when it died was killed: {}",
                    ended.join(", ")
                );
                run.tell(Event::Warning { message })?;
            }
        } else {
            // After the empty journal, by which a run that is killed here is known.
            prony_files::replace(&folder.pipeline(), resolved.as_bytes())
                .map_err(Error::io(folder.pipeline()))?;
            run.tell(Event::Started(Box::new(started)))?;
        }
        if let Some(prony) = options.worker.first() {
            run.tell_input(InputKind::Prony, "", Path::new(prony))?;
        }
        for lock in &options.locks {
            run.tell_input(InputKind::Lock, "", lock)?;
        }
        run.sync()?;
        Ok(Self {
            run,
            images: Images::default(),
            request_sets: HashMap::new(),
            chats: HashMap::new(),
            tokenizers: HashMap::new(),
            cold_tokenizers: HashMap::new(),
            after_setup: Value::Null,
            control: None,
        })
    }

    /// Runs to the end. Failures of engines and models are in the journal; an error means
    /// that the journal itself could not be written.
    pub async fn run(mut self) -> Result<Finished> {
        let done = self.run_to_the_end().await;
        if let Err(error) = &done {
            // Nobody would end them later.
            crate::process::kill_all();
            if let Error::Io { source, .. } = error
                && matches!(
                    source.kind(),
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
                )
            {
                // The disk may take not even that, and a run without an end is reported, too.
                let _ = self.run.end_full();
            }
        }
        done
    }

    async fn run_to_the_end(&mut self) -> Result<Finished> {
        let may_go_on = self.setup().await?;
        if may_go_on && !self.run.is_interrupted() {
            let paths = self.prepare_models()?;
            self.measure_idle_power().await?;
            self.prepare_control().await?;
            self.visits(&paths).await?;
        }
        let run = &self.run;
        let outcome = if run.is_interrupted() {
            Outcome::Interrupted
        } else if run.has_failed() {
            Outcome::Failed
        } else {
            Outcome::Completed
        };
        run.finish(outcome)?;
        Ok(Finished { outcome })
    }

    /// Journals what the machine draws while nothing runs, where anything counts that.
    async fn measure_idle_power(&self) -> Result<()> {
        let stop = self.run.stop.clone();
        let measure = move || IdlePower::measure(IDLE, || *stop.borrow());
        let measured = tokio::task::spawn_blocking(measure).await;
        match measured {
            Ok(Some(power)) => self.run.tell(Event::IdlePower(power)),
            // A machine that cannot tell is still measured.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Finds the amount of work of the control.
    async fn prepare_control(&mut self) -> Result<()> {
        self.control = self.run.before.as_ref().and_then(|it| it.control);
        if self.control.is_some() {
            // The same work as before, else its times would tell nothing.
            return Ok(());
        }
        if let Some(control) = self.run.pipeline.schedule.control {
            let time = Duration::from_secs(control.seconds.into());
            let found = tokio::task::spawn_blocking(move || Control::lasting(time)).await;
            // Without memory for it, it cannot be done.
            self.control = found.ok();
            if let Some(control) = self.control {
                self.run.tell(Event::ControlWork(control))?;
            }
        }
        Ok(())
    }

    /// Does the control beside a visit, while no engine is loaded.
    async fn do_control(&self, visit: &Visit) -> Result<()> {
        let Some(control) = self.control.filter(|_| !self.run.is_interrupted()) else {
            return Ok(());
        };
        let stop = self.run.stop.clone();
        let done = tokio::task::spawn_blocking(move || control.run(|| *stop.borrow())).await;
        let Ok(Some(times)) = done else {
            return Ok(());
        };
        self.run.tell(Event::Control {
            visit: visit.clone(),
            single_ns: times.single_ns,
            all_cores_ns: times.all_cores_ns,
            memory_ns: times.memory_ns,
        })
    }

    async fn visits(&self, paths: &HashMap<ModelKey<'a>, Option<PathBuf>>) -> Result<()> {
        let (plan, points) = (self.run.plan, points(self.run.pipeline));
        let done = self.run.before.as_ref().and_then(|it| it.model.as_ref());
        let models = plan.models().skip_while(|visits| {
            let is_at = |it: &ModelDone| visits.first().is_some_and(|visit| it.is_of(visit));
            done.is_some_and(|done| !is_at(done))
        });
        for visits in models {
            let Some(of) = visits.first() else { continue };
            let of_model = of.of_model();
            let (Some(point), Some(path), Some(request_set)) = (
                points.get(&of_model.point),
                paths.get(&of_model),
                self.request_sets.get(&of_model),
            ) else {
                continue;
            };
            let model = OfModel {
                of,
                point,
                material: Material {
                    path: path.as_deref(),
                    request_set: request_set.clone(),
                    chat: self.chats.get(&of_model).cloned(),
                    tokenizer: self.tokenizers.get(&of_model).cloned(),
                    cold_tokenizer: self.cold_tokenizers.get(&of_model).cloned(),
                    images: &self.images,
                },
            };
            if !self.cycles(&model, visits).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Runs the cycles of a model until its comparisons are decided. Returns `true` if
    /// the run continues.
    async fn cycles(&self, model: &OfModel<'_>, visits: &'a [Visit]) -> Result<bool> {
        let run = &self.run;
        // A model that fails on one engine is still measured on the others, so that the
        // result does not depend on which came first.
        let mut skipped = HashSet::new();
        let done = run.before.as_ref().and_then(|it| it.model.as_ref());
        let done = done.filter(|it| it.is_of(model.of));
        if let Some(done) = done {
            self.take_up(model, visits, done, &mut skipped)?;
            if run.is_settled() {
                if !done.is_settled {
                    self.settle(model, visits, done.last())?;
                }
                return Ok(true);
            }
        } else {
            run.begin_comparisons();
        }
        let has_begun = |cycle: &[Visit]| {
            let number = cycle.first().map_or(0, |it| it.cycle);
            done.is_some_and(|it| it.has_begun(number))
        };
        let same = |a: &Visit, b: &Visit| a.cycle == b.cycle;
        for cycle in visits.chunk_by(same) {
            if has_begun(cycle) {
                continue;
            }
            if !self.cycle(model, cycle, &mut skipped).await? {
                return Ok(false);
            }
            if run.is_settled() {
                self.settle(model, visits, cycle.last().map_or(0, |it| it.cycle))?;
                return Ok(true);
            }
        }
        for (spent, cycle) in run.plan.replacements(model.of).chunk_by(same).enumerate() {
            if has_begun(cycle) {
                continue;
            }
            if !run.wants_replacement(spent) {
                break;
            }
            if !self.cycle(model, cycle, &mut skipped).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes up a model where the run had died: a cycle that was broken off is over, as one in
    /// which something failed.
    fn take_up(
        &self,
        model: &OfModel<'_>,
        visits: &'a [Visit],
        done: &ModelDone,
        skipped: &mut HashSet<&'a str>,
    ) -> Result<()> {
        let run = &self.run;
        let all = || visits.iter().chain(run.plan.replacements(model.of));
        let out = visits.iter().map(|it| it.engine.as_str());
        skipped.extend(out.filter(|it| done.out.contains(*it)));
        for (cycle, begin) in done.broken_off() {
            let of = all().filter(|it| it.cycle == cycle);
            let degraded: Vec<Visit> = of
                .filter(|it| !skipped.contains(it.engine.as_str()))
                .cloned()
                .collect();
            let Some(first) = degraded.first().cloned() else {
                continue;
            };
            run.tell(Event::Degraded {
                visits: degraded,
                reason: "the run was broken off in this cycle".to_owned(),
            })?;
            let seconds = run.now().saturating_sub(begin) as f64 / 1e9;
            run.end_cycle(&first, seconds)?;
        }
        Ok(())
    }

    /// Journals the cycles made unnecessary by the verdicts.
    fn settle(&self, model: &OfModel<'_>, visits: &[Visit], cycles: u32) -> Result<()> {
        let of = visits.last().map_or(0, |visit| visit.cycle);
        if cycles < of {
            self.run.tell(Event::Stopped {
                point: model.of.point.clone(),
                model: model.of.model.clone(),
                cycles,
                of,
            })?;
        }
        Ok(())
    }

    /// Runs one cycle and the interim analysis after it. Returns `true` if the run
    /// continues.
    async fn cycle(
        &self,
        model: &OfModel<'_>,
        visits: &'a [Visit],
        skipped: &mut HashSet<&'a str>,
    ) -> Result<bool> {
        let begin = self.run.now();
        // An engine without a partner takes its turns alone.
        let take_turns = visits
            .iter()
            .all(|it| !skipped.contains(it.engine.as_str()));
        let blocks = self.run.plan.blocks;
        let goes_on = match blocks.filter(|_| take_turns && visits.len() == 2) {
            Some(blocks) => self.in_turns(model, visits, blocks, skipped).await?,
            None => self.one_by_one(model, visits, skipped).await?,
        };
        if goes_on {
            let seconds = self.run.now().saturating_sub(begin) as f64 / 1e9;
            let of = visits.first().unwrap_or(model.of);
            self.run.end_cycle(of, seconds)?;
        }
        Ok(goes_on)
    }

    /// Runs a cycle in which each visit loads its own engine. Returns `true` if the run
    /// continues.
    async fn one_by_one(
        &self,
        model: &OfModel<'_>,
        visits: &'a [Visit],
        skipped: &mut HashSet<&'a str>,
    ) -> Result<bool> {
        let mut stages = Value::Null;
        for planned in visits {
            if self.run.is_interrupted() {
                return Ok(false);
            }
            if skipped.contains(planned.engine.as_str()) {
                continue;
            }
            if planned.segment == 1 {
                stages = self.stages_of_turn(model.point);
            }
            let (point, material) = (model.point, &model.material);
            let of_turn = std::mem::take(&mut stages);
            let Some(visit) = visit::live(&self.run, planned, point, material, false, of_turn)
            else {
                continue;
            };
            let mut visit = [visit];
            self.do_control(planned).await?;
            visit::run(&mut visit, 1, &self.run.stop).await?;
            self.do_control(planned).await?;
            let [visit] = visit;
            let (stop, engine) = visit.into_end();
            stages = engine.into_stages();
            self.run.sync()?;
            self.run.mask_logs();
            self.run.tell_programs()?;
            if !self.goes_on(planned, stop, skipped)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs a cycle whose engines stay loaded. Returns `true` if the run continues.
    async fn in_turns(
        &self,
        model: &OfModel<'_>,
        visits: &'a [Visit],
        blocks: u32,
        skipped: &mut HashSet<&'a str>,
    ) -> Result<bool> {
        if self.run.is_interrupted() {
            return Ok(false);
        }
        let live = |planned| {
            let stages = self.stages_of_turn(model.point);
            visit::live(
                &self.run,
                planned,
                model.point,
                &model.material,
                true,
                stages,
            )
        };
        let mut resident: Vec<_> = visits.iter().filter_map(live).collect();
        visit::run(&mut resident, blocks, &self.run.stop).await?;
        self.run.sync()?;
        self.run.mask_logs();
        self.run.tell_programs()?;
        let mut goes_on = true;
        for (planned, visit) in visits.iter().zip(resident) {
            let (stop, _) = visit.into_end();
            goes_on &= self.goes_on(planned, stop, skipped)?;
        }
        Ok(goes_on)
    }

    /// Handles the end of a visit. Returns `true` if the run continues.
    fn goes_on(
        &self,
        visit: &'a Visit,
        stop: Option<Stop>,
        skipped: &mut HashSet<&'a str>,
    ) -> Result<bool> {
        match stop {
            None | Some(Stop::Continue) => Ok(true),
            Some(Stop::SkipModel) => {
                self.skip(visit.of_model(), Some(&visit.engine))?;
                skipped.insert(&visit.engine);
                Ok(true)
            }
            Some(Stop::Run | Stop::Interrupted) => Ok(false),
        }
    }

    /// Finds and checks the models of all matrix points. Returns paths by matrix point
    /// and id, without the missing models.
    fn prepare_models(&mut self) -> Result<HashMap<ModelKey<'a>, Option<PathBuf>>> {
        let (pipeline, plan) = (self.run.pipeline, self.run.plan);
        let options = self.run.options;
        let visits = plan.visits.iter();
        let visited: HashSet<ModelKey<'_>> = visits.map(Visit::of_model).collect();
        let mut paths = HashMap::new();
        let (mut files, mut tokenizers) = (ModelFiles::default(), Tokenizers::default());
        // One for the whole run: a prompt with the date is the same in every cycle.
        let now = prony_journal::now()
            .to_zoned_datetime(TimeZone::system())
            .datetime();
        for point in &pipeline.points {
            for model in &point.models {
                let of_model = ModelKey {
                    point: point.id.as_deref(),
                    model: &model.id,
                };
                if !visited.contains(&of_model) {
                    continue;
                }
                let context = self.run.context(&point.context, &self.after_setup);
                let folder = &options.folder;
                let (images, seed) = (&self.images, pipeline.schedule.seed);
                let stopped = || self.run.is_interrupted();
                let path = prepare(model, &context, folder, &mut files, stopped);
                let prepared = path.and_then(|path| {
                    let own = setup::tokenizer_path(model, &context, folder)?;
                    let request_set = own.as_deref().or(path.as_deref());
                    let request_set = RequestSet::new(point, request_set, folder, images, seed)?;
                    let tokenizer = own.as_deref().map(|own| tokenizers.open(own)).transpose()?;
                    let cold_tokenizer = match own.as_deref().or(path.as_deref()) {
                        // Without one the state of the cache may stay unverified, which is told.
                        Some(path) if is_cold(point) => tokenizers.open(path).ok(),
                        _ => None,
                    };
                    let template = setup::template_path(model, &context, folder)?;
                    let places = Places {
                        template: template.as_deref(),
                        model: path.as_deref(),
                        tokenizer: own.as_deref(),
                    };
                    let open = |path: &Path| tokenizers.open(path);
                    let registry = self.run.registry;
                    let chat = Chat::new(point, model, registry, &places, open, &request_set, now)?;
                    Ok((path, request_set, tokenizer, cold_tokenizer, chat))
                });
                match prepared {
                    Ok((path, request_set, tokenizer, cold_tokenizer, chat)) => {
                        let of = &model.id;
                        let inputs = [
                            (InputKind::Model, path.clone()),
                            (
                                InputKind::Tokenizer,
                                setup::tokenizer_path(model, &context, folder)
                                    .ok()
                                    .flatten(),
                            ),
                            (
                                InputKind::ChatTemplate,
                                setup::template_path(model, &context, folder).ok().flatten(),
                            ),
                        ];
                        for (kind, path) in inputs {
                            if let Some(path) = path {
                                self.run.tell_input(kind, of, &path)?;
                            }
                        }
                        let workload = &point.workload;
                        let dataset = workload.dataset.iter().map(|it| &it.path);
                        for path in dataset.chain(&workload.prompt_files) {
                            self.run
                                .tell_input(InputKind::Dataset, path, &folder.join(path))?;
                        }
                        if let Some(path) = &path {
                            self.run.tell(Event::Model {
                                point: point.id.clone(),
                                model: model.id.clone(),
                                path: text(path),
                                sha256: model.sha256.clone(),
                            })?;
                        }
                        self.run.tell(Event::RequestSet {
                            point: point.id.clone(),
                            model: model.id.clone(),
                            sha256: request_set.sha256.clone(),
                            prompts: request_set.prompts.len() as u32,
                            source: source_of_prompts(&point.workload),
                        })?;
                        // One for all that have the same.
                        let mut known = self.request_sets.values();
                        let known = known.find(|it| it.sha256 == request_set.sha256);
                        let known = known.cloned();
                        let request_set = known.unwrap_or_else(|| Arc::new(request_set));
                        self.request_sets.insert(of_model, request_set);
                        if let Some(chat) = chat {
                            let rendering = chat.rendering();
                            self.run.tell(Event::Rendering {
                                point: point.id.clone(),
                                model: model.id.clone(),
                                rendering: rendering.clone(),
                            })?;
                            self.chats.insert(of_model, Arc::new(chat));
                        }
                        if let Some(tokenizer) = tokenizer {
                            self.tokenizers.insert(of_model, tokenizer);
                        }
                        if let Some(tokenizer) = cold_tokenizer {
                            self.cold_tokenizers.insert(of_model, tokenizer);
                        }
                        paths.insert(of_model, path);
                    }
                    Err(_) if self.run.is_interrupted() => return Ok(paths),
                    Err(message) => {
                        self.run
                            .tell(self.of_setup(Some(of_model)).failed(false, message))?;
                        self.skip(of_model, None)?;
                    }
                }
            }
        }
        Ok(paths)
    }

    /// `stages` of templates at the start of a visit: only outputs of `setup` persist.
    fn stages_of_turn(&self, point: &MatrixPoint) -> Value {
        let ids = context::all_ids(&point.segments);
        let mut stages = context::no_outputs(ids.iter().map(String::as_str));
        if let (Some(stages), Some(known)) = (stages.as_object_mut(), self.after_setup.as_object())
        {
            stages.extend(known.clone());
        }
        stages
    }

    fn skip(&self, of: ModelKey<'_>, engine: Option<&str>) -> Result<()> {
        self.run.tell(Event::Skipped {
            point: of.point.map(ToOwned::to_owned),
            model: of.model.to_owned(),
            engine: engine.map(ToOwned::to_owned),
        })
    }

    /// The stage `setup`: its share of one model, or as a whole.
    fn of_setup(&self, model: Option<ModelKey<'_>>) -> StageOf {
        let id = self.run.pipeline.setup.id.clone();
        StageOf {
            kind: StageKind::Setup,
            id: id.unwrap_or_else(|| "setup".to_owned()),
            scope: model.map_or(Scope::Run, |of| Scope::Model {
                point: of.point.map(ToOwned::to_owned),
                model: of.model.to_owned(),
            }),
        }
    }

    /// Runs the stage `setup`. Returns `true` if the run may continue.
    async fn setup(&mut self) -> Result<bool> {
        let stage = &self.run.pipeline.setup;
        let of_setup = self.of_setup(None);
        self.after_setup = context::no_outputs([of_setup.id.as_str()]);
        let limit = stage.timeout.map(prony_config::Duration::to_std);
        let work = self.work_of_setup(stage, &of_setup);
        let done = match limit {
            None => work.await,
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                let message = format!("it took longer than its limit of {limit:?}");
                Err(StageError::Failed(message))
            }),
        };
        let (step, message) = match done {
            Ok(()) => return Ok(true),
            Err(StageError::Journal(error)) => return Err(error),
            Err(_) if self.run.is_interrupted() => return Ok(false),
            Err(StageError::Interrupted) => return Ok(false),
            Err(StageError::Step(message)) => (true, message),
            Err(StageError::Failed(message)) => (false, message),
        };
        self.run.tell(of_setup.failed(step, message))?;
        Ok(stage.on_failure != OnFailure::Stop)
    }

    async fn work_of_setup(
        &mut self,
        stage: &Setup,
        of_setup: &StageOf,
    ) -> std::result::Result<(), StageError> {
        let run = &self.run;
        // The names are those that do not depend on the matrix point.
        let first = run.pipeline.points.first();
        let mut base = first.map_or(Value::Null, |point| point.context.clone());
        if let Some(base) = base.as_object_mut() {
            base.shift_remove("matrix");
        }
        let wanted = evaluate(&stage.condition, &run.context(&base, &self.after_setup));
        let at_ns = run.now();
        run.tell(match wanted {
            Ok(false) => of_setup.is_skipped(at_ns),
            _ => of_setup.begins(at_ns),
        })?;
        let wanted = wanted?;
        let (before, after): (&[Step], &[Step]) = if wanted {
            (&stage.before, &stage.after)
        } else {
            (&[], &[])
        };
        self.setup_steps(before, &base, of_setup).await?;
        // Required, whatever the stage's `if`.
        setup::check_plugins(self.run.pipeline, self.run.plan, self.run.registry)?;
        self.read_images()?;
        if wanted && stage.selfcheck {
            self.selfcheck().await?;
        }
        self.setup_steps(after, &base, of_setup).await?;
        let outputs = &self.after_setup[&of_setup.id]["outputs"];
        if outputs.as_object().is_some_and(|it| !it.is_empty()) {
            let sha256 = sha256_of(outputs.to_string().as_bytes());
            self.run.tell(Event::Outputs { sha256 })?;
        }
        Ok(())
    }

    async fn setup_steps(
        &mut self,
        steps: &[Step],
        base: &Value,
        of_setup: &StageOf,
    ) -> std::result::Result<(), StageError> {
        let stages = &mut self.after_setup;
        let done = self.run.steps(steps, base, &of_setup.id, "setup", stages);
        done.await
    }

    /// Checks the load client against the truth server with the pipeline's most demanding
    /// load shapes.
    async fn selfcheck(&self) -> std::result::Result<(), StageError> {
        let run = &self.run;
        let mut stop = run.stop.clone();
        for shape in selfcheck::hardest(run.pipeline) {
            let command = &run.options.truth_server;
            let logs = run.step_environment().logs;
            let done = tokio::select! {
                done = selfcheck::check(command, &logs, shape, selfcheck::SECONDS) => done,
                () = interrupted(&mut stop) => return Err(StageError::Interrupted),
            };
            let check = done.map_err(|message| format!("selfcheck: {message}"))?;
            run.tell(Event::Selfcheck(Box::new(check)))?;
        }
        Ok(())
    }

    /// Reads the images of all matrix points, each once, before anything is measured.
    fn read_images(&mut self) -> std::result::Result<(), StageError> {
        let points = &self.run.pipeline.points;
        for path in points.iter().flat_map(|point| &point.workload.images) {
            if let Some(sha256) = self.images.read(path, &self.run.options.folder)? {
                self.run.tell(Event::Image {
                    path: path.clone(),
                    sha256,
                })?;
            }
        }
        Ok(())
    }
}

/// The folder of the pipeline as seen from the run's, if both are there.
fn seen_from(run: &RunFolder, folder: &Path) -> Option<String> {
    let run = run.path().canonicalize().ok()?;
    let folder = folder.canonicalize().ok()?;
    Some(text(&RunFolder::open(&run).to(&folder)))
}

fn prepare(
    model: &Model,
    context: &Value,
    folder: &std::path::Path,
    files: &mut ModelFiles,
    is_interrupted: impl Fn() -> bool,
) -> std::result::Result<Option<PathBuf>, String> {
    let path = setup::model_path(model, context, folder)?;
    if let Some(path) = &path {
        files.check(model, path, is_interrupted)?;
    }
    Ok(path)
}

fn points(pipeline: &Pipeline) -> HashMap<Option<&str>, &MatrixPoint> {
    let points = pipeline.points.iter();
    points.map(|point| (point.id.as_deref(), point)).collect()
}
