//! The engine against a naive implementation, broken files and, where the
//! environment names one (`PRONY_SMOLLM2`), a real model.
#![expect(clippy::unwrap_used, reason = "tests")]

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use engine_candle::config::{Config, Dtype, Synthetic};
use engine_candle::model::Llama;
use engine_candle::text::{StopFilter, Utf8Stream};
use engine_candle::weights::{Hyper, Random, Source};
use engine_candle::{Candle, ENGINE_VERSION, PLUGIN};
use prony_plugin_sdk::native::{RawEvent, Str, code};
use prony_plugin_sdk::{
    Api, ChatMessage, Error, ErrorKind, EventKind, Image, LocalEngine, Model, Request, Result, Role,
};
use serde_json::json;
use std::ffi::c_void;
use std::path::Path;

fn config(value: serde_json::Value) -> Config {
    serde_json::from_value(value).unwrap()
}

fn load(value: serde_json::Value, path: Option<&Path>) -> Result<Candle> {
    let mut config = config(value);
    config.threads = Some(1);
    Candle::load(
        config,
        &Model {
            id: "m".to_owned(),
            path: path.map(|path| path.to_str().unwrap().to_owned()),
        },
    )
}

fn request(prompt: &str, max_tokens: u32) -> Request {
    Request {
        api: Api::Completions,
        prompt: prompt.to_owned(),
        system: None,
        max_tokens,
        temperature: 0.0,
        top_p: None,
        seed: 1,
        stop: Vec::new(),
        ignore_eos: false,
        history: Vec::new(),
        images: Vec::new(),
    }
}

#[derive(Debug, PartialEq, Default, Clone)]
struct Answer {
    pieces: Vec<String>,
    events: Vec<(EventKind, u32, String)>,
}

impl Answer {
    fn text(&self) -> String {
        self.pieces.concat()
    }
    fn count(&self, kind: EventKind) -> u32 {
        self.events.iter().find(|event| event.0 == kind).unwrap().1
    }
    fn finish(&self) -> &str {
        &self
            .events
            .iter()
            .find(|event| event.0 == EventKind::Finish)
            .unwrap()
            .2
    }
}

fn ask(engine: &mut Candle, request: &Request) -> Result<Answer> {
    let mut answer = Answer::default();
    engine.generate(request, &mut |kind, tokens, text| {
        if kind == EventKind::Text {
            answer.pieces.push(text.to_owned());
        }
        answer.events.push((kind, tokens, text.to_owned()));
        true
    })?;
    Ok(answer)
}

#[test]
fn an_answer_that_is_no_longer_wanted_ends_soon() {
    let mut engine = load(small(), None).unwrap();
    let mut texts = 0;
    engine
        .generate(&request("p", 50), &mut |kind, _, _| {
            texts += u32::from(kind == EventKind::Text);
            texts < 3
        })
        .unwrap();
    assert_eq!(texts, 3);
    // And the engine goes on as before.
    let answer = ask(&mut engine, &request("p", 4)).unwrap();
    assert_eq!(answer.pieces.len(), 4);
}

fn small() -> serde_json::Value {
    json!({ "weights": { "synthetic": { "layers": 2, "hidden": 64, "intermediate": 96, "heads": 4, "kv_heads": 2, "vocab": 300, "context": 128 } } })
}

fn shape() -> Synthetic {
    Synthetic {
        layers: 2,
        hidden: 64,
        intermediate: 96,
        heads: 4,
        kv_heads: 2,
        vocab: 300,
        context: 1024,
        seed: 7,
    }
}

fn matrix(source: &mut dyn Source, name: &str, rows: usize, columns: usize) -> Vec<Vec<f32>> {
    source
        .matrix(name, rows, columns)
        .unwrap()
        .dequantize(&Device::Cpu)
        .unwrap()
        .to_vec2()
        .unwrap()
}

/// The forward pass with nothing but loops, for the logits of every position.
fn naive(source: &mut dyn Source, tokens: &[u32]) -> Vec<Vec<f32>> {
    let Hyper {
        layers,
        hidden,
        intermediate,
        heads,
        kv_heads,
        head_dim,
        vocab,
        rope_base,
        rms_eps,
        ..
    } = source.hyper().clone();
    let apply = |matrix: &[Vec<f32>], x: &[f32]| -> Vec<f32> {
        matrix
            .iter()
            .map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum())
            .collect()
    };
    let normed = |x: &[f32], weight: &[f32]| -> Vec<f32> {
        let mean = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
        x.iter()
            .zip(weight)
            .map(|(v, w)| v / (mean + rms_eps).sqrt() * w)
            .collect()
    };
    let rotate = |x: &mut [f32], position: usize| {
        for head in x.chunks_mut(head_dim) {
            for pair in 0..head_dim / 2 {
                let angle = position as f32 * rope_base.powf(-2.0 * pair as f32 / head_dim as f32);
                let (a, b) = (head[2 * pair], head[2 * pair + 1]);
                head[2 * pair] = a * angle.cos() - b * angle.sin();
                head[2 * pair + 1] = a * angle.sin() + b * angle.cos();
            }
        }
    };
    let embedding = matrix(source, "token_embd.weight", vocab, hidden);
    let mut states: Vec<Vec<f32>> = tokens
        .iter()
        .map(|token| embedding[*token as usize].clone())
        .collect();
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let mut get =
            |part: &str, rows: usize, columns: usize| matrix(source, &name(part), rows, columns);
        let (query, key, value) = (
            get("attn_q", heads * head_dim, hidden),
            get("attn_k", kv_heads * head_dim, hidden),
            get("attn_v", kv_heads * head_dim, hidden),
        );
        let output = get("attn_output", hidden, heads * head_dim);
        let (gate, up, down) = (
            get("ffn_gate", intermediate, hidden),
            get("ffn_up", intermediate, hidden),
            get("ffn_down", hidden, intermediate),
        );
        let attention_norm: Vec<f32> = source
            .vector(&name("attn_norm"), hidden)
            .unwrap()
            .to_vec1()
            .unwrap();
        let feed_norm: Vec<f32> = source
            .vector(&name("ffn_norm"), hidden)
            .unwrap()
            .to_vec1()
            .unwrap();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (position, state) in states.iter_mut().enumerate() {
            let x = normed(state, &attention_norm);
            let (mut q, mut k) = (apply(&query, &x), apply(&key, &x));
            rotate(&mut q, position);
            rotate(&mut k, position);
            keys.push(k);
            values.push(apply(&value, &x));
            let mut attended = vec![0.0; heads * head_dim];
            for head in 0..heads {
                let shared = head / (heads / kv_heads) * head_dim;
                let q = &q[head * head_dim..(head + 1) * head_dim];
                let scores: Vec<f32> = keys
                    .iter()
                    .map(|k: &Vec<f32>| {
                        q.iter().zip(&k[shared..]).map(|(a, b)| a * b).sum::<f32>()
                            / (head_dim as f32).sqrt()
                    })
                    .collect();
                let highest = scores.iter().copied().fold(f32::MIN, f32::max);
                let weights: Vec<f32> =
                    scores.iter().map(|score| (score - highest).exp()).collect();
                let total: f32 = weights.iter().sum();
                for (weight, v) in weights.iter().zip(&values) {
                    let v: &Vec<f32> = v;
                    for dim in 0..head_dim {
                        attended[head * head_dim + dim] += weight / total * v[shared + dim];
                    }
                }
            }
            for (s, o) in state.iter_mut().zip(apply(&output, &attended)) {
                *s += o;
            }
            let x = normed(state, &feed_norm);
            let gated: Vec<f32> = apply(&gate, &x)
                .iter()
                .zip(apply(&up, &x))
                .map(|(g, u)| g / (1.0 + (-g).exp()) * u)
                .collect();
            for (s, d) in state.iter_mut().zip(apply(&down, &gated)) {
                *s += d;
            }
        }
    }
    let norm: Vec<f32> = source
        .vector("output_norm.weight", hidden)
        .unwrap()
        .to_vec1()
        .unwrap();
    let head = if source.has("output.weight") {
        matrix(source, "output.weight", vocab, hidden)
    } else {
        embedding
    };
    states
        .iter()
        .map(|state| apply(&head, &normed(state, &norm)))
        .collect()
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    let scale = a.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * scale,
            "value {index}: {a} and {b}, largest {scale}"
        );
    }
}

fn feed(dtype: Dtype, parts: &[&[u32]]) -> Vec<f32> {
    let mut model = Llama::load(
        &mut Random::new(&shape(), dtype, &Device::Cpu).unwrap(),
        &Device::Cpu,
    )
    .unwrap();
    model
        .start(parts.iter().map(|part| part.len()).sum())
        .unwrap();
    parts
        .iter()
        .fold(Vec::new(), |_, part| model.feed(part).unwrap())
}

#[test]
fn agrees_with_a_naive_implementation() {
    let tokens = [3, 250, 17, 17, 99, 256, 5];
    let expected = naive(
        &mut Random::new(&shape(), Dtype::F32, &Device::Cpu).unwrap(),
        &tokens,
    );
    for end in 1..=tokens.len() {
        close(
            &expected[end - 1],
            &feed(Dtype::F32, &[&tokens[..end]]),
            1e-4,
        );
    }
}

#[test]
fn one_step_equals_a_longer_prefill() {
    let tokens: Vec<u32> = (0..9).map(|at| at * 31 % 300).collect();
    close(
        &feed(Dtype::F32, &[&tokens]),
        &feed(Dtype::F32, &[&tokens[..8], &tokens[8..]]),
        1e-4,
    );
    close(
        &feed(Dtype::F32, &[&tokens]),
        &feed(Dtype::F32, &[&tokens[..3], &tokens[3..7], &tokens[7..]]),
        1e-4,
    );
    // Longer than what goes through the model at once.
    let tokens: Vec<u32> = (0..600).map(|at| at * 31 % 300).collect();
    close(
        &feed(Dtype::F32, &[&tokens]),
        &feed(Dtype::F32, &[&tokens[..599], &tokens[599..]]),
        1e-3,
    );
}

#[test]
fn quantised_is_close_to_float() {
    let tokens = [3, 250, 17, 99];
    let float = feed(Dtype::F32, &[&tokens]);
    close(&float, &feed(Dtype::F16, &[&tokens]), 0.01);
    close(&float, &feed(Dtype::Q8_0, &[&tokens]), 0.05);
    close(&float, &feed(Dtype::Q4_1, &[&tokens]), 0.5);
    close(&float, &feed(Dtype::Q4_0, &[&tokens]), 0.5);
    // Q4_1 has its own product and its own rows: against the same weights in floats.
    let stored = naive(
        &mut Random::new(&shape(), Dtype::Q4_1, &Device::Cpu).unwrap(),
        &tokens,
    );
    close(&stored[3], &feed(Dtype::Q4_1, &[&tokens]), 0.03);
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let answers: Vec<Answer> = (0..2)
        .map(|_| ask(&mut load(small(), None).unwrap(), &request("hello", 20)).unwrap())
        .collect();
    assert_eq!(answers[0], answers[1]);
    let mut other = small();
    other["weights"]["synthetic"]["seed"] = json!(2);
    assert_ne!(
        answers[0].text(),
        ask(&mut load(other, None).unwrap(), &request("hello", 20))
            .unwrap()
            .text()
    );

    let mut engine = load(small(), None).unwrap();
    let mut sampled = |seed: u64, top_p: f64| {
        let request = Request {
            temperature: 1.0,
            top_p: Some(top_p),
            seed,
            ignore_eos: true,
            ..request("hello", 20)
        };
        ask(&mut engine, &request).unwrap().text()
    };
    assert_eq!(sampled(5, 0.9), sampled(5, 0.9));
    assert_ne!(sampled(5, 0.9), sampled(6, 0.9));
    // A nucleus of one token is greedy.
    assert_eq!(sampled(5, 1e-9), sampled(6, 1e-9));
}

fn said(role: Role, content: &str) -> ChatMessage {
    ChatMessage {
        role,
        content: content.to_owned(),
    }
}

#[test]
fn events_are_complete_and_in_order() {
    let mut engine = load(small(), None).unwrap();
    for _ in 0..2 {
        let answer = ask(
            &mut engine,
            &Request {
                api: Api::Chat,
                system: Some("s".to_owned()),
                ignore_eos: true,
                ..request("hé", 7)
            },
        )
        .unwrap();
        assert_eq!(
            answer.events[0],
            (EventKind::ServedModel, 0, "m".to_owned())
        );
        assert_eq!(
            answer.events[1],
            (EventKind::EngineVersion, 0, ENGINE_VERSION.to_owned())
        );
        assert!(
            answer.events[2..9]
                .iter()
                .all(|event| event.0 == EventKind::Text && event.1 == 1)
        );
        let rest: Vec<_> = answer.events[9..]
            .iter()
            .map(|event| (event.0, event.1, event.2.as_str()))
            .collect();
        let prompt = "system: s\nuser: hé\nassistant: ".len() as u32 + 1;
        assert_eq!(
            rest,
            [
                (EventKind::OutputTokens, 7, ""),
                (EventKind::PromptTokens, prompt, ""),
                (EventKind::CachedTokens, 0, ""),
                (EventKind::Finish, 0, "length"),
                (EventKind::End, 0, ""),
            ]
        );
    }
    let conversation = |api| Request {
        api,
        history: vec![said(Role::User, "a"), said(Role::Assistant, "b")],
        ..request("c", 1)
    };
    let answer = ask(&mut engine, &conversation(Api::Chat)).unwrap();
    let prompt = "user: a\nassistant: b\nuser: c\nassistant: ".len() as u32 + 1;
    assert_eq!(answer.count(EventKind::PromptTokens), prompt);
    let error = ask(&mut engine, &conversation(Api::Completions)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    let none = ask(&mut engine, &request("x", 0)).unwrap();
    assert_eq!(
        (none.count(EventKind::OutputTokens), none.finish()),
        (0, "length")
    );
}

#[test]
fn an_end_token_ends_unless_ignored() {
    let mut engine = load(small(), None).unwrap();
    // At a high temperature all 300 tokens are about as likely.
    let mut at = |seed: u64, ignore_eos: bool| {
        ask(
            &mut engine,
            &Request {
                temperature: 50.0,
                seed,
                ignore_eos,
                ..request("a", 100)
            },
        )
        .unwrap()
    };
    let ended = (0..200)
        .map(|seed| at(seed, false))
        .find(|answer| answer.finish() == "stop")
        .unwrap();
    // The end token is counted, but has no event of its own.
    let own = ended
        .events
        .iter()
        .filter(|event| event.0 == EventKind::Text && event.1 == 1)
        .count();
    assert_eq!(own as u32 + 1, ended.count(EventKind::OutputTokens));
    for seed in 0..20 {
        let answer = at(seed, true);
        assert_eq!(
            (
                answer.count(EventKind::OutputTokens),
                answer.pieces.len(),
                answer.finish()
            ),
            (100, 100, "length")
        );
    }
}

#[test]
fn stop_texts_end_an_answer() {
    let mut engine = load(small(), None).unwrap();
    let plain = ask(&mut engine, &request("hello", 20)).unwrap();
    // A stop text over the border of two tokens.
    let at = plain.pieces.iter().take(8).map(String::len).sum::<usize>();
    let text = plain.text();
    let (from, to) = (
        text.floor_char_boundary(at - 2),
        text.ceil_char_boundary(at + 2),
    );
    let stop = text[from..to].to_owned();
    let stopped = ask(
        &mut engine,
        &Request {
            stop: vec!["never".to_owned(), stop.clone()],
            ..request("hello", 20)
        },
    )
    .unwrap();
    assert_eq!(stopped.text(), text[..text.find(&stop).unwrap()]);
    assert_eq!(stopped.finish(), "stop");
    assert!(stopped.count(EventKind::OutputTokens) <= 10);
    // Text that is held back is not lost.
    let held = ask(
        &mut engine,
        &Request {
            stop: vec![format!("{text}!")],
            ..request("hello", 20)
        },
    )
    .unwrap();
    assert_eq!((held.text(), held.finish()), (text, "length"));
}

#[test]
fn stop_filter_and_characters_survive_any_split() {
    let text = "a😀é\u{1F468}\u{200D}\u{1F469}z";
    for size in 1..=text.len() {
        let mut stream = Utf8Stream::default();
        let joined: String = text
            .as_bytes()
            .chunks(size)
            .map(|bytes| stream.push(bytes))
            .collect();
        assert_eq!((joined.as_str(), stream.finish().as_str()), (text, ""));
    }
    let mut stream = Utf8Stream::default();
    assert_eq!(stream.push(&[b'a', 0xff, b'b', 0xe2, 0x82]), "a\u{FFFD}b");
    assert_eq!(stream.push(&[0xac]), "€");
    assert_eq!(stream.push(&[0xe2, 0x82]), "");
    assert_eq!(stream.push(b"c"), "\u{FFFD}c");
    stream.push(&[0xf0]);
    assert_eq!(stream.finish(), "\u{FFFD}");

    let stops = ["abcd".to_owned(), "bx".to_owned(), String::new()];
    let run = |pieces: &[&str]| {
        let mut filter = StopFilter::new(&stops);
        let mut sent = String::new();
        for piece in pieces {
            let (text, stopped) = filter.push(piece);
            sent.push_str(&text);
            if stopped {
                return (sent, true);
            }
        }
        sent.push_str(&filter.finish());
        (sent, false)
    };
    assert_eq!(run(&["1a", "b", "c", "d2"]), ("1".to_owned(), true));
    assert_eq!(run(&["ab", "x"]), ("a".to_owned(), true));
    assert_eq!(run(&["ab", "c"]), ("abc".to_owned(), false));
    assert_eq!(run(&["aab", "cde"]), ("a".to_owned(), true));
}

#[test]
fn a_prompt_must_fit_the_context() {
    let mut limited = small();
    limited["context"] = json!(16);
    let mut engine = load(limited, None).unwrap();
    let error = ask(&mut engine, &request(&"x".repeat(15), 4)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(
        error.message.contains("16 tokens") && error.message.contains("15"),
        "{error}"
    );
    let answer = ask(
        &mut engine,
        &Request {
            ignore_eos: true,
            ..request("x", 100)
        },
    )
    .unwrap();
    assert_eq!(
        (answer.count(EventKind::OutputTokens), answer.finish()),
        (14, "length")
    );
    let mut wide = small();
    wide["context"] = json!(129);
    assert_eq!(
        load(wide, None).err().unwrap().path.as_deref(),
        Some("/context")
    );
}

#[test]
fn a_request_with_images_is_an_error() {
    // Through the table, as the host calls the engine.
    unsafe extern "C" fn write(ctx: *mut c_void, bytes: Str) {
        // SAFETY: `ctx` is the text handed to the call; `bytes` is lent for it.
        unsafe { (*ctx.cast::<Vec<u8>>()).extend_from_slice(bytes.get()) }
    }
    unsafe extern "C" fn emit(ctx: *mut c_void, _: *const RawEvent) -> i32 {
        // SAFETY: as above.
        unsafe { (*ctx.cast::<Vec<u8>>()).push(b'!') }
        0
    }
    let mut config = small();
    config["threads"] = json!(1);
    let input = json!({ "config": config, "model": { "id": "m", "path": null } }).to_string();
    let mut said = Vec::<u8>::new();
    let ctx = (&raw mut said).cast();
    // SAFETY: the input outlives the call; `write` gets its context.
    let engine = unsafe { PLUGIN.engine_open.unwrap()(Str::of(input.as_bytes()), write, ctx) };
    assert!(!engine.is_null());
    for images in 0..3 {
        let request = Request {
            images: vec![
                Image {
                    media_type: "image/png".to_owned(),
                    data: b"png".to_vec(),
                };
                images
            ],
            ..request("p", 1)
        };
        let request = json!(request).to_string();
        said.clear();
        let generate = PLUGIN.engine_generate.unwrap();
        // SAFETY: as above; `engine` is open.
        let code = unsafe { generate(engine, Str::of(request.as_bytes()), emit, write, ctx) };
        let said = String::from_utf8_lossy(&said);
        if images == 0 {
            assert_eq!(code, code::OK, "{said}");
            assert!(said.starts_with('!'), "{said}");
        } else {
            assert_eq!(code, code::ERR, "{said}");
            let error: Error = serde_json::from_str(&said).unwrap();
            assert_eq!(error.kind, ErrorKind::Unsupported);
            assert!(error.message.contains("takes no images"), "{error}");
        }
    }
    // SAFETY: closed once.
    unsafe { PLUGIN.engine_close.unwrap()(engine) }
}

#[test]
fn wrong_options_are_explained() {
    for (value, place) in [
        (json!({ "layers": 0 }), "layers"),
        (json!({ "hidden": 100 }), "hidden"),
        (json!({ "heads": 8, "kv_heads": 3 }), "kv_heads"),
        (json!({ "vocab": 10 }), "vocab"),
    ] {
        let error = load(json!({ "weights": { "synthetic": value } }), None)
            .err()
            .unwrap();
        assert_eq!(
            (error.kind, error.path.unwrap()),
            (
                ErrorKind::InvalidConfig,
                format!("/weights/synthetic/{place}")
            )
        );
    }
    let mut odd = small();
    odd["weights"]["synthetic"]["intermediate"] = json!(100);
    odd["dtype"] = json!("q8_0");
    let error = load(odd, None).err().unwrap();
    assert!(
        error.message.contains("ffn_down") && error.message.contains("blocks of 32"),
        "{error}"
    );

    for bad in [
        json!({ "weigths": {} }),
        json!({ "dtype": "q9" }),
        json!({ "weights": { "synthetic": { "depth": 1 } } }),
        json!({ "threads": -1 }),
    ] {
        assert!(serde_json::from_value::<Config>(bad).is_err());
    }
    assert!(
        load(json!({}), None)
            .err()
            .unwrap()
            .message
            .contains("weights.gguf")
    );
    if !cfg!(feature = "cuda") {
        assert_eq!(
            load(json!({ "device": "cuda" }), None)
                .err()
                .unwrap()
                .path
                .as_deref(),
            Some("/device")
        );
    }
    let mut hot = request("x", 1);
    hot.temperature = -1.0;
    assert_eq!(
        ask(&mut load(small(), None).unwrap(), &hot)
            .unwrap_err()
            .kind,
        ErrorKind::Unsupported
    );

    let again = Candle::load(
        Config {
            threads: Some(3),
            ..config(small())
        },
        &Model {
            id: "m".to_owned(),
            path: None,
        },
    )
    .err()
    .unwrap();
    assert!(
        again.path.as_deref() == Some("/threads") && again.message.contains("already"),
        "{again}"
    );
}

#[test]
fn the_schema_has_the_documentation() {
    let schema = prony_plugin_sdk::schemars::schema_for!(Config).to_value();
    assert_eq!(schema["additionalProperties"], json!(false));
    let text = schema.to_string();
    for word in ["q8_0", "q4_k", "synthetic", "Seed of the weights"] {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn the_version_is_that_of_the_lock_file() {
    let lock =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock"))
            .unwrap();
    let after = lock
        .split("name = \"candle-core\"\nversion = \"")
        .nth(1)
        .unwrap();
    assert_eq!(
        ENGINE_VERSION,
        format!("candle {}", after.split('"').next().unwrap())
    );
}

/// A tiny GGUF file with a byte-level vocabulary; `change` may break it.
struct File {
    metadata: Vec<(String, Value)>,
    tensors: Vec<(String, QTensor)>,
}

impl File {
    fn new(dtype: Dtype) -> Self {
        let mut source = Random::new(&shape(), dtype, &Device::Cpu).unwrap();
        let Hyper {
            layers,
            hidden,
            intermediate,
            heads,
            kv_heads,
            vocab,
            rms_eps,
            ..
        } = source.hyper().clone();
        let mut tensors = vec![
            (
                "token_embd.weight".to_owned(),
                source.matrix("token_embd.weight", vocab, hidden).unwrap(),
            ),
            (
                "output.weight".to_owned(),
                source.matrix("output.weight", vocab, hidden).unwrap(),
            ),
        ];
        let narrow = hidden / heads * kv_heads;
        let mut vectors = vec!["output_norm.weight".to_owned()];
        for layer in 0..layers {
            for (part, rows, columns) in [
                ("attn_q", hidden, hidden),
                ("attn_k", narrow, hidden),
                ("attn_v", narrow, hidden),
                ("attn_output", hidden, hidden),
                ("ffn_gate", intermediate, hidden),
                ("ffn_up", intermediate, hidden),
                ("ffn_down", hidden, intermediate),
            ] {
                let name = format!("blk.{layer}.{part}.weight");
                let matrix = source.matrix(&name, rows, columns).unwrap();
                tensors.push((name, matrix));
            }
            vectors
                .extend(["attn_norm", "ffn_norm"].map(|part| format!("blk.{layer}.{part}.weight")));
        }
        for name in vectors {
            let vector = source.vector(&name, hidden).unwrap();
            tensors.push((name, QTensor::quantize(&vector, GgmlDType::F32).unwrap()));
        }
        let text = |text: &str| Value::String(text.to_owned());
        let number = |number: usize| Value::U32(number as u32);
        // 256 bytes as GPT-2 writes them, two merges, control tokens.
        let mut tokens: Vec<String> = (0..=255_u32)
            .map(|byte| {
                let code = match byte {
                    0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => byte,
                    0..=0x20 => 0x100 + byte,
                    0x7f..=0xa0 => 0x121 + byte - 0x7f,
                    _ => 0x143,
                };
                char::from_u32(code).unwrap().to_string()
            })
            .collect();
        tokens.extend(["he", "\u{120}he", "<s>", "</s>", "<|im_end|>"].map(str::to_owned));
        let types = (0..tokens.len())
            .map(|id| Value::I32(if id >= 258 { 3 } else { 1 }))
            .collect();
        let metadata = vec![
            ("general.architecture", text("llama")),
            ("general.name", text("tiny")),
            ("llama.block_count", number(layers)),
            ("llama.context_length", number(256)),
            ("llama.embedding_length", number(hidden)),
            ("llama.feed_forward_length", number(intermediate)),
            ("llama.attention.head_count", number(heads)),
            ("llama.attention.head_count_kv", number(kv_heads)),
            (
                "llama.attention.layer_norm_rms_epsilon",
                Value::F32(rms_eps),
            ),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("smollm")),
            (
                "tokenizer.ggml.tokens",
                Value::Array(tokens.into_iter().map(Value::String).collect()),
            ),
            ("tokenizer.ggml.token_type", Value::Array(types)),
            (
                "tokenizer.ggml.merges",
                Value::Array(vec![text("h e"), text("\u{120} he")]),
            ),
            ("tokenizer.ggml.bos_token_id", number(258)),
            ("tokenizer.ggml.eos_token_id", number(259)),
            ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
        ];
        Self {
            metadata: metadata
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            tensors,
        }
    }

    fn set(mut self, key: &str, value: Option<Value>) -> Self {
        self.metadata.retain(|(other, _)| other != key);
        self.metadata
            .extend(value.map(|value| (key.to_owned(), value)));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = std::io::Cursor::new(Vec::new());
        let metadata: Vec<_> = self
            .metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value))
            .collect();
        let tensors: Vec<_> = self
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
            .collect();
        gguf_file::write(&mut out, &metadata, &tensors).unwrap();
        out.into_inner()
    }
}

fn load_bytes(bytes: &[u8], config: serde_json::Value) -> Result<Candle> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    load(config, Some(file.path()))
}

#[test]
fn a_file_gives_the_answers_of_its_weights() {
    let mut engine = load_bytes(&File::new(Dtype::F32).bytes(), json!({})).unwrap();
    let answer = ask(
        &mut engine,
        &Request {
            ignore_eos: true,
            ..request("he he12", 6)
        },
    )
    .unwrap();
    assert_eq!(answer.events[0].2, "tiny");
    // <s>, "he", " he", "1", "2"
    assert_eq!(answer.count(EventKind::PromptTokens), 5);
    let mut tokens = vec![258, 256, 257, u32::from(b'1'), u32::from(b'2')];
    let mut source = Random::new(&shape(), Dtype::F32, &Device::Cpu).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..6 {
        let mut logits = naive(&mut source, &tokens).pop().unwrap();
        logits[259] = f32::MIN;
        logits[260] = f32::MIN;
        let best = (0..logits.len())
            .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
            .unwrap() as u32;
        tokens.push(best);
        match best {
            0..=255 => bytes.push(best as u8),
            256 => bytes.extend(b"he"),
            257 => bytes.extend(b" he"),
            _ => {}
        }
    }
    assert_eq!(answer.text(), String::from_utf8_lossy(&bytes));

    // Control tokens in a prompt are those tokens; a begin token is not doubled.
    let count = |engine: &mut Candle, prompt: &str| {
        ask(engine, &request(prompt, 1))
            .unwrap()
            .count(EventKind::PromptTokens)
    };
    assert_eq!(count(&mut engine, "<s>he<|im_end|>"), 3);
    assert_eq!(count(&mut engine, "日本 12"), 1 + 6 + 3);

    let error = ask(
        &mut engine,
        &Request {
            api: Api::Chat,
            ..request("x", 1)
        },
    )
    .unwrap_err();
    assert!(error.message.contains("no chat template"), "{error}");
    // Other types: converted at load.
    for dtype in ["q8_0", "q4_0", "q4_1", "f16"] {
        assert_eq!(
            count(
                &mut load_bytes(&File::new(Dtype::F32).bytes(), json!({ "dtype": dtype })).unwrap(),
                "he"
            ),
            2
        );
    }
    let stored = ask(
        &mut load_bytes(&File::new(Dtype::Q8_0).bytes(), json!({})).unwrap(),
        &request("he", 8),
    )
    .unwrap();
    let converted = ask(
        &mut load_bytes(&File::new(Dtype::F32).bytes(), json!({ "dtype": "q8_0" })).unwrap(),
        &request("he", 8),
    )
    .unwrap();
    assert_eq!(stored, converted);
}

#[test]
fn chat_templates_are_rendered() {
    let chat = |template: &str| -> Result<u32> {
        let file = File::new(Dtype::F32).set(
            "tokenizer.chat_template",
            Some(Value::String(template.to_owned())),
        );
        let request = Request {
            api: Api::Chat,
            system: Some("S".to_owned()),
            ..request(" hi ", 1)
        };
        ask(&mut load_bytes(&file.bytes(), json!({}))?, &request)
            .map(|answer| answer.count(EventKind::PromptTokens))
    };
    // <s> S - hi ! </s>; the begin token comes from the template only.
    let template = "{{ bos_token }}{% for message in messages %}\n{{ message['content'].strip() }}{% if not loop.last %}-{% endif %}\n{% endfor %}{% if add_generation_prompt and not tools %}!{{ eos_token }}{% endif %}";
    assert_eq!(chat(template), Ok(7));
    assert!(
        chat("{{ raise_exception('no system') }}")
            .unwrap_err()
            .message
            .contains("no system")
    );
    assert!(
        chat("{% if %}")
            .unwrap_err()
            .message
            .contains("chat template")
    );
}

#[test]
fn sentence_pieces_merge_by_score() {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255_u8).map(|byte| format!("<0x{byte:02X}>")));
    let first = tokens.len();
    let pieces = [
        ("\u{2581}", -9.0),
        ("h", -9.0),
        ("i", -9.0),
        ("t", -9.0),
        ("hi", -1.0),
        ("it", -0.5),
        ("\u{2581}hi", -2.0),
    ];
    tokens.extend(pieces.iter().map(|(piece, _)| (*piece).to_owned()));
    let scores = (0..tokens.len())
        .map(|id| {
            Value::F32(if id < first {
                0.0
            } else {
                pieces[id - first].1
            })
        })
        .collect();
    let types = (0..tokens.len())
        .map(|id| {
            Value::I32(match id {
                0 => 2,
                1 | 2 => 3,
                id if id < first => 6,
                _ => 1,
            })
        })
        .collect();
    let file = File::new(Dtype::F32)
        .set(
            "tokenizer.ggml.model",
            Some(Value::String("llama".to_owned())),
        )
        .set(
            "tokenizer.ggml.tokens",
            Some(Value::Array(
                tokens.into_iter().map(Value::String).collect(),
            )),
        )
        .set("tokenizer.ggml.scores", Some(Value::Array(scores)))
        .set("tokenizer.ggml.token_type", Some(Value::Array(types)))
        .set("tokenizer.ggml.bos_token_id", Some(Value::U32(1)))
        .set("tokenizer.ggml.eos_token_id", Some(Value::U32(2)))
        .set("tokenizer.ggml.unknown_token_id", Some(Value::U32(0)));
    let mut engine = load_bytes(&file.bytes(), json!({})).unwrap();
    let mut count = |prompt: &str| {
        ask(&mut engine, &request(prompt, 1))
            .unwrap()
            .count(EventKind::PromptTokens)
    };
    assert_eq!(count("hi"), 2); // <s> "▁hi"
    assert_eq!(count("hit"), 4); // <s> "▁" "h" "it": the better score merges first
    assert_eq!(count("hi hi"), 3);
    assert_eq!(count("é"), 4); // <s> "▁" and two bytes
}

#[test]
fn broken_files_give_errors() {
    let good = File::new(Dtype::F32).bytes();
    let fails = |bytes: &[u8], word: &str| {
        let error = load_bytes(bytes, json!({})).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Engine, "{error}");
        assert!(error.message.contains(word), "`{word}` not in: {error}");
    };
    fails(b"", "GGUF");
    fails(b"{\"not\": \"gguf\"}", "magic");
    for end in [3, 20, 200, 5000, good.len() / 2, good.len() - 100] {
        assert_eq!(
            load_bytes(&good[..end], json!({})).err().unwrap().kind,
            ErrorKind::Engine,
            "{end}"
        );
    }
    fails(&good[..good.len() / 2], "remaining in file");
    assert!(
        load(json!({}), Some(Path::new("/nonexistent.gguf")))
            .err()
            .unwrap()
            .message
            .contains("cannot open")
    );
    assert!(
        load(json!({}), Some(&std::env::temp_dir()))
            .err()
            .unwrap()
            .message
            .contains("folder")
    );

    let number = |number: u32| Some(Value::U32(number));
    let text = |text: &str| Some(Value::String(text.to_owned()));
    for (key, value, word) in [
        ("general.architecture", text("qwen2"), "`qwen2`"),
        ("general.alignment", number(0), "malformed"),
        ("llama.block_count", None, "llama.block_count"),
        ("llama.block_count", number(3), "blk.2.attn"),
        ("llama.block_count", number(0), "block_count"),
        ("llama.embedding_length", text("wide"), "embedding_length"),
        ("llama.embedding_length", number(32), "token_embd"),
        ("llama.attention.head_count", number(5), "heads"),
        (
            "llama.attention.head_count_kv",
            number(3),
            "key-value heads",
        ),
        ("llama.attention.head_count_kv", number(4), "attn_k"),
        ("llama.rope.dimension_count", number(4), "rotates 4"),
        ("llama.rope.scaling.type", text("yarn"), "yarn"),
        ("llama.expert_count", number(8), "experts"),
        ("tokenizer.ggml.model", text("t5"), "`t5`"),
        ("tokenizer.ggml.pre", text("other"), "`other`"),
        ("tokenizer.ggml.merges", None, "merges"),
        (
            "tokenizer.ggml.merges",
            Some(Value::Array(vec![Value::String("x".to_owned())])),
            "merge",
        ),
        (
            "tokenizer.ggml.merges",
            Some(Value::Array(vec![Value::String("zz yy".to_owned())])),
            "tokenizer",
        ),
        ("tokenizer.ggml.eos_token_id", number(9999), "eos"),
    ] {
        fails(&File::new(Dtype::F32).set(key, value).bytes(), word);
    }
    let mut missing = File::new(Dtype::F32);
    missing
        .tensors
        .retain(|(name, _)| name != "blk.1.ffn_up.weight");
    fails(&missing.bytes(), "blk.1.ffn_up.weight");
    let mut wrong = File::new(Dtype::F32);
    let matrix = QTensor::quantize(
        &Tensor::zeros((8, 8), candle_core::DType::F32, &Device::Cpu).unwrap(),
        GgmlDType::F32,
    )
    .unwrap();
    wrong
        .tensors
        .retain(|(name, _)| name != "blk.1.ffn_up.weight");
    wrong
        .tensors
        .push(("blk.1.ffn_up.weight".to_owned(), matrix));
    fails(&wrong.bytes(), "[8, 8], expected [96, 64]");
    // No byte may bring it down.
    for at in (0..good.len().min(12_000)).step_by(61) {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        let _ = load_bytes(&bytes, json!({}));
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "says why it did nothing")]
fn a_real_model_gives_known_answers() {
    let Ok(path) = std::env::var("PRONY_SMOLLM2") else {
        eprintln!("skipped: PRONY_SMOLLM2 is not the path of SmolLM2-135M-Instruct Q4_1");
        return;
    };
    let text = |dtype: &str, request: &Request| {
        let answer = ask(
            &mut load(
                json!({ "dtype": dtype, "context": 512 }),
                Some(Path::new(&path)),
            )
            .unwrap(),
            request,
        )
        .unwrap();
        (
            answer.text(),
            answer.count(EventKind::PromptTokens),
            answer.finish().to_owned(),
        )
    };
    // Two other engines (mlx, vLLM) gave exactly this for the same weights in floats.
    let chat = Request {
        api: Api::Chat,
        ..request("Write one sentence about the sea.", 24)
    };
    let sea = "The sea is a vast and mysterious realm, teeming with life and unending in its own way, a testament to the";
    assert_eq!(
        text("f32", &chat),
        (sea.to_owned(), 37, "length".to_owned())
    );
    let (native, count, _) = text("native", &chat);
    assert!(
        count == 37 && native.starts_with("The sea is a vast and mysterious realm"),
        "{native}"
    );
    // As llama.cpp begins; its inputs are rounded more, so it goes on differently.
    let (native, count, _) = text("native", &request("The capital of France is", 24));
    assert!(
        count == 5 && native.starts_with(" Paris.\n\nThe"),
        "{native}"
    );
    let ended = text(
        "native",
        &Request {
            api: Api::Chat,
            ..request("Say hi.", 200)
        },
    );
    assert_eq!(ended.2, "stop", "{}", ended.0);
}
