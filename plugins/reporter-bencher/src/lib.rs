//! `bencher.json`: numbers in the Bencher Metric Format (BMF), for `bencher run --adapter json`.
//!
//! A benchmark is an engine with an entry of the result, or a comparison; a measure is a metric,
//! whose name carries its unit. The bounds of a median are the ends of its interval, those of a
//! comparison the ends of the interval of the difference. A number that is withheld is not there.

use prony_plugin_sdk::result::quantity::unique;
use prony_plugin_sdk::result::{Comparison, Quantity, RunResult};
use prony_plugin_sdk::words::{self, one_line};
use prony_plugin_sdk::{About, Artifact, Error, ErrorKind, Reporter, Result, about, plugin};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Bytes of a benchmark's name that Bencher takes, at most.
const MAX_NAME: usize = 1024;

/// Options of the reporter.
#[derive(Debug, Clone, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Metrics, by their names in docs/metrics.md; of a distribution with the statistic, such as
    /// `request_latency_ms.p90`, or else its median. Defaults to speed, latency, time to first
    /// token, inter-token latency, success rate, load time and memory.
    metrics: Vec<String>,
}

/// The reporter.
#[derive(Debug)]
pub struct Bencher {
    quantities: Vec<Quantity>,
}

impl Reporter for Bencher {
    type Config = Config;
    const ABOUT: About = about!("bencher", "Numbers in the Bencher Metric Format (BMF)");

    fn new(config: Config) -> Result<Self> {
        let quantities = Quantity::chosen(&config.metrics)
            .map_err(|(index, message)| Error::config(format!("/metrics/{index}"), message))?;
        Ok(Self { quantities })
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let text = serde_json::to_string_pretty(&self.benchmarks(result))
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let text = words::safe_json(&text) + "\n";
        Ok(vec![Artifact::text(
            "bencher.json",
            "application/json",
            text,
        )])
    }
}

impl Bencher {
    fn benchmarks(&self, result: &RunResult) -> Map<String, Value> {
        let mut taken = BTreeSet::new();
        let mut all = Map::new();
        for series in result.series() {
            let measures: Map<String, Value> = self
                .quantities
                .iter()
                .filter_map(|quantity| {
                    let value = quantity.of(&series).ok()?;
                    let bounds = quantity.bounds(series.engine);
                    Some((quantity.name(), measure(value, bounds)))
                })
                .collect();
            if !measures.is_empty() {
                let name = unique(&mut taken, &short(&series.name));
                all.insert(name, measures.into());
            }
        }
        if !result.invalid.is_empty() {
            return all;
        }
        for model in &result.models {
            for comparison in &model.comparisons {
                let Some(value) = of_comparison(comparison) else {
                    continue;
                };
                let Comparison {
                    baseline,
                    candidate,
                    ..
                } = comparison;
                let name = format!("{} · {candidate} against {baseline}", model.label());
                let name = unique(&mut taken, &short(&one_line(&name)));
                all.insert(name, json!({ "difference_percent": value }));
            }
        }
        all
    }
}

/// A comparison's difference, which has bounds if the cycles gave an interval.
fn of_comparison(comparison: &Comparison) -> Option<Value> {
    let value = comparison.difference_percent.filter(|it| it.is_finite())?;
    let interval = comparison.interval;
    let bounds = interval.map(|it| (it.low_percent, it.high_percent));
    let bounds = bounds.filter(|(low, high)| low.is_finite() && high.is_finite());
    Some(measure(value, bounds))
}

fn measure(value: f64, bounds: Option<(f64, f64)>) -> Value {
    match bounds {
        Some((low, high)) => json!({ "value": value, "lower_value": low, "upper_value": high }),
        None => json!({ "value": value }),
    }
}

/// A name that Bencher takes: of a long one the beginning and a digest of the whole, so that it is
/// the same in the next run.
fn short(name: &str) -> String {
    /// Room for a number that tells equal names apart.
    const ROOM: usize = 30;
    if name.len() <= MAX_NAME - ROOM {
        return name.to_owned();
    }
    let digest = format!(" … {:016x}", fnv(name));
    let end = (0..=MAX_NAME - ROOM - digest.len())
        .rev()
        .find(|at| name.is_char_boundary(*at));
    format!("{}{digest}", &name[..end.unwrap_or(0)])
}

/// FNV-1a: not against anybody's will, but the same everywhere.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

plugin!(reporter: Bencher);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_stay_apart() {
        let long = "é".repeat(2000);
        let names = [short(&format!("{long}a")), short(&format!("{long}b"))];
        assert_ne!(names[0], names[1]);
        for name in names {
            assert!(name.len() <= MAX_NAME - 30 && name.len() > 900, "{name}");
        }
        assert_eq!(short("a · b"), "a · b");
    }
}
