//! The stages between a load and its unload.

use prony_config::{
    Arrival, Cache, CarryOver, Condition, MatrixPoint, Measure, Order, Schedule,
    Segment as Written, Work,
};
use prony_record::Phase;
use prony_result::TestStatistic;
use serde::{Deserialize, Serialize};

/// A segment of a matrix point, as far as requests go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Matrix point; absent without a matrix.
    #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Number within the matrix point, from 1.
    #[serde(
        rename = "part",
        default = "crate::first",
        skip_serializing_if = "crate::is_first"
    )]
    pub number: u32,
    /// The stages that send requests, in order; without those that never run.
    pub stages: Vec<Stage>,
}

/// A stage that sends requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Purpose of its requests.
    pub phase: Phase,
    /// Name, unique in the pipeline.
    pub id: String,
    /// Number of requests.
    pub requests: u32,
    /// Requests in flight; in an open loop, the maximum.
    pub concurrency: u32,
    /// Arrival process of an open loop, in words: `poisson, 4 a second`. Absent in a
    /// closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<String>,
    /// Maximum time during which requests are sent, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// State of the prefix cache, if the pipeline states one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Number that verdicts on it are about; absent where nothing is measured, and in
    /// journals of before there was a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistic: Option<TestStatistic>,
    /// `true` if verdicts on it are tested for what engines leave behind for the next visit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tests_carry_over: bool,
    /// Template that decides whether it runs; absent if it always does.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

/// A kind of stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// Once, before all visits.
    Setup,
    /// Starts the engine.
    Load,
    /// Sends requests that are not measured.
    Warmup,
    /// Sends requests that are measured.
    Measure,
    /// Stops the engine.
    Unload,
}

impl StageKind {
    /// Name in YAML, JSON and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Load => "load",
            Self::Warmup => "warmup",
            Self::Measure => "measure",
            Self::Unload => "unload",
        }
    }
}

impl From<Phase> for StageKind {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Warmup => Self::Warmup,
            Phase::Measure => Self::Measure,
        }
    }
}

impl Segment {
    /// The segments of a matrix point.
    pub(crate) fn all(point: &MatrixPoint, schedule: &Schedule, engines: usize) -> Vec<Self> {
        let segments = (1..).zip(&point.segments).zip(ids(&point.segments));
        segments
            .map(|((number, written), ids)| Self {
                point: point.id.clone(),
                number,
                stages: written
                    .work
                    .iter()
                    .zip(ids.work)
                    .filter_map(|(work, id)| Stage::new(work, id, schedule, engines))
                    .collect(),
            })
            .collect()
    }

    /// The `measure` stages.
    pub fn measures(&self) -> impl Iterator<Item = &Stage> {
        let measures = |stage: &&Stage| stage.phase == Phase::Measure;
        self.stages.iter().filter(measures)
    }

    /// Number of unmeasured and measured requests.
    pub fn requests(&self) -> u64 {
        self.warmup_requests() + self.measured_requests()
    }

    /// Number of unmeasured requests.
    pub fn warmup_requests(&self) -> u64 {
        self.requests_of(Phase::Warmup)
    }

    /// Number of measured requests.
    pub fn measured_requests(&self) -> u64 {
        self.requests_of(Phase::Measure)
    }

    fn requests_of(&self, phase: Phase) -> u64 {
        let stages = self.stages.iter().filter(|stage| stage.phase == phase);
        stages.map(|stage| u64::from(stage.requests)).sum()
    }
}

impl Stage {
    /// `None` if nothing is ever sent.
    fn new(work: &Work, id: String, schedule: &Schedule, engines: usize) -> Option<Self> {
        let (phase, condition) = match work {
            Work::Warmup(stage) => (Phase::Warmup, &stage.condition),
            Work::Measure(stage) => (Phase::Measure, &stage.condition),
        };
        let (requests, arrival) = match work {
            Work::Warmup(stage) => (stage.requests, stage.arrival),
            Work::Measure(stage) => (stage.requests, stage.arrival),
        };
        let measure = match work {
            Work::Warmup(_) => None,
            Work::Measure(stage) => Some(stage),
        };
        let condition = match condition {
            Condition::Is(false) => return None,
            Condition::Is(true) => None,
            Condition::When(template) => Some(template.clone()),
        };
        (requests > 0).then_some(Self {
            phase,
            id,
            requests,
            concurrency: arrival.max_in_flight(),
            arrival: arrival.is_open().then(|| describe(arrival)),
            seconds: measure
                .and_then(|stage| stage.duration)
                .map(|duration| duration.to_std().as_secs_f64()),
            cache: measure.and_then(|stage| stage.cache),
            statistic: measure.map(|stage| statistic(stage, schedule, engines)),
            tests_carry_over: measure.is_some() && tests_carry_over(schedule),
            condition,
        })
    }
}

/// Returns `true` if engines take turns, so that each comes after another, and the pipeline
/// does not say that this is nothing to them.
fn tests_carry_over(schedule: &Schedule) -> bool {
    let takes_turns = !schedule.resident && schedule.order == Order::Interleaved;
    takes_turns && schedule.carry_over == CarryOver::Removed
}

/// The number that verdicts are about.
///
/// One request at a time is compared request by request. With several in flight the requests
/// of a visit share their time, and only its throughput is one number. The level around a
/// visit is for engines that come in an order drawn by a coin; what one leaves behind for the
/// next can be taken out where the next is always the other one.
fn statistic(stage: &Measure, schedule: &Schedule, engines: usize) -> TestStatistic {
    if stage.arrival.is_open() || stage.arrival.max_in_flight() > 1 {
        TestStatistic::Throughput
    } else if schedule.resident || schedule.order == Order::Sequential {
        TestStatistic::Median
    } else if schedule.carry_over == CarryOver::None || engines > 2 {
        TestStatistic::LevelTrusting
    } else {
        TestStatistic::Level
    }
}

/// Describes a load shape: `concurrency 4`, `poisson, 40 a second`.
pub fn describe(arrival: Arrival) -> String {
    match arrival {
        Arrival::Concurrency(concurrency) => format!("concurrency {concurrency}"),
        Arrival::Ramp(ramp) => format!("ramp to {}", ramp.concurrency),
        Arrival::Constant(it) => format!("constant, {} a second", it.rate),
        Arrival::Poisson(it) => format!("poisson, {} a second", it.rate),
        Arrival::Gamma(it) => format!(
            "gamma with burstiness {}, {} a second",
            it.burstiness, it.rate
        ),
        Arrival::Replay(it) if it.is_as_recorded() => "replay".to_owned(),
        Arrival::Replay(it) => format!("replay, {} times as fast", it.speed),
    }
}

/// The ids of the stages of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// The `load` stage.
    pub load: String,
    /// The stages in between, in order.
    pub work: Vec<String>,
    /// The `unload` stage.
    pub unload: String,
}

/// The ids of the stages of a matrix point: as given, or else the kind, with a number
/// from the second of its kind on.
pub fn ids(segments: &[Written]) -> Vec<Ids> {
    let mut warmups = 0;
    let id = |kind: &str, given: &Option<String>, same: usize| {
        let numbered = || match same {
            0 => kind.to_owned(),
            same => format!("{kind}_{}", same + 1),
        };
        given.clone().unwrap_or_else(numbered)
    };
    let ids = |(segment, written): (usize, &Written)| {
        let work = written.work.iter().map(|work| match work {
            Work::Measure(Measure { id, .. }) => id.clone(),
            Work::Warmup(warmup) => {
                warmups += 1;
                id("warmup", &warmup.id, warmups - 1)
            }
        });
        Ids {
            work: work.collect(),
            load: id("load", &written.load.id, segment),
            unload: id("unload", &written.unload.id, segment),
        }
    };
    segments.iter().enumerate().map(ids).collect()
}
