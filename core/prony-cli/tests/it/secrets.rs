//! Secrets: every place from which one could reach a text of prony, in every form, and every
//! byte that prony prints or writes.

use crate::kit::{Scratch, With, pipeline, truth, truth_through};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The variable of the environment, whose name says what it is, and its value.
const NAME: &str = "PRONY_IT_TOKEN";
const VALUE: &str = "sk-Live/42+aB=9_xyz~Q";
/// A secret in the file itself.
const LITERAL: &str = "Lit-77/eRAl+secret=~Z";

/// Templates of the secret: as it is, and changed by every filter that changes a text.
const TEMPLATES: [&str; 4] = [
    "${{ env.PRONY_IT_TOKEN }}",
    "${{ env.PRONY_IT_TOKEN | upper }}",
    "${{ env.PRONY_IT_TOKEN | lower }}",
    "${{ env.PRONY_IT_TOKEN | replace('-', '') }}",
];
/// Shell commands that print a variable `S` of theirs, as it is and encoded.
const ENCODERS: [&str; 6] = [
    "printf '%s\\n' \"$S\"",
    "printf '%s' \"$S\" | tr a-z A-Z; echo",
    "printf '%s' \"$S\" | base64",
    "printf 'user:%s' \"$S\" | base64",
    "printf '%s' \"$S\" | od -An -v -tx1 | tr -d ' \\n'; echo",
    "printf '%s' \"$S\" | sed 's/%/%25/g; s:/:%2F:g; s/+/%2B/g; s/=/%3D/g'; echo",
];

/// The texts that tell a value, as far as they are in the ASCII letters of any case.
fn forms(value: &str) -> Vec<String> {
    let digits = value.bytes().flat_map(|byte| [byte >> 4, byte & 15]);
    let hex: String = digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect();
    let url = value
        .replace('/', "%2f")
        .replace('+', "%2b")
        .replace('=', "%3d");
    let mut forms = vec![value.to_owned(), value.replacen('-', "", 1), hex, url];
    // The inner half of its base64 at each of the three places it can have in four letters.
    for before in ["", "x", "xy"] {
        let encoded = base64(format!("{before}{value}").as_bytes());
        forms.push(encoded[4..encoded.len() - 4].to_owned());
    }
    forms.iter().map(|form| form.to_lowercase()).collect()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = |chunk: &[u8]| {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let all = byte(0) << 16 | byte(1) << 8 | byte(2);
        [18, 12, 6, 0].map(|shift| LETTERS[(all >> shift & 63) as usize] as char)
    };
    bytes.chunks(3).flat_map(letters).collect()
}

/// Every file below a folder, with its path, and every path.
fn texts_below(folder: &Path, texts: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        texts.push(("a path".to_owned(), path.display().to_string()));
        if path.is_dir() && !path.is_symlink() {
            texts_below(&path, texts);
        } else if let Ok(bytes) = fs::read(&path) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            texts.push((path.display().to_string(), text));
        }
    }
}

/// Everything that prony printed and wrote for a pipeline.
struct Told {
    case: String,
    texts: Vec<(String, String)>,
}

impl Told {
    fn of(case: &str, text: &str, arguments: &[&str]) -> Self {
        let scratch = Scratch::new();
        let file = scratch.write("given/pipeline.yaml", text);
        let file = file.to_str().expect("a path");
        let results = scratch.path("results");
        let variables = [(NAME, VALUE.to_owned())];
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|argument| if *argument == "FILE" { file } else { argument })
            .collect();
        let output = scratch.prony_in(&variables, &arguments);
        let mut texts = vec![
            ("standard output".to_owned(), output.stdout),
            ("standard error".to_owned(), output.stderr),
        ];
        texts_below(&results, &mut texts);
        Self {
            case: format!("{case}: {arguments:?}"),
            texts,
        }
    }

    /// Nothing tells a secret, and there was something to tell: `trace` is in one of the texts.
    fn keeps_secrets(&self, trace: &str) {
        for value in [VALUE, LITERAL] {
            for form in forms(value) {
                for (place, text) in &self.texts {
                    if let Some(at) = text.to_lowercase().find(&form) {
                        let line = text[..at.min(text.len())].matches('\n').count() + 1;
                        panic!(
                            "{}: {place}, line {line}, tells `{form}`:\n{text}",
                            self.case
                        );
                    }
                }
            }
        }
        let is_there = self.texts.iter().any(|(_, text)| text.contains(trace));
        assert!(is_there, "{}: no `{trace}` in {:#?}", self.case, self.texts);
    }
}

/// A pipeline with the secret's variable.
fn base() -> Value {
    pipeline([("engine", truth(&[]))]).with("env", json!([NAME]))
}

const TRACE: &str = "(secret PRONY_IT_TOKEN";

#[test]
fn a_secret_is_in_no_text_of_a_run_wherever_it_is_used() {
    for template in TEMPLATES {
        let say = |place: &str| format!("{place} {template}");
        let step = |text: String| json!([{ "run": text, "name": say("step") }]);
        let given = base()
            .with("description", say("about"))
            .with(
                "models",
                json!([{ "id": "m", "size": say("size"), "revision": say("r") }]),
            )
            .with("matrix", json!({ "axes": { "way": ["one", "two"] } }))
            .with(
                "workload.prompts",
                json!([say("prompt"), "${{ matrix.way }}"]),
            )
            .with("workload.system", say("system"))
            .with("engines.engine.config.body", json!({ "user": say("user") }))
            .with(
                "engines.engine.config.headers",
                json!({ "x-note": say("note") }),
            )
            .stage("setup", "before", step(format!("echo {template}")))
            .stage("measure", "after", step(format!("echo {template} >&2")));
        let told = Told::of(template, &given.to_string(), &["run", "FILE", "-vvv"]);
        told.keeps_secrets(TRACE);
        told.keeps_secrets(template);
        let plan = Told::of(template, &given.to_string(), &["plan", "FILE"]);
        plan.keeps_secrets(TRACE);
        let plan = Told::of(template, &given.to_string(), &["plan", "--json", "FILE"]);
        plan.keeps_secrets(TRACE);
    }
}

#[test]
fn a_name_that_holds_a_secret_is_refused_and_not_told() {
    for template in TEMPLATES {
        let models = json!([{ "id": format!("model {template}") }]);
        let axes = json!({ "axes": { "way": [template, "two"] } });
        for given in [
            base().with("models", models),
            base()
                .with("matrix", axes)
                .with("workload.prompts", json!(["${{ matrix.way }}"])),
        ] {
            for command in ["validate", "run"] {
                let told = Told::of(template, &given.to_string(), &[command, "FILE"]);
                told.keeps_secrets("P0208");
            }
        }
    }
}

#[test]
fn what_fails_tells_no_secret() {
    for template in TEMPLATES {
        let failing_step = json!([{ "run": format!("echo {template}; exit 3") }]);
        let nowhere = json!([format!("/nowhere/{template}"), template]);
        let loud = format!("echo 'cannot serve {template}' >&2; exit 3");
        let cases = [
            ("a step", base().stage("measure", "before", failing_step)),
            (
                "a program",
                base().with("engines.engine.config.launch.command", nowhere),
            ),
            (
                "an engine's last words",
                base().with(
                    "engines.engine.config.launch.command",
                    json!(["sh", "-c", loud]),
                ),
            ),
            (
                "an address",
                base().with(
                    "engines.engine.config",
                    json!({ "base_url": format!("http://127.0.0.1:9/v1?key={template}") }),
                ),
            ),
            (
                "a model",
                base().with(
                    "models",
                    json!([{ "id": "m", "path": format!("/no/{template}") }]),
                ),
            ),
        ];
        for (case, given) in cases {
            let told = Told::of(case, &given.to_string(), &["run", "FILE", "-vvv"]);
            // Nobody repeats the address.
            let trace = if case == "an address" {
                "?key=${{ env.PRONY_IT_TOKEN"
            } else {
                TRACE
            };
            told.keeps_secrets(trace);
        }
    }
}

#[test]
fn what_engines_and_steps_print_is_masked_whatever_they_make_of_a_secret() {
    let step = |name: &str, encoder: &str| json!({ "name": name, "run": encoder, "env": { "S": "${{ env.PRONY_IT_TOKEN }}" } });
    let before: Vec<Value> = ENCODERS.iter().map(|it| step("says", it)).collect();
    let engine = truth_through(&ENCODERS.join("; "), &[]).with(
        "config.launch.env",
        json!({ "S": "${{ env.PRONY_IT_TOKEN }}" }),
    );
    let given = base()
        .with("engines.engine", engine)
        .stage("setup", "before", before);
    let told = Told::of("logs", &given.to_string(), &["run", "FILE"]);
    told.keeps_secrets(&"*".repeat(VALUE.len()));
    // Of a step that fails the last line is told.
    for encoder in ENCODERS {
        let failing = step("fails", &format!("{encoder}; exit 3"));
        let given = base().stage("setup", "before", json!([failing]));
        let told = Told::of(encoder, &given.to_string(), &["run", "FILE"]);
        told.keeps_secrets(TRACE);
    }
}

/// An engine that answers with what it is asked, in parts, or refuses with it.
const ECHO: &str = r#"
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    def answer(**keys):
        print(json.dumps({"id": asked["id"], **keys}), flush=True)
    if asked["op"] != "generate":
        answer(done=True)
        continue
    said = asked["messages"][-1]["content"]
    key = os.environ["S"]
    if "refuse" in said:
        answer(error="401 for " + key + " in " + said)
        continue
    for part in [said[:9], said[9:], " ", key, " ", key.upper()]:
        answer(text=part, tokens=1)
    answer(done=True, finish_reason="stop", version=key.lower())
"#;

#[test]
fn what_a_server_repeats_is_masked() {
    let scratch = Scratch::new();
    let script = scratch.write("echo.py", ECHO);
    let engine = json!({ "plugin": "lines", "config": {
        "command": ["python3", script],
        "env": { "S": "${{ env.PRONY_IT_TOKEN }}" },
    } });
    let given = base().with("engines.engine", engine).with(
        "workload.prompts",
        json!([
            "say ${{ env.PRONY_IT_TOKEN }}",
            "refuse ${{ env.PRONY_IT_TOKEN }}"
        ]),
    );
    let told = Told::of("an echo", &given.to_string(), &["run", "FILE", "-vvv"]);
    told.keeps_secrets("401 for (secret PRONY_IT_TOKEN)");
}

#[test]
fn diagnostics_tell_no_secret_in_any_format() {
    let literal = |text: &str| text.replace("LITERAL", LITERAL);
    let engine = r#"engine: { plugin: openai, config: { base_url: "http://127.0.0.1:9", api_key: LITERAL, OPTION } }"#;
    let rest = "model: { id: m }\nworkload: { prompts: [x], max_tokens: TOKENS }\nstages: [{ measure: {} }]\n";
    let file = |option: &str, tokens: &str| {
        let text = format!("version: 1\nname: it\nenv: [{NAME}]\n{engine}\n{rest}");
        literal(&text.replace("OPTION", option).replace("TOKENS", tokens))
    };
    let mut cases = vec![
        ("an unknown key beside", file("thread: 8", "8"), "****"),
        (
            "a bad value beside",
            file("headers: { x-api-key: LITERAL, a: [1] }", "8"),
            "****",
        ),
        ("no YAML", file("headers: { x: [ }", "8"), "****"),
        (
            "a literal as a number",
            file("headers: { x: LITERAL }", "LITERAL"),
            "PRONY_SECRET_API_KEY",
        ),
    ];
    for template in TEMPLATES {
        let quoted = format!("\"{template}\"");
        cases.push((
            "a template as a number",
            file("headers: {}", &quoted),
            TRACE,
        ));
        let plugin =
            file("headers: {}", "8").replace("plugin: openai", &format!("plugin: {quoted}"));
        cases.push(("a plugin", plugin, TRACE));
    }
    for (case, text, trace) in cases {
        let human = Told::of(case, &text, &["validate", "FILE"]);
        human.keeps_secrets(trace);
        for format in ["json", "sarif", "github"] {
            let told = Told::of(case, &text, &["validate", "FILE", "--format", format]);
            told.keeps_secrets("P0");
        }
        for command in ["run", "plan", "doctor", "aa"] {
            Told::of(case, &text, &[command, "FILE"]).keeps_secrets(trace);
        }
    }
    let set = format!("engine.config.api_key.x={LITERAL}");
    let told = Told::of(
        "a setting",
        &file("", "8"),
        &["validate", "FILE", "--set", &set],
    );
    told.keeps_secrets("error");
}

#[test]
fn literal_secrets_are_kept_as_those_of_the_environment() {
    let bearer = format!("Bearer {LITERAL}");
    let engine = truth_through("echo \"$TOKEN\"", &["--time-to-first-token-ms", "1"])
        .with("config.api_key", LITERAL)
        .with(
            "config.headers",
            json!({ "Authorization": bearer, "Cookie": format!("a={LITERAL}") }),
        )
        .with("config.launch.env", json!({ "TOKEN": LITERAL }));
    let command = engine["config"]["launch"]["command"].clone();
    let mut with_key = command.as_array().expect("a command").clone();
    with_key.insert(3, json!(format!("--api-key={LITERAL}")));
    let given = pipeline([("engine", engine)])
        .with("description", format!("uses {LITERAL}"))
        .stage(
            "setup",
            "before",
            json!([{ "run": format!("echo --api-key {LITERAL}; TOKEN={LITERAL} env | grep '^TOKEN'") }]),
        );
    Told::of("literals", &given.to_string(), &["run", "FILE"]).keeps_secrets("PRONY_SECRET_");
    Told::of(
        "literals",
        &given.to_string(),
        &["aa", "--cycles", "6", "FILE"],
    )
    .keeps_secrets("PRONY_SECRET_");
    let refused = given.with("engines.engine.config.launch.command", json!(with_key));
    Told::of("an argument", &refused.to_string(), &["run", "FILE"]).keeps_secrets("PRONY_SECRET_");
    Told::of("a check-up", &refused.to_string(), &["doctor", "FILE"])
        .keeps_secrets("PRONY_SECRET_");
}

#[test]
fn an_option_that_a_plugin_marks_is_a_secret() {
    let scratch = Scratch::new();
    let schema = scratch
        .prony(&["schema", "plugin", "openai"])
        .exits(0)
        .json();
    assert_eq!(schema["properties"]["api_key"]["x-prony-role"], "secret");
    // Its variable needs no telling name.
    let given = base()
        .with("env", json!(["PRONY_IT_PLAIN"]))
        .with("engines.engine.config.api_key", "${{ env.PRONY_IT_PLAIN }}")
        .with("description", "${{ env.PRONY_IT_PLAIN }}");
    scratch.write("pipeline.yaml", given.to_string());
    let plain = [("PRONY_IT_PLAIN", "nobody-knows".to_owned())];
    scratch.prony_in(&plain, &["run", "pipeline.yaml"]).exits(0);
    let journal = scratch.read("results/latest/journal.jsonl");
    assert!(journal.contains("(secret PRONY_IT_PLAIN)"), "{journal}");
    assert!(!journal.contains("nobody-knows"), "{journal}");
    let mut texts = Vec::new();
    texts_below(&scratch.path("results"), &mut texts);
    let telling = texts.iter().find(|(_, text)| text.contains("nobody-knows"));
    assert_eq!(telling, None);
}

#[test]
fn what_is_listed_is_a_secret_and_other_variables_are_told() {
    let scratch = Scratch::new();
    let given = base()
        .with("env", json!(["PRONY_IT_PLACE"]))
        .with("secrets", json!(["PRONY_IT_LISTED", "PRONY_IT_SHORT"]))
        .with("description", "from ${{ env.PRONY_IT_PLACE }}")
        .stage(
            "setup",
            "before",
            json!([{ "run": "echo $PRONY_IT_LISTED $PRONY_IT_PLACE" }]),
        );
    scratch.write("pipeline.yaml", given.to_string());
    let variables = [
        ("PRONY_IT_PLACE", "/data/of/mine".to_owned()),
        ("PRONY_IT_LISTED", "nobody-knows".to_owned()),
        ("PRONY_IT_SHORT", "true".to_owned()),
    ];
    let output = scratch
        .prony_in(&variables, &["run", "pipeline.yaml"])
        .exits(0);
    output.complains("P0207").complains("env.PRONY_IT_SHORT");
    let log = scratch.read("results/latest/logs/setup.log");
    assert_eq!(log, "************ /data/of/mine\n");
    let journal = scratch.read("results/latest/journal.jsonl");
    assert!(journal.contains("from /data/of/mine"), "{journal}");
    assert!(journal.contains("\"completed\""), "{journal}");
}

#[test]
fn a_run_can_be_run_again_from_its_own_pipeline() {
    let scratch = Scratch::new();
    scratch.write("a", VALUE);
    scratch.write("b", LITERAL);
    scratch.write("c", format!("Bearer 1-{LITERAL}"));
    let check = r#"test "$A" = "$(cat a)" && test "$B" = "$(cat b)" && test "$C" = "$(cat c)""#;
    let env = json!({
        "A": "${{ env.PRONY_IT_TOKEN }}", "B": "${{ vars.my_password }}", "C": "${{ vars.auth }}",
    });
    let given = base()
        .with(
            "vars",
            json!({ "my_password": LITERAL, "auth": format!("Bearer 1-{LITERAL}") }),
        )
        .with("engines.engine.config.api_key", "${{ env.PRONY_IT_TOKEN }}")
        .with(
            "engines.engine.config.headers",
            json!({ "x-api-key": "${{ vars.my_password }}", "x-as-written": VALUE }),
        )
        .stage("setup", "before", json!([{ "run": check, "env": env }]));
    scratch.write("pipeline.yaml", given.to_string());
    let mut variables = vec![(NAME, VALUE.to_owned())];
    scratch
        .prony_in(&variables, &["run", "pipeline.yaml"])
        .exits(0);
    let first = scratch.read("results/latest/pipeline.yaml");
    assert!(
        !first.contains(LITERAL) && !first.contains(VALUE),
        "{first}"
    );
    fs::write(scratch.path("again.yaml"), &first).expect("a file");
    // What stood in the file has to be given again, and nothing else is sent in its place.
    let refused = scratch
        .prony_in(&variables, &["run", "again.yaml"])
        .exits(3);
    refused.complains("P0205").complains("PRONY_SECRET_");
    variables.push(("PRONY_SECRET_X_API_KEY", LITERAL.to_owned()));
    scratch
        .prony_in(&variables, &["run", "again.yaml"])
        .exits(0);
    let second = scratch.read("results/latest/pipeline.yaml");
    assert_eq!(first, second);
}

#[test]
#[cfg(target_os = "linux")]
fn the_command_line_of_a_step_shows_no_secret() {
    let scratch = Scratch::new();
    let run = "tr '\\0' ' ' < /proc/$$/cmdline > seen; echo ${{ env.PRONY_IT_TOKEN }} > got";
    let given = base().stage("setup", "before", json!([{ "run": run }]));
    scratch.write("pipeline.yaml", given.to_string());
    let variables = [(NAME, VALUE.to_owned())];
    scratch
        .prony_in(&variables, &["run", "pipeline.yaml"])
        .exits(0);
    assert!(!scratch.read("seen").contains(VALUE));
    assert_eq!(scratch.read("got").trim(), VALUE);
}

#[test]
fn extends_shows_nothing_of_a_file_that_is_no_pipeline() {
    let scratch = Scratch::new();
    for foreign in [
        "root:x:0:0:root:/root:/bin/sh\nsomebody:y:1\n",
        "[section]\nsomebody = one\n",
        "-----BEGIN PRIVATE somebody KEY-----\n\tabc: {\n",
        "somebody: { one: [",
    ] {
        scratch.write("foreign", foreign);
        scratch.write("pipeline.yaml", "extends: foreign\n");
        for format in ["human", "json", "sarif", "github"] {
            let told = scratch.prony(&["validate", "pipeline.yaml", "--format", format]);
            let told = told.exits(3);
            let all = format!("{}{}", told.stdout, told.stderr);
            assert!(!all.contains("somebody"), "{format}: {all}");
        }
    }
}
