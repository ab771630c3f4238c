//! `prony plugin update`

use super::origin::{self, Signing};
use super::remove::chosen;
use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use prony_plugin_host::{Entry, Form, Lock, Prepared, commit};
use std::path::Path;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin update acme")]
pub(super) struct Arguments {
    /// Its name, or `NAME@VERSION`; all of the lock without one.
    #[arg(value_name = "NAME[@VERSION]")]
    name: Option<String>,
    /// Update the lock for all your pipelines.
    #[arg(long)]
    user: bool,
    #[command(flatten)]
    signing: Signing,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let lock = origin::own_lock(global, arguments.user)?;
    let entries = match &arguments.name {
        Some(name) => vec![chosen(global, &lock, name, "update")?],
        None if lock.exists() => Lock::read(&lock)?.plugins,
        None => {
            let message = format!(
                "there is no `{}`: `prony plugin add` makes one",
                lock.display()
            );
            return Err(Failure::new(Exit::Usage, message));
        }
    };
    let mut prepared: Vec<Prepared> = Vec::new();
    let mut lines = Vec::new();
    // Nothing is written before all are known to be well.
    for old in &entries {
        let Some(source) = old.source_seen_from(&lock) else {
            lines.push(format!(
                "{}: the lock does not say where it comes from: add it again with `prony plugin add`",
                named(old)
            ));
            continue;
        };
        // What would run code is updated only if it is named: the lock may be a stranger's.
        let runs = old.form == Form::Native || Path::new(&source).is_dir();
        if runs && arguments.name.is_none() {
            lines.push(format!(
                "{}: is left as it is, since that would run code of `{source}`: `prony plugin update {}` if you trust it",
                named(old),
                old.name
            ));
            continue;
        }
        let mut new = read_again(global, &source, old, &lock, &arguments.signing)?;
        let file = prony_files::folder(&lock).join(&old.path);
        let found = prony_files::open(&file).and_then(prony_plugin_host::sha256);
        let is_there = found.is_ok_and(|found| found == old.sha256);
        if new.entry.sha256 == old.sha256 && new.entry.version == old.version && is_there {
            lines.push(format!("{}: is as `{source}` has it", named(old)));
            continue;
        }
        lines.push(format!(
            "{}: {} (sha256 {}) → {} (sha256 {})",
            named(old),
            old.version,
            origin::short(&old.sha256),
            new.entry.version,
            origin::short(&new.entry.sha256)
        ));
        new.replaces = Some(old.version.clone());
        prepared.push(new);
    }
    if !prepared.is_empty() {
        let updated = commit(prepared, &lock, true, &plugins::setup(global))?;
        for entry in &updated {
            origin::compile(global, &lock, entry)?;
        }
    }
    if !global.quiet {
        for line in lines {
            println!("{line}");
        }
    }
    Ok(Exit::Ok)
}

fn named(entry: &Entry) -> String {
    format!("{} `{}`", entry.kind.name(), entry.name)
}

/// Reads the source of an entry again; refuses another plugin and an older one.
fn read_again(
    global: &Global,
    source: &str,
    old: &Entry,
    lock: &Path,
    signing: &Signing,
) -> Result<Prepared, Failure> {
    let refused = |message: String| Failure::new(Exit::Plugin, message);
    // A native library runs when it describes itself, so it needs a new word of the user's.
    if old.form == Form::Native {
        return Err(refused(format!(
            "{} is a native library, which needs your grant anew for each file: `prony plugin add --grant native {source}`",
            named(old)
        )));
    }
    if !prony_fetch::is_address(source) && !Path::new(source).exists() {
        return Err(refused(format!(
            "[X0017] {} comes from `{source}`, which is not there: `prony plugin add FILE` locks it from elsewhere",
            named(old)
        )));
    }
    let new = origin::prepared(global, source, lock, &[], signing)?;
    if !new.entry.is_like(old) {
        return Err(refused(format!(
            "[X0017] `{source}` is now the {} and no longer the {}: `prony plugin add` and `prony plugin remove` change that",
            named(&new.entry),
            named(old)
        )));
    }
    if new.entry.semver() < old.semver() {
        return Err(refused(format!(
            "[X0017] `{source}` has {} {}, which is older than {}: if you want that, `prony plugin add {source}`",
            named(&new.entry),
            new.entry.version,
            old.version
        )));
    }
    Ok(new)
}
