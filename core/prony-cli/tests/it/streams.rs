//! Recorded responses of real servers and gateways, played raw, and the right report of each.
//! `streams/README.md` says what each of them is.

use crate::kit::{Run, Scratch, Server, With, lock, number, pipeline, plugin_file, text, wait_for};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The right report of a case.
enum Right {
    /// Every request succeeds.
    Success(Success),
    /// Every request fails with one of these classes, and the message has all of the words.
    Failure(&'static [&'static str], &'static [&'static str]),
}

/// Times are in milliseconds, of the quickest of the requests. The upper bounds are wide: what
/// they are to catch is another definition, and not a busy machine.
struct Success {
    /// Tokens of each answer; `None` if no number may be given.
    tokens: Option<u64>,
    first: Range<f64>,
    latency: Range<f64>,
    per_token: Option<Range<f64>>,
    /// Words in the warnings about the engine.
    told: &'static [&'static str],
}

/// As the control: 8 tokens, the first after 40 ms, then one each 10 ms.
const REGULAR: Success = Success {
    tokens: Some(8),
    first: 40.0..90.0,
    latency: 110.0..300.0,
    per_token: Some(5.0..20.0),
    told: &[],
};

const fn fails(words: &'static [&'static str]) -> Right {
    Right::Failure(&["engine_error"], words)
}

/// Each response by itself.
const ROWS: &[(&str, Right)] = &[
    ("00-control", Right::Success(REGULAR)),
    ("01-vllm-finish-abort", fails(&["`abort`"])),
    (
        "02-deepseek-insufficient-resource",
        fails(&["`insufficient_system_resource`"]),
    ),
    (
        "04-openrouter-choice-error",
        fails(&["Upstream idle timeout exceeded"]),
    ),
    (
        "10-llamacpp-error-field",
        fails(&["exceeds the available context size"]),
    ),
    (
        "106-stream-options-forbidden",
        Right::Failure(&["http_4xx"], &["stream_options", "Extra inputs"]),
    ),
    (
        "11-flat-error-event",
        // Words of memory have a class of their own.
        Right::Failure(
            &["oom"],
            &["CUDA out of memory. Tried to allocate 2.00 GiB"],
        ),
    ),
    (
        "12-flat-error-document",
        fails(&["maximum context length is 2048 tokens"]),
    ),
    (
        "13-error-type-message",
        fails(&["maximum context length is 65536 tokens"]),
    ),
    (
        "15-proxy-plain-line",
        Right::Failure(
            &["truncated", "engine_error"],
            &["upstream error: read ECONNRESET"],
        ),
    ),
    (
        "16-data-plain-error",
        Right::Failure(&["engine_error", "protocol"], &["KV cache exhausted"]),
    ),
    ("30-duplicate-reasoning-key", Right::Success(REGULAR)),
    ("34-lone-surrogates", Right::Success(REGULAR)),
    (
        "38-double-data-prefix",
        Right::Failure(&["protocol"], &["`data: {"]),
    ),
    ("39-comment-as-data", Right::Success(REGULAR)),
    ("40-data-ping", Right::Success(REGULAR)),
    (
        "50-usage-absent",
        Right::Success(Success {
            tokens: None,
            per_token: None,
            told: &["how many tokens", "`tokenizer`"],
            ..REGULAR
        }),
    ),
    (
        "51-usage-zeros",
        Right::Success(Success {
            tokens: None,
            per_token: None,
            told: &["tokens"],
            ..REGULAR
        }),
    ),
    ("52-moonshot-choice-usage", Right::Success(REGULAR)),
    (
        "58-reasoning-outside-completion",
        Right::Success(Success {
            tokens: Some(28),
            latency: 310.0..600.0,
            ..REGULAR
        }),
    ),
    (
        "59-hidden-reasoning",
        Right::Success(Success {
            first: 100.0..150.0,
            latency: 170.0..360.0,
            told: &["600 tokens of reasoning"],
            ..REGULAR
        }),
    ),
    (
        "60-all-budget-hidden",
        Right::Failure(&["empty"], &["64 tokens of reasoning", "used up the limit"]),
    ),
    (
        "62b-stream-interval-4",
        Right::Success(Success {
            first: 70.0..105.0,
            per_token: None,
            ..REGULAR
        }),
    ),
    (
        "68-eos-counted",
        Right::Success(Success {
            tokens: Some(9),
            ..REGULAR
        }),
    ),
    (
        "70-no-done",
        Right::Success(Success {
            told: &["data: [DONE]"],
            ..REGULAR
        }),
    ),
    ("71-held-open-after-done", Right::Success(REGULAR)),
    ("73-late-terminal-chunk", Right::Success(REGULAR)),
    ("75-late-usage-chunk", Right::Success(REGULAR)),
    (
        // The first delta of a call, with its name, is at 40 ms; the last text at 90 ms.
        "79-tool-calls-only",
        Right::Success(Success {
            latency: 90.0..280.0,
            per_token: None,
            ..REGULAR
        }),
    ),
    (
        "81-plain-text-stream",
        Right::Failure(&["protocol"], &["The sea is wide"]),
    ),
    ("89-koboldcpp-done-without-newline", Right::Success(REGULAR)),
    (
        "90-redirect-307",
        Right::Failure(&["protocol"], &["307", "/v1/chat/completions/"]),
    ),
    ("93b-te-chunked-list", Right::Success(REGULAR)),
    (
        "429-retry-after",
        Right::Failure(
            &["http_4xx"],
            &["HTTP 429 (`retry-after: 20`): ", "Rate limit reached"],
        ),
    ),
    ("124-longer-template", Right::Success(REGULAR)),
];

/// Protocols other than `OpenAI`'s, each with a response of its own that equals the control.
const NATIVE: [&str; 4] = ["llama-cpp", "ollama", "sglang", "tgi"];

/// Cases that equal the control in what the engine did, and differ in how it is cut, counted,
/// ended or put into a template: no difference may be claimed.
const EQUALS: [&str; 7] = [
    "62b-stream-interval-4",
    "68-eos-counted",
    "70-no-done",
    "71-held-open-after-done",
    "73-late-terminal-chunk",
    "75-late-usage-chunk",
    "124-longer-template",
];

/// Cases with a set-up of their own.
const APART: [&str; 6] = [
    "92b-attach-ready-503",
    "103-azure-query-in-base-url",
    "104-full-endpoint-as-base-url",
    "120-prompt-cut-to-context",
    "123-logprobs-90mb",
    "126-self-signed",
];

fn http(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/streams/{case}.http"))
}

/// A server that plays a case.
fn play(case: &str) -> Server {
    play_file(&http(case))
}

fn play_file(http: &Path) -> Server {
    Server::start(&["--play", http.to_str().expect("the path is text")])
}

/// An engine at `url`, asked for the model that is in the recordings.
fn attached(url: &str) -> Value {
    json!({ "plugin": "openai", "config": { "base_url": url, "model": "m" } })
}

/// Fails if a row is wrong.
fn settle(rows: impl IntoIterator<Item = (String, Vec<String>)>) {
    let mut wrong = String::new();
    for (row, problems) in rows {
        if !problems.is_empty() {
            let _ = writeln!(wrong, "{row}: {}", problems.join("\n    "));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Settles the rows of the first attempt without a problem, or of the last: what a busy
/// machine does to the times of one run it does not do to all.
fn settle_once(attempt: impl Fn() -> Vec<(String, Vec<String>)>) {
    const ATTEMPTS: usize = 3;
    let is_right = |rows: &[(String, Vec<String>)]| rows.iter().all(|(_, it)| it.is_empty());
    let mut rows = attempt();
    for _ in 1..ATTEMPTS {
        if is_right(&rows) {
            break;
        }
        rows = attempt();
    }
    settle(rows);
}

fn compared(case: &str) -> String {
    format!("{case} beside 00-control")
}

/// Differences from the right report.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn unless(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.0.push(problem());
        }
    }

    fn words(&mut self, text: &str, words: &[&str]) {
        for word in words {
            self.unless(text.contains(word), || format!("no `{word}` in `{text}`"));
        }
    }
}

/// The warnings of a result that name an engine.
fn warnings(result: &Value, engine: &str) -> String {
    let warnings = result["warnings"].as_array().expect("a list");
    let name = format!("`{engine}`");
    let about: Vec<String> = warnings.iter().map(text).collect();
    let about: Vec<&str> = about
        .iter()
        .map(String::as_str)
        .filter(|warning| warning.contains(&name))
        .collect();
    about.join("\n")
}

fn check(run: &Run, case: &str, right: &Right) -> Vec<String> {
    let engine = run.engine(case);
    let mut problems = Problems::default();
    match right {
        Right::Failure(classes, words) => {
            problems.unless(engine["succeeded"] == 0, || {
                format!("{} requests succeeded", engine["succeeded"])
            });
            let messages = engine["error_messages"].as_object().expect("an object");
            for (class, message) in messages {
                problems.unless(classes.contains(&class.as_str()), || {
                    format!("{class} is not of {classes:?}")
                });
                problems.words(&text(message), words);
            }
        }
        Right::Success(right) => {
            problems.unless(engine["success_rate"] == 1.0, || {
                engine["error_messages"].to_string()
            });
            if problems.0.is_empty() {
                success(run, case, right, &mut problems);
            }
        }
    }
    problems.0
}

fn success(run: &Run, case: &str, right: &Success, problems: &mut Problems) {
    let engine = run.engine(case);
    for request in run.requests(case) {
        let tokens = request["output_tokens"].as_u64();
        problems.unless(tokens == right.tokens, || format!("{tokens:?} tokens"));
    }
    let mut within = |metric: &str, statistic: &str, right: &Range<f64>| {
        let ms = number(&engine[metric][statistic]);
        problems.unless(right.contains(&ms), || {
            format!("{metric} {ms} is not in {right:?}")
        });
    };
    // A delay makes times longer, but the time per token shorter if it meets the first.
    within("time_to_first_token_ms", "min", &right.first);
    within("request_latency_ms", "min", &right.latency);
    if let Some(per_token) = &right.per_token {
        within("time_per_output_token_ms", "p50", per_token);
    }
    problems.words(&warnings(&run.result(), case), right.told);
}

#[test]
fn every_response_is_told_as_it_is() {
    tells_every_response(Scratch::run);
}

/// The same adapter as a native library.
#[test]
fn the_native_form_tells_every_response_as_it_is() {
    let name = format!(
        "{}engine_openai{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let library = plugin_file("").with_file_name(name);
    let library = library.to_str().expect("the path is text");
    tells_every_response(|scratch, pipeline| {
        let own = ["--lock", "own/prony.lock"];
        let add = ["plugin", "add", library, "--grant", "native"];
        scratch.bare(&[&own[..], &add].concat()).exits(0);
        scratch.write("pipeline.yaml", pipeline.to_string());
        // The first lock that has a plugin of this name.
        let shipped = lock();
        let shipped = shipped.to_str().expect("the path is text");
        let run = ["--lock", shipped, "run", "pipeline.yaml"];
        let said = scratch.bare(&[&own[..], &run].concat());
        let run = scratch.latest(said);
        let plugins = run.result()["plugins"].clone();
        let plugins = plugins.as_array().expect("a list");
        let openai = plugins.iter().find(|it| it["name"] == "openai");
        assert_eq!(openai.expect("it is used")["form"], "native");
        run
    });
}

fn tells_every_response(run: impl Fn(&Scratch, &Value) -> Run) {
    let servers: Vec<Server> = ROWS.iter().map(|(case, _)| play(case)).collect();
    let mut engines = pipeline([])
        .with("workload.max_tokens", 256)
        .with("workload.request_timeout", "1s")
        .stage("measure", "requests", 3);
    for ((case, _), server) in ROWS.iter().zip(&servers) {
        engines["engines"][*case] = attached(&server.url);
    }
    settle_once(|| {
        let run = run(&Scratch::new(), &engines);
        let rows = ROWS.iter();
        rows.map(|(case, right)| ((*case).to_owned(), check(&run, case, right)))
            .collect()
    });
}

#[test]
fn native_protocols_tell_the_same() {
    let mut engines = pipeline([])
        .with("workload.api", "completions")
        .with("workload.request_timeout", "1s")
        .stage("measure", "requests", 3);
    let servers = NATIVE.map(|protocol| play(&format!("native-{protocol}")));
    for (protocol, server) in NATIVE.iter().zip(&servers) {
        engines["engines"][*protocol] = attached(&server.url);
        engines["engines"][*protocol]["config"]["protocol"] = json!(protocol);
    }
    settle_once(|| {
        let run = Scratch::new().run(&engines);
        let rows = NATIVE.iter().map(|protocol| {
            let mut problems = Problems(check(&run, protocol, &Right::Success(REGULAR)));
            for request in run.requests(protocol) {
                problems.words(
                    &text(&request["text"]),
                    &[" The sea is wide and deep and blue"],
                );
                problems.unless(request["prompt_tokens"] == 12, || {
                    format!("{} prompt tokens", request["prompt_tokens"])
                });
            }
            let clock = &run.engine(protocol)["own_clock"];
            // The others tell no times.
            if ["llama-cpp", "ollama"].contains(protocol) {
                problems.unless(clock["prefill_ms"]["p50"] == 35.0, || clock.to_string());
                let each = number(&clock["time_per_output_token_ms"]["p50"]);
                problems.unless((each - 10.0).abs() < 1e-9, || clock.to_string());
            }
            ((*protocol).to_owned(), problems.0)
        });
        rows.collect()
    });
}

// ---- beside an equal engine

/// Differences up to this are of a busy machine and not of a definition, in percent. The
/// smallest of a wrong one is that of a token more: 12.5.
const CLAIM: f64 = 5.0;

fn claims(judgement: &Value) -> bool {
    let is_named = judgement["verdict"] == "faster" || judgement["verdict"] == "slower";
    is_named && number(&judgement["difference_percent"]).abs() > CLAIM
}

fn is_no_other_engine(case: &str) {
    settle_once(|| vec![(compared(case), claimed(case))]);
}

/// Differences claimed between the control and a case that is its equal.
fn claimed(case: &str) -> Vec<String> {
    let (control, server) = (play("00-control"), play(case));
    let both = pipeline([
        ("00-control", attached(&control.url)),
        (case, attached(&server.url)),
    ]);
    let both = both
        .with("workload.request_timeout", "1s")
        .with("schedule.cycles", 9)
        .stage("measure", "requests", 1);
    let run = Scratch::new().run(&both);
    let mut problems = Problems::default();
    for engine in ["00-control", case] {
        let engine = run.engine(engine);
        problems.unless(engine["success_rate"] == 1.0, || {
            engine["error_messages"].to_string()
        });
    }
    let comparison = &run.model("model")["comparisons"][0];
    let mut no_claim = |name: &str, judgement: &Value| {
        problems.unless(!claims(judgement), || {
            format!(
                "{name}: {} by {} %",
                judgement["verdict"], judgement["difference_percent"]
            )
        });
    };
    no_claim("throughput", comparison);
    for part in ["prefill", "decode", "end_to_end", "median"] {
        no_claim(part, &comparison[part]);
    }
    problems.0
}

/// One test for each of [`EQUALS`].
macro_rules! equals {
    ($($name:ident $number:literal)*) => { $(
        #[test]
        fn $name() {
            is_no_other_engine(EQUALS[$number]);
        }
    )* };
}

equals! {
    several_tokens_at_a_time_make_no_other_engine 0
    an_end_token_that_is_counted_makes_no_other_engine 1
    a_missing_end_mark_makes_no_other_engine 2
    a_body_held_open_makes_no_other_engine 3
    a_late_last_chunk_makes_no_other_engine 4
    a_late_usage_makes_no_other_engine 5
    a_longer_template_makes_no_other_engine 6
}

// ---- with a set-up of their own

fn apart(case: &str, problems: Problems) {
    assert!(APART.contains(&case));
    settle([(case.to_owned(), problems.0)]);
}

#[test]
fn a_server_that_does_not_get_ready_is_quoted() {
    let case = "92b-attach-ready-503";
    let server = play(case);
    let config = json!({ "base_url": server.url, "attach_ready": "/health" });
    let engine = json!({ "plugin": "openai", "config": config });
    let run = Scratch::new().run(&pipeline([("engine", engine)]).stage("load", "timeout", "1s"));
    let mut problems = Problems::default();
    problems.unless(run.output.code == Some(1), || {
        format!("{:?}", run.output.code)
    });
    let words = ["not ready within 1s", "HTTP 503", "Loading model"];
    problems.words(&run.output.stderr, &words);
    apart(case, problems);
}

#[test]
fn the_query_of_a_base_url_stays_behind_the_path() {
    let scratch = Scratch::new();
    let log = scratch.path("server.jsonl");
    let recording = http("00-control");
    let [log_path, recording] = [&log, &recording].map(|it| it.to_str().expect("text"));
    let server = Server::start(&["--play", recording, "--log", log_path]);
    let base = "/openai/deployments/gpt-4o";
    let url = format!("{}{base}?api-version=2024-06-01", server.url);
    let run = scratch.run(&pipeline([("engine", attached(&url))]));
    run.exits(0).all_well("engine");
    // It is written as soon as the server is not busy.
    let line = wait_for("the server's log", || {
        let text = fs::read_to_string(&log).ok()?;
        text.lines().next().map(ToOwned::to_owned)
    });
    let entry: Value = serde_json::from_str(&line).expect("JSON");
    let mut problems = Problems::default();
    let right = format!("{base}/chat/completions?api-version=2024-06-01");
    problems.unless(entry["path"] == right, || entry["path"].to_string());
    apart("103-azure-query-in-base-url", problems);
}

#[test]
fn the_address_of_a_request_is_no_base_url() {
    let scratch = Scratch::new();
    let engine = attached("http://127.0.0.1:1/v1/chat/completions");
    scratch.write("pipeline.yaml", pipeline([("engine", engine)]).to_string());
    let output = scratch.prony(&["run", "pipeline.yaml"]);
    let mut problems = Problems::default();
    problems.words(&output.stderr, &["leave out `/chat/completions`"]);
    apart("104-full-endpoint-as-base-url", problems);
}

#[test]
fn a_prompt_with_fewer_tokens_than_words_was_cut() {
    let case = "120-prompt-cut-to-context";
    let server = play(case);
    let prompt = vec!["word"; 3000].join(" ");
    let engine = pipeline([("engine", attached(&server.url))]).with("workload.prompts", [prompt]);
    let run = Scratch::new().run(&engine);
    let mut problems = Problems::default();
    problems.words(
        &warnings(&run.result(), "engine"),
        &["prompt", "cut", "2050"],
    );
    apart(case, problems);
}

#[test]
fn a_path_that_is_not_there_is_named_with_the_models_that_are() {
    let server = Server::start(&["--fault", "http404"]);
    let engine = attached(&format!("{}/v1?key=secret", server.url));
    let run = Scratch::new().run(&pipeline([("engine", engine)])).exits(1);
    let told = "HTTP 404 (`POST /v1/chat/completions`): no such model";
    let class = text(&run.engine("engine")["error_messages"]["http_4xx"]);
    assert!(class.starts_with(told), "{class}");
    run.reports(told);
    run.reports("; the server lists `truth`");
}

#[test]
fn another_model_than_was_asked_for_is_told_in_every_report() {
    let servers = [play("00-control"), play("00-control")];
    let asking_for =
        |model: &str, server: &Server| attached(&server.url).with("config.model", model);
    let run = Scratch::new().run(&pipeline([
        ("same", asking_for("org/m.gguf", &servers[0])),
        ("other", asking_for("n", &servers[1])),
    ]));
    let told = "`other` was asked for the model `n` and says that it answered with `m`";
    let result = run.result();
    assert!(warnings(&result, "other").contains(told), "{result:#}");
    assert!(!warnings(&result, "same").contains("asked for"));
    run.reports(told);
    let console = run.output.stdout.split_whitespace().collect::<Vec<_>>();
    assert!(console.join(" ").contains(told), "{}", run.output.stdout);
    let flags = run.model("model")["comparisons"][0]["flags"].clone();
    let flags = flags.as_array().expect("a list");
    assert!(flags.contains(&json!("other_model")), "{flags:?}");
}

/// 45,000 pieces of text with the probabilities of 32 others each: 90 MB.
#[test]
fn an_answer_of_90_megabytes_is_read() {
    const PIECES: usize = 45_000;
    let others: Vec<Value> = (0..32)
        .map(|n| json!({ "token": format!(" token{n}"), "logprob": -1.25 - f64::from(n), "bytes": [32, 116, 111] }))
        .collect();
    let choice = json!({
        "index": 0,
        "delta": { "content": " word" },
        "logprobs": { "content": [{ "token": " word", "logprob": -0.5, "top_logprobs": others }] },
        "finish_reason": null,
    });
    let piece = format!("data: {}\n\n", json!({ "choices": [choice] }));
    let end = format!(
        "data: {}\n\ndata: [DONE]\n\n",
        json!({
            "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 12, "completion_tokens": PIECES },
        })
    );
    let body = piece.repeat(PIECES) + &end;
    assert!(body.len() > 80_000_000, "{}", body.len());
    let length = body.len();
    let whole = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let scratch = Scratch::new();
    let times = format!("end of connection: keep\npieces:\n+0 {}\n", whole.len());
    scratch.write("large.txt", times);
    let server = play_file(&scratch.write("large.http", whole));
    let engine = pipeline([("engine", attached(&server.url))])
        .with("workload.max_tokens", PIECES)
        .stage("measure", "requests", 1);
    let run = scratch.run(&engine);
    let numbers = run.engine("engine");
    let mut problems = Problems::default();
    problems.unless(numbers["succeeded"] == 1, || {
        numbers["error_messages"].to_string()
    });
    problems.unless(numbers["output_tokens"] == PIECES, || {
        format!("{} tokens", numbers["output_tokens"])
    });
    apart("123-logprobs-90mb", problems);
}

#[test]
fn a_certificate_that_signed_itself_can_be_trusted() {
    let mut problems = Problems::default();
    let run = |is_trusted: bool| {
        let scratch = Scratch::new();
        let elsewhere = Scratch::new();
        let place = if is_trusted { &scratch } else { &elsewhere };
        let certificate = place.path("certificate.pem");
        let certificate = certificate.to_str().expect("the path is text");
        let options = ["--tls", "--tls-authority", "--tls-certificate", certificate];
        let server = Server::start(&options);
        let url = server.url.replace("127.0.0.1", "localhost");
        let run = scratch.run(&pipeline([("engine", attached(&url))]));
        run.engine("engine")
    };
    let trusted = run(true);
    problems.unless(trusted["success_rate"] == 1.0, || {
        format!("although it is trusted: {}", trusted["error_messages"])
    });
    let unknown = run(false)["error_messages"]["connect"].clone();
    let unknown = unknown.as_str().unwrap_or_default().to_owned();
    problems.words(&unknown, &["certificate", "SSL_CERT_FILE"]);
    problems.unless(!unknown.contains("OtherError("), || unknown.clone());
    apart("126-self-signed", problems);
}
