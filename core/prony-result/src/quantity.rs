//! Numbers of a result by name, for formats that are lists of numbers.

use super::{
    EngineResult, Group, METRICS, Metric, ModelResult, RunResult, Source, Statistic, Unit,
};
use crate::words::{State, count, one_line};
use std::collections::BTreeSet;

/// A number of an engine: a metric, or one statistic of a metric that is a distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    /// The metric.
    pub metric: &'static Metric,
    /// The statistic; absent unless the metric is a distribution.
    pub statistic: Option<Statistic>,
}

impl Quantity {
    /// Finds a quantity by its name, `request_latency_ms.p90`; of a distribution without a
    /// statistic, it is the median. `None` if there is none with that name.
    pub fn named(name: &str) -> Option<Self> {
        let of = |metric: &'static Metric, statistic: Option<Statistic>| {
            let statistic = match (metric.is_distribution(), statistic) {
                (true, statistic) => Some(statistic.unwrap_or_default()),
                (false, None) => None,
                (false, Some(_)) => return None,
            };
            Some(Self { metric, statistic })
        };
        if let Some(metric) = readable().find(|it| it.name == name) {
            return of(metric, None);
        }
        let (name, statistic) = name.rsplit_once('.')?;
        let metric = readable().find(|it| it.name == name)?;
        of(metric, Some(Statistic::named(statistic)?))
    }

    /// The quantities of these names; the [`usual`](Self::usual) ones if there are no names.
    ///
    /// # Errors
    ///
    /// The place among the names, from 0, of the first that is none, and a message about it.
    pub fn chosen(names: &[String]) -> Result<Vec<Self>, (usize, String)> {
        if names.is_empty() {
            return Ok(Self::usual());
        }
        let quantity = |(index, name): (usize, &String)| {
            let message = || format!("no metric `{name}`; `prony explain metrics` lists them");
            Self::named(name).ok_or_else(|| (index, message()))
        };
        names.iter().enumerate().map(quantity).collect()
    }

    /// Iterates over all quantities, in the order of [`METRICS`].
    pub fn all() -> impl Iterator<Item = Self> {
        readable().flat_map(|metric| {
            let statistics: Vec<_> = if metric.is_distribution() {
                Statistic::ALL.map(Some).into()
            } else {
                vec![None]
            };
            let of = move |statistic| Self { metric, statistic };
            statistics.into_iter().map(of)
        })
    }

    /// The quantities that a history of runs begins with: those that `prony compare` shows, the
    /// success rate, the time to load and the memory.
    pub fn usual() -> Vec<Self> {
        const MORE: [&str; 3] = ["success_rate", "load_time_ms", "peak_memory_bytes"];
        readable()
            .filter(|it| it.is_compared || MORE.contains(&it.name))
            .filter_map(|it| Self::named(it.name))
            .collect()
    }

    /// Its name: that of the metric, with `.` and the statistic of a distribution.
    pub fn name(&self) -> String {
        match self.statistic {
            Some(statistic) => format!("{}.{}", self.metric.name, statistic.name()),
            None => self.metric.name.to_owned(),
        }
    }

    /// Its unit as one word, also where a title would suffice: `tok/s`, `ms`, `share`, `count`.
    pub fn unit(&self) -> &'static str {
        match self.metric.unit {
            Unit::Share => "share",
            Unit::Count => "count",
            Unit::Ratio => "ratio",
            other => other.symbol(),
        }
    }

    /// The number of an engine in the metric's unit.
    ///
    /// # Errors
    ///
    /// The reason why there is none, in words: nothing was measured, the sample is too small, or
    /// the run is not valid, of which only counts of requests can be used.
    pub fn of(&self, series: &Series<'_>) -> Result<f64, String> {
        let (model, engine) = (series.model, series.engine);
        let state = model.state(&engine.engine);
        if engine.requests == 0 {
            let why = match state {
                State::Failed => "failed",
                State::NotCounted | State::Measured | State::NotMeasured => "not measured",
            };
            return Err(why.to_owned());
        }
        if let Some(why) = series.invalid.as_ref()
            && self.metric.group != Group::Requests
        {
            return Err(format!("the run is not valid: {why}"));
        }
        if let Some(value) = self.metric.value(engine, self.statistic) {
            let finite = Some(value).filter(|it| it.is_finite());
            return finite.ok_or_else(|| "not a finite number".to_owned());
        }
        Err(match (self.metric.distribution(engine), state) {
            (Some(found), _) => format!("n too small: {}", count(found.n, "sample")),
            (None, State::NotCounted) if self.metric.name == "output_tokens_per_sec" => {
                "tokens are not counted, or their count is not plausible".to_owned()
            }
            (None, State::Failed) => "failed".to_owned(),
            (None, _) => "not measured".to_owned(),
        })
    }

    /// The ends of the interval of a median, at a level of at least 95 % for independent samples;
    /// `None` for other quantities, and with fewer than 6 samples.
    pub fn bounds(&self, engine: &EngineResult) -> Option<(f64, f64)> {
        let found = self.metric.distribution(engine);
        let found = found.filter(|_| self.statistic == Some(Statistic::P50))?;
        let (low, high) = (found.p50_low?, found.p50_high?);
        (low.is_finite() && high.is_finite()).then_some((low, high))
    }
}

/// Metrics whose values are in a result; goodput is only in the outcome of its threshold.
fn readable() -> impl Iterator<Item = &'static Metric> {
    METRICS
        .iter()
        .filter(|it| !matches!(it.source, Source::Requests))
}

/// What one engine did with one entry of a result's models.
#[derive(Debug, Clone)]
pub struct Series<'a> {
    /// Label of the entry and the engine's name, `SmolLM2-135M · concurrency=4 · alpha`: one
    /// line, unlike that of any other series of the result.
    pub name: String,
    /// The entry.
    pub model: &'a ModelResult,
    /// The engine's numbers.
    pub engine: &'a EngineResult,
    /// Reasons why the run is not valid, in words; absent if it is.
    pub invalid: Option<String>,
}

impl RunResult {
    /// Every engine of every entry of [`models`](Self::models), in order.
    pub fn series(&self) -> Vec<Series<'_>> {
        let invalid = self.invalid_reason();
        let mut taken = BTreeSet::new();
        let mut all = Vec::new();
        for model in &self.models {
            for engine in &model.engines {
                let name = one_line(&format!("{} · {}", model.label(), engine.engine));
                all.push(Series {
                    name: unique(&mut taken, &name),
                    model,
                    engine,
                    invalid: invalid.clone(),
                });
            }
        }
        all
    }

    /// The reasons why the numbers are invalid, the first three in one line; `None` if they are
    /// valid.
    pub fn invalid_reason(&self) -> Option<String> {
        const SHOWN: usize = 3;
        let shown: Vec<&str> = self
            .invalid
            .iter()
            .map(String::as_str)
            .take(SHOWN)
            .collect();
        let more = match self.invalid.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        (!shown.is_empty()).then(|| one_line(&format!("{}{more}", shown.join("; "))))
    }
}

/// A name that is not among those `taken`: itself, or with a number behind it. Texts that differ
/// in invisible characters may be shown alike.
pub fn unique(taken: &mut BTreeSet<String>, name: &str) -> String {
    let mut found = name.to_owned();
    let mut number = 1_u64;
    while !taken.insert(found.clone()) {
        number += 1;
        found = format!("{name} #{number}");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_go_by_their_names() {
        let names: Vec<String> = Quantity::all().map(|it| it.name()).collect();
        assert!(names.len() > 100, "{names:?}");
        for name in &names {
            let found = Quantity::named(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(found.name(), *name);
        }
        let median = Quantity::named("request_latency_ms").expect("a metric");
        assert_eq!(median.name(), "request_latency_ms.p50");
        for unknown in [
            "",
            "speed",
            "output_tokens_per_sec.p50",
            "request_latency_ms.p42",
            "goodput_percent",
        ] {
            assert_eq!(Quantity::named(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn what_a_history_begins_with_has_a_direction() {
        let usual: Vec<String> = Quantity::usual().iter().map(Quantity::name).collect();
        assert_eq!(
            usual,
            [
                "output_tokens_per_sec",
                "request_latency_ms.p50",
                "time_to_first_token_ms.p50",
                "inter_token_latency_ms.p50",
                "success_rate",
                "load_time_ms.p50",
                "peak_memory_bytes",
            ]
        );
    }

    #[test]
    fn names_are_told_apart() {
        let mut taken = BTreeSet::new();
        let names = ["a", "a", "b", "a"].map(|name| unique(&mut taken, name));
        assert_eq!(names, ["a", "a #2", "b", "a #3"]);
    }
}
