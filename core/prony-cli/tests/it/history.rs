//! Histories of many runs: what is kept of a run, what alarms, and where a change is found.

use crate::kit::{Output, PRONY, Scratch, Started, With, launched, lock, pipeline};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The truth server with so many microseconds between its tokens.
fn server(us: &str) -> Value {
    let command = [
        PRONY,
        "truth-server",
        "--port",
        "${{ engine.port }}",
        "--tokens",
        "8",
        "--time-to-first-token-ms",
        "5",
        "--prompt-tokens",
        "constant",
        "--inter-token-latency-us",
        us,
    ];
    launched(&command).with("config.model", "truth")
}

/// A nightly pipeline, the delays of which are those of the night's machine.
fn nightly() -> Value {
    pipeline([
        (
            "release",
            server("${{ env.RELEASE_US }}")
                .with("history", json!({ "anchor": true, "version": "truth-1" })),
        ),
        ("main", server("${{ env.MAIN_US }}")),
    ])
    .with("name", "nightly")
    .with("env", json!(["RELEASE_US", "MAIN_US"]))
    .with("schedule", json!({ "cycles": 9, "stop": "never" }))
    .stage("measure", "requests", 1)
    .stage("report", "reporters", json!(["json"]))
}

/// A night: its number, the delay of its machine in µs, and that of the engine besides.
struct Night {
    number: usize,
    machine_us: u32,
    more_us: u32,
}

impl Night {
    fn folder(&self) -> String {
        format!("runs/{:02}", self.number)
    }

    fn start(&self, scratch: &Scratch) -> Started {
        let variables = [
            ("RELEASE_US", self.machine_us.to_string()),
            ("MAIN_US", (self.machine_us + self.more_us).to_string()),
        ];
        let arguments = ["run", "nightly.yaml", "--into", &self.folder()];
        scratch.start_locked_in(&variables, &arguments)
    }

    fn commit(&self) -> String {
        format!("{:040x}", 0xabcd_ef00_0000_u64 + self.number as u64)
    }

    fn at(&self) -> String {
        format!(
            "2026-{:02}-{:02}T02:00:00Z",
            10 + self.number / 28,
            1 + self.number % 28
        )
    }

    fn add(&self, scratch: &Scratch) -> Output {
        let (commit, at) = (self.commit(), self.at());
        scratch.prony(&[
            "history",
            "add",
            &self.folder(),
            "--commit",
            &commit,
            "--at",
            &at,
        ])
    }
}

/// Runs nights, four at a time, and adds them to the history.
fn run(scratch: &Scratch, nights: &[Night]) {
    scratch.write("nightly.yaml", format!("{:#}", nightly()));
    for some in nights.chunks(4) {
        let started: Vec<Started> = some.iter().map(|it| it.start(scratch)).collect();
        for (night, it) in some.iter().zip(started) {
            let mut ended = it.wait();
            // A night in which the load client was held up, or two runs got one free port, is
            // measured again, as people do.
            for _ in 0..3 {
                if ended.code != Some(0) {
                    fs::remove_dir_all(scratch.path(&night.folder())).expect("a folder");
                    ended = night.start(scratch).wait();
                }
            }
            ended.exits(0);
        }
    }
    for night in nights {
        night
            .add(scratch)
            .exits(0)
            .prints("1 line added to history");
    }
}

fn shown(scratch: &Scratch) -> Value {
    scratch.bare(&["history", "show", "--json"]).exits(0).json()
}

/// The file of the only series.
fn file(scratch: &Scratch) -> String {
    let files = fs::read_dir(scratch.path("history")).expect("a folder");
    let names = files.map(|it| it.expect("an entry").file_name());
    let mut series = names
        .filter_map(|it| it.into_string().ok())
        .filter_map(|it| it.strip_suffix(".jsonl").map(str::to_owned));
    let name = series.next().expect("a series");
    assert_eq!(series.next(), None, "one series");
    format!("history/{name}.jsonl")
}

#[test]
fn a_loss_is_found_at_its_commit_while_the_machine_changes() {
    let scratch = Scratch::new();
    let night = |number: usize| Night {
        number,
        // Another machine every few nights, in a pattern that has nothing to do with the loss.
        machine_us: if number % 7 < 3 { 10_000 } else { 14_000 },
        more_us: 0,
    };
    let nights: Vec<Night> = (0..30)
        .map(night)
        .map(|it| Night {
            // 10.0 ms before, 10.4 ms after, or as much more on the other machine.
            more_us: if it.number < 20 {
                0
            } else {
                it.machine_us / 25
            },
            ..it
        })
        .collect();
    run(&scratch, &nights);
    let all = shown(&scratch);
    let series = &all[0];
    assert_eq!(series["runs"].as_array().map(Vec::len), Some(30), "{all:#}");
    let changes = series["changes"].as_array().expect("changes");
    assert_eq!(changes.len(), 1, "{all:#}");
    // Where the load client itself was held up, a run does not count.
    let runs = series["runs"].as_array().expect("runs");
    let counts = |number: &usize| !runs[*number]["segment"].is_null();
    assert!((0..30).filter(counts).count() > 24, "{all:#}");
    let good = (0..20).rev().find(counts).expect("a run");
    let bad = (20..30).find(counts).expect("a run");
    assert_eq!(changes[0]["bad"], nights[bad].commit(), "{all:#}");
    assert_eq!(changes[0]["good"], nights[good].commit());
    assert_eq!(changes[0]["regression"], true);
    let speeds = series["runs"].as_array().expect("runs").iter();
    let speeds = speeds.map(|it| it["output_tokens_per_sec"].as_f64().expect("a speed"));
    let (least, most) = speeds.fold((f64::MAX, 0.0_f64), |(a, b), it| (a.min(it), b.max(it)));
    assert!(most > 1.25 * least, "the machine changed: {least} … {most}");

    let check = |more: &[&str]| {
        scratch.bare(&[&["history", "check", "--fail-on", "regression"], more].concat())
    };
    let alarm = check(&[]).exits(4);
    alarm.complains(&format!("regression at {}", &nights[bad].commit()[..10]));
    check(&["--accept", &nights[bad].commit()])
        .exits(0)
        .prints("is accepted");
    scratch.bare(&["history", "check"]).exits(0);
    // With the pipeline, the alarm prints one with both ends as engines.
    let builds = ["--option", "launch.command.0=builds/{commit}/server"];
    let with = [&["--pipeline", "nightly.yaml"], &builds[..]].concat();
    let variables = [("RELEASE_US", "1".to_owned()), ("MAIN_US", "1".to_owned())];
    let words = [&["history", "check", "--fail-on", "regression"], &with[..]].concat();
    let printed = scratch.prony_in(&variables, &words).exits(4);
    let at = printed.stdout.find("# `good` is");
    assert_eq!(at, Some(0), "{}", printed.stdout);
    scratch.write("ends.yaml", &printed.stdout);
    for number in [good, bad] {
        let server = format!("builds/{}/server", nights[number].commit());
        assert!(printed.stdout.contains(&server), "{}", printed.stdout);
        scratch.write(&server, "what the commit is built to");
    }
    scratch
        .prony_in(&variables, &["validate", "ends.yaml"])
        .exits(0);

    let console = scratch.bare(&["history", "show"]).exits(0);
    let console = console.prints("30 runs, 2026-10-01 … 2026-11-02, against the anchor release");
    console.prints("regression at ");
    let written = ["history", "show", "--html", "history.html"];
    scratch.bare(&written).exits(0);
    let page = scratch.read("history.html");
    assert!(
        page.contains("1 regression") && !page.contains("<script"),
        "{page}"
    );
}

/// Runs git in a folder of the scratch.
fn git(scratch: &Scratch, folder: &str, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=n",
            "-c",
            "user.email=n@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .current_dir(scratch.path(folder))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    text
}

#[test]
fn lines_are_added_once_and_those_of_two_clones_merge() {
    let scratch = Scratch::new();
    let nights: Vec<Night> = (0..3)
        .map(|number| Night {
            number,
            machine_us: 2_000,
            more_us: 0,
        })
        .collect();
    run(&scratch, &nights[..1]);
    nights[0]
        .add(&scratch)
        .exits(0)
        .prints("0 lines added to history, 1 there already");
    let file = file(&scratch);
    assert_eq!(scratch.read(&file).lines().count(), 1);
    let line: Value = serde_json::from_str(&scratch.read(&file)).expect("JSON");
    assert_eq!(line["schema"], "prony-history/1");
    assert_eq!(line["commit"], nights[0].commit());
    assert_eq!(line["valid"], true, "{line:#}");
    assert_eq!(line["cycle_log_ratios"].as_array().map(Vec::len), Some(9));
    assert!(
        line["low"].as_f64() <= line["log_ratio"].as_f64()
            && line["log_ratio"].as_f64() <= line["high"].as_f64()
    );
    assert!(line["absolute"]["output_tokens_per_sec"].as_f64() > Some(0.0));
    assert_eq!(line["anchor"]["engine"], "release");
    let schema = scratch.bare(&["schema", "history"]).exits(0).json();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> = validator
        .iter_errors(&line)
        .map(|it| it.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new());

    git(&scratch, "", &["init", "--quiet", "one"]);
    let copy = |to: &str| {
        fs::create_dir_all(scratch.path(&format!("{to}/history"))).expect("a folder");
        for name in [file.as_str(), "history/.gitattributes"] {
            fs::copy(scratch.path(name), scratch.path(&format!("{to}/{name}"))).expect("a copy");
        }
    };
    copy("one");
    git(&scratch, "one", &["add", "--all"]);
    git(
        &scratch,
        "one",
        &["commit", "--quiet", "--message", "first"],
    );
    git(&scratch, "", &["clone", "--quiet", "one", "two"]);
    // Each clone adds a night of its own at the same place.
    for (clone, night) in [("one", &nights[2]), ("two", &nights[1])] {
        night.start(&scratch).wait().exits(0);
        let history = format!("{clone}/history");
        let words = [
            "history",
            "add",
            &night.folder(),
            "--history",
            &history,
            "--commit",
            &night.commit(),
            "--at",
            &night.at(),
        ];
        scratch.prony(&words).exits(0);
        git(
            &scratch,
            clone,
            &["commit", "--quiet", "--all", "--message", "more"],
        );
    }
    git(&scratch, "one", &["fetch", "--quiet", "../two", "main"]);
    git(&scratch, "two", &["fetch", "--quiet", "../one", "main"]);
    let merged = ["one", "two"].map(|clone| {
        git(
            &scratch,
            clone,
            &["merge", "--quiet", "--no-edit", "FETCH_HEAD"],
        );
        let history = format!("{clone}/history");
        let shown = scratch
            .bare(&["history", "show", "--history", &history])
            .exits(0);
        assert_eq!(shown.stderr, "");
        shown.stdout
    });
    assert_eq!(merged[0], merged[1]);
    assert!(
        merged[0].contains("3 runs, 2026-10-01 … 2026-10-03"),
        "{}",
        merged[0]
    );
}

#[test]
fn runs_that_prove_nothing_are_kept_and_do_not_count() {
    let scratch = Scratch::new();
    let variables = [
        ("RELEASE_US", "1000".to_owned()),
        ("MAIN_US", "1000".to_owned()),
    ];
    let add = |pipeline: Value| {
        scratch.write("pipeline.yaml", format!("{pipeline:#}"));
        scratch.prony_in(&variables, &["run", "pipeline.yaml"]);
        scratch
            .prony(&["history", "add", "latest", "--commit", "0123456789"])
            .exits(0)
    };
    let few = nightly().with("schedule.cycles", 2);
    let few = add(few);
    let few = few.complains("model · main does not count: ");
    let is_of_client = few.stderr.contains("the numbers are not valid");
    assert!(
        is_of_client || few.stderr.contains("no interval"),
        "{few:?}"
    );
    let pinned = json!({ "anchor": true, "sha256": "0".repeat(64) });
    let pinned = add(nightly()
        .with("engines.release.history", pinned)
        .with("schedule.cycles", 2));
    pinned.complains("does not count: the sha256 of the anchor `release`: it is `");
    let alone = nightly().with("engines.release.history", json!({}));
    let alone = add(alone.with("schedule.cycles", 1));
    alone.complains("machine and engine cannot be told apart");
    let all = shown(&scratch);
    let all = all.as_array().expect("series");
    // Without an anchor, every engine has a history.
    assert_eq!(all.len(), 2, "{all:#?}");
    let runs = all
        .iter()
        .flat_map(|it| it["runs"].as_array().expect("runs"));
    assert!(
        runs.clone()
            .all(|it| it["segment"].is_null() && it["reason"].is_string())
    );
    assert_eq!(runs.count(), 4);
    scratch
        .bare(&["history", "check", "--fail-on", "regression"])
        .exits(0);
    let shown = scratch.bare(&["history", "show"]).exits(0);
    shown.prints("not counted: absolute: machine and engine cannot be told apart");

    // A line that is none is told, and check does not vouch for the rest.
    let series = all[0]["series"].as_str().expect("text");
    let path = scratch.path(&format!("history/{series}.jsonl"));
    let text = fs::read_to_string(&path).expect("lines");
    fs::write(&path, format!("{text}<<<<<<< ours\n\u{1b}[2J{{\n")).expect("a file");
    let told = scratch.bare(&["history", "show"]).exits(0);
    let told = told.complains("error[H0001]: a line that is no line of a history");
    assert!(!told.stderr.contains('\u{1b}'), "{}", told.stderr);
    let check = scratch
        .bare(&["history", "check", "--fail-on", "regression"])
        .exits(1);
    check.complains("lines of the history cannot be read");
    scratch
        .bare(&["explain", "H0001"])
        .exits(0)
        .prints("no line of a history");
    let none = scratch
        .bare(&["history", "show", "--history", "elsewhere"])
        .exits(2);
    none.complains("there is no history in `elsewhere`");
    let none = scratch
        .bare(&["history", "show", "nothing-like-it"])
        .exits(2);
    none.complains("no series of `history` has the name `nothing-like-it`; there are:");
}

#[test]
fn a_bisection_walks_to_the_commit_by_runs() {
    let scratch = Scratch::new();
    git(&scratch, "", &["init", "--quiet", "source"]);
    let mut commits = Vec::new();
    // The loss comes with the fourth of six commits.
    for number in 0..6 {
        scratch.write("source/number", number.to_string());
        scratch.write("source/delay", if number < 3 { "20000" } else { "40000" });
        git(&scratch, "source", &["add", "--all"]);
        git(
            &scratch,
            "source",
            &["commit", "--quiet", "--message", "change"],
        );
        let commit = git(&scratch, "source", &["rev-parse", "HEAD"]);
        commits.push(commit.trim().to_owned());
    }
    let night = Night {
        number: 0,
        machine_us: 20_000,
        more_us: 0,
    };
    run(&scratch, &[night]);
    // As many cycles as it takes, on a busy machine, too.
    let decided = nightly().with("schedule", json!({ "cycles": 30 }));
    scratch.write("nightly.yaml", format!("{decided:#}"));
    let variables = [
        ("RELEASE_US", "20000".to_owned()),
        ("MAIN_US", "20000".to_owned()),
    ];
    let build = "mkdir -p builds && git -C source show {commit}:delay > builds/{commit} && { echo '#!/bin/sh'; echo \"shift; exec '$SERVER' truth-server \\\"\\$@\\\" --inter-token-latency-us $(cat builds/{commit})\"; } > builds/{commit}.sh && chmod +x builds/{commit}.sh";
    let command = json!([
        "builds/{commit}.sh",
        "serve",
        "--port",
        "${{ engine.port }}",
        "--tokens",
        "8",
        "--time-to-first-token-ms",
        "5",
        "--prompt-tokens",
        "constant",
    ]);
    let option = format!("launch.command={command}");
    let build = build.replace("$SERVER", PRONY);
    let words = [
        "history",
        "bisect",
        "main",
        "--pipeline",
        "nightly.yaml",
        "--repository",
        "source",
        "--good",
        &commits[0],
        "--bad",
        &commits[5],
        "--build",
        &build,
        "--option",
        &option,
    ];
    let found = scratch.prony_in(&variables, &words).exits(0);
    found.prints(&format!(
        "{} is the first commit that is slower",
        commits[3]
    ));
    // The end, and two in between: all were built, and a run each is there.
    let runs = fs::read_dir(scratch.path("results")).expect("runs").count();
    assert!(runs > 3, "{runs}, with `latest`");
    let none = [
        "history",
        "bisect",
        "main",
        "--pipeline",
        "nightly.yaml",
        "--repository",
        "source",
        "--good",
        &commits[0],
        "--bad",
        &commits[2],
        "--build",
        &build,
        "--option",
        &option,
    ];
    let none = scratch.prony_in(&variables, &none).exits(1);
    none.prints("not confirmed");
    let unsaid = [
        "history",
        "bisect",
        "main",
        "--pipeline",
        "nightly.yaml",
        "--good",
        "a",
        "--bad",
        "b",
    ];
    let unsaid = scratch.prony_in(&variables, &unsaid).exits(2);
    unsaid.complains("nothing says how the engine `main` is launched at a commit");
}

/// The step of the scripts for builds: `ci/history.sh`.
#[test]
fn the_script_for_builds_adds_and_checks() {
    let scratch = Scratch::new();
    let night = Night {
        number: 0,
        machine_us: 2_000,
        more_us: 0,
    };
    scratch.write("nightly.yaml", format!("{:#}", nightly()));
    night.start(&scratch).wait().exits(0);
    let script = crate::kit::repository().join("ci/history.sh");
    let path = std::env::var("PATH").unwrap_or_default();
    let own = Path::new(PRONY)
        .parent()
        .expect("a folder")
        .display()
        .to_string();
    let script = || {
        let output = Command::new("sh")
            .arg(&script)
            .arg(night.folder())
            .current_dir(scratch.path(""))
            .env("PATH", format!("{own}:{path}"))
            .env("PRONY_LOCK", lock())
            .env("GITHUB_SHA", night.commit())
            .env("GITHUB_REF", "refs/heads/main")
            .output();
        output.expect("a shell")
    };
    let output = script();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let line: Value = serde_json::from_str(&scratch.read(&file(&scratch))).expect("JSON");
    assert_eq!(line["commit"], night.commit());
    assert_eq!(line["ref"], "refs/heads/main");
    // A build that measures nothing does not stay green.
    let again = script();
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    let told = String::from_utf8_lossy(&again.stderr);
    assert!(told.contains("in the history already"), "{told}");
}
