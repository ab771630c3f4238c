//! Runs against several anchors, on one scale: as price indices are chained.

use super::Junction;
use super::divisive::normal_quantile;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A run of a candidate against an anchor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point<'a> {
    /// Identity of the anchor.
    pub anchor: &'a str,
    /// `ln(candidate / anchor)` of speeds.
    pub log_ratio: f64,
}

/// A run of one anchor against another one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bridge<'a> {
    /// Identity of the anchor that it is measured against.
    pub from: &'a str,
    /// Identity of the other anchor.
    pub to: &'a str,
    /// `ln(to / from)` of speeds.
    pub log_ratio: f64,
    /// Its variance.
    pub variance: f64,
}

/// The variance of an estimate with an interval of some level, by the normal approximation.
pub fn variance(low: f64, high: f64, level: f64) -> f64 {
    // A level of 1 has no finite interval.
    let level = level.clamp(0.0, 1.0 - f64::EPSILON);
    let width = 2.0 * normal_quantile(f64::midpoint(1.0, level));
    ((high - low) / width.max(f64::MIN_POSITIVE)).powi(2)
}

/// A stretch of consecutive runs on one scale: that of the anchor of its last run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chained {
    /// Index of its first point.
    pub start: usize,
    /// `ln(candidate / last anchor)` of each point.
    pub values: Vec<f64>,
    /// Places where the anchor changes, as indices into `values`.
    pub junctions: Vec<Junction>,
}

/// A link between two anchors: estimate and variance, the mean of all bridges there.
type Link = (f64, f64);

/// Chains points, in order of time, over bridges. Where no bridges lead from the anchor of one
/// point to that of the next, another stretch begins.
pub fn chain(points: &[Point<'_>], bridges: &[Bridge<'_>]) -> Vec<Chained> {
    let links = links(bridges);
    let mut stretches: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, point) in points.iter().enumerate() {
        let is_reached = at > 0 && path(&links, points[at - 1].anchor, point.anchor).is_some();
        match stretches.last_mut() {
            Some(stretch) if is_reached => stretch.end = at + 1,
            _ => stretches.push(at..at + 1),
        }
    }
    let chained = |stretch: std::ops::Range<usize>| {
        let points = &points[stretch.clone()];
        let last = points.last().map_or("", |it| it.anchor);
        let value = |point: &Point<'_>| {
            // ln(c / last) = ln(c / anchor) - ln(last / anchor)
            let (offset, _) = path(&links, point.anchor, last).unwrap_or_default();
            point.log_ratio - offset
        };
        let junction = |(at, pair): (usize, &[Point<'_>])| {
            let (_, variance) = path(&links, pair[0].anchor, pair[1].anchor)?;
            (pair[0].anchor != pair[1].anchor).then_some(Junction {
                index: at + 1,
                variance,
            })
        };
        Chained {
            start: stretch.start,
            values: points.iter().map(value).collect(),
            junctions: points.windows(2).enumerate().filter_map(junction).collect(),
        }
    };
    stretches.into_iter().map(chained).collect()
}

/// The links between anchors, both ways.
fn links<'a>(bridges: &[Bridge<'a>]) -> BTreeMap<&'a str, BTreeMap<&'a str, Link>> {
    let mut all: BTreeMap<(&str, &str), Vec<Link>> = BTreeMap::new();
    for bridge in bridges.iter().filter(|it| it.from != it.to) {
        let (from, to) = (bridge.from, bridge.to);
        let one = (bridge.log_ratio, bridge.variance);
        all.entry((from, to)).or_default().push(one);
        all.entry((to, from)).or_default().push((-one.0, one.1));
    }
    let mut links: BTreeMap<&str, BTreeMap<&str, Link>> = BTreeMap::new();
    for ((from, to), of) in all {
        let n = of.len() as f64;
        let estimate = of.iter().map(|it| it.0).sum::<f64>() / n;
        let variance = of.iter().map(|it| it.1).sum::<f64>() / (n * n);
        links
            .entry(from)
            .or_default()
            .insert(to, (estimate, variance));
    }
    links
}

/// `ln(to / from)` over the fewest links, and its variance; `None` if no links lead there.
fn path(links: &BTreeMap<&str, BTreeMap<&str, Link>>, from: &str, to: &str) -> Option<Link> {
    let mut seen = BTreeSet::from([from]);
    let mut queue = VecDeque::from([(from, (0.0, 0.0))]);
    while let Some((anchor, (estimate, variance))) = queue.pop_front() {
        if anchor == to {
            return Some((estimate, variance));
        }
        for (next, link) in links.get(anchor).into_iter().flatten() {
            if seen.insert(next) {
                queue.push_back((next, (estimate + link.0, variance + link.1)));
            }
        }
    }
    None
}
