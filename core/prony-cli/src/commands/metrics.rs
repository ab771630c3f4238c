//! `prony metrics`: scores a recorded run by several tools' definitions.

use crate::arguments::ChosenRun;
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome, output};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use prony_journal::{Measurement, Reader};
use prony_metrics::definition::{Definition, Scored, cadence, definitions, goodput_share, score};
use prony_result::{Cadence, Objectives};
use serde::Serialize;
use std::collections::BTreeSet;

/// Scores the measured requests of a run by several definitions, side by side.
#[derive(Debug, Args)]
#[command(after_help = "Example: prony metrics latest --ttft-ms 500 --tpot-ms 50")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) chosen: ChosenRun,
    /// Model to show, by its id. Defaults to all. May be repeated.
    #[arg(long, value_name = "ID")]
    pub(crate) model: Vec<String>,
    /// Tool whose definitions to use. Defaults to all. May be repeated.
    #[arg(long, value_parser = definition_names(), value_delimiter = ',')]
    pub(crate) definition: Vec<String>,
    /// Objective for goodput: maximum time to the first token.
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub(crate) ttft_ms: Option<f64>,
    /// Objective for goodput: maximum time per output token.
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub(crate) tpot_ms: Option<f64>,
    /// Objective for goodput: maximum latency.
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub(crate) latency_ms: Option<f64>,
    /// Print as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A group of requests reported together.
#[derive(Debug, Serialize)]
struct Group {
    #[serde(rename = "cell", skip_serializing_if = "Option::is_none")]
    point: Option<String>,
    model: String,
    engine: String,
    measure: String,
    requests: u64,
    #[serde(skip_serializing_if = "is_zero")]
    degraded: u64,
    succeeded: u64,
    definitions: Vec<Defined>,
    cadence: Cadence,
    #[serde(skip_serializing_if = "Option::is_none")]
    goodput_share: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug, Serialize)]
struct Defined {
    definition: &'static str,
    metrics: Vec<Scored>,
}

/// A time that an objective can have.
fn milliseconds(text: &str) -> Result<f64, String> {
    let ms = text.parse::<f64>().ok();
    ms.filter(|ms| ms.is_finite() && *ms > 0.0)
        .ok_or_else(|| "expected a number of milliseconds above 0".to_owned())
}

fn definition_names() -> PossibleValuesParser {
    let value = |it: &Definition| PossibleValue::new(it.name).help(it.source);
    PossibleValuesParser::new(definitions().iter().map(value))
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let opened = arguments.chosen.open()?;
    let folder = &opened.folder;
    super::report::note_left(folder);
    let journal = folder.journal();
    let reader = Reader::open(&journal)?;
    let models: BTreeSet<&str> = {
        let models = reader.started().subject.models.iter();
        models.map(|model| model.id.as_str()).collect()
    };
    if let Some(unknown) = arguments
        .model
        .iter()
        .find(|it| !models.contains(it.as_str()))
    {
        let models: Vec<String> = models.iter().map(|it| format!("`{it}`")).collect();
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "the run has no model `{unknown}`; it has {}",
                models.join(", ")
            ),
        ));
    }
    let is_shown =
        |model: &str| arguments.model.is_empty() || arguments.model.iter().any(|it| it == model);
    let mut groups = Vec::new();
    prony_journal::measurements(&journal, is_shown, |it| groups.push(group(arguments, it)))?;
    if arguments.json {
        print_json(&groups)?;
    } else {
        for group in &groups {
            show(group);
        }
        let has = |model: &str| groups.iter().any(|group| group.model == model);
        for model in models {
            if is_shown(model) && !has(model) {
                output::line(format_args!("{model}: nothing was measured"));
            }
        }
    }
    Ok(Exit::Ok)
}

/// Scores a group by the definitions that were asked for.
fn group(arguments: &Arguments, measurement: &Measurement<'_>) -> Group {
    let Measurement {
        requests,
        streams,
        chunk_gaps,
        ..
    } = measurement;
    let objectives = Objectives {
        ttft_ms: arguments.ttft_ms,
        tpot_ms: arguments.tpot_ms,
        latency_ms: arguments.latency_ms,
    };
    let asked = objectives != Objectives::default();
    let wanted = |it: &&Definition| {
        let names = &arguments.definition;
        names.is_empty() || names.iter().any(|name| name == it.name)
    };
    let (facts, all) = (requests.facts(), requests.all());
    let defined = |definition: &Definition| {
        let mut metrics = score(definition, &all, &streams.gaps, chunk_gaps);
        if definition.name == "prony" {
            // It is computed in one place.
            let throughput = measurement.output_tokens_per_sec;
            metrics.extend(throughput.and_then(|it| Scored::rate("output_tokens_per_sec", it)));
        }
        Defined {
            definition: definition.name,
            metrics,
        }
    };
    Group {
        point: measurement.point.map(str::to_owned),
        model: measurement.model.to_owned(),
        engine: measurement.engine.to_owned(),
        measure: measurement.measure.to_owned(),
        requests: facts.len() as u64,
        degraded: measurement.degraded,
        succeeded: facts.iter().filter(|request| request.ok()).count() as u64,
        definitions: definitions().iter().filter(wanted).map(defined).collect(),
        cadence: cadence(&all, &streams.gaps),
        goodput_share: goodput_share(facts, objectives).filter(|_| asked),
    }
}

fn show(group: &Group) {
    let Group {
        point,
        model,
        engine,
        measure,
        requests,
        degraded,
        succeeded,
        definitions,
        cadence,
        goodput_share,
    } = group;
    let point = point
        .as_ref()
        .map_or_else(String::new, |point| format!(" · {point}"));
    output::line(format_args!(
        "{model}{point} · {measure} · {engine}: {succeeded} of {requests} requests succeeded"
    ));
    if *degraded > 0 {
        output::line(format_args!(
            "  {degraded} of them in cycles that were broken off, or in which something failed: no comparison has these"
        ));
    }
    let rows = || {
        let all = definitions.iter();
        all.flat_map(|it| it.metrics.iter().map(|metric| (it.definition, metric)))
    };
    let width = rows().map(|(_, it)| it.metric.len()).max().unwrap_or(0) + 2;
    output::line(format_args!(
        "  {:10}{:width$}{:>7}{:>12}{:>12}{:>13}{:>13}{:>12}",
        "", "", "n", "mean", "p50", "p90", "p99", "max"
    ));
    for (definition, metric) in rows() {
        let Scored { n, mean, .. } = metric;
        if metric.p50.is_none() {
            output::line(format_args!(
                "  {definition:10}{:width$}{:>7}{mean:>12.2}",
                metric.metric, ""
            ));
            continue;
        }
        let number = |value: Option<f64>| {
            value.map_or_else(|| "n too small".to_owned(), |value| format!("{value:.2}"))
        };
        output::line(format_args!(
            "  {definition:10}{:width$}{n:>7}{mean:>12.2}{:>12}{:>13}{:>13}{:>12}",
            metric.metric,
            number(metric.p50),
            number(metric.p90),
            number(metric.p99),
            number(metric.max)
        ));
    }
    let percent = |share: Option<f64>| {
        share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0))
    };
    output::line(format_args!(
        "  arrivals per token {}, stalls {} of the time between first and last",
        cadence
            .arrivals_per_token
            .map_or_else(|| "–".to_owned(), |value| format!("{value:.2}")),
        percent(cadence.stall_ratio)
    ));
    if goodput_share.is_some() {
        output::line(format_args!(
            "  {} of all requests reached the objectives",
            percent(*goodput_share)
        ));
    }
}
