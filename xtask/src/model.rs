//! The small model used by the quickstart and the tests.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell;
use crate::workspace::Workspace;

/// Downloads the model unless it exists, and prints its path.
pub(crate) fn smollm2(workspace: &Workspace) -> Result<()> {
    let file = workspace
        .cache
        .join("models/smollm2-135m-instruct-q4_1.gguf");
    // Not among xtask's scripts: the pipeline runs it, also where there is no checkout.
    let script = workspace.root.join("pipelines/fetch-smollm2.sh");
    shell::run(Command::new("sh").arg(script).arg(&file))
        .context("the model could not be downloaded")?;
    shell::step(&format!("model: {}", file.display()));
    Ok(())
}
