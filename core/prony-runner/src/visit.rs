//! One visit: load, warm-ups and measurements, unload of one engine with one model.
//!
//! [`sequence`] decides what comes next and is independent of the engine; [`engine`] is
//! the engine.

mod account;
mod engine;
mod exchanges;
mod load;
mod loading;
mod prometheus;
mod receive;
mod requests;
mod sequence;
mod stage;
#[cfg(test)]
mod tests;
mod together;
mod without_images;

pub(crate) use engine::{LiveEngine, Material};
pub(crate) use sequence::{Stop, Visit, run};

use crate::run::{Run, StageError};
use prony_config::MatrixPoint;
use std::time::Duration;

/// Maximum time from a broken connection to the end of the process behind it.
const CRASH_GRACE: Duration = Duration::from_millis(300);

/// The outcome of an operation in a stage.
type Staged<T> = Result<T, StageError>;

/// A planned visit of a real engine, which `is_resident` if another one is loaded at the
/// same time. `stages` is the value of that name in templates; `material` is shared by
/// the visits of the model. `None` if the matrix point lacks what the visit names, which
/// cannot happen with a plan of the same pipeline.
pub(crate) fn live<'r, 'a>(
    run: &'r Run<'a>,
    planned: &'r prony_plan::Visit,
    point: &'r MatrixPoint,
    material: &Material<'r>,
    is_resident: bool,
    stages: serde_json::Value,
) -> Option<Visit<'r, LiveEngine<'r, 'a>>> {
    let segment = (planned.segment as usize).checked_sub(1)?;
    let ids = prony_plan::ids(&point.segments).into_iter().nth(segment)?;
    let engine = LiveEngine::new(run, planned, point, material, is_resident, stages)?;
    Some(Visit::new(
        planned,
        point.segments.get(segment)?,
        ids,
        engine,
    ))
}
