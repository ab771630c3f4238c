//! The list of a server's models, for the message about a model that it does not have.

use prony_contract::HttpRequest;
use prony_loadgen::client::once;
use prony_loadgen::target::Target;
use serde_json::Value;
use std::time::Duration;

/// Timeout of the request for the list.
const LIMIT: Duration = Duration::from_secs(2);
/// Maximum number of models that a message names.
const MAX_NAMED: usize = 10;
/// Maximum length of a model's name in a message, in characters.
const MAX_NAME: usize = 100;

/// The models that `target` lists when `request` is sent to it, in words; `None` if it lists
/// none that can be read.
pub(super) async fn list(target: &Target, request: &HttpRequest) -> Option<String> {
    let mut answer = once(target, request, LIMIT).await.ok()?;
    answer.unpack();
    let is_list = answer.seen.failed.is_none() && answer.seen.status == Some(200);
    is_list.then(|| in_words(&answer.body)).flatten()
}

/// The ids of `{"data": [{"id": …}, …]}`, in words.
fn in_words(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let models = body["data"].as_array()?;
    let ids: Vec<&str> = models.iter().filter_map(|it| it["id"].as_str()).collect();
    if ids.is_empty() {
        return models
            .is_empty()
            .then(|| "the server lists no models".to_owned());
    }
    let name = |id: &&str| {
        let start: String = id.chars().take(MAX_NAME).collect();
        format!("`{}`", start.escape_debug())
    };
    let named: Vec<String> = ids.iter().take(MAX_NAMED).map(name).collect();
    let more = match ids.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("the server lists {}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_of_models_is_shortened() {
        let told = |body: Value| in_words(body.to_string().as_bytes());
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
        assert_eq!(in_words(b"<html>"), None);
    }
}
