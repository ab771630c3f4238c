//! The hub's own Python package, for the tests that share its cache folder.

use std::ffi::OsStr;
use std::fs;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;
use crate::{python, shell};

/// The package and all that it needs.
const REQUIREMENTS: &str = "xtask/validators/hub-requirements.txt";

/// Its folder in prony's cache, where the tests look for it.
const FOLDER: &str = "hub-package";

/// Installs the package, unless it is there.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let requirements = workspace.root.join(REQUIREMENTS);
    let folder = workspace.cache.join(FOLDER);
    let stamp = folder.join(".installed");
    let wanted = fs::read(&requirements).with_context(|| format!("cannot read {REQUIREMENTS}"))?;
    if fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    shell::step("installing huggingface_hub");
    let packages = [OsStr::new("--requirement"), requirements.as_os_str()];
    python::venv(&folder, &packages).context(
        "huggingface_hub could not be installed: it needs python3 with pip, and a package index",
    )?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Installs the package and runs its tests.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    install(workspace)?;
    let mut tests = workspace.cargo("test");
    tests.args([
        "--release",
        "--locked",
        "-p",
        "prony-cli",
        "--test",
        "it",
        "hub_package",
    ]);
    tests.env("PRONY_CACHE", &workspace.cache);
    tests.env("PRONY_REQUIRE_ENGINES", "1");
    shell::run(&mut tests)
}
