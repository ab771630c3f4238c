//! A run that died, read from its journal so that it can go on.
//!
//! The unit is the cycle. The journal says which cycles are over, and the interim analyses are
//! done again from it by the code that did them; nothing is decided anew. A cycle that was
//! broken off counts as one in which something failed and never runs again under its number:
//! who could kill and repeat cycles could choose the result.

use prony_config::Changed;
use prony_contract::Kind;
use prony_journal::{
    Difference, Digests, Error, Event, InputKind, InterimAnalyses, Reader, Reopened, Result, Scope,
    Started, World, Writer,
};
use prony_machine::{Control, ProcessId};
use prony_plan::{ModelKey, Plan, Visit};
use prony_plugin_host::sha256_of;
use prony_result::Outcome;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

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
        // With as many ranks again nothing is missing but a cycle.
        self.failed |= matches!(event, Event::Failed { rank: false, .. });
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
        Event::Input(input) => is_input_of_setup(input.kind),
        Event::Model { .. }
        | Event::RequestSet { .. }
        | Event::Rendering { .. }
        | Event::Image { .. }
        | Event::Outputs { .. } => true,
        _ => false,
    }
}

/// Returns `true` for what is read before the first visit. Plugins are compared rather than the
/// lock files, and another build of prony of the same release measures the same.
fn is_input_of_setup(kind: InputKind) -> bool {
    match kind {
        InputKind::Model | InputKind::Tokenizer | InputKind::ChatTemplate | InputKind::Dataset => {
            true
        }
        InputKind::Prony | InputKind::Lock | InputKind::Program | InputKind::Container => false,
    }
}

/// Fails with a table if engines' programs are others than those that ran. One that is not
/// there is a matter of `setup`, which may fetch it, or of the start of the engine.
pub(crate) fn check_programs(journal: &Path, digests: &mut Digests) -> Result<()> {
    let mut programs = BTreeMap::new();
    let mut of_prony = BTreeSet::new();
    for placed in Reader::open(journal)? {
        if let Event::Input(input) = placed?.event
            && let Some(sha256) = input.sha256
        {
            match input.kind {
                InputKind::Prony => drop(of_prony.insert(sha256)),
                InputKind::Program => drop(programs.insert((input.of, input.path), sha256)),
                _ => {}
            }
        }
    }
    let differs = programs.into_iter().filter_map(|((engine, path), then)| {
        let (now, _) = digests.of(Path::new(&path), &|| false).ok()?;
        // prony itself, as a server for tests.
        let is_other = now != then && !of_prony.contains(&then);
        is_other.then(|| difference(&format!("program of {engine} {path}"), &then, &now))
    });
    let differences: Vec<Difference> = differs.collect();
    if differences.is_empty() {
        Ok(())
    } else {
        Err(Error::Differs { differences })
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
        Event::Input(input) => {
            let of = format!("{} {} {}", input.kind.name(), input.of, input.path);
            (of, input.sha256.clone().unwrap_or_default())
        }
        Event::Outputs { sha256 } => ("outputs of setup".to_owned(), sha256.clone()),
        _ => return None,
    })
}

/// Fails with a table unless a run would be the same experiment as the one that began, whose
/// pipeline is in `written`. Returns the options that differ and may.
pub(crate) fn check_same(
    then: &Started,
    now: &Started,
    written: &Path,
    resolved: &str,
) -> Result<Vec<String>> {
    let (mut differences, options) = pipelines(then, now, written, resolved);
    let mut compare = |what: &str, then: &str, now: &str| {
        if then != now {
            differences.push(difference(what, then, now));
        }
    };
    let release = |version: &str| {
        let parts: Vec<&str> = version.splitn(3, '.').take(2).collect();
        parts.join(".")
    };
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
    let ranks = |started: &Started| started.world.as_ref().map_or(1, World::size).to_string();
    // With `run --into`, `--ranks` or the same launcher.
    compare(
        "ranks (`prony run FILE --into DIR`)",
        &ranks(then),
        &ranks(now),
    );
    let visits = |plan: &Plan| {
        let text = serde_json::to_vec(plan).unwrap_or_default();
        sha256_of(&text)
    };
    compare("plan", &visits(&then.plan), &visits(&now.plan));
    // Reporters measure nothing.
    let plugins = |started: &Started| -> BTreeMap<String, String> {
        let engines = started.plugins.iter().filter(|it| it.kind == Kind::Engine);
        engines
            .map(|it| (format!("plugin {}", it.name), it.sha256.clone()))
            .collect()
    };
    let (old, new) = (plugins(then), plugins(now));
    let none = "none".to_owned();
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let of = |from: &BTreeMap<String, String>| from.get(name).unwrap_or(&none).clone();
        compare(name, &of(&old), &of(&new));
    }
    if differences.is_empty() {
        Ok(options)
    } else {
        Err(Error::Differs { differences })
    }
}

fn difference(what: &str, then: &str, now: &str) -> Difference {
    Difference {
        what: what.to_owned(),
        then: then.to_owned(),
        now: now.to_owned(),
    }
}

/// Differences of the pipeline that make another experiment, and options that differ without.
fn pipelines(
    then: &Started,
    now: &Started,
    written: &Path,
    resolved: &str,
) -> (Vec<Difference>, Vec<String>) {
    /// Length of a value in a table, in characters.
    const MAX_SHOWN: usize = 60;
    if then.pipeline_sha256 == now.pipeline_sha256 {
        return (Vec::new(), Vec::new());
    }
    let text = prony_files::read_text(written, prony_config::MAX_BYTES as u64);
    let text = text
        .ok()
        .filter(|it| sha256_of(it.as_bytes()) == then.pipeline_sha256);
    let read = |text: &str| serde_yaml::from_str::<Value>(text).ok();
    let both = text.and_then(|text| read(&text)).zip(read(resolved));
    let Some((old, new)) = both else {
        // Without the one that began, nothing tells what differs.
        let differs = difference("pipeline", &then.pipeline_sha256, &now.pipeline_sha256);
        return (vec![differs], Vec::new());
    };
    let (other, harmless): (Vec<Changed>, Vec<Changed>) = prony_config::changed(&old, &new)
        .into_iter()
        .partition(|it| it.is_other_experiment);
    let shown = |value: &Option<String>| match value {
        None => "not set".to_owned(),
        Some(value) if value.chars().count() > MAX_SHOWN => {
            let short: String = value.chars().take(MAX_SHOWN).collect();
            format!("{short} …")
        }
        Some(value) => value.clone(),
    };
    let other = other
        .iter()
        .map(|it| difference(&it.option, &shown(&it.then), &shown(&it.now)));
    let harmless = harmless.into_iter().map(|it| it.option);
    (other.collect(), harmless.collect())
}
