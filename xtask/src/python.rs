//! Python packages, each set in a virtual environment of its own.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell;
use crate::workspace::create_folder;

/// Python's installer, which is not always there under its own name.
pub(crate) fn pip() -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--disable-pip-version-check"]);
    command
}

/// Makes a new environment in `folder`, with what `pip install` is told to put
/// there; what the folder held before is gone.
pub(crate) fn venv(folder: &Path, packages: &[impl AsRef<OsStr>]) -> Result<()> {
    create_folder(folder.parent().unwrap_or(Path::new(".")))?;
    // Without pip of its own, as Debian's python3 lacks what would put it there;
    // the pip outside can install into it just as well.
    shell::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear", "--without-pip"])
            .arg(folder),
    )
    .context("python3 cannot make a virtual environment")?;
    shell::run(
        pip()
            .arg("--python")
            .arg(folder.join("bin/python"))
            .args(["install", "--quiet", "--no-input"])
            .args(packages),
    )
}
