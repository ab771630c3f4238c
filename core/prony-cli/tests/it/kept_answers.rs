//! Answers that came while others were in flight: none is lost, and none takes memory.

use crate::kit::{PRONY, Run, Scratch, Server, Started, With, number, pipeline, truth, wait_for};
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The clock of stamps and of the server's log.
fn now_ns() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

/// A server that lives as long as the test and logs its answers.
struct Logging {
    server: Server,
    log: PathBuf,
}

impl Logging {
    /// 8 tokens, the first after 5 ms, then one every ms.
    fn start(scratch: &Scratch) -> Self {
        let log = scratch.path("server.jsonl");
        let path = log.to_str().expect("text");
        let gaps = [
            "--time-to-first-token-ms",
            "5",
            "--inter-token-latency-us",
            "1000",
        ];
        let options = ["--tokens", "8", "--log", path];
        let server = Server::start(&[&options[..], &gaps].concat());
        Self { server, log }
    }

    fn engine(&self) -> Value {
        let config = json!({ "base_url": self.server.url, "model": "truth" });
        json!({ "plugin": "openai", "config": config })
    }

    /// Ends of the whole answers that it has written, in nanoseconds, once nobody asks it
    /// any more: it logs while it has nothing else to do.
    fn answered(&self) -> Vec<f64> {
        let mut text = String::new();
        wait_for("the end of the log", || {
            std::thread::sleep(Duration::from_millis(300));
            let before = text.len();
            text = fs::read_to_string(&self.log).ok()?;
            (text.len() == before && before > 0).then_some(())
        });
        let entries = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let ends = entries.filter_map(|entry| {
            let path = entry["path"].as_str().expect("a path");
            let is_answer = path.contains("completions") && entry["complete"] == true;
            let last = entry["writes_ns"].as_array()?.last().map(number);
            last.filter(|_| is_answer)
        });
        ends.collect()
    }
}

/// The folder of the only run.
fn folder(scratch: &Scratch) -> PathBuf {
    let runs = fs::read_dir(scratch.path("results")).expect("runs");
    let mut runs = runs.map(|run| run.expect("a run").path());
    runs.find(|path| !path.is_symlink()).expect("a run")
}

/// The measured requests in the journal, which has each once.
fn requests(scratch: &Scratch) -> Vec<Value> {
    requests_of(scratch, |_| true)
}

/// The requests that `wanted` takes, of one engine and cycle or several.
fn requests_of(scratch: &Scratch, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let text = fs::read_to_string(folder(scratch).join("journal.jsonl")).expect("a journal");
    let events = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let mut requests: Vec<Value> = events.collect();
    requests.retain(|it| it["event"] == "request" && it["phase"] == "measure");
    requests.retain(wanted);
    let id = |it: &Value| [&it["engine"], &it["cycle"], &it["index"]].map(Value::to_string);
    let ids: BTreeSet<[String; 3]> = requests.iter().map(id).collect();
    assert_eq!(ids.len(), requests.len(), "each once");
    requests
}

fn succeeded(requests: &[Value]) -> usize {
    let good = requests.iter().filter(|it| it.get("failed").is_none());
    good.count()
}

/// Starts a run and waits until so many bytes of answers lie in its folder.
fn started(scratch: &Scratch, server: &Logging, arrival: &Value, bytes: u64) -> Started {
    let started = scratch.start_run(
        &pipeline([("engine", server.engine())])
            .stage("measure", "requests", 200_000)
            .stage("measure", "arrival", arrival.clone()),
    );
    wait_for("answers", || (kept(scratch)? >= bytes).then_some(()));
    started
}

/// Size of the file of answers of a run.
fn kept(scratch: &Scratch) -> Option<u64> {
    let runs = fs::read_dir(scratch.path("results")).ok()?.flatten();
    let files = runs.filter_map(|it| fs::metadata(it.path().join("answers.bin")).ok());
    files.map(|it| it.len()).max()
}

#[test]
fn a_killed_run_loses_no_answer_that_is_a_second_old() {
    let open = json!({ "constant": { "rate": 800, "max_in_flight": 64 } });
    for arrival in [json!({ "concurrency": 16 }), open] {
        let scratch = Scratch::new();
        let server = Logging::start(&scratch);
        // Some 2,000 answers.
        let started = started(&scratch, &server, &arrival, 4_000_000);
        let killed_ns = now_ns();
        started.signal(Signal::KILL);
        assert_eq!(started.wait().code, None);
        let ends = server.answered();
        let old = ends.iter().filter(|end| **end < killed_ns - 1e9).count();
        assert!(old > 100, "{old} of {}", ends.len());
        assert_eq!(requests(&scratch), [Value::Null; 0], "none is decoded yet");

        let report = scratch.prony(&["report", "--json"]).exits(0);
        let report = report.complains("afterwards prony decoded");
        assert_eq!(report.json()["run"]["outcome"], "interrupted");
        let found = requests(&scratch);
        let well = succeeded(&found);
        assert!(
            (old..=ends.len()).contains(&well),
            "{well} of {old} to {}",
            ends.len()
        );
        assert!(
            found.iter().all(|it| it["output_tokens"] == 8),
            "all are whole"
        );
        let engine = &report.json()["models"][0]["engines"][0];
        assert_eq!(engine["requests"], found.len());
        assert!(
            report.json()["warnings"]
                .to_string()
                .contains("afterwards prony decoded")
        );

        // Once is enough.
        assert!(!folder(&scratch).join("answers.bin").exists());
        let again = scratch.prony(&["report", "--json"]).exits(0);
        assert!(
            !again.stderr.contains("afterwards prony decoded"),
            "{again:?}"
        );
        assert_eq!(requests(&scratch), found);
    }
}

#[test]
fn a_resumed_run_has_what_was_answered_before_it_was_killed() {
    let scratch = Scratch::new();
    let server = Logging::start(&scratch);
    let two = pipeline([("a", server.engine()), ("b", server.engine())])
        .with("schedule.cycles", 2)
        .stage("measure", "requests", 2_000)
        .stage("measure", "arrival", json!({ "concurrency": 16 }));
    let started = scratch.start_run(&two);
    wait_for("answers", || (kept(&scratch)? >= 400_000).then_some(()));
    started.signal(Signal::KILL);
    assert_eq!(started.wait().code, None);
    // Another pipeline is refused before anything is changed.
    let run = folder(&scratch);
    let before = fs::read(run.join("journal.jsonl")).expect("a journal");
    let other = two.clone().with("schedule.cycles", 3);
    scratch.write("other.yaml", format!("{other:#}"));
    let into = run.to_str().expect("text");
    let refused = scratch.prony(&["run", "other.yaml", "--into", into]);
    refused.exits(2).complains("another experiment");
    let after = fs::read(run.join("journal.jsonl")).expect("a journal");
    assert_eq!(after, before);
    assert!(run.join("answers.bin").exists());
    let resumed = scratch.prony(&["resume"]);
    let resumed = resumed.complains("afterwards prony decoded");
    assert!(matches!(resumed.code, Some(0 | 6)), "{resumed:?}");
    let found = requests_of(&scratch, |it| it["cycle"] == 1);
    assert!(succeeded(&found) > 100, "{}", found.len());
    assert!(found.len() < 2_000, "the broken cycle is not run again");
    assert_eq!(requests_of(&scratch, |it| it["cycle"] == 2).len(), 4_000);
    scratch.prony(&["verify"]).exits(0);
}

#[test]
fn answers_wait_for_their_plugin() {
    let scratch = Scratch::new();
    let server = Logging::start(&scratch);
    let started = started(&scratch, &server, &json!({ "concurrency": 16 }), 200_000);
    started.signal(Signal::KILL);
    assert_eq!(started.wait().code, None);
    let left = folder(&scratch).join("answers.bin");
    scratch.write("prony.lock", r#"{ "version": 1, "plugins": [] }"#);
    let without = scratch.prony_with_lock("prony.lock", &["report", "--json"]);
    let without = without.exits(0);
    let without = without.complains("are in no number, and stay in `");
    assert!(without.stderr.contains("`openai`"), "{without:?}");
    assert!(left.exists());
    scratch
        .prony(&["report", "--json"])
        .exits(0)
        .complains("afterwards prony decoded");
    assert!(succeeded(&requests(&scratch)) > 50);
    assert!(!left.exists());

    // What is no file of answers is told, and stays.
    fs::write(&left, "{}\n").expect("a file");
    let damaged = scratch.prony(&["report", "--json"]).exits(0);
    damaged.complains("its first line is of another prony, or damaged");
    assert!(left.exists());
}

/// Places of the answers in a file of them.
fn places(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let line = bytes.iter().position(|it| *it == b'\n');
    let mut at = line.expect("a first line") + 1;
    let mut places = Vec::new();
    while let Some(length) = bytes.get(at..at + 8) {
        let length = u64::from_le_bytes(length.try_into().expect("8 bytes"));
        let end = at + 12 + length as usize;
        places.push(at..end);
        at = end;
    }
    places.retain(|it| it.end <= bytes.len());
    places
}

#[test]
fn answers_that_are_damaged_or_of_another_run_are_told_and_kept() {
    let scratch = Scratch::new();
    let server = Logging::start(&scratch);
    let started = started(&scratch, &server, &json!({ "concurrency": 16 }), 200_000);
    started.signal(Signal::KILL);
    assert_eq!(started.wait().code, None);
    let folder = folder(&scratch);
    let run = folder.to_str().expect("text");
    let left = folder.join("answers.bin");

    // Whoever looks at the run learns of them, and nobody packs them.
    for arguments in [
        &["export", run][..],
        &["verify", run],
        &["metrics", run],
        &["list"],
        &["attest", run],
        &["bundle", run, "--output", "it.prony.tar.gz"],
    ] {
        let told = scratch.prony(arguments);
        told.complains("are in no number, and stay in `");
    }
    let attested = fs::read_to_string(folder.join("attestation.json")).expect("a file");
    assert!(!attested.contains("answers.bin") && !attested.contains(".spare"));
    let packed = Command::new("tar")
        .args(["tzf", "it.prony.tar.gz"])
        .current_dir(scratch.path(""))
        .output()
        .expect("tar");
    let packed = String::from_utf8_lossy(&packed.stdout);
    assert!(packed.contains("journal.jsonl"), "{packed}");
    assert!(!packed.contains("answers.bin") && !packed.contains(".spare"));

    let whole = fs::read(&left).expect("answers");
    let places = places(&whole);
    let line = &whole[..places[0].start];
    let text = String::from_utf8_lossy(line).into_owned();
    for (from, to, words) in [
        (
            "\"run_sha256\":\"",
            "\"run_sha256\":\"0",
            "they are of another run",
        ),
        ("\"cycle\":1", "\"cycle\":7", "the run has no visit"),
        (
            "\"stage\":\"measure\"",
            "\"stage\":\"warmup\"",
            "was not under way",
        ),
    ] {
        let other = text.replace(from, to);
        assert_ne!(other, text, "{text}");
        fs::write(&left, [other.as_bytes(), &whole[line.len()..]].concat()).expect("a file");
        scratch
            .prony(&["report", "--json"])
            .exits(0)
            .complains(words);
        assert!(left.exists());
        // What is there would be written over.
        scratch.prony(&["resume"]).exits(2).complains(words);
        assert!(left.exists());
    }
    assert_eq!(requests(&scratch), [Value::Null; 0]);

    let mut damaged = whole[..places.last().expect("answers").end].to_vec();
    damaged[places[2].end - 1] ^= 1;
    damaged.extend_from_slice(&whole[places[0].clone()]);
    fs::write(&left, damaged).expect("a file");
    let report = scratch.prony(&["report", "--json"]).exits(0);
    report.complains("1 answer in the file cannot be read, so the file is kept");
    assert_eq!(requests(&scratch).len(), places.len() - 1);
    assert!(!left.exists() && folder.join("answers.damaged").exists());
}

/// A server may repeat what it was given.
#[test]
fn answers_are_masked_or_left_where_secrets_are_not_known() {
    let scratch = Scratch::new();
    let secret = "zq-4711-never-told";
    let event = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        format!("data: {}\n\n", json!({ "model": "m", "choices": [choice] }))
    };
    let body = event(json!({ "content": format!("it is {secret}") }), Value::Null)
        + &event(json!({}), json!("stop"))
        + "data: [DONE]\n\n";
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let response = head + &body;
    let pieces = format!("end of connection: keep\npieces:\n+0 {}\n", response.len());
    scratch.write("echo.txt", pieces);
    let recorded = scratch.write("echo.http", response);
    let server = Server::start(&["--play", recorded.to_str().expect("text")]);
    let config =
        json!({ "base_url": server.url, "model": "m", "api_key": "${{ env.IT_API_KEY }}" });
    let engine = json!({ "plugin": "openai", "config": config });
    let echoed = pipeline([("engine", engine)])
        .with("env", json!(["IT_API_KEY"]))
        .stage("measure", "requests", 200_000)
        .stage("measure", "arrival", json!({ "concurrency": 16 }));
    scratch.write("pipeline.yaml", echoed.to_string());
    let known = [("IT_API_KEY", secret.to_owned())];
    let started = scratch.start_locked_in(&known, &["run", "pipeline.yaml"]);
    wait_for("answers", || (kept(&scratch)? >= 100_000).then_some(()));
    started.signal(Signal::KILL);
    assert_eq!(started.wait().code, None);
    let without = scratch.prony(&["report", "--json"]).exits(0);
    without.complains("secrets of the pipeline, which are not known");
    assert_eq!(requests(&scratch), [Value::Null; 0]);
    scratch
        .prony_in(&known, &["report", "--json"])
        .exits(0)
        .complains("afterwards prony decoded");
    assert!(requests(&scratch).len() > 50);
    let journal = fs::read_to_string(folder(&scratch).join("journal.jsonl")).expect("a journal");
    assert!(!journal.contains(secret));
    assert!(journal.contains("it is (secret"));
}

#[test]
fn a_limit_ends_an_open_loop_and_all_numbers_are_right() {
    let scratch = Scratch::new();
    let log = scratch.path("server.jsonl");
    let path = log.to_str().expect("text");
    let options = ["--tokens", "8", "--log", path];
    let server = Server::start(&[&options[..], &["--time-to-first-token-ms", "300"]].concat());
    let server = Logging { server, log };
    let limited = pipeline([("engine", server.engine())])
        .stage("measure", "requests", 2_000)
        .stage("measure", "arrival", json!({ "constant": { "rate": 100 } }))
        .stage("measure", "timeout", "2s");
    let run = scratch.run(&limited);
    let answered = server.answered().len();
    let found = run.requests("engine");
    // 100 a second in 2 s and, on a busy machine, some more; the others were never due.
    assert!((195..400).contains(&found.len()), "{}", found.len());
    let well = succeeded(&found);
    assert!(
        (answered.saturating_sub(10)..=answered).contains(&well),
        "{well} of {answered}"
    );
    let ns = |it: &Value, name: &str| it[name].as_u64().unwrap_or_default();
    let first = ns(&found[0], "intended_ns");
    for request in &found {
        let due = first + ns(request, "index") * 10_000_000;
        assert_eq!(ns(request, "intended_ns"), due, "{request}");
        assert!(ns(request, "sent_ns") >= due, "{request}");
        if let Some(failed) = request.get("failed") {
            assert_eq!(failed["class"], "timeout");
            // Those in flight have the times of their own sending.
            assert!(
                request.get("written_ns").is_none()
                    || ns(request, "end_ns") > ns(request, "sent_ns"),
                "{request}"
            );
        }
    }
    let cut = found.iter().filter(|it| it.get("failed").is_some());
    let cut = cut.filter(|it| it.get("written_ns").is_some()).count();
    assert!(cut >= 20, "{cut} had been sent 300 ms before the end");
    let engine = run.engine("engine");
    let rate = number(&engine["delivered"]["intended_per_sec"]);
    assert!((99.0..101.0).contains(&rate), "{rate}");
    assert_eq!(engine["requests"], found.len());
    assert_eq!(engine["succeeded"], well);
    assert_eq!(
        engine["delivered"]["sent"],
        found
            .iter()
            .filter(|it| it.get("written_ns").is_some())
            .count()
    );
    let never = format!("{} requests of `engine`", 2_000 - found.len());
    assert!(run.result()["warnings"].to_string().contains(&never));
}

#[test]
fn ctrl_c_keeps_every_answer() {
    let scratch = Scratch::new();
    let server = Logging::start(&scratch);
    let started = started(&scratch, &server, &json!({ "concurrency": 64 }), 4_000_000);
    let stopped_ns = now_ns();
    started.signal(Signal::INT);
    let run = scratch.latest(started.wait()).exits(130);
    let ends = server.answered();
    let before = ends.iter().filter(|end| **end < stopped_ns).count();
    let found = run.requests("engine");
    let well = succeeded(&found);
    assert_eq!(well, found.len(), "what was in flight has not failed");
    let told = run.result()["warnings"].to_string();
    assert!(
        told.contains("in flight when the run was interrupted"),
        "{told}"
    );
    // The server may have written what had not been read.
    let most = ends.len();
    assert!(
        (before.saturating_sub(64)..=most).contains(&well),
        "{well} of {before} to {most}"
    );
    run.agrees_in_count();
}

#[test]
fn what_was_answered_within_the_limit_of_a_stage_did_not_time_out() {
    let scratch = Scratch::new();
    let server = Logging::start(&scratch);
    let limited = pipeline([("engine", server.engine())])
        .stage("measure", "requests", 20_000)
        .stage("measure", "arrival", json!({ "concurrency": 64 }))
        .stage("measure", "timeout", "1500ms");
    let run = scratch.run(&limited);
    let answers = server.answered().len();
    let found = run.requests("engine");
    assert_eq!(found.len(), 20_000);
    let well = succeeded(&found);
    assert!(answers > 1000, "{answers}");
    assert!(
        (answers.saturating_sub(64)..=answers).contains(&well),
        "{well} of {answers}"
    );
}

/// A file that may not grow is as good as a full disk.
#[test]
fn a_full_disk_ends_the_run_and_costs_no_answer() {
    let warm = Scratch::new();
    let server = Logging::start(&warm);
    // So that the plugins are compiled.
    warm.run(&pipeline([("engine", server.engine())])).exits(0);

    let scratch = Scratch::new();
    let server = Logging::start(&scratch);
    let many = pipeline([("engine", server.engine())])
        .stage("measure", "requests", 200_000)
        .stage("measure", "arrival", json!({ "concurrency": 16 }));
    scratch.write("pipeline.yaml", many.to_string());
    let lock = crate::kit::lock();
    let prony = [
        PRONY,
        "--lock",
        lock.to_str().expect("text"),
        "run",
        "pipeline.yaml",
    ];
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 4096; exec \"$@\"", "sh"])
        .args(prony)
        .current_dir(scratch.path(""))
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("answers.bin`: File too large"), "{said}");
    let answers = server.answered().len();
    let found = requests(&scratch);
    let well = succeeded(&found);
    assert_eq!(well, found.len());
    assert!(answers > 500, "{answers}");
    assert!(
        (answers - 32..=answers).contains(&well),
        "{well} of {answers}"
    );
    assert!(!folder(&scratch).join("answers.bin").exists());
    let report = scratch.prony(&["report", "--json"]).exits(0);
    assert_eq!(report.json()["models"][0]["engines"][0]["requests"], well);
}

impl Run {
    /// Checks that the result has the requests of the journal.
    fn agrees_in_count(&self) {
        let requests = self.requests("engine");
        let engine = self.engine("engine");
        assert_eq!(engine["requests"], requests.len());
        assert_eq!(engine["succeeded"], succeeded(&requests));
    }
}

/// Peak memory of a process, in bytes.
#[cfg(target_os = "linux")]
fn peak(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(target_os = "linux")]
#[test]
fn answers_take_no_memory_while_a_stage_runs() {
    let scratch = Scratch::new();
    let options = ["--tokens", "256", "--inter-token-latency-us", "0"];
    let started = scratch.start_run(
        &pipeline([("engine", truth(&options))])
            .with("workload.max_tokens", 256)
            .stage("measure", "requests", 200_000)
            .stage("measure", "arrival", json!({ "concurrency": 16 })),
    );
    wait_for("the stage", || kept(&scratch));
    let before = peak(started.id()).expect("a peak");
    let received = wait_for("300 MB of answers", || {
        kept(&scratch).filter(|it| *it > 300_000_000)
    });
    let grown = peak(started.id()).expect("a peak") - before;
    // Those that wait for being written have 64 MiB.
    assert!(grown < 128 << 20, "{grown} bytes for {received}");
    started.signal(Signal::KILL);
}

/// Runs a pipeline; returns the run and the peak memory of prony, in MiB.
#[cfg(target_os = "linux")]
fn run_with_peak(scratch: &Scratch, pipeline: &Value) -> (Run, u64) {
    let started = scratch.start_run(pipeline);
    let mut most = 0;
    // Until it has ended.
    while let Some(seen) = peak(started.id()) {
        most = seen;
        std::thread::sleep(Duration::from_millis(5));
    }
    (scratch.latest(started.wait()).exits(0), most >> 20)
}

#[cfg(target_os = "linux")]
#[test]
fn a_long_conversation_does_not_take_the_square_of_its_memory() {
    let scratch = Scratch::new();
    // 1,500 turns; what is sent comes to 1,500² times 30 bytes and more.
    let user = r#"{"role":"user","content":"word"}"#;
    let turn = format!(r#"{{"role":"assistant","content":"so"}},{user}"#);
    let turns = vec![turn; 1_499].join(",");
    scratch.write("long.jsonl", format!("{{\"messages\":[{user},{turns}]}}\n"));
    let options = [
        "--tokens",
        "1",
        "--time-to-first-token-ms",
        "0",
        "--prompt-tokens",
        "words",
    ];
    let long = pipeline([("engine", truth(&options))])
        .with(
            "workload",
            json!({ "dataset": { "path": "long.jsonl" }, "temperature": 0 }),
        )
        .stage("measure", "requests", 1_500);
    let (run, peak_mib) = run_with_peak(&scratch, &long);
    let requests = run.requests("engine");
    assert_eq!(requests.len(), 1_500);
    // Also those that lie in a file arrive whole: a word and 7 tokens for each message.
    for (turn, request) in requests.iter().enumerate() {
        assert_eq!(request["prompt_tokens"], 8 * (2 * turn + 1), "turn {turn}");
    }
    assert!(!run.folder.join("requests.bin").exists());
    assert!(peak_mib < 220, "{peak_mib} MiB");

    // Ten times as many are more than prony sends.
    let turns = vec![r#"{"role":"assistant","content":"b"},{"role":"user","content":"a"}"#; 15_000];
    let line = format!("{{\"messages\":[{user},{}]}}\n", turns.join(","));
    scratch.write("long.jsonl", line);
    let started = scratch.start_run(&long);
    let mut most = 0;
    while let Some(seen) = peak(started.id()) {
        most = seen >> 20;
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = started.wait().exits(1);
    output.complains("long.jsonl:1:1: the turns up to here come to more than 1024 MiB");
    assert!(most < 150, "{most} MiB");
}

#[cfg(target_os = "linux")]
#[test]
fn a_large_dataset_is_read_up_to_its_limit() {
    let scratch = Scratch::new();
    let line = format!("{{\"prompt\":\"{}\"}}\n", "word ".repeat(200));
    // 100 MB; what comes after is no dataset.
    let mut lines = line.repeat(100_000);
    lines.push_str("{}\n");
    scratch.write("large.jsonl", lines);
    let dataset = json!({ "path": "large.jsonl", "limit": 100 });
    let large = pipeline([("engine", truth(&["--tokens", "1"]))])
        .with("workload", json!({ "dataset": dataset, "temperature": 0 }))
        .stage("measure", "requests", 100);
    let (run, peak_mib) = run_with_peak(&scratch, &large);
    run.all_well("engine");
    assert!(peak_mib < 100, "{peak_mib} MiB");
}
