//! A complete reporter: one line per model and engine, for a spreadsheet.

use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{About, Artifact, Reporter, Result, about};

/// Options under `reporters.<name>.config`. Doc comments become the schema that
/// `prony validate` checks and editors complete.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Separator between two fields: `,` unless given.
    #[serde(default = "comma")]
    separator: char,
}

fn comma() -> char {
    ','
}

/// The reporter.
pub struct Csv {
    separator: char,
}

prony_plugin_sdk::plugin!(reporter: Csv);

impl Reporter for Csv {
    type Config = Config;
    const ABOUT: About = about!("csv", "One line per model and engine, for a spreadsheet");

    fn new(config: Config) -> Result<Self> {
        Ok(Self {
            separator: config.separator,
        })
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let mut text = self.line(&[
            "model",
            "engine",
            "output_tokens_per_sec",
            "latency_p50_ms",
            "success_rate",
        ]);
        for model in &result.models {
            for engine in &model.engines {
                let number = |value: Option<f64>| value.map_or_else(String::new, |x| x.to_string());
                text += &self.line(&[
                    &model.label(),
                    &engine.engine,
                    &number(engine.output_tokens_per_sec),
                    &number(engine.request_latency_ms.map(|latency| latency.p50)),
                    &number(engine.success_rate),
                ]);
            }
        }
        let mut artifacts = vec![Artifact::text("report.csv", "text/csv", text)];
        if !result.thresholds.is_empty() {
            let text = self.thresholds(result);
            artifacts.push(Artifact::text("thresholds.csv", "text/csv", text));
        }
        Ok(artifacts)
    }
}

impl Csv {
    fn thresholds(&self, result: &RunResult) -> String {
        let mut text = self.line(&["model", "engine", "metric", "bound", "value", "result"]);
        for threshold in &result.thresholds {
            text += &self.line(&[
                &threshold.label(),
                &threshold.engine,
                &threshold.what(),
                &threshold.bound(),
                &threshold
                    .value
                    .map_or_else(String::new, |value| value.to_string()),
                threshold.word(),
            ]);
        }
        text
    }

    /// A line; a field with a separator, a quote or a line break in it is quoted.
    fn line(&self, fields: &[&str]) -> String {
        let quoted: Vec<String> = fields
            .iter()
            .map(
                |field| match field.contains([self.separator, '"', '\n', '\r']) {
                    true => format!("\"{}\"", field.replace('"', "\"\"")),
                    false => (*field).to_owned(),
                },
            )
            .collect();
        quoted.join(&self.separator.to_string()) + "\n"
    }
}
