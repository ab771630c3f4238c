//! The JSON Schema of the file, from its types.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use serde_json::{Value, json};

use crate::file::File;

/// The JSON Schema (2020-12) of a pipeline file.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12()
        .with_transform(no_null)
        .with_transform(bounded)
        .into_generator();
    let mut schema = generator.into_root_schema_for::<File>();
    schema.insert("$id".into(), "pipeline.v1.json".into());
    schema.to_value()
}

/// An option that is not given is left out, never `null`.
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

/// A number fits the type it is read into.
fn bounded(schema: &mut Schema) {
    transform_subschemas(&mut bounded, schema);
    if schema.get("format") == Some(&json!("uint32")) && schema.get("maximum").is_none() {
        schema.insert("maximum".into(), u32::MAX.into());
    }
}
