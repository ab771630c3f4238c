//! Exchanges of a launch plan: to load a model, to give it back, to empty its cache; and headers
//! of answers.

use crate::kit::{Scratch, With, pipeline, plugin_file, text};
use serde_json::{Value, json};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A server that keeps what it is asked, in order: method and path, and the body.
#[derive(Clone)]
struct Keeper {
    url: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

/// The server's answer: status and body.
type Answers = fn(&str, &Value) -> (u16, String);

impl Keeper {
    fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let keeper = Self {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            asked: Arc::default(),
        };
        let serving = keeper.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let keeper = serving.clone();
                std::thread::spawn(move || keeper.serve(stream, answers));
            }
        });
        keeper
    }

    fn serve(&self, mut stream: TcpStream, answers: Answers) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let (mut first, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if first.is_empty() {
                    first = line.trim().replace(" HTTP/1.1", "");
                }
                let line = line.trim().to_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            self.asked
                .lock()
                .expect("no panic")
                .push((first.clone(), body.clone()));
            let (status, answer) = answers(&first, &body);
            let head = format!(
                "HTTP/1.1 {status} X\r\nX-Request-Id: r7\r\nx-other: no\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all((head + &answer).as_bytes())?;
        }
    }

    fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Without what is only asked for reports.
    fn lines(&self) -> Vec<String> {
        let asked = self.asked().into_iter().map(|(line, _)| line);
        asked.filter(|line| line.starts_with("POST")).collect()
    }
}

/// As Ollama answers.
fn ollama(line: &str, body: &Value) -> (u16, String) {
    match line {
        "POST /api/generate" if body["model"] != "model" => {
            let words = json!({ "error": format!("model '{}' not found", text(&body["model"])) });
            (404, words.to_string())
        }
        "POST /api/generate" => {
            let unloads = body["keep_alive"] == 0;
            let reason = if unloads { "unload" } else { "load" };
            let done =
                json!({ "model": "model", "response": "", "done": true, "done_reason": reason });
            (200, done.to_string())
        }
        "POST /api/chat" => {
            let part = json!({ "model": "model", "message": { "role": "assistant", "content": "a" }, "done": false });
            let done = json!({
                "model": "model", "message": { "role": "assistant", "content": "" }, "done": true,
                "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 1,
            });
            (200, format!("{part}\n{done}\n"))
        }
        _ => (404, "{}".to_owned()),
    }
}

#[test]
fn a_model_is_loaded_before_the_first_request_and_given_back_after_the_last() {
    let server = Keeper::start(ollama);
    let config = json!({
        "base_url": server.url,
        "protocol": "ollama",
        "body": { "options": { "num_ctx": 512 } },
    });
    let engine = json!({ "plugin": "openai", "config": config });
    let run = Scratch::new()
        .run(&pipeline([("it", engine)]).with("schedule.cycles", 2))
        .exits(0);
    run.all_well("it");
    let visit = ["load", "chat", "chat", "chat", "chat", "unload"];
    let found: Vec<&str> = server
        .asked()
        .iter()
        .filter(|(line, _)| line.starts_with("POST"))
        .map(|(line, body)| match (line.as_str(), &body["keep_alive"]) {
            ("POST /api/generate", Value::Null) => {
                // Another length of context would load the model once more.
                assert_eq!(body["options"], json!({ "num_ctx": 512 }));
                "load"
            }
            ("POST /api/generate", _) => "unload",
            _ => "chat",
        })
        .collect();
    assert_eq!(found, visit.repeat(2));
}

#[test]
fn a_model_that_is_not_there_fails_the_load_in_the_servers_words() {
    let server = Keeper::start(ollama);
    let config = json!({ "base_url": server.url, "protocol": "ollama", "model": "gone" });
    let engine = json!({ "plugin": "openai", "config": config });
    let run = Scratch::new().run(&pipeline([("it", engine)])).exits(1);
    let failure = &run.model("model")["failures"][0];
    assert_eq!(failure["stage"], "load", "{failure}");
    let words = text(&failure["message"]);
    assert!(
        words.contains("the model was not loaded: `POST /api/generate`: HTTP 404")
            && words.contains("gone")
            && words.contains("not found"),
        "{words}"
    );
    assert!(!server.lines().iter().any(|line| line.contains("chat")));
}

/// As a server of `OpenAI`'s API that can flush its cache, once.
fn flushes(line: &str, _body: &Value) -> (u16, String) {
    match line {
        "POST /flush_cache" => (200, "Cache flushed.".to_owned()),
        "POST /v1/chat/completions" => {
            let part = json!({ "choices": [{ "index": 0, "delta": { "content": "a" }, "finish_reason": null }] });
            let last = json!({
                "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }],
                "usage": { "prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": { "cached_tokens": 0 } },
            });
            (
                200,
                format!("data: {part}\n\ndata: {last}\n\ndata: [DONE]\n\n"),
            )
        }
        _ => (404, String::new()),
    }
}

#[test]
fn a_cache_is_emptied_before_each_cold_stage() {
    let server = Keeper::start(flushes);
    let engine = |reset: &str| {
        let config = json!({ "base_url": server.url, "reset": reset });
        json!({ "plugin": "openai", "config": config })
    };
    let cold = |reset: &str| {
        pipeline([("it", engine(reset))])
            .stage("measure", "cache", "cold")
            .stage("measure", "requests", 2)
    };
    let scratch = Scratch::new();
    scratch.run(&cold("/flush_cache")).exits(0).all_well("it");
    let chat = "POST /v1/chat/completions";
    assert_eq!(server.lines(), ["POST /flush_cache", chat, chat]);

    // A cache that cannot be emptied may be warm.
    let run = scratch.run(&cold("/nowhere")).exits(1);
    let failure = &run.model("model")["failures"][0];
    let words = text(&failure["message"]);
    assert!(
        words.starts_with("the prefix cache was not emptied: `POST /nowhere`: HTTP 404"),
        "{failure}"
    );
    assert_eq!(run.requests("it").len(), 0);

    scratch
        .run(&cold("flush"))
        .exits(3)
        .complains("write a path such as `/flush_cache`");
}

#[test]
fn a_header_that_an_adapter_asks_for_reaches_it() {
    let server = Keeper::start(|_, _| (200, "a\n.\n".to_owned()));
    let module = plugin_file("").join("../../wasm32-unknown-unknown/release/engine_faulty.wasm");
    let module = module.to_str().expect("the path is text");
    let scratch = Scratch::new();
    let own = ["--lock", "own/prony.lock"];
    scratch
        .bare(&[&own[..], &["plugin", "add", module]].concat())
        .exits(0);
    let config = json!({ "base_url": server.url });
    let engine = json!({ "plugin": "faulty", "config": config });
    // With several in flight answers go through a file before they are read.
    for concurrency in [1, 2] {
        let several = json!({ "concurrency": concurrency });
        let pipeline = pipeline([("it", engine.clone())]).stage("measure", "arrival", several);
        scratch.write("pipeline.yaml", pipeline.to_string());
        let said = scratch.prony(&[&own[..], &["run", "pipeline.yaml"]].concat());
        // The adapter notes it, and has no finish reason, so that none succeeds.
        let requests = scratch.latest(said).requests("it");
        assert_eq!(requests.len(), 4);
        for request in requests {
            assert_eq!(request["notes"], json!(["request `r7`"]), "{request:#}");
        }
    }
}
