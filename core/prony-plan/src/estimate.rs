//! What a plan takes, as far as that can be said beforehand.

use crate::{Plan, Visit};
use prony_config::{Pipeline, Stop};
use serde::Serialize;
use std::collections::HashMap;

/// What a plan takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Visits.
    pub visits: u64,
    /// Requests, warm-up included; of stages with an `if` as if they ran.
    pub requests: u64,
    /// The most tokens that engines may generate.
    pub most_output_tokens: u64,
    /// Seconds for all visits, if earlier ones tell; without `setup` and `report`.
    pub seconds: Option<f64>,
    /// Seconds if every model is decided at the first look that can; absent where all
    /// cycles are run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_seconds: Option<f64>,
}

impl Estimate {
    /// Of a plan of `pipeline`, with what is known of earlier visits.
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
        let seconds = |cycles: u32| {
            let visits = plan.visits.iter().filter(|visit| visit.cycle <= cycles);
            visits
                .map(|visit| past?.seconds(visit, requests(visit)))
                .sum::<Option<f64>>()
        };
        let schedule = &pipeline.schedule;
        let first = pipeline
            .first_verdict()
            .filter(|first| schedule.stop == Stop::Decided && *first < schedule.cycles);
        Self {
            visits: plan.visits.len() as u64,
            requests: plan.requests(),
            most_output_tokens: plan.visits.iter().map(tokens).sum(),
            seconds: past.and_then(|_| seconds(schedule.cycles)),
            least_seconds: first.and_then(seconds),
        }
    }
}

/// What earlier visits took.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Visits of the same kind, whatever their cycle.
    alike: HashMap<Alike, Took>,
    /// By engine: for what has not been visited before.
    engines: HashMap<String, Took>,
}

/// What equal visits of several cycles have in common.
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
    /// Requests, and the seconds that they took.
    requests: f64,
    request_seconds: f64,
    /// Seconds beside the requests: loading, unloading, steps.
    other_seconds: f64,
}

impl Past {
    /// Adds a visit that sent `requests` in `request_seconds` and took `seconds`
    /// altogether.
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

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }

    /// Seconds that a visit with so many requests takes on average.
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
