//! Checks that thresholds bound existing things.

use prony_diagnostic::Diagnostic;
use prony_result::{Metric, Source, Unit};

use super::matrix::{Combination, combinations, id_text, scalar};
use super::stages::measures;
use super::{Document, known};
use crate::codes;
use crate::template::digits;
use crate::tree::{Entry, Kind, Node, Span};
use crate::wording::{alternatives, literal, offer, similar, with_article};

impl Document<'_> {
    pub(super) fn thresholds(&self, out: &mut Vec<Diagnostic>) {
        let section = self.entry("thresholds").map(|entry| entry.value.items());
        let Some(thresholds) = section.filter(|items| !items.is_empty()) else {
            return;
        };
        let engines: Vec<&str> = self.engine_names().iter().map(|(name, _)| *name).collect();
        let ids = self.model_nodes().into_iter().filter_map(|m| m.entry("id"));
        let models: Vec<&str> = ids.filter_map(|id| known(&id.value)).collect();
        let measures = measures(&self.stage_entries());
        let measures: Vec<&str> = measures.iter().map(String::as_str).collect();
        let points = combinations(self.root);
        for threshold in thresholds {
            bounds(threshold, out);
            statistic(threshold, out);
            objectives(threshold, out);
            for (key, names) in [
                ("engine", &engines),
                ("model", &models),
                ("measure", &measures),
            ] {
                if let Some(entry) = threshold.entry(key)
                    && let Some(name) = known(&entry.value)
                {
                    let what = if key == "measure" {
                        "`measure` stage"
                    } else {
                        key
                    };
                    out.extend(named(what, name, &entry.value.span, names));
                }
            }
            point(threshold, &points, out);
        }
    }
}

fn number(entry: Option<&Entry>) -> Option<f64> {
    match &entry?.value.kind {
        Kind::Number(number) => number.as_f64(),
        _ => None,
    }
}

fn bounds(threshold: &Node, out: &mut Vec<Diagnostic>) {
    let (min, max) = (threshold.entry("min"), threshold.entry("max"));
    let metric = threshold.entry("metric");
    let wrong = |message: &str| Diagnostic::error(codes::THRESHOLD, message);
    let unit = metric_of(threshold).map(|it| it.unit);
    let (least, most) = unit.map_or((0.0, f64::INFINITY), Unit::range);
    let unreachable = "a threshold that nothing can reach";
    if let (Some(entry), Some(value)) = (min, number(min))
        && value > most
    {
        let problem = wrong(unreachable).at(
            entry.value.span.clone(),
            format!("a share is at most {most}"),
        );
        out.push(
            problem.help(if unit == Some(Unit::Share) && value <= 100.0 {
                let share = value / 100.0;
                format!("give a share from 0 to 1: for {value} percent write {share}")
            } else {
                format!("give a share from {least} to {most}")
            }),
        );
        return;
    }
    if let (Some(entry), Some(value)) = (max, number(max))
        && value < least
    {
        out.push(
            wrong(unreachable)
                .at(
                    entry.value.span.clone(),
                    format!("nothing is below {least}"),
                )
                .help(format!("give a number from {least}")),
        );
        return;
    }
    match (min, max) {
        (None, None) if metric.is_some() => {
            let span = metric.map_or_else(|| threshold.span.clone(), |m| m.value.span.clone());
            out.push(
                wrong("a threshold without a bound")
                    .at(span, "anything is good enough")
                    .help("add `min`, `max` or both"),
            );
        }
        (Some(low), Some(high)) => {
            if let (Some(min), Some(max)) = (number(min), number(max))
                && min > max
            {
                out.push(
                    wrong(unreachable)
                        .at(high.value.span.clone(), format!("below {min}"))
                        .and(low.value.span.clone(), "the least that is good enough")
                        .help("swap `min` and `max`"),
                );
            }
        }
        _ => {}
    }
}

/// The metric of a threshold, if its name is known.
fn metric_of(threshold: &Node) -> Option<&'static Metric> {
    Metric::named(known(&threshold.entry("metric")?.value)?)
}

fn statistic(threshold: &Node, out: &mut Vec<Diagnostic>) {
    let (Some(statistic), Some(metric)) = (threshold.entry("statistic"), metric_of(threshold))
    else {
        return;
    };
    if !metric.is_distribution() {
        out.push(
            Diagnostic::error(
                codes::THRESHOLD,
                format!("{} is one number", literal(metric.name)),
            )
            .at(
                statistic.key_span.clone(),
                "there is no distribution to take it from",
            )
            .help("remove `statistic`"),
        );
    }
}

/// Checks that goodput, and nothing else, has objectives.
fn objectives(threshold: &Node, out: &mut Vec<Diagnostic>) {
    const OBJECTIVES: [&str; 3] = ["ttft_ms", "tpot_ms", "latency_ms"];
    let (Some(entry), Some(metric)) = (threshold.entry("metric"), metric_of(threshold)) else {
        return;
    };
    let mut given = OBJECTIVES.iter().filter_map(|key| threshold.entry(key));
    let is_goodput = matches!(metric.source, Source::Requests);
    match given.next() {
        None if is_goodput => out.push(
            Diagnostic::error(codes::THRESHOLD, "goodput without objectives")
                .at(
                    entry.value.span.clone(),
                    "does not say when a request is good",
                )
                .help("add `ttft_ms`, `tpot_ms`, `latency_ms` or several, or bound `success_rate`"),
        ),
        Some(objective) if !is_goodput => out.push(
            Diagnostic::error(
                codes::THRESHOLD,
                format!("{} has no objectives", literal(metric.name)),
            )
            .at(
                objective.key_span.clone(),
                "an objective of `goodput_percent`",
            )
            .help("remove it, or bound `goodput_percent`"),
        ),
        _ => {}
    }
}

/// Checks that a name to which a threshold is limited exists; `what` is the kind of thing
/// named.
fn named(what: &str, name: &str, span: &Span, names: &[&str]) -> Option<Diagnostic> {
    if names.is_empty() || names.contains(&name) {
        return None;
    }
    let message = format!(
        "a threshold for the {what} {}, which is not there",
        literal(name)
    );
    let problem = Diagnostic::error(codes::THRESHOLD, message)
        .at(span.clone(), format!("no {what} of this name"))
        .note(alternatives("known", name, names));
    Some(offer(
        problem,
        similar(name, names.iter().copied()),
        span,
        format!("{} with a similar name exists", with_article(what)),
        "name one that is there, or leave it out for all",
    ))
}

/// Checks that the axis values to which a threshold is limited are those of a matrix
/// point.
fn point(threshold: &Node, points: &[Combination], out: &mut Vec<Diagnostic>) {
    let Some(matrix) = threshold.entry("matrix") else {
        return;
    };
    let values = matrix.value.entries();
    // Without any, the matrix is wrong, which is reported elsewhere.
    let Some(first) = points.first() else {
        return;
    };
    let axes: Vec<&str> = first.values.keys().map(String::as_str).collect();
    if axes.is_empty() {
        out.extend((!values.is_empty()).then(|| {
            Diagnostic::error(
                codes::THRESHOLD,
                "a threshold for a point of a matrix, and there is none",
            )
            .at(matrix.key_span.clone(), "no matrix")
            .help("remove it, or add the axis to a `matrix`")
        }));
        return;
    }
    let before = out.len();
    for entry in values {
        out.extend(named("axis", &entry.key, &entry.key_span, &axes));
        let mut there: Vec<String> = points
            .iter()
            .filter_map(|point| point.values.get(&entry.key).map(id_text))
            .collect();
        there.sort();
        there.dedup();
        let there: Vec<&str> = there.iter().map(String::as_str).collect();
        let what = literal(&entry.key);
        if let Some(value) = meant_of(&entry.value, &entry.key, points) {
            out.extend(named(&what, &value, &entry.value.span, &there));
        }
    }
    let has = |point: &Combination| {
        values.iter().all(|entry| {
            let value = point.values.get(&entry.key).map(id_text);
            let named = meant_of(&entry.value, &entry.key, points);
            named.is_none() || value == named
        })
    };
    if out.len() == before && !points.iter().any(has) {
        out.push(
            Diagnostic::error(
                codes::THRESHOLD,
                "a threshold for a point that the matrix leaves out",
            )
            .at(
                matrix.value.span.clone(),
                "no point has all of these values",
            )
            .help("name fewer axes, or the values of a point that is there"),
        );
    }
}

/// The value of an axis that a threshold names, as written in ids.
pub(crate) fn meant_of<'p>(
    node: &Node,
    axis: &str,
    points: impl IntoIterator<Item = &'p Combination> + Clone,
) -> Option<String> {
    let text = scalar(node)?;
    let values = || {
        let points = points.clone().into_iter();
        points.filter_map(|point| point.values.get(axis))
    };
    if values().any(|value| id_text(value) == text) {
        return Some(text);
    }
    let equal = values().find(|value| digits::plain(value) == node.to_json());
    Some(equal.map_or(text, id_text))
}
