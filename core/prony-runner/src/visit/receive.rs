//! Answers on their way into the journal.

use super::requests::{Batch, Requests};
use super::together::{OnItsWay, Step};
use super::{CRASH_GRACE, Staged};
use crate::Result;
use crate::answers::{self, Reading};
use crate::process::{Process, describe};
use crate::run::{StageError, interrupted};
use crate::sending;
use prony_config::Cache;
use prony_journal::{Error, Event, RunFolder};
use prony_loadgen::clock::now_ns;
use prony_loadgen::load::{Done, Load};
use prony_loadgen::spill::Spill;
use prony_loadgen::{Exchange, each_stamp};
use prony_plugin_host::Plugin;
use prony_record::{ErrorClass, Failed, Phase, Record, Stamps};
use prony_result::words::count;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// The answers to a load, on their way into the journal.
pub(super) struct AnswerSink {
    reading: Reading,
    /// Decodes them; `None` if they need none.
    plugin: Option<Arc<dyn Plugin>>,
    /// Their file, with several requests in flight.
    spill: Option<Spill>,
    /// `true` for each request that was answered.
    answered: Vec<bool>,
    /// Number of answers handed to the file.
    kept: u64,
    /// Number of requests that succeeded, of the answers read so far.
    succeeded: u32,
}

impl AnswerSink {
    /// Notes that a request was answered. Returns `true` the first time.
    pub(super) fn is_first(&mut self, index: u32) -> bool {
        let answered = self.answered.get_mut(index as usize);
        answered.is_some_and(|answered| !std::mem::replace(answered, true))
    }

    /// Returns `true` once the file could not be written.
    fn cannot_be_kept(&self) -> bool {
        self.spill.as_ref().is_some_and(Spill::has_failed)
    }
}

/// Requests that were due and never answered.
struct Unanswered<'b> {
    reading: &'b Reading,
    /// Time of the last answer, since the run's origin.
    since: u64,
    /// As of the batch.
    has_images: bool,
    /// Requests that were in flight when the load was ended, with their stamps.
    cut_off: BTreeMap<u32, Stamps>,
    /// Due times of those of an open loop that were due and not sent, since the run's origin.
    due: HashMap<u32, u64>,
}

/// The end of a load.
enum LoadEnd {
    /// Everything that was due was answered.
    Over,
    /// The stage's limit, or a file of answers that cannot be written.
    Cut,
    /// The user interrupted the run.
    Interrupted,
    /// The engine is taken to hang, for this reason.
    Hangs(String),
    /// A rank is lost.
    Lost,
}

impl Requests<'_, '_> {
    /// The way of the answers to a load into the journal. With several requests in flight a
    /// file is made for them.
    pub(super) fn answers<T>(
        &self,
        batch: &Batch<'_>,
        plugin: Option<Arc<dyn Plugin>>,
        load: &Load<T>,
    ) -> Result<AnswerSink> {
        let mut reading = self.reading(batch, plugin.is_some());
        reading.count = load.requests.len() as u32;
        let ranks = self.run.ranks_for(batch.arrival.max_in_flight());
        reading.ranks = ranks.filter(|_| batch.has_images).unwrap_or(1);
        let spill = if load.is_one_at_a_time() {
            None
        } else {
            let path = answers::path(self.run.folder);
            let io = Error::io(&path);
            reading.run_sha256 = answers::run_sha256(self.run.folder)
                .map_err(Error::io(&self.run.folder.journal()))?;
            let line =
                serde_json::to_vec(&reading).unwrap_or_else(|_| unreachable!("it is plain data"));
            Some(Spill::create(&path, &line).map_err(io)?)
        };
        Ok(AnswerSink {
            reading,
            plugin,
            spill,
            answered: vec![false; load.requests.len()],
            kept: 0,
            succeeded: 0,
        })
    }

    /// Everything that makes records of the answers to a batch.
    fn reading(&self, batch: &Batch<'_>, is_decoded: bool) -> Reading {
        let workload = &self.point.workload;
        let prompts = &self.request_set.prompts;
        let is_asked = batch.question.is_some();
        let mut max_tokens: Vec<u32> = match batch.question {
            Some(question) => vec![question.max_tokens],
            None => prompts.iter().map(|it| it.max_tokens).collect(),
        };
        if max_tokens.iter().all(|it| *it == max_tokens[0]) {
            max_tokens.truncate(1);
        }
        let images = if batch.has_images {
            workload.images.len() as u32
        } else {
            0
        };
        let cold = batch.cache == Some(Cache::Cold);
        let without_images = self.without_images.get(&cold);
        let masked = self.run.pipeline.secrets.masked(&self.config);
        let config = masked.map(std::borrow::Cow::into_owned);
        Reading {
            schema: answers::SCHEMA.to_owned(),
            run_sha256: String::new(),
            visit: self.visit.clone(),
            phase: batch.phase,
            stage: batch.stage.to_owned(),
            first: batch.first,
            count: batch.count,
            prompts: prompts.len() as u32,
            images,
            max_tokens,
            origin_ns: self.run.origin_ns,
            plugin: is_decoded.then(|| self.engine.plugin.clone()),
            config: config.unwrap_or_default(),
            asked_model: self.asked_model.clone().filter(|_| batch.has_images),
            model_path: self.model.path.clone(),
            is_exact: workload.ignore_eos && workload.stop.is_empty() && !is_asked,
            without_images: without_images.cloned().unwrap_or_default(),
            ranks: 1,
            with_images: if batch.has_images {
                self.request_set.with_images().collect()
            } else {
                BTreeSet::new()
            },
        }
    }

    /// Keeps the results of a load; returns the number that succeeded. `lost` returns the
    /// reason why nothing more could be sent, if any.
    pub(super) async fn receive(
        &mut self,
        batch: &Batch<'_>,
        mut answers: AnswerSink,
        mut running: OnItsWay<'_>,
        process: &mut Option<Process>,
        lost: impl Fn() -> Option<Failed>,
    ) -> Staged<u32> {
        let mut since = self.run.now();
        let end = self
            .take_until_the_end(batch, &mut answers, &mut running, process, &mut since)
            .await?;
        // Ending the load may itself lose the engine, and is then no explanation.
        let lost = lost();
        let mut cut_off = self
            .take_the_rest(batch, &mut answers, &mut running, process, &mut since)
            .await?;
        self.stopped_ns = Some(self.run.now());
        if let Some(lost) = running.lost()
            && !matches!(end, LoadEnd::Interrupted)
        {
            drop_kept(self.run.folder, &mut answers)?;
            return Err(StageError::Rank(format!(
                "{lost}; what was answered in this stage is in no number, since with fewer ranks it was another load"
            )));
        }
        self.read_kept(batch, &mut answers)?;
        let mut usage = running.usage();
        // With a duration the rest was not due.
        let is_whole = matches!(end, LoadEnd::Over) && batch.duration.is_none();
        let of_others = self
            .take_from_others(batch, &mut answers, running, process, is_whole)
            .await?;
        cut_off.extend(of_others.cut_off);
        match (&mut usage, of_others.usage) {
            (Some(usage), Some(of_others)) => usage.add(&of_others),
            (None, of_others) => usage = of_others,
            (Some(_), None) => {}
        }
        since = since.max(self.last_end_ns);
        // A worker runs without a client.
        let client = usage.as_ref();
        // Nor does one that was ended before it sent anything have a use.
        let client = client.filter(|usage| {
            let is_used = self.first_sent_ns.is_some() || !usage.dropped.is_empty();
            batch.phase == Phase::Measure && usage.shards > 0 && is_used
        });
        if let Some(usage) = client {
            self.run.tell(Event::Client {
                visit: self.visit.clone(),
                stage: batch.stage.to_owned(),
                client: sending::client(usage),
            })?;
        }
        if matches!(end, LoadEnd::Interrupted) {
            let dropped = usage.as_ref().map_or(0, |usage| usage.dropped.len());
            self.note_cut_off(batch, cut_off.len(), dropped)?;
            return Err(StageError::Interrupted);
        }
        for stamps in cut_off.values_mut() {
            for stamp in each_stamp(stamps) {
                *stamp = self.run.since_origin(*stamp);
            }
        }
        let dropped = usage.iter().flat_map(|usage| &usage.dropped);
        let due = dropped.map(|(index, due_ns)| (*index, self.run.since_origin(*due_ns)));
        let unanswered = Unanswered {
            reading: &answers.reading,
            since,
            has_images: batch.has_images,
            cut_off,
            due: due.collect(),
        };
        self.conclude(batch, end, lost, &unanswered, answers.answered.clone())?;
        Ok(answers.succeeded)
    }

    /// Takes answers until the load, its limit or the user ends it.
    async fn take_until_the_end(
        &mut self,
        batch: &Batch<'_>,
        answers: &mut AnswerSink,
        running: &mut OnItsWay<'_>,
        process: &mut Option<Process>,
        since: &mut u64,
    ) -> Staged<LoadEnd> {
        let mut stop = self.run.stop.clone();
        let begin = tokio::time::Instant::now() + running.until_start();
        let deadline = batch.limit.map(|limit| begin + limit);
        let workload = &self.point.workload;
        // All that are in flight may meet one pause.
        let most = running.most_of(batch.arrival.max_in_flight());
        let max_timeouts = workload.max_timeouts.max(most);
        let mut timeouts = 0;
        loop {
            let next = tokio::select! {
                next = running.next() => next,
                () = interrupted(&mut stop) => return Ok(LoadEnd::Interrupted),
                () = passed(deadline) => return Ok(LoadEnd::Cut),
            };
            let hangs = |timeouts| {
                LoadEnd::Hangs(format!(
                    "{timeouts} requests in a row had no answer within {:?}, so the engine is taken to hang (`max_timeouts`)",
                    workload.request_timeout.to_std()
                ))
            };
            let mut done = match next {
                Step::Done(done) => *done,
                Step::Answers(count) => {
                    self.show_answers(batch, count);
                    continue;
                }
                Step::Over => return Ok(LoadEnd::Over),
                Step::Hangs(timeouts) => return Ok(hangs(timeouts)),
                Step::Lost => return Ok(LoadEnd::Lost),
            };
            *since = self.run.now();
            let class = self.note_answer(&mut done.exchange, process).await;
            timeouts = match class {
                Some(ErrorClass::Timeout) => timeouts + 1,
                _ => 0,
            };
            self.take(batch, answers, done)?;
            if answers.cannot_be_kept() {
                return Ok(LoadEnd::Cut);
            }
            if timeouts >= max_timeouts {
                return Ok(hangs(timeouts));
            }
        }
    }

    /// Ends the load. What was answered until now is kept, whatever ended the stage; what was
    /// in flight then has failed by our doing, and is returned.
    async fn take_the_rest(
        &mut self,
        batch: &Batch<'_>,
        answers: &mut AnswerSink,
        running: &mut OnItsWay<'_>,
        process: &mut Option<Process>,
        since: &mut u64,
    ) -> Staged<BTreeMap<u32, Stamps>> {
        let stopped_ns = now_ns();
        running.stop();
        let mut stamps = BTreeMap::new();
        loop {
            let mut done = match running.next().await {
                Step::Done(done) => *done,
                Step::Answers(count) => {
                    self.show_answers(batch, count);
                    continue;
                }
                Step::Hangs(_) | Step::Lost => continue,
                Step::Over => break,
            };
            let seen = &mut done.exchange.seen;
            match &mut seen.failed {
                Some(_) if seen.stamps.end_ns >= stopped_ns => {
                    stamps.insert(done.index, seen.stamps);
                    continue;
                }
                Some(failed) => blame_crash(failed, seen.stamps.end_ns, process).await,
                None => {}
            }
            *since = self.run.now();
            self.take(batch, answers, done)?;
        }
        Ok(stamps)
    }

    /// Attributes the failure of an answer to a crash, where it is one, and notes whether the
    /// engine is gone with it; returns the class of the failure.
    pub(super) async fn note_answer(
        &mut self,
        exchange: &mut Exchange,
        process: &mut Option<Process>,
    ) -> Option<ErrorClass> {
        if let Some(failed) = &mut exchange.seen.failed {
            blame_crash(failed, exchange.seen.stamps.end_ns, process).await;
        }
        let class = exchange.seen.failed.as_ref().map(|it| it.class);
        self.lost = match class {
            Some(ErrorClass::Crashed | ErrorClass::Oom) => {
                Some("the engine ended during the stage".to_owned())
            }
            Some(ErrorClass::Connect) => {
                Some("the engine was gone at the end of the stage: no connection".to_owned())
            }
            _ => None,
        };
        class
    }

    /// Shows that requests of other ranks were answered.
    fn show_answers(&self, batch: &Batch<'_>, count: u64) {
        if batch.has_images {
            (0..count).for_each(|_| self.run.show(&Event::Answered));
        }
    }

    /// Journals what was not answered, by what ended the load.
    fn conclude(
        &mut self,
        batch: &Batch<'_>,
        end: LoadEnd,
        lost: Option<Failed>,
        unanswered: &Unanswered<'_>,
        mut answered: Vec<bool>,
    ) -> Result<()> {
        if let Some(lost) = lost {
            let message = format!("not sent: {}", lost.message);
            let unsent = Failed::new(ErrorClass::Crashed, message);
            let cut = Failed::new(ErrorClass::Crashed, lost.message.clone());
            self.unanswered(unanswered, &answered, &cut, &unsent)?;
            self.lost.get_or_insert(lost.message);
            return Ok(());
        }
        let is_over = matches!(end, LoadEnd::Over);
        if let LoadEnd::Hangs(hangs) = end {
            let over = Failed::new(ErrorClass::Timeout, format!("given up: {hangs}"));
            self.unanswered(unanswered, &answered, &over, &over)?;
            self.lost = Some(hangs);
            return Ok(());
        }
        let mut not_due = 0;
        if batch.arrival.is_open() || (is_over && batch.duration.is_some()) {
            // Sessions not begun by a closed loop were never due; those dropped by an
            // open loop were.
            for (index, answered) in (0..).zip(&mut answered) {
                let is_owed =
                    unanswered.due.contains_key(&index) || unanswered.cut_off.contains_key(&index);
                not_due += u32::from(!*answered && !is_owed);
                *answered |= !is_owed;
            }
        }
        let unsent = match batch.duration.filter(|_| is_over) {
            Some(duration) => format!(
                "not sent within {duration:?}: {} requests in flight are the most",
                batch.arrival.max_in_flight()
            ),
            None => "not sent within the stage's limit".to_owned(),
        };
        let unsent = Failed::new(ErrorClass::Timeout, unsent);
        let cut = Failed::new(ErrorClass::Timeout, "not finished within the stage's limit");
        self.unanswered(unanswered, &answered, &cut, &unsent)?;
        if is_over || not_due == 0 || !batch.has_images {
            return Ok(());
        }
        let message = format!(
            "{}: the limit of `{}` (`timeout`) ended it before {} of `{}` (cycle {}) were due: they are in no number",
            self.visit.model,
            batch.stage,
            count(u64::from(not_due), "request"),
            self.visit.engine,
            self.visit.cycle
        );
        self.run.tell(Event::Warning { message })
    }

    /// Tells of requests that were in flight when the user interrupted the run, and of those that
    /// were due and had not been sent.
    fn note_cut_off(&self, batch: &Batch<'_>, in_flight: usize, due: usize) -> Result<()> {
        let Self { visit, run, .. } = self;
        let of = format!("of `{}` (cycle {})", visit.engine, visit.cycle);
        let told = [
            (
                in_flight,
                "in flight when the run was interrupted: in no number",
            ),
            (
                due,
                "due and not sent when the run was interrupted: in no number, and without them success and latencies look better than they were",
            ),
        ];
        for (requests, what) in told {
            if requests > 0 && batch.has_images {
                let requests = count(requests as u64, "request");
                let message = format!("{}: {requests} {of} {what}", visit.model);
                run.tell(Event::Warning { message })?;
            }
        }
        Ok(())
    }

    /// Takes an answer: journals it at once if the next request waits for that, or else
    /// keeps it.
    fn take(&mut self, batch: &Batch<'_>, answers: &mut AnswerSink, done: Done) -> Result<()> {
        let Done {
            index,
            exchange,
            resume,
            held,
        } = done;
        answers.answered[index as usize] = true;
        match &answers.spill {
            Some(spill) => {
                spill.keep(index, exchange, held);
                answers.kept += 1;
                if batch.has_images {
                    self.run.show(&Event::Answered);
                }
            }
            None => self.read(batch, answers, index, exchange)?,
        }
        drop(resume);
        Ok(())
    }

    /// Journals the answers that were kept, and removes their file. None is in flight any
    /// more, so decoding takes no CPU time from the engine.
    fn read_kept(&mut self, batch: &Batch<'_>, answers: &mut AnswerSink) -> Result<()> {
        let Some(spill) = answers.spill.take() else {
            return Ok(());
        };
        let path = answers::path(self.run.folder);
        let io = |error| Error::io(&path)(error);
        let kept = spill.finish().map_err(io)?;
        let mut read = 0;
        for answer in kept.answers {
            let (index, exchange) = answer.map_err(io)?;
            self.read(batch, answers, index, exchange)?;
            read += 1;
        }
        for (index, exchange) in kept.left {
            self.read(batch, answers, index, exchange)?;
            read += 1;
        }
        if read != answers.kept {
            let message = format!("{read} of {} answers are in it", answers.kept);
            return Err(io(std::io::Error::other(message)));
        }
        // Whatever is left of it is in the journal.
        let _ = std::fs::remove_file(&path);
        kept.failed.map_or(Ok(()), |error| Err(io(error)))
    }

    /// Has the plugin decode an answer, and journals it.
    pub(super) fn read(
        &mut self,
        batch: &Batch<'_>,
        answers: &mut AnswerSink,
        index: u32,
        mut exchange: Exchange,
    ) -> Result<()> {
        let reading = &answers.reading;
        let plugin = answers.plugin.as_ref();
        let mut record = reading.record(plugin, &self.config, index, &mut exchange);
        if record.failed.is_some() {
            let (run, most) = (self.run, self.run.options.keep_failed);
            let mut bodies = run.failed_bodies.borrow_mut();
            let secrets = &run.pipeline.secrets;
            bodies.keep(run.folder, secrets, most, &mut record, &exchange.body);
        }
        if !batch.has_images {
            self.see_without_image(batch, &record);
            answers.succeeded += u32::from(record.ok());
            return Ok(());
        }
        if let (true, Some(tokenizer)) = (record.ok(), &self.tokenizer) {
            // An uncountable answer is not checked.
            let counted = tokenizer.count(&record.text).ok();
            record.counted_tokens = counted.map(|tokens| tokens as u32);
        }
        reading.note_length(index, &mut record);
        let is_asked = batch.question.is_some();
        if is_asked && record.ok() {
            let answer = self.answers.entry(batch.stage.to_owned());
            answer.or_insert_with(|| record.text.clone());
        }
        if record.ok() {
            record.rendered_tokens = self.rendered_tokens(batch, batch.first + index);
        }
        let least = self.least_prompt_tokens(batch, batch.first + index);
        let is_cut = record.prompt_tokens.is_some_and(|tokens| tokens < least) && !is_asked;
        if batch.cache == Some(Cache::Cold) || is_cut {
            record.least_prompt_tokens = Some(least);
        }
        if batch.cache == Some(Cache::Cold) && record.ok() && record.cached_tokens != Some(0) {
            record.own_prompt_tokens = self.own_prompt_tokens(batch, batch.first + index);
        }
        self.last_end_ns = self.last_end_ns.max(record.stamps.end_ns);
        let sent = record.stamps.sent_ns;
        self.first_sent_ns = Some(self.first_sent_ns.map_or(sent, |first| first.min(sent)));
        self.has_not_found |= record.status == Some(404);
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&record.failed);
        }
        answers.succeeded += u32::from(record.ok());
        self.run.tell(Event::Request(Box::new(record)))
    }

    /// Requests that were due and never answered are failures too: `cut` those in flight, and
    /// `unsent` the others. If none was in flight, the first takes the time since the last
    /// answer: it was being waited for.
    fn unanswered(
        &mut self,
        of: &Unanswered<'_>,
        answered: &[bool],
        cut: &Failed,
        unsent: &Failed,
    ) -> Result<()> {
        if !of.has_images {
            return Ok(());
        }
        let mut waited_since = of.cut_off.is_empty().then_some(of.since);
        for (index, _) in (0..).zip(answered).filter(|it| !it.1) {
            let id = of.reading.id(index);
            let now = self.stopped_ns.unwrap_or_else(|| self.run.now());
            let mut record;
            if let Some(stamps) = of.cut_off.get(&index) {
                // What had no connection yet has no time of its own.
                let is_sent = stamps.end_ns > stamps.sent_ns;
                let why = if is_sent { cut } else { unsent };
                record = Record::unsent(id, now, why.clone());
                record.stamps = *stamps;
                if is_sent {
                    let first = self.first_sent_ns.unwrap_or(u64::MAX);
                    self.first_sent_ns = Some(first.min(stamps.sent_ns));
                }
            } else {
                record = Record::unsent(id, now, unsent.clone());
                if let Some(due) = of.due.get(&index) {
                    record.stamps.intended_ns = *due;
                } else if let Some(since) = waited_since.take() {
                    (record.stamps.intended_ns, record.stamps.sent_ns) = (since, since);
                }
            }
            self.last_end_ns = self.last_end_ns.max(record.stamps.end_ns);
            self.run.tell(Event::Request(Box::new(record)))?;
        }
        Ok(())
    }
}

/// Removes the answers that were kept.
fn drop_kept(folder: &RunFolder, answers: &mut AnswerSink) -> Result<()> {
    let Some(spill) = answers.spill.take() else {
        return Ok(());
    };
    let path = answers::path(folder);
    spill.finish().map_err(Error::io(&path))?;
    let _ = std::fs::remove_file(&path);
    Ok(())
}

/// Attributes a connection that broke at `end_ns` to a crash, if the process behind it has
/// ended by then or shortly after.
async fn blame_crash(failed: &mut Failed, end_ns: u64, process: &mut Option<Process>) {
    // Many that break together wait once.
    let passed = Duration::from_nanos(now_ns().saturating_sub(end_ns));
    let grace = CRASH_GRACE.saturating_sub(passed);
    let suspicious = matches!(
        failed.class,
        ErrorClass::Connect | ErrorClass::Truncated | ErrorClass::Protocol | ErrorClass::Crashed
    );
    if let (true, Some(process)) = (suspicious, process)
        && let Some(status) = process.exited_within(grace).await
    {
        let class = if process.ran_out_of_memory() {
            ErrorClass::Oom
        } else {
            ErrorClass::Crashed
        };
        *failed = Failed::new(
            class,
            format!(
                "the engine ended ({}): {}; {}",
                describe(status),
                failed.message,
                process.last_words()
            ),
        );
    }
}

/// Pending until the deadline, or for ever without one.
async fn passed(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
