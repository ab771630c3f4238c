//! The small model that the quickstart and the tests run.

use anyhow::{Context as _, Result};

use crate::shell;
use crate::workspace::Workspace;

/// Downloads the model unless it is there, and says where it is.
pub(crate) fn smollm2(workspace: &Workspace) -> Result<()> {
    let file = workspace
        .cache
        .join("models/smollm2-135m-instruct-q4_1.gguf");
    shell::run(workspace.script("fetch-smollm2.sh").arg(&file))
        .context("the model could not be downloaded")?;
    shell::step(&format!("model: {}", file.display()));
    Ok(())
}
