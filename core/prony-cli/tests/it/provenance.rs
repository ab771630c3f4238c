//! Provenance of results: attestations, bundles and replays.

use crate::kit::{Scratch, With, pipeline, truth};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output();
    let text = String::from_utf8(output.expect("sha256sum runs").stdout).expect("text");
    text.split(' ').next().expect("a digest").to_owned()
}

/// A comparison of a fast and a slow engine with a model's file, which neither reads.
fn compared() -> Value {
    pipeline([
        ("slow", truth(&["--inter-token-latency-us", "4000"])),
        ("fast", truth(&[])),
    ])
    .with("models", json!([{ "id": "m", "path": "weights/m.gguf" }]))
    .with(
        "schedule",
        json!({ "cycles": 7, "stop": "never", "seed": 5 }),
    )
    .with("workload.max_tokens", 8)
}

fn measured(scratch: &Scratch) {
    scratch.write("weights/m.gguf", "weights");
    scratch.write("pipeline.yaml", compared().to_string());
    scratch.prony(&["run", "pipeline.yaml"]).exits(0);
}

fn inputs(dry_run: &Value) -> Vec<(String, String)> {
    let rows = dry_run["inputs"].as_array().expect("inputs").iter();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    rows.map(|row| (text(&row["input"]), text(&row["state"])))
        .collect()
}

#[test]
fn a_statement_names_the_files_and_all_that_the_run_was_made_of() {
    let scratch = Scratch::new();
    measured(&scratch);
    scratch
        .prony(&["attest"])
        .exits(0)
        .prints("attestation.json");
    let folder = scratch.path("results/latest");
    let read = |name: &str| -> Value {
        let text = fs::read_to_string(folder.join(name)).expect(name);
        serde_json::from_str(&text).expect("JSON")
    };
    let (made, found) = (
        read("attestation.json"),
        read("attestation.test-result.json"),
    );
    for statement in [&made, &found] {
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        let subjects = statement["subject"].as_array().expect("subjects");
        let names: Vec<&str> = subjects
            .iter()
            .filter_map(|it| it["name"].as_str())
            .collect();
        assert_eq!(
            names,
            [
                "journal.jsonl",
                "pipeline.yaml",
                "report.html",
                "report.md",
                "result.json"
            ]
        );
        for (name, subject) in names.iter().zip(subjects) {
            assert_eq!(
                subject["digest"]["sha256"],
                sha256(&folder.join(name)),
                "{name}"
            );
        }
    }
    assert_eq!(made["predicateType"], "https://slsa.dev/provenance/v1");
    let definition = &made["predicate"]["buildDefinition"];
    assert_eq!(definition["externalParameters"]["pipeline"]["name"], "it");
    let dependencies = definition["resolvedDependencies"]
        .as_array()
        .expect("a list");
    let digest = |name: &str| {
        let found = dependencies.iter().find(|it| it["name"] == name);
        found.map(|it| it["digest"]["sha256"].clone())
    };
    let weights = sha256(&scratch.path("weights/m.gguf"));
    assert_eq!(digest("model:m"), Some(weights.into()));
    let prony = sha256(Path::new(crate::kit::PRONY));
    assert_eq!(digest("prony:"), Some(prony.clone().into()));
    assert_eq!(
        digest("program:fast"),
        Some(prony.into()),
        "the truth server is prony"
    );
    let program = dependencies
        .iter()
        .find(|it| it["name"] == "program:fast")
        .expect("a program");
    let version = program["annotations"]["version"].as_str();
    assert!(
        version.is_some_and(|it| it.starts_with("prony ")),
        "{program}"
    );
    for name in [
        "plugin:engine/openai",
        "plugin:reporter/json",
        "lock-file:",
        "request-set:m",
    ] {
        assert!(digest(name).is_some(), "{name} in {dependencies:#?}");
    }
    let run = &made["predicate"]["runDetails"]["metadata"];
    assert!(
        run["startedOn"].as_str() <= run["finishedOn"].as_str(),
        "{run}"
    );
    let result = &found["predicate"];
    assert_eq!(result["failedTests"], json!([]), "{result}");
    // Whether seven cycles tell is the machine's matter, not that they are told.
    let told = ["passedTests", "warnedTests"].map(|kind| result[kind].clone());
    assert!(
        told.contains(&json!(["comparison: m: fast against slow"])),
        "{result}"
    );
    // Another time it is the same.
    let before = fs::read(folder.join("attestation.json")).expect("a file");
    scratch.prony(&["attest", "latest"]).exits(0);
    assert_eq!(
        fs::read(folder.join("attestation.json")).expect("a file"),
        before
    );
}

#[test]
fn a_run_that_failed_attests_that_it_did() {
    let scratch = Scratch::new();
    let failing = pipeline([("engine", truth(&["--fault", "http-500"]))]);
    scratch.write("pipeline.yaml", failing.to_string());
    scratch.prony(&["run", "pipeline.yaml"]).exits(1);
    scratch.prony(&["attest"]).exits(0);
    let text = scratch.read("results/latest/attestation.test-result.json");
    let statement: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(statement["predicate"]["result"], "FAILED");
}

#[test]
fn a_bundle_is_the_same_twice_and_reports_as_the_run_does() {
    let scratch = Scratch::new();
    measured(&scratch);
    for name in ["a.tar.gz", "b.tar.gz"] {
        scratch
            .prony(&["bundle", "latest", "--output", name])
            .exits(0)
            .prints(name);
        scratch.prony(&["list"]).exits(0);
        scratch.prony(&["attest"]).exits(0);
        scratch.write("results/latest/.spare", "0");
    }
    let bytes = |name: &str| fs::read(scratch.path(name)).expect("a bundle");
    assert_eq!(bytes("a.tar.gz"), bytes("b.tar.gz"));
    let listed = Command::new("tar")
        .args(["-tzf"])
        .arg(scratch.path("a.tar.gz"))
        .output();
    let listed = String::from_utf8(listed.expect("tar runs").stdout).expect("text");
    for name in [
        "/journal.jsonl\n",
        "/pipeline.yaml\n",
        "/logs/",
        "/plugins/prony.lock\n",
        "/plugins/engine-openai.wasm\n",
    ] {
        assert!(listed.contains(name), "{name} in {listed}");
    }
    assert!(!listed.contains("m.gguf"), "{listed}");
    let report = scratch
        .prony(&["report", "latest", "--json"])
        .exits(0)
        .json();
    let elsewhere = Scratch::new();
    fs::copy(scratch.path("a.tar.gz"), elsewhere.path("a.tar.gz")).expect("copied");
    let bundled = elsewhere
        .prony(&["report", "a.tar.gz", "--json"])
        .exits(0)
        .json();
    assert_eq!(bundled, report);
    // The files of reporters lie beside the bundle, and replace none.
    let page = ["report", "a.tar.gz", "--reporter", "html"];
    elsewhere.prony(&page).exits(0).complains("report.html");
    assert!(elsewhere.path("report.html").is_file());
    let again = elsewhere.prony(&page).exits(5);
    again.complains("is there already, and stays");
    let engines = ["--engine", "slow", "--candidate-engine", "fast"];
    let compare = ["compare", "a.tar.gz", "a.tar.gz"];
    elsewhere.prony(&[&compare[..], &engines].concat()).exits(0);
    // A key that nobody declared is not given away unasked.
    let key = format!("hf_{}", "Ab1".repeat(12));
    fs::write(scratch.path("results/latest/logs/more.log"), key).expect("a file");
    let refused = scratch
        .prony(&["bundle", "latest", "--output", "c.tar.gz"])
        .exits(1);
    refused
        .complains("more.log")
        .complains("a token of Hugging Face");
    assert!(!scratch.path("c.tar.gz").exists());
    let arguments = ["bundle", "latest", "--output", "c.tar.gz", "--with-secrets"];
    scratch.prony(&arguments).exits(0);
    elsewhere.write("broken.tar.gz", &bytes("a.tar.gz")[..2000]);
    let broken = elsewhere.prony(&["report", "broken.tar.gz"]).exits(2);
    broken.complains("is not a bundle that prony can read");
}

#[test]
fn a_replay_tells_what_differs_and_whether_the_result_does() {
    let scratch = Scratch::new();
    measured(&scratch);
    scratch.prony(&["bundle", "--output", "a.tar.gz"]).exits(0);
    let elsewhere = Scratch::new();
    fs::copy(scratch.path("a.tar.gz"), elsewhere.path("a.tar.gz")).expect("copied");
    let dry_run = ["replay", "a.tar.gz", "--dry-run", "--json"];
    let rows = inputs(&elsewhere.prony(&dry_run).exits(0).json());
    assert!(rows.len() > 8, "{rows:?}");
    assert!(rows.iter().all(|(_, state)| state == "same"), "{rows:?}");
    // The weights are where they were; the new run is here.
    let replay = ["replay", "a.tar.gz", "--yes", "--json", "--folder"];
    let place = scratch.path("");
    let place = place.to_str().expect("a path");
    let replayed = elsewhere.prony(&[&replay[..], &[place]].concat());
    // 6 where a busy machine kept the load client late.
    assert!(
        [0, 4, 6].contains(&replayed.code.unwrap_or(9)),
        "{replayed:?}"
    );
    let replayed = replayed.json();
    let comparison = &replayed["comparisons"][0];
    assert_eq!(comparison["comparison"], "m: fast against slow");
    assert_eq!(comparison["cycles"], json!([7, 7]));
    // Of two engines with a known schedule the ratio is the same, but for the machine's noise.
    let difference = comparison["difference_percent"].as_f64().expect("a number");
    assert!(difference.abs() < 50.0, "{comparison}");
    let tape = |scratch: &Scratch| {
        let journal = scratch.read("results/latest/journal.jsonl");
        let line = journal.lines().find(|it| it.contains("\"event\":\"tape\""));
        let event: Value = serde_json::from_str(line.expect("a tape")).expect("JSON");
        event["sha256"].clone()
    };
    assert_eq!(tape(&elsewhere), tape(&scratch));

    scratch.write("weights/m.gguf", "Weights");
    let rows = inputs(&elsewhere.prony(&dry_run).exits(0).json());
    let differ: Vec<_> = rows.iter().filter(|(_, state)| state != "same").collect();
    assert_eq!(differ, [&("model of m".to_owned(), "differs".to_owned())]);
    fs::remove_file(scratch.path("weights/m.gguf")).expect("removed");
    let missing = elsewhere.prony(&["replay", "a.tar.gz"]).exits(3);
    missing
        .prints("missing")
        .complains("cannot run without what is missing: model of m");
    assert_eq!(
        fs::read_dir(elsewhere.path("results"))
            .expect("a folder")
            .count(),
        2
    );
}

#[test]
fn a_replay_of_a_stranger_s_run_runs_nothing_unasked() {
    let scratch = Scratch::new();
    scratch.write("weights/m.gguf", "weights");
    let step = json!([{ "run": "touch it-ran" }]);
    let given = compared()
        .with("schedule.cycles", 6)
        .stage("setup", "before", step);
    scratch.write("pipeline.yaml", given.to_string());
    scratch.prony(&["run", "pipeline.yaml"]).exits(0);
    scratch.prony(&["bundle", "--output", "a.tar.gz"]).exits(0);
    let ran = scratch.path("it-ran");
    fs::remove_file(&ran).expect("it ran");
    let elsewhere = Scratch::new();
    fs::copy(scratch.path("a.tar.gz"), elsewhere.path("a.tar.gz")).expect("copied");
    let folder = scratch.path("results/latest");
    let folder = folder.to_str().expect("a path");
    for run in ["a.tar.gz", folder] {
        let refused = elsewhere.prony(&["replay", run]).exits(2);
        refused
            .complains("touch it-ran")
            .complains("truth-server")
            .complains("nothing was run")
            .complains("`--yes`");
        assert!(!elsewhere.path("results").exists(), "{run}");
    }
    elsewhere.write("weights/m.gguf", "weights");
    let replayed = elsewhere.prony(&["replay", folder, "--yes"]);
    assert!(replayed.code != Some(2), "{replayed:?}");
    assert!(elsewhere.path("it-ran").exists(), "in the user's folder");
    assert!(!ran.exists(), "not in the stranger's");
}

#[test]
fn a_run_is_run_again_where_its_pipeline_was() {
    let scratch = Scratch::new();
    scratch.write("weights/m.gguf", "weights");
    let step = json!([{ "run": "test -f weights/m.gguf" }]);
    let given = compared()
        .with("schedule.cycles", 6)
        .stage("setup", "before", step);
    scratch.write("pipeline.yaml", given.to_string());
    scratch.prony(&["run", "pipeline.yaml"]).exits(0);
    scratch
        .prony(&["run", "results/latest/pipeline.yaml"])
        .exits(0);
    let log = scratch.read("results/latest/pipeline.yaml");
    assert!(log.contains("path: weights/m.gguf"), "{log}");
}

/// A container runtime that runs a container's command here, and knows one image. It needs no
/// daemon, which is not everywhere; what it prints is what docker 28 prints.
const RUNTIME: &str = r#"#!/bin/sh
case "$1 $2" in
"image inspect")
    eval "image=\${$#}"
    if [ "$image" = known:1 ]; then
        echo '["registry.test/known@sha256:DIGEST"] sha256:ID'
    else
        echo "Error response from daemon: No such image: $image" >&2; exit 1
    fi ;;
"run --rm") shift 5; exec "$@" ;;
*) exit 125 ;;
esac
"#;

#[test]
fn the_image_of_a_container_is_an_input_with_its_digest_or_the_reason() {
    let scratch = Scratch::new();
    let digest = "7".repeat(64);
    let script = RUNTIME
        .replace("DIGEST", &digest)
        .replace("ID", &"8".repeat(64));
    let docker = scratch.write("bin/docker", script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&docker, mode).expect("it is ours");
    let docker = docker.to_str().expect("a path");
    let named = format!("registry.test/named@sha256:{}", "9".repeat(64));
    let mut engines = Vec::new();
    for image in ["known:1", "missing:1", &named] {
        let mut engine = truth(&[]);
        let command = engine["config"]["launch"]["command"]
            .as_array_mut()
            .expect("a command");
        let wrapped = [docker, "run", "--rm", "-p", "80:80", image];
        command.splice(..0, wrapped.map(Value::from));
        engines.push(engine);
    }
    let [one, two, three] = <[Value; 3]>::try_from(engines).expect("three");
    let given = pipeline([("known", one), ("missing", two), ("named", three)]);
    let run = scratch.run(&given).exits(0);
    let containers = |engine: usize| run.result()["engines"][engine]["containers"][0].clone();
    assert_eq!(
        containers(0),
        json!({ "name": "known:1", "sha256": digest })
    );
    let missing = containers(1);
    assert_eq!(missing["name"], "missing:1");
    let why = missing["unknown"].as_str().expect("a reason");
    assert!(why.contains("No such image: missing:1"), "{why}");
    assert_eq!(containers(2)["sha256"], "9".repeat(64));
    let program = &run.result()["engines"][0]["programs"][0];
    let why = program["version_unknown"].as_str().expect("a reason");
    assert!(why.contains("script"), "{program}");
    run.reports("Container image: known:1, SHA-256 777");
    scratch.prony(&["attest"]).exits(0);
    let statement_text = run.read("attestation.json");
    for part in [
        "container-image:known",
        "container-image:missing",
        "No such image",
    ] {
        assert!(statement_text.contains(part), "{part}");
    }
    // Of an image with the digest in its name nothing has to be asked.
    let rows = scratch.prony(&["replay", "--dry-run", "--json"]).exits(0);
    let rows = inputs(&rows.json());
    let state = |input: &str| {
        let found = rows.iter().find(|(name, _)| name == input);
        found.map(|(_, state)| state.clone())
    };
    assert_eq!(state("container image of named").as_deref(), Some("same"));
    assert_eq!(
        state("container image of missing").as_deref(),
        Some("unknown")
    );
}
