//! The options under `engines.<name>.config`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Options of the `openai` engine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Attach to this running server, for example `http://127.0.0.1:8080/v1`.
    /// A path is put before every request's path; without one it is `/v1`.
    pub base_url: Option<String>,
    /// When attaching: path whose `GET` must answer 200 before the first
    /// request. Without it the server is taken to be ready.
    pub attach_ready: Option<String>,
    /// Start this server for each visit and stop it afterwards.
    pub launch: Option<Launch>,
    /// Model name to send; the model's `id` if absent.
    pub model: Option<String>,
    /// Sent as `authorization: Bearer …`.
    pub api_key: Option<String>,
    /// More fields for the request body, for example
    /// `{ cache_prompt: false }`. They win over prony's own.
    #[serde(default)]
    #[schemars(extend("x-prony-role" = "request"))]
    pub body: serde_json::Map<String, serde_json::Value>,
    /// More request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// How to start a server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// Program and arguments, without a shell. `${{ engine.host }}` and
    /// `${{ engine.port }}` say where it must listen.
    pub command: Vec<Word>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working folder.
    pub cwd: Option<String>,
    /// When it is ready.
    #[serde(default)]
    pub ready: Probe,
}

/// A word on a command line. A number stands for its digits, so that neither
/// `--port, ${{ engine.port }}` nor `--ctx-size, 2048` needs quotes.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub struct Word(pub String);

impl TryFrom<serde_json::Value> for Word {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        match value {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            other => Err(format!("`{other}` is neither a text nor a number")),
        }
    }
}

impl JsonSchema for Word {
    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number"] })
    }
}

/// When a started server is ready.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// `GET` of this path answers 200.
    Http(String),
    /// A line of its output contains this text.
    LogLine(String),
}

impl Default for Probe {
    fn default() -> Self {
        Self::Http("/health".to_owned())
    }
}

/// `http://host:port` and the path prefix (`/v1` if the URL has none).
pub(crate) fn split_base_url(url: &str) -> (&str, &str) {
    let url = url.trim_end_matches('/');
    let authority = url.find("://").map_or(0, |at| at + 3);
    match url[authority..].find('/') {
        Some(slash) => url.split_at(authority + slash),
        None => (url, "/v1"),
    }
}
