//! Walls: what servers, engines, plugins and files of strangers cannot do.

use crate::kit::{Output, PRONY, Scratch, With, pipeline, truth, truth_through, unsealed};
use prony_result::words::is_hidden;
use serde_json::json;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

/// Words that would set the terminal's title, clear it, and forge an error.
const HOSTILE: &str = "x\u{1b}]0;title\u{7}\u{9b}2J\u{202e}\r\nerror: forged";

fn is_safe(what: &str, text: &str) {
    let bad = text
        .chars()
        .find(|it| is_hidden(*it) && !matches!(it, '\t' | '\n'));
    assert_eq!(bad, None, "{what}: {text:?}");
    assert!(
        !text.lines().any(|line| line.starts_with("error: forged")),
        "{what}: {text}"
    );
}

fn shows_nothing_raw(what: &str, output: &Output) {
    is_safe(what, &output.stdout);
    is_safe(what, &output.stderr);
}

/// The URL of a server that refuses each request with these words.
fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let body = json!({ "error": { "message": HOSTILE, "type": HOSTILE } }).to_string();
    let answer = format!(
        "HTTP/1.1 503 {HOSTILE_REASON}\r\nretry-after: {HOSTILE_REASON}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut client = client;
            let mut request = [0; 16 << 10];
            let _ = client.read(&mut request);
            let _ = client.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

/// The part of it that a head can hold.
const HOSTILE_REASON: &str = "\u{9b}2J\u{202e}";

#[test]
fn the_words_of_a_server_do_not_command_the_terminal() {
    let engine = json!({ "plugin": "openai", "config": { "base_url": refusing() } });
    let run = Scratch::new().run(&pipeline([("engine", engine), ("other", truth(&[]))]));
    shows_nothing_raw("run", &run.output);
    assert!(
        run.output.stdout.contains("forged"),
        "it is quoted: {:?}",
        run.output
    );
    for file in ["report.md", "result.json"] {
        let text = fs::read_to_string(run.folder.join(file)).expect("a report");
        is_safe(file, &text);
    }
}

#[test]
fn a_foreign_journal_does_not_command_the_terminal() {
    let scratch = Scratch::new();
    let run = scratch.run(&pipeline([("first", truth(&[])), ("second", truth(&[]))]));
    let journal = fs::read_to_string(run.folder.join("journal.jsonl")).expect("a journal");
    let hostile = json!(HOSTILE).to_string();
    let journal = journal
        .replace("\"second\"", &hostile)
        .replace("\"model\":\"model\"", &format!("\"model\":{hostile}"))
        .replace("\"id\":\"model\"", &format!("\"id\":{hostile}"))
        .replace("\"name\":\"it\"", &format!("\"name\":{hostile}"));
    let journal = unsealed(&journal);
    let foreign = scratch.write("results/2020-01-01-00-00-00-foreign/journal.jsonl", journal);
    let foreign = foreign.parent().expect("a folder").to_owned();
    let name = foreign.to_str().expect("text");
    let own = run.folder.to_str().expect("text");
    for arguments in [
        &[
            "report",
            name,
            "--reporter",
            "console",
            "--reporter",
            "markdown",
            "--reporter",
            "json",
        ][..],
        &["report", name, "--json"],
        &["list"],
        &["list", "--json"],
        &["metrics", name],
        &["metrics", name, "--json"],
        &["compare", name, own],
        &["compare", own, name, "--format", "markdown"],
        &["report", "no\u{1b}[2J\nerror: forged"],
    ] {
        let output = scratch.prony(arguments);
        shows_nothing_raw(&arguments.join(" "), &output);
        if arguments.contains(&"--json") {
            output.json();
        }
    }
    for file in ["report.md", "result.json"] {
        is_safe(
            file,
            &fs::read_to_string(foreign.join(file)).expect("a report"),
        );
    }
}

#[test]
fn what_is_called_latest_costs_no_report() {
    let scratch = Scratch::new();
    scratch.write("results/latest/mine", "kept");
    scratch.write(
        "pipeline.yaml",
        pipeline([("engine", truth(&[]))]).to_string(),
    );
    scratch
        .prony(&["run", "pipeline.yaml"])
        .exits(0)
        .prints("engine")
        .complains("warning: `latest` does not point to this run");
    assert_eq!(scratch.read("results/latest/mine"), "kept");
    scratch.prony(&["report"]).exits(0).prints("engine");
}

/// `prony run pipeline.yaml` with this limit of open files.
fn run_within(scratch: &Scratch, limit: &str) -> (Option<i32>, String) {
    let script = format!("ulimit {limit}; exec \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script, "sh", PRONY, "run", "pipeline.yaml"])
        .current_dir(scratch.path(""))
        .output()
        .expect("a shell");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn too_low_a_limit_of_open_files_is_raised_or_told() {
    let scratch = Scratch::new();
    let many = pipeline([("engine", truth(&[]))])
        .stage("measure", "requests", 200)
        .stage("measure", "arrival", json!({ "concurrency": 100 }));
    scratch.write("pipeline.yaml", many.to_string());
    let (code, said) = run_within(&scratch, "-n 120");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("100 requests in flight need 164 open files"),
        "{said}"
    );
    assert!(!scratch.path("results").exists(), "nothing was run");
    let (code, said) = run_within(&scratch, "-S -n 40");
    assert!(matches!(code, Some(0 | 6)), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_limited_address_space_is_told() {
    let scratch = Scratch::new();
    let engine = pipeline([("engine", truth(&[]))]);
    scratch.write("pipeline.yaml", engine.to_string());
    // Compiled already, as in a user's second run.
    scratch.prony(&["run", "pipeline.yaml"]).exits(0);
    let (code, said) = run_within(&scratch, "-v 2000000");
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("`ulimit -v unlimited`"), "{said}");
}

#[test]
fn nothing_waits_for_a_fifo() {
    let scratch = Scratch::new();
    let made = Command::new("mkfifo").arg(scratch.path("fifo")).status();
    assert!(made.expect("mkfifo").success());
    scratch.write(
        "pipeline.yaml",
        pipeline([("engine", truth(&[]))]).to_string(),
    );
    fs::create_dir_all(scratch.path("results/run")).expect("a folder");
    let extends = "extends: fifo\nname: it\n";
    scratch.write("extends.yaml", extends);
    let journal = Command::new("mkfifo")
        .arg(scratch.path("results/run/journal.jsonl"))
        .status();
    assert!(journal.expect("mkfifo").success());
    for (arguments, words) in [
        (&["validate", "fifo"][..], "a FIFO"),
        (&["run", "fifo"], "a FIFO"),
        (&["validate", "pipeline.yaml", "-f", "fifo"], "a FIFO"),
        (&["validate", "extends.yaml"], "a FIFO"),
        (&["import", "mlx-serving", "fifo"], "a FIFO"),
        (&["plugin", "add", "fifo"], "a FIFO"),
        (&["--lock", "fifo", "plugin", "list"], "a FIFO"),
        (&["validate", "/dev/zero"], "a device"),
        (&["validate", "results"], "a folder"),
        (&["report", "results/run"], "no run"),
        (&["compare", "fifo", "fifo"], ""),
    ] {
        let output = scratch.prony(arguments);
        assert_ne!(output.code, Some(0), "{arguments:?}");
        output.complains(words);
    }
}

#[test]
fn the_log_of_an_engine_is_limited() {
    let loud = truth_through(
        "yes 'a line of the log' | head -c 100000000; echo the end",
        &[],
    );
    let run = Scratch::new().run(&pipeline([("engine", loud)])).exits(0);
    run.all_well("engine");
    let log = run.folder.join("logs/model-engine-c1.log");
    let log = fs::read_to_string(log).expect("text");
    assert!(log.len() < 70 << 20, "{}", log.len());
    assert!(log.contains("bytes of this log are cut out here]"));
    assert!(log.starts_with("a line") && log.contains("the end\n"));
}
