//! One of two results: what it is of, and what stands in the way of a verdict.

use crate::comparison::{MAX_DEGRADED, MIN_SUCCESS_RATE};
use crate::statistics::aggregate::length_mismatch;
use crate::statistics::sequential::ALPHA;
use crate::statistics::smallest_sample;
use prony_result::{
    EngineInfo, EngineResult, ModelResult, RunResult, Workload,
    words::{MISSING, count},
};
use std::collections::BTreeMap;

/// One of both.
pub(super) struct Side<'a> {
    pub(super) run: &'a RunResult,
    pub(super) group: &'a ModelResult,
    pub(super) engine: &'a EngineResult,
}

impl<'a> Side<'a> {
    pub(super) fn new(
        run: &'a RunResult,
        group: &'a ModelResult,
        engine: &'a EngineResult,
    ) -> Self {
        Self { run, group, engine }
    }

    pub(super) fn workload(&self) -> &Workload {
        let point = self.group.point.as_ref();
        let point = point.and_then(|id| self.run.points.iter().find(|point| point.id == *id));
        point
            .and_then(|point| point.workload.as_ref())
            .unwrap_or(&self.run.workload)
    }

    pub(super) fn info(&self) -> Option<&EngineInfo> {
        let named = |info: &&EngineInfo| info.name == self.engine.engine;
        self.run.engines.iter().find(named)
    }

    pub(super) fn plugin(&self) -> String {
        let Some(info) = self.info() else {
            return MISSING.to_owned();
        };
        let plugins = &self.run.plugins;
        let is_it = |it: &&prony_result::PluginInfo| {
            it.name == info.plugin && it.kind == prony_contract::Kind::Engine
        };
        plugins.iter().find(is_it).map_or_else(
            || info.plugin.clone(),
            |it| {
                let digest: String = it.sha256.chars().take(8).collect();
                format!("{} {} ({}, {digest})", it.name, it.version, it.form)
            },
        )
    }

    /// Throughput by cycle; of those that count.
    pub(super) fn throughputs(&self) -> BTreeMap<u32, f64> {
        let cycles = self.engine.by_cycle.iter();
        cycles
            .filter_map(|it| Some((it.cycle, it.output_tokens_per_sec?)))
            .filter(|(_, rate)| *rate > 0.0)
            .collect()
    }

    /// What forbids a verdict, whatever the other side is.
    pub(super) fn obstacle(&self, what: &str) -> Option<String> {
        let EngineResult {
            success_rate,
            output_tokens_per_sec,
            by_cycle,
            ..
        } = self.engine;
        if let Some(reason) = self.run.invalid.first() {
            return Some(format!("the numbers of the {what} are not valid: {reason}"));
        }
        let rate = success_rate.unwrap_or_default();
        if rate < MIN_SUCCESS_RATE {
            return Some(format!(
                "only {:.1} % of the requests of the {what} succeeded; {:.0} % are needed",
                rate * 100.0,
                MIN_SUCCESS_RATE * 100.0
            ));
        }
        if output_tokens_per_sec.is_none() {
            return Some(format!(
                "the {what} does not say how many tokens it generated"
            ));
        }
        let good = self.throughputs().len();
        let degraded = by_cycle.len() - good;
        if degraded as f64 > MAX_DEGRADED * by_cycle.len() as f64 {
            return Some(format!(
                "{degraded} of {} of the {what} have a failure, or tokens that cannot be counted",
                count(by_cycle.len() as u64, "cycle")
            ));
        }
        let needed = smallest_sample(ALPHA);
        (good < needed).then(|| {
            format!(
                "{} of the {what}; an interval needs at least {needed}",
                count(good as u64, "cycle")
            )
        })
    }

    /// Throughput says nothing where the answers differ in length.
    pub(super) fn lengths(&self, other: &Self) -> Option<String> {
        let mean = |side: &Self| Some(side.engine.output_tokens_per_request?.mean);
        let (one, two) = (mean(self)?, mean(other)?);
        length_mismatch(one, two).then(|| {
            format!("answers have {one:.1} tokens in the base and {two:.1} in the candidate, so it is not the same work")
        })
    }
}
