//! The JSON Schemas in `schemas/`, which are generated from the Rust types.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell;
use crate::workspace::Workspace;

/// The name that `prony schema` knows, and the file below `schemas/`.
const SCHEMAS: [(&str, &str); 3] = [
    ("pipeline", "pipeline.v1.json"),
    ("result", "result.v1.json"),
    ("lock", "lock.v1.json"),
];

/// What to do where a file differs from what the types say.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Write,
    Check,
}

/// Brings the schemas in line with the built `prony`, or says which are not.
pub(crate) fn codegen(workspace: &Workspace, mode: Mode) -> Result<()> {
    shell::step("comparing schemas/ with the types");
    let mut stale = Vec::new();
    for (name, file) in SCHEMAS {
        let path = workspace.root.join("schemas").join(file);
        let wanted = shell::output(Command::new(workspace.prony()).args(["schema", name]))?;
        if fs::read(&path).is_ok_and(|found| found == wanted) {
            continue;
        }
        match mode {
            Mode::Check => stale.push(format!("schemas/{file}")),
            Mode::Write => {
                fs::write(&path, wanted)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                shell::step(&format!("wrote schemas/{file}"));
            }
        }
    }
    if !stale.is_empty() {
        bail!(
            "out of date: {}; `cargo xtask codegen` refreshes them",
            stale.join(", ")
        );
    }
    Ok(())
}
