//! An engine that fails is never a fast engine: every fault is a failed request
//! of the right class, and no winner is named.

use crate::kit::{Run, Scratch, Server, With, number, pipeline, plugin_file, text, truth};
use serde_json::{Value, json};
use std::net::TcpListener;

/// A steady engine beside one with a fault from request `from` on.
fn beside_a_steady_one(fault: &str, from: &str) -> Run {
    let broken = truth(&["--fault", fault, "--fault-from", from]);
    let both = pipeline([("steady", truth(&[])), ("broken", broken)]);
    Scratch::new().run(&both.with("workload.request_timeout", "300ms"))
}

fn names_no_winner(run: &Run) {
    let comparison = &run.model("model")["comparisons"][0];
    assert_eq!(comparison["winner"], json!(null), "{comparison:#}");
    assert_eq!(comparison["verdict"], "inconclusive");
    assert!(text(&comparison["reason"]).contains("`broken`"));
}

fn always_fails(fault: &str, class: &str) {
    let run = beside_a_steady_one(fault, "0").exits(1);
    run.all_well("steady");
    let broken = run.engine("broken");
    assert_eq!(broken["errors"], json!({ class: 4 }), "{broken:#}");
    assert_eq!(broken["success_rate"], 0.0);
    assert_eq!(broken["output_tokens"], 0);
    assert_eq!(broken["output_tokens_per_sec"], json!(null));
    assert_eq!(run.outcome(), "failed");
    run.reports("none of 4 requests succeeded");
    names_no_winner(&run);
}

fn fails_half_the_time(fault: &str, class: &str) {
    let is_gone = fault == "crash";
    let run = beside_a_steady_one(fault, "2").exits(i32::from(is_gone));
    run.all_well("steady");
    let broken = run.engine("broken");
    assert_eq!(broken["errors"], json!({ class: 2 }), "{broken:#}");
    assert_eq!(broken["success_rate"], 0.5);
    // 2 answers of 8 tokens; what the failed ones sent counts for nothing.
    assert_eq!(broken["output_tokens"], 16);
    run.agrees_with_its_journal("broken");
    run.agrees_with_its_journal("steady");
    let outcome = if is_gone { "failed" } else { "completed" };
    assert_eq!(run.outcome(), outcome);
    run.reports(&format!("2 requests failed with {class}"));
    names_no_winner(&run);
}

macro_rules! faults {
    ($($fault:ident is $class:literal)*) => { $(
        mod $fault {
            #[test]
            fn in_every_request() {
                super::always_fails(stringify!($fault), $class);
            }

            #[test]
            fn in_half_of_the_requests() {
                super::fails_half_the_time(stringify!($fault), $class);
            }
        }
    )* };
}

faults! {
    error_frame is "engine_error"
    empty is "empty"
    cut is "truncated"
    http500 is "http_5xx"
    http404 is "http_4xx"
    hang is "timeout"
    crash is "crashed"
    garbage is "protocol"
    zero_tokens is "empty"
    no_finish is "protocol"
    not_http is "protocol"
    reset is "truncated"
    bad_chunk is "protocol"
    redirect is "protocol"
    huge_head is "protocol"
    endless_head is "protocol"
    endless_interim is "protocol"
    endless_extension is "protocol"
    endless_chunks is "timeout"
    endless_trailers is "protocol"
    stall is "timeout"
    slow_headers is "timeout"
}

/// An answer does not fail by what the transport does after the answer's own end.
#[test]
fn an_answer_with_its_end_mark_is_whole_although_its_length_promised_more() {
    let engine = truth(&["--fault", "wrong_length", "--fault-from", "0"]);
    let run = Scratch::new().run(&pipeline([("engine", engine)])).exits(0);
    run.all_well("engine");
}

/// A pause within the limit is no failure, and the times show it.
#[test]
fn a_pause_that_ends_in_time_is_no_failure() {
    for (fault, metric) in [
        ("stall", "inter_token_latency_ms"),
        ("slow_headers", "time_to_first_token_ms"),
    ] {
        let engine = truth(&["--fault", fault, "--fault-from", "0", "--stall-ms", "80"]);
        let run = Scratch::new().run(&pipeline([("engine", engine)])).exits(0);
        run.all_well("engine");
        let seen = &run.engine("engine")[metric];
        assert!(number(&seen["max"]) >= 75.0, "{fault}: {seen}");
    }
}

#[test]
fn after_a_crash_the_next_cycle_starts_afresh() {
    let crashing = truth(&["--fault", "crash", "--fault-from", "2"]);
    let run = Scratch::new()
        .run(&pipeline([("broken", crashing)]).with("schedule.cycles", 2))
        .exits(1);
    run.reports("the engine ended during the stage");
    let requests = run.requests("broken");
    let class = |failed: &Value| text(&failed["class"]);
    let outcomes: Vec<String> = requests
        .iter()
        .map(|it| it.get("failed").map_or("well".to_owned(), class))
        .collect();
    let cycle = ["well", "well", "crashed", "crashed"];
    assert_eq!(outcomes, [cycle, cycle].concat());
    let message = text(&requests[2]["failed"]["message"]);
    assert!(message.contains("exit status: 42"), "{message}");
}

#[test]
fn a_crash_with_several_requests_in_flight_forgets_none() {
    let crashing = truth(&["--fault", "crash", "--fault-from", "4"]);
    let run = Scratch::new()
        .run(
            &pipeline([("broken", crashing)])
                .stage("measure", "requests", 12)
                .stage("measure", "arrival", json!({ "concurrency": 4 })),
        )
        .exits(1);
    let broken = run.engine("broken");
    assert_eq!(broken["errors"], json!({ "crashed": 8 }), "{broken:#}");
    assert_eq!(broken["output_tokens"], 4 * 8);
}

#[test]
fn a_server_that_goes_away_has_not_completed_its_stage() {
    let server = Server::start(&["--fault", "crash", "--fault-from", "2"]);
    let engine = json!({ "plugin": "openai", "config": { "base_url": server.url } });
    let run = Scratch::new()
        .run(&pipeline([("engine", engine)]).stage("measure", "requests", 30))
        .exits(1);
    assert_eq!(run.outcome(), "failed");
    assert_eq!(run.engine("engine")["succeeded"], 2);
    run.reports("the engine was gone at the end of the stage");
}

#[test]
fn an_engine_that_hangs_is_given_up_after_a_few_timeouts() {
    let hanging = |max_timeouts: u32, requests: u32| {
        let engine = truth(&["--fault", "hang", "--fault-from", "1"]);
        let pipeline = pipeline([("engine", engine)])
            .with("workload.request_timeout", "200ms")
            .with("workload.max_timeouts", max_timeouts)
            .stage("measure", "requests", requests);
        let run = Scratch::new().run(&pipeline);
        let failed = json!({ "timeout": requests - 1 });
        assert_eq!(run.engine("engine")["errors"], failed);
        let message = |it: &Value| {
            it["failed"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let requests = run.requests("engine");
        let given_up = requests
            .iter()
            .filter(|it| message(it).starts_with("given up: "));
        let given_up = given_up.count();
        (run, given_up)
    };
    let (run, given_up) = hanging(3, 30);
    assert_eq!(given_up, 26);
    run.exits(1)
        .reports("3 requests in a row had no answer within 200ms");
    let (run, given_up) = hanging(10, 6);
    assert_eq!(given_up, 0);
    run.exits(0);
}

#[test]
fn the_time_of_a_stage_ends_with_its_last_answer() {
    let cutting = truth(&["--fault", "cut", "--fault-from", "4"]);
    let run = Scratch::new()
        .run(
            &pipeline([("broken", cutting)])
                .stage("measure", "requests", 12)
                .stage("measure", "arrival", json!({ "concurrency": 4 })),
        )
        .exits(0);
    assert_eq!(run.engine("broken")["errors"], json!({ "truncated": 8 }));
    let stages = run.events("stage");
    let begin = stages.iter().find(|it| it["stage"] == "measure");
    let begin = begin.expect("the stage is there")["at_ns"].as_u64();
    let requests = run.requests("broken");
    let end = requests.iter().filter_map(|it| it["end_ns"].as_u64()).max();
    let whole = end.zip(begin).map(|(end, begin)| end - begin);
    let time = run.events("visit")[0]["measure_ns"]["measure"].as_u64();
    assert!(time.is_some() && time <= whole, "{time:?} of {whole:?}");
}

#[test]
fn requests_beyond_the_limit_of_a_stage_have_timed_out() {
    let slow = truth(&["--time-to-first-token-ms", "400"]);
    let run = Scratch::new()
        .run(&pipeline([("slow", slow)]).stage("measure", "timeout", "700ms"))
        .exits(0);
    let slow = run.engine("slow");
    assert_eq!(slow["errors"], json!({ "timeout": 3 }));
    // The request that was waited for in vain took time, too.
    assert!(slow["output_tokens_per_sec"].as_f64() < Some(8.0 / 0.69));
    run.agrees_with_its_journal("slow");
}

#[test]
fn a_server_that_is_not_there_is_no_connection() {
    // Free a moment ago, so that nothing listens there.
    let address = TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let url = format!("http://{address}");
    let engine = json!({ "plugin": "openai", "config": { "base_url": url } });
    let run = Scratch::new().run(&pipeline([("absent", engine)])).exits(1);
    assert_eq!(run.engine("absent")["errors"], json!({ "connect": 4 }));
}

#[test]
fn an_answer_that_the_sandbox_cannot_hold_is_no_failure_of_the_engine() {
    let scratch = Scratch::new();
    let server = Server::start(&[]);
    let config = json!({ "fault": "memory", "base_url": server.url });
    let engine = json!({ "plugin": "faulty", "config": config });
    let module = plugin_file("").join("../../wasm32-unknown-unknown/release/engine_faulty.wasm");
    let module = module.to_str().expect("the path is text");
    let own = ["--lock", "own/prony.lock"];
    scratch
        .bare(&[&own[..], &["plugin", "add", module]].concat())
        .exits(0);
    scratch.write("pipeline.yaml", pipeline([("engine", engine)]).to_string());
    let said = scratch.prony(&[&own[..], &["run", "pipeline.yaml"]].concat());
    let run = scratch.latest(said).exits(5);
    let numbers = run.engine("engine");
    assert_eq!(numbers["errors"], json!({ "plugin": 4 }), "{numbers:#}");
    let message = text(&numbers["error_messages"]["plugin"]);
    let words = "prony could not read the answer: plugin `faulty` broke down in `decode`: it needs";
    assert!(message.starts_with(words), "{message}");
    let invalid = text(&run.result()["invalid"][0]);
    assert!(invalid.contains("by no fault of the engine"), "{invalid}");
    assert!(invalid.contains(&message), "{invalid}");
}

#[test]
fn a_plugin_that_fails_before_it_sees_an_answer_ends_the_run_as_its_own_fault() {
    let scratch = Scratch::new();
    let server = Server::start(&[]);
    let module = plugin_file("").join("../../wasm32-unknown-unknown/release/engine_faulty.wasm");
    let module = module.to_str().expect("the path is text");
    let own = ["--lock", "own/prony.lock"];
    scratch
        .bare(&[&own[..], &["plugin", "add", module]].concat())
        .exits(0);
    let run = |config: Value, code: i32| {
        let engine = json!({ "plugin": "faulty", "config": config });
        let pipeline = pipeline([("engine", engine)]).stage("warmup", "requests", 1);
        scratch.write("pipeline.yaml", pipeline.to_string());
        let said = scratch.prony(&[&own[..], &["run", "pipeline.yaml"]].concat());
        scratch.latest(said).exits(code)
    };
    for (at, stage) in [("launch", "load"), ("encode", "warmup")] {
        let config = json!({ "fault": "panic", "at": at, "base_url": server.url });
        let run = run(config, 5);
        let failure = &run.result()["models"][0]["failures"][0];
        assert_eq!(failure["plugin"], true, "{failure}");
        assert_eq!(failure["stage"], stage, "{failure}");
        let words =
            format!("error: the plugin of `engine` failed in `{stage}`: plugin `faulty` broke");
        assert!(run.output.stderr.contains(&words), "{:?}", run.output);
    }
    // The answers of a warm-up are decoded, too.
    let run_of_warmup = run(
        json!({ "fault": "panic", "at": "decode", "base_url": server.url }),
        5,
    );
    let failure = &run_of_warmup.result()["models"][0]["failures"][0];
    assert_eq!(
        (&failure["plugin"], &failure["stage"]),
        (&json!(true), &json!("warmup"))
    );
    // Its word about the engine is none about itself.
    let refused = run(
        json!({ "fault": "error", "at": "launch", "base_url": server.url }),
        1,
    );
    let failure = &refused.result()["models"][0]["failures"][0];
    assert_eq!(failure["plugin"], Value::Null, "{failure}");
}

#[test]
fn without_a_request_timeout_it_is_five_minutes() {
    let slow = truth(&["--time-to-first-token-ms", "100"]);
    let run = Scratch::new().run(&pipeline([("slow", slow)])).exits(0);
    run.all_well("slow");
    assert!(run.read("pipeline.yaml").contains("request_timeout: 5m\n"));
    assert_eq!(run.result()["workload"]["request_timeout_ms"], 300_000);
}
