//! Rows and fields, and numbers that keep their digits.

#[path = "../../reporter-console/tests/fixtures/mod.rs"]
mod fixtures;

use prony_plugin_sdk::result::{Quantity, RunResult, Statistic};
use prony_plugin_sdk::{Error, Reporter};
use reporter_csv::{Config, Csv};

fn render(config: &str, result: &RunResult) -> Result<[String; 3], Error> {
    let config: Config = serde_json::from_str(config).expect("config");
    let artifacts = Csv::new(config)?.render(result)?;
    let names: Vec<&str> = artifacts.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["metrics.csv", "comparisons.csv", "thresholds.csv"]);
    Ok([0, 1, 2].map(|at: usize| String::from_utf8(artifacts[at].bytes.clone()).expect("UTF-8")))
}

/// The fields of a row, as a reader of CSV takes them.
fn fields(line: &str, separator: char) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            char if char == separator && !quoted => fields.push(std::mem::take(&mut field)),
            char => field.push(char),
        }
    }
    fields.push(field);
    fields
}

#[test]
fn snapshots() {
    for (name, result) in fixtures::all() {
        let [metrics, comparisons, thresholds] = render("{}", &result).expect("renders");
        // All statistics of all metrics are many.
        let is_shown = |line: &&str| line.contains("_per_sec") || line.contains("request_latency");
        let metrics = metrics.lines().enumerate();
        let metrics: Vec<&str> = metrics
            .filter(|(at, line)| *at == 0 || is_shown(line))
            .map(|it| it.1)
            .collect();
        let metrics = metrics.join("\n");
        insta::assert_snapshot!(name, format!("{metrics}\n\n{comparisons}\n{thresholds}"));
    }
}

#[test]
fn every_row_has_as_many_fields_as_its_heading() {
    for (config, separator) in [
        ("{}", ','),
        (r#"{"separator": ";"}"#, ';'),
        (r#"{"separator": "\t"}"#, '\t'),
    ] {
        for (name, result) in fixtures::all() {
            for text in render(config, &result).expect("renders") {
                let mut rows = text.lines().map(|line| fields(line, separator).len());
                let columns = rows.next().expect("a heading");
                assert!(
                    columns > 10 && rows.all(|it| it == columns),
                    "{name}: {text}"
                );
            }
        }
    }
}

#[test]
fn a_number_is_there_with_its_digits_or_its_reason_is() {
    for (name, result) in fixtures::all() {
        let [metrics, ..] = render("{}", &result).expect("renders");
        let mut rows = metrics.lines().skip(1).map(|line| fields(line, ','));
        for series in result.series() {
            for quantity in Quantity::all().filter(|it| it.metric.is_reported) {
                let metric = quantity.metric;
                let is_first = quantity.statistic.is_none_or(|it| it == Statistic::ALL[0]);
                let is_absent =
                    metric.is_distribution() && metric.distribution(series.engine).is_none();
                if is_absent && !is_first {
                    continue;
                }
                let row = rows.next().expect("a row");
                assert_eq!(row[5], metric.name);
                match quantity.of(&series) {
                    Ok(value) => {
                        assert_eq!(row[9].parse::<f64>().map(f64::to_bits), Ok(value.to_bits()));
                        assert_eq!(row[13], "", "{name}");
                    }
                    Err(why) => assert_eq!((&*row[9], &*row[13]), ("", &*why), "{name}"),
                }
            }
        }
        assert_eq!(rows.next(), None, "{name}");
    }
}

#[test]
fn metrics_are_chosen_by_name() {
    let config = r#"{"metrics": ["client.cpu_percent", "request_latency_ms.p90"]}"#;
    let [metrics, ..] = render(config, &fixtures::single_engine()).expect("renders");
    assert_eq!(metrics.lines().count(), 3, "{metrics}");
    assert!(
        metrics.contains(",client.cpu_percent,,%,lower,2.4,,,,\n"),
        "{metrics}"
    );
    let error = render(r#"{"metrics": ["speed"]}"#, &fixtures::winner()).expect_err("refused");
    assert_eq!(error.path.as_deref(), Some("/metrics/0"));
}

#[test]
fn nothing_of_a_text_is_a_formula() {
    let mut result = fixtures::single_engine();
    result.models[0].id = "=HYPERLINK(\"x\")".to_owned();
    let [metrics, ..] = render("{}", &result).expect("renders");
    let row = metrics.lines().nth(1).expect("a row");
    assert!(row.contains(",\"'=HYPERLINK(\"\"x\"\")\","), "{row}");
}

#[test]
fn other_separators_are_refused() {
    let error = render(r#"{"separator": "x"}"#, &fixtures::winner()).expect_err("refused");
    assert_eq!(error.path.as_deref(), Some("/separator"));
}
