//! Building prony and its plugins, and adding the plugins to a lockfile.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Error, Result};

use crate::shell;
use crate::wasm;
use crate::workspace::{Workspace, create_folder};

/// The plugins that ship as sandboxed WebAssembly components.
const WASM_PLUGINS: [&str; 5] = [
    "engine-openai",
    "engine-mlx-serving",
    "reporter-console",
    "reporter-markdown",
    "reporter-json",
];

/// The plugin that ships as a native library: its engine lives in the process.
const NATIVE_PLUGIN: &str = "engine-candle";

/// The plugin that only tests load.
const TEST_PLUGIN: &str = "engine-faulty";

/// Builds what a user runs.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    wasm::ensure_target(workspace)?;
    // One command, so that the two share dependencies with the same features.
    shell::step("building prony and engine-candle (some minutes the first time)");
    shell::run(workspace.cargo("build").args([
        "--release",
        "--locked",
        "-p",
        "prony-cli",
        "-p",
        NATIVE_PLUGIN,
    ]))?;
    build_wasm(workspace, &WASM_PLUGINS)?;
    add_shipped(workspace)
}

/// Builds what the tests need: all of the workspace, and the fixture plugins.
///
/// `--workspace --all-targets` is also what `cargo test` and clippy select.
/// Cargo unites features over what is selected, so any smaller selection would
/// compile the large dependencies a second time.
pub(crate) fn build_for_tests(workspace: &Workspace) -> Result<()> {
    wasm::ensure_target(workspace)?;
    shell::step("building the workspace (some minutes the first time)");
    shell::run(workspace.cargo("build").args([
        "--release",
        "--locked",
        "--workspace",
        "--all-targets",
    ]))?;
    build_wasm(workspace, &[&WASM_PLUGINS[..], &[TEST_PLUGIN]].concat())?;
    add_shipped(workspace)?;
    Lockfile::new(workspace, "test-plugins")
        .add(&wasm_artifact(workspace, TEST_PLUGIN), Grant::None)
}

/// Builds the command-line program alone.
pub(crate) fn prony(workspace: &Workspace) -> Result<()> {
    shell::step("building prony");
    shell::run(
        workspace
            .cargo("build")
            .args(["--release", "--locked", "-p", "prony-cli"]),
    )
}

/// Builds, then becomes `prony run pipelines/quickstart.yaml`.
pub(crate) fn quickstart(workspace: &Workspace, extra: &[&str]) -> Result<()> {
    use std::os::unix::process::CommandExt as _;

    build(workspace)?;
    shell::step("prony run pipelines/quickstart.yaml");
    // Replacing this process hands over the terminal, Ctrl-C and the exit code.
    let error = Command::new(workspace.prony())
        .args(["run", "pipelines/quickstart.yaml"])
        .args(extra)
        .current_dir(&workspace.root)
        .env("PRONY_CACHE", &workspace.cache)
        .exec();
    Err(Error::from(error).context("cannot start prony"))
}

fn build_wasm(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    shell::step("building the plugins as WebAssembly");
    let mut cargo = workspace.cargo("build");
    cargo.args(["--release", "--locked", "--target", wasm::TARGET]);
    for package in packages {
        cargo.args(["-p", package]);
    }
    shell::run(&mut cargo)
}

fn add_shipped(workspace: &Workspace) -> Result<()> {
    let lockfile = Lockfile::new(workspace, "plugins");
    for package in WASM_PLUGINS {
        lockfile.add(&wasm_artifact(workspace, package), Grant::None)?;
    }
    lockfile.add(&native_artifact(workspace, NATIVE_PLUGIN), Grant::Native)
}

fn wasm_artifact(workspace: &Workspace, package: &str) -> PathBuf {
    let file = format!("{}.wasm", package.replace('-', "_"));
    workspace
        .target
        .join(wasm::TARGET)
        .join("release")
        .join(file)
}

pub(crate) fn native_artifact(workspace: &Workspace, package: &str) -> PathBuf {
    let file = format!("{DLL_PREFIX}{}{DLL_SUFFIX}", package.replace('-', "_"));
    workspace.release().join(file)
}

/// What a plugin may do beyond the sandbox.
#[derive(Clone, Copy)]
enum Grant {
    None,
    Native,
}

/// A folder of plugins with the lockfile that lists them.
struct Lockfile {
    prony: PathBuf,
    folder: PathBuf,
}

impl Lockfile {
    fn new(workspace: &Workspace, folder: &str) -> Self {
        Self {
            prony: workspace.prony(),
            folder: workspace.release().join(folder),
        }
    }

    /// Adds a plugin, unless this very file was added by this very prony.
    ///
    /// Adding compiles the component, which takes a second or more; a stamp
    /// beside the lockfile remembers what went in.
    fn add(&self, artifact: &Path, grant: Grant) -> Result<()> {
        let lock = self.folder.join("prony.lock");
        let name = artifact.file_stem().unwrap_or_default().to_string_lossy();
        let stamp = self.folder.join(format!(".{name}.stamp"));
        let now = format!("{} {}", fingerprint(artifact)?, fingerprint(&self.prony)?);
        if lock.exists() && fs::read_to_string(&stamp).is_ok_and(|then| then == now) {
            return Ok(());
        }
        create_folder(&self.folder)?;
        shell::step(&format!("adding {name} to {}", self.folder.display()));
        let mut command = Command::new(&self.prony);
        command.args(["plugin", "add", "--lock"]).arg(&lock);
        if let Grant::Native = grant {
            command.args(["--grant", "native"]);
        }
        shell::run(command.arg(artifact))?;
        fs::write(&stamp, now).with_context(|| format!("cannot write {}", stamp.display()))
    }
}

/// Tells two builds of a file apart.  Not for security, so the standard
/// library's hash will do; should it ever change, plugins are added once more.
fn fingerprint(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Ok(format!("{:016x}", hasher.finish()))
}
