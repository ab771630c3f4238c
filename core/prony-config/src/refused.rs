//! Requests that an engine's plugin would refuse: it is asked for one like the workload's, so that
//! `validate` says what a run would.

use std::collections::BTreeSet;

use prony_diagnostic::Diagnostic;
use serde_json::{Map, Value};

use crate::template::{self, Filled};
use crate::wording::literal;
use crate::{Pipeline, Plugins, codes};

/// Engines and workloads that are asked at the most: matrix points multiply them.
const MAX_ASKED: usize = 64;

pub(crate) fn problems(
    pipeline: &Pipeline,
    filled: &Filled,
    plugins: &dyn Plugins,
) -> Vec<Diagnostic> {
    let samples = filled.samples(&Map::new());
    let (mut asked, mut told) = (BTreeSet::new(), BTreeSet::new());
    let mut problems = Vec::new();
    for point in &pipeline.points {
        for engine in &point.engines {
            let config = Value::Object(engine.config.clone());
            let Ok(config) = template::render_value(&config, &samples) else {
                continue;
            };
            let key = format!("{} {config} {:?}", engine.plugin, point.workload);
            if asked.len() >= MAX_ASKED || !asked.insert(key) {
                continue;
            }
            let Some(words) = plugins.refusal(&engine.plugin, &config, &point.workload) else {
                continue;
            };
            if !told.insert((engine.name.clone(), words.clone())) {
                continue;
            }
            let root = &filled.root;
            let several = format!("/engines/{}/plugin", pointer(&engine.name));
            let plugin = root
                .exactly(&several)
                .or_else(|| root.exactly("/engine/plugin"));
            let span = plugin.map_or_else(|| root.span.clone(), |node| node.span.clone());
            let message = format!(
                "{} would refuse the workload's requests",
                literal(&engine.name)
            );
            problems.push(
                Diagnostic::error(codes::REFUSED_REQUESTS, message)
                    .at(span, words)
                    .help("change the workload or the engine's options, or leave the engine out"),
            );
        }
    }
    problems
}

/// A key as a part of a JSON pointer.
fn pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
