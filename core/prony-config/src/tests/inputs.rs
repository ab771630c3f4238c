//! Several files, `--set`, `--var` and the environment.

use prony_diagnostic::{Diagnostic, human};
use serde_json::json;

use super::fixtures::{load_layers, with};
use crate::{Loaded, Pipeline};

const BASE: &str = "\
version: 1
name: demo
vars: { host: localhost, tokens: 16, tag: 'x', on: true, list: [1, 2] }
engines:
  left: { plugin: mock, config: { host: \"${{ vars.host }}\", tag: \"${{ vars.tag }}\", keep: 1 } }
  right: { plugin: mock, config: { list: \"${{ vars.list }}\" } }
compare: { baseline: left }
schedule: { cycles: 6 }
models:
  - { id: tiny }
  - { id: big, enabled: false }
workload: { prompts: [one, two], max_tokens: \"${{ vars.tokens }}\", temperature: 0, ignore_eos: \"${{ vars.on }}\" }
stages:
  - warmup: {}
  - measure: {}
  - report: {}
";

fn shown(outcome: Result<Loaded, Vec<Diagnostic>>) -> Pipeline {
    match outcome {
        Ok(loaded) => {
            // Replacing a value may leave a variable unused.
            let warned = loaded.warnings.iter().any(|w| w.code != "P0316");
            assert!(!warned, "{}", human(&loaded.warnings, false));
            loaded.pipeline
        }
        Err(problems) => panic!("{}", human(&problems, false)),
    }
}

fn refused(outcome: Result<Loaded, Vec<Diagnostic>>) -> String {
    human(&outcome.expect_err("not a pipeline"), false)
}

fn base(set: &[&str], var: &[&str]) -> Result<Loaded, Vec<Diagnostic>> {
    load_layers(&[("base.yaml", BASE)], &[], set, var)
}

/// The code of the only diagnostic, and the text it points at.
fn at(outcome: Result<Loaded, Vec<Diagnostic>>) -> (&'static str, String) {
    let problems = outcome.expect_err("not a pipeline");
    let [problem] = problems.as_slice() else {
        panic!("{}", human(&problems, false));
    };
    let place = problem.primary.as_ref().map(|label| {
        let source = label.source_in(problem).expect("a source");
        source.text[label.span.clone()].to_owned()
    });
    (problem.code, place.unwrap_or_default())
}

#[test]
fn an_overlay_is_merged_from_the_right() {
    let first = "engines: { right: ~, other: { plugin: mock } }\nworkload: { prompts: [three] }";
    let second = "workload: { max_tokens: 4 }\nname: again";
    let layers = [("base.yaml", BASE), ("a.yaml", first), ("b.yaml", second)];
    let outcome = load_layers(&layers, &[], &[], &["list=[]"]);
    let loaded = outcome.unwrap_or_else(|problems| panic!("{}", human(&problems, false)));
    let pipeline = loaded.pipeline;
    let names: Vec<_> = pipeline.engines.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["left", "other"]);
    assert_eq!(pipeline.name, "again");
    assert_eq!(
        pipeline.points[0].workload.prompts,
        ["three"],
        "lists are replaced"
    );
    assert_eq!(pipeline.points[0].workload.max_tokens, 4);
    assert!(
        pipeline.points[0].workload.ignore_eos,
        "what is not said stays"
    );
}

#[test]
fn a_problem_is_shown_in_the_file_that_it_is_in() {
    let top = "workload: { max_tokens: none }\nengines: { left: { plugin: opnai } }\ncompare: { baseline: lft }";
    let problems = load_layers(&[("base.yaml", BASE), ("top.yaml", top)], &[], &[], &[]);
    let text = refused(problems);
    assert!(text.contains("top.yaml:1:25"), "{text}");
    assert!(text.contains("top.yaml:2:28"), "{text}");
    assert!(text.contains("top.yaml:3:22"), "{text}");
}

#[test]
fn an_overlay_that_can_not_be_parsed_is_the_only_problem() {
    let layers = [("base.yaml", BASE), ("top.yaml", "workload: {")];
    let text = refused(load_layers(&layers, &[], &[], &[]));
    assert!(
        text.contains("P0001") && text.contains("top.yaml"),
        "{text}"
    );
    let layers = [("a.yaml", "a: ["), ("b.yaml", "b: {")];
    let problems = load_layers(&layers, &[], &[], &[]).expect_err("not YAML");
    assert_eq!(problems.len(), 2, "each file has its own");
}

#[test]
fn an_overlay_need_not_be_a_mapping_to_be_refused_well() {
    for text in ["[1]", "text", "1"] {
        let layers = [("base.yaml", BASE), ("top.yaml", text)];
        let problems = load_layers(&layers, &[], &[], &[]).expect_err(text);
        assert_eq!(problems[0].code, "P0103", "{text}");
    }
}

#[test]
fn a_key_that_a_layer_removes_is_missing_there() {
    for (layer, place) in [
        ("name: ok\nworkload: null", "null"),
        ("name: ok\nworkload:", "workload"),
        ("engines: null", "null"),
        ("models: ~", "~"),
        (
            "name: ok\nworkload: { max_tokens: 3, prompts: null }",
            "null",
        ),
        ("engines: { right: { plugin: null, config: {} } }", "null"),
    ] {
        let layers = [("base.yaml", BASE), ("top.yaml", layer)];
        let problems = load_layers(&layers, &[], &[], &[]).expect_err("incomplete");
        let text = human(&problems, false);
        let removed = text.contains("removed here") && text.contains("or give a value");
        assert!(removed, "{text}");
        let named = problems.iter().find_map(|problem| {
            let label = problem.primary.as_ref()?;
            let source = label.source_in(problem)?;
            let is_it = label.text == "removed here" && source.name == "top.yaml";
            is_it.then(|| source.text[label.span.clone()].to_owned())
        });
        assert_eq!(named.as_deref(), Some(place), "{text}");
    }
    // A layer above that repeats it changes the place of the mapping, but not the
    // culprit.
    let first = "workload: { prompts: null }";
    let layers = [
        ("base.yaml", BASE),
        ("a.yaml", first),
        ("b.yaml", "workload: { max_tokens: 1 }"),
    ];
    let text = refused(load_layers(&layers, &[], &[], &[]));
    assert!(
        text.contains("a.yaml:1:22") && text.contains("removed here"),
        "{text}"
    );
    let extending = [("top.yaml", "extends: base.yaml\nworkload: null")];
    let text = refused(load_layers(&extending, &[("base.yaml", BASE)], &[], &[]));
    assert!(
        text.contains("top.yaml:2:11") && text.contains("removed here"),
        "{text}"
    );
    let text = refused(base(&["models.0.id="], &[]));
    assert!(
        text.contains("removed here") && text.contains("--set"),
        "{text}"
    );
}

#[test]
fn an_overlay_alone_is_said_to_be_one() {
    let overlay = "engines: { left: null, other: { plugin: mock } }";
    let problems = load_layers(&[("x.overlay.yaml", overlay)], &[], &[], &[]);
    let problems = problems.expect_err("not a pipeline");
    let notes = |problem: &Diagnostic| problem.notes.concat();
    assert!(notes(&problems[0]).contains("`prony validate PIPELINE -f x.overlay.yaml`"));
    assert!(
        problems[1..]
            .iter()
            .all(|it| !notes(it).contains("PIPELINE"))
    );
    for other in [
        "engines: {}\nstages: []",
        "extends: base.yaml\nmodels: 1",
        "nonsense: 1",
    ] {
        let outcome = load_layers(&[("a.yaml", other)], &[("base.yaml", BASE)], &[], &[]);
        let text = refused(outcome);
        assert!(!text.contains("validate PIPELINE"), "{text}");
    }
}

#[test]
fn a_chain_of_files_is_laid_over_each_other() {
    let mid = "extends: base.yaml\nname: mid\nschedule: { cycles: 8 }";
    let top = "extends: sub/../mid.yaml\nname: top";
    let others = [
        ("base.yaml", BASE),
        ("sub/../mid.yaml", mid),
        ("sub/../base.yaml", BASE),
    ];
    let pipeline = shown(load_layers(&[("top.yaml", top)], &others, &[], &[]));
    assert_eq!(
        (pipeline.name.as_str(), pipeline.schedule.cycles.planned()),
        ("top", 8)
    );
}

#[test]
fn paths_are_relative_to_the_file_that_names_them() {
    let top = "extends: ../shared/mid.yaml";
    let mid = "extends: deeper/base.yaml";
    let others = [
        ("here/../shared/mid.yaml", mid),
        ("here/../shared/deeper/base.yaml", BASE),
    ];
    shown(load_layers(&[("here/top.yaml", top)], &others, &[], &[]));
}

#[test]
fn a_problem_with_two_files_shows_both() {
    let top = "extends: base.yaml\nmodels: [{ id: tiny }]\nworkload: { system: Be brief. }";
    let completions = BASE.replace("temperature: 0", "temperature: 0, api: completions");
    let others = [("base.yaml", completions.as_str())];
    let text = refused(load_layers(&[("top.yaml", top)], &others, &[], &[]));
    insta::assert_snapshot!(text);
}

#[test]
fn circles_and_long_chains_of_files_end() {
    let top = load_layers(
        &[("a.yaml", "extends: a.yaml")],
        &[("a.yaml", BASE)],
        &[],
        &[],
    );
    assert_eq!(at(top), ("P0011", "a.yaml".into()));
    let others = [
        ("b.yaml", "extends: ./x/../a.yaml"),
        ("./x/../a.yaml", "extends: b.yaml"),
    ];
    let top = load_layers(&[("a.yaml", "extends: b.yaml")], &others, &[], &[]);
    assert_eq!(at(top).0, "P0011");
    let names: Vec<String> = (0..40).map(|i| format!("f{i}.yaml")).collect();
    let texts: Vec<String> = (1..41).map(|i| format!("extends: f{i}.yaml")).collect();
    let all: Vec<(&str, &str)> = names
        .iter()
        .zip(&texts)
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let deep = load_layers(&all[..1], &all, &[], &[]);
    assert_eq!(at(deep).0, "P0006");
}

#[test]
fn what_extends_names_must_be_a_readable_path() {
    for text in ["extends: 1", "extends: ''", "extends: [a]", "extends: ~"] {
        let outcome = load_layers(&[("a.yaml", text)], &[], &[], &[]);
        assert_eq!(at(outcome).0, "P0103", "{text}");
    }
    let outcome = load_layers(&[("a.yaml", "extends: no.yaml")], &[], &[], &[]);
    assert_eq!(at(outcome), ("P0009", "no.yaml".into()));
}

#[test]
fn set_changes_what_a_path_leads_to() {
    let sets = [
        "name=other",
        "models.0.enabled=false",
        "models.1.enabled=true",
        "workload.prompts=[a, 'b=c', \"d\"]",
        "workload.prompts.1=x=y",
        "engines.left.config.tag=1.0",
        "engines.\"left\".config.keep=",
        "engines.right.config.list=[3]",
        "schedule={ cycles: 7 }",
    ];
    let pipeline = shown(base(&sets, &["tokens=16"]));
    assert_eq!(pipeline.name, "other");
    let enabled: Vec<bool> = pipeline.models.iter().map(|m| m.enabled).collect();
    assert_eq!(enabled, [false, true]);
    assert_eq!(pipeline.points[0].workload.prompts, ["a", "x=y", "d"]);
    assert_eq!(pipeline.schedule.cycles.planned(), 7);
    let config = json!(pipeline.points[0].engines[0].config);
    assert_eq!(
        config,
        json!({ "host": "localhost", "tag": 1 }),
        "with the types of YAML"
    );
}

#[test]
fn set_can_name_keys_with_dots() {
    let text = BASE.replace("right:", "\"r.1\":");
    let outcome = load_layers(
        &[("base.yaml", &text)],
        &[],
        &[
            "engines.\"r.1\".config.extra=yes",
            "engines.\"r.1\".plugin=mock",
        ],
        &[],
    );
    let pipeline = shown(outcome);
    assert_eq!(json!(pipeline.engines[1].config)["extra"], json!("yes"));
}

#[test]
fn set_that_leads_nowhere_is_pointed_at() {
    for (set, place) in [
        ("name", "name"),
        ("=x", "="),
        ("", ""),
        ("models.2.enabled=false", "2"),
        ("models.x.enabled=false", "x"),
        ("models.-1.enabled=false", "-1"),
        ("name.x=1", "x"),
        ("workload..prompts=1", "."),
        ("engines.\"left=1", "\"left=1"),
        ("engines.\"left\"x=1", "x=1"),
    ] {
        let outcome = base(&[set], &[]);
        assert_eq!(at(outcome), ("P0010", place.to_owned()), "{set}");
    }
}

#[test]
fn a_wrong_value_of_set_is_shown_in_the_argument() {
    let text = refused(base(
        &["workload.max_tokens=lots", "workload.promts=[a]"],
        &[],
    ));
    insta::assert_snapshot!(text);
    assert_eq!(at(base(&["name=[a"], &[])).0, "P0001");
    assert_eq!(at(base(&["name=!x a"], &[])), ("P0003", "!x a".into()));
    let outcome = base(&["workload.system=\"${{ vars.nope }}\""], &[]);
    assert_eq!(at(outcome), ("P0203", "vars.nope".into()));
}

/// A suggested edit applies to the text that is wrong, not to the first one.
#[test]
fn an_edit_stays_in_its_text() {
    let layers = [("base.yaml", "{ name: \"éééé\" }")];
    let text = refused(load_layers(&layers, &[], &["a= [.&a${{a&aa${{"], &[]));
    assert!(text.contains("--set"), "{text}");
    let layers = [("base.yaml", BASE), ("top.yaml", "description: a b: c")];
    let text = refused(load_layers(&layers, &[], &[], &[]));
    assert!(text.contains("1 + description: \"a b: c\""), "{text}");
}

#[test]
fn each_wrong_argument_is_reported() {
    let problems = base(&["a", "b"], &["c", "d=1"]).expect_err("wrong arguments");
    let codes: Vec<_> = problems.iter().map(|p| p.code).collect();
    assert_eq!(codes, ["P0010", "P0010", "P0010", "P0206"]);
}

#[test]
fn var_gives_a_declared_variable_a_value() {
    let vars = ["host=a=b", "tokens=3", "tag=1.0", "on=false", "list=[7]"];
    let pipeline = shown(base(&[], &vars));
    let point = &pipeline.points[0];
    let config = json!(point.engines[0].config);
    assert_eq!(
        config,
        json!({ "host": "a=b", "tag": "1.0", "keep": 1 }),
        "a text stays one"
    );
    assert_eq!(json!(point.engines[1].config), json!({ "list": [7] }));
    assert_eq!(
        (point.workload.max_tokens, point.workload.ignore_eos),
        (3, false)
    );
    let empty = shown(base(&[], &["host="]));
    assert_eq!(json!(empty.points[0].engines[0].config)["host"], json!(""));
    let last = shown(base(&[], &["tokens=3", "tokens=4"]));
    assert_eq!(last.points[0].workload.max_tokens, 4, "the last one counts");
}

#[test]
fn var_of_another_type_fails_where_it_is_used() {
    let problems = base(&[], &["tokens=many"]).expect_err("not a number");
    assert_eq!(problems[0].code, "P0103");
    assert_eq!(at(base(&[], &["list=[1"])).0, "P0001");
}

#[test]
fn an_unknown_variable_is_pointed_at() {
    let text = refused(base(&[], &["hots=x"]));
    insta::assert_snapshot!(text);
    assert_eq!(at(base(&[], &["=x"])).0, "P0206");
    let bare = BASE
        .lines()
        .filter(|line| !line.starts_with("vars"))
        .collect::<Vec<_>>()
        .join("\n");
    let bare = bare
        .replace("${{ vars.host }}", "h")
        .replace("\"${{ vars.tokens }}\"", "1");
    let outcome = load_layers(&[("a.yaml", &bare)], &[], &[], &["x=1"]);
    assert_eq!(at(outcome), ("P0206", "x".into()));
}

/// Values of the environment are not written out: the pipeline names the variable.
#[test]
fn values_of_the_environment_are_not_written_down() {
    let text = "\
version: 1
name: \"x-${{ 'a' if env.PRONY_TEST_HOME else 'b' }}\"
description: \"at ${{ env.PRONY_TEST_HOME }}\"
env: [PRONY_TEST_HOME]
vars:
  home: ${{ env.PRONY_TEST_HOME }}
  below: { it: [\"${{ vars.home | upper }}\"] }
engine: { plugin: mock, config: { a: \"${{ vars.below.it }}\", b: { c: \"${{ env.PRONY_TEST_HOME }}/x\" } } }
model: { id: tiny, path: \"${{ vars.home }}/model\" }
workload: { prompts: [\"${{ vars.below.it[0] }}\"], system: \"${{ env.PRONY_TEST_HOME }}\" }
stages:
  - setup: { before: [{ run: \"ls ${{ env.PRONY_TEST_HOME }}\", env: { H: \"${{ vars.home }}\" } }] }
  - warmup: {}
  - measure: {}
  - report: {}
";
    let pipeline = shown(load_layers(&[("a.yaml", text)], &[], &[], &[]));
    assert_eq!(
        pipeline.points[0].workload.system.as_deref(),
        Some("/data/test")
    );
    assert_eq!(
        json!(pipeline.points[0].engines[0].config)["a"],
        json!(["/DATA/TEST"])
    );
    for written in [
        serde_json::to_string(&pipeline).expect("JSON"),
        serde_yaml::to_string(&pipeline).expect("YAML"),
        format!("{:?}", pipeline.engines),
    ] {
        assert!(!written.to_lowercase().contains("/data/test"), "{written}");
        assert!(written.contains("env.PRONY_TEST_HOME") || written.starts_with('['));
    }
}

#[test]
fn an_allow_over_another_one_replaces_it() {
    let base = with(
        "allow: [{ code: F0001, reason: cold on purpose }]\nengine: { plugin: mock }\nworkload: { prompts: [a] }",
    )
    .replace("  - warmup: {}\n", "");
    let found = |over: &str| {
        let layers = [("base.yaml", &*base), ("over.yaml", over)];
        let loaded = load_layers(&layers, &[], &[], &[]).expect("a pipeline");
        let codes = loaded.warnings.iter().map(|warning| warning.code);
        codes.collect::<Vec<_>>()
    };
    assert_eq!(found("{}"), [""; 0]);
    assert_eq!(found("allow: []"), ["F0001"]);
}

#[test]
fn no_edit_tells_what_the_environment_says() {
    for place in [
        "model: { id: a, size: &home \"${{ env.PRONY_TEST_HOME }}\" }\nworkload: { prompts: *home }",
        "model: { id: a }\nworkload: { prompts: \"${{ env.PRONY_TEST_HOME }}\" }",
    ] {
        let text = with(&format!(
            "secrets: [PRONY_TEST_HOME]\nengine: {{ plugin: mock }}\n{place}"
        ))
        .replace("model: { id: tiny }\n", "");
        let problems = load_layers(&[("a.yaml", &text)], &[], &[], &[]).expect_err("errors");
        let shown = human(&problems, false) + &prony_diagnostic::json(&problems);
        assert!(shown.contains("P0103"), "{shown}");
        assert!(!shown.contains("/data/test"), "{shown}");
    }
}
