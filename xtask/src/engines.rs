//! Real engines, installed into prony's cache for tests and first steps.
//!
//! Each becomes a program in `engines/bin/`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workspace::{Workspace, create_folder};
use crate::{python, shell};

/// Installs the named engines, and prints the paths of their programs.
pub(crate) fn install(workspace: &Workspace, names: &[&str]) -> Result<()> {
    for &name in names {
        let program = match name {
            "llama.cpp" => llama_cpp(workspace)?,
            "mlx-lm" => mlx_lm(workspace)?,
            _ => {
                bail!("unknown engine `{name}`; `cargo xtask engines` installs: llama.cpp, mlx-lm")
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
    let starts = |program: &Path| shell::succeeds(Command::new(program).arg("--version"));
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
            "{} does not start; `{} --version` shows why",
            link.display(),
            program.display()
        );
    }
    Ok(link)
}

fn mlx_lm(workspace: &Workspace) -> Result<PathBuf> {
    let link = engines(workspace).join("bin/mlx_lm.server");
    let venv = engines(workspace).join("mlx-lm");
    let python = venv.join("bin/python");
    let imports = || shell::succeeds(Command::new(&python).args(["-c", "import mlx_lm.server"]));
    if link.exists() && imports() {
        return Ok(link);
    }
    shell::step("installing mlx-lm");
    let packages: &[&str] = if cfg!(target_os = "macos") {
        &["mlx-lm"]
    } else {
        &["mlx[cpu]", "mlx-lm"]
    };
    python::venv(&venv, packages).context("mlx-lm could not be installed")?;
    if !imports() {
        bail!(
            "mlx-lm is installed but does not start: `{} -m mlx_lm.server` shows why",
            python.display()
        );
    }
    replace_link(&venv.join("bin/mlx_lm.server"), &link)?;
    Ok(link)
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
