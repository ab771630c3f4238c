//! The action for GitHub and the script for other build systems: what they end with, and what they
//! leave behind. The steps are those of `action.yml`, run as a runner does, in a folder with its
//! files.

use crate::kit::{PRONY, Scratch, With, lock, pipeline, repository, truth, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Files that GitHub's runner gives to every step.
const FILES: [&str; 3] = ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH"];

/// A job whose only step is the action.
struct Job {
    scratch: Scratch,
    inputs: BTreeMap<String, String>,
    /// By step and name.
    outputs: BTreeMap<(String, String), String>,
    /// Exit code of the first step that failed.
    code: i32,
    log: String,
}

/// A pipeline with the engines `base` and `head`.
fn two(base: &[&str], head: &[&str]) -> Value {
    pipeline([("base", truth(base)), ("head", truth(head))])
        .stage("measure", "requests", 2)
        .stage("report", "reporters", json!(["console"]))
}

impl Job {
    fn new(pipeline: &Value, inputs: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new();
        scratch.write("pipeline.yaml", format!("{pipeline:#}"));
        scratch.write("temp/keep", "");
        for name in FILES {
            scratch.write(name, "");
        }
        let own = inputs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut all: BTreeMap<String, String> = action()["inputs"]
            .as_object()
            .expect("inputs")
            .iter()
            .map(|(name, input)| (name.clone(), text(&input["default"])))
            .collect();
        all.insert("pipeline".to_owned(), "pipeline.yaml".to_owned());
        all.extend(own);
        Self {
            scratch,
            inputs: all,
            outputs: BTreeMap::new(),
            code: 0,
            log: String::new(),
        }
    }

    /// The value of what stands in `${{ }}`.
    fn value(&self, expression: &str) -> String {
        let words: Vec<&str> = expression.trim().split('.').collect();
        match words[..] {
            ["inputs", name] => self.inputs[name].clone(),
            ["steps", step, "outputs", name] => {
                let found = self.outputs.get(&(step.to_owned(), name.to_owned()));
                found.cloned().unwrap_or_default()
            }
            ["github", "action_repository" | "action_ref"] => "v0.0.0".to_owned(),
            _ => panic!("`{expression}` is not known here"),
        }
    }

    /// A text with every `${{ }}` replaced.
    fn filled(&self, text: &str) -> String {
        let mut parts = text.split("${{");
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (expression, rest) = part.split_once("}}").expect("an end");
            filled += &self.value(expression);
            filled += rest;
        }
        filled
    }

    /// Decides if a step runs: by default while none has failed.
    fn is_due(&self, condition: &str) -> bool {
        let parts = condition.split("&&").map(str::trim);
        let mut always = false;
        let mut holds = true;
        for part in parts.filter(|it| !it.is_empty()) {
            if part == "always()" {
                always = true;
            } else {
                let name = part.strip_suffix(" != ''").expect("a condition known here");
                holds &= !self.value(name).is_empty();
            }
        }
        holds && (always || self.code == 0)
    }

    fn start(&self, command: &str, variables: &[(String, String)]) -> Child {
        let stream = || {
            let path = self.scratch.path("log");
            let mut log = File::options();
            log.append(true).create(true).open(path).expect("a file")
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let own = Path::new(PRONY).parent().expect("a folder");
        let mut child = Command::new("bash");
        child
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", command])
            .current_dir(self.scratch.path(""))
            .env("PATH", format!("{}:{path}", own.display()))
            .env("PRONY_LOCK", lock())
            .env("PRONY_GRANTS", self.scratch.path("user/grants"))
            .env("GITHUB_ACTION_PATH", repository())
            .env("RUNNER_TEMP", self.scratch.path("temp"))
            .envs(FILES.map(|name| (name, self.scratch.path(name))))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(stream())
            .stderr(stream());
        child.spawn().expect("bash starts")
    }

    /// Runs the steps; `meanwhile` is done while a step runs.
    fn run_and(mut self, meanwhile: impl Fn(&Self, &str, u32)) -> Self {
        let action = action();
        for step in action["runs"]["steps"].as_array().expect("steps") {
            let Some(command) = step["run"].as_str() else {
                // Another action, which keeps files.
                assert!(text(&step["uses"]).starts_with("actions/upload-artifact@"));
                continue;
            };
            assert!(
                !command.contains("${{"),
                "an expression in a script: {command}"
            );
            if !self.is_due(&text(&step["if"])) {
                continue;
            }
            let variables = step["env"].as_object().into_iter().flatten();
            let variables: Vec<(String, String)> = variables
                .map(|(name, value)| (name.clone(), self.filled(&text(value))))
                .collect();
            let id = text(&step["id"]);
            let mut child = self.start(command, &variables);
            meanwhile(&self, &id, child.id());
            let status = wait_for("a step", || child.try_wait().expect("a status"));
            let told = self.scratch.read("GITHUB_OUTPUT");
            self.scratch.write("GITHUB_OUTPUT", "");
            for line in told.lines() {
                let (name, value) = line.split_once('=').expect("an output");
                self.outputs
                    .insert((id.clone(), name.to_owned()), value.to_owned());
            }
            if !status.success() && self.code == 0 {
                self.code = status.code().expect("an exit code");
            }
        }
        self.log = self.scratch.read("log");
        self
    }

    fn run(self) -> Self {
        self.run_and(|_, _, _| {})
    }

    /// Checks the exit code, which is an output, too. A busy machine may make numbers invalid.
    fn exits(self, code: i32) -> Self {
        let late =
            code != 6 && self.code == 6 && self.log.contains("times of tokens may be its own");
        assert!(
            late || self.code == code,
            "{}, not {code}: {}",
            self.code,
            self.log
        );
        assert_eq!(self.output("exit-code"), self.code.to_string());
        self
    }

    /// An output of the action.
    fn output(&self, name: &str) -> String {
        let value = text(&action()["outputs"][name]["value"]);
        self.filled(&value)
    }

    fn summary(&self) -> String {
        self.scratch.read("GITHUB_STEP_SUMMARY")
    }

    fn file(&self, name: &str) -> String {
        let path = Path::new(&self.output("folder")).join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}\n{}", self.log))
    }
}

fn action() -> Value {
    let text = fs::read_to_string(repository().join("action.yml")).expect("a file");
    serde_yaml::from_str(&text).expect("YAML")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_run_without_a_regression_passes() {
    let job = Job::new(&two(&[], &[]), &[]).run().exits(0);
    if job.code == 0 {
        assert_eq!(job.output("verdict"), "inconclusive", "{}", job.log);
        assert!(
            job.log
                .contains("\n::notice title=prony%3A not decided::model: "),
            "{}",
            job.log
        );
    }
    let summary = job.summary();
    assert!(summary.starts_with("### it: "), "{summary}");
    assert!(job.file("junit.xml").contains("<testcase "));
    assert!(job.file("report.html").contains("<html"));
    // Names of a pipeline are no commands while prony prints.
    let begin = job.log.find("::stop-commands::").expect("a token");
    let token = job.log[begin..].lines().next().expect("a line");
    let token = token.trim_start_matches("::stop-commands::");
    assert_eq!(token.len(), 32);
    assert!(job.log.contains(&format!("\n::{token}::\n")), "{}", job.log);
}

#[test]
fn a_regression_fails_and_is_annotated() {
    let slow = ["--inter-token-latency-us", "6000"];
    let pipeline = two(&[], &slow).with("schedule", json!({ "cycles": 9 }));
    let job = Job::new(&pipeline, &[("margin", "3%")]).run().exits(4);
    if job.code == 4 {
        assert_eq!(job.output("verdict"), "slower");
        assert!(
            job.log
                .contains("\n::error title=prony%3A regression::model: head is "),
            "{}",
            job.log
        );
        assert!(
            job.summary().contains("| **slower** |"),
            "{}",
            job.summary()
        );
        assert!(
            job.file("junit.xml")
                .contains("<failure type=\"regression\"")
        );
    }
    let nothing = Job::new(&pipeline, &[("fail-on", "nothing")])
        .run()
        .exits(0);
    if nothing.code == 0 {
        assert_eq!(nothing.output("verdict"), "slower");
        let told = "\n::notice title=prony%3A regression::model: head is ";
        assert!(nothing.log.contains(told), "{}", nothing.log);
        assert!(!nothing.log.contains("::error"), "{}", nothing.log);
    }
}

#[test]
fn no_verdict_fails_if_that_is_asked_for() {
    let inputs = [("fail-on", "regression,inconclusive")];
    let job = Job::new(&two(&[], &[]), &inputs).run().exits(4);
    assert!(
        job.log.contains("error: not decided: ") || job.code == 6,
        "{}",
        job.log
    );
}

#[test]
fn arguments_are_one_a_line() {
    let named = two(&[], &[])
        .with("description", "${{ vars.words }}")
        .with("vars", json!({ "words": "x" }));
    let inputs = [
        ("args", "--var\nwords=two words; $(touch harm)\n"),
        ("base", ""),
    ];
    let job = Job::new(&named, &inputs).run().exits(0);
    assert_eq!(job.output("verdict"), "");
    let result: Value = serde_json::from_str(&job.file("result.json")).expect("JSON");
    assert_eq!(result["run"]["description"], "two words; $(touch harm)");
    assert!(!job.scratch.path("harm").exists());
}

#[test]
fn a_run_that_fails_is_reported() {
    let broken = json!({
        "plugin": "openai",
        "config": { "launch": { "command": ["false"], "ready": { "http": "/health" } } },
    });
    let pipeline = pipeline([("base", truth(&[])), ("head", broken)]);
    let job = Job::new(&pipeline, &[]).run().exits(1);
    assert!(
        job.log
            .contains("\n::error title=prony%3A run::the run: failed\n"),
        "{}",
        job.log
    );
    assert!(
        job.summary().contains("the run failed"),
        "{}",
        job.summary()
    );
}

#[test]
fn a_pipeline_that_is_invalid_measures_nothing() {
    let job = Job::new(&json!({ "version": 1 }), &[]).run().exits(3);
    assert!(
        job.log
            .contains("::error title=prony::nothing was measured: exit code 3"),
        "{}",
        job.log
    );
    assert!(job.summary().contains("measured nothing"));
}

#[test]
fn a_plugin_that_fails_fails_the_job() {
    let mine = json!({ "plugin": "markdown", "config": { "template": "{{ nothing.at_all }}" } });
    let pipeline = two(&[], &[])
        .with("reporters", json!({ "mine": mine }))
        .stage("report", "reporters", json!(["mine"]));
    Job::new(&pipeline, &[]).run().exits(5);
}

#[test]
fn numbers_that_are_not_valid_fail_the_job() {
    let claims = ["--claim-cached", "7"];
    let pipeline = two(&claims, &claims)
        .with("workload.prompts", vec!["What is machine learning?"])
        .stage("measure", "cache", "cold");
    let job = Job::new(&pipeline, &[]).run().exits(6);
    assert!(
        job.log.contains("\n::error title=prony%3A not valid::"),
        "{}",
        job.log
    );
    assert!(job.file("junit.xml").contains("<error type=\"not valid\""));
}

/// Sends a signal to the step that runs prony, once requests are being measured.
fn stop(job: &Job, step: &str, pid: u32) {
    if step != "run" {
        return;
    }
    wait_for("requests in the journal", || {
        let runs = fs::read_dir(job.scratch.path("temp")).ok()?.flatten();
        let mut journals =
            runs.filter_map(|it| fs::read_to_string(it.path().join("journal.jsonl")).ok());
        journals
            .any(|text| text.contains("\"event\":\"request\""))
            .then_some(())
    });
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    kill_process(pid, Signal::TERM).expect("the step runs");
}

#[test]
fn a_job_that_is_cancelled_ends_what_it_started() {
    let slow = ["--inter-token-latency-us", "50000"];
    let pipeline = two(&slow, &slow).with("schedule", json!({ "cycles": 20 }));
    let job = Job::new(&pipeline, &[]).run_and(stop).exits(130);
    let result: Value = serde_json::from_str(&job.file("result.json")).expect("JSON");
    assert_eq!(result["run"]["outcome"], "interrupted");
    assert!(
        job.log
            .contains("::error title=prony%3A run::the run: interrupted"),
        "{}",
        job.log
    );
}

/// `ci/gate.sh` with variables: its exit code and what it printed.
fn gate(scratch: &Scratch, pipeline: &Value, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    scratch.write("pipeline.yaml", format!("{pipeline:#}"));
    let _ = fs::remove_dir_all(scratch.path("prony-run"));
    let own = Path::new(PRONY).parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .arg(repository().join("ci/gate.sh"))
        .arg("pipeline.yaml")
        .current_dir(scratch.path(""))
        .env("PATH", format!("{}:{path}", own.display()))
        .env("PRONY_LOCK", lock())
        .envs(variables.iter().copied())
        .output()
        .expect("a shell");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn the_script_for_other_build_systems_takes_no_run_of_another_build() {
    let scratch = Scratch::new();
    scratch.write("pipeline.yaml", format!("{:#}", two(&[], &[])));
    scratch.write("prony-run/journal.jsonl", "");
    let output = Command::new("sh")
        .arg(repository().join("ci/gate.sh"))
        .arg("pipeline.yaml")
        .current_dir(scratch.path(""))
        .output()
        .expect("a shell");
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("prony-run has a run already"), "{words}");
}

#[test]
fn the_script_for_other_build_systems_ends_as_prony_does() {
    let scratch = Scratch::new();
    let (code, log) = gate(
        &scratch,
        &two(&[], &[]),
        &[("REPORTERS", "junit,openmetrics")],
    );
    assert!(matches!(code, Some(0 | 6)), "{log}");
    assert!(scratch.read("prony-run/junit.xml").contains("<testcase "));
    assert!(
        scratch
            .read("prony-run/openmetrics.txt")
            .ends_with("# EOF\n")
    );
    let inconclusive = [("FAIL_ON", "inconclusive")];
    let (code, log) = gate(&scratch, &two(&[], &[]), &inconclusive);
    assert!(matches!(code, Some(4 | 6)), "{log}");
    let missed = json!([{ "metric": "output_tokens_per_sec", "min": 1e9 }]);
    let pipeline = two(&[], &[]).with("thresholds", missed);
    let (code, log) = gate(&scratch, &pipeline, &[("BASE", "")]);
    assert!(matches!(code, Some(4 | 6)), "{log}");
    let (code, log) = gate(&scratch, &two(&[], &[]), &[("HEAD", "another")]);
    assert!(matches!(code, Some(2 | 6)), "{log}");
    let (code, log) = gate(&scratch, &json!({ "version": 1 }), &[]);
    assert_eq!(code, Some(3), "{log}");
}
