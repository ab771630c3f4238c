//! The matrix points of a matrix.

use prony_diagnostic::human;
use serde_json::json;

use super::fixtures::{codes, load, pipeline};

/// A pipeline with a matrix that uses every axis.
fn with(matrix: &str, axes: &[&str]) -> String {
    let config: Vec<String> = axes
        .iter()
        .map(|axis| format!("{axis}: \"${{{{ matrix.{axis} }}}}\""))
        .collect();
    format!(
        "version: 1\nname: demo\nmatrix: {matrix}\nschedule: {{ cycles: 6 }}\ncompare: {{ baseline: left }}\n\
         engines:\n  left: {{ plugin: mock, config: {{ {} }} }}\n  right: {{ plugin: mock }}\n\
         models: [{{ id: tiny }}, {{ id: big }}]\nworkload: {{ prompts: [a], temperature: 0 }}\n\
         stages: [warmup: {{}}, measure: {{}}, report: {{}}]\n",
        config.join(", ")
    )
}

fn ids(matrix: &str, axes: &[&str]) -> Vec<String> {
    let pipeline = pipeline(&with(matrix, axes));
    let ids = pipeline.points.into_iter().map(|point| point.id);
    ids.map(Option::unwrap_or_default).collect()
}

#[test]
fn the_last_axis_changes_fastest() {
    assert_eq!(
        ids("{ axes: { b: [2, 1], a: [x, y] } }", &["a", "b"]),
        ["b=2,a=x", "b=2,a=y", "b=1,a=x", "b=1,a=y"]
    );
}

#[test]
fn an_id_depends_on_nothing_but_the_point() {
    let small = ids("{ axes: { a: [3, 1.50, true, x] } }", &["a"]);
    assert_eq!(small, ["a=3", "a=1.50", "a=true", "a=x"]);
    let large = ids("{ axes: { a: [x, 1.50, 0, true, 3] } }", &["a"]);
    assert!(small.iter().all(|id| large.contains(id)), "{large:?}");
}

#[test]
fn without_a_matrix_there_is_one_point() {
    let text = with("~", &[]).replace("matrix: ~\n", "");
    let pipeline = pipeline(&text);
    assert_eq!(pipeline.points.len(), 1);
    assert_eq!(pipeline.points[0].id, None);
    assert_eq!(pipeline.points[0].context["matrix"], json!({}));
}

#[test]
fn a_point_has_the_values_of_its_point() {
    let pipeline = pipeline(&with("{ axes: { a: [1, x, false] } }", &["a"]));
    let values: Vec<_> = pipeline
        .points
        .iter()
        .map(|point| point.engines[0].config["a"].clone())
        .collect();
    assert_eq!(
        values,
        [json!(1), json!("x"), json!(false)],
        "with their types"
    );
    let written = json!(pipeline.engines[0].config);
    assert_eq!(
        written,
        json!({ "a": "${{ matrix.a }}" }),
        "as written, for reports"
    );
    assert_eq!(pipeline.points[1].context["matrix"], json!({ "a": "x" }));
}

#[test]
fn exclude_leaves_out_what_it_fits() {
    let axes = "axes: { a: [1, 2], b: [x, y] }";
    let left = |exclude: &str| ids(&format!("{{ {axes}, exclude: [{exclude}] }}"), &["a", "b"]);
    assert_eq!(left("{ a: 1 }"), ["a=2,b=x", "a=2,b=y"]);
    assert_eq!(left("{ a: 1, b: y }"), ["a=1,b=x", "a=2,b=x", "a=2,b=y"]);
    assert_eq!(left("{ a: 1 }, { b: x }"), ["a=2,b=y"]);
    assert_eq!(
        left("{ a: 1.0 }"),
        ["a=2,b=x", "a=2,b=y"],
        "the same number"
    );
}

#[test]
fn exclude_can_leave_out_pairs_in_a_point() {
    let text = with(
        "{ axes: { a: [1, 2] }, exclude: [{ a: 1, engine: right }, { engine: left, model: big }] }",
        &["a"],
    );
    let pipeline = pipeline(&text);
    let runs = |point: usize| {
        let pairs = [
            ("left", "tiny"),
            ("left", "big"),
            ("right", "tiny"),
            ("right", "big"),
        ];
        pairs.map(|(engine, model)| pipeline.points[point].runs(engine, model))
    };
    assert_eq!(runs(0), [true, false, false, false]);
    assert_eq!(runs(1), [true, false, true, true]);
}

#[test]
fn include_adds_points_after_the_others() {
    let axes = "axes: { a: [1, 2], b: [x] }";
    let all = |include: &str| ids(&format!("{{ {axes}, include: [{include}] }}"), &["a", "b"]);
    assert_eq!(all("{ b: z, a: 9 }"), ["a=1,b=x", "a=2,b=x", "a=9,b=z"]);
    assert_eq!(
        all("{ a: 9, b: z, model: big }"),
        ["a=1,b=x", "a=2,b=x", "a=9,b=z"]
    );
    let twice = with(
        &format!("{{ {axes}, include: [{{ a: 1, b: x }}] }}"),
        &["a", "b"],
    );
    assert_eq!(codes(&twice), ["P0313"], "it is there already");
}

#[test]
fn include_can_be_for_one_engine_or_model() {
    let text = with(
        "{ axes: { a: [1] }, include: [{ a: 2, model: big }, { a: 3, engine: left, model: tiny }] }",
        &["a"],
    );
    let pipeline = pipeline(&text);
    assert!(pipeline.points[0].excluded.is_empty());
    assert!(pipeline.points[1].runs("left", "big") && pipeline.points[1].runs("right", "big"));
    assert!(!pipeline.points[1].runs("left", "tiny"));
    let runs = pipeline.points[2].excluded.len();
    assert_eq!(runs, 3, "one pair of four is left");
}

#[test]
fn include_brings_back_what_exclude_takes() {
    let matrix = "{ axes: { a: [1, 2] }, exclude: [{ a: 1 }], include: [{ a: 1 }] }";
    assert_eq!(ids(matrix, &["a"]), ["a=2", "a=1"]);
}

#[test]
fn a_thousand_points_are_the_most() {
    let axis = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let matrix = |a, b| format!("{{ axes: {{ a: [{}], b: [{}] }} }}", axis(a), axis(b));
    assert_eq!(ids(&matrix(40, 25), &["a", "b"]).len(), 1000);
    assert_eq!(codes(&with(&matrix(40, 26), &["a", "b"])), ["P0314"]);
    let many: Vec<String> = (0..16).map(|i| format!("a{i}: [{}]", axis(100))).collect();
    let huge = format!("{{ axes: {{ {} }} }}", many.join(", "));
    assert!(codes(&with(&huge, &[])).contains(&"P0314"));
}

#[test]
fn each_place_is_wrong_once_with_its_point() {
    let text = with("{ axes: { a: [1, 2, 3] } }", &["a"])
        .replace("max_tokens", "")
        .replace(
            "temperature: 0",
            "temperature: 0, max_tokens: \"${{ matrix.a - 2 }}\"",
        );
    let problems = load(&text).expect_err("not a pipeline");
    let text = human(&problems, false);
    assert!(text.contains("in the matrix point `a=1`"), "{text}");
    assert!(text.contains("P0105"), "{text}");
}
