//! A/A pipelines: the same engine on both sides.

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
        let mut file = pipeline.resolved.clone();
        let root = file.as_object_mut()?;
        let one = match (root.shift_remove("engine"), root.get("engines")) {
            (Some(one), _) => one,
            (None, Some(engines)) => engines.get(self.engine)?.clone(),
            (None, None) => return None,
        };
        let margin = root.get("compare").and_then(|it| it.get("margin_percent"));
        let margin = margin.cloned();
        let mut compare = json!({ "baseline": self.engine });
        if let Some(margin) = margin {
            compare["margin_percent"] = margin;
        }
        let both: Map<String, Value> = [(self.engine.to_owned(), one.clone()), (self.other(), one)]
            .into_iter()
            .collect();
        root.insert("engines".to_owned(), both.into());
        root.insert("compare".to_owned(), compare);
        root.shift_remove("thresholds");
        let schedule = root.entry("schedule").or_insert_with(|| json!({}));
        schedule["order"] = "interleaved".into();
        schedule["cycles"] = self.cycles.into();
        schedule["seed"] = self.seed.into();
        if let Some(matrix) = root.get_mut("matrix") {
            for key in ["include", "exclude"] {
                if let Some(Value::Array(entries)) = matrix.get_mut(key) {
                    self.for_both(entries);
                }
            }
        }
        let allow = root.entry("allow").or_insert_with(|| json!([]));
        if let Value::Array(allow) = allow {
            allow.retain(|it| it["code"] != codes::FAIRNESS_SAME);
            let reason = "the engine is compared with itself on purpose";
            allow.push(json!({ "code": codes::FAIRNESS_SAME, "reason": reason }));
        }
        Some(file)
    }

    /// Applies matrix entries for this engine to both sides and drops those for other
    /// engines.
    fn for_both(&self, entries: &mut Vec<Value>) {
        let of_engine = |entry: &Value| entry.get("engine").cloned();
        entries.retain(|entry| of_engine(entry).is_none_or(|name| name == self.engine));
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.shift_remove("engine");
        }
    }
}
