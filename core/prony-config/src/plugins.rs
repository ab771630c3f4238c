//! Facts about plugins needed by the loader.

use serde_json::{Map, Value};

use crate::tree::Node;
use crate::{Api, Workload};

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
/// [`check`](Self::check) and [`refusal`](Self::refusal).
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

    /// The plugin's own reason against requests like the workload's, in words: what a run would
    /// meet. Asked once there is no other mistake. Defaults to none.
    fn refusal(&self, _engine: &str, _config: &Value, _workload: &Workload) -> Option<String> {
        None
    }

    /// Reason why a plugin cannot be used as it is, such as a file that has changed since it was
    /// locked, with the way out. Defaults to nothing.
    fn problem(&self, _kind: PluginKind, _name: &str) -> Option<String> {
        None
    }

    /// The names of all plugins of a kind.
    fn names(&self, kind: PluginKind) -> Vec<String>;
}

/// The text that says which plugin an engine or a reporter is: a name, `NAME@VERSION`, or a path.
pub(crate) fn plugin_of(usage: &Node) -> Option<&Node> {
    let plugin = &usage.entry("plugin")?.value;
    let path = plugin.entry("path").map(|entry| &entry.value);
    path.or(Some(plugin)).filter(|it| it.text().is_some())
}

/// The name of an engine that has none but that of its plugin: of a path its last part.
pub(crate) fn own_name(plugin: &str) -> &str {
    if !is_path(plugin) {
        return plugin;
    }
    let part = plugin
        .rsplit('/')
        .find(|it| !["", ".", "..", "~"].contains(it));
    let part = part.unwrap_or("engine");
    part.rsplit_once('.').map_or(part, |(stem, _)| stem)
}

/// Returns `true` for a plugin that is named by its path.
pub(crate) fn is_path(plugin: &str) -> bool {
    ["/", "./", "../", "~/"]
        .iter()
        .any(|start| plugin.starts_with(start))
}
