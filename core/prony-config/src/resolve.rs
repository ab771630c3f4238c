//! Resolves checked documents, one per matrix point, to a [`Pipeline`]. Fills in defaults
//! that depend on other values; cannot fail.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use crate::file::{CompareEntry, EngineUse, File, MeasureEntry, PluginUse, Stage, margin_percent};
use crate::meaning::{Combination, id_text, meant_of};
use crate::plugins::own_name;
use crate::template::{Filled, default_id, escape};
use crate::{
    Compare, Engine, Load, MatrixPoint, Measure, Model, Ordered, Pipeline, Report, Reporter,
    Secrets, Segment, Setup, Unload, Work,
};

/// Makes the pipeline from a document as written and from its matrix points, in order.
/// `written` has a value for everything but the matrix, taken from the first matrix
/// point.
pub(crate) fn pipeline(
    mut written: File,
    points: Vec<(Combination, File)>,
    filled: &Filled,
) -> Pipeline {
    fill_in(&mut written);
    // The types write what was read, so places stay the same.
    let mut resolved = serde_json::to_value(&written).unwrap_or(Value::Null);
    filled.restore(&mut resolved);
    let as_written = resolved.clone();
    spell_out_stages(&mut resolved);
    let shown = |engine: Engine| Engine {
        config: written_config(&as_written, &engine.name).unwrap_or(engine.config),
        ..engine
    };
    let combinations: Vec<&Combination> = points.iter().map(|(it, _)| it).collect();
    name_points(&mut written, &combinations, filled);
    let points: Vec<MatrixPoint> = points
        .into_iter()
        .map(|(combination, file)| point(combination, file, filled))
        .collect();
    let engines: Vec<Engine> = engines(written.engine, written.engines)
        .into_iter()
        .map(shown)
        .collect();
    let first = engines.first().map(|engine| engine.name.clone());
    let compare = (engines.len() > 1 || written.compare.is_some()).then(|| {
        let (baseline, margin_percent) = match written.compare {
            Some(CompareEntry {
                baseline,
                margin_percent,
            }) => (baseline, margin_percent),
            None => (None, margin_percent()),
        };
        Compare {
            baseline: baseline.or(first).unwrap_or_default(),
            margin_percent,
        }
    });
    let (mut setup, mut report) = (Setup::default(), Report::default());
    for stage in written.stages {
        match stage {
            Stage::Setup(stage) => setup = stage,
            Stage::Report(stage) => report = stage,
            _ => {}
        }
    }
    Pipeline {
        name: written.name,
        description: written.description,
        engines,
        models: models(written.model, written.models),
        compare,
        schedule: written.schedule,
        setup,
        points,
        reporters: reporters(&report, &written.reporters),
        report,
        thresholds: written.thresholds,
        secrets: Secrets::default(),
        resolved,
    }
}

/// Gives thresholds the values of axes as reports show them.
fn name_points(file: &mut File, points: &[&Combination], filled: &Filled) {
    for (index, threshold) in file.thresholds.iter_mut().enumerate() {
        for (axis, value) in &mut threshold.matrix.0 {
            let pointer = format!("/thresholds/{index}/matrix/{}", escape(axis));
            let node = filled.root.exactly(&pointer);
            let text = node.and_then(|node| meant_of(node, axis, points.iter().copied()));
            if let Some(text) = text.filter(|text| id_text(&value.0) != *text) {
                value.0 = text.into();
            }
        }
    }
}

/// Fills in defaults that depend on other values, so that the written file states them.
fn fill_in(file: &mut File) {
    // If unknown, `requests` is required.
    let prompts = file.workload.prompt_count().unwrap_or(1);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for stage in &mut file.stages {
        let (kind, id) = match stage {
            Stage::Load(stage) => ("load", &mut stage.id),
            Stage::Warmup(stage) => ("warmup", &mut stage.id),
            Stage::Measure(stage) => {
                let in_time = |duration: crate::Duration| {
                    let rate = stage.arrival.rate()?;
                    Some((rate * duration.to_std().as_secs_f64()).ceil().max(1.0) as u32)
                };
                let expected = stage.duration.and_then(in_time).unwrap_or(prompts);
                stage.requests.get_or_insert(expected);
                ("measure", &mut stage.id)
            }
            Stage::Unload(stage) => ("unload", &mut stage.id),
            // Occur once, so their id is their kind.
            Stage::Setup(_) | Stage::Report(_) => continue,
        };
        let same = counts.entry(kind).or_default();
        id.get_or_insert_with(|| default_id(kind, *same));
        *same += 1;
    }
    if let (Some(compare), Some(engines)) = (&mut file.compare, &file.engines) {
        let first = engines.iter().next().map(|(name, _)| name.to_owned());
        compare.baseline = compare.baseline.take().or(first);
    } else if let (None, Some(engines)) = (&file.compare, &file.engines)
        && engines.0.len() > 1
    {
        file.compare = Some(CompareEntry {
            baseline: engines.iter().next().map(|(name, _)| name.to_owned()),
            margin_percent: margin_percent(),
        });
    }
}

/// Adds the omitted stages.
fn spell_out_stages(file: &mut Value) {
    let Some(Value::Array(stages)) = file.get_mut("stages") else {
        return;
    };
    let stage = |kind: &str, default: Value| json!({ kind: default });
    let load = || stage("load", json!(Load::default()));
    let unload = || stage("unload", json!(Unload::default()));
    let kind = |stage: &Value| stage.as_object().and_then(|s| s.keys().next().cloned());
    let mut all = Vec::new();
    let mut open = false;
    for item in std::mem::take(stages) {
        match kind(&item).as_deref() {
            Some("load") => open = true,
            Some("warmup" | "measure") if !open => {
                all.push(load());
                open = true;
            }
            Some("unload") => open = false,
            Some("report") if open => {
                all.push(unload());
                open = false;
            }
            _ => {}
        }
        all.push(item);
    }
    if open {
        all.push(unload());
    }
    if all.first().and_then(kind).as_deref() != Some("setup") {
        all.insert(0, stage("setup", json!(Setup::default())));
    }
    if all.last().and_then(kind).as_deref() != Some("report") {
        all.push(stage("report", json!(Report::default())));
    }
    // Omitted stages get ids of their own, as in `segments`.
    let id = |stage: &Value| {
        Some(
            stage
                .as_object()?
                .values()
                .next()?
                .get("id")?
                .as_str()?
                .to_owned(),
        )
    };
    let mut used: HashSet<String> = all.iter().filter_map(id).collect();
    for item in &mut all {
        let Some((kind, stage)) = item.as_object_mut().and_then(|item| item.iter_mut().next())
        else {
            continue;
        };
        if stage.get("id").is_some() {
            continue;
        }
        // Made by the types, so that it has the text that it has when it is read again.
        let default = match kind.as_str() {
            "load" => json!(Load {
                id: Some(unused(kind, &mut used)),
                ..Load::default()
            }),
            "unload" => json!(Unload {
                id: Some(unused(kind, &mut used)),
                ..Unload::default()
            }),
            _ => continue,
        };
        *stage = default;
    }
    *stages = all;
}

/// The first default id of a kind that no stage uses.
fn unused(kind: &str, used: &mut HashSet<String>) -> String {
    let mut same = 0;
    while !used.insert(default_id(kind, same)) {
        same += 1;
    }
    default_id(kind, same)
}

/// An engine's options as written, with its templates.
fn written_config(file: &Value, name: &str) -> Option<serde_json::Map<String, Value>> {
    let engines = file.get("engines").and_then(|engines| engines.get(name));
    let engine = engines.or_else(|| file.get("engine"))?;
    engine.get("config")?.as_object().cloned()
}

fn point(at: Combination, mut file: File, filled: &Filled) -> MatrixPoint {
    fill_in(&mut file);
    let engines = engines(file.engine, file.engines);
    let models: Vec<Model> = models(file.model, file.models)
        .into_iter()
        .filter(|model| model.enabled)
        .collect();
    let pairs = engines
        .iter()
        .flat_map(|engine| models.iter().map(move |model| (&engine.name, &model.id)));
    let excluded = pairs
        .filter(|(engine, model)| !at.runs(engine, model))
        .map(|(engine, model)| (engine.clone(), model.clone()))
        .collect();
    let mut context = filled.context.clone();
    context["matrix"] = json!(at.values);
    MatrixPoint {
        id: (!at.id.is_empty()).then_some(at.id),
        engines,
        models,
        excluded,
        workload: file.workload,
        segments: segments(file.stages),
        context,
    }
}

fn engines(one: Option<EngineUse>, several: Option<Ordered<EngineUse>>) -> Vec<Engine> {
    let one = one.map(|engine| (own_name(engine.plugin.as_str()).to_owned(), engine));
    let several = several.map(|engines| engines.0).unwrap_or_default();
    one.into_iter()
        .chain(several)
        .map(|(name, engine)| Engine {
            name,
            plugin: engine.plugin.into_string(),
            config: engine.config,
            history: engine.history,
        })
        .collect()
}

fn models(one: Option<Model>, several: Option<Vec<Model>>) -> Vec<Model> {
    one.into_iter().chain(several.unwrap_or_default()).collect()
}

fn reporters(report: &Report, defined: &Ordered<PluginUse>) -> Vec<Reporter> {
    let reporter = |name: &String| {
        let PluginUse { plugin, config } = match defined.get(name) {
            Some(reporter) => reporter.clone(),
            None => PluginUse::bare(name),
        };
        Reporter {
            name: name.clone(),
            plugin: plugin.into_string(),
            config,
        }
    };
    report.reporters.iter().map(reporter).collect()
}

/// The stages of a visit, from each load to its unload.
fn segments(stages: Vec<Stage>) -> Vec<Segment> {
    let ids = stages.iter().filter_map(|stage| match stage {
        Stage::Setup(stage) => stage.id.clone(),
        Stage::Load(stage) => stage.id.clone(),
        Stage::Warmup(stage) => stage.id.clone(),
        Stage::Measure(stage) => stage.id.clone(),
        Stage::Unload(stage) => stage.id.clone(),
        Stage::Report(_) => None,
    });
    let mut used: HashSet<String> = ids.collect();
    let mut segments = in_segments(stages);
    for segment in &mut segments {
        segment
            .load
            .id
            .get_or_insert_with(|| unused("load", &mut used));
    }
    for segment in &mut segments {
        segment
            .unload
            .id
            .get_or_insert_with(|| unused("unload", &mut used));
    }
    segments
}

fn in_segments(stages: Vec<Stage>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut open = false;
    let begin = |segments: &mut Vec<Segment>, load: Load| {
        segments.push(Segment {
            load,
            work: Vec::new(),
            unload: Unload::default(),
        });
    };
    for stage in stages {
        match stage {
            Stage::Setup(_) | Stage::Report(_) => {}
            Stage::Load(load) => {
                begin(&mut segments, load);
                open = true;
            }
            Stage::Warmup(_) | Stage::Measure(_) => {
                if !open {
                    begin(&mut segments, Load::default());
                    open = true;
                }
                let work = match stage {
                    Stage::Measure(entry) => Work::Measure(measure(entry)),
                    Stage::Warmup(warmup) => Work::Warmup(warmup),
                    _ => continue,
                };
                if let Some(segment) = segments.last_mut() {
                    segment.work.push(work);
                }
            }
            Stage::Unload(unload) => {
                if let Some(segment) = segments.last_mut() {
                    segment.unload = unload;
                }
                open = false;
            }
        }
    }
    segments
}

/// Converts a `measure` stage whose defaults have been filled in.
fn measure(entry: MeasureEntry) -> Measure {
    Measure {
        id: entry.id.unwrap_or_default(),
        condition: entry.condition,
        before: entry.before,
        after: entry.after,
        requests: entry.requests.unwrap_or_default(),
        arrival: entry.arrival,
        shards: entry.shards,
        duration: entry.duration,
        cache: entry.cache,
        timeout: entry.timeout,
        on_failure: entry.on_failure,
    }
}
