//! From a checked pipeline to the ordered visits of a run.
//!
//! Deterministic: the same pipeline gives the same plan.

use prony_config::{Arrival, Order, Pipeline};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

/// What a run will do, in order. `setup` comes before the visits and `report`
/// after them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// One load-to-unload of one engine each.
    pub visits: Vec<Visit>,
    /// Unmeasured requests of each visit.
    pub warmup_requests: u32,
    /// Measured requests of each visit.
    pub measured_requests: u32,
    /// Requests in flight.
    pub concurrency: u32,
}

/// One load-to-unload of one engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// Model id.
    pub model: String,
    /// Engine name.
    pub engine: String,
    /// Fresh start of all engines with this model, from 1.
    pub cycle: u32,
}

impl Plan {
    /// Plans `pipeline`: model by model, cycle by cycle; within a cycle every
    /// engine once, in an order that is drawn anew for each cycle.
    ///
    /// Two engines are ordered by a fair coin, independent of every other cycle:
    /// then the signs of the cycle differences of two equal engines are fair
    /// coins whatever the machine's drift, which is what the verdict rests on.
    pub fn new(pipeline: &Pipeline) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(pipeline.schedule.seed);
        let mut visits = Vec::new();
        for model in pipeline.enabled_models() {
            for cycle in 1..=pipeline.schedule.cycles {
                let mut engines: Vec<&str> = pipeline
                    .engines
                    .iter()
                    .map(|engine| engine.name.as_str())
                    .collect();
                if pipeline.schedule.order == Order::Interleaved {
                    engines.shuffle(&mut random);
                }
                visits.extend(engines.into_iter().map(|engine| Visit {
                    model: model.id.clone(),
                    engine: engine.to_owned(),
                    cycle,
                }));
            }
        }
        let Arrival::Concurrency(concurrency) = pipeline.stages.measure.arrival;
        Self {
            visits,
            warmup_requests: pipeline.stages.warmup.requests,
            measured_requests: pipeline.stages.measure.requests,
            concurrency,
        }
    }

    /// All requests, warm-up included.
    pub fn requests(&self) -> u64 {
        self.visits.len() as u64
            * (u64::from(self.warmup_requests) + u64::from(self.measured_requests))
    }
}
