//! Distributions of times: for each engine, the share of requests that were at least as fast.

use super::{Figure, Plot, Room, Table, class};
use crate::scale::Scale;
use crate::svg::polyline;
use prony_plugin_sdk::result::detail::{Curve, EngineDetail};
use prony_plugin_sdk::result::{Distribution, METRICS, Metric, ModelResult};
use prony_plugin_sdk::words;
use std::fmt::Write as _;

/// Metrics that are drawn, in order.
const DRAWN: [&str; 3] = [
    "time_to_first_token_ms",
    "inter_token_latency_ms",
    "request_latency_ms",
];

/// A distribution of an engine: its curve, and what the result says of it.
struct Known<'a> {
    name: &'a str,
    curve: &'a Curve,
    told: Distribution,
}

/// The figures of the engines of a model.
pub(crate) fn curves(
    id: &str,
    model: &ModelResult,
    engines: &[EngineDetail],
    room: Room,
) -> Vec<Figure> {
    let known = DRAWN.iter().filter_map(|name| {
        let metric = METRICS.iter().find(|it| it.name == *name)?;
        of_metric(id, metric, model, engines, room)
    });
    known.collect()
}

fn of_metric(
    id: &str,
    metric: &Metric,
    model: &ModelResult,
    engines: &[EngineDetail],
    room: Room,
) -> Option<Figure> {
    let known = engines.iter().enumerate().filter_map(|(index, engine)| {
        let curve = engine.curves.get(metric.name)?;
        let told = metric.distribution(model.engine(&engine.engine)?)?;
        let known = Known {
            name: &engine.engine,
            curve,
            told,
        };
        (curve.quantiles.len() > 1).then_some((class(index), known))
    });
    let curves: Vec<(usize, Known<'_>)> = known.collect();
    let all = || curves.iter().map(|it| &it.1.curve.quantiles);
    let least = all().map(|it| it[0]).fold(f64::INFINITY, f64::min);
    let middle = all().map(|it| it[it.len() / 2]).fold(0.0, f64::max);
    let most = all().map(|it| it[it.len() - 1]).fold(0.0, f64::max);
    if curves.is_empty() {
        return None;
    }
    let mut plot = Plot::new(
        260.0,
        |from, to| Scale::of_times(least, middle, most, from, to),
        |from, to| Scale::linear(0.0, 1.0, from, to),
    );
    let unit = if plot.x.is_log() {
        "milliseconds, logarithmic"
    } else {
        "milliseconds"
    };
    let of = if metric.name == "inter_token_latency_ms" {
        "share of gaps"
    } else {
        "share of requests"
    };
    plot.axes(unit, of);
    for (class, it) in curves.iter().filter(|(_, it)| has_band(it.curve)) {
        let path = band(&plot, it.curve, room.quantile_step);
        plot.svg.path(&path, &format!("band e{class}"));
    }
    for (class, it) in &curves {
        let share = share(it.curve);
        let path = steps(&plot, &it.curve.quantiles, share, room.quantile_step);
        plot.svg.path(&path, &format!("curve e{class}"));
    }
    let names: Vec<(usize, &str)> = curves.iter().map(|(class, it)| (*class, it.name)).collect();
    plot.legend(&names, false);
    let curves: Vec<Known<'_>> = curves.into_iter().map(|it| it.1).collect();
    Some(Figure::new(
        format!("{id}-{}", metric.name.replace('_', "-")),
        metric.title.to_owned(),
        finding(&curves, &plot),
        plot.finish(),
        table(&curves),
    ))
}

/// Returns `true` if the single cycles are known.
fn has_band(curve: &Curve) -> bool {
    [&curve.low, &curve.high]
        .iter()
        .all(|it| it.len() == curve.quantiles.len())
}

/// Share of the requests that have a value at all.
fn share(curve: &Curve) -> f64 {
    curve.n as f64 / (curve.n + curve.failed) as f64
}

/// The curve as steps: at the value of a quantile its share is reached.
fn steps(plot: &Plot, quantiles: &[f64], share: f64, step: usize) -> String {
    let last = (quantiles.len() - 1) as f64;
    let points = quantiles.iter().enumerate().step_by(step);
    polyline(points.map(|(step, value)| {
        let reached = step as f64 / last * share;
        (plot.x.at(*value), plot.y.at(reached))
    }))
}

/// The area between the fastest and the slowest cycle.
fn band(plot: &Plot, curve: &Curve, step: usize) -> String {
    let share = share(curve);
    let mut path = steps(plot, &curve.low, share, 2 * step);
    let back = steps(plot, &curve.high, share, 2 * step);
    // The way back from its end.
    let mut points: Vec<&str> = back[1..].split('L').collect();
    points.reverse();
    for point in points {
        let _ = write!(path, "L{point}");
    }
    path + "Z"
}

fn finding(curves: &[Known<'_>], plot: &Plot) -> String {
    let medians: Vec<String> = curves
        .iter()
        .map(|it| format!("{} {} ms", it.name, words::number(it.told.p50)))
        .collect();
    let mut text = format!("Median: {}.", medians.join(", "));
    text += " A curve further to the left is faster.";
    if curves.iter().any(|it| has_band(it.curve)) {
        text += " The band spans the curves of the single cycles.";
    }
    let failed: Vec<String> = curves
        .iter()
        .filter(|it| it.curve.failed > 0)
        .map(|it| format!("{}: {} failed and are left out", it.name, it.curve.failed))
        .collect();
    if !failed.is_empty() {
        let _ = write!(text, " {}.", failed.join("; "));
    }
    if plot.x.is_log() {
        text += " The axis is logarithmic, since the slowest are far from the rest.";
    }
    text
}

fn table(curves: &[Known<'_>]) -> Table {
    let mut table = Table::new(["Engine", "Values", "min", "p50", "p90", "p99", "max"]);
    for it in curves {
        let told = &it.told;
        let ms = |value: Option<f64>| {
            value.map_or_else(
                || "n too small".to_owned(),
                |value| format!("{} ms", words::number(value)),
            )
        };
        let values = [
            Some(told.min),
            Some(told.p50),
            told.p90,
            told.p99,
            Some(told.max),
        ];
        let mut row = vec![it.name.to_owned(), told.n.to_string()];
        row.extend(values.map(ms));
        table.rows.push(row);
    }
    table
}
