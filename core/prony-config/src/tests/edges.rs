//! Edges of YAML, of templates and of the environment.

use prony_diagnostic::{Diagnostic, human};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixtures::load;
use super::plugins::Installed;
use crate::template::render_shell;
use crate::{Inputs, check_all, load_all};

/// A pipeline with some lines before its stages.
fn with(lines: &str) -> String {
    format!(
        "version: 1\nname: demo\nengine: {{ plugin: mock }}\nmodel: {{ id: tiny }}\n{lines}\n\
         stages:\n  - warmup: {{}}\n  - measure: {{}}\n  - report: {{}}\n"
    )
}

fn errors(text: &str) -> Vec<Diagnostic> {
    load(text).expect_err(text)
}

#[test]
fn a_tab_after_the_colon_is_a_space() {
    for text in [
        "workload:\t{ prompts: [a] }",
        "workload:\n  prompts:\t[a]\n  max_tokens:\t5",
        "workload: { prompts:\t[a],\tmax_tokens:\t5 }",
        "workload:\n  prompts:\n    -\ta\n  max_tokens: 5\t# five",
    ] {
        assert!(
            load(&with(text)).is_ok(),
            "{text:?}: {}",
            human(&errors(&with(text)), false)
        );
    }
}

#[test]
fn blanks_that_are_no_spaces_are_named() {
    for (text, code, what) in [
        (
            "workload: { prompts: [a], max_tokens:\u{a0}5 }",
            "P0001",
            "a no-break space (U+00A0)",
        ),
        (
            "workload:\u{a0}{ prompts: [a] }",
            "P0001",
            "a no-break space (U+00A0)",
        ),
        (
            "workload:\n\u{a0} prompts: [a]",
            "P0001",
            "a no-break space (U+00A0)",
        ),
        (
            "workload: { prompts: [a], max_tokens: \u{a0}5 }",
            "P0103",
            "a no-break space (U+00A0)",
        ),
        (
            "workload: { prompts: [a], \u{200b}max_tokens: 5 }",
            "P0101",
            "a zero-width space (U+200B)",
        ),
        (
            "workload: { prompts: [a], max_tokens\u{feff}: 5 }",
            "P0101",
            "a byte order mark (U+FEFF)",
        ),
    ] {
        let text = with(text);
        let problems = errors(&text);
        let shown = human(&problems, false);
        let named = problems.iter().find(|problem| {
            problem
                .secondary
                .iter()
                .any(|label| label.text == what && text[label.span.clone()].chars().count() == 1)
        });
        assert!(
            named.is_some_and(|it| !it.help.is_empty()),
            "{code} {text:?}\n{shown}"
        );
    }
    // In a text they are text.
    assert!(load(&with("workload: { prompts: [\"a\u{a0}b\", c\u{a0}d] }")).is_ok());
}

#[test]
fn a_text_that_is_a_mapping_is_to_be_quoted() {
    let problems = errors(&with(
        "workload:\n  prompts:\n    - Translate: hello\n    - Say 1.10: 007",
    ));
    let shown = human(&problems, false);
    assert_eq!(problems.len(), 2, "{shown}");
    for (problem, text) in problems
        .iter()
        .zip(["\"Translate: hello\"", "\"Say 1.10: 007\""])
    {
        let suggestion = problem.suggestion.as_ref().expect("an edit");
        assert_eq!(suggestion.replacement, text);
        assert!(suggestion.message.contains("needs quotes"), "{shown}");
    }
}

#[test]
fn own_keys_hold_anchors() {
    let text = with(
        "x-common: &common { max_tokens: 5, nonsense: { a: [\"${{ nope }}\"] } }\nworkload: { prompts: [a] }",
    );
    assert!(load(&text).is_ok(), "{}", human(&errors(&text), false));
    let text = with("x-prompts: &prompts [a, b]\nworkload: { prompts: *prompts }");
    let (pipeline, _) = load(&text).expect("a pipeline");
    assert_eq!(pipeline.points[0].workload.prompts, ["a", "b"]);
    assert_eq!(json!(pipeline).get("x-prompts"), None);
}

#[test]
fn operators_of_other_languages_are_answered() {
    for (expression, meant) in [
        ("vars.a && vars.b", "vars.a and vars.b"),
        ("vars.a&&vars.b", "vars.a and vars.b"),
        ("vars.a || vars.b", "vars.a or vars.b"),
        ("!vars.a", "not vars.a"),
        ("! vars.a", "not vars.a"),
    ] {
        let text = with(&format!(
            "vars: {{ a: true, b: false }}\nworkload: {{ prompts: [a], ignore_eos: \"${{{{ {expression} }}}}\" }}"
        ));
        let problems = errors(&text);
        let problem = problems.iter().find(|problem| problem.is_error());
        let edit = problem.expect("an error").suggestion.as_ref();
        let edit = edit.unwrap_or_else(|| panic!("{}", human(&problems, false)));
        let mut edited = text.clone();
        edited.replace_range(edit.span.clone(), &edit.replacement);
        assert!(edited.contains(meant), "{edited}");
        assert!(load(&edited).is_ok(), "{edited}");
    }
}

#[test]
fn what_depends_on_an_environment_that_is_not_set_is_skipped() {
    let check = |text: &str, assume_env: bool| {
        let inputs = Inputs {
            assume_env,
            ..Inputs::one("env.yaml", text, &Installed)
        };
        let found = check_all(&inputs);
        let codes = |found: Vec<Diagnostic>| -> Vec<&'static str> {
            found.iter().map(|problem| problem.code).collect()
        };
        found.map(codes).map_err(codes)
    };
    let text = |more: &str| {
        format!(
            "version: 1\nname: demo\nenv: [HOST, TOKENS]\nsecrets: [MY_KEY]\n\
             vars: {{ url: \"http://${{{{ env.HOST }}}}:80/v1\", n: \"${{{{ env.TOKENS | int }}}}\", twice: \"${{{{ vars.n * 2 }}}}\" }}\n\
             matrix: {{ axes: {{ m: [1, 2] }} }}\n\
             engine: {{ plugin: openai, config: {{ base_url: \"${{{{ vars.url }}}}\", extra: \"k${{{{ env.MY_KEY }}}}\", threads: \"${{{{ vars.n + matrix.m }}}}\" }} }}\n\
             model: {{ id: tiny }}\n\
             workload: {{ prompts: [a], temperature: 0, max_tokens: \"${{{{ vars.twice }}}}\"{more} }}\n\
             stages:\n  - warmup: {{}}\n  - measure: {{ if: \"${{{{ vars.n > 1 }}}}\" }}\n  - report: {{}}\n"
        )
    };
    assert!(check(&text(""), false).is_err(), "nothing is set");
    assert_eq!(check(&text(""), true), Ok(vec![]));
    // What does not depend on it is checked.
    assert_eq!(check(&text(", api: chta"), true), Err(vec!["P0104"]));
    assert_eq!(
        check(&text(", seed: \"${{ vars.nope }}\""), true),
        Err(vec!["P0203"])
    );
    assert_eq!(
        check(&text(", seed: \"${{ env.OTHER }}\""), true),
        Err(vec!["P0203"])
    );
}

/// Every typed place of the pipeline's schema: its pointer in a pipeline that has it.
fn places() -> Vec<String> {
    let full = crate::schema::strict();
    let mut found = Vec::new();
    walk(full, full, "", 0, &mut found);
    found.sort();
    found.dedup();
    found
}

fn walk(root: &Value, schema: &Value, at: &str, depth: usize, found: &mut Vec<String>) {
    if depth > 12 {
        return;
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(&reference[1..]).expect("a definition");
        walk(root, target, at, depth, found);
    }
    if let Some(kind) = schema.get("type").and_then(Value::as_str)
        && !["object", "array"].contains(&kind)
    {
        found.push(at.to_owned());
    }
    for (key, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        walk(root, property, &format!("{at}/{key}"), depth + 1, found);
    }
    if let Some(items) = schema.get("items") {
        walk(root, items, &format!("{at}/0"), depth + 1, found);
    }
    if let Some(others) = schema
        .get("additionalProperties")
        .filter(|it| it.is_object())
    {
        walk(root, others, &format!("{at}/any"), depth + 1, found);
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        for branch in schema
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            walk(root, branch, at, depth + 1, found);
        }
    }
}

/// Puts a value at a pointer, making what leads to it.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut at = document;
    for segment in pointer.split('/').skip(1) {
        at = if segment.parse::<usize>().is_ok() {
            if !at.is_array() || at.as_array().is_some_and(Vec::is_empty) {
                *at = json!([null]);
            }
            &mut at[0]
        } else {
            if !at.is_object() {
                *at = json!({});
            }
            &mut at[segment]
        };
    }
    *at = value;
}

/// Values that templates may give, as expressions.
fn made() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "8 / 2",
        "vars.f",
        "vars.w",
        "vars.big",
        "vars.text",
        "vars.yes",
        "vars.none",
        "vars.list",
        "vars.map",
        "0 - 3",
        "1 / 3",
        "2 ** 70",
        "2 ** 63",
        "1e300",
        "vars.f ~ 'x'",
        "'30s'",
        "''",
        "vars.w * 1000000000000",
        "0x10",
        "007",
        "'open'",
        "true",
        "[1.5]",
        "vars.huge",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(300), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a template gives at whatever place: a pipeline, or diagnostics with places and
    /// without words of a type of Rust.
    #[test]
    fn a_value_of_a_template_is_typed_or_told(place in prop::sample::select(places()), made in made()) {
        let mut document = json!({
            "version": 1, "name": "demo",
            "vars": {
                "f": 4.0, "w": 2, "big": "BIG", "huge": "HUGE", "text": "x", "yes": true,
                "none": null, "list": [1, "a"], "map": { "a": 1 },
            },
            "engine": { "plugin": "openai", "config": { "extra": "x" } },
            "model": { "id": "tiny" },
            "workload": { "prompts": ["a"], "temperature": 0 },
            "schedule": { "cycles": 3 },
            "stages": [{ "warmup": {} }, { "measure": {} }, { "report": {} }],
        });
        if place.starts_with("/engines") {
            document.as_object_mut().expect("a mapping").remove("engine");
        }
        if place.starts_with("/models") {
            document.as_object_mut().expect("a mapping").remove("model");
        }
        put(&mut document, &place, format!("${{{{ {made} }}}}").into());
        let text = document.to_string()
            .replace("\"BIG\"", "12345678901234567890123").replace("\"HUGE\"", "1e400");
        let inputs = Inputs::one("any.yaml", &text, &Installed);
        if let Err(problems) = load_all(&inputs) {
            prop_assert!(!problems.is_empty());
            let shown = human(&problems, false);
            for problem in &problems {
                prop_assert!(problem.primary.is_some(), "{place}: {shown}");
                prop_assert!(problem.code != "P0106", "{place}: {shown}\n{text}");
            }
            let types = ["u32", "u64", "i64", "f64", "usize", "invalid type", "struct "];
            prop_assert!(!types.iter().any(|name| shown.contains(name)), "{place}: {shown}");
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, failure_persistence: None, ..ProptestConfig::default() })]

    /// A value in a shell text is one word, and nothing of it is run.
    #[test]
    fn a_value_in_a_shell_text_is_one_word(value in "[ -~äöü\n]{0,12}") {
        let context = json!({ "vars": { "v": value } });
        let words = |text: &str| -> Vec<String> {
            let script = render_shell(text, &context).expect(text);
            let script = format!("printf '%s\\0' {script}");
            let output = std::process::Command::new("sh").arg("-c").arg(&script).output();
            let output = output.expect("a shell");
            assert!(output.status.success(), "{script}");
            let printed = String::from_utf8(output.stdout).expect("text");
            printed.split_terminator('\0').map(str::to_owned).collect()
        };
        prop_assert_eq!(words(" ${{ vars.v }} end # it's ${{ vars.v }}"), [value.as_str(), "end"]);
        prop_assert_eq!(words(" \"a ${{ vars.v }}\" 'b ${{ vars.v }}'"), [format!("a {value}"), format!("b {value}")]);
        prop_assert_eq!(words(" a${{ vars.v }}b"), [format!("a{value}b")]);
        // A substitution takes line breaks off the end.
        let printed = format!("{value}.");
        prop_assert_eq!(words(" \"$(printf %s ${{ vars.v }}.)\""), [printed]);
    }
}

#[test]
fn lists_are_words_of_a_shell_text_and_what_cannot_be_quoted_is_refused() {
    let context =
        json!({ "vars": { "v": "a b", "list": ["-x", "1 2", 3], "script": "echo a b; exit" } });
    let render = |text| render_shell(text, &context);
    assert_eq!(
        render("run ${{ vars.list }}").as_deref(),
        Ok("run -x '1 2' 3")
    );
    assert_eq!(
        render("${{ vars.script }}").as_deref(),
        Ok("echo a b; exit")
    );
    for text in ["cat <<X\n${{ vars.v }}\nX", "echo `echo ${{ vars.v }}`"] {
        assert!(render(text).is_err(), "{text}");
    }
    assert_eq!(
        render("echo $((1 << 2)) ${{ 3 }}").as_deref(),
        Ok("echo $((1 << 2)) 3")
    );
}
