//! Differences between two results.

use super::Unlike;
use super::side::Side;
use prony_result::{
    EngineResult, Outcome, RunResult, Workload,
    words::{MISSING, count, ranks},
};

/// Differences between two runs as a whole.
pub(super) fn of_runs(base: &RunResult, candidate: &RunResult) -> Vec<Unlike> {
    let mut unlike = Differences::default();
    let machine = |result: &RunResult| {
        let it = &result.environment;
        let digest = match it.machine.as_str() {
            "" => "unknown",
            digest => digest,
        };
        format!(
            "{}, {}, {} ({digest})",
            it.cpu,
            count(it.cpus.into(), "CPU"),
            it.os
        )
    };
    // Without digests they cannot be known to be equal.
    let (one, two) = (&base.environment.machine, &candidate.environment.machine);
    if one != two || one.is_empty() {
        unlike.add("machine", &machine(base), &machine(candidate), true);
    }
    let version = |result: &RunResult| result.prony_version.clone();
    unlike.note("version of prony", version(base), version(candidate));
    let ranks = |result: &RunResult| ranks(&result.run.ranks);
    unlike.note("ranks", ranks(base), ranks(candidate));
    let outcome = |result: &RunResult| match result.run.outcome {
        Outcome::Completed => "completed",
        Outcome::Failed => "failed in part",
        Outcome::Interrupted => "interrupted",
        Outcome::Running => "still running",
    };
    let (one, two) = (outcome(base), outcome(candidate));
    unlike.note("outcome", one.to_owned(), two.to_owned());
    unlike.0
}

#[derive(Default)]
struct Differences(Vec<Unlike>);

impl Differences {
    fn add(&mut self, what: &str, base: &str, candidate: &str, forbids: bool) {
        self.0.push(Unlike {
            what: what.to_owned(),
            base: base.to_owned(),
            candidate: candidate.to_owned(),
            forbids,
        });
    }

    /// Adds a difference that readers must know.
    fn note(&mut self, what: &str, base: String, candidate: String) {
        if base != candidate {
            self.add(what, &base, &candidate, false);
        }
    }

    /// Adds a difference that makes the work different.
    fn forbid(&mut self, what: &str, base: String, candidate: String) {
        if base != candidate {
            self.add(what, &base, &candidate, true);
        }
    }
}

impl Side<'_> {
    /// Differences, most important first.
    pub(super) fn differences(&self, other: &Self) -> Vec<Unlike> {
        let mut unlike = Differences::default();
        let mut keys = differing(self.workload(), other.workload());
        if self.group.tape.is_some() && other.group.tape.is_some() {
            // The same prompts may come from a file with another name.
            keys.retain(|key| key != "source");
        }
        if !keys.is_empty() {
            let told = format!("workload ({})", keys.join(", "));
            unlike.add(&told, "one", "another", true);
        } else if let (Some(one), Some(two)) = (&self.group.tape, &other.group.tape) {
            unlike.forbid("what was sent (tape)", one.clone(), two.clone());
        }
        let template = |side: &Self| {
            let rendering = side.group.rendering.as_ref();
            rendering.map(|it| it.template_sha256.clone())
        };
        if let (Some(one), Some(two)) = (template(self), template(other)) {
            unlike.forbid("chat template", one, two);
        }
        let model = |side: &Self| {
            let revision = side.group.revision.as_ref();
            side.group.sha256.as_ref().or(revision).cloned()
        };
        match (model(self), model(other)) {
            (Some(one), Some(two)) => unlike.forbid("model", one, two),
            (one, two) => {
                let told = |it: Option<String>| it.unwrap_or_else(|| "not pinned".to_owned());
                unlike.note("model", told(one), told(two));
            }
        }
        let sending = |side: &Self| {
            let it = side.group;
            let arrival = it.arrival.as_deref().unwrap_or("closed loop");
            format!(
                "{} after {} for warm-up{}, {} in flight, {arrival}{}",
                count(it.requests_per_visit.into(), "request"),
                it.warmup_requests,
                it.warmup_sending
                    .as_ref()
                    .map_or_else(String::new, |it| format!(" ({it})")),
                it.concurrency,
                it.seconds
                    .map_or_else(String::new, |it| format!(", {it} s"))
            )
        };
        unlike.forbid("way of sending", sending(self), sending(other));
        unlike.note("plugin", self.plugin(), other.plugin());
        let config = |side: &Self| side.info().map(|info| info.config.to_string());
        let told = |it: Option<String>| it.unwrap_or_else(|| MISSING.to_owned());
        unlike.note("engine config", told(config(self)), told(config(other)));
        let list = |names: &[String]| match names {
            [] => "not told".to_owned(),
            names => names.join(", "),
        };
        let (one, two) = (self.engine, other.engine);
        unlike.note(
            "engine version",
            list(&one.engine_versions),
            list(&two.engine_versions),
        );
        unlike.note(
            "served model",
            list(&one.served_models),
            list(&two.served_models),
        );
        let cache = |engine: &EngineResult| match engine.told_cached_tokens() {
            None => "not told",
            Some(0) => "no prompt tokens from it",
            Some(_) => "prompt tokens from it",
        };
        let (one, two) = (cache(one).to_owned(), cache(two).to_owned());
        unlike.note("state of the prefix cache", one, two);
        unlike.0
    }
}

/// The keys of a workload that differ.
fn differing(one: &Workload, other: &Workload) -> Vec<String> {
    let fields = |workload: &Workload| {
        let value = serde_json::to_value(workload).unwrap_or_default();
        value.as_object().cloned().unwrap_or_default()
    };
    let (one, other) = (fields(one), fields(other));
    let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = keys
        .into_iter()
        .filter(|key| one.get(*key) != other.get(*key));
    differ.cloned().collect()
}
