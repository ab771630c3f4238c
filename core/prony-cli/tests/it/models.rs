//! Models by name, from a hub on this machine.

use crate::hub::{self, COMMIT, Trouble};
use crate::kit::{Scratch, With, pipeline, truth_through};
use serde_json::{Value, json};
use std::fs;

/// A scratch folder with the variables that lead to a hub.
struct Case {
    hub: hub::Server,
    scratch: Scratch,
}

impl Case {
    fn new() -> Self {
        Self {
            hub: hub::Server::start(Trouble::None),
            scratch: Scratch::new(),
        }
    }

    fn variables(&self) -> Vec<(&str, String)> {
        vec![
            ("HF_ENDPOINT", self.hub.address.clone()),
            ("HF_HUB_OFFLINE", String::new()),
        ]
    }

    /// Runs a pipeline whose engine notes the model that it is given.
    fn run(&self, model: Value) -> crate::kit::Output {
        let script = "wc -c < ${{ model.path }} > size; echo ${{ model.path }} > path";
        let pipeline =
            pipeline([("engine", truth_through(script, &[]))]).with("models", json!([model]));
        self.scratch.write("pipeline.yaml", pipeline.to_string());
        self.scratch
            .prony_in(&self.variables(), &["run", "pipeline.yaml"])
    }
}

#[test]
fn a_run_fetches_its_model_once_and_locks_it() {
    let case = Case::new();
    let model = json!({ "id": "acme/tiny", "files": ["model.safetensors"] });
    let first = case.run(model.clone()).exits(0);
    first.complains("acme/tiny: fetching model.safetensors, 977 KiB");
    assert_eq!(case.scratch.read("size").trim(), "1000000");
    let lock: Value = serde_json::from_str(&case.scratch.read("models.lock")).expect("JSON");
    assert_eq!(lock["models"][0]["commit"], COMMIT);
    let path = case.scratch.read("path");
    assert!(
        path.contains(&format!("snapshots/{COMMIT}/model.safetensors")),
        "{path}"
    );
    // Neither asks the hub again.
    let requests = case.hub.requests();
    case.hub.move_branch();
    let again = case.run(model).exits(0);
    assert!(!again.stderr.contains("fetching"), "{again:?}");
    assert_eq!(case.scratch.read("path"), path);
    assert_eq!(case.hub.requests(), requests);
    let run = case.scratch.latest(again);
    let input = run
        .events("input")
        .into_iter()
        .find(|it| it["kind"] == "model");
    let input = input.expect("the model is an input");
    assert_eq!(input["bytes"], 1_000_000);
    // What an update finds.
    let update = ["model", "pull", "pipeline.yaml", "--update", "--json"];
    let pulled = case
        .scratch
        .prony_in(&case.variables(), &update)
        .exits(0)
        .json();
    assert_ne!(pulled[0]["commit"], COMMIT);
}

#[test]
fn a_model_in_a_folder_of_models_is_not_fetched() {
    let case = Case::new();
    case.scratch.write("lm/acme/tiny/model.safetensors", "own");
    let model = json!({ "id": "acme/tiny", "files": ["*.safetensors"] });
    let script = "cat ${{ model.path }} > seen";
    let pipeline =
        pipeline([("engine", truth_through(script, &[]))]).with("models", json!([model]));
    case.scratch.write("pipeline.yaml", pipeline.to_string());
    let run = ["run", "pipeline.yaml", "--models", "lm"];
    case.scratch.prony_in(&case.variables(), &run).exits(0);
    assert_eq!(case.scratch.read("seen"), "own");
    assert_eq!(case.hub.requests(), 0);
    assert!(!case.scratch.path("models.lock").exists());
}

#[test]
fn models_are_pulled_and_listed() {
    let case = Case::new();
    let pull = ["model", "pull", "acme/tiny", "*.gguf", "--json"];
    let pulled = case
        .scratch
        .prony_in(&case.variables(), &pull)
        .exits(0)
        .json();
    assert_eq!(pulled[0]["found"].as_array().map(Vec::len), Some(3));
    let folder = pulled[0]["path"].as_str().expect("a path");
    assert_eq!(fs::read_dir(folder).expect("a folder").count(), 3);
    let list = case.scratch.prony(&["model", "list"]).exits(0);
    list.prints(&format!("acme/tiny  main, {COMMIT}  371 KiB  3 files"));
    let missing = ["model", "pull", "acme/tiny", "*.bin"];
    let missing = case.scratch.prony_in(&case.variables(), &missing).exits(1);
    missing.complains("`acme/tiny` has no file `*.bin`");
    let offline = case.scratch.prony(&["model", "pull", "acme/none"]).exits(1);
    offline
        .complains("`HF_HUB_OFFLINE` is set")
        .complains("copy its folder");
}

#[test]
fn a_model_that_cannot_be_fetched_as_written_is_told_by_validate() {
    let scratch = Scratch::new();
    for (model, words) in [
        (
            json!({ "id": "a/b/c", "files": ["*"] }),
            "is no model of the Hugging Face hub",
        ),
        (
            json!({ "id": "a/b", "files": ["*"], "path": "x" }),
            "either `path` or `files`",
        ),
        (json!({ "id": "a/b", "files": [] }), "files"),
    ] {
        let pipeline =
            pipeline([("engine", crate::kit::truth(&[]))]).with("models", json!([model]));
        scratch.write("pipeline.yaml", format!("{pipeline:#}"));
        scratch
            .prony(&["validate", "pipeline.yaml"])
            .exits(3)
            .complains(words);
    }
}
