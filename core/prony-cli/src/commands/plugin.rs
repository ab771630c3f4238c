//! `prony plugin`

use crate::arguments::Global;
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome, plugins};
use clap::{Args, Subcommand, ValueEnum};
use prony_plugin_host::{Entry, Grant, Registry};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin add --grant native target/release/libengine_mine.so")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the installed plugins.
    List {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check a plugin, copy it next to a lock file and lock it.
    Add {
        /// A WASM module or component, or a shared library.
        file: PathBuf,
        /// Permissions beyond the sandbox.
        #[arg(long = "grant", value_enum, value_name = "GRANT")]
        grants: Vec<GrantOf>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GrantOf {
    /// Run as native code, outside the sandbox.
    Native,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    match &arguments.command {
        Command::List { json } => list(global, *json),
        Command::Add { file, grants } => add(global, file, grants),
    }
}

fn list(global: &Global, json: bool) -> Outcome {
    let registry = plugins::registry(global)?;
    let entries: Vec<&Entry> = registry.entries().map(|(entry, _)| entry).collect();
    if json {
        print_json(&entries)?;
        return Ok(Exit::Ok);
    }
    if entries.is_empty() {
        let locks: Vec<String> = plugins::locks(global)
            .iter()
            .map(|lock| format!("`{}`", lock.display()))
            .collect();
        println!("no plugins are installed; looked for {}", locks.join(", "));
        return Ok(Exit::Ok);
    }
    let rows: Vec<[String; 7]> = entries.iter().map(|entry| row(entry)).collect();
    let header = [
        "KIND",
        "NAME",
        "VERSION",
        "FORM",
        "CONTRACT",
        "SHA256",
        "DESCRIPTION",
    ]
    .map(ToOwned::to_owned);
    let mut widths = [0; 7];
    for row in std::iter::once(&header).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in std::iter::once(&header).chain(&rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
    Ok(Exit::Ok)
}

fn row(entry: &Entry) -> [String; 7] {
    [
        entry.kind.name().to_owned(),
        entry.name.clone(),
        entry.version.clone(),
        entry.form.name().to_owned(),
        entry.contract.clone(),
        entry.sha256.chars().take(12).collect(),
        entry.description.clone(),
    ]
}

fn add(global: &Global, file: &Path, grants: &[GrantOf]) -> Outcome {
    let lock = match global.locks().as_slice() {
        [] => PathBuf::from(plugins::LOCK),
        [lock] => lock.clone(),
        _ => return Err(Failure::new(Exit::Usage, "give one `--lock` to add to")),
    };
    let grants: Vec<Grant> = grants.iter().map(|GrantOf::Native| Grant::Native).collect();
    let entry = prony_plugin_host::add(file, &lock, &grants, &plugins::compiled(global))?;
    // Compiles it now, so that no run has to, and tests the lock file.
    Registry::open(std::slice::from_ref(&lock), &plugins::compiled(global))?
        .load(entry.kind, &entry.name)?;
    if !global.quiet {
        println!(
            "added {} `{}` {} ({}) to `{}`",
            row(&entry)[0],
            entry.name,
            entry.version,
            entry.form.name(),
            lock.display()
        );
    }
    Ok(Exit::Ok)
}
