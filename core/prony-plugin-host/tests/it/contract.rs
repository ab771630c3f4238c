//! What was published of the contract stays as it was, and plugins that were built for it load.

use crate::support::{at, model, request};
use flate2::read::GzDecoder;
use prony_contract::{Api, EventKind, Ready, Request, Response};
use prony_plugin_host::{Limits, Plugin as _, WasmHost};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

#[test]
fn the_published_files_of_this_version_are_those_in_use() {
    let published = schemas().join("frozen").join(prony_plugin_host::contract());
    for (name, used) in [
        ("plugin.wit", "wit/plugin.wit"),
        ("prony_plugin.h", "include/prony_plugin.h"),
    ] {
        let read = |path: PathBuf| {
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        assert!(
            read(published.join(name)) == read(schemas().join(used)),
            "`schemas/{used}` differs from what was published as contract {}: a change of the contract is a new version, see docs/contract.md",
            prony_plugin_host::contract()
        );
    }
}

/// Built from the untouched templates of prony of that version.
#[test]
fn plugins_built_for_an_earlier_version_of_1_load_and_work() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let cache = tempfile::tempdir().unwrap();
    let host = WasmHost::new(cache.path(), Limits::default()).unwrap();
    for (version, language) in [("1.0", "rust"), ("1.0", "c"), ("1.0", "javascript")] {
        let path = fixtures.join(format!("contract-{version}/{language}.wasm.gz"));
        let mut bytes = Vec::new();
        GzDecoder::new(File::open(&path).unwrap())
            .read_to_end(&mut bytes)
            .unwrap();
        let plugin = host
            .load(&path, &bytes)
            .unwrap_or_else(|error| panic!("{version} {language}: {error}"));
        let config = json!({ "base_url": "http://127.0.0.1:9" });
        let plan = plugin.launch(&config, &model(), &at()).unwrap();
        assert_eq!(plan.ready, Ready::Http("/health".to_owned()), "{language}");
        let asked = Request {
            seed: 7,
            ..request(Api::Chat)
        };
        let made = plugin.encode(&config, &model(), &asked);
        let made = made.unwrap_or_else(|error| panic!("{language}: {error}"));
        let body: Value = serde_json::from_str(&made.body).unwrap();
        let message = json!({ "role": "user", "content": "p" });
        assert_eq!(
            (&made.path, &body["messages"][0], &body["seed"]),
            (&"/generate".to_owned(), &message, &json!(7)),
            "{language}"
        );
        let body =
            b"{\"text\":\"a\"}\n{\"done\":\"stop\",\"prompt_tokens\":1,\"output_tokens\":1}\n";
        let events = plugin
            .decode(&config, &Response::new(200, body, &[13, body.len() as u32]))
            .unwrap_or_else(|error| panic!("{language}: {error}"));
        let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds.first(), Some(&EventKind::Text), "{language}");
        assert_eq!(kinds.last(), Some(&EventKind::End), "{language}");
        let reads: Vec<u32> = events.iter().map(|event| event.read).collect();
        assert_eq!((reads[0], reads[reads.len() - 1]), (0, 1), "{language}");
    }
}
