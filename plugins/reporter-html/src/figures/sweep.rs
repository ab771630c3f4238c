//! The matrix points of a model: throughput against latency.

use super::{Figure, Plot, Table, class};
use crate::scale::Scale;
use crate::svg::{Anchor, fit, polyline};
use prony_plugin_sdk::result::{EngineResult, ModelResult, RunResult};
use prony_plugin_sdk::words;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// An engine at a matrix point.
struct Place<'a> {
    class: usize,
    engine: &'a str,
    cell: &'a str,
    /// The axes of the matrix point that are not the same everywhere.
    label: String,
    /// Median latency in milliseconds.
    latency: f64,
    /// Its interval; `None` with too few requests for one.
    interval: Option<(f64, f64)>,
    /// Throughput in tokens per second, and that of the slowest and of the fastest cycle.
    rate: (f64, f64, f64),
}

/// A figure for each model that was measured at several matrix points.
pub(crate) fn sweeps(result: &RunResult) -> Vec<Figure> {
    let mut models: BTreeMap<(&str, Option<&str>), Vec<&ModelResult>> = BTreeMap::new();
    for model in result.models.iter().filter(|it| it.cell.is_some()) {
        let key = (model.id.as_str(), model.measure.as_deref());
        models.entry(key).or_default().push(model);
    }
    let several = models.into_iter().filter(|it| it.1.len() > 1);
    several
        .enumerate()
        .filter_map(|(index, ((model, measure), cells))| {
            let label = measure.map_or_else(|| model.to_owned(), |it| format!("{model}, {it}"));
            sweep(&format!("sweep-{index}"), &label, &cells, result)
        })
        .collect()
}

fn sweep(id: &str, label: &str, cells: &[&ModelResult], result: &RunResult) -> Option<Figure> {
    let ids: Vec<&str> = cells.iter().filter_map(|it| it.cell.as_deref()).collect();
    let places: Vec<Place<'_>> = cells
        .iter()
        .flat_map(|model| {
            let cell = model.cell.as_deref().unwrap_or_default();
            let label = differing(cell, &ids);
            let known = model.engines.iter();
            known.filter_map(move |engine| place(engine, cell, label.clone(), result))
        })
        .collect();
    if places.len() < 2 {
        return None;
    }
    let least = places
        .iter()
        .map(|it| it.interval.map_or(it.latency, |it| it.0))
        .fold(f64::INFINITY, f64::min);
    let most = places
        .iter()
        .map(|it| it.interval.map_or(it.latency, |it| it.1))
        .fold(0.0, f64::max);
    let middle = {
        let mut all: Vec<f64> = places.iter().map(|it| it.latency).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let rate = places.iter().map(|it| it.rate.2).fold(0.0, f64::max);
    let mut plot = Plot::new(
        320.0,
        |from, to| Scale::of_times(least, middle, most * 1.05, from, to),
        |from, to| Scale::linear(0.0, rate * 1.1, from, to),
    );
    let unit = if plot.x.is_log() { ", logarithmic" } else { "" };
    let x_title = format!("median request latency, milliseconds{unit}");
    plot.axes(&x_title, "output tokens per second");
    for engine in &result.engines {
        let own: Vec<&Place<'_>> = places
            .iter()
            .filter(|it| it.engine == engine.name)
            .collect();
        let Some(first) = own.first() else { continue };
        let points = own
            .iter()
            .map(|it| (plot.x.at(it.latency), plot.y.at(it.rate.0)));
        let path = polyline(points);
        plot.svg.path(&path, &format!("thin e{}", first.class));
    }
    draw(&mut plot, &places);
    let mut names: Vec<(usize, &str)> = places.iter().map(|it| (it.class, it.engine)).collect();
    names.sort_unstable();
    names.dedup();
    plot.legend(&names, true);
    Some(Figure::new(
        id.to_owned(),
        format!("{label}: throughput against latency"),
        finding(&places),
        plot.finish(),
        table(&places),
    ))
}

/// The parts of a matrix point's id that not all others have.
fn differing(cell: &str, all: &[&str]) -> String {
    let is_common = |part: &&str| {
        let has = |it: &&str| it.split(',').any(|other| other == *part);
        all.iter().all(has)
    };
    let parts: Vec<&str> = cell.split(',').filter(|part| !is_common(part)).collect();
    parts.join(",")
}

fn place<'a>(
    engine: &'a EngineResult,
    cell: &'a str,
    label: String,
    result: &RunResult,
) -> Option<Place<'a>> {
    let latency = engine.request_latency_ms?;
    let rate = engine.output_tokens_per_sec?;
    let cycles = engine
        .by_cycle
        .iter()
        .filter_map(|it| it.output_tokens_per_sec);
    let (low, high) = cycles.fold((rate, rate), |(low, high), it| (low.min(it), high.max(it)));
    let index = result
        .engines
        .iter()
        .position(|it| it.name == engine.engine)?;
    Some(Place {
        class: class(index),
        engine: &engine.engine,
        cell,
        label,
        latency: latency.p50,
        interval: latency.p50_low.zip(latency.p50_high),
        rate: (rate, low, high),
    })
}

/// Returns `true` if another place is better in both beyond their whiskers.
fn is_behind(it: &Place<'_>, places: &[Place<'_>]) -> bool {
    let is_ahead = |other: &Place<'_>| {
        let is_faster = other.interval.zip(it.interval);
        is_faster.is_some_and(|(other, own)| other.1 < own.0) && other.rate.1 > it.rate.2
    };
    places.iter().any(is_ahead)
}

fn draw(plot: &mut Plot, places: &[Place<'_>]) {
    let mut taken: Vec<(f64, f64, f64)> = Vec::new();
    for it in places {
        let (x, y) = (plot.x.at(it.latency), plot.y.at(it.rate.0));
        let whisker = format!("thin e{}", it.class);
        if let Some((low, high)) = it.interval {
            let (left, right) = (plot.x.at(low), plot.x.at(high));
            plot.svg.line((left, y), (right, y), &whisker);
        }
        let (bottom, top) = (plot.y.at(it.rate.1), plot.y.at(it.rate.2));
        plot.svg.line((x, bottom), (x, top), &whisker);
        let behind = if is_behind(it, places) { " behind" } else { "" };
        let title = format!(
            "{}, {}: {} tok/s, {} ms",
            it.engine,
            it.cell,
            words::number(it.rate.0),
            words::number(it.latency)
        );
        plot.svg.mark(
            (x, y),
            it.class,
            &format!("mark e{}{behind}", it.class),
            &title,
        );
        let text = fit(&it.label, 160.0);
        let width = crate::svg::width(&text);
        let start = (x + 10.0).min(super::RIGHT - width);
        // A label that would lie on another one is in the title and in the table only.
        let is_free = taken.iter().all(|(left, right, at)| {
            start > *right || start + width < *left || (at - (y - 8.0)).abs() > 14.0
        });
        if is_free {
            plot.svg
                .text((start, y - 8.0), Anchor::Start, "tick", &text);
            taken.push((start, start + width, y - 8.0));
        }
    }
}

fn finding(places: &[Place<'_>]) -> String {
    let behind: Vec<String> = places
        .iter()
        .filter(|it| is_behind(it, places))
        .map(|it| format!("{} at {}", it.engine, it.cell))
        .collect();
    let mut text = "Up and left is better. Whiskers are the interval of the median latency and \
                    the range of the cycles' throughput."
        .to_owned();
    if places.iter().any(|it| it.interval.is_none()) {
        text += " A point without a whisker has too few requests for an interval of its median, so \
                 nothing is said of which points are beaten by it or beat it.";
    }
    if behind.is_empty() {
        text += " No point is beaten in both beyond its whiskers.";
    } else {
        let _ = write!(
            text,
            " Beaten in both beyond the whiskers, drawn hollow: {}.",
            behind.join("; ")
        );
    }
    text
}

fn table(places: &[Place<'_>]) -> Table {
    let mut table = Table::new([
        "Matrix point",
        "Engine",
        "Output tokens per second",
        "Median request latency",
    ]);
    for it in places {
        table.row([
            it.cell.to_owned(),
            it.engine.to_owned(),
            words::number(it.rate.0),
            format!("{} ms", words::number(it.latency)),
        ]);
    }
    table
}
