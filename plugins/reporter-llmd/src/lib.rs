//! Benchmark Reports 0.2.1 of llm-d, as YAML: one for each engine and entry of the result.
//!
//! Times are in seconds and seconds per token; percentiles are there only where prony has them.
//! prony's numbers that the schema has no place for are not made up into others. What is withheld
//! is named with its reason in the component `prony` of the stack.

mod report;

use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{
    About, Artifact, Error, ErrorKind, Reporter, Result, about, artifact, plugin,
};
use serde_json::Value;
use std::collections::HashSet;

/// Options of the reporter.
#[derive(Debug, Clone, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// The reporter.
#[derive(Debug)]
pub struct Llmd;

impl Reporter for Llmd {
    type Config = Config;
    const ABOUT: About = about!("llmd", "Benchmark Reports of llm-d, version 0.2.1");

    fn new(_: Config) -> Result<Self> {
        Ok(Self)
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let mut taken = HashSet::new();
        let mut artifacts = Vec::new();
        let mut rest = String::new();
        for (index, series) in result.series().iter().enumerate() {
            let mut report = report::report(result, series, index);
            make_visible(&mut report);
            let text = serde_yaml::to_string(&report)
                .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            // A folder of a run holds so many files of a reporter.
            if artifacts.len() + 1 < artifact::MAX_FILES {
                let name = file_name(&mut taken, &series.name);
                artifacts.push(Artifact::text(&name, "application/yaml", text));
            } else {
                rest += "---\n";
                rest += &text;
            }
        }
        if !rest.is_empty() {
            artifacts.push(Artifact::text(REST, "application/yaml", rest));
        }
        Ok(artifacts)
    }
}

/// The file of reports beyond the number of files that a reporter may write: a document each.
const REST: &str = "llmd-more.yaml";

/// `llmd-MODEL-ENGINE.yaml`: of a name the letters and digits, with `-` for what is between them.
fn file_name(taken: &mut HashSet<String>, name: &str) -> String {
    /// Characters of the middle, at most.
    const MAX: usize = 70;
    let mut slug = String::new();
    for char in name.chars() {
        if char.is_ascii_alphanumeric() || char == '.' {
            slug.push(char.to_ascii_lowercase());
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    // The engine stands at the end.
    let start = slug.len().saturating_sub(MAX);
    let slug = slug[start..].trim_matches(['-', '.']);
    let slug = match slug {
        "" | "more" => "engine",
        slug => slug,
    };
    let mut found = slug.to_owned();
    let mut number = 1_u64;
    while !taken.insert(found.clone()) {
        number += 1;
        found = format!("{slug}-{number}");
    }
    format!("llmd-{found}.yaml")
}

/// Writes out characters that nobody sees in every text, since a file is printed, too.
fn make_visible(value: &mut Value) {
    match value {
        Value::String(text) => {
            let is_kept = |char| !prony_plugin_sdk::words::is_hidden(char) || char == '\n';
            if !text.chars().all(is_kept) {
                let mut visible = String::with_capacity(text.len() + 8);
                for char in text.chars() {
                    if is_kept(char) {
                        visible.push(char);
                    } else {
                        visible.extend(char.escape_unicode());
                    }
                }
                *text = visible;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_visible),
        Value::Object(map) => {
            let old = std::mem::take(map);
            for (key, mut value) in old {
                let mut key = Value::String(key);
                make_visible(&mut key);
                make_visible(&mut value);
                if let Value::String(key) = key {
                    map.insert(key, value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

plugin!(reporter: Llmd);
