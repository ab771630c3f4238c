//! The subject of a run, as in its journal and its result.

use crate::Result;
use crate::journal::{Family, ModelInfo, Subject};
use prony_config::{self as config, Api, Compare, Engine, MatrixPoint, Pipeline};
use prony_contract::{self as contract, Kind};
use prony_metrics::statistics::Rule;
use prony_metrics::threshold::Threshold;
use prony_plugin_host::{Entry, Registry};
use prony_result::{
    CellInfo, EngineInfo, ImageInfo, Objectives, PluginInfo, Workload, words::count,
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
        let matrix = point.context.get("matrix").and_then(Value::as_object);
        Some(CellInfo {
            id,
            matrix: matrix.cloned().unwrap_or_default(),
            workload: (own != common).then_some(own),
        })
    });
    let points: Vec<CellInfo> = points.collect();
    let models = pipeline.points.iter().flat_map(|point| {
        point.models.iter().map(|model| ModelInfo {
            point: point.id.clone(),
            id: model.id.clone(),
            size: model.size.clone(),
            revision: model.revision.as_ref().map(|it| mask(it, point)),
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

/// Replaces values of the environment, which are private, by the pipeline's template for
/// them.
pub fn mask(text: &str, point: &MatrixPoint) -> String {
    /// Shorter values are not secrets and occur in many words.
    const MIN_SECRET: usize = 4;
    let env = point.context.get("env").and_then(Value::as_object);
    let said = env.into_iter().flatten().filter_map(|(name, value)| {
        let value = value.as_str().filter(|value| value.len() >= MIN_SECRET)?;
        Some((name, value))
    });
    said.fold(text.to_owned(), |text, (name, value)| {
        text.replace(value, &format!("${{{{ env.{name} }}}}"))
    })
}

/// Source of the prompts in words; `None` if they are in the pipeline.
pub fn source_of_prompts(workload: &config::Workload) -> Option<String> {
    if let Some(dataset) = &workload.dataset {
        let which = match dataset.limit {
            Some(limit) => format!("the first {}", count(limit.into(), "conversation")),
            None => "conversations".to_owned(),
        };
        return Some(format!("{which} of the dataset {}", dataset.path));
    }
    if let Some(synthetic) = &workload.synthetic {
        return Some(count(synthetic.count.into(), "synthetic prompt"));
    }
    let files = workload.prompt_files.len();
    (files > 0).then(|| format!("{} from files", count(files as u64, "prompt")))
}

fn workload(point: &MatrixPoint) -> Workload {
    let workload = &point.workload;
    let texts = |texts: &[String]| texts.iter().map(|text| mask(text, point)).collect();
    let image = |path: &String| ImageInfo {
        path: path.clone(),
        // Read later: a step of `setup` may create it.
        sha256: None,
    };
    Workload {
        api: api(workload.api),
        prompts: texts(&workload.prompts),
        source: source_of_prompts(workload).map(|source| mask(&source, point)),
        images: workload.images.iter().map(image).collect(),
        system: workload.system.as_ref().map(|text| mask(text, point)),
        max_tokens: workload.max_tokens,
        temperature: workload.temperature,
        top_p: workload.top_p,
        seed: workload.seed,
        stop: texts(&workload.stop),
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
        config: redact(&Value::Object(engine.config.clone())),
        programs: Vec::new(),
    }
}

/// Masks secrets in a config, so that reports can be shared.
pub fn redact(config: &Value) -> Value {
    const SECRETS: [&str; 5] = ["api_key", "authorization", "password", "secret", "token"];
    // Also `HF_TOKEN` and `X-Api-Key`; a number such as `eos_token: 2` stays.
    let is_secret = |key: &str| {
        let key = key.to_ascii_lowercase().replace('-', "_");
        SECRETS.iter().any(|secret| {
            key.strip_suffix(secret)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
        })
    };
    match config {
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| {
                let secret = value.is_string() && is_secret(key);
                (
                    key.clone(),
                    if secret {
                        Value::from("(redacted)")
                    } else {
                        redact(value)
                    },
                )
            };
            Value::Object(map.iter().map(entry).collect())
        }
        // Also `--api-key KEY` and `--api-key=KEY` of a command line.
        Value::Array(items) => {
            let option = |value: &Value| -> Option<String> {
                let word = value.as_str()?.strip_prefix("--")?;
                let name = word.split('=').next()?;
                is_secret(name).then(|| name.to_owned())
            };
            let word = |(index, value): (usize, &Value)| {
                let before = index.checked_sub(1).and_then(|index| items.get(index));
                let named = |value: &Value| value.as_str().is_some_and(|word| word.contains('='));
                match (
                    before.filter(|it| !named(it)).and_then(option),
                    option(value),
                ) {
                    (_, Some(name)) if named(value) => format!("--{name}=(redacted)").into(),
                    (Some(_), None) if value.is_string() => Value::from("(redacted)"),
                    _ => redact(value),
                }
            };
            Value::Array(items.iter().enumerate().map(word).collect())
        }
        other => other.clone(),
    }
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
        let (
            Entry {
                version,
                form,
                contract,
                sha256,
                ..
            },
            _,
        ) = registry.find(kind, name)?;
        infos.push(PluginInfo {
            name: name.to_owned(),
            kind,
            version: version.clone(),
            form: form.name().to_owned(),
            contract: contract.clone(),
            sha256: sha256.clone(),
        });
    }
    Ok(infos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::pipeline;
    use serde_json::json;

    #[test]
    fn what_the_environment_says_is_not_told() {
        let mut pipeline = pipeline("workload: { prompts: [hi] }\nstages: [{ measure: {} }]\n");
        let point = &mut pipeline.points[0];
        point.context["env"] = json!({ "TOKEN": "do-not-tell", "N": "8" });
        point.workload.prompts = vec!["say do-not-tell 8 times".to_owned()];
        point.workload.system = Some("do-not-tell".to_owned());
        let workload = subject(&pipeline).workload;
        assert_eq!(workload.prompts, ["say ${{ env.TOKEN }} 8 times"]);
        assert_eq!(workload.system.as_deref(), Some("${{ env.TOKEN }}"));
    }
}
