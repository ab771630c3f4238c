//! The generated JSON Schema and the table of codes.

use std::fs;

use serde_json::{Value, json};

use super::fixtures::files;
use super::plugins::Installed;
use crate::{CODES, PluginKind, Plugins, explain, overlay_schema, schema, schema_with_plugins};

#[test]
fn the_schema_names_itself() {
    let schema = schema();
    assert_eq!(schema["$id"], "pipeline.v1.json");
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert!(jsonschema::meta::is_valid(&schema));
}

#[test]
fn every_property_is_described() {
    fn walk(path: &str, schema: &Value, missing: &mut Vec<String>) {
        for (key, value) in schema.as_object().into_iter().flatten() {
            if key == "properties" {
                for (name, property) in value.as_object().into_iter().flatten() {
                    if property.get("description").is_none() && property.get("$ref").is_none() {
                        missing.push(format!("{path}/{name}"));
                    }
                }
            }
            walk(&format!("{path}/{key}"), value, missing);
        }
        for (index, value) in schema.as_array().into_iter().flatten().enumerate() {
            walk(&format!("{path}/{index}"), value, missing);
        }
    }
    let mut missing = Vec::new();
    walk("", &schema(), &mut missing);
    assert_eq!(missing, [""; 0]);
}

#[test]
fn nothing_is_null_but_in_a_file_that_extends_another() {
    let mut schema = schema();
    let definitions = schema["$defs"].as_object_mut().expect("definitions");
    definitions.retain(|name, _| !name.ends_with("Overlay"));
    assert!(!schema.to_string().contains("\"null\""));
}

#[test]
fn codes_are_in_order_and_explained() {
    assert!(CODES.is_sorted_by(|a, b| a.code < b.code));
    assert!(CODES.iter().all(|code| code.summary.ends_with('.')));
    assert_eq!(explain("P9999"), None);
}

/// Files that the published schema cannot judge, and why.
const NOT_BY_SCHEMA: [(&str, &str); 4] = [
    ("P0101-everything-wrong.yaml", "has mistakes of all kinds"),
    (
        "P0201-everywhere.yaml",
        "a template in a key makes it an unknown one",
    ),
    (
        "P0201-template-place.yaml",
        "a template where the schema wants the value itself",
    ),
    ("P0203-several-phases.yaml", "has mistakes of all kinds"),
];

/// The schema for editors and other validators agrees with prony, as far as a schema can.
#[test]
fn the_published_schema_agrees_about_the_files() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let mut wrong = Vec::new();
    for (folder, valid) in [
        ("invalid/schema", false),
        ("invalid/template", true),
        ("invalid/meaning", true),
        ("invalid/plugins", true),
        ("invalid/fairness", true),
        ("valid", true),
    ] {
        for path in files(folder) {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(&path).expect("text");
            let options = serde_yaml::options! { strict_booleans: true };
            let document: Value = match serde_yaml::from_str_with_options(&text, options) {
                Ok(document) => document,
                Err(error) => {
                    wrong.push(format!("{folder}/{name}: {error}"));
                    continue;
                }
            };
            let known = NOT_BY_SCHEMA.iter().any(|(file, _)| *file == name);
            if validator.is_valid(&document) != (valid != known) {
                let errors: Vec<String> = validator
                    .iter_errors(&document)
                    .map(|error| format!("{}: {}", error.instance_path(), error.masked()))
                    .collect();
                wrong.push(format!("{folder}/{name}: {errors:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A plugin with a valid schema, among plugins without one.
struct Sound;

impl Plugins for Sound {
    fn config_schema(&self, kind: PluginKind, name: &str) -> Option<Value> {
        Installed.config_schema(kind, name)
    }

    fn names(&self, kind: PluginKind) -> Vec<String> {
        let names = Installed.names(kind).into_iter();
        names.filter(|name| name != "broken").collect()
    }
}

#[test]
fn a_plugin_with_a_broken_schema_does_not_break_the_schema_with_plugins() {
    let schema = schema_with_plugins(&Installed);
    assert!(jsonschema::meta::is_valid(&schema));
}

/// A plugin with any schema.
struct Stating(Value);

impl Plugins for Stating {
    fn config_schema(&self, _: PluginKind, _: &str) -> Option<Value> {
        Some(self.0.clone())
    }

    fn names(&self, _: PluginKind) -> Vec<String> {
        vec!["one".to_owned(), "two".to_owned()]
    }
}

#[test]
fn the_schema_with_plugins_survives_whatever_a_plugin_states() {
    let stated = [
        json!(true),
        json!(null),
        json!([1]),
        json!("text"),
        json!({ "$defs": [1] }),
        json!({ "$defs": true, "type": "object" }),
        json!({ "$ref": "#/$defs/none" }),
        json!({ "$ref": "elsewhere.json" }),
        json!({ "$anchor": "a", "properties": { "it": { "$ref": "#a" } } }),
        json!({ "properties": { "it": { "$id": "b.json", "$ref": "#/$defs/c" } } }),
        json!({ "$dynamicAnchor": "a" }),
        json!({ "properties": { "it": { "pattern": "(" } } }),
        json!({ "properties": { "$ref": { "const": "#/not/a/reference" } } }),
        json!({ "properties": { "it": { "default": { "$ref": "#/x" } } } }),
    ];
    for stated in stated {
        let schema = schema_with_plugins(&Stating(stated.clone()));
        assert!(jsonschema::meta::is_valid(&schema), "{stated}");
        jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{stated}: {error}"));
    }
}

#[test]
fn the_schema_with_plugins_knows_their_options() {
    let schema = schema_with_plugins(&Sound);
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let with = |engine: Value, reporter: Value| {
        json!({
            "version": 1, "name": "demo", "engine": engine, "model": { "id": "tiny" },
            "workload": { "prompts": ["a"] }, "reporters": { "page": reporter },
            "stages": [{ "measure": {} }],
        })
    };
    let html = json!({ "plugin": "titled", "config": { "title": "a" } });
    let openai = |config: Value| json!({ "plugin": "openai", "config": config });
    for engine in [
        json!({ "plugin": "openai" }),
        openai(json!({ "threads": 2, "base_url": "http://x" })),
        openai(json!({ "mode": { "fast": { "level": 3 } } })),
        json!({ "plugin": "tuned", "config": { "weights": { "type": "q8_0" } } }),
        json!({ "plugin": "mock", "config": { "anything": [1] } }),
    ] {
        assert!(
            validator.is_valid(&with(engine.clone(), html.clone())),
            "{engine}"
        );
    }
    for engine in [
        json!({ "plugin": "opnai" }),
        openai(json!({ "threads": 0 })),
        openai(json!({ "thread": 1 })),
        openai(json!({ "mode": { "fast": { "level": "high" } } })),
        json!({ "plugin": "tuned", "config": { "weights": { "type": "q8" } } }),
    ] {
        assert!(
            !validator.is_valid(&with(engine.clone(), html.clone())),
            "{engine}"
        );
    }
    let engine = json!({ "plugin": "openai" });
    for reporter in [
        json!({ "plugin": "titled", "config": {} }),
        json!({ "plugin": "titled", "config": { "title": [] } }),
        json!({ "plugin": "openai" }),
    ] {
        assert!(
            !validator.is_valid(&with(engine.clone(), reporter.clone())),
            "{reporter}"
        );
    }
}

#[test]
fn an_option_may_be_a_template_in_the_schema_with_plugins() {
    let schema = schema_with_plugins(&Sound);
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let document = json!({
        "version": 1, "name": "demo", "model": { "id": "tiny" },
        "engines": { "a": { "plugin": "openai", "config": { "threads": "${{ vars.n }}" } } },
        "workload": { "prompts": ["a"], "max_tokens": "${{ vars.n }}" },
        "stages": [{ "measure": {} }],
    });
    assert!(validator.is_valid(&document));
}

/// Calls `see` with each object of a schema and its pointer.
fn each<'s>(schema: &'s Value, place: &str, see: &mut dyn FnMut(&str, &'s Value)) {
    match schema {
        Value::Object(object) => {
            see(place, schema);
            for (key, value) in object {
                let key = key.replace('~', "~0").replace('/', "~1");
                each(value, &format!("{place}/{key}"), see);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                each(item, &format!("{place}/{index}"), see);
            }
        }
        _ => {}
    }
}

#[test]
fn defaults_are_valid_and_patterns_have_words() {
    for schema in [schema(), overlay_schema(), schema_with_plugins(&Sound)] {
        let mut found = Vec::new();
        each(&schema, "", &mut |place, part| {
            let is_properties = place.ends_with("/properties");
            if let Some(default) = part.get("default").filter(|_| !is_properties) {
                found.push((place.to_owned(), default));
            }
            // A plugin's own patterns may have none.
            let is_own = !place.starts_with("/$defs/engine_");
            if is_own && part.get("pattern").is_some_and(Value::is_string) {
                assert!(
                    part.get("patternErrorMessage").is_some(),
                    "{place}: {part:#}"
                );
            }
        });
        assert!(!found.is_empty());
        for (place, default) in found {
            let mut one = json!({ "$ref": format!("#{place}") });
            one["$defs"] = schema["$defs"].clone();
            let validator = jsonschema::validator_for(&one).expect("a schema");
            assert!(validator.is_valid(default), "{place}: {default}");
        }
    }
}

#[test]
fn an_overlay_has_a_schema_of_its_own() {
    let schema = overlay_schema();
    assert_eq!(schema["$id"], "overlay.v1.json");
    assert!(jsonschema::meta::is_valid(&schema));
    assert!(
        schema["$defs"].get("Pipeline").is_none(),
        "it is not needed"
    );
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for valid in [
        json!({}),
        json!({ "engines": { "old": null, "new": { "plugin": "x" } } }),
        json!({ "schedule": { "cycles": 3, "seed": null }, "x-mine": 1 }),
        json!({ "extends": "base.yaml", "workload": { "max_tokens": "${{ vars.n }}" } }),
    ] {
        assert!(validator.is_valid(&valid), "{valid}");
    }
    for invalid in [
        json!({ "enginess": {} }),
        json!({ "schedule": { "cycls": 3 } }),
        json!({ "stages": [{ "load": {}, "measure": {} }] }),
        json!({ "stages": [{}] }),
    ] {
        assert!(!validator.is_valid(&invalid), "{invalid}");
    }
}
