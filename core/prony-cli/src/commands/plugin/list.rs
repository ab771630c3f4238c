//! `prony plugin list`

use crate::arguments::Global;
use crate::commands::print_json;
use crate::{Exit, Outcome, plugins};
use clap::Args;
use prony_plugin_host::Entry;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin list --json")]
pub(super) struct Arguments {
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let registry = plugins::registry(global)?;
    let entries: Vec<&Entry> = registry.entries().map(|(entry, _)| entry).collect();
    if arguments.json {
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
