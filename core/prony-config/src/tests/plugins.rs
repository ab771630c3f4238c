//! Plugins for test pipelines.

use serde_json::{Map, Value, json};

use crate::{Api, PluginKind, Plugins};

/// Plugins made for tests: options of many shapes, with all roles.
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
            (PluginKind::Engine, "tuned") => Some(tuned()),
            (PluginKind::Engine, "versioned") => Some(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": { "release": { "type": "string", "x-prony-role": "version" } },
            })),
            (PluginKind::Engine, "mock" | "raw" | "chatty" | "moved" | "./own" | "mock@0.2.0") => {
                Some(json!({ "type": "object" }))
            }
            (PluginKind::Engine, "broken") => Some(json!({ "type": "objekt" })),
            (PluginKind::Reporter, "titled") => Some(json!({
                "type": "object",
                "required": ["title"],
                "additionalProperties": false,
                "properties": { "title": { "type": "string" } },
            })),
            (PluginKind::Reporter, "console" | "html" | "json" | "markdown") => Some(no_options()),
            _ => None,
        }
    }

    fn problem(&self, _: PluginKind, name: &str) -> Option<String> {
        (name == "moved").then(|| "there is no `engine-moved.wasm`: add it again".to_owned())
    }

    fn apis(&self, engine: &str, config: &Map<String, Value>) -> Vec<Api> {
        match engine {
            "raw" => vec![Api::Completions],
            "tuned" if config.get("protocol") == Some(&json!("raw")) => vec![Api::Completions],
            "chatty" => vec![Api::Chat],
            _ => vec![Api::Chat, Api::Completions],
        }
    }

    fn names(&self, kind: PluginKind) -> Vec<String> {
        let names: &[&str] = match kind {
            PluginKind::Engine => &[
                "broken",
                "chatty",
                "mock",
                "openai",
                "raw",
                "tuned",
                "versioned",
            ],
            PluginKind::Reporter => &["console", "html", "json", "markdown", "titled"],
        };
        names.iter().map(ToString::to_string).collect()
    }
}

/// Schema of an engine whose options have roles: side by side, nested, through a
/// reference, and in a map of request options.
fn tuned() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "base_url": { "type": "string" },
            "protocol": { "enum": ["all", "raw"] },
            "threads": { "type": "integer", "minimum": 1, "x-prony-role": "resources" },
            "context": { "type": "integer", "minimum": 1, "default": 2048, "x-prony-role": "context" },
            "batch": { "type": "integer", "multipleOf": 8 },
            "weights": { "$ref": "#/$defs/Weights" },
            "prefix_cache": { "type": "boolean", "default": true, "x-prony-role": "cache" },
            "body": { "type": "object", "x-prony-role": "request" },
        },
        "$defs": { "Weights": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "type": {
                    "enum": ["f16", "q8_0", "q4_0"], "default": "f16",
                    "x-prony-role": "quantisation",
                },
            },
        } },
    })
}

fn no_options() -> Value {
    json!({ "type": "object", "additionalProperties": false })
}

/// The shipped plugins, with the options that matter here.
pub(super) struct Shipped;

impl Plugins for Shipped {
    fn config_schema(&self, kind: PluginKind, name: &str) -> Option<Value> {
        match (kind, name) {
            (PluginKind::Engine, "openai") => Some(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "base_url": { "type": ["string", "null"] },
                    "attach_ready": { "type": ["string", "null"] },
                    "launch": { "anyOf": [{ "$ref": "#/$defs/Launch" }, { "type": "null" }], "x-prony-role": "launch" },
                    "model": { "type": ["string", "null"] },
                    "api_key": { "type": ["string", "null"] },
                    "body": { "type": "object", "x-prony-role": "request" },
                    "omit": { "type": "array", "items": { "type": "string" } },
                    "headers": { "type": "object", "additionalProperties": { "type": "string" } },
                },
                "$defs": { "Launch": {
                    "type": "object",
                    "required": ["command"],
                    "additionalProperties": false,
                    "properties": {
                        "command": { "type": "array", "items": { "type": "string" } },
                        "env": { "type": "object", "additionalProperties": { "type": "string" } },
                        "cwd": { "type": ["string", "null"] },
                        "ready": { "type": "object" },
                    },
                } },
            })),
            (PluginKind::Engine, "llama-cpp") => Some(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "program": { "type": ["array", "null"] },
                    "context": { "type": "integer", "default": 4096, "x-prony-role": "context" },
                    "threads": { "type": "integer", "x-prony-role": "resources" },
                    "prefix_cache": { "type": "boolean", "default": true, "x-prony-role": "cache" },
                },
            })),
            (PluginKind::Engine, "candle") => Some(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "weights": { "type": "object" },
                    "dtype": {
                        "enum": ["native", "f32", "f16", "q8_0", "q4_1", "q4_0"],
                        "default": "native",
                        "x-prony-role": "quantisation",
                    },
                    "device": { "enum": ["auto", "cpu", "metal", "cuda"], "default": "cpu" },
                    "threads": { "type": ["integer", "null"], "minimum": 1, "x-prony-role": "resources" },
                    "context": { "type": ["integer", "null"], "minimum": 1, "x-prony-role": "context" },
                },
            })),
            (PluginKind::Engine, "mlx-engine") => Some(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "context": { "type": "integer", "default": 4096, "x-prony-role": "context" },
                    "parallel": { "type": "integer", "default": 2, "x-prony-role": "resources" },
                    "program": { "type": ["array", "null"] },
                    "python": { "type": "string" },
                    "cwd": { "type": ["string", "null"] },
                },
            })),
            (PluginKind::Engine, "mlx-lm") => Some(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "compile": { "type": "boolean", "default": true, "x-prony-role": "resources" },
                    "program": { "type": ["array", "null"] },
                },
            })),
            (PluginKind::Engine, "mlx-vlm") => Some(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "program": { "type": ["array", "null"] },
                    "python": { "type": "string" },
                    "body": { "type": "object", "x-prony-role": "request" },
                },
            })),
            (PluginKind::Engine, "mlx-serving") => Some(json!({
                "type": "object",
                "required": ["runtime"],
                "additionalProperties": false,
                "properties": {
                    "python": { "type": "string" },
                    "runtime": { "type": "string" },
                    "arguments": { "type": "array", "items": { "type": "string" } },
                    "cwd": { "type": ["string", "null"] },
                    "env": { "type": "object", "additionalProperties": { "type": "string" } },
                    "context": { "type": ["integer", "null"], "minimum": 0, "x-prony-role": "context" },
                },
            })),
            (PluginKind::Reporter, "console" | "html" | "json" | "markdown") => Some(no_options()),
            _ => None,
        }
    }

    fn apis(&self, engine: &str, _config: &Map<String, Value>) -> Vec<Api> {
        match engine {
            "mlx-serving" => vec![Api::Completions],
            _ => vec![Api::Chat, Api::Completions],
        }
    }

    fn names(&self, kind: PluginKind) -> Vec<String> {
        let names: &[&str] = match kind {
            PluginKind::Engine => &["candle", "llama-cpp", "mlx-serving", "openai"],
            PluginKind::Reporter => &["console", "html", "json", "markdown"],
        };
        names.iter().map(ToString::to_string).collect()
    }
}
