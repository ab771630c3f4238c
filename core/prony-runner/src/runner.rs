//! The run: setup, visits, end.

mod prepare;
mod rivals;

use crate::answers::{LeftAnswers, Means, recover_answers};
use crate::chat::Chat;
use crate::context::{self, text};
use crate::images::Images;
use crate::request_set::RequestSet;
use crate::resume::{ModelDone, check_programs, check_same};
use crate::run::Run;
use crate::visit::{self, Material, Stop};
use crate::{Error, Result, environment};
use prony_config::{MatrixPoint, Pipeline};
use prony_journal::{
    Digests, Event, InputKind, InterimAnalyses, Noise, Reopened, RunFolder, SCHEMA, Started, World,
    plugins, subject,
};
use prony_machine::{Control, Fingerprint, ProcessId, State};
use prony_plan::{ModelKey, Plan, Visit};
use prony_plugin_host::{Registry, sha256_of};
use prony_ranks::Ranks;
use prony_result::{Outcome, RankInfo};
use prony_tokenizer::Tokenizer;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// Inputs of a run besides its pipeline.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the pipeline file, absolute.
    pub folder: PathBuf,
    /// prony's cache folder, absolute.
    pub cache: PathBuf,
    /// Folders in which models lie as their id says, absolute.
    pub models: Vec<PathBuf>,
    /// The lock files of plugins that are there.
    pub locks: Vec<PathBuf>,
    /// The command that serves an in-process engine; the plugin's name follows.
    pub worker: Vec<String>,
    /// The command that runs the truth server, for a selfcheck; its options follow.
    pub truth_server: Vec<String>,
    /// `true` if a resumed run may go on with other outputs of the steps of `setup`.
    pub accept_new_setup: bool,
    /// Raw bodies of failed requests to keep, of each engine and class.
    pub keep_failed: u32,
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
    /// The other ranks, and what says that there are ranks; `None` if there is no other.
    pub ranks: Option<(Ranks, String)>,
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
    /// `true` if it ended since a rank was lost.
    pub lost_rank: bool,
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
        let machine = Fingerprint::read();
        let started = started(&inputs, &machine)?;
        let gap_s = folder.seconds_since_written();
        let (mut recovered, mut changed) = (None, Vec::new());
        if let Some(died) = resume.take() {
            // Before anything is changed.
            changed = check_same(died.started(), &started, &folder.pipeline(), resolved)?;
            check_programs(&folder.journal(), &mut Digests::open(&options.cache))?;
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
        let interim = InterimAnalyses::new(
            plan,
            &started.subject,
            pipeline.schedule.stop,
            &folder.journal(),
        );
        let journal = resume.map(|it| it.journal);
        let ranks = inputs.ranks.take().map(|(ranks, _)| ranks);
        let run = Run::new(&inputs, machine, interim, journal, ranks, stop, observer)?;
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
            if !changed.is_empty() {
                let message = format!(
                    "the run goes on with another `{}`, which no measurement depends on; the result describes the pipeline as it began",
                    changed.join("`, `")
                );
                run.tell(Event::Warning { message })?;
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
        // A run that has lost a rank goes on when it has as many again.
        let outcome = if run.is_interrupted() || run.has_lost_rank() {
            Outcome::Interrupted
        } else if run.has_failed() {
            Outcome::Failed
        } else {
            Outcome::Completed
        };
        run.finish(outcome)?;
        Ok(Finished {
            outcome,
            lost_rank: run.has_lost_rank(),
        })
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
            if let Some(message) = rivals::none_left(run.pipeline, visits, cycle, &skipped) {
                run.tell(Event::Warning { message })?;
                return Ok(true);
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
            self.run.tell_programs().await?;
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
        self.run.tell_programs().await?;
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
}

/// Facts known when a run starts.
fn started(inputs: &Inputs<'_>, machine: &Fingerprint) -> Result<Started> {
    let Inputs {
        pipeline,
        resolved,
        plan,
        registry,
        options,
        folder,
        ranks,
        ..
    } = inputs;
    let state = State::read();
    let mut notes = inputs.notes.clone();
    notes.extend(state.warnings(machine).into_iter().map(|it| it.message));
    let world = ranks.as_ref().map(|(ranks, by)| world(ranks, by));
    notes.extend(world.as_ref().map(sent_by));
    let subject = subject(pipeline);
    let (noise, problem) = Noise::open(&options.cache, &machine.digest);
    notes.extend(problem);
    // As runs against itself were written.
    let written = pipeline.secrets.masked(&subject).map_err(Error::Secrets)?;
    let noise = noise.of(&written, plan);
    Ok(Started {
        schema: SCHEMA.to_owned(),
        prony_version: env!("CARGO_PKG_VERSION").to_owned(),
        run: folder.id(),
        started_at: prony_journal::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
        pipeline_sha256: sha256_of(resolved.as_bytes()),
        pipeline_folder: seen_from(folder, &options.folder),
        subject,
        plan: (*plan).clone(),
        environment: environment::of(machine, &state),
        plugins: plugins(pipeline, registry)?,
        noise,
        notes,
        process: Some(ProcessId::own()),
        world,
    })
}

/// The ranks and their machines, in words.
fn sent_by(world: &World) -> String {
    let hosts: BTreeSet<&str> = world.ranks.iter().map(|it| it.host.as_str()).collect();
    let hosts: Vec<&str> = hosts.into_iter().collect();
    format!(
        "{} ranks send the load together, by {}; those beside rank 0 are on {}",
        world.size(),
        world.by,
        hosts.join(", ")
    )
}

fn world(ranks: &Ranks, by: &str) -> World {
    let ranks = ranks.hellos().map(|hello| RankInfo {
        rank: hello.rank,
        host: hello.host.clone(),
        cpus: hello.cpus,
    });
    World {
        by: by.to_owned(),
        ranks: ranks.collect(),
    }
}

/// The folder of the pipeline as seen from the run's, if both are there.
fn seen_from(run: &RunFolder, folder: &Path) -> Option<String> {
    let run = run.path().canonicalize().ok()?;
    let folder = folder.canonicalize().ok()?;
    Some(text(&RunFolder::open(&run).to(&folder)))
}

fn points(pipeline: &Pipeline) -> HashMap<Option<&str>, &MatrixPoint> {
    let points = pipeline.points.iter();
    points.map(|point| (point.id.as_deref(), point)).collect()
}
