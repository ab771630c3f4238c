//! Types of scalars.

use serde_json::{Value, json};

use crate::yaml;

fn value(text: &str) -> Value {
    match yaml::parse(text) {
        Ok(root) => root.to_json(),
        Err(problem) => panic!("{text}: {}", problem.message),
    }
}

#[test]
fn plain_scalars_follow_the_core_schema() {
    let cases = [
        ("no", json!("no")),
        ("on", json!("on")),
        ("y", json!("y")),
        ("true", json!(true)),
        ("False", json!(false)),
        ("~", json!(null)),
        ("null", json!(null)),
        ("'null'", json!("null")),
        ("010", json!(10)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("0x-1", json!("0x-1")),
        ("1_000", json!("1_000")),
        ("1e3", json!(1000)),
        ("2.0", json!(2)),
        ("-2.5", json!(-2.5)),
        (".5", json!(0.5)),
        ("1.2.3", json!("1.2.3")),
        ("+7", json!(7)),
        ("-", json!([null])),
        (".inf", json!(".inf")),
        (".nan", json!(".nan")),
        ("1e999", json!("1e999")),
        ("12:30:00", json!("12:30:00")),
        ("2024-01-01", json!("2024-01-01")),
        ("18446744073709551615", json!(u64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("!!str 8", json!("8")),
        ("'it''s'", json!("it's")),
        ("\"a\\tb\"", json!("a\tb")),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn line_breaks_and_byte_order_marks_do_not_matter() {
    let expected = json!({ "a": "x", "b": ["y", "z"] });
    assert_eq!(value("a: x\r\nb:\r\n  - y\r\n  - z\r\n"), expected);
    assert_eq!(value("\u{feff}a: x\nb: [y, z]"), expected);
}

#[test]
fn anchors_aliases_and_merges_work() {
    assert_eq!(value("a: &x [1]\nb: *x"), json!({ "a": [1], "b": [1] }));
    assert_eq!(
        value("a: &x { k: 1, l: 2 }\nb: { <<: *x, l: 3 }")["b"],
        json!({ "l": 3, "k": 1 })
    );
    assert_eq!(
        value("a: &x { k: 1 }\nb: &y { k: 2, l: 2 }\nc: { <<: [*x, *y] }")["c"],
        json!({ "k": 1, "l": 2 })
    );
    assert_eq!(value("'<<': 1"), json!({ "<<": 1 }));
}

#[test]
fn keys_are_text_as_written() {
    assert_eq!(
        value("8: a\ntrue: b\n0x1F: c"),
        json!({ "8": "a", "true": "b", "0x1F": "c" })
    );
}

#[test]
fn every_node_knows_its_bytes() {
    let text =
        "\u{feff}größe: wert\r\nlist:\r\n  - ä: 'q' # c\r\n  - { k: v }\r\nblock: |\r\n  x\r\n";
    let root = yaml::parse(text).expect("valid");
    let at = |pointer: &str| text[root.at(pointer).node.span.clone()].trim_end();
    assert_eq!(&text[root.entries()[0].key_span.clone()], "größe");
    assert_eq!(at("/größe"), "wert");
    assert_eq!(at("/list/0/ä"), "'q'");
    assert_eq!(at("/list/0"), "ä: 'q'");
    assert_eq!(at("/list/1"), "{ k: v }");
    assert_eq!(at("/list/1/k"), "v");
    assert!(at("/block").contains('x'));
}
