//! Python: componentize-py, in an environment of its own in the cache folder.

use super::{Result, Tool, Toolchains, missing, quiet, read, text, version};
use crate::project::Project;
use crate::sdk;
use std::path::PathBuf;
use std::process::Command;

const PACKAGE: &str = "componentize-py";
const VERSION: &str = "0.25.1";
const NO_PYTHON: &str =
    "install Python 3.9 or newer with `venv`: on Debian `apt-get install python3-venv`";

pub(super) fn survey(toolchains: &Toolchains<'_>) -> Vec<Tool> {
    let (folder, whole) = toolchains.folder(&format!("{PACKAGE}-{VERSION}"));
    let found = whole
        .exists()
        .then(|| format!("{VERSION}, in `{}`", folder.display()));
    vec![
        Tool::new("python3", version("python3", &["--version"]), NO_PYTHON),
        Tool::new(
            PACKAGE,
            found,
            "`prony plugin build` installs it, into prony's cache folder",
        )
        .installed_by_build(),
    ]
}

pub(super) fn install(toolchains: &Toolchains<'_>) -> Result<PathBuf> {
    if version("python3", &["--version"]).is_none() {
        return Err(missing("`python3` is not on the `PATH`", NO_PYTHON));
    }
    toolchains.environment(PACKAGE, VERSION, "20 MB")
}

pub(super) fn build(toolchains: &Toolchains<'_>, project: &Project) -> Result<Vec<u8>> {
    let folder = install(toolchains)?;
    let made = project.output();
    let sdk = project.folder.join(sdk::FOLDER);
    let world = project.kind.world().unwrap_or_default();
    let mut run = Command::new(folder.join("bin").join(PACKAGE));
    run.arg("--wit-path").arg(sdk.join("wit"));
    run.args(["--world", world, "componentize", "--stub-wasi"]);
    run.arg("--python-path").arg(text(&project.folder)?);
    run.arg("--python-path").arg(text(&sdk)?);
    run.arg("--output").arg(&made).arg("prony_entry");
    // An environment that is active here is none of the plugin's.
    run.env_remove("VIRTUAL_ENV")
        .env_remove("PYTHONPATH")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    toolchains
        .say_run("componentize-py puts Python and the plugin into one file, which takes some 20 s");
    let hint = "a module of the plugin's own has to lie in its folder, and one that needs files, sockets or clocks while it is imported cannot be used";
    quiet(&mut run, hint)?;
    read(&made)
}
