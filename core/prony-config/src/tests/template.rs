//! Evaluation of templates.

use serde_json::{Value, json};

use crate::template::{render_str, render_value};

fn context() -> Value {
    json!({
        "model": { "id": "tiny", "path": null },
        "engine": { "name": "left", "host": "127.0.0.1", "port": 8080 },
        "prony": { "cache": "/cache" },
        "pipeline": { "dir": "/here" },
    })
}

#[test]
fn exactly_one_expression_keeps_its_type() {
    let value = json!({
        "port": "${{ engine.port }}",
        "next": "${{ engine.port + 1 }}",
        "none": "${{ model.path }}",
        "list": ["${{ [1, model.id] }}", "plain", 3, "${{ none }}", null, [4]],
        "${{ key }}": "x",
    });
    let expected = json!({
        "port": 8080,
        "next": 8081,
        "none": null,
        "list": [1, "tiny", "plain", 3, null, [4]],
        "${{ key }}": "x",
    });
    assert_eq!(render_value(&value, &context()), Ok(expected));
}

#[test]
fn text_around_an_expression_makes_a_string() {
    let url = json!("http://${{ engine.host }}:${{ engine.port }}/v1");
    assert_eq!(
        render_value(&url, &context()),
        Ok(json!("http://127.0.0.1:8080/v1"))
    );
    assert_eq!(
        render_value(&json!(" ${{ engine.port }}"), &context()),
        Ok(json!(" 8080"))
    );
    assert_eq!(
        render_str("${{ engine.port }}", &context()).as_deref(),
        Ok("8080")
    );
}

#[test]
fn filters_and_strings_with_braces() {
    let render = |text| render_str(text, &context());
    assert_eq!(render("${{ model.id | upper }}").as_deref(), Ok("TINY"));
    assert_eq!(
        render("${{ model.id | replace('t', 'T') }}").as_deref(),
        Ok("Tiny")
    );
    assert_eq!(render("${{ '}}' }}").as_deref(), Ok("}}"));
    assert_eq!(render("${{ {'a': {'b': 2}}.a.b }}").as_deref(), Ok("2"));
    assert_eq!(
        render("$HOME {{ x }} ${x}").as_deref(),
        Ok("$HOME {{ x }} ${x}")
    );
}

#[test]
fn what_has_no_value_is_an_error() {
    let error = |text| render_str(text, &context()).expect_err(text);
    assert!(error("${{ nothing }}").contains("`nothing`"));
    assert!(error("${{ model.nothing }}").contains("`model.nothing`"));
    assert!(error("a ${{ model.path }}").contains("has no value"));
    assert!(error("${{ 1 + }}").contains("cannot evaluate"));
    assert!(error("${{ open").contains("not closed"));
    assert!(render_value(&json!(["${{ nothing }}"]), &context()).is_err());
}
