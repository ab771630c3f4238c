//! Roles of options: the annotation `x-prony-role` in the schema of a config.

use serde_json::Value;

/// The annotation.
pub const ROLE: &str = "x-prony-role";

/// Every role, with its meaning. Settings of the first six should be equal for all engines of a
/// comparison: `prony validate` tells what differs.
pub const ROLES: [(&str, &str); 12] = [
    ("sampling", "how the next token is chosen"),
    ("cache", "whether prompts are answered from a prefix cache"),
    ("context", "the longest context, in tokens"),
    (
        "quantisation",
        "bits of weights or of the cache of keys and values",
    ),
    (
        "resources",
        "a share of the machine: threads, layers on a GPU, slots",
    ),
    ("length", "how long an answer is"),
    ("version", "which build of the engine runs"),
    (
        "request",
        "a map of members that are added to every request",
    ),
    (
        "launch",
        "how the engine is started; without it one that runs is used",
    ),
    (
        "secret",
        "a value that no report, log or lock file may hold",
    ),
    ("width", "columns of the terminal that a reporter prints to"),
    (
        "details",
        "whether a report shows more than fits on a screen",
    ),
];

/// Problems with the roles in a config's schema, each with a JSON pointer to its place.
pub fn role_problems(schema: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    gather(schema, &mut String::new(), &mut problems);
    problems
}

fn gather(at: &Value, pointer: &mut String, problems: &mut Vec<String>) {
    let mut below = |key: &str, value: &Value, problems: &mut Vec<String>| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        gather(value, pointer, problems);
        pointer.truncate(length);
    };
    match at {
        Value::Object(members) => {
            for (key, value) in members {
                // Samples of configs are no schemas.
                if ["default", "examples", "const", "enum"].contains(&key.as_str()) {
                    continue;
                }
                below(key, value, problems);
            }
            let Some(role) = members.get(ROLE) else {
                return;
            };
            if !ROLES.iter().any(|(name, _)| role == name) {
                let names: Vec<String> = ROLES.iter().map(|it| format!("`{}`", it.0)).collect();
                problems.push(format!(
                    "`{pointer}` has the role {role}: the roles are {}",
                    names.join(", ")
                ));
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                below(&index.to_string(), value, problems);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_role_that_is_none_is_found_wherever_it_stands() {
        let schema = json!({
            "properties": {
                "threads": { "x-prony-role": "resources" },
                "bits": { "anyOf": [{ "x-prony-role": "quantization" }] },
            },
            "$defs": { "Body": { "x-prony-role": 3 } },
            "default": { "x-prony-role": "no schema" },
        });
        // Members of an object have the order of their keys, or that of the text.
        let mut problems = role_problems(&schema);
        problems.sort_unstable();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("`/$defs/Body` has the role 3: the roles are `sampling`,"));
        assert!(
            problems[1].starts_with("`/properties/bits/anyOf/0` has the role \"quantization\"")
        );
    }
}
