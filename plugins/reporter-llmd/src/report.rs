//! One Benchmark Report.

use prony_plugin_sdk::result::{
    Distribution, EngineInfo, EngineResult, Quantity, RunResult, Series, Statistic,
};
use prony_plugin_sdk::words::one_line;
use serde_json::{Map, Value, json};

/// Version of the schema.
const VERSION: &str = "0.2.1";
/// Name of the component that describes prony itself.
const PRONY: &str = "prony";
/// Bounds on arrivals of text for each token, between which gaps between arrivals are taken for
/// gaps between tokens. A token that ends an answer often has no text.
const ONE_BY_ONE: std::ops::RangeInclusive<f64> = 0.9..=1.1;

/// The report of one engine and entry; `index` tells it from others of the run.
pub(crate) fn report(result: &RunResult, series: &Series<'_>, index: usize) -> Value {
    let mut withheld = Map::new();
    let aggregate = aggregate(series, &mut withheld);
    let run = &result.run;
    let mut about = json!({
        "uid": format!("{}/{}", run.id, index + 1),
        "eid": run.id,
        "time": { "start": run.started_at, "duration": format!("PT{}S", run.duration_s) },
        "keywords": [run.name, series.name],
    });
    if let Some(why) = &series.invalid {
        about["description"] = format!("not valid: {why}").into();
    } else if let Some(description) = &run.description {
        about["description"] = description.clone().into();
    }
    let engine = result
        .engines
        .iter()
        .find(|it| it.name == series.engine.engine);
    let mut scenario = json!({
        "stack": [of_engine(result, series, engine), of_prony(result, series, withheld)],
    });
    if let Some(load) = load(result, series) {
        scenario["load"] = load;
    }
    json!({
        "version": VERSION,
        "run": about,
        "scenario": scenario,
        "results": { "request_performance": { "aggregate": aggregate } },
    })
}

/// The engine, as a component. Not as the schema's `inference_engine`, which has to state
/// parallelism and replicas, of which prony knows nothing.
fn of_engine(result: &RunResult, series: &Series<'_>, info: Option<&EngineInfo>) -> Value {
    let EngineResult {
        engine,
        engine_versions,
        ..
    } = series.engine;
    let config = info.map_or(Value::Null, |it| it.config.clone());
    let tool = info.map_or("unknown", |it| it.plugin.as_str());
    let version = match engine_versions.as_slice() {
        [] => "unknown".to_owned(),
        versions => versions.join(", "),
    };
    let mut standardized = json!({
        "kind": "generic",
        "tool": tool,
        "tool_version": version,
        "model": { "name": series.model.id },
        "baseline": info.is_some_and(|it| it.baseline),
    });
    if !result.environment.gpus.is_empty() {
        standardized["accelerators"] = json!(result.environment.gpus);
    }
    json!({
        "metadata": {
            "label": engine,
            "cfg_id": digest(&config.to_string()),
        },
        "standardized": standardized,
        "native": { "config": config },
    })
}

/// prony itself: how it measured, on which machine, and what it withholds.
fn of_prony(result: &RunResult, series: &Series<'_>, withheld: Map<String, Value>) -> Value {
    let model = series.model;
    let environment = &result.environment;
    let mut standardized = json!({
        "kind": "generic",
        "tool": PRONY,
        "tool_version": result.prony_version,
        "cycles": series.engine.cycles,
        "order": result.run.order,
        "requests_per_visit": model.requests_per_visit,
        "warmup_requests": model.warmup_requests,
        "machine": {
            "os": environment.os,
            "cpu": environment.cpu,
            "cpus": environment.cpus,
            "memory_bytes": environment.memory_bytes,
        },
    });
    if let Some(cache) = model.cache {
        standardized["cache"] = cache.name().into();
    }
    if !withheld.is_empty() {
        standardized["withheld"] = withheld.into();
    }
    json!({
        "metadata": { "label": PRONY, "cfg_id": result.run.pipeline_sha256 },
        "standardized": standardized,
        "native": {},
    })
}

/// The workload; `None` if the engine does not count prompt tokens, which it has to state, or the
/// numbers are not valid.
fn load(result: &RunResult, series: &Series<'_>) -> Option<Value> {
    let (model, engine) = (series.model, series.engine);
    if series.invalid.is_some() {
        return None;
    }
    let prompts = engine.prompt_tokens_per_request?;
    let point = result
        .cells
        .iter()
        .find(|it| Some(&it.id) == model.cell.as_ref());
    let workload = point
        .and_then(|it| it.workload.as_ref())
        .unwrap_or(&result.workload);
    let mut standardized = json!({
        "tool": PRONY,
        "tool_version": result.prony_version,
        "source": "unknown",
        "input_seq_len": {
            "distribution": "other",
            "value": prompts.mean,
            "min": prompts.min as u64,
            "max": (prompts.max as u64).max(1),
        },
    });
    if workload.ignore_eos {
        standardized["output_seq_len"] =
            json!({ "distribution": "fixed", "value": workload.max_tokens });
    }
    if model.arrival.is_none() {
        standardized["concurrency"] = model.concurrency.max(1).into();
    } else {
        let rate = engine.delivered.as_ref().and_then(|it| it.intended_per_sec);
        if let Some(rate) = rate.filter(|it| it.is_finite() && *it > 0.0) {
            standardized["rate_qps"] = rate.into();
        }
    }
    let mut metadata = json!({ "cfg_id": result.run.pipeline_sha256 });
    if let Some(tape) = &model.tape {
        metadata["cfg_id"] = tape.clone().into();
    }
    let words = [
        model.cell.as_deref(),
        model.measure.as_deref(),
        model.arrival.as_deref(),
    ];
    let words: Vec<&str> = words.into_iter().flatten().collect();
    if !words.is_empty() {
        metadata["description"] = one_line(&words.join(" · ")).into();
    }
    let native = json!({
        "config": {
            "max_tokens": workload.max_tokens,
            "temperature": workload.temperature,
            "seed": workload.seed,
            "ignore_eos": workload.ignore_eos,
        },
    });
    Some(json!({ "metadata": metadata, "standardized": standardized, "native": native }))
}

/// The numbers, and why those that are not there are withheld.
fn aggregate(series: &Series<'_>, withheld: &mut Map<String, Value>) -> Value {
    let engine = series.engine;
    let mut requests = json!({
        "total": engine.requests,
        "failures": engine.requests.saturating_sub(engine.succeeded),
    });
    let mut lengths = part(series, withheld, &LENGTHS);
    if let Some(requests) = requests.as_object_mut() {
        requests.append(&mut lengths);
    }
    let mut latency = part(series, withheld, &LATENCIES);
    match engine.cadence.arrivals_per_token {
        Some(share) if !ONE_BY_ONE.contains(&share) => {
            let why = format!("{share} arrivals of text for each token: gaps are not of tokens");
            withheld.insert("inter_token_latency_ms".to_owned(), why.into());
        }
        _ => latency.append(&mut part(series, withheld, &GAPS)),
    }
    let mut throughput = Map::new();
    let rate = Quantity::named("output_tokens_per_sec").map(|it| it.of(series));
    match rate {
        Some(Ok(rate)) => {
            let found = json!({ "units": "tokens/s", "mean": rate });
            throughput.insert("output_token_rate".to_owned(), found);
        }
        Some(Err(why)) => {
            withheld.insert("output_tokens_per_sec".to_owned(), why.into());
        }
        None => {}
    }
    let mut all = json!({ "requests": requests });
    for (name, part) in [("latency", latency), ("throughput", throughput)] {
        if !part.is_empty() {
            all[name] = part.into();
        }
    }
    all
}

/// Name in the schema, prony's metric, unit in the schema, and divisor from prony's unit to it.
type Place = (&'static str, &'static str, &'static str, f64);

const LENGTHS: [Place; 2] = [
    ("input_length", "prompt_tokens_per_request", "count", 1.0),
    ("output_length", "output_tokens_per_request", "count", 1.0),
];
const LATENCIES: [Place; 3] = [
    ("request_latency", "request_latency_ms", "s", 1000.0),
    ("time_to_first_token", "time_to_first_token_ms", "s", 1000.0),
    (
        "time_per_output_token",
        "time_per_output_token_ms",
        "s/token",
        1000.0,
    ),
];
const GAPS: [Place; 1] = [(
    "inter_token_latency",
    "inter_token_latency_ms",
    "s/token",
    1000.0,
)];

/// The distributions of these places that there are.
fn part(
    series: &Series<'_>,
    withheld: &mut Map<String, Value>,
    places: &[Place],
) -> Map<String, Value> {
    let mut found = Map::new();
    for (name, metric, units, by) in places {
        match statistics(series, metric, units, *by) {
            Ok(value) => found.insert((*name).to_owned(), value),
            Err(why) => withheld.insert((*metric).to_owned(), why.into()),
        };
    }
    found
}

/// A distribution with its percentiles, divided by `by`; the reason if it is withheld.
fn statistics(series: &Series<'_>, metric: &str, units: &str, by: f64) -> Result<Value, String> {
    let mean = Quantity::named(&format!("{metric}.mean")).ok_or("not measured")?;
    let value = mean.of(series)?;
    let found: Option<Distribution> = mean.metric.distribution(series.engine);
    let mut all = json!({ "units": units, "mean": value / by });
    for statistic in Statistic::ALL {
        let value = found.as_ref().and_then(|it| statistic.of(it));
        if let Some(value) = value.filter(|it| it.is_finite()) {
            all[statistic.name()] = (value / by).into();
        }
    }
    Ok(all)
}

/// FNV-1a: not against anybody's will, but the same everywhere.
fn digest(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
