//! Hostile and odd texts quickly give a diagnostic.

use std::fmt::Write;
use std::time::{Duration, Instant};

use prony_diagnostic::{human, json};

use super::fixtures::{codes, load, pipeline, with};

/// The code of the only diagnostic; also renders it, which must not fail.
fn only_code(text: &str) -> &'static str {
    let started = Instant::now();
    let problems = load(text).expect_err("not a pipeline");
    assert!(!human(&problems, false).is_empty() && !json(&problems).is_empty());
    assert!(started.elapsed() < Duration::from_secs(20), "too slow");
    let [problem] = problems.as_slice() else {
        panic!("{}", human(&problems, false));
    };
    problem.code
}

#[test]
fn texts_that_are_not_a_document() {
    assert_eq!(only_code(""), "P0007");
    assert_eq!(only_code("# nothing\n"), "P0007");
    assert_eq!(only_code("a: 1\n---\nb: 2\n"), "P0007");
    assert_eq!(only_code("a: 1\n...\n---\nb: 2\n"), "P0007");
    assert_eq!(only_code("\u{feff}"), "P0007");
    assert_eq!(only_code("~"), "P0103");
    assert_eq!(only_code("text"), "P0103");
    assert_eq!(only_code("[]"), "P0103");
}

#[test]
fn control_characters_are_named() {
    assert_eq!(only_code("a: 1\0\nb: 2"), "P0005");
    assert_eq!(only_code("a: \u{1b}[31mred"), "P0005");
    assert_eq!(only_code("\u{7f}"), "P0005");
}

#[test]
fn syntax_errors() {
    for text in [
        "a: [1",
        "a:\n\tb: 1\n",
        "a: &",
        "a: *",
        "a: \"open",
        "a: 'open",
        "{",
        "]",
        "a: b: c",
        "- a\nb: 1",
        "a: @x",
        "a: `x",
        "a: \"\\q\"",
    ] {
        assert_eq!(only_code(text), "P0001", "{text:?}");
    }
}

#[test]
fn tags_keys_and_merges() {
    for text in [
        "a: !!int 8",
        "a: !x {}",
        "!x [a]",
        "!<tag:example.org,2000:x> a",
    ] {
        assert_eq!(only_code(text), "P0003", "{text}");
    }
    for text in ["? [a]\n: 1", "? {a: 1}\n: 1", ": 1", "<<: 1", "<<: [1]"] {
        assert_eq!(only_code(text), "P0008", "{text}");
    }
    assert_eq!(only_code("a: 1\n\"a\": 2"), "P0002");
    assert_eq!(only_code("{a: 1, a: 2}"), "P0002");
    assert_eq!(only_code("a: *nowhere"), "P0004");
    assert_eq!(only_code("a: &x [*x]"), "P0004");
}

#[test]
fn nesting_is_bounded() {
    for depth in [66, 10_000, 100_000] {
        let flow = "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(only_code(&flow), "P0006");
        let maps = "{a: ".repeat(depth) + &"}".repeat(depth);
        assert_eq!(only_code(&maps), "P0006");
    }
    let keys = "? ".repeat(10_000);
    assert!(load(&keys).is_err());
    let block = "- ".repeat(10_000);
    assert!(load(&block).is_err());
    let mut chain = String::from("a0: &a0 [x]\n");
    for i in 1..100 {
        writeln!(chain, "a{i}: &a{i} [*a{}]", i - 1).expect("a string");
    }
    assert_eq!(only_code(&chain), "P0006", "through aliases too");
}

#[test]
fn expansion_is_bounded() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let items = vec![format!("*a{}", i - 1); 10].join(", ");
        writeln!(laughs, "a{i}: &a{i} [{items}]").expect("a string");
    }
    assert_eq!(only_code(&laughs), "P0006");
    let long = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(1_000_000),
        "*a, ".repeat(10_000)
    );
    assert_eq!(only_code(&long), "P0006", "long texts count more");
    let mut merges = String::from("a0: &a0 { k: v }\n");
    for i in 1..60 {
        let before = i - 1;
        writeln!(
            merges,
            "a{i}: &a{i} {{ <<: *a{before}, x: *a{before}, y: *a{before} }}"
        )
        .expect("a string");
    }
    assert_eq!(only_code(&merges), "P0006");
}

#[test]
fn size_is_bounded() {
    assert_eq!(only_code(&"#".repeat(5_000_000)), "P0006");
    assert_eq!(only_code(&format!("[{}]", "x, ".repeat(200_000))), "P0006");
}

#[test]
fn many_problems_are_cut_off() {
    let mut text = String::new();
    for i in 0..20_000 {
        writeln!(text, "key{i}: 1").expect("a string");
    }
    let started = Instant::now();
    let problems = load(&text).expect_err("not a pipeline");
    assert_eq!(problems.len(), 50);
    assert!(
        problems[49]
            .notes
            .iter()
            .any(|n| n.contains("more problems"))
    );
    assert!(human(&problems, false).len() > 1_000);
    assert!(started.elapsed() < Duration::from_secs(20));
}

/// Wide files, in each place that is read more than once.
#[test]
fn wide_files_take_little_time() {
    let many =
        |n: usize, item: &dyn Fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(", ");
    let places = [
        format!("stages: [{}]", many(40_000, &|_| "{}".into())),
        format!("stages: [{}]", many(30_000, &|_| "measure: {}".into())),
        format!("models: [{}]", many(30_000, &|_| "{ id: a }".into())),
        format!(
            "engines: {{ {} }}",
            many(20_000, &|i| format!("e{i}: {{ plugin: openai }}"))
        ),
        format!(
            "reporters: {{ {} }}\nstages: [measure: {{}}, report: {{ reporters: [{}] }}]",
            many(15_000, &|i| format!("r{i}: {{ plugin: json }}")),
            many(15_000, &|i| format!("r{i}")),
        ),
        format!(
            "{{ {} }}",
            many(30_000, &|i| format!("\"${{{{{i}\": \"${{{{ x\""))
        ),
    ];
    for place in places {
        let started = Instant::now();
        let base = "version: 1\nname: a\nworkload: { prompts: [a] }\n";
        let text = if place.starts_with('{') {
            place
        } else {
            format!("{base}{place}")
        };
        let problems = load(&text).expect_err("not a pipeline");
        human(&problems, false);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?} for {text:.60}");
    }
}

#[test]
fn templates_take_little_time() {
    let pieces = [
        "${{ { }}",
        "${{ ' }}",
        "${{ 1 + }}",
        "${{ model.id }}",
        "${{ x }}",
        "${{ \\\" }}",
        "${{ ",
    ];
    for piece in pieces {
        template(&piece.repeat(200_000 / piece.len()));
    }
    for piece in [
        "(", "[", "{", "-", "not ", "a+", "a|", "a.", "a[", "'x'*", "9**", "1 if ",
    ] {
        template(&format!("${{{{ {} }}}}", piece.repeat(490 / piece.len())));
        template(&format!("${{{{ {}a }}}}", piece.repeat(490 / piece.len())));
        template(&format!("${{{{ {}a }}}}", piece.repeat(30_000)));
    }
    template("${{ 'x' * 100000000 }}");
    template("${{ 9 ** 999999 ** 9 }}");
}

fn template(run: &str) {
    let run = serde_json::to_string(run).expect("JSON");
    let started = Instant::now();
    let problems = load(&format!(
        "version: 1\nname: a\nengine: {{ plugin: mock }}\nmodel: {{ id: a }}\n\
         workload: {{ prompts: [a] }}\nstages: [load: {{ before: [run: {run}] }}, measure: {{}}]"
    ));
    if let Err(problems) = problems {
        human(&problems, false);
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?} for {run:.60}");
}

#[test]
fn a_long_line_is_shown_in_part() {
    let problems = load(&format!("{}: 1", "k".repeat(900))).expect_err("not a pipeline");
    let text = human(&problems, false);
    assert!(
        text.lines().all(|line| line.chars().count() < 400),
        "{text}"
    );
}

/// A pipeline with variables, whose prompts are a template.
fn with_vars(vars: &str, prompts: &str) -> String {
    format!(
        "version: 1\nname: a\nvars:\n{vars}engine: {{ plugin: mock }}\nmodel: {{ id: a }}\n\
         workload: {{ prompts: {prompts} }}\nstages: [warmup: {{}}, measure: {{}}, report: {{}}]\n"
    )
}

/// The codes of the errors in a text; also renders them.
fn errors(text: &str) -> Vec<&'static str> {
    let problems = load(text).expect_err("not a pipeline");
    assert!(!human(&problems, false).is_empty() && !json(&problems).is_empty());
    let errors = problems.iter().filter(|problem| problem.is_error());
    errors.map(|problem| problem.code).collect()
}

/// The billion laughs without an alias.
#[test]
fn variables_are_bounded() {
    let chain = |first: &str, next: &dyn Fn(&str) -> String| {
        let mut vars = format!("  a: {first}\n");
        let mut before = "a".to_owned();
        for i in 0..200 {
            let value = next(&format!("${{{{ vars.{before} }}}}"));
            writeln!(vars, "  a{i}: {value}").expect("a string");
            before = format!("a{i}");
        }
        with_vars(&vars, &format!("[\"${{{{ vars.{before} }}}}\"]"))
    };
    let lists = chain("[ha, ha]", &|v| format!("[\"{v}\", \"{v}\"]"));
    assert_eq!(errors(&lists)[0], "P0006");
    let maps = chain("{ a: ha }", &|v| format!("{{ a: \"{v}\", b: \"{v}\" }}"));
    assert_eq!(errors(&maps)[0], "P0006");
    let texts = chain("hahahaha", &|v| format!("\"{v}{v}\""));
    assert!(["P0006", "P0205"].contains(&errors(&texts)[0]));
    let joined = chain("hahahaha", &|v| {
        let name = v.trim_start_matches("${{").trim_end_matches("}}").trim();
        format!("${{{{ {name} ~ {name} }}}}")
    });
    assert!(["P0006", "P0205"].contains(&errors(&joined)[0]));
    let replaced = chain("aaaa", &|v| {
        let name = v.trim_start_matches("${{").trim_end_matches("}}").trim();
        format!("\"${{{{ {name} | replace('a', 'aaaaaaaa') }}}}\"")
    });
    assert!(["P0006", "P0205"].contains(&errors(&replaced)[0]));
}

#[test]
fn repetition_in_an_expression_is_bounded() {
    for expression in [
        "'ha' * 100000000",
        "'ha' * 999999999999999999",
        "('ha' * 1000) * 1000",
        "[['a'] * 100] * 100",
        "9 ** 999999999",
        "'x' | replace('', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')",
    ] {
        let text = with_vars("  a: x\n", &format!("[\"${{{{ {expression} }}}}\"]"));
        if let Err(problems) = load(&text) {
            assert!(human(&problems, false).len() < 10_000, "{expression}");
        }
    }
}

/// It would take all memory.
#[test]
fn repetition_of_lists_is_bounded() {
    for expression in [
        "['ha'] * 100000000000",
        "vars.a * 100000000000",
        "(['ha'] * 100000000000) ~ ''",
        "'x' in (['ha'] * 100000000000)",
        "(['ha'] * 100000000000) | default('x')",
    ] {
        let text = with_vars("  a: [x]\n", &format!("[\"${{{{ {expression} }}}}\"]"));
        assert!(load(&text).is_err(), "{expression}");
    }
}

#[test]
fn many_variables_take_little_time() {
    let mut vars = String::new();
    for i in 0..5_000 {
        writeln!(vars, "  v{i}: {i}").expect("a string");
    }
    assert!(load(&with_vars(&vars, "[a]")).is_ok());
    let mut chain = String::from("  v0: x\n");
    for i in 1..3_000 {
        writeln!(chain, "  v{i}: ${{{{ vars.v{} }}}}", i - 1).expect("a string");
    }
    assert!(load(&with_vars(&chain, "[\"${{ vars.v2999 }}\"]")).is_ok());
}

#[test]
fn a_matrix_of_large_pipelines_takes_little_time() {
    let axis: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
    let text = format!(
        "version: 1\nname: a\nmatrix: {{ axes: {{ a: [{}] }} }}\n\
         engine: {{ plugin: mock, config: {{ a: \"${{{{ matrix.a }}}}\" }} }}\nmodel: {{ id: a }}\n\
         workload: {{ prompts: [{}], max_tokens: \"${{{{ matrix.a }}}}\" }}\n\
         stages: [warmup: {{}}, measure: {{}}, report: {{}}]\n",
        axis.join(", "),
        vec!["a long prompt"; 500].join(", "),
    );
    assert_eq!(
        errors(&text),
        ["P0105"],
        "of the first matrix point, where it is 0"
    );
}

/// Each layer of variables adds to the depth of the next.
#[test]
fn depth_by_variables_is_bounded() {
    let (open, close) = ("[".repeat(60), "]".repeat(60));
    let mut vars = format!("  a: {open}x{close}\n");
    let mut before = "a".to_owned();
    for i in 0..50 {
        writeln!(vars, "  a{i}: {open}\"${{{{ vars.{before} }}}}\"{close}").expect("a string");
        before = format!("a{i}");
    }
    assert_eq!(
        errors(&with_vars(&vars, &format!("\"${{{{ vars.{before} }}}}\"")))[0],
        "P0006"
    );
}

#[test]
fn a_very_deep_file_is_refused() {
    for (open, close) in [("[", "]"), ("{ a: ", "}")] {
        let value = format!("{}x{}", open.repeat(10_000), close.repeat(10_000));
        let text = with_vars(&format!("  a: {value}\n"), "[a]");
        assert_eq!(only_code(&text), "P0006");
    }
}

/// `count` lines made by a function of their number.
fn many(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn many_variables_take_little_time_each() {
    let vars = many(20_000, |i| format!("  v{i}: {i}"));
    let prompts = many(20_000, |i| format!("    - p ${{{{ vars.v{i} }}}}"));
    let engine = "engine: { plugin: openai }";
    let text = with(&format!(
        "{engine}\nvars:\n{vars}\nworkload:\n  prompts:\n{prompts}"
    ));
    let pipeline = pipeline(&text);
    assert_eq!(pipeline.points[0].workload.prompts[19_999], "p 19999");
}

#[test]
fn many_outputs_take_little_time_each() {
    let steps = many(5_000, |i| {
        let before = i.saturating_sub(1);
        format!(
            "        - {{ run: 'echo ${{{{ stages.setup.outputs.o{before} }}}}', outputs: [o{i}] }}"
        )
    });
    let steps = steps.replacen("${{ stages.setup.outputs.o0 }}", "first", 1);
    let text = with("engine: { plugin: openai }\nworkload: { prompts: [a] }").replace(
        "stages:\n",
        &format!("stages:\n  - setup:\n      before:\n{steps}\n"),
    );
    assert_eq!(pipeline(&text).setup.before.len(), 5_000);
}

#[test]
fn looking_at_large_variables_is_bounded() {
    let list = many(20_000, |i| format!("    - {i}"));
    let prompts = many(5_000, |i| format!("    - p ${{{{ vars.l[{i}] }}}}"));
    let text = with(&format!(
        "engine: {{ plugin: openai }}\nvars:\n  l:\n{list}\nworkload:\n  prompts:\n{prompts}"
    ));
    assert!(codes(&text).iter().all(|code| *code == "P0006"));
}

#[test]
fn many_secrets_take_little_time() {
    let started = Instant::now();
    let secrets = many(20_000, |i| format!("  key_{i}_token: sk-{i}-0123456789\n"));
    let text = format!("version: 1\nname: a\nvars:\n{secrets}");
    let problems = load(&text).expect_err("too many");
    assert!(problems.iter().any(|it| it.code == "P0006"), "{problems:?}");
    let long = "x-9".repeat(100_000);
    let chained = many(2000, |i| {
        let (one, two) = (i.max(1) - 1, i.max(2) - 2);
        format!("  v{i}_token: \"${{{{ vars.v{one}_token ~ vars.v{two}_token }}}}\"\n")
    });
    for text in [
        format!("version: 1\nname: a\nvars: {{ my_token: {long} }}\n"),
        format!("version: 1\nname: a\nenv: [A_TOKEN]\nvars:\n{chained}"),
        format!("{{ token: [ {secrets}"),
    ] {
        assert!(load(&text).is_err());
    }
    assert!(started.elapsed() < Duration::from_mins(1), "too slow");
}
