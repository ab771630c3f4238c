//! The plugins that test pipelines name.

use serde_json::{Value, json};

use crate::{PluginKind, Plugins};

pub(super) struct Installed;

impl Plugins for Installed {
    fn config_schema(&self, kind: PluginKind, name: &str) -> Option<Value> {
        match (kind, name) {
            (PluginKind::Engine, "openai") => Some(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "base_url": { "type": "string" },
                    "threads": { "type": "integer", "minimum": 1 },
                    "extra": { "type": ["string", "null"] },
                    "mode": { "anyOf": [{ "$ref": "#/$defs/Mode" }, { "type": "null" }] },
                },
                "$defs": { "Mode": { "oneOf": [
                    {
                        "type": "object", "required": ["fast"], "additionalProperties": false,
                        "properties": { "fast": {
                            "type": "object", "properties": { "level": { "type": "integer" } },
                        } },
                    },
                    {
                        "type": "object", "required": ["exact"], "additionalProperties": false,
                        "properties": { "exact": { "type": "object" } },
                    },
                ] } },
            })),
            (PluginKind::Engine, "mock") => Some(json!({ "type": "object" })),
            (PluginKind::Engine, "broken") => Some(json!({ "type": "objekt" })),
            (PluginKind::Reporter, "html") => Some(json!({
                "type": "object",
                "required": ["title"],
                "additionalProperties": false,
                "properties": { "title": { "type": "string" } },
            })),
            (PluginKind::Reporter, "console" | "json" | "markdown") => {
                Some(json!({ "type": "object", "additionalProperties": false }))
            }
            _ => None,
        }
    }

    fn names(&self, kind: PluginKind) -> Vec<String> {
        let names: &[&str] = match kind {
            PluginKind::Engine => &["broken", "mock", "openai"],
            PluginKind::Reporter => &["console", "html", "json", "markdown"],
        };
        names.iter().map(ToString::to_string).collect()
    }
}
