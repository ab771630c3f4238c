//! The engine inside a worker process of prony's.

use crate::kit::{Run, Scratch, With, pipeline, synthetic, text};
use rustix::process::Signal;
use serde_json::{Value, json};

fn tiny() -> Value {
    pipeline([("tiny", synthetic())])
        .with("workload.max_tokens", 8)
        .with("workload.ignore_eos", true)
        .with("schedule.cycles", 2)
}

fn texts(run: &Run, cycle: u32) -> Vec<String> {
    let requests = run.requests("tiny");
    let of_cycle = requests.iter().filter(|it| it["cycle"] == cycle);
    of_cycle.map(|it| text(&it["text"])).collect()
}

#[test]
fn every_token_is_counted_and_every_start_says_the_same() {
    let run = Scratch::new().run(&tiny()).exits(0);
    run.all_well("tiny");
    run.agrees_with_its_journal("tiny");
    for request in run.requests("tiny") {
        assert_eq!(request["output_tokens"], 8, "{request:#}");
        assert_eq!(request["finish_reason"], "length");
        assert!(request["prompt_tokens"].as_u64() > Some(0));
        let arrivals = request["arrivals"].as_array().expect("arrivals");
        let told: u64 = arrivals.iter().filter_map(|it| it[1].as_u64()).sum();
        assert_eq!(told, 8);
        let stamps: Vec<u64> = arrivals.iter().filter_map(|it| it[0].as_u64()).collect();
        assert!(stamps.is_sorted());
        assert!(request["sent_ns"].as_u64() <= stamps.first().copied());
        assert!(request["end_ns"].as_u64() >= stamps.last().copied());
    }
    let first = texts(&run, 1);
    assert_eq!(first.len(), 4);
    assert!(first.iter().all(|text| !text.is_empty()));
    assert_eq!(first, texts(&run, 2));
    assert_eq!(first[..2], first[2..], "the same prompts");
    let numbers = run.engine("tiny");
    assert_eq!(numbers["load_time_ms"]["n"], 2);
    assert!(numbers["peak_memory_bytes"].as_u64() > Some(1 << 20));
    let plugin = &run.result()["plugins"][0];
    assert_eq!(
        (&plugin["name"], &plugin["form"]),
        (&json!("candle"), &json!("native"))
    );
}

#[test]
fn one_request_at_a_time_is_all_it_takes() {
    let several = tiny().stage("measure", "arrival", json!({ "concurrency": 2 }));
    let run = Scratch::new().run(&several).exits(1);
    run.reports("engine `tiny` runs inside a process and takes one request at a time");
    assert_eq!(run.requests("tiny").len(), 0);
}

#[test]
fn a_model_that_cannot_be_loaded_is_reported() {
    let scratch = Scratch::new();
    let mut engine = synthetic();
    engine["config"]["weights"] = json!({ "gguf": "nothing.gguf" });
    scratch.write("nothing.gguf", "");
    let both = pipeline([("tiny", synthetic()), ("fileless", engine)])
        .with("schedule.order", "sequential")
        .with("workload.max_tokens", 4);
    let run = scratch.run(&both).exits(1);
    run.all_well("tiny");
    let failure = &run.model("model")["failures"][0];
    assert_eq!(failure["stage"], "load");
    assert!(
        text(&failure["message"]).contains("nothing.gguf"),
        "{failure}"
    );
}

#[test]
fn a_file_that_holds_no_model_is_reported() {
    let scratch = Scratch::new();
    scratch.write("garbage.gguf", [7; 4096]);
    let model = json!([{ "id": "model", "path": "garbage.gguf" }]);
    let engine = json!({ "plugin": "candle", "config": {} });
    let run = scratch.run(&pipeline([("tiny", engine)]).with("models", model));
    run.exits(1).reports("tiny failed in load");
}

/// The process id of prony's worker.
#[cfg(target_os = "linux")]
fn worker_of(prony: i32) -> Option<i32> {
    let is_worker = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let parent = fields.split_whitespace().nth(1).map(ToOwned::to_owned);
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&command);
        parent == Some(prony.to_string()) && words.contains("\0worker\0")
    };
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut ids = processes.filter_map(|it| it.file_name().to_str()?.parse().ok());
    ids.find(|pid| is_worker(*pid))
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_that_crashes_fails_its_requests_and_no_others() {
    let scratch = Scratch::new();
    let started = scratch.start_run(
        &tiny()
            .with("workload.max_tokens", 64)
            .stage("measure", "requests", 30),
    );
    scratch.wait_for_requests(2);
    crate::kit::send(worker_of(started.id()).expect("a worker"), Signal::KILL);
    let run = scratch.latest(started.wait()).exits(1);
    assert_eq!(run.outcome(), "failed");
    let failed = |cycle: u32| {
        let requests = run.requests("tiny");
        let of_cycle = requests.iter().filter(|it| it["cycle"] == cycle);
        let classes = of_cycle.map(|it| it.get("failed").map(|it| text(&it["class"])));
        classes.collect::<Vec<_>>()
    };
    let first = failed(1);
    assert_eq!(first.len(), 30, "none is forgotten");
    let well = first.iter().filter(|it| it.is_none()).count();
    assert!((2..30).contains(&well), "{well}");
    let crashed = Some("crashed".to_owned());
    assert!(first[well..].iter().all(|it| *it == crashed), "{first:?}");
    assert_eq!(failed(2), vec![None; 30], "the next cycle starts afresh");
    assert!(run.engine("tiny")["success_rate"].as_f64() < Some(1.0));
    run.agrees_with_its_journal("tiny");
}

#[test]
fn nothing_is_left_of_a_worker_after_ctrl_c() {
    let scratch = Scratch::new();
    let started = scratch.start_run(
        &tiny()
            .with("workload.max_tokens", 64)
            .stage("measure", "requests", 5000),
    );
    scratch.wait_for_requests(2);
    #[cfg(target_os = "linux")]
    let worker = worker_of(started.id()).expect("a worker");
    started.signal(Signal::INT);
    let run = scratch.latest(started.wait()).exits(130);
    assert_eq!(run.outcome(), "interrupted");
    run.agrees_with_its_journal("tiny");
    #[cfg(target_os = "linux")]
    assert!(!crate::kit::runs(worker));
}

#[test]
fn a_duration_ends_its_requests_too() {
    let scratch = Scratch::new();
    let short = tiny()
        .stage("measure", "requests", 100_000)
        .stage("measure", "duration", "300ms");
    let run = scratch.run(&short).exits(0);
    let engine = &run.result()["models"][0]["engines"][0];
    let requests = engine["requests"].as_u64().expect("a count");
    assert!((1..100_000).contains(&requests), "{requests}");
    assert_eq!(engine["succeeded"], requests);
}
