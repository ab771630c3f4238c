//! The command line itself.

use crate::kit::{Output, PRONY, Scratch, With, lock, pipeline, plugin_file, truth};
use serde_json::{Value, json};
use std::fs;

const GOOD: &str = "\
version: 1
name: good
engine:
  plugin: openai
  config: { base_url: http://127.0.0.1:1 }
model: { id: model }
workload: { prompts: [hello], temperature: 0 }
stages:
  - warmup: {}
  - measure: {}
  - report: {}
";

/// A scratch folder with a valid pipeline, and one changed by a replacement.
fn with_changed(from: &str, to: &str) -> Scratch {
    assert!(GOOD.contains(from));
    let scratch = Scratch::new();
    scratch.write("good.yaml", GOOD);
    scratch.write("bad.yaml", GOOD.replace(from, to));
    scratch
}

fn rejects(from: &str, to: &str, code: &str, place: &str) {
    let output = with_changed(from, to)
        .prony(&["validate", "bad.yaml"])
        .exits(3);
    output.complains(code).complains(place);
}

// ---- validate

#[test]
fn validate_accepts_what_is_valid() {
    let scratch = with_changed("hello", "hello");
    let output = scratch.prony(&["validate", "good.yaml"]).exits(0);
    assert_eq!(output.stdout, "good.yaml: valid\n");
    assert_eq!(output.stderr, "");
    let output = scratch.prony(&["validate", "-q", "good.yaml"]).exits(0);
    assert_eq!(output.stdout + &output.stderr, "");
}

#[test]
fn validate_names_the_place_of_a_misspelt_key() {
    rejects("temperature", "temperatur", "error[P0101]", "bad.yaml:7:31");
}

#[test]
fn validate_names_the_place_of_a_bad_plugin_option() {
    rejects("base_url:", "base_ulr:", "error[P0101]", "bad.yaml:5:13");
    rejects("http://127.0.0.1:1", "[1]", "error[P0103]", "bad.yaml:5:23");
}

#[test]
fn validate_names_the_place_of_an_unknown_plugin() {
    rejects("openai", "opneai", "error[P0107]", "bad.yaml:4:11");
}

#[test]
fn validate_tells_programs_in_json() {
    let scratch = with_changed("plugin: openai", "plugin: opneai");
    let output = scratch.prony(&["validate", "--format=json", "good.yaml", "bad.yaml"]);
    let json = output.exits(3).json();
    assert_eq!(json["schema"], "prony-diagnostics/1");
    let diagnostics = json["diagnostics"].as_array().expect("a list");
    let errors: Vec<_> = diagnostics
        .iter()
        .filter(|it| it["severity"] == "error")
        .collect();
    assert_eq!(errors.len(), 1, "{json:#}");
    assert_eq!(errors[0]["code"], "P0107");
    assert_eq!(errors[0]["file"], "bad.yaml");
    assert_eq!(
        (&errors[0]["line"], &errors[0]["column"]),
        (&json!(4), &json!(11))
    );
    let output = scratch
        .prony(&["validate", "--format=json", "good.yaml"])
        .exits(0);
    assert_eq!(output.json()["diagnostics"], json!([]));
}

#[test]
fn validate_looks_at_every_file() {
    let scratch = with_changed("hello", "");
    let output = scratch.prony(&["validate", "bad.yaml", "good.yaml", "absent.yaml"]);
    let output = output.exits(3).prints("good.yaml: valid");
    output.complains("bad.yaml:").complains("absent.yaml");
}

#[test]
fn validate_says_why_a_file_cannot_be_read() {
    let scratch = Scratch::new();
    scratch.write("latin1.yaml", b"version: 1\nname: caf\xe9\n");
    fs::create_dir(scratch.path("folder.yaml")).expect("a folder");
    for (file, words) in [
        ("latin1.yaml", "iconv -f WINDOWS-1252 -t UTF-8 latin1.yaml"),
        ("folder.yaml", "a folder"),
        ("absent.yaml", "No such file"),
    ] {
        for command in [&["validate"][..], &["plan"], &["run"]] {
            let output = scratch.prony(&[command, &[file]].concat()).exits(3);
            output.complains("P0009").complains(file).complains(words);
        }
    }
    assert!(!scratch.path("results").exists(), "nothing was run");
}

#[test]
fn colour_is_used_when_asked_for() {
    let scratch = with_changed("openai", "opneai");
    let with = scratch.prony(&["--color", "always", "validate", "bad.yaml"]);
    with.exits(3).complains("\u{1b}[");
    let without = scratch.prony(&["validate", "bad.yaml"]).exits(3);
    assert!(!without.stderr.contains('\u{1b}'));
}

// ---- plan

#[test]
fn plan_is_the_same_every_time() {
    let scratch = Scratch::new();
    let engines = pipeline([("a", truth(&[])), ("b", truth(&[]))])
        .with("models", json!([{ "id": "one" }, { "id": "two" }]))
        .with("schedule", json!({ "cycles": 6, "seed": 7 }));
    scratch.write("pipeline.yaml", engines.to_string());
    let plan = || scratch.prony(&["plan", "pipeline.yaml"]).exits(0).stdout;
    assert_eq!(plan(), plan());
    assert!(plan().starts_with("it: 24 visits, 96 requests (0 warm-up + 4 measured each)"));
    let json = || scratch.prony(&["plan", "--json", "pipeline.yaml"]).exits(0);
    assert_eq!(json().stdout, json().stdout);
    let visits = json().json()["visits"].clone();
    let visits = visits.as_array().expect("visits");
    assert_eq!(visits.len(), 24);
    // Both engines in every cycle, and not always in the same order.
    let firsts: Vec<_> = visits.chunks(2).map(|pair| &pair[0]["engine"]).collect();
    for pair in visits.chunks(2) {
        assert_ne!(pair[0]["engine"], pair[1]["engine"]);
        assert_eq!(pair[0]["cycle"], pair[1]["cycle"]);
    }
    assert!(firsts.contains(&&json!("a")) && firsts.contains(&&json!("b")));
    assert!(!scratch.path("results").exists(), "nothing was run");
}

#[test]
fn a_run_follows_its_plan() {
    let scratch = Scratch::new();
    let engines = pipeline([("a", truth(&[])), ("b", truth(&[]))]).with("schedule.cycles", 3);
    let run = scratch.run(&engines).exits(0);
    let plan = scratch
        .prony(&["plan", "--json", "pipeline.yaml"])
        .exits(0)
        .json();
    let mut visits = run.events("visit");
    for visit in &mut visits {
        *visit = json!({
            "model": visit["model"], "engine": visit["engine"], "cycle": visit["cycle"],
        });
    }
    assert_eq!(json!(visits), plan["visits"]);
}

// ---- schema, list, completions, help

#[test]
fn schemas_are_printed() {
    let scratch = Scratch::new();
    let schema = |arguments: &[&str]| {
        let schema = scratch
            .prony(&[&["schema"], arguments].concat())
            .exits(0)
            .json();
        jsonschema::meta::validate(&schema).expect("a JSON Schema");
        schema
    };
    assert_eq!(schema(&[]), schema(&["pipeline"]));
    // A file that extends another may leave out what the other has.
    let pipeline = schema(&["pipeline"]);
    for branch in ["then", "else"] {
        let place = pipeline[branch]["$ref"].as_str().expect("a place");
        let of = pipeline.pointer(&place[1..]).expect("a schema");
        assert!(of["properties"]["workload"].is_object(), "{branch}");
    }
    assert!(schema(&["result"])["properties"]["models"].is_object());
    assert!(schema(&["plugin", "openai"])["properties"]["base_url"].is_object());
    assert!(schema(&["plugin", "markdown"])["properties"]["template"].is_object());
    let text = fs::read_to_string(lock()).expect("the lock is there");
    let lock = serde_json::from_str(&text).expect("the lock is JSON");
    assert!(jsonschema::is_valid(&schema(&["lock"]), &lock));
    scratch
        .prony(&["schema", "plugin", "nobody"])
        .exits(2)
        .complains("`nobody`");
}

#[test]
fn completions_are_printed() {
    let scratch = Scratch::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = scratch.bare(&["completions", shell]).exits(0);
        output.prints("prony").prints("validate");
    }
    scratch.bare(&["completions", "none"]).exits(2);
}

#[test]
fn help_tells_every_option() {
    const GLOBAL: [&str; 5] = ["--quiet", "--verbose", "--color", "--lock", "--cache"];
    let scratch = Scratch::new();
    for (command, options) in [
        (&["run"][..], &["--results", "--json"][..]),
        (&["validate"], &["--format", "--set", "--deny"]),
        (&["plan"], &["--json"]),
        (&["schema"], &["pipeline", "result", "lock", "plugin"]),
        (&["plugin", "list"], &["--json"]),
        (&["plugin", "add"], &["--grant", "native"]),
        (&["list"], &["--results", "--json"]),
        (
            &["report"],
            &["--results", "--reporter", "--json", "latest"],
        ),
        (&["completions"], &["bash", "zsh", "fish"]),
        (
            &["truth-server"],
            &[
                "--port",
                "--tokens",
                "--time-to-first-token-ms",
                "--inter-token-latency-us",
                "--fault",
                "--fault-from",
                "--exit",
                "error_frame",
                "not_http",
            ],
        ),
    ] {
        let output = scratch.bare(&[command, &["--help"]].concat()).exits(0);
        for option in options.iter().chain(&GLOBAL) {
            assert!(output.stdout.contains(option), "{command:?}: no `{option}`");
        }
    }
    let output = scratch.bare(&["--help"]).exits(0).prints("Exit codes:");
    for command in [
        "run",
        "validate",
        "plan",
        "schema",
        "plugin",
        "list",
        "report",
        "completions",
    ] {
        assert!(
            output.stdout.contains(&format!("\n  {command} ")),
            "{command}"
        );
    }
    let version = format!("prony {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(scratch.bare(&["--version"]).exits(0).stdout, version);
}

#[test]
fn misuse_is_told() {
    let scratch = Scratch::new();
    for arguments in [
        &[][..],
        &["nonsense"],
        &["run"],
        &["run", "pipeline.yaml", "--nonsense"],
        &["validate"],
        &["schema", "nonsense"],
        &["schema", "plugin"],
        &["plugin"],
        &["plugin", "add"],
        &["plugin", "add", "file", "--grant", "everything"],
        &["plugin", "add", "file", "--lock", "a", "--lock", "b"],
        &["report", "nothing"],
        &["truth-server", "--fault", "nonsense"],
        &["-q", "-v", "list"],
        &["--color", "sometimes", "list"],
    ] {
        let output = scratch.bare(arguments).exits(2);
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn quiet_says_nothing_when_all_is_well() {
    let run = Scratch::new().run_with(&pipeline([("engine", truth(&[]))]), &["-q"]);
    let run = run.exits(0);
    assert_eq!(run.output.stderr, "");
    assert!(run.output.stdout.contains("engine"));
}

#[test]
fn a_reader_that_has_gone_away_ends_nothing() {
    let scratch = Scratch::new();
    let pipeline = pipeline([("engine", slow())]);
    scratch.write("pipeline.yaml", pipeline.to_string());
    let lock = lock();
    for command in [
        "run pipeline.yaml",
        "report --json",
        "plan pipeline.yaml",
        "list",
        "schema",
        "completions bash",
        "plugin list",
    ] {
        // The pipe's only reader is gone before the first word is written.
        let script = format!(
            "{{ sleep 0.2; \"{PRONY}\" --lock \"{}\" {command}; echo $? > code; }} 2>&1 | true",
            lock.display()
        );
        let shell = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(scratch.path(""))
            .status();
        assert!(shell.expect("a shell").success());
        assert_eq!(scratch.read("code"), "0\n", "{command}");
    }
    let report = scratch.path("results/latest/report.md");
    assert!(report.is_file(), "the run was reported");
}

/// A disk that is full is no reader that has seen enough.
#[cfg(target_os = "linux")]
#[test]
fn output_that_is_lost_is_a_failure() {
    let scratch = Scratch::new();
    let pipeline = pipeline([("engine", slow())]);
    scratch.write("pipeline.yaml", pipeline.to_string());
    let lock = lock();
    for command in [
        "run pipeline.yaml",
        "report",
        "report --json",
        "plan pipeline.yaml",
        "list",
        "validate pipeline.yaml",
        "explain P0101",
        "init hello -",
        "schema",
        "completions bash",
        "plugin list",
    ] {
        let full = fs::File::create("/dev/full").expect("a full device");
        let output = std::process::Command::new(PRONY)
            .arg("--lock")
            .arg(&lock)
            .args(command.split(' '))
            .current_dir(scratch.path(""))
            .stdout(full)
            .output()
            .expect("prony starts");
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command}: {words}");
        let told = words.matches("error: standard output: No space left on device");
        assert_eq!(told.count(), 1, "{command}: {words}");
    }
    let report = scratch.path("results/latest/report.md");
    assert!(report.is_file(), "the run was reported");
}

#[test]
fn a_results_folder_that_cannot_be_made_is_told() {
    let scratch = Scratch::new();
    scratch.write("file", "");
    scratch.write(
        "pipeline.yaml",
        pipeline([("engine", truth(&[]))]).to_string(),
    );
    let output = scratch.prony(&["run", "pipeline.yaml", "--results", "file/results"]);
    output
        .exits(1)
        .complains("cannot make a folder for the run: `file/results`")
        .complains("`--results DIR`");
    let output = scratch.prony(&["run", "pipeline.yaml", "--results", "file"]);
    output.exits(1).complains("`--results DIR`");
}

// ---- plugins

#[test]
fn options_that_recipes_share_are_told_once_on_the_page_of_all() {
    let scratch = Scratch::new();
    let row = "| `base_url` |";
    let one = scratch.prony(&["plugin", "show", "llama-cpp"]).exits(0);
    assert_eq!(one.stdout.matches(row).count(), 1);
    assert!(!one.stdout.contains("options-of-every-recipe"));
    let all = scratch.prony(&["plugin", "show"]).exits(0);
    // `openai` has an option of this name, too.
    assert_eq!(all.stdout.matches(row).count(), 2);
    let link = "And the [options of every recipe](#options-of-every-recipe)";
    assert_eq!(all.stdout.matches(link).count(), 13);
    // What LM Studio, which prony does not start, has no use for.
    all.prints(&format!(
        "{link} except `arguments`, `cwd`, `env`, `program`.\n"
    ));
}

#[test]
fn plugins_are_listed_with_form_contract_and_digest() {
    let scratch = Scratch::new();
    let output = scratch.prony(&["plugin", "list"]).exits(0);
    let output = output.prints("FORM").prints("CONTRACT").prints("SHA256");
    let listed = scratch.prony(&["plugin", "list", "--json"]).exits(0).json();
    let listed = listed.as_array().expect("a list");
    let names: Vec<_> = listed.iter().filter_map(|it| it["name"].as_str()).collect();
    let engines = ["candle", "lines", "mlx-serving", "openai"];
    let reporters = [
        "bencher",
        "console",
        "csv",
        "github",
        "github-action-benchmark",
        "html",
        "json",
        "junit",
        "llmd",
        "markdown",
        "openmetrics",
    ];
    let plugins = [&engines[..], &reporters].concat();
    let (recipes, own): (Vec<&str>, Vec<&str>) =
        names.into_iter().partition(|name| !plugins.contains(name));
    assert_eq!(own, plugins);
    assert!(
        recipes.contains(&"llama-cpp") && recipes.len() == 13,
        "{recipes:?}"
    );
    for plugin in listed {
        let word = |key: &str| plugin[key].as_str().expect("a word");
        let lines = output.stdout.lines();
        let row = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = row
            .into_iter()
            .find(|row| row[1] == word("name"))
            .expect("a row");
        let cells = [
            word("kind"),
            word("name"),
            word("version"),
            word("form"),
            word("contract"),
        ];
        assert_eq!(row[..5], cells);
        assert_eq!(word("sha256").len(), 64);
        assert_eq!(row[5], &word("sha256")[..12]);
    }
}

#[test]
fn without_plugins_it_is_said_where_they_were_looked_for() {
    let scratch = Scratch::new();
    let output = scratch.bare(&["--lock", "absent.lock", "plugin", "list"]);
    output
        .exits(0)
        .prints("no plugins are installed")
        .prints("absent.lock");
    scratch.write("damaged.lock", "{");
    let output = scratch.bare(&["--lock", "damaged.lock", "plugin", "list"]);
    output.exits(5).complains("[X0002]");
}

fn add(scratch: &Scratch, file: &str, options: &[&str]) -> Output {
    scratch.bare(
        &[
            &["--lock", "own/prony.lock", "plugin", "add", file],
            options,
        ]
        .concat(),
    )
}

#[test]
fn what_is_no_plugin_is_not_added() {
    let scratch = Scratch::new();
    scratch.write("garbage.wasm", "this is no plugin");
    scratch.write("empty.wasm", "");
    scratch.write("half.wasm", b"\0asm\x01\0\0\0\xff\xff");
    for file in ["garbage.wasm", "empty.wasm", "half.wasm"] {
        add(&scratch, file, &[])
            .exits(5)
            .complains("[X0003]")
            .complains(file);
    }
    add(&scratch, "absent.wasm", &[])
        .exits(5)
        .complains("[X0001]");
    assert!(!scratch.path("own").exists());
}

#[test]
fn a_native_plugin_needs_a_grant() {
    let scratch = Scratch::new();
    let library = format!("engine-candle.{}", std::env::consts::DLL_EXTENSION);
    let library = plugin_file(&library);
    let library = library.to_str().expect("the path is text");
    let output = add(&scratch, library, &[]).exits(5);
    output.complains("[X0007]").complains("--grant native");
    assert!(!scratch.path("own").exists());
    add(&scratch, library, &["--grant", "native"])
        .exits(0)
        .prints("`candle`");
    let output = scratch.bare(&["--lock", "own/prony.lock", "plugin", "list"]);
    output.exits(0).prints("candle");
}

/// A stranger's folder, with a lock file that says that its author granted it.
#[test]
fn a_lock_file_in_the_folder_grants_nothing() {
    let author = Scratch::new();
    let library = format!("engine-candle.{}", std::env::consts::DLL_EXTENSION);
    let library = plugin_file(&library);
    let library = library.to_str().expect("the path is text");
    let own = ["plugin", "add", "--grant", "native", library];
    author.bare(&own).exits(0);
    let stranger = Scratch::new();
    for name in [
        "prony.lock",
        &format!("engine-candle.{}", std::env::consts::DLL_EXTENSION),
    ] {
        fs::copy(author.path(name), stranger.path(name)).expect("a file");
    }
    stranger.write(
        "pipeline.yaml",
        include_str!("../../src/starters/hello.yaml"),
    );
    stranger
        .bare(&["run", "pipeline.yaml"])
        .exits(5)
        .complains("[X0007]")
        .complains("you have not granted that on this machine");
    assert!(!stranger.path("results").exists(), "nothing was run");
    // As the message says.
    let here = format!("engine-candle.{}", std::env::consts::DLL_EXTENSION);
    stranger
        .bare(&["plugin", "add", "--grant", "native", &here])
        .exits(0);
    let grants = stranger.read("user/grants");
    assert!(grants.contains("engine candle"), "{grants}");
}

#[test]
fn a_plugin_that_was_changed_is_not_run() {
    let scratch = Scratch::new();
    let names = [
        "engine-openai",
        "reporter-console",
        "reporter-markdown",
        "reporter-html",
        "reporter-json",
    ];
    for name in names {
        let file = plugin_file(&format!("{name}.wasm"));
        add(&scratch, file.to_str().expect("the path is text"), &[]).exits(0);
    }
    scratch.write(
        "pipeline.yaml",
        pipeline([("engine", truth(&[]))]).to_string(),
    );
    let run = || scratch.bare(&["--lock", "own/prony.lock", "run", "pipeline.yaml"]);
    scratch.latest(run().exits(0)).all_well("engine");
    let plugin = scratch.path("own/engine-openai.wasm");
    let mut bytes = fs::read(&plugin).expect("the plugin is there");
    bytes.push(0);
    fs::write(plugin, bytes).expect("a file");
    let runs = || fs::read_dir(scratch.path("results")).expect("runs").count();
    let before = runs();
    run()
        .exits(5)
        .complains("[X0006]")
        .complains("has changed since it was locked")
        .complains("run `prony plugin add");
    assert_eq!(runs(), before, "nothing was run");
}

#[test]
fn the_plugins_lie_beside_the_command_unless_the_project_has_its_own() {
    let scratch = with_changed("hello", "hello");
    lock();
    scratch.bare(&["validate", "good.yaml"]).exits(0);
    scratch.write("prony.lock", "{\"version\": 2, \"plugins\": []}");
    let output = scratch.bare(&["validate", "good.yaml"]).exits(5);
    output.complains("[X0002]").complains("version 2");
}

/// An engine so slow that prony's client is in time on any machine.
fn slow() -> Value {
    truth(&["--tokens", "2", "--inter-token-latency-us", "200000"])
}
