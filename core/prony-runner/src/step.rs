//! Steps: the user's own commands before and after a stage.

use crate::process::{Process, describe};
use prony_config::{Step, template};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// What steps need to know.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// Folder of the pipeline file: where steps run.
    pub(crate) folder: PathBuf,
    /// prony's cache folder, `PRONY_CACHE` to steps.
    pub(crate) cache: PathBuf,
    /// Folder for logs.
    pub(crate) logs: PathBuf,
}

/// The name to show: its own, or the first line of its text.
pub(crate) fn name(step: &Step) -> String {
    step.name.clone().unwrap_or_else(|| {
        step.run
            .trim()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    })
}

/// Whether what the step creates exists.
pub(crate) fn is_done(
    step: &Step,
    context: &Value,
    surroundings: &Surroundings,
) -> Result<bool, String> {
    let Some(creates) = &step.creates else {
        return Ok(false);
    };
    let path = template::render_str(creates, context)?;
    Ok(surroundings.folder.join(path).exists())
}

/// Runs a step to its end.
pub(crate) async fn run(
    step: &Step,
    context: &Value,
    surroundings: &Surroundings,
    log: &str,
) -> Result<(), String> {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(template::render_str(&step.run, context)?);
    command
        .current_dir(&surroundings.folder)
        .env("PRONY_CACHE", &surroundings.cache);
    for (key, value) in step.env.iter() {
        command.env(key, template::render_str(value, context)?);
    }
    let log: PathBuf = Path::new(&surroundings.logs).join(format!("{log}.log"));
    let mut process =
        Process::start(command, &log).map_err(|error| format!("`sh` did not start: {error}"))?;
    let limit = step.timeout.to_std();
    match tokio::time::timeout(limit, process.wait()).await {
        Ok(Ok(status)) if status.success() => {
            // Whatever it left running in its group ends with it.
            process.stop(std::time::Duration::from_millis(200)).await;
            Ok(())
        }
        Ok(Ok(status)) => Err(format!(
            "step `{}` failed ({}); {}",
            name(step),
            describe(status),
            process.last_words()
        )),
        Ok(Err(error)) => Err(format!("step `{}`: {error}", name(step))),
        Err(_) => {
            let words = process.last_words();
            process.stop(std::time::Duration::from_secs(2)).await;
            Err(format!(
                "step `{}` took longer than its limit of {limit:?}; {words}",
                name(step)
            ))
        }
    }
}
