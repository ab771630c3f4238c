//! One journal of the runs of several parts of a pipeline.

use crate::journal::{Event, Started};
use crate::reader::{Placed, Reader};
use crate::writer::Writer;
use crate::{Difference, Result, is_running};
use jiff::Timestamp;
use prony_contract::Kind;
use prony_plan::{ModelKey, Part, Visit};
use prony_record::Record;
use prony_result::{Outcome, words::count};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// Reason why runs are not parts of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoParts {
    /// There are none.
    #[error("no run was named")]
    None,
    /// A run is still going on.
    #[error("`{}` is still running", .0.display())]
    Running(PathBuf),
    /// A run is of a whole pipeline.
    #[error("`{}` is no part, but the run of a whole pipeline", .0.display())]
    Whole(PathBuf),
    /// Two runs are of the same part.
    #[error("`{}` and `{}` are both part {part}", first.display(), second.display())]
    Twice {
        /// The part.
        part: Part,
        /// A run of it.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
    /// Runs differ in what has to be equal.
    #[error("`{}` is another experiment than `{}`", second.display(), first.display())]
    Differ {
        /// A run.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
        /// The differences.
        differences: Vec<Difference>,
    },
}

/// The run of a part that is to be merged.
struct Source {
    path: PathBuf,
    part: Part,
    reader: Reader,
    /// An event that was read and not written.
    next: Option<Event>,
    /// Time from the start of the first part to that of this one, in nanoseconds.
    later_ns: u64,
    outcome: Option<Outcome>,
    /// The latest time that was written.
    last_ns: u64,
}

/// Merges the journals of parts into one, with the visits in the order of the pipeline, as if one
/// machine had run all of it. Returns how it ended.
///
/// The parts share what was fixed before the first of them began, the family of comparisons
/// among it, so a result of the whole judges as one run does. A part that is missing leaves its
/// models without numbers, which the journal tells; its comparisons keep their share of the error.
///
/// `run` is the id of the merged run.
pub fn merge(journals: &[PathBuf], to: &Path, run: &str) -> Result<Outcome> {
    let mut sources = sources(journals)?;
    let Some(first) = sources.first() else {
        return Err(NoParts::None.into());
    };
    let of = first.part.of;
    let mut started = first.reader.started().clone();
    run.clone_into(&mut started.run);
    started.process = None;
    started.plan.part = None;
    for source in &sources {
        let other = source.reader.started();
        if begin(other) < begin(&started) {
            started.started_at.clone_from(&other.started_at);
        }
    }
    for source in &mut sources {
        let later = begin(source.reader.started()).duration_since(begin(&started));
        source.later_ns = u64::try_from(later.as_nanos()).unwrap_or_default();
    }
    join(&mut started, &sources);
    let mut writer = Writer::create(to)?;
    let order: Vec<(Option<String>, String)> = started.subject.models.iter().map(model).collect();
    let machines = machines(&sources);
    writer.append(&Event::Started(Box::new(started)))?;
    let mut told = HashSet::new();
    for source in &mut sources {
        source.setup(&mut writer, &mut told)?;
    }
    for (point, model) in &order {
        let key = ModelKey {
            point: point.as_deref(),
            model,
        };
        for source in &mut sources {
            source.model(key, &mut writer)?;
        }
    }
    for source in &mut sources {
        source.rest(&mut writer)?;
    }
    let present: BTreeSet<u32> = sources.iter().map(|it| it.part.number).collect();
    let missing = missing(&present, of);
    if let Some(parts) = &missing {
        warn(
            &mut writer,
            format!(
                "part {parts} of {of} is not among those that were merged: its models were not measured"
            ),
        )?;
    }
    if machines > 1 {
        warn(
            &mut writer,
            format!(
                "the parts ran on {}: engines are compared on one, but numbers of different models or matrix points may be of different ones, and `environment` is that of part {}",
                count(machines as u64, "machine"),
                sources[0].part.number
            ),
        )?;
    }
    let outcomes = sources.iter().map(|it| it.outcome);
    let outcome = worst(outcomes, missing.is_some());
    let at_ns = sources.iter().map(|it| it.last_ns).max();
    let sha256 = Some(writer.sha256());
    writer.append(&Event::Finished {
        outcome,
        at_ns: at_ns.unwrap_or_default(),
        sha256,
    })?;
    writer.sync()?;
    Ok(outcome)
}

/// The parts that are not there, the first of them by their numbers: a journal from elsewhere may
/// name any number of parts. `None` if all are.
fn missing(present: &BTreeSet<u32>, of: u32) -> Option<String> {
    const MAX_NAMED: usize = 8;
    let absent = (1..=of).filter(|it| !present.contains(it));
    let named: Vec<String> = absent.take(MAX_NAMED).map(|it| it.to_string()).collect();
    let others = (of as usize).saturating_sub(present.len() + named.len());
    match (named.is_empty(), others) {
        (true, _) => None,
        (false, 0) => Some(named.join(", ")),
        (false, others) => Some(format!("{} and {others} more", named.join(", "))),
    }
}

/// The outcome of the whole: interrupted if a part is, or is missing; failed if one failed.
fn worst(outcomes: impl Iterator<Item = Option<Outcome>>, is_partial: bool) -> Outcome {
    let all: Vec<Outcome> = outcomes
        .map(|it| it.unwrap_or(Outcome::Interrupted))
        .collect();
    if is_partial
        || all
            .iter()
            .any(|it| !matches!(it, Outcome::Completed | Outcome::Failed))
    {
        Outcome::Interrupted
    } else if all.contains(&Outcome::Failed) {
        Outcome::Failed
    } else {
        Outcome::Completed
    }
}

fn warn(writer: &mut Writer, message: String) -> Result<()> {
    writer.append(&Event::Warning { message })
}

fn model(it: &crate::ModelInfo) -> (Option<String>, String) {
    (it.point.clone(), it.id.clone())
}

/// The start of a run; of one that nobody can read the earliest of all times.
fn begin(started: &Started) -> Timestamp {
    started.started_at.parse().unwrap_or_default()
}

fn machines(sources: &[Source]) -> usize {
    let machines: BTreeSet<&str> = sources
        .iter()
        .map(|it| it.reader.started().environment.machine.as_str())
        .collect();
    machines.len()
}

/// Opens the runs, in the order of their parts, and checks that they are of one pipeline.
fn sources(journals: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources: BTreeMap<u32, Source> = BTreeMap::new();
    for path in journals {
        let reader = Reader::open(path)?;
        let folder = prony_files::folder(path);
        if is_running(path) {
            return Err(NoParts::Running(folder).into());
        }
        let Some(part) = reader.started().plan.part else {
            return Err(NoParts::Whole(folder).into());
        };
        if let Some(other) = sources.get(&part.number) {
            return Err(NoParts::Twice {
                part,
                first: other.path.clone(),
                second: folder,
            }
            .into());
        }
        if let Some(other) = sources.values().next() {
            let differences = differences(other.reader.started(), reader.started());
            if !differences.is_empty() {
                return Err(NoParts::Differ {
                    first: other.path.clone(),
                    second: folder,
                    differences,
                }
                .into());
            }
        }
        let source = Source {
            path: folder,
            part,
            reader,
            next: None,
            later_ns: 0,
            outcome: None,
            last_ns: 0,
        };
        sources.insert(part.number, source);
    }
    Ok(sources.into_values().collect())
}

/// What has to be equal in all parts, and is not.
fn differences(first: &Started, other: &Started) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, then: String, now: String| {
        if then != now {
            let what = what.to_owned();
            differences.push(Difference { what, then, now });
        }
    };
    let parts = |it: &Started| it.plan.part.map_or(0, |part| part.of).to_string();
    compare("number of parts", parts(first), parts(other));
    compare(
        "prony",
        first.prony_version.clone(),
        other.prony_version.clone(),
    );
    let (a, b) = (&first.pipeline_sha256, &other.pipeline_sha256);
    compare("pipeline", a.clone(), b.clone());
    let plugins = |it: &Started| -> BTreeMap<String, String> {
        let engines = it.plugins.iter().filter(|it| it.kind == Kind::Engine);
        engines
            .map(|it| (it.name.clone(), it.sha256.clone()))
            .collect()
    };
    let (a, b) = (plugins(first), plugins(other));
    for name in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
        let digest = |of: &BTreeMap<String, String>| of.get(name).cloned().unwrap_or_default();
        compare(&format!("plugin {name}"), digest(&a), digest(&b));
    }
    // Equal pipelines that say other things: the environment may be in them.
    let json = |it: &Started| serde_json::to_string(&it.subject).unwrap_or_default();
    if differences.is_empty() && json(first) != json(other) {
        let what = "what is measured".to_owned();
        let [then, now] = [first, other].map(|it| it.subject.name.clone());
        differences.push(Difference { what, then, now });
    }
    differences
}

/// Puts the plans, noise floors and notes of all parts into the first event.
fn join(started: &mut Started, sources: &[Source]) {
    let mut visits: Vec<&Visit> = Vec::new();
    let mut replacements: Vec<&Visit> = Vec::new();
    for model in &started.subject.models {
        for source in sources {
            let plan = &source.reader.started().plan;
            let own = |it: &&Visit| it.of_model() == model.key();
            visits.extend(plan.visits.iter().filter(own));
            replacements.extend(plan.replacements.iter().filter(own));
        }
    }
    let (visits, replacements) = (
        visits.into_iter().cloned().collect(),
        replacements.into_iter().cloned().collect(),
    );
    started.plan.visits = visits;
    started.plan.replacements = replacements;
    for source in &sources[1..] {
        let other = source.reader.started();
        let noise = other.noise.iter().filter(|it| !started.noise.contains(it));
        let noise: Vec<_> = noise.cloned().collect();
        started.noise.extend(noise);
        let notes = other.notes.iter().filter(|it| !started.notes.contains(it));
        let notes: Vec<_> = notes.cloned().collect();
        started.notes.extend(notes);
    }
}

impl Source {
    /// The next event, with times since the start of the first part.
    fn event(&mut self) -> Result<Option<Event>> {
        if let Some(event) = self.next.take() {
            return Ok(Some(event));
        }
        let Some(placed) = self.reader.next() else {
            return Ok(None);
        };
        let Placed { mut event, .. } = placed?;
        move_later(&mut event, self.later_ns);
        Ok(Some(event))
    }

    /// Writes an event, unless it is made of others or told by the merged run itself.
    fn write(&mut self, event: Event, writer: &mut Writer) -> Result<()> {
        match &event {
            Event::Stage { at_ns, .. } => self.reach(*at_ns),
            Event::Request(record) => self.reach(record.stamps.end_ns),
            _ => {}
        }
        match event {
            Event::Finished { outcome, at_ns, .. } => {
                self.reach(at_ns);
                self.outcome = Some(outcome);
                Ok(())
            }
            Event::Resumed { .. } => {
                self.outcome = None;
                writer.append(&event)
            }
            Event::Damaged { .. } => {
                let told = event.damage().unwrap_or_default();
                warn(writer, format!("part {}: {told}", self.part))
            }
            event => writer.append(&event),
        }
    }

    fn reach(&mut self, at_ns: u64) {
        self.last_ns = self.last_ns.max(at_ns);
    }

    /// Writes what was before the first visit, but for what another part has `told`.
    fn setup(&mut self, writer: &mut Writer, told: &mut HashSet<String>) -> Result<()> {
        while let Some(event) = self.event()? {
            if begins(&event).is_some() {
                self.next = Some(event);
                break;
            }
            let json = serde_json::to_string(&event).unwrap_or_default();
            if told.insert(json) {
                self.write(event, writer)?;
            }
        }
        Ok(())
    }

    /// Writes what is of a model, if that comes next.
    fn model(&mut self, model: ModelKey<'_>, writer: &mut Writer) -> Result<()> {
        while let Some(event) = self.event()? {
            if begins(&event).is_some_and(|visit| visit.of_model() != model) {
                self.next = Some(event);
                break;
            }
            self.write(event, writer)?;
        }
        Ok(())
    }

    /// Writes what is left: of models that the pipeline does not have, in a journal that
    /// somebody changed.
    fn rest(&mut self, writer: &mut Writer) -> Result<()> {
        while let Some(event) = self.event()? {
            self.write(event, writer)?;
        }
        Ok(())
    }
}

/// The visit that an event belongs to, for those with which a visit begins.
fn begins(event: &Event) -> Option<&Visit> {
    match event {
        Event::Stage {
            visit: Some(visit), ..
        }
        | Event::Control { visit, .. } => Some(visit),
        _ => None,
    }
}

/// Moves the times of an event.
fn move_later(event: &mut Event, by_ns: u64) {
    let later = |at: &mut u64| *at = at.saturating_add(by_ns);
    match event {
        Event::Stage { at_ns, .. } | Event::Finished { at_ns, .. } => later(at_ns),
        Event::Request(record) => {
            let Record {
                stamps,
                arrivals,
                textless_ns,
                emitted_ns,
                first_answer_ns,
                answered_ns,
                ..
            } = &mut **record;
            let stamps = [
                Some(&mut stamps.intended_ns),
                Some(&mut stamps.sent_ns),
                stamps.written_ns.as_mut(),
                stamps.head_ns.as_mut(),
                Some(&mut stamps.end_ns),
                first_answer_ns.as_mut(),
                answered_ns.as_mut(),
            ];
            stamps.into_iter().flatten().for_each(later);
            textless_ns.iter_mut().chain(emitted_ns).for_each(later);
            for arrival in arrivals {
                later(&mut arrival.0);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;
    use crate::tests::{Fate, journal, pipeline, results, write};
    use crate::{RunFolder, reader, result_of};

    const POINTS: &str = "\
matrix: { axes: { length: [8, 16, 32] } }
workload: { prompts: [hi], temperature: 0, max_tokens: '${{ matrix.length }}' }
schedule: { cycles: 8 }
stages: [{ warmup: { requests: 2 } }, { measure: {} }, { measure: { id: again } }]
thresholds: [{ metric: output_tokens_per_sec, min: 60 }]
";

    /// The journal that a part of a run would have written.
    fn part_of(whole: &Journal, part: &str) -> Journal {
        let part: Part = part.parse().expect("a part");
        let plan = whole.started.plan.part(part).expect("it has something");
        let mut is_own = true;
        let own = whole.events.iter().filter(|event| {
            if let Some(visit) = begins(event) {
                is_own = plan.visits.iter().any(|it| it.is_of_model(visit));
            }
            is_own || matches!(event, Event::Finished { .. })
        });
        let events = own.cloned().collect();
        let mut started = whole.started.clone();
        started.plan = plan;
        Journal { started, events }
    }

    /// Their merged run, or why there is none.
    fn merged(parts: &[Journal]) -> (tempfile::TempDir, Result<(Outcome, RunFolder)>) {
        let (folder, create) = results();
        let journals = parts.iter().map(|part| {
            let folder = create("part");
            drop(write(&folder, part));
            folder.journal()
        });
        let journals: Vec<PathBuf> = journals.collect();
        let to = create("whole");
        let outcome = merge(&journals, &to.journal(), "run");
        (folder, outcome.map(|outcome| (outcome, to)))
    }

    fn whole() -> Journal {
        let mut whole = journal(&pipeline(POINTS), |visit| match visit.cycle {
            2 => Fate::Fails("again", false),
            _ => Fate::Well,
        });
        // Of `setup`: all parts have it.
        let message = "the same everywhere".to_owned();
        whole.events.insert(0, Event::Warning { message });
        whole
    }

    #[test]
    fn parts_of_a_run_give_the_result_of_the_whole() {
        let whole = whole();
        let (_folder, original) = {
            let (folder, create) = results();
            let original = create("original");
            drop(write(&original, &whole));
            (folder, original)
        };
        let expected = serde_json::to_string(&result_of(&original).expect("a result"));
        for of in 2..=3 {
            // In any order.
            let parts = (1..=of)
                .rev()
                .map(|it| part_of(&whole, &format!("{it}/{of}")));
            let (_folder, merged) = merged(&parts.collect::<Vec<_>>());
            let (outcome, merged) = merged.expect("a run");
            assert_eq!(outcome, Outcome::Completed);
            let result = serde_json::to_string(&result_of(&merged).expect("a result"));
            assert_eq!(result.expect("JSON"), *expected.as_ref().expect("JSON"));
        }
    }

    #[test]
    fn a_part_judges_for_the_whole_and_names_no_mean() {
        let whole = whole();
        let part = crate::result(&part_of(&whole, "1/3"));
        let family = part.family.expect("a family");
        let of_all = crate::result(&whole).family.expect("a family");
        assert_eq!(family.comparisons, of_all.comparisons);
        assert_eq!((part.overall.len(), part.thresholds.len()), (0, 0));
        assert!(part.warnings.iter().any(|it| it.contains("part 1/3")));
    }

    #[test]
    fn times_of_parts_are_since_the_first_began() {
        let whole = whole();
        let mut second = part_of(&whole, "2/2");
        second.started.started_at = "2026-01-02T03:04:15Z".to_owned();
        second.started.environment.machine = "another".to_owned();
        let before: Vec<Event> = second.events.clone();
        let (_folder, merged) = merged(&[second, part_of(&whole, "1/2")]);
        let (_, merged) = merged.expect("a run");
        let merged = reader::read(&merged.journal()).expect("a journal");
        assert_eq!(merged.started.started_at, whole.started.started_at);
        let later = before.into_iter().map(|mut event| {
            move_later(&mut event, 10_000_000_000);
            event
        });
        for event in later.filter(|it| begins(it).is_some() || matches!(it, Event::Request(_))) {
            assert!(merged.events.contains(&event), "{event:?}");
        }
        let Some(Event::Finished { at_ns, .. }) = merged.events.last() else {
            panic!("no end");
        };
        assert_eq!(*at_ns, 70_000_000_000);
        let told =
            |it: &Event| matches!(it, Event::Warning { message } if message.contains("2 machines"));
        assert!(merged.events.iter().any(told));
    }

    #[test]
    fn a_missing_part_is_told_and_the_run_is_incomplete() {
        let whole = whole();
        let (_folder, merged) = merged(&[part_of(&whole, "3/3"), part_of(&whole, "1/3")]);
        let (outcome, merged) = merged.expect("a run");
        assert_eq!(outcome, Outcome::Interrupted);
        let result = result_of(&merged).expect("a result");
        let told = "part 2 of 3 is not among those";
        assert!(result.warnings.iter().any(|it| it.contains(told)));
        let family = result.family.expect("a family");
        assert_eq!(
            family.comparisons, 6,
            "those that were not made keep their share"
        );
    }

    #[test]
    fn a_number_of_parts_that_nobody_has_costs_nothing() {
        let mut part = part_of(&whole(), "1/2");
        part.started.plan.part = Some(Part {
            number: 7,
            of: u32::MAX,
        });
        let (_folder, merged) = merged(&[part]);
        let (outcome, merged) = merged.expect("a run");
        assert_eq!(outcome, Outcome::Interrupted);
        let warnings = result_of(&merged).expect("a result").warnings;
        let told = "part 1, 2, 3, 4, 5, 6, 8, 9 and 4294967286 more of 4294967295";
        assert!(warnings.iter().any(|it| it.contains(told)), "{warnings:?}");
    }

    #[test]
    fn what_is_no_part_of_one_run_is_refused() {
        let whole = whole();
        let part = |name: &str| part_of(&whole, name);
        let refused = |parts: &[Journal]| {
            let (_folder, merged) = merged(parts);
            merged.expect_err("no run").to_string()
        };
        assert!(refused(&[part("1/2"), part("1/2")]).contains("are both part 1/2"));
        assert!(refused(&[part("1/2"), whole.clone()]).contains("is no part"));
        assert!(refused(&[part("1/2"), part("2/3")]).contains("is another experiment"));
        let mut other = part("2/2");
        other.started.pipeline_sha256 = "other".to_owned();
        assert!(refused(&[part("1/2"), other]).contains("is another experiment"));
    }
}
