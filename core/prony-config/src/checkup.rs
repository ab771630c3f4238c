//! Check-up pipelines: every engine once, with a few equal requests.

use serde_json::{Map, Value, json};

use crate::Pipeline;

/// Requests to each engine in a check-up.
pub const CHECKUP_REQUESTS: u32 = 3;
/// Maximum number of tokens of an answer in a check-up.
const MAX_TOKENS: u64 = 48;

/// Makes the pipeline file of a check-up, which loads like any other: one cycle, the first
/// enabled model, the first value of each axis, and [`CHECKUP_REQUESTS`] times the same
/// request without a warm-up. `setup`, `load` and `unload` stay; thresholds and reporters
/// go.
pub fn checkup(pipeline: &Pipeline) -> Value {
    let mut file = pipeline.resolved.clone();
    let Some(root) = file.as_object_mut() else {
        return file;
    };
    for key in ["thresholds", "reporters", "allow"] {
        root.shift_remove(key);
    }
    root.insert("schedule".to_owned(), json!({ "cycles": 1 }));
    if let Some(Value::Object(matrix)) = root.get_mut("matrix") {
        matrix.shift_remove("include");
        for (_, values) in matrix.iter_mut().filter(|(key, _)| *key != "exclude") {
            first_of(values);
        }
    }
    if let Some(Value::Array(models)) = root.get_mut("models") {
        models.retain(|model| model["enabled"] != false);
        models.truncate(1);
    }
    if let Some(Value::Object(workload)) = root.get_mut("workload") {
        one_request(workload);
    }
    let given = root.shift_remove("stages");
    let given = given.as_ref().and_then(Value::as_array);
    let stage = |kind: &str| {
        let mut stages = given.into_iter().flatten();
        let found = stages.find(|stage| stage.get(kind).is_some());
        found.cloned().unwrap_or_else(|| json!({ kind: {} }))
    };
    let measure = json!({ "measure": { "requests": CHECKUP_REQUESTS } });
    let report = json!({ "report": { "reporters": ["json"] } });
    let stages = [
        stage("setup"),
        stage("load"),
        measure,
        stage("unload"),
        report,
    ];
    root.insert("stages".to_owned(), stages.into_iter().collect());
    file
}

/// Leaves one prompt and short answers.
fn one_request(workload: &mut Map<String, Value>) {
    for key in ["prompts", "prompt_files"] {
        if let Some(values) = workload.get_mut(key) {
            first_of(values);
        }
    }
    if workload
        .get("prompts")
        .is_some_and(|it| it.as_array().is_some_and(|it| !it.is_empty()))
    {
        workload.shift_remove("prompt_files");
    }
    for (source, count) in [("dataset", "limit"), ("synthetic", "count")] {
        if let Some(Value::Object(source)) = workload.get_mut(source) {
            source.insert(count.to_owned(), json!(1));
        }
    }
    if workload["max_tokens"]
        .as_u64()
        .is_none_or(|most| most > MAX_TOKENS)
    {
        workload.insert("max_tokens".to_owned(), json!(MAX_TOKENS));
    }
}

fn first_of(values: &mut Value) {
    if let Value::Array(values) = values {
        values.truncate(1);
    }
}
