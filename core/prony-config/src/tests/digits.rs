//! Numbers keep their digits.

use prony_diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::fixtures::load_layers;
use super::plugins::Shipped;
use crate::{Inputs, Pipeline, load_all};

/// Words that JSON would write otherwise, or not as numbers at all.
const WORDS: [&str; 26] = [
    "1.10",
    "1e3",
    "0x10",
    "007",
    "1_000",
    "2.0",
    "0.90",
    "-1",
    "+5",
    ".5",
    "5.",
    "0o17",
    "yes",
    "2024-01-02",
    "12345678901234567890123",
    "3.14159265358979323846",
    "1e400",
    ".inf",
    "-.INF",
    ".nan",
    "True",
    "false",
    "1E-7",
    "0.1",
    "12:30",
    "0x10000000000000000",
];

fn shipped(text: &str) -> Pipeline {
    let loaded = load_all(&Inputs::one("words.yaml", text, &Shipped));
    match loaded {
        Ok(loaded) => loaded.pipeline,
        Err(problems) => panic!("{}", prony_diagnostic::human(&problems, false)),
    }
}

/// A pipeline whose command has these words.
fn command(sections: &str, words: &str) -> String {
    format!(
        "version: 1\nname: words\n{sections}\nengine:\n  plugin: openai\n  config:\n    \
         launch:\n      command: [sh, -c, 'exit 7', x, {words}]\n      env: {{ A: 1.10 }}\n\
         model: {{ id: m }}\nworkload: {{ prompts: [hi], temperature: 0 }}\n\
         stages: [ {{ load: {{}} }}, {{ warmup: {{}} }}, {{ measure: {{ requests: 1 }} }}, {{ report: {{}} }} ]\n"
    )
}

/// The words of the command at each matrix point.
fn words(pipeline: &Pipeline) -> Vec<Vec<Value>> {
    let command = |point: &crate::MatrixPoint| {
        let command = &point.engines[0].config["launch"]["command"];
        command.as_array().expect("a list")[4..].to_vec()
    };
    pipeline.points.iter().map(command).collect()
}

#[test]
fn words_of_a_command_are_as_written() {
    let pipeline = shipped(&command("", &WORDS.join(", ")));
    assert_eq!(words(&pipeline), [WORDS.map(Value::from).to_vec()]);
    let env = &pipeline.points[0].engines[0].config["launch"]["env"];
    assert_eq!(*env, json!({ "A": "1.10" }));
}

#[test]
fn what_is_written_comes_back_from_the_written_pipeline() {
    let sections = "vars: { v: 1.10, big: 12345678901234567890123 }\nmatrix: { axes: { v: [1.9, 1.10, 2.0, 1.1] } }";
    let pipeline = shipped(&command(
        sections,
        "\"${{ matrix.v }}\", \"v${{ matrix.v }}\", \"${{ vars.v }}\", \"${{ vars.big }}\"",
    ));
    let written = ["1.9", "1.10", "2.0", "1.1"];
    let expected = written.map(|v| {
        let words = [v, &format!("v{v}"), "1.10", "12345678901234567890123"];
        words.map(Value::from).to_vec()
    });
    assert_eq!(words(&pipeline), expected);
    let ids: Vec<_> = pipeline
        .points
        .iter()
        .filter_map(|it| it.id.clone())
        .collect();
    assert_eq!(ids, ["v=1.9", "v=1.10", "v=2.0", "v=1.1"]);
    let shown: Vec<_> = pipeline
        .points
        .iter()
        .map(|it| it.values()["v"].clone())
        .collect();
    assert_eq!(shown, [json!(1.9), json!("1.10"), json!("2.0"), json!(1.1)]);
    let yaml = serde_yaml::to_string(&pipeline).expect("YAML");
    let again = shipped(&yaml);
    assert_eq!(again, pipeline);
    assert_eq!(serde_yaml::to_string(&again).expect("YAML"), yaml);
}

fn errors(problems: &[Diagnostic]) -> Vec<&'static str> {
    let errors = problems.iter().filter(|problem| problem.is_error());
    errors.map(|problem| problem.code).collect()
}

/// The value of an expression in a text, with these variables.
fn in_text(vars: &str, expression: &str) -> Result<String, Vec<&'static str>> {
    let text = format!(
        "version: 1\nname: a\nvars: {vars}\nengine: {{ plugin: mock }}\nmodel: {{ id: a, revision: \"{expression}\" }}\n\
         workload: {{ prompts: [a] }}\nstages: [ {{ warmup: {{}} }}, {{ measure: {{}} }}, {{ report: {{}} }} ]"
    );
    match super::fixtures::load(&text) {
        Ok((pipeline, _)) => Ok(pipeline.models[0].revision.clone().unwrap_or_default()),
        Err(problems) => Err(errors(&problems)),
    }
}

#[test]
fn expressions_pass_digits_on() {
    let vars = "{ v: 1.10, w: 2, list: [1.10, 1.1, 007], yes: true }";
    for (expression, expected) in [
        ("${{ vars.v }}", "1.10"),
        ("v${{ vars.v }}", "v1.10"),
        ("${{ vars.v ~ 'x' }}", "1.10x"),
        ("${{ vars.v | default('x') }}", "1.10"),
        ("${{ vars.v if vars.yes else vars.w }}", "1.10"),
        (
            "${{ vars.list[0] }}-${{ vars.list[1] }}-${{ vars.list[2] }}",
            "1.10-1.1-007",
        ),
        ("${{ vars.list[1:][1] }}", "007"),
        ("${{ 1.10 }}", "1.10"),
        ("${{ 0x10 }}", "0x10"),
        ("${{ vars.v * vars.w }}", "2.2"),
        ("${{ vars.v + 1 }}", "2.1"),
        ("${{ 'a' if vars.v > 1 else 'b' }}", "a"),
        ("${{ vars.w / 2 }}", "1"),
    ] {
        assert_eq!(
            in_text(vars, expression).as_deref(),
            Ok(expected),
            "{expression}"
        );
    }
    // Digits that would be lost on the way are told.
    for (vars, expression) in [
        (vars, "${{ 'x' ~ vars.v if vars.v < 5 else 'y' }}"),
        ("{ v: 12345678901234567890123 }", "${{ vars.v + 1 }}"),
        ("{ v: 1e400 }", "${{ vars.v | int }}"),
    ] {
        assert_eq!(
            in_text(vars, expression),
            Err(vec!["P0205"]),
            "{expression}"
        );
    }
}

#[test]
fn settings_are_read_as_in_the_file() {
    let load = |set: &[&str], var: &[&str]| {
        let text = "version: 1\nname: a\nvars: { v: 1.9, t: x }\nengine: { plugin: mock, config: { o: \"${{ vars.v }}\" } }\n\
             model: { id: a, revision: \"r${{ vars.v }}-${{ vars.t }}\" }\nworkload: { prompts: [a] }\n\
             stages: [ { warmup: {} }, { measure: {} }, { report: {} } ]";
        let loaded = load_layers(&[("a.yaml", text)], &[], set, var).expect("a pipeline");
        loaded.pipeline.models[0]
            .revision
            .clone()
            .expect("a revision")
    };
    assert_eq!(load(&[], &["v=1.10", "t=1.10"]), "r1.10-1.10");
    assert_eq!(load(&["model.revision=1.10"], &[]), "1.10");
    assert_eq!(load(&["vars.v=007"], &[]), "r007-x");
    assert_eq!(load(&["model.revision=2024-01-02"], &[]), "2024-01-02");
}

#[test]
fn a_point_is_named_by_what_is_written() {
    let with = |more: &str| {
        format!(
            "version: 1\nname: a\nmatrix: {{ axes: {{ v: [1.9, 1.10, 1.1] }}{more}\n\
             engine: {{ plugin: mock, config: {{ o: \"${{{{ matrix.v }}}}\" }} }}\nmodel: {{ id: a }}\n\
             workload: {{ prompts: [a] }}\nstages: [ {{ warmup: {{}} }}, {{ measure: {{}} }}, {{ report: {{}} }} ]"
        )
    };
    let ids = |more: &str| -> Vec<String> {
        let pipeline = super::fixtures::pipeline(&with(more));
        pipeline.points.into_iter().filter_map(|it| it.id).collect()
    };
    assert_eq!(ids(", exclude: [{ v: 1.10 }] }"), ["v=1.9", "v=1.1"]);
    assert_eq!(
        ids(", exclude: [{ v: 1.90 }] }"),
        ["v=1.10", "v=1.1"],
        "the number"
    );
    assert_eq!(
        ids(", include: [{ v: 1.100 }] }"),
        ["v=1.9", "v=1.10", "v=1.1", "v=1.100"]
    );
    let bound = |v: &str| {
        let text = with(&format!(
            " }}\nthresholds: [{{ metric: success_rate, min: 0.9, matrix: {{ v: {v} }} }}]"
        ));
        let pipeline = super::fixtures::pipeline(&text);
        let value = pipeline.thresholds[0]
            .matrix
            .get("v")
            .expect("an axis")
            .0
            .clone();
        (
            value,
            super::fixtures::again(&serde_yaml::to_string(&pipeline).expect("YAML")) == pipeline,
        )
    };
    assert_eq!(bound("1.10"), (json!("1.10"), true));
    assert_eq!(bound("1.1"), (json!(1.1), true));
    assert_eq!(bound("1.90"), (json!(1.9), true));
}

#[test]
fn flags_are_spliced_and_what_is_null_is_left_out() {
    let sections =
        "vars: { fast: true, none: ~ }\nmatrix: { axes: { flags: [[], [--a, 1.10], --b] } }";
    let pipeline = shipped(
        &command(
            sections,
            "\"${{ matrix.flags }}\", \"${{ '--fast' if vars.fast else none }}\", \
         \"${{ '--slow' if not vars.fast else none }}\", [--c, [2]], end",
        )
        .replace("[2]", "2.0"),
    );
    let tail = ["--fast", "--c", "2.0", "end"];
    let expected: Vec<Vec<Value>> = [&[][..], &["--a", "1.10"], &["--b"]]
        .iter()
        .map(|flags| {
            flags
                .iter()
                .chain(&tail)
                .map(|it| Value::from(*it))
                .collect()
        })
        .collect();
    assert_eq!(words(&pipeline), expected);
    let ids: Vec<_> = pipeline
        .points
        .iter()
        .filter_map(|it| it.id.clone())
        .collect();
    assert_eq!(ids, ["flags=\"\"", "flags=--a 1.10", "flags=--b"]);
    let yaml = serde_yaml::to_string(&pipeline).expect("YAML");
    let again = shipped(&yaml);
    assert_eq!(again, pipeline, "{yaml}");
    assert_eq!(serde_yaml::to_string(&again).expect("YAML"), yaml);
}

#[test]
fn an_axis_loses_no_point_and_a_list_in_it_stays_one() {
    let with = |item: &str| {
        let axes = format!("matrix: {{ axes: {{ flags: [[], [--a, 5], --b, {item}] }} }}");
        command(&axes, "\"${{ matrix.flags }}\"")
    };
    let pipeline = shipped(&with("\"${{ '--c' }}\""));
    assert_eq!(pipeline.points.len(), 4);
    let nothing = with("\"${{ none }}\"");
    let problems = load_all(&Inputs::one("words.yaml", &nothing, &Shipped));
    let problems = problems.expect_err("a point has no value");
    assert_eq!(errors(&problems), ["P0103"]);
}

#[test]
fn a_literal_template_can_be_written() {
    let sections = "vars: { sign: \"${{ '${{' }}\" }";
    let pipeline = shipped(
        &command(sections, "\"${{ '${{ x }}' }}\", \"a ${{ vars.sign }} b\"")
            .replace("prompts: [hi]", "prompts: [\"${{ '${{' }} x }}\"]"),
    );
    assert_eq!(pipeline.points[0].workload.prompts, ["${{ x }}"]);
    let config = Value::Object(pipeline.points[0].engines[0].config.clone());
    let rendered = crate::template::render_value(&config, &pipeline.points[0].context);
    let command = rendered.expect("it has values")["launch"]["command"].clone();
    assert_eq!(
        command.as_array().expect("a list")[4..],
        [json!("${{ x }}"), json!("a ${{ b")]
    );
    let yaml = serde_yaml::to_string(&pipeline).expect("YAML");
    assert_eq!(shipped(&yaml), pipeline, "{yaml}");
}

#[test]
fn whole_floats_of_templates_are_whole() {
    let text = |stage: &str| {
        format!(
            "version: 1\nname: t\nvars: {{ a: 8, h: 0.5, third: 3 }}\nmatrix: {{ axes: {{ c: [2, 4] }} }}\n\
             engine: {{ plugin: openai, config: {{ base_url: \"http://127.0.0.1:9/v1\", body: {{ z: \"${{{{ matrix.c }}}}\", y: \"${{{{ vars.a }}}}\", x: \"${{{{ vars.h }}}}\" }} }} }}\n\
             model: {{ id: m }}\nworkload: {{ prompts: [hi], temperature: 0, max_tokens: 3 }}\n\
             stages:\n  - warmup: {{ requests: 1 }}\n  - measure: {{ {stage} }}\n  - report: {{}}\n"
        )
    };
    let measures = |stage: &str| -> Vec<(u32, u32)> {
        let pipeline = shipped(&text(stage));
        let points = pipeline
            .points
            .iter()
            .flat_map(crate::MatrixPoint::measures);
        points
            .map(|it| (it.requests, it.arrival.max_in_flight()))
            .collect()
    };
    assert_eq!(
        measures("requests: \"${{ vars.a / 2 }}\""),
        [(4, 1), (4, 1)]
    );
    assert_eq!(
        measures("requests: \"${{ vars.a * vars.h }}\""),
        [(4, 1), (4, 1)]
    );
    assert_eq!(
        measures("requests: 4, arrival: { concurrency: \"${{ matrix.c / 2 }}\" }"),
        [(4, 1), (4, 2)]
    );
    let codes = |stage: &str| -> Vec<&'static str> {
        let problems = load_all(&Inputs::one("words.yaml", &text(stage), &Shipped));
        errors(&problems.expect_err(stage))
    };
    assert_eq!(codes("requests: \"${{ vars.a / vars.third }}\""), ["P0103"]);
    assert_eq!(codes("requests: \"${{ vars.a / 0 }}\""), ["P0205"]);
}
