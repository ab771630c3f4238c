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
    if let Some(problem) = body_problem(config) {
        return Some(problem);
    }
    let own = own_fields(config);
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
        if let Some(words) = misnamed(field, name, form) {
            return renamed(words);
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

/// Names of the longest length of an answer, in one server's API or another's. A server may know
/// several, and heed another one than prony's.
const LIMITS: [&str; 7] = [
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "n_predict",
    "num_predict",
    "max_length",
];
/// Names of what the workload says, likewise.
const PROMPTS: [&str; 5] = ["messages", "prompt", "inputs", "input", "input_ids"];
/// Names of the number of answers to a request.
const ANSWERS: [&str; 2] = ["n", "best_of"];
/// The last parts of the fields that are about sampling: the rules of fairness hold for them.
const SAMPLING: [&str; 7] = [
    "temperature",
    "seed",
    "sampling_seed",
    "top_p",
    "stop",
    "ignore_eos",
    "do_sample",
];
/// The field whose own entries are added to prony's. They ask for more in a stream, such as
/// `continuous_usage_stats`, and without prony's no server tells how many tokens it generated.
const ADDED: &str = "stream_options";

/// The reason why `body` cannot be followed: a field in it would change what is measured, or hide
/// it.
fn body_problem(config: &Config) -> Option<Error> {
    let groups = Protocol::ALL.map(|it| it.form().group);
    config.body.iter().find_map(|(name, value)| match value {
        // Another protocol's, too: a server of several APIs may read it in all of them.
        Value::Object(grouped) if groups.contains(&Some(name)) => grouped
            .iter()
            .find_map(|(field, value)| own_problem(config, Some(name), field, value)),
        value => match name.split_once('.') {
            Some((group, field)) if groups.contains(&Some(group)) => {
                own_problem(config, Some(group), field, value)
            }
            _ => own_problem(config, None, name, value),
        },
    })
}

/// The reason why a field of `body` cannot be followed.
fn own_problem(config: &Config, group: Option<&str>, name: &str, value: &Value) -> Option<Error> {
    let form = config.protocol.form();
    let field = group.map_or_else(|| name.to_owned(), |group| format!("{group}.{name}"));
    let is_sent = form.sent.contains(&&*field);
    let words = if LIMITS.contains(&name) {
        "every answer is held to the workload's limit: set `workload.max_tokens` instead".to_owned()
    } else if ANSWERS.contains(&name) {
        if value.is_null() || value.as_f64().is_some_and(|count| count <= 1.0) {
            return None;
        }
        format!("one answer to each request is measured, and `{field}` asks for several: remove it")
    } else if field == "model" && is_sent {
        "the model's name is an option of its own: set `model` beside `body` instead".to_owned()
    } else if field == "model" {
        let protocol = config.protocol.name();
        format!("no request of `protocol: {protocol}` names a model: remove it")
    } else if field == ADDED && is_sent {
        let hides = |options: &Map<String, Value>| {
            let asked = options.get("include_usage");
            asked.is_some_and(|it| *it != true)
        };
        match value {
            Value::Object(options) if !hides(options) => return None,
            Value::Object(_) => format!(
                "token counts come from the server's usage, which `include_usage` asks for: remove it, or have the whole field left out (`omit: [{field}]`)"
            ),
            _ => format!(
                "`{field}` is a mapping, whose entries are added to prony's own: write `{field}: {{ name: value }}`, or have it left out (`omit: [{field}]`)"
            ),
        }
    } else if group.is_none() && PROMPTS.contains(&name) || is_sent && name == "text" {
        format!(
            "what is asked comes from the workload, and `{field}` would replace it: write it under `workload` instead"
        )
    } else if is_sent && !SAMPLING.contains(&name) || field == "stream" || field == "raw" {
        format!("prony sets `{field}` itself, since what it measures depends on it: remove it")
    } else {
        return None;
    };
    let pointer = field.replace('.', "/");
    Some(Error::config(format!("/body/{pointer}"), words))
}

/// The reason why a field cannot have this name: it would be one that prony measures by.
fn misnamed(field: &str, name: &str, form: &Form) -> Option<String> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_own = form.needed.contains(&field) || field == "model";
    let is_taken = LIMITS.contains(&last) && field != form.limit
        || ANSWERS.contains(&last)
        // Two fields of one name are told below.
        || !is_own && !form.sent.contains(&name)
            && (PROMPTS.contains(&name) || ["model", "stream", "raw"].contains(&name));
    is_taken.then(|| {
        format!("`{field}` would be sent as `{name}`, which changes what is measured: remove it")
    })
}

pub(crate) fn request(config: &Config, model: &Model, request: &Request) -> Result<HttpRequest> {
    let (prefix, query) = config.place();
    let name = model_name(config, model)?;
    let form = config.protocol.form();
    if request.api == Api::Completions {
        prony_plugin_sdk::without_system(request)?;
    }
    let draft = config.protocol.draft(&name, request)?;
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
    for (field, value) in own_fields(config) {
        match (fields.get_mut(&field), value) {
            (Some(Value::Object(sent)), Value::Object(more)) if field == ADDED => sent.extend(more),
            (_, value) => {
                fields.insert(field, value);
            }
        }
    }
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
