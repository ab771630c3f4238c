//! From a journal to a result.

use crate::Result;
use crate::detail::{Cycles, EntryBasis, detail};
use crate::folder::RunFolder;
use crate::groups::{Compare, Group, design, groups, ratios_of};
use crate::inputs::{Input, InputKind};
use crate::journal::{self, Event, Journal, Scope, Started, Subject};
use crate::reader::{Placed, Reader};
use crate::samples::Samples;
use crate::source::RecordSource;
use crate::warnings::{
    self, cut_words, is_last_pilot, observations, other_prompts, pilot, resent_words,
};
use prony_config::Order;
use prony_metrics::comparison::{Family, ModelComparison, Ratios, StudyDesign, compare, overall};
use prony_metrics::statistics::Look;
use prony_metrics::statistics::sequential::{ALPHA, ALPHA_EQUIVALENT};
use prony_metrics::threshold::{self, Measured, Threshold};
use prony_plan::Visit;
use prony_record::{Record, limited};
use prony_result::{
    Comparison, ContainerImage, Detail, EngineInfo, Family as FamilyResult, ImageInfo, ModelResult,
    Outcome, Overall, Program, Run, RunResult, SCHEMA, Selfcheck, ThresholdResult, Verdict,
    Workload,
    words::{Flag, count, seconds},
};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The extent of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The content of `result.json`.
    Plain,
    /// With the detail, for reporters that want it.
    Detailed,
}

/// The result of the run in a folder, also of one that is still going on.
pub fn result_of(folder: &RunFolder) -> Result<RunResult> {
    Ok(result_with(folder, Extent::Plain)?.0)
}

/// The same, with the detail if that is wanted.
pub fn result_with(folder: &RunFolder, extent: Extent) -> Result<(RunResult, Option<Detail>)> {
    // In this order: a run that ends in between has a last line.
    let running = journal::is_running(&folder.journal());
    let path = folder.journal();
    let mut reader = Reader::open(&path)?;
    let started = reader.started().clone();
    let mut seen = Seen::new(&started);
    seen.all(&mut reader)?;
    let ended = matches!(seen.others.last(), Some(Event::Finished { .. }));
    let (mut result, detail) = seen.result(RecordSource::File(&path), extent)?;
    if running && !ended {
        result.run.outcome = Outcome::Running;
    }
    Ok((result, detail))
}

/// The result of a run, from its journal alone. A journal without an end is of
/// an interrupted run.
pub fn result(journal: &Journal) -> RunResult {
    let mut seen = Seen::new(&journal.started);
    for (position, event) in journal.events.iter().enumerate() {
        seen.see(Cow::Borrowed(event), position as u64);
    }
    let result = seen.result(RecordSource::Events(&journal.events), Extent::Plain);
    result.expect("what is at hand can be read again").0
}

/// A journal as far as it was seen. Of its requests it keeps numbers.
pub(crate) struct Seen<'j> {
    started: &'j Started,
    pub(crate) samples: Samples<'j>,
    /// All events but requests: few, whatever the number of those.
    pub(crate) others: Vec<Event>,
    /// Requests that were sent twice, and all, by model and engine, with warm-ups.
    resent: BTreeMap<(String, String), (u64, u64)>,
    /// Requests whose prompt was cut, likewise: how many, and the counts of the first.
    cut: BTreeMap<(String, String), (u64, u32, u32)>,
    /// The latest time of an event.
    last_ns: u64,
}

impl<'j> Seen<'j> {
    pub(crate) fn new(started: &'j Started) -> Self {
        Self {
            started,
            samples: Samples::new(&started.plan),
            others: Vec::new(),
            resent: BTreeMap::new(),
            cut: BTreeMap::new(),
            last_ns: 0,
        }
    }

    pub(crate) fn all(&mut self, reader: &mut Reader) -> Result<()> {
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

    fn result(
        mut self,
        source: RecordSource<'_>,
        extent: Extent,
    ) -> Result<(RunResult, Option<Detail>)> {
        self.samples.finish();
        let Self {
            started,
            samples,
            others,
            resent,
            cut,
            last_ns,
        } = self;
        let groups = groups(started, &samples, &others, source);
        let compared = judged(&groups, invalid_run(&others))?;
        let detail = match extent {
            Extent::Plain => None,
            Extent::Detailed => {
                let of_models = compared.models.iter().zip(&compared.cycles);
                let parts = groups.iter().zip(of_models);
                let parts: Vec<_> = parts
                    .map(|(group, (model, cycles))| EntryBasis {
                        group,
                        model,
                        cycles,
                    })
                    .collect();
                Some(detail(&parts, &others)?)
            }
        };
        let last = last_of_interrupted(&others);
        let models = groups.iter().zip(&compared.models);
        let broken = models.filter_map(|(group, model)| warnings::broken_off(group, model, last));
        let broken: Vec<String> = broken.collect();
        drop(groups);
        let mut result = assembled(started, &others, compared, last_ns);
        result.warnings.extend(broken);
        let told = resent_words(&resent).into_iter().chain(cut_words(&cut));
        result.warnings.extend(told);
        // What happens in every visit is told once.
        let mut told = HashSet::new();
        result.warnings = result.warnings.iter().map(limited).collect();
        result
            .warnings
            .retain(|warning| told.insert(warning.clone()));
        name_images(&mut result, &others);
        Ok((result, detail))
    }
}

/// The last visit of a run that was interrupted.
fn last_of_interrupted(events: &[Event]) -> Option<&Visit> {
    if outcome(events).is_some_and(|(outcome, _)| outcome != Outcome::Interrupted) {
        return None;
    }
    events.iter().rev().find_map(|event| match event {
        Event::Stage { visit, .. } => visit.as_ref(),
        _ => None,
    })
}

/// The way in which a run ended, and when, in nanoseconds; `None` while it has not.
fn outcome(events: &[Event]) -> Option<(Outcome, u64)> {
    events
        .iter()
        // A resumed run may have been interrupted before.
        .rev()
        .take_while(|event| !matches!(event, Event::Resumed { .. }))
        .find_map(|event| match event {
            Event::Finished { outcome, at_ns, .. } => Some((*outcome, *at_ns)),
            _ => None,
        })
}

/// The result, but for what is told of single requests.
fn assembled(started: &Started, events: &[Event], compared: Compared, last_ns: u64) -> RunResult {
    let subject = &started.subject;
    let (outcome, end_ns) = outcome(events).unwrap_or((Outcome::Interrupted, last_ns));
    let Compared {
        mut models,
        family,
        overall,
        thresholds,
        invalid,
        cycles: _,
    } = compared;
    flag_resumed(&mut models, events);
    let mut warnings = started.notes.clone();
    if let Some(part) = started.plan.part {
        warnings.push(format!(
            "this is part {part} of a pipeline: `prony merge` joins the parts, and judges thresholds and what is over all models"
        ));
    }
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
        Event::Pilot { .. } if is_last_pilot(event, events) => {
            pilot(event, subject.cycles, &models)
        }
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
    warnings.extend(warnings::machine(events));
    warnings.extend(warnings::page_cache(events));
    warnings.extend(started.plugins.iter().filter_map(warnings::dev));
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
            ranks: started
                .world
                .as_ref()
                .map_or_else(Vec::new, |world| world.ranks.clone()),
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
        detail: None,
    }
}

/// The engines, with the programs that were started for them and what these ran.
fn engines(subject: &Subject, events: &[Event]) -> Vec<EngineInfo> {
    let mut engines = subject.engines.clone();
    let mut told: BTreeMap<(&str, &str), &Input> = BTreeMap::new();
    for event in events {
        match event {
            Event::Input(input) if input.kind == InputKind::Program => {
                told.insert((&input.of, &input.path), input);
            }
            Event::Input(input) if input.kind == InputKind::Container => {
                let engine = engines.iter_mut().find(|it| it.name == input.of);
                let image = ContainerImage {
                    name: input.path.clone(),
                    sha256: input.sha256.clone(),
                    unknown: input.unknown.clone(),
                };
                // A resumed run tells it again.
                if let Some(engine) = engine.filter(|it| !it.containers.contains(&image)) {
                    engine.containers.push(image);
                }
            }
            Event::Program {
                visit,
                program,
                packages,
            } => {
                let engine = engines.iter_mut().find(|it| it.name == visit.engine);
                let Some(engine) = engine else { continue };
                let is_known = |it: &Program| it.path == *program && it.packages == *packages;
                if !engine.programs.iter().any(is_known) {
                    engine.programs.push(Program {
                        path: program.clone(),
                        packages: packages.clone(),
                        sha256: None,
                        version: None,
                        version_unknown: None,
                    });
                }
            }
            _ => {}
        }
    }
    for engine in &mut engines {
        let name = engine.name.clone();
        for program in &mut engine.programs {
            if let Some(input) = told.get(&(name.as_str(), program.path.as_str())) {
                program.sha256.clone_from(&input.sha256);
                program.version.clone_from(&input.version);
                program.version_unknown.clone_from(&input.unknown);
            }
        }
    }
    engines
}

/// The models, and what holds for several together.
struct Compared {
    models: Vec<ModelResult>,
    family: Option<FamilyResult>,
    overall: Vec<Overall>,
    thresholds: Vec<ThresholdResult>,
    /// Reasons why the numbers are invalid.
    invalid: Vec<String>,
    /// For each model and comparison, its cycles ([`Ratios::by_cycle`]).
    cycles: Vec<Vec<Cycles>>,
}

/// All comparisons are judged together, so their numbers come first. If any number of the run
/// is `invalid`, none of them has a verdict.
fn judged(groups: &[Group<'_>], mut invalid: Vec<String>) -> Result<Compared> {
    let all_pairs = groups.iter().map(Group::pairs);
    let mut pairs: Vec<Vec<Compare<'_>>> = all_pairs.collect::<Result<_>>()?;
    let numbers: Vec<Ratios> = groups
        .iter()
        .zip(&pairs)
        .flat_map(|(group, pairs)| pairs.iter().map(|it| ratios_of(group, it)))
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
            cycles: Vec::new(),
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
    let mut of_models = vec![Vec::new(); models.len()];
    for (index, _, numbers) in &shares {
        of_models[*index].push(numbers.by_cycle());
    }
    // Both are of all models, which a part does not have.
    let is_part = first.started.plan.part.is_some();
    let overall = if is_part {
        Vec::new()
    } else {
        over_models(&models, &shares, margin_percent, cycles)
    };
    let measured: Vec<Measured<'_>> = groups
        .iter()
        .zip(&models)
        .map(|(group, model)| group.measured(model))
        .collect();
    let thresholds: &[Threshold] = if is_part {
        &[]
    } else {
        &first.started.subject.thresholds
    };
    Ok(Compared {
        thresholds: threshold::judge(thresholds, &measured),
        models,
        family,
        overall,
        invalid,
        cycles: of_models,
    })
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

/// The order of engines, as results have it.
fn order(order: Order) -> &'static str {
    match order {
        Order::Interleaved => "interleaved",
        Order::Sequential => "sequential",
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The result of a journal of which at most so many durations stay in memory.
    fn of_file(path: &Path, most_kept: usize) -> (RunResult, Option<Detail>) {
        let mut reader = Reader::open(path).expect("a journal");
        let started = reader.started().clone();
        let mut seen = Seen::new(&started);
        seen.samples.keep_at_most(most_kept);
        seen.all(&mut reader).expect("events");
        seen.result(RecordSource::File(path), Extent::Detailed)
            .expect("a result")
    }

    #[test]
    fn what_is_read_again_gives_the_result_of_what_is_at_hand() {
        for run in ["broken", "compared"] {
            let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
            let path = fixtures.join(run).join("journal.jsonl");
            let journal = crate::read(&path).expect("a journal");
            let mut seen = Seen::new(&journal.started);
            for (position, event) in journal.events.iter().enumerate() {
                seen.see(Cow::Borrowed(event), position as u64);
            }
            let source = RecordSource::Events(&journal.events);
            let at_hand = seen.result(source, Extent::Detailed).expect("a result");
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
            .result(RecordSource::File(&path), Extent::Plain)
            .expect_err("it changed");
        assert!(matches!(error, crate::Error::Changed { .. }), "{error}");
    }
}
