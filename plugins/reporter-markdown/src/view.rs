//! Variables of a template.

use prony_plugin_sdk::result::{
    Column, Comparison, Delivered, EngineResult, Interval, METRICS, Metric, ModelResult, RunResult,
    SameWork, Verdict, Workload, to_percent,
};
use prony_plugin_sdk::words::{self, MISSING, Scale, State};
use prony_plugin_sdk::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::{Value, json};

/// Variables of the template.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    result: Value,
    summary: Table,
    /// `true` if every entry of `result.models` has the same workload.
    uniform: bool,
    pictures: Option<String>,
    legend: &'static str,
    details: bool,
}

/// A table of texts.
#[derive(Debug, PartialEq, Serialize)]
struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// The result with the additions listed in the crate documentation.
pub(crate) fn view(result: &RunResult, details: bool) -> Result<View> {
    let mut value = serde_json::to_value(result).map_err(|error| internal(&error))?;
    for (index, engine) in result.engines.iter().enumerate() {
        let config =
            serde_json::to_string_pretty(&engine.config).map_err(|error| internal(&error))?;
        value["engines"][index]["config_json"] = config.into();
    }
    for (index, cell) in result.cells.iter().enumerate() {
        if let Some(own) = &cell.workload {
            value["cells"][index]["workload_json"] = differences(own, &result.workload)?.into();
        }
    }
    for (index, model) in result.models.iter().enumerate() {
        let into = &mut value["models"][index];
        into["label"] = model.label().into();
        into["winner"] = json!(model.winner());
        into["cache_sentence"] = json!(model.cache_sentence());
        into["rendering_sentence"] = json!(model.rendering_sentence());
        let counted = model
            .engines
            .iter()
            .filter_map(EngineResult::token_sentence);
        into["token_sentences"] = counted.collect();
        let clocks = model
            .engines
            .iter()
            .filter_map(EngineResult::clock_sentence);
        into["clock_sentences"] = clocks.collect();
        into["settings"] = settings(model);
        into["own_counts"] = own_counts(model);
        into["problems"] = json!(model.problems());
        into["numbers"] = json!(numbers(model));
        into["speeds"] = json!(speeds(model));
        into["distributions"] = distributions(model);
        for (index, engine) in model.engines.iter().enumerate() {
            let delivered = engine.delivered.as_ref().map(Delivered::sentence);
            into["engines"][index]["load"] = json!(delivered);
            // A list, since a map would put 128 before 8.
            let times: Vec<_> = engine.cadence.time_to_tokens_ms.iter().collect();
            into["engines"][index]["times_to_tokens"] = json!(times);
        }
        if let Some(floor) = &model.noise_floor {
            into["noise_floor"]["sentence"] = floor.sentence().into();
        }
        for (index, comparison) in model.comparisons.iter().enumerate() {
            let into = &mut into["comparisons"][index];
            into["sentence"] = comparison.sentence().into();
            into["judgement_sentences"] = json!(comparison.judgement_sentences());
            into["judgement_lines"] = json!(comparison.judgement_lines());
            into["difference"] = comparison.difference().into();
            into["range"] = comparison.range().into();
            into["cycle_percents"] = json!(cycle_percents(comparison));
            let same_work = comparison.same_work.as_ref();
            into["same_work_sentence"] = json!(same_work.map(SameWork::sentence));
            into["notes"] = comparison.flags.iter().map(|flag| note(flag)).collect();
        }
    }
    value["cycles"] = result.cycles_sentence().into();
    value["together"] = json!(result.together());
    value["load"] = json!(result.load_sentence());
    // Omitted from JSON if empty, and templates are strict.
    value["selfcheck"] = json!(result.selfcheck);
    for (index, check) in result.selfcheck.iter().enumerate() {
        value["selfcheck"][index]["sentence"] = check.sentence().into();
    }
    for (index, threshold) in result.thresholds.iter().enumerate() {
        let into = &mut value["thresholds"][index];
        into["label"] = threshold.label().into();
        into["what"] = threshold.what().into();
        into["bound"] = threshold.bound().into();
        into["shown"] = threshold.shown().into();
        into["word"] = threshold.word().into();
    }
    Ok(View {
        result: value,
        summary: summary(result),
        uniform: is_uniform(result),
        pictures: pictures(result),
        legend: Scale::LEGEND,
        details,
    })
}

/// The settings of a matrix point that differ from the run's, as indented JSON.
fn differences(own: &Workload, common: &Workload) -> Result<String> {
    let to_json = |workload| serde_json::to_value(workload).map_err(|error| internal(&error));
    let (mut own, common) = (to_json(own)?, to_json(common)?);
    if let Some(own) = own.as_object_mut() {
        own.retain(|key, value| common.get(key) != Some(value));
    }
    serde_json::to_string_pretty(&own).map_err(|error| internal(&error))
}

fn is_uniform(result: &RunResult) -> bool {
    let asked = |model: &ModelResult| {
        (
            model.warmup_requests,
            model.warmup_sending.clone(),
            model.requests_per_visit,
            model.concurrency,
        )
    };
    let first = result.models.first().map(asked);
    let alike = |model| Some(asked(model)) == first;
    result.models.iter().all(alike) && result.cells.iter().all(|cell| cell.workload.is_none())
}

fn internal(error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("result: {error}"))
}

fn cycle_percents(comparison: &Comparison) -> Vec<String> {
    comparison
        .cycle_log_ratios
        .iter()
        .map(|ratio| words::signed_percent(to_percent(*ratio)))
        .collect()
}

fn note(flag: &str) -> Value {
    json!({ "flag": flag, "meaning": words::flag(flag) })
}

/// One row per model, the baseline's column first. Without a baseline the comparison
/// columns are omitted.
fn summary(result: &RunResult) -> Table {
    let (baselines, candidates): (Vec<_>, Vec<_>) =
        result.engines.iter().partition(|engine| engine.baseline);
    let compares = !baselines.is_empty() && !candidates.is_empty();
    let text = |text: &str| text.to_owned();

    let mut header = vec![text("Model"), text("Size")];
    header.extend(
        baselines
            .iter()
            .chain(&candidates)
            .map(|engine| engine.name.clone()),
    );
    if compares {
        match candidates.as_slice() {
            [_] => header.push(text("Difference")),
            several => header.extend(
                several
                    .iter()
                    .map(|engine| format!("Difference ({})", engine.name)),
            ),
        }
        header.push(text("Winner"));
    }

    let row = |model: &ModelResult| {
        let mut row = vec![
            model.label(),
            model.size.clone().unwrap_or_else(|| text(MISSING)),
        ];
        row.extend(
            baselines
                .iter()
                .chain(&candidates)
                .map(|engine| throughput(model, &engine.name)),
        );
        if compares {
            row.extend(
                candidates
                    .iter()
                    .map(|engine| difference(model, &engine.name)),
            );
            row.push(model.winner().unwrap_or_else(|| text(MISSING)));
        }
        row
    };
    Table {
        header,
        rows: result.models.iter().map(row).collect(),
    }
}

/// The intervals of all comparisons, on one scale and one below the other.
fn pictures(result: &RunResult) -> Option<String> {
    const COLUMNS: usize = 49;
    let all = result.models.iter();
    let all = all.flat_map(|model| model.comparisons.iter().map(move |it| (model, it)));
    let shown = |it: &Comparison| {
        let interval = it.shown_interval().map(Interval::ends);
        (it.difference_percent, interval)
    };
    let (_, first) = all.clone().next()?;
    let intervals = all.clone().map(|(_, it)| shown(it));
    let scale = Scale::new(COLUMNS, first.margin_percent, intervals)?;
    let mut lines = vec![scale.axis()];
    lines.extend(all.map(|(model, it)| {
        let (difference, interval) = shown(it);
        let label = words::one_line(&format!("{}: {}", model.label(), it.candidate));
        format!("{}  {label}", scale.line(difference, interval))
    }));
    Some(lines.join("\n"))
}

/// The numbers that a terminal shows: a row for each engine.
fn speeds(model: &ModelResult) -> Table {
    let columns = || {
        METRICS
            .iter()
            .flat_map(|it| it.columns.iter().map(move |column| (it, column)))
    };
    let title = |(_, column): (&Metric, &Column)| match column.unit {
        "" => column.title.to_owned(),
        unit => format!("{}, {unit}", column.title),
    };
    let row = |engine: &EngineResult| {
        let name = std::iter::once(engine.engine.clone());
        let cell = |(metric, column): (&Metric, &Column)| {
            let shown = column.cell(metric, engine);
            shown.unwrap_or_else(|| MISSING.to_owned())
        };
        name.chain(columns().map(cell)).collect()
    };
    Table {
        header: std::iter::once("Engine".to_owned())
            .chain(columns().map(title))
            .collect(),
        rows: model.engines.iter().map(row).collect(),
    }
}

/// The metrics that are one number each: a row for each engine.
fn numbers(model: &ModelResult) -> Table {
    let metrics = || {
        let reported = METRICS.iter().filter(|it| it.is_reported);
        reported.filter(|it| !it.is_distribution())
    };
    let title = |metric: &Metric| metric.title.to_owned();
    let row = |engine: &EngineResult| {
        let name = std::iter::once(engine.engine.clone());
        let cell = |metric: &Metric| {
            words::optional(metric.value(engine, None), |it| metric.unit.show(it))
        };
        name.chain(metrics().map(cell)).collect()
    };
    Table {
        header: std::iter::once("Engine".to_owned())
            .chain(metrics().map(title))
            .collect(),
        rows: model.engines.iter().map(row).collect(),
    }
}

/// The metrics that are distributions: an entry for each metric and engine that has one.
fn distributions(model: &ModelResult) -> Value {
    let entry = |metric: &Metric, engine: &EngineResult| {
        let distribution = metric.distribution(engine)?;
        Some(json!({
            "metric": metric.heading(),
            "engine": engine.engine,
            "distribution": distribution,
        }))
    };
    let reported = METRICS.iter().filter(|it| it.is_reported);
    let entries = reported.flat_map(|metric| {
        let engines = model.engines.iter();
        engines.filter_map(move |engine| entry(metric, engine))
    });
    entries.collect()
}

/// The settings of each engine: name, engine, asked for, in force.
fn settings(model: &ModelResult) -> Value {
    let of_engine = |engine: &EngineResult| {
        let name = engine.engine.clone();
        let rows = engine.settings.iter();
        let rows = rows.filter(|it| it.asked.is_some() || !it.in_force.is_empty());
        rows.map(|it| {
            let differs = if it.differs { " (differs)" } else { "" };
            json!([it.name, name, it.asked_for(), it.told() + differs])
        })
        .collect::<Vec<_>>()
    };
    model.engines.iter().flat_map(of_engine).collect()
}

/// The counts of each engine's own counters: title, engine, its count, prony's, the difference
/// and its explanation, and the cycles.
fn own_counts(model: &ModelResult) -> Value {
    let of_engine = |engine: &EngineResult| {
        let rows = engine.own_counts.iter().map(|it| {
            json!([
                it.title(),
                engine.engine,
                it.of_engine(),
                it.of_prony(),
                it.difference(),
                it.explanation(),
                it.cycles
            ])
        });
        rows.collect::<Vec<_>>()
    };
    model.engines.iter().flat_map(of_engine).collect()
}

fn throughput(model: &ModelResult, engine: &str) -> String {
    let shown = model.throughput(engine);
    if model.state(engine) == State::Measured {
        format!("{shown} tok/s")
    } else {
        shown
    }
}

/// `+4.2% ✅`; the mark means that the candidate is faster.
fn difference(model: &ModelResult, candidate: &str) -> String {
    let Some(comparison) = model
        .comparisons
        .iter()
        .find(|comparison| comparison.candidate == candidate)
    else {
        return MISSING.to_owned();
    };
    let difference = comparison.difference().replace(' ', "");
    if comparison.verdict == Verdict::Faster {
        format!("{difference} ✅")
    } else {
        difference
    }
}
