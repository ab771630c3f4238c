//! Everything in a report comes from the journal, now and later.

use crate::kit::{Run, Scratch, With, number, pipeline, text, truth, unsealed};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

/// Two engines, one of which fails now and then.
fn finished(scratch: &Scratch) -> Run {
    let failing = truth(&["--fault", "cut", "--fault-from", "3"]);
    scratch
        .run(&pipeline([("steady", truth(&[])), ("failing", failing)]))
        .exits(0)
}

/// Changes the lines of a run's journal.
fn damage(run: &Run, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> = run
        .read("journal.jsonl")
        .lines()
        .map(|line| format!("{line}\n"))
        .collect();
    change(&mut lines);
    fs::write(run.folder.join("journal.jsonl"), lines.concat()).expect("a file");
}

fn report(scratch: &Scratch, run: &Run) -> Value {
    let folder = run.folder.to_str().expect("the path is text");
    scratch.prony(&["report", "--json", folder]).exits(0).json()
}

#[test]
fn a_run_is_reported_again_to_the_byte() {
    let scratch = Scratch::new();
    let run = finished(&scratch);
    let (result, markdown) = (run.read("result.json"), run.read("report.md"));
    let folder = run.folder.to_str().expect("the path is text");
    let journal = format!("{folder}/journal.jsonl");
    let id = run.folder.file_name().and_then(|name| name.to_str());
    for name in [folder, &journal, "latest", id.expect("a name")] {
        let again = scratch.prony(&["report", "--json", name]).exits(0);
        assert_eq!(again.stdout, result);
    }
    // By the reporters, over the files that are there.
    fs::remove_file(run.folder.join("report.md")).expect("the report is there");
    let again = scratch
        .prony(&["report", "--reporter", "console,markdown,html,json"])
        .exits(0);
    assert_eq!(again.stdout, run.output.stdout);
    assert_eq!(run.read("result.json"), result);
    assert_eq!(run.read("report.md"), markdown);
}

#[test]
fn result_console_and_report_agree_with_the_journal() {
    let run = finished(&Scratch::new());
    run.agrees_with_its_journal("steady");
    run.agrees_with_its_journal("failing");
}

#[test]
fn the_result_follows_its_published_schema() {
    let scratch = Scratch::new();
    let result = finished(&scratch).result();
    let schema = scratch.prony(&["schema", "result"]).exits(0).json();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> = validator
        .iter_errors(&result)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn the_result_on_standard_output_is_the_one_in_the_file() {
    let run = Scratch::new().run_with(&pipeline([("engine", truth(&[]))]), &["--json"]);
    let run = run.exits(0);
    assert_eq!(run.output.stdout, run.read("result.json"));
}

#[test]
fn the_resolved_pipeline_gives_the_same_plan_again() {
    let scratch = Scratch::new();
    let run = finished(&scratch);
    let resolved = run.folder.join("pipeline.yaml");
    let resolved = resolved.to_str().expect("the path is text");
    let plan = |file: &str| scratch.prony(&["plan", "--json", file]).exits(0).stdout;
    assert_eq!(plan(resolved), plan("pipeline.yaml"));
}

#[test]
fn without_its_last_line_a_run_was_interrupted() {
    let scratch = Scratch::new();
    let run = finished(&scratch);
    damage(&run, |lines| {
        let last = lines.pop();
        assert!(last.is_some_and(|line| line.contains("finished")));
    });
    let report = report(&scratch, &run);
    assert_eq!(report["run"]["outcome"], "interrupted");
    assert_eq!(report["models"], run.result()["models"]);
    let again = scratch.prony(&["report"]).exits(0);
    again.prints("it: interrupted after");
}

#[test]
fn half_a_last_line_is_passed_over() {
    let scratch = Scratch::new();
    let run = finished(&scratch);
    damage(&run, |lines| {
        let request = |line: &String| line.contains("\"event\":\"request\"");
        let at = lines.iter().rposition(request).expect("a request");
        lines.truncate(at + 1);
        lines[at].truncate(100);
    });
    let report = report(&scratch, &run);
    assert_eq!(report["run"]["outcome"], "interrupted");
    let engines = report["models"][0]["engines"].as_array();
    let counts: Vec<&Value> = engines
        .into_iter()
        .flatten()
        .map(|it| &it["requests"])
        .collect();
    assert!(counts.contains(&&json!(3)) && counts.contains(&&json!(4)));
}

#[test]
fn of_a_visit_that_was_cut_short_no_token_comes_without_its_time() {
    let scratch = Scratch::new();
    let run = scratch
        .run(
            &pipeline([("engine", truth(&[]))])
                .with("schedule.cycles", 2)
                .stage("measure", "requests", 8)
                .stage("measure", "arrival", json!({ "concurrency": 4 })),
        )
        .exits(0);
    let whole = number(&run.engine("engine")["output_tokens_per_sec"]);
    damage(&run, |lines| {
        let visit = |line: &String| line.contains("\"event\":\"visit\"");
        lines.truncate(lines.iter().rposition(visit).expect("a visit"));
    });
    let report = report(&scratch, &run);
    let cut_short = &report["models"][0]["engines"][0];
    assert_eq!(cut_short["output_tokens"], 2 * 8 * 8);
    let ratio = number(&cut_short["output_tokens_per_sec"]) / whole;
    // Twice as fast if the second visit's time were missing.
    assert!(ratio < 1.5, "{ratio}");
}

#[test]
fn damage_in_the_middle_is_told_and_costs_its_own_cycle() {
    let scratch = Scratch::new();
    let run = finished(&scratch);
    scratch.prony(&["verify"]).exits(0).prints("ok");
    let mut place = 0;
    damage(&run, |lines| {
        let request = |line: &String| line.contains("\"event\":\"request\"");
        place = lines.iter().position(request).expect("a request");
        lines[place] = lines[place].replacen("\"index\":0", "\"index\":9", 1);
    });
    let told = format!("line {} of the journal", place + 1);
    let verified = scratch.prony(&["verify"]).exits(1);
    verified
        .complains(&told)
        .complains("it was made before the journal was damaged");
    let found = report(&scratch, &run);
    assert!(found["warnings"].to_string().contains(&told), "{found}");
    let failures = found["models"][0]["failures"].to_string();
    assert!(failures.contains("is damaged"), "{failures}");
    // A line that is gone cannot be told from one that would have changed everything.
    damage(&run, |lines| drop(lines.remove(place)));
    let found = report(&scratch, &run);
    assert!(
        found["invalid"]
            .to_string()
            .contains("1 line of the journal missing")
    );
}

#[test]
fn a_result_tells_that_the_end_of_its_journal_is_lost() {
    let scratch = Scratch::new();
    let run = finished(&scratch);
    let whole = run.read("journal.jsonl");
    let without_end = |lines: &mut Vec<String>| drop(lines.pop());
    damage(&run, without_end);
    let verified = scratch.prony(&["verify"]).exits(1);
    let verified = verified
        .complains("of a run that completed, and the journal has no end")
        .complains("get the journal back from a copy");
    assert!(!verified.stdout.contains("resume"), "{verified:?}");
    damage(&run, |lines| {
        let request = |line: &String| line.contains("\"event\":\"request\"");
        lines.truncate(lines.iter().rposition(request).expect("a request"));
    });
    let verified = scratch.prony(&["verify"]).exits(1);
    verified
        .complains("measured requests, the journal")
        .complains("the end of the journal is lost");
    // A result that is another for no reason in the journal is written again.
    fs::write(run.folder.join("journal.jsonl"), whole).expect("a journal");
    let other = run
        .read("result.json")
        .replace("\"duration_s\": ", "\"duration_s\": 1");
    fs::write(run.folder.join("result.json"), other).expect("a result");
    let verified = scratch.prony(&["verify"]).exits(1);
    verified.complains("`prony report --reporter json` writes it again");
    scratch.prony(&["report", "--reporter", "json"]).exits(0);
    scratch.prony(&["verify"]).exits(0);
}

#[test]
fn what_differs_here_is_no_damage_of_a_run() {
    let scratch = Scratch::new();
    let run = finished(&scratch);
    scratch.write("prony.lock", r#"{ "version": 1, "plugins": [] }"#);
    let verified = scratch.prony_with_lock("prony.lock", &["verify"]).exits(0);
    verified
        .prints("is in no lock file here")
        .prints("who wrote it is not proved");
    // As another prony would have told it.
    let journal = run.read("journal.jsonl");
    let own = format!("\"prony_version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(journal.contains(&own));
    let plugin = text(&run.journal()[0]["plugins"][0]["sha256"]);
    let older = unsealed(&journal).replace(&own, "\"prony_version\":\"0.0.1\"");
    let older = older.replace(&plugin, &"0".repeat(64));
    fs::write(run.folder.join("journal.jsonl"), older).expect("a journal");
    fs::write(run.folder.join("result.json"), "{}").expect("a result");
    // The digest at the end is of the journal with its checksums.
    let verified = scratch.prony(&["verify"]).exits(1);
    let errors = &verified.stderr;
    assert!(
        !errors.contains("result.json") && !errors.contains("plugin"),
        "{errors}"
    );
    let verified = verified.prints("prony 0.0.1 ran, and this one gives another result");
    verified.prints("is another here than the one that ran");
}

#[test]
fn a_run_is_named_by_its_folder_and_no_id_is_a_path() {
    let scratch = Scratch::new();
    let run = finished(&scratch);
    let journal = unsealed(&run.read("journal.jsonl"));
    let id = run.folder.file_name().expect("a name").to_string_lossy();
    let foreign = journal.replace(&*id, "../../etc/passwd");
    scratch.write("results/2030-copied/journal.jsonl", foreign);
    let listed = scratch.prony(&["list"]).exits(0);
    let listed = listed.prints("2030-copied (run passwd)  completed");
    assert!(!listed.stdout.contains("etc/"), "{listed:?}");
    let listed = scratch.prony(&["list", "--json"]).exits(0).json();
    assert_eq!(listed[1]["folder"], "2030-copied");
    let report = scratch.prony(&["report", "2030-copied"]).exits(0);
    report.complains("`2030-copied` holds the run passwd");
}

#[test]
fn requests_are_exported_a_row_each() {
    let scratch = Scratch::new();
    let run = finished(&scratch);
    let csv = scratch.prony(&["export", "--format", "csv"]).exits(0);
    let rows: Vec<Vec<&str>> = csv
        .stdout
        .lines()
        .map(|it| it.split(',').collect())
        .collect();
    let requests = [run.requests("steady"), run.requests("failing")].concat();
    assert_eq!(rows.len(), 1 + requests.len());
    let column = |name: &str| rows[0].iter().position(|it| *it == name).expect("a column");
    let (ok, engine) = (column("ok"), column("engine"));
    let failed = rows[1..].iter().filter(|row| row[ok] == "false");
    assert!(failed.clone().count() > 0 && failed.clone().all(|row| row[engine] == "failing"));
    let lines = scratch.prony(&["export", "latest"]).exits(0).stdout;
    let lines = lines
        .lines()
        .map(|it| serde_json::from_str(it).expect("JSON"));
    let lines: Vec<Value> = lines.collect();
    assert_eq!(lines.len(), requests.len());
    for line in &lines {
        let own = |it: &&Value| {
            ["engine", "cycle", "stage", "index"]
                .iter()
                .all(|key| it[*key] == line[*key])
        };
        let request = requests.iter().find(own).expect("it is in the journal");
        let arrivals = request["arrivals"].as_array().expect("arrivals");
        let times: Vec<Value> = arrivals.iter().map(|it| it[0].clone()).collect();
        assert_eq!(line["arrivals_ns"], Value::from(times));
        assert_eq!(line["text"], request["text"]);
    }
}

#[test]
fn requests_are_exported_as_a_trace() {
    let scratch = Scratch::new();
    let run = finished(&scratch);
    let trace = scratch.prony(&["export", "--format", "trace"]).exits(0);
    let events: Vec<Value> = serde_json::from_str(&trace.stdout).expect("an array");
    let slices = || events.iter().filter(|it| it["ph"] == "X");
    let number = |it: &Value, key: &str| it[key].as_f64().expect("a number");
    let processes = events.iter().filter(|it| it["name"] == "process_name");
    let processes: Vec<(&Value, &Value)> = processes
        .map(|it| (&it["pid"], &it["args"]["name"]))
        .collect();
    for (process, engine) in &processes {
        let own = slices().filter(|it| it["pid"] == **process);
        let requests: Vec<&Value> = own.filter(|it| it["args"]["model"].is_string()).collect();
        let journal = run.requests(engine.as_str().expect("a name"));
        assert_eq!(requests.len(), journal.len());
        for request in &journal {
            let sent = number(request, "sent_ns") / 1e3;
            let found = requests
                .iter()
                .find(|it| (number(it, "ts") - sent).abs() < 1e-3);
            let found = found.expect("a slice begins when it is sent");
            let end = number(request, "end_ns") / 1e3;
            assert!((number(found, "ts") + number(found, "dur") - end).abs() < 1e-2);
        }
        // Requests of a slot follow each other.
        for (one, two) in requests.iter().zip(&requests[1..]) {
            let end = number(one, "ts") + number(one, "dur");
            assert!(one["tid"] != two["tid"] || end <= number(two, "ts") + 1e-3);
        }
    }
    assert_eq!(processes.len(), 2);
    let steady = processes.iter().find(|it| it.1 == "steady");
    let steady = steady.expect("the engine").0;
    let waits = slices().filter(|it| it["name"] == "wait" && it["pid"] == *steady);
    assert_eq!(waits.count(), run.requests("steady").len());
    scratch
        .prony(&["export", "--format", "trace", "--prompts"])
        .exits(2)
        .complains("a trace has no messages");
}

/// A server that refuses all requests, and its address; what they were goes through the channel.
fn recorder() -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || record(&stream, &sender));
        }
    });
    (url, received)
}

fn record(mut stream: &TcpStream, sender: &mpsc::Sender<Value>) -> Option<()> {
    let mut lines = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).ok()?;
        // Questions about the server have none.
        if let Ok(request) = serde_json::from_slice(&body) {
            sender.send(request).ok()?;
        }
        stream
            .write_all(b"HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n")
            .ok()?;
    }
}

#[test]
fn messages_are_exported_as_they_were_sent() {
    let scratch = Scratch::new();
    let (url, received) = recorder();
    let config = json!({ "base_url": url, "api_key": "${{ env.KEY }}" });
    let engine = json!({ "plugin": "openai", "config": config });
    let turns = json!([
        { "role": "system", "content": "be s3cret, brief" },
        { "role": "user", "content": "one" },
        { "role": "assistant", "content": "1" },
        { "role": "user", "content": "two" },
    ]);
    let dataset = json!({ "messages": turns });
    scratch.write(
        "d.jsonl",
        format!("{dataset}\n{{\"prompt\":\"three\\nlines\"}}\n"),
    );
    let pipeline = pipeline([("engine", engine)])
        .with("env", json!(["KEY"]))
        .with(
            "workload",
            json!({ "dataset": { "path": "d.jsonl", "limit": 2 }, "temperature": 0 }),
        )
        .stage("measure", "requests", 4)
        .stage("measure", "cache", "cold");
    scratch.write("pipeline.yaml", pipeline.to_string());
    let key = [("KEY", "s3cret".to_owned())];
    scratch.prony_in(&key, &["run", "pipeline.yaml"]).exits(1);
    let sent: Vec<Value> = received
        .try_iter()
        .map(|it| it["messages"].clone())
        .collect();
    assert_eq!(sent.len(), 4);
    let rows = scratch.prony_in(&key, &["export", "--prompts"]).exits(0);
    let rows = rows.stdout.lines().map(serde_json::from_str);
    let rows: Vec<Value> = rows.map(|it| it.expect("JSON")).collect();
    let masked = |messages: &Value| messages.to_string().replace("s3cret", "(secret KEY)");
    let exported: Vec<String> = rows.iter().map(|it| it["messages"].to_string()).collect();
    assert_eq!(exported, sent.iter().map(masked).collect::<Vec<_>>());
    assert!(exported[0].contains("(secret KEY), brief"), "{exported:?}");
    let table = ["export", "--prompts", "--format", "csv"];
    let table = scratch.prony_in(&key, &table).exits(0);
    let (first, rest) = table.stdout.split_once('\n').expect("names");
    assert!(first.ends_with(",messages"), "{first}");
    assert!(
        !rest.contains("s3cret") && rest.contains("three\\nlines"),
        "{rest}"
    );
    // What it was made of is another file now.
    scratch.write("d.jsonl", format!("{dataset}\n{{\"prompt\":\"four\"}}\n"));
    scratch
        .prony_in(&key, &["export", "--prompts"])
        .exits(1)
        .complains("the messages of model are left out: what they were made of has changed");
    scratch.prony_in(&key, &["export"]).exits(0);
}

#[test]
fn another_file_is_no_journal() {
    let scratch = Scratch::new();
    let run = finished(&scratch);
    damage(&run, |lines| drop(lines.remove(0)));
    scratch
        .prony(&["report"])
        .exits(1)
        .complains("line 1: it is line 2 of a journal");
    damage(&run, Vec::clear);
    scratch
        .prony(&["report"])
        .exits(1)
        .complains("the journal is empty");
}

#[test]
fn a_run_that_is_not_there() {
    let scratch = Scratch::new();
    let report = scratch.prony(&["report", "nothing"]).exits(2);
    report.complains("there is no run `nothing`");
}

#[test]
fn secrets_are_kept_out_of_everything_that_is_written() {
    let secret = "do-not-tell-anyone";
    let engine = truth(&[])
        .with("config.api_key", secret)
        .with("config.headers", json!({ "X-Api-Key": secret }))
        .with("config.launch.env", json!({ "HF_TOKEN": secret }));
    let run = Scratch::new().run(&pipeline([("engine", engine)])).exits(0);
    run.all_well("engine");
    for name in ["journal.jsonl", "pipeline.yaml", "report.md", "result.json"] {
        assert!(!run.read(name).contains(secret), "{name} tells");
    }
}

#[test]
fn latest_is_the_newest_run_and_all_are_listed() {
    let scratch = Scratch::new();
    scratch
        .prony(&["list"])
        .exits(0)
        .prints("there are no runs");
    let pipeline = pipeline([("engine", truth(&[]))]);
    let runs = [
        scratch.run(&pipeline).exits(0),
        scratch.run(&pipeline).exits(0),
    ];
    let ids = runs.map(|run| run.folder.file_name().expect("a name").to_owned());
    assert_ne!(ids[0], ids[1]);
    let latest = fs::read_link(scratch.path("results/latest")).expect("a link");
    assert_eq!(latest.file_name(), Some(&*ids[1]));
    let listed = scratch.prony(&["list"]).exits(0);
    let lines: Vec<&str> = listed.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{listed:?}");
    for (line, id) in lines.iter().zip(&ids) {
        assert!(line.starts_with(&*id.to_string_lossy()), "{line}");
        assert!(line.contains("completed"));
    }
    let listed = scratch.prony(&["list", "--json"]).exits(0).json();
    assert_eq!(listed[1]["id"], *ids[1].to_string_lossy());
}
