//! From a journal to a result.

use crate::Result;
use crate::folder::RunFolder;
use crate::journal::{self, Event, Journal, ModelInfo, Scope, Started, Subject};
use crate::reader::{Placed, Reader};
use crate::samples::{Key, Sample, Samples};
use crate::source::RecordSource;
use prony_config::Order;
use prony_contract::Api;
use prony_machine::GpuUsage;
use prony_metrics::account;
use prony_metrics::cache::{by_counters, check as check_cache};
use prony_metrics::comparison::{
    Arm, Family, ModelComparison, Ratios, StudyDesign, compare, overall, ratios,
};
use prony_metrics::credit::Pairs;
use prony_metrics::facts::Facts;
use prony_metrics::served;
use prony_metrics::statistics::Look;
use prony_metrics::statistics::sequential::{ALPHA, ALPHA_EQUIVALENT};
use prony_metrics::summary;
use prony_metrics::threshold::{self, Measured};
use prony_metrics::validity;
use prony_plan::{ModelKey, Segment, Stage};
use prony_record::{Record, limited};
use prony_result::{
    Cache, CacheCheck, CacheOutcome, Client, Comparison, EngineInfo, EngineResult,
    Family as FamilyResult, GpuResult, ImageInfo, ModelResult, NoiseFloor, Outcome, Overall,
    Program, Rendering, Run, RunResult, SCHEMA, Selfcheck, TestStatistic, ThresholdResult, Verdict,
    Workload,
    words::{Flag, count, number, seconds, share},
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The result of the run in a folder, also of one that is still going on.
pub fn result_of(folder: &RunFolder) -> Result<RunResult> {
    // In this order: a run that ends in between has a last line.
    let running = journal::is_running(&folder.journal());
    let path = folder.journal();
    let mut reader = Reader::open(&path)?;
    let started = reader.started().clone();
    let mut seen = Seen::new(&started);
    seen.all(&mut reader)?;
    let ended = matches!(seen.others.last(), Some(Event::Finished { .. }));
    let mut result = seen.result(RecordSource::File(&path))?;
    if running && !ended {
        result.run.outcome = Outcome::Running;
    }
    Ok(result)
}

/// The result of a run, from its journal alone. A journal without an end is of
/// an interrupted run.
pub fn result(journal: &Journal) -> RunResult {
    let mut seen = Seen::new(&journal.started);
    for (position, event) in journal.events.iter().enumerate() {
        seen.see(Cow::Borrowed(event), position as u64);
    }
    let result = seen.result(RecordSource::Events(&journal.events));
    result.expect("what is at hand can be read again")
}

/// A journal as far as it was seen. Of its requests it keeps numbers.
struct Seen<'j> {
    started: &'j Started,
    samples: Samples<'j>,
    /// All events but requests: few, whatever the number of those.
    others: Vec<Event>,
    /// Requests that were sent twice, and all, by model and engine, with warm-ups.
    resent: BTreeMap<(String, String), (u64, u64)>,
    /// Requests whose prompt was cut, likewise: how many, and the counts of the first.
    cut: BTreeMap<(String, String), (u64, u32, u32)>,
    /// The latest time of an event.
    last_ns: u64,
}

impl<'j> Seen<'j> {
    fn new(started: &'j Started) -> Self {
        Self {
            started,
            samples: Samples::new(&started.plan),
            others: Vec::new(),
            resent: BTreeMap::new(),
            cut: BTreeMap::new(),
            last_ns: 0,
        }
    }

    fn all(&mut self, reader: &mut Reader) -> Result<()> {
        for placed in reader {
            let Placed { offset, event, .. } = placed?;
            self.see(Cow::Owned(event), offset);
        }
        Ok(())
    }

    fn see(&mut self, event: Cow<'_, Event>, position: u64) {
        self.samples.see(&event, position);
        match &*event {
            Event::Request(record) => self.request(record),
            other => {
                if let Event::Stage { at_ns, .. } | Event::Finished { at_ns, .. } = other {
                    self.last_ns = self.last_ns.max(*at_ns);
                }
                self.others.push(event.into_owned());
            }
        }
    }

    fn request(&mut self, record: &Record) {
        self.last_ns = self.last_ns.max(record.stamps.end_ns);
        let of = (record.id.model.clone(), record.id.engine.clone());
        if let (Some(read), Some(least)) = (record.prompt_tokens, record.least_prompt_tokens)
            && read < least
            && record.ok()
        {
            let first = (0, read, least);
            self.cut.entry(of.clone()).or_insert(first).0 += 1;
        }
        let (twice, all) = self.resent.entry(of).or_default();
        *twice += u64::from(record.resent);
        *all += 1;
    }

    fn result(mut self, source: RecordSource<'_>) -> Result<RunResult> {
        self.samples.finish();
        let Self {
            started,
            samples,
            others,
            resent,
            cut,
            last_ns,
        } = self;
        let compared = models(started, &samples, &others, source)?;
        let mut result = assembled(started, &others, compared, last_ns);
        let told = resent_words(&resent).into_iter().chain(cut_words(&cut));
        result.warnings.extend(told);
        // What happens in every visit is told once.
        let mut told = HashSet::new();
        result.warnings = result.warnings.iter().map(limited).collect();
        result
            .warnings
            .retain(|warning| told.insert(warning.clone()));
        name_images(&mut result, &others);
        Ok(result)
    }
}

/// The result, but for what is told of single requests.
fn assembled(started: &Started, events: &[Event], compared: Compared, last_ns: u64) -> RunResult {
    let subject = &started.subject;
    let (outcome, end_ns) = events
        .iter()
        // A resumed run may have been interrupted before.
        .rev()
        .take_while(|event| !matches!(event, Event::Resumed { .. }))
        .find_map(|event| match event {
            Event::Finished { outcome, at_ns, .. } => Some((*outcome, *at_ns)),
            _ => None,
        })
        .unwrap_or((Outcome::Interrupted, last_ns));
    let Compared {
        mut models,
        family,
        overall,
        thresholds,
        invalid,
    } = compared;
    flag_resumed(&mut models, events);
    let mut warnings = started.notes.clone();
    warnings.extend(events.iter().filter_map(|event| match event {
        Event::Warning { message } => Some(message.clone()),
        Event::Damaged { .. } => event.damage(),
        Event::Resumed {
            resumed_at, gap_s, ..
        } => Some(format!(
            "the run was broken off and resumed at {resumed_at}, after {} in which nothing ran",
            seconds(*gap_s)
        )),
        Event::Failed {
            scope: Scope::Run,
            stage,
            message,
            ..
        } => Some(format!("{} failed: {message}", stage.name())),
        Event::Pilot { .. } if is_last_pilot(event, events) => pilot(event, &models),
        Event::WithoutImages {
            visit,
            prompts,
            prompt_tokens,
        } if prompt_tokens.len() < *prompts as usize => Some(format!(
            "{}: of {} of {}, `{}` does not say how long they are without images, or was not asked, so it is not verified that images reached the model",
            visit.model,
            *prompts as usize - prompt_tokens.len(),
            count((*prompts).into(), "prompt"),
            visit.engine
        )),
        _ => None,
    }));
    warnings.extend(observations(&models));
    warnings.extend(
        models
            .iter()
            .filter_map(|it| other_prompts(it, subject.workload.api)),
    );
    warnings.extend(machine(events));
    warnings.extend(page_cache(events));
    RunResult {
        schema: SCHEMA.to_owned(),
        prony_version: started.prony_version.clone(),
        run: Run {
            id: started.id(),
            name: subject.name.clone(),
            description: subject.description.clone(),
            started_at: started.started_at.clone(),
            duration_s: end_ns as f64 / 1e9,
            outcome,
            pipeline_sha256: started.pipeline_sha256.clone(),
            cycles: subject.cycles,
            order: order(subject.order).to_owned(),
            seed: subject.seed,
        },
        workload: subject.workload.clone(),
        cells: subject.points.clone(),
        environment: started.environment.clone(),
        engines: engines(subject, events),
        plugins: started.plugins.clone(),
        thresholds,
        selfcheck: selfchecks(events),
        invalid,
        models,
        family,
        overall,
        warnings,
    }
}

/// The engines, with the programs that were started for them.
fn engines(subject: &Subject, events: &[Event]) -> Vec<EngineInfo> {
    let mut engines = subject.engines.clone();
    for event in events {
        if let Event::Program {
            visit,
            program,
            packages,
        } = event
            && let Some(engine) = engines.iter_mut().find(|it| it.name == visit.engine)
        {
            let program = Program {
                path: program.clone(),
                packages: packages.clone(),
            };
            if !engine.programs.contains(&program) {
                engine.programs.push(program);
            }
        }
    }
    engines
}

/// One result per matrix point, model and `measure` stage for which visits were planned.
fn models(
    started: &Started,
    samples: &Samples<'_>,
    events: &[Event],
    source: RecordSource<'_>,
) -> Result<Compared> {
    let mut planned: HashMap<ModelKey<'_>, HashSet<&str>> = HashMap::new();
    for visit in &started.plan.visits {
        let engines = planned.entry(visit.of_model()).or_default();
        engines.insert(&visit.engine);
    }
    let mut segments: HashMap<Option<&str>, Vec<&Segment>> = HashMap::new();
    for segment in &started.plan.segments {
        let of_point = segments.entry(segment.point.as_deref()).or_default();
        of_point.push(segment);
    }
    let mut files: HashMap<ModelKey<'_>, (&String, &Option<String>)> = HashMap::new();
    for event in events {
        if let Event::Model {
            point,
            model,
            path,
            sha256,
        } = event
        {
            let point = point.as_deref();
            files.insert(ModelKey { point, model }, (path, sha256));
        }
    }
    let mut request_sets: HashMap<ModelKey<'_>, &String> = HashMap::new();
    for event in events {
        if let Event::RequestSet {
            point,
            model,
            sha256,
            ..
        } = event
        {
            let point = point.as_deref();
            request_sets.insert(ModelKey { point, model }, sha256);
        }
    }
    let mut renderings: HashMap<ModelKey<'_>, &Rendering> = HashMap::new();
    for event in events {
        if let Event::Rendering {
            point,
            model,
            rendering,
        } = event
        {
            let point = point.as_deref();
            renderings.insert(ModelKey { point, model }, rendering);
        }
    }
    let mut groups = Vec::new();
    for model in &started.subject.models {
        let key = model.key();
        let (Some(engines), Some(segments)) = (planned.get(&key), segments.get(&key.point)) else {
            continue;
        };
        let stages = || {
            segments
                .iter()
                .flat_map(|segment| segment.measures().map(move |it| (segment, it)))
        };
        let several = stages().nth(1).is_some();
        for (segment, stage) in stages() {
            groups.push(Group {
                started,
                samples,
                source,
                model,
                file: files.get(&key).copied(),
                request_set: request_sets.get(&key).copied(),
                rendering: renderings.get(&key).copied(),
                engines,
                segment,
                stage,
                several,
            });
        }
    }
    judged(&groups, invalid_run(events))
}

/// The models, and what holds for several together.
struct Compared {
    models: Vec<ModelResult>,
    family: Option<FamilyResult>,
    overall: Vec<Overall>,
    thresholds: Vec<ThresholdResult>,
    /// Reasons why the numbers are invalid.
    invalid: Vec<String>,
}

/// All comparisons are judged together, so their numbers come first. If any number of the run
/// is `invalid`, none of them has a verdict.
fn judged(groups: &[Group<'_>], mut invalid: Vec<String>) -> Result<Compared> {
    let all_pairs = groups.iter().map(Group::pairs);
    let mut pairs: Vec<Vec<Compare<'_>>> = all_pairs.collect::<Result<_>>()?;
    let numbers: Vec<Ratios> = groups
        .iter()
        .zip(&pairs)
        .flat_map(|(group, pairs)| {
            let design = design(&group.started.subject, group.stage);
            let of = move |it: &Compare<'_>| ratios(it.baseline, it.candidate, &it.pairs, design);
            pairs.iter().map(of)
        })
        .collect();
    for it in pairs.iter_mut().flatten() {
        it.pairs.forget_parts();
    }
    let Some(first) = groups.first() else {
        return Ok(Compared {
            models: Vec::new(),
            family: None,
            overall: Vec::new(),
            thresholds: Vec::new(),
            invalid,
        });
    };
    let StudyDesign {
        margin_percent,
        cycles,
        ..
    } = design(&first.started.subject, first.stage);
    let family = match first.started.subject.judged_by {
        Some(by) => Family::by(by.rule, numbers.len().max(by.comparisons as usize)),
        None => Family::new(margin_percent, cycles, numbers.len()),
    };
    let looks: Vec<Option<Look>> = family.looks(&numbers);
    let mut judged = numbers.iter().zip(looks);
    let mut models = Vec::new();
    let mut shares: Vec<(usize, Comparison, &Ratios)> = Vec::new();
    for (index, (group, pairs)) in groups.iter().zip(&pairs).enumerate() {
        let of_group = judged.by_ref().take(pairs.len());
        let mut comparisons = Vec::new();
        for (it, (numbers, look)) in pairs.iter().zip(of_group) {
            let planned = design(&group.started.subject, group.stage);
            let (baseline, candidate) = (it.baseline, it.candidate);
            let comparison = compare(
                baseline, candidate, &it.pairs, planned, numbers, family, look,
            );
            shares.push((index, comparison.clone(), numbers));
            comparisons.push(comparison);
        }
        let model = group.result(comparisons)?;
        invalid.extend(group.invalid(&model));
        models.push(model);
    }
    if let Some(reason) = invalid.first() {
        let obstacle = format!("the numbers are not valid: {reason}");
        let of_models = models.iter_mut().flat_map(|it| &mut it.comparisons);
        let all = of_models.chain(shares.iter_mut().map(|it| &mut it.1));
        all.for_each(|comparison| comparison.withhold(&obstacle));
    }
    let judged_together = family.comparisons() as u32;
    let family = (!shares.is_empty()).then(|| {
        let having = |wanted: &dyn Fn(Verdict) -> bool| {
            shares.iter().filter(|it| wanted(it.1.verdict)).count() as u32
        };
        FamilyResult {
            comparisons: judged_together,
            alpha: ALPHA,
            alpha_equivalent: ALPHA_EQUIVALENT / 2.0,
            winners: having(&|it| matches!(it, Verdict::Faster | Verdict::Slower)),
            equivalent: having(&|it| it == Verdict::Equivalent),
            inconclusive: having(&|it| it == Verdict::Inconclusive),
        }
    });
    let overall = over_models(&models, &shares, margin_percent, cycles);
    let measured: Vec<Measured<'_>> = groups
        .iter()
        .zip(&models)
        .map(|(group, model)| group.measured(model))
        .collect();
    Ok(Compared {
        thresholds: threshold::judge(&first.started.subject.thresholds, &measured),
        models,
        family,
        overall,
        invalid,
    })
}

/// Two engines that are compared, with their answers side by side.
struct Compare<'a> {
    baseline: Arm<'a>,
    candidate: Arm<'a>,
    pairs: Pairs,
}

/// The geometric means: one for each matrix point, `measure` stage and candidate.
fn over_models(
    models: &[ModelResult],
    shares: &[(usize, Comparison, &Ratios)],
    margin_percent: f64,
    cycles: u32,
) -> Vec<Overall> {
    let mut keys = Vec::new();
    let mut means = Vec::new();
    for (index, comparison, _) in shares {
        let key = |index: &usize, it: &Comparison| {
            let model = &models[*index];
            (
                model.cell.clone(),
                model.measure.clone(),
                it.candidate.clone(),
            )
        };
        let this = key(index, comparison);
        if keys.contains(&this) {
            continue;
        }
        let parts: Vec<ModelComparison<'_>> = shares
            .iter()
            .filter(|(index, comparison, _)| key(index, comparison) == this)
            .map(|(index, comparison, numbers)| ModelComparison {
                model: &models[*index].id,
                comparison,
                numbers,
            })
            .collect();
        if let Some(mean) = overall(&parts, margin_percent, cycles) {
            let (point, measure, _) = this.clone();
            means.push(Overall {
                cell: point,
                measure,
                ..mean
            });
        }
        keys.push(this);
    }
    means
}

/// One entry of a result: a model at a matrix point in one `measure` stage.
struct Group<'a> {
    started: &'a Started,
    samples: &'a Samples<'a>,
    source: RecordSource<'a>,
    model: &'a ModelInfo,
    /// Path and digest.
    file: Option<(&'a String, &'a Option<String>)>,
    /// Digest of what was sent.
    request_set: Option<&'a String>,
    /// Rendering of its conversations.
    rendering: Option<&'a Rendering>,
    /// Engines with planned visits.
    engines: &'a HashSet<&'a str>,
    segment: &'a Segment,
    stage: &'a Stage,
    /// `true` if the matrix point has other `measure` stages.
    several: bool,
}

impl<'a> Group<'a> {
    /// The engines that were to be visited, in the pipeline's order.
    fn visited(&self) -> Vec<(&'a str, &'a Sample)> {
        let engines = self.started.subject.engines.iter();
        let names = engines.map(|engine| engine.name.as_str());
        names
            .filter(|name| self.engines.contains(name))
            .map(|name| (name, self.sample(name)))
            .collect()
    }

    /// The pairs that are compared: the baseline with each candidate.
    fn pairs(&self) -> Result<Vec<Compare<'a>>> {
        let visited = self.visited();
        let mut engines = self.started.subject.engines.iter();
        let Some(baseline) = engines.find(|engine| engine.baseline) else {
            return Ok(Vec::new());
        };
        let (mut of_baseline, candidates): (Vec<_>, Vec<_>) =
            visited.into_iter().partition(|it| it.0 == baseline.name);
        let Some(baseline) = of_baseline.pop() else {
            return Ok(Vec::new());
        };
        let pair = |candidate: (&'a str, &'a Sample)| {
            let requests = (&baseline.1.requests, &candidate.1.requests);
            Ok(Compare {
                baseline: arm(baseline),
                candidate: arm(candidate),
                pairs: self.source.pairs(requests.0, requests.1)?,
            })
        };
        candidates.into_iter().map(pair).collect()
    }

    fn result(&self, comparisons: Vec<Comparison>) -> Result<ModelResult> {
        let visited = self.visited();
        let of_model = self.samples.of_model(self.model.key());
        let of_engines = visited.iter().flat_map(|(_, sample)| &sample.failures);
        let before = self
            .segment
            .stages
            .iter()
            .take_while(|it| it.id != self.stage.id);
        let warmups = before.filter(|it| it.phase == prony_record::Phase::Warmup);
        let measured = visited.iter().filter(|(_, sample)| !sample.is_left_out());
        let engines = measured.map(|(name, sample)| self.engine(name, sample));
        Ok(ModelResult {
            id: self.model.id.clone(),
            size: self.model.size.clone(),
            path: self.file.map(|(path, _)| path.clone()),
            sha256: self.file.and_then(|(_, sha256)| sha256.clone()),
            revision: self.model.revision.clone(),
            tape: self.request_set.cloned(),
            rendering: self.rendering.cloned(),
            cell: self.model.point.clone(),
            measure: self.several.then(|| self.stage.id.clone()),
            warmup_requests: warmups.map(|it| it.requests).sum(),
            requests_per_visit: self.stage.requests,
            concurrency: self.stage.concurrency,
            arrival: self.stage.arrival.clone(),
            seconds: self.stage.seconds,
            cache: self.stage.cache.map(cache),
            engines: engines.collect::<Result<_>>()?,
            comparisons,
            noise_floor: self.noise_floor(),
            failures: of_model.iter().chain(of_engines).cloned().collect(),
        })
    }

    fn engine(&self, name: &str, sample: &Sample) -> Result<EngineResult> {
        let Sample {
            requests,
            visits,
            gpus,
            client,
            failed,
            account,
            ..
        } = sample;
        let concurrency = self.stage.concurrency;
        let streams = self.source.streams(requests)?;
        let mut engine = summary::engine(name, requests, &streams, visits, concurrency);
        let all = requests.all();
        engine.gpus = used_gpus(gpus);
        engine.client.clone_from(client);
        let repeated = |it: &Facts| it.is_repeated;
        engine.cache = self.stage.cache.map(|stated| {
            let stated = cache(stated);
            let check = check_cache(stated, &all, repeated);
            let by_counters = || by_counters(stated, &all, repeated, account);
            let is_silent = check.counted == 0;
            is_silent.then(by_counters).flatten().unwrap_or(check)
        });
        engine.settings.clone_from(&account.settings);
        engine.own_counts.clone_from(&account.counts);
        engine.by_cycle = summary::by_cycle(
            &all,
            visits,
            failed,
            // With a limit in time, as many as there was time for.
            self.stage.seconds.map_or(self.stage.requests, |_| 1) as usize,
            concurrency,
        );
        Ok(engine)
    }

    /// Reasons why the numbers of its engines are invalid; empty if they are valid. One visit in
    /// ten may be one in which the load client was late.
    fn invalid(&self, model: &ModelResult) -> Vec<String> {
        let of_engine = |engine: &EngineResult| {
            let usual = EngineResult {
                client: Client::of_most_visits(&self.sample(&engine.engine).clients),
                ..engine.clone()
            };
            let label = format!("{}: `{}`", model.label(), engine.engine);
            let reasons = validity::reasons(&usual, model.cache).into_iter();
            let labelled = reasons.map(|reason| format!("{label}: {reason}"));
            labelled.collect::<Vec<_>>()
        };
        model.engines.iter().flat_map(of_engine).collect()
    }

    /// The measurement that thresholds bound.
    fn measured(&'a self, model: &'a ModelResult) -> Measured<'a> {
        let points = &self.started.subject.points;
        let point = points
            .iter()
            .find(|it| Some(&it.id) == self.model.point.as_ref());
        let visited = self.visited().into_iter();
        Measured {
            model,
            measure: &self.stage.id,
            matrix: point.map(|it| &it.matrix),
            records: visited
                .map(|(name, sample)| (name, sample.requests.facts()))
                .collect(),
        }
    }

    fn sample(&self, engine: &str) -> &'a Sample {
        let key = Key::new(self.model.key(), engine, &self.stage.id);
        self.samples.group(&key)
    }

    fn noise_floor(&self) -> Option<NoiseFloor> {
        let known = self.started.noise.iter().find(|known| {
            (&known.point, &known.model, &known.measure)
                == (&self.model.point, &self.model.id, &self.stage.id)
        });
        known.map(|known| known.floor.clone())
    }
}

/// The planned size of a stage's study.
pub(crate) fn design(subject: &Subject, stage: &Stage) -> StudyDesign {
    StudyDesign {
        cycles: subject.cycles,
        requests_per_visit: stage.requests,
        concurrency: stage.concurrency,
        margin_percent: subject.margin_percent,
        // Verdicts of before there was a choice spoke of the throughput.
        statistic: stage.statistic.unwrap_or(TestStatistic::Throughput),
        tests_carry_over: stage.tests_carry_over,
    }
}

/// The order of engines, as results have it.
fn order(order: Order) -> &'static str {
    match order {
        Order::Interleaved => "interleaved",
        Order::Sequential => "sequential",
    }
}

fn cache(stated: prony_config::Cache) -> Cache {
    match stated {
        prony_config::Cache::Cold => Cache::Cold,
        prony_config::Cache::Warm => Cache::Warm,
    }
}

pub(crate) fn arm<'a>((name, sample): (&'a str, &'a Sample)) -> Arm<'a> {
    Arm {
        name,
        requests: &sample.requests,
        visits: &sample.visits,
        failed: &sample.failed,
        skipped: &sample.skipped,
        account: &sample.account,
    }
}

/// Fills in the digests of the images, which were not known at the start.
fn name_images(result: &mut RunResult, events: &[Event]) {
    let mut digests: HashMap<&str, &String> = HashMap::new();
    for event in events {
        if let Event::Image { path, sha256 } = event {
            digests.insert(path, sha256);
        }
    }
    let own = result
        .cells
        .iter_mut()
        .filter_map(|point| point.workload.as_mut());
    let workloads = std::iter::once(&mut result.workload).chain(own);
    let images = workloads.flat_map(|workload: &mut Workload| &mut workload.images);
    for ImageInfo { path, sha256 } in images {
        *sha256 = digests.get(path.as_str()).map(|digest| (*digest).clone());
    }
}

/// Returns `true` for the last forecast of its model; a resumed run may have made several.
fn is_last_pilot(event: &Event, events: &[Event]) -> bool {
    let of = |event: &Event| match event {
        Event::Pilot { point, model, .. } => Some((point.clone(), model.clone())),
        _ => None,
    };
    let mut later = events.iter().rev().filter(|it| of(it) == of(event));
    later.next().is_some_and(|last| std::ptr::eq(last, event))
}

/// Warning that a difference as large as the margin is not expected to be found.
/// A verdict makes it void, and so does a forecast from all cycles.
fn pilot(event: &Event, models: &[ModelResult]) -> Option<String> {
    let Event::Pilot {
        point,
        model,
        expected_cycles,
        detectable_percent,
        feasible: false,
        ..
    } = event
    else {
        return None;
    };
    let same = |it: &&ModelResult| it.id == *model && it.cell == *point;
    let mut comparisons = models.iter().filter(same).flat_map(|it| &it.comparisons);
    // All cycles tell more than the first.
    if comparisons.all(|it| it.verdict != Verdict::Inconclusive || it.needs_cycles.is_some()) {
        return None;
    }
    let point = point
        .as_ref()
        .map_or_else(String::new, |point| format!(" · {point}"));
    Some(format!(
        "{model}{point}: by its first cycles, to detect a difference as large as the margin would take about {expected_cycles} cycles, more than there may be; those can detect about {detectable_percent:.1} %"
    ))
}

/// Warnings that follow from the numbers themselves.
fn observations(models: &[ModelResult]) -> Vec<String> {
    let mut warnings = Vec::new();
    for model in models {
        let label = model.label();
        for engine in &model.engines {
            let unverified = engine
                .cache
                .as_ref()
                .filter(|check| check.outcome == CacheOutcome::Unverified);
            if let (Some(stated), Some(check)) = (model.cache, unverified) {
                warnings.push(format!(
                    "{label}: {}",
                    cache_unverified(&engine.engine, stated, check)
                ));
            }
            if let Some(check) = engine.token_check.as_ref().filter(|it| it.mismatched > 0) {
                warnings.push(format!(
                    "{label}: `{}` and the tokenizer count different tokens in {} of {}: {} and {} in all, {} at most in one",
                    engine.engine,
                    check.mismatched,
                    count(check.requests, "request"),
                    check.engine_tokens,
                    check.counted_tokens,
                    check.largest_difference
                ));
            }
            if let Some(check) = engine.prompt_check.as_ref().filter(|it| it.mismatched > 0) {
                warnings.push(format!(
                    "{label}: `{}` got another prompt than prony renders in {} of {}: {:+} tokens at most, by its own count",
                    engine.engine,
                    check.mismatched,
                    count(check.counted, "request"),
                    check.largest_difference.unwrap_or_default()
                ));
            }
            if model.cache.is_none() && engine.cached_tokens > 0 {
                warnings.push(format!(
                    "{label}: `{}` answered {} prompt tokens from its prefix cache, so its time to first token is of a warm cache",
                    engine.engine, engine.cached_tokens
                ));
            }
            if engine.succeeded > 0 && engine.output_tokens_per_sec.is_none() {
                warnings.push(format!(
                    "{label}: `{}` does not say how many tokens it generated, so it has no throughput: with a `tokenizer` of the model prony counts them",
                    engine.engine
                ));
            }
            let other = served::problem(engine).into_iter();
            let of_account = account::problems(engine);
            let problems = other.chain(of_account);
            warnings.extend(problems.map(|problem| format!("{label}: {problem}")));
            warnings.extend(streams(&label, engine));
        }
    }
    warnings
}

/// Engines that count different tokens of the same prompts.
fn other_prompts(model: &ModelResult, api: Api) -> Option<String> {
    /// Difference of two means of which one token in every prompt makes two of it.
    const MIN_DIFFERENCE: f64 = 0.5;
    let counts = model.engines.iter().filter_map(|engine| {
        let counts = engine.prompt_tokens_per_request.as_ref()?;
        Some((engine.engine.as_str(), counts.n, counts.mean))
    });
    let counts: Vec<(&str, u64, f64)> = counts.collect();
    let (_, requests, mean) = *counts.first()?;
    // Of other requests the counts would say nothing.
    let is_alike = counts.iter().all(|(_, n, _)| *n == requests);
    let differs = |it: &(&str, u64, f64)| (it.2 - mean).abs() >= MIN_DIFFERENCE;
    if !is_alike || !counts.iter().any(differs) {
        return None;
    }
    let counts = counts.iter();
    let counts = counts.map(|(name, _, mean)| format!("`{name}` {}", number(*mean)));
    let cure = match api {
        Api::Chat => "; `workload: { api: completions }` sends prompts as they are",
        Api::Completions => "",
    };
    Some(format!(
        "{}: the engines count different tokens of the same prompts ({} on average): their chat templates or tokenizers differ{cure}",
        model.label(),
        counts.collect::<Vec<_>>().join(", ")
    ))
}

/// Tokens in a piece of text above which an engine's times are not those of tokens.
const COARSE: f64 = 1.5;

/// Warnings about an engine's streams.
fn streams(label: &str, engine: &EngineResult) -> Vec<String> {
    /// A stream that goes on for so long after the answer is told, in milliseconds.
    const MIN_TAIL_MS: f64 = 5.0;
    let name = &engine.engine;
    let of_notes = engine.notes.iter().map(|(note, requests)| {
        let of = count(engine.succeeded, "request");
        format!("{label}: `{name}`, {requests} of {of}: {note}")
    });
    let mut warnings: Vec<String> = of_notes.collect();
    let pieces = engine.cadence.arrivals_per_token.filter(|it| *it > 0.0);
    if let Some(tokens) = pieces.map(|it| 1.0 / it).filter(|it| *it > COARSE) {
        warnings.push(format!(
            "{label}: `{name}` sends {tokens:.1} tokens at a time: its time to first token has some of the decoding in it, so prefill and decode cannot be told apart; let its server send each token, if it can"
        ));
    }
    if let Some(hidden) = engine.hidden_tokens {
        warnings.push(format!(
            "{label}: `{name}` generated {} of reasoning that it did not send, by its own count; they are in no rate",
            count(hidden, "token")
        ));
    }
    if let Some(tail) = &engine.stream_tail_ms
        && tail.p50 > MIN_TAIL_MS
    {
        warnings.push(format!(
            "{label}: the streams of `{name}` go on for {:.0} ms (p50) after the answer, which is no part of its latency",
            tail.p50
        ));
    }
    warnings
}

/// Flags the comparisons of models in whose cycles the run was broken off and resumed.
fn flag_resumed(models: &mut [ModelResult], events: &[Event]) {
    let mut at = None;
    for event in events {
        match event {
            Event::Stage {
                visit: Some(visit), ..
            } => at = Some(visit),
            Event::Resumed { .. } => {
                let is_own = |it: &&mut ModelResult| {
                    at.is_some_and(|at| (&it.cell, &it.id) == (&at.point, &at.model))
                };
                for model in models.iter_mut().filter(is_own) {
                    for comparison in &mut model.comparisons {
                        let name = Flag::Resumed.name().to_owned();
                        if !comparison.flags.contains(&name) {
                            comparison.flags.push(name);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

/// The checks of the load client before the run.
fn selfchecks(events: &[Event]) -> Vec<Selfcheck> {
    let check = |event: &Event| match event {
        Event::Selfcheck(check) => Some((**check).clone()),
        _ => None,
    };
    events.iter().filter_map(check).collect()
}

/// Warning that the state of an engine's prefix cache is not verified, with the reason.
fn cache_unverified(engine: &str, stated: Cache, check: &CacheCheck) -> String {
    let state = stated.name();
    let CacheCheck {
        requests,
        counted,
        unexplained,
        ..
    } = check;
    if *requests == 0 {
        return format!(
            "whether `{engine}` had a {state} prefix cache is not verified: no prompt came again after it had been answered"
        );
    }
    if let Some(unexplained) = unexplained {
        let advice = if check.by_counters {
            "its answers do not tell of which request; switch its prefix cache off"
        } else {
            "add the `tokenizer` of the model (of prompts with images it tells nothing), or switch its prefix cache off"
        };
        return format!(
            "whether `{engine}` had a {state} prefix cache is not verified: it found {} of the prompt tokens of {} there, and of {unexplained} of them nothing tells whether all were of the chat template's beginning: {advice}",
            share(check.cached_share.unwrap_or_default()),
            count(*counted, "request")
        );
    }
    format!(
        "whether `{engine}` had a {state} prefix cache is not verified: it reports cached prompt tokens for {counted} of {}",
        count(*requests, "request")
    )
}

/// Reasons why damage of the journal or the checks of the load client make all numbers invalid.
fn invalid_run(events: &[Event]) -> Vec<String> {
    let mut reasons = Vec::new();
    for event in events {
        if let Event::Damaged { missing: 1.., .. } = event {
            reasons.extend(event.damage());
        }
    }
    for check in selfchecks(events) {
        let of_check = check.invalid.iter();
        reasons.extend(of_check.map(|reason| format!("selfcheck, {}: {reason}", check.arrival)));
    }
    reasons
}

/// Warnings about the machine: each kind once, with the number of visits that saw it.
fn machine(events: &[Event]) -> Vec<String> {
    let (mut visits, mut kinds) = (0, Vec::<(&str, &str, u64)>::new());
    for event in events {
        if let Event::Visit(visited) = event {
            visits += 1;
            // Several of a kind, as of two GPUs, are of one visit.
            let mut seen = HashSet::new();
            let machine = visited.machine.iter();
            for warning in machine.filter(|warning| seen.insert(&warning.code)) {
                let known = kinds.iter_mut().find(|(code, ..)| *code == warning.code);
                match known {
                    Some((_, _, count)) => *count += 1,
                    None => kinds.push((&warning.code, &warning.message, 1)),
                }
            }
        }
    }
    let told = |(_, message, count): (&str, &str, u64)| {
        if count == 1 && visits == 1 {
            message.to_owned()
        } else {
            format!("in {count} of {visits} visits the machine was not quiet: {message}")
        }
    };
    kinds.into_iter().map(told).collect()
}

/// Difference between shares of a model in memory above which load times do not compare.
const MAX_PAGE_CACHE_DIFFERENCE: f64 = 0.5;

/// An engine and the share of its model that was in memory.
type Cached<'a> = (&'a str, f64);

/// The least and the most of one cycle, if they differ by more than [`MAX_PAGE_CACHE_DIFFERENCE`].
fn apart<'a>(shares: &[Cached<'a>]) -> Option<[Cached<'a>; 2]> {
    let by_share = |one: &&Cached<'_>, other: &&Cached<'_>| one.1.total_cmp(&other.1);
    let least = *shares.iter().min_by(by_share)?;
    let most = *shares.iter().max_by(by_share)?;
    (most.1 - least.1 > MAX_PAGE_CACHE_DIFFERENCE).then_some([least, most])
}

/// Cycles in which one engine read a model from the disk that another found in memory, per
/// model.
fn page_cache(events: &[Event]) -> Vec<String> {
    type Shares<'a> = BTreeMap<u32, Vec<Cached<'a>>>;
    let mut models = BTreeMap::<(Option<&str>, &str), Shares<'_>>::new();
    for event in events {
        if let Event::Visit(visited) = event
            && let (Some(share), Some(_)) = (visited.page_cache_share, visited.load_time_ns)
        {
            let visit = &visited.visit;
            let key = (visit.point.as_deref(), visit.model.as_str());
            let of_model = models.entry(key).or_default();
            let of_cycle = of_model.entry(visit.cycle).or_default();
            of_cycle.push((&visit.engine, share));
        }
    }
    let warning = |((point, model), cycles): ((Option<&str>, &str), Shares<'_>)| {
        let model = point.map_or_else(|| model.to_owned(), |point| format!("{model} · {point}"));
        let all = cycles.len();
        let mut unlike = cycles
            .into_iter()
            .filter_map(|(cycle, shares)| Some((cycle, apart(&shares)?)))
            .peekable();
        let (cycle, [least, most]) = *unlike.peek()?;
        let unlike = unlike.count();
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        Some(format!(
            "{model}: in {unlike} of {} the engines did not find the model alike in memory when they were started (cycle {cycle}: `{}` {} of it, `{}` {}), so their load times of these cycles do not compare",
            count(all as u64, "cycle"),
            least.0,
            percent(least.1),
            most.0,
            percent(most.1),
        ))
    };
    models.into_iter().filter_map(warning).collect()
}

/// The GPUs of an engine over all its visits: means are weighted by their samples.
fn used_gpus(usages: &[GpuUsage]) -> Vec<GpuResult> {
    let mut by_index = BTreeMap::<u32, Vec<&GpuUsage>>::new();
    for usage in usages {
        by_index.entry(usage.index).or_default().push(usage);
    }
    let of_gpu = |(index, usages): (u32, Vec<&GpuUsage>)| {
        let mean = |of: &dyn Fn(&GpuUsage) -> Option<f64>| {
            let (mut sum, mut samples) = (0.0, 0.0);
            for (value, count) in usages.iter().filter_map(|it| Some((of(it)?, it.samples))) {
                sum += value * f64::from(count);
                samples += f64::from(count);
            }
            (samples > 0.0).then(|| sum / samples)
        };
        let reasons: BTreeSet<&String> = usages.iter().flat_map(|it| it.throttled.keys()).collect();
        let share = |reason: &String| {
            let of_visit = |it: &GpuUsage| Some(it.throttled.get(reason).copied().unwrap_or(0.0));
            Some((reason.clone(), mean(&of_visit)?))
        };
        GpuResult {
            index,
            mean_sm_clock_mhz: mean(&|it| it.mean_sm_clock_mhz),
            max_temperature_c: usages.iter().filter_map(|it| it.max_temperature_c).max(),
            throttled: reasons.into_iter().filter_map(share).collect(),
        }
    };
    by_index.into_iter().map(of_gpu).collect()
}

/// Requests that were sent twice, per model and engine, with warm-ups, since they too meet
/// a connection that the server has closed.
fn resent_words(counts: &BTreeMap<(String, String), (u64, u64)>) -> Vec<String> {
    let warning = |((model, engine), (twice, all)): (&(String, String), &(u64, u64))| {
        format!(
            "{model}: `{engine}` had closed the connection that {twice} of its {} (warm-ups counted) went out on, so they were sent again on a new one; nothing needs to be done: their time counts from the first sending",
            count(*all, "request")
        )
    };
    let told = counts.iter().filter(|(_, (twice, _))| *twice > 0);
    told.map(warning).collect()
}

/// Prompts of which an engine read less than there is.
fn cut_words(cut: &BTreeMap<(String, String), (u64, u32, u32)>) -> Vec<String> {
    let warning = |((model, engine), (requests, read, least)): (&(String, String), &_)| {
        format!(
            "{model}: `{engine}` read only part of the prompt in {} (warm-ups counted): it counts {read} prompt tokens where there are at least {least}, so the prompt was probably cut to its context; give it a longer context, or shorter prompts",
            count(*requests, "request")
        )
    };
    cut.iter().map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The result of a journal of which at most so many durations stay in memory.
    fn of_file(path: &Path, most_kept: usize) -> RunResult {
        let mut reader = Reader::open(path).expect("a journal");
        let started = reader.started().clone();
        let mut seen = Seen::new(&started);
        seen.samples.keep_at_most(most_kept);
        seen.all(&mut reader).expect("events");
        seen.result(RecordSource::File(path)).expect("a result")
    }

    #[test]
    fn what_is_read_again_gives_the_result_of_what_is_at_hand() {
        for run in ["broken", "compared"] {
            let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
            let path = fixtures.join(run).join("journal.jsonl");
            let at_hand = result(&crate::read(&path).expect("a journal"));
            for most_kept in [usize::MAX, 100, 0] {
                assert_eq!(
                    of_file(&path, most_kept),
                    at_hand,
                    "{run}, {most_kept} kept"
                );
            }
        }
    }

    #[test]
    fn a_journal_that_is_cut_while_it_is_read_is_an_error() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compared");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        std::fs::copy(fixture.join("journal.jsonl"), &path).expect("a copy");
        let mut reader = Reader::open(&path).expect("a journal");
        let started = reader.started().clone();
        let mut seen = Seen::new(&started);
        seen.all(&mut reader).expect("events");
        let file = std::fs::File::options().write(true).open(&path);
        file.and_then(|file| file.set_len(10_000)).expect("cut");
        let error = seen
            .result(RecordSource::File(&path))
            .expect_err("it changed");
        assert!(matches!(error, crate::Error::Changed { .. }), "{error}");
    }
}
