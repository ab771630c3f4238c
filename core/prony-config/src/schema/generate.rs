//! Generates the JSON Schema of the file from its types: strict for prony itself, and
//! published, for editors and other validators.

use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use serde_json::{Map, Value, json};

use super::{Checker, editor};
use crate::file::File;
use crate::{PluginKind, Plugins};

/// Marks values read before any template: an expression is not allowed there.
const LITERAL: &str = "x-literal";
/// A text with a template in it, as a regular expression.
const TEMPLATE: &str = "\\$\\{\\{";

/// The schema of a pipeline whose templates have values.
fn strict_schema() -> Value {
    let generator = SchemaSettings::draft2020_12()
        .with_transform(no_null)
        .with_transform(bounded)
        .into_generator();
    let mut schema = generator.into_root_schema_for::<File>();
    schema.insert("$id".into(), "pipeline.v1.json".into());
    let own = json!({ "^x-": { "description": "The author's own, for anchors; prony does not read it." } });
    schema.insert("patternProperties".into(), own);
    schema.to_value()
}

/// [`strict_schema`], made once.
pub(crate) fn strict() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(strict_schema);
    &SCHEMA
}

/// The top-level keys of a pipeline.
pub(crate) fn keys() -> Vec<&'static str> {
    let properties = strict().get("properties").and_then(Value::as_object);
    properties
        .map(|all| all.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

/// The JSON Schema (2020-12) of a pipeline file as written: an expression may stand for
/// any value, and a file that extends another may omit or remove what that one has.
pub fn schema() -> Value {
    let mut schema = strict_schema();
    publish(&mut schema);
    schema
}

/// The JSON Schema (2020-12) of a file that is laid over a pipeline by `--overlay`, or extends
/// one: no key is required, and `null` removes one.
pub fn overlay_schema() -> Value {
    of_overlay(schema(), "overlay.v1.json")
}

/// [`overlay_schema`] with the options of the installed plugins.
pub fn overlay_schema_with_plugins(plugins: &dyn Plugins) -> Value {
    of_overlay(schema_with_plugins(plugins), "overlay-with-plugins.v1.json")
}

/// The part of a published schema that is about overlays.
fn of_overlay(mut schema: Value, id: &str) -> Value {
    if let Some(root) = schema.as_object_mut() {
        for key in ["if", "then", "else", "description", "markdownDescription"] {
            root.shift_remove(key);
        }
        root.insert("$id".into(), id.into());
        root.insert("title".into(), "prony overlay".into());
        root.insert("$ref".into(), "#/$defs/Overlay".into());
    }
    editor::prune(&mut schema);
    schema
}

/// [`schema`] with the options of the installed plugins, so that editors complete and
/// check them too.
pub fn schema_with_plugins(plugins: &dyn Plugins) -> Value {
    let mut schema = strict_schema();
    for (kind, definition, section) in [
        (
            PluginKind::Engine,
            "EngineUse",
            &[
                "/properties/engine",
                "/properties/engines/additionalProperties",
            ][..],
        ),
        (
            PluginKind::Reporter,
            "PluginUse",
            &["/properties/reporters/additionalProperties"][..],
        ),
    ] {
        let names = plugins.names(kind);
        let place = format!("{}_use", kind.name());
        let mut usage = schema["$defs"][definition].clone();
        usage["properties"]["plugin"]["anyOf"] = json!([{ "enum": names }, { "type": "object" }]);
        let mut cases = Vec::new();
        for name in &names {
            let config = plugins.config_schema(kind, name);
            // An invalid plugin schema would invalidate the whole.
            let Some(mut config) = config.filter(is_sound) else {
                continue;
            };
            let key = format!("{}_{name}", kind.name());
            rebase(
                &mut config,
                &format!("#/$defs/{}", key.replace('~', "~0").replace('/', "~1")),
            );
            if let Some(object) = config.as_object_mut() {
                object.remove("$schema");
                object.remove("$id");
            }
            schema["$defs"][&key] = config;
            cases.push(json!({
                "if": { "properties": { "plugin": { "const": name } }, "required": ["plugin"] },
                "then": { "properties": { "config": { "$ref": format!("#/$defs/{key}") } } },
            }));
        }
        if !cases.is_empty() {
            usage["allOf"] = Value::Array(cases);
        }
        schema["$defs"][&place] = usage;
        for pointer in section {
            if let Some(place_of_use) = schema.pointer_mut(pointer).and_then(Value::as_object_mut) {
                place_of_use.insert("$ref".into(), format!("#/$defs/{place}").into());
            }
        }
    }
    schema["$id"] = "pipeline-with-plugins.v1.json".into();
    publish(&mut schema);
    schema
}

/// Rebases the references of a schema that is embedded in another, at `place`.
fn rebase(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(reference) if key == "$ref" && reference.starts_with('#') => {
                        *reference = format!("{place}{}", &reference[1..]);
                    }
                    value => rebase(value, place),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rebase(item, place)),
        _ => {}
    }
}

/// Returns `true` if a plugin's schema is valid, also with expressions in it and as a part of a
/// larger one.
fn is_sound(config: &Value) -> bool {
    let Some(root) = config.as_object() else {
        return false;
    };
    let has_definitions = root.get("$defs").is_none_or(Value::is_object);
    let mut unnamed = config.clone();
    unnamed.as_object_mut().and_then(|it| it.remove("$id"));
    if !has_definitions || names_itself(&unnamed) {
        return false;
    }
    let mut published = config.clone();
    allow_expressions(&mut published);
    published["$defs"]["Expression"] = expression();
    [config, &published]
        .into_iter()
        .all(|schema| jsonschema::meta::is_valid(schema) && Checker::new(schema).is_ok())
}

/// Returns `true` if a part of a schema has an address of its own, against which its references
/// are read: in a larger schema they would lead elsewhere.
fn names_itself(schema: &Value) -> bool {
    const ADDRESSES: [&str; 5] = [
        "$id",
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "$recursiveRef",
    ];
    match schema {
        Value::Object(object) => object.iter().any(|(key, value)| {
            (ADDRESSES.contains(&key.as_str()) && value.is_string()) || names_itself(value)
        }),
        Value::Array(items) => items.iter().any(names_itself),
        _ => false,
    }
}

fn publish(schema: &mut Value) {
    for pointer in ["/properties/allow", "/$defs/Allow"] {
        if let Some(literal) = schema.pointer_mut(pointer) {
            literal[LITERAL] = true.into();
        }
    }
    let mut overlay = Overlay {
        schema: &schema.clone(),
        definitions: Map::new(),
    };
    let Some(root) = schema.as_object_mut() else {
        return;
    };
    let take = |root: &mut Map<String, Value>, key: &str| root.remove(key).unwrap_or_default();
    let properties = take(root, "properties");
    let required = take(root, "required");
    let mut definitions = take(root, "$defs");
    let over = overlay.properties(&properties);
    for (name, definition) in overlay.definitions {
        definitions[name] = definition;
    }
    let own = take(root, "patternProperties");
    // An editor would list keys that stand here, too, twice.
    root.remove("additionalProperties");
    let either = |one: &str, several: &str| json!({ "oneOf": [{ "required": [one] }, { "required": [several] }] });
    definitions["Pipeline"] = json!({
        "type": "object",
        "description": "A pipeline that stands alone.",
        "properties": properties,
        "patternProperties": own.clone(),
        "additionalProperties": false,
        "required": required,
        "allOf": [either("engine", "engines"), either("model", "models")],
    });
    definitions["Overlay"] = json!({
        "type": "object",
        "description": "A pipeline that says what differs from the one it extends; `null` removes a key.",
        "properties": over,
        "patternProperties": own,
        "additionalProperties": false,
    });
    if let Some(definitions) = definitions.as_object_mut() {
        for (name, definition) in definitions.iter_mut() {
            let is_whole = ["Pipeline", "Overlay"].contains(&name.as_str());
            if is_whole {
                walk(definition);
            } else {
                allow_expressions(definition);
            }
        }
        definitions.insert("Expression".into(), expression());
    }
    root.insert("if".into(), json!({ "required": ["extends"] }));
    root.insert("then".into(), json!({ "$ref": "#/$defs/Overlay" }));
    root.insert("else".into(), json!({ "$ref": "#/$defs/Pipeline" }));
    root.insert("$defs".into(), definitions);
    editor::adapt(schema, TEMPLATE);
}

fn expression() -> Value {
    json!({
        "title": "expression",
        "description": "A text with a `${{ }}` template in it.",
        "type": "string",
        "pattern": TEMPLATE,
    })
}

/// Schema of a file that extends another: no key is required, and `null` removes one.
/// Lists are replaced as a whole, so their items are checked as usual.
struct Overlay<'s> {
    schema: &'s Value,
    definitions: Map<String, Value>,
}

impl Overlay<'_> {
    fn properties(&mut self, properties: &Value) -> Value {
        let properties = properties.as_object().into_iter().flatten();
        let relaxed = properties.map(|(key, property)| (key.clone(), self.value(property)));
        Value::Object(relaxed.collect())
    }

    /// The value of a key: complete, partial, or `null`.
    fn value(&mut self, schema: &Value) -> Value {
        let Some(object) = schema.as_object() else {
            return schema.clone();
        };
        if object.get("const").is_some() {
            return schema.clone();
        }
        if let Some(name) = object.get("$ref").and_then(Value::as_str) {
            let mut relaxed = object.clone();
            let definition = name
                .strip_prefix('#')
                .and_then(|at| self.schema.pointer(at));
            if let Some(definition) = definition.filter(|d| d.get("properties").is_some()) {
                let name = name.rsplit('/').next().unwrap_or_default();
                let part = format!("{name}Overlay");
                if !self.definitions.contains_key(&part) {
                    self.definitions.insert(part.clone(), Value::Null);
                    let whole = self.mapping(definition);
                    self.definitions.insert(part.clone(), whole);
                }
                relaxed.insert("$ref".into(), format!("#/$defs/{part}").into());
                return relaxed.into();
            }
            let reference = relaxed.remove("$ref");
            relaxed.insert(
                "anyOf".into(),
                json!([{ "$ref": reference }, { "type": "null" }]),
            );
            return relaxed.into();
        }
        match object.get("type").and_then(Value::as_str) {
            Some("object") => self.mapping(schema),
            Some(one) => {
                let mut relaxed = object.clone();
                relaxed.insert("type".into(), json!([one, "null"]));
                relaxed.into()
            }
            None => {
                let mut relaxed = object.clone();
                // A name or a mapping.
                if let Some(Value::Array(types)) = relaxed.get_mut("type") {
                    types.push("null".into());
                }
                relaxed.into()
            }
        }
    }

    fn mapping(&mut self, schema: &Value) -> Value {
        let mut relaxed = schema.as_object().cloned().unwrap_or_default();
        // The options of a plugin named elsewhere are unknown.
        for key in ["required", "minProperties", "allOf"] {
            relaxed.remove(key);
        }
        relaxed.insert("type".into(), json!(["object", "null"]));
        if let Some(properties) = relaxed.get_mut("properties") {
            *properties = self.properties(properties);
        }
        if let Some(others) = relaxed.get_mut("additionalProperties") {
            *others = self.value(others);
        }
        relaxed.into()
    }
}

/// Allows an expression in place of a value, unless it is any text already, and of every
/// value in it. Where the type distinguishes alternatives, the text is one more type, so
/// that validators still report the problems of the others.
fn allow_expressions(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut()
        && object.contains_key(LITERAL)
    {
        strip(schema);
        return;
    }
    walk(schema);
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let is_text_only = ["pattern", "minLength", "maxLength", "format"]
        .iter()
        .any(|key| object.contains_key(*key));
    let is_choice = ["enum", "const", "anyOf", "oneOf", "allOf", "not", "if"]
        .iter()
        .any(|key| object.contains_key(*key));
    let types: Vec<String> = match object.get("type") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => several
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    };
    let takes_text = types.is_empty() || types.iter().any(|name| name == "string");
    // Where a text is wanted, a number or a boolean is the text that is written.
    let is_text = takes_text && types.iter().all(|name| name == "string" || name == "null");
    if is_text && !types.is_empty() && !is_choice && !is_text_only {
        let more = ["number", "boolean"].map(str::to_owned);
        let all = types.iter().cloned().chain(more);
        object.insert("type".into(), all.collect());
    }
    if is_choice || (is_text_only && takes_text) {
        let outer: Map<String, Value> = [
            "title",
            "description",
            "default",
            "examples",
            "$defs",
            "definitions",
        ]
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), object.remove(*key)?)))
        .collect();
        let inner = std::mem::replace(object, outer);
        object.insert(
            "anyOf".into(),
            json!([inner, { "$ref": "#/$defs/Expression" }]),
        );
    } else if !takes_text {
        let all = types.into_iter().chain(["string".to_owned()]);
        object.insert("type".into(), all.collect());
        object.insert("pattern".into(), TEMPLATE.into());
    }
}

/// Allows expressions for what is inside a value, not for the value itself.
fn walk(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    for (key, value) in object {
        match (key.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(all)) => {
                all.iter_mut()
                    .for_each(|(_, value)| allow_expressions(value));
            }
            ("items" | "additionalProperties" | "unevaluatedProperties", value) => {
                allow_expressions(value);
            }
            ("prefixItems", Value::Array(all)) => all.iter_mut().for_each(allow_expressions),
            // These describe the same value.
            ("anyOf" | "oneOf" | "allOf", Value::Array(all)) => all.iter_mut().for_each(walk),
            ("then" | "else", value) => walk(value),
            _ => {}
        }
    }
}

/// Removes the marks of values read before any template.
fn strip(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.remove(LITERAL);
            object.iter_mut().for_each(|(_, value)| strip(value));
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Disallows `null` for optional values: they are omitted instead.
fn no_null(schema: &mut Schema) {
    transform_subschemas(&mut no_null, schema);
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
        branches.retain(|branch| branch != &json!({"type": "null"}));
        if let [Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            object.extend(only);
        }
    }
}

/// Bounds a number to the type that it is read into.
fn bounded(schema: &mut Schema) {
    transform_subschemas(&mut bounded, schema);
    if schema.get("format") == Some(&json!("uint32")) && schema.get("maximum").is_none() {
        schema.insert("maximum".into(), u32::MAX.into());
    }
}
