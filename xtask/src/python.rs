//! Python packages, each set in its own virtual environment.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell;
use crate::workspace::create_folder;

/// Python's installer, which is not always available by name.
pub(crate) fn pip() -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--disable-pip-version-check"]);
    command
}

/// Creates a new environment in `folder` with the packages for `pip install`; deletes
/// previous contents.
pub(crate) fn venv(folder: &Path, packages: &[impl AsRef<OsStr>]) -> Result<()> {
    create_folder(folder.parent().unwrap_or(Path::new(".")))?;
    // Without its own pip, as Debian's python3 lacks the module to install it; an outside
    // pip can install into it just as well.
    shell::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear", "--without-pip"])
            .arg(folder),
    )
    .context("python3 cannot make a virtual environment")?;
    install(folder, packages)
}

/// Installs packages, as arguments of `pip install`, into an environment.
pub(crate) fn install(folder: &Path, packages: &[impl AsRef<OsStr>]) -> Result<()> {
    shell::run(
        pip()
            .arg("--python")
            .arg(folder.join("bin/python"))
            .args(["install", "--quiet", "--no-input"])
            .args(packages),
    )
}
