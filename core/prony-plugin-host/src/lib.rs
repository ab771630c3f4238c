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

pub use codes::{CODES, Code};
pub use digest::{Digester, sha256, sha256_of};
pub use error::{Error, Result};
pub use file::PluginFile;
pub use lock::{AskedLimits, Entry, Form, Grant, Lock, lock_schema};
pub use native::{LocalEngine, NativePlugin};
pub use registry::{Origin, Registry, Setup, add, add_from, finished};
pub use trust::Trust;
pub use wasm::{Limits, WasmHost, WasmPlugin, compile_from_input};

use prony_contract::{
    Artifact, Endpoint, Event, HttpRequest, LaunchPlan, Manifest, Message, Model, Request,
    StdioPlan,
};
use serde_json::Value;

/// The contract version of this host, for example `0.1`.
pub fn contract() -> String {
    let (major, minor) = prony_contract::CONTRACT;
    format!("{major}.{minor}")
}

/// Reports events that name a wrong read, if any. An event without a read would silently
/// take another one's time.
fn misplaced(events: &[Event], reads: usize) -> Option<String> {
    let mut last = 0;
    for event in events {
        if event.chunk as usize >= reads.max(1) {
            return Some(format!(
                "an event names read {} of {reads}, counted from 0",
                event.chunk
            ));
        }
        if event.chunk < last {
            return Some(format!(
                "an event of read {} follows one of read {last}",
                event.chunk
            ));
        }
        last = event.chunk;
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
    /// Decodes a recorded response; `ends` are end offsets of reads in `body`.
    fn decode(&self, config: &Value, status: u16, body: &[u8], ends: &[u32]) -> Result<Vec<Event>>;
    /// Renders a result, given as JSON, to artifacts.
    fn render(&self, config: &Value, outcome: &str) -> Result<Vec<Artifact>>;
}
