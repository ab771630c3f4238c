//! Paths: the repository, cargo's target folder, the user's cache.

use etcetera::base_strategy::{BaseStrategy as _, choose_native_strategy};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::shell;

/// The cargo workspace in which xtask was called.
pub(crate) struct Workspace {
    /// The repository's top folder.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, as configured by the user.
    pub(crate) target: PathBuf,
    /// Folder for prony's downloads.
    pub(crate) cache: PathBuf,
    /// The workspace's packages, as `cargo metadata` lists them.
    pub(crate) packages: Vec<Value>,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let text = shell::output(Command::new(cargo_program()).args([
            "metadata",
            "--no-deps",
            "--format-version=1",
        ]))?;
        let mut metadata: Value = serde_json::from_slice(&text)?;
        let folder = |key: &str| {
            metadata[key]
                .as_str()
                .map(PathBuf::from)
                .with_context(|| format!("cargo metadata has no `{key}`"))
        };
        let root = folder("workspace_root")?;
        let target = folder("target_directory")?;
        let Value::Array(packages) = metadata["packages"].take() else {
            bail!("cargo metadata has no `packages`");
        };
        Ok(Self {
            root,
            target,
            cache: cache_folder()?,
            packages,
        })
    }

    /// Cargo, started in the repository's top folder.
    pub(crate) fn cargo(&self, command: &str) -> Command {
        let mut cargo = Command::new(cargo_program());
        cargo.arg(command).current_dir(&self.root);
        // What `cargo run` told xtask of itself: build scripts that look at these variables
        // would run again with each change between `cargo xtask` and `cargo`, and what
        // depends on them would be built again.
        let of_xtask = |name: &str| name == "CARGO_MANIFEST_DIR" || name.starts_with("CARGO_PKG_");
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(of_xtask) {
                cargo.env_remove(name);
            }
        }
        cargo
    }

    /// The files that git tracks or would track after `git add`, so that violations are
    /// found before the commit; relative to the top folder, in order.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let list = shell::output(
            Command::new("git")
                .args([
                    "ls-files",
                    "-z",
                    "--cached",
                    "--others",
                    "--exclude-standard",
                ])
                .current_dir(&self.root),
        )?;
        let list = String::from_utf8(list)?;
        let mut paths: Vec<String> = list
            .split_terminator('\0')
            // A file deleted only from the disk is still listed.
            .filter(|path| self.root.join(path).is_file())
            .map(str::to_owned)
            .collect();
        paths.sort_unstable();
        paths.dedup();
        Ok(paths)
    }

    /// One of the shell scripts, with its environment.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .arg(self.root.join("xtask/scripts").join(name))
            .current_dir(&self.root)
            .env("PRONY_CACHE", &self.cache)
            .env("CARGO", cargo_program());
        command
    }

    /// Folder of the profile's artifacts for the host.
    pub(crate) fn release(&self) -> PathBuf {
        self.target.join("release")
    }

    /// The built command-line program.
    pub(crate) fn prony(&self) -> PathBuf {
        self.release().join("prony")
    }
}

/// The cargo that runs xtask, so that everything uses the same toolchain.
pub(crate) fn cargo_program() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// The same rule as `prony_cache` in `scripts/lib.sh`.
fn cache_folder() -> Result<PathBuf> {
    let set = env::var_os("PRONY_CACHE").filter(|value| !value.is_empty());
    if let Some(folder) = set {
        return Ok(std::path::absolute(folder)?);
    }
    let user = choose_native_strategy().context("there is no home folder: set PRONY_CACHE")?;
    Ok(user.cache_dir().join("prony"))
}

/// Returns `true` for the path of a YAML file.
pub(crate) fn is_yaml(path: &str) -> bool {
    let extension = Path::new(path).extension();
    extension.is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// Returns `true` for the path of a complete pipeline, not of an overlay
/// (`*.overlay.yaml`) or a base (`_*.yaml`).
pub(crate) fn is_pipeline(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    is_yaml(path) && !name.starts_with('_') && !name.ends_with(".overlay.yaml")
}

/// Creates a folder and its parents; the error names it.
pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}
