//! Results of two runs beside each other.

use crate::kit::{Output, Run, Scratch, With, pipeline, truth};
use serde_json::{Value, json};
use std::fs;

fn one(name: &str, options: &[&str]) -> Value {
    pipeline([("engine", truth(options))])
        .with("name", name)
        .stage("measure", "requests", 2)
        .with("schedule", json!({ "cycles": 6 }))
}

fn path(run: &Run) -> String {
    run.folder.display().to_string()
}

fn compare(scratch: &Scratch, arguments: &[&str]) -> Output {
    scratch.bare(&[&["compare"], arguments].concat())
}

/// A quick engine, and one that is about half as fast.
fn two_runs(scratch: &Scratch) -> (String, String) {
    let quick = scratch.run(&one("quick", &[])).exits(0);
    let slow = ["--inter-token-latency-us", "4000"];
    let slow = scratch.run(&one("slow", &slow)).exits(0);
    (path(&quick), path(&slow))
}

#[test]
fn runs_one_after_the_other_have_no_winner_unless_the_machine_is_taken_to_be_stable() {
    let scratch = Scratch::new();
    let (quick, slow) = two_runs(&scratch);
    let output = compare(&scratch, &[&quick, &slow, "--fail-on", "regression"]).exits(0);
    let output = output.prints("sequential runs: descriptive only");
    let output = output.prints("Speed, tok/s");
    output.complains("1 of 1 comparison not decided");
    compare(&scratch, &[&quick, &slow, "--fail-on", "inconclusive"]).exits(4);

    let stable = ["--assume-stable", "--fail-on", "regression"];
    let output = compare(&scratch, &[&[&*quick, &slow], &stable[..]].concat()).exits(4);
    let output = output.prints("% slower than the base (");
    let output = output.prints("assumed, not measured");
    output.complains("regression: model · engine");
    let output = compare(&scratch, &[&[&*slow, &quick], &stable[..]].concat()).exits(0);
    output.prints("% faster than the base (");

    // From files alone, wherever they are.
    let copy = |folder: &str, name: &str| {
        let result = fs::read(format!("{folder}/result.json")).expect("a result");
        scratch.write(name, result).display().to_string()
    };
    let (base, candidate) = (copy(&quick, "a.json"), copy(&slow, "b.json"));
    let found = compare(&scratch, &[&base, &candidate, "--assume-stable", "--json"]).exits(0);
    let pair = &found.json()["pairs"][0];
    assert_eq!(pair["basis"], "two_samples");
    assert_eq!(pair["verdict"], "slower");
    assert_eq!(pair["regression"], true);
    assert_eq!(pair["cycles"], json!([6, 6]));
    let output = compare(&scratch, &[&base, &candidate, "--format", "markdown"]).exits(0);
    output.prints("| Speed, tok/s |");
}

#[test]
fn engines_of_one_run_get_the_verdict_of_that_run() {
    let scratch = Scratch::new();
    let slow = truth(&["--inter-token-latency-us", "4000"]);
    let pipeline = pipeline([("quick", truth(&[])), ("slow", slow)])
        .stage("measure", "requests", 2)
        .with("schedule", json!({ "cycles": 9 }));
    let run = scratch.run(&pipeline).exits(0);
    let result = run.result();
    let comparison = &result["models"][0]["comparisons"][0];
    let engines = ["--engine", "quick", "--candidate-engine", "slow", "--json"];
    let found = compare(&scratch, &[&["latest", "latest"], &engines[..]].concat());
    let found = found.exits(0).json();
    let pair = &found["pairs"][0];
    assert_eq!(pair["basis"], "paired");
    assert_eq!(pair["verdict"], comparison["verdict"]);
    assert_eq!(pair["interval"], comparison["interval"]);
    assert_eq!(pair["difference_percent"], comparison["difference_percent"]);
    let sentence = pair["sentence"].as_str().expect("a sentence");
    assert!(
        sentence.contains(" slower than quick in the typical request ("),
        "{sentence}"
    );
    let listed = scratch.bare(&["list"]).exits(0);
    listed.prints(sentence);

    let itself = compare(&scratch, &["latest", "latest"]).exits(2);
    itself.complains("both are the same run");
}

#[test]
fn other_work_or_another_machine_gives_no_verdict() {
    let scratch = Scratch::new();
    let (quick, _) = two_runs(&scratch);
    let read = fs::read_to_string(format!("{quick}/result.json")).expect("a result");
    let result: Value = serde_json::from_str(&read).expect("JSON");
    let changed = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut result = result.clone();
        result["run"]["id"] = name.into();
        change(&mut result);
        scratch
            .write(name, result.to_string())
            .display()
            .to_string()
    };
    let machine = changed("machine.json", &|it| {
        it["environment"]["machine"] = "0123456789ab".into();
    });
    let output = compare(&scratch, &[&quick, &machine, "--assume-stable"]).exits(0);
    let output = output.prints("not the same machine: ");
    output.prints("  not the same machine\n");
    let work = changed("work.json", &|it| it["workload"]["max_tokens"] = 9.into());
    let output = compare(&scratch, &[&quick, &work, "--assume-stable"]).exits(0);
    output.prints("not the same workload (max_tokens): one against another; no verdict");
    let engine = changed("engine.json", &|it| {
        it["models"][0]["engines"][0]["engine_versions"] = json!(["9"]);
    });
    let output = compare(&scratch, &[&quick, &engine, "--assume-stable"]).exits(0);
    output
        .prints("not the same engine version: ")
        .prints("against 9");
}

#[test]
fn what_cannot_be_compared_is_told() {
    let scratch = Scratch::new();
    scratch.write("results/2026-01-01-00-00-00-demo/journal.jsonl", "");
    let output = compare(&scratch, &["dema", "latest"]).exits(2);
    output
        .complains("there is no run `dema`")
        .complains("similar: `2026-01-01-00-00-00-demo`");
    scratch.write("other.json", r#"{"schema": "prony-result/9"}"#);
    let output = compare(&scratch, &["other.json", "other.json"]).exits(2);
    output.complains("its schema is `prony-result/9`, and this prony reads `prony-result/1`");
    let output = compare(&scratch, &["a", "b", "--margin", "much"]).exits(2);
    output.complains("expected a percentage");
}
