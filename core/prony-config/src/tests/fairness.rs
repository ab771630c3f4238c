//! Fairness lints.

use prony_diagnostic::human;

use super::fixtures::{codes, load, with};

const COMPARISON: &str = "engines: { left: { plugin: openai }, right: { plugin: mock } }";

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
