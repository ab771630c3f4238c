//! From a journal to a result.

use crate::Result;
use crate::folder::RunFolder;
use crate::journal::{self, Event, Journal, ModelInfo, Scope, Started, Subject};
use crate::samples::{Key, Sample, Samples};
use prony_config::Order;
use prony_contract::Api;
use prony_machine::GpuUsage;
use prony_metrics::account;
use prony_metrics::cache::{by_counters, check as check_cache};
use prony_metrics::comparison::{
    Arm, Family, ModelComparison, Ratios, StudyDesign, compare, overall, ratios,
};
use prony_metrics::served;
use prony_metrics::statistics::Look;
use prony_metrics::statistics::sequential::{ALPHA, ALPHA_EQUIVALENT};
use prony_metrics::summary;
use prony_metrics::threshold::{self, Measured};
use prony_metrics::validity;
use prony_plan::{ModelKey, Segment, Stage};
use prony_record::Record;
use prony_result::{
    Cache, CacheCheck, CacheOutcome, Comparison, EngineInfo, EngineResult, Family as FamilyResult,
    GpuResult, ImageInfo, ModelResult, NoiseFloor, Outcome, Overall, Program, Rendering, Run,
    RunResult, SCHEMA, Selfcheck, TestStatistic, ThresholdResult, Verdict, Workload,
    words::{count, number, share},
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The result of the run in a folder, also of one that is still going on.
pub fn result_of(folder: &RunFolder) -> Result<RunResult> {
    // In this order: a run that ends in between has a last line.
    let running = journal::is_running(&folder.journal());
    let journal = journal::read(&folder.journal())?;
    let mut result = result(&journal);
    let ended = matches!(journal.events.last(), Some(Event::Finished { .. }));
    if running && !ended {
        result.run.outcome = Outcome::Running;
    }
    Ok(result)
}

/// The result of a run, from its journal alone. A journal without an end is of
/// an interrupted run.
pub fn result(journal: &Journal) -> RunResult {
    let Journal { started, events } = journal;
    let subject = &started.subject;
    let (outcome, end_ns) = events
        .iter()
        .find_map(|event| match event {
            Event::Finished { outcome, at_ns } => Some((*outcome, *at_ns)),
            _ => None,
        })
        .unwrap_or_else(|| (Outcome::Interrupted, last_ns(events)));
    let Compared {
        models,
        family,
        overall,
        thresholds,
    } = models(started, events);
    let mut warnings = started.notes.clone();
    warnings.extend(events.iter().filter_map(|event| match event {
        Event::Warning { message } => Some(message.clone()),
        Event::Failed {
            scope: Scope::Run,
            stage,
            message,
            ..
        } => Some(format!("{} failed: {message}", stage.name())),
        Event::Pilot { .. } => pilot(event, &models),
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
    warnings.extend(resent(events));
    warnings.extend(cut_prompts(events));
    // What happens in every visit is told once.
    let mut told = HashSet::new();
    warnings.retain(|warning| told.insert(warning.clone()));
    let mut result = RunResult {
        schema: SCHEMA.to_owned(),
        prony_version: started.prony_version.clone(),
        run: Run {
            id: started.run.clone(),
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
        invalid: invalid(&models, events),
        models,
        family,
        overall,
        warnings,
    };
    name_images(&mut result, events);
    result
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
fn models(started: &Started, events: &[Event]) -> Compared {
    let samples = Samples::new(&started.plan, events);
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
                samples: &samples,
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
    judged(&groups)
}

/// The models, and what holds for several together.
struct Compared {
    models: Vec<ModelResult>,
    family: Option<FamilyResult>,
    overall: Vec<Overall>,
    thresholds: Vec<ThresholdResult>,
}

/// All comparisons are judged together, so their numbers come first.
fn judged(groups: &[Group<'_>]) -> Compared {
    let pairs: Vec<Vec<(Arm<'_>, Arm<'_>)>> = groups.iter().map(Group::pairs).collect();
    let numbers: Vec<Ratios> = groups
        .iter()
        .zip(&pairs)
        .flat_map(|(group, pairs)| {
            let of = |pair: &(Arm<'_>, Arm<'_>)| {
                ratios(pair.0, pair.1, design(&group.started.subject, group.stage))
            };
            pairs.iter().map(of)
        })
        .collect();
    let Some(first) = groups.first() else {
        return Compared {
            models: Vec::new(),
            family: None,
            overall: Vec::new(),
            thresholds: Vec::new(),
        };
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
        for ((baseline, candidate), (numbers, look)) in pairs.iter().zip(of_group) {
            let planned = design(&group.started.subject, group.stage);
            let comparison = compare(*baseline, *candidate, planned, numbers, family, look);
            shares.push((index, comparison.clone(), numbers));
            comparisons.push(comparison);
        }
        models.push(group.result(comparisons));
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
    Compared {
        thresholds: threshold::judge(&first.started.subject.thresholds, &measured),
        models,
        family,
        overall,
    }
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
    fn visited(&self) -> Vec<(&'a str, &'a Sample<'a>)> {
        let engines = self.started.subject.engines.iter();
        let names = engines.map(|engine| engine.name.as_str());
        names
            .filter(|name| self.engines.contains(name))
            .map(|name| (name, self.sample(name)))
            .collect()
    }

    /// The pairs that are compared: the baseline with each candidate.
    fn pairs(&self) -> Vec<(Arm<'a>, Arm<'a>)> {
        let visited = self.visited();
        let mut engines = self.started.subject.engines.iter();
        let Some(baseline) = engines.find(|engine| engine.baseline) else {
            return Vec::new();
        };
        let (mut of_baseline, candidates): (Vec<_>, Vec<_>) =
            visited.into_iter().partition(|it| it.0 == baseline.name);
        let Some(baseline) = of_baseline.pop() else {
            return Vec::new();
        };
        let pair = |candidate| (arm(baseline), arm(candidate));
        candidates.into_iter().map(pair).collect()
    }

    fn result(&self, comparisons: Vec<Comparison>) -> ModelResult {
        let visited = self.visited();
        let of_model = self.samples.of_model(self.model.key());
        let of_engines = visited.iter().flat_map(|(_, sample)| &sample.failures);
        let before = self
            .segment
            .stages
            .iter()
            .take_while(|it| it.id != self.stage.id);
        let warmups = before.filter(|it| it.phase == prony_record::Phase::Warmup);
        ModelResult {
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
            engines: visited
                .iter()
                .filter(|(_, sample)| !sample.is_left_out())
                .map(|(name, sample)| {
                    let Sample {
                        records,
                        visits,
                        gpus,
                        clients,
                        failed,
                        account,
                        ..
                    } = sample;
                    let mut engine = summary::engine(name, records, visits, self.stage.concurrency);
                    engine.gpus = used_gpus(gpus);
                    let clients = clients.iter().copied().cloned();
                    engine.client = clients.reduce(|one, other| one.and(&other));
                    let repeated = |it: &Record| sample.repeated.contains(&it.id.cycle_and_index());
                    engine.cache = self.stage.cache.map(|stated| {
                        let stated = cache(stated);
                        let check = check_cache(stated, records, repeated);
                        let by_counters = || by_counters(stated, records, repeated, account);
                        let is_silent = check.counted == 0;
                        is_silent.then(by_counters).flatten().unwrap_or(check)
                    });
                    engine.settings.clone_from(&account.settings);
                    engine.own_counts.clone_from(&account.counts);
                    engine.by_cycle = summary::by_cycle(
                        records,
                        visits,
                        failed,
                        // With a limit in time, as many as there was time for.
                        self.stage.seconds.map_or(self.stage.requests, |_| 1) as usize,
                        self.stage.concurrency,
                    );
                    engine
                })
                .collect(),
            comparisons,
            noise_floor: self.noise_floor(),
            failures: of_model.iter().chain(of_engines).cloned().collect(),
        }
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
                .map(|(name, sample)| (name, sample.records.as_slice()))
                .collect(),
        }
    }

    fn sample(&self, engine: &'a str) -> &'a Sample<'a> {
        self.samples.group(Key {
            model: self.model.key(),
            engine,
            measure: &self.stage.id,
        })
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

pub(crate) fn arm<'a>((name, sample): (&'a str, &'a Sample<'a>)) -> Arm<'a> {
    Arm {
        name,
        records: &sample.records,
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

/// Warning that a difference as large as the margin is not expected to be found.
/// A verdict makes it void.
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
    if comparisons.all(|it| it.verdict != Verdict::Inconclusive) {
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

/// Reasons why the numbers are invalid; empty if they are valid.
fn invalid(models: &[ModelResult], events: &[Event]) -> Vec<String> {
    let mut reasons = Vec::new();
    for check in selfchecks(events) {
        let of_check = check.invalid.iter();
        reasons.extend(of_check.map(|reason| format!("selfcheck, {}: {reason}", check.arrival)));
    }
    for model in models {
        for engine in &model.engines {
            let of_engine = validity::reasons(engine, model.cache).into_iter();
            let label = format!("{}: `{}`", model.label(), engine.engine);
            reasons.extend(of_engine.map(|reason| format!("{label}: {reason}")));
        }
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
fn used_gpus(usages: &[&GpuUsage]) -> Vec<GpuResult> {
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
fn resent(events: &[Event]) -> Vec<String> {
    let mut counts = BTreeMap::<(&str, &str), (u64, u64)>::new();
    for event in events {
        if let Event::Request(record) = event {
            let id = &record.id;
            let (twice, all) = counts.entry((&id.model, &id.engine)).or_default();
            *twice += u64::from(record.resent);
            *all += 1;
        }
    }
    let warning = |((model, engine), (twice, all))| {
        format!(
            "{model}: `{engine}` had closed the connection that {twice} of its {} (warm-ups counted) went out on, so they were sent again on a new one; nothing needs to be done: their time counts from the first sending",
            count(all, "request")
        )
    };
    let told = counts.into_iter().filter(|(_, (twice, _))| *twice > 0);
    told.map(warning).collect()
}

/// Prompts of which an engine read less than there is.
fn cut_prompts(events: &[Event]) -> Vec<String> {
    let mut cut = BTreeMap::<(&str, &str), (u64, u32, u32)>::new();
    for event in events {
        if let Event::Request(record) = event
            && let (Some(read), Some(least)) = (record.prompt_tokens, record.least_prompt_tokens)
            && read < least
            && record.ok()
        {
            let id = &record.id;
            let first = (0, read, least);
            cut.entry((&id.model, &id.engine)).or_insert(first).0 += 1;
        }
    }
    let warning = |((model, engine), (requests, read, least))| {
        format!(
            "{model}: `{engine}` read only part of the prompt in {} (warm-ups counted): it counts {read} prompt tokens where there are at least {least}, so the prompt was probably cut to its context; give it a longer context, or shorter prompts",
            count(requests, "request")
        )
    };
    cut.into_iter().map(warning).collect()
}

/// The latest time in a journal without an end.
fn last_ns(events: &[Event]) -> u64 {
    let times = events.iter().map(|event| match event {
        Event::Stage { at_ns, .. } | Event::Finished { at_ns, .. } => *at_ns,
        Event::Request(record) => record.stamps.end_ns,
        _ => 0,
    });
    times.max().unwrap_or_default()
}
