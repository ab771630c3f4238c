//! The generated JSON Schema and the table of codes.

use serde_json::Value;

use crate::{CODES, explain, schema};

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
fn nothing_is_null() {
    assert!(!schema().to_string().contains("null"));
}

#[test]
fn codes_are_in_order_and_explained() {
    assert!(CODES.is_sorted_by(|a, b| a.code < b.code));
    assert!(explain("P0101").is_some_and(|text| text.ends_with('.')));
    assert_eq!(explain("P9999"), None);
}
