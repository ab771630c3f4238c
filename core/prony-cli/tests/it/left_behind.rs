//! Whatever happens, nothing that prony started is left behind.

use crate::kit::{
    PRONY, Scratch, Started, With, ends, launched, pipeline, runs, truth_through, wait_for,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Writes the engine's process id to a file.
const TELL: &str = "echo $$ > engine.pid";
/// Starts a child that outlives the engine's own process, and tells both ids.
const TELL_WITH_CHILD: &str = "sleep 300 & echo $! > child.pid; echo $$ > engine.pid";

/// A run that would take minutes, caught in its measurement.
fn in_the_middle(scratch: &Scratch, script: &str) -> Started {
    let engine = truth_through(script, &["--time-to-first-token-ms", "50"]);
    let started = scratch.start_run(
        &pipeline([("engine", engine)])
            .stage("measure", "requests", 5000)
            .stage("unload", "timeout", "60s"),
    );
    scratch.wait_for_requests(3);
    started
}

#[test]
fn after_a_success() {
    let scratch = Scratch::new();
    let engine = truth_through(TELL_WITH_CHILD, &[]);
    let run = scratch.run(&pipeline([("engine", engine)])).exits(0);
    run.all_well("engine");
    assert!(!runs(scratch.wait_for_pid("engine.pid")));
    assert!(!runs(scratch.wait_for_pid("child.pid")));
    let warnings = run.result()["warnings"].to_string();
    assert!(
        !warnings.contains("killed"),
        "both ended when asked: {warnings}"
    );
}

#[test]
fn after_a_failed_load() {
    let scratch = Scratch::new();
    let script = format!("{TELL_WITH_CHILD}; exec sleep 300");
    let engine = launched(&["sh", "-c", &script]);
    let never_ready = pipeline([("engine", engine)]).stage("load", "timeout", "500ms");
    scratch.run(&never_ready).exits(1);
    assert!(!runs(scratch.wait_for_pid("engine.pid")));
    assert!(!runs(scratch.wait_for_pid("child.pid")));
}

#[test]
fn after_the_engine_ended_before_its_child() {
    let scratch = Scratch::new();
    let engine = launched(&["sh", "-c", "sleep 300 & echo $! > child.pid; exit 1"]);
    scratch.run(&pipeline([("engine", engine)])).exits(1);
    assert!(!runs(scratch.wait_for_pid("child.pid")));
}

#[test]
fn after_ctrl_c_and_what_was_measured_is_reported() {
    let scratch = Scratch::new();
    let started = in_the_middle(&scratch, TELL_WITH_CHILD);
    started.signal(Signal::INT);
    let run = scratch.latest(started.wait()).exits(130);
    assert!(!runs(scratch.wait_for_pid("engine.pid")));
    assert!(!runs(scratch.wait_for_pid("child.pid")));

    assert_eq!(run.outcome(), "interrupted");
    run.reports("The run was interrupted");
    run.agrees_with_its_journal("engine");
    run.complains("stopping:");
    run.complains(" requests (5000 planned)");
    assert!(run.engine("engine")["total_time_s"].as_f64() > Some(0.0));
    let journal = run.journal();
    // Files are looked at when the visit is over.
    let events = journal.iter().rev().filter(|it| it["event"] != "input");
    let last: Vec<&Value> = events.take(2).collect();
    assert_eq!(last[0]["event"], "finished");
    assert_eq!(last[0]["outcome"], "interrupted");
    assert_eq!(last[1]["event"], "visit");
}

#[test]
fn after_a_request_to_terminate() {
    let scratch = Scratch::new();
    let started = in_the_middle(&scratch, TELL);
    started.signal(Signal::TERM);
    let run = scratch.latest(started.wait()).exits(130);
    assert!(!runs(scratch.wait_for_pid("engine.pid")));
    assert_eq!(run.outcome(), "interrupted");
}

#[test]
fn after_ctrl_c_while_an_engine_starts() {
    let scratch = Scratch::new();
    let engine = launched(&["sh", "-c", &format!("{TELL}; exec sleep 300")]);
    let started = scratch.start_run(&pipeline([("engine", engine)]));
    let engine = scratch.wait_for_pid("engine.pid");
    started.signal(Signal::INT);
    let run = scratch.latest(started.wait()).exits(130);
    assert!(!runs(engine));
    assert_eq!(run.outcome(), "interrupted");
    assert_eq!(run.model("model")["failures"], json!([]));
}

#[test]
fn after_ctrl_c_during_a_step() {
    let scratch = Scratch::new();
    let step = json!({ "run": "sleep 300 & echo $! > step.pid; wait" });
    let pipeline = pipeline([("engine", crate::kit::truth(&[]))]);
    let started = scratch.start_run(&pipeline.stage("setup", "before", json!([step])));
    let step = scratch.wait_for_pid("step.pid");
    started.signal(Signal::INT);
    let run = scratch.latest(started.wait()).exits(130);
    ends(step);
    assert_eq!(run.outcome(), "interrupted");
    assert_eq!(run.requests("engine").len(), 0);
}

#[test]
fn a_second_ctrl_c_does_not_wait() {
    let scratch = Scratch::new();
    let started = in_the_middle(&scratch, &format!("trap '' TERM; {TELL}"));
    started.signal(Signal::INT);
    crate::kit::wait_for("prony to stop", || {
        started.stderr().contains("stopping:").then_some(())
    });
    // Sooner it would be the same wish.
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    started.signal(Signal::INT);
    let output = started.wait().exits(130);
    assert!(begin.elapsed() < Duration::from_secs(30), "not the 60 s");
    ends(scratch.wait_for_pid("engine.pid"));
    let output = output.complains("killed; what was measured is in results/");
    let words = output.stderr.split("`prony report ").nth(1);
    let folder = words.and_then(|it| it.split('`').next()).expect("a way on");
    let report = scratch.prony(&["report", folder, "--json"]).exits(0).json();
    assert_eq!(report["run"]["outcome"], "interrupted");
}

/// The kernel does it: prony itself has no chance to.
#[cfg(target_os = "linux")]
#[test]
fn after_prony_was_killed() {
    let scratch = Scratch::new();
    // Fewer requests than are waited for next.
    let short = pipeline([("engine", crate::kit::truth(&[]))]).stage("measure", "requests", 2);
    let ended = scratch.run(&short).exits(0);
    let started = in_the_middle(&scratch, TELL);
    let reported = |name: &[&str]| {
        let output = scratch.prony(&[&["report", "--json"], name].concat());
        let output = output.exits(0);
        let run = output.json()["run"].clone();
        (run["id"].clone(), run["outcome"].clone(), output)
    };
    let id = |run: &crate::kit::Run| run.folder.file_name().expect("a name").to_owned();
    let (first, outcome, output) = reported(&[]);
    assert_eq!(first, *id(&ended).to_string_lossy());
    assert_eq!(outcome, "completed");
    output.complains("is still running; what it has so far: `prony report results/");

    started.signal(Signal::KILL);
    assert_eq!(started.wait().code, None);
    ends(scratch.wait_for_pid("engine.pid"));
    let (second, outcome, output) = reported(&[]);
    assert_ne!(second, first, "not the older one");
    assert_eq!(outcome, "interrupted");
    output.complains("was cut short; the last run that came to its end: `prony report results/");
    let (latest, outcome, output) = reported(&["latest"]);
    assert_eq!((latest, outcome), (first, "completed".into()));
    assert_eq!(output.stderr, "");
}

#[test]
fn an_engine_that_does_not_end_when_asked_is_killed() {
    for script in [
        format!("trap '' TERM; {TELL}"),
        format!("(trap '' TERM; exec sleep 300) & {TELL}"),
    ] {
        let scratch = Scratch::new();
        let engine = truth_through(&script, &[]);
        let run = scratch
            .run(&pipeline([("engine", engine)]).stage("unload", "timeout", "500ms"))
            .exits(0);
        run.all_well("engine");
        assert!(!runs(scratch.wait_for_pid("engine.pid")));
        let warning = "did not end when asked and was killed";
        run.reports(warning);
        assert!(run.result()["warnings"].to_string().contains(warning));
        run.complains(warning);
    }
}

#[test]
fn after_a_step_of_the_unload_stage_failed() {
    let scratch = Scratch::new();
    let pipeline = pipeline([("engine", truth_through(TELL, &[]))]);
    let step = json!([{ "run": "exit 7" }]);
    let run = scratch
        .run(&pipeline.stage("unload", "before", step))
        .exits(1);
    run.all_well("engine");
    run.reports("engine failed in unload");
    assert!(!runs(scratch.wait_for_pid("engine.pid")));
}

#[test]
fn a_step_beyond_its_limit_is_killed() {
    let scratch = Scratch::new();
    let step = json!({ "run": "sleep 300 & echo $! > step.pid; wait", "timeout": "300ms" });
    let engine = launched(&[PRONY, "truth-server"]);
    let run = scratch
        .run(&pipeline([("engine", engine)]).stage("setup", "before", json!([step])))
        .exits(1);
    assert!(!runs(scratch.wait_for_pid("step.pid")));
    run.reports("took longer than its limit of 300ms");
}

#[test]
fn what_a_step_leaves_running_ends_with_it() {
    let scratch = Scratch::new();
    let step = json!({ "run": "sleep 300 & echo $! > step.pid" });
    let run = pipeline([("engine", crate::kit::truth(&[]))]);
    let run = scratch.run(&run.stage("setup", "before", json!([step])));
    run.exits(0).all_well("engine");
    assert!(!runs(scratch.wait_for_pid("step.pid")));
}

/// Each way out of the process group: as a child, as an orphan, and with nothing that says
/// where it came from.
#[cfg(target_os = "linux")]
#[test]
fn what_leaves_the_group_of_its_engine_is_found_and_told() {
    for stray in [
        "setsid sleep 300 &",
        "(setsid sh -c 'exec sleep 300' &)",
        "(env -i setsid sleep 300 &)",
    ] {
        let scratch = Scratch::new();
        let script = format!("{stray}\n{TELL}");
        let engine = truth_through(&script, &[]);
        let slow = pipeline([("engine", engine)]).stage("load", "timeout", "10s");
        let run = scratch.run(&slow).exits(0);
        run.all_well("engine");
        run.reports("left `sleep` running outside its process group; it was killed");
        let engine = scratch.wait_for_pid("engine.pid");
        assert!(!runs(engine), "{stray}");
        // Its session, which nothing else is in, is empty.
        let left = rustix::process::Pid::from_raw(engine).expect("an id");
        assert!(rustix::process::test_kill_process_group(left).is_err());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn two_engines_lose_only_what_is_their_own() {
    let scratch = Scratch::new();
    let script = "(setsid sh -c 'echo $$ > stray.pid; exec sleep 300' &)";
    let engines = [
        ("one", truth_through(script, &[])),
        ("two", truth_through(TELL, &[])),
    ];
    let mut resident = pipeline(engines);
    resident["schedule"] = json!({ "cycles": 1, "resident": true, "blocks": 1 });
    let run = scratch.run(&resident).exits(0);
    run.all_well("one");
    run.all_well("two");
    assert!(!runs(scratch.wait_for_pid("stray.pid")));
    let warnings = run.result()["warnings"].to_string();
    let told = "`one` (cycle 1) left `sleep` running outside its process group";
    assert!(warnings.contains(told), "{warnings}");
    assert!(!warnings.contains("`two` (cycle 1) left"), "{warnings}");
}

/// Another server takes the port before the engine does, and answers.
#[cfg(target_os = "linux")]
#[test]
fn another_server_on_the_port_of_the_engine_is_not_measured() {
    let scratch = Scratch::new();
    let script = "echo ${{ engine.port }} > new && mv new port; exec sleep 300";
    let engine = launched(&["sh", "-c", script]);
    let started = scratch.start_run(&pipeline([("engine", engine)]));
    let port = wait_for("the port", || {
        std::fs::read_to_string(scratch.path("port")).ok()
    });
    let mut other = std::process::Command::new(PRONY)
        .args(["truth-server", "--port", port.trim()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the other server starts");
    let run = scratch.latest(started.wait()).exits(1);
    run.complains("which the engine did not start: end that process");
    assert_eq!(run.requests("engine").len(), 0);
    other.kill().expect("it runs still");
    other.wait().expect("it ends");
}

/// Processes that a user started before prony in the same shell, and those that a step leaves
/// behind on purpose, are no engine's.
#[cfg(target_os = "linux")]
#[test]
fn processes_of_the_user_are_left_alone() {
    let scratch = Scratch::new();
    let step = json!({
        "run": "setsid env -i sh -c 'echo $$ > new && mv new daemon.pid; exec sleep 300' & sleep 0.3"
    });
    let pipeline = pipeline([("engine", truth_through(TELL, &[]))]);
    let pipeline = pipeline.stage("setup", "before", json!([step]));
    scratch.write("pipeline.yaml", pipeline.to_string());
    let lock = crate::kit::lock();
    let script = format!(
        "sleep 300 >&- 2>&- & echo $! > own.pid; exec \"{PRONY}\" --lock \"{}\" run pipeline.yaml",
        lock.display()
    );
    let shell = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(scratch.path(""))
        .output()
        .expect("a shell");
    let words = String::from_utf8_lossy(&shell.stderr);
    assert!(!words.contains("outside its process group"), "{words}");
    for name in ["own.pid", "daemon.pid"] {
        let pid = scratch.wait_for_pid(name);
        assert!(runs(pid), "{name}");
        crate::kit::send(pid, Signal::KILL);
    }
    assert!(!runs(scratch.wait_for_pid("engine.pid")));
}

/// One that starts itself again whenever it is ended.
#[cfg(target_os = "linux")]
#[test]
fn what_comes_back_is_ended_for_good() {
    let scratch = Scratch::new();
    let script = "(setsid sh -c 'while :; do sleep 300; done' &)";
    let engine = truth_through(&format!("{script}\n{TELL}"), &[]);
    let run = scratch.run(&pipeline([("engine", engine)])).exits(0);
    run.reports("running outside its process group; it was killed");
    let marked = std::fs::read_dir("/proc").expect("processes").flatten();
    let folder = scratch.path("").to_string_lossy().into_owned();
    let is_of_this_run = |process: &std::fs::DirEntry| {
        let cwd = std::fs::read_link(process.path().join("cwd"));
        cwd.is_ok_and(|cwd| {
            cwd.to_string_lossy()
                .starts_with(folder.trim_end_matches('/'))
        })
    };
    assert_eq!(marked.filter(is_of_this_run).count(), 0);
}
