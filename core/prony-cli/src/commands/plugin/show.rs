//! `prony plugin show`

use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, output, plugins};
use clap::Args;
use prony_contract::Kind;
use prony_plugin_host::Entry;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin show llama-cpp")]
pub(super) struct Arguments {
    /// An engine's name; all engines without one.
    name: Option<String>,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let name = arguments.name.as_deref();
    let registry = plugins::registry(global)?;
    let engines = registry.entries().map(|(entry, _)| entry);
    let engines = engines.filter(|entry| entry.kind == Kind::Engine);
    let mut engines: Vec<&Entry> = engines
        .filter(|entry| name.is_none_or(|name| entry.name == name))
        .collect();
    if let (Some(name), true) = (name, engines.is_empty()) {
        let message = format!("no engine `{name}` is installed: `prony plugin list` shows what is");
        return Err(Failure::new(Exit::Usage, message));
    }
    engines.sort_by_key(|entry| &entry.name);
    let page = match name {
        Some(_) => {
            let sections = engines.into_iter().map(|it| section(it, &BTreeMap::new()));
            sections.collect::<Vec<_>>().join("\n")
        }
        None => page(&engines),
    };
    output::write(page.as_bytes());
    Ok(Exit::Ok)
}

/// The page of all engines.
fn page(engines: &[&Entry]) -> String {
    let mut page = "# Engines

The names that stand after `plugin:` in a pipeline, and the options under `config:`. Generated
from the plugins; `prony plugin show NAME` prints all of one.
"
    .to_owned();
    let all = engines.iter().flat_map(|entry| options(entry));
    let common: BTreeMap<&String, &Value> = all
        .filter(|(_, option)| option["x-prony-common"] == true)
        .collect();
    if !common.is_empty() {
        page.push_str("\n## Options of every recipe\n");
        page.push_str(HEADER);
        let has_them = |entry: &&&Entry| options(entry).any(|(name, _)| common.contains_key(name));
        let definitions = engines
            .iter()
            .find(has_them)
            .map(|entry| definitions(entry));
        for (name, option) in &common {
            row_of_option(
                &mut page,
                name,
                &kind(option, definitions.unwrap_or(&Value::Null)),
                option,
                false,
            );
        }
    }
    for entry in engines {
        page.push('\n');
        page.push_str(&section(entry, &common));
    }
    page
}

/// Head of a table of options.
const HEADER: &str = "\n| Option | Type | Meaning |\n|---|---|---|\n";

/// Options of an engine, by name.
fn options(entry: &Entry) -> impl Iterator<Item = (&String, &Value)> {
    let options = entry.config_schema["properties"].as_object();
    options.into_iter().flatten()
}

/// Definitions that its options refer to.
fn definitions(entry: &Entry) -> &Value {
    &entry.config_schema["$defs"]
}

/// The section of an engine, without the options that are described `elsewhere`, by name.
fn section(entry: &Entry, elsewhere: &BTreeMap<&String, &Value>) -> String {
    let mut page = format!("## {}\n\n{}.", entry.name, entry.description);
    let systems = [
        ("any", "Install"),
        ("linux", "On Linux"),
        ("macos", "On macOS"),
    ];
    if let Some((adapter, recipe)) = &entry.recipe {
        let tried = recipe.tried.as_ref().map_or_else(
            || "Written from its documentation, never run.".to_owned(),
            |tried| format!("Tried with {tried}."),
        );
        let _ = write!(page, " A recipe of the plugin `{adapter}`. {tried}");
        let takes = entry.apis_of(&Map::new());
        let takes: Vec<&str> = takes.iter().map(|api| api.name()).collect();
        let _ = write!(page, " It takes `api: {}`.", takes.join("` and `api: "));
        page.push_str("\n\n");
        for (system, words) in systems {
            if let Some(command) = recipe.install.get(system) {
                let _ = writeln!(page, "- {words}: {command}");
            }
        }
        installs(entry, &mut page);
        for note in &recipe.notes {
            let _ = writeln!(page, "- {note}");
        }
    } else {
        page.push('\n');
        if entry.packages.is_some() {
            page.push('\n');
        }
        installs(entry, &mut page);
    }
    let schema = &entry.config_schema;
    let required = schema["required"].as_array();
    let is_required =
        |name: &str| required.is_some_and(|required| required.iter().any(|it| it == name));
    let (others, own): (Vec<_>, Vec<_>) =
        options(entry).partition(|(name, option)| elsewhere.get(name) == Some(option));
    if !own.is_empty() {
        page.push_str(HEADER);
    }
    for (name, option) in own {
        let kind = kind(option, definitions(entry));
        row_of_option(&mut page, name, &kind, option, is_required(name));
    }
    if !others.is_empty() {
        page.push_str("\nAnd the [options of every recipe](#options-of-every-recipe)");
        let absent = elsewhere
            .keys()
            .filter(|name| others.iter().all(|(other, _)| other != *name));
        let absent: Vec<String> = absent.map(|name| format!("`{name}`")).collect();
        if !absent.is_empty() {
            let _ = write!(page, " except {}", absent.join(", "));
        }
        page.push_str(".\n");
    }
    page
}

/// Adds an option to a table.
fn row_of_option(page: &mut String, name: &str, kind: &str, option: &Value, is_required: bool) {
    let needed = if is_required { " Required." } else { "" };
    let meaning = option["description"].as_str().unwrap_or_default();
    let meaning = meaning.replace('\n', " ").replace('|', "\\|");
    let _ = writeln!(page, "| `{name}` | {kind} | {meaning}{needed} |");
}

/// Adds what `prony doctor --install` installs for an engine.
fn installs(entry: &Entry, page: &mut String) {
    let Some(packages) = &entry.packages else {
        return;
    };
    for (system, name) in [("linux", "Linux"), ("macos", "macOS")] {
        let wanted = packages.on(system);
        if wanted.is_empty() {
            continue;
        }
        let wanted: Vec<String> = wanted.iter().map(|it| format!("`{it}`")).collect();
        let _ = write!(
            page,
            "- `prony doctor --install` on {name}: {}",
            wanted.join(" ")
        );
        if let Some(repository) = &packages.repository {
            let _ = write!(
                page,
                ", where `{{source}}` is a clone of {} at {}",
                repository.url, repository.revision
            );
        }
        if let Some(python) = &packages.python {
            let _ = write!(page, "; Python {python} or newer");
        }
        page.push('\n');
    }
}

/// The type of an option, in words: types, and the words that it may be.
pub(super) fn kind(option: &Value, definitions: &Value) -> String {
    let mut kinds = Vec::new();
    collect_kinds(option, definitions, &mut kinds);
    kinds.retain(|kind| kind != "null");
    let mut seen = BTreeSet::new();
    kinds.retain(|kind| seen.insert(kind.clone()));
    match kinds.as_slice() {
        [] => "any".to_owned(),
        kinds => kinds.join(" or "),
    }
}

fn collect_kinds(schema: &Value, definitions: &Value, kinds: &mut Vec<String>) {
    let words = schema["enum"].as_array().into_iter().flatten();
    let words: Vec<&str> = words
        .chain(schema.get("const"))
        .filter_map(Value::as_str)
        .collect();
    if !words.is_empty() {
        kinds.extend(words.iter().map(|word| format!("`{word}`")));
        return;
    }
    if let Some(name) = schema["$ref"].as_str().and_then(|it| it.rsplit('/').next()) {
        return collect_kinds(&definitions[name], definitions, kinds);
    }
    for alternatives in ["anyOf", "oneOf"] {
        let alternatives = schema[alternatives].as_array().into_iter().flatten();
        alternatives.for_each(|it| collect_kinds(it, definitions, kinds));
    }
    let names = match &schema["type"] {
        Value::Array(names) => names.as_slice(),
        name => std::slice::from_ref(name),
    };
    let names = names.iter().filter_map(Value::as_str);
    kinds.extend(names.map(|name| match name {
        "object" => "mapping".to_owned(),
        "array" => "list".to_owned(),
        name => name.to_owned(),
    }));
}
