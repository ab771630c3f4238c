//! The page: its parts as data, and the template that lays them out.

use crate::figures::{
    Figure, Room, Table, curves, cycles, drift, forest, lifecycle, memory, sweeps, waterfall,
};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use prony_plugin_sdk::result::detail::{Detail, ModelDetail};
use prony_plugin_sdk::result::{
    Comparison, EngineResult, METRICS, ModelResult, NoiseFloor, Outcome, RunResult, SameWork,
    Selfcheck, Verdict,
};
use prony_plugin_sdk::words::{self, html};
use prony_plugin_sdk::{Error, ErrorKind, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const TEMPLATE: &str = include_str!("page.html.jinja");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// SHA-256 of [`SCRIPT`] in base64: the page's policy lets no other script run.
const SCRIPT_SHA256: &str = "x3L/R8UHZn5Pmp80mYTZoUAccFd4RPJ30vh0PSBpTy4=";
/// Entries of the result that have figures of their own.
const MAX_MODELS: usize = 20;
/// Verdicts at the top.
const MAX_VERDICTS: usize = 40;
/// Options of the engines that are shown.
const MAX_OPTIONS: usize = 400;
/// Characters of an answer that are shown.
const MAX_ANSWER: usize = 2_000;

/// Everything that the template shows.
#[derive(Debug, Serialize)]
struct Page<'a> {
    name: &'a str,
    description: Option<&'a str>,
    state: Option<&'static str>,
    verdicts: Vec<Banner>,
    verdicts_left_out: usize,
    together: Vec<String>,
    invalid: &'a [String],
    warnings: &'a [String],
    thinned: &'a [String],
    forest: Option<Figure>,
    sweeps: Vec<Figure>,
    thresholds: Table,
    models: Vec<Section>,
    models_left_out: usize,
    cycles: String,
    load: Option<String>,
    selfcheck: Vec<String>,
    config: Config,
    programs: Table,
    plugins: Table,
    environment: Table,
    workload: String,
    run_id: &'a str,
    /// It can be typed as it is.
    run_id_is_plain: bool,
    prony_version: &'a str,
    /// The result; safe as it is.
    embedded: String,
    style: &'static str,
    script: &'static str,
    script_sha256: &'static str,
}

/// A verdict at the top of the page.
#[derive(Debug, Serialize)]
struct Banner {
    shape: &'static str,
    /// Class of its colours.
    kind: &'static str,
    headline: String,
    place: String,
    sentence: String,
}

/// An entry of the result.
#[derive(Debug, Serialize)]
struct Section {
    id: String,
    label: String,
    figures: Vec<Figure>,
    numbers: Table,
    distributions: Table,
    comparisons: Vec<Compared>,
    remarks: Vec<String>,
    problems: Vec<String>,
    answers: Vec<(String, String)>,
}

/// A comparison in words.
#[derive(Debug, Serialize)]
struct Compared {
    title: String,
    sentence: String,
    reason: String,
    judgements: Vec<String>,
    same_work: Option<String>,
    flags: Vec<(String, &'static str)>,
}

/// The engines' configs side by side.
#[derive(Debug, Serialize)]
struct Config {
    engines: Vec<String>,
    rows: Vec<ConfigRow>,
    left_out: usize,
}

/// An option, with its value for each engine.
#[derive(Debug, Serialize)]
struct ConfigRow {
    name: String,
    values: Vec<String>,
    differs: bool,
}

/// Renders a result.
pub(crate) fn page(result: &RunResult) -> Result<String> {
    let nothing = Detail::default();
    let detail = result.detail.as_deref().unwrap_or(&nothing);
    let verdicts = banners(result);
    let page = Page {
        name: &result.run.name,
        description: result.run.description.as_deref(),
        state: state(result.run.outcome),
        verdicts_left_out: verdicts.len().saturating_sub(MAX_VERDICTS),
        verdicts: verdicts.into_iter().take(MAX_VERDICTS).collect(),
        together: result.together(),
        invalid: &result.invalid,
        warnings: &result.warnings,
        thinned: &detail.thinned,
        forest: forest(result),
        sweeps: sweeps(result),
        thresholds: thresholds(result),
        models: sections(result, detail),
        models_left_out: result.models.len().saturating_sub(MAX_MODELS),
        cycles: result.cycles_sentence(),
        load: result.load_sentence(),
        selfcheck: result.selfcheck.iter().map(Selfcheck::sentence).collect(),
        config: config(result),
        programs: programs(result),
        plugins: plugins(result),
        environment: environment(result),
        workload: indented(&result.workload)?,
        run_id: &result.run.id,
        run_id_is_plain: result
            .run
            .id
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || "._-".contains(it)),
        prony_version: &result.prony_version,
        embedded: embedded(result)?,
        style: STYLE,
        script: SCRIPT,
        script_sha256: SCRIPT_SHA256,
    };
    render(&page).map_err(|error| {
        let message = format!("built-in template: {error:#}");
        Error::new(ErrorKind::Internal, message)
    })
}

fn render(page: &Page<'_>) -> std::result::Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    // Its own escapes also take care of characters that may not be in a page.
    environment.set_formatter(|out, state, value| {
        if value.is_safe() {
            return write_str(out, &value.to_string());
        }
        match value.as_str() {
            Some(text) => write_str(out, &html(text)),
            None => minijinja::escape_formatter(out, state, value),
        }
    });
    environment.add_filter("counted", |value: u64, noun: String| {
        words::count(value, &noun)
    });
    environment.add_template("page.html", TEMPLATE)?;
    environment.get_template("page.html")?.render(Serde(page))
}

fn write_str(
    out: &mut minijinja::Output<'_>,
    text: &str,
) -> std::result::Result<(), minijinja::Error> {
    out.write_str(text).map_err(minijinja::Error::from)
}

fn state(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Completed => None,
        Outcome::Failed => Some("The run failed: not everything was measured."),
        Outcome::Interrupted => {
            Some("The run was interrupted: the numbers are of what had been measured by then.")
        }
        Outcome::Running => {
            Some("The run is not over: the numbers are of what has been measured so far.")
        }
    }
}

fn banners(result: &RunResult) -> Vec<Banner> {
    let models = result.models.iter();
    models
        .flat_map(|model| {
            let comparisons = model.comparisons.iter();
            comparisons.map(|it| banner(it, model.label()))
        })
        .collect()
}

fn banner(it: &Comparison, place: String) -> Banner {
    let (candidate, baseline) = (&it.candidate, &it.baseline);
    let (shape, kind, headline) = match it.verdict {
        Verdict::Faster => (
            "▲",
            "faster",
            format!("{candidate} is faster than {baseline}"),
        ),
        Verdict::Slower => (
            "▼",
            "slower",
            format!("{candidate} is slower than {baseline}"),
        ),
        Verdict::Equivalent => (
            "＝",
            "equivalent",
            format!("{candidate} and {baseline} are equivalent"),
        ),
        Verdict::Inconclusive => (
            "?",
            "inconclusive",
            format!("The data cannot tell {candidate} and {baseline} apart"),
        ),
    };
    Banner {
        shape,
        kind,
        headline,
        place,
        sentence: it.sentence(),
    }
}

fn sections(result: &RunResult, detail: &Detail) -> Vec<Section> {
    let nothing = ModelDetail::default();
    let models = result.models.iter().enumerate().take(MAX_MODELS);
    let room = Room::of(result.models.len());
    models
        .map(|(index, model)| {
            let own = detail.models.get(index).unwrap_or(&nothing);
            section(&format!("model-{index}"), model, own, room)
        })
        .collect()
}

fn section(id: &str, model: &ModelResult, detail: &ModelDetail, room: Room) -> Section {
    let mut figures = Vec::new();
    let pairs = model.comparisons.iter().zip(&detail.comparisons);
    for (index, (comparison, detail)) in pairs.enumerate() {
        figures.extend(cycles(&format!("{id}-{index}"), comparison, detail));
    }
    let engines = &detail.engines;
    figures.extend(curves(id, model, engines, room));
    figures.extend(drift(id, engines));
    figures.extend(waterfall(id, engines, room));
    figures.extend(lifecycle(id, engines, room));
    figures.extend(memory(id, engines, room));
    let mut remarks: Vec<String> = Vec::new();
    remarks.extend(model.cache_sentence());
    remarks.extend(model.rendering_sentence());
    remarks.extend(model.noise_floor.as_ref().map(NoiseFloor::sentence));
    let engines = &model.engines;
    remarks.extend(engines.iter().filter_map(EngineResult::token_sentence));
    remarks.extend(engines.iter().filter_map(EngineResult::clock_sentence));
    let answer = |it: &EngineResult| {
        let whole = it.sample_output.as_ref()?;
        let mut text: String = whole.chars().take(MAX_ANSWER).collect();
        if text.len() < whole.len() {
            text += " … (the rest is in the embedded result)";
        }
        Some((it.engine.clone(), text))
    };
    for it in &mut figures {
        let rows = &mut it.table.rows;
        if rows.len() > room.rows {
            let _ = write!(
                it.finding,
                " The table has the first {} of {} rows.",
                room.rows,
                rows.len()
            );
            rows.truncate(room.rows);
        }
    }
    Section {
        id: id.to_owned(),
        label: model.label(),
        figures,
        numbers: numbers(model),
        distributions: distributions(model),
        comparisons: model.comparisons.iter().map(compared).collect(),
        remarks,
        problems: model.problems(),
        answers: engines.iter().filter_map(answer).collect(),
    }
}

fn compared(it: &Comparison) -> Compared {
    let flags = it.flags.iter();
    Compared {
        title: format!("{} against {}", it.candidate, it.baseline),
        sentence: it.sentence(),
        reason: it.reason.clone(),
        judgements: it.judgement_sentences(),
        same_work: it.same_work.as_ref().map(SameWork::sentence),
        flags: flags
            .map(|name| (name.clone(), words::flag(name).unwrap_or_default()))
            .collect(),
    }
}

fn numbers(model: &ModelResult) -> Table {
    let metrics = METRICS
        .iter()
        .filter(|it| it.is_reported && !it.is_distribution());
    let engines = &model.engines;
    let mut header = vec!["Metric".to_owned()];
    header.extend(engines.iter().map(|it| it.engine.clone()));
    let rows = metrics.filter_map(|metric| {
        let values: Vec<Option<f64>> = engines.iter().map(|it| metric.value(it, None)).collect();
        values.iter().any(Option::is_some).then(|| {
            let shown = values
                .into_iter()
                .map(|it| words::optional(it, |it| metric.unit.show(it)));
            std::iter::once(metric.title.to_owned())
                .chain(shown)
                .collect()
        })
    });
    Table {
        rows: rows.collect(),
        header,
    }
}

fn distributions(model: &ModelResult) -> Table {
    let mut table = Table::new([
        "Metric",
        "Engine",
        "Samples",
        "Mean",
        "Min",
        "p50",
        "p50, 95 %",
        "p90",
        "p99",
        "Max",
    ]);
    for metric in METRICS.iter().filter(|it| it.is_reported) {
        for engine in &model.engines {
            let Some(it) = metric.distribution(engine) else {
                continue;
            };
            let percentile =
                |value: Option<f64>| value.map_or_else(|| "n too small".to_owned(), words::number);
            let ends = it.p50_low.zip(it.p50_high);
            table.row([
                metric.heading(),
                engine.engine.clone(),
                it.n.to_string(),
                words::number(it.mean),
                words::number(it.min),
                words::number(it.p50),
                ends.map_or_else(String::new, |(low, high)| {
                    format!("{} to {}", words::number(low), words::number(high))
                }),
                percentile(it.p90),
                percentile(it.p99),
                words::number(it.max),
            ]);
        }
    }
    table
}

fn thresholds(result: &RunResult) -> Table {
    let mut table = Table::new(["Model", "Engine", "Metric", "Bound", "Value", "Result"]);
    for it in &result.thresholds {
        table.row([
            it.label(),
            it.engine.clone(),
            it.what(),
            it.bound(),
            it.shown(),
            it.word().to_owned(),
        ]);
    }
    table
}

/// The options of all engines, a row each: those inside of maps and lists by their path.
fn config(result: &RunResult) -> Config {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let count = result.engines.len();
    for (index, engine) in result.engines.iter().enumerate() {
        let plugin = serde_json::Value::String(engine.plugin.clone());
        flatten("plugin", &plugin, index, count, &mut rows);
        flatten("", &engine.config, index, count, &mut rows);
    }
    let left_out = rows.len().saturating_sub(MAX_OPTIONS);
    let rows = rows.into_iter().map(|(name, values)| ConfigRow {
        differs: values.iter().any(|it| *it != values[0]),
        name,
        values,
    });
    let name = |it: &prony_plugin_sdk::result::EngineInfo| {
        if it.baseline {
            format!("{} (baseline)", it.name)
        } else {
            it.name.clone()
        }
    };
    Config {
        engines: result.engines.iter().map(name).collect(),
        rows: rows.take(MAX_OPTIONS).collect(),
        left_out,
    }
}

fn flatten(
    path: &str,
    value: &serde_json::Value,
    index: usize,
    count: usize,
    rows: &mut BTreeMap<String, Vec<String>>,
) {
    if let serde_json::Value::Object(map) = value
        && !map.is_empty()
    {
        for (key, value) in map {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            flatten(&path, value, index, count, rows);
        }
        return;
    }
    if path.is_empty() {
        return;
    }
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let values = rows
        .entry(path.to_owned())
        .or_insert_with(|| vec![words::MISSING.to_owned(); count]);
    values[index] = text;
}

fn programs(result: &RunResult) -> Table {
    let mut table = Table::new(["Engine", "What ran", "Version", "SHA-256"]);
    for engine in &result.engines {
        for it in &engine.programs {
            let version = it.version.as_ref().or(it.version_unknown.as_ref());
            table.row([
                engine.name.clone(),
                it.path.clone(),
                version.cloned().unwrap_or_default(),
                it.sha256.clone().unwrap_or_default(),
            ]);
        }
        for it in &engine.containers {
            table.row([
                engine.name.clone(),
                it.name.clone(),
                it.unknown.clone().unwrap_or_default(),
                it.sha256.clone().unwrap_or_default(),
            ]);
        }
    }
    table
}

fn plugins(result: &RunResult) -> Table {
    let mut table = Table::new(["Plugin", "Kind", "Version", "Form", "Contract", "SHA-256"]);
    for it in &result.plugins {
        let form = if it.form == "wasm" {
            "wasm, sandboxed"
        } else {
            "native, not sandboxed"
        };
        table.row([
            it.name.clone(),
            it.kind.name().to_owned(),
            it.version.clone(),
            form.to_owned(),
            it.contract.clone(),
            it.sha256.clone(),
        ]);
    }
    table
}

fn environment(result: &RunResult) -> Table {
    let machine = &result.environment;
    let mut table = Table::new(["What", "Value"]);
    let mut row = |what: &str, value: String| table.row([what.to_owned(), value]);
    row("Run", result.run.id.clone());
    row("Started", result.run.started_at.clone());
    row("Duration", words::seconds(result.run.duration_s));
    row("Pipeline, SHA-256", result.run.pipeline_sha256.clone());
    row("prony", result.prony_version.clone());
    if !result.run.ranks.is_empty() {
        row("Ranks that sent the load", words::ranks(&result.run.ranks));
    }
    let cpus = words::count(machine.cpus.into(), "logical CPU");
    row("CPU", format!("{}, {cpus}", machine.cpu));
    row("Memory", words::bytes(machine.memory_bytes));
    row(
        "System",
        format!(
            "{}, kernel {}, {}",
            machine.os, machine.kernel, machine.arch
        ),
    );
    row(
        "Load average at the start",
        machine.load_average.to_string(),
    );
    if !machine.machine.is_empty() {
        row(
            "Machine, to tell whether it is the same",
            machine.machine.clone(),
        );
    }
    if let Some(governor) = &machine.governor {
        row("Clock governor", governor.clone());
    }
    for gpu in &machine.gpus {
        row("GPU", gpu.clone());
    }
    table
}

fn indented(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| internal(&error))
}

/// The result as JSON that cannot end the element it stands in.
fn embedded(result: &RunResult) -> Result<String> {
    let plain = RunResult {
        detail: None,
        ..result.clone()
    };
    let json = serde_json::to_string(&plain).map_err(|error| internal(&error))?;
    Ok(words::safe_json(&json)
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029"))
}

fn internal(error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("result: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn the_policy_names_the_script() {
        let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(SCRIPT));
        assert_eq!(SCRIPT_SHA256, digest);
        assert!(SCRIPT.len() < 4096, "{}", SCRIPT.len());
        assert!(!SCRIPT.contains("</"));
    }
}
