//! `prony doctor`.

use crate::kit::{PRONY, Scratch, With, launched, pipeline, runs, text, truth, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

fn doctor(scratch: &Scratch, pipeline: &Value, options: &[&str]) -> crate::kit::Output {
    scratch.write("pipeline.yaml", pipeline.to_string());
    scratch.prony(&[&["doctor", "pipeline.yaml"], options].concat())
}

/// The answer of an engine to a question, in a report in JSON.
fn answer(found: &Value, engine: usize, question: &str) -> String {
    let answers = &found["engines"][engine]["answers"];
    let answers = answers.as_array().unwrap_or_else(|| panic!("{found:#}"));
    let found = answers.iter().find(|it| it[0] == question);
    text(&found.unwrap_or_else(|| panic!("no {question}"))[1])
}

/// Findings of a check-up about a truth server with these options, in a pipeline with this
/// workload: the answer to `question`, and the warnings.
fn of_truth(options: &[&str], workload: &Value, question: &str) -> (String, Vec<String>) {
    let scratch = Scratch::new();
    let told = ["--claim-cached", "0"];
    let mut pipeline = pipeline([("it", truth(&[&told, options].concat()))]);
    for (key, value) in workload.as_object().expect("a mapping") {
        pipeline["workload"][key] = value.clone();
    }
    let found = doctor(&scratch, &pipeline, &["--json"]).exits(0).json();
    let problems = found["problems"].as_array().expect("a list");
    (
        answer(&found, 0, question),
        problems.iter().map(text).collect(),
    )
}

/// With a fault an answer is another, and a pipeline that depends on it gets a warning with a
/// line that cures it.
#[track_caller]
fn is_found(
    fault: &str,
    options: &[&str],
    workload: &Value,
    (question, well, ill): (&str, &str, &str),
    cure: Option<&str>,
) {
    let (said, problems) = of_truth(options, workload, question);
    assert_eq!((said.as_str(), problems.len()), (well, 0), "{problems:?}");
    let with = [options, &["--fault", fault]].concat();
    let (said, problems) = of_truth(&with, workload, question);
    assert_eq!(said, ill, "{problems:?}");
    if let Some(cure) = cure {
        assert!(problems[0].contains(cure), "{problems:?}");
        // Who does not depend on it hears nothing.
        let (said, problems) = of_truth(&with, &json!({}), question);
        assert_eq!((said.as_str(), problems.len()), (ill, 0), "{problems:?}");
    }
}

#[test]
fn a_seed_that_is_ignored_is_found() {
    let workload = json!({ "temperature": 0.5 });
    is_found(
        "ignore_seed",
        &["--samples"],
        &workload,
        ("seed", "honoured", "ignored"),
        Some("`workload: { temperature: 0 }`"),
    );
    let (said, _) = of_truth(&[], &workload, "seed");
    assert_eq!(said, "cannot tell", "it says the same whatever the seed");
}

#[test]
fn a_stop_that_is_ignored_is_found() {
    is_found(
        "ignore_stop",
        &[],
        &json!({ "stop": ["never"] }),
        ("stop", "honoured", "ignored"),
        Some("`workload: { stop: [] }`"),
    );
    // An answer of one word has none to stop at.
    let (said, _) = of_truth(&["--tokens", "1"], &json!({}), "stop");
    assert_eq!(said, "cannot tell");
}

#[test]
fn an_ignore_eos_that_is_ignored_is_found() {
    is_found(
        "ignore_ignore_eos",
        &["--tokens", "100", "--eos-after", "5"],
        &json!({ "ignore_eos": true }),
        ("ignore_eos", "honoured", "ignored"),
        Some("`workload: { ignore_eos: false }`"),
    );
    let (said, _) = of_truth(&["--tokens", "100"], &json!({}), "ignore_eos");
    assert_eq!(said, "cannot tell", "its answers never end early");
}

#[test]
fn what_a_stream_lacks_is_found() {
    let none = json!({});
    is_found(
        "no_usage",
        &[],
        &none,
        ("usage: prompt tokens", "7, 7, 7", "not told"),
        None,
    );
    let (said, problems) = of_truth(&["--fault", "no_usage"], &none, "usage: output tokens");
    assert_eq!(said, "not told");
    let cure = "`models: [{ id: model, tokenizer: FILE }]`";
    assert!(problems[0].contains(cure), "{problems:?}");
    is_found(
        "no_end_mark",
        &[],
        &none,
        ("end mark", "sent", "not sent"),
        None,
    );
}

#[test]
fn chunks_and_connections_are_seen() {
    let none = json!({});
    let of = |options: &[&str], question| of_truth(options, &none, question);
    assert_eq!(of(&[], "tokens per chunk").0, "1.00");
    let (said, problems) = of(&["--coalesce", "4", "--merge"], "tokens per chunk");
    assert_eq!(said, "4.00");
    assert!(
        problems[0].contains("sends 4.0 tokens at a time"),
        "{problems:?}"
    );
    assert_eq!(of(&[], "keep-alive").0, "kept");
    assert_eq!(
        of(&["--framing", "close"], "keep-alive").0,
        "closed after each answer"
    );
}

#[test]
fn a_prompt_beyond_the_context_is_to_be_refused() {
    let found = |options: &str| {
        let scratch = Scratch::new();
        scratch.write("model.gguf", "none");
        // It stands in for the recipe's program, whose arguments it skips up to the port.
        let script = format!(
            "while [ \"$1\" != --port ]; do shift; done; exec {PRONY} truth-server --port $2 --prompt-tokens words --claim-cached 0 --tokens 8 {options}"
        );
        let program = json!(["sh", "-c", script]);
        let engine =
            json!({ "plugin": "llama-cpp", "config": { "context": 100, "program": program } });
        let mut pipeline = pipeline([("it", engine)]);
        pipeline["models"][0]["path"] = json!("model.gguf");
        let found = doctor(&scratch, &pipeline, &["--json"]).exits(0).json();
        (
            answer(&found, 0, "context length"),
            found["problems"].to_string(),
        )
    };
    let (said, problems) = found("--context 100");
    assert_eq!(
        (said.as_str(), problems.contains("cuts")),
        ("100, more is refused", false)
    );
    let (said, problems) = found("--context 100 --fault cut_prompt");
    assert_eq!(
        said,
        "100, more is cut: 100 of at least 612 tokens are read"
    );
    let cure = "`engines: { it: { config: { context: 612 } } }` makes room";
    assert!(problems.contains(cure), "{problems}");
    let (said, _) = found("");
    assert_eq!(said, "more than 100: it takes 619 tokens");
}

#[test]
fn engines_are_asked_what_they_tell() {
    let scratch = Scratch::new();
    let engines = [
        ("plain", truth(&["--tokens", "8"])),
        ("cached", truth(&["--tokens", "8", "--claim-cached", "4"])),
    ];
    // The check-up is of one cycle and one model, whatever the pipeline has.
    let pipeline = pipeline(engines).with("schedule.cycles", 12).with(
        "thresholds",
        json!([{ "metric": "success_rate", "min": 1 }]),
    );
    let found = doctor(&scratch, &pipeline, &["--json"]).exits(0).json();
    for engine in [0, 1] {
        let answer = |question| answer(&found, engine, question);
        assert_eq!(answer("requests answered"), "3 of 3");
        assert_eq!(answer("served model"), "truth");
        assert_eq!(answer("version"), "truth-1");
        assert_eq!(answer("port"), "as given");
        assert_eq!(answer("program"), PRONY);
        assert_eq!(answer("usage: output tokens"), "8, 8, 8");
        assert_eq!(answer("equal requests"), "equal answers");
    }
    assert_eq!(answer(&found, 1, "usage: cached tokens"), "4, 4, 4");
    let problems = found["problems"].to_string();
    assert!(
        problems.contains("`cached` answers repeated prompts from its prefix cache"),
        "{problems}"
    );
    assert!(
        !scratch.path("results").exists(),
        "a check-up keeps nothing"
    );
}

#[test]
fn an_engine_that_does_not_answer_fails_the_check_up_and_the_run_that_asks_for_it() {
    let scratch = Scratch::new();
    let engines = [
        ("healthy", truth(&[])),
        (
            "broken",
            launched(&["no-such-program", "--port", "${{ engine.port }}"]),
        ),
    ];
    let pipeline = pipeline(engines);
    let output = doctor(&scratch, &pipeline, &[]).exits(1);
    output
        .prints("`broken` does not answer: load: `no-such-program` did not start")
        .prints("healthy");
    let asking = pipeline.stage("setup", "doctor", true);
    let run = scratch.write("asking.yaml", asking.to_string());
    let run = run.to_str().expect("the path is text");
    let output = scratch.prony(&["run", run]).exits(1);
    output
        .complains("`broken` does not answer")
        .complains("an engine does not answer, so nothing was measured");
    assert!(!scratch.path("results").exists());
}

#[test]
fn a_check_up_says_that_all_is_well_and_what_keeps_a_model_away() {
    let scratch = Scratch::new();
    let told = truth(&["--claim-cached", "0"]);
    let mut pipeline = pipeline([("one", told)]);
    doctor(&scratch, &pipeline, &[])
        .exits(0)
        .prints("nothing was found that would make a comparison unfair");
    pipeline["models"][0]["path"] = json!("/no/such/model.gguf");
    doctor(&scratch, &pipeline, &[])
        .exits(3)
        .complains("there is no `model.gguf` in `/no/such`");
    let pipeline = pipeline.stage("setup", "before", json!([{ "run": "true" }]));
    doctor(&scratch, &pipeline, &[])
        .exits(1)
        .prints("`one` does not answer: setup: there is no `/no/such/model.gguf`");
}

/// A wheel with a script of the name of an engine's, which becomes a truth server; and the
/// packages that the recipe wants beside it.
const WHEELS: &str = r#"
import sys, zipfile
folder, prony = sys.argv[1:]

def wheel(name, version, files, metadata=""):
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"{folder}/{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)

server = f"""
import os, sys
def main():
    port = sys.argv[sys.argv.index("--port") + 1]
    options = ["--port", port, "--tokens", "8", "--claim-cached", "0"]
    os.execv({prony!r}, ["prony", "truth-server", *options])
"""
wheel("mlx", "0.32.4", {"mlx.py": ""}, "Provides-Extra: cpu\n")
wheel("mlx_lm", "0.32.2", {
    "mlx_lm/__init__.py": "",
    "mlx_lm/server.py": server,
    "mlx_lm-0.32.2.dist-info/entry_points.txt": "[console_scripts]\nmlx_lm.server = mlx_lm.server:main\n",
})
"#;

/// A pipeline of the recipe `mlx-lm`, and a folder with wheels for it that pip takes alone.
fn installable(scratch: &Scratch) -> (Value, [(&'static str, String); 3]) {
    let wheels = scratch.write("wheels/script.py", WHEELS);
    let folder = scratch.path("wheels");
    let made = std::process::Command::new("python3")
        .args([&wheels, &folder])
        .arg(PRONY)
        .status()
        .expect("python3 runs");
    assert!(made.success());
    let engine = json!({ "plugin": "mlx-lm", "config": { "model": "truth" } });
    let mut pipeline = pipeline([("it", engine)]);
    pipeline["models"][0]["path"] = json!(folder);
    let environment = [
        ("PRONY_CACHE", scratch.path("cache").display().to_string()),
        ("PIP_NO_INDEX", "1".to_owned()),
        ("PIP_FIND_LINKS", folder.display().to_string()),
    ];
    (pipeline, environment)
}

#[test]
fn engines_are_installed_once_and_then_started() {
    let scratch = Scratch::new();
    let (pipeline, environment) = installable(&scratch);
    scratch.write("pipeline.yaml", pipeline.to_string());
    let prony = |arguments: &[&str]| scratch.prony_in(&environment, arguments);
    // Nothing is installed unasked, also by a check-up in a run.
    let missing = "`mlx_lm.server` did not start: ";
    let hint = "; to install it: `prony plugin install mlx-lm`";
    prony(&["doctor", "pipeline.yaml"])
        .exits(1)
        .prints(missing)
        .prints(hint);
    prony(&["run", "pipeline.yaml"])
        .exits(1)
        .complains(missing)
        .complains(hint);
    let asking = pipeline.clone().stage("setup", "doctor", true);
    scratch.write("asking.yaml", asking.to_string());
    prony(&["run", "asking.yaml"]).exits(1).complains(hint);
    assert!(!scratch.path("cache/engines").exists());

    let install = ["doctor", "--install", "pipeline.yaml", "--json"];
    // Settings with which pip would install nothing, or elsewhere.
    let elsewhere = scratch.path("elsewhere").display().to_string();
    let mut odd = environment.to_vec();
    odd.extend([("PIP_DRY_RUN", "1".to_owned()), ("PIP_TARGET", elsewhere)]);
    let installed = scratch
        .prony_in(&odd, &install)
        .exits(0)
        .complains("mlx-lm: installed mlx");
    let program = scratch.path("cache/engines/mlx-lm/bin/mlx_lm.server");
    let program = program.display().to_string();
    assert_eq!(answer(&installed.json(), 0, "program"), program);
    let again = prony(&install)
        .exits(0)
        .complains("mlx-lm: is installed in ");
    assert!(!again.stderr.contains("making"), "{again:?}");

    // A report says what was run.
    let run = scratch.latest(prony(&["run", "pipeline.yaml"]).exits(0));
    let started = &run.result()["engines"][0]["programs"][0];
    assert_eq!(started["path"], program);
    assert_eq!(
        started["packages"],
        json!(["mlx-lm==0.32.2", "mlx==0.32.4"])
    );
    run.reports("installed by prony with mlx-lm==0.32.2, mlx==0.32.4");

    // An environment without its record is not whole, and one with other packages is another.
    let record = scratch.path("cache/engines/mlx-lm/prony.json");
    let text = std::fs::read_to_string(&record).expect("a record");
    std::fs::remove_file(&record).expect("it is there");
    prony(&["doctor", "pipeline.yaml"]).exits(1).prints(hint);
    prony(&install)
        .exits(0)
        .complains("mlx-lm: making an environment");
    std::fs::write(&record, text.replace("0.32.2", "0.32.1")).expect("it is there");
    prony(&install)
        .exits(0)
        .complains("mlx-lm: other versions are wanted than are installed")
        .complains("mlx-lm: making an environment");

    // In a whole environment a program is missing only if somebody removed it.
    std::fs::remove_file(&program).expect("it is there");
    let folder = scratch.path("cache/engines/mlx-lm");
    prony(&["doctor", "pipeline.yaml"])
        .exits(1)
        .prints(&format!(
            "to install it again: `rm -r '{}'`",
            folder.display()
        ));
}

#[test]
fn a_run_and_a_check_up_tell_the_same_of_prompts_and_pieces() {
    let scratch = Scratch::new();
    let by_words = truth(&["--prompt-tokens", "words"]);
    let engines = [("one", truth(&[])), ("two", by_words)];
    let two = pipeline(engines).with("workload.prompts", vec!["one two three"]);
    let words = "the engines count different tokens of the same prompts (`one` 7.00, `two` 10.0 on average)";
    let found = doctor(&scratch, &two, &["--json"]).exits(0).json();
    assert!(found["problems"].to_string().contains(words), "{found:#}");
    let run = scratch.run(&two).exits(0);
    let warnings = run.result()["warnings"].to_string();
    assert!(warnings.contains(words), "{warnings}");
    // Nothing is compared, and its times are not of tokens all the same.
    let coarse = truth(&["--coalesce", "4", "--merge"]);
    let run = scratch.run(&pipeline([("it", coarse)])).exits(0);
    let warnings = run.result()["warnings"].to_string();
    assert!(
        warnings.contains("`it` sends 4.0 tokens at a time"),
        "{warnings}"
    );
}

#[test]
fn the_logs_of_an_engine_that_failed_are_kept() {
    let scratch = Scratch::new();
    let script = "echo 'Traceback (most recent call last):'; echo '  File \"a.py\"'; \
                  echo 'OSError: no weights'; seq 9; exit 1";
    let broken = pipeline([("it", launched(&["sh", "-c", script]))]);
    let found = doctor(&scratch, &broken, &[])
        .exits(1)
        .prints("its first error: OSError: no weights; its last words: 5 ");
    let (_, folder) = found
        .stderr
        .split_once("what the engines printed is in ")
        .expect("the folder is named");
    let folder = std::path::Path::new(folder.lines().next().expect("a line"));
    let logs = std::fs::read_dir(folder).expect("a folder").flatten();
    let logs: Vec<_> = logs.map(|log| log.file_name()).collect();
    assert!(logs.contains(&"model-it-c1.log".into()), "{logs:?}");
    let of_run = folder
        .ancestors()
        .nth(2)
        .expect("it is in a folder of its own");
    std::fs::remove_dir_all(of_run).expect("it can be removed");
}

#[test]
fn an_install_that_is_interrupted_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let (_, environment) = installable(&scratch);
    // Python's own hook, with which pip and what it starts tell their ids, and the latter waits.
    let hook = "import os, sys, time
inner = '_PIP_RUNNING_IN_SUBPROCESS' in os.environ
if inner or '--python' in sys.orig_argv:
    with open(os.environ['IDS'], 'a') as ids:
        print(os.getpid(), file=ids, flush=True)
if inner:
    time.sleep(300)
";
    scratch.write("hook/sitecustomize.py", hook);
    let mut environment = environment.to_vec();
    let path = |name: &str| scratch.path(name).display().to_string();
    environment.extend([("PYTHONPATH", path("hook")), ("IDS", path("ids"))]);
    for signal in [Signal::INT, Signal::TERM] {
        scratch.write("ids", "");
        let prony = scratch.start_locked_in(&environment, &["plugin", "install", "mlx-lm"]);
        let ids = wait_for("pip and its child", || {
            let ids = std::fs::read_to_string(scratch.path("ids")).ok()?;
            let ids: Vec<i32> = ids.lines().map_while(|id| id.parse().ok()).collect();
            (ids.len() == 2).then_some(ids)
        });
        prony.signal(signal);
        prony
            .wait()
            .exits(130)
            .complains("the installation of `mlx-lm` was interrupted");
        assert!(!ids.iter().any(|id| runs(*id)), "{ids:?}");
        assert!(!scratch.path("cache/engines/mlx-lm").exists());
    }
}

#[test]
fn a_package_that_pip_left_out_is_an_error() {
    let scratch = Scratch::new();
    let (pipeline, environment) = installable(&scratch);
    scratch.write("pipeline.yaml", pipeline.to_string());
    let config = scratch.write("pip.conf", "[install]\ndry-run = true\n");
    let mut environment = environment.to_vec();
    environment.push(("PIP_CONFIG_FILE", config.display().to_string()));
    scratch
        .prony_in(&environment, &["doctor", "--install", "pipeline.yaml"])
        .exits(1)
        .complains("pip ended well, but ")
        .complains("has no mlx, mlx-lm: ");
    assert!(!scratch.path("cache/engines/mlx-lm").exists());
}

#[test]
fn an_install_that_fails_says_how_it_goes_without_a_network() {
    let scratch = Scratch::new();
    let (mut pipeline, environment) = installable(&scratch);
    // Another engine of the plugin that is there already does not hide it.
    pipeline["engines"]["attached"] = json!({
        "plugin": "mlx-lm",
        "config": { "base_url": "${{ env.SERVER | default('http://127.0.0.1:9') }}" },
    });
    pipeline["compare"] = json!({ "baseline": "attached" });
    pipeline["env"] = json!(["SERVER"]);
    scratch.write("pipeline.yaml", pipeline.to_string());
    std::fs::remove_file(scratch.path("wheels/mlx-0.32.4-py3-none-any.whl")).expect("made");
    let failed = scratch.prony_in(&environment, &["doctor", "--install", "pipeline.yaml"]);
    failed
        .exits(1)
        .complains("`mlx-lm` could not be installed")
        .complains("-m pip download --dest wheels 'mlx")
        .complains(
            "PIP_NO_INDEX=1 PIP_FIND_LINKS=/PATH/TO/wheels prony doctor --install pipeline.yaml",
        );
    assert!(!scratch.path("cache/engines/mlx-lm").exists());
}

#[test]
fn what_prony_does_not_install_is_said() {
    let scratch = Scratch::new();
    let own = json!({ "plugin": "mlx-lm", "config": { "program": [PRONY, "--version"] } });
    let other = json!({ "plugin": "ollama" });
    scratch.write("model/config.json", "{}");
    let mut pipeline = pipeline([("own", own), ("other", other), ("truth", truth(&[]))]);
    pipeline["models"][0]["path"] = json!("model");
    doctor(&scratch, &pipeline, &["--install"])
        .exits(1)
        .complains("mlx-lm: nothing to install, since the pipeline names its own")
        .complains("ollama: not installed by prony: ")
        .complains("openai: nothing to install");
}
