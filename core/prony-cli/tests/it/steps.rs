//! The user's own commands.

use crate::kit::{Scratch, With, pipeline, truth};
use serde_json::{Value, json};

fn with_setup(steps: Value) -> Value {
    pipeline([("engine", truth(&[]))]).stage("setup", "before", steps)
}

#[test]
fn run_in_the_folder_of_the_pipeline_with_their_environment() {
    let scratch = Scratch::new();
    scratch.write("elsewhere/note", "");
    let step = json!({
        "run": "pwd > where; echo \"$WORD|$PRONY_CACHE|${{ prony.cache }}\" > words",
        "env": { "WORD": "from ${{ pipeline.dir }}" },
    });
    let text = with_setup(json!([step])).to_string();
    scratch.write("folder/pipeline.yaml", text);
    let cache = scratch.path("cache");
    let cache = cache.to_str().expect("the path is text");
    let run = ["run", "folder/pipeline.yaml", "--cache", cache];
    scratch.prony(&run).exits(0);
    let folder = scratch.path("folder");
    let real = folder.canonicalize().expect("the folder is there");
    assert_eq!(scratch.read("folder/where").trim(), real.to_string_lossy());
    assert_eq!(
        scratch.read("folder/words").trim(),
        format!("from {}|{cache}|{cache}", folder.display())
    );
}

#[test]
fn run_before_and_after_every_stage() {
    let scratch = Scratch::new();
    let note = |stage: &str, when: &str| {
        let names = if stage == "setup" {
            String::new()
        } else {
            " ${{ model.id }} ${{ engine.name }}".to_owned()
        };
        json!([{ "run": format!("echo {when} {stage}{names} >> notes") }])
    };
    let mut pipeline = pipeline([("engine", truth(&[]))]).stage("warmup", "requests", 1);
    for stage in ["setup", "load", "warmup", "measure", "unload"] {
        pipeline = pipeline
            .stage(stage, "before", note(stage, "before"))
            .stage(stage, "after", note(stage, "after"));
    }
    let run = scratch.run(&pipeline).exits(0);
    let notes = scratch.read("notes");
    let stages = ["load", "warmup", "measure", "unload"];
    let expected: String = std::iter::once("before setup\nafter setup\n".to_owned())
        .chain(
            stages
                .map(|stage| format!("before {stage} model engine\nafter {stage} model engine\n")),
        )
        .collect();
    assert_eq!(notes, expected);
    run.complains("setup: echo before setup");
    run.complains("unload: echo after unload");
}

#[test]
fn are_skipped_when_what_they_create_is_there() {
    let scratch = Scratch::new();
    let step = json!({
        "name": "make it",
        "run": "echo made >> made",
        "creates": "${{ pipeline.dir }}/made",
    });
    let pipeline = with_setup(json!([step]));
    for skipped in [false, true] {
        let run = scratch.run(&pipeline).exits(0);
        let event = &run.events("step")[0];
        assert_eq!(event["name"], "make it");
        assert_eq!(event["skipped"], skipped);
        assert_eq!(run.output.stderr.contains("(done already)"), skipped);
    }
    assert_eq!(scratch.read("made"), "made\n");
}

#[test]
fn stop_the_run_with_their_last_words() {
    let scratch = Scratch::new();
    let failing = json!({ "run": "echo on the way; echo it is broken >&2; exit 7" });
    let never = json!({ "run": "touch never" });
    let run = scratch.run(&with_setup(json!([failing, never]))).exits(1);
    assert!(!scratch.path("never").exists());
    assert_eq!(run.events("request").len(), 0);
    assert_eq!(run.outcome(), "failed");
    for words in ["exit status: 7", "on the way ⏎ it is broken"] {
        run.reports(words);
        run.complains(words);
    }
}

#[test]
fn may_fail_when_the_stage_says_so() {
    let pipeline =
        with_setup(json!([{ "run": "exit 7" }])).stage("setup", "on_failure", "continue");
    let run = Scratch::new().run(&pipeline).exits(1);
    run.all_well("engine");
    run.reports("setup failed: step `exit 7` failed (exit status: 7)");
}

#[test]
fn that_fail_before_the_measurement_leave_the_rest_of_the_model_out() {
    let step = json!([{ "run": "test ${{ model.id }} != bad" }]);
    let run = Scratch::new()
        .run(
            &pipeline([("engine", truth(&[]))])
                .with("models", json!([{ "id": "bad" }, { "id": "good" }]))
                .stage("load", "before", step),
        )
        .exits(1);
    assert_eq!(run.model("bad")["failures"][0]["stage"], "load");
    assert_eq!(run.model("bad")["engines"][0]["requests"], 0);
    assert_eq!(run.model("good")["engines"][0]["success_rate"], 1.0);
}

#[test]
fn that_fail_are_tried_again_as_often_as_they_say() {
    let scratch = Scratch::new();
    // Succeeds the third time; what the first attempts gave is dropped.
    let text = r#"echo x >> tries
        echo "word=try $(wc -l < tries)" >> "$PRONY_OUTPUT"
        test $(wc -l < tries) = 3"#;
    let step = json!({ "run": text, "name": "shaky", "retry": 2, "outputs": ["word"] });
    let after = json!({ "run": "echo '${{ stages.setup.outputs.word }}' > said" });
    let run = scratch.run(&with_setup(json!([step, after]))).exits(0);
    run.complains("step `shaky` failed (exit status: 1)");
    run.complains("trying again (1 of 2)");
    run.complains("trying again (2 of 2)");
    assert_eq!(
        scratch.read("said").split_whitespace().collect::<Vec<_>>(),
        ["try", "3"]
    );

    let scratch = Scratch::new();
    let step = json!({ "run": "echo x >> tries; exit 7", "retry": 1 });
    scratch.run(&with_setup(json!([step]))).exits(1);
    assert_eq!(scratch.read("tries").lines().count(), 2);
}
