//! A run that was killed goes on, and is the run that it would have been.

use crate::kit::{
    Run, Scratch, With, ends, pipeline, repository, runs, text, truth, truth_through, wait_for,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;

/// Two engines of known speed; a cycle takes 8 measured requests.
fn compared() -> Value {
    let slow = truth(&["--time-to-first-token-ms", "20"]);
    let fast = truth(&["--time-to-first-token-ms", "5"]);
    pipeline([("slow", slow), ("fast", fast)])
        .with("schedule.cycles", 8)
        .with("schedule.stop", "never")
}

fn journal_of(scratch: &Scratch) -> String {
    fs::read_to_string(run_folder(scratch).join("journal.jsonl")).expect("a journal")
}

fn run_folder(scratch: &Scratch) -> std::path::PathBuf {
    let runs = fs::read_dir(scratch.path("results"))
        .expect("runs")
        .flatten();
    let folders = runs.map(|run| run.path()).filter(|path| !path.is_symlink());
    folders.max().expect("a run")
}

/// Kills a run outright after so many measured requests; returns its journal.
fn killed(scratch: &Scratch, pipeline: &Value, requests: usize) -> String {
    let started = scratch.start_run(pipeline);
    scratch.wait_for_requests(requests);
    started.signal(Signal::KILL);
    started.wait();
    journal_of(scratch)
}

fn cycles(run: &Run) -> Vec<u64> {
    let over = run.events("cycle");
    over.iter().filter_map(|it| it["cycle"].as_u64()).collect()
}

fn degraded(run: &Run) -> Vec<u64> {
    let mut cycles: Vec<u64> = run
        .events("degraded")
        .iter()
        .flat_map(|it| it["visits"].as_array().cloned().unwrap_or_default())
        .filter_map(|it| it["cycle"].as_u64())
        .collect();
    cycles.dedup();
    cycles
}

#[test]
fn a_killed_run_goes_on_and_only_its_cycle_is_replaced() {
    for requests in [1, 5, 18] {
        let scratch = Scratch::new();
        let before = killed(&scratch, &compared(), requests);
        scratch.prony(&["verify"]).exits(0).prints("has not ended");
        let output = scratch.prony(&["resume"]).exits(0);
        let run = scratch.latest(output);
        assert_eq!(run.outcome(), "completed");
        // What was there stays, to the byte, but for a line that was cut.
        let whole = before.rfind('\n').map_or(0, |end| end + 1);
        assert!(run.read("journal.jsonl").starts_with(&before[..whole]));
        // At most the request in flight is lost.
        assert_eq!(run.events("resumed").len(), 1);
        let broken = degraded(&run);
        assert_eq!(broken.len(), 1, "{requests}: {broken:?}");
        assert_eq!(
            cycles(&run),
            [1, 2, 3, 4, 5, 6, 7, 8, 9],
            "the ninth replaces one"
        );
        let resumed = run.journal();
        let resumed: Vec<&Value> = resumed
            .iter()
            .skip_while(|it| it["event"] != "resumed")
            .collect();
        let again = resumed.iter().filter(|it| it["event"] == "request");
        assert!(
            again
                .clone()
                .all(|it| it["cycle"].as_u64() > Some(broken[0]))
        );
        let result = run.result();
        let comparison = &result["models"][0]["comparisons"][0];
        assert_eq!(comparison["degraded_cycles"], 1, "{comparison}");
        let flags = comparison["flags"].as_array().expect("flags");
        assert!(flags.contains(&json!("resumed")), "{comparison}");
        assert!(result["warnings"].to_string().contains("resumed at"));
        scratch.prony(&["verify"]).exits(0).prints("ok");
        let problem = format!("cycle {} does not count: the run was broken off", broken[0]);
        run.reports(&problem);
        assert!(!run.read("report.md").contains("slow failed"));
        // It is whole without that cycle.
        scratch.prony(&["attest"]).exits(0);
        let told: Value =
            serde_json::from_str(&run.read("attestation.test-result.json")).expect("JSON");
        let told = &told["predicate"];
        // A busy machine keeps the load client late.
        let failed = told["failedTests"].as_array().expect("a list");
        let is_late = |it: &Value| text(it).starts_with("valid: ");
        assert!(failed.iter().all(is_late), "{told}");
        assert!(told["notes"][0].to_string().contains(&problem), "{told}");
        // Its requests say so, and those of no other cycle.
        let rows = scratch.prony(&["export"]).exits(0).stdout;
        let rows = rows
            .lines()
            .map(|it| serde_json::from_str(it).expect("JSON"));
        let mut of_broken = 0;
        for row in rows.collect::<Vec<Value>>() {
            let expected = (row["cycle"] == broken[0]).then_some("broken_visit");
            assert_eq!(row["left_out"], json!(expected), "{row}");
            of_broken += usize::from(expected.is_some());
        }
        // The numbers of an engine alone have them, which is told.
        let apart = format!("cycle {} was broken off: no comparison has", broken[0]);
        let is_told = result["warnings"].to_string().contains(&apart);
        assert_eq!(is_told, of_broken > 0, "{}", result["warnings"]);
        let groups = scratch.prony(&["metrics", "--json"]).exits(0).stdout;
        let groups: Value = serde_json::from_str(&groups).expect("JSON");
        let told = groups.as_array().expect("groups").iter();
        let told: u64 = told.filter_map(|it| it["degraded"].as_u64()).sum();
        assert_eq!(told, of_broken as u64, "{groups}");
        let shown = scratch.prony(&["metrics"]).exits(0).stdout;
        assert!(shown.contains(" requests succeeded"), "{shown}");
        let words = " of them in cycles that were broken off";
        assert_eq!(shown.contains(words), of_broken > 0, "{shown}");
        // There is nothing left to do.
        let again = scratch.prony(&["resume", "latest"]).exits(2);
        again.complains("nothing is left to resume");
    }
}

#[test]
fn a_run_killed_twice_and_interrupted_once_goes_on_each_time() {
    let scratch = Scratch::new();
    killed(&scratch, &compared(), 4);
    let go_on = |requests: usize, signal| {
        let started = scratch.start(&["resume"]);
        scratch.wait_for_requests(requests);
        started.signal(signal);
        started.wait()
    };
    go_on(14, Signal::KILL);
    let interrupted = go_on(24, Signal::INT).exits(130);
    interrupted
        .complains("`prony resume ")
        .complains("goes on with the run");
    let run = scratch.latest(scratch.prony(&["resume"]).exits(0));
    assert_eq!(degraded(&run).len(), 3);
    assert_eq!(cycles(&run), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    scratch.prony(&["verify"]).exits(0);
    let comparison = &run.result()["models"][0]["comparisons"][0];
    assert_eq!(comparison["degraded_cycles"], 3, "{comparison}");
    let verdict = text(&comparison["verdict"]);
    assert_eq!(verdict, "inconclusive", "too many cycles were broken off");
}

#[test]
fn the_same_command_begins_goes_on_and_reports() {
    let scratch = Scratch::new();
    scratch.write("pipeline.yaml", format!("{:#}", compared()));
    let command = ["run", "pipeline.yaml", "--into", "results/mine"];
    let started = scratch.start(&command);
    scratch.wait_for_requests(6);
    started.signal(Signal::KILL);
    started.wait();
    scratch.prony(&command).exits(0).complains("results are in");
    let whole = scratch.read("results/mine/journal.jsonl");
    let again = scratch.prony(&command).exits(0);
    again.prints("slow");
    assert_eq!(scratch.read("results/mine/journal.jsonl"), whole);
}

#[test]
fn another_experiment_is_refused_with_what_differs() {
    let scratch = Scratch::new();
    scratch.write("pipeline.yaml", format!("{:#}", compared()));
    let command = ["run", "pipeline.yaml", "--into", "results/mine"];
    let started = scratch.start(&command);
    scratch.wait_for_requests(2);
    let busy = scratch.prony(&command).exits(1);
    busy.complains("the run is in progress");
    started.signal(Signal::KILL);
    started.wait();
    let before = scratch.read("results/mine/journal.jsonl");
    let other = compared().with("schedule.cycles", 7);
    scratch.write("pipeline.yaml", format!("{other:#}"));
    let refused = scratch.prony(&command).exits(2);
    let refused = refused.complains("another experiment");
    for row in ["  schedule.cycles  then 8 ", "  plan "] {
        let mut lines = refused.stderr.lines();
        assert!(lines.any(|line| line.starts_with(row)), "{refused:?}");
    }
    assert_eq!(scratch.read("results/mine/journal.jsonl"), before);
    // What only reports depend on may differ.
    let other = compared().with("description", "another text").stage(
        "report",
        "reporters",
        json!(["console"]),
    );
    scratch.write("pipeline.yaml", format!("{other:#}"));
    scratch.prony(&command).exits(0);
    let journal = scratch.read("results/mine/journal.jsonl");
    assert!(journal.contains("the run goes on with another `description`"));
    let verified = scratch.prony(&["verify", "results/mine"]).exits(0);
    verified.prints("ok");
}

#[test]
fn a_pipeline_without_load_and_unload_goes_on() {
    let scratch = Scratch::new();
    let quickstart = repository().join("pipelines/quickstart.yaml");
    let quickstart = quickstart.to_str().expect("text");
    let few = ["--set", "schedule.cycles=9", "--set", "schedule.stop=never"];
    let started = scratch.start(&[&["run", quickstart][..], &few].concat());
    scratch.wait_for_requests(13);
    started.signal(Signal::KILL);
    started.wait();
    let run = scratch.latest(scratch.prony(&["resume"]).exits(0));
    assert_eq!(run.outcome(), "completed");
    assert_eq!(degraded(&run).len(), 1);
    scratch.prony(&["verify"]).exits(0);
}

#[test]
fn a_folder_of_the_user_is_refused_and_stays_as_it_is() {
    let scratch = Scratch::new();
    scratch.write("pipeline.yaml", format!("{:#}", compared()));
    scratch.write("mine/pipeline.yaml", "my own");
    let command = ["run", "pipeline.yaml", "--into", "mine"];
    let refused = scratch.prony(&command).exits(2);
    refused.complains("`mine` holds `pipeline.yaml`");
    assert_eq!(scratch.read("mine/pipeline.yaml"), "my own");
    assert!(!scratch.path("mine/logs").exists());
}

#[test]
fn logs_that_are_gone_are_made_again_and_never_behind_a_link() {
    let scratch = Scratch::new();
    killed(&scratch, &compared(), 2);
    let logs = run_folder(&scratch).join("logs");
    fs::remove_dir_all(&logs).expect("removed");
    fs::create_dir(scratch.path("elsewhere")).expect("a folder");
    std::os::unix::fs::symlink(scratch.path("elsewhere"), &logs).expect("a link");
    let refused = scratch.prony(&["resume"]).exits(1);
    refused.complains("it is no folder, and logs go into one");
    fs::remove_file(&logs).expect("removed");
    scratch.prony(&["resume"]).exits(0);
    assert!(logs.is_dir());
}

#[test]
fn setup_must_have_the_same_outputs() {
    let scratch = Scratch::new();
    let step = json!({
        "run": "date +%N > told; echo \"now=$(cat told)\" >> \"$PRONY_OUTPUT\"",
        "outputs": ["now"],
    });
    let pipeline = compared().stage("setup", "before", json!([step]));
    killed(&scratch, &pipeline, 2);
    let refused = scratch.prony(&["resume"]).exits(2);
    refused.complains("outputs of setup");
    scratch.prony(&["resume", "--accept-new-setup"]).exits(0);
}

#[test]
fn what_the_dead_run_left_running_is_ended() {
    let scratch = Scratch::new();
    let script = "test -e left.pid || { setsid sleep 300 & echo $! > left.pid; }";
    let engine = truth_through(script, &["--time-to-first-token-ms", "50"]);
    killed(&scratch, &pipeline([("engine", engine)]), 2);
    let left = scratch.wait_for_pid("left.pid");
    assert!(runs(left), "nobody has ended it");
    // Nothing is compared, so nothing takes the place of the cycle.
    let output = scratch.prony(&["resume"]).exits(6);
    let output = output.complains("cycle 1 was broken off, and nothing replaces it");
    ends(left);
    let run = scratch.latest(output);
    assert!(run.result()["warnings"].to_string().contains("sleep"));
}

#[test]
fn a_disk_that_is_full_ends_the_run_and_what_is_there_is_reported() {
    let scratch = Scratch::new();
    scratch.write("pipeline.yaml", format!("{:#}", compared()));
    let started = scratch.start(&["run", "pipeline.yaml"]);
    scratch.wait_for_requests(10);
    let journal = run_folder(&scratch).join("journal.jsonl");
    let length = fs::metadata(&journal).expect("a journal").len();
    // As the system does it when a file may not grow.
    limit_file_size(started.id(), length + 2000);
    let output = started.wait();
    assert_eq!(output.code, Some(1), "{output:?}");
    let output = output
        .complains("cannot be written or read")
        .complains("journal.jsonl");
    output.prints("slow");
    wait_for("the end", || {
        scratch
            .prony(&["verify"])
            .exits(0)
            .stdout
            .contains("ok")
            .then_some(())
    });
}

/// Sets the limit of the size of files of a process.
fn limit_file_size(pid: i32, bytes: u64) {
    let limit = format!("--fsize={bytes}:{bytes}");
    let set = std::process::Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &limit])
        .status();
    assert!(set.expect("prlimit").success());
}
