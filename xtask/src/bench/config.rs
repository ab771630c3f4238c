//! How long it takes until a pipeline is known to be valid.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::generate::{self, Points};
use super::{Case, Targets, measure, nothing, pin, show};
use crate::workspace::{Workspace, create_folder, is_pipeline};
use crate::{build, shell};

const LINES: usize = 10_000;

/// What feels immediate, and what may pass for it with so long a file.
const LONG: Duration = Duration::from_millis(100);
const SHIPPED: Duration = Duration::from_millis(10);
const HELP: Duration = Duration::from_millis(20);

pub(super) fn config(workspace: &Workspace, targets: Targets) -> Result<()> {
    build::build(workspace)?;
    let folder = workspace.target.join("bench");
    create_folder(&folder)?;
    let generated = |name: &str, points| -> Result<PathBuf> {
        let file = folder.join(name);
        fs::write(&file, generate::pipeline(LINES, points))
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    };
    let long = generated("long.yaml", Points::One)?;
    let matrix = generated("matrix.yaml", Points::Four)?;

    let prony = || {
        let mut command = Command::new(workspace.prony());
        command
            .current_dir(&workspace.root)
            .env("PRONY_CACHE", &workspace.cache)
            .env_remove("PRONY_LOCK");
        command
    };
    let validate = |name: String, file: &Path, target: Option<Duration>| {
        let mut command = prony();
        command.args(["validate", "--quiet"]).arg(file);
        Case {
            name,
            command,
            target,
        }
    };
    let mut cases = vec![nothing()?];
    cases.push(validate(format!("{LINES} lines"), &long, Some(LONG)));
    // Four times the work for most of the checks, so no target.
    cases.push(validate(
        format!("{LINES} lines, 4 matrix points"),
        &matrix,
        None,
    ));
    for path in workspace.files()? {
        if path.starts_with("pipelines/") && is_pipeline(&path) {
            let file = workspace.root.join(&path);
            cases.push(validate(path, &file, Some(SHIPPED)));
        }
    }
    let mut help = prony();
    help.arg("--help");
    cases.push(Case {
        name: "prony --help".to_owned(),
        command: help,
        target: Some(HELP),
    });

    let core = pin().map_or("any core".to_owned(), |core| format!("core {core}"));
    shell::step(&format!("measuring whole processes, on {core}"));
    show(&measure(cases)?, targets)
}
