//! Options of a plugin as a run has filled them in.

use serde_json::Value;

/// Deepest nesting of options and of schemas that is followed.
const MAX_DEPTH: usize = 64;

/// Makes texts of the numbers and booleans that templates gave where a plugin's schema takes nothing
/// but a text: `${{ engine.port }}` is a number, and the option may be a text.
pub fn as_texts(options: &mut Value, schema: &Value) {
    settle(options, &[schema], schema, 0);
}

fn settle<'s>(value: &mut Value, at: &[&'s Value], root: &'s Value, depth: usize) {
    let mut places: Vec<&'s Value> = Vec::new();
    for schema in at {
        expand(schema, root, 0, &mut places);
    }
    if depth > MAX_DEPTH || places.is_empty() {
        return;
    }
    match value {
        Value::Number(_) | Value::Bool(_) => {
            let is_text = |place: &&Value| match &place["type"] {
                Value::String(name) => Some(name == "string"),
                Value::Array(names) => Some(names.iter().all(|it| it == "string" || it == "null")),
                _ => None,
            };
            let mut told = places.iter().filter_map(is_text).peekable();
            if told.peek().is_some() && told.all(|it| it) {
                *value = Value::String(value.to_string());
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let of = |place: &&'s Value| {
                    let place: &'s Value = place;
                    let first = place["prefixItems"].get(index);
                    first.or_else(|| place.get("items"))
                };
                let below: Vec<&Value> = places.iter().filter_map(of).collect();
                settle(item, &below, root, depth + 1);
            }
        }
        Value::Object(entries) => {
            for (key, item) in entries {
                let of = |place: &&'s Value| {
                    let place: &'s Value = place;
                    let named = place["properties"].get(key.as_str());
                    named.or_else(|| place.get("additionalProperties"))
                };
                let below: Vec<&Value> = places.iter().filter_map(of).collect();
                settle(item, &below, root, depth + 1);
            }
        }
        Value::String(_) | Value::Null => {}
    }
}

/// Adds the schemas that hold for a place: those behind references, and alternatives.
fn expand<'s>(schema: &'s Value, root: &'s Value, depth: usize, places: &mut Vec<&'s Value>) {
    if depth > MAX_DEPTH || !schema.is_object() {
        return;
    }
    places.push(schema);
    let reference = schema["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
    if let Some(target) = reference.and_then(|it| root.pointer(it)) {
        expand(target, root, depth + 1, places);
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        for alternative in schema[key].as_array().into_iter().flatten() {
            expand(alternative, root, depth + 1, places);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_becomes_a_text_where_nothing_else_is_taken() {
        let schema = json!({
            "$defs": { "Name": { "type": ["string", "null"] } },
            "properties": {
                "port": { "$ref": "#/$defs/Name" },
                "threads": { "type": "integer" },
                "either": { "anyOf": [{ "type": "string" }, { "type": "integer" }] },
                "command": { "type": "array", "items": { "type": "string" } },
                "any": {},
            },
            "additionalProperties": { "type": "string" },
        });
        let mut options = json!({
            "port": 8000, "threads": 4, "either": 1, "command": ["a", 5, true], "any": 1, "env": 7,
        });
        as_texts(&mut options, &schema);
        assert_eq!(
            options,
            json!({
                "port": "8000", "threads": 4, "either": 1, "command": ["a", "5", "true"], "any": 1,
                "env": "7",
            })
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let mut options = json!({ "a": { "a": { "a": 1 } } });
        for schema in [
            json!({ "$ref": "#" }),
            json!({ "properties": { "a": { "$ref": "#" } } }),
            json!(true),
        ] {
            as_texts(&mut options, &schema);
        }
        assert_eq!(options["a"]["a"]["a"], 1);
    }
}
