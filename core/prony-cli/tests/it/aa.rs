//! An engine against itself, and what later runs of the machine say of it.

use crate::kit::{Scratch, With, pipeline, truth};
use serde_json::{Value, json};

/// Two engines, one of them ten times as slow, in few and small cycles.
fn compared() -> Value {
    pipeline([
        ("one", truth(&[])),
        ("slow", truth(&["--inter-token-latency-us", "10000"])),
    ])
    .stage("measure", "requests", 2)
    .with("schedule", json!({ "cycles": 6 }))
}

fn aa(scratch: &Scratch, pipeline: &Value, options: &[&str]) -> crate::kit::Output {
    scratch.write("pipeline.yaml", format!("{pipeline:#}"));
    let cache = scratch.path("cache");
    let cache = cache.to_str().expect("the path is text");
    scratch.prony(&[&["--cache", cache, "aa", "pipeline.yaml"], options].concat())
}

#[test]
fn an_engine_is_compared_with_itself_and_later_runs_say_how_noisy_that_was() {
    let scratch = Scratch::new();
    let found = aa(&scratch, &compared(), &["--json", "--runs", "2"]).exits(0);
    let found = found.json();
    assert_eq!(found["engine"], "one");
    assert_eq!(found["comparisons"], 2);
    assert_eq!(found["allowed_wins"], Value::Null, "two runs say nothing");
    let group = &found["groups"][0];
    assert_eq!(group["runs"].as_array().expect("runs").len(), 2);
    let cycles = group["cycles"].as_u64().expect("a number");
    let deviation = group["standard_deviation_percent"].as_f64();
    let deviation = deviation.expect("a deviation");
    assert!(deviation > 0.0, "{deviation}");

    // The same engines in an ordinary run: the floor is in its journal and its result.
    let cache = scratch.path("cache");
    let cache = cache.to_str().expect("the path is text");
    let run = scratch.run_with(&compared(), &["--cache", cache]);
    let floor = &run.result()["models"][0]["noise_floor"];
    assert_eq!(floor["engine"], "one");
    assert_eq!(floor["runs"], 2);
    assert_eq!(floor["cycles"].as_u64(), Some(cycles));
    let kept = floor["standard_deviation_percent"].as_f64().expect("it");
    assert!((kept - deviation).abs() < 1e-9, "{kept} and {deviation}");
    run.output.prints("Noise floor of this machine");
}

#[test]
fn the_summary_says_what_a_cycle_varies_by() {
    let scratch = Scratch::new();
    let output = aa(&scratch, &compared(), &["--engine", "slow"]).exits(0);
    let output = output.prints("slow against itself");
    let output = output.prints("slow_again");
    output.prints("1 comparison named a winner, and there is none");
}

#[test]
fn an_engine_that_is_not_there_is_told() {
    let scratch = Scratch::new();
    let output = aa(&scratch, &compared(), &["--engine", "slaw"]).exits(2);
    output.complains("there is no engine `slaw`; there are `slow`, `one`");
}

#[test]
fn the_first_run_begins_whatever_the_limit_and_no_other_that_would_exceed_it() {
    let scratch = Scratch::new();
    let pipeline = compared().with("schedule", json!({ "cycles": 1 }));
    let options = ["--limit", "1ms", "--cycles", "6", "--runs", "3"];
    let output = aa(&scratch, &pipeline, &options).exits(0);
    assert!(
        !output.stderr.contains("too few for a verdict"),
        "{output:?}"
    );
    output
        .complains("ended after 1 of 3 runs")
        .prints("1 comparison named a winner");
}
