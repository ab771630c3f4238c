//! Locks, loads, checks and calls plugins.
//!
//! ```text
//! prony.lock ─ Registry ─ load ─┬─ wasm::WasmPlugin      sandboxed component
//!                               └─ native::NativePlugin  shared library, if Trust allows it
//! ```
//!
//! Both forms implement [`Plugin`]; nothing above this crate can tell them apart.
//! In-process engines are [`LocalEngine`]s: only a worker process, which exists for one
//! visit, opens them.

mod add;
mod codes;
mod digest;
mod error;
mod file;
mod lock;
mod native;
mod recipe;
mod registry;
mod trust;
mod wasm;

pub use add::{Addition, Origin, Prepared, add, commit, prepare, remove};
pub use codes::{CODES, Code};
pub use digest::{Digester, sha256, sha256_of};
pub use error::{Error, Result};
pub use file::PluginFile;
pub use lock::{AskedLimits, Entry, Form, Grant, Lock, lock_schema};
pub use native::{LocalEngine, NativePlugin};
pub use registry::{
    OfProject, Registry, Setup, finished, is_path, name_and_version, read as read_plugin,
};
pub use trust::Trust;
pub use wasm::{Limits, WasmHost, WasmPlugin, compile_from_input, imports};

use prony_contract::{
    Artifact, Endpoint, Event, HttpRequest, LaunchPlan, Manifest, Message, Model, Request,
    Response, StdioPlan,
};
use serde_json::Value;

/// The contract version of this host, for example `1.0`.
pub fn contract() -> String {
    let (major, minor) = prony_contract::CONTRACT;
    format!("{major}.{minor}")
}

/// The first problem with a manifest that would make a setting of the plugin count for something
/// else, if any.
fn misread(manifest: &Manifest) -> Option<String> {
    let recipes = manifest.recipes.iter().map(|it| &it.config_schema);
    let schemas = std::iter::once(&manifest.config_schema).chain(recipes);
    schemas
        .flat_map(prony_contract::role_problems)
        .next()
        .map(|problem| format!("in the schema of its config {problem}"))
}

/// Reports events that name a wrong read, if any. An event without a read would silently
/// take another one's time.
fn misplaced(events: &[Event], reads: usize) -> Option<String> {
    let mut last = 0;
    for event in events {
        if event.read as usize >= reads.max(1) {
            return Some(format!(
                "an event names read {} of {reads}, counted from 0",
                event.read
            ));
        }
        if event.read < last {
            return Some(format!(
                "an event of read {} follows one of read {last}",
                event.read
            ));
        }
        last = event.read;
    }
    None
}

/// A loaded plugin of either form. `config` holds the plugin's own options.
///
/// Calls are stateless: one call cannot affect another.
pub trait Plugin: Send + Sync {
    /// Returns the manifest.
    fn describe(&self) -> Result<Manifest>;
    /// Everything wrong with a config that its schema takes. Nothing from a plugin that has no
    /// such check.
    fn check(&self, config: &Value) -> Result<Vec<prony_contract::Error>>;
    /// Plans how to start or reach the engine.
    fn launch(&self, config: &Value, model: &Model, at: &Endpoint) -> Result<LaunchPlan>;
    /// Converts a request to an HTTP exchange.
    fn encode(&self, config: &Value, model: &Model, request: &Request) -> Result<HttpRequest>;
    /// Plans how to start an engine that uses its standard input and output.
    fn launch_stdio(&self, config: &Value, model: &Model) -> Result<StdioPlan>;
    /// Converts a request to a line for such an engine; `number` is unique within a
    /// visit.
    fn encode_stdio(
        &self,
        config: &Value,
        model: &Model,
        request: &Request,
        number: u64,
    ) -> Result<Message>;
    /// Decodes a recorded response.
    fn decode(&self, config: &Value, response: &Response<'_>) -> Result<Vec<Event>>;
    /// Renders a result, given as JSON, to artifacts.
    fn render(&self, config: &Value, result: &str) -> Result<Vec<Artifact>>;
}
