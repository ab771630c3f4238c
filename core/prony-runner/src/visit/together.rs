//! A load on its way, whether this process sends it alone or together with other ranks.
//!
//! Rank 0 makes the requests, sends its own share of them, and takes the answers of the others
//! when the stage has ended. Their times are moved to this process's clock by one offset a
//! stage, so that no clock of a network is in a time to first token or a latency.

use super::Staged;
use super::receive::AnswerSink;
use super::requests::{Batch, Requests};
use crate::process::Process;
use crate::run::{StageError, interrupted};
use prony_journal::{Error, Event};
use prony_loadgen::client::Http;
use prony_loadgen::clock::now_ns;
use prony_loadgen::each_stamp;
use prony_loadgen::load::{Done, Load, Running, Usage};
use prony_loadgen::spill::SpillReader;
use prony_loadgen::target::{Prepared, Target};
use prony_ranks::{Clock, Next, Ranks};
use prony_record::{Phase, Stamps};
use prony_result::words::count;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::MutexGuard;

/// Share of a stage's time that ranks may end apart, before that is told.
const UNEVEN: f64 = 0.02;
/// Time between when a request of an open loop is due and its sending that no client takes, in
/// nanoseconds: others of its rank were in flight.
const WAITED_NS: u64 = 20_000_000;
/// Share of a stage's time by which clocks may differ, before that is told.
const UNSURE: f64 = 0.001;

/// A load on its way.
pub(super) struct OnItsWay<'r> {
    own: Running,
    is_over: bool,
    shared: Option<Shared<'r>>,
}

/// The rest of a load that is shared.
struct Shared<'r> {
    ranks: MutexGuard<'r, Ranks>,
    /// The index of each request of this process in the batch.
    indices: Vec<u32>,
    /// The clocks of the others before the load.
    clocks: Vec<Clock>,
    /// Its start, by this process's clock.
    start_ns: u64,
    /// Requests that this process has in flight at most.
    most: u32,
    /// `true` once they are all over.
    is_over: bool,
    /// Reason why one of them is lost.
    lost: Option<String>,
}

/// An event of a load.
pub(super) enum Step {
    /// A request of this process ended.
    Done(Box<Done>),
    /// So many requests of the others were answered.
    Answers(u64),
    /// So many requests of another rank in a row had no answer in time.
    Hangs(u32),
    /// A rank is lost ([`OnItsWay::lost`]).
    Lost,
    Over,
}

impl OnItsWay<'_> {
    /// A load that this process sends alone.
    pub(super) fn alone(own: Running) -> Self {
        Self {
            own,
            is_over: false,
            shared: None,
        }
    }

    /// Waits for the next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Step {
        let Self {
            own,
            is_over,
            shared,
        } = self;
        loop {
            let others = shared
                .as_mut()
                .filter(|it| !it.is_over && it.lost.is_none());
            let (done, others) = match others {
                None if *is_over => return Step::Over,
                None => (own.next().await, None),
                Some(others) if *is_over => {
                    let next = others.ranks.next().await;
                    (None, Some((others, next)))
                }
                Some(others) => tokio::select! {
                    done = own.next() => (done, None),
                    next = others.ranks.next() => (None, Some((others, next))),
                },
            };
            match (done, others) {
                (Some(mut done), _) => {
                    if let Some(shared) = shared {
                        done.index = shared.indices[done.index as usize];
                    }
                    return Step::Done(Box::new(done));
                }
                (None, None) => *is_over = true,
                (None, Some((others, next))) => match next {
                    Next::Answers(count) => return Step::Answers(count),
                    Next::Hangs(timeouts) => return Step::Hangs(timeouts),
                    Next::Over => others.is_over = true,
                    Next::Lost(why) => {
                        others.lost = Some(why);
                        return Step::Lost;
                    }
                },
            }
        }
    }

    /// Requests that this process has in flight at most, of `all`.
    pub(super) fn most_of(&self, all: u32) -> u32 {
        self.shared.as_ref().map_or(all, |shared| shared.most)
    }

    /// Time until its start.
    pub(super) fn until_start(&self) -> Duration {
        let start_ns = self.shared.as_ref().map_or(0, |shared| shared.start_ns);
        Duration::from_nanos(start_ns.saturating_sub(now_ns()))
    }

    /// Ends it now, on all ranks.
    pub(super) fn stop(&mut self) {
        self.own.stop();
        if let Some(shared) = &mut self.shared {
            shared.ranks.stop();
        }
    }

    /// Use of this process's client.
    pub(super) fn usage(&self) -> Option<Usage> {
        let mut usage = self.own.usage().cloned()?;
        if let Some(shared) = &self.shared {
            for (index, _) in &mut usage.dropped {
                *index = shared.indices[*index as usize];
            }
        }
        Some(usage)
    }

    /// Reason why a rank is lost, if one is.
    pub(super) fn lost(&self) -> Option<&String> {
        self.shared.as_ref()?.lost.as_ref()
    }
}

fn not_started(error: std::io::Error) -> String {
    format!("the load generator did not start: {error}")
}

/// Returns `true` if the stamps of another rank's request, by this clock, lie between the start and
/// now.
fn fits(stamps: &Stamps, start_ns: u64, clock: Option<&Clock>) -> bool {
    /// Requests are sent when they are due, or a little earlier where the system's timers are.
    const EARLIER_NS: u64 = 1_000_000;
    // The clocks may have gone apart since the start.
    let slack_ns = EARLIER_NS + 2 * clock.map_or(0, |it| it.bound_ns);
    let begin_ns = start_ns.saturating_sub(slack_ns);
    let end_ns = now_ns().saturating_add(slack_ns);
    begin_ns <= stamps.intended_ns.min(stamps.sent_ns)
        && stamps.sent_ns <= stamps.end_ns
        && stamps.end_ns <= end_ns
}

/// Leftovers of the other ranks' shares beside their answers, by this process's indices and clock.
#[derive(Default)]
pub(super) struct OfOthers {
    /// Requests that were in flight when the load was stopped, with their stamps.
    pub(super) cut_off: BTreeMap<u32, Stamps>,
    pub(super) usage: Option<Usage>,
}

impl<'r> Requests<'r, '_> {
    /// Starts a load: together with the other ranks, if there are any and it has as many requests
    /// in flight as there are ranks.
    pub(super) async fn start(
        &self,
        batch: &Batch<'_>,
        target: &Target,
        load: Load<Arc<Prepared>>,
    ) -> Staged<OnItsWay<'r>> {
        let most = batch.arrival.max_in_flight();
        let ranks = match &self.run.ranks {
            Some(ranks) if batch.has_images => Some(ranks.lock().await),
            _ => None,
        };
        let Some(ranks) = ranks.filter(|_| self.run.ranks_for(most).is_some()) else {
            let http = Http::fit(target.clone(), batch.shards, most);
            return Ok(OnItsWay::alone(http.start(load).map_err(not_started)?));
        };
        let mut stop = self.run.stop.clone();
        tokio::select! {
            started = self.start_together(batch, target, &load, ranks) => started,
            () = interrupted(&mut stop) => Err(StageError::Interrupted),
        }
    }

    async fn start_together(
        &self,
        batch: &Batch<'_>,
        target: &Target,
        load: &Load<Arc<Prepared>>,
        mut ranks: MutexGuard<'r, Ranks>,
    ) -> Staged<OnItsWay<'r>> {
        let clocks = ranks.clocks().await.map_err(StageError::Rank)?;
        let workload = &self.point.workload;
        let own = load.share_of(prony_loadgen::deal::Rank {
            number: 0,
            of: ranks.world(),
        });
        let settled = ranks
            .deal(target, batch.shards, load, workload.max_timeouts)
            .await
            .map_err(StageError::Rank)?;
        let http = Http::fit(
            target.clone(),
            batch.shards,
            own.load.arrival.max_in_flight(),
        );
        let most_own = own.load.arrival.max_in_flight();
        let poised = http.poise(own.load);
        let poised = poised.map_err(|error| StageError::Rank(not_started(error)))?;
        let waited = tokio::task::spawn_blocking(move || {
            let settled = poised.wait();
            (poised, settled)
        });
        let (poised, own_settled) = waited.await.map_err(|error| error.to_string())?;
        let start_ns = ranks
            .go(&clocks, settled.max(own_settled))
            .map_err(StageError::Rank)?;
        Ok(OnItsWay {
            own: poised.go(start_ns),
            is_over: false,
            shared: Some(Shared {
                ranks,
                indices: own.indices,
                clocks,
                start_ns,
                most: most_own,
                is_over: false,
                lost: None,
            }),
        })
    }

    /// Takes the answers of the other ranks into the journal. `is_whole` if all of them have sent
    /// their whole shares.
    pub(super) async fn take_from_others(
        &mut self,
        batch: &Batch<'_>,
        answers: &mut AnswerSink,
        load: OnItsWay<'_>,
        process: &mut Option<Process>,
        is_whole: bool,
    ) -> Staged<OfOthers> {
        let mut of_others = OfOthers::default();
        let Some(mut shared) = load.shared else {
            return Ok(of_others);
        };
        let folder = self.run.folder.path();
        let all = match shared.ranks.fetch(folder).await {
            Ok(all) => all,
            // The user has interrupted the run, and all ranks with it.
            Err(_) if shared.lost.is_some() => return Ok(of_others),
            Err(why) => return Err(StageError::Rank(why)),
        };
        let (mut first_end_ns, mut last_end_ns) = (self.last_end_ns, self.last_end_ns);
        let (mut longest_ns, mut waited) = (0, 0);
        for ended in all {
            let clock = shared.clocks.iter().find(|it| it.rank == ended.rank);
            let offset_ns = clock.map_or(0, |it| it.offset_ns);
            let index_of = |index: u32| ended.indices.get(index as usize).copied();
            let mut end_ns = 0;
            let mut read = 0;
            if let Some(path) = &ended.answers {
                let io = |error| Error::io(path)(error);
                let (_, kept) = SpillReader::open(path).map_err(io)?;
                for answer in kept {
                    let (index, mut exchange) = answer.map_err(io)?;
                    // Twice the same would be two requests in every number.
                    let index = index_of(index).filter(|index| answers.is_first(*index));
                    let Some(index) = index else { continue };
                    exchange.shift(offset_ns);
                    if !fits(&exchange.seen.stamps, shared.start_ns, clock) {
                        return Err(StageError::Rank(format!(
                            "rank {} tells times of its requests that cannot be: before the start, or later than now",
                            ended.rank
                        )));
                    }
                    let stamps = &exchange.seen.stamps;
                    end_ns = end_ns.max(self.run.since_origin(stamps.end_ns));
                    longest_ns = longest_ns.max(stamps.end_ns.saturating_sub(stamps.sent_ns));
                    waited +=
                        u64::from(stamps.sent_ns.saturating_sub(stamps.intended_ns) > WAITED_NS);
                    self.note_answer(&mut exchange, process).await;
                    self.read(batch, answers, index, exchange)?;
                    read += 1;
                }
                let _ = std::fs::remove_file(path);
            }
            let expected = if is_whole {
                ended.indices.len() as u64
            } else {
                ended.count
            };
            if read != expected {
                return Err(StageError::Rank(format!(
                    "{read} of {expected} answers of rank {} arrived",
                    ended.rank
                )));
            }
            for (index, mut stamps) in ended.cut_off {
                for stamp in each_stamp(&mut stamps) {
                    *stamp = stamp.saturating_add_signed(offset_ns);
                }
                let index = index_of(index);
                of_others.cut_off.extend(index.map(|index| (index, stamps)));
            }
            if let Some(mut usage) = ended.usage {
                for (index, due_ns) in &mut usage.dropped {
                    *index = index_of(*index).unwrap_or(u32::MAX);
                    *due_ns = due_ns.saturating_add_signed(offset_ns);
                }
                match &mut of_others.usage {
                    Some(all) => all.add(&usage),
                    None => of_others.usage = Some(usage),
                }
            }
            if end_ns > 0 {
                first_end_ns = first_end_ns.min(end_ns);
                last_end_ns = last_end_ns.max(end_ns);
            }
        }
        if shared.lost.is_none() {
            self.tell_clocks(batch, &mut shared).await?;
        }
        if batch.phase == Phase::Measure && batch.arrival.is_open() && waited > 0 {
            let message = format!(
                "{}: {} of `{}` (cycle {}) waited in `{}`, since their rank had its share of `max_in_flight` in flight; one process might have sent them: raise it, if it is no limit of what is measured",
                self.visit.model,
                count(waited, "request"),
                self.visit.engine,
                self.visit.cycle,
                batch.stage
            );
            self.run.tell(Event::Warning { message })?;
        }
        let seconds = |ns: u64| ns as f64 / 1e9;
        let wall_s = seconds(last_end_ns.saturating_sub(self.first_sent_ns.unwrap_or_default()));
        // The last requests of one process end as far apart as one of them takes.
        let beyond_ns = (last_end_ns - first_end_ns).saturating_sub(longest_ns);
        let apart_s = seconds(beyond_ns);
        let is_counted = batch.duration.is_none() && !batch.arrival.is_open();
        if batch.phase == Phase::Measure && is_counted && apart_s > wall_s * UNEVEN {
            let message = format!(
                "{}: the ranks of `{}` (cycle {}) ended `{}` {apart_s:.2} s farther apart than a request takes, {:.1} % of its time: fewer requests were in flight meanwhile than with one rank; with `duration` there is no such end",
                self.visit.model,
                self.visit.engine,
                self.visit.cycle,
                batch.stage,
                apart_s * 100.0 / wall_s
            );
            self.run.tell(Event::Warning { message })?;
        }
        Ok(of_others)
    }

    /// Journals the clocks of the others, measured again.
    async fn tell_clocks(&self, batch: &Batch<'_>, shared: &mut Shared<'_>) -> Staged<()> {
        let after = shared.ranks.clocks().await.map_err(StageError::Rank)?;
        let wall_ns = self
            .last_end_ns
            .saturating_sub(self.first_sent_ns.unwrap_or_default());
        let mut worst: Option<Clock> = None;
        for (before, after) in shared.clocks.iter().zip(&after) {
            let moved_ns = after.offset_ns.abs_diff(before.offset_ns);
            // The offset before is right within its bound, that after within its own.
            let clock = Clock {
                bound_ns: before.bound_ns.max(after.bound_ns.saturating_add(moved_ns)),
                ..*before
            };
            self.run.tell(Event::Clock {
                visit: self.visit.clone(),
                stage: batch.stage.to_owned(),
                rank: clock.rank,
                offset_ns: clock.offset_ns,
                bound_ns: clock.bound_ns,
            })?;
            if worst.is_none_or(|worst| worst.bound_ns < clock.bound_ns) {
                worst = Some(clock);
            }
        }
        let Some(worst) =
            worst.filter(|it| wall_ns > 0 && it.bound_ns as f64 > wall_ns as f64 * UNSURE)
        else {
            return Ok(());
        };
        if batch.phase == Phase::Measure {
            let message = format!(
                "{}: the clock of rank {} is known only to ±{:.3} ms, more than {} % of the time of `{}` of `{}` (cycle {}), and its throughput with it: take a longer stage, or a nearer network",
                self.visit.model,
                worst.rank,
                worst.bound_ns as f64 / 1e6,
                UNSURE * 100.0,
                batch.stage,
                self.visit.engine,
                self.visit.cycle
            );
            self.run.tell(Event::Warning { message })?;
        }
        Ok(())
    }
}
