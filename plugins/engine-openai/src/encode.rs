//! A request as an HTTP exchange.

use crate::config::Config;
use crate::recipe;
use prony_plugin_sdk::{Api, Error, HttpRequest, Image, Model, Pair, Request, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The fields that prony sends, in one form of requests or another.
const SENT: [&str; 11] = [
    "model",
    "messages",
    "prompt",
    "max_tokens",
    "temperature",
    "seed",
    "top_p",
    "stop",
    "ignore_eos",
    "stream",
    "stream_options",
];

/// The reason why `omit` or `rename` cannot be followed.
pub(crate) fn field_problem(config: &Config) -> Option<Error> {
    let own = config.body.keys().map(String::as_str);
    let fields: BTreeSet<&str> = SENT.into_iter().chain(own).collect();
    let listed = || {
        let names: Vec<String> = fields.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    for field in &config.omit {
        let words = match field.as_str() {
            "max_tokens" => {
                "an answer without a limit cannot be held to one: where the server calls it otherwise, use `rename: { max_tokens: max_completion_tokens }`".to_owned()
            }
            "messages" | "prompt" | "stream" => {
                format!("no request can do without `{field}`: remove it here")
            }
            other if !fields.contains(other) => {
                format!("no request has a field `{other}`; it can be one of {}", listed())
            }
            _ => continue,
        };
        return Some(Error::config("/omit", words));
    }
    let is_sent = |field: &str| fields.contains(field) && !config.omit.iter().any(|it| it == field);
    let renamed = |words: String| Some(Error::config("/rename", words));
    for (field, name) in &config.rename {
        if name.is_empty() {
            return renamed(format!("the new name of `{field}` is empty"));
        }
        if !fields.contains(field.as_str()) {
            return renamed(format!(
                "no request has a field `{field}`; it can be one of {}",
                listed()
            ));
        }
        if !is_sent(field) {
            return renamed(format!(
                "`omit` leaves out `{field}`: remove one of the two"
            ));
        }
    }
    let mut names = BTreeMap::new();
    for field in fields.iter().filter(|field| is_sent(field)) {
        let name = config.rename.get(*field).map_or(*field, String::as_str);
        if let Some(other) = names.insert(name, field) {
            return renamed(format!(
                "`{other}` and `{field}` would both be sent as `{name}`: name one of them otherwise, or leave it out (`omit`)"
            ));
        }
    }
    None
}

pub(crate) fn request(config: &Config, model: &Model, request: &Request) -> Result<HttpRequest> {
    let (prefix, query) = config.place();
    let name = match &config.model {
        Some(name) if config.is_recipe => recipe::fill(name, model, None)?,
        Some(name) => name.clone(),
        None => model.id.clone(),
    };
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
            // What the config puts in place of the messages would leave these out.
            let carried = match (request.images.is_empty(), request.history.is_empty()) {
                (false, _) => Some(("the message that carries the images", "without images")),
                (true, false) => Some(("the conversation", "in conversations of one turn")),
                (true, true) => None,
            };
            if let Some((what, otherwise)) = carried
                && config.body.contains_key("messages")
            {
                return Err(Error::config(
                    "/body/messages",
                    format!("`messages` would replace {what}: remove it, or ask {otherwise}"),
                ));
            }
            let history = request
                .history
                .iter()
                .map(|said| json!({ "role": said.role.name(), "content": said.content }));
            let mut user = json!({ "role": "user", "content": null });
            user["content"] = content(request);
            set("messages", system.chain(history).chain([user]).collect());
            "chat/completions"
        }
        Api::Completions => {
            if !request.images.is_empty() {
                return Err(Error::unsupported(
                    "`api: completions` cannot carry images: use `api: chat`, or ask without images",
                ));
            }
            if !request.history.is_empty() {
                return Err(Error::unsupported(
                    "`api: completions` cannot carry a conversation, which a chat template renders: use `api: chat`, or conversations of one turn",
                ));
            }
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
    let asked = body.get("model").and_then(Value::as_str).map(str::to_owned);
    let body = shaped(config, body);

    let path = format!("{prefix}/{endpoint}{query}");
    let mut made =
        HttpRequest::post_json(path, &Value::Object(body)).ends_at(crate::decode::END_MARKS);
    made.model = asked.filter(|_| !config.omit.iter().any(|field| field == "model"));
    made.headers.push(Pair::new("accept", "text/event-stream"));
    made.headers.extend(headers(config));
    Ok(made)
}

/// Lists the models of the server.
pub(crate) fn list_of_models(config: &Config) -> HttpRequest {
    let (prefix, query) = config.place();
    let mut made = HttpRequest::get(format!("{prefix}/models{query}"));
    made.headers.extend(headers(config));
    made
}

/// The key and the user's own headers.
fn headers(config: &Config) -> impl Iterator<Item = Pair> {
    let key = config.api_key.iter();
    let key = key.map(|key| Pair::new("authorization", format!("Bearer {key}")));
    let own = config.headers.iter();
    key.chain(own.map(|(name, value)| Pair::new(name, value)))
}

/// The fields that the server takes, as it calls them.
fn shaped(config: &Config, body: Map<String, Value>) -> Map<String, Value> {
    let taken = body
        .into_iter()
        .filter(|(name, _)| !config.omit.contains(name));
    taken
        .map(|(name, value)| match config.rename.get(&name) {
            Some(name) => (name.clone(), value),
            None => (name, value),
        })
        .collect()
}

/// A text; with images, a list of parts in which they come first.
fn content(request: &Request) -> Value {
    if request.images.is_empty() {
        return json!(request.prompt);
    }
    let text = json!({ "type": "text", "text": request.prompt });
    request.images.iter().map(part).chain([text]).collect()
}

fn part(image: &Image) -> Value {
    let mut part = json!({ "type": "image_url", "image_url": { "url": null } });
    // Moved, since `json!` copies and the sandbox's memory is small.
    part["image_url"]["url"] = Value::String(image.data_url());
    part
}
