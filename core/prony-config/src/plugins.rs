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

/// The installed plugins. Supplied by the caller and answered from recorded facts:
/// loading a pipeline runs no plugin.
pub trait Plugins {
    /// The JSON Schema of the plugin's `config`; `None` if there is no such plugin.
    fn config_schema(&self, kind: PluginKind, name: &str) -> Option<Value>;

    /// Forms of requests that an engine plugin takes with a config. Defaults to all.
    fn apis(&self, _engine: &str, _config: &Map<String, Value>) -> Vec<Api> {
        vec![Api::Chat, Api::Completions]
    }

    /// The names of all plugins of a kind.
    fn names(&self, kind: PluginKind) -> Vec<String>;
}
