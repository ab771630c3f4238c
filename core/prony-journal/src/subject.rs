//! The subject of a run, as in its journal and its result.

use crate::Result;
use crate::journal::{Family, ModelInfo, Subject};
use prony_config::{self as config, Api, Compare, Engine, MatrixPoint, Pipeline};
use prony_contract::{self as contract, Kind};
use prony_metrics::statistics::Rule;
use prony_metrics::threshold::Threshold;
use prony_plugin_host::Registry;
use prony_result::{
    CellInfo, EngineInfo, HistoryRole, ImageInfo, Objectives, PluginInfo, Workload, words::count,
};
use serde_json::Value;

/// The subject of a pipeline's run.
pub fn subject(pipeline: &Pipeline) -> Subject {
    let compare = pipeline.compare.as_ref();
    let baseline = compare.map(|compare| compare.baseline.as_str());
    let first = pipeline
        .points
        .first()
        .expect("a pipeline has a matrix point");
    let common = workload(first);
    let points = pipeline.points.iter().filter_map(|point| {
        let id = point.id.clone()?;
        let own = workload(point);
        Some(CellInfo {
            id,
            matrix: point.values(),
            workload: (own != common).then_some(own),
        })
    });
    let points: Vec<CellInfo> = points.collect();
    let models = pipeline.points.iter().flat_map(|point| {
        point.models.iter().map(|model| ModelInfo {
            point: point.id.clone(),
            id: model.id.clone(),
            size: model.size.clone(),
            revision: model.revision.clone(),
        })
    });
    Subject {
        name: pipeline.name.clone(),
        description: pipeline.description.clone(),
        cycles: pipeline.schedule.cycles.planned(),
        order: pipeline.schedule.order,
        seed: pipeline.schedule.seed,
        workload: common,
        points,
        engines: pipeline
            .engines
            .iter()
            .map(|engine| engine_info(engine, baseline))
            .collect(),
        models: models.collect(),
        margin_percent: compare.map_or(2.0, |Compare { margin_percent, .. }| *margin_percent),
        judged_by: family(pipeline),
        thresholds: pipeline.thresholds.iter().map(threshold).collect(),
    }
}

/// The rule of the comparisons, if there are any.
fn family(pipeline: &Pipeline) -> Option<Family> {
    let margin_percent = pipeline.compare.as_ref()?.margin_percent;
    let comparisons = pipeline.comparisons();
    let cycles = pipeline.schedule.cycles;
    (comparisons > 0).then(|| Family {
        rule: Rule::new(margin_percent, cycles.planned() as usize),
        comparisons,
    })
}

/// Source of the prompts in words; `None` if they are in the pipeline.
pub fn source_of_prompts(workload: &config::Workload) -> Option<String> {
    if let Some(dataset) = &workload.dataset {
        let conversations = |number: u32| count(number.into(), "conversation");
        let which = match (dataset.sample, dataset.limit) {
            (Some(sample), Some(limit)) => {
                format!("{} drawn from the first {limit}", conversations(sample))
            }
            (Some(sample), None) => format!("{} drawn", conversations(sample)),
            (None, Some(limit)) => format!("the first {}", conversations(limit)),
            (None, None) => "conversations".to_owned(),
        };
        let behind = match dataset.offset {
            0 => String::new(),
            offset => format!(" behind {}", conversations(offset)),
        };
        return Some(format!("{which}{behind} of the dataset {}", dataset.path));
    }
    if let Some(synthetic) = &workload.synthetic {
        return Some(count(synthetic.count.into(), "synthetic prompt"));
    }
    let files = workload.prompt_files.len();
    (files > 0).then(|| format!("{} from files", count(files as u64, "prompt")))
}

fn workload(point: &MatrixPoint) -> Workload {
    let workload = &point.workload;
    let image = |path: &String| ImageInfo {
        path: path.clone(),
        // Read later: a step of `setup` may create it.
        sha256: None,
    };
    Workload {
        api: api(workload.api),
        prompts: workload.prompts.clone(),
        source: source_of_prompts(workload),
        images: workload.images.iter().map(image).collect(),
        system: workload.system.clone(),
        max_tokens: workload.max_tokens,
        temperature: workload.temperature,
        top_p: workload.top_p,
        seed: workload.seed,
        stop: workload.stop.clone(),
        ignore_eos: workload.ignore_eos,
        request_timeout_ms: workload.request_timeout.to_std().as_millis() as u64,
        think_ms: workload
            .dataset
            .as_ref()
            .map(|dataset| dataset.think.to_std().as_millis() as u64)
            .filter(|think_ms| *think_ms > 0),
    }
}

fn threshold(threshold: &config::Threshold) -> Threshold {
    let statistic = threshold.statistic.unwrap_or_default().name();
    let is_distribution = threshold.metric.is_distribution();
    let matrix = threshold.matrix.iter();
    let matrix = matrix.map(|(axis, value)| (axis.to_owned(), value.0.clone()));
    Threshold {
        metric: threshold.metric.name.to_owned(),
        statistic: is_distribution.then(|| statistic.to_owned()),
        objectives: Objectives {
            ttft_ms: threshold.ttft_ms,
            tpot_ms: threshold.tpot_ms,
            latency_ms: threshold.latency_ms,
        },
        min: threshold.min,
        max: threshold.max,
        engine: threshold.engine.clone(),
        model: threshold.model.clone(),
        measure: threshold.measure.clone(),
        matrix: matrix.collect(),
    }
}

fn engine_info(engine: &Engine, baseline: Option<&str>) -> EngineInfo {
    EngineInfo {
        name: engine.name.clone(),
        plugin: engine.plugin.clone(),
        baseline: baseline == Some(engine.name.as_str()),
        config: Value::Object(engine.config.clone()),
        history: history_part(engine),
        programs: Vec::new(),
        containers: Vec::new(),
    }
}

fn history_part(engine: &Engine) -> Option<HistoryRole> {
    let part = engine.history.as_ref()?;
    Some(HistoryRole {
        anchor: part.anchor,
        version: part.version.clone(),
        sha256: part.sha256.clone(),
    })
}

/// Converts to the contract's type.
pub fn api(api: Api) -> contract::Api {
    match api {
        Api::Chat => contract::Api::Chat,
        Api::Completions => contract::Api::Completions,
    }
}

/// The plugins of a pipeline, without duplicates.
pub fn plugins(pipeline: &Pipeline, registry: &Registry) -> Result<Vec<PluginInfo>> {
    let engines = pipeline
        .engines
        .iter()
        .map(|engine| (Kind::Engine, engine.plugin.as_str()));
    let reporters = pipeline
        .reporters
        .iter()
        .map(|reporter| (Kind::Reporter, reporter.plugin.as_str()));
    let mut infos: Vec<PluginInfo> = Vec::new();
    for (kind, name) in engines.chain(reporters) {
        if infos
            .iter()
            .any(|info| info.kind == kind && info.name == name)
        {
            continue;
        }
        let (entry, _) = registry.find(kind, name)?;
        infos.push(PluginInfo {
            name: name.to_owned(),
            kind,
            version: entry.version.clone(),
            form: entry.form.name().to_owned(),
            contract: entry.contract.clone(),
            sha256: entry.sha256.clone(),
            dev: entry.dev,
        });
    }
    Ok(infos)
}
