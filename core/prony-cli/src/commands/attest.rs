//! `prony attest`

use crate::arguments::ChosenRun;
use crate::{Exit, Failure, Outcome};
use clap::Args;
use prony_journal::{Event, Input, Journal, RunFolder};
use prony_result::{self as result, RunResult, Verdict};
use serde_json::{Value, json};
use std::path::Path;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony attest latest")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) chosen: ChosenRun,
}

/// Of how a run was made: SLSA provenance v1.
const PROVENANCE: &str = "attestation.json";
/// Of what it found: in-toto test result v0.1.
const TEST_RESULT: &str = "attestation.test-result.json";
/// Type of statements of in-toto.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let folder = arguments.chosen.folder()?;
    super::report::note_left(&folder);
    let journal = prony_journal::read(&folder.journal())?;
    let result = prony_journal::result_of(&folder)?;
    let subject = subjects(&folder)?;
    let statement = |kind: &str, predicate: Value| {
        json!({
            "_type": STATEMENT,
            "subject": subject,
            "predicateType": kind,
            "predicate": predicate,
        })
    };
    let made = provenance(&folder, &journal, &result)?;
    let found = test_result(&folder, &result)?;
    for (name, statement) in [
        (
            PROVENANCE,
            statement("https://slsa.dev/provenance/v1", made),
        ),
        (
            TEST_RESULT,
            statement("https://in-toto.io/attestation/test-result/v0.1", found),
        ),
    ] {
        let path = folder.path().join(name);
        let mut json = serde_json::to_vec_pretty(&statement).unwrap_or_default();
        json.push(b'\n');
        prony_files::replace(&path, &json).map_err(|error| failed(&path, &error))?;
        println!("{}", path.display());
    }
    Ok(Exit::Ok)
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::RunFailed, format!("`{}`: {error}", path.display()))
}

/// The files of the run, each with its digest; logs, which nothing is computed from, are none.
fn subjects(folder: &RunFolder) -> Result<Vec<Value>, Failure> {
    let names = prony_journal::files(folder).map_err(|it| failed(folder.path(), &it))?;
    let subject = |name: String| {
        let sha256 = digest(&folder.path().join(&name))?;
        Ok(json!({ "name": name, "digest": { "sha256": sha256 } }))
    };
    names.into_iter().map(subject).collect()
}

fn digest(path: &Path) -> Result<String, Failure> {
    let file = prony_files::open(path);
    let digest = file.and_then(prony_plugin_host::sha256);
    digest.map_err(|error| failed(path, &error))
}

/// The predicate of SLSA provenance v1 (<https://slsa.dev/spec/v1.0/provenance>).
fn provenance(folder: &RunFolder, journal: &Journal, result: &RunResult) -> Result<Value, Failure> {
    let path = folder.pipeline();
    let text = prony_files::read_text(&path, prony_config::MAX_BYTES as u64);
    let text = text.map_err(|it| failed(&path, &it))?;
    let pipeline: Value = serde_yaml::from_str(&text)
        .map_err(|error| Failure::new(Exit::RunFailed, format!("`{}`: {error}", path.display())))?;
    let started = &journal.started;
    let described =
        |name: String, sha256: &str| json!({ "name": name, "digest": { "sha256": sha256 } });
    let mut dependencies = Vec::new();
    for plugin in &started.plugins {
        let (kind, name) = (plugin.kind.name(), &plugin.name);
        let mut plugin_of = described(format!("plugin:{kind}/{name}"), &plugin.sha256);
        plugin_of["annotations"] = json!({ "version": plugin.version, "form": plugin.form });
        dependencies.push(plugin_of);
    }
    for event in &journal.events {
        let dependency = match event {
            Event::Input(input) => depended_on(input),
            Event::Image { path, sha256 } => Some(described(format!("image:{path}"), sha256)),
            Event::RequestSet { model, sha256, .. } => {
                Some(described(format!("request-set:{model}"), sha256))
            }
            _ => None,
        };
        dependencies.extend(dependency.filter(|it| !dependencies.contains(it)));
    }
    Ok(json!({
        "buildDefinition": {
            "buildType": "urn:prony:run:v1",
            "externalParameters": { "pipeline": pipeline },
            "internalParameters": {
                "pipeline_sha256": started.pipeline_sha256,
                "machine": started.environment.machine,
            },
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {
                "id": format!("urn:prony:{}", started.prony_version),
                "version": { "prony": started.prony_version },
            },
            "metadata": {
                "invocationId": started.id(),
                "startedOn": started.started_at,
                "finishedOn": finished(&started.started_at, result.run.duration_s),
            },
        },
    }))
}

/// An input as a resource of in-toto: with its digest, or the reason why that is not known.
/// `None` for a file that could not be read.
fn depended_on(input: &Input) -> Option<Value> {
    let kind = input.kind.name().replace(' ', "-");
    let mut resource = json!({ "name": format!("{kind}:{}", input.of) });
    match (&input.sha256, &input.unknown) {
        (Some(sha256), _) => resource["digest"] = json!({ "sha256": sha256 }),
        // A resource needs a name, a digest or both.
        (None, Some(_)) => {}
        (None, None) => return None,
    }
    let mut annotations = json!({ "path": input.path });
    if let Some(bytes) = input.bytes {
        annotations["bytes"] = bytes.into();
    }
    for (name, told) in [("version", &input.version), ("unknown", &input.unknown)] {
        if let Some(told) = told {
            annotations[name] = told.as_str().into();
        }
    }
    resource["annotations"] = annotations;
    Some(resource)
}

/// The time of a run's end, to the second; its start, if that cannot be read.
fn finished(started_at: &str, seconds: f64) -> String {
    let end = started_at
        .parse::<jiff::Timestamp>()
        .ok()
        .and_then(|start| {
            let seconds = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
            start.checked_add(seconds).ok()
        });
    end.map_or_else(
        || started_at.to_owned(),
        |end| end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

/// The predicate of in-toto's test result v0.1: thresholds and comparisons are the tests. One
/// that cannot tell warns; a run that is not whole or not valid has failed. Cycles that do not
/// count, of a run that is whole without them, are notes.
fn test_result(folder: &RunFolder, result: &RunResult) -> Result<Value, Failure> {
    let (mut passed, mut warned, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let mut notes = Vec::new();
    match result.run.outcome {
        result::Outcome::Completed => {}
        result::Outcome::Failed => failed.push("run: it failed".to_owned()),
        _ => failed.push("run: it did not end by itself".to_owned()),
    }
    failed.extend(
        result
            .invalid
            .iter()
            .map(|reason| format!("valid: {reason}")),
    );
    for threshold in &result.thresholds {
        let tests = if threshold.passed {
            &mut passed
        } else {
            &mut failed
        };
        tests.push(format!("threshold: {}", threshold.sentence()));
    }
    for model in &result.models {
        for comparison in &model.comparisons {
            let (baseline, candidate) = (&comparison.baseline, &comparison.candidate);
            let of = model.label();
            let name = format!("comparison: {of}: {candidate} against {baseline}");
            if comparison.verdict == Verdict::Inconclusive {
                warned.push(name);
            } else {
                passed.push(name);
            }
        }
        let own = model.failures.iter().filter(|it| !it.outside);
        failed.extend(own.map(|it| format!("run: {}: {}", it.stage, it.message)));
        let label = model.label();
        let broken = model.broken_cycles().into_iter();
        notes.extend(broken.map(|it| format!("{label}: {it}")));
    }
    let outcome = match (failed.is_empty(), warned.is_empty()) {
        (false, _) => "FAILED",
        (true, false) => "WARNED",
        (true, true) => "PASSED",
    };
    let pipeline = digest(&folder.pipeline())?;
    let mut predicate = json!({
        "result": outcome,
        "configuration": [{ "name": "pipeline.yaml", "digest": { "sha256": pipeline } }],
        "passedTests": passed,
        "warnedTests": warned,
        "failedTests": failed,
    });
    if !notes.is_empty() {
        // Readers of statements pass over fields that they do not know.
        predicate["notes"] = notes.into();
    }
    Ok(predicate)
}
