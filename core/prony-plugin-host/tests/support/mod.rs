//! What the host's test binaries share.

use prony_contract::{
    Api, Endpoint, Event, HttpRequest, LaunchPlan, Manifest, Model, Request, Response,
};
use prony_plugin_host::{Error, Plugin};
use prony_plugin_test::{Answer, Fault, Subject};
use serde_json::Value;
use std::path::PathBuf;

/// A file below the target folder that cargo has built for this test, or that
/// `command` builds. A missing one is a failure: a test that skips itself
/// passes for ever.
pub(crate) fn built(file: &str, command: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let found = test.ancestors().skip(1).map(|folder| folder.join(file));
    found
        .clone()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("`{file}` is not built: run `{command}` or `cargo xtask test`"))
}

/// The core module of a plugin, built from the source as it is now.
pub(crate) fn core_module(package: &str) -> PathBuf {
    let file = package.replace('-', "_");
    let command = format!("cargo build --release --target wasm32-unknown-unknown -p {package}");
    let path = built(
        &format!("wasm32-unknown-unknown/release/{file}.wasm"),
        &command,
    );
    let sources = [
        format!("../../plugins/{package}/src"),
        "../../plugins/prony-plugin-sdk/src".to_owned(),
        "../prony-contract/src".to_owned(),
        "../prony-result/src".to_owned(),
    ];
    let changed = sources
        .into_iter()
        .flat_map(|source| std::fs::read_dir(source).unwrap())
        .map(|file| file.unwrap().metadata().unwrap().modified().unwrap())
        .max();
    assert!(
        path.metadata().unwrap().modified().ok() >= changed,
        "`{}` is older than its source: run `{command}`",
        path.display()
    );
    path
}

/// Any form of plugin, for the conformance kit.
pub(crate) struct Hosted<'a>(pub(crate) &'a dyn Plugin);

fn fault(error: Error) -> Fault {
    match error {
        Error::Reported { error, .. } => Fault::Reported(error),
        other => Fault::Broken(other.to_string()),
    }
}

impl Subject for Hosted<'_> {
    fn describe(&self) -> Answer<Manifest> {
        self.0.describe().map_err(fault)
    }

    fn check(&self, config: &Value) -> Answer<Vec<prony_contract::Error>> {
        self.0.check(config).map_err(fault)
    }

    fn launch(&self, config: &Value, model: &Model, at: &Endpoint) -> Answer<LaunchPlan> {
        self.0.launch(config, model, at).map_err(fault)
    }

    fn encode(&self, config: &Value, model: &Model, request: &Request) -> Answer<HttpRequest> {
        self.0.encode(config, model, request).map_err(fault)
    }

    fn decode(&self, config: &Value, response: &Response<'_>) -> Answer<Vec<Event>> {
        self.0.decode(config, response).map_err(fault)
    }
}

pub(crate) fn model() -> Model {
    Model {
        id: "m".to_owned(),
        path: Some("/models/m".to_owned()),
    }
}

pub(crate) fn at() -> Endpoint {
    Endpoint {
        host: "127.0.0.1".to_owned(),
        port: 9,
        more_ports: Vec::new(),
    }
}

pub(crate) fn request(api: Api) -> Request {
    Request {
        api,
        prompt: "p".to_owned(),
        system: None,
        max_tokens: 8,
        temperature: 0.7,
        top_p: Some(0.1),
        seed: u64::MAX,
        stop: vec!["\n".to_owned()],
        ignore_eos: true,
        history: Vec::new(),
        images: Vec::new(),
    }
}
