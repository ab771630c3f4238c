//! Fairness lints.

use prony_diagnostic::human;

use super::explain::{WORKS, block};
use super::fixtures::{codes, files, load, load_file, with};
use crate::CODES;

const COMPARISON: &str =
    "engines: { left: { plugin: openai }, right: { plugin: mock } }\ncompare: { baseline: left }";

#[test]
fn a_fair_comparison_is_silent() {
    let text = with(&format!(
        "{COMPARISON}\nworkload: {{ prompts: [a], temperature: 0 }}\nschedule: {{ cycles: 6 }}"
    ));
    assert_eq!(codes(&text), [""; 0]);
}

#[test]
fn an_unfair_comparison_is_explained() {
    let text = with(&format!(
        "{COMPARISON}\nworkload: {{ prompts: [a], temperature: 1 }}\nschedule: {{ order: sequential }}"
    ))
    .replace("warmup: {}", "warmup: { requests: 0 }");
    let (_, warnings) = load(&text).expect("a pipeline");
    insta::assert_snapshot!(human(&warnings, false));
}

#[test]
fn one_engine_needs_a_warm_up_only() {
    let text = with("engine: { plugin: mock }\nworkload: { prompts: [a] }");
    assert_eq!(codes(&text), [""; 0]);
    assert_eq!(codes(&text.replace("  - warmup: {}\n", "")), ["F0001"]);
}

/// Fair files that get a warning for now.
const NOT_YET: [&str; 0] = [];

/// Every lint has a pipeline that it finds something in, and one that differs in
/// that alone and is fair: on its page, or in files of the same name.
#[test]
fn every_lint_has_an_unfair_and_a_fair_pipeline() {
    let names = |folder: &str| -> Vec<String> {
        let files = files(folder);
        let names = files.iter().filter_map(|path| path.file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    };
    let (unfair, fair) = (names("invalid/fairness"), names("valid/fairness"));
    for code in CODES.iter().filter(|code| code.code.starts_with('F')) {
        let pair = unfair
            .iter()
            .any(|name| name.starts_with(code.code) && fair.contains(name));
        let page = block(code.page, WORKS).is_some();
        assert!(page || pair, "no pair for {}", code.code);
    }
    let mut wrong = Vec::new();
    for path in files("valid/fairness") {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let warnings = match load_file(&path, &name) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems,
        };
        if warnings.is_empty() == NOT_YET.contains(&&*name) {
            wrong.push(format!("{name}\n{}", human(&warnings, false)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
