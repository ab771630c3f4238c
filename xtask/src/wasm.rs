//! The WebAssembly target that plugins are compiled for.

use anyhow::{Context as _, Result};

use crate::shell;
use crate::workspace::Workspace;

/// Name of the target for cargo, and of its folder below `target`.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Installs the target unless it is usable; quick if it is.
pub(crate) fn ensure_target(workspace: &Workspace) -> Result<()> {
    shell::run(&mut workspace.script("ensure-wasm-target.sh"))
        .with_context(|| format!("no plugin can be built without the target {TARGET}"))
}
