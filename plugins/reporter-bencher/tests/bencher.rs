//! Benchmarks and measures, and what is left out.

#[path = "../../reporter-console/tests/fixtures/mod.rs"]
mod fixtures;

use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{Error, ErrorKind, Reporter};
use reporter_bencher::{Bencher, Config};
use serde_json::Value;

fn render(config: &str, result: &RunResult) -> Result<String, Error> {
    let config: Config = serde_json::from_str(config).expect("config");
    let artifacts = Bencher::new(config)?.render(result)?;
    let [artifact] = &artifacts[..] else {
        panic!("one artifact")
    };
    assert_eq!(
        (artifact.name.as_str(), artifact.media_type.as_str()),
        ("bencher.json", "application/json")
    );
    Ok(String::from_utf8(artifact.bytes.clone()).expect("UTF-8"))
}

fn json(config: &str, result: &RunResult) -> Value {
    serde_json::from_str(&render(config, result).expect("renders")).expect("JSON")
}

#[test]
fn snapshots() {
    for (name, result) in fixtures::all() {
        insta::assert_snapshot!(name, render("{}", &result).expect("renders"));
    }
}

#[test]
fn numbers_are_those_of_the_result() {
    let result = fixtures::winner();
    let found = json("{}", &result);
    let engine = &result.models[1].engines[0];
    let of = &found["Llama-3.2-3B · alpha"];
    assert_eq!(
        of["output_tokens_per_sec"]["value"].as_f64(),
        engine.output_tokens_per_sec
    );
    let latency = engine.request_latency_ms.expect("measured");
    let measure = &of["request_latency_ms.p50"];
    assert_eq!(measure["value"].as_f64(), Some(latency.p50));
    assert_eq!(measure["lower_value"].as_f64(), latency.p50_low);
    assert_eq!(measure["upper_value"].as_f64(), latency.p50_high);
    let difference = &found["Llama-3.2-3B · beta against alpha"]["difference_percent"];
    assert_eq!(
        *difference,
        serde_json::json!({ "value": -3.9, "lower_value": -5.0, "upper_value": -2.9 })
    );
}

#[test]
fn metrics_are_chosen_by_name() {
    let metrics = r#"{"metrics": ["request_latency_ms.p99", "request_latency_ms.p90"]}"#;
    let found = json(metrics, &fixtures::single_engine());
    let measures = found["tiny · alpha"].as_object().expect("measures");
    // 120 samples have no 99th percentile.
    assert_eq!(
        measures.keys().collect::<Vec<_>>(),
        ["request_latency_ms.p90"]
    );
    let error = render(
        r#"{"metrics": ["success_rate", "speed"]}"#,
        &fixtures::winner(),
    );
    let error = error.expect_err("no metric");
    assert_eq!(error.kind, ErrorKind::InvalidConfig);
    assert_eq!(error.path.as_deref(), Some("/metrics/1"));
    assert!(error.message.contains("no metric `speed`"), "{error}");
}

#[test]
fn of_a_run_that_is_not_valid_only_counts_of_requests_are_there() {
    let mut result = fixtures::winner();
    result.invalid = vec!["late".to_owned()];
    let found = json("{}", &result);
    assert_eq!(
        found["Llama-3.2-3B · alpha"],
        serde_json::json!({ "success_rate": { "value": 1.0 } })
    );
    assert_eq!(found.as_object().map(serde_json::Map::len), Some(4));
}

#[test]
fn nothing_measured_is_no_benchmark() {
    assert_eq!(json("{}", &fixtures::no_requests()), serde_json::json!({}));
}
