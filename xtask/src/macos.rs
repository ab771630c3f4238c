//! Type-checks for macOS on other systems.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::python::pip;
use crate::shell;
use crate::workspace::{Workspace, create_folder};

const TARGET: &str = "aarch64-apple-darwin";

/// Runs `cargo check` for macOS on the packages in `selection`.
///
/// Some dependencies have build scripts that compile C, so a C compiler with macOS
/// headers is needed: zig is one, and comes as a Python package. If the target's std is
/// not installed, cargo checks std from source first.
pub(crate) fn check(workspace: &Workspace, selection: &[&str]) -> Result<()> {
    let installed = std_installed()?;
    let mut command = if cfg!(target_os = "macos") {
        workspace.cargo("check")
    } else {
        let tools = zigbuild(workspace)?;
        let mut command = Command::new(tools.join("bin/cargo-zigbuild"));
        command
            .arg("check")
            .current_dir(&workspace.root)
            .env("CARGO_ZIGBUILD_ZIG_PATH", tools.join("ziglang/zig"));
        command
    };
    if !installed {
        let source = shell::output(&mut workspace.script("rust-src.sh"))
            .context("the source of std is needed to check for a target that is not installed")?;
        // Cargo looks in the toolchain; this variable avoids writing there.
        command
            .env(
                "__CARGO_TESTS_ONLY_SRC_ROOT",
                String::from_utf8(source)?.trim(),
            )
            .env("RUSTC_BOOTSTRAP", "1")
            .arg("-Zbuild-std=std,panic_unwind,proc_macro");
    }
    shell::step(&format!("checking for {TARGET}"));
    // A separate target folder: RUSTC_BOOTSTRAP is part of cargo's fingerprint, and would
    // cause the host's build to be recompiled each time.
    shell::run(
        command
            .args(["--locked", "--target", TARGET])
            .args(selection)
            .env("CARGO_TARGET_DIR", workspace.target.join("check-macos")),
    )?;
    shell::step(&format!("{TARGET}: ok"));
    Ok(())
}

/// Returns `true` if the toolchain has a compiled std for the target.
fn std_installed() -> Result<bool> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let folder =
        shell::output(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]))?;
    let folder = PathBuf::from(String::from_utf8(folder)?.trim());
    Ok(folder.read_dir().is_ok_and(|mut files| {
        files.any(|file| {
            file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
        })
    }))
}

/// Installs zig and its cargo command into prony's cache.
fn zigbuild(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.cache.join("zigbuild");
    let works = |folder: &Path| {
        shell::succeeds(Command::new(folder.join("ziglang/zig")).arg("version"))
            && shell::succeeds(Command::new(folder.join("bin/cargo-zigbuild")).arg("--version"))
    };
    if !works(&folder) {
        shell::step("installing zig as the C compiler for macOS (100 MB)");
        create_folder(&workspace.cache)?;
        shell::run(
            pip()
                .args(["install", "--quiet", "--no-input", "--upgrade", "--target"])
                .arg(&folder)
                .args(["ziglang", "cargo-zigbuild"]),
        )
        .context("zig could not be installed; it needs python3 with pip")?;
    }
    Ok(folder)
}
