//! Allowed dependencies between prony crates: data moves one way.

use serde_json::Value;

use super::{Finding, SourceFile, line_of};
use crate::workspace::Workspace;

/// The prony crates that each core crate may use: only those above it.
const CORE: &[(&str, &[&str])] = &[
    ("prony-diagnostic", &[]),
    ("prony-poll", &[]),
    ("prony-files", &[]),
    ("prony-fetch", &[]),
    ("prony-hub", &["prony-fetch", "prony-files"]),
    ("prony-machine", &[]),
    ("prony-chat", &[]),
    ("prony-tokenizer", &["prony-chat", "prony-files"]),
    ("prony-contract", &[]),
    ("prony-truth-server", &["prony-poll"]),
    ("prony-record", &["prony-contract"]),
    ("prony-result", &["prony-contract"]),
    ("prony-author", &["prony-contract", "prony-files"]),
    ("prony-config", &["prony-diagnostic", "prony-result"]),
    (
        "prony-plan",
        &["prony-config", "prony-record", "prony-result"],
    ),
    (
        "prony-prompts",
        &["prony-contract", "prony-result", "prony-tokenizer"],
    ),
    (
        "prony-metrics",
        &["prony-contract", "prony-record", "prony-result"],
    ),
    (
        "prony-plugin-host",
        &["prony-contract", "prony-files", "prony-result"],
    ),
    ("prony-conformance", &["prony-contract"]),
    (
        "prony-loadgen",
        &["prony-contract", "prony-poll", "prony-record"],
    ),
    (
        "prony-ranks",
        &[
            "prony-contract",
            "prony-files",
            "prony-loadgen",
            "prony-record",
        ],
    ),
    (
        "prony-journal",
        &[
            "prony-config",
            "prony-contract",
            "prony-files",
            "prony-machine",
            "prony-metrics",
            "prony-plan",
            "prony-plugin-host",
            "prony-record",
            "prony-result",
        ],
    ),
    (
        "prony-history",
        &[
            "prony-config",
            "prony-diagnostic",
            "prony-files",
            "prony-metrics",
            "prony-plugin-host",
            "prony-result",
        ],
    ),
    (
        "prony-runner",
        &[
            "prony-chat",
            "prony-config",
            "prony-contract",
            "prony-files",
            "prony-hub",
            "prony-journal",
            "prony-loadgen",
            "prony-machine",
            "prony-metrics",
            "prony-plan",
            "prony-plugin-host",
            "prony-ranks",
            "prony-record",
            "prony-result",
            "prony-prompts",
            "prony-tokenizer",
            "prony-truth-server",
        ],
    ),
    (
        "prony-cli",
        &[
            "prony-author",
            "prony-config",
            "prony-conformance",
            "prony-contract",
            "prony-diagnostic",
            "prony-fetch",
            "prony-files",
            "prony-history",
            "prony-hub",
            "prony-importers",
            "prony-journal",
            "prony-metrics",
            "prony-plan",
            "prony-plugin-host",
            "prony-ranks",
            "prony-record",
            "prony-result",
            "prony-runner",
            "prony-truth-server",
        ],
    ),
];

/// Additional dependencies allowed in tests: the host's tests load plugins in every form, mutants
/// are made of those that ship, and both ends of a measurement are tested together.
const FOR_TESTS: [&str; 20] = [
    "prony-poll",
    "prony-result",
    "prony-truth-server",
    "prony-plugin-test",
    "prony-plugin-sdk",
    "engine-openai",
    "engine-faulty",
    "engine-lines",
    "engine-mlx-serving",
    "reporter-bencher",
    "reporter-console",
    "reporter-csv",
    "reporter-github",
    "reporter-github-action-benchmark",
    "reporter-html",
    "reporter-json",
    "reporter-junit",
    "reporter-llmd",
    "reporter-markdown",
    "reporter-openmetrics",
];

/// Area of a package, which determines its allowed dependencies.
#[derive(Clone, Copy, PartialEq)]
enum Area {
    Core,
    Plugins,
    Other,
}

pub(super) fn check(workspace: &Workspace, files: &[SourceFile]) -> Vec<Finding> {
    let names: Vec<&str> = workspace
        .packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let root = workspace.root.to_string_lossy();
        let path = manifest
            .strip_prefix(&*root)
            .unwrap_or(manifest)
            .trim_start_matches('/');
        let text = files
            .iter()
            .find(|file| file.path == path)
            .map_or("", |file| &file.text);
        let area = match path.split('/').next() {
            Some("core") => Area::Core,
            Some("plugins" | "examples") => Area::Plugins,
            _ => Area::Other,
        };
        if area == Area::Core && allowed_in_core(name).is_none() {
            let message = format!(
                "`{name}` is new: say in xtask/src/tidy/dependencies.rs what it may depend on"
            );
            findings.push(Finding::new(path, line_of(text, "name ="), message));
            continue;
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            let for_tests = matches!(&dependency["kind"], Value::String(kind) if kind == "dev");
            if names.contains(&on) && !allowed(area, name, on, for_tests) {
                let what = if for_tests {
                    "may not depend on, even in tests,"
                } else {
                    "may not depend on"
                };
                let message = format!("`{name}` {what} `{on}`");
                findings.push(Finding::new(path, line_of(text, on), message));
            }
        }
    }
    findings
}

fn allowed(area: Area, from: &str, on: &str, for_tests: bool) -> bool {
    match area {
        Area::Core => {
            allowed_in_core(from).is_some_and(|list| list.contains(&on))
                || (for_tests && FOR_TESTS.contains(&on))
        }
        Area::Plugins if from == "prony-plugin-test" => {
            on == "prony-conformance" || (for_tests && on == "prony-plugin-sdk")
        }
        Area::Plugins if from == "prony-plugin-sdk" => {
            matches!(on, "prony-contract" | "prony-result")
                || (for_tests && on == "prony-plugin-test")
        }
        Area::Plugins if from == "prony-importers" => {
            matches!(on, "prony-config" | "prony-diagnostic")
                || (for_tests && matches!(on, "prony-plugin-sdk" | "engine-openai"))
        }
        // An engine in a process renders chats itself.
        Area::Plugins => {
            matches!(on, "prony-plugin-sdk" | "prony-chat")
                || (for_tests && on == "prony-plugin-test")
        }
        Area::Other => false,
    }
}

fn allowed_in_core(name: &str) -> Option<&'static [&'static str]> {
    CORE.iter()
        .find(|(package, _)| *package == name)
        .map(|(_, list)| *list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_moves_one_way() {
        assert!(allowed(Area::Core, "prony-plan", "prony-config", false));
        assert!(!allowed(Area::Core, "prony-config", "prony-plan", false));
        assert!(!allowed(Area::Core, "prony-config", "prony-plan", true));
    }

    #[test]
    fn plugins_know_the_sdk_only() {
        assert!(allowed(
            Area::Plugins,
            "engine-openai",
            "prony-plugin-sdk",
            false
        ));
        assert!(!allowed(
            Area::Plugins,
            "engine-openai",
            "prony-metrics",
            false
        ));
        assert!(!allowed(
            Area::Plugins,
            "engine-openai",
            "prony-plugin-test",
            false
        ));
        assert!(allowed(
            Area::Plugins,
            "engine-openai",
            "prony-plugin-test",
            true
        ));
        assert!(!allowed(
            Area::Plugins,
            "prony-plugin-sdk",
            "prony-metrics",
            false
        ));
    }

    #[test]
    fn the_table_has_no_cycle() {
        // Each list may name only crates that stand above it.
        for (index, (name, list)) in CORE.iter().enumerate() {
            for on in *list {
                let place = CORE.iter().position(|(other, _)| other == on);
                assert!(place.is_none_or(|place| place < index), "{name} -> {on}");
            }
        }
    }
}
