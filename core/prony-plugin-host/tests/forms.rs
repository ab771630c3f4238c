//! One source, three forms: the same adapter as a WASM component, as a shared
//! library and linked into this program says the same.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use prony_contract::{Api, ChatMessage, EventKind, Image, Request, Response, Role};
use prony_plugin_host::{Limits, NativePlugin, Plugin, Setup, WasmHost};
use serde_json::{Value, json};
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};
use support::{Hosted, at, built, core_module, model, request};

struct Forms {
    linked: NativePlugin,
    others: [(&'static str, Box<dyn Plugin>); 2],
    _folder: tempfile::TempDir,
}

fn forms() -> Forms {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let module = core_module("engine-openai");
    let lock = folder.path().join("prony.lock");
    let entry = prony_plugin_host::add(
        &module,
        &lock,
        &[],
        &Setup {
            cache: cache.clone(),
            ..Setup::default()
        },
    )
    .unwrap();
    let component = folder.path().join(entry.path);
    let wasm = WasmHost::new(&cache, Limits::default())
        .unwrap()
        .load(&component, &std::fs::read(&component).unwrap())
        .unwrap();
    let library = built(
        &format!("{DLL_PREFIX}engine_openai{DLL_SUFFIX}"),
        "cargo build --release -p engine-openai",
    );
    Forms {
        linked: NativePlugin::linked(&engine_openai::PLUGIN).unwrap(),
        others: [
            ("wasm", Box::new(wasm)),
            ("library", Box::new(NativePlugin::open(&library).unwrap())),
        ],
        _folder: folder,
    }
}

fn recordings() -> PathBuf {
    Path::new("../../plugins/engine-openai/fixtures").to_owned()
}

#[test]
fn all_forms_check_their_options() {
    let forms = forms();
    for (config, path) in [
        (json!({}), Some("")),
        (
            json!({ "base_url": "http://h:1/v1/completions" }),
            Some("/base_url"),
        ),
        (
            json!({ "launch": { "command": [""] } }),
            Some("/launch/command/0"),
        ),
        (
            json!({ "recipe": "llama-cpp", "base_url": "http://h:1", "threads": 4 }),
            Some("/threads"),
        ),
        (json!({ "base_url": "http://h:1/v1?api-version=1" }), None),
        (
            json!({ "launch": { "command": ["server", "--port", 8080] } }),
            None,
        ),
    ] {
        let linked = forms.linked.check(&config).unwrap();
        let paths: Vec<_> = linked.iter().map(|error| error.path.as_deref()).collect();
        assert_eq!(
            paths,
            path.map(Some).into_iter().collect::<Vec<_>>(),
            "{config}"
        );
        for (form, plugin) in &forms.others {
            assert_eq!(plugin.check(&config).unwrap(), linked, "{form}: {config}");
        }
    }
}

#[test]
fn all_forms_conform() {
    let forms = forms();
    for (_, form) in &forms.others {
        prony_plugin_test::Engine::new(&Hosted(&**form))
            .config(r#"{ "base_url": "http://127.0.0.1:8080" }"#)
            .fixtures(recordings())
            .samples(40)
            .check();
    }
}

#[test]
fn all_forms_hear_the_same() {
    let forms = forms();
    let config = json!({ "base_url": "http://h" });
    let mut bodies = 0;
    for file in std::fs::read_dir(recordings()).unwrap() {
        let path = file.unwrap().path();
        if path
            .extension()
            .is_none_or(|it| it != "sse" && it != "body")
        {
            continue;
        }
        bodies += 1;
        let body = std::fs::read(&path).unwrap();
        for (status, ends) in [200, 404]
            .into_iter()
            .flat_map(|status| splits(body.len()).map(move |ends| (status, ends)))
        {
            let linked = forms
                .linked
                .decode(&config, &Response::new(status, &body, &ends));
            let linked = linked.map_err(prony_plugin_host::Error::into_reported);
            for (form, plugin) in &forms.others {
                let other = plugin.decode(&config, &Response::new(status, &body, &ends));
                let other = other.map_err(prony_plugin_host::Error::into_reported);
                assert_eq!(other, linked, "{form}, {}, {ends:?}", path.display());
            }
        }
    }
    assert!(bodies > 20, "{bodies} recordings");
}

#[test]
fn all_forms_ask_for_the_same() {
    let forms = forms();
    let launch = json!({ "command": ["a", 1, 0.5], "env": { "A": "é" }, "cwd": "/tmp" });
    for config in [
        json!({ "base_url": "http://h:1/x", "api_key": "k", "body": { "n": 1e-7 } }),
        json!({ "launch": launch, "model": "other", "headers": { "x": "y" } }),
        json!({ "launch": { "command": [], "ready": { "log_line": "x" } } }),
        json!({ "base_url": "https://h" }),
        json!({ "unknown": 1 }),
        json!(null),
    ] {
        let asked = |plugin: &dyn Plugin| -> Value {
            let plan = plugin.launch(&config, &model(), &at());
            let text_only = [Api::Chat, Api::Completions].map(request);
            let with_image = text_only.clone().map(|request| Request {
                images: vec![image(300)],
                ..request
            });
            let said = |role, content: &str| ChatMessage {
                role,
                content: content.to_owned(),
            };
            let with_history = text_only.clone().map(|request| Request {
                history: vec![said(Role::User, "é\n"), said(Role::Assistant, "\"")],
                ..request
            });
            let all = [text_only, with_image, with_history].concat();
            let sent = all.into_iter().map(|request| {
                let made = plugin.encode(&config, &model(), &request);
                made.map_err(prony_plugin_host::Error::into_reported)
            });
            let sent: Vec<_> = sent.collect();
            json!([plan.map_err(prony_plugin_host::Error::into_reported), sent])
        };
        let linked = asked(&forms.linked);
        for (form, plugin) in &forms.others {
            assert_eq!(asked(&**plugin), linked, "{form}, {config}");
        }
    }
    let manifest = forms.linked.describe().unwrap();
    for (form, plugin) in &forms.others {
        assert_eq!(plugin.describe().unwrap(), manifest, "{form}");
    }
}

#[test]
fn a_large_image_arrives_whole_in_every_form() {
    let forms = forms();
    // It would not fit into the memory of a call without images.
    let image = image(40 << 20);
    let url = image.data_url();
    let request = Request {
        images: vec![image],
        ..request(Api::Chat)
    };
    let config = json!({ "base_url": "http://h" });
    let plugins = forms
        .others
        .iter()
        .map(|(form, plugin)| (*form, &**plugin))
        .chain([("linked", &forms.linked as &dyn Plugin)]);
    for (form, plugin) in plugins {
        let made = plugin.encode(&config, &model(), &request).unwrap();
        let body: Value = serde_json::from_str(&made.body).unwrap();
        let sent = &body["messages"][0]["content"][0]["image_url"]["url"];
        assert!(sent.as_str() == Some(&url), "{form}");
    }
}

#[test]
fn a_large_answer_is_read_whole_in_every_form() {
    let forms = forms();
    // The shortest texts make the most events.
    let piece = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    let pieces = (90 << 20) / piece.len();
    let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let body = piece.repeat(pieces) + end;
    let ends = [body.len() as u32];
    let config = json!({ "base_url": "http://h" });
    let heard = |plugin: &dyn Plugin| {
        let events = plugin
            .decode(&config, &Response::new(200, body.as_bytes(), &ends))
            .unwrap();
        let ended = events.last().is_some_and(|it| it.kind == EventKind::End);
        (events.len(), ended)
    };
    let linked = heard(&forms.linked);
    // And of the last message: that it came, its finish reason, and the end.
    assert_eq!(linked, (pieces + 3, true));
    for (form, plugin) in &forms.others {
        assert_eq!(heard(&**plugin), linked, "{form}");
    }
}

fn image(length: u32) -> Image {
    Image {
        media_type: "image/png".to_owned(),
        data: (0..length)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect(),
    }
}

/// Whole, byte by byte, in equal reads of many sizes, and cut once in many
/// places.
fn splits(length: usize) -> impl Iterator<Item = Vec<u32>> {
    let end = length as u32;
    let equal = [1, 2, 3, 7, 64, 255, 1448, 4096]
        .into_iter()
        .map(move |size| {
            let mut ends: Vec<u32> = (size..end).step_by(size as usize).collect();
            ends.extend((end > 0).then_some(end));
            ends
        });
    let once = (1..end)
        .step_by(1 + length / 40)
        .map(move |cut| vec![cut, end]);
    [vec![]].into_iter().chain(equal).chain(once)
}
