//! `prony plugin test`, `record` and `try`, on plugins that ship, on an example and on one that
//! misbehaves; and what a run keeps of failed requests.

use crate::kit::{Scratch, Server, pipeline, plugin_file, repository, text, truth};
use serde_json::{Value, json};
use std::path::Path;

/// The fixtures of a plugin in the repository.
fn fixtures(path: &str) -> String {
    let folder = repository().join("plugins").join(path).join("fixtures");
    folder.to_str().expect("the path is text").to_owned()
}

/// A copy of some of them, in a folder `fixtures` of the scratch folder.
fn copied(scratch: &Scratch, plugin: &str, names: &[&str]) {
    for name in names {
        let file = Path::new(&fixtures(plugin)).join(name);
        scratch.write(
            &format!("fixtures/{name}"),
            std::fs::read(file).expect("a fixture"),
        );
    }
}

#[test]
fn adapters_that_ship_pass_with_their_fixtures() {
    let scratch = Scratch::new();
    for (name, folder) in [
        ("openai", "engine-openai"),
        ("lines", "engine-lines"),
        ("mlx-serving", "engine-mlx-serving"),
    ] {
        let tested = ["plugin", "test", name, "--fixtures", &fixtures(folder)];
        let output = scratch.prony(&tested).exits(0);
        let output = output.prints(&format!("`{name}` passes"));
        assert!(!output.stdout.contains("FAIL"), "{output:?}");
        if name == "openai" {
            // Folders with settings of their own are checked with them.
            output
                .prints("fixtures/tgi")
                .prints("ok    encode    chat: sends prompt, max_tokens, seed")
                .prints("ok    decode    `vllm-chat`: ");
        }
    }
}

#[test]
fn reporters_and_an_engine_in_a_process_pass() {
    let scratch = Scratch::new();
    for name in ["console", "markdown", "json"] {
        let output = scratch.prony(&["plugin", "test", name]).exits(0);
        output.prints("ok    render    hostile texts: ");
    }
    let config = r#"{ "weights": { "synthetic": {} }, "threads": 1 }"#;
    let tested = ["plugin", "test", "candle", "--config", config];
    let output = scratch.prony(&tested).exits(0);
    output.prints("ok    generate  chat: 12 tokens a request");
}

#[test]
fn the_first_difference_is_shown_and_the_exit_code_is_5() {
    let scratch = Scratch::new();
    let names = [
        "kit.json",
        "vllm-chat.sse",
        "vllm-chat.events.json",
        "vllm-chat.request.json",
        "vllm-chat.http.json",
    ];
    copied(&scratch, "engine-openai", &names);
    let tested = ["plugin", "test", "openai"];
    scratch.prony(&tested).exits(0);
    let events = scratch.read("fixtures/vllm-chat.events.json");
    let wrong = events.replacen(r#""text":" sea""#, r#""text":" see""#, 1);
    assert_ne!(events, wrong);
    scratch.write("fixtures/vllm-chat.events.json", &wrong);
    let output = scratch.prony(&tested).exits(5);
    let output = output
        .prints("FAIL  decode    `vllm-chat`")
        .prints("`openai`: 1 finding");
    let sign = |sign: char, word: &str| {
        let mut lines = output.stdout.lines().map(str::trim_start);
        lines.any(|line| line.starts_with(sign) && line.contains(word))
    };
    assert!(sign('-', " see") && sign('+', " sea"), "{output:?}");
    let told = scratch
        .prony(&["plugin", "test", "openai", "--json"])
        .exits(5);
    let told = told.json();
    let checks = told[0]["checks"].as_array().expect("checks").clone();
    let found: Vec<&Value> = checks
        .iter()
        .flat_map(|check| check["findings"].as_array().expect("findings"))
        .collect();
    assert_eq!(found.len(), 1, "{told:#}");
    assert!(text(&found[0]["diff"]).contains("see"));
    scratch
        .prony(&["plugin", "test", "openai", "--bless"])
        .exits(0);
    assert_eq!(scratch.read("fixtures/vllm-chat.events.json"), events);
}

#[test]
fn a_plugin_that_misbehaves_is_found_out() {
    let scratch = Scratch::new();
    let module = plugin_file("").join("../../wasm32-unknown-unknown/release/engine_faulty.wasm");
    let module = module.to_str().expect("the path is text");
    let folder = repository().join("core/prony-plugin-host/tests/fixtures/lines");
    let folder = folder.to_str().expect("the path is text");
    let tested = |more: &[&str]| {
        let command = ["plugin", "test", module, "--fixtures", folder];
        scratch.prony(&[&command[..], more].concat())
    };
    tested(&[]).exits(0);
    for (config, words) in [
        (json!({ "fault": "panic" }), "broke down"),
        (json!({ "fault": "read" }), "an event names read"),
        (json!({ "fault": "error", "at": "encode" }), "asked to fail"),
        (json!({ "fault": "huge" }), "xxx"),
    ] {
        let output = tested(&["--config", &config.to_string()]).exits(5);
        output.prints("FAIL").prints(words);
    }
    // Without `kit.json`, fields that it does not send are findings.
    let output = scratch.prony(&["plugin", "test", module]).exits(5);
    for field in ["temperature", "top_p", "stop", "ignore_eos"] {
        assert!(
            output
                .stdout
                .contains(&format!("`{field}`: asking for it changes nothing")),
            "{output:?}"
        );
    }
}

#[test]
fn mutants_say_what_fixtures_are_worth() {
    let scratch = Scratch::new();
    copied(
        &scratch,
        "engine-lines",
        &["kit.json", "plain.body", "plain.events.json"],
    );
    let tested = ["plugin", "test", "lines", "--mutants"];
    let few = scratch.prony(&tested).exits(0).prints("mutation score");
    assert!(few.stdout.contains("error as text"), "{few:?}");
    let all = ["plugin", "test", "lines", "--mutants", "--fixtures"];
    let all = scratch.prony(&[&all[..], &[&fixtures("engine-lines")]].concat());
    all.exits(0).prints("mutation score 100 %");
}

#[test]
fn mistakes_of_the_author_are_named() {
    let scratch = Scratch::new();
    scratch.write("empty/readme", "");
    scratch.write("odd/kit.json", r#"{ "not_sent": { "max_tokens": "no" } }"#);
    for (arguments, words) in [
        (&["test", "nothing"][..], "no file or folder `nothing`"),
        (&["test", "empty"], "has no `plugin.toml`"),
        (
            &["test", "openai", "--config", "{"],
            "`--config` is no JSON",
        ),
        (
            &["test", "openai", "--config", "x.json"],
            "neither an object of JSON nor a file",
        ),
        (
            &["test", "openai", "--fixtures", "x"],
            "there is no folder `x`",
        ),
        (
            &["test", "openai", "--fixtures", "odd"],
            "`max_tokens` in `not_sent`",
        ),
        (&["record", "openai", "--name", "a/b"], "letters, digits"),
        (&["record", "console"], "is no adapter"),
    ] {
        let output = scratch.prony(&[&["plugin"], arguments].concat()).exits(2);
        output.complains(words);
    }
}

#[test]
fn an_answer_of_a_live_server_becomes_a_fixture() {
    let server = Server::start(&["--tokens", "8"]);
    let scratch = Scratch::new();
    let config = json!({ "api_key": "very-secret-key", "base_url": "" }).to_string();
    let recorded = ["plugin", "record", "openai", "--config", &config];
    let asked = [
        "--base-url",
        &server.url,
        "--name",
        "hello",
        "--fault",
        "cut",
    ];
    let more = [
        "--fault",
        "stall",
        "--fault",
        "malformed",
        "--prompt",
        "Say hello.",
    ];
    let all = [&recorded[..], &asked, &more].concat();
    scratch
        .prony(&all)
        .exits(0)
        .prints("recorded fixtures/hello.sse");
    let response: Value =
        serde_json::from_str(&scratch.read("fixtures/hello.response.json")).expect("JSON");
    let body = scratch.read("fixtures/hello.sse");
    assert!(body.trim_end().ends_with("data: [DONE]"), "{body}");
    let ends = response["ends"].as_array().expect("reads");
    assert_eq!(ends.last(), Some(&json!(body.len())));
    assert_eq!(
        ends.len(),
        response["reads_ms"].as_array().map_or(0, Vec::len)
    );
    assert_eq!(response["status"], 200);
    let headers = response["headers"].to_string();
    assert!(headers.contains("text/event-stream"), "{headers}");
    for name in ["hello-cut", "hello-stall", "hello-malformed"] {
        let bad = scratch.read(&format!("fixtures/{name}.sse"));
        assert!(bad.len() < body.len(), "{name}");
    }
    let request: Value =
        serde_json::from_str(&scratch.read("fixtures/hello.request.json")).expect("JSON");
    assert_eq!(request["prompt"], "Say hello.");
    // Nothing is written over.
    scratch.prony(&all).exits(2).complains("`--force`");
    for entry in std::fs::read_dir(scratch.path("fixtures")).expect("a folder") {
        let file = std::fs::read_to_string(entry.expect("an entry").path()).expect("a text");
        assert!(!file.contains("very-secret"), "{file}");
    }
    // It cannot be read, so it is a finding until the author takes it away.
    let tested = ["plugin", "test", "openai", "--config"];
    let config = json!({ "base_url": server.url }).to_string();
    let bless = scratch.prony(&[&tested[..], &[&config, "--bless"]].concat());
    bless.exits(5).prints("`hello-malformed`");
    for name in ["sse", "response.json"] {
        std::fs::remove_file(scratch.path(&format!("fixtures/hello-malformed.{name}")))
            .expect("a file");
    }
    for more in [&["--bless"][..], &[]] {
        let command = [&tested[..], &[&config], more].concat();
        scratch.prony(&command).exits(0);
    }
    let events = scratch.read("fixtures/hello.events.json");
    assert!(events.contains(r#"{"kind":"end"}"#), "{events}");
    let cut = scratch.read("fixtures/hello-cut.events.json");
    assert!(!cut.contains(r#""end""#), "{cut}");
}

#[test]
fn lines_of_a_program_become_a_fixture() {
    let scratch = Scratch::new();
    for name in ["lines.py", "echo.py"] {
        let file = repository().join("examples/lines").join(name);
        scratch.write(name, std::fs::read(file).expect("an example"));
    }
    let config = json!({ "command": ["python3", "echo.py"] }).to_string();
    let recorded = [
        "plugin", "record", "lines", "--config", &config, "--name", "echo",
    ];
    scratch.prony(&recorded).exits(0);
    let body = scratch.read("fixtures/echo.body");
    let last = body.lines().last().expect("a line");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!((&last["id"], &last["done"]), (&json!(1), &json!(true)));
    for more in [&["--bless"][..], &[]] {
        let tested = ["plugin", "test", "lines", "--config", &config];
        scratch.prony(&[&tested[..], more].concat()).exits(0);
    }
    let tried = ["plugin", "try", "lines", "--config", &config];
    let output = scratch.prony(&tried).exits(0);
    output.prints("→ text `").prints("this counts as a success");
    // One that is not there is told in words.
    let config = json!({ "command": ["no-such-program"] }).to_string();
    let tried = ["plugin", "try", "lines", "--config", &config];
    let output = scratch.prony(&tried).exits(1);
    output.complains("`no-such-program` did not start");
}

#[test]
fn a_request_is_shown_read_by_read() {
    let scratch = Scratch::new();
    let output = scratch.prony(&["plugin", "try", "openai"]).exits(0);
    output
        .prints("prony's truth server, since no `--base-url` is given")
        .prints("→ text `")
        .prints("→ end")
        .prints("this counts as a success, ");
    for (fault, words) in [
        ("zero_tokens", "this fails as `empty`"),
        ("cut", "this fails as `truncated`"),
        ("error_frame", "this fails as `engine_error`"),
        ("http500", "this fails as `http_5xx`"),
        ("garbage", "`decode` gives an error"),
    ] {
        let server = Server::start(&["--fault", fault]);
        let tried = ["plugin", "try", "openai", "--base-url", &server.url];
        scratch.prony(&tried).exits(1).prints(words);
    }
    let config = r#"{ "weights": { "synthetic": {} }, "threads": 1 }"#;
    let tried = [
        "plugin",
        "try",
        "candle",
        "--config",
        config,
        "--max-tokens",
        "4",
    ];
    let output = scratch.prony(&tried).exits(0);
    output.prints("this counts as a success, 4 tokens");
    let output = scratch.prony(&["plugin", "try", "console"]).exits(0);
    output.prints("stdout, ").prints("alpha");
}

#[test]
fn a_run_keeps_what_came_of_failed_requests() {
    let scratch = Scratch::new();
    let broken = pipeline([("broken", truth(&["--fault", "zero_tokens"]))]);
    let run = scratch.run(&broken).exits(1);
    let kept = |run: &crate::kit::Run| {
        let folder = run.folder.join("failed");
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let names = ["0001-empty.body", "0002-empty.body", "0003-empty.body"];
    assert_eq!(kept(&run), names);
    let message = text(&run.requests("broken")[0]["failed"]["message"]);
    assert!(
        message.ends_with("(what came is in `failed/0001-empty.body`)"),
        "{message}"
    );
    let body = std::fs::read_to_string(run.folder.join("failed/0001-empty.body"));
    assert!(body.expect("a body").contains("data: "));
    // No bundle hands them on.
    let folder = run.folder.to_str().expect("the path is text");
    scratch.prony(&["bundle", folder]).exits(0);
    let run = scratch.run_with(&broken, &["--keep-failed", "0"]).exits(1);
    assert_eq!(kept(&run), [""; 0]);
    let run = scratch
        .run_with(&broken, &["--keep-failed", "100"])
        .exits(1);
    assert_eq!(
        kept(&run).len(),
        run.requests("broken").len() + warmups(&run)
    );
}

/// Failed requests of warm-ups.
fn warmups(run: &crate::kit::Run) -> usize {
    let journal = std::fs::read_to_string(run.folder.join("journal.jsonl")).expect("a journal");
    let is_warmup = |line: &&str| {
        line.starts_with(r#"{"event":"request""#) && line.contains(r#""phase":"warmup""#)
    };
    journal.lines().filter(is_warmup).count()
}

#[test]
fn a_failed_answer_is_kept_without_secrets() {
    // A server that repeats the key that it was given, in a stream without a token.
    let program = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = (": key " + self.headers["authorization"] + "\n\ndata: [DONE]\n\n").encode()
        self.send_response(200); self.send_header("content-length", str(len(body)))
        self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;
    let scratch = Scratch::new();
    scratch.write("server.py", program);
    let engine = json!({ "plugin": "openai", "config": {
        "api_key": "a-key-of-mine-1234",
        "launch": {
            "command": ["python3", "server.py", "${{ engine.port }}"],
            "ready": { "http": "/" },
        },
    } });
    let run = scratch.run(&pipeline([("engine", engine)])).exits(1);
    let body = std::fs::read(run.folder.join("failed/0001-empty.body")).expect("a body");
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(body.contains("data: [DONE]"), "{body}");
    assert!(body.contains(": key ") && !body.contains("mine"), "{body}");
}
