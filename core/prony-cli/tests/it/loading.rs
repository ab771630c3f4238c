//! A model that cannot be loaded is reported, and the others go on.

use crate::kit::{PRONY, Run, Scratch, With, launched, pipeline, truth, truth_through};
use serde_json::{Value, json};

/// Runs a model that cannot be loaded before one that can. Whether it can is up
/// to the script, which sees the model's id as `$MODEL`.
fn run_two_models(script: &str) -> Run {
    let engine =
        truth_through(script, &[]).with("config.launch.env", json!({ "MODEL": "${{ model.id }}" }));
    Scratch::new().run(&two_models(engine))
}

fn two_models(engine: Value) -> Value {
    pipeline([("engine", engine)])
        .with("models", json!([{ "id": "bad" }, { "id": "good" }]))
        .stage("load", "timeout", "5s")
}

/// `bad` failed in `stage` for this reason, and `good` was measured.
fn bad_failed(run: Run, stage: &str, reason: &str) {
    let run = run.exits(1);
    let failures = run.model("bad")["failures"].clone();
    assert_eq!(failures.as_array().map(Vec::len), Some(1), "{failures:#}");
    assert_eq!(failures[0]["stage"], stage);
    let message = failures[0]["message"].as_str().unwrap_or_default();
    assert!(message.contains(reason), "no `{reason}` in `{message}`");
    assert_eq!(run.model("bad")["engines"][0]["requests"], 0);
    let good = &run.model("good")["engines"][0];
    assert_eq!(good["success_rate"], 1.0, "{good:#}");
    assert_eq!(run.outcome(), "failed");
    run.reports(match stage {
        "setup" => "setup failed",
        _ => "failed in load",
    });
    run.reports(reason);
    run.reports("The run failed");
    run.complains("skipping the rest of bad");
}

#[test]
fn an_engine_that_ends_at_once() {
    let script = format!("[ $MODEL = good ] || exec {PRONY} truth-server --exit 3");
    let run = run_two_models(&script);
    let words = run.model("bad")["failures"][0]["message"].to_string();
    assert!(words.contains("cannot start: told to end"), "{words}");
    bad_failed(run, "load", "exit status: 3");
}

#[test]
fn a_program_that_is_missing() {
    let engine = launched(&["no-such-engine", "--port", "${{ engine.port }}"]);
    let both = pipeline([("steady", truth(&[])), ("missing", engine)]).with("schedule.cycles", 3);
    let run = Scratch::new().run(&both).exits(1);
    // Whichever the coin sends first, the one that works is measured in that cycle; further ones
    // would have nothing to be compared with.
    run.all_well("steady");
    assert_eq!(run.engine("steady")["cycles"], 1);
    run.reports("ended after 1 of 3 cycles, since nothing is left to compare: `missing` failed");
    run.complains("skipping the rest of model on missing");
    run.reports("`no-such-engine` did not start");
    let missing = run.engine("missing");
    assert_eq!(missing["requests"], 0);
    assert_eq!(missing["success_rate"], json!(null));
    // Unless all are wanted.
    let run = Scratch::new().run(&both.with("schedule.stop", "never"));
    assert_eq!(run.exits(1).engine("steady")["cycles"], 3);
}

#[test]
fn engines_that_are_left_are_compared_to_the_end() {
    let engine = launched(&["no-such-engine", "--port", "${{ engine.port }}"]);
    let three = pipeline([
        ("steady", truth(&[])),
        ("missing", engine),
        ("other", truth(&[])),
    ]);
    let of = |baseline: &str| {
        let pipeline = three.clone().with("schedule.cycles", 2);
        let pipeline = pipeline.with("compare.baseline", baseline);
        Scratch::new().run(&pipeline).exits(1)
    };
    assert_eq!(of("steady").engine("other")["cycles"], 2);
    // All are compared with the one that is missing.
    let run = of("missing");
    assert_eq!(run.engine("other")["cycles"], 1);
    assert_eq!(run.engine("steady")["cycles"], 1);
}

#[test]
fn a_model_file_that_is_missing() {
    let models = json!([{ "id": "bad", "path": "bad.gguf" }, { "id": "good" }]);
    // Without a step that may get it, nothing would begin.
    let pipeline = two_models(truth(&[])).with("models", models).stage(
        "setup",
        "before",
        json!([{ "run": "true" }]),
    );
    bad_failed(Scratch::new().run(&pipeline), "setup", "bad.gguf");
}

#[test]
fn a_model_file_with_another_digest() {
    let scratch = Scratch::new();
    scratch.write("bad.gguf", "weights");
    let zeros = "0".repeat(64);
    let models = json!([{ "id": "bad", "path": "bad.gguf", "sha256": zeros }, { "id": "good" }]);
    let run = scratch.run(&two_models(truth(&[])).with("models", models));
    bad_failed(run, "setup", &format!("the pipeline expects {zeros}"));
}

#[test]
fn a_model_file_with_the_right_digest_is_loaded() {
    let scratch = Scratch::new();
    scratch.write("empty.gguf", "");
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let models = json!([{ "id": "empty", "path": "empty.gguf", "sha256": digest }]);
    let run = scratch.run(&pipeline([("engine", truth(&[]))]).with("models", models));
    run.exits(0).all_well("engine");
}

#[test]
fn an_engine_that_never_listens() {
    let run = run_two_models("[ $MODEL = good ] || { echo still waiting; exec sleep 300; }");
    let words = run.model("bad")["failures"][0]["message"].to_string();
    assert!(words.contains("its last words: still waiting"), "{words}");
    bad_failed(run, "load", "the engine was not ready within 5s");
}

fn never_ready(ready: Value) {
    let engine = truth(&["--fault", "http404"]).with("config.launch.ready", ready);
    let pipeline = pipeline([("engine", engine)]).stage("load", "timeout", "500ms");
    let run = Scratch::new().run(&pipeline).exits(1);
    run.reports("was not ready within 500ms");
    run.reports("listening on http://127.0.0.1:");
    assert_eq!(run.requests("engine").len(), 0);
}

#[test]
fn an_engine_that_answers_but_not_200() {
    never_ready(json!({ "http": "/v1/nothing" }));
}

#[test]
fn an_engine_that_never_prints_that_it_is_ready() {
    never_ready(json!({ "log_line": "ready as can be" }));
}

#[test]
fn a_line_in_the_log_says_that_an_engine_is_ready() {
    let engine = truth(&[]).with("config.launch.ready", json!({ "log_line": "listening on" }));
    let run = Scratch::new().run(&pipeline([("engine", engine)])).exits(0);
    run.all_well("engine");
    assert_eq!(run.engine("engine")["load_time_ms"]["n"], 1);
}

#[test]
fn the_words_of_another_engine_make_none_ready() {
    // The two models have the same log file.
    let engine = truth_through("[ $MODEL = a_b ] && exec sleep 300", &[])
        .with("config.launch.env", json!({ "MODEL": "${{ model.id }}" }))
        .with("config.launch.ready", json!({ "log_line": "listening on" }));
    let pipeline = pipeline([("engine", engine)])
        .with("models", json!([{ "id": "a/b" }, { "id": "a_b" }]))
        .stage("load", "timeout", "2s");
    let run = Scratch::new().run(&pipeline).exits(1);
    run.all_well("engine");
    assert_eq!(run.model("a_b")["failures"][0]["stage"], "load");
}

#[test]
fn every_cycle_is_a_fresh_start() {
    let scratch = Scratch::new();
    let engine = truth_through("echo started >> starts", &[]);
    let run = scratch.run(&pipeline([("engine", engine)]).with("schedule.cycles", 3));
    let run = run.exits(0);
    assert_eq!(scratch.read("starts").lines().count(), 3);
    assert_eq!(run.engine("engine")["load_time_ms"]["n"], 3);
    assert_eq!(run.engine("engine")["cycles"], 3);
}
