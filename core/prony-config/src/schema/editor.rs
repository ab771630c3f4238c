//! Keys of a published schema for editors, beside its meaning. The names of these keys are those
//! of yaml-language-server, which VS Code, Neovim, Helix and others use.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::problem::FORMS;
use crate::duration;

/// Adds words for editors to a published schema, and writes alternatives in the form that they
/// list once. What is valid stays the same.
pub(super) fn adapt(schema: &mut Value, template: &str) {
    each(schema, &mut one_of_keys);
    each(schema, &mut |object| or_template(object, template));
    each(schema, &mut |object| explain_pattern(object, template));
    each(schema, &mut markdown);
}

/// Removes definitions that nothing refers to.
pub(super) fn prune(schema: &mut Value) {
    let Some(Value::Object(mut all)) = schema.as_object_mut().and_then(|it| it.remove("$defs"))
    else {
        return;
    };
    let mut kept = Map::new();
    let mut wanted = references(schema);
    while let Some(name) = wanted.pop_first() {
        if let Some(definition) = all.remove(&name) {
            wanted.extend(references(&definition));
            kept.insert(name, definition);
        }
    }
    schema["$defs"] = Value::Object(kept);
}

/// Names of the definitions that a schema refers to.
fn references(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(object) => {
                let name = object.get("$ref").and_then(Value::as_str);
                let name = name.and_then(|it| it.strip_prefix("#/$defs/"));
                let name = name.and_then(|it| it.split('/').next());
                found.extend(name.map(|it| it.replace("~1", "/").replace("~0", "~")));
                open.extend(object.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    found
}

/// Calls `change` with every object of a schema, inner ones first.
fn each(schema: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                // Values, not schemas.
                if !["default", "examples", "enum", "const"].contains(&&**key) {
                    each(value, change);
                }
            }
            change(object);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, change)),
        _ => {}
    }
}

/// Alternatives with one key each become one mapping of which one key is present: an editor then
/// lists each key once, and blames a wrong key alone.
fn one_of_keys(object: &mut Map<String, Value>) {
    let alternatives = object.get("oneOf").and_then(Value::as_array);
    let Some(alternatives) = alternatives else {
        return;
    };
    let keys: Option<Vec<(String, Value)>> = alternatives.iter().map(only_key).collect();
    let Some(keys) = keys.filter(|keys| keys.len() > 1) else {
        return;
    };
    object.remove("oneOf");
    object.insert("type".into(), "object".into());
    object.insert("properties".into(), keys.into_iter().collect());
    object.insert("additionalProperties".into(), false.into());
    // Beside `properties`, yaml-language-server would take it for a reason to complete none.
    let one = json!([{ "minProperties": 1, "maxProperties": 1 }]);
    object.insert("allOf".into(), one);
}

/// Key and value of an alternative that has one key only, with its description.
fn only_key(alternative: &Value) -> Option<(String, Value)> {
    let properties = alternative.get("properties")?.as_object()?;
    let (key, value) = properties.iter().next()?;
    let known = [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "description",
    ];
    let mut others = alternative.as_object()?.keys();
    let is_only = properties.len() == 1
        && alternative["required"] == json!([key])
        && alternative["additionalProperties"] == false
        && others.all(|key| known.contains(&&**key));
    let mut value = value.clone();
    if let Some(description) = alternative.get("description") {
        value["description"] = description.clone();
    }
    is_only.then(|| (key.clone(), value))
}

/// A mapping or an expression is one schema of two types, so that an editor does not take the
/// expression for the alternative that is meant.
fn or_template(object: &mut Map<String, Value>, template: &str) {
    let Some([inner, expression]) = object
        .get("anyOf")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    else {
        return;
    };
    let is_expression = *expression == json!({ "$ref": "#/$defs/Expression" });
    let is_mapping = inner["type"] == "object" && inner.get("allOf").is_some();
    if !is_expression || !is_mapping {
        return;
    }
    let inner = inner.as_object().cloned().unwrap_or_default();
    object.remove("anyOf");
    object.extend(inner);
    object.insert("type".into(), json!(["object", "string"]));
    object.insert("pattern".into(), template.into());
}

/// Says in words what a pattern asks for.
fn explain_pattern(object: &mut Map<String, Value>, template: &str) {
    let Some(pattern) = object.get("pattern").and_then(Value::as_str) else {
        return;
    };
    if object.contains_key("patternErrorMessage") {
        return;
    }
    let types = object.get("type").and_then(Value::as_array);
    let others: Vec<&str> = types
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|name| *name != "string" && *name != "null")
        .map(|name| match name {
            "object" => "a mapping",
            "array" => "a list",
            "integer" => "an integer",
            "number" => "a number",
            "boolean" => "`true` or `false`",
            other => other,
        })
        .collect();
    let form = FORMS.iter().find(|(known, _)| *known == pattern);
    let words = match form {
        None if pattern == duration::PATTERN => format!("Expected {}.", duration::FORM),
        Some((_, form)) => format!("Expected {form}."),
        None if pattern == template && others.is_empty() => {
            "Expected a `${{ }}` expression.".to_owned()
        }
        None if pattern == template => {
            format!(
                "Expected {}, or a `${{{{ }}}}` expression.",
                others.join(" or ")
            )
        }
        None => match object.get("description").and_then(Value::as_str) {
            Some(description) => format!("Expected: {}", joined(description)),
            None => return,
        },
    };
    object.insert("patternErrorMessage".into(), words.into());
}

/// A description without the line breaks of the source, and as Markdown where it has code.
fn markdown(object: &mut Map<String, Value>) {
    let description = object.get("description").and_then(Value::as_str);
    let Some(text) = description.map(joined) else {
        return;
    };
    if text.contains('`') {
        object.insert("markdownDescription".into(), text.as_str().into());
    }
    object.insert("description".into(), text.into());
}

/// A text whose paragraphs have one line each.
fn joined(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|it| it.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}
