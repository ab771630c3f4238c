//! Files that pipelines name are looked at before anything starts; `~` and standard input.

use crate::kit::{PRONY, Scratch, With, lock, pipeline, synthetic, truth, truth_through};
use serde_json::json;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// A pipeline that names files of every kind, on lines of their own.
const MISSING: &str = "\
version: 1
name: files
engine: { plugin: openai, config: { base_url: \"http://127.0.0.1:9/v1\" } }
models:
  - id: one
    path: models/one.gguf
    tokenizer: tokenizer.json
    chat_template: ~/chat.jinja
  - { id: off, path: off.gguf, enabled: false }
  - { id: known, path: \"${{ prony.cache }}/known.gguf\" }
workload:
  prompt_files: [here.txt, gone.txt]
  images: [a.png]
  temperature: 0
stages: [ { warmup: {} }, { measure: { requests: 1 } }, { report: { reporters: [json] } } ]
";

#[test]
fn all_that_are_missing_are_told_at_once_with_their_places() {
    let scratch = Scratch::new();
    scratch.write("sub/pipeline.yaml", MISSING);
    scratch.write("sub/here.txt", "a");
    fs::create_dir(scratch.path("home")).expect("a folder");
    let home = scratch.path("home").display().to_string();
    let variables = [("HOME", home.clone())];
    let folder = scratch.path("sub").display().to_string();
    for command in ["validate", "run", "doctor"] {
        let said = scratch
            .prony_in(&variables, &[command, "sub/pipeline.yaml"])
            .exits(3);
        let said = said
            .complains("P0341")
            .complains("sub/pipeline.yaml:6:11")
            .complains("sub/pipeline.yaml:7:16")
            .complains("sub/pipeline.yaml:8:20")
            .complains("sub/pipeline.yaml:12:28")
            .complains("sub/pipeline.yaml:13:12")
            .complains(&format!("there is no `models/one.gguf` in `{folder}`"))
            .complains(&format!("there is no `chat.jinja` in `{home}`"));
        assert!(!said.stderr.contains("off.gguf"), "{said:?}");
        assert!(!said.stderr.contains("here.txt` in"), "{said:?}");
        assert!(!said.stderr.contains("known.gguf"), "{said:?}");
    }
    assert!(!scratch.path("results").exists(), "nothing began");
    // A plan needs no files, and for another machine nobody looks.
    scratch.prony(&["plan", "sub/pipeline.yaml"]).exits(0);
    scratch
        .prony(&["validate", "sub/pipeline.yaml", "--assume-env"])
        .exits(0);
    // A step may get them.
    let step = "stages: [ { setup: { before: [ { run: ./get } ] } }, ";
    scratch.write("sub/step.yaml", MISSING.replace("stages: [ ", step));
    scratch.prony(&["validate", "sub/step.yaml"]).exits(0);
    // A model that is left out need not be here.
    let others = MISSING.replace(
        "    tokenizer: tokenizer.json\n    chat_template: ~/chat.jinja\n",
        "",
    );
    let others = others.replace(
        "prompt_files: [here.txt, gone.txt]\n  images: [a.png]",
        "prompts: [a]",
    );
    scratch.write("sub/others.yaml", others);
    scratch
        .prony(&["validate", "sub/others.yaml", "--model", "known"])
        .exits(0);
    scratch
        .prony(&["validate", "sub/others.yaml", "--model", "one"])
        .exits(3)
        .complains("models/one.gguf");
}

#[test]
fn the_way_out_is_named_where_it_is_known() {
    let scratch = Scratch::new();
    let with = |files: &str| {
        format!(
            "version: 1\nname: t\nengine: {{ plugin: openai, config: {{ base_url: \"http://127.0.0.1:9/v1\" }} }}\n\
             model: {{ id: m }}\nworkload: {{ {files}, temperature: 0 }}\n\
             stages: [ {{ warmup: {{}} }}, {{ measure: {{ requests: 1 }} }}, {{ report: {{ reporters: [json] }} }} ]\n"
        )
    };
    scratch.write("prompt.txt", "a");
    scratch.write("sub/question.txt", "a");
    scratch.write("sub/broken.jsonl", "{\"prompt\": \"a\"\n");
    for (files, words) in [
        ("prompt_files: [prompt.txt]", "it is in the working folder"),
        (
            "prompt_files: [qestion.txt]",
            "question.txt`; is that meant?",
        ),
        ("prompt_files: [~you/a.txt]", "only `~/` is expanded"),
        (
            "prompt_files: [../sub]",
            "it is a folder, and a plain file is expected",
        ),
        (
            "dataset: { path: broken.jsonl }",
            "the dataset cannot be read: broken.jsonl:1",
        ),
        (
            "dataset: { path: none.jsonl }",
            "there is no `none.jsonl` in",
        ),
    ] {
        scratch.write("sub/pipeline.yaml", with(files));
        scratch
            .prony(&["validate", "sub/pipeline.yaml"])
            .exits(3)
            .complains("P0341")
            .complains(words);
    }
}

#[test]
fn a_home_is_expanded_wherever_a_path_is_read() {
    let scratch = Scratch::new();
    let home = scratch.path("home");
    let at = |name: &str| scratch.write(&format!("home/{name}"), "What is a pipeline?\n");
    at("model.bin");
    at("prompt.txt");
    at("chat.jinja");
    let program = scratch.write("home/engine", "#!/bin/sh\nexec \"$@\"\n");
    let script = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(program, script).expect("it is ours");
    let engine = truth_through(
        "pwd > \"$HOME/cwd\"; echo ${{ model.path }} > \"$HOME/path\"; \
         echo \"$1 $2 $CACHE\" > \"$HOME/words\"; shift 2",
        &[],
    );
    let mut of_home = engine;
    let command = of_home["config"]["launch"]["command"]
        .as_array_mut()
        .expect("a command");
    command.insert(0, json!("~/engine"));
    command.splice(5..5, [json!("~/w.gguf"), json!("--of=~/w.gguf")]);
    of_home["config"]["launch"]["env"] = json!({ "CACHE": "~/cache" });
    let mut pipeline = pipeline([("engine", of_home)])
        .with("models", json!([{ "id": "m", "path": "~/model.bin" }]))
        .with("engines.engine.config.launch.cwd", "~");
    let workload = pipeline["workload"].as_object_mut().expect("a mapping");
    workload.remove("prompts");
    workload.insert("prompt_files".to_owned(), json!(["~/prompt.txt"]));
    scratch.write("pipeline.yaml", pipeline.to_string());
    scratch.write("home/base.yaml", pipeline.to_string());
    scratch.write("extends.yaml", "extends: ~/base.yaml\n");
    let variables = [("HOME", home.display().to_string())];
    scratch
        .prony_in(&variables, &["run", "pipeline.yaml"])
        .exits(0);
    let path = home.join("model.bin").display().to_string();
    assert_eq!(scratch.read("home/path").trim(), path);
    let home_is = home.display();
    assert_eq!(
        scratch.read("home/words").trim(),
        format!("{home_is}/w.gguf --of=~/w.gguf {home_is}/cache"),
        "as in a shell"
    );
    let cwd = fs::canonicalize(scratch.read("home/cwd").trim()).expect("a folder");
    assert_eq!(cwd, fs::canonicalize(&home).expect("a folder"));
    scratch
        .prony_in(&variables, &["validate", "extends.yaml"])
        .exits(0);
    // What is written down stays as portable as it was.
    let kept = scratch.read("results/latest/pipeline.yaml");
    assert!(kept.contains("~/model.bin"), "{kept}");
}

#[test]
fn a_file_that_an_option_names_is_looked_at_too() {
    let scratch = Scratch::new();
    let of = |weights: &str| {
        let mut engine = synthetic();
        engine["config"]["weights"] = json!({ "gguf": weights });
        scratch.write("pipeline.yaml", pipeline([("engine", engine)]).to_string());
    };
    let home = scratch.path("home");
    fs::create_dir(&home).expect("a folder");
    let variables = [("HOME", home.display().to_string())];
    for missing in ["~/w.gguf", "w.gguf"] {
        of(missing);
        scratch
            .prony_in(&variables, &["validate", "pipeline.yaml"])
            .exits(3)
            .complains("P0341")
            .complains("there is no `w.gguf` in");
    }
    // The engine is given the whole path, and says what it lacks.
    scratch.write("home/w.gguf", "none");
    of("~/w.gguf");
    scratch
        .prony_in(&variables, &["run", "pipeline.yaml"])
        .exits(1)
        .complains(&home.join("w.gguf").display().to_string());
}

#[test]
fn a_program_and_the_folder_that_it_starts_in_are_looked_at() {
    let scratch = Scratch::new();
    scratch.write("pipelines/sub/engine", "");
    scratch.write("pipelines/beside", "");
    scratch.write("here", "");
    let folder = scratch.path("pipelines").display().to_string();
    let sub = format!("{folder}/sub");
    let of = |plugin: &str, config: &str, setup: &str| {
        scratch.write(
            "pipelines/p.yaml",
            format!(
                "version: 1\nname: t\nengine:\n  plugin: {plugin}\n  config: {config}\nmodel: {{ id: m, path: beside }}\n\
                 workload: {{ prompts: [a], temperature: 0 }}\n\
                 stages: [ {setup}{{ warmup: {{}} }}, {{ measure: {{ requests: 1 }} }}, {{ report: {{ reporters: [json] }} }} ]\n"
            ),
        );
        scratch.prony(&["validate", "pipelines/p.yaml"])
    };
    let step = "{ setup: { before: [ { run: ./get } ] } }, ";
    let missing = |name: &str, folder: &str| format!("there is no `{name}` in `{folder}`");
    for (plugin, config, place, words) in [
        (
            "openai",
            "{ launch: { command: [./nosuch, -v], cwd: sub } }",
            "5:33",
            missing("./nosuch", &sub),
        ),
        (
            "openai",
            "{ launch: { command: [./beside], cwd: sub } }",
            "5:33",
            missing("./beside", &sub),
        ),
        (
            "openai",
            "{ launch: { command: [./here], cwd: sub } }",
            "5:33",
            "relative to its `cwd`".to_owned(),
        ),
        (
            "openai",
            "{ launch: { command: [sub/engin] } }",
            "5:33",
            missing("sub/engin", &folder),
        ),
        (
            "openai",
            "{ launch: { command: [./sub] } }",
            "5:33",
            "a program is expected".to_owned(),
        ),
        (
            "openai",
            "{ launch: { command: [engine], cwd: nodir } }",
            "5:47",
            missing("nodir", &folder),
        ),
        (
            "openai",
            "{ launch: { command: [engine], cwd: beside } }",
            "5:47",
            "a folder is expected".to_owned(),
        ),
        (
            "llama-cpp",
            "{ program: [./nosuch], cwd: sub }",
            "5:23",
            missing("./nosuch", &sub),
        ),
        (
            "llama-cpp",
            "{ cwd: nodir }",
            "5:18",
            missing("nodir", &folder),
        ),
    ] {
        of(plugin, config, "")
            .exits(3)
            .complains("P0341")
            .complains(&format!("p.yaml:{place}"))
            .complains(&words);
        // A step may make them.
        of(plugin, config, step).exits(0);
    }
    // One cause is told once.
    let said = of(
        "openai",
        "{ launch: { command: [./nosuch], cwd: nodir } }",
        "",
    );
    let said = said.exits(3).complains("nodir");
    assert!(!said.stderr.contains("`./nosuch`"), "{said:?}");
    for config in [
        "{ launch: { command: [./engine, ./nosuch], cwd: sub } }",
        "{ launch: { command: [nosuch] } }",
        "{ launch: { command: [\"${{ prony.cache }}/bin/nosuch\"] } }",
        "{ launch: { command: [./nosuch], cwd: \"${{ prony.cache }}/x\" } }",
        "{ launch: { command: [../here], cwd: . } }",
    ] {
        of("openai", config, "").exits(0);
    }
}

#[test]
fn a_password_in_an_address_is_not_shown() {
    let scratch = Scratch::new();
    for url in ["http://user:secretpw@h/v1", "http://user:secretpw@h/v1#x"] {
        let mut pipeline = pipeline([("engine", synthetic())]);
        pipeline["engines"]["engine"] =
            json!({ "plugin": "openai", "config": { "base_url": url } });
        scratch.write("pipeline.yaml", pipeline.to_string());
        let said = scratch.prony(&["validate", "pipeline.yaml"]).exits(3);
        assert!(!said.stderr.contains("secretpw"), "{url}: {said:?}");
    }
}

/// Exit code, standard output and standard error of `prony ARGUMENTS`, with a text on its
/// standard input.
fn with_input(scratch: &Scratch, arguments: &[&str], text: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(PRONY)
        .arg("--lock")
        .arg(lock())
        .args(arguments)
        .current_dir(scratch.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("prony starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_pipeline_may_come_from_standard_input() {
    let scratch = Scratch::new();
    let mut pipeline = pipeline([("engine", truth(&[]))]).stage("warmup", "requests", 1);
    let workload = pipeline["workload"].as_object_mut().expect("a mapping");
    workload.remove("prompts");
    workload.insert("prompt_files".to_owned(), json!(["prompt.txt"]));
    let text = pipeline.to_string();
    let (code, _, said) = with_input(&scratch, &["validate", "-"], &text);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("<stdin>:1:"), "{said}");
    let folder = scratch.path("").display().to_string();
    let folder = folder.trim_end_matches('/');
    let folder = fs::canonicalize(folder).expect("a folder");
    let missing = format!("there is no `prompt.txt` in `{}`", folder.display());
    assert!(said.contains(&missing), "{said}");
    scratch.write("prompt.txt", "What is a pipeline?");
    let (code, out, said) = with_input(&scratch, &["validate", "-"], &text);
    assert_eq!(code, Some(0), "{said}");
    assert!(out.starts_with("<stdin>: valid\n"), "{out}");
    let (code, _, said) = with_input(&scratch, &["run", "-"], &text);
    assert_eq!(code, Some(0), "{said}");
    assert!(scratch.path("results/latest/result.json").exists());
    let overlay = "{ workload: { max_tokens: none } }";
    scratch.write("pipeline.yaml", &text);
    let (code, _, said) = with_input(&scratch, &["validate", "pipeline.yaml", "-f", "-"], overlay);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("<stdin>:1:27"), "{said}");
    let (code, _, said) = with_input(&scratch, &["validate", "-"], "\u{0}\u{1}\u{2}\u{3}");
    assert_eq!(code, Some(3), "{said}");
    let (code, out, _) = with_input(&scratch, &["dataset", "-"], "{\"prompt\": \"a\"}\n");
    assert_eq!(code, Some(0));
    assert!(out.contains("sent: 1 request,"), "{out}");
}

#[test]
fn a_model_that_is_not_here_ends_no_run_of_others() {
    let scratch = Scratch::new();
    let models = json!([{ "id": "gone", "path": "gone.gguf" }, { "id": "model" }]);
    let pipeline = pipeline([("engine", truth(&[]))]).with("models", models);
    scratch.write("pipeline.yaml", pipeline.to_string());
    let said = scratch.prony(&["validate", "pipeline.yaml"]).exits(0);
    said.complains("warning[P0341]")
        .complains("the run reports this model as failed, and measures the others");
    let run = scratch.latest(scratch.prony(&["run", "pipeline.yaml"]).exits(1));
    let failures = run.model("gone")["failures"].to_string();
    assert!(failures.contains("gone.gguf"), "{failures}");
    assert_eq!(run.model("model")["engines"][0]["succeeded"], 4);
}
