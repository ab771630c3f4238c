//! Parts of a pipeline, and their merged run.

use crate::kit::{Scratch, With, pipeline, truth};
use serde_json::{Value, json};
use std::fs;

/// Two models, each on two engines.
fn written(scratch: &Scratch) {
    let pipeline = pipeline([
        ("slow", truth(&["--inter-token-latency-us", "4000"])),
        ("fast", truth(&[])),
    ])
    .with("name", "sweep")
    .with("models", json!([{ "id": "m" }, { "id": "n" }]))
    .with(
        "schedule",
        json!({ "cycles": 7, "stop": "never", "seed": 5 }),
    )
    .with("workload.max_tokens", 8)
    .with(
        "thresholds",
        json!([{ "metric": "success_rate", "min": 1.0 }]),
    );
    scratch.write("sweep.yaml", pipeline.to_string());
}

/// The only folder below `results` whose name ends so.
fn folder(scratch: &Scratch, end: &str) -> String {
    let entries = fs::read_dir(scratch.path("results")).expect("a folder");
    let names = entries.map(|it| it.expect("an entry").file_name());
    let names = names.filter_map(|it| it.into_string().ok());
    let found: Vec<String> = names.filter(|it| it.ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    format!("results/{}", found[0])
}

fn models(result: &Value) -> Vec<&str> {
    let models = result["models"].as_array().expect("models").iter();
    models.filter_map(|it| it["id"].as_str()).collect()
}

#[test]
fn parts_are_runs_and_merge_to_one() {
    let scratch = Scratch::new();
    written(&scratch);
    let planned = ["plan", "sweep.yaml", "--part", "2/2"];
    scratch.prony(&planned).exits(0).prints("n  cycle 1");
    let of_array = [
        ("PARALLEL_SEQ", "2".to_owned()),
        ("PRONY_PARTS", "2".to_owned()),
    ];
    let second = ["run", "sweep.yaml", "--part", "auto", "--json"];
    let second = scratch.prony_in(&of_array, &second).exits(0);
    second.complains("part 2/2, by `PARALLEL_SEQ`");
    let second = scratch
        .prony(&["report", "latest", "--json"])
        .exits(0)
        .json();
    assert_eq!(models(&second), ["n"]);
    assert_eq!(second["family"]["comparisons"], 2);
    assert_eq!(second["thresholds"], json!([]));
    let first = ["run", "sweep.yaml", "--part", "1/2"];
    scratch.prony(&first).exits(0);
    let parts = [
        folder(&scratch, "-part-1-of-2"),
        folder(&scratch, "-part-2-of-2"),
    ];
    let merge = ["merge", &parts[1], &parts[0], "--json"];
    let merged = scratch.prony(&merge).exits(0).json();
    assert_eq!(models(&merged), ["m", "n"]);
    assert_eq!(merged["run"]["outcome"], "completed");
    assert_eq!(merged["family"]["comparisons"], 2);
    assert_eq!(merged["thresholds"][0]["passed"], true);
    assert_eq!(merged["overall"][0]["models"], 2);
    // Its numbers are those of the part.
    assert_eq!(
        merged["models"][1]["engines"],
        second["models"][0]["engines"]
    );
    let page = scratch.path("results/latest/report.html");
    assert!(page.is_file());
    scratch
        .prony(&["verify", "latest"])
        .exits(0)
        .prints("nothing is damaged");
    let again = scratch
        .prony(&["report", "latest", "--json"])
        .exits(0)
        .json();
    assert_eq!(again, merged);
}

#[test]
fn what_is_no_part_is_told_with_the_way_out() {
    let scratch = Scratch::new();
    written(&scratch);
    for (part, words) in [
        ("0/2", "expected `K/N`"),
        ("2", "`auto` takes it from a job array"),
        ("1/3", "at most 2 parts"),
        ("auto", "`--part K/N` names a part"),
    ] {
        let run = scratch
            .prony(&["run", "sweep.yaml", "--part", part])
            .exits(2);
        run.complains(words);
    }
    assert!(!scratch.path("results").exists(), "nothing was begun");
    let short = ["run", "sweep.yaml", "--set", "schedule.cycles=1"];
    scratch.prony(&short).exits(0);
    let whole = scratch.prony(&["merge", "latest"]).exits(2);
    whole.complains("is no part, but the run of a whole pipeline");
    scratch
        .prony(&[&short[..], &["--part", "1/2"]].concat())
        .exits(0);
    let part = folder(&scratch, "-part-1-of-2");
    let twice = scratch.prony(&["merge", &part, &part]).exits(2);
    twice.complains("are both part 1/2");
    let other = [
        "run",
        "sweep.yaml",
        "--set",
        "schedule.cycles=2",
        "--part",
        "2/2",
    ];
    scratch.prony(&other).exits(0);
    let other = folder(&scratch, "-part-2-of-2");
    let differ = scratch.prony(&["merge", &part, &other]).exits(2);
    differ.complains("is another experiment than");
    // What is missing is left out, and told.
    let merged = scratch.prony(&["merge", &part, "--into", "one"]).exits(130);
    merged.prints("part 2 of 2 is not among those");
    let begun = scratch.prony(&["merge", &part, "--into", "one"]).exits(2);
    begun.complains("`one` holds a run");
}
