//! JavaScript: componentize-qjs, which puts `QuickJS` and the plugin into one file.
//!
//! componentize-js, with `SpiderMonkey`, makes 12 MB in 44 s; this makes 1.7 MB in 4 s, which are
//! compiled in 3 s instead of 25.

use super::{Result, Tool, Toolchains, missing, quiet, read, shown, version};
use crate::project::Project;
use crate::sdk;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "componentize-qjs";
const VERSION: &str = "0.4.5";
const NO_NODE: &str = "install Node 18 or newer with npm: on Debian `apt-get install nodejs npm`";

pub(super) fn survey(toolchains: &Toolchains<'_>) -> Vec<Tool> {
    let (folder, whole) = toolchains.folder(&format!("{PACKAGE}-{VERSION}"));
    let found = whole
        .exists()
        .then(|| format!("{VERSION}, in `{}`", folder.display()));
    vec![
        Tool::new("node", version("node", &["--version"]), NO_NODE),
        Tool::new("npm", version("npm", &["--version"]), NO_NODE),
        Tool::new(
            PACKAGE,
            found,
            "`prony plugin build` installs it, into prony's cache folder",
        )
        .installed_by_build(),
    ]
}

pub(super) fn install(toolchains: &Toolchains<'_>) -> Result<PathBuf> {
    for program in ["node", "npm"] {
        if version(program, &["--version"]).is_none() {
            return Err(missing(
                &format!("`{program}` is not on the `PATH`"),
                NO_NODE,
            ));
        }
    }
    let words = format!("{PACKAGE} {VERSION} (40 MB)");
    toolchains.installed(&format!("{PACKAGE}-{VERSION}"), &words, |folder: &Path| {
        std::fs::create_dir_all(folder).map_err(super::io(folder))?;
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-save",
            "--ignore-scripts",
            "--loglevel=error",
        ]);
        npm.arg("--prefix")
            .arg(folder)
            .arg(format!("{PACKAGE}@{VERSION}"));
        npm.current_dir(folder);
        shown(&mut npm, "npm takes its settings from `npm config list`")
    })
}

pub(super) fn build(toolchains: &Toolchains<'_>, project: &Project) -> Result<Vec<u8>> {
    let folder = install(toolchains)?;
    let made = project.output();
    let sdk = project.folder.join(sdk::FOLDER);
    let world = project.kind.world().unwrap_or_default();
    let mut run = Command::new("node");
    run.arg(folder.join("node_modules").join(PACKAGE).join("cli.mjs"));
    run.arg("--wit")
        .arg(sdk.join("wit"))
        .args(["--world", world, "--stub-wasi", "--sync"]);
    run.arg("--js").arg(sdk.join("prony_entry.js"));
    run.arg("--module-root")
        .arg(&project.folder)
        .arg("--output")
        .arg(&made);
    toolchains.say_run(
        "componentize-qjs puts QuickJS and the plugin into one file, which takes some 4 s",
    );
    quiet(
        &mut run,
        "a module of the plugin's own has to lie in its folder, and there is nothing of Node in a plugin",
    )?;
    read(&made)
}
