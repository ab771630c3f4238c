//! Checks that a config's schema helps its users.

use serde_json::Value;

pub(crate) fn problems(schema: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if schema["type"] != "object" {
        problems.push("the config is not an object".to_owned());
        return problems;
    }
    if !closed(schema) {
        problems
            .push("the config accepts unknown options (`#[serde(deny_unknown_fields)]`)".into());
    }
    problems.extend(prony_contract::role_problems(schema));
    walk(schema, schema, "", false, &mut problems);
    if let Some(definitions) = schema.get("$defs").and_then(Value::as_object) {
        for (name, definition) in definitions {
            let at = format!("/$defs/{name}");
            walk(schema, definition, &at, false, &mut problems);
        }
    }
    problems
}

fn walk(root: &Value, schema: &Value, at: &str, choice: bool, problems: &mut Vec<String>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        if !at.is_empty() && !closed(schema) {
            problems.push(format!(
                "`{at}` accepts unknown options (`#[serde(deny_unknown_fields)]`)"
            ));
        }
        // The only key of an enum's variant is described at the variant.
        let variant = choice && properties.len() == 1 && described(root, schema);
        for (name, property) in properties {
            let at = format!("{at}/{name}");
            if !variant && !described(root, property) {
                problems.push(format!("`{at}` has no description (a doc comment)"));
            }
            walk(root, property, &at, false, problems);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key).filter(|inner| inner.is_object()) {
            walk(root, inner, at, false, problems);
        }
    }
    for key in ["oneOf", "anyOf", "allOf", "prefixItems"] {
        for inner in schema
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            walk(root, inner, at, true, problems);
        }
    }
}

fn closed(schema: &Value) -> bool {
    schema["additionalProperties"] == false || schema["unevaluatedProperties"] == false
}

fn described(root: &Value, schema: &Value) -> bool {
    let own = schema["description"]
        .as_str()
        .is_some_and(|text| !text.trim().is_empty());
    let target = || {
        let pointer = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        root.pointer(pointer)?.get("description")
    };
    own || target().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_what_is_open_and_what_is_not_described() {
        let schema = json!({
            "type": "object",
            "properties": {
                "url": { "type": "string" },
                "retry": { "$ref": "#/$defs/Retry" },
                "probe": { "description": "A probe.", "oneOf": [
                    { "type": "object", "description": "A path.", "additionalProperties": false,
                      "properties": { "http": { "type": "string" } } },
                ] },
            },
            "$defs": { "Retry": { "description": "How often.", "type": "object",
                "properties": { "count": { "type": "integer", "description": " " } } } },
        });
        assert_eq!(
            problems(&schema),
            [
                "the config accepts unknown options (`#[serde(deny_unknown_fields)]`)",
                "`/url` has no description (a doc comment)",
                "`/$defs/Retry` accepts unknown options (`#[serde(deny_unknown_fields)]`)",
                "`/$defs/Retry/count` has no description (a doc comment)",
            ]
        );
        assert_eq!(problems(&json!(true)), ["the config is not an object"]);
    }
}
