//! Every comparison of the run with its interval, one below the other.

use super::{Figure, Table};
use crate::scale::{Scale, label};
use crate::svg::{Anchor, LINE, Svg, WIDTH, fit, width};
use prony_plugin_sdk::result::{Comparison, Interval, Overall, RunResult, Verdict};
use prony_plugin_sdk::words;
use std::fmt::Write as _;

const ROW: f64 = 24.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 400.0;
const TOP: f64 = 34.0;
/// Rows that are drawn; the table has all.
const MAX_ROWS: usize = 60;
/// Differences beyond are drawn at the edge.
const EDGE: f64 = 300.0;

/// A row: a comparison, or the mean of several.
struct Row {
    label: String,
    candidate: String,
    difference: Option<f64>,
    interval: Option<Interval>,
    inner: Option<Interval>,
    verdict: Option<Verdict>,
    margin: Option<f64>,
    numbers: String,
    range: String,
}

/// `None` without comparisons.
pub(crate) fn forest(result: &RunResult) -> Option<Figure> {
    let rows = rows(result);
    if rows.is_empty() {
        return None;
    }
    let shown = &rows[..rows.len().min(MAX_ROWS)];
    let reach = reach(shown);
    let scale = Scale::linear(-reach, reach, LEFT, RIGHT);
    // Names that do not fit beside the plot stand above their rows.
    let is_beside = shown.iter().all(|it| width(&it.label) <= LEFT - 16.0);
    let above = if is_beside { 0.0 } else { LINE };
    let bottom = TOP + (ROW + above) * shown.len() as f64;
    let mut svg = Svg::default();
    for tick in scale.ticks(5) {
        let x = scale.at(tick);
        svg.line((x, TOP), (x, bottom), "grid");
        let text = format!("{} %", label(tick));
        svg.text((x, bottom + LINE), Anchor::Middle, "tick", &text);
    }
    let mut y = TOP;
    for row in shown {
        let label = fit(&row.label, if is_beside { LEFT } else { WIDTH - 8.0 });
        if is_beside {
            let at = (LEFT - 12.0, y + ROW / 2.0 + 4.0);
            svg.text(at, Anchor::End, "label", &label);
        } else {
            svg.text((4.0, y + 14.0), Anchor::Start, "label", &label);
        }
        draw(&mut svg, row, &scale, y + above);
        y += ROW + above;
    }
    let zero = scale.at(0.0);
    svg.line((zero, TOP - 4.0), (zero, bottom), "zero");
    let at = (zero - 8.0, 14.0);
    svg.text(at, Anchor::End, "axis", "← baseline is faster");
    let at = (zero + 8.0, 14.0);
    svg.text(at, Anchor::Start, "axis", "candidate is faster →");
    let mut table = Table::new([
        "Comparison",
        "Candidate",
        "Verdict",
        "Difference",
        "Interval",
    ]);
    for row in &rows {
        let verdict = row.verdict.map_or("", Verdict::word).to_owned();
        let difference = words::optional(row.difference, words::signed_percent);
        let (label, candidate) = (row.label.clone(), row.candidate.clone());
        table.row([label, candidate, verdict, difference, row.range.clone()]);
    }
    Some(Figure::new(
        "forest".to_owned(),
        "Difference of each candidate from the baseline".to_owned(),
        finding(result, rows.len()),
        (svg, bottom + LINE + 8.0),
        table,
    ))
}

fn rows(result: &RunResult) -> Vec<Row> {
    let several = result.engines.len() > 2;
    let of_models = result.models.iter().flat_map(|model| {
        let comparisons = model.comparisons.iter();
        comparisons.map(|it| row(model.label(), it, several))
    });
    of_models
        .chain(result.overall.iter().map(|it| mean(it, several)))
        .collect()
}

fn named(label: String, candidate: &str, several: bool) -> String {
    if several {
        format!("{candidate}, {label}")
    } else {
        label
    }
}

fn row(label: String, it: &Comparison, several: bool) -> Row {
    Row {
        label: named(label, &it.candidate, several),
        candidate: it.candidate.clone(),
        difference: it.difference_percent,
        interval: it.interval,
        inner: it.interval_equivalent,
        verdict: Some(it.verdict),
        margin: Some(it.margin_percent),
        numbers: it.difference(),
        range: it.range(),
    }
}

fn mean(it: &Overall, several: bool) -> Row {
    let place = [&it.cell, &it.measure].into_iter().flatten();
    let place: Vec<&str> = place.map(String::as_str).collect();
    let label = if place.is_empty() {
        format!("mean of {}", words::count(it.models.into(), "model"))
    } else {
        format!("mean, {}", place.join(", "))
    };
    let range = it.interval.map_or_else(
        || it.reason.clone().unwrap_or_default(),
        |it| {
            let ends = [it.low_percent, it.high_percent].map(words::signed_percent);
            format!("{} to {}", ends[0], ends[1])
        },
    );
    Row {
        label: named(label, &it.candidate, several),
        candidate: it.candidate.clone(),
        difference: it.difference_percent,
        interval: it.interval,
        inner: None,
        verdict: None,
        margin: None,
        numbers: words::optional(it.difference_percent, words::signed_percent),
        range,
    }
}

/// The largest difference that is drawn.
fn reach(rows: &[Row]) -> f64 {
    let ends = rows.iter().flat_map(|it| {
        let interval = it.interval.map(|it| [it.low_percent, it.high_percent]);
        let points = interval.into_iter().flatten();
        points
            .chain(it.difference)
            .chain(it.margin.map(|margin| 1.5 * margin))
    });
    let finite = ends.filter(|it| it.is_finite()).map(f64::abs);
    (finite.fold(1.0, f64::max) * 1.08).min(EDGE)
}

fn draw(svg: &mut Svg, row: &Row, scale: &Scale, y: f64) {
    let middle = y + ROW / 2.0;
    let base = middle + 4.0;
    if let Some(margin) = row.margin {
        let (from, to) = (scale.at(-margin), scale.at(margin));
        svg.rect((from, y), (to - from, ROW), "margin", "");
    }
    let kind = match row.verdict {
        Some(Verdict::Faster) => "faster",
        Some(Verdict::Slower) => "slower",
        Some(Verdict::Equivalent) => "equivalent",
        Some(Verdict::Inconclusive) => "inconclusive",
        None => "mean",
    };
    let bar = |svg: &mut Svg, interval: Option<Interval>, class: &str| {
        if let Some(it) = interval {
            let (from, to) = (scale.at(it.low_percent), scale.at(it.high_percent));
            svg.line((from, middle), (to, middle), &format!("{class} {kind}"));
        }
    };
    bar(svg, row.interval, "interval");
    bar(svg, row.inner, "interval inner");
    if let Some(difference) = row.difference {
        let shape = match row.verdict {
            Some(Verdict::Faster) => 2,
            Some(Verdict::Slower) => 4,
            Some(Verdict::Equivalent) => 1,
            Some(Verdict::Inconclusive) => 0,
            None => 3,
        };
        let title = format!("{}: {}", row.label, row.numbers);
        let at = (scale.at(difference), middle);
        svg.mark(at, shape, &format!("mark {kind}"), &title);
    }
    let shown = if row.interval.is_some() {
        format!("{}  ({})", row.numbers, row.range)
    } else {
        row.numbers.clone()
    };
    let shown = fit(&shown, WIDTH - RIGHT - 16.0);
    svg.text((RIGHT + 12.0, base), Anchor::Start, "number", &shown);
}

fn finding(result: &RunResult, rows: usize) -> String {
    let mut text = "The mark is the estimate, the thin line the interval behind the verdict, the \
                    thick one the interval for equivalence, and the band the margin within which \
                    engines count as equivalent."
        .to_owned();
    if rows > MAX_ROWS {
        let _ = write!(
            text,
            " The first {MAX_ROWS} of {rows} are drawn; the table has all."
        );
    }
    if let Some(family) = &result.family
        && family.comparisons > 1
    {
        let _ = write!(
            text,
            " All {} share one error of {}.",
            words::count(family.comparisons.into(), "comparison"),
            words::percent(family.alpha * 100.0)
        );
    }
    text
}
