//! A run that died, read from its journal so that it can go on.
//!
//! The unit is the cycle. The journal says which cycles are over, and the interim analyses are
//! done again from it by the code that did them; nothing is decided anew. A cycle that was
//! broken off counts as one in which something failed and never runs again under its number:
//! who could kill and repeat cycles could choose the result.

use prony_journal::{
    Difference, Error, Event, InputKind, InterimAnalyses, Reopened, Result, Scope, Started, Writer,
};
use prony_machine::{Control, ProcessId};
use prony_plan::{ModelKey, Plan, Visit};
use prony_result::Outcome;
use std::collections::{BTreeMap, BTreeSet};

/// The part of a run that was done before.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// The model that it was at; `None` if no visit had begun.
    pub(crate) model: Option<ModelDone>,
    /// Events of `setup` that must come out the same again.
    setup: Vec<Event>,
    /// Work of the control.
    pub(crate) control: Option<Control>,
    /// Events of the last interim analysis that are not in the journal.
    pub(crate) owed: Vec<Event>,
    /// The latest time in the journal.
    pub(crate) last_ns: u64,
    /// `true` if something had failed.
    pub(crate) failed: bool,
    /// The processes of prony that died.
    processes: Vec<ProcessId>,
    /// Outcome of the run, if it ended.
    outcome: Option<Outcome>,
}

/// The part of a model that was done.
#[derive(Debug)]
pub(crate) struct ModelDone {
    of: Visit,
    /// Cycles that have begun, each with its begin.
    begun: BTreeMap<u32, u64>,
    /// Cycles that are over.
    over: BTreeSet<u32>,
    /// Engines that are out.
    pub(crate) out: BTreeSet<String>,
    /// `true` if its remaining cycles were journalled as skipped.
    pub(crate) is_settled: bool,
}

impl ModelDone {
    pub(crate) fn is_of(&self, visit: &Visit) -> bool {
        self.of.is_of_model(visit)
    }

    /// Returns `true` if a cycle has begun.
    pub(crate) fn has_begun(&self, cycle: u32) -> bool {
        self.begun.contains_key(&cycle)
    }

    /// The last cycle that has begun.
    pub(crate) fn last(&self) -> u32 {
        self.begun.keys().last().copied().unwrap_or_default()
    }

    /// Cycles that were broken off, each with its begin.
    pub(crate) fn broken_off(&self) -> Vec<(u32, u64)> {
        let all = self.begun.iter().map(|(cycle, begin)| (*cycle, *begin));
        all.filter(|(cycle, _)| !self.over.contains(cycle))
            .collect()
    }
}

/// Reads the journal of a run to the end, and shows its events to the interim analyses.
pub(crate) fn read_before(
    journal: Reopened,
    interim: &mut Option<InterimAnalyses<'_>>,
) -> Result<(Before, Writer)> {
    let mut before = Before::default();
    before.processes.extend(journal.started().process.clone());
    let writer = journal.read_on(|placed| before.see(&placed.event, placed.offset, interim))?;
    if let Some(outcome) = before.outcome.filter(|it| *it != Outcome::Interrupted) {
        return Err(Error::Ended { outcome });
    }
    Ok((before, writer))
}

impl Before {
    fn see(
        &mut self,
        event: &Event,
        position: u64,
        interim: &mut Option<InterimAnalyses<'_>>,
    ) -> Result<()> {
        self.outcome = None;
        if let Event::Stage {
            visit: Some(visit), ..
        }
        | Event::Control { visit, .. } = event
            && !self.model.as_ref().is_some_and(|it| it.is_of(visit))
        {
            self.model = Some(ModelDone {
                of: visit.clone(),
                begun: BTreeMap::new(),
                over: BTreeSet::new(),
                out: BTreeSet::new(),
                is_settled: false,
            });
            if let Some(interim) = interim {
                interim.begin();
            }
        }
        if let Some(interim) = interim {
            interim.see(event, position);
        }
        if let Some(at) = self.owed.iter().position(|it| it == event) {
            self.owed.remove(at);
        }
        match event {
            Event::Stage { visit, at_ns, .. } => {
                self.reach(*at_ns);
                if let (Some(visit), Some(model)) = (visit, &mut self.model) {
                    model.begun.entry(visit.cycle).or_insert(*at_ns);
                }
            }
            Event::Request(record) => self.reach(record.stamps.end_ns),
            Event::Cycle {
                point,
                model,
                cycle,
                seconds,
            } => {
                let of = ModelKey {
                    point: point.as_deref(),
                    model,
                };
                let own = self.model.as_mut().filter(|it| it.of.of_model() == of);
                if let Some(own) = own {
                    own.begun.entry(*cycle).or_default();
                    own.over.insert(*cycle);
                    if let Some(interim) = interim {
                        self.owed = interim.analyse(&own.of, *seconds)?;
                    }
                }
            }
            Event::Skipped {
                engine: Some(engine),
                ..
            } => {
                if let Some(model) = &mut self.model {
                    model.out.insert(engine.clone());
                }
            }
            Event::Stopped { .. } => {
                if let Some(model) = &mut self.model {
                    model.is_settled = true;
                }
            }
            Event::ControlWork(work) => self.control = Some(*work),
            Event::Resumed { process, .. } => self.processes.push(process.clone()),
            Event::Finished { outcome, at_ns, .. } => {
                self.reach(*at_ns);
                self.outcome = Some(*outcome);
            }
            _ => {}
        }
        if is_of_setup(event) {
            self.setup.push(event.clone());
        }
        self.failed |= matches!(event, Event::Failed { .. });
        Ok(())
    }

    fn reach(&mut self, at_ns: u64) {
        self.last_ns = self.last_ns.max(at_ns);
    }

    /// Returns `true` if `setup` has told this event before. Fails if it told another in its
    /// place; `accepts` says whether other outputs of steps are accepted.
    pub(crate) fn has_told(&self, event: &Event, accepts: bool) -> Result<bool> {
        if !is_of_setup(event) {
            return Ok(false);
        }
        if self.setup.contains(event) {
            return Ok(true);
        }
        let Some((what, now)) = key(event) else {
            return Ok(false);
        };
        let is_accepted = accepts && matches!(event, Event::Outputs { .. });
        let earlier = self.setup.iter().rev().filter_map(key);
        let mut then = earlier.filter(|it| it.0 == what && !is_accepted);
        then.next().map_or(Ok(false), |(_, then)| {
            Err(Error::Differs {
                differences: vec![Difference { what, then, now }],
            })
        })
    }

    /// Ends what the dead processes of prony have left running. Returns the names.
    pub(crate) fn end_left_over(&self) -> Vec<String> {
        let left = self.processes.iter().flat_map(ProcessId::left_over);
        crate::process::kill_each(left.collect())
    }
}

/// Returns `true` for what `setup` tells of models, and of what is sent to them.
fn is_of_setup(event: &Event) -> bool {
    match event {
        Event::Failed { scope, .. } => matches!(scope, Scope::Model { .. }),
        Event::Skipped { engine, .. } => engine.is_none(),
        Event::Model { .. }
        | Event::RequestSet { .. }
        | Event::Rendering { .. }
        | Event::Image { .. }
        | Event::Outputs { .. } => true,
        _ => false,
    }
}

/// Subject and content of an event of `setup` that must be the same again.
fn key(event: &Event) -> Option<(String, String)> {
    let of = |what: &str, point: &Option<String>, model: &str| match point {
        Some(point) => format!("{what} of {model} · {point}"),
        None => format!("{what} of {model}"),
    };
    Some(match event {
        Event::Model {
            point,
            model,
            path,
            sha256,
        } => {
            let digest = sha256.as_deref().unwrap_or_default();
            (of("file", point, model), format!("{path} {digest}"))
        }
        Event::RequestSet {
            point,
            model,
            sha256,
            ..
        } => (of("request set", point, model), sha256.clone()),
        Event::Rendering {
            point,
            model,
            rendering,
        } => {
            let content = serde_json::to_string(rendering).unwrap_or_default();
            (of("chat template", point, model), content)
        }
        Event::Image { path, sha256 } => (format!("image {path}"), sha256.clone()),
        // Another build of prony of the same release measures the same.
        Event::Input(input) if input.kind != InputKind::Prony => {
            let of = format!("{} {} {}", input.kind.name(), input.of, input.path);
            (of, input.sha256.clone().unwrap_or_default())
        }
        Event::Outputs { sha256 } => ("outputs of setup".to_owned(), sha256.clone()),
        _ => return None,
    })
}

/// Fails with a table unless a run would be the same experiment as the one that began.
pub(crate) fn check_same(then: &Started, now: &Started) -> Result<()> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, then: &str, now: &str| {
        if then != now {
            differences.push(Difference {
                what: what.to_owned(),
                then: then.to_owned(),
                now: now.to_owned(),
            });
        }
    };
    let release = |version: &str| {
        let parts: Vec<&str> = version.splitn(3, '.').take(2).collect();
        parts.join(".")
    };
    compare("pipeline", &then.pipeline_sha256, &now.pipeline_sha256);
    compare(
        "prony",
        &release(&then.prony_version),
        &release(&now.prony_version),
    );
    compare(
        "machine",
        &then.environment.machine,
        &now.environment.machine,
    );
    let visits = |plan: &Plan| {
        let text = serde_json::to_vec(plan).unwrap_or_default();
        prony_plugin_host::sha256_of(&text)
    };
    compare("plan", &visits(&then.plan), &visits(&now.plan));
    let plugins = |started: &Started| -> BTreeMap<String, String> {
        let all = started.plugins.iter();
        all.map(|it| (format!("plugin {}", it.name), it.sha256.clone()))
            .collect()
    };
    let (old, new) = (plugins(then), plugins(now));
    let none = "none".to_owned();
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let of = |from: &BTreeMap<String, String>| from.get(name).unwrap_or(&none).clone();
        compare(name, &of(&old), &of(&new));
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err(Error::Differs { differences })
    }
}
