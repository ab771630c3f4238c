//! Options of a pipeline that a resumed run may have otherwise than the run that began, and
//! those that would make it another experiment.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Options below a place; `*` stands for any key or index.
type Options = (&'static str, &'static [&'static str]);

/// Options that change no measurement and no verdict.
const MAY_CHANGE: &[Options] = &[
    // What these stand for is compared in its own place.
    ("", &["description", "extends", "vars"]),
    ("allow.*", &["code", "reason"]),
    ("reporters.*", &["plugin.path", "config"]),
    ("stages.*.report", &["reporters.*", "on_failure"]),
];

/// Options of an arrival process.
const ARRIVAL: &[&str] = &[
    "concurrency",
    "ramp.concurrency",
    "ramp.over",
    "constant.rate",
    "constant.max_in_flight",
    "poisson.rate",
    "poisson.max_in_flight",
    "gamma.rate",
    "gamma.burstiness",
    "gamma.max_in_flight",
    "replay.speed",
    "replay.max_in_flight",
];

const STEP: &[&str] = &[
    "run",
    "name",
    "timeout",
    "retry",
    "env.*",
    "creates",
    "if",
    "outputs.*",
];
const MODEL: &[&str] = &[
    "id",
    "size",
    "path",
    "files.*",
    "revision",
    "sha256",
    "tokenizer",
    "chat_template",
    "enabled",
];
const ENGINE: &[&str] = &[
    "plugin.path",
    "config",
    "history.anchor",
    "history.version",
    "history.sha256",
];
const LENGTH: &[&str] = &[
    "fixed",
    "uniform.min",
    "uniform.max",
    "normal.mean",
    "normal.stddev",
    "normal.min",
    "normal.max",
    "lognormal.median",
    "lognormal.sigma",
    "lognormal.min",
    "lognormal.max",
];

/// Options that make another experiment: what is measured and how, what is made of it, and
/// what masks secrets in the journal.
const ANOTHER_EXPERIMENT: &[Options] = &[
    ("", &["version", "name", "env.*", "secrets.*"]),
    ("engine", ENGINE),
    ("engines.*", ENGINE),
    ("model", MODEL),
    ("models.*", MODEL),
    ("matrix", &["axes.*.*.*", "include.*.*.*", "exclude.*.*.*"]),
    ("compare", &["baseline", "margin_percent"]),
    (
        "schedule",
        &[
            "cycles",
            "stop",
            "resident",
            "blocks",
            "seed",
            "order",
            "carry_over",
            "control.seconds",
        ],
    ),
    (
        "thresholds.*",
        &[
            "metric",
            "statistic",
            "ttft_ms",
            "tpot_ms",
            "latency_ms",
            "min",
            "max",
            "engine",
            "model",
            "measure",
            "matrix.*.*",
        ],
    ),
    (
        "workload",
        &[
            "prompts.*",
            "prompt_files.*",
            "dataset.path",
            "dataset.format",
            "dataset.column",
            "dataset.offset",
            "dataset.limit",
            "dataset.sample",
            "dataset.input_chars.min",
            "dataset.input_chars.max",
            "dataset.input_tokens.min",
            "dataset.input_tokens.max",
            "dataset.output_tokens.min",
            "dataset.output_tokens.max",
            "dataset.block_tokens",
            "dataset.think",
            "synthetic.count",
            "synthetic.prefix.tokens",
            "synthetic.prefix.groups",
            "synthetic.tokenizer",
            "images.*",
            "api",
            "system",
            "max_tokens",
            "temperature",
            "top_p",
            "seed",
            "stop.*",
            "ignore_eos",
            "request_timeout",
            "max_timeouts",
        ],
    ),
    ("workload.synthetic.input_tokens", LENGTH),
    ("workload.synthetic.output_tokens", LENGTH),
    ("stages.*.*.before.*", STEP),
    ("stages.*.*.after.*", STEP),
    (
        "stages.*.setup",
        &["id", "if", "selfcheck", "doctor", "timeout", "on_failure"],
    ),
    ("stages.*.load", &["id", "timeout", "on_failure"]),
    (
        "stages.*.warmup",
        &["id", "if", "requests", "timeout", "on_failure"],
    ),
    (
        "stages.*.measure",
        &[
            "id",
            "if",
            "requests",
            "shards",
            "duration",
            "cache",
            "timeout",
            "on_failure",
        ],
    ),
    ("stages.*.*.arrival", ARRIVAL),
    ("stages.*.unload", &["id", "timeout", "on_failure"]),
];

/// An option that two pipelines have otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its place, such as `schedule.cycles` or `stages.3.measure.requests`.
    pub option: String,
    /// Its value in the first pipeline, as JSON; `None` if that has none.
    pub then: Option<String>,
    /// Its value in the second one.
    pub now: Option<String>,
    /// `true` if it makes another experiment.
    pub is_other_experiment: bool,
}

/// The options that two pipelines, with every default spelled out, have otherwise, in order.
pub fn changed(then: &Value, now: &Value) -> Vec<Changed> {
    let [then, now] = [then, now].map(|pipeline| {
        let mut leaves = BTreeMap::new();
        flatten(pipeline, &mut Vec::new(), &mut leaves);
        leaves
    });
    let options: BTreeSet<&Vec<String>> = then.keys().chain(now.keys()).collect();
    options
        .into_iter()
        .filter(|option| then.get(*option) != now.get(*option))
        .map(|option| Changed {
            option: option.join("."),
            then: then.get(option).cloned(),
            now: now.get(option).cloned(),
            is_other_experiment: !may_change(option),
        })
        .collect()
}

/// Collects the values of a tree that hold no others, each with its place.
fn flatten(value: &Value, at: &mut Vec<String>, leaves: &mut BTreeMap<Vec<String>, String>) {
    let mut descend = |key: String, value: &Value| {
        at.push(key);
        flatten(value, at, leaves);
        at.pop();
    };
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                descend(key.clone(), value);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                descend(index.to_string(), value);
            }
        }
        _ => {
            leaves.insert(at.clone(), value.to_string());
        }
    }
}

/// Returns `true` for an option, or a place that holds only such options, whose change makes no
/// other experiment. One that is in neither list does.
fn may_change(option: &[String]) -> bool {
    let is_in = |classes: &[Options]| patterns(classes).any(|it| meets(&it, option));
    is_in(MAY_CHANGE) && !is_in(ANOTHER_EXPERIMENT)
}

fn patterns(classes: &[Options]) -> impl Iterator<Item = Vec<&'static str>> {
    let of = |(place, names): &Options| {
        let (place, names) = (*place, *names);
        names.iter().map(move |name| {
            let place = place.split('.').filter(|part| !part.is_empty());
            place.chain(name.split('.')).collect()
        })
    };
    classes.iter().flat_map(of)
}

/// Returns `true` if one of a pattern and a place lies in the other.
fn meets(pattern: &[&str], place: &[String]) -> bool {
    let both = pattern.iter().zip(place);
    let mut both = both.filter(|(pattern, _)| **pattern != "*");
    both.all(|(pattern, part)| pattern == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The options of a schema's node: places that hold no other options.
    fn options(defs: &Value, node: &Value, at: &[String], seen: &[&str]) -> Vec<Vec<String>> {
        if let Some(name) = node.get("$ref").and_then(Value::as_str) {
            let name = name.rsplit('/').next().expect("a name");
            // An expression may stand for any value.
            if name == "Expression" {
                return Vec::new();
            }
            assert!(!seen.contains(&name), "`{name}` holds itself");
            return options(defs, &defs[name], at, &[seen, &[name]].concat());
        }
        let below =
            |key: &str, node: &Value| options(defs, node, &[at, &[key.to_owned()]].concat(), seen);
        let mut found = Vec::new();
        let mut is_leaf = true;
        for key in ["anyOf", "oneOf", "allOf"] {
            for node in node
                .get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                found.extend(options(defs, node, at, seen));
                is_leaf = false;
            }
        }
        let properties = node.get("properties").and_then(Value::as_object);
        for (name, node) in properties.into_iter().flatten() {
            found.extend(below(name, node));
            is_leaf = false;
        }
        for key in ["additionalProperties", "items"] {
            if let Some(node) = node.get(key).filter(|it| {
                let entries = it.as_object();
                entries.is_some_and(|it| !it.is_empty())
            }) {
                found.extend(below("*", node));
                is_leaf = false;
            }
        }
        if is_leaf {
            found.push(at.to_vec());
        }
        // The scalar forms of what also has options.
        let has_below = found.iter().any(|it| it.len() > at.len());
        found.retain(|it| !has_below || it.len() > at.len());
        found
    }

    #[test]
    fn every_option_is_in_one_class() {
        let schema = crate::schema();
        let defs = &schema["$defs"];
        let all = options(defs, &defs["Pipeline"], &[], &["Pipeline"]);
        assert!(all.len() > 150, "{}", all.len());
        let classes = [MAY_CHANGE, ANOTHER_EXPERIMENT];
        for option in &all {
            let is_it = |pattern: &Vec<&str>| {
                let parts = pattern.iter().zip(option);
                pattern.len() == option.len()
                    && parts
                        .into_iter()
                        .all(|(pattern, part)| *pattern == "*" || pattern == part)
            };
            let of = classes.map(|class| patterns(class).any(|it| is_it(&it)));
            assert!(
                of[0] != of[1],
                "`{}` is in {} of the two classes: may a resumed run have it otherwise?",
                option.join("."),
                if of[0] { "both" } else { "neither" }
            );
        }
        // And no class names what is no option.
        for pattern in classes.into_iter().flat_map(patterns) {
            let pattern: Vec<String> = pattern.into_iter().map(str::to_owned).collect();
            let is_any = |option: &Vec<String>| {
                let parts = pattern.iter().zip(option);
                pattern.len() == option.len() && parts.into_iter().all(|(a, b)| a == "*" || a == b)
            };
            assert!(
                all.iter().any(is_any),
                "there is no `{}`",
                pattern.join(".")
            );
        }
    }

    #[test]
    fn what_changed_is_named_with_its_class() {
        let then = json!({
            "schedule": { "cycles": 8 },
            "engines": { "a.b": { "plugin": "x", "config": { "threads": 4 } } },
            "reporters": {},
            "stages": [{ "measure": { "requests": 4 } }, { "report": { "reporters": ["json"] } }],
        });
        let mut now = then.clone();
        now["reporters"] = json!({ "csv": { "plugin": "csv", "config": {} } });
        now["stages"][1]["report"]["reporters"] = json!(["json", "csv"]);
        let harmless = changed(&then, &now);
        assert_eq!(harmless.len(), 4, "{harmless:?}");
        assert!(
            harmless.iter().all(|it| !it.is_other_experiment),
            "{harmless:?}"
        );
        now["engines"]["a.b"]["config"]["threads"] = json!(8);
        now["stages"][0]["measure"]["requests"] = json!(5);
        now["unheard_of"] = json!(1);
        let other = changed(&then, &now).into_iter();
        let other: Vec<Changed> = other.filter(|it| it.is_other_experiment).collect();
        let named: Vec<&str> = other.iter().map(|it| it.option.as_str()).collect();
        assert_eq!(
            named,
            [
                "engines.a.b.config.threads",
                "stages.0.measure.requests",
                "unheard_of"
            ]
        );
        assert_eq!(other[0].then.as_deref(), Some("4"));
        assert_eq!(other[0].now.as_deref(), Some("8"));
        assert_eq!(other[2].then, None);
    }
}
