//! When the cycles of a comparison end, and how engines that stay loaded take turns.

use crate::kit::{Scratch, With, pipeline, runs, truth, truth_through};
use rustix::process::Signal;
use serde_json::{Value, json};

const FAST: &[&str] = &[
    "--time-to-first-token-ms",
    "20",
    "--inter-token-latency-us",
    "0",
];
const SLOW: &[&str] = &[
    "--time-to-first-token-ms",
    "40",
    "--inter-token-latency-us",
    "0",
];

/// Two requests to each engine in each of at most 30 cycles.
fn compared(fast: Value, other: Value) -> Value {
    pipeline([("fast", fast), ("other", other)])
        .stage("measure", "requests", 2)
        .with("schedule", json!({ "cycles": 30 }))
}

fn cycle(event: &Value) -> u64 {
    event["cycle"].as_u64().expect("a cycle")
}

#[test]
fn a_clear_difference_ends_the_run_soon_after_the_first_look_that_can_name_a_winner() {
    let run = Scratch::new()
        .run(&compared(truth(FAST), truth(SLOW)))
        .exits(0);
    let stopped = &run.events("stopped")[0];
    // At once, unless the machine is restless.
    let cycles = stopped["cycles"].as_u64().expect("a number");
    assert!((9..=20).contains(&cycles), "{cycles}");
    run.complains(&format!("model: decided after {cycles} of 30 cycles"));
    assert_eq!(stopped["of"], 30);
    assert_eq!(run.events("visit").len() as u64, 2 * cycles);
    assert!(run.events("failed").is_empty() && run.events("skipped").is_empty());

    // The rule was there before the first cycle.
    let family = &run.events("started")[0]["subject"]["judged_by"];
    assert_eq!(family["max_cycles"], 30);
    assert_eq!(family["alpha"], 0.04);
    assert_eq!(family["comparisons"], 1);

    // What was seen after each cycle is what the result rests on.
    let looks = run.events("look");
    let last = looks.last().expect("a look");
    assert_eq!(
        (&last["cycles"], &last["decision"]),
        (&json!(cycles), &json!("slower"))
    );
    let earlier = &looks[..looks.len() - 1];
    assert!(earlier.iter().all(|look| look["decision"] == "continue"));
    let comparison = &run.result()["models"][0]["comparisons"][0];
    assert_eq!(comparison["cycles"], cycles);
    assert_eq!(comparison["verdict"], "slower");
    assert_eq!(comparison["statistic"], "level");
    run.agrees_with_its_journal("fast");
}

#[test]
fn a_run_can_be_told_not_to_stop() {
    let pipeline = compared(truth(FAST), truth(SLOW))
        .with("schedule", json!({ "cycles": 12, "stop": "never" }));
    let run = Scratch::new().run(&pipeline).exits(0);
    assert!(run.events("stopped").is_empty());
    assert_eq!(run.events("visit").len(), 24);
}

/// A run without a maximum of cycles.
fn open(fast: Value, other: Value) -> Value {
    compared(fast, other).with("schedule", json!({ "cycles": "open" }))
}

#[test]
fn an_open_run_ends_when_it_is_decided() {
    let scratch = Scratch::new();
    let pipeline = open(truth(FAST), truth(SLOW));
    let run = scratch.run(&pipeline).exits(0);
    let family = &run.events("started")[0]["subject"]["judged_by"];
    assert_eq!(
        (&family["open"], &family["max_cycles"]),
        (&json!(true), &json!(1000))
    );
    let stopped = &run.events("stopped")[0];
    let cycles = stopped["cycles"].as_u64().expect("cycles");
    // Bets on a coin that always falls alike win in 11 cycles, and in one more where
    // carry-over is removed.
    assert!((7..40).contains(&cycles), "{cycles}");
    assert_eq!(run.events("visit").len() as u64, 2 * cycles);
    run.complains(&format!("model: decided after {cycles} cycles"));
    let comparison = &run.result()["models"][0]["comparisons"][0];
    assert_eq!(comparison["verdict"], "slower");
    assert_eq!(comparison["cycles"], cycles);
    assert_eq!(comparison["open"], true);
    let high = comparison["interval"]["high_percent"].as_f64();
    assert!(high.is_some_and(|high| high <= 0.0), "{high:?}");
    run.reports(&format!("{cycles} cycles, decided"));
    run.agrees_with_its_journal("fast");
}

#[test]
fn an_open_run_is_ended_by_the_user_and_reports_what_it_knows() {
    let scratch = Scratch::new();
    // Equal engines, and no difference is too small to count.
    let pipeline = open(truth(FAST), truth(FAST)).with("compare.margin_percent", 0.001);
    let started = scratch.start_run(&pipeline);
    // Two warm-ups at most and two requests to each engine of a cycle: 15 cycles.
    scratch.wait_for_requests(15 * 8);
    started.signal(Signal::INT);
    let run = scratch.latest(started.wait()).exits(130);
    assert_eq!(run.outcome(), "interrupted");
    let looks = run.events("look");
    let last = looks.last().expect("a look");
    // A false winner is as rare as 1 in 25, and possible.
    if last["decision"] == "continue" {
        assert!(run.events("stopped").is_empty());
        let comparison = &run.result()["models"][0]["comparisons"][0];
        assert_eq!(comparison["verdict"], "inconclusive");
        assert_eq!(comparison["cycles"], last["cycles"]);
        assert_eq!(
            comparison["reason"],
            "the run ended before anything was decided"
        );
        let interval = &comparison["interval"];
        let end = |name: &str| interval[name].as_f64().expect("an end");
        assert!(end("low_percent") < 0.0 && end("high_percent") > 0.0);
    }
    // Of a cycle that was broken off only the numbers of an engine alone have something.
    let rows = scratch.prony(&["export"]).exits(0).stdout;
    let rows = rows.lines().map(serde_json::from_str::<Value>);
    let apart = rows.map(|it| it.expect("JSON"));
    let apart: Vec<Value> = apart
        .filter(|row| row["left_out"] == "incomplete_cycle")
        .collect();
    let told = run.result()["warnings"].to_string();
    let words = match apart.first() {
        Some(row) => format!("cycle {} was broken off: no comparison has", row["cycle"]),
        None => String::new(),
    };
    assert!(told.contains(&words), "{words}: {told}");
    assert_eq!(told.contains("was broken off"), !apart.is_empty(), "{told}");
    run.agrees_with_its_journal("fast");
}

#[test]
fn a_control_is_done_beside_each_visit_and_told() {
    let scratch = Scratch::new();
    let pipeline = compared(truth(FAST), truth(SLOW)).with(
        "schedule",
        json!({ "cycles": 2, "control": { "seconds": 1 } }),
    );
    scratch.write("p.json", pipeline.to_string());
    scratch
        .prony(&["plan", "p.json"])
        .exits(0)
        .prints("a control of 1 s right before and right after each visit");
    let run = scratch.run(&pipeline).exits(0);
    let journal = run.journal();
    let order: Vec<&str> = journal
        .iter()
        .filter_map(|it| match it["event"].as_str()? {
            name @ ("control" | "visit") => Some(name),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["control", "visit", "control"].repeat(4));
    for control in run.events("control") {
        for part in ["single_ns", "all_cores_ns", "memory_ns"] {
            assert!(control[part].as_u64() > Some(1_000_000), "{control}");
        }
    }
    run.agrees_with_its_journal("fast");
}

#[test]
fn an_open_plan_says_so() {
    let scratch = Scratch::new();
    let pipeline = open(truth(FAST), truth(SLOW));
    scratch.write("p.json", pipeline.to_string());
    scratch
        .prony(&["plan", "p.json"])
        .exits(0)
        .prints("any number of cycles (1000 are planned) of each model: it ends when its comparisons are decided or you end it, at the earliest after 8")
        .prints("cycle 5")
        .prints("and so on");
}

#[test]
fn equal_engines_are_equivalent_or_run_to_the_last_cycle() {
    let pipeline = compared(truth(FAST), truth(FAST)).with("compare.margin_percent", 30);
    let run = Scratch::new().run(&pipeline).exits(0);
    let looks = run.events("look");
    let last = &looks.last().expect("a look")["decision"];
    let cycles = run.events("visit").len() / 2;
    assert!(cycles >= 8, "{cycles}");
    assert!(
        *last == "equivalent" || cycles == 30,
        "{last} after {cycles}"
    );
}

#[test]
fn a_cycle_with_a_failure_is_made_good_and_kept() {
    let scratch = Scratch::new();
    // The second start answers with errors.
    let script = "n=$(cat starts 2>/dev/null || echo 0); echo $((n + 1)) > starts; \
                  [ $n != 1 ] || set -- \"$@\" --fault http500 --fault-from 1";
    let pipeline = compared(truth(FAST), truth_through(script, SLOW))
        .with("schedule", json!({ "cycles": 7, "stop": "never" }));
    let run = scratch.run(&pipeline).exits(0);
    let visits = run.events("visit");
    assert_eq!(visits.len(), 16, "7 cycles and a spare one, of two engines");
    assert_eq!(visits.iter().map(cycle).max(), Some(8));
    let comparison = &run.result()["models"][0]["comparisons"][0];
    let numbers = comparison["cycle_log_ratios"].as_array().expect("a list");
    assert_eq!(numbers.len(), 7);
    assert_eq!(comparison["degraded_cycles"], 1);
    let other = run.engine("other");
    assert_eq!(
        (&other["requests"], &other["succeeded"]),
        (&json!(16), &json!(15))
    );
}

/// Of each measured request, in the order of sending: cycle, engine, number.
fn sent(run: &crate::kit::Run) -> Vec<(u64, String, u64)> {
    let mut requests: Vec<Value> = run.events("request");
    requests.retain(|it| it["phase"] == "measure");
    requests.sort_by_key(|it| it["sent_ns"].as_u64());
    let one = |it: &Value| {
        let engine = it["engine"].as_str().expect("an engine").to_owned();
        (cycle(it), engine, it["index"].as_u64().expect("a number"))
    };
    requests.iter().map(one).collect()
}

#[test]
fn engines_that_stay_loaded_take_turns() {
    let pipeline = pipeline([("a", truth(&[])), ("b", truth(&[]))])
        .stage("warmup", "requests", 1)
        .stage("measure", "requests", 8)
        .with(
            "schedule",
            json!({ "cycles": 2, "resident": true, "blocks": 2, "seed": 3 }),
        );
    let run = Scratch::new().run(&pipeline).exits(0);
    run.all_well("a");
    run.all_well("b");
    let sent = sent(&run);
    assert_eq!(sent.len(), 32);
    for of_cycle in sent.chunks(16) {
        let engines: Vec<&str> = of_cycle.iter().map(|it| it.1.as_str()).collect();
        let (first, second) = (engines[0], if engines[0] == "a" { "b" } else { "a" });
        let block = [first, first, second, second, second, second, first, first];
        assert_eq!(engines, [block, block].concat());
        for engine in [first, second] {
            let of_it = of_cycle.iter().filter(|it| it.1 == engine);
            let numbers: Vec<u64> = of_it.map(|it| it.2).collect();
            assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7]);
        }
    }
    // Both are loaded before the first request of a cycle, and afresh in each.
    let stages = run.events("stage");
    let loads = stages.iter().filter(|it| it["stage"] == "load");
    assert_eq!(loads.count(), 4);
    assert_eq!(run.events("visit").len(), 4);
}

#[test]
fn an_interruption_leaves_none_of_the_two_behind() {
    let scratch = Scratch::new();
    let engine = |name: &str| {
        let script = format!("echo $$ > {name}.pid");
        truth_through(&script, &["--time-to-first-token-ms", "200"])
    };
    let pipeline = pipeline([("a", engine("a")), ("b", engine("b"))])
        .stage("measure", "requests", 100)
        .with(
            "schedule",
            json!({ "cycles": 1, "resident": true, "blocks": 5 }),
        );
    let started = scratch.start_run(&pipeline);
    scratch.wait_for_requests(1);
    let pids = ["a.pid", "b.pid"].map(|name| scratch.wait_for_pid(name));
    started.signal(Signal::INT);
    started.wait().exits(130);
    assert!(pids.iter().all(|pid| !runs(*pid)));
}
