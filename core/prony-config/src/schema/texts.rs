//! Options of a plugin, told by its schema: what is a text, and what is a path.

use serde_json::Value;

/// Deepest nesting of options and of schemas that is followed.
const MAX_DEPTH: usize = 64;

/// Key of a plugin's schema that marks an option as a path: `"file"` for one that is always a path,
/// `true` for one that may be the name of a model instead, `"folder"` for a folder that programs
/// start in, and `"program"` for the words of a command, of which the first is a program.
const PATH: &str = "x-prony-path";

/// Beginnings of a text that is a path where it may be a name, too.
const OF_PATHS: [&str; 4] = ["/", "./", "../", "~/"];

/// Makes texts of the numbers and booleans that templates gave where a plugin's schema takes nothing
/// but a text: `${{ engine.port }}` is a number, and the option may be a text.
pub fn as_texts(options: &mut Value, schema: &Value) {
    let is_text = |place: &&Value| match &place["type"] {
        Value::String(name) => Some(name == "string"),
        Value::Array(names) => Some(names.iter().all(|it| it == "string" || it == "null")),
        _ => None,
    };
    for (pointer, places) in scalars(options, schema) {
        let mut told = places.iter().filter_map(is_text).peekable();
        let takes_texts = told.peek().is_some() && told.all(|it| it);
        match options.pointer_mut(&pointer) {
            Some(value @ (Value::Number(_) | Value::Bool(_))) if takes_texts => {
                *value = Value::String(value.to_string());
            }
            _ => {}
        }
    }
}

/// JSON pointers of the options that are paths, by [`PATH`] in the plugin's schema.
pub fn option_paths(options: &Value, schema: &Value) -> Vec<String> {
    let is_path = |pointer: &String, places: &[&Value]| {
        let text = options.pointer(pointer).and_then(Value::as_str);
        let looks_like_one = text.is_some_and(|it| OF_PATHS.iter().any(|of| it.starts_with(of)));
        let mut marks = places.iter().map(|place| &place[PATH]);
        text.is_some() && marks.any(|mark| mark == "file" || (looks_like_one && mark == true))
    };
    let all = scalars(options, schema).into_iter();
    let found = all.filter(|(pointer, places)| is_path(pointer, places));
    found.map(|(pointer, _)| pointer).collect()
}

/// The programs that a plugin's options start, and the folders that they start in.
pub(crate) struct Launched {
    /// JSON pointers of the folders.
    pub(crate) folders: Vec<String>,
    /// JSON pointers of the programs, each with that of its folder, which stands beside the command.
    pub(crate) programs: Vec<(String, Option<String>)>,
}

/// Finds the programs that options start, by [`PATH`] in the plugin's schema.
pub(crate) fn launched(options: &Value, schema: &Value) -> Launched {
    let all = scalars(options, schema);
    let marked = |mark: &'static str| {
        let of_mark = all
            .iter()
            .filter(move |(_, places)| places.iter().any(|place| place[PATH] == mark));
        of_mark.map(|(pointer, _)| pointer.as_str())
    };
    let above = |pointer: &str| pointer.rsplit_once('/').map(|(above, _)| above.to_owned());
    let folders: Vec<String> = marked("folder").map(str::to_owned).collect();
    let program = |pointer: &str| {
        let command = pointer.strip_suffix("/0")?;
        let mut beside = folders.iter();
        let folder = beside.find(|folder| above(folder) == above(command));
        Some((pointer.to_owned(), folder.cloned()))
    };
    let programs = marked("program").filter_map(program).collect();
    Launched { folders, programs }
}

/// JSON pointers of all values that hold no others, with the schemas that hold for each.
fn scalars<'s>(options: &Value, schema: &'s Value) -> Vec<(String, Vec<&'s Value>)> {
    let mut found = Vec::new();
    add_scalars(options, String::new(), &[schema], schema, &mut found);
    found
}

fn add_scalars<'s>(
    value: &Value,
    pointer: String,
    at: &[&'s Value],
    root: &'s Value,
    found: &mut Vec<(String, Vec<&'s Value>)>,
) {
    let mut places: Vec<&'s Value> = Vec::new();
    for schema in at {
        expand(schema, root, 0, &mut places);
    }
    if pointer.matches('/').count() > MAX_DEPTH || places.is_empty() {
        return;
    }
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let of = |place: &&'s Value| {
                    let place: &'s Value = place;
                    let first = place["prefixItems"].get(index);
                    first.or_else(|| place.get("items"))
                };
                let below: Vec<&Value> = places.iter().filter_map(of).collect();
                add_scalars(item, format!("{pointer}/{index}"), &below, root, found);
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
                let key = key.replace('~', "~0").replace('/', "~1");
                add_scalars(item, format!("{pointer}/{key}"), &below, root, found);
            }
        }
        _ => found.push((pointer, places)),
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
    fn options_are_paths_where_the_schema_says_so() {
        let schema = json!({
            "$defs": { "Weights": { "oneOf": [
                { "properties": { "gguf": { "type": "string", "x-prony-path": "file" } } },
                { "properties": { "synthetic": { "type": "object" } } },
            ] } },
            "properties": {
                "weights": { "anyOf": [{ "$ref": "#/$defs/Weights" }, { "type": "null" }] },
                "model_path": { "type": ["string", "null"], "x-prony-path": true },
                "draft/model": { "x-prony-path": true },
                "templates": { "items": { "x-prony-path": "file" } },
                "cwd": { "type": "string" },
            },
        });
        let options = json!({
            "weights": { "gguf": "a.gguf" }, "model_path": "org/name", "draft/model": "~/m",
            "templates": ["a", 1], "cwd": "/tmp",
        });
        let mut found = option_paths(&options, &schema);
        found.sort();
        assert_eq!(found, ["/draft~1model", "/templates/0", "/weights/gguf"]);
        assert_eq!(option_paths(&json!({ "weights": null }), &schema), [""; 0]);
    }

    #[test]
    fn a_program_starts_in_the_folder_beside_its_command() {
        let schema = json!({
            "$defs": {
                "Word": { "type": "string" },
                "Launch": { "properties": {
                    "command": { "items": { "$ref": "#/$defs/Word", "x-prony-path": "program" } },
                    "cwd": { "type": "string", "x-prony-path": "folder" },
                } },
            },
            "properties": {
                "launch": { "anyOf": [{ "$ref": "#/$defs/Launch" }, { "type": "null" }] },
                "other": { "$ref": "#/$defs/Launch" },
            },
        });
        let options = json!({
            "launch": { "command": ["./a", "./b"], "cwd": "c" }, "other": { "command": ["./d"] },
        });
        let found = launched(&options, &schema);
        assert_eq!(found.folders, ["/launch/cwd"]);
        let folder = Some("/launch/cwd".to_owned());
        let programs = [("/launch/command/0", folder), ("/other/command/0", None)];
        assert_eq!(found.programs, programs.map(|(at, of)| (at.to_owned(), of)));
        assert_eq!(option_paths(&options, &schema), [""; 0]);
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
