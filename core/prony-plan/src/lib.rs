//! Plans the ordered visits of a run from a checked pipeline, and estimates their
//! duration.
//!
//! Deterministic: the same pipeline gives the same plan.

mod estimate;
mod part;
mod stages;

pub use estimate::{Estimate, Past};
pub use part::Part;
pub use stages::{Ids, Segment, Stage, StageKind, describe, ids};

use prony_config::{MatrixPoint, Order, Pipeline};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;

/// The visits of a run, in order. `setup` comes before them and `report` after them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// One load-to-unload of one engine each.
    pub visits: Vec<Visit>,
    /// Replacement cycles, for models whose engines are compared: each may stand in for a
    /// cycle in which something failed.
    #[serde(rename = "spare", default, skip_serializing_if = "Vec::is_empty")]
    pub replacements: Vec<Visit>,
    /// Number of ABBA or BAAB blocks in which the two engines of a cycle take turns, both
    /// loaded; A is the one visited first. Absent if each visit loads its own engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u32>,
    /// Duration of the control right before and right after each visit, in seconds; absent
    /// without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_s: Option<u32>,
    /// The part of the pipeline's plan that this is; absent if it is the whole.
    #[serde(rename = "run_part", default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// The segments of every matrix point, of which visits consist.
    #[serde(rename = "parts")]
    pub segments: Vec<Segment>,
}

/// Number of replacement cycles of one model at one matrix point.
pub const MAX_REPLACEMENTS: u32 = 3;
/// Separates the coins of replacement cycles from the others of the same seed, so that
/// the order of a cycle never depends on earlier ones.
const REPLACEMENT_SEED: u64 = 0x5370_6172_6543_7963;

/// One load-to-unload of one engine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Visit {
    /// Matrix point; absent without a matrix.
    #[serde(rename = "cell", default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Model id.
    pub model: String,
    /// Engine name.
    pub engine: String,
    /// Fresh start of all engines with this model, from 1.
    pub cycle: u32,
    /// Number of the matrix point's segment, from 1.
    #[serde(rename = "part", default = "first", skip_serializing_if = "is_first")]
    pub segment: u32,
}

/// A model at a matrix point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelKey<'a> {
    /// Matrix point; `None` without a matrix.
    pub point: Option<&'a str>,
    /// Model id.
    pub model: &'a str,
}

/// A segment of a matrix point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentKey<'a> {
    /// Matrix point; `None` without a matrix.
    pub point: Option<&'a str>,
    /// Number within the matrix point, from 1.
    pub number: u32,
}

pub(crate) fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(crate) fn is_first(segment: &u32) -> bool {
    *segment == 1
}

/// `model · point on engine, cycle 2, segment 2`, without what exists only once.
impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model)?;
        if let Some(point) = &self.point {
            write!(f, " · {point}")?;
        }
        write!(f, " on {}, cycle {}", self.engine, self.cycle)?;
        if self.segment > 1 {
            write!(f, ", segment {}", self.segment)?;
        }
        Ok(())
    }
}

impl Plan {
    /// Plans `pipeline`: matrix point by matrix point, model by model, cycle by cycle.
    /// Within a cycle every engine has one turn, in an order drawn anew for each cycle; a
    /// turn consists of the visits of all segments of the matrix point.
    ///
    /// Two engines are ordered by a fair coin, independent of every other cycle: then the
    /// signs of the cycle differences of two equal engines are fair coins whatever the
    /// machine's drift, which the verdict relies on.
    ///
    /// A matrix point has no visits if the `if` of every `measure` stage skips it.
    pub fn new(pipeline: &Pipeline) -> Self {
        let schedule = &pipeline.schedule;
        let mut random = Pcg64Mcg::seed_from_u64(schedule.seed);
        let mut random_replacement = Pcg64Mcg::seed_from_u64(schedule.seed ^ REPLACEMENT_SEED);
        let mut plan = Self {
            blocks: schedule.blocks(),
            control_s: schedule.control.map(|control| control.seconds),
            ..Self::default()
        };
        for point in &pipeline.points {
            let segments = Segment::all(point, schedule, pipeline.engines.len());
            if !segments.iter().any(|it| it.measures().next().is_some()) {
                continue;
            }
            for model in &point.models {
                let engines = engines(point, &model.id);
                let compared = pipeline.compare.as_ref().is_some_and(|compare| {
                    engines.len() > 1 && engines.contains(&compare.baseline.as_str())
                });
                let visits = |cycle, random: &mut Pcg64Mcg| {
                    let mut engines = engines.clone();
                    if schedule.order == Order::Interleaved {
                        engines.shuffle(random);
                    }
                    let turn = |engine: &str| {
                        let visit = |segment: &Segment| Visit {
                            point: point.id.clone(),
                            model: model.id.clone(),
                            engine: engine.to_owned(),
                            cycle,
                            segment: segment.number,
                        };
                        segments.iter().map(visit).collect::<Vec<_>>()
                    };
                    engines.into_iter().flat_map(turn).collect::<Vec<_>>()
                };
                let cycles = schedule.cycles.planned();
                for cycle in 1..=cycles {
                    plan.visits.extend(visits(cycle, &mut random));
                }
                for cycle in (cycles + 1..=cycles + MAX_REPLACEMENTS).filter(|_| compared) {
                    plan.replacements
                        .extend(visits(cycle, &mut random_replacement));
                }
            }
            plan.segments.extend(segments);
        }
        plan
    }

    /// The visits, a slice for each model of each matrix point, in order.
    pub fn models(&self) -> impl Iterator<Item = &[Visit]> {
        self.visits.chunk_by(Visit::is_of_model)
    }

    /// The replacement cycles of the model of a visit.
    pub fn replacements(&self, of: &Visit) -> &[Visit] {
        let mut models = self.replacements.chunk_by(Visit::is_of_model);
        let found = models.find(|visits| visits.iter().any(|visit| visit.is_of_model(of)));
        found.unwrap_or_default()
    }

    /// The segments by matrix point and number.
    pub fn segments(&self) -> HashMap<SegmentKey<'_>, &Segment> {
        let segments = self.segments.iter();
        segments
            .map(|segment| {
                let key = SegmentKey {
                    point: segment.point.as_deref(),
                    number: segment.number,
                };
                (key, segment)
            })
            .collect()
    }

    /// Planned cycles; 0 if there are no visits.
    pub fn cycles(&self) -> u32 {
        self.visits.iter().map(|it| it.cycle).max().unwrap_or(0)
    }

    /// Number of all requests, including warm-up; stages with an `if` count as if they
    /// ran.
    pub fn requests(&self) -> u64 {
        let segments = self.segments();
        let of = |visit: &Visit| {
            segments
                .get(&visit.of_segment())
                .map_or(0, |it| it.requests())
        };
        self.visits.iter().map(of).sum()
    }
}

impl Visit {
    /// Returns `true` if `other` is of the same model at the same matrix point.
    pub fn is_of_model(&self, other: &Self) -> bool {
        self.of_model() == other.of_model()
    }

    /// Its model and matrix point.
    pub fn of_model(&self) -> ModelKey<'_> {
        ModelKey {
            point: self.point.as_deref(),
            model: &self.model,
        }
    }

    /// Its key in [`Plan::segments`].
    pub fn of_segment(&self) -> SegmentKey<'_> {
        SegmentKey {
            point: self.point.as_deref(),
            number: self.segment,
        }
    }
}

fn engines<'a>(point: &'a MatrixPoint, model: &str) -> Vec<&'a str> {
    let engines = point.engines.iter().map(|engine| engine.name.as_str());
    engines.filter(|engine| point.runs(engine, model)).collect()
}
