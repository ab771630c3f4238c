//! `benchmark-bigger.json` and `benchmark-smaller.json`: numbers for github-action-benchmark, whose
//! tools `customBiggerIsBetter` and `customSmallerIsBetter` take a file each.
//!
//! A number that is withheld is not there. A metric without a direction is in neither file.

use prony_plugin_sdk::result::{Better, Quantity, RunResult, Series};
use prony_plugin_sdk::words;
use prony_plugin_sdk::{About, Artifact, Error, ErrorKind, Reporter, Result, about, plugin};
use serde_json::{Value, json};

/// Options of the reporter.
#[derive(Debug, Clone, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Metrics with a direction, by their names in docs/metrics.md; of a distribution with the
    /// statistic, such as `request_latency_ms.p90`, or else its median. Defaults to speed,
    /// latency, time to first token, inter-token latency, success rate, load time and memory.
    metrics: Vec<String>,
}

/// The reporter.
#[derive(Debug)]
pub struct GithubActionBenchmark {
    quantities: Vec<Quantity>,
}

impl Reporter for GithubActionBenchmark {
    type Config = Config;
    const ABOUT: About = about!(
        "github-action-benchmark",
        "Numbers for github-action-benchmark, a file for each direction"
    );

    fn new(config: Config) -> Result<Self> {
        let refused = |index: usize, message| Error::config(format!("/metrics/{index}"), message);
        let quantities = Quantity::chosen(&config.metrics)
            .map_err(|(index, message)| refused(index, message))?;
        let neither = |it: &Quantity| it.metric.better == Better::Neither;
        if let Some(index) = quantities.iter().position(neither) {
            let message = format!("`{}` has no direction", quantities[index].name());
            return Err(refused(index, message));
        }
        Ok(Self { quantities })
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let series = result.series();
        let file = |name, better| {
            let own = self
                .quantities
                .iter()
                .filter(|it| it.metric.better == better);
            let own: Vec<&Quantity> = own.collect();
            let of = |series| own.iter().filter_map(move |it| entry(result, series, it));
            let entries: Vec<Value> = series.iter().flat_map(of).collect();
            let text = serde_json::to_string_pretty(&entries)
                .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            let text = words::safe_json(&text) + "\n";
            Ok(Artifact::text(name, "application/json", text))
        };
        Ok(vec![
            file("benchmark-bigger.json", Better::Higher)?,
            file("benchmark-smaller.json", Better::Lower)?,
        ])
    }
}

/// An entry, unless the number is withheld.
fn entry(result: &RunResult, series: &Series<'_>, quantity: &Quantity) -> Option<Value> {
    let value = quantity.of(series).ok()?;
    let samples = match quantity.metric.distribution(series.engine) {
        Some(found) => format!("n={}\n", found.n),
        None => String::new(),
    };
    let mut entry = json!({
        "name": format!("{} · {}", series.name, quantity.name()),
        "unit": quantity.unit(),
        "value": value,
        "extra": format!(
            "{samples}cycles={}\nrun={}",
            series.engine.cycles,
            words::one_line(&result.run.id)
        ),
    });
    if let Some((low, high)) = quantity.bounds(series.engine) {
        entry["range"] = format!("{low} … {high}").into();
    }
    Some(entry)
}

plugin!(reporter: GithubActionBenchmark);
