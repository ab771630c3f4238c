//! `prony doctor`.

use crate::kit::{Scratch, With, launched, pipeline, truth};
use serde_json::{Value, json};

fn doctor(scratch: &Scratch, pipeline: &Value, options: &[&str]) -> crate::kit::Output {
    scratch.write("pipeline.yaml", pipeline.to_string());
    scratch.prony(&[&["doctor", "pipeline.yaml"], options].concat())
}

#[test]
fn engines_are_asked_what_they_tell() {
    let scratch = Scratch::new();
    let engines = [
        ("plain", truth(&["--tokens", "8"])),
        ("cached", truth(&["--tokens", "8", "--claim-cached", "4"])),
    ];
    // The check-up is of one cycle and one model, whatever the pipeline has.
    let pipeline = pipeline(engines).with("schedule.cycles", 12).with(
        "thresholds",
        json!([{ "metric": "success_rate", "min": 1 }]),
    );
    let found = doctor(&scratch, &pipeline, &["--json"]).exits(0).json();
    let engines = found["engines"].as_array().expect("a list");
    let answer = |engine: usize, question: &str| {
        let answers = engines[engine]["answers"].as_array().expect("a list");
        let found = answers.iter().find(|it| it[0] == question);
        found.unwrap_or_else(|| panic!("no {question}"))[1].clone()
    };
    for engine in [0, 1] {
        assert_eq!(answer(engine, "requests answered"), "3 of 3");
        assert_eq!(answer(engine, "output tokens"), "8, 8, 8");
        assert_eq!(answer(engine, "equal requests"), "equal answers");
        assert_eq!(answer(engine, "kept connection"), "usable");
    }
    assert_eq!(answer(1, "cached tokens"), "4, 4, 4");
    let problems = found["problems"].to_string();
    assert!(
        problems.contains("`cached` answers repeated prompts from its prefix cache"),
        "{problems}"
    );
    assert!(
        !scratch.path("results").exists(),
        "a check-up keeps nothing"
    );
}

#[test]
fn an_engine_that_does_not_answer_fails_the_check_up_and_the_run_that_asks_for_it() {
    let scratch = Scratch::new();
    let engines = [
        ("healthy", truth(&[])),
        (
            "broken",
            launched(&["no-such-program", "--port", "${{ engine.port }}"]),
        ),
    ];
    let pipeline = pipeline(engines);
    let output = doctor(&scratch, &pipeline, &[]).exits(1);
    output
        .prints("`broken` does not answer: load: `no-such-program` did not start")
        .prints("healthy");
    let asking = pipeline.stage("setup", "doctor", true);
    let run = scratch.write("asking.yaml", asking.to_string());
    let run = run.to_str().expect("the path is text");
    let output = scratch.prony(&["run", run]).exits(1);
    output
        .complains("`broken` does not answer")
        .complains("an engine does not answer, so nothing was measured");
    assert!(!scratch.path("results").exists());
}

#[test]
fn a_check_up_says_that_all_is_well_and_what_keeps_a_model_away() {
    let scratch = Scratch::new();
    let told = truth(&["--claim-cached", "0"]);
    let mut pipeline = pipeline([("one", told)]);
    doctor(&scratch, &pipeline, &[])
        .exits(0)
        .prints("nothing was found that would make a comparison unfair");
    pipeline["models"][0]["path"] = json!("/no/such/model.gguf");
    doctor(&scratch, &pipeline, &[])
        .exits(1)
        .prints("`one` does not answer: setup: there is no `/no/such/model.gguf`");
}
