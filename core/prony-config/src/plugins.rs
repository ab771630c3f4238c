//! What the loader needs to know about plugins.

/// The kinds of plugins a pipeline names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PluginKind {
    /// Drives an inference engine.
    Engine,
    /// Writes results.
    Reporter,
}

impl PluginKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Reporter => "reporter",
        }
    }
}

/// The installed plugins. Handed in by the caller and answered from what is
/// recorded about them: loading a pipeline runs no plugin.
pub trait Plugins {
    /// The JSON Schema of the plugin's `config`; none when there is no such plugin.
    fn config_schema(&self, kind: PluginKind, name: &str) -> Option<serde_json::Value>;

    /// The names of all plugins of a kind.
    fn names(&self, kind: PluginKind) -> Vec<String>;
}
