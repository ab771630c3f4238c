//! Answers of requests on their way into the journal.
//!
//! With several requests in flight they are kept in a file of the run's folder while a stage
//! runs, and are read from there when it has ended. A prony that was killed leaves the file
//! behind, with everything that it takes to read the answers: [`recover_answers`].

use crate::images;
use crate::run::since;
use prony_config::Secrets;
use prony_contract::{self as contract, ErrorKind, Kind};
use prony_journal::{Error, Event, MAX_LINE, Reopened, RunFolder, Started};
use prony_loadgen::spill::{Lost, SpillReader};
use prony_loadgen::{Exchange, each_stamp};
use prony_plan::Visit;
use prony_plugin_host::{Plugin, Registry, sha256_of};
use prony_record::{ErrorClass, Failed, Phase, Record, RequestId};
use prony_result::Outcome;
use prony_result::words::count;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Value of [`Reading::schema`].
pub(crate) const SCHEMA: &str = "prony-answers/2";

/// Name of the file of a run in which answers are kept while a stage runs.
const ANSWERS: &str = "answers.bin";

/// Path of that file.
pub(crate) fn path(folder: &RunFolder) -> PathBuf {
    folder.path().join(ANSWERS)
}

/// SHA-256 of the first line of a run's journal, which no other run has.
pub(crate) fn run_sha256(folder: &RunFolder) -> io::Result<String> {
    let file = BufReader::new(File::open(folder.journal())?);
    let mut line = Vec::new();
    file.take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
    Ok(sha256_of(&line))
}

/// Everything that makes a record of an answer, the same for all requests of a batch. The
/// file of answers begins with it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) schema: String,
    /// As of [`run_sha256`].
    pub(crate) run_sha256: String,
    pub(crate) visit: Visit,
    pub(crate) phase: Phase,
    /// Id of the stage.
    pub(crate) stage: String,
    /// Number of the first request within the stage, from 0.
    pub(crate) first: u32,
    /// Number of requests.
    pub(crate) count: u32,
    /// Number of different prompts.
    pub(crate) prompts: u32,
    /// Number of different images; 0 if none is sent.
    pub(crate) images: u32,
    /// Maximum number of tokens in an answer, by prompt; of all if there is one.
    pub(crate) max_tokens: Vec<u32>,
    /// Clock reading that is the origin of all times in the journal.
    pub(crate) origin_ns: u64,
    /// The plugin that decodes; `None` if nothing needs decoding.
    pub(crate) plugin: Option<String>,
    /// The engine's config, without secrets.
    pub(crate) config: Value,
    /// Server's name of the model that is asked for, if the adapter gives it.
    pub(crate) asked_model: Option<String>,
    /// Path of the model.
    pub(crate) model_path: Option<String>,
    /// `true` if each answer is to have the maximum number of tokens.
    pub(crate) is_exact: bool,
    /// Tokens of prompts without their images, by prompt, as far as they are known.
    pub(crate) without_images: BTreeMap<u32, u32>,
    /// Number of processes that send the requests; the answers in the file are those of one.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(crate) ranks: u32,
    /// Prompts that have images of their own.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) with_images: BTreeSet<u32>,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_one(ranks: &u32) -> bool {
    *ranks == 1
}

impl Reading {
    /// The first line of a file of answers.
    fn parse(line: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let damaged = |error| format!("its first line is of another prony, or damaged: {error}");
        let head: Head = serde_json::from_slice(line).map_err(damaged)?;
        if head.schema != SCHEMA {
            return Err(format!(
                "it is of another version of prony: `{}`, and this one reads `{SCHEMA}`",
                head.schema
            ));
        }
        serde_json::from_slice(line).map_err(damaged)
    }

    /// Checks that the answers are of a run, by its first event and [`run_sha256`].
    fn check(&self, run: &Started, run_sha256: &str) -> Result<(), String> {
        if self.run_sha256 != run_sha256 {
            return Err("they are of another run".to_owned());
        }
        let mut visits = run.plan.visits.iter().chain(&run.plan.replacements);
        if !visits.any(|it| *it == self.visit) {
            return Err(format!("the run has no visit {}", self.visit));
        }
        if self.prompts == 0 || self.first.checked_add(self.count).is_none() {
            return Err("its first line is damaged: there are no such requests".to_owned());
        }
        Ok(())
    }

    /// The id of request `index` of the batch.
    pub(crate) fn id(&self, index: u32) -> RequestId {
        let index = self.first + index;
        RequestId {
            point: self.visit.point.clone(),
            model: self.visit.model.clone(),
            engine: self.visit.engine.clone(),
            cycle: self.visit.cycle,
            phase: self.phase,
            stage: self.stage.clone(),
            index,
            prompt: index % self.prompts.max(1),
            image: images::number_for(index, self.prompts, self.images),
        }
    }

    /// Maximum number of tokens in the answer to request `index` of the batch.
    pub(crate) fn max_tokens(&self, index: u32) -> u32 {
        let index = (self.first + index) as usize;
        let of = index.checked_rem(self.max_tokens.len());
        of.map_or(u32::MAX, |of| self.max_tokens[of])
    }

    /// The record of the answer to request `index` of the batch: decoded by `plugin` with
    /// `config`, and judged.
    pub(crate) fn record(
        &self,
        plugin: Option<&Arc<dyn Plugin>>,
        config: &Value,
        index: u32,
        exchange: &mut Exchange,
    ) -> Record {
        exchange.unpack();
        let mut events = match (exchange.events.take(), plugin) {
            (Some(events), _) => events,
            (None, Some(plugin)) => decode(plugin, config, exchange).or_else(|error| {
                let reported = defect(error)?;
                exchange.seen.failed.get_or_insert(reported);
                Ok(Vec::new())
            }),
            (None, None) => Ok(Vec::new()),
        };
        let since_origin = |ns| since(self.origin_ns, ns);
        for event in events.iter_mut().flatten() {
            if event.ns > 0 && event.kind.is_text() {
                // Of another clock it may lie before the origin, and 0 says that there is none.
                event.ns = since_origin(event.ns).max(1);
            }
        }
        let mut seen = std::mem::take(&mut exchange.seen);
        let reads = seen.reads_ns.iter_mut();
        for stamp in each_stamp(&mut seen.stamps).chain(reads) {
            *stamp = since_origin(*stamp);
        }
        let mut record = Record::judge(self.id(index), seen, events, self.max_tokens(index));
        if let Some(asked) = &self.asked_model {
            record.note_served_model(asked, self.model_path.as_deref());
        }
        self.require_image(&mut record);
        record
    }

    /// Fails a request whose image is missing from its prompt.
    fn require_image(&self, record: &mut Record) {
        let id = &record.id;
        let has_image = id.image.is_some() || self.with_images.contains(&id.prompt);
        if self.phase != Phase::Measure || !has_image || !record.ok() {
            return;
        }
        let without = self.without_images.get(&record.id.prompt);
        if let (Some(with), Some(without)) = (record.prompt_tokens, without)
            && with <= *without
        {
            record.failed = Some(Failed::new(
                ErrorClass::Protocol,
                format!(
                    "the image did not reach the model: the prompt has {with} tokens with it, and {without} without"
                ),
            ));
        }
    }

    /// Notes a short answer where each is to have the maximum number of tokens.
    pub(crate) fn note_length(&self, index: u32, record: &mut Record) {
        if self.is_exact {
            record.note_short_answer(self.max_tokens(index));
        }
    }

    /// Returns `true` if `record` is of a request of the stage.
    fn has(&self, record: &Record) -> bool {
        let of = &self.id(0);
        let id = &record.id;
        (&of.point, &of.model, &of.engine, of.cycle) == (&id.point, &id.model, &id.engine, id.cycle)
            && (of.phase, &of.stage) == (id.phase, &id.stage)
    }
}

fn decode(
    plugin: &Arc<dyn Plugin>,
    config: &Value,
    Exchange {
        seen,
        body,
        ends,
        headers,
        ..
    }: &Exchange,
) -> prony_plugin_host::Result<Vec<contract::Event>> {
    // Without HTTP there is no status; a body counts as success.
    match seen.status.or((!body.is_empty()).then_some(200)) {
        None => Ok(Vec::new()),
        Some(status) => plugin.decode(
            config,
            &contract::Response {
                status,
                headers,
                body,
                ends,
            },
        ),
    }
}

/// The failure of a plugin that did not come to judge an answer; an error if it did.
fn defect(error: prony_plugin_host::Error) -> Result<Failed, contract::Error> {
    let error = error.into_reported();
    if error.kind != ErrorKind::Internal {
        return Err(error);
    }
    let message = format!("prony could not read the answer: {}", error.message);
    Ok(Failed::new(ErrorClass::Plugin, message))
}

/// The outcome of [`recover_answers`], in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftAnswers {
    /// They are in the journal now.
    Recovered(String),
    /// They are still in their file, and in no number.
    Unread(String),
}

/// Means to read the answers of a run.
pub struct Means<R> {
    /// The plugins of the run.
    pub registry: R,
    /// The secrets of its pipeline.
    pub secrets: Secrets,
}

/// Tells of answers that a killed prony had received and not decoded yet; `None` if there are
/// none, or if the run is in progress.
pub fn left_answers(folder: &RunFolder) -> Option<String> {
    let path = path(folder);
    let has_begun = || {
        // Killed while the first line was written, or on a disk that was full, before there
        // was an answer. The next stage replaces the file.
        let error = SpillReader::open(&path).err();
        error.is_none_or(|error| error.kind() != io::ErrorKind::UnexpectedEof)
    };
    let is_left = path.is_file() && !prony_journal::is_running(&folder.journal());
    (is_left && has_begun()).then(|| {
        format!(
            "answers that were received before the run was killed are in no number, and stay in `{}`",
            path.display()
        )
    })
}

/// Journals the answers that a killed prony had received and not decoded yet: those of the
/// stage in which it was killed. `None` if there are none, or if the run is in progress.
pub fn recover_answers<R: Borrow<Registry>>(
    folder: &RunFolder,
    means: impl FnOnce() -> Result<Means<R>, String>,
) -> Option<LeftAnswers> {
    let left = left_answers(folder)?;
    Some(match recover(folder, &path(folder), means) {
        Ok(told) => LeftAnswers::Recovered(told),
        Err(reason) => LeftAnswers::Unread(format!("{left}: {reason}")),
    })
}

fn recover<R: Borrow<Registry>>(
    folder: &RunFolder,
    path: &Path,
    means: impl FnOnce() -> Result<Means<R>, String>,
) -> Result<String, String> {
    let (line, mut answers) = SpillReader::open(path).map_err(|error| error.to_string())?;
    let reading = Reading::parse(&line)?;
    let told = |error: Error| error.to_string();
    let last_written = std::fs::metadata(folder.journal()).and_then(|it| it.modified());
    let journal = Reopened::open(&folder.journal()).map_err(told)?;
    let run_sha256 = run_sha256(folder).map_err(|error| error.to_string())?;
    reading.check(journal.started(), &run_sha256)?;
    let Means { registry, secrets } = means()?;
    let plugin = match &reading.plugin {
        None => None,
        Some(name) => Some(plugin_of_run(registry.borrow(), name, journal.started())?),
    };
    let (mut known, mut under_way, mut has_ended) = (HashSet::new(), UnderWay::default(), false);
    let writer = journal.read_on(|placed| {
        under_way.see(&placed.event, &reading.visit);
        match &placed.event {
            Event::Request(record) if reading.has(record) => {
                known.insert(record.id.index);
            }
            Event::Finished { outcome, .. } => has_ended = *outcome != Outcome::Interrupted,
            _ => {}
        }
        Ok(())
    });
    let mut writer = writer.map_err(told)?;
    if has_ended {
        return Err("the run came to its end without them".to_owned());
    }
    if under_way.stage.as_ref() != Some(&reading.stage) {
        return Err(format!(
            "they are of `{}` of {}, which was not under way when the run was killed",
            reading.stage, reading.visit
        ));
    }
    let is_share = reading.ranks > 1;
    let mut tell = |event: Event| -> Result<(), String> {
        // Servers repeat what they were given.
        let masked = secrets.masked(&event).map_err(Error::Secrets);
        masked.and_then(|it| writer.append(&it)).map_err(told)
    };
    let (mut recovered, mut strangers) = (0, 0);
    for answer in &mut answers {
        let (index, mut exchange) = answer.map_err(|error| error.to_string())?;
        if is_share {
            continue;
        }
        if index >= reading.count {
            strangers += 1;
            continue;
        }
        if !known.insert(reading.first + index) {
            continue;
        }
        let mut record = reading.record(plugin.as_ref(), &reading.config, index, &mut exchange);
        reading.note_length(index, &mut record);
        tell(Event::Request(Box::new(record)))?;
        recovered += 1;
    }
    let mut message = format!(
        "the run was killed within `{}` of {}; afterwards prony decoded {} that it had received, without what only the run itself counts (tokens by the model's tokenizer)",
        reading.stage,
        reading.visit,
        count(recovered, "answer")
    );
    if is_share {
        message = format!(
            "the run was killed within `{}` of {}, whose load {} ranks sent: what rank 0 had received is in no number, since the rest is lost",
            reading.stage, reading.visit, reading.ranks
        );
    }
    let mut lost_answers = answers.lost();
    lost_answers.answers += strangers;
    let lost = lost(lost_answers);
    if let Some(lost) = &lost {
        message = format!("{message}; {lost}, so the file is kept as `{DAMAGED}`");
    }
    if recovered > 0 || lost.is_some() {
        let message = message.clone();
        tell(Event::Warning { message })?;
    }
    writer.sync().map_err(told)?;
    let done = match lost {
        Some(_) => std::fs::rename(path, folder.path().join(DAMAGED)),
        None => std::fs::remove_file(path),
    };
    done.map_err(|error| error.to_string())?;
    if let Ok(time) = last_written {
        // A run that goes on tells how long nothing ran: since the run itself wrote, not this.
        let journal = File::options().append(true).open(folder.journal());
        let _ = journal.and_then(|it| it.set_modified(time));
    }
    Ok(message)
}

/// Name of a file of answers of which some could not be read.
const DAMAGED: &str = "answers.damaged";

/// The answers that could not be read, in words.
fn lost(lost: Lost) -> Option<String> {
    let answers = (lost.answers > 0).then(|| {
        format!(
            "{} in the file cannot be read",
            count(lost.answers, "answer")
        )
    });
    let bytes = (lost.bytes > 0)
        .then(|| format!("its last {} are no whole answer", count(lost.bytes, "byte")));
    let words: Vec<String> = [answers, bytes].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(", and "))
}

/// The plugin that a run used, if it is still the same.
fn plugin_of_run(
    registry: &Registry,
    name: &str,
    started: &Started,
) -> Result<Arc<dyn Plugin>, String> {
    let (entry, _) = registry
        .find(Kind::Engine, name)
        .map_err(|error| error.to_string())?;
    let mut used = started.plugins.iter();
    let used = used.find(|it| it.kind == Kind::Engine && it.name == name);
    if used.is_none_or(|used| used.sha256 != entry.sha256) {
        return Err(format!(
            "the plugin `{name}` is another one than in the run: `--lock` names the lock file that has it"
        ));
    }
    let plugin = registry.load(Kind::Engine, name);
    plugin.map_err(|error| error.to_string())
}

/// The stage of a visit that was under way when the journal ended.
#[derive(Debug, Default)]
struct UnderWay {
    stage: Option<String>,
}

impl UnderWay {
    fn see(&mut self, event: &Event, of: &Visit) {
        match event {
            Event::Stage {
                stage,
                id,
                visit: Some(visit),
                skipped,
                ..
            } => {
                if visit == of && !skipped {
                    let id = id.as_deref().unwrap_or(stage.name());
                    self.stage = Some(id.to_owned());
                } else if !visit.is_of_model(of) || visit.cycle != of.cycle {
                    // The engines of a cycle may take turns.
                    self.stage = None;
                }
            }
            Event::Cycle { .. } | Event::Resumed { .. } => self.stage = None,
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "answers/tests.rs"]
mod tests;
