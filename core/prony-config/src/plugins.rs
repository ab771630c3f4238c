//! Facts about plugins needed by the loader.

use serde_json::{Map, Value};

use crate::Api;

/// Kinds of plugins in a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PluginKind {
    /// Drives an inference engine.
    Engine,
    /// Writes results.
    Reporter,
}

impl PluginKind {
    /// Name of the kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Reporter => "reporter",
        }
    }
}

/// A reason why a plugin cannot work with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionProblem {
    /// JSON pointer into `config` to the value that it is about; empty for all of them.
    pub pointer: String,
    /// The reason and the way out, in words.
    pub message: String,
}

/// The installed plugins. Supplied by the caller and answered from recorded facts, but for
/// [`check`](Self::check).
pub trait Plugins {
    /// The JSON Schema of the plugin's `config`; `None` if there is no such plugin.
    fn config_schema(&self, kind: PluginKind, name: &str) -> Option<Value>;

    /// Forms of requests that an engine plugin takes with a config. Defaults to all.
    fn apis(&self, _engine: &str, _config: &Map<String, Value>) -> Vec<Api> {
        vec![Api::Chat, Api::Completions]
    }

    /// The plugin's own word about options that its schema takes. Asked once there
    /// is no other mistake. Defaults to nothing.
    fn check(&self, _kind: PluginKind, _name: &str, _config: &Value) -> Vec<OptionProblem> {
        Vec::new()
    }

    /// The names of all plugins of a kind.
    fn names(&self, kind: PluginKind) -> Vec<String>;
}
