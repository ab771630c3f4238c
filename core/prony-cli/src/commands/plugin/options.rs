//! The page of every option of the plugins, with what lies inside of options.

use super::show::kind;
use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, output, plugins};
use clap::Args;
use prony_contract::Kind;
use prony_plugin_host::Entry;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Levels of options that lie in each other; a schema may refer to itself.
const MAX_DEPTH: usize = 6;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin options html")]
pub(super) struct Arguments {
    /// A plugin's name; all but recipes without one.
    name: Option<String>,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let registry = plugins::registry(global)?;
    let entries = registry.entries().map(|(entry, _)| entry);
    let name = arguments.name.as_deref();
    let entries: Vec<&Entry> = match name {
        // A recipe's are on the page of engines.
        None => entries.filter(|entry| entry.recipe.is_none()).collect(),
        Some(name) => entries.filter(|entry| entry.name == name).collect(),
    };
    let page = match (name, entries.as_slice()) {
        (Some(name), []) => {
            let message =
                format!("no plugin `{name}` is installed: `prony plugin list` shows what is");
            return Err(Failure::new(Exit::Usage, message));
        }
        (Some(_), entries) => {
            let sections = entries.iter().map(|entry| section(entry));
            sections.collect::<Vec<_>>().join("\n")
        }
        (None, entries) => page(entries),
    };
    output::write(page.as_bytes());
    Ok(Exit::Ok)
}

/// The page of some plugins, engines before reporters.
fn page(entries: &[&Entry]) -> String {
    let mut page = "# Options of plugins

What stands under `config:` of an engine or a reporter in a pipeline. `launch.command` lies in
`launch`, `x[]` is an item of the list `x`, and `x.NAME` the value of any key. Generated from the
plugins' schemas; `prony plugin options NAME` prints one. Recipes, such as `llama-cpp`, have options
of their own: [engines.md](engines.md).
"
    .to_owned();
    for (of, title) in [(Kind::Engine, "Engines"), (Kind::Reporter, "Reporters")] {
        let mut of_kind: Vec<&&Entry> = entries.iter().filter(|it| it.kind == of).collect();
        of_kind.sort_by_key(|entry| &entry.name);
        if !of_kind.is_empty() {
            let _ = write!(page, "\n## {title}\n");
        }
        for entry in of_kind {
            page.push('\n');
            page.push_str(&section(entry));
        }
    }
    page
}

/// The section of one plugin.
fn section(entry: &Entry) -> String {
    let mut section = format!("### {}\n\n{}.\n", entry.name, entry.description);
    let mut rows = Rows {
        definitions: &entry.config_schema["$defs"],
        known: BTreeSet::new(),
        text: String::new(),
    };
    rows.of(&entry.config_schema, "", 0);
    if rows.text.is_empty() {
        section.push_str("\nIt has no options.\n");
    } else {
        section.push_str("\n| Option | Type | Default | Meaning |\n|---|---|---|---|\n");
        section.push_str(&rows.text);
    }
    section
}

/// Rows of a table, each once: alternatives may share options.
struct Rows<'e> {
    definitions: &'e Value,
    known: BTreeSet<String>,
    text: String,
}

impl Rows<'_> {
    /// Adds the options of a mapping that lie at `place`.
    fn of(&mut self, schema: &Value, place: &str, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let reference = schema["$ref"].as_str().and_then(|it| it.rsplit('/').next());
        if let Some(name) = reference {
            let definition = self.definitions[name].clone();
            self.of(&definition, place, depth + 1);
        }
        for alternatives in ["anyOf", "oneOf"] {
            for alternative in schema[alternatives].as_array().into_iter().flatten() {
                self.of(alternative, place, depth + 1);
            }
        }
        if schema["items"].is_object() {
            self.of(&schema["items"], &format!("{place}[]"), depth + 1);
        }
        if schema["additionalProperties"].is_object() {
            let place = format!("{place}.NAME");
            self.of(&schema["additionalProperties"], &place, depth + 1);
        }
        let required = schema["required"].as_array();
        for (name, option) in schema["properties"].as_object().into_iter().flatten() {
            let place = if place.is_empty() {
                name.clone()
            } else {
                format!("{place}.{name}")
            };
            let is_required = required.is_some_and(|all| all.iter().any(|it| it == name));
            if self.known.insert(place.clone()) {
                self.add(&place, option, is_required);
            }
            self.of(option, &place, depth + 1);
        }
    }

    fn add(&mut self, place: &str, option: &Value, is_required: bool) {
        let kind = kind(option, self.definitions);
        let default = match option.get("default") {
            _ if is_required => "required".to_owned(),
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(value) => format!("`{value}`"),
        };
        let meaning = option["description"].as_str();
        let name = option["$ref"].as_str().and_then(|it| it.rsplit('/').next());
        let meaning = meaning.or_else(|| self.definitions[name?]["description"].as_str());
        let mut meaning = meaning.unwrap_or_default().replace('\n', " ");
        for (key, words) in [("minimum", "At least"), ("maximum", "At most")] {
            let bound = option[key].as_f64();
            // Zero is what a number without a sign is anyway, and the largest are those of types.
            if let Some(bound) = bound.filter(|it| (1.0..4e9).contains(it)) {
                let words = format!("{words} {bound}");
                let is_told = meaning.to_lowercase().contains(&words.to_lowercase());
                if !is_told {
                    let _ = write!(meaning, " {words}.");
                }
            }
        }
        let cells = [kind, default, meaning.trim().to_owned()];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(self.text, "| `{place}` | {} |", cells.join(" | "));
    }
}
