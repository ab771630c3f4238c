//! Engines that speak over their standard input and output.

use crate::kit::{PRONY, Run, Scratch, With, pipeline, text};
use serde_json::{Value, json};

/// The truth over standard input and output, as the runtime that a bundled adapter is for.
fn truth(options: &[&str]) -> Value {
    let arguments = [&["--ready", "MLX Runtime ready"], options].concat();
    json!({ "plugin": "mlx-serving", "config": {
        "python": PRONY, "runtime": "truth-stdio", "arguments": arguments,
    } })
}

fn run(pipeline: Value) -> Run {
    Scratch::new().run(&pipeline.with("workload.api", "completions"))
}

fn class(request: &Value) -> String {
    text(&request["failed"]["class"])
}

#[test]
fn it_is_measured_like_any_other() {
    for (batch, concurrency) in [("1", 1), ("4", 4)] {
        let pipeline = pipeline([("engine", truth(&["--batch", batch]))])
            .stage("measure", "requests", 12)
            .stage("measure", "arrival", json!({ "concurrency": concurrency }))
            .stage("warmup", "requests", 1);
        let run = run(pipeline).exits(0);
        run.all_well("engine");
        let requests = run.requests("engine");
        assert_eq!(requests.len(), 12);
        for request in &requests {
            assert_eq!(request["output_tokens"], 16);
            assert_eq!(request["finish_reason"], "completed");
            assert_eq!(request["arrivals"].as_array().map(Vec::len), Some(16));
            assert!(request.get("status").is_none(), "there is no HTTP");
        }
        // Nobody had to be killed, and nobody complained.
        assert!(
            run.events("warning").is_empty(),
            "{:?}",
            run.events("warning")
        );
    }
}

#[test]
fn an_open_loop_sends_when_requests_are_due() {
    let pipeline = pipeline([("engine", truth(&[]))])
        .stage("measure", "requests", 10)
        .stage("measure", "arrival", json!({ "constant": { "rate": 100 } }));
    let run = run(pipeline).exits(0);
    run.all_well("engine");
    let intended: Vec<u64> = run
        .requests("engine")
        .iter()
        .map(|it| it["intended_ns"].as_u64().expect("a time"))
        .collect();
    let (first, last) = (intended.iter().min(), intended.iter().max());
    assert_eq!(
        last.zip(first).map(|(last, first)| last - first),
        Some(90_000_000)
    );
}

#[test]
fn faults_have_their_class_and_the_rest_is_not_sent() {
    for (fault, of_it, of_the_rest) in [
        ("error", "engine_error", "engine_error"),
        ("refuse", "engine_error", "engine_error"),
        ("exit", "crashed", "crashed"),
        ("stall", "timeout", "crashed"),
    ] {
        let engine = truth(&["--fault", fault, "--fault-from", "1"]);
        let pipeline = pipeline([("engine", engine)]).with("workload.request_timeout", "2s");
        let run = run(pipeline);
        let requests = run.requests("engine");
        assert_eq!(requests.len(), 4, "{fault}");
        assert!(
            requests[0].get("failed").is_none(),
            "{fault}: {}",
            requests[0]
        );
        assert_eq!(class(&requests[1]), of_it, "{fault}");
        assert_eq!(class(&requests[2]), of_the_rest, "{fault}");
        assert_eq!(class(&requests[3]), of_the_rest, "{fault}");
    }
}

#[test]
fn lines_of_nobody_are_in_the_log() {
    let run = run(pipeline([("engine", truth(&["--fault", "garbage"]))])).exits(0);
    run.all_well("engine");
    let log = run.read("logs/model-engine-c1.log");
    assert!(log.contains("MLX Runtime ready"), "{log}");
    assert!(log.contains("nobody's"), "{log}");
}

#[test]
fn an_engine_that_cannot_load_says_why() {
    let run = run(pipeline([("engine", truth(&["--fault", "load"]))]));
    assert_ne!(run.output.code, Some(0));
    run.complains("told not to load");
    assert!(run.requests("engine").is_empty());
}

#[test]
fn what_the_engine_would_ignore_is_refused_before_it_is_asked() {
    let stops = pipeline([("engine", truth(&[]))])
        .with("workload.api", "completions")
        .with("workload.stop", json!(["x"]));
    let scratch = Scratch::new();
    scratch.write("pipeline.yaml", stops.to_string());
    for command in ["validate", "run"] {
        scratch
            .prony(&[command, "pipeline.yaml"])
            .exits(3)
            .complains("error[P0335]: `engine` would refuse the workload's requests")
            .complains("takes stop sequences and ignores them");
    }
}
