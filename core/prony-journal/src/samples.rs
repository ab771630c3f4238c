//! Groups a journal as results report it: the requests of one matrix point, model, engine
//! and `measure` stage.

use crate::journal::{Event, Scope, StageEnergy, Visited};
use prony_config::Cache;
use prony_machine::{ENERGY_PERIOD, GpuUsage, IdlePower};
use prony_metrics::account::{self, Account};
use prony_metrics::throughput::{self, VisitEnergy};
use prony_plan::{ModelKey, Plan, Stage, StageKind, Visit};
use prony_record::{Phase, Record};
use prony_result::{Client, Failure};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Key of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key<'a> {
    pub(crate) model: ModelKey<'a>,
    pub(crate) engine: &'a str,
    /// Id of the `measure` stage.
    pub(crate) measure: &'a str,
}

impl<'a> Key<'a> {
    fn of_visit(visit: &'a Visit, measure: &'a str) -> Self {
        Self {
            model: visit.of_model(),
            engine: &visit.engine,
            measure,
        }
    }

    fn of_request(record: &'a Record) -> Self {
        let id = &record.id;
        Self {
            model: ModelKey {
                point: id.point.as_deref(),
                model: &id.model,
            },
            engine: &id.engine,
            measure: &id.stage,
        }
    }
}

/// Data of one group in a journal.
#[derive(Debug, Default)]
pub(crate) struct Sample<'a> {
    /// The measured requests.
    pub(crate) records: Vec<&'a Record>,
    /// The visits meant to measure it.
    pub(crate) visits: Vec<throughput::Visit>,
    /// Cycles with a failure that affects the measurement.
    pub(crate) failed: BTreeSet<u32>,
    /// Cycles in which the stage's `if` skipped it.
    pub(crate) skipped: BTreeSet<u32>,
    /// Cycle and number in the stage of requests whose prompt had been answered before,
    /// since the engine was loaded.
    pub(crate) repeated: HashSet<(u32, u32)>,
    /// Usage of the GPUs in each visit.
    pub(crate) gpus: Vec<&'a GpuUsage>,
    /// The load client's figures for each visit.
    pub(crate) clients: Vec<&'a Client>,
    /// All failures, including those that did not affect the measurement.
    pub(crate) failures: Vec<Failure>,
    /// The engine's own account.
    pub(crate) account: Account,
    /// The shorter of the two times of each cycle's controls, in nanoseconds.
    controls: BTreeMap<u32, u64>,
}

impl Sample<'_> {
    /// Returns `true` if the stage's `if` always skipped it.
    pub(crate) fn is_left_out(&self) -> bool {
        !self.skipped.is_empty() && self.records.is_empty() && self.failures.is_empty()
    }
}

/// A journal sorted into groups.
#[derive(Debug, Default)]
pub(crate) struct Samples<'a> {
    groups: HashMap<Key<'a>, Sample<'a>>,
    nothing: Sample<'a>,
    models: HashMap<ModelKey<'a>, Vec<Failure>>,
}

impl<'a> Samples<'a> {
    /// Sorts the events in one pass.
    pub(crate) fn new(plan: &'a Plan, events: &'a [Event]) -> Self {
        let segments = plan.segments();
        let measures = |visit: &'a Visit| -> Vec<&'a Stage> {
            let segment = segments.get(&visit.of_segment());
            segment.map_or_else(Vec::new, |segment| segment.measures().collect())
        };
        let cold = cold_stages(plan);
        let mut samples = Self::default();
        // The `measure` stages of the current visit that have begun.
        let mut begun: HashSet<&str> = HashSet::new();
        // Time of the current visit's first answer to each prompt with its image.
        let mut answered: HashMap<(u32, Option<u32>), u64> = HashMap::new();
        // Ends of visits, by group, and the paths of models.
        let mut visited_by: HashMap<Key<'_>, Vec<&Visited>> = HashMap::new();
        let mut paths: HashMap<ModelKey<'_>, &str> = HashMap::new();
        // Time at which the loading of each engine began, and of its first token since.
        let mut started: HashMap<&str, (u64, Option<u64>)> = HashMap::new();
        let mut idle = None;
        for event in events {
            if let Event::IdlePower(power) = event {
                idle = Some(power);
            }
            if let Event::Request(record) = event {
                let id = &record.id;
                // The text of a cold request is unlike any other.
                if !cold.contains(&(id.point.as_deref(), id.stage.as_str())) {
                    samples.meet(record, &mut answered);
                }
                if let Some((_, first)) = started.get_mut(id.engine.as_str())
                    && record.ok()
                {
                    // The first to begin need not be the first to end.
                    let earliest = record.arrivals.first().map(|arrival| arrival.0);
                    *first = (*first).into_iter().chain(earliest).min();
                }
            }
            match event {
                Event::Stage {
                    stage,
                    id,
                    visit: Some(visit),
                    skipped,
                    at_ns,
                } => match (stage, skipped) {
                    (StageKind::Load, _) => {
                        begun.clear();
                        answered.clear();
                        started.insert(&visit.engine, (*at_ns, None));
                    }
                    (StageKind::Measure, false) => {
                        begun.insert(id.as_deref().unwrap_or(stage.name()));
                    }
                    (StageKind::Measure, true) => {
                        let sample = samples.of(visit, id.as_deref().unwrap_or(stage.name()));
                        sample.skipped.insert(visit.cycle);
                    }
                    _ => {}
                },
                Event::Request(record) if record.id.phase == Phase::Measure => {
                    samples.request(record);
                }
                Event::Model {
                    point, model, path, ..
                } => {
                    let point = point.as_deref();
                    paths.insert(ModelKey { point, model }, path);
                }
                Event::Client {
                    visit,
                    stage,
                    client,
                } => samples.of(visit, stage).clients.push(client),
                Event::Control {
                    visit,
                    single_ns,
                    all_cores_ns,
                    memory_ns,
                } => {
                    let ns = single_ns + all_cores_ns + memory_ns;
                    for stage in measures(visit) {
                        let controls = &mut samples.of(visit, &stage.id).controls;
                        let least = controls.entry(visit.cycle).or_insert(ns);
                        *least = ns.min(*least);
                    }
                }
                Event::Visit(visited) => {
                    let started = started.remove(visited.visit.engine.as_str());
                    let first = started.and_then(|(load, first)| first?.checked_sub(load));
                    for stage in measures(&visited.visit) {
                        let sample = samples.of(&visited.visit, &stage.id);
                        sample.visits.push(seen_by(stage, visited, first, idle));
                        if let Some(usage) = visited.energy.get(&stage.id) {
                            sample.gpus.extend(&usage.gpus);
                        }
                        let key = Key::of_visit(&visited.visit, &stage.id);
                        visited_by.entry(key).or_default().push(visited);
                    }
                }
                Event::Failed {
                    stage,
                    id,
                    scope,
                    step,
                    message,
                } => {
                    // In results, a missing model has no engine.
                    let of = scope.visit();
                    let failure = Failure {
                        engine: of.map_or_else(String::new, |visit| visit.engine.clone()),
                        cycle: of.map_or(0, |visit| visit.cycle),
                        stage: id.as_deref().unwrap_or(stage.name()).to_owned(),
                        message: message.clone(),
                    };
                    match scope {
                        Scope::Run => {}
                        Scope::Model { point, model } => {
                            let point = point.as_deref();
                            let of_model = samples.models.entry(ModelKey { point, model });
                            of_model.or_default().push(failure);
                        }
                        Scope::Visit(visit) => {
                            let measures = measures(visit);
                            samples.failed(visit, *stage, *step, failure, &measures, &begun);
                        }
                    }
                }
                _ => {}
            }
        }
        samples.groups.values_mut().for_each(make_up_visits);
        for sample in samples.groups.values_mut() {
            for visit in &mut sample.visits {
                visit.control_ns = sample.controls.get(&visit.cycle).copied();
            }
        }
        for (key, visited) in visited_by {
            let path = paths.get(&key.model).copied();
            let sample = samples.groups.entry(key).or_default();
            sample.account = account(key, path, &visited, &sample.records);
        }
        samples
    }

    /// Data of a group; empty if the run never reached it.
    pub(crate) fn group(&'a self, key: Key<'a>) -> &'a Sample<'a> {
        self.groups.get(&key).unwrap_or(&self.nothing)
    }

    /// Failures of a model before any engine.
    pub(crate) fn of_model(&'a self, model: ModelKey<'a>) -> &'a [Failure] {
        self.models.get(&model).map_or(&[], Vec::as_slice)
    }

    fn of(&mut self, visit: &'a Visit, measure: &'a str) -> &mut Sample<'a> {
        let key = Key::of_visit(visit, measure);
        self.groups.entry(key).or_default()
    }

    fn request(&mut self, record: &'a Record) {
        let sample = self.groups.entry(Key::of_request(record)).or_default();
        sample.records.push(record);
    }

    /// Records whether a request's prompt had been answered when it was sent. A request
    /// sent while the first was still in flight could not use the cache.
    fn meet(&mut self, record: &'a Record, answered: &mut HashMap<(u32, Option<u32>), u64>) {
        let at = &record.id;
        if !record.ok() {
            return;
        }
        let first = answered
            .entry((at.prompt, at.image))
            .or_insert(record.stamps.end_ns);
        *first = (*first).min(record.stamps.end_ns);
        if at.phase == Phase::Measure && *first <= record.stamps.sent_ns {
            let sample = self.groups.entry(Key::of_request(record)).or_default();
            sample.repeated.insert(at.cycle_and_index());
        }
    }

    /// Assigns a failure to the measurements that it affects: a failed request to its own
    /// stage; any other failure, which puts the engine in doubt, also to the stages that
    /// have not begun. Earlier measurements remain valid. A failure that affects nothing
    /// is reported with the last stage.
    fn failed(
        &mut self,
        visit: &'a Visit,
        kind: StageKind,
        step: bool,
        failure: Failure,
        measures: &[&'a Stage],
        begun: &HashSet<&str>,
    ) {
        let own = |stage: &Stage| kind == StageKind::Measure && stage.id == failure.stage;
        let later = |stage: &Stage| {
            kind != StageKind::Unload
                && (kind != StageKind::Measure || step)
                && !begun.contains(stage.id.as_str())
        };
        let mut touched: Vec<&Stage> = measures.to_vec();
        touched.retain(|stage| own(stage) || later(stage));
        for stage in &touched {
            let sample = self.of(visit, &stage.id);
            sample.failed.insert(visit.cycle);
        }
        if touched.is_empty() {
            touched.extend(measures.last());
        }
        for stage in touched {
            self.of(visit, &stage.id).failures.push(failure.clone());
        }
    }
}

/// The stages whose requests begin with a nonce, by matrix point and id: cold measurements,
/// and the warm-ups of matrix points that have one.
fn cold_stages(plan: &Plan) -> HashSet<(Option<&str>, &str)> {
    let is_cold = |stage: &Stage| stage.cache == Some(Cache::Cold);
    let stages = || {
        let segments = plan.segments.iter();
        segments.flat_map(|segment| {
            let point = segment.point.as_deref();
            segment.stages.iter().map(move |stage| (point, stage))
        })
    };
    let cold = stages().filter(|(_, stage)| is_cold(stage));
    let points: HashSet<Option<&str>> = cold.map(|(point, _)| point).collect();
    stages()
        .filter(|(point, stage)| match stage.phase {
            Phase::Warmup => points.contains(point),
            Phase::Measure => is_cold(stage),
        })
        .map(|(point, stage)| (point, stage.id.as_str()))
        .collect()
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
fn account(
    key: Key<'_>,
    path: Option<&str>,
    visited: &[&Visited],
    measured: &[&Record],
) -> Account {
    let names: Vec<&str> = std::iter::once(key.model.model).chain(path).collect();
    let settings = visited.iter().flat_map(|it| &it.settings);
    let counters = visited.iter().filter_map(|it| {
        let counters = it.counters.get(key.measure)?;
        Some((it.visit.cycle, counters.as_slice()))
    });
    Account {
        settings: account::settings(settings, &names),
        counts: account::counts(counters, measured),
    }
}

/// Completes visits left without a line by a killed run: they lasted as long as their
/// requests, so that tokens always come with time.
fn make_up_visits(sample: &mut Sample<'_>) {
    let known: BTreeSet<u32> = sample.visits.iter().map(|visit| visit.cycle).collect();
    let mut times = BTreeMap::<u32, (u64, u64)>::new();
    for record in &sample.records {
        let (start, end) = (record.stamps.intended_ns, record.stamps.end_ns);
        let time = times.entry(record.id.cycle).or_insert((start, end));
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
