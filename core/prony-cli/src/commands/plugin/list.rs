//! `prony plugin list`

use crate::arguments::Global;
use crate::commands::print_json;
use crate::{Exit, Outcome, plugins};
use clap::Args;
use prony_plugin_host::{Entry, Registry};
use serde::Serialize;
use std::collections::HashSet;
use std::path::Path;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin list --json")]
pub(super) struct Arguments {
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// A plugin of the list.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    entry: &'a Entry,
    /// Lock file that has it.
    lock: &'a Path,
    /// Problem with its file, with the way out; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let registry = plugins::registry(global)?;
    let listed = listed(&registry);
    if arguments.json {
        print_json(&listed)?;
        return Ok(Exit::Ok);
    }
    if listed.is_empty() {
        let locks: Vec<String> = plugins::locks(global, None)
            .iter()
            .map(|lock| format!("`{}`", lock.display()))
            .collect();
        println!("no plugins are installed; looked for {}", locks.join(", "));
        return Ok(Exit::Ok);
    }
    table(&listed);
    if !global.quiet {
        for (entry, _) in registry.entries() {
            if let Some(told) = plugins::hidden(&registry, entry.kind, &entry.name) {
                eprintln!("note: {told}");
            }
        }
    }
    // A recipe has the file of its plugin.
    let plugins = listed.iter().filter(|it| it.entry.recipe.is_none());
    for problem in plugins.filter_map(|it| it.problem.as_ref()) {
        eprintln!("warning: {problem}");
    }
    Ok(Exit::Ok)
}

/// Every plugin that a pipeline can name, all versions of it.
fn listed(registry: &Registry) -> Vec<Listed<'_>> {
    let mut seen = HashSet::new();
    let mut listed = Vec::new();
    for (entry, lock) in registry.all() {
        if seen.insert((entry.kind, &entry.name, &entry.version)) {
            let file = prony_files::folder(lock).join(&entry.path);
            let problem = registry.check_file(entry, &file).err();
            listed.push(Listed {
                entry,
                lock,
                problem: problem.map(|error| format!("[{}] {error}", error.code())),
            });
        }
    }
    listed
}

fn table(listed: &[Listed<'_>]) {
    let rows: Vec<[String; 7]> = listed.iter().map(|it| row(it.entry)).collect();
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
}

fn row(entry: &Entry) -> [String; 7] {
    [
        entry.kind.name().to_owned(),
        entry.name.clone(),
        entry.version.clone(),
        entry.form.name().to_owned(),
        entry.contract.clone(),
        entry.sha256.chars().take(12).collect(),
        format!("{}{}", entry.description, untried(entry)),
    ]
}

/// A caveat on a recipe that nobody has run.
fn untried(entry: &Entry) -> &'static str {
    match &entry.recipe {
        Some((_, recipe)) if recipe.tried.is_none() => {
            "; written from its documentation, never run"
        }
        _ => "",
    }
}
