//! `prony plugin add`

use super::build;
use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, plugins};
use clap::{Args, ValueEnum};
use prony_author::Project;
use prony_plugin_host::{AskedLimits, Entry, Grant, Origin, Registry};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin add --grant native target/release/libengine_mine.so")]
pub(super) struct Arguments {
    /// A WASM module or component, a shared library, or the folder of a project, which is built.
    file: PathBuf,
    /// Permissions beyond the sandbox, which hold for this file, for you, on this machine.
    #[arg(long = "grant", value_enum, value_name = "GRANT")]
    grants: Vec<GrantOf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GrantOf {
    /// Run as native code, outside the sandbox.
    Native,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let lock = match global.locks().as_slice() {
        [] => PathBuf::from(plugins::LOCK),
        [lock] => lock.clone(),
        _ => return Err(Failure::new(Exit::Usage, "give one `--lock` to add to")),
    };
    let grants = arguments.grants.iter();
    let grants: Vec<Grant> = grants.map(|GrantOf::Native| Grant::Native).collect();
    let setup = plugins::setup(global);
    let entry = if arguments.file.is_dir() {
        let project = build::read(&arguments.file)?;
        let file = build::built(global, &project)?;
        let asked = AskedLimits {
            memory_mib: project.limits.memory_mib,
            call_ms: project.limits.call_ms,
        };
        let origin = Origin {
            limits: (asked != AskedLimits::default()).then_some(asked),
            dev: true,
        };
        let same = |entry: &Entry| described_as_stated(entry, &project);
        prony_plugin_host::add_from(&file, &lock, &grants, &setup, origin, &same)?
    } else {
        prony_plugin_host::add(&arguments.file, &lock, &grants, &setup)?
    };
    // Compiles it now, so that no run has to, and tests the lock file.
    Registry::open(std::slice::from_ref(&lock), setup)?.load(entry.kind, &entry.name)?;
    if !global.quiet {
        tell(&entry, &lock);
    }
    Ok(Exit::Ok)
}

/// Checks that the plugin says of itself what its `plugin.toml` says. The error is the reason.
fn described_as_stated(entry: &Entry, project: &Project) -> Result<(), String> {
    let kind = match project.kind {
        prony_author::Kind::Reporter => "reporter",
        _ => "engine",
    };
    let stated = [
        ("name", entry.name.as_str(), project.name.as_str()),
        ("version", &entry.version, &project.version),
        ("kind", entry.kind.name(), kind),
    ];
    for (what, found, stated) in stated {
        if found != stated {
            return Err(format!(
                "its {what} is `{found}`, and `plugin.toml` says `{stated}`: make them the same"
            ));
        }
    }
    Ok(())
}

fn tell(entry: &Entry, lock: &Path) {
    println!(
        "added {} `{}` {} ({}{}) to `{}`",
        entry.kind.name(),
        entry.name,
        entry.version,
        entry.form.name(),
        if entry.dev { ", dev" } else { "" },
        lock.display()
    );
}
