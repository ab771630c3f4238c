//! CSV files, for spreadsheets and data frames: `metrics.csv`, `comparisons.csv` and
//! `thresholds.csv`.
//!
//! `metrics.csv` has a row for every metric of every engine, and one for each statistic of a
//! distribution, also where there is no number, with the reason; of a distribution that is not
//! there at all it is one row. Every row of a file has as many
//! fields as its heading. Texts are one line each, so a line is a row; those that a spreadsheet
//! would take for a formula begin with an apostrophe.

use prony_plugin_sdk::result::{Quantity, RunResult};
use prony_plugin_sdk::words::one_line;
use prony_plugin_sdk::{About, Artifact, Error, Reporter, Result, about, plugin};

/// Options of the reporter.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Separator of two fields: `,`, `;` or a tab (`"\t"`).
    separator: char,
    /// Metrics, by their names in docs/metrics.md; of a distribution with the statistic, such as
    /// `request_latency_ms.p90`, or else its median. Defaults to those in the tables of
    /// `report.md`, with all statistics.
    metrics: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            separator: ',',
            metrics: Vec::new(),
        }
    }
}

/// The reporter.
#[derive(Debug)]
pub struct Csv {
    separator: char,
    quantities: Vec<Quantity>,
}

impl Reporter for Csv {
    type Config = Config;
    const ABOUT: About = about!("csv", "Metrics, comparisons and thresholds as CSV");

    fn new(config: Config) -> Result<Self> {
        let separator = config.separator;
        if !matches!(separator, ',' | ';' | '\t') {
            return Err(Error::config("/separator", "must be `,`, `;` or a tab"));
        }
        let quantities = if config.metrics.is_empty() {
            Quantity::all().filter(|it| it.metric.is_reported).collect()
        } else {
            Quantity::chosen(&config.metrics)
                .map_err(|(index, message)| Error::config(format!("/metrics/{index}"), message))?
        };
        Ok(Self {
            separator,
            quantities,
        })
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let file = |name, text| Artifact::text(name, "text/csv", text);
        Ok(vec![
            file("metrics.csv", self.metrics(result)),
            file("comparisons.csv", self.comparisons(result)),
            file("thresholds.csv", self.thresholds(result)),
        ])
    }
}

/// A field of a row.
enum Field<'a> {
    /// A text of the result: a name, a sentence.
    Text(&'a str),
    /// A number, if there is one, with all its digits.
    Number(Option<f64>),
}

use Field::{Number, Text};

impl Csv {
    fn metrics(&self, result: &RunResult) -> String {
        let mut text = self.heading(&[
            "run",
            "model",
            "cell",
            "measure",
            "engine",
            "metric",
            "statistic",
            "unit",
            "better",
            "value",
            "low",
            "high",
            "n",
            "withheld",
        ]);
        for series in result.series() {
            let (model, engine) = (series.model, series.engine);
            let mut absent = None;
            for quantity in &self.quantities {
                let metric = quantity.metric;
                let found = quantity.of(&series);
                let is_absent = metric.is_distribution() && metric.distribution(engine).is_none();
                if is_absent && absent == Some(metric) {
                    continue;
                }
                absent = is_absent.then_some(metric);
                let statistic = quantity.statistic.filter(|_| !is_absent);
                let bounds = quantity.bounds(engine).filter(|_| found.is_ok());
                let n = metric.distribution(engine).map(|it| it.n as f64);
                text += &self.row(&[
                    Text(&result.run.id),
                    Text(&model.id),
                    Text(model.cell.as_deref().unwrap_or_default()),
                    Text(model.measure.as_deref().unwrap_or_default()),
                    Text(&engine.engine),
                    Text(metric.name),
                    Text(statistic.map_or("", |it| it.name())),
                    Text(quantity.unit()),
                    Text(metric.better.name()),
                    Number(found.as_ref().ok().copied()),
                    Number(bounds.map(|it| it.0)),
                    Number(bounds.map(|it| it.1)),
                    Number(n),
                    Text(found.as_ref().err().map_or("", String::as_str)),
                ]);
            }
        }
        text
    }

    fn comparisons(&self, result: &RunResult) -> String {
        let mut text = self.heading(&[
            "run",
            "model",
            "cell",
            "measure",
            "baseline",
            "candidate",
            "verdict",
            "difference_percent",
            "low_percent",
            "high_percent",
            "level",
            "margin_percent",
            "cycles",
            "flags",
            "sentence",
        ]);
        let invalid = result.invalid_reason();
        for model in &result.models {
            for comparison in &model.comparisons {
                let is_shown = invalid.is_none();
                let interval = comparison.interval.filter(|_| is_shown);
                let flags = comparison.flags.join(" ");
                let sentence = match &invalid {
                    Some(why) => format!("the run is not valid: {why}"),
                    None => comparison.sentence(),
                };
                text += &self.row(&[
                    Text(&result.run.id),
                    Text(&model.id),
                    Text(model.cell.as_deref().unwrap_or_default()),
                    Text(model.measure.as_deref().unwrap_or_default()),
                    Text(&comparison.baseline),
                    Text(&comparison.candidate),
                    Text(comparison.verdict.word()),
                    Number(comparison.difference_percent.filter(|_| is_shown)),
                    Number(interval.map(|it| it.low_percent)),
                    Number(interval.map(|it| it.high_percent)),
                    Number(interval.map(|it| it.level)),
                    Number(Some(comparison.margin_percent)),
                    Number(Some(comparison.cycles.into())),
                    Text(&flags),
                    Text(&sentence),
                ]);
            }
        }
        text
    }

    fn thresholds(&self, result: &RunResult) -> String {
        let mut text = self.heading(&[
            "run", "model", "cell", "measure", "engine", "metric", "min", "max", "value", "passed",
            "sentence",
        ]);
        let invalid = result.invalid_reason();
        for threshold in &result.thresholds {
            // Of numbers that do not count nothing is kept or missed.
            let is_shown = invalid.is_none();
            let passed = if threshold.passed { "true" } else { "false" };
            let sentence = invalid.clone().unwrap_or_else(|| threshold.sentence());
            text += &self.row(&[
                Text(&result.run.id),
                Text(&threshold.model),
                Text(threshold.cell.as_deref().unwrap_or_default()),
                Text(threshold.measure.as_deref().unwrap_or_default()),
                Text(&threshold.engine),
                Text(&threshold.what()),
                Number(threshold.min),
                Number(threshold.max),
                Number(threshold.value.filter(|_| is_shown)),
                Text(if is_shown { passed } else { "" }),
                Text(&sentence),
            ]);
        }
        text
    }

    fn heading(&self, names: &[&str]) -> String {
        let names: Vec<Field<'_>> = names.iter().map(|name| Text(name)).collect();
        self.row(&names)
    }

    fn row(&self, fields: &[Field<'_>]) -> String {
        let fields: Vec<String> = fields
            .iter()
            .map(|field| match field {
                Text(text) => self.quoted(text),
                Number(value) => value
                    .filter(|it| it.is_finite())
                    .map_or_else(String::new, |it| it.to_string()),
            })
            .collect();
        fields.join(&self.separator.to_string()) + "\n"
    }

    /// A text as a field: in quotes if it has a separator or a quote in it.
    fn quoted(&self, text: &str) -> String {
        let mut line = one_line(text);
        if line.starts_with(['=', '+', '-', '@']) {
            line.insert(0, '\'');
        }
        if line.contains([self.separator, '"']) {
            return format!("\"{}\"", line.replace('"', "\"\""));
        }
        line
    }
}

plugin!(reporter: Csv);
