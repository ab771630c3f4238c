//! The words of a server that reports an error, wherever it puts them.

use serde_json::Value;

/// Longest quotation, in characters.
const MAX_QUOTE: usize = 500;

/// The words of an error that stands where an answer should, if it is one.
///
/// `error` as an object or a text; `{"object": "error", "message": …}`; `error_message`,
/// `error_msg`; `error_code` with a message; `base_resp` with a status; `detail`.
pub(crate) fn of_json(json: &Value) -> Option<String> {
    let text = |key: &str| json.get(key).and_then(Value::as_str);
    let message = || {
        ["error_message", "error_msg", "message", "msg", "status_msg"]
            .into_iter()
            .find_map(text)
    };
    let whole = || shortened(&json.to_string());
    if let Some(error) = json.get("error").filter(|error| !is_nothing(error)) {
        return Some(of_error(error));
    }
    let says_so = json.get("object").and_then(Value::as_str) == Some("error")
        || json.get("type").and_then(Value::as_str) == Some("error")
        || ["error_message", "error_msg", "error_code"]
            .into_iter()
            .any(|key| json.get(key).is_some_and(|it| !is_nothing(it)));
    if says_so {
        return Some(message().map_or_else(whole, shortened));
    }
    if let Some(status) = json.get("base_resp")
        && status.get("status_code").is_some_and(|it| !is_nothing(it))
    {
        let words = status.get("status_msg").and_then(Value::as_str);
        return Some(words.map_or_else(|| shortened(&status.to_string()), shortened));
    }
    // These words are also used by what is no error, but not in place of an answer.
    if json.get("choices").is_some() {
        return None;
    }
    if let Some(detail) = json.get("detail").filter(|detail| !is_nothing(detail)) {
        return Some(of_error(detail));
    }
    let code = json.get("code").filter(|code| !is_nothing(code));
    code.and_then(|_| message()).map(shortened)
}

/// `{"message": …}`, a text, or a list of what is wrong.
pub(crate) fn of_error(error: &Value) -> String {
    match error {
        Value::String(text) => shortened(text),
        Value::Array(list) => {
            let words: Vec<String> = list.iter().map(of_error).collect();
            shortened(&words.join("; "))
        }
        Value::Object(map) => {
            let words = ["message", "msg", "detail"]
                .into_iter()
                .find_map(|key| map.get(key))
                .filter(|words| !is_nothing(words));
            match words {
                Some(words) => of_error(words),
                None => shortened(&error.to_string()),
            }
        }
        other => other.to_string(),
    }
}

/// `null`, `0`, `false`, an empty text: where nothing went wrong some servers say so.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// The words of a line that is neither an event nor JSON, if it speaks of an error.
pub(crate) fn of_line(line: &str) -> Option<String> {
    let line = line.trim();
    if let Ok(json) = serde_json::from_str::<Value>(line) {
        return of_json(&json);
    }
    let (before, rest) = line.split_once(':')?;
    if !before.trim().eq_ignore_ascii_case("error") {
        return None;
    }
    Some(match serde_json::from_str::<Value>(rest) {
        Ok(json) => of_json(&json).unwrap_or_else(|| of_error(&json)),
        Err(_) => quote(line),
    })
}

/// The words of a refusal, an answer with a status that is not 200.
pub(crate) fn of_refusal(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(json) => of_json(&json).unwrap_or_else(|| of_error(&json)),
        Err(_) => quote(&String::from_utf8_lossy(body)),
    }
}

/// A text to be shown within a message: without control characters, and not too long.
pub(crate) fn quote(text: &str) -> String {
    let plain: String = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    shortened(&plain)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
