//! Everything before the first visit: `setup`, models and request sets, the idle machine.

use super::Runner;
use crate::Result;
use crate::chat::{Chat, Places};
use crate::context::{self, evaluate, text};
use crate::hub::HubModels;
use crate::request_set::{RequestSet, is_cold};
use crate::run::{StageError, interrupted};
use crate::selfcheck;
use crate::setup::{self, ModelFiles, Tokenizers};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use prony_config::{MatrixPoint, Model, OnFailure, Setup, Step};
use prony_journal::{Cause, Event, InputKind, Scope, StageOf, source_of_prompts};
use prony_machine::{Control, IdlePower};
use prony_plan::{ModelKey, StageKind, Visit};
use prony_plugin_host::sha256_of;
use prony_tokenizer::Tokenizer;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Time in which GPUs may come to rest before the power of the idle machine is measured.
const IDLE: Duration = Duration::from_mins(1);

/// Things found and made for a model at a matrix point.
struct Prepared {
    /// Its file or folder.
    path: Option<PathBuf>,
    /// Its `tokenizer`.
    own_tokenizer: Option<PathBuf>,
    /// Its `chat_template`.
    template: Option<PathBuf>,
    request_set: RequestSet,
    tokenizer: Option<Arc<Tokenizer>>,
    cold_tokenizer: Option<Arc<Tokenizer>>,
    chat: Option<Chat>,
}

/// Files of models that were found so far.
struct Found {
    hub: HubModels,
    files: ModelFiles,
    tokenizers: Tokenizers,
}

impl<'a> Runner<'a> {
    /// Finds and checks the models of all matrix points. Returns paths by matrix point
    /// and id, without the missing models.
    pub(super) fn prepare_models(&mut self) -> Result<HashMap<ModelKey<'a>, Option<PathBuf>>> {
        let (pipeline, plan) = (self.run.pipeline, self.run.plan);
        let visits = plan.visits.iter();
        let visited: HashSet<ModelKey<'_>> = visits.map(Visit::of_model).collect();
        let mut paths = HashMap::new();
        // The same is told once, however many models it is about.
        let mut told = HashSet::new();
        let mut places = Found {
            hub: HubModels::new(&self.run.options.models),
            files: ModelFiles::default(),
            tokenizers: Tokenizers::default(),
        };
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
                let prepared = self.prepared(point, model, &mut places, now);
                match prepared {
                    Ok(prepared) => {
                        paths.insert(of_model, prepared.path.clone());
                        self.tell_inputs(point, model, &prepared)?;
                        self.take_in(point, model, prepared, &mut told)?;
                    }
                    Err(_) if self.run.is_interrupted() => return Ok(paths),
                    Err(message) => {
                        self.run
                            .tell(self.of_setup(Some(of_model)).failed(Cause::Engine, message))?;
                        self.skip(of_model, None)?;
                    }
                }
            }
        }
        Ok(paths)
    }

    /// Finds, checks and makes what a model needs; the error is for people.
    fn prepared(
        &self,
        point: &MatrixPoint,
        model: &Model,
        found: &mut Found,
        now: DateTime,
    ) -> std::result::Result<Prepared, String> {
        let run = &self.run;
        let context = run.context(&point.context, &self.after_setup);
        let folder = &run.options.folder;
        let path = self.prepare(model, &context, &mut found.hub, &mut found.files)?;
        let tokenizers = &mut found.tokenizers;
        let own = setup::tokenizer_path(model, &context, folder)?;
        let words = own.as_deref().or(path.as_deref());
        let seed = run.pipeline.schedule.seed;
        let request_set = RequestSet::new(point, words, folder, &self.images, seed)?;
        if request_set.has_images() {
            setup::suits_images(point, model, &run.pipeline.engines, run.registry)?;
        }
        let tokenizer = own.as_deref().map(|own| tokenizers.open(own)).transpose()?;
        let cold_tokenizer = match words {
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
        let chat = Chat::new(point, model, run.registry, &places, open, &request_set, now)?;
        Ok(Prepared {
            path,
            own_tokenizer: own,
            template,
            request_set,
            tokenizer,
            cold_tokenizer,
            chat,
        })
    }

    /// Journals the files that a model depends on.
    fn tell_inputs(&self, point: &MatrixPoint, model: &Model, prepared: &Prepared) -> Result<()> {
        let of = &model.id;
        let files = [
            (InputKind::Model, &prepared.path),
            (InputKind::Tokenizer, &prepared.own_tokenizer),
            (InputKind::ChatTemplate, &prepared.template),
        ];
        for (kind, path) in files {
            if let Some(path) = path {
                self.run.tell_input(kind, of, path)?;
            }
        }
        let (workload, folder) = (&point.workload, &self.run.options.folder);
        let dataset = workload.dataset.iter().map(|it| &it.path);
        for path in dataset.chain(&workload.prompt_files) {
            let place = prony_files::located(folder, path);
            self.run.tell_input(InputKind::Dataset, path, &place)?;
        }
        Ok(())
    }

    /// Journals what a model gets, and keeps it for the visits.
    fn take_in(
        &mut self,
        point: &'a MatrixPoint,
        model: &'a Model,
        it: Prepared,
        told: &mut HashSet<String>,
    ) -> Result<()> {
        let of_model = ModelKey {
            point: point.id.as_deref(),
            model: &model.id,
        };
        let run = &self.run;
        if let Some(path) = &it.path {
            run.tell(Event::Model {
                point: point.id.clone(),
                model: model.id.clone(),
                path: text(path),
                sha256: model.sha256.clone(),
            })?;
        }
        run.tell(Event::RequestSet {
            point: point.id.clone(),
            model: model.id.clone(),
            sha256: it.request_set.sha256.clone(),
            prompts: it.request_set.prompts.len() as u32,
            source: source_of_prompts(&point.workload),
        })?;
        for message in &it.request_set.notes {
            if told.insert(message.clone()) {
                let message = message.clone();
                run.tell(Event::Warning { message })?;
            }
        }
        if let Some(chat) = it.chat {
            run.tell(Event::Rendering {
                point: point.id.clone(),
                model: model.id.clone(),
                rendering: chat.rendering().clone(),
            })?;
            self.chats.insert(of_model, Arc::new(chat));
        }
        // One for all that have the same.
        let mut known = self.request_sets.values();
        let known = known.find(|known| known.sha256 == it.request_set.sha256);
        let known = known.cloned();
        let request_set = known.unwrap_or_else(|| Arc::new(it.request_set));
        self.request_sets.insert(of_model, request_set);
        if let Some(tokenizer) = it.tokenizer {
            self.tokenizers.insert(of_model, tokenizer);
        }
        if let Some(tokenizer) = it.cold_tokenizer {
            self.cold_tokenizers.insert(of_model, tokenizer);
        }
        Ok(())
    }

    /// Makes a model be there, as the pipeline says. Returns its file or folder.
    fn prepare(
        &self,
        model: &Model,
        context: &Value,
        hub: &mut HubModels,
        files: &mut ModelFiles,
    ) -> std::result::Result<Option<PathBuf>, String> {
        let path = if model.files.is_empty() {
            setup::model_path(model, context, &self.run.options.folder)?
        } else {
            Some(hub.path(&self.run, model)?)
        };
        if let Some(path) = &path {
            files.check(model, path, || self.run.is_interrupted())?;
        }
        Ok(path)
    }

    /// Runs the stage `setup`. Returns `true` if the run may continue.
    pub(super) async fn setup(&mut self) -> Result<bool> {
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
        let error = match done {
            Ok(()) => return Ok(true),
            Err(StageError::Journal(error)) => return Err(error),
            Err(_) if self.run.is_interrupted() => return Ok(false),
            Err(error) => error,
        };
        let Ok((cause, message)) = error.into_failure() else {
            return Ok(false);
        };
        self.run.tell(of_setup.failed(cause, message))?;
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

    /// Journals what the machine draws while nothing runs, where anything counts that.
    pub(super) async fn measure_idle_power(&self) -> Result<()> {
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
    pub(super) async fn prepare_control(&mut self) -> Result<()> {
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
}
