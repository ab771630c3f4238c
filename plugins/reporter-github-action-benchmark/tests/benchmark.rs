//! A file for each direction, and what is left out.

#[path = "../../reporter-console/tests/fixtures/mod.rs"]
mod fixtures;

use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{Error, Reporter};
use reporter_github_action_benchmark::{Config, GithubActionBenchmark};
use serde_json::Value;

fn render(config: &str, result: &RunResult) -> Result<[String; 2], Error> {
    let config: Config = serde_json::from_str(config).expect("config");
    let artifacts = GithubActionBenchmark::new(config)?.render(result)?;
    let names: Vec<&str> = artifacts.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["benchmark-bigger.json", "benchmark-smaller.json"]);
    Ok([0, 1].map(|at: usize| String::from_utf8(artifacts[at].bytes.clone()).expect("UTF-8")))
}

#[test]
fn snapshots() {
    for (name, result) in fixtures::all() {
        let [bigger, smaller] = render("{}", &result).expect("renders");
        insta::assert_snapshot!(name, format!("{bigger}{smaller}"));
    }
}

#[test]
fn numbers_are_those_of_the_result_in_the_file_of_their_direction() {
    let result = fixtures::single_engine();
    let files = render("{}", &result).expect("renders");
    let [bigger, smaller] =
        files.map(|text| serde_json::from_str::<Vec<Value>>(&text).expect("JSON"));
    let engine = &result.models[0].engines[0];
    let speed = &bigger[0];
    assert_eq!(speed["name"], "tiny · alpha · output_tokens_per_sec");
    assert_eq!(
        (&speed["unit"], speed["value"].as_f64()),
        (&"tok/s".into(), engine.output_tokens_per_sec)
    );
    let latency = &smaller[0];
    let found = engine.request_latency_ms.expect("measured");
    assert_eq!(latency["value"].as_f64(), Some(found.p50));
    let range = format!(
        "{} … {}",
        found.p50_low.expect("low"),
        found.p50_high.expect("high")
    );
    assert_eq!(latency["range"], range);
    assert_eq!(
        latency["extra"],
        "n=120\ncycles=12\nrun=2026-01-02T03-04-05-qwen"
    );
}

#[test]
fn metrics_need_a_name_and_a_direction() {
    let error = |config| render(config, &fixtures::winner()).expect_err("refused");
    let none = error(r#"{"metrics": ["speed"]}"#);
    assert!(none.to_string().contains("no metric `speed`"), "{none}");
    let neither = error(r#"{"metrics": ["success_rate", "output_tokens"]}"#);
    assert_eq!(neither.path.as_deref(), Some("/metrics/1"));
    assert!(
        neither.to_string().contains("has no direction"),
        "{neither}"
    );
}
