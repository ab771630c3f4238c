//! Reports, their files, and what they withhold.

#[path = "../../reporter-console/tests/fixtures/mod.rs"]
mod fixtures;

use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{Artifact, Reporter};
use reporter_llmd::{Config, Llmd};
use serde_json::Value;

fn render(result: &RunResult) -> Vec<Artifact> {
    let reporter = Llmd::new(Config::default());
    reporter.and_then(|it| it.render(result)).expect("renders")
}

fn report(artifact: &Artifact) -> Value {
    let text = std::str::from_utf8(&artifact.bytes).expect("UTF-8");
    serde_yaml::from_str(text).expect("YAML")
}

#[test]
fn snapshots() {
    for (name, result) in fixtures::all() {
        let files: Vec<String> = render(&result)
            .iter()
            .map(|it| format!("{}\n{}", it.name, String::from_utf8_lossy(&it.bytes)))
            .collect();
        insta::assert_snapshot!(name, files.join("\n"));
    }
}

#[test]
fn numbers_are_those_of_the_result_in_seconds() {
    let result = fixtures::single_engine();
    let report = report(&render(&result)[0]);
    let all = &report["results"]["request_performance"]["aggregate"];
    let engine = &result.models[0].engines[0];
    let latency = engine.request_latency_ms.expect("measured");
    let found = &all["latency"]["request_latency"];
    assert_eq!(found["units"], "s");
    assert_eq!(found["p90"].as_f64(), latency.p90.map(|it| it / 1000.0));
    assert_eq!(found.get("p99"), None, "of 120 samples");
    let rate = &all["throughput"]["output_token_rate"];
    assert_eq!(rate["mean"].as_f64(), engine.output_tokens_per_sec);
    assert_eq!(all["requests"]["failures"], 0);
    let withheld = &report["scenario"]["stack"][1]["standardized"]["withheld"];
    assert_eq!(withheld["prompt_tokens_per_request"], "not measured");
}

#[test]
fn gaps_between_arrivals_are_no_gaps_between_tokens_where_several_arrive_together() {
    let mut result = fixtures::single_engine();
    result.models[0].engines[0].cadence.arrivals_per_token = Some(0.25);
    let report = report(&render(&result)[0]);
    let latency = &report["results"]["request_performance"]["aggregate"]["latency"];
    assert!(
        latency.get("inter_token_latency").is_none()
            && latency.get("time_per_output_token").is_some()
    );
    let withheld = &report["scenario"]["stack"][1]["standardized"]["withheld"];
    assert_eq!(
        withheld["inter_token_latency_ms"],
        "0.25 arrivals of text for each token: gaps are not of tokens"
    );
}

#[test]
fn a_run_that_is_not_valid_has_counts_and_no_times() {
    let mut result = fixtures::single_engine();
    result.invalid = vec!["late".to_owned()];
    let report = report(&render(&result)[0]);
    assert_eq!(report["run"]["description"], "not valid: late");
    let all = report["results"]["request_performance"]["aggregate"].as_object();
    assert_eq!(
        all.expect("counts").keys().collect::<Vec<_>>(),
        ["requests"]
    );
}

#[test]
fn names_of_files_differ_and_what_is_beyond_them_is_kept() {
    let mut result = fixtures::winner();
    let model = result.models[0].clone();
    result.models = (0..80).map(|_| model.clone()).collect();
    let files = render(&result);
    assert_eq!(files.len(), 100);
    assert_eq!(prony_plugin_sdk::artifact::artifacts_problem(&files), None);
    assert_eq!(
        files[0].name,
        "llmd-mlx-community-qwen2.5-7b-instruct-4bit-alpha.yaml"
    );
    let more = files.last().expect("files");
    assert_eq!(more.name, "llmd-more.yaml");
    let text = String::from_utf8_lossy(&more.bytes);
    let documents = text.split("---\n").filter(|it| !it.is_empty());
    assert_eq!(documents.count(), 2 * 80 - 99);
}
