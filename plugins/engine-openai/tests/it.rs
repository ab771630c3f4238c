//! The adapter against recordings of real servers and against every quirk that
//! one of them is known for.
#![expect(clippy::unwrap_used, reason = "tests")]

use engine_openai::{OpenAi, PLUGIN};
use prony_plugin_sdk::{
    Api, ChatMessage, Endpoint, Engine, Error, ErrorKind, Event, EventKind, Events, HttpRequest,
    Image, LaunchPlan, Model, Pair, Ready, Request, Response, Result, Role,
};
use prony_plugin_test::Subject as _;
use serde_json::{Value, json};
use std::path::Path;

const ATTACHED: &str = r#"{ "base_url": "http://127.0.0.1:8080" }"#;

#[test]
fn conformance() {
    prony_plugin_test::Engine::new(&PLUGIN)
        .config(ATTACHED)
        .fixtures("fixtures")
        .check();
}

const NATIVE: [&str; 4] = ["llama-cpp", "ollama", "sglang", "tgi"];

#[test]
fn conformance_of_native_protocols() {
    for protocol in NATIVE {
        prony_plugin_test::Engine::new(&PLUGIN)
            .config(&speaks(protocol).to_string())
            .fixtures(format!("fixtures/{protocol}"))
            .check();
    }
}

fn speaks(protocol: &str) -> Value {
    json!({ "base_url": "http://127.0.0.1:8080", "protocol": protocol })
}

#[test]
fn conformance_of_a_launched_server() {
    let config = json!({ "launch": {
        "command": ["server", "--port", 40_961, "--threads", 1],
        "env": { "A": "b" },
        "ready": { "log_line": "listening" },
    } });
    prony_plugin_test::Engine::new(&PLUGIN)
        .config(&config.to_string())
        .check();
}

#[test]
fn recordings_of_real_servers() {
    struct Recording(&'static str, &'static str, &'static str, [Option<u32>; 3]);
    let sea = "The sea is a vast and mysterious realm, teeming with life and unending in its own way, a testament to the";
    let waves = "The sea is a vast and mysterious realm that exists beneath the waves, a vast and mysterious realm that exists beneath the waves";
    let none = None;
    for Recording(name, model, text, counts) in [
        Recording(
            "llamacpp-chat",
            "smollm2",
            waves,
            [Some(37), Some(24), Some(0)],
        ),
        Recording(
            "llamacpp-completions",
            "smollm2",
            " Paris.\n\nThe United States has a population of approximately 321 million people.\n\nThe United States",
            [Some(5), Some(24), Some(0)],
        ),
        Recording(
            "mlx-chat",
            "SmolLM2-135M-hf",
            sea,
            [Some(37), Some(24), Some(0)],
        ),
        Recording("vllm-chat", "smollm2", sea, [Some(37), Some(24), none]),
    ] {
        let events = fixture(&format!("{name}.sse"));
        assert_eq!(all(&events, EventKind::Text).concat(), text, "{name}");
        let kinds = [
            EventKind::PromptTokens,
            EventKind::OutputTokens,
            EventKind::CachedTokens,
        ];
        assert_eq!(kinds.map(|kind| count(&events, kind)), counts, "{name}");
        assert_eq!(all(&events, EventKind::Finish), ["length"], "{name}");
        assert_eq!(all(&events, EventKind::ServedModel), [model], "{name}");
        assert_eq!(all(&events, EventKind::EngineVersion).len(), 1, "{name}");
        assert_eq!(events.last().unwrap().kind, EventKind::End, "{name}");
    }
}

#[test]
fn real_servers_end_answers_at_a_stop_string_an_end_of_sequence_and_the_limit() {
    struct Ending(&'static str, &'static str, &'static str, [Option<u32>; 3]);
    let sum = "2 + 2 = 4";
    let sea = "The sea is a vast and mysterious realm, teeming with life and unending in its own way, a testament to the";
    for Ending(name, text, finish, counts) in [
        // The word `vast` ends them, and counts; only one of them sends it.
        Ending(
            "llamacpp-stop",
            "The sea is a ",
            "stop",
            [Some(37), Some(5), Some(0)],
        ),
        Ending(
            "transformers-stop",
            "The sea is a vast",
            "stop",
            [Some(37), Some(5), None],
        ),
        Ending("mlx-stop", "", "stop", [Some(52), Some(2), Some(51)]),
        // The end-of-sequence token counts.
        Ending("llamacpp-eos", sum, "stop", [Some(43), Some(8), Some(24)]),
        Ending("transformers-eos", sum, "stop", [Some(43), Some(8), None]),
        Ending(
            "mlx-eos",
            "9g\u{fffd}\u{fffd}a\u{fffd}\u{1d}Yd",
            "stop",
            [Some(52), Some(10), Some(51)],
        ),
        Ending(
            "llamacpp-ignore-eos",
            "2 + 2 = 4\n\nThis is a classic example of a mathematical identity that is often misunderstood. In",
            "length",
            [Some(43), Some(24), Some(24)],
        ),
        Ending(
            "vllm-stop",
            "The sea is a ",
            "stop",
            [Some(37), Some(5), Some(0)],
        ),
        Ending("vllm-eos", sum, "stop", [Some(43), Some(8), Some(0)]),
        // Three of its tokens are no text.
        Ending(
            "vllm-ignore-eos",
            "2 + 2 = 4\nsystem",
            "length",
            [Some(43), Some(12), Some(0)],
        ),
        Ending(
            "vllm-completions",
            " Paris.\n\nThe answer is: 2018-01-22 12:1",
            "length",
            [Some(5), Some(24), Some(0)],
        ),
        // Three blocks of 128 tokens.
        Ending(
            "vllm-cached",
            "2 two two two",
            "length",
            [Some(401), Some(4), Some(384)],
        ),
        Ending(
            "transformers-chat",
            sea,
            "length",
            [Some(37), Some(24), None],
        ),
        Ending(
            "transformers-completions",
            " Paris.\n\nThe answer is: 2018-01-22 12:1",
            "length",
            [Some(5), Some(24), None],
        ),
    ] {
        let events = fixture(&format!("{name}.sse"));
        assert_eq!(all(&events, EventKind::Text).concat(), text, "{name}");
        assert_eq!(all(&events, EventKind::Finish), [finish], "{name}");
        let kinds = [
            EventKind::PromptTokens,
            EventKind::OutputTokens,
            EventKind::CachedTokens,
        ];
        assert_eq!(kinds.map(|kind| count(&events, kind)), counts, "{name}");
        // `transformers serve` sends no `[DONE]`.
        let without_mark = all(&events, EventKind::Note);
        let is_without = name.starts_with("transformers");
        assert_eq!(without_mark.len(), usize::from(is_without), "{name}");
    }
    // Bytes that are no text have come together.
    let events = fixture("mlx-completions.sse");
    let texts = all(&events, EventKind::Text);
    assert_eq!(texts.iter().filter(|text| !text.is_empty()).count(), 2);
    assert_eq!(count(&events, EventKind::OutputTokens), Some(24));
}

/// An engine that reads other files than the rest.
#[test]
fn a_recipe_may_have_a_model_path_of_its_own() {
    let model = Model {
        id: "m".to_owned(),
        path: Some("m.gguf".to_owned()),
    };
    let command = |options: Value| {
        let (plan, _) = by_recipe("mlx-lm", &options, &model);
        plan.unwrap().command.unwrap().argv.join(" ")
    };
    assert!(command(json!({})).contains("--model m.gguf"));
    let own = command(json!({ "model_path": "folder/m" }));
    assert!(
        own.contains("--model folder/m") && !own.contains("m.gguf"),
        "{own}"
    );
}

#[test]
fn a_recorded_request_is_what_is_sent_now() {
    let request = Request {
        prompt: "Write one sentence about the sea.".to_owned(),
        max_tokens: 24,
        ..request(Api::Chat)
    };
    let made = encode(
        &json!({ "base_url": "http://h:1", "model": "smollm2" }),
        &request,
    );
    let body: Value = serde_json::from_str(&made.body).unwrap();
    let recorded = json!({
        "model": "smollm2",
        "messages": [{ "role": "user", "content": "Write one sentence about the sea." }],
        "max_tokens": 24, "temperature": 0.0, "seed": 1,
        "stream": true, "stream_options": { "include_usage": true },
    });
    assert_eq!(body, recorded);
}

// What a stream says.

#[test]
fn null_empty_and_missing_content_says_nothing() {
    let events = fixture("content.sse");
    assert_eq!(
        all(&events, EventKind::Text),
        ["", "", "", "", "🦀 ü", "\n", " plain", "!", ".", ""]
    );
    assert_eq!(all(&events, EventKind::Finish), ["stop"]);
    assert_eq!(all(&events, EventKind::Failure), [""; 0]);
    assert_eq!(all(&events, EventKind::ServedModel), [""; 0]);
}

#[test]
fn usage_is_found_in_each_of_its_places() {
    for place in ["content", "finish"] {
        let events = fixture(&format!("usage-on-{place}.sse"));
        assert_eq!(count(&events, EventKind::OutputTokens), Some(1), "{place}");
        assert_eq!(count(&events, EventKind::PromptTokens), Some(3), "{place}");
    }
    let events = fixture("usage-alone.sse");
    assert_eq!(count(&events, EventKind::OutputTokens), Some(1));
    assert_eq!(count(&events, EventKind::ReasoningTokens), Some(1));
    let events = fixture("usage-on-content.sse");
    assert_eq!(count(&events, EventKind::CachedTokens), Some(2));
}

#[test]
fn the_servers_own_times_and_the_cache_that_only_they_tell_of() {
    let said = |rest: &str| {
        let body = format!("data: {{\"choices\":[{{\"text\":\"a\"}}],{rest}}}\n\n");
        decode(body.as_bytes(), &[body.len() as u32]).unwrap()
    };
    let times = |events: &[Event]| {
        [EventKind::PrefillTime, EventKind::DecodeTime]
            .map(|kind| events.iter().find(|it| it.kind == kind).map(|it| it.ns))
    };
    let events = fixture("llamacpp-chat.sse");
    assert_eq!(times(&events), [Some(6_441_070_000), Some(14_014_309_000)]);
    for (timings, cached) in [
        (r#"{"cache_n":36,"prompt_n":1}"#, Some(36)),
        (r#"{"prompt_n":1}"#, Some(36)),
        (r#"{"prompt_n":38}"#, None),
        (r#"{"predicted_n":1}"#, None),
    ] {
        let silent = said(&format!(
            r#""usage":{{"prompt_tokens":37,"completion_tokens":1}},"timings":{timings}"#
        ));
        assert_eq!(count(&silent, EventKind::CachedTokens), cached, "{timings}");
        assert_eq!(times(&silent), [None, None], "{timings}");
        let told = said(&format!(
            r#""usage":{{"prompt_tokens":37,"completion_tokens":1,"prompt_tokens_details":{{"cached_tokens":5}}}},"timings":{timings}"#
        ));
        assert_eq!(count(&told, EventKind::CachedTokens), Some(5), "{timings}");
    }
    for (ms, ns) in [
        ("1.5", Some(1_500_000)),
        ("0", Some(0)),
        ("-1", None),
        ("null", None),
        ("\"3\"", None),
        ("NaN", None),
    ] {
        let events = said(&format!(r#""timings":{{"prompt_ms":{ms}}}"#));
        assert_eq!(times(&events), [ns, None], "{ms}");
    }
}

#[test]
fn errors_inside_a_stream_are_failures() {
    for name in [
        "error-object.sse",
        "error-string.sse",
        "error-document.body",
    ] {
        let failures = all(&fixture(name), EventKind::Failure);
        assert!(
            failures == ["out of memory"] || failures == ["model is loading"],
            "{name}: {failures:?}"
        );
    }
    assert_eq!(
        all(&fixture("error-event.sse"), EventKind::Failure),
        ["out of memory", "it broke"]
    );
}

#[test]
fn refusals_keep_the_servers_words() {
    for (name, words) in [
        ("refused-object.404.body", "The model `x` does not exist."),
        ("refused-string.404.body", "Repository Not Found"),
        ("refused-flat.400.body", "too long"),
        ("refused-empty.503.body", ""),
        (
            "llamacpp-too-long.400.body",
            "request (16001 tokens) exceeds the available context size (1024 tokens), try increasing it",
        ),
        (
            "mlx-unknown-model.404.body",
            "Got: ConnectError: [Errno -2] Name or service not known\nAn error happened while trying to locate the files on the Hub, and we cannot find the appropriate snapshot folder for the specified revision on the local disk. Please check your internet connection and try again.",
        ),
        (
            "vllm-unknown-model.404.body",
            "The model `no/such-model` does not exist. Valid aliases: smollm2.",
        ),
        (
            "vllm-too-long.400.body",
            "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=2049)",
        ),
        (
            "transformers-unknown-model.400.body",
            "Server is pinned to 'SmolLM2-135M-Instruct'; requested 'no/such-model'.",
        ),
        (
            "transformers-unknown-field.422.body",
            "Unexpected fields in the request: {'bogus', 'ignore_eos'}",
        ),
    ] {
        assert_eq!(all(&fixture(name), EventKind::Failure), [words], "{name}");
    }
    let page = fixture("refused-html.502.body");
    assert!(all(&page, EventKind::Failure)[0].contains("502 Bad Gateway"));
    let long = "é".repeat(10_000);
    let events = PLUGIN
        .decode(&attached(), &Response::new(500, long.as_bytes(), &[20_000]))
        .unwrap();
    assert_eq!(all(&events, EventKind::Failure), ["é".repeat(500) + "…"]);
}

#[test]
fn only_the_terminator_ends_a_stream() {
    let ended = |name| fixture(name).iter().any(|it| it.kind == EventKind::End);
    assert!(ended("no-blank-line.sse"));
    assert!(ended("after-done.sse"));
    // A finish reason and a whole body, which is for the host to say.
    assert!(ended("no-done.sse"));
    assert_eq!(
        all(&fixture("no-done.sse"), EventKind::Note),
        ["the stream ended without `data: [DONE]`"]
    );
    let strict = json!({ "base_url": "http://h:1", "end_mark": "required" });
    let body = b"data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\"}]}\n\n";
    let events = PLUGIN.decode(&strict, &Response::new(200, body, &[body.len() as u32]));
    assert!(all(&events.unwrap(), EventKind::End).is_empty());
    assert!(!ended("error-string.sse"));
    assert_eq!(all(&fixture("after-done.sse"), EventKind::Text), ["a"]);
}

#[test]
fn what_is_no_stream_is_malformed() {
    for (body, words) in [
        (
            r#"{"choices":[{"message":{"content":"a"}}]}"#,
            "JSON document",
        ),
        ("[1]", "JSON document"),
        ("\n<!DOCTYPE html><title>UI</title>", "web page"),
        ("data: not JSON\n\n", "not the JSON expected"),
        ("data: {\"choices\": 7}\n\n", "not the JSON expected"),
        (
            "data: data: {\"choices\":[]}\n\n",
            "`data: {\"choices\":[]}`",
        ),
        (" The sea is wide", "`The sea is wide`"),
    ] {
        let error = decode(body.as_bytes(), &[body.len() as u32]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::MalformedResponse, "{body}");
        assert!(error.message.contains(words), "{body}: {error}");
    }
    for body in ["", "\r\n\r\n", ": keepalive\n\n", "dat", "data: {\"cho"] {
        let events = decode(body.as_bytes(), &[body.len() as u32]).unwrap();
        assert_eq!(events, [], "{body}");
    }
}

#[test]
fn every_choice_is_heard() {
    let events = fixture("two-choices.sse");
    assert_eq!(all(&events, EventKind::Text), ["a", "b", "", ""]);
    assert_eq!(all(&events, EventKind::Finish), ["stop", "length"]);
}

#[test]
fn reasoning_is_apart_from_the_answer_and_said_once() {
    let events = fixture("reasoning.sse");
    assert_eq!(all(&events, EventKind::Reasoning), ["hm", " so"]);
    assert_eq!(all(&events, EventKind::Text), ["42"]);
}

#[test]
fn several_events_in_a_read_and_a_character_over_two() {
    let body =
        "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"text\":\"é\"}]}\n\n";
    let inside = body.find('é').unwrap() as u32 + 1;
    let end = body.len() as u32;
    let chunks = |ends: &[u32]| -> Vec<u32> {
        let events = decode(body.as_bytes(), ends).unwrap();
        assert_eq!(all(&events, EventKind::Text), ["a", "é"]);
        let texts = events.iter().filter(|it| it.kind == EventKind::Text);
        texts.map(|event| event.read).collect()
    };
    assert_eq!(chunks(&[end]), [0, 0]);
    assert_eq!(chunks(&[inside, end]), [0, 1]);
    assert_eq!(chunks(&[5, inside, end]), [1, 2]);
}

#[test]
fn a_line_may_be_huge_and_bytes_may_be_wrong() {
    let text = "word ".repeat(400_000);
    let body = format!(
        "data: {}\n\ndata: [DONE]\n\n",
        json!({ "choices": [{ "text": text }] })
    );
    let ends: Vec<u32> = (1..=body.len() as u32)
        .filter(|end| end % 4096 == 0)
        .collect();
    let ends = [&ends[..], &[body.len() as u32]].concat();
    let events = decode(body.as_bytes(), &ends).unwrap();
    assert_eq!(all(&events, EventKind::Text), [text]);
    let body = b"data: {\"choices\":[{\"text\":\"a\xff\xf0\x9f\"}]}\n\n";
    let events = decode(body, &[body.len() as u32]).unwrap();
    assert_eq!(all(&events, EventKind::Text), ["a\u{fffd}\u{fffd}"]);
}

// What is sent.

#[test]
fn every_field_of_a_request_has_its_place() {
    let config = json!({
        "base_url": "http://h:1/api/v2/", "model": "m", "api_key": "k",
        "body": { "cache_prompt": false, "temperature": 0.5 }, "headers": { "x-a": "b" },
    });
    let chat = Request {
        system: Some("s".to_owned()),
        top_p: Some(0.9),
        stop: vec!["\n".to_owned()],
        ignore_eos: true,
        ..request(Api::Chat)
    };
    let made = encode(&config, &chat);
    assert_eq!(made.method, "POST");
    assert_eq!(made.path, "/api/v2/chat/completions");
    assert_eq!(
        made.headers,
        [
            Pair::new("content-type", "application/json"),
            Pair::new("accept", "text/event-stream"),
            Pair::new("authorization", "Bearer k"),
            Pair::new("x-a", "b"),
        ]
    );
    assert_eq!(
        made.body,
        concat!(
            r#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"p"}],"#,
            r#""max_tokens":8,"temperature":0.5,"seed":1,"top_p":0.9,"stop":["\n"],"ignore_eos":true,"#,
            r#""stream":true,"stream_options":{"include_usage":true},"cache_prompt":false}"#
        )
    );
    let made = encode(&attached(), &request(Api::Completions));
    assert_eq!(made.path, "/v1/completions");
    assert_eq!(
        made.body,
        concat!(
            r#"{"model":"id","prompt":"p","max_tokens":8,"temperature":0.0,"seed":1,"#,
            r#""stream":true,"stream_options":{"include_usage":true}}"#
        )
    );
    assert!(made.headers.iter().all(|it| it.name != "authorization"));
}

#[test]
fn fields_that_a_server_does_not_take_are_left_out_or_renamed() {
    let config = json!({
        "base_url": "http://h:1",
        "omit": ["stream_options", "seed", "top_k"],
        "rename": { "max_tokens": "max_completion_tokens", "temperature": "seed" },
        "body": { "top_k": 1 },
    });
    let body: Value = serde_json::from_str(&encode(&config, &request(Api::Chat)).body).unwrap();
    assert_eq!(body["max_completion_tokens"], 8);
    assert!(body["seed"].is_f64());
    for absent in ["stream_options", "top_k", "max_tokens", "temperature"] {
        assert!(body.get(absent).is_none(), "{absent} in {body}");
    }
}

fn said(role: Role, content: &str) -> ChatMessage {
    ChatMessage {
        role,
        content: content.to_owned(),
    }
}

#[test]
fn what_was_said_before_stands_between_system_message_and_prompt() {
    let history = vec![said(Role::User, "a"), said(Role::Assistant, "b\n")];
    let chat = Request {
        system: Some("s".to_owned()),
        history: history.clone(),
        images: vec![image("image/png", b"a")],
        ..request(Api::Chat)
    };
    assert!(
        encode(&attached(), &chat).body.starts_with(concat!(
            r#"{"model":"id","messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},"#,
            r#"{"role":"assistant","content":"b\n"},{"role":"user","content":[{"type":"image_url","#,
        )),
        "{}",
        encode(&attached(), &chat).body
    );
    let completions = Request {
        history,
        ..request(Api::Completions)
    };
    let adapter = adapter(&attached()).unwrap();
    let error = adapter.encode(&model(), &completions).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("`api: chat`"), "{error}");
}

#[test]
fn images_come_before_the_text() {
    let request = Request {
        system: Some("s".to_owned()),
        images: vec![
            image("image/png", b"\x89PNG\xff"),
            image("image/jpeg", b"a"),
        ],
        ..request(Api::Chat)
    };
    assert_eq!(
        encode(&attached(), &request).body,
        concat!(
            r#"{"model":"id","messages":[{"role":"system","content":"s"},{"role":"user","content":["#,
            r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBOR/8="}},"#,
            r#"{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,YQ=="}},"#,
            r#"{"type":"text","text":"p"}]}],"max_tokens":8,"temperature":0.0,"seed":1,"#,
            r#""stream":true,"stream_options":{"include_usage":true}}"#
        )
    );
}

#[test]
fn an_image_comes_out_of_the_body_unchanged() {
    let bytes: Vec<u8> = (0..100_003_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let request = Request {
        images: vec![image("image/webp", &bytes)],
        ..request(Api::Chat)
    };
    let body: Value = serde_json::from_str(&encode(&attached(), &request).body).unwrap();
    let url = body["messages"][0]["content"][0]["image_url"]["url"].as_str();
    let (media_type, data) = url.unwrap().split_once(";base64,").unwrap();
    assert_eq!(media_type, "data:image/webp");
    // How the contract has images in JSON is what the URL has.
    let back: Image =
        serde_json::from_value(json!({ "media_type": "image/webp", "data": data })).unwrap();
    assert!(back.data == bytes);
}

#[test]
fn images_that_cannot_be_sent_are_errors() {
    let with_image = Request {
        images: vec![image("image/png", b"a")],
        ..request(Api::Completions)
    };
    let adapter = adapter(&attached()).unwrap();
    let error = adapter.encode(&model(), &with_image).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("use `api: chat`"), "{error}");
}

// What the config says.

#[test]
fn wrong_configs_name_the_place() {
    let launch = |command: Value| json!({ "launch": { "command": command } });
    let omit = |field: &str| json!({ "base_url": "http://h", "omit": [field] });
    let rename =
        |field: &str, name: &str| json!({ "base_url": "http://h", "rename": { field: name } });
    for (config, path, words) in [
        (json!({}), "", "`base_url` (attach to a server) or `launch`"),
        (
            json!({ "base_url": "http://h", "launch": { "command": ["a"] } }),
            "/base_url",
            "exclude each other",
        ),
        (
            json!({ "base_url": "h:80" }),
            "/base_url",
            "write `http://h:80`",
        ),
        (
            json!({ "base_url": "https://h/v1/chat/completions" }),
            "/base_url",
            "leave out `/chat/completions`",
        ),
        (
            json!({ "base_url": "ftp://h" }),
            "/base_url",
            "`http://` or `https://`",
        ),
        (
            json!({ "base_url": "http://127.0.0.1:99999/v1" }),
            "/base_url",
            "`99999` is no port",
        ),
        (
            json!({ "base_url": "http://user:secret@h/v1" }),
            "/base_url",
            "before `@`",
        ),
        (
            json!({ "base_url": "http://h", "body": { "max_tokens": 5 } }),
            "/body/max_tokens",
            "`workload.max_tokens`",
        ),
        (
            json!({ "base_url": "http://h", "omit": ["max_tokens"] }),
            "/omit",
            "`rename:",
        ),
        (
            json!({ "launch": { "command": ["a"] }, "attach_ready": "/health" }),
            "/attach_ready",
            "`base_url`",
        ),
        (omit("stream"), "/omit", "do without `stream`"),
        (omit("prompt"), "/omit", "do without `prompt`"),
        (omit("sede"), "/omit", "no request has a field `sede`"),
        (omit("sede"), "/omit", "`seed`, `stop`, `stream`"),
        (omit("top_k"), "/omit", "`top_k`"),
        (rename("seed", ""), "/rename", "empty"),
        (
            rename("sede", "a"),
            "/rename",
            "no request has a field `sede`",
        ),
        (
            rename("temperature", "n"),
            "/rename",
            "`temperature` would be sent as `n`, which changes what is measured",
        ),
        (
            rename("seed", "max_new_tokens"),
            "/rename",
            "which changes what is measured",
        ),
        (
            rename("seed", "model"),
            "/rename",
            "`model` and `seed` would",
        ),
        (
            json!({ "base_url": "http://h", "rename": { "seed": "a", "stop": "a" } }),
            "/rename",
            "`seed` and `stop` would both be sent as `a`",
        ),
        (
            json!({ "base_url": "http://h", "rename": { "seed": "a" }, "omit": ["seed"] }),
            "/rename",
            "`omit` leaves out `seed`",
        ),
        (
            json!({ "base_url": "http://h", "rename": { "seed": "a" }, "body": { "a": 1 } }),
            "/rename",
            "`a` and `seed` would both be sent as `a`",
        ),
        (launch(json!([])), "/launch/command", "empty"),
        (launch(json!([{}])), "", "neither a text nor a number"),
        (launch(json!("a b")), "", "expected a sequence"),
        (json!({ "base_url": "http://h", "modle": "x" }), "", "modle"),
    ] {
        let error = adapter(&config).err().unwrap();
        assert_eq!(error.kind, ErrorKind::InvalidConfig, "{config}");
        assert_eq!(error.path.as_deref(), Some(path), "{config}");
        assert!(error.message.contains(words), "{config}: {error}");
    }
}

#[test]
fn a_body_that_changes_what_is_measured_is_refused() {
    let options = |protocol: &str, body: &Value| {
        let mut config = speaks(protocol);
        config["body"] = body.clone();
        config
    };
    let limit = "`workload.max_tokens`";
    let several = "asks for several";
    let asked = "comes from the workload";
    let own = "prony sets";
    for (path, words, body) in [
        ("max_tokens", limit, json!({ "max_tokens": 5 })),
        (
            "max_completion_tokens",
            limit,
            json!({ "max_completion_tokens": 3 }),
        ),
        (
            "max_output_tokens",
            limit,
            json!({ "max_output_tokens": 3 }),
        ),
        ("max_new_tokens", limit, json!({ "max_new_tokens": 3 })),
        ("n_predict", limit, json!({ "n_predict": 5 })),
        ("num_predict", limit, json!({ "num_predict": 5 })),
        ("max_length", limit, json!({ "max_length": null })),
        (
            "options/num_predict",
            limit,
            json!({ "options": { "num_predict": 5 } }),
        ),
        (
            "parameters/max_new_tokens",
            limit,
            json!({ "parameters": { "max_new_tokens": 5 } }),
        ),
        (
            "sampling_params/max_new_tokens",
            limit,
            json!({ "sampling_params": { "max_new_tokens": 5 } }),
        ),
        (
            "options/num_predict",
            limit,
            json!({ "options.num_predict": 5 }),
        ),
        ("messages", asked, json!({ "messages": [] })),
        ("prompt", asked, json!({ "prompt": "x" })),
        ("inputs", asked, json!({ "inputs": "x" })),
        ("input", asked, json!({ "input": "x" })),
        ("input_ids", asked, json!({ "input_ids": [1] })),
        ("stream", own, json!({ "stream": false })),
        ("raw", own, json!({ "raw": false })),
        ("n", several, json!({ "n": 4 })),
        ("best_of", several, json!({ "best_of": "2" })),
        (
            "parameters/best_of",
            several,
            json!({ "parameters": { "best_of": 2 } }),
        ),
        ("model", "", json!({ "model": "zzz" })),
    ] {
        for protocol in ["openai"].iter().chain(&NATIVE) {
            let error = adapter(&options(protocol, &body)).err().unwrap();
            assert_eq!(error.kind, ErrorKind::InvalidConfig, "{protocol}, {body}");
            let place = format!("/body/{path}");
            assert_eq!(error.path, Some(place), "{protocol}, {body}: {error}");
            assert!(error.message.contains(words), "{protocol}, {body}: {error}");
        }
    }
    for (protocol, words, body) in [
        (
            "openai",
            "set `model` beside `body`",
            json!({ "model": "zzz" }),
        ),
        (
            "ollama",
            "set `model` beside `body`",
            json!({ "model": "zzz" }),
        ),
        ("tgi", "names a model: remove it", json!({ "model": "zzz" })),
        ("sglang", asked, json!({ "text": "x" })),
        ("ollama", own, json!({ "truncate": true })),
        ("tgi", own, json!({ "parameters": { "details": false } })),
        (
            "tgi",
            own,
            json!({ "parameters": { "return_full_text": true } }),
        ),
        (
            "openai",
            "`omit: [stream_options]`",
            json!({ "stream_options": null }),
        ),
        (
            "openai",
            "`include_usage`",
            json!({ "stream_options": { "include_usage": false } }),
        ),
    ] {
        let error = adapter(&options(protocol, &body)).err().unwrap();
        assert!(error.message.contains(words), "{protocol}, {body}: {error}");
    }
    let mut recipe = json!({ "recipe": "llama-cpp", "body": { "n_predict": 5 } });
    assert!(adapter(&recipe).is_err());
    recipe["body"] = json!({ "n": 1, "min_p": 0.1 });
    assert!(adapter(&recipe).is_ok());
    // Fields of sampling have rules of their own.
    for (protocol, body) in [
        (
            "openai",
            json!({ "temperature": 1, "seed": 2, "top_p": 0.5, "stop": "a", "ignore_eos": true }),
        ),
        (
            "openai",
            json!({ "n": 1, "best_of": null, "text": { "format": 1 }, "truncate": 3 }),
        ),
        (
            "ollama",
            json!({ "options": { "seed": 7, "num_ctx": 512 }, "options.stop": "a" }),
        ),
        (
            "tgi",
            json!({ "parameters": { "do_sample": true, "seed": 1, "best_of": 1 } }),
        ),
        (
            "sglang",
            json!({ "sampling_params": { "sampling_seed": 1, "n": 1 }, "stream_options": 1 }),
        ),
    ] {
        assert!(
            adapter(&options(protocol, &body)).is_ok(),
            "{protocol}, {body}"
        );
    }
}

#[test]
fn what_a_stream_is_to_tell_is_added_to_the_usage() {
    for (own, sent) in [
        (json!({}), json!({ "include_usage": true })),
        (
            json!({ "continuous_usage_stats": true }),
            json!({ "include_usage": true, "continuous_usage_stats": true }),
        ),
    ] {
        let config = json!({ "base_url": "http://h:1", "body": { "stream_options": own } });
        let made = encode(&config, &request(Api::Chat));
        let body: Value = serde_json::from_str(&made.body).unwrap();
        assert_eq!(body["stream_options"], sent);
    }
}

#[test]
fn headers_that_cannot_be_sent_name_the_place() {
    let with =
        |name: &str, value: &str| json!({ "base_url": "http://h:1", "headers": { name: value } });
    for (name, value, path, words) in [
        (
            "Content-Length",
            "5",
            "/headers/Content-Length",
            "prony sends",
        ),
        (
            "transfer-encoding",
            "chunked",
            "/headers/transfer-encoding",
            "prony sends",
        ),
        ("CONNECTION", "close", "/headers/CONNECTION", "prony sends"),
        ("Host", "other", "/headers/Host", "prony sends"),
        (
            "bad header",
            "a",
            "/headers/bad header",
            "`bad header` is no name",
        ),
        ("a/b\n", "a", "/headers/a~1b\n", "`a/b\\n` is no name"),
        ("", "a", "/headers/", "no name"),
        ("é", "a", "/headers/é", "no name"),
        ("x-a", "hidden\r\nb: c", "/headers/x-a", "control character"),
    ] {
        let error = adapter(&with(name, value)).err().unwrap();
        assert_eq!(error.kind, ErrorKind::InvalidConfig, "{name}");
        assert_eq!(error.path.as_deref(), Some(path), "{error}");
        assert!(error.message.contains(words), "{name}: {error}");
        assert!(!error.message.contains("hidden"), "{error}");
    }
    let key = json!({ "base_url": "http://h:1", "api_key": "hidden\n" });
    let error = adapter(&key).err().unwrap();
    assert_eq!(error.path.as_deref(), Some("/api_key"));
    assert!(!error.message.contains("hidden"), "{error}");
    assert!(adapter(&with("X-Api_Key.1", "ü \"a\"")).is_ok());
}

#[test]
fn launch_plans() {
    let plan = |config: Value| adapter(&config).unwrap().launch(&model(), &at()).unwrap();
    let models = |path: &str| HttpRequest::get(path);
    assert_eq!(
        plan(json!({ "base_url": "http://h:1/v1" })),
        LaunchPlan::attach("http://h:1", Ready::Immediate).lists_models(models("/v1/models"))
    );
    assert_eq!(
        plan(json!({ "base_url": "http://h:1/api?v=1", "attach_ready": "/health" })),
        LaunchPlan::attach("http://h:1", Ready::Http("/health".to_owned()))
            .lists_models(models("/api/models?v=1"))
    );
    // A scheme has no case, and prony's client takes one in lower case.
    assert_eq!(
        plan(json!({ "base_url": "HTTP://h:1/v1" })).base_url,
        "http://h:1"
    );
    let with_key = plan(json!({ "base_url": "http://h:1", "api_key": "k" }));
    let models = with_key.models.unwrap();
    assert_eq!(models.headers, [Pair::new("authorization", "Bearer k")]);
    let started = plan(json!({ "launch": {
        "command": ["server", "--ctx-size", 2048, "--ratio", 0.5], "env": { "A": "b" }, "cwd": "/tmp",
    } }));
    let command = started.command.unwrap();
    assert_eq!(
        command.argv,
        ["server", "--ctx-size", "2048", "--ratio", "0.5"]
    );
    assert_eq!(command.env, [Pair::new("A", "b")]);
    assert_eq!(command.cwd.as_deref(), Some("/tmp"));
    assert_eq!(started.base_url, "http://127.0.0.1:9");
    assert_eq!(started.ready, Ready::Http("/health".to_owned()));
}

// Native protocols.

/// What the adapter makes of a response in a protocol of its own.
fn native(file: &str) -> Vec<Event> {
    let (protocol, name) = file.split_once('/').unwrap();
    let body = std::fs::read(Path::new("fixtures").join(file)).unwrap();
    let status = name.split('.').nth(1).unwrap().parse().unwrap_or(200);
    PLUGIN
        .decode(
            &speaks(protocol),
            &Response::new(status, &body, &[body.len() as u32]),
        )
        .unwrap()
}

/// The events of a body that came in one read, which are those of one that came line by line.
fn native_text(protocol: &str, body: &str) -> Result<Vec<Event>> {
    let read_in = |ends: &[u32]| {
        let response = Response::new(200, body.as_bytes(), ends);
        PLUGIN
            .decode(&speaks(protocol), &response)
            .map_err(|fault| match fault {
                prony_plugin_test::Fault::Reported(error) => error,
                fault @ prony_plugin_test::Fault::Broken(_) => panic!("{fault}"),
            })
    };
    let lines = body.split_inclusive('\n');
    let ends: Vec<u32> = lines
        .scan(0, |end, line| {
            *end += line.len() as u32;
            Some(*end)
        })
        .collect();
    let whole = read_in(&[body.len() as u32]);
    let mut by_line = read_in(&ends);
    if let Ok(events) = &mut by_line {
        let reads: Vec<u32> = events.iter().map(|it| it.read).collect();
        assert!(reads.is_sorted(), "{events:?}");
        for event in events {
            event.read = 0;
        }
    }
    assert_eq!(whole, by_line);
    whole
}

const COUNTS: [EventKind; 3] = [
    EventKind::PromptTokens,
    EventKind::OutputTokens,
    EventKind::CachedTokens,
];

/// The last of each count, which is the one that counts.
fn counts(events: &[Event]) -> [Option<u32>; 3] {
    COUNTS.map(|kind| {
        let last = events.iter().rfind(|event| event.kind == kind);
        last.map(|event| event.tokens)
    })
}

fn times(events: &[Event]) -> [Option<u64>; 3] {
    [
        EventKind::QueueTime,
        EventKind::PrefillTime,
        EventKind::DecodeTime,
    ]
    .map(|kind| events.iter().find(|it| it.kind == kind).map(|it| it.ns))
}

#[test]
fn native_answers_are_told_in_full() {
    struct Answer(
        &'static str,
        &'static str,
        [Option<u32>; 3],
        &'static str,
        [Option<u64>; 3],
    );
    for Answer(name, said, tokens, finish, own) in [
        Answer(
            "llama-cpp/limit.sse",
            " Paris.\n\nThe United States has a population of approximately 311 million people.\n\nThe United States",
            [Some(5), Some(24), Some(0)],
            "length",
            [None, Some(131_663_000), Some(160_505_000)],
        ),
        Answer(
            "llama-cpp/stop-word.sse",
            " Paris.\n\nThe United States has a population of approximately 311 ",
            [Some(5), Some(17), Some(4)],
            "stop",
            [None, Some(32_096_000), Some(259_631_000)],
        ),
        Answer(
            "llama-cpp/eos.sse",
            "I'm ready to assist you. What's your request?",
            [Some(12), Some(13), Some(0)],
            "eos",
            [None, Some(175_125_000), Some(368_397_000)],
        ),
        Answer(
            "ollama/chat.body",
            "The sea is wide, \u{fc} and \u{1f980}",
            [Some(31), Some(6), Some(7)],
            "length",
            [None, Some(412_345_678), Some(1_382_123_456)],
        ),
        Answer(
            "ollama/generate.body",
            " Paris.",
            [Some(31), Some(3), Some(7)],
            "stop",
            [None, Some(412_345_678), Some(1_382_123_456)],
        ),
        Answer(
            "tgi/limit.sse",
            " Paris.\u{1f980}",
            [Some(5), Some(4), None],
            "length",
            [None; 3],
        ),
        Answer(
            "tgi/eos.sse",
            " Paris",
            [Some(5), Some(2), None],
            "eos_token",
            [None; 3],
        ),
        Answer(
            "sglang/cumulative.sse",
            " Paris. \u{1f980}",
            [Some(5), Some(5), Some(4)],
            "length",
            [None; 3],
        ),
        Answer(
            "sglang/incremental.sse",
            "aaaab",
            [Some(5), Some(5), Some(4)],
            "stop",
            [None; 3],
        ),
        Answer(
            "sglang/metrics.sse",
            " Paris.",
            [Some(5), Some(2), Some(4)],
            "length",
            [Some(2_500_000), None, None],
        ),
    ] {
        let events = native(name);
        assert_eq!(all(&events, EventKind::Text).concat(), said, "{name}");
        assert_eq!(counts(&events), tokens, "{name}");
        assert_eq!(all(&events, EventKind::Finish), [finish], "{name}");
        assert_eq!(times(&events), own, "{name}");
        assert_eq!(events.last().unwrap().kind, EventKind::End, "{name}");
        assert_eq!(all(&events, EventKind::Failure), [""; 0], "{name}");
    }
    let forced = counts(&native("llama-cpp/ignore-eos.sse"));
    assert_eq!(forced, [Some(12), Some(64), Some(11)]);
    let model = all(&native("llama-cpp/limit.sse"), EventKind::ServedModel);
    assert_eq!(model, ["smollm2"]);
}

/// The same question in both shapes, to the same server.
#[test]
fn llama_cpp_tells_the_same_in_both_shapes() {
    let (shape, own) = (
        fixture("llamacpp-completions.sse"),
        native("llama-cpp/limit.sse"),
    );
    assert_eq!(count(&shape, EventKind::PromptTokens), counts(&own)[0]);
    assert_eq!(count(&shape, EventKind::OutputTokens), counts(&own)[1]);
    for kind in [EventKind::Finish, EventKind::ServedModel] {
        assert_eq!(all(&shape, kind), all(&own, kind));
    }
}

#[test]
fn a_count_behind_a_text_is_of_all_tokens_that_it_stands_for() {
    let behind = |events: &[Event]| -> Vec<(String, u32)> {
        let pairs = events.windows(2).filter(|pair| {
            pair[0].kind == EventKind::Text && pair[1].kind == EventKind::OutputTokens
        });
        pairs
            .map(|pair| (pair[0].text.clone(), pair[1].tokens))
            .collect()
    };
    let said = |pieces: &[(&str, u32)]| -> Vec<(String, u32)> {
        let pieces = pieces.iter();
        pieces.map(|(text, to)| ((*text).to_owned(), *to)).collect()
    };
    let thumbs = said(&[
        ("\n", 1),
        ("👍", 4),
        (" 👍", 7),
        (" 👍", 10),
        (" 👍", 13),
        (" 👍", 16),
    ]);
    assert_eq!(behind(&native("llama-cpp/emoji.sse")), thumbs);
    let held_back = said(&[(" Paris", 1), (".", 2), ("🦀", 4)]);
    assert_eq!(behind(&native("tgi/limit.sse")), held_back);
    let several = said(&[(" Paris", 1), (".", 2), (" 🦀", 5)]);
    assert_eq!(behind(&native("sglang/cumulative.sse")), several);
}

#[test]
fn native_errors_are_failures_in_the_servers_words() {
    for (name, words) in [
        ("llama-cpp/no-prompt.400.body", "key 'prompt' not found"),
        (
            "llama-cpp/too-long.400.body",
            "exceeds the available context",
        ),
        (
            "llama-cpp/error-in-stream.sse",
            "Context size has been exceeded.",
        ),
        ("ollama/no-model.404.body", "model 'llama9' not found"),
        ("ollama/too-long.400.body", "exceeds the context length"),
        ("ollama/error-in-stream.body", "CUDA error: out of memory"),
        ("tgi/overloaded.429.body", "Model is overloaded"),
        ("tgi/invalid.sse", "must be <= 2048"),
        ("tgi/error-in-stream.sse", "CUDA out of memory"),
        ("sglang/too-long.sse", "longer than the model's context"),
        ("sglang/bad-field.400.body", "unknown field"),
        ("sglang/aborted.sse", "KV cache pool is full"),
    ] {
        let failures = all(&native(name), EventKind::Failure);
        assert_eq!(failures.len(), 1, "{name}: {failures:?}");
        assert!(failures[0].contains(words), "{name}: {failures:?}");
    }
}

#[test]
fn only_its_own_last_message_ends_a_native_stream() {
    for (protocol, body, mark) in [
        (
            "ollama",
            "{\"response\":\"a\",\"done\":false}\n",
            "`\"done\": true`",
        ),
        ("tgi", "data:{\"token\":{\"text\":\"a\"}}\n\n", "`details`"),
        (
            "llama-cpp",
            "data: {\"content\":\"a\",\"stop\":false}\n\n",
            "`\"stop\": true`",
        ),
        (
            "sglang",
            "data: {\"text\":\"a\",\"meta_info\":{}}\n\n",
            "`data: [DONE]`",
        ),
    ] {
        let events = native_text(protocol, body).unwrap();
        assert_eq!(all(&events, EventKind::Text), ["a"], "{protocol}");
        assert!(all(&events, EventKind::End).is_empty(), "{protocol}");
        let notes = all(&events, EventKind::Note);
        assert_eq!(notes, [format!("the stream ended without {mark}")]);
        // What follows the end is no part of the answer.
        let more = format!("{body}{body}");
        assert_eq!(
            all(&native_text(protocol, &more).unwrap(), EventKind::Text)
                .concat()
                .len(),
            match protocol {
                "sglang" => 1,
                _ => 2,
            }
        );
    }
    let whole = std::fs::read_to_string("fixtures/ollama/chat.body").unwrap();
    let once = native_text("ollama", &whole).unwrap();
    assert_eq!(
        native_text("ollama", &(whole.clone() + &whole)).unwrap(),
        once
    );
    // A generation with a reason and without `[DONE]` is whole if its body ended well.
    let body = "data: {\"text\":\"a\",\"meta_info\":{\"finish_reason\":\"stop\"}}\n\n";
    let events = native_text("sglang", body).unwrap();
    assert_eq!(events.last().unwrap().kind, EventKind::End);
}

#[test]
fn what_no_native_server_sends_is_malformed() {
    for (protocol, body) in [
        ("ollama", "<html>502</html>\n"),
        ("ollama", "{\"choices\":[]}\n"),
        ("ollama", "{\"done\":\"yes\"}\n"),
        ("ollama", "data: {\"done\":true}\n"),
        ("tgi", "data:{\"generated_text\":\"a\"}\n\n"),
        ("tgi", "[{\"generated_text\":\"a\"}]"),
        ("llama-cpp", "data: {\"choices\":[{\"text\":\"a\"}]}\n\n"),
        ("llama-cpp", "{\"content\":\"a\",\"stop\":true}"),
        ("sglang", "data: {\"text\":\"a\"}\n\n"),
        (
            "sglang",
            "data: {\"text\":\"ab\",\"meta_info\":{}}\n\ndata: {\"text\":\"ac\",\"meta_info\":{}}\n\n",
        ),
    ] {
        let error = native_text(protocol, body).unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::MalformedResponse,
            "{protocol}: {body}"
        );
    }
}

#[test]
fn words_without_a_line_end_are_not_lost() {
    for (body, words) in [
        (
            "<html>\n<body>502 Bad gateway</body>\n</html>",
            "502 Bad gateway",
        ),
        ("upstream connect error", "`upstream connect error`"),
        (
            "{\"response\":\"a\",\"done\":false}\nupstream reset",
            "`upstream reset`",
        ),
    ] {
        let error = native_text("ollama", body).unwrap_err();
        assert_eq!(error.kind, ErrorKind::MalformedResponse);
        assert!(error.message.contains(words), "{error}");
    }
    let runner = "error: model runner has unexpectedly stopped";
    for before in ["", "{\"response\":\"a\",\"done\":false}\n"] {
        let events = native_text("ollama", &format!("{before}{runner}")).unwrap();
        assert_eq!(all(&events, EventKind::Failure), [runner]);
    }
    let cut = native_text("ollama", "{\"response\":\"a\",\"do").unwrap();
    assert!(cut.is_empty(), "{cut:?}");
}

#[test]
fn a_server_is_asked_about_itself_below_its_base_path() {
    for (protocol, base_url, path) in [
        ("openai", "http://h:1", "/props"),
        ("openai", "http://h:1/v1", "/props"),
        ("openai", "http://h:1/llm/v1/?k=1", "/llm/props?k=1"),
        ("openai", "http://h:1/llm", "/llm/props"),
        ("llama-cpp", "http://h:1/llm/", "/llm/props"),
    ] {
        let config = json!({
            "base_url": base_url, "protocol": protocol,
            "tells": { "/props": { "settings": { "model": { "at": "/model_alias" } } } },
        });
        let plan = adapter(&config).unwrap().launch(&model(), &at()).unwrap();
        let asked: Vec<_> = plan.questions.iter().map(|it| &it.request.path).collect();
        assert_eq!(asked, [path], "{base_url}");
    }
}

#[test]
fn an_error_behind_the_last_message_is_a_failure() {
    for (file, error) in [
        ("ollama/chat.body", "{\"error\":\"late\"}\n"),
        ("ollama/chat.body", "error: late"),
        (
            "tgi/limit.sse",
            "data:{\"error\":\"late\",\"error_type\":\"generation\"}\n\n",
        ),
        (
            "llama-cpp/limit.sse",
            "data: {\"error\":{\"message\":\"late\"}}\n\n",
        ),
        ("llama-cpp/limit.sse", "error: {\"message\":\"late\"}\n\n"),
    ] {
        let protocol = file.split_once('/').unwrap().0;
        let whole = std::fs::read_to_string(Path::new("fixtures").join(file)).unwrap();
        let events = native_text(protocol, &(whole + error)).unwrap();
        let failures = all(&events, EventKind::Failure);
        assert_eq!(failures.len(), 1, "{file}: {failures:?}");
        assert!(failures[0].ends_with("late"), "{file}: {failures:?}");
        assert_eq!(events.last().unwrap().kind, EventKind::End, "{file}");
    }
}

#[test]
fn a_count_beside_another_number_of_events_is_told_with_theirs() {
    let counts = |generated: u32| -> Vec<u32> {
        let details = json!({ "generated_tokens": generated, "finish_reason": "length" });
        let last = json!({ "token": { "text": "b" }, "details": details });
        let body = format!("data:{{\"token\":{{\"text\":\"a\"}}}}\n\ndata:{last}\n\n");
        let events = native_text("tgi", &body).unwrap();
        let counts = events
            .iter()
            .filter(|it| it.kind == EventKind::OutputTokens);
        counts.map(|it| it.tokens).collect()
    };
    assert_eq!(counts(2), [1, 2, 2]);
    assert_eq!(counts(8), [1, 2, 8, 2]);
}

#[test]
fn a_text_that_could_be_all_or_new_is_malformed() {
    let stream = |messages: &[(&str, u32, u32)]| {
        let end = messages.len() as u32;
        let messages = messages.iter().map(|(text, ids, tokens)| {
            let reason = (*tokens == end).then_some("length");
            let ids: Vec<u32> = (0..*ids).collect();
            let meta = json!({ "completion_tokens": tokens, "finish_reason": reason });
            let message = json!({ "text": text, "output_ids": ids, "meta_info": meta });
            format!("data: {message}\n\n")
        });
        native_text("sglang", &messages.collect::<Vec<_>>().concat())
    };
    let error = stream(&[("a", 1, 1), ("ab", 1, 2), ("abc", 1, 3)]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::MalformedResponse);
    assert!(error.message.contains("`output_ids`"), "{error}");
    // What follows shows that it was new.
    let events = stream(&[("a", 1, 1), ("a", 1, 2), ("b", 1, 3)]).unwrap();
    assert_eq!(all(&events, EventKind::Text).concat(), "aab");
    let events = stream(&[("a", 1, 1), ("ab", 2, 2), ("abc", 3, 3)]).unwrap();
    assert_eq!(all(&events, EventKind::Text).concat(), "abc");
}

#[test]
fn counts_and_times_that_make_no_sense_are_left_out() {
    for protocol in NATIVE {
        let events = native(match protocol {
            "ollama" => "ollama/hostile.body",
            "tgi" => "tgi/hostile.sse",
            "sglang" => "sglang/hostile.sse",
            _ => "llama-cpp/hostile.sse",
        });
        assert_eq!(times(&events), [None; 3], "{protocol}");
        let [prompt, output, cached] = counts(&events);
        assert_eq!((prompt, cached), (None, None), "{protocol}");
        // TGI has an event a token.
        assert_eq!(output, (protocol == "tgi").then_some(4), "{protocol}");
        assert_eq!(events.last().unwrap().kind, EventKind::End, "{protocol}");
    }
}

#[test]
fn a_text_that_is_taken_back_is_malformed() {
    let part = |text: &str, reason: &str| {
        format!("data: {{\"text\":\"{text}\",\"meta_info\":{{\"finish_reason\":{reason}}}}}\n\n")
    };
    let last = part("ten ", r#"{"type":"stop","matched":"million"}"#);
    let body = [&part("ten mil", "null"), &last, "data: [DONE]\n\n"].map(String::from);
    let error = native_text("sglang", &body.concat()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::MalformedResponse);
    let words = "of `ten mil` it keeps `ten`";
    assert!(error.message.contains(words), "{error}");
}

#[test]
fn native_requests_have_their_fields_where_the_server_looks() {
    let config = json!({
        "base_url": "http://h:1/gateway", "protocol": "ollama", "model": "m",
        "body": { "keep_alive": -1, "options": { "num_ctx": 4096, "seed": 7 } },
        "omit": ["truncate"], "rename": { "options.top_p": "options.min_p" },
    });
    let asked = Request {
        top_p: Some(0.5),
        ..request(Api::Completions)
    };
    let made = encode(&config, &asked);
    assert_eq!(made.path, "/gateway/api/generate");
    assert_eq!(
        made.body,
        concat!(
            r#"{"model":"m","prompt":"p","raw":true,"stream":true,"#,
            r#""options":{"num_predict":8,"temperature":0.0,"seed":7,"min_p":0.5,"num_ctx":4096},"keep_alive":-1}"#
        )
    );
    assert_eq!(made.model.as_deref(), Some("m"));
    assert!(made.end_marks.is_empty());

    let drawn = Request {
        temperature: 0.7,
        top_p: Some(1.0),
        ..request(Api::Completions)
    };
    let body: Value = serde_json::from_str(&encode(&speaks("tgi"), &drawn).body).unwrap();
    assert_eq!(body["parameters"]["do_sample"], true);
    assert_eq!(body["parameters"]["temperature"], 0.7);
    assert!(body["parameters"].get("top_p").is_none());
    assert_eq!(encode(&speaks("tgi"), &drawn).model, None);
    assert_eq!(
        encode(&speaks("sglang"), &drawn).end_marks[0],
        "data: [DONE]"
    );

    for protocol in ["llama-cpp", "sglang", "tgi"] {
        let adapter = adapter(&speaks(protocol)).unwrap();
        let refused = |asked: &Request| adapter.encode(&model(), asked).unwrap_err().kind;
        assert_eq!(refused(&request(Api::Chat)), ErrorKind::Unsupported);
        let image = Request {
            images: vec![image("image/png", b"a")],
            ..request(Api::Completions)
        };
        assert_eq!(refused(&image), ErrorKind::Unsupported);
    }
}

#[test]
fn wrong_configs_of_native_protocols_name_the_place() {
    for (protocol, path, more, words) in [
        (
            "ollama",
            "/body/options/num_predict",
            json!({ "body": { "options": { "num_predict": 5 } } }),
            "`workload.max_tokens`",
        ),
        (
            "tgi",
            "/body/parameters/max_new_tokens",
            json!({ "body": { "parameters": { "max_new_tokens": 5 } } }),
            "`workload.max_tokens`",
        ),
        (
            "ollama",
            "/body/options",
            json!({ "body": { "options": 5 } }),
            "`options` must be a mapping",
        ),
        (
            "tgi",
            "/body/parameters",
            json!({ "body": { "parameters": null } }),
            "`parameters` must be a mapping",
        ),
        (
            "sglang",
            "/body/sampling_params",
            json!({ "body": { "sampling_params": [{ "top_k": 1 }] } }),
            "`sampling_params` must be a mapping",
        ),
        (
            "ollama",
            "/rename",
            json!({ "rename": { "truncate": "options" } }),
            "would replace the mapping `options`",
        ),
        (
            "llama-cpp",
            "/omit",
            json!({ "omit": ["n_predict"] }),
            "`rename:",
        ),
        (
            "sglang",
            "/omit",
            json!({ "omit": ["seed"] }),
            "`sampling_params.sampling_seed`",
        ),
        (
            "tgi",
            "/omit",
            json!({ "omit": ["parameters.details"] }),
            "do without `parameters.details`",
        ),
        (
            "ollama",
            "/base_url",
            json!({ "base_url": "http://h:1/v1" }),
            "`protocol: openai`",
        ),
        (
            "ollama",
            "/base_url",
            json!({ "base_url": "http://h:1/api/chat" }),
            "leave out `/api/chat`",
        ),
    ] {
        let mut config = speaks(protocol);
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let error = adapter(&config).err().unwrap();
        assert_eq!(error.path.as_deref(), Some(path), "{config}");
        assert!(error.message.contains(words), "{config}: {error}");
    }
    let unknown = adapter(&speaks("grpc")).err().unwrap();
    assert!(unknown.message.contains("llama-cpp"), "{unknown}");
}

#[test]
fn a_recipe_has_the_protocols_of_its_engine() {
    let path = |name: &str, protocol: Option<&str>, api| {
        let mut config = json!({ "recipe": name });
        if let Some(protocol) = protocol {
            config["protocol"] = json!(protocol);
        }
        encode(&config, &request(api)).path
    };
    assert_eq!(path("ollama", None, Api::Chat), "/api/chat");
    assert_eq!(
        path("ollama", Some("openai"), Api::Chat),
        "/v1/chat/completions"
    );
    assert_eq!(path("tgi", None, Api::Completions), "/v1/completions");
    assert_eq!(
        path("tgi", Some("tgi"), Api::Completions),
        "/generate_stream"
    );
    assert_eq!(
        path("llama-cpp", Some("llama-cpp"), Api::Completions),
        "/completion"
    );
    assert_eq!(
        path("sglang", Some("sglang"), Api::Completions),
        "/generate"
    );
    let problem = |name: &str, protocol: &str| {
        let config = json!({ "recipe": name, "protocol": protocol });
        adapter(&config).err().unwrap().message
    };
    assert!(problem("ollama", "tgi").contains("one of `ollama`, `openai`"));
    assert!(problem("vllm", "tgi").contains("one of `openai`"));
    // By its manifest, prony knows what to render conversations for.
    let manifest = PLUGIN.describe().unwrap();
    let apis = |name: &str, config: Value| {
        let recipe = manifest.recipes.iter().find(|it| it.name == name).unwrap();
        let config = config.as_object().unwrap();
        Api::of_config(&recipe.apis, &recipe.config_schema, config)
    };
    assert_eq!(apis("tgi", json!({})), Api::all());
    assert_eq!(
        apis("tgi", json!({ "protocol": "tgi" })),
        [Api::Completions]
    );
    assert_eq!(apis("ollama", json!({})), Api::all());
    let schema = &manifest.config_schema;
    let native = speaks("llama-cpp");
    let apis = Api::of_config(&manifest.apis, schema, native.as_object().unwrap());
    assert_eq!(apis, [Api::Completions]);
}

fn attached() -> Value {
    serde_json::from_str(ATTACHED).unwrap()
}

fn adapter(config: &Value) -> Result<OpenAi> {
    serde_json::from_value(config.clone())
        .map_err(|error| Error::config("", error.to_string()))
        .and_then(OpenAi::new)
}

fn model() -> Model {
    Model {
        id: "id".to_owned(),
        path: None,
    }
}

fn at() -> Endpoint {
    Endpoint {
        host: "127.0.0.1".to_owned(),
        port: 9,
        more_ports: Vec::new(),
    }
}

fn request(api: Api) -> Request {
    Request {
        api,
        prompt: "p".to_owned(),
        system: None,
        max_tokens: 8,
        temperature: 0.0,
        top_p: None,
        seed: 1,
        stop: Vec::new(),
        ignore_eos: false,
        history: Vec::new(),
        images: Vec::new(),
    }
}

fn image(media_type: &str, data: &[u8]) -> Image {
    Image {
        media_type: media_type.to_owned(),
        data: data.to_vec(),
    }
}

fn encode(config: &Value, request: &Request) -> HttpRequest {
    adapter(config).unwrap().encode(&model(), request).unwrap()
}

fn decode(body: &[u8], ends: &[u32]) -> Result<Vec<Event>> {
    let mut events = Events::default();
    let response = Response::new(200, body, ends);
    adapter(&attached())?.decode(&response, &mut events)?;
    Ok(events.into_vec())
}

/// What the adapter makes of a fixture, read whole.
fn fixture(file: &str) -> Vec<Event> {
    let body = std::fs::read(Path::new("fixtures").join(file)).unwrap();
    let status = file.split('.').nth(1).unwrap().parse().unwrap_or(200);
    PLUGIN
        .decode(
            &attached(),
            &Response::new(status, &body, &[body.len() as u32]),
        )
        .unwrap()
}

fn all(events: &[Event], kind: EventKind) -> Vec<String> {
    let of_kind = events.iter().filter(|event| event.kind == kind);
    of_kind.map(|event| event.text.clone()).collect()
}

fn count(events: &[Event], kind: EventKind) -> Option<u32> {
    events
        .iter()
        .find(|event| event.kind == kind)
        .map(|event| event.tokens)
}

/// The command and the request of a recipe.
fn by_recipe(name: &str, options: &Value, model: &Model) -> (Option<LaunchPlan>, Value) {
    let mut config = options.clone();
    config["recipe"] = json!(name);
    let adapter = adapter(&config).unwrap();
    let at = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: 40_961,
        more_ports: Vec::new(),
    };
    let plan = adapter.launch(model, &at).unwrap();
    let request = request(Api::Chat);
    let made = adapter.encode(model, &request).unwrap();
    let body = serde_json::from_str(&made.body).unwrap();
    (plan.command.is_some().then_some(plan), body)
}

fn named(id: &str, path: Option<&str>) -> Model {
    Model {
        id: id.to_owned(),
        path: path.map(str::to_owned),
    }
}

#[test]
fn a_recipe_starts_its_engine() {
    let tiny = named("org/tiny", Some("/models/tiny.gguf"));
    let options = json!({ "threads": 2, "prefix_cache": false, "arguments": ["--log-disable"],
        "program": ["nice", "llama-server"], "body": { "min_p": 0.1 } });
    let (plan, body) = by_recipe("llama-cpp", &options, &tiny);
    let plan = plan.unwrap();
    let wanted = "nice llama-server --model /models/tiny.gguf --alias org/tiny --host 127.0.0.1 \
                  --port 40961 --metrics --ctx-size 4096 --parallel 1 --threads 2 --log-disable";
    assert_eq!(plan.command.unwrap().argv.join(" "), wanted);
    assert_eq!(plan.ready, Ready::Http("/health".to_owned()));
    assert_eq!(plan.base_url, "http://127.0.0.1:40961");
    let settings = plan.questions.iter().flat_map(|it| &it.settings);
    let asked = |name: &str| settings.clone().find(|it| it.name == name)?.asked.clone();
    assert_eq!(asked("model"), Some(json!("org/tiny")));
    assert_eq!(asked("model_file"), Some(json!("/models/tiny.gguf")));
    assert_eq!(asked("context_per_request"), Some(json!(4096)));
    assert_eq!(body["cache_prompt"], false);
    assert_eq!(body["min_p"], 0.1);
    assert_eq!(body["model"], "org/tiny");
    // The engine's own default needs no word.
    let (_, body) = by_recipe("llama-cpp", &json!({ "prefix_cache": true }), &tiny);
    assert_eq!(body.get("cache_prompt"), None);
}

#[test]
fn a_recipe_knows_the_names_of_its_engine() {
    let hub = named("org/tiny", None);
    let (plan, body) = by_recipe("mlx-lm", &json!({ "compile": false }), &hub);
    let command = plan.unwrap().command.unwrap();
    let wanted = "mlx_lm.server --model org/tiny --host 127.0.0.1 --port 40961";
    assert_eq!(command.argv.join(" "), wanted);
    assert_eq!(command.env, [Pair::new("MLX_DISABLE_COMPILE", "1")]);
    assert_eq!(body["model"], "org/tiny");

    let folder = named("org/tiny", Some("/models/exl2/tiny"));
    let (plan, body) = by_recipe("tabbyapi", &json!({}), &folder);
    let argv = plan.unwrap().command.unwrap().argv.join(" ");
    assert!(
        argv.ends_with("--model-dir /models/exl2 --model-name tiny"),
        "{argv}"
    );
    assert_eq!(body["model"], "tiny");

    let (plan, body) = by_recipe("mlx-engine", &json!({}), &folder);
    let command = plan.unwrap().command.unwrap();
    assert!(
        command
            .argv
            .join(" ")
            .ends_with("--context-length 4096 --parallel-sessions 2")
    );
    assert_eq!(body.get("seed"), None, "it refuses a seed");
    assert_eq!(body["top_k"], 0);

    let (plan, _) = by_recipe("mlx-vlm", &json!({ "python": "/v/bin/python" }), &folder);
    let argv = plan.unwrap().command.unwrap().argv.join(" ");
    assert!(
        argv.starts_with("/v/bin/python -m mlx_vlm.server --model /models/exl2/tiny "),
        "{argv}"
    );

    let config = json!({ "recipe": "transformers" });
    let endless = Request {
        ignore_eos: true,
        ..request(Api::Completions)
    };
    let made = adapter(&config).unwrap().encode(&folder, &endless).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&made.body).unwrap(),
        json!({
            "model": "/models/exl2/tiny", "prompt": "p", "max_tokens": 8, "temperature": 0.0,
            "seed": 1, "stream": true, "generation_config": "{\"eos_token_id\":-1}",
        })
    );

    let (plan, _) = by_recipe("ollama", &json!({ "context": 2048 }), &hub);
    let env = plan.unwrap().command.unwrap().env;
    let has = |name, value| env.contains(&Pair::new(name, value));
    assert!(has("OLLAMA_HOST", "127.0.0.1:40961"), "{env:?}");
    assert!(has("OLLAMA_CONTEXT_LENGTH", "2048") && has("OLLAMA_NUM_PARALLEL", "1"));
}

#[test]
fn a_recipe_attaches_and_says_what_does_not_go_with_that() {
    let tiny = named("tiny", None);
    let attached = json!({ "base_url": "http://127.0.0.1:9/v1", "prefix_cache": false });
    let (plan, body) = by_recipe("llama-cpp", &attached, &tiny);
    assert!(plan.is_none());
    assert_eq!(body["cache_prompt"], false);
    assert!(by_recipe("lm-studio", &json!({}), &tiny).0.is_none());

    let problem = |name: &str, options: Value| {
        let mut config = options;
        config["recipe"] = json!(name);
        adapter(&config).err().unwrap().message
    };
    let useless = problem(
        "llama-cpp",
        json!({ "base_url": "http://x/v1", "threads": 2 }),
    );
    assert!(
        useless.contains("`threads` is for the command"),
        "{useless}"
    );
    for (option, value) in [
        ("program", json!(["a"])),
        ("arguments", json!(["--a"])),
        ("env", json!({ "A": "b" })),
        ("cwd", json!("/tmp")),
    ] {
        for name in ["llama-cpp", "lm-studio"] {
            let mut options = json!({ "base_url": "http://x/v1" });
            options[option] = value.clone();
            let useless = problem(name, options);
            let told = format!("`{option}` is for the command");
            assert!(useless.contains(&told), "{useless}");
        }
    }
    let ready = json!({ "attach_ready": "/health" });
    assert!(problem("llama-cpp", ready.clone()).contains("is for a server that runs already"));
    assert!(by_recipe("lm-studio", &ready, &tiny).0.is_none());
    assert!(problem("llama-cpp", json!({ "program": [] })).contains("`program` is empty"));
    let twice = problem("mlx-vlm", json!({ "python": "python3", "program": ["a"] }));
    assert!(twice.contains("`python` and `program`"), "{twice}");
    for (url, path) in [
        ("http://x:1", "/v3/chat/completions"),
        ("http://x:1/v9", "/v9/chat/completions"),
    ] {
        let config = json!({ "recipe": "openvino", "base_url": url });
        assert_eq!(encode(&config, &request(Api::Chat)).path, path);
    }
    let unknown = problem("llama-cpp", json!({ "thread": 2 }));
    assert!(unknown.contains("unknown field `thread`"), "{unknown}");
    assert!(problem("none", json!({})).contains("there is no recipe `none`"));
    // A file is needed to start from.
    let config = json!({ "recipe": "llama-cpp" });
    let at = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: 1,
        more_ports: Vec::new(),
    };
    let error = adapter(&config).unwrap().launch(&tiny, &at).unwrap_err();
    assert!(error.message.contains("the model's `path`"), "{error:?}");
}
