//! `prony plugin remove`

use super::origin;
use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use prony_plugin_host::{Entry, Form, Lock, name_and_version};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin remove acme@0.1.0")]
pub(super) struct Arguments {
    /// Its name; with several versions `NAME@VERSION`.
    #[arg(value_name = "NAME[@VERSION]")]
    name: String,
    /// Remove it from the lock for all your pipelines.
    #[arg(long)]
    user: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let lock = origin::own_lock(global, arguments.user)?;
    let entry = chosen(global, &lock, &arguments.name, "remove")?;
    prony_plugin_host::remove(&lock, &entry)?;
    if !global.quiet {
        let (kind, name, version) = (entry.kind.name(), &entry.name, &entry.version);
        println!(
            "removed {kind} `{name}` {version} from `{}`",
            lock.display()
        );
        if let (Form::Native, Some(grants)) = (entry.form, plugins::grants(global)) {
            println!(
                "  your grant for it stays in `{}`, as other locks may have it: its line begins with {}",
                grants.display(),
                origin::short(&entry.sha256)
            );
        }
    }
    Ok(Exit::Ok)
}

/// The entry of a lock file that a name stands for, if it is one alone.
pub(super) fn chosen(
    global: &Global,
    lock: &Path,
    name: &str,
    command: &str,
) -> Result<Entry, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let (own, version) = name_and_version(name);
    let entries = origin::entries(lock)?;
    let is_it =
        |entry: &Entry| entry.name == own && version.is_none_or(|version| entry.version == version);
    let mut found: Vec<Entry> = entries.into_iter().filter(is_it).collect();
    match (found.len(), found.pop()) {
        (1, Some(entry)) => Ok(entry),
        (0, _) | (_, None) => Err(usage(format!(
            "`{}` has no plugin `{name}`{}",
            lock.display(),
            elsewhere(global, own)
        ))),
        (_, Some(last)) => {
            found.push(last);
            let all = found
                .iter()
                .map(|it| format!("{} `{}@{}`", it.kind.name(), it.name, it.version));
            Err(usage(format!(
                "`{}` has {}: say which, as in `prony plugin {command} {}@{}`",
                lock.display(),
                all.collect::<Vec<_>>().join(" and "),
                found[0].name,
                found[0].version
            )))
        }
    }
}

/// Where else a plugin is locked.
fn elsewhere(global: &Global, name: &str) -> String {
    let has = |lock: &PathBuf| {
        let lock = Lock::read(lock);
        lock.is_ok_and(|lock| lock.plugins.iter().any(|it| it.name == name))
    };
    let locks = plugins::locks(global, None).into_iter();
    let other = locks.filter(|it| it.exists()).find(has);
    match other {
        Some(lock) if plugins::is_bundled(&lock) => {
            "; the one of that name comes with prony, and stays".to_owned()
        }
        Some(lock) if Some(&lock) == plugins::of_user().as_ref() => {
            "; your own lock has one: add `--user`".to_owned()
        }
        Some(lock) => format!("; `{0}` has one: add `--lock {0}`", lock.display()),
        None => ": `prony plugin list` shows what is installed".to_owned(),
    }
}
