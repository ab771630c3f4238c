//! Evaluation of thresholds.

use crate::definition::goodput_percent;
use crate::facts::Facts;
use crate::statistics::quantile::min_samples_for_quantile;
use prony_result::{
    EngineResult, Metric, ModelResult, Objectives, Source, Statistic, ThresholdResult, words::count,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// A bound on a metric, for every engine, model, matrix point and `measure` stage not
/// excluded by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// A [`Metric::name`].
    pub metric: String,
    /// A [`Statistic::name`]; absent if the metric is one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistic: Option<String>,
    /// Limits for each request, if the metric is goodput.
    #[serde(flatten)]
    pub objectives: Objectives,
    /// Lower bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Limits the threshold to one engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Limits the threshold to one model, by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Limits the threshold to one `measure` stage, by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// Limits the threshold to these values of axes.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub matrix: Map<String, Value>,
}

/// A result for thresholds to judge: one model at one matrix point and in one `measure`
/// stage.
#[derive(Debug, Clone)]
pub struct Measured<'a> {
    /// Result of the model.
    pub model: &'a ModelResult,
    /// Id of the `measure` stage.
    pub measure: &'a str,
    /// Value of each axis; `None` without a matrix.
    pub matrix: Option<&'a Map<String, Value>>,
    /// The measured requests, by engine.
    pub records: HashMap<&'a str, &'a [Facts]>,
}

impl Threshold {
    fn holds_for(&self, measured: &Measured<'_>, engine: &EngineResult) -> bool {
        let is =
            |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|it| it == name);
        let has = |(axis, wanted): (&String, &Value)| {
            let value = measured.matrix.and_then(|values| values.get(axis));
            value.is_some_and(|value| text(value) == text(wanted))
        };
        is(&self.engine, &engine.engine)
            && is(&self.model, &measured.model.id)
            && is(&self.measure, measured.measure)
            && self.matrix.iter().all(has)
    }

    fn statistic(&self) -> Option<Statistic> {
        self.statistic.as_deref().and_then(Statistic::named)
    }

    /// The metric's value, if it has one. Unmeasured metrics have none, though some of
    /// their numbers are 0 and would pass for a good value.
    fn value(&self, metric: &Metric, engine: &EngineResult, records: &[Facts]) -> Option<f64> {
        match metric.source {
            _ if engine.requests == 0 => None,
            Source::Requests => goodput_percent(records, self.objectives),
            Source::Number(_) | Source::Distribution(_) => metric.value(engine, self.statistic()),
        }
    }

    /// Reason for a missing value, if there are too few samples.
    fn missing(&self, metric: &Metric, engine: &EngineResult) -> Option<String> {
        let statistic = self.statistic()?;
        let fewest = min_samples_for_quantile(statistic.tail()?);
        let n = metric.distribution(engine)?.n;
        (engine.requests > 0 && n < fewest).then(|| {
            let samples = count(n, "sample");
            let name = statistic.name();
            format!("n too small: {samples}, and {name} needs {fewest}")
        })
    }

    fn allows(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }

    /// The result of a threshold that covers nothing.
    fn covers_nothing(&self) -> ThresholdResult {
        let any = |name: &Option<String>| name.clone().unwrap_or_else(|| "any".to_owned());
        let axes = self.matrix.iter();
        let point: Vec<String> = axes
            .map(|(axis, value)| format!("{axis}={}", text(value)))
            .collect();
        ThresholdResult {
            metric: self.metric.clone(),
            statistic: self.statistic.clone(),
            objectives: self.objectives,
            min: self.min,
            max: self.max,
            engine: any(&self.engine),
            model: any(&self.model),
            cell: (!point.is_empty()).then(|| point.join(",")),
            measure: self.measure.clone(),
            value: None,
            missing: Some("nothing that it covers was measured".to_owned()),
            passed: false,
        }
    }

    fn judge(&self, measured: &Measured<'_>, engine: &EngineResult) -> ThresholdResult {
        let name = engine.engine.as_str();
        let records = measured.records.get(name).copied().unwrap_or_default();
        // The journal of another version may have an unknown one.
        let metric = Metric::named(&self.metric);
        let value = metric.and_then(|metric| self.value(metric, engine, records));
        let missing = metric.filter(|_| value.is_none());
        ThresholdResult {
            engine: name.to_owned(),
            model: measured.model.id.clone(),
            cell: measured.model.cell.clone(),
            measure: measured.model.measure.clone(),
            value,
            missing: missing.and_then(|metric| self.missing(metric, engine)),
            passed: value.is_some_and(|value| self.allows(value)),
            ..self.covers_nothing()
        }
    }
}

/// An axis value as written in ids, where `8` and `"8"` are equal.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Evaluates every threshold on every result that it covers. A missing value misses its
/// threshold, and so does a threshold that covers nothing: what was never measured is not
/// within a bound.
pub fn judge(thresholds: &[Threshold], measured: &[Measured<'_>]) -> Vec<ThresholdResult> {
    let of = |threshold: &Threshold| -> Vec<ThresholdResult> {
        let engines = measured
            .iter()
            .flat_map(|it| it.model.engines.iter().map(move |engine| (it, engine)));
        let covered: Vec<ThresholdResult> = engines
            .filter(|(it, engine)| threshold.holds_for(it, engine))
            .map(|(it, engine)| threshold.judge(it, engine))
            .collect();
        if covered.is_empty() {
            return vec![threshold.covers_nothing()];
        }
        covered
    };
    thresholds.iter().flat_map(of).collect()
}
