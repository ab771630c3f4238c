//! Real engines, installed into prony's cache for tests and first steps.
//!
//! Each becomes a program in `engines/bin/`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workspace::{Workspace, create_folder};
use crate::{build, shell};

/// The engines that tests run. Others are large, and installed by name only.
pub(crate) const TESTED: [&str; 2] = ["llama.cpp", "mlx-lm"];

/// Engines that `prony plugin install` installs, with their programs.
const PACKAGED: [(&str, &str); 2] = [
    ("mlx-lm", "mlx_lm.server"),
    // Some 5 GB on Linux, where PyTorch brings along what a GPU needs.
    ("transformers", "transformers"),
];

/// Installs the named engines, and prints the paths of their programs.
pub(crate) fn install(workspace: &Workspace, names: &[&str]) -> Result<()> {
    for &name in names {
        let packaged = PACKAGED.iter().find(|it| it.0 == name);
        let program = match (name, packaged) {
            ("llama.cpp", _) => llama_cpp(workspace)?,
            (_, Some((name, program))) => installed_by_prony(workspace, name, program)?,
            _ => {
                let known: Vec<&str> = PACKAGED.iter().map(|it| it.0).collect();
                let known = known.join(", ");
                bail!("unknown engine `{name}`; `cargo xtask engines` installs: llama.cpp, {known}")
            }
        };
        shell::step(&format!("{name}: {}", program.display()));
    }
    Ok(())
}

fn engines(workspace: &Workspace) -> PathBuf {
    workspace.cache.join("engines")
}

fn llama_cpp(workspace: &Workspace) -> Result<PathBuf> {
    let link = engines(workspace).join("bin/llama-server");
    if starts(&link) {
        return Ok(link);
    }
    let program = if let Some(found) = shell::on_path("llama-server") {
        found
    } else if cfg!(target_os = "macos") {
        bail!("llama-server is not on PATH: `brew install llama.cpp`, then run this again");
    } else {
        shell::step("installing llama.cpp");
        let folder = engines(workspace).join("llama.cpp");
        shell::run(workspace.script("install-llama-cpp.sh").arg(&folder))?;
        folder.join("llama-server")
    };
    replace_link(&program, &link)?;
    if !starts(&link) {
        bail!(
            "{} does not start; `{} --help` shows why",
            link.display(),
            program.display()
        );
    }
    Ok(link)
}

/// The program of an engine whose packages prony knows.
fn installed_by_prony(workspace: &Workspace, name: &str, program: &str) -> Result<PathBuf> {
    if !workspace.prony().exists() {
        build::build(workspace)?;
    }
    let mut install = Command::new(workspace.prony());
    install.args(["plugin", "install", name]);
    shell::run(install.env("PRONY_CACHE", &workspace.cache))?;
    let link = engines(workspace).join("bin").join(program);
    let program = engines(workspace).join(name).join("bin").join(program);
    if !starts(&program) {
        bail!(
            "{name} is installed but does not start: `{} --help` shows why",
            program.display()
        );
    }
    replace_link(&program, &link)?;
    Ok(link)
}

fn starts(program: &Path) -> bool {
    shell::succeeds(Command::new(program).arg("--help"))
}

/// Atomically points `link` to `program`.
fn replace_link(program: &Path, link: &Path) -> Result<()> {
    let new = link.with_extension("new");
    create_folder(link.parent().unwrap_or(Path::new(".")))?;
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    symlink(program, &new)
        .and_then(|()| fs::rename(&new, link))
        .with_context(|| format!("cannot make the link {}", link.display()))
}
