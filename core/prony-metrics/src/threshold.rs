//! Whether results reach what was asked of them.

use crate::statistics::quantile::fewest_for_quantile;
use prony_result::{EngineResult, ModelResult, ThresholdResult, words::count};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A bound on a metric, for every engine and model that it does not leave out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Name of a field of [`EngineResult`].
    pub metric: String,
    /// Name of a field of its distribution; absent if it is a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistic: Option<String>,
    /// The least that is good enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most that is good enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The only engine that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The id of the only model that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Threshold {
    fn holds_for(&self, model: &ModelResult, engine: &EngineResult) -> bool {
        let is =
            |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|it| it == name);
        is(&self.engine, &engine.engine) && is(&self.model, &model.id)
    }

    /// The metric's value, if it has one.
    fn value(&self, numbers: &Value) -> Option<f64> {
        let metric = numbers.get(&self.metric)?;
        match &self.statistic {
            Some(statistic) => metric.get(statistic)?.as_f64(),
            None => metric.as_f64(),
        }
    }

    /// Why it has none, if there are too few samples for it.
    fn missing(&self, numbers: &Value) -> Option<String> {
        let statistic = self.statistic.as_deref()?;
        let fewest = match statistic {
            "p90" => fewest_for_quantile(0.9),
            "p99" => fewest_for_quantile(0.99),
            _ => return None,
        };
        let n = numbers.get(&self.metric)?.get("n")?.as_u64()?;
        (n < fewest).then(|| {
            let samples = count(n, "sample");
            format!("n too small: {samples}, and {statistic} needs {fewest}")
        })
    }

    fn allows(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

/// Holds every threshold against every result that it is for. What has no value
/// misses its threshold.
pub fn judge(thresholds: &[Threshold], models: &[ModelResult]) -> Vec<ThresholdResult> {
    // Metrics go by their names in `result.json`, so that is where they are looked up.
    let results: Vec<(&ModelResult, &EngineResult, Value)> = models
        .iter()
        .flat_map(|model| model.engines.iter().map(move |engine| (model, engine)))
        .map(|(model, engine)| (model, engine, numbers(engine)))
        .collect();
    let judge = |threshold: &Threshold| -> Vec<ThresholdResult> {
        results
            .iter()
            .filter(|(model, engine, _)| threshold.holds_for(model, engine))
            .map(|(model, engine, numbers)| {
                let value = threshold.value(numbers);
                let missing = value.is_none().then(|| threshold.missing(numbers));
                ThresholdResult {
                    metric: threshold.metric.clone(),
                    statistic: threshold.statistic.clone(),
                    min: threshold.min,
                    max: threshold.max,
                    engine: engine.engine.clone(),
                    model: model.id.clone(),
                    cell: model.cell.clone(),
                    measure: model.measure.clone(),
                    value,
                    missing: missing.flatten(),
                    passed: value.is_some_and(|value| threshold.allows(value)),
                }
            })
            .collect()
    };
    thresholds.iter().flat_map(judge).collect()
}

/// The numbers of an engine by name; none if nothing was measured, where some
/// of them are 0 and would pass for a good value.
fn numbers(engine: &EngineResult) -> Value {
    if engine.requests == 0 {
        return Value::Null;
    }
    serde_json::to_value(engine).unwrap_or_default()
}
