//! No input makes loading panic.

use prony_diagnostic::{human, json};
use proptest::prelude::*;

use super::fixtures::load;
use crate::template::{render_str, render_value};

fn try_load(text: &str) {
    if let Err(problems) = load(text) {
        assert!(!problems.is_empty());
        human(&problems, false);
        json(&problems);
    }
}

/// Random sequences of meaningful pieces.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "version: 1",
        "name",
        "engine",
        "plugin: mock",
        "stages",
        "measure",
        "- ",
        ": ",
        "\n",
        "  ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&a ",
        "*a",
        "<<: ",
        "\"",
        "'",
        "${{ ",
        "}}",
        "model.id",
        "|\n",
        ">\n",
        "!!str ",
        "? ",
        "# ",
        "---\n",
        "ä",
        "0x",
        "1e9",
        "~",
        "\r\n",
        "\t",
        "\u{feff}",
        "%",
        "@",
        "`",
        "$",
        "\\m",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Expressions, valid and invalid.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "vars.a",
        "vars.b.c",
        "vars.list[0]",
        "vars.nope",
        "env.HOME",
        "env.NOPE",
        "matrix.n",
        "matrix.t",
        "engine.port",
        "model.id",
        "stages.setup.outputs.v",
        "1",
        "0",
        "'x'",
        "'${{'",
        "true",
        "[1, 2]",
        "{'a': 1}",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 2, |inner| {
        let operator = prop::sample::select(vec!["+", "~", "*", "//", "==", "<", "and", "in"]);
        let suffix = prop::sample::select(vec![
            " | upper",
            " | int",
            " | default('d')",
            " | nope",
            ".x",
            "[1]",
            "(",
            " is none",
        ]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, o, b)| format!("{a} {o} {b}")),
            (inner, suffix).prop_map(|(a, suffix)| format!("{a}{suffix}")),
        ]
    })
}

/// A value of any kind, often with templates in it.
fn value() -> impl Strategy<Value = String> {
    let template = expression().prop_map(|e| format!("\"${{{{ {e} }}}}\""));
    let text = expression().prop_map(|e| format!("\"a ${{{{ {e} }}}} b\""));
    let plain = prop::sample::select(vec![
        "1", "0", "-1", "1.5", "x", "true", "~", "[]", "{}", "[1, x]", "{ a: 1 }", "30s", "openai",
        "mock", "chat", "left", "tiny",
    ])
    .prop_map(str::to_owned);
    prop_oneof![2 => template, 1 => text, 2 => plain]
}

/// A whole pipeline with arbitrary values in some places.
fn whole_pipeline() -> impl Strategy<Value = String> {
    let places: [(&str, &str); 24] = [
        ("a", "1"),
        ("b", "{ c: 2 }"),
        ("list", "[1, 2]"),
        ("n", "[1, 2]"),
        ("t", "[x, \"${{ vars.a }}\"]"),
        ("exclude", "[{ n: 1, t: x }]"),
        ("include", "[{ n: 3, t: y, engine: left }]"),
        ("plugin", "mock"),
        ("option", "\"${{ matrix.n }}\""),
        ("id", "tiny"),
        ("path", "\"/m/${{ matrix.t }}\""),
        ("enabled", "true"),
        ("prompts", "[\"${{ vars.list[1] ~ '' }}\"]"),
        ("tokens", "\"${{ matrix.n * 8 }}\""),
        ("api", "chat"),
        ("cycles", "6"),
        ("baseline", "left"),
        ("bound", "1"),
        ("condition", "\"${{ matrix.n > 1 }}\""),
        ("run", "\"echo ${{ engine.port }}\""),
        ("requests", "2"),
        ("timeout", "30s"),
        ("reporters", "[console]"),
        ("env", "[HOME]"),
    ];
    let changes = prop::collection::vec((0..places.len(), value()), 0..4);
    changes.prop_map(move |changes| {
        let at = |name: &str| -> String {
            let index = places.iter().position(|(place, _)| *place == name);
            let index = index.expect("a place");
            let other = changes.iter().find(|(change, _)| *change == index);
            other.map_or_else(|| places[index].1.to_owned(), |(_, value)| value.clone())
        };
        format!(
            "version: 1\nname: a\nenv: {}\nvars: {{ a: {}, b: {}, list: {} }}\n\
             matrix: {{ axes: {{ n: {}, t: {} }}, exclude: {}, include: {} }}\n\
             engines: {{ left: {{ plugin: {}, config: {{ o: {} }} }}, right: {{ plugin: openai }} }}\n\
             compare: {{ baseline: {} }}\nschedule: {{ cycles: {} }}\n\
             models: [{{ id: {}, path: {}, enabled: {} }}]\n\
             workload: {{ prompts: {}, max_tokens: {}, api: {}, temperature: 0 }}\n\
             thresholds: [{{ metric: success_rate, min: {} }}]\n\
             stages: [setup: {{ before: [{{ run: x, outputs: [v] }}] }}, warmup: {{}}, \
             measure: {{ if: {}, requests: {}, timeout: {}, after: [{{ run: {} }}] }}, \
             report: {{ reporters: {} }}]\n",
            at("env"), at("a"), at("b"), at("list"), at("n"), at("t"), at("exclude"),
            at("include"), at("plugin"), at("option"), at("baseline"), at("cycles"), at("id"),
            at("path"), at("enabled"), at("prompts"), at("tokens"), at("api"), at("bound"),
            at("condition"), at("requests"), at("timeout"), at("run"), at("reporters"),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(512), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in any::<String>()) {
        try_load(&text);
    }

    #[test]
    fn any_yaml_like_text(text in yaml_like()) {
        try_load(&text);
    }

    #[test]
    fn any_text_in_a_place_for_templates(text in "[ -~ä]{0,40}") {
        let run = serde_json::to_string(&format!("${{{{{text}}}}}")).expect("JSON");
        try_load(&format!(
            "version: 1\nname: a\nengine: {{ plugin: mock }}\nmodel: {{ id: a }}\n\
             workload: {{ prompts: [a] }}\nstages: [load: {{ before: [run: {run}] }}, measure: {{}}]"
        ));
    }

    #[test]
    fn any_template(text in any::<String>()) {
        let context = serde_json::json!({ "model": { "id": "a" } });
        let _ = render_str(&text, &context);
        let _ = render_value(&serde_json::json!([text]), &context);
    }

    /// A loaded pipeline can be written out and loaded again.
    #[test]
    fn any_values_in_a_whole_pipeline(text in whole_pipeline()) {
        try_load(&text);
        if let Ok((pipeline, warnings)) = load(&text) {
            human(&warnings, false);
            let written = serde_json::to_string(&pipeline).expect("JSON");
            prop_assert!(load(&written).is_ok(), "{text}\n{written}");
        }
    }

    #[test]
    fn any_change_of_a_whole_pipeline(
        text in whole_pipeline(),
        at in 0_usize..1_200,
        piece in "[ -~\n]{0,3}|\\$\\{\\{|\\}\\}|vars\\.|matrix\\.",
        cut in 0_usize..4,
    ) {
        let start = text.floor_char_boundary(at.min(text.len()));
        let end = text.floor_char_boundary((start + cut).min(text.len()));
        try_load(&format!("{}{piece}{}", &text[..start], &text[end..]));
    }

    #[test]
    fn any_change_of_a_valid_file(at in 0_usize..2_000, text in "[ -~\n]{0,3}", cut in 0_usize..4) {
        let full = include_str!("../../tests/valid/full.yaml");
        let start = full.floor_char_boundary(at.min(full.len()));
        let end = full.floor_char_boundary((start + cut).min(full.len()));
        try_load(&format!("{}{text}{}", &full[..start], &full[end..]));
    }
}
