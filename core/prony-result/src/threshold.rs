//! Bounds on metrics.

use super::model::label;
#[cfg(doc)]
use super::{Distribution, Metric, ModelResult};
use crate::words::{self, MISSING};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits that a request must meet to count as goodput, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Objectives {
    /// Maximum time to the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    /// Maximum time per output token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot_ms: Option<f64>,
    /// Maximum latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
}

impl Objectives {
    /// The limits in words, for example `TTFT 500 ms, latency 5000 ms`; empty if there
    /// are none.
    pub fn sentence(&self) -> String {
        let stated = [
            ("TTFT", self.ttft_ms),
            ("TPOT", self.tpot_ms),
            ("latency", self.latency_ms),
        ];
        let stated = stated.iter().filter_map(|(what, limit)| {
            let limit = (*limit)?;
            Some(format!("{what} {limit} ms"))
        });
        stated.collect::<Vec<_>>().join(", ")
    }
}

/// A bound on a metric, and its outcome for one engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdResult {
    /// The bounded metric: a [`Metric::name`].
    pub metric: String,
    /// The bounded field of its [`Distribution`], if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistic: Option<String>,
    /// Limits for each request, if goodput is bounded.
    #[serde(flatten)]
    pub objectives: Objectives,
    /// Lower bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The engine.
    pub engine: String,
    /// The model.
    pub model: String,
    /// The matrix point; absent without a matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// Id of the `measure` stage; absent if the matrix point has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// Measured value, in the metric's unit.
    pub value: Option<f64>,
    /// Reason for the missing value, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// `true` if the value exists and is within the bounds.
    pub passed: bool,
}

impl ThresholdResult {
    /// Label of the measured model in reports, as [`ModelResult::label`].
    pub fn label(&self) -> String {
        label(&self.model, self.cell.as_deref(), self.measure.as_deref())
    }

    /// The bounded quantity, for example `request_latency_ms p90` or
    /// `goodput_percent (TTFT 500 ms)`.
    pub fn what(&self) -> String {
        match (&self.statistic, self.objectives.sentence().as_str()) {
            (Some(statistic), _) => format!("{} {statistic}", self.metric),
            (None, "") => self.metric.clone(),
            (None, objectives) => format!("{} ({objectives})", self.metric),
        }
    }

    /// The bound in words, for example `at least 50`.
    pub fn bound(&self) -> String {
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (None, None) => MISSING.to_owned(),
        }
    }

    /// The value as shown in reports. A value that misses its bound is never rounded to
    /// it.
    pub fn shown(&self) -> String {
        let Some(value) = self.value else {
            return MISSING.to_owned();
        };
        let rounded = words::number(value);
        let mut bounds = [self.min, self.max].into_iter().flatten();
        if !self.passed && bounds.any(|bound| words::number(bound) == rounded) {
            return value.to_string();
        }
        rounded
    }

    /// `pass` or `FAIL`.
    pub fn word(&self) -> &'static str {
        if self.passed { "pass" } else { "FAIL" }
    }

    /// The outcome, as a sentence without a full stop.
    pub fn sentence(&self) -> String {
        let found = match self.value {
            Some(_) => format!("is {}", self.shown()),
            None => match &self.missing {
                Some(why) => format!("has no value ({why})"),
                None => "has no value".to_owned(),
            },
        };
        let sentence = format!(
            "{} on {}: {} {found}, {} is asked for",
            self.label(),
            self.engine,
            self.what(),
            self.bound()
        );
        words::one_line(&sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(value: Option<f64>, passed: bool) -> ThresholdResult {
        ThresholdResult {
            metric: "request_latency_ms".to_owned(),
            statistic: Some("p90".to_owned()),
            objectives: Objectives::default(),
            min: None,
            max: Some(500.0),
            engine: "e".to_owned(),
            model: "m".to_owned(),
            cell: Some("quant=q8".to_owned()),
            measure: Some("burst".to_owned()),
            value,
            missing: None,
            passed,
        }
    }

    #[test]
    fn thresholds_are_sentences() {
        assert_eq!(
            threshold(Some(812.4), false).sentence(),
            "m · quant=q8 · burst on e: request_latency_ms p90 is 812.4, at most 500 is asked for"
        );
        assert_eq!(
            threshold(None, false).sentence(),
            "m · quant=q8 · burst on e: request_latency_ms p90 has no value, at most 500 is asked for"
        );
        let few = ThresholdResult {
            missing: Some("7 samples are too few".to_owned()),
            ..threshold(None, false)
        };
        assert!(
            few.sentence()
                .contains("has no value (7 samples are too few), at most")
        );
    }

    #[test]
    fn goodput_names_its_objectives() {
        let goodput = ThresholdResult {
            metric: "goodput_percent".to_owned(),
            statistic: None,
            objectives: Objectives {
                ttft_ms: Some(500.0),
                latency_ms: Some(2.5e3),
                ..Objectives::default()
            },
            min: Some(99.0),
            max: None,
            ..threshold(Some(97.5), false)
        };
        assert_eq!(
            goodput.sentence(),
            "m · quant=q8 · burst on e: goodput_percent (TTFT 500 ms, latency 2500 ms) is 97.5, at least 99 is asked for"
        );
        let json = serde_json::to_value(&goodput).expect("JSON");
        assert_eq!(json["ttft_ms"], 500.0);
        assert_eq!(
            serde_json::from_value::<ThresholdResult>(json).expect("a threshold"),
            goodput
        );
    }

    #[test]
    fn what_misses_a_bound_does_not_look_as_if_it_met_it() {
        assert_eq!(threshold(Some(499.96), true).shown(), "500.0");
        assert_eq!(threshold(Some(500.04), false).shown(), "500.04");
    }

    #[test]
    fn bounds_are_words() {
        let bound = |min, max| {
            let it = threshold(None, false);
            ThresholdResult { min, max, ..it }.bound()
        };
        assert_eq!(bound(Some(0.99), None), "at least 0.99");
        assert_eq!(bound(Some(1.0), Some(2.5)), "1 to 2.5");
    }
}
