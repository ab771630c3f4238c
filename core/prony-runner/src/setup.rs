//! The built-in part of `setup`: what must hold before any engine starts.

use prony_config::{Model, Pipeline, template};
use prony_plugin_host::Registry;
use prony_plugin_sdk::{Kind, Transport};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Loads every plugin once, so that compiling one is never part of a visit,
/// and checks what only the machine can tell.
pub(crate) fn check_plugins(
    pipeline: &Pipeline,
    registry: &Registry,
    concurrency: u32,
) -> Result<(), String> {
    for engine in &pipeline.engines {
        registry
            .load(Kind::Engine, &engine.plugin)
            .map_err(|error| error.to_string())?;
        let (entry, _) = registry
            .find(Kind::Engine, &engine.plugin)
            .map_err(|error| error.to_string())?;
        if entry.transport == Some(Transport::InProcess) && concurrency > 1 {
            return Err(format!(
                "engine `{}` runs inside a process and takes one request at a time; the pipeline asks for {concurrency}",
                engine.name
            ));
        }
    }
    for reporter in &pipeline.reporters {
        registry
            .load(Kind::Reporter, &reporter.plugin)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The model's path, templates filled in, relative to the pipeline's folder.
pub(crate) fn model_path(
    model: &Model,
    context: &Value,
    folder: &Path,
) -> Result<Option<PathBuf>, String> {
    model
        .path
        .as_ref()
        .map(|path| template::render_str(path, context).map(|path| folder.join(path)))
        .transpose()
}

/// Whether the model's file is there and is the one that the pipeline means.
pub(crate) fn check_model(model: &Model, path: Option<&Path>) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    if !path.exists() {
        return Err(format!(
            "there is no `{}`; a step in `setup` can get it, or set the model's `path`",
            path.display()
        ));
    }
    let Some(expected) = &model.sha256 else {
        return Ok(());
    };
    let found = std::fs::File::open(path)
        .and_then(prony_plugin_host::sha256)
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
