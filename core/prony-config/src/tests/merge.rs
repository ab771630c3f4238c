//! Layers are merged by JSON Merge Patch (RFC 7396).

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::fixtures::load_layers;
use super::plugins::Installed;
use crate::merge::merge;
use crate::text::Texts;
use crate::{Inputs, MAX_BYTES};

/// The algorithm of the RFC, transcribed.
fn merge_patch(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut target = match target {
        Value::Object(target) => target,
        _ => Map::new(),
    };
    for (name, value) in patch {
        if value.is_null() {
            target.shift_remove(name);
        } else {
            let below = target.get(name).cloned().unwrap_or(Value::Null);
            let merged = merge_patch(below, value);
            target.insert(name.clone(), merged);
        }
    }
    Value::Object(target)
}

/// The loader's result for JSON texts that overlay each other.
fn merged(layers: &[&Value]) -> Value {
    let files = layers
        .iter()
        .enumerate()
        .map(|(i, layer)| (format!("{i}.json"), layer.to_string()));
    let inputs = Inputs {
        files: files.collect(),
        ..Inputs::one("", "", &Installed)
    };
    let root = merge(&inputs, &mut Texts::default()).expect("JSON is YAML");
    root.root.to_json()
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1000_i64..1000).prop_map(Value::from),
        "[a-c \"\\\\é]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|entries| entries.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

/// A mapping at the top, as in a pipeline file.
fn document() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-d]", json_value(), 0..5)
        .prop_map(|entries| entries.into_iter().collect::<Map<_, _>>().into())
}

#[test]
fn the_examples_of_the_rfc() {
    let cases = [
        (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
        (json!({"a":"b"}), json!({"a":null}), json!({})),
        (
            json!({"a":"b","b":"c"}),
            json!({"a":null}),
            json!({"b":"c"}),
        ),
        (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
        (
            json!({"a":{"b":"c"}}),
            json!({"a":{"b":"d","c":null}}),
            json!({"a":{"b":"d"}}),
        ),
        (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
        (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        (
            json!({}),
            json!({"a":{"bb":{"ccc":null}}}),
            json!({"a":{"bb":{}}}),
        ),
    ];
    let wrong: Vec<_> = cases
        .into_iter()
        .filter(|(target, patch, result)| merged(&[target, patch]) != *result)
        .collect();
    assert_eq!(wrong, []);
}

#[test]
fn an_extended_file_is_merged_as_an_overlay_is() {
    let base = "version: 1\nname: a\nengine: { plugin: mock }\nmodel: { id: a, size: 1B }\n\
                workload: { prompts: [a] }\nstages: [warmup: {}, measure: {}, report: {}]";
    let top = "name: b\nmodel: { size: ~ }";
    let over = load_layers(&[("a.yaml", base), ("b.yaml", top)], &[], &[], &[]);
    let extending = format!("extends: a.yaml\n{top}");
    let extended = load_layers(&[("b.yaml", &extending)], &[("a.yaml", base)], &[], &[]);
    let (over, extended) = (over.expect("a pipeline"), extended.expect("a pipeline"));
    assert_eq!(over.pipeline, extended.pipeline);
    assert_eq!(over.pipeline.models[0].size, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1024), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_layers(target in document(), patch in document()) {
        prop_assert_eq!(merged(&[&target, &patch]), merge_patch(target, &patch));
    }

    #[test]
    fn three_layers(a in document(), b in document(), c in document()) {
        let expected = merge_patch(merge_patch(a.clone(), &b), &c);
        prop_assert_eq!(merged(&[&a, &b, &c]), expected);
    }

    #[test]
    fn any_patch_at_all(target in document(), patch in json_value()) {
        prop_assert_eq!(merged(&[&target, &patch]), merge_patch(target, &patch));
    }

    /// Settings are applied or refused, whatever they are.
    #[test]
    fn any_setting(text in any::<String>(), document in document()) {
        any_argument(&text, &document);
    }

    #[test]
    fn any_setting_that_looks_like_one(
        text in "([a-d]|[0-9]|\"|\\.|=|'|\\[|\\]|\\{|\\}|:|,| |~|é|\\$\\{\\{|\\}\\}|&|\\*|!|\n|\t){0,24}",
        document in document(),
    ) {
        any_argument(&text, &document);
    }

    /// A path to a scalar leads to it.
    #[test]
    fn a_setting_is_found_again(key in "[a-d]", below in "[a-z. ]{1,6}", value in -1000_i64..1000) {
        let text = format!("{key}.\"{below}\"={value}");
        let inputs = Inputs { set: &[text], ..Inputs::one("a", "{}", &Installed) };
        let root = merge(&inputs, &mut Texts::default()).expect("a setting").root;
        prop_assert_eq!(root.to_json(), json!({ key: { below: value } }));
    }
}

fn any_argument(text: &str, document: &Value) {
    let document = document.to_string();
    let arguments = [text.to_owned()];
    for (set, var) in [(&arguments[..], &[][..]), (&[][..], &arguments[..])] {
        let inputs = Inputs {
            set,
            var,
            ..Inputs::one("a.json", &document, &Installed)
        };
        if let Err(problems) = crate::load_all(&inputs) {
            let shown = prony_diagnostic::human(&problems, false);
            assert!(shown.len() < MAX_BYTES);
            prony_diagnostic::json(&problems);
        }
    }
}
