//! Reporters of the user's own making, and those that fail.

use crate::kit::{PRONY, Run, Scratch, With, lock, pipeline, truth};
use serde_json::{Value, json};
use std::process::Command;

fn with_template(template: &str) -> Value {
    let mine = json!({ "plugin": "markdown", "config": { "template": template } });
    pipeline([("engine", truth(&[]))])
        .with("reporters", json!({ "mine": mine }))
        .stage("report", "reporters", json!(["mine", "json", "console"]))
}

fn run(pipeline: &Value) -> Run {
    Scratch::new().run(pipeline)
}

#[test]
fn a_template_of_ones_own() {
    let template = "{{ result.run.name }}: {{ result.models[0].engines[0].succeeded }} of \
                    {{ result.models[0].engines[0].requests }}, {{ result.run.outcome }}\n";
    let run = run(&with_template(template)).exits(0);
    assert_eq!(run.read("report.md"), "it: 4 of 4, completed\n");
}

#[test]
fn a_template_that_does_not_work_keeps_no_other_report_from_being_written() {
    let run = run(&with_template("first line\n{{ nothing.at_all }}\n")).exits(5);
    assert!(!run.folder.join("report.md").exists());
    run.all_well("engine");
    assert!(run.output.stdout.contains("engine"));
    run.complains("reporter `mine`");
    run.complains("line 2");
}

#[test]
fn a_template_that_is_none_is_found_before_anything_runs() {
    let scratch = Scratch::new();
    let pipeline = with_template("first line\n{% if %}\n");
    scratch.write("pipeline.yaml", format!("{pipeline:#}"));
    let output = scratch.prony(&["run", "pipeline.yaml"]).exits(3);
    output.complains("P0110").complains("line 2");
    assert!(!scratch.path("results").exists());
}

#[test]
fn the_first_that_fails_is_the_last_if_the_stage_says_so() {
    let pipeline = with_template("{{ nothing.at_all }}").stage("report", "on_failure", "stop");
    let run = run(&pipeline).exits(5);
    assert_eq!(run.output.stdout, "");
    // What a reporter writes comes from it.
    assert_eq!(run.outcome(), "completed");
}

#[test]
fn only_what_the_pipeline_asks_for_is_written() {
    let pipeline = pipeline([("engine", truth(&[]))]);
    let run = run(&pipeline.stage("report", "reporters", json!(["json"]))).exits(0);
    assert!(!run.folder.join("report.md").exists());
    assert_eq!(run.output.stdout, "");
    assert_eq!(run.outcome(), "completed");
}

#[test]
fn a_reporter_that_is_not_installed_is_said_to_be_missing() {
    let scratch = Scratch::new();
    scratch.run(&pipeline([("engine", truth(&[]))])).exits(0);
    let report = scratch.prony(&["report", "--reporter", "nobody,console"]);
    report.exits(5).complains("nobody").prints("engine");
}

#[test]
fn tables_have_the_width_of_the_terminal() {
    let scratch = Scratch::new();
    let engines = [("steady-engine", truth(&[])), ("other-engine", truth(&[]))];
    scratch.run(&pipeline(engines)).exits(0);
    let lines = |columns: u32| {
        let lock = lock();
        let command = format!(
            "stty rows 30 cols {columns}; '{PRONY}' --lock '{}' report latest --reporter console",
            lock.display()
        );
        let mut script = Command::new("script");
        if cfg!(target_os = "macos") {
            script.args(["-q", "/dev/null", "sh", "-c", &command]);
        } else {
            script.args(["-q", "-e", "-c", &command, "/dev/null"]);
        }
        let output = script.current_dir(scratch.path("")).output();
        let output = output.expect("a terminal");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("steady"), "{text}");
        let lines = text.lines().map(|line| line.trim_end_matches('\r'));
        lines.map(|line| line.chars().count()).max().unwrap_or(0)
    };
    for columns in [40, 60, 100] {
        let widest = lines(columns);
        assert!(widest <= columns as usize, "{widest} of {columns}");
    }
    assert!(lines(160) > 100, "there is room");
    // A terminal that is too narrow for any table gets the narrowest.
    assert!(lines(10) <= 40);
}
