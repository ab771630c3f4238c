//! Memory and time of a reporter grow with the result.

use crate::support::core_module;
use prony_plugin_host::{Limits, Plugin, Setup, WasmHost, WasmPlugin};
use serde_json::{Value, json};
use std::path::Path;

/// The matrix points that a pipeline can have.
const MOST_POINTS: usize = 1000;

fn shipped(name: &str, folder: &Path) -> WasmPlugin {
    let setup = Setup {
        cache: folder.join("cache"),
        ..Setup::default()
    };
    let module = core_module(&format!("reporter-{name}"));
    let entry = prony_plugin_host::add(&module, &folder.join("prony.lock"), &[], &setup).unwrap();
    let path = folder.join(entry.path);
    let host = WasmHost::new(&setup.cache, Limits::default()).unwrap();
    host.load(&path, &std::fs::read(&path).unwrap()).unwrap()
}

/// The result of a run of two engines at as many matrix points as there can be.
fn largest() -> Value {
    let text = include_str!("../../../prony-journal/tests/fixtures/compared/result.json");
    let mut result: Value = serde_json::from_str(text).unwrap();
    let model = result["models"][0].clone();
    assert_eq!(model["engines"].as_array().unwrap().len(), 2);
    let id = |number: usize| format!("length={number}");
    let at = |number: usize| {
        let mut model = model.clone();
        model["cell"] = id(number).into();
        model
    };
    let point = |number: usize| json!({ "id": id(number), "matrix": { "length": number } });
    result["models"] = (0..MOST_POINTS).map(at).collect();
    result["cells"] = (0..MOST_POINTS).map(point).collect();
    result
}

#[test]
fn the_largest_result_is_reported_by_every_reporter() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = largest().to_string();
    for name in ["console", "html", "markdown", "json"] {
        let made = shipped(name, folder.path()).render(&json!({}), &outcome);
        let made = made.unwrap_or_else(|error| panic!("{name}, {} bytes: {error}", outcome.len()));
        assert!(!made.is_empty(), "{name}");
    }
}
