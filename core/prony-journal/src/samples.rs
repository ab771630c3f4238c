//! Groups a journal as results report it: the requests of one matrix point, model, engine
//! and `measure` stage.

use crate::journal::{Event, Scope, StageEnergy, Visited};
use prony_config::Cache;
use prony_machine::{ENERGY_PERIOD, GpuUsage, IdlePower};
use prony_metrics::account::{self, Account};
use prony_metrics::facts::Requests;
use prony_metrics::throughput::{self, VisitEnergy};
use prony_plan::{ModelKey, Plan, Segment, SegmentKey, Stage, StageKind, Visit};
use prony_record::{CounterTold, Phase, Record, SettingTold, limited};
use prony_result::{Client, Failure};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Key of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) point: Option<String>,
    pub(crate) model: String,
    /// Id of the `measure` stage.
    pub(crate) measure: String,
    pub(crate) engine: String,
}

impl Key {
    pub(crate) fn new(model: ModelKey<'_>, engine: &str, measure: &str) -> Self {
        Self {
            point: model.point.map(str::to_owned),
            model: model.model.to_owned(),
            engine: engine.to_owned(),
            measure: measure.to_owned(),
        }
    }

    fn of_visit(visit: &Visit, measure: &str) -> Self {
        Self::new(visit.of_model(), &visit.engine, measure)
    }

    pub(crate) fn of_request(record: &Record) -> Self {
        let id = &record.id;
        let model = ModelKey {
            point: id.point.as_deref(),
            model: &id.model,
        };
        Self::new(model, &id.engine, &id.stage)
    }
}

/// Data of one group in a journal.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// The measured requests.
    pub(crate) requests: Requests,
    /// The visits meant to measure it.
    pub(crate) visits: Vec<throughput::Visit>,
    /// Cycles with a failure that affects the measurement.
    pub(crate) failed: BTreeSet<u32>,
    /// Cycles in which the stage's `if` skipped it.
    pub(crate) skipped: BTreeSet<u32>,
    /// Usage of the GPUs in each visit.
    pub(crate) gpus: Vec<GpuUsage>,
    /// The load client's figures for each visit.
    pub(crate) clients: Vec<Client>,
    /// Its figures for all visits.
    pub(crate) client: Option<Client>,
    /// All failures, including those that did not affect the measurement.
    pub(crate) failures: Vec<Failure>,
    /// The engine's own account.
    pub(crate) account: Account,
    /// Of each visit, what the account is made of.
    told: Vec<Told>,
    /// The shorter of the two times of each cycle's controls, in nanoseconds.
    controls: BTreeMap<u32, u64>,
}

/// Words of an engine about itself in a visit.
#[derive(Debug)]
struct Told {
    cycle: u32,
    settings: Vec<SettingTold>,
    counters: Option<Vec<CounterTold>>,
}

impl Sample {
    /// Returns `true` if the stage's `if` always skipped it.
    pub(crate) fn is_left_out(&self) -> bool {
        !self.skipped.is_empty() && self.requests.facts().is_empty() && self.failures.is_empty()
    }
}

/// Durations that are kept of a run, at most: 32 MiB. With more, they are read again when a
/// group needs them.
const MAX_KEPT: usize = 4 << 20;

/// A journal sorted into groups, event by event. Of a request it keeps numbers.
#[derive(Debug)]
pub(crate) struct Samples<'p> {
    segments: HashMap<SegmentKey<'p>, &'p Segment>,
    cold: HashSet<(Option<&'p str>, &'p str)>,
    groups: HashMap<Key, Sample>,
    nothing: Sample,
    models: HashMap<(Option<String>, String), Vec<Failure>>,
    /// Paths of the models.
    paths: HashMap<(Option<String>, String), String>,
    idle: Option<IdlePower>,
    /// The `measure` stages of the current visit that have begun.
    begun: HashSet<String>,
    /// Time of the current visit's first answer to each prompt with its image.
    answered: HashMap<(u32, Option<u32>), u64>,
    /// Time at which the loading of each engine began, and of its first token since.
    started: HashMap<String, (u64, Option<u64>)>,
    /// Engines by number, the one loaded before each, and the last one.
    engines: Vec<String>,
    before: HashMap<String, Option<u32>>,
    loaded: Option<u32>,
    /// Number of durations that are kept.
    kept: usize,
    most_kept: usize,
}

impl<'p> Samples<'p> {
    pub(crate) fn new(plan: &'p Plan) -> Self {
        Self {
            segments: plan.segments(),
            cold: cold_stages(plan),
            groups: HashMap::new(),
            nothing: Sample::default(),
            models: HashMap::new(),
            paths: HashMap::new(),
            idle: None,
            begun: HashSet::new(),
            answered: HashMap::new(),
            started: HashMap::new(),
            engines: Vec::new(),
            before: HashMap::new(),
            loaded: None,
            kept: 0,
            most_kept: MAX_KEPT,
        }
    }

    /// Keeps at most so many durations.
    #[cfg(test)]
    pub(crate) fn keep_at_most(&mut self, durations: usize) {
        self.most_kept = durations;
    }

    /// Of a single cycle, for its comparisons, which need no durations.
    pub(crate) fn of_cycle(plan: &'p Plan) -> Self {
        Self {
            most_kept: 0,
            ..Self::new(plan)
        }
    }

    /// Takes in the next event and its place.
    pub(crate) fn see(&mut self, event: &Event, position: u64) {
        match event {
            Event::Request(record) => self.request(record, position),
            Event::IdlePower(power) => self.idle = Some(power.clone()),
            Event::Stage {
                stage,
                id,
                visit: Some(visit),
                skipped,
                at_ns,
            } => match (stage, skipped) {
                (StageKind::Load, _) => {
                    self.begun.clear();
                    self.answered.clear();
                    self.started.insert(visit.engine.clone(), (*at_ns, None));
                    let known = self.engines.iter().position(|it| *it == visit.engine);
                    let number = known.unwrap_or(self.engines.len());
                    if known.is_none() {
                        self.engines.push(visit.engine.clone());
                    }
                    let before = self.loaded.replace(number as u32);
                    self.before.insert(visit.engine.clone(), before);
                }
                (StageKind::Measure, false) => {
                    self.begun
                        .insert(id.as_deref().unwrap_or(stage.name()).to_owned());
                }
                (StageKind::Measure, true) => {
                    let sample = self.visited(visit, id.as_deref().unwrap_or(stage.name()));
                    sample.skipped.insert(visit.cycle);
                }
                _ => {}
            },
            Event::Model {
                point, model, path, ..
            } => {
                let key = (point.clone(), model.clone());
                self.paths.insert(key, path.clone());
            }
            Event::Client {
                visit,
                stage,
                client,
            } => {
                let sample = self.visited(visit, stage);
                sample.clients.push(client.clone());
            }
            Event::Control {
                visit,
                single_ns,
                all_cores_ns,
                memory_ns,
            } => {
                // A foreign journal may hold any number.
                let ns = single_ns.saturating_add(*all_cores_ns);
                let ns = ns.saturating_add(*memory_ns);
                for stage in self.measures(visit) {
                    let controls = &mut self.visited(visit, &stage.id).controls;
                    let least = controls.entry(visit.cycle).or_insert(ns);
                    *least = ns.min(*least);
                }
            }
            Event::Visit(visited) => self.visit(visited),
            Event::Failed {
                stage,
                id,
                scope,
                step,
                plugin,
                rank,
                message,
            } => {
                // In results, a missing model has no engine.
                let of = scope.visit();
                let failure = Failure {
                    engine: of.map_or_else(String::new, |visit| visit.engine.clone()),
                    cycle: of.map_or(0, |visit| visit.cycle),
                    stage: id.as_deref().unwrap_or(stage.name()).to_owned(),
                    message: limited(message),
                    plugin: *plugin,
                    outside: *rank,
                };
                match scope {
                    Scope::Run => {}
                    Scope::Model { point, model } => {
                        let of_model = self.models.entry((point.clone(), model.clone()));
                        of_model.or_default().push(failure);
                    }
                    Scope::Visit(visit) => self.failed(visit, *stage, *step || *rank, &failure),
                }
            }
            Event::Degraded { visits, reason } => {
                for visit in visits {
                    self.degraded(visit, reason);
                }
            }
            _ => {}
        }
    }

    /// Completes what is known when all events have been seen.
    pub(crate) fn finish(&mut self) {
        for (key, sample) in &mut self.groups {
            make_up_visits(sample);
            sample.client = Client::of_visits(&sample.clients);
            for visit in &mut sample.visits {
                visit.control_ns = sample.controls.get(&visit.cycle).copied();
            }
            let path = self.paths.get(&(key.point.clone(), key.model.clone()));
            sample.account = account(key, path, &sample.told, &sample.requests);
        }
    }

    /// Data of a group; empty if the run never reached it.
    pub(crate) fn group(&self, key: &Key) -> &Sample {
        self.groups.get(key).unwrap_or(&self.nothing)
    }

    /// The groups that have requests, in order.
    pub(crate) fn groups(&self) -> Vec<(&Key, &Sample)> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.retain(|(_, sample)| !sample.requests.facts().is_empty());
        groups.sort_by_key(|(key, _)| *key);
        groups
    }

    /// Failures of a model before any engine.
    pub(crate) fn of_model(&self, model: ModelKey<'_>) -> &[Failure] {
        let key = (model.point.map(str::to_owned), model.model.to_owned());
        self.models.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The `measure` stages of a visit.
    fn measures(&self, visit: &Visit) -> Vec<&'p Stage> {
        let segment = self.segments.get(&visit.of_segment());
        segment.map_or_else(Vec::new, |segment| segment.measures().collect())
    }

    fn visited(&mut self, visit: &Visit, measure: &str) -> &mut Sample {
        self.groups
            .entry(Key::of_visit(visit, measure))
            .or_default()
    }

    fn request(&mut self, record: &Record, position: u64) {
        let id = &record.id;
        // The text of a cold request is unlike any other.
        let is_cold = self.cold.contains(&(id.point.as_deref(), &*id.stage));
        let is_repeated = !is_cold && self.meet(record);
        if let Some((_, first)) = self.started.get_mut(id.engine.as_str())
            && record.ok()
        {
            // The first to begin need not be the first to end.
            let earliest = record.arrivals.first().map(|arrival| arrival.0);
            *first = (*first).into_iter().chain(earliest).min();
        }
        if id.phase != Phase::Measure {
            return;
        }
        let of_group = self.groups.entry(Key::of_request(record)).or_default();
        if self.kept > self.most_kept {
            of_group.requests.forget_durations();
        }
        self.kept += of_group.requests.add(record, position);
        if is_repeated {
            of_group.requests.last_is_repeated();
        }
        if self.kept > self.most_kept {
            let all = self.groups.values_mut();
            all.for_each(|it| it.requests.forget_durations());
        }
    }

    /// Notes an answer to a prompt. Returns whether the prompt had been answered when the
    /// request was sent: one sent while the first was still in flight could not use the cache.
    fn meet(&mut self, record: &Record) -> bool {
        let at = &record.id;
        if !record.ok() {
            return false;
        }
        let first = self
            .answered
            .entry((at.prompt, at.image))
            .or_insert(record.stamps.end_ns);
        *first = (*first).min(record.stamps.end_ns);
        *first <= record.stamps.sent_ns
    }

    fn visit(&mut self, visited: &Visited) {
        let started = self.started.remove(visited.visit.engine.as_str());
        let first = started.and_then(|(load, first)| first?.checked_sub(load));
        let before = self.before.remove(visited.visit.engine.as_str()).flatten();
        let idle = self.idle.clone();
        for stage in self.measures(&visited.visit) {
            let sample = self.visited(&visited.visit, &stage.id);
            sample.visits.push(throughput::Visit {
                before,
                ..seen_by(stage, visited, first, idle.as_ref())
            });
            if let Some(usage) = visited.energy.get(&stage.id) {
                sample.gpus.extend(usage.gpus.iter().cloned());
            }
            sample.told.push(Told {
                cycle: visited.visit.cycle,
                settings: visited.settings.clone(),
                counters: visited.counters.get(&stage.id).cloned(),
            });
        }
    }

    /// Marks all measurements of a visit: its cycle is one in which something failed.
    fn degraded(&mut self, visit: &Visit, reason: &str) {
        let measures = self.measures(visit);
        for stage in &measures {
            let sample = self.visited(visit, &stage.id);
            sample.failed.insert(visit.cycle);
        }
        if let Some(last) = measures.last() {
            self.visited(visit, &last.id).failures.push(Failure {
                engine: visit.engine.clone(),
                cycle: visit.cycle,
                stage: last.id.clone(),
                message: limited(reason),
                plugin: false,
                outside: true,
            });
        }
    }

    /// Assigns a failure to the measurements that it affects: a failed request to its own
    /// stage; any other failure, which puts the engine in doubt, also to the stages that
    /// have not begun. Earlier measurements remain valid. A failure that affects nothing
    /// is reported with the last stage.
    fn failed(&mut self, visit: &Visit, kind: StageKind, step: bool, failure: &Failure) {
        let measures = self.measures(visit);
        let own = |stage: &Stage| kind == StageKind::Measure && stage.id == failure.stage;
        let later = |stage: &Stage| {
            kind != StageKind::Unload
                && (kind != StageKind::Measure || step)
                && !self.begun.contains(stage.id.as_str())
        };
        let mut touched: Vec<&Stage> = measures.clone();
        touched.retain(|stage| own(stage) || later(stage));
        for stage in &touched {
            let sample = self.visited(visit, &stage.id);
            sample.failed.insert(visit.cycle);
        }
        if touched.is_empty() {
            touched.extend(measures.last());
        }
        for stage in touched {
            let sample = self.visited(visit, &stage.id);
            sample.failures.push(failure.clone());
        }
    }
}

/// The stages whose requests begin with a nonce, by matrix point and id: cold measurements,
/// and the warm-ups for them. A warm-up is for the measurements up to the next one, and for a warm
/// cache if one of them is.
fn cold_stages(plan: &Plan) -> HashSet<(Option<&str>, &str)> {
    let mut cold = HashSet::new();
    for segment in &plan.segments {
        for (at, stage) in segment.stages.iter().enumerate() {
            let is_cold = match stage.phase {
                Phase::Measure => stage.cache == Some(Cache::Cold),
                Phase::Warmup => {
                    let is_warmup = |it: &&Stage| it.phase == Phase::Warmup;
                    let after = segment.stages[at..].iter().skip_while(is_warmup);
                    let states = after.take_while(|it| !is_warmup(it)).map(|it| it.cache);
                    // The smallest is that of a warm cache.
                    states.flatten().min_by_key(|it| *it != Cache::Warm) == Some(Cache::Cold)
                }
            };
            if is_cold {
                cold.insert((segment.point.as_deref(), stage.id.as_str()));
            }
        }
    }
    cold
}

fn seen_by(
    stage: &Stage,
    visited: &Visited,
    first_token_ns: Option<u64>,
    idle: Option<&IdlePower>,
) -> throughput::Visit {
    let measure_ns = visited.measure_ns.get(&stage.id).copied();
    let usage = visited.energy.get(&stage.id);
    throughput::Visit {
        cycle: visited.visit.cycle,
        load_time_ns: visited.load_time_ns,
        // An engine that ran before was not started.
        first_token_ns: visited.load_time_ns.and(first_token_ns),
        unload_time_ns: visited.unload_time_ns,
        measure_ns,
        peak_memory_bytes: visited.peak_memory_bytes,
        peak_gpu_memory_bytes: visited.peak_gpu_memory_bytes,
        measure_cpu_s: visited.measure_cpu_s.get(&stage.id).copied(),
        energy: measure_ns
            .zip(usage)
            .map(|(ns, usage)| energy(usage, ns, idle))
            .unwrap_or_default(),
        // Known when the visit is over.
        control_ns: None,
        before: None,
    }
}

/// The energy of a stage that took `ns`, without what the idle machine takes in that time.
fn energy(usage: &StageEnergy, ns: u64, idle: Option<&IdlePower>) -> VisitEnergy {
    let seconds = ns as f64 / 1e9;
    let uses_gpu = !usage.gpus.is_empty();
    let sum = |of: &dyn Fn(&GpuUsage) -> Option<f64>| -> Option<f64> {
        // Fewer than none were not counted.
        let counted = |gpu| of(gpu).filter(|it| *it >= 0.0);
        usage.gpus.iter().map(counted).sum::<Option<f64>>()
    };
    let idle_of = |gpu: &GpuUsage| -> Option<f64> {
        let gpus = &idle?.gpus_w;
        gpus.get(usize::try_from(gpu.index).ok()?).copied()?
    };
    let gross = sum(&|gpu| gpu.energy_joules);
    let idle_w = sum(&idle_of);
    let is_long = seconds >= ENERGY_PERIOD.as_secs_f64();
    let withheld = if usage.shared {
        Some("two engines were loaded at the same time")
    } else if !is_long {
        Some("a measure stage took less than a second")
    } else if uses_gpu && idle_w.is_none() {
        Some("a GPU did not rest before the first engine was loaded, or does not count its energy")
    } else if gross.is_none() {
        Some("the energy of a GPU that it used was not read throughout")
    } else {
        None
    };
    let known = withheld.is_none();
    let processor = usage
        .processor_joules
        .zip(idle.and_then(|it| it.processor_w));
    VisitEnergy {
        gpu_j: gross
            .zip(idle_w)
            .filter(|_| known)
            .map(|(joules, watts)| joules - watts * seconds),
        uses_gpu,
        processor_j: processor
            .filter(|_| known)
            .map(|(joules, watts)| joules - watts * seconds),
        gpu_power_w: gross
            .filter(|_| uses_gpu && is_long && !usage.shared)
            .map(|joules| joules / seconds),
        idle_gpu_power_w: idle_w.filter(|_| uses_gpu),
        withheld,
    }
}

/// The engine's own account of a group, from the ends of its visits.
fn account(key: &Key, path: Option<&String>, told: &[Told], measured: &Requests) -> Account {
    let names = std::iter::once(&key.model).chain(path);
    let names: Vec<&str> = names.map(String::as_str).collect();
    let settings = told.iter().flat_map(|it| &it.settings);
    let counters = told.iter().filter_map(|it| {
        let counters = it.counters.as_ref()?;
        Some((it.cycle, counters.as_slice()))
    });
    Account {
        settings: account::settings(settings, &names),
        counts: account::counts(counters, &measured.all()),
    }
}

/// Completes visits left without a line by a killed run: they lasted as long as their
/// requests, so that tokens always come with time.
fn make_up_visits(sample: &mut Sample) {
    let known: BTreeSet<u32> = sample.visits.iter().map(|visit| visit.cycle).collect();
    let mut times = BTreeMap::<u32, (u64, u64)>::new();
    for request in sample.requests.facts() {
        let (start, end) = (request.intended_ns, request.end_ns);
        let time = times.entry(request.cycle).or_insert((start, end));
        *time = (time.0.min(start), time.1.max(end));
    }
    let unknown = times
        .into_iter()
        .filter(|(cycle, _)| !known.contains(cycle));
    sample
        .visits
        .extend(unknown.map(|(cycle, (start, end))| throughput::Visit {
            cycle,
            measure_ns: Some(end.saturating_sub(start)),
            ..throughput::Visit::default()
        }));
}
