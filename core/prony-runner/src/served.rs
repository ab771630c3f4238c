//! The models that a server lists.

use prony_contract::{Endpoint, HttpRequest, Kind, Model};
use prony_loadgen::client::once;
use prony_loadgen::target::Target;
use prony_plugin_host::Registry;
use serde_json::Value;
use std::time::Duration;

/// Timeout of the request for the list.
const LIMIT: Duration = Duration::from_secs(2);
/// The same where nothing else waits for it.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Maximum number of models that a message names.
const MAX_NAMED: usize = 10;
/// Maximum length of a model's name in a message, in characters.
const MAX_NAME: usize = 100;

/// The models of a running server, by the plugin and the `config` that an engine of a pipeline
/// would have. The error is for people.
pub async fn models(
    registry: &Registry,
    plugin: &str,
    config: &Value,
) -> Result<Vec<String>, String> {
    let adapter = registry.load(Kind::Engine, plugin);
    let adapter = adapter.map_err(|error| error.to_string())?;
    // Neither is used: the server runs, and is asked for its models.
    let model = Model {
        id: String::new(),
        path: None,
    };
    let at = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: 0,
        more_ports: Vec::new(),
    };
    let plan = adapter.launch(config, &model, &at);
    let plan = plan.map_err(|error| error.to_string())?;
    let Some(request) = plan.models.filter(|_| plan.command.is_none()) else {
        return Err(format!(
            "the plugin `{plugin}` cannot ask a server for its models"
        ));
    };
    let target = Target::new(&plan.base_url).map_err(|error| error.to_string())?;
    let mut answer = once(&target, &request, ASK_LIMIT)
        .await
        .map_err(|error| error.to_string())?;
    answer.unpack();
    if let Some(failed) = &answer.seen.failed {
        return Err(failed.message.clone());
    }
    match answer.seen.status {
        Some(200) => ids(&answer.body).ok_or_else(|| "its answer is no list of models".to_owned()),
        Some(status) => Err(format!("status {status} for its list of models")),
        None => Err("no answer".to_owned()),
    }
}

/// The models that `target` lists when `request` is sent to it, in words; `None` if it lists
/// none that can be read.
pub(crate) async fn in_words(target: &Target, request: &HttpRequest) -> Option<String> {
    let mut answer = once(target, request, LIMIT).await.ok()?;
    answer.unpack();
    let is_list = answer.seen.failed.is_none() && answer.seen.status == Some(200);
    is_list
        .then(|| ids(&answer.body))
        .flatten()
        .map(|ids| words(&ids))
}

/// The ids of `{"data": [{"id": …}, …]}`; `None` if it is no such list.
fn ids(body: &[u8]) -> Option<Vec<String>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let models = body["data"].as_array()?;
    let id = |model: &Value| model["id"].as_str().map(ToOwned::to_owned);
    let ids: Vec<String> = models.iter().filter_map(id).collect();
    (models.is_empty() || !ids.is_empty()).then_some(ids)
}

fn words(ids: &[String]) -> String {
    if ids.is_empty() {
        return "the server lists no models".to_owned();
    }
    let name = |id: &String| {
        let start: String = id.chars().take(MAX_NAME).collect();
        format!("`{}`", start.escape_debug())
    };
    let named: Vec<String> = ids.iter().take(MAX_NAMED).map(name).collect();
    let more = match ids.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("the server lists {}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_of_models_is_shortened() {
        let told = |body: Value| ids(body.to_string().as_bytes()).map(|ids| words(&ids));
        let list = |ids: &[&str]| {
            let models: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
            told(json!({ "object": "list", "data": models }))
        };
        let two = list(&["a/b", "c\n"]);
        assert_eq!(two.as_deref(), Some("the server lists `a/b`, `c\\n`"));
        let many = list(&["m"; 12]).expect("a list");
        assert!(many.ends_with("`m` and 2 more"), "{many}");
        let long = list(&[&"x".repeat(1000)]).expect("a list");
        assert!(long.len() < 150, "{long}");
        assert_eq!(list(&[]).as_deref(), Some("the server lists no models"));
        for other in [json!("ok"), json!({ "data": null }), json!({ "data": [1] })] {
            assert_eq!(told(other), None);
        }
        assert_eq!(ids(b"<html>"), None);
    }
}
