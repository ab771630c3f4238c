//! Nothing that can be written makes loading panic.

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

/// Pieces that mean something, put together at random.
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
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

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

    #[test]
    fn any_change_of_a_valid_file(at in 0_usize..2_000, text in "[ -~\n]{0,3}", cut in 0_usize..4) {
        let full = include_str!("../../../../schemas/tests/valid/full.yaml");
        let start = full.floor_char_boundary(at.min(full.len()));
        let end = full.floor_char_boundary((start + cut).min(full.len()));
        try_load(&format!("{}{text}{}", &full[..start], &full[end..]));
    }
}
