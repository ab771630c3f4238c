//! Builds prony and its plugins, and adds the plugins to a lock file.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Error, Result};

use crate::plugins::{Audience, Form, Plugin, plugins};
use crate::shell::{self, Phases};
use crate::wasm;
use crate::workspace::{Workspace, create_folder};

const BUILD_PHASES: [&str; 4] = [
    "checking the WebAssembly target",
    "building prony and its native plugins (minutes the first time)",
    "building the plugins as WebAssembly",
    "adding the plugins",
];

/// Builds prony and the plugins for users.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    build_in(workspace, &mut Phases::new(BUILD_PHASES.to_vec()))
}

fn build_in(workspace: &Workspace, phases: &mut Phases) -> Result<()> {
    let plugins = shipped(workspace)?;
    phases.next();
    wasm::ensure_target(workspace)?;
    phases.next();
    shell::run_cargo(&mut host_build(workspace, &plugins, "release"))?;
    phases.next();
    shell::run_cargo(&mut wasm_build(workspace, &plugins, "release"))?;
    phases.next();
    add_shipped(workspace, &plugins)
}

/// Builds everything needed by the tests: the whole workspace, and the fixture plugins.
///
/// `--workspace --all-targets` is also the selection of `cargo test` and clippy. Cargo
/// unites features over the selection, so any smaller one would compile the large
/// dependencies a second time.
pub(crate) fn build_for_tests(workspace: &Workspace) -> Result<()> {
    let plugins = plugins(workspace)?;
    shell::step("checking the WebAssembly target");
    wasm::ensure_target(workspace)?;
    shell::step("building the workspace (minutes the first time)");
    shell::run(workspace.cargo("build").args([
        "--release",
        "--locked",
        "--workspace",
        "--all-targets",
    ]))?;
    shell::step("building the plugins as WebAssembly");
    shell::run(&mut wasm_build(workspace, &plugins, "release"))?;
    let (shipped, fixtures): (Vec<_>, Vec<_>) = plugins
        .into_iter()
        .partition(|plugin| plugin.audience == Audience::Users);
    add_shipped(workspace, &shipped)?;
    let folder = workspace.release().join("test-plugins");
    add(workspace, &folder, &fixtures)
}

/// Builds the program, with the whole workspace: a smaller selection has other features and
/// would compile the large dependencies a second time.
pub(crate) fn prony(workspace: &Workspace) -> Result<()> {
    shell::step("building prony");
    let mut build = workspace.cargo("build");
    shell::run(build.args(["--release", "--locked", "--workspace"]))
}

/// Builds, then becomes `prony run pipelines/quickstart.yaml`.
pub(crate) fn quickstart(workspace: &Workspace, extra: &[&str]) -> Result<()> {
    use std::os::unix::process::CommandExt as _;

    let mut phases = BUILD_PHASES.to_vec();
    phases.push("prony run pipelines/quickstart.yaml (20 seconds to a few minutes)");
    let mut phases = Phases::new(phases);
    build_in(workspace, &mut phases)?;
    phases.next();
    // Replacing this process hands over the terminal, Ctrl-C and the exit code.
    let error = Command::new(workspace.prony())
        .args(["run", "pipelines/quickstart.yaml"])
        .args(extra)
        .current_dir(&workspace.root)
        .env("PRONY_CACHE", &workspace.cache)
        .exec();
    Err(Error::from(error).context("cannot start prony"))
}

/// The plugins for users.
pub(crate) fn shipped(workspace: &Workspace) -> Result<Vec<Plugin>> {
    let mut plugins = plugins(workspace)?;
    plugins.retain(|plugin| plugin.audience == Audience::Users);
    Ok(plugins)
}

/// The command that builds prony and native plugins: one, so that they share dependencies
/// with the same features.
pub(crate) fn host_build(workspace: &Workspace, plugins: &[Plugin], profile: &str) -> Command {
    let mut cargo = workspace.cargo("build");
    cargo.args(["--locked", "--profile", profile, "-p", "prony-cli"]);
    select(&mut cargo, plugins, Form::Native);
    cargo
}

/// The command that builds WebAssembly plugins.
pub(crate) fn wasm_build(workspace: &Workspace, plugins: &[Plugin], profile: &str) -> Command {
    let mut cargo = workspace.cargo("build");
    cargo.args(["--locked", "--profile", profile, "--target", wasm::TARGET]);
    select(&mut cargo, plugins, Form::Wasm);
    cargo
}

fn select(cargo: &mut Command, plugins: &[Plugin], form: Form) {
    for plugin in plugins.iter().filter(|plugin| plugin.form == form) {
        cargo.args(["-p", &plugin.package]);
    }
}

/// Installs what `prony plugin build` needs and can install, into prony's cache.
pub(crate) fn toolchains(workspace: &Workspace) -> Result<()> {
    shell::step("installing the toolchains of plugins");
    let mut prony = Command::new(workspace.prony());
    prony.args(["plugin", "doctor", "--fix"]);
    shell::run(prony.env("PRONY_CACHE", &workspace.cache))
}

fn add_shipped(workspace: &Workspace, plugins: &[Plugin]) -> Result<()> {
    add(workspace, &workspace.release().join("plugins"), plugins)
}

fn add(workspace: &Workspace, folder: &Path, plugins: &[Plugin]) -> Result<()> {
    let prony = workspace.prony();
    for plugin in plugins {
        add_once(
            &prony,
            folder,
            &artifact(workspace, &plugin.package, plugin.form),
            plugin.form,
        )?;
    }
    Ok(())
}

/// A built plugin in cargo's target folder.
pub(crate) fn artifact(workspace: &Workspace, package: &str, form: Form) -> PathBuf {
    let folder = match form {
        Form::Wasm => workspace.target.join(wasm::TARGET).join("release"),
        Form::Native => workspace.release(),
    };
    folder.join(form.file(package))
}

/// Adds a plugin to the lock file in `folder`, unless the same file was added by the same
/// prony.
///
/// Adding compiles the component, which takes up to some seconds; a stamp beside the lock
/// file records the inputs.
fn add_once(prony: &Path, folder: &Path, artifact: &Path, form: Form) -> Result<()> {
    let lock = folder.join("prony.lock");
    let name = artifact.file_stem().unwrap_or_default().to_string_lossy();
    let stamp = folder.join(format!(".{name}.stamp"));
    let now = format!("{} {}", fingerprint(artifact)?, fingerprint(prony)?);
    if lock.exists() && fs::read_to_string(&stamp).is_ok_and(|then| then == now) {
        return Ok(());
    }
    create_folder(folder)?;
    shell::run(&mut add_command(prony, &lock, artifact, form))?;
    fs::write(&stamp, now).with_context(|| format!("cannot write {}", stamp.display()))
}

/// `prony plugin add`, which copies the plugin beside the lock file.
pub(crate) fn add_command(prony: &Path, lock: &Path, artifact: &Path, form: Form) -> Command {
    let mut command = Command::new(prony);
    command.args(["plugin", "add", "--lock"]).arg(lock);
    if form == Form::Native {
        command.args(["--grant", "native"]);
    }
    command.arg(artifact);
    command
}

/// Distinguishes builds of a file. Not for security, so the standard library's hash
/// suffices; if it ever changes, plugins are added once more.
fn fingerprint(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Ok(format!("{:016x}", hasher.finish()))
}
