//! Pipelines derived from others: an engine against itself, and one build of it against another.

use serde_json::{Map, Value, json};

use crate::Pipeline;
use crate::codes;

/// The changes that an A/A run makes to a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgainstItself<'a> {
    /// The engine on both sides.
    pub engine: &'a str,
    /// Number of cycles.
    pub cycles: u32,
    /// Seed of the order.
    pub seed: u64,
}

impl AgainstItself<'_> {
    /// Name of the engine on the other side: `NAME_again`.
    pub fn other(&self) -> String {
        format!("{}_again", self.engine)
    }

    /// Makes the A/A pipeline file, which loads like any other. Only the engines and the
    /// schedule change; references to other engines are dropped, and so are thresholds,
    /// which bound an engine's speed. `None` if there is no such engine.
    pub fn of(&self, pipeline: &Pipeline) -> Option<Value> {
        let one = engine(&pipeline.resolved, self.engine)?;
        let sides = [(self.engine.to_owned(), one.clone()), (self.other(), one)];
        let mut file = of_two(pipeline, self.engine, sides)?;
        let root = file.as_object_mut()?;
        let schedule = root.entry("schedule").or_insert_with(|| json!({}));
        schedule["order"] = "interleaved".into();
        schedule["cycles"] = self.cycles.into();
        schedule["seed"] = self.seed.into();
        let allow = root.entry("allow").or_insert_with(|| json!([]));
        if let Value::Array(allow) = allow {
            allow.retain(|it| it["code"] != codes::FAIRNESS_SAME);
            let reason = "the engine is compared with itself on purpose";
            allow.push(json!({ "code": codes::FAIRNESS_SAME, "reason": reason }));
        }
        Some(file)
    }
}

/// An engine of a pipeline in two builds, each with options of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct TwoBuilds<'a> {
    /// The engine in the pipeline.
    pub engine: &'a str,
    /// Names of the builds, the baseline first, and their options.
    pub builds: [(&'a str, Map<String, Value>); 2],
}

impl TwoBuilds<'_> {
    /// Makes the pipeline file, which loads like any other: only the two builds run. References
    /// to other engines and thresholds are dropped. `None` if there is no such engine.
    pub fn of(&self, pipeline: &Pipeline) -> Option<Value> {
        let one = engine(&pipeline.resolved, self.engine)?;
        let side = |(name, config): &(&str, Map<String, Value>)| {
            let mut one = one.clone();
            one["config"] = config.clone().into();
            ((*name).to_owned(), one)
        };
        of_two(pipeline, self.engine, self.builds.each_ref().map(side))
    }
}

/// An engine as a file has it, without its part in a history, which is of the file's own runs.
fn engine(file: &Value, name: &str) -> Option<Value> {
    let one = file.get("engine");
    let several = || file.get("engines")?.get(name);
    let mut engine = one.or_else(several)?.clone();
    engine.as_object_mut()?.shift_remove("history");
    Some(engine)
}

/// A pipeline in which two engines stand for one, the first of them as baseline.
fn of_two(pipeline: &Pipeline, engine: &str, sides: [(String, Value); 2]) -> Option<Value> {
    let mut file = pipeline.resolved.clone();
    let root = file.as_object_mut()?;
    root.shift_remove("engine");
    let margin = root.get("compare").and_then(|it| it.get("margin_percent"));
    let mut compare = json!({ "baseline": sides[0].0 });
    if let Some(margin) = margin.cloned() {
        compare["margin_percent"] = margin;
    }
    let both: Map<String, Value> = sides.into_iter().collect();
    root.insert("engines".to_owned(), both.into());
    root.insert("compare".to_owned(), compare);
    root.shift_remove("thresholds");
    if let Some(matrix) = root.get_mut("matrix") {
        for key in ["include", "exclude"] {
            if let Some(Value::Array(entries)) = matrix.get_mut(key) {
                for_both(engine, entries);
            }
        }
    }
    Some(file)
}

/// Applies matrix entries for an engine to both sides and drops those for other engines.
fn for_both(engine: &str, entries: &mut Vec<Value>) {
    let of_engine = |entry: &Value| entry.get("engine").cloned();
    entries.retain(|entry| of_engine(entry).is_none_or(|name| name == engine));
    for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
        entry.shift_remove("engine");
    }
}
