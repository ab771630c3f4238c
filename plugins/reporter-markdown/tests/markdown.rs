//! What the report says, and what a template of one's own can do.

#[path = "../../reporter-console/tests/fixtures/mod.rs"]
mod fixtures;

use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{Error, ErrorKind, Reporter};
use reporter_markdown::{Config, DEFAULT_TEMPLATE, Markdown};

fn config(template: &str) -> Config {
    serde_json::from_value(serde_json::json!({ "template": template })).expect("config")
}

fn render_with(config: Config, result: &RunResult) -> Result<String, Error> {
    let artifacts = Markdown::new(config)?.render(result)?;
    let [artifact] = &artifacts[..] else {
        panic!("one artifact")
    };
    assert_eq!(
        (artifact.name.as_str(), artifact.media_type.as_str()),
        ("report.md", "text/markdown")
    );
    Ok(String::from_utf8(artifact.bytes.clone()).expect("UTF-8"))
}

fn render(result: &RunResult) -> String {
    render_with(Config::default(), result).expect("renders")
}

#[test]
fn snapshots() {
    for (name, result) in fixtures::all() {
        insta::assert_snapshot!(name, render(&result));
    }
}

#[test]
fn details_are_folded_away_unless_asked_for() {
    let result = fixtures::several_sides();
    let folded = render(&result);
    let config = serde_json::json!({ "details": true });
    let config = serde_json::from_value(config).expect("config");
    let open = render_with(config, &result).expect("renders");
    assert_eq!(folded.replace("<details>", "<details open>"), open);
    let (top, details) = folded.split_once("<details>").expect("details");
    assert!(top.lines().count() <= 60, "{top}");
    for finding in result.models[0].comparisons[0].judgement_sentences() {
        let finding = finding.replace('<', "\\<");
        assert!(details.contains(&finding), "{finding}");
    }
}

#[test]
fn the_table_at_the_top_is_the_known_one() {
    let table: Vec<String> = render(&fixtures::winner())
        .lines()
        .skip(4)
        .take(4)
        .map(str::to_owned)
        .collect();
    assert_eq!(
        table,
        [
            "| Model | Size | alpha | beta | Difference | Winner |",
            "|---|---|---|---|---|---|",
            "| mlx-community/Qwen2.5-7B-Instruct-4bit | 7B | 45.2 tok/s | 47.1 tok/s | +4.2% ✅ | beta |",
            "| Llama-3.2-3B | 3B | 112.4 tok/s | 108.0 tok/s | -3.9% | alpha |",
        ]
    );
}

#[test]
fn every_row_of_a_table_has_as_many_cells_as_its_heading() {
    for (name, result) in fixtures::all() {
        let (mut columns, mut code) = (None, false);
        for line in render(&result).lines() {
            code ^= line.starts_with("```");
            if code || !line.starts_with('|') {
                columns = None;
                continue;
            }
            let cells = line
                .replace("\\\\", "")
                .replace("\\|", "")
                .matches('|')
                .count()
                - 1;
            assert_eq!(*columns.get_or_insert(cells), cells, "{name}: {line}");
        }
    }
}

#[test]
fn blank_lines_are_single_and_nothing_hidden_remains() {
    for (name, result) in fixtures::all() {
        let text = render(&result);
        assert!(!text.contains("\n\n\n"), "{name}: {text}");
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{name}");
        assert!(
            !text.contains(|char| char != '\n' && prony_plugin_sdk::words::is_hidden(char)),
            "{name}"
        );
    }
}

#[test]
fn a_template_of_ones_own_replaces_the_report() {
    let template = "{% for m in result.models %}
{{ m.id | md }}: {{ m.winner }}, {{ m.comparisons[0].difference }} ({{ m.engines[0].peak_memory_bytes | bytes }})
{% endfor %}
";
    let text = render_with(config(template), &fixtures::winner()).expect("renders");
    assert_eq!(
        text,
        "mlx-community/Qwen2.5-7B-Instruct-4bit: beta, +4.2 % (4.50 GiB)\nLlama-3.2-3B: alpha, -3.9 % (4.50 GiB)\n"
    );
    let same = render_with(config(DEFAULT_TEMPLATE), &fixtures::winner()).expect("renders");
    assert_eq!(same, render(&fixtures::winner()));
}

#[test]
fn template_errors_name_the_line() {
    let error = |template: &str| {
        let error = render_with(config(template), &fixtures::winner()).expect_err("fails");
        assert_eq!(
            (error.kind, error.path.as_deref()),
            (ErrorKind::InvalidConfig, Some("/template"))
        );
        error.to_string()
    };
    insta::assert_snapshot!(
        [
            error("one\n{% for %}"),
            error("one\n\n{{ result.run.name | shout }}"),
            error("{{ result.run.nmae }}"),
            error("one\n{{ result.nothing.here }}"),
            error("{{ nothing }}"),
            error("one\n{{ result.run.name | number }}"),
            error("{% include 'other' %}"),
        ]
        .join("\n"),
        @r"
        line 2: syntax error: unexpected end of block, expected in, in `{% for %}` (at `config/template`)
        line 3: unknown filter: filter shout is unknown, in `{{ result.run.name | shout }}` (at `config/template`)
        line 1: undefined value, in `{{ result.run.nmae }}` (at `config/template`)
        line 2: undefined value, in `{{ result.nothing.here }}` (at `config/template`)
        line 1: undefined value, in `{{ nothing }}` (at `config/template`)
        line 2: invalid operation: cannot convert string to f64, in `{{ result.run.name | number }}` (at `config/template`)
        line 1: syntax error: unknown statement include, in `{% include 'other' %}` (at `config/template`)
        "
    );
}
