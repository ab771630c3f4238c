//! Results of every sort, for reporters.

use serde_json::{Value, json};

/// A result, and what is special about it.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) result: Value,
    /// Names of engines that every report must have.
    pub(crate) engines: Vec<String>,
    /// `true` if its texts try to be more than texts.
    pub(crate) is_hostile: bool,
}

/// A recorded result of two engines and one model.
const COMPARED: &str = include_str!("../samples/compared.json");

/// Texts as an engine may send them, or as somebody may name a model.
pub(crate) const SCRIPT: &str = "<script>alert(1)</script>";
pub(crate) const HEADING: &str = "# hostile heading";
pub(crate) const LINK: &str = "](javascript:alert(1))";
pub(crate) const TITLE: &str = "\u{1b}]0;owned\u{7}";

fn hostile() -> String {
    format!("{SCRIPT} | `x` [click{LINK} {TITLE}\n{HEADING}\n")
}

pub(crate) fn all() -> Vec<Sample> {
    let sample = |name, result: Value| {
        let engines = result["engines"].as_array().into_iter().flatten();
        let engines = engines.filter_map(|it| it["name"].as_str().map(str::to_owned));
        Sample {
            name,
            engines: engines.collect(),
            result,
            is_hostile: false,
        }
    };
    vec![
        sample("two engines", of(&["alpha", "beta"])),
        sample("one engine", of(&["alpha"])),
        sample(
            "many engines",
            of(&["alpha", "beta", "gamma", "delta", "omega"]),
        ),
        sample("failures", failures()),
        sample("nothing succeeded", nothing()),
        sample("not valid", not_valid()),
        sample("interrupted", interrupted()),
        sample("a matrix", matrix()),
        Sample {
            is_hostile: true,
            ..sample("hostile texts", with_hostile_texts())
        },
    ]
}

/// A recorded result of two engines, to try a reporter with.
pub fn sample_result() -> Value {
    of(&["alpha", "beta"])
}

/// The recorded result with these engines; the first is the baseline.
fn of(names: &[&str]) -> Value {
    let mut result: Value = serde_json::from_str(COMPARED).unwrap_or_default();
    let pick = |from: &Value, index: usize| from[index.min(1)].clone();
    let engines: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let mut engine = pick(&result["engines"], index);
            engine["name"] = json!(name);
            engine["baseline"] = json!(index == 0);
            engine
        })
        .collect();
    let model = &result["models"][0];
    let measured: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let mut engine = pick(&model["engines"], index);
            engine["engine"] = json!(name);
            engine
        })
        .collect();
    let comparisons: Vec<Value> = names[1..]
        .iter()
        .map(|name| {
            let mut comparison = model["comparisons"][0].clone();
            comparison["baseline"] = json!(names[0]);
            comparison["candidate"] = json!(name);
            comparison["winner"] = json!(name);
            comparison["outliers"] = json!([]);
            comparison
        })
        .collect();
    result["engines"] = json!(engines);
    result["models"][0]["engines"] = json!(measured);
    result["models"][0]["comparisons"] = json!(comparisons);
    result["family"]["comparisons"] = json!(names.len() - 1);
    result["family"]["winners"] = json!(names.len() - 1);
    result["warnings"] = json!([]);
    result
}

/// Some requests of one engine failed, and a start of the other.
fn failures() -> Value {
    let mut result = of(&["alpha", "beta"]);
    result["run"]["outcome"] = json!("failed");
    let model = &mut result["models"][0];
    let engine = &mut model["engines"][1];
    engine["succeeded"] = json!(30);
    engine["success_rate"] = json!(30.0 / 42.0);
    engine["errors"] = json!({ "timeout": 10, "http_5xx": 2 });
    engine["error_messages"] =
        json!({ "timeout": "no answer within 300 s", "http_5xx": "HTTP 503: overloaded" });
    model["failures"] = json!([
        { "engine": "alpha", "cycle": 3, "stage": "load", "message": "it ended with code 1" }
    ]);
    withheld(
        &mut model["comparisons"][0],
        "less than 98 % of the requests succeeded",
    );
    result["family"]["winners"] = json!(0);
    result["family"]["inconclusive"] = json!(1);
    result
}

/// A comparison without a verdict.
fn withheld(comparison: &mut Value, reason: &str) {
    comparison["verdict"] = json!("inconclusive");
    comparison["reason"] = json!(reason);
    if let Some(comparison) = comparison.as_object_mut() {
        comparison.remove("winner");
    }
}

/// No request of any engine succeeded, so there are no numbers.
fn nothing() -> Value {
    let mut result = failures();
    let model = &mut result["models"][0];
    for engine in model["engines"].as_array_mut().into_iter().flatten() {
        let name = engine["engine"].clone();
        *engine = json!({
            "engine": name, "cycles": 7, "requests": 42, "succeeded": 0, "success_rate": 0.0,
            "errors": { "empty": 42 }, "error_messages": { "empty": "the answer has no token" },
            "output_tokens": 0, "output_tokens_per_sec": null,
            "request_latency_ms": null, "time_to_first_token_ms": null,
            "inter_token_latency_ms": null, "time_per_output_token_ms": null,
            "output_tokens_per_request": null, "prompt_tokens_per_request": null,
            "cached_tokens": 0, "total_time_s": 1.5, "load_time_ms": null,
            "peak_memory_bytes": null, "cpu_percent": null, "finish_reasons": {},
            "served_models": [], "engine_versions": [],
        });
    }
    model["comparisons"] = json!([]);
    result["family"]["comparisons"] = json!(0);
    result["family"]["inconclusive"] = json!(0);
    result
}

fn not_valid() -> Value {
    let mut result = of(&["alpha", "beta"]);
    result["invalid"] = json!(["small: `beta`: the load client used 97 % of its CPU time"]);
    withheld(
        &mut result["models"][0]["comparisons"][0],
        "the numbers are not valid",
    );
    result
}

fn interrupted() -> Value {
    let mut result = nothing();
    result["run"]["outcome"] = json!("interrupted");
    result["models"][0]["failures"] = json!([]);
    result["plugins"] = json!([]);
    result
}

fn matrix() -> Value {
    let mut result = of(&["alpha", "beta"]);
    let model = result["models"][0].clone();
    let point =
        |length: u32| json!({ "id": format!("length={length}"), "matrix": { "length": length } });
    let at = |length: u32| {
        let mut model = model.clone();
        model["cell"] = json!(format!("length={length}"));
        model
    };
    result["cells"] = json!([point(16), point(64)]);
    result["models"] = json!([at(16), at(64)]);
    result
}

fn with_hostile_texts() -> Value {
    let mut result = failures();
    let hostile = hostile();
    result["run"]["description"] = json!(hostile);
    result["warnings"] = json!([hostile]);
    let model = &mut result["models"][0];
    model["id"] = json!(format!("org/{hostile}"));
    model["failures"][0]["message"] = json!(hostile);
    let engine = &mut model["engines"][1];
    engine["error_messages"]["http_5xx"] = json!(hostile);
    engine["sample_output"] = json!(hostile);
    engine["served_models"] = json!([hostile]);
    engine["engine_versions"] = json!([hostile]);
    engine["finish_reasons"] = json!({ hostile.clone(): 30 });
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use prony_result::RunResult;

    /// Places that `kept` lacks. A key without a value may be left out.
    fn lost(mine: &Value, kept: &Value, at: &str) -> Vec<String> {
        match (mine, kept) {
            (Value::Object(mine), Value::Object(kept)) => mine
                .iter()
                .flat_map(|(key, value)| match kept.get(key) {
                    Some(kept) => lost(value, kept, &format!("{at}/{key}")),
                    None if value.is_null() || *value == json!([]) => Vec::new(),
                    None => vec![format!("{at}/{key}")],
                })
                .collect(),
            (Value::Array(mine), Value::Array(kept)) if mine.len() == kept.len() => {
                let pairs = mine.iter().zip(kept).enumerate();
                pairs
                    .flat_map(|(index, (mine, kept))| lost(mine, kept, &format!("{at}/{index}")))
                    .collect()
            }
            (mine, kept) if mine.is_number() == kept.is_number() => Vec::new(),
            _ => vec![at.to_owned()],
        }
    }

    #[test]
    fn every_sample_is_a_result() {
        for sample in all() {
            let result = serde_json::from_value::<RunResult>(sample.result.clone());
            let result = result.unwrap_or_else(|error| panic!("{}: {error}", sample.name));
            assert_eq!(result.engines.len(), sample.engines.len());
            assert!(!sample.engines.is_empty(), "{}", sample.name);
            // Nothing that was set has been lost to a misspelt key.
            let again = serde_json::to_value(&result).expect("serialises");
            assert_eq!(again["invalid"].is_array(), sample.name == "not valid");
            assert_eq!(lost(&sample.result, &again, ""), [""; 0], "{}", sample.name);
        }
    }
}
