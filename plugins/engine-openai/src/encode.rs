//! A request as an HTTP exchange.

use crate::config::{self, Config};
use prony_plugin_sdk::{Api, HttpRequest, Model, Pair, Request};
use serde_json::{Map, Value, json};

pub(crate) fn request(config: &Config, model: &Model, request: &Request) -> HttpRequest {
    let (_, prefix) = config::split_base_url(config.base_url.as_deref().unwrap_or_default());
    let name = config.model.as_deref().unwrap_or(&model.id);
    let mut body = Map::new();
    let mut set = |key: &str, value: Value| {
        body.insert(key.to_owned(), value);
    };
    set("model", json!(name));
    let endpoint = match request.api {
        Api::Chat => {
            let system = request
                .system
                .iter()
                .map(|text| json!({ "role": "system", "content": text }));
            let user = json!({ "role": "user", "content": request.prompt });
            set("messages", system.chain([user]).collect());
            "chat/completions"
        }
        Api::Completions => {
            set("prompt", json!(request.prompt));
            "completions"
        }
    };
    set("max_tokens", json!(request.max_tokens));
    set("temperature", json!(request.temperature));
    set("seed", json!(request.seed));
    if let Some(top_p) = request.top_p {
        set("top_p", json!(top_p));
    }
    if !request.stop.is_empty() {
        set("stop", json!(request.stop));
    }
    if request.ignore_eos {
        set("ignore_eos", json!(true));
    }
    set("stream", json!(true));
    // Token counts come from the engine's own usage, never from chunks.
    set("stream_options", json!({ "include_usage": true }));
    body.extend(config.body.clone());

    let mut made = HttpRequest::post_json(format!("{prefix}/{endpoint}"), &Value::Object(body));
    made.headers.push(Pair::new("accept", "text/event-stream"));
    if let Some(key) = &config.api_key {
        made.headers
            .push(Pair::new("authorization", format!("Bearer {key}")));
    }
    made.headers.extend(
        config
            .headers
            .iter()
            .map(|(name, value)| Pair::new(name, value)),
    );
    made
}
