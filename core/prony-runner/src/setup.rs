//! The built-in part of `setup`: requirements before any engine starts.

use prony_config::{Api, Engine, MatrixPoint, Model, Pipeline, template};
use prony_contract::{Api as Form, Kind, Transport};
use prony_plan::Plan;
use prony_plugin_host::{Entry, Registry};
use prony_tokenizer::Tokenizer;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Loads every plugin once, so that compilation is never part of a visit, and runs the
/// checks that need the machine.
pub(crate) fn check_plugins(
    pipeline: &Pipeline,
    plan: &Plan,
    registry: &Registry,
) -> Result<(), String> {
    let mut concurrency: HashMap<Option<&str>, u32> = HashMap::new();
    for stage in plan
        .segments
        .iter()
        .flat_map(|segment| segment.stages.iter().map(move |it| (segment, it)))
    {
        let most = concurrency.entry(stage.0.point.as_deref()).or_default();
        *most = stage.1.concurrency.max(*most);
    }
    for engine in &pipeline.engines {
        registry
            .load(Kind::Engine, &engine.plugin)
            .map_err(|error| error.to_string())?;
        let (entry, _) = registry
            .find(Kind::Engine, &engine.plugin)
            .map_err(|error| error.to_string())?;
        for point in &pipeline.points {
            if runs(point, engine) {
                let most = concurrency.get(&point.id.as_deref()).copied().unwrap_or(0);
                suits(engine, &entry, most, point)?;
            }
        }
    }
    for reporter in &pipeline.reporters {
        registry
            .load(Kind::Reporter, &reporter.plugin)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn runs(point: &MatrixPoint, engine: &Engine) -> bool {
    let mut models = point.models.iter();
    models.any(|model| point.runs(&engine.name, &model.id))
}

/// Checks that an engine supports what the pipeline asks of it.
fn suits(
    engine: &Engine,
    entry: &Entry,
    concurrency: u32,
    point: &MatrixPoint,
) -> Result<(), String> {
    let apis = entry.apis_of(&engine.config);
    let takes = |api| apis.contains(&api);
    let (wanted, is_taken) = match point.workload.api {
        // Rendered for an engine that takes raw prompts.
        Api::Chat => ("chat", takes(Form::Chat) || takes(Form::Completions)),
        Api::Completions => ("completions", takes(Form::Completions)),
    };
    if !is_taken {
        return Err(format!(
            "engine `{}` (plugin `{}`) does not take `api: {wanted}`: use the other `api`, or another engine",
            engine.name, engine.plugin
        ));
    }
    if entry.transport == Some(Transport::InProcess) && concurrency > 1 {
        return Err(format!(
            "engine `{}` runs inside a process and takes one request at a time; the pipeline asks for {concurrency}",
            engine.name
        ));
    }
    if point.workload.images.is_empty() {
        return Ok(());
    }
    takes_images(engine, entry)
}

/// Checks that an engine takes images.
fn takes_images(engine: &Engine, entry: &Entry) -> Result<(), String> {
    if entry.images && entry.apis_of(&engine.config).contains(&Form::Chat) {
        return Ok(());
    }
    Err(format!(
        "engine `{}` (plugin `{}`) takes no images, and the workload has some: leave them out, or the engine",
        engine.name, engine.plugin
    ))
}

/// Checks that the engines of a model take the images of its dataset.
pub(crate) fn suits_images(
    point: &MatrixPoint,
    model: &Model,
    engines: &[Engine],
    registry: &Registry,
) -> Result<(), String> {
    let of_model = engines
        .iter()
        .filter(|engine| point.runs(&engine.name, &model.id));
    for engine in of_model {
        let (entry, _) = registry
            .find(Kind::Engine, &engine.plugin)
            .map_err(|error| error.to_string())?;
        takes_images(engine, &entry)?;
    }
    Ok(())
}

/// The model's path, templates filled in, relative to the pipeline's folder.
pub(crate) fn model_path(
    model: &Model,
    context: &Value,
    folder: &Path,
) -> Result<Option<PathBuf>, String> {
    located(model.path.as_deref(), context, folder)
}

/// Path of the model's chat template, as in [`model_path`].
pub(crate) fn template_path(
    model: &Model,
    context: &Value,
    folder: &Path,
) -> Result<Option<PathBuf>, String> {
    located(model.chat_template.as_deref(), context, folder)
}

/// Path of the model's tokenizer, as in [`model_path`].
pub(crate) fn tokenizer_path(
    model: &Model,
    context: &Value,
    folder: &Path,
) -> Result<Option<PathBuf>, String> {
    located(model.tokenizer.as_deref(), context, folder)
}

fn located(path: Option<&str>, context: &Value, folder: &Path) -> Result<Option<PathBuf>, String> {
    path.map(|path| {
        template::render_str(path, context).map(|path| prony_files::located(folder, path))
    })
    .transpose()
}

/// Opens tokenizers, each once, however many models use it.
#[derive(Debug, Default)]
pub(crate) struct Tokenizers(HashMap<PathBuf, Result<Arc<Tokenizer>, String>>);

impl Tokenizers {
    /// The tokenizer at `path`; the error is for people.
    pub(crate) fn open(&mut self, path: &Path) -> Result<Arc<Tokenizer>, String> {
        let opened = self.0.entry(path.to_owned()).or_insert_with(|| {
            let opened = Tokenizer::open(path);
            opened.map(Arc::new).map_err(|error| error.to_string())
        });
        opened.clone()
    }
}

/// Checks model files, each once, however many matrix points use it.
#[derive(Debug, Default)]
pub(crate) struct ModelFiles(HashMap<(PathBuf, Option<String>), Result<(), String>>);

impl ModelFiles {
    /// Checks that the model's file exists and has the digest in the pipeline. Fails soon
    /// when `is_interrupted` becomes `true`.
    pub(crate) fn check(
        &mut self,
        model: &Model,
        path: &Path,
        is_interrupted: impl Fn() -> bool,
    ) -> Result<(), String> {
        let key = (path.to_owned(), model.sha256.clone());
        let checked = self.0.entry(key);
        let check = || check_model(model, path, is_interrupted);
        checked.or_insert_with(check).clone()
    }
}

/// A reader that fails once `is_interrupted`: the digest of a large file takes minutes.
struct Interruptible<R, F>(R, F);

impl<R: Read, F: Fn() -> bool> Read for Interruptible<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if (self.1)() {
            return Err(std::io::Error::other("interrupted"));
        }
        self.0.read(buffer)
    }
}

fn check_model(
    model: &Model,
    path: &Path,
    is_interrupted: impl Fn() -> bool,
) -> Result<(), String> {
    if !path.exists() {
        return Err(format!(
            "there is no `{}`; a step in `setup` can get it, or set the model's `path`",
            path.display()
        ));
    }
    let Some(expected) = &model.sha256 else {
        return Ok(());
    };
    if !path.is_file() {
        return Err(format!(
            "`{}` is not a file, so it has no sha256",
            path.display()
        ));
    }
    let found = prony_files::open(path)
        .and_then(|file| prony_plugin_host::sha256(Interruptible(file, is_interrupted)))
        .map_err(|error| format!("`{}`: {error}", path.display()))?;
    if found == *expected {
        Ok(())
    } else {
        Err(format!(
            "`{}` has sha256 {found}, and the pipeline expects {expected}: delete it and get it again",
            path.display()
        ))
    }
}
