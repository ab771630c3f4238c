//! Changes and trends in a history: the runs of many nights, each a log ratio to an anchor.
//!
//! The unit is the run, never its cycles: nights differ by more than the cycles of one night show.
//!
//! - [`changes`]: change points by energy distances and permutations;
//! - [`suspicion`]: a change that has too few runs yet;
//! - [`trend`]: creeping loss within a segment;
//! - [`chain`]: runs against several anchors, on one scale.

mod chain;
mod divisive;
mod energy;
mod suspicion;
#[cfg(test)]
mod tests;
mod trend;
mod wild;

pub use chain::{Bridge, Chained, Point, chain, variance};
pub use divisive::{Change, Junction, changes};
pub use suspicion::{Suspicion, suspicion};
pub use trend::{MIN_TREND, Trend, trend};

use std::ops::Range;
use wild::{bounded, level};

/// Values of a window in which change points are searched: the distribution of a year is not that
/// of a week.
pub const WINDOW: usize = 50;
/// Error of a change point before neighbouring segments are compared as a whole.
pub const WEAK: f64 = 0.01;
/// Error of a change point, and of a trend.
pub const STRONG: f64 = 0.001;
/// Random arrangements of a test: the smallest p value is then 0.0001. Where there are no more
/// arrangements than these, all are tried.
pub const ARRANGEMENTS: u32 = 9_999;

/// A part of a history without a change.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Its values, as indices.
    pub range: Range<usize>,
    /// Their level: the mean of the middle half.
    pub level: f64,
    /// Their trend, if they have one.
    pub trend: Option<Trend>,
}

/// The changes of a stretch of runs on one scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// The parts between them, one more than changes; empty without values.
    pub segments: Vec<Segment>,
    /// A change at the end that too few runs show yet.
    pub suspicion: Option<Suspicion>,
}

/// Analyses log ratios in the order of time. `margin` is the smallest difference that counts, as a
/// log ratio of at least 0; `junctions` are the places where another anchor begins. Values are
/// finite. Equal input gives equal output.
pub fn analyse(values: &[f64], junctions: &[Junction], margin: f64) -> Analysis {
    let values = &bounded(values, margin)[..];
    let changes = changes(values, junctions, margin);
    let ends = changes
        .iter()
        .map(|it| it.index)
        .chain((!values.is_empty()).then_some(values.len()));
    let mut start = 0;
    let segments: Vec<Segment> = ends
        .map(|end| {
            let range = start..end;
            start = end;
            Segment {
                level: level(&values[range.clone()]),
                trend: trend(&values[range.clone()]),
                range,
            }
        })
        .collect();
    let suspicion = segments
        .last()
        .and_then(|last| suspicion(values, last.range.start, junctions, margin));
    Analysis {
        changes,
        segments,
        suspicion,
    }
}
