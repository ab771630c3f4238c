//! Rust: cargo, for `wasm32-unknown-unknown` or, with the feature `export`, for this machine.

use super::{Error, Result, Tool, Toolchains, io, missing, read, version};
use crate::project::{Kind, Project};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target of components: without WASI, so that nothing can be imported by accident.
const TARGET: &str = "wasm32-unknown-unknown";
const NO_CARGO: &str = "install Rust 1.95 or newer with rustup (<https://rustup.rs>)";
const NO_TARGET: &str = "`rustup target add wasm32-unknown-unknown`";

pub(super) fn survey(kind: Kind) -> Vec<Tool> {
    let mut tools = vec![Tool::new(
        "cargo",
        version("cargo", &["--version"]),
        NO_CARGO,
    )];
    if kind != Kind::InProcessEngine {
        tools.push(Tool::new(TARGET, target(), NO_TARGET));
    }
    tools
}

/// The folder of the target's standard library, if it is installed.
fn target() -> Option<String> {
    let folder = version("rustc", &["--print", "target-libdir", "--target", TARGET])?;
    Path::new(&folder).is_dir().then_some(folder)
}

/// Returns `true` if the project's `Cargo.toml` takes the SDK from `sdk/`.
pub(super) fn uses_own_sdk(project: &Project) -> bool {
    let manifest = std::fs::read_to_string(project.folder.join("Cargo.toml"));
    manifest.is_ok_and(|text| text.contains("\"sdk/"))
}

/// A line of cargo's messages.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

pub(super) fn build(toolchains: &Toolchains<'_>, project: &Project) -> Result<Vec<u8>> {
    let is_native = project.kind == Kind::InProcessEngine;
    let folder = project.folder.canonicalize().map_err(io(&project.folder))?;
    let manifest = folder.join("Cargo.toml");
    if version("cargo", &["--version"]).is_none() {
        return Err(missing("`cargo` is not on the `PATH`", NO_CARGO));
    }
    if !is_native && target().is_none() {
        return Err(missing(
            &format!("Rust's target {TARGET} is missing"),
            NO_TARGET,
        ));
    }
    let mut cargo = Command::new("cargo");
    cargo.args([
        "build",
        "--release",
        "--message-format",
        "json-render-diagnostics",
    ]);
    cargo.arg("--manifest-path").arg(&manifest);
    cargo.arg("--target-dir").arg(folder.join("target"));
    if is_native {
        cargo.args(["--features", "export"]);
    } else {
        cargo.args(["--target", TARGET]);
    }
    cargo.current_dir(&folder);
    toolchains.say_run("cargo build --release");
    // Cargo shows on standard error how far it is, and mistakes with their places.
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| super::not_started(&cargo, error))?;
    if !output.status.success() {
        return Err(Error::Failed {
            command: "cargo build --release".to_owned(),
            status: output.status.to_string(),
            words: String::new(),
        });
    }
    let extension = if is_native {
        std::env::consts::DLL_EXTENSION
    } else {
        "wasm"
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let is_it = |path: Option<&Path>| {
        path.is_some_and(|it| it.canonicalize().is_ok_and(|it| it == manifest))
    };
    let messages = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let made = messages
        .filter(|it| it.reason == "compiler-artifact" && is_it(it.manifest_path.as_deref()))
        .flat_map(|it| it.filenames)
        .find(|file| file.extension().is_some_and(|it| it == extension));
    match made {
        Some(file) => read(&file),
        None => Err(missing(
            &format!("`{}` makes no `.{extension}` file", manifest.display()),
            "a plugin is a library with `crate-type = [\"cdylib\"]`",
        )),
    }
}
