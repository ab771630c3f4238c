//! The run: setup, visits, the end.

use crate::folder::RunFolder;
use crate::journal::{Event, Journal, SCHEMA, Started, Subject};
use crate::step::{self, Surroundings};
use crate::visit::{Stop, VisitRun};
use crate::{Error, Result, environment, setup};
use prony_config::{Api, Arrival, Compare, Engine, Model, OnFailure, Order, Pipeline, Step};
use prony_loadgen::clock::now_ns;
use prony_plan::Plan;
use prony_plugin_host::{Entry, Registry, sha256_of};
use prony_plugin_sdk::result::{EngineInfo, Outcome, PluginInfo, Workload};
use prony_plugin_sdk::{self as sdk, Kind};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
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
    journal: Journal,
    /// Reading of the clock that all times of the journal start from.
    pub(crate) origin_ns: u64,
    failed: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// How.
    pub outcome: Outcome,
}

impl<'a> Runner<'a> {
    /// Writes the resolved pipeline and the journal's first line. `resolved` is
    /// the pipeline with every default spelled out, as a pipeline file.
    /// `observer` sees every event after the journal has it.
    #[expect(
        clippy::too_many_arguments,
        reason = "the arrows that meet here; a struct would only rename them"
    )]
    pub fn new(
        pipeline: &'a Pipeline,
        resolved: &str,
        plan: &'a Plan,
        registry: &'a Registry,
        options: &'a Options,
        folder: &'a RunFolder,
        stop: watch::Receiver<bool>,
        observer: &'a mut dyn FnMut(&Event),
    ) -> Result<Self> {
        std::fs::write(folder.pipeline(), resolved).map_err(Error::io(folder.pipeline()))?;
        let started = Started {
            schema: SCHEMA.to_owned(),
            prony_version: env!("CARGO_PKG_VERSION").to_owned(),
            run: folder.id(),
            started_at: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string(),
            pipeline_sha256: sha256_of(resolved.as_bytes()),
            subject: subject(pipeline, plan),
            plan: plan.clone(),
            environment: environment::read(),
            plugins: plugins(pipeline, registry)?,
        };
        let journal = Journal::create(&folder.journal())?;
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
            failed: false,
        };
        runner.tell(Event::Started(Box::new(started)))?;
        Ok(runner)
    }

    /// Appends to the journal, then tells the observer.
    pub(crate) fn tell(&mut self, event: Event) -> Result<()> {
        self.failed |= matches!(event, Event::Failed { .. });
        self.journal.append(&event)?;
        (self.observer)(&event);
        Ok(())
    }

    /// Nanoseconds since the run's origin.
    pub(crate) fn now(&self) -> u64 {
        now_ns().saturating_sub(self.origin_ns)
    }

    pub(crate) fn surroundings(&self) -> Surroundings {
        Surroundings {
            folder: self.options.folder.clone(),
            cache: self.options.cache.clone(),
            logs: self.folder.logs(),
        }
    }

    /// Runs to the end. Failures of engines and models are in the journal; an
    /// error means that the journal itself could not be kept.
    pub async fn run(mut self) -> Result<Finished> {
        let mut stopped = !self.setup().await?;
        let mut paths: BTreeMap<String, Option<PathBuf>> = BTreeMap::new();
        if !stopped && !*self.stop.borrow() {
            for model in self.pipeline.enabled_models() {
                match self.prepare_model(model) {
                    Ok(path) => {
                        paths.insert(model.id.clone(), path);
                    }
                    Err(message) => {
                        self.fail(Some(&model.id), "", 0, "setup", message)?;
                        self.skip(&model.id, None)?;
                    }
                }
            }
        }
        let (plan, pipeline) = (self.plan, self.pipeline);
        // A model that fails on one engine is still measured on the others: what
        // is measured must not depend on which came first.
        let mut skipped = BTreeSet::new();
        for visit in &plan.visits {
            if stopped || *self.stop.borrow() {
                break;
            }
            let Some(path) = paths.get(&visit.model).cloned() else {
                continue;
            };
            let of_it = |engine: &&Engine| engine.name == visit.engine;
            let Some(engine) = pipeline.engines.iter().find(of_it) else {
                continue;
            };
            if skipped.contains(&(&visit.model, &visit.engine)) {
                continue;
            }
            let policy = VisitRun::new(&mut self, visit, engine, path).run().await?;
            self.journal.sync()?;
            match policy {
                None | Some(Stop::Policy(OnFailure::Continue)) => {}
                Some(Stop::Policy(OnFailure::SkipModel)) => {
                    self.skip(&visit.model, Some(&visit.engine))?;
                    skipped.insert((&visit.model, &visit.engine));
                }
                Some(Stop::Policy(OnFailure::Stop)) => stopped = true,
                Some(Stop::Interrupted) => break,
            }
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

    fn skip(&mut self, model: &str, engine: Option<&str>) -> Result<()> {
        self.tell(Event::Skipped {
            model: model.to_owned(),
            engine: engine.map(ToOwned::to_owned),
        })
    }

    /// Tells whether the run may go on.
    async fn setup(&mut self) -> Result<bool> {
        let at_ns = self.now();
        self.tell(Event::Stage {
            stage: "setup".to_owned(),
            model: None,
            engine: None,
            cycle: None,
            at_ns,
        })?;
        let stage = self.pipeline.stages.setup.clone();
        let limit = stage.timeout.map(prony_config::Duration::to_std);
        let work = async {
            if let Err(message) = self.steps(&stage.before, &self.context(), "setup").await? {
                return Ok(Err(message));
            }
            if let Err(message) =
                setup::check_plugins(self.pipeline, self.registry, self.plan.concurrency)
            {
                return Ok(Err(message));
            }
            self.steps(&stage.after, &self.context(), "setup").await
        };
        let done: Result<std::result::Result<(), String>> = match limit {
            None => work.await,
            Some(limit) => match tokio::time::timeout(limit, work).await {
                Ok(done) => done,
                Err(_) => Ok(Err(format!("it took longer than its limit of {limit:?}"))),
            },
        };
        match done? {
            Ok(()) => Ok(true),
            Err(_) if *self.stop.borrow() => Ok(false),
            Err(message) => {
                self.fail(None, "", 0, "setup", message)?;
                Ok(stage.on_failure != OnFailure::Stop)
            }
        }
    }

    fn prepare_model(&self, model: &Model) -> std::result::Result<Option<PathBuf>, String> {
        let path = setup::model_path(model, &self.context(), &self.options.folder)?;
        setup::check_model(model, path.as_deref())?;
        Ok(path)
    }

    pub(crate) fn fail(
        &mut self,
        model: Option<&str>,
        engine: &str,
        cycle: u32,
        stage: &str,
        message: String,
    ) -> Result<()> {
        self.tell(Event::Failed {
            model: model.map(ToOwned::to_owned),
            engine: engine.to_owned(),
            cycle,
            stage: stage.to_owned(),
            message,
        })
    }

    /// Runs steps in order, up to the first that fails.
    pub(crate) async fn steps(
        &mut self,
        steps: &[Step],
        context: &Value,
        log: &str,
    ) -> Result<std::result::Result<(), String>> {
        let surroundings = self.surroundings();
        let mut stop = self.stop.clone();
        for step in steps {
            let skipped = match step::is_done(step, context, &surroundings) {
                Ok(skipped) => skipped,
                Err(message) => return Ok(Err(message)),
            };
            self.tell(Event::Step {
                name: step::name(step),
                skipped,
            })?;
            if skipped {
                continue;
            }
            let done = tokio::select! {
                done = step::run(step, context, &surroundings, log) => done,
                () = stopped(&mut stop) => Err("interrupted".to_owned()),
            };
            if done.is_err() {
                return Ok(done);
            }
        }
        Ok(Ok(()))
    }

    /// What templates can name everywhere.
    pub(crate) fn context(&self) -> Value {
        json!({
            "prony": { "cache": text(&self.options.cache) },
            "pipeline": { "dir": text(&self.options.folder) },
        })
    }
}

/// Pending until the run is to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left who could say stop.
        std::future::pending::<()>().await;
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn subject(pipeline: &Pipeline, plan: &Plan) -> Subject {
    let workload = &pipeline.workload;
    let Arrival::Concurrency(concurrency) = pipeline.stages.measure.arrival;
    let baseline = pipeline
        .compare
        .as_ref()
        .map(|compare| compare.baseline.as_str());
    Subject {
        name: pipeline.name.clone(),
        description: pipeline.description.clone(),
        cycles: pipeline.schedule.cycles,
        order: match pipeline.schedule.order {
            Order::Interleaved => "interleaved".to_owned(),
            Order::Sequential => "sequential".to_owned(),
        },
        seed: pipeline.schedule.seed,
        workload: Workload {
            api: api(workload.api),
            prompts: workload.prompts.len() as u32,
            max_tokens: workload.max_tokens,
            temperature: workload.temperature,
            seed: workload.seed,
            ignore_eos: workload.ignore_eos,
            request_timeout_ms: workload.request_timeout.to_std().as_millis() as u64,
            requests_per_visit: plan.measured_requests,
            warmup_requests: plan.warmup_requests,
            concurrency,
        },
        engines: pipeline
            .engines
            .iter()
            .map(|engine| engine_info(engine, baseline))
            .collect(),
        models: pipeline
            .enabled_models()
            .map(|model| (model.id.clone(), model.size.clone()))
            .collect(),
        margin_percent: pipeline
            .compare
            .as_ref()
            .map_or(2.0, |Compare { margin_percent, .. }| *margin_percent),
    }
}

fn engine_info(engine: &Engine, baseline: Option<&str>) -> EngineInfo {
    EngineInfo {
        name: engine.name.clone(),
        plugin: engine.plugin.clone(),
        baseline: baseline == Some(engine.name.as_str()),
        config: redacted(&Value::Object(engine.config.clone())),
    }
}

/// A config without what must not get into a report that is passed on.
pub fn redacted(config: &Value) -> Value {
    const SECRETS: [&str; 5] = ["api_key", "authorization", "password", "secret", "token"];
    // Also `HF_TOKEN` and `X-Api-Key`; a number such as `eos_token: 2` stays.
    let is_secret = |key: &str| {
        let key = key.to_ascii_lowercase().replace('-', "_");
        SECRETS.iter().any(|secret| {
            key.strip_suffix(secret)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
        })
    };
    match config {
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| {
                let secret = value.is_string() && is_secret(key);
                (
                    key.clone(),
                    if secret {
                        Value::from("(redacted)")
                    } else {
                        redacted(value)
                    },
                )
            };
            Value::Object(map.iter().map(entry).collect())
        }
        // `--api-key KEY` and `--api-key=KEY` of a command line.
        Value::Array(items) => {
            let option = |value: &Value| -> Option<String> {
                let word = value.as_str()?.strip_prefix("--")?;
                let name = word.split('=').next()?;
                is_secret(name).then(|| name.to_owned())
            };
            let word = |(index, value): (usize, &Value)| {
                let before = index.checked_sub(1).and_then(|index| items.get(index));
                let named = |value: &Value| value.as_str().is_some_and(|word| word.contains('='));
                match (
                    before.filter(|it| !named(it)).and_then(option),
                    option(value),
                ) {
                    (_, Some(name)) if named(value) => format!("--{name}=(redacted)").into(),
                    (Some(_), None) if value.is_string() => Value::from("(redacted)"),
                    _ => redacted(value),
                }
            };
            Value::Array(items.iter().enumerate().map(word).collect())
        }
        other => other.clone(),
    }
}

pub(crate) fn api(api: Api) -> sdk::Api {
    match api {
        Api::Chat => sdk::Api::Chat,
        Api::Completions => sdk::Api::Completions,
    }
}

/// The plugins of a pipeline, each once.
fn plugins(pipeline: &Pipeline, registry: &Registry) -> Result<Vec<PluginInfo>> {
    let engines = pipeline
        .engines
        .iter()
        .map(|engine| (Kind::Engine, engine.plugin.as_str()));
    let reporters = pipeline
        .reporters
        .iter()
        .map(|reporter| (Kind::Reporter, reporter.plugin.as_str()));
    let mut infos: Vec<PluginInfo> = Vec::new();
    for (kind, name) in engines.chain(reporters) {
        if infos
            .iter()
            .any(|info| info.kind == kind && info.name == name)
        {
            continue;
        }
        let (
            Entry {
                version,
                form,
                contract,
                sha256,
                ..
            },
            _,
        ) = registry.find(kind, name)?;
        infos.push(PluginInfo {
            name: name.to_owned(),
            kind,
            version: version.clone(),
            form: form.name().to_owned(),
            contract: contract.clone(),
            sha256: sha256.clone(),
        });
    }
    Ok(infos)
}
