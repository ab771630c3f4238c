//! The outcome of a visit, in a line.

use prony_journal::Visited;
use prony_metrics::throughput;
use prony_plan::{Segment, Stage};
use prony_record::{Record, RequestId};

/// The requests of a `measure` stage of a visit so far.
#[derive(Debug)]
pub(super) struct Measured {
    /// The first of them.
    pub(super) id: RequestId,
    sent: u32,
    good: u32,
    /// Tokens of those that succeeded; `None` if one of them has no count.
    tokens: Option<u64>,
    /// Time of all, one after the other.
    latency_ns: u64,
}

impl Measured {
    pub(super) fn new(id: &RequestId) -> Self {
        Self {
            id: id.clone(),
            sent: 0,
            good: 0,
            tokens: Some(0),
            latency_ns: 0,
        }
    }

    pub(super) fn has(&self, id: &RequestId) -> bool {
        let of = &self.id;
        (&of.stage, &of.engine, of.cycle) == (&id.stage, &id.engine, id.cycle)
            && (&of.point, &of.model) == (&id.point, &id.model)
    }

    pub(super) fn add(&mut self, record: &Record) {
        self.sent += 1;
        self.latency_ns = self.latency_ns.saturating_add(record.latency_ns());
        if record.ok() {
            self.good += 1;
            let tokens = record.tokens().map(u64::from);
            self.tokens = self.tokens.zip(tokens).map(|(all, more)| all + more);
        }
    }
}

/// The load time, and the outcome of each `measure` stage.
pub(super) fn outcome(
    visited: &Visited,
    segment: Option<&Segment>,
    measured: &[Measured],
) -> String {
    let mut parts = Vec::new();
    if let Some(load) = visited.load_time_ns {
        parts.push(format!("loaded in {:.2} s", load as f64 / 1e9));
    }
    let stages: Vec<&Stage> = segment.map_or_else(Vec::new, |it| it.measures().collect());
    for stage in &stages {
        let of_it =
            |it: &&Measured| (&it.id.stage, &it.id.engine) == (&stage.id, &visited.visit.engine);
        let Some(measured) = measured.iter().find(of_it) else {
            continue;
        };
        let name = match stages.len() {
            1 => String::new(),
            _ => format!("{}: ", stage.id),
        };
        let Measured { sent, good, .. } = measured;
        // For a visit that was cut short; a stage with a time limit sends as many as
        // it can.
        let planned = stage.requests;
        let left_out = match stage.seconds {
            None if *sent < planned => format!(" ({planned} planned)"),
            _ => String::new(),
        };
        parts.push(format!("{name}{good} of {sent} requests{left_out}"));
        let time_ns = match stage.concurrency {
            1 => Some(measured.latency_ns),
            _ => visited.measure_ns.get(&stage.id).copied(),
        };
        let rate = measured.tokens.zip(time_ns);
        if let Some(rate) = rate.and_then(|(tokens, ns)| throughput::per_second(tokens, ns)) {
            parts.push(format!("{rate:.1} tok/s"));
        }
    }
    if parts.is_empty() {
        "nothing measured".to_owned()
    } else {
        parts.join(", ")
    }
}
