//! `openmetrics.txt`: numbers as gauges in the text format of `OpenMetrics` 1.0, which GitLab's
//! `artifacts:reports:metrics` reads, too.
//!
//! Names are those of prony with `prony_` before them, so they carry prony's units; numbers are
//! rounded, since some readers compare them as texts. A number that is withheld is not there, and
//! `prony_withheld_info` says why.

use prony_plugin_sdk::result::{
    Comparison, ModelResult, Quantity, RunResult, Series, Statistic, ThresholdResult,
};
use prony_plugin_sdk::words::{State, one_line};
use prony_plugin_sdk::{About, Artifact, Error, Reporter, Result, about, plugin};
use std::collections::HashSet;
use std::fmt::Write as _;

/// Options of the reporter.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Metrics, by their names in docs/metrics.md; of a distribution with the statistic, such as
    /// `request_latency_ms.p90`, or else its median. Defaults to speed, latency, time to first
    /// token, inter-token latency, success rate, load time and memory.
    metrics: Vec<String>,
    /// Significant digits of the numbers of engines.
    #[schemars(range(min = 1, max = 17))]
    digits: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            metrics: Vec::new(),
            digits: 4,
        }
    }
}

/// The reporter.
#[derive(Debug)]
pub struct Openmetrics {
    quantities: Vec<Quantity>,
    digits: usize,
}

impl Reporter for Openmetrics {
    type Config = Config;
    const ABOUT: About = about!(
        "openmetrics",
        "Numbers as gauges in the text format of OpenMetrics"
    );

    fn new(config: Config) -> Result<Self> {
        if !(1..=17).contains(&config.digits) {
            return Err(Error::config("/digits", "must be from 1 to 17"));
        }
        let quantities = Quantity::chosen(&config.metrics)
            .map_err(|(index, message)| Error::config(format!("/metrics/{index}"), message))?;
        Ok(Self {
            quantities,
            digits: config.digits,
        })
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let mut text = of_run(result);
        let series = result.series();
        text += &self.of_engines(&series);
        if result.invalid.is_empty() {
            text += &self.of_comparisons(result);
            text += &of_thresholds(result);
        }
        text += "# EOF\n";
        Ok(vec![Artifact::text(
            "openmetrics.txt",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            text,
        )])
    }
}

/// Labels of a sample: names, which are known here, and values.
type Labels = Vec<(&'static str, String)>;

/// Samples of one name, which have to stand together.
struct Family {
    text: String,
    sample: String,
    taken: HashSet<String>,
}

impl Family {
    fn new(name: &str, kind: &str, help: &str) -> Self {
        let sample = match kind {
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        Self {
            text: format!("# TYPE {name} {kind}\n# HELP {name} {}\n", escape(help)),
            sample,
            taken: HashSet::new(),
        }
    }

    /// Adds a sample. Labels that are shown like those of an earlier one get a number.
    fn add(&mut self, labels: &Labels, value: &str) {
        let of_label = |(name, value): &(&str, String)| format!("{name}=\"{}\"", escape(value));
        let labels: Vec<String> = labels.iter().map(of_label).collect();
        let labels = labels.join(",");
        let mut shown = labels.clone();
        let mut number = 1_u64;
        while !self.taken.insert(shown.clone()) {
            number += 1;
            shown = format!("{labels},number=\"{number}\"");
        }
        let braced = match shown.as_str() {
            "" => String::new(),
            shown => format!("{{{shown}}}"),
        };
        let _ = writeln!(self.text, "{}{braced} {value}", self.sample);
    }

    /// The family as text; nothing if it has no sample.
    fn text(self) -> String {
        if self.taken.is_empty() {
            return String::new();
        }
        self.text
    }
}

/// A text of the result, one line, as a quoted value.
fn escape(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('"', "\\\"")
}

fn of_run(result: &RunResult) -> String {
    let mut run = Family::new("prony_run", "info", "The run.");
    let labels = vec![
        ("pipeline", result.run.name.clone()),
        ("version", result.prony_version.clone()),
        ("outcome", result.run.outcome.word().to_owned()),
    ];
    run.add(&labels, "1");
    let mut valid = Family::new(
        "prony_valid",
        "gauge",
        "1 if the numbers are valid; of others only counts of requests are here.",
    );
    let value = u8::from(result.invalid.is_empty());
    valid.add(&Labels::new(), &value.to_string());
    let mut reasons = Family::new(
        "prony_invalid",
        "info",
        "Reasons why the numbers are invalid.",
    );
    for reason in &result.invalid {
        reasons.add(&vec![("reason", reason.clone())], "1");
    }
    run.text() + &valid.text() + &reasons.text()
}

/// The labels of an entry of the result.
fn labels_of(model: &ModelResult) -> Labels {
    placed(&model.id, model.cell.as_deref(), model.measure.as_deref())
}

fn placed(model: &str, cell: Option<&str>, measure: Option<&str>) -> Labels {
    let mut labels = vec![("model", model.to_owned())];
    labels.extend(cell.map(|it| ("cell", it.to_owned())));
    labels.extend(measure.map(|it| ("measure", it.to_owned())));
    labels
}

impl Openmetrics {
    fn of_engines(&self, series: &[Series<'_>]) -> String {
        let mut engines = Family::new(
            "prony_engine",
            "info",
            "Engines, and if they were measured.",
        );
        let mut withheld = Family::new(
            "prony_withheld",
            "info",
            "Numbers that are not here, and why.",
        );
        for it in series {
            let state = match it.model.state(&it.engine.engine) {
                State::Measured => "measured",
                State::Failed => "failed",
                State::NotCounted => "not counted",
                State::NotMeasured => "not measured",
            };
            let mut labels = of_series(it, None);
            labels.push(("state", state.to_owned()));
            engines.add(&labels, "1");
        }
        let mut text = engines.text();
        let mut done: Vec<&str> = Vec::new();
        for quantity in &self.quantities {
            let metric = quantity.metric;
            if done.contains(&metric.name) {
                continue;
            }
            done.push(metric.name);
            let name = format!("prony_{}", metric.name.replace('.', "_"));
            let mut family = Family::new(&name, "gauge", metric.doc);
            for quantity in self.quantities.iter().filter(|it| it.metric == metric) {
                for it in series {
                    let mut labels = of_series(it, quantity.statistic);
                    match quantity.of(it) {
                        Ok(value) => family.add(&labels, &self.rounded(value)),
                        Err(why) => {
                            labels.push(("metric", metric.name.to_owned()));
                            labels.push(("reason", why));
                            withheld.add(&labels, "1");
                        }
                    }
                }
            }
            text += &family.text();
        }
        text + &withheld.text()
    }

    fn of_comparisons(&self, result: &RunResult) -> String {
        let family = |name, help| Family::new(name, "gauge", help);
        let mut verdicts = Family::new("prony_comparison", "info", "Verdicts on candidates.");
        let mut difference = family(
            "prony_difference_percent",
            "By how much the candidate is faster, in percent of the baseline's speed.",
        );
        let mut low = family("prony_difference_low_percent", "Lower end of its interval.");
        let mut high = family(
            "prony_difference_high_percent",
            "Upper end of its interval.",
        );
        for model in &result.models {
            for comparison in &model.comparisons {
                let labels = of_comparison(model, comparison);
                let mut with_verdict = labels.clone();
                with_verdict.push(("verdict", comparison.verdict.word().to_owned()));
                verdicts.add(&with_verdict, "1");
                let add = |family: &mut Family, value: Option<f64>| {
                    if let Some(value) = value.filter(|it| it.is_finite()) {
                        family.add(&labels, &self.rounded(value));
                    }
                };
                add(&mut difference, comparison.difference_percent);
                add(&mut low, comparison.interval.map(|it| it.low_percent));
                add(&mut high, comparison.interval.map(|it| it.high_percent));
            }
        }
        verdicts.text() + &difference.text() + &low.text() + &high.text()
    }

    fn rounded(&self, value: f64) -> String {
        let rounded = format!("{value:.*e}", self.digits - 1);
        // Its own text is a number.
        let value: f64 = rounded.parse().unwrap_or(value);
        value.to_string()
    }
}

fn of_series(series: &Series<'_>, statistic: Option<Statistic>) -> Labels {
    let mut labels = labels_of(series.model);
    labels.push(("engine", series.engine.engine.clone()));
    labels.extend(statistic.map(|it| ("statistic", it.name().to_owned())));
    labels
}

fn of_comparison(model: &ModelResult, comparison: &Comparison) -> Labels {
    let mut labels = labels_of(model);
    labels.push(("baseline", comparison.baseline.clone()));
    labels.push(("candidate", comparison.candidate.clone()));
    labels
}

fn of_thresholds(result: &RunResult) -> String {
    let mut passed = Family::new(
        "prony_threshold_passed",
        "gauge",
        "1 if the number is there and within its bound.",
    );
    for threshold in &result.thresholds {
        let ThresholdResult {
            model,
            cell,
            measure,
            engine,
            ..
        } = threshold;
        let mut labels = placed(model, cell.as_deref(), measure.as_deref());
        labels.push(("engine", engine.clone()));
        labels.push(("metric", threshold.what()));
        labels.push(("bound", threshold.bound()));
        passed.add(&labels, &u8::from(threshold.passed).to_string());
    }
    passed.text()
}

plugin!(reporter: Openmetrics);
