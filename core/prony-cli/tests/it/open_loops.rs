//! Requests that are sent when they are due, and the client that sends them.

use crate::kit::{PRONY, Run, Scratch, With, lock, pipeline, truth};
use serde_json::{Value, json};
use std::process::Command;

fn sent(run: &Run) -> Vec<Value> {
    run.journal()
        .into_iter()
        .filter(|event| event["event"] == "request" && event["phase"] == "measure")
        .collect()
}

fn ns(request: &Value, stamp: &str) -> u64 {
    request[stamp].as_u64().expect("a stamp")
}

#[test]
fn requests_are_sent_when_they_are_due() {
    let scratch = Scratch::new();
    let constant = pipeline([("engine", truth(&[]))])
        .stage("measure", "requests", 20)
        .stage("measure", "arrival", json!({ "constant": { "rate": 100 } }));
    let run = scratch.run(&constant).exits(0);
    let mut requests = sent(&run);
    assert_eq!(requests.len(), 20);
    requests.sort_by_key(|request| request["index"].as_u64());
    let first = ns(&requests[0], "intended_ns");
    for (nth, request) in (0..).zip(&requests) {
        assert_eq!(ns(request, "intended_ns"), first + nth * 10_000_000);
        assert!(ns(request, "sent_ns") >= ns(request, "intended_ns"));
    }
    let result = run.result();
    let model = &result["models"][0];
    assert_eq!(model["arrival"], "constant, 100 a second");
    let client = &model["engines"][0]["client"];
    let stamps = if cfg!(target_os = "linux") {
        "kernel"
    } else {
        "read"
    };
    assert_eq!(client["stamps"], stamps);
    assert_eq!(client["dropped"], 0);
    assert!(model["engines"][0]["cpu_percent"].is_number());
}

#[test]
fn both_engines_meet_the_same_arrivals() {
    let scratch = Scratch::new();
    let poisson = pipeline([("one", truth(&[])), ("two", truth(&[]))])
        .stage("measure", "requests", 15)
        .stage("measure", "arrival", json!({ "poisson": { "rate": 200 } }));
    let run = scratch.run(&poisson).exits(0);
    let offsets = |engine: &str| {
        let mut due: Vec<(u64, u64)> = sent(&run)
            .iter()
            .filter(|request| request["engine"] == engine)
            .map(|request| (ns(request, "index"), ns(request, "intended_ns")))
            .collect();
        due.sort_unstable();
        due.windows(2)
            .map(|pair| pair[1].1 - pair[0].1)
            .collect::<Vec<_>>()
    };
    assert_eq!(offsets("one").len(), 14);
    assert_eq!(offsets("one"), offsets("two"));
}

#[test]
fn what_there_was_no_time_for_has_failed() {
    let scratch = Scratch::new();
    // 2 at a time, 13 ms each: not half of the 500 a second that are asked for.
    let overload = pipeline([("engine", truth(&[]))])
        .stage("measure", "requests", 100)
        .stage("measure", "duration", "200ms")
        .stage(
            "measure",
            "arrival",
            json!({ "constant": { "rate": 500, "max_in_flight": 2 } }),
        );
    let run = scratch.run(&overload);
    let result = run.result();
    let engine = &result["models"][0]["engines"][0];
    let dropped = engine["client"]["dropped"].as_u64().expect("a count");
    assert!(dropped > 20, "{dropped}");
    assert_eq!(engine["errors"]["timeout"], dropped);
    assert_eq!(engine["requests"], 100);
    // What was sent late counts from when it was due.
    let slowest = engine["request_latency_ms"]["max"].as_f64().expect("ms");
    assert!(slowest > 50.0, "{slowest}");
}

#[test]
fn a_duration_ends_a_closed_loop_and_nothing_is_owed() {
    let scratch = Scratch::new();
    let short = pipeline([("engine", truth(&[]))])
        .stage("measure", "requests", 10_000)
        .stage("measure", "duration", "150ms");
    let run = scratch.run(&short).exits(0);
    let result = run.result();
    let engine = &result["models"][0]["engines"][0];
    let requests = engine["requests"].as_u64().expect("a count");
    assert!((1..100).contains(&requests), "{requests}");
    assert_eq!(engine["succeeded"], requests);
}

#[test]
fn a_client_that_could_not_keep_up_makes_a_run_invalid() {
    let scratch = Scratch::new();
    // Nothing but the client's own work lies between a request and the next.
    let firehose = truth(&[
        "--tokens",
        "2000",
        "--time-to-first-token-ms",
        "0",
        "--inter-token-latency-us",
        "0",
    ]);
    let busy = pipeline([("engine", firehose)])
        .with("workload.max_tokens", 2000)
        .stage("measure", "requests", 400)
        .stage("measure", "arrival", json!({ "concurrency": 64 }));
    let run = scratch.run(&busy);
    let result = run.result();
    let client = &result["models"][0]["engines"][0]["client"];
    let cpu = client["cpu_percent"].as_f64().expect("a share");
    // Whether it is too busy depends on the machine; that it is told does not.
    if result["invalid"]
        .as_array()
        .is_some_and(|reasons| !reasons.is_empty())
    {
        run.exits(6).complains("not valid");
    } else {
        assert!(cpu <= 90.0, "{cpu}");
        run.exits(0);
    }
}

#[test]
fn a_recording_is_replayed_at_its_times() {
    let scratch = Scratch::new();
    let line = |at: u32| format!("{{\"prompt\":\"p{at}\",\"at_ms\":{at}}}\n");
    let times = [500, 500, 620, 900, 1100];
    scratch.write("trace.jsonl", times.map(line).concat());
    let trace = |speed: f64, requests: u32| {
        pipeline([("engine", truth(&["--time-to-first-token-ms", "200"]))])
            .with(
                "workload",
                json!({ "dataset": { "path": "trace.jsonl" }, "temperature": 0 }),
            )
            .stage("measure", "requests", requests)
            .stage(
                "measure",
                "arrival",
                json!({ "replay": { "speed": speed } }),
            )
    };
    let run = scratch.run(&trace(2.0, 5)).exits(0);
    run.all_well("engine");
    let due = |it: &Value| it["intended_ns"].as_u64().expect("a time");
    let mut requests = run.requests("engine");
    requests.sort_by_key(|it| it["index"].as_u64());
    let due: Vec<u64> = requests.iter().map(due).collect();
    let apart: Vec<u64> = due.iter().map(|at| (at - due[0]) / 1_000).collect();
    assert_eq!(apart, [0, 0, 60_000, 200_000, 300_000]);

    let run = scratch.run(&trace(1.0, 6)).exits(1);
    run.reports("the stage `measure` is to replay 6 requests of a dataset that has 5");
    scratch.write("trace.jsonl", format!("{}{{\"prompt\":\"p\"}}", line(1)));
    let run = scratch.run(&trace(1.0, 2)).exits(1);
    run.reports("it has no time, and the arrival `replay` sends at it: expected `at_ms`");
}

/// Runs the pipeline where only 300 files may be open.
fn run_with_few_files(scratch: &Scratch) -> (Option<i32>, String) {
    let limited = ["-c", "ulimit -n 300 && exec \"$@\"", "sh", PRONY, "--lock"];
    let output = Command::new("sh")
        .args(limited)
        .arg(lock())
        .args(["run", "pipeline.yaml"])
        .current_dir(scratch.path(""))
        .output()
        .expect("sh");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[test]
fn a_run_needs_no_more_files_than_it_has_requests() {
    let scratch = Scratch::new();
    let of = |requests: u32| {
        let pipeline = pipeline([("engine", truth(&[]))])
            .stage("measure", "arrival", json!({ "concurrency": 65_536 }))
            .stage("measure", "requests", requests);
        scratch.write("pipeline.yaml", pipeline.to_string());
        run_with_few_files(&scratch)
    };
    // On a busy machine its numbers may be invalid.
    let (_, said) = of(4);
    assert!(said.contains("4 of 4 requests"), "{said}");
    let (code, said) = of(1000);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("1000 requests in flight need 1064 open files"),
        "{said}"
    );
}

#[test]
fn a_warm_up_may_have_several_requests_in_flight_or_a_rate() {
    let scratch = Scratch::new();
    let warm = |arrival: Value, requests: u32| {
        pipeline([("engine", truth(&["--time-to-first-token-ms", "150"]))])
            .stage("warmup", "requests", requests)
            .stage("warmup", "arrival", arrival)
    };
    // Number of requests that were sent before the first was answered.
    let at_once = |run: &crate::kit::Run| {
        let requests = run.events("request");
        let warmups: Vec<&Value> = requests
            .iter()
            .filter(|it| it["phase"] == "warmup")
            .collect();
        let time = |it: &Value, key: &str| it[key].as_u64().expect("a time");
        let first = warmups.iter().map(|it| time(it, "end_ns")).min();
        let first = first.expect("there are some");
        let sent = warmups.iter().filter(|it| time(it, "sent_ns") < first);
        (warmups.len(), sent.count())
    };
    let run = scratch.run(&warm(json!({ "concurrency": 4 }), 8)).exits(0);
    assert_eq!(at_once(&run), (8, 4));
    run.all_well("engine");
    run.reports("8 warm-up requests (4 at a time), which do not count");
    let console = scratch.prony(&["report"]).exits(0);
    console.prints("(after 8 as warm-up, 4 at a time), 1 at a time");
    let plan = |words: &str| {
        let planned = scratch.prony(&["plan", "pipeline.yaml"]).exits(0);
        planned.prints(words);
    };
    plan("warmup 8×4");
    let run = scratch
        .run(&warm(json!({ "constant": { "rate": 200 } }), 6))
        .exits(0);
    assert_eq!(at_once(&run), (6, 6));
    run.reports("6 warm-up requests (constant, 200 a second), which do not count");
    plan("warmup 6 (constant, 200 a second), measure 4,");
    let replay = warm(json!({ "replay": {} }), 2).to_string();
    scratch.write("replay.yaml", replay);
    scratch
        .prony(&["validate", "replay.yaml"])
        .exits(3)
        .complains("`replay` needs a `dataset`");
}

#[test]
fn what_was_not_sent_ends_when_nothing_was_in_flight_any_more() {
    let scratch = Scratch::new();
    let backlog = pipeline([("engine", truth(&["--time-to-first-token-ms", "50"]))])
        .stage("measure", "requests", 2000)
        .stage("measure", "duration", "600ms")
        .stage(
            "measure",
            "arrival",
            json!({ "constant": { "rate": 500, "max_in_flight": 2 } }),
        );
    let run = scratch.run(&backlog);
    let requests = run.requests("engine");
    let ns = |it: &Value, stamp: &str| it[stamp].as_u64().expect("a stamp");
    let (unsent, sent): (Vec<_>, Vec<_>) = requests
        .iter()
        .partition(|it| ns(it, "sent_ns") == ns(it, "end_ns"));
    assert!(!sent.is_empty() && unsent.len() > 10, "{}", unsent.len());
    // Not after the answers were decoded, one by one: that is no time of the engine.
    let ends: std::collections::BTreeSet<u64> = unsent.iter().map(|it| ns(it, "end_ns")).collect();
    assert_eq!(ends.len(), 1, "{ends:?}");
}
