//! Estimates of a plan's size and duration.

use crate::{Plan, Visit};
use prony_config::{Pipeline, Stop};
use serde::Serialize;
use std::collections::HashMap;

/// Estimated size and duration of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Number of visits.
    pub visits: u64,
    /// Number of requests, including warm-up; stages with an `if` count as if they ran.
    pub requests: u64,
    /// Maximum number of tokens that engines may generate.
    pub most_output_tokens: u64,
    /// Seconds for all visits, estimated from earlier ones; without `setup` and `report`.
    pub seconds: Option<f64>,
    /// Seconds if every model is decided at the earliest possible interim analysis;
    /// absent if all cycles are run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_seconds: Option<f64>,
}

impl Estimate {
    /// Estimates a plan of `pipeline` from earlier visits.
    pub fn new(pipeline: &Pipeline, plan: &Plan, past: Option<&Past>) -> Self {
        let points = pipeline.points.iter();
        let most: HashMap<Option<&str>, u64> = points
            .map(|point| (point.id.as_deref(), u64::from(point.workload.max_tokens)))
            .collect();
        let segments = plan.segments();
        let requests = |visit: &Visit| {
            let segment = segments.get(&visit.of_segment());
            segment.map_or(0, |segment| segment.requests())
        };
        let tokens = |visit: &Visit| {
            requests(visit) * most.get(&visit.point.as_deref()).copied().unwrap_or(0)
        };
        // Before and after each visit.
        let controls_s = 2.0 * f64::from(plan.control_s.unwrap_or(0));
        let seconds = |cycles: u32| {
            let visits = plan.visits.iter().filter(|visit| visit.cycle <= cycles);
            visits
                .map(|visit| Some(past?.seconds(visit, requests(visit))? + controls_s))
                .sum::<Option<f64>>()
        };
        let schedule = &pipeline.schedule;
        let first = pipeline
            .first_verdict()
            .filter(|first| schedule.stop == Stop::Decided && *first < schedule.cycles.planned());
        Self {
            visits: plan.visits.len() as u64,
            requests: plan.requests(),
            most_output_tokens: plan.visits.iter().map(tokens).sum(),
            seconds: past.and_then(|_| seconds(schedule.cycles.planned())),
            least_seconds: first.and_then(seconds),
        }
    }
}

/// Durations of earlier visits.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Visits that differ only in their cycle.
    alike: HashMap<Alike, Took>,
    /// By engine: for visits without a precedent.
    engines: HashMap<String, Took>,
}

/// The common key of visits in several cycles.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Alike {
    point: Option<String>,
    model: String,
    engine: String,
    segment: u32,
}

/// Sums over visits.
#[derive(Debug, Clone, Copy, Default)]
struct Took {
    visits: f64,
    /// Number of requests, and their duration in seconds.
    requests: f64,
    request_seconds: f64,
    /// Seconds outside the requests: loading, unloading, steps.
    other_seconds: f64,
}

impl Past {
    /// Adds a visit that sent `requests` in `request_seconds` and took `seconds` in
    /// total.
    pub fn add(&mut self, visit: &Visit, requests: u64, request_seconds: f64, seconds: f64) {
        let alike = self.alike.entry(alike(visit)).or_default();
        let engine = self.engines.entry(visit.engine.clone()).or_default();
        for took in [alike, engine] {
            took.visits += 1.0;
            took.requests += requests as f64;
            took.request_seconds += request_seconds;
            took.other_seconds += (seconds - request_seconds).max(0.0);
        }
    }

    /// Returns `true` if nothing is known.
    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }

    /// Average duration of a visit with `requests` requests, in seconds.
    fn seconds(&self, visit: &Visit, requests: u64) -> Option<f64> {
        let took = self.alike.get(&alike(visit));
        let took = took.or_else(|| self.engines.get(&visit.engine))?;
        let each = took.request_seconds / took.requests.max(1.0);
        Some(took.other_seconds / took.visits + each * requests as f64)
    }
}

fn alike(visit: &Visit) -> Alike {
    Alike {
        point: visit.point.clone(),
        model: visit.model.clone(),
        engine: visit.engine.clone(),
        segment: visit.segment,
    }
}
