//! Thresholds that bound something that is there.

use prony_diagnostic::Diagnostic;
use serde::Deserialize as _;

use super::{Document, known};
use crate::tree::{Entry, Kind, Node};
use crate::wording::{list, literal, nearest, similar, with_article};
use crate::{Metric, codes};

impl Document<'_> {
    pub(super) fn thresholds(&self, out: &mut Vec<Diagnostic>) {
        let section = self.entry("thresholds").map(|entry| entry.value.items());
        let engines: Vec<&str> = self.engine_names().iter().map(|(name, _)| *name).collect();
        let ids = self.model_nodes().into_iter().filter_map(|m| m.entry("id"));
        let models: Vec<&str> = ids.filter_map(|id| known(&id.value)).collect();
        for threshold in section.unwrap_or_default() {
            bounds(threshold, out);
            statistic(threshold, out);
            out.extend(named(threshold, "engine", &engines));
            out.extend(named(threshold, "model", &models));
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
    let is_share = metric.is_some_and(|m| m.value.text() == Some("success_rate"));
    let unreachable = "a threshold that nothing can reach";
    if let (Some(entry), Some(value)) = (min, number(min))
        && is_share
        && value > 1.0
    {
        let help = if value <= 100.0 {
            let share = value / 100.0;
            format!("give a share from 0 to 1: for {value} percent write {share}")
        } else {
            "give a share from 0 to 1".to_owned()
        };
        out.push(
            wrong(unreachable)
                .at(entry.value.span.clone(), "a share is at most 1")
                .help(help),
        );
        return;
    }
    // No metric is ever below zero.
    if let (Some(entry), Some(value)) = (max, number(max))
        && value < 0.0
    {
        out.push(
            wrong(unreachable)
                .at(entry.value.span.clone(), "nothing is below 0")
                .help("give a number from 0"),
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

fn statistic(threshold: &Node, out: &mut Vec<Diagnostic>) {
    let (Some(statistic), Some(metric)) = (threshold.entry("statistic"), threshold.entry("metric"))
    else {
        return;
    };
    let name = known(&metric.value).unwrap_or_default();
    let metric = Metric::deserialize(serde_json::Value::from(name)).ok();
    if metric.is_some_and(|metric| !metric.is_distribution()) {
        out.push(
            Diagnostic::error(codes::THRESHOLD, format!("{} is one number", literal(name)))
                .at(
                    statistic.key_span.clone(),
                    "there is no distribution to take it from",
                )
                .help("remove `statistic`"),
        );
    }
}

/// A name that a threshold is limited to is one of those that there are.
fn named(threshold: &Node, key: &str, names: &[&str]) -> Option<Diagnostic> {
    let entry = threshold.entry(key)?;
    let name = known(&entry.value)?;
    if names.is_empty() || names.contains(&name) {
        return None;
    }
    let message = format!(
        "a threshold for the {key} {}, which is not there",
        literal(name)
    );
    let problem = Diagnostic::error(codes::THRESHOLD, message)
        .at(entry.value.span.clone(), format!("no {key} of this name"))
        .note(format!(
            "{key}s: {}",
            list(&nearest(name, names.iter().copied()))
        ));
    Some(match similar(name, names.iter().copied()) {
        Some(meant) => problem.suggest(
            format!("{} with a similar name exists", with_article(key)),
            entry.value.span.clone(),
            meant,
        ),
        None => problem.help(format!("name one of the {key}s, or remove `{key}` for all")),
    })
}
