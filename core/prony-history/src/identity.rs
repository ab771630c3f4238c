//! Digests that say which lines of a history belong together, and which build an engine is.

use crate::Error;
use prony_config::options_of;
use prony_plugin_host::sha256_of;
use prony_result::{EngineInfo, EngineResult, ModelResult, RunResult, Workload};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Length of a digest in a history, in hexadecimal digits: 64 bits tell thousands of series apart.
const DIGITS: usize = 16;
/// The role of options that choose the build of an engine.
const VERSION: &str = "version";

/// Digest of JSON, whose keys are in order.
fn digest(value: &Value) -> String {
    let mut digest = sha256_of(value.to_string().as_bytes());
    digest.truncate(DIGITS);
    digest
}

/// The options of each engine without those that choose its version.
#[derive(Debug, Clone)]
pub struct Identities(BTreeMap<String, Value>);

impl Identities {
    /// Asks the schemas of a run's plugins. Fails for a plugin that is not installed: its options
    /// could not be told apart, and the run would be put into another series.
    pub fn new(result: &RunResult, plugins: &dyn prony_config::Plugins) -> Result<Self, Error> {
        let mut stable = BTreeMap::new();
        for engine in &result.engines {
            let versions = options_of(&engine.config, VERSION, &engine.plugin, plugins);
            let versions = versions.ok_or_else(|| Error::NoPlugin {
                plugin: engine.plugin.clone(),
                engine: engine.name.clone(),
            })?;
            let mut config = engine.config.clone();
            for pointer in versions {
                let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
                let key = key.replace("~1", "/").replace("~0", "~");
                let parent = config.pointer_mut(parent).and_then(Value::as_object_mut);
                parent.map(|parent| parent.remove(&key));
            }
            stable.insert(engine.name.clone(), config);
        }
        Ok(Self(stable))
    }

    /// Digest of the series of a candidate.
    pub(crate) fn series(&self, setting: &str, candidate: &EngineInfo) -> String {
        digest(&json!({
            "setting": setting,
            "engine": candidate.name,
            "plugin": candidate.plugin,
            "config": self.0.get(&candidate.name),
        }))
    }
}

/// Digest of what is measured; `None` if the run ended before its requests were made.
pub(crate) fn setting(result: &RunResult, model: &ModelResult) -> Option<String> {
    let tape = model.tape.as_ref()?;
    let cell = model.cell.as_ref();
    let own = result.cells.iter().find(|it| Some(&it.id) == cell);
    let workload = own.and_then(|it| it.workload.as_ref());
    let workload = workload.unwrap_or(&result.workload);
    let is_pinned = model.sha256.is_some() || model.revision.is_some();
    Some(digest(&json!({
        "model": model.id,
        "sha256": model.sha256,
        "revision": model.revision,
        "path": model.path.as_ref().filter(|_| !is_pinned),
        "cell": cell,
        "measure": model.measure,
        "tape": tape,
        "cache": model.cache,
        "concurrency": model.concurrency,
        "arrival": model.arrival,
        "seconds": model.seconds,
        "workload": sent(workload),
    })))
}

/// Everything of a workload that engines notice beside the request set.
fn sent(workload: &Workload) -> Value {
    json!({
        "api": workload.api,
        "system": workload.system,
        "max_tokens": workload.max_tokens,
        "temperature": workload.temperature,
        "top_p": workload.top_p,
        "seed": workload.seed,
        "stop": workload.stop,
        "ignore_eos": workload.ignore_eos,
        "think_ms": workload.think_ms,
    })
}

/// Digest that tells this build of an engine from others.
pub(crate) fn identity(engine: &EngineInfo, numbers: Option<&EngineResult>) -> String {
    let pin = engine.history.as_ref();
    let pin = pin.filter(|it| it.version.is_some() || it.sha256.is_some());
    let build = match pin {
        Some(pin) => json!({ "version": pin.version, "sha256": pin.sha256 }),
        None => json!({ "versions": versions(engine, numbers), "sha256": digests(engine) }),
    };
    digest(&json!({ "plugin": engine.plugin, "config": engine.config, "build": build }))
}

/// The versions of an engine that were found, as it reported and its programs printed them.
fn versions<'a>(engine: &'a EngineInfo, numbers: Option<&'a EngineResult>) -> Vec<&'a str> {
    let reported = numbers.into_iter().flat_map(|it| &it.engine_versions);
    let printed = engine.programs.iter().filter_map(|it| it.version.as_ref());
    reported.chain(printed).map(String::as_str).collect()
}

fn digests(engine: &EngineInfo) -> Vec<&str> {
    let programs = engine.programs.iter().filter_map(|it| it.sha256.as_deref());
    let containers = engine
        .containers
        .iter()
        .filter_map(|it| it.sha256.as_deref());
    programs.chain(containers).collect()
}

/// Version and digest of an engine, for people.
pub(crate) fn found(
    engine: &EngineInfo,
    numbers: Option<&EngineResult>,
) -> (Option<String>, Option<String>) {
    let pin = engine.history.as_ref();
    let first = |found: Vec<&str>, pin: Option<&String>| {
        let found = found
            .first()
            .map(|it| it.lines().next().unwrap_or_default());
        pin.cloned().or_else(|| found.map(str::to_owned))
    };
    (
        first(
            versions(engine, numbers),
            pin.and_then(|it| it.version.as_ref()),
        ),
        first(digests(engine), pin.and_then(|it| it.sha256.as_ref())),
    )
}

/// The reason why an engine is not the build that its pin names, or cannot be shown to be.
pub(crate) fn other_build(engine: &EngineInfo, numbers: &EngineResult) -> Option<String> {
    let pin = engine.history.as_ref()?;
    let check = |what: &str, wanted: &str, found: &[&str], is_it: &dyn Fn(&str) -> bool| {
        let told = match found.first() {
            None => format!("none is known of it, so the pin `{wanted}` cannot be checked"),
            Some(_) if found.iter().all(|it| is_it(it)) => return None,
            Some(_) => format!("it is `{}`, and not `{wanted}`", found.join("`, `")),
        };
        Some(format!(
            "the {what} of the anchor `{}`: {told}",
            engine.name
        ))
    };
    let of_version = pin.version.as_deref().and_then(|wanted| {
        let is_it =
            |found: &str| found == wanted || found.split_whitespace().any(|it| it == wanted);
        // What prints something else than a version may stand beside the engine that reports it.
        let reported: Vec<&str> = numbers.engine_versions.iter().map(String::as_str).collect();
        let all = if reported.is_empty() {
            versions(engine, Some(numbers))
        } else {
            reported
        };
        check("version", wanted, &all, &is_it)
    });
    let of_digest = || {
        let wanted = pin.sha256.as_deref()?;
        let found = digests(engine);
        // A command may begin with a shell or a container's program.
        if found.contains(&wanted) {
            return None;
        }
        check("sha256", wanted, &found, &|it| it == wanted)
    };
    of_version.or_else(of_digest)
}
