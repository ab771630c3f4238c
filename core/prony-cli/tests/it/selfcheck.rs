//! The instrument against the truth.

use crate::kit::With as _;
use crate::kit::{Scratch, number, pipeline, truth};
use serde_json::{Value, json};

fn is_told(check: &Value) -> bool {
    for error in ["arrival_error_us", "gap_error_us"] {
        let [p50, p99, max] = ["p50", "p99", "max"].map(|at| number(&check[error][at]));
        assert!(p50 <= p99 && p99 <= max, "{check}");
    }
    assert!(number(&check["gap_error_us"]["p50"]) >= 0.0);
    check["invalid"].as_array().expect("a list").is_empty()
}

#[test]
fn every_token_is_held_against_its_write() {
    let scratch = Scratch::new();
    let output = scratch.prony(&[
        "selfcheck",
        "--concurrency",
        "2",
        "--seconds",
        "1",
        "--json",
    ]);
    let checks = output.json();
    let check = &checks[0];
    assert_eq!(check["arrival"], "concurrency 2");
    let count = |name: &str| check[name].as_u64().expect("a count");
    assert_eq!(count("tokens"), 64 * count("requests"));
    for receipt in ["first_receipt_us", "later_receipt_us"] {
        // No request is read before it is sent.
        assert!(number(&check[receipt]["p50"]) > 0.0, "{check}");
    }
    // How exact it is depends on the machine; that the code says so does not.
    let valid = is_told(check);
    output.exits(if valid { 0 } else { 6 });
}

#[test]
fn a_pipelines_own_ways_of_sending_are_checked() {
    let scratch = Scratch::new();
    let mut own = pipeline([("engine", truth(&[]))]);
    own["stages"] = json!([
        { "warmup": {} },
        { "measure": { "id": "one" } },
        { "measure": { "id": "two", "requests": 5, "arrival": { "poisson": { "rate": 40 } } } },
        { "measure": { "id": "three" } },
        { "report": {} },
    ]);
    scratch.write("pipeline.yaml", own.with("name", "own").to_string());
    let output = scratch.prony(&["selfcheck", "pipeline.yaml", "--seconds", "1", "--json"]);
    let checks = output.json();
    let arrivals: Vec<&Value> = checks.as_array().expect("a list").iter().collect();
    assert_eq!(arrivals.len(), 2, "each way once");
    assert_eq!(arrivals[1]["arrival"], "poisson, 40 a second");
    assert_eq!(arrivals[1]["requests"], 40);
    let told: Vec<bool> = arrivals.into_iter().map(is_told).collect();
    let valid = !told.contains(&false);
    output.exits(if valid { 0 } else { 6 });
    scratch.prony(&["selfcheck", "--concurrency", "0"]).exits(2);
}

#[test]
fn a_pipeline_can_ask_for_it() {
    let scratch = Scratch::new();
    let mut own = pipeline([("engine", truth(&[]))]);
    own["stages"] = json!([
        { "setup": { "selfcheck": true } },
        { "warmup": {} },
        { "measure": { "id": "one", "requests": 4 } },
        { "measure": { "id": "two", "requests": 8, "arrival": { "concurrency": 3 } } },
        { "measure": { "id": "three", "requests": 5, "arrival": { "poisson": { "rate": 40 } } } },
        { "report": {} },
    ]);
    let run = scratch.run(&own);
    let result = run.result();
    let checks = result["selfcheck"].as_array().expect("a list");
    let arrivals: Vec<&Value> = checks.iter().map(|it| &it["arrival"]).collect();
    assert_eq!(arrivals, ["concurrency 3", "poisson, 40 a second"]);
    for check in checks {
        is_told(check);
        assert_eq!(
            check["tokens"].as_u64(),
            check["requests"].as_u64().map(|requests| 64 * requests)
        );
    }
    assert_eq!(run.events("selfcheck").len(), 2, "the journal has them");
    let left = std::fs::read_dir(run.folder.join("logs"))
        .expect("a folder")
        .flatten();
    let left: Vec<_> = left.map(|it| it.file_name()).collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with("selfcheck")),
        "{left:?}"
    );
    // How exact it is depends on the machine; what follows from that does not.
    let valid = result.get("invalid").is_none();
    let exact = checks.iter().all(|it| it["invalid"] == json!([]));
    assert!(
        exact || !valid,
        "a client that is not exact makes no valid run"
    );
    run.exits(if valid { 0 } else { 6 })
        .reports("Selfcheck, concurrency 3");
}
