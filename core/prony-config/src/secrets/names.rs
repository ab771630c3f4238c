//! Names of a pipeline that a secret is in. Journals show its mark in place of it, so whoever
//! looks there for the name would not find it.

use std::collections::BTreeSet;

use prony_diagnostic::Diagnostic;

use super::Secrets;
use crate::codes;
use crate::file::File;
use crate::meaning::Combination;
use crate::plugins::plugin_of;
use crate::tree::{Kind, Node, Span};
use crate::wording::literal;

/// Sections of a document, and what in them holds no secret.
const SECTIONS: [(&str, &str); 15] = [
    ("name", "the name of the pipeline"),
    ("engine", "the name of an engine"),
    ("engines", "the name of an engine"),
    ("model", "the name of a model"),
    ("models", "the name of a model"),
    ("matrix", "the name of a matrix point"),
    ("stages", "the name of a stage or reporter"),
    ("reporters", "the name of a reporter"),
    ("vars", "the name of a variable"),
    ("env", "the name of a variable"),
    ("secrets", "the name of a variable"),
    // Words of the format, which would be none where the pipeline is written out.
    ("compare", "an option"),
    ("schedule", "an option"),
    ("thresholds", "an option"),
    ("workload", "an option"),
];

/// Refuses the names that a secret is in, each once.
pub(crate) fn check(
    root: &Node,
    points: &[(Combination, File)],
    secrets: &Secrets,
) -> Vec<Diagnostic> {
    if secrets.longest() == 0 {
        return Vec::new();
    }
    let mut problems = Vec::new();
    let mut places = BTreeSet::new();
    for (section, what) in SECTIONS {
        let Some(entry) = root.entry(section) else {
            continue;
        };
        let mut names: BTreeSet<&str> = written(section, &entry.value).into_iter().collect();
        // What templates make at the points.
        names.extend(points.iter().flat_map(|(point, file)| match section {
            "model" | "models" => models(file),
            "matrix" => vec![point.id.as_str()],
            _ => Vec::new(),
        }));
        for name in names {
            let masked = secrets.mask(name);
            let holds = |part: &str| name.contains(part) && secrets.mask(part) != part;
            let place = place(&entry.value, &holds).unwrap_or_else(|| entry.key_span.clone());
            if masked == name || !places.insert((place.start, place.end)) {
                continue;
            }
            let message = format!("{what} holds a secret: {}", literal(&masked));
            problems.push(
                Diagnostic::error(codes::SECRET_NAME, message)
                    .at(place, "what is masked cannot name anything")
                    .help(
                        "give it another name or the secret another value; if that is none, rename its key or variable",
                    ),
            );
        }
    }
    problems
}

/// The names that stand in a section.
fn written<'n>(section: &str, node: &'n Node) -> Vec<&'n str> {
    let plugin = |node: &'n Node| plugin_of(node).and_then(Node::text);
    let keys = || node.entries().iter();
    match section {
        "name" => node.text().into_iter().collect(),
        "engine" => plugin(node).into_iter().collect(),
        "engines" | "reporters" => keys()
            .flat_map(|it| [Some(&*it.key), plugin(&it.value)])
            .flatten()
            .collect(),
        "vars" => keys().map(|it| &*it.key).collect(),
        "env" | "secrets" => node.items().iter().filter_map(Node::text).collect(),
        "workload" => node
            .entry("api")
            .and_then(|it| it.value.text())
            .into_iter()
            .collect(),
        "compare" | "schedule" | "thresholds" => texts(node),
        "stages" => node.items().iter().flat_map(stage).collect(),
        _ => Vec::new(),
    }
}

/// Every text below a node.
fn texts(node: &Node) -> Vec<&str> {
    let below = node.entries().iter().map(|it| &it.value);
    let below = below.chain(node.items()).flat_map(texts);
    node.text().into_iter().chain(below).collect()
}

fn models(file: &File) -> Vec<&str> {
    let models = file.model.iter().chain(file.models.iter().flatten());
    models.map(|it| it.id.as_str()).collect()
}

/// Names in a stage: its own, which is that of its kind if it has none, and those of reporters.
fn stage(node: &Node) -> Vec<&str> {
    let mut names = Vec::new();
    for entry in node.entries() {
        let id = entry.value.entry("id").and_then(|it| it.value.text());
        names.push(id.unwrap_or(&entry.key));
        let reporters = entry.value.entry("reporters").map(|it| it.value.items());
        names.extend(reporters.unwrap_or_default().iter().filter_map(Node::text));
    }
    names
}

/// The first place of a key or text that `is_it`.
fn place(node: &Node, is_it: &dyn Fn(&str) -> bool) -> Option<Span> {
    match &node.kind {
        Kind::String(text) if is_it(text) => Some(node.span.clone()),
        Kind::List(items) => items.iter().find_map(|item| place(item, is_it)),
        Kind::Map(entries) => entries.iter().find_map(|entry| {
            let key = is_it(&entry.key).then(|| entry.key_span.clone());
            key.or_else(|| place(&entry.value, is_it))
        }),
        _ => None,
    }
}
