//! A request as an HTTP exchange.

use crate::config::Config;
use crate::protocol::{Form, Protocol};
use crate::recipe;
use prony_plugin_sdk::{Api, Error, Exchange, HttpRequest, Model, Pair, Question, Request, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The reason why `body`, `omit` or `rename` cannot be followed.
pub(crate) fn field_problem(config: &Config) -> Option<Error> {
    let form = config.protocol.form();
    let group = form
        .group
        .and_then(|group| config.body.get_key_value(group));
    if let Some((group, value)) = group
        && !value.is_object()
    {
        return Some(Error::config(
            format!("/body/{group}"),
            format!(
                "`{group}` must be a mapping, which has the fields of sampling: write `{group}: {{ name: value }}`"
            ),
        ));
    }
    let own = own_fields(config);
    if own.iter().any(|(field, _)| field == form.limit) {
        return Some(Error::config(
            format!("/body/{}", form.limit.replace('.', "/")),
            "every answer is held to the workload's limit: set `workload.max_tokens` instead",
        ));
    }
    let own = own.iter().map(|(field, _)| field.as_str());
    let fields: BTreeSet<&str> = form.sent.iter().copied().chain(own).collect();
    let listed = || {
        let names: Vec<String> = fields.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    for field in &config.omit {
        let words = match field.as_str() {
            limit if limit == form.limit => format!(
                "an answer without a limit cannot be held to one: where the server calls it otherwise, use `rename: {{ {limit}: its_name }}`"
            ),
            needed if form.needed.contains(&needed) => {
                format!("no request can do without `{needed}`: remove it here")
            }
            other if !fields.contains(other) => {
                format!(
                    "no request has a field `{other}`; it can be one of {}",
                    listed()
                )
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
        if form.group == Some(name) {
            return renamed(format!(
                "`{field}` would replace the mapping `{name}`, which has the fields of sampling: name it otherwise"
            ));
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
    let name = model_name(config, model)?;
    let form = config.protocol.form();
    if request.api == Api::Completions {
        prony_plugin_sdk::without_system(request)?;
    }
    let draft = config.protocol.draft(&name, request)?;
    if let Some((what, otherwise)) = carried(request)
        && config.body.contains_key("messages")
    {
        return Err(Error::config(
            "/body/messages",
            format!("`messages` would replace {what}: remove it, or ask {otherwise}"),
        ));
    }
    let path = format!("{prefix}{}{query}", draft.endpoint);
    let fields = draft.fields.into_iter();
    let mut fields: Map<String, Value> = fields
        .map(|(field, value)| (field.to_owned(), value))
        .collect();
    if let Some(instead) = &config.ignore_eos
        && fields.remove("ignore_eos").is_some()
    {
        fields.extend(instead.clone());
    }
    fields.extend(own_fields(config));
    let asked = fields.get("model").and_then(Value::as_str);
    let asked = asked.filter(|_| !config.omit.iter().any(|field| field == "model"));
    let asked = asked.map(str::to_owned);
    let body = Value::Object(shaped(config, form, fields));
    let mut made = HttpRequest::post_json(path, &body).ends_at(form.end_marks.iter().copied());
    made.model = asked;
    made.headers.push(Pair::new("accept", form.accepts));
    made.headers.extend(headers(config));
    Ok(made)
}

/// Part of a chat that only its messages carry, and the request that does without, in words.
fn carried(request: &Request) -> Option<(&'static str, &'static str)> {
    if request.api != Api::Chat {
        return None;
    }
    match (request.images.is_empty(), request.history.is_empty()) {
        (false, _) => Some(("the message that carries the images", "without images")),
        (true, false) => Some(("the conversation", "in conversations of one turn")),
        (true, true) => None,
    }
}

/// The fields of the config's `body`, by their paths.
fn own_fields(config: &Config) -> Vec<(String, Value)> {
    let group = config.protocol.form().group;
    let mut fields = Vec::new();
    for (name, value) in &config.body {
        match value {
            Value::Object(grouped) if group == Some(name) => {
                let grouped = grouped.iter();
                fields.extend(grouped.map(|(field, it)| (format!("{name}.{field}"), it.clone())));
            }
            value => fields.push((name.clone(), value.clone())),
        }
    }
    fields
}

/// Server's name of the model.
fn model_name(config: &Config, model: &Model) -> Result<String> {
    match &config.model {
        Some(name) if config.is_recipe => recipe::fill(name, model, None),
        Some(name) => Ok(name.clone()),
        None => Ok(model.id.clone()),
    }
}

/// Questions to the server about itself.
pub(crate) fn questions(config: &Config, model: &Model) -> Result<Vec<Question>> {
    let (_, query) = config.place();
    let mut questions: Vec<Question> = config.told().collect();
    for Question {
        request, settings, ..
    } in &mut questions
    {
        request.path = format!("{}{}{query}", config.below(), request.path);
        request.headers.extend(headers(config));
        for setting in settings {
            match setting.name.as_str() {
                _ if setting.asked.is_some() => {}
                "model" => setting.asked = Some(json!(model_name(config, model)?)),
                "model_file" => setting.asked = model.path.as_ref().map(|path| json!(path)),
                _ => {}
            }
        }
    }
    Ok(questions)
}

/// What loads the model, and what gives it back, by a protocol that has such requests.
pub(crate) fn loading(config: &Config, model: &Model) -> Result<(Vec<Exchange>, Vec<Exchange>)> {
    if config.protocol != Protocol::Ollama {
        return Ok((Vec::new(), Vec::new()));
    }
    let (prefix, query) = config.place();
    let name = model_name(config, model)?;
    let exchange = |keep_alive: Option<u8>| {
        // Without a prompt nothing is generated.
        let mut body = json!({ "model": name, "stream": false });
        // Another length of context, say, would load it once more.
        if let Some(options) = config.body.get("options") {
            body["options"] = options.clone();
        }
        if let Some(keep_alive) = keep_alive {
            body["keep_alive"] = json!(keep_alive);
        }
        let mut made = HttpRequest::post_json(format!("{prefix}/api/generate{query}"), &body);
        made.headers.extend(headers(config));
        Exchange::once(made)
    };
    Ok((vec![exchange(None)], vec![exchange(Some(0))]))
}

/// What empties the prefix cache.
pub(crate) fn reset(config: &Config) -> Vec<Exchange> {
    let (_, query) = config.place();
    let exchange = config.reset.iter().map(|path| {
        let mut made = HttpRequest {
            method: "POST".to_owned(),
            path: format!("{}{path}{query}", config.below()),
            ..HttpRequest::default()
        };
        made.headers.extend(headers(config));
        Exchange::once(made)
    });
    exchange.collect()
}

/// Lists the models of the server.
pub(crate) fn list_of_models(config: &Config) -> HttpRequest {
    let (prefix, query) = config.place();
    let models = config.protocol.form().models;
    let mut made = HttpRequest::get(format!("{prefix}{models}{query}"));
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

/// The body, with the fields that the server takes, as it calls them.
fn shaped(config: &Config, form: &Form, fields: Map<String, Value>) -> Map<String, Value> {
    let mut body = Map::new();
    let taken = fields
        .into_iter()
        .filter(|(field, _)| !config.omit.contains(field));
    for (field, value) in taken {
        let field = config.rename.get(&field).unwrap_or(&field);
        let grouped = field.split_once('.');
        match grouped.filter(|(group, _)| form.group == Some(group)) {
            Some((group, name)) => {
                let group = body.entry(group).or_insert_with(|| Map::new().into());
                if let Value::Object(group) = group {
                    group.insert(name.to_owned(), value);
                }
            }
            None => {
                body.insert(field.clone(), value);
            }
        }
    }
    body
}
