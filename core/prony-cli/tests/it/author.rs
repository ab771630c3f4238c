//! First steps of a plugin's author: a new project builds, passes its checks and runs as it is.

use crate::kit::Scratch;
use crate::real_engines::installed;
use serde_json::Value;
use std::path::Path;

/// Folders in prony's cache of the toolchains that prony installs.
const C: &str = "toolchains/ziglang-0.17.1/.whole";
const PYTHON: &str = "toolchains/componentize-py-0.25.1/.whole";
const JS: &str = "toolchains/componentize-qjs-0.4.5/.whole";

const KINDS: [&str; 3] = ["engine", "stdio-engine", "reporter"];

/// A folder with a new project of the name `mine`.
fn new(kind: &str, lang: &str) -> Scratch {
    let scratch = Scratch::new();
    let made = scratch.bare(&["plugin", "new", "--kind", kind, "--lang", lang, "mine"]);
    made.exits(0);
    scratch
}

/// Adds the project, which builds it.
fn add(scratch: &Scratch, more: &[&str]) {
    let offline = [("CARGO_NET_OFFLINE", "true".to_owned())];
    let added = scratch.bare_in(&offline, &[&["plugin", "add"], more, &["mine"]].concat());
    let added = added.exits(0);
    assert!(added.stdout.contains("`mine` 0.1.0"), "{}", added.stdout);
    assert!(added.stdout.contains("dev"), "{}", added.stdout);
}

/// Tests the project as it is.
fn passes(scratch: &Scratch, more: &[&str]) {
    let told = scratch.bare(&[&["plugin", "test"], more, &["mine"]].concat());
    let told = told.exits(0);
    assert!(!told.stdout.contains("FAIL"), "{}", told.stdout);
}

/// Runs the pipeline of the project, of which every request has to succeed.
fn runs(scratch: &Scratch, kind: &str) {
    scratch.bare(&["validate", "mine/pipeline.yaml"]).exits(0);
    let set = ["--set", "schedule.cycles=1"];
    let output = scratch.bare(&[&["run", "mine/pipeline.yaml"][..], &set].concat());
    let run = scratch.latest(output).exits(0);
    let result = run.result();
    for model in result["models"].as_array().expect("models") {
        for engine in model["engines"].as_array().expect("engines") {
            assert_eq!(engine["success_rate"], 1.0, "{engine}");
            assert!(engine["output_tokens"].as_u64() > Some(0), "{engine}");
        }
    }
    let plugins = result["plugins"].as_array().expect("plugins");
    let own = plugins.iter().find(|it| it["name"] == "mine");
    assert_eq!(own.expect("it is told")["dev"], true);
    let warnings = result["warnings"].to_string();
    assert!(
        warnings.contains("`mine` is a build of a folder"),
        "{warnings}"
    );
    if kind == "reporter" {
        let written = run.read("mine.tsv");
        assert!(
            written.starts_with("model\tengine\toutput_tokens_per_sec\n"),
            "{written}"
        );
        assert_eq!(written.lines().count(), 3, "{written}");
    }
}

fn every_kind_in(lang: &str) {
    for kind in KINDS {
        let scratch = new(kind, lang);
        add(&scratch, &[]);
        passes(&scratch, &[]);
        runs(&scratch, kind);
    }
}

#[test]
fn new_projects_in_rust_run_as_they_are() {
    let built = Scratch::new();
    for kind in KINDS {
        let scratch = new(kind, "rust");
        // What the projects share is compiled once.
        std::os::unix::fs::symlink(built.path(""), scratch.path("mine/target")).expect("a link");
        add(&scratch, &[]);
        passes(&scratch, &[]);
        runs(&scratch, kind);
    }
    let scratch = new("in-process-engine", "rust");
    add(&scratch, &["--grant", "native"]);
    passes(&scratch, &["--grant", "native"]);
    runs(&scratch, "in-process-engine");
}

#[test]
fn new_engines_in_a_process_in_c_run_as_they_are() {
    let scratch = new("in-process-engine", "c");
    add(&scratch, &["--grant", "native"]);
    passes(&scratch, &["--grant", "native"]);
    runs(&scratch, "in-process-engine");
}

#[test]
fn new_projects_in_c_run_as_they_are() {
    if installed(&[C]) {
        every_kind_in("c");
    }
}

#[test]
fn new_projects_in_python_run_as_they_are() {
    if installed(&[PYTHON]) {
        every_kind_in("python");
    }
}

#[test]
fn new_projects_in_javascript_run_as_they_are() {
    if installed(&[JS]) {
        every_kind_in("js");
    }
}

/// A project whose adapter was changed, added and run for one visit; the requests of its run.
fn requests_after(lang: &str, file: &str, from: &str, to: &str) -> Vec<Value> {
    let scratch = new("engine", lang);
    let source = scratch.read(&format!("mine/{file}"));
    assert!(source.contains(from), "{source}");
    scratch.write(&format!("mine/{file}"), source.replace(from, to));
    let pipeline = scratch.read("mine/pipeline.yaml");
    let measured = pipeline.replace("  - warmup: { requests: 1 }\n", "");
    scratch.write("mine/pipeline.yaml", measured);
    add(&scratch, &[]);
    let set = ["--set", "schedule.cycles=1"];
    let output = scratch.bare(&[&["run", "mine/pipeline.yaml"][..], &set].concat());
    let run = scratch.latest(output).exits(5);
    run.requests("fast")
}

#[test]
fn an_exception_arrives_with_its_text_and_place() {
    let cases = [
        (
            "js",
            "adapter.js",
            JS,
            "message.prompt_tokens",
            "message.none.prompt_tokens",
            "TypeError",
        ),
        (
            "python",
            "adapter.py",
            PYTHON,
            "message[\"prompt_tokens\"]",
            "message[\"none\"]",
            "KeyError: 'none'",
        ),
    ];
    for (lang, file, toolchain, from, to, words) in cases {
        if !installed(&[toolchain]) {
            continue;
        }
        let requests = requests_after(lang, file, from, to);
        assert!(!requests.is_empty());
        for request in &requests {
            assert_eq!(request["failed"]["class"], "plugin", "{request}");
            let message = request["failed"]["message"].as_str().expect("words");
            assert!(message.contains(words), "{message}");
            assert!(message.contains(&format!("{file}:")), "{message}");
        }
    }
}

/// The projects in Python and JavaScript, as far as their toolchains are here, each with a change.
fn changed(changes: [(&str, &str); 2], check: impl Fn(&Scratch, &str)) {
    let cases = [("python", "adapter.py", PYTHON), ("js", "adapter.js", JS)];
    for ((lang, file, toolchain), (from, to)) in cases.into_iter().zip(changes) {
        if installed(&[toolchain]) {
            let scratch = new("engine", lang);
            let source = scratch.read(&format!("mine/{file}"));
            assert!(source.contains(from), "{source}");
            scratch.write(&format!("mine/{file}"), source.replacen(from, to, 1));
            check(&scratch, file);
        }
    }
}

#[test]
fn a_function_that_is_missing_does_not_build() {
    let changes = [
        ("def decode(", "def decoded("),
        ("export function decode(", "export function decoded("),
    ];
    changed(changes, |scratch, file| {
        let built = scratch.bare(&["plugin", "build", "mine"]).exits(5);
        built
            .complains("[X0016]")
            .complains(&format!("{file} "))
            .complains("no function `decode`, which a plugin of the kind `engine` needs");
    });
}

#[test]
fn a_mistake_in_the_language_is_told_line_by_line() {
    let changes = [
        ("def decode(", "def decode decode("),
        ("export function decode(", "export function decode decode("),
    ];
    changed(changes, |scratch, file| {
        let built = scratch.bare(&["plugin", "build", "mine"]).exits(5);
        let line = match file {
            "adapter.py" => "File \"/0/adapter.py\", line ",
            _ => "at /adapter.js:",
        };
        let mut lines = built.stderr.lines().map(str::trim);
        assert!(lines.any(|it| it.starts_with(line)), "{}", built.stderr);
    });
}

#[test]
fn a_value_of_a_wrong_type_is_told_with_its_place() {
    let in_decode = [
        (
            "    if response.status",
            "    events.text(0, \"one\", \"a\")\n    if response.status",
        ),
        (
            "  if (response.status",
            "  events.text(0, \"one\", \"a\");\n  if (response.status",
        ),
    ];
    let in_encode = [
        (
            "    return post_json(",
            "    return post_json(7 if request else ",
        ),
        ("  return postJson(", "  return postJson(request ? 7 : "),
    ];
    changed(in_decode, |scratch, file| {
        // Both mistakes in one component: compiling one takes long.
        let at = usize::from(file != "adapter.py");
        let (from, to) = in_encode[at];
        let source = scratch.read(&format!("mine/{file}"));
        assert!(source.contains(from), "{source}");
        scratch.write(&format!("mine/{file}"), source.replacen(from, to, 1));
        add(scratch, &[]);
        let told = scratch.bare(&["plugin", "test", "mine"]).exits(5);
        for words in ["TypeError", "one", "`path` is 7"] {
            assert!(told.stdout.contains(words), "{words}: {}", told.stdout);
        }
        assert!(!told.stdout.contains("broke down"), "{}", told.stdout);
    });
}

#[test]
fn a_recording_needs_an_address() {
    if !installed(&[C]) {
        return;
    }
    let scratch = new("engine", "c");
    scratch.bare(&["plugin", "build", "mine"]).exits(0);
    scratch
        .bare(&["plugin", "record", "mine"])
        .exits(2)
        .complains("`prony plugin record mine --base-url http://127.0.0.1:8000`");
}

#[test]
fn an_import_of_wasi_is_told_with_its_cause() {
    if !installed(&[C]) {
        return;
    }
    let scratch = new("engine", "c");
    let source = scratch.read("mine/adapter.c");
    let source = source.replace(
        "  memset(ret, 0, sizeof *ret);\n",
        "  printf(\"hello\\n\");\n  memset(ret, 0, sizeof *ret);\n",
    );
    scratch.write("mine/adapter.c", source);
    let built = scratch.bare(&["plugin", "build", "mine"]).exits(5);
    assert!(built.stderr.contains("[X0005]"), "{}", built.stderr);
    assert!(built.stderr.contains("fd_write"), "{}", built.stderr);
    assert!(built.stderr.contains("printing"), "{}", built.stderr);
    let explained = scratch.bare(&["explain", "X0005"]).exits(0);
    assert!(
        explained.stdout.contains("prony_plugin_log_log"),
        "{}",
        explained.stdout
    );
}

#[test]
fn a_mistake_in_the_project_is_told_with_its_place() {
    let scratch = new("engine", "c");
    let project = scratch.read("mine/plugin.toml");
    scratch.write(
        "mine/plugin.toml",
        project.replace("lang = \"c\"", "lang = \"d\""),
    );
    let built = scratch.bare(&["plugin", "build", "mine"]).exits(5);
    let place = "mine/plugin.toml:8:8: ";
    assert!(
        built.stderr.contains(&format!("[X0015] {place}")),
        "{}",
        built.stderr
    );
    assert!(built.stderr.contains("`python`"), "{}", built.stderr);
    let missing = scratch.bare(&["plugin", "build", "nowhere"]).exits(5);
    assert!(
        missing.stderr.contains("prony plugin new --lang LANG NAME"),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_new_project_needs_a_free_folder_and_a_language_of_its_kind() {
    let scratch = new("engine", "python");
    let again = scratch
        .bare(&["plugin", "new", "--lang", "c", "mine"])
        .exits(2);
    assert!(again.stderr.contains("--dir"), "{}", again.stderr);
    let refused = [
        "plugin",
        "new",
        "--kind",
        "in-process-engine",
        "--lang",
        "js",
        "other",
    ];
    let refused = scratch.bare(&refused).exits(2);
    assert!(
        refused.stderr.contains("--kind stdio-engine"),
        "{}",
        refused.stderr
    );
    assert!(!Path::new(&scratch.path("other")).exists());
    let name = scratch
        .bare(&["plugin", "new", "--lang", "c", "Mine"])
        .exits(2);
    assert!(name.stderr.contains("lower-case"), "{}", name.stderr);
}

#[test]
fn a_toolchain_that_is_missing_is_told_with_the_way_to_get_it() {
    for (lang, words) in [
        ("rust", "rustup"),
        ("python", "python3-venv"),
        ("js", "apt-get install nodejs npm"),
    ] {
        let scratch = new("engine", lang);
        let nothing = [
            ("PATH", scratch.path("empty").display().to_string()),
            ("PRONY_CACHE", scratch.path("cache").display().to_string()),
        ];
        let built = scratch
            .bare_in(&nothing, &["plugin", "build", "mine"])
            .exits(5);
        assert!(built.stderr.contains("[X0016]"), "{}", built.stderr);
        assert!(built.stderr.contains(words), "{}", built.stderr);
        let doctor = scratch
            .bare_in(&nothing, &["plugin", "doctor", "mine"])
            .exits(5);
        assert!(doctor.stdout.contains(words), "{}", doctor.stdout);
    }
}

#[test]
fn the_doctor_compares_folder_and_lock() {
    let scratch = new("in-process-engine", "c");
    let doctor = |words: &str| {
        let told = scratch.bare(&["plugin", "doctor", "mine"]).exits(0);
        assert!(told.stdout.contains(words), "{}", told.stdout);
    };
    doctor("→ `prony plugin build mine`");
    scratch.bare(&["plugin", "build", "mine"]).exits(0);
    doctor("none has `mine`");
    add(&scratch, &["--grant", "native"]);
    doctor("this build, native, not sandboxed");
    let source = scratch.read("mine/adapter.c");
    scratch.write(
        "mine/adapter.c",
        source.replace("no words to repeat", "no words"),
    );
    doctor("older than `mine/adapter.c`");
    scratch.bare(&["plugin", "build", "mine"]).exits(0);
    doctor("another build than the one in the folder");
}
