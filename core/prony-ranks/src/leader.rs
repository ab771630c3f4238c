//! Rank 0 once all others are there: measures their clocks, deals out loads, takes the answers.

use crate::assembly::OwnFile;
use crate::reader::{Message, Reader, Wanted};
use crate::wire::{BEAT, Hello, LOST_AFTER, Over, ToLeader, ToRank, write};
use prony_loadgen::clock::now_ns;
use prony_loadgen::deal::Rank;
use prony_loadgen::load::{Load, Usage};
use prony_loadgen::parcel::Parcel;
use prony_loadgen::target::{Prepared, Target};
use prony_record::Stamps;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

/// Round trips that measure a clock.
const ROUNDS: u32 = 64;
/// Time for a rank to take its share and open its connections.
const READY: Duration = Duration::from_mins(10);
/// Time for a rank to stop.
const STOPPING: Duration = Duration::from_secs(30);
/// Longest time for which connections are left alone.
const MAX_SETTLING: Duration = Duration::from_mins(1);
/// Time between the word to start and the start, at least, over a network: a lost packet is sent
/// again meanwhile.
const LEAD: Duration = Duration::from_secs(1);
/// The same among processes of one machine.
const LEAD_HERE: Duration = Duration::from_millis(100);

/// Another rank, as rank 0 sees it.
#[derive(Debug)]
pub(crate) struct Member {
    hello: Hello,
    stream: TcpStream,
    /// Last sign of life.
    heard_ns: Arc<AtomicU64>,
    /// Where its answers go.
    answers: Arc<Mutex<Option<Wanted>>>,
    /// Answers to this load that it has told of.
    told: u64,
    /// The index of each of its requests in the whole load.
    indices: Arc<Vec<u32>>,
    over: Option<Over>,
}

/// The offset of a rank's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The rank.
    pub rank: u32,
    /// Nanoseconds to add to the rank's clock to get rank 0's.
    pub offset_ns: i64,
    /// The most by which the offset is wrong, in nanoseconds: half of the shortest round trip.
    pub bound_ns: u64,
}

/// An event of the other ranks during a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Number of further answers.
    Answers(u64),
    /// All shares are sent and answered, or stopped.
    Over,
    /// Number of consecutive timeouts on one rank.
    Hangs(u32),
    /// A rank is lost, with the reason.
    Lost(String),
}

/// The end of a rank's share, as rank 0 sees it.
#[derive(Debug)]
pub struct Ended {
    /// The rank.
    pub rank: u32,
    /// The index of each of its requests in the whole load.
    pub indices: Arc<Vec<u32>>,
    /// File of its answers, by [`prony_loadgen::spill`]; `None` if it has none.
    pub answers: Option<PathBuf>,
    /// Number of its answers.
    pub count: u64,
    /// Requests that were in flight when the load was stopped, with their stamps.
    pub cut_off: Vec<(u32, Stamps)>,
    /// Use of its client; `None` if it was stopped before it began.
    pub usage: Option<Usage>,
}

/// The other ranks. Dropped, they are told that the run has ended.
#[derive(Debug)]
pub struct Ranks {
    world: u32,
    members: Vec<Member>,
    messages: UnboundedReceiver<(u32, Message)>,
    host: String,
    are_all_here: bool,
    /// Time at which the load was stopped.
    stopped: Option<Instant>,
    _file: Option<OwnFile>,
}

impl Ranks {
    pub(crate) fn new(
        world: u32,
        members: Vec<Member>,
        messages: UnboundedReceiver<(u32, Message)>,
        host: String,
        are_all_here: bool,
        file: Option<OwnFile>,
    ) -> Self {
        Self {
            world,
            members,
            messages,
            host,
            are_all_here,
            stopped: None,
            _file: file,
        }
    }

    /// Number of ranks, with this one.
    pub fn world(&self) -> u32 {
        self.world
    }

    /// Name of this machine for the others.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns `true` if all ranks are processes of this machine.
    pub fn are_all_here(&self) -> bool {
        self.are_all_here
    }

    /// The other ranks, as they introduced themselves.
    pub fn hellos(&self) -> impl Iterator<Item = &Hello> {
        self.members.iter().map(|member| &member.hello)
    }

    /// Measures the clocks of all ranks: of 64 round trips the shortest counts, in whose middle
    /// the other clock is taken to have been read (Cristian 1989).
    pub async fn clocks(&mut self) -> Result<Vec<Clock>, String> {
        let mut best: BTreeMap<u32, Clock> = BTreeMap::new();
        for _ in 0..ROUNDS {
            let mut asked: BTreeMap<u32, u64> = BTreeMap::new();
            for member in &mut self.members {
                asked.insert(member.hello.rank, now_ns());
                member.send(&ToRank::Ping)?;
            }
            while !asked.is_empty() {
                let (rank, ToLeader::Pong { now_ns: now }, read_ns) = self.told().await? else {
                    continue;
                };
                let Some(asked_ns) = asked.remove(&rank) else {
                    continue;
                };
                let trip_ns = read_ns.saturating_sub(asked_ns);
                let middle_ns = asked_ns + trip_ns / 2;
                let clock = Clock {
                    rank,
                    offset_ns: middle_ns.wrapping_sub(now).cast_signed(),
                    bound_ns: trip_ns.div_ceil(2),
                };
                let known = best.entry(rank).or_insert(clock);
                if clock.bound_ns < known.bound_ns {
                    *known = clock;
                }
            }
        }
        Ok(best.into_values().collect())
    }

    /// Deals a load out to the other ranks, and waits until their connections are open; returns
    /// the time for which these are to be left alone.
    pub async fn deal(
        &mut self,
        target: &Target,
        shards: Option<u32>,
        load: &Load<Arc<Prepared>>,
        max_timeouts: u32,
    ) -> Result<Duration, String> {
        self.stopped = None;
        let mut sent = tokio::task::JoinSet::new();
        for member in &mut self.members {
            let rank = Rank {
                number: member.hello.rank,
                of: self.world,
            };
            let share = load.share_of(rank);
            member.indices = Arc::new(share.indices);
            (member.told, member.over) = (0, None);
            let (share, target) = (share.load, target.clone());
            let stream = member.stream.try_clone();
            sent.spawn_blocking(move || {
                let parcel = Parcel::new(&target, shards, &share);
                let mut stream = BufWriter::with_capacity(1 << 20, stream?);
                write(&mut stream, &ToRank::Load { max_timeouts }, parcel.size())?;
                parcel.write(&mut stream)?;
                stream.flush()
            });
        }
        while let Some(done) = sent.join_next().await {
            let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
            done.map_err(|error| format!("a rank did not take its requests: {error}"))?;
        }
        let mut longest = Duration::ZERO;
        let mut waited_for: BTreeSet<u32> = self.members.iter().map(|it| it.hello.rank).collect();
        let all = async {
            while !waited_for.is_empty() {
                match self.told().await? {
                    (rank, ToLeader::Ready { settling }, _) => {
                        longest = longest.max(settling).min(MAX_SETTLING);
                        waited_for.remove(&rank);
                    }
                    (rank, ToLeader::NotReady { reason }, _) => {
                        return Err(format!("rank {rank} cannot send its share: {reason}"));
                    }
                    _ => {}
                }
            }
            Ok(())
        };
        let in_time = tokio::time::timeout(READY, all).await;
        in_time.unwrap_or_else(|_| Err(format!("ranks were not ready within {READY:?}")))?;
        Ok(longest)
    }

    /// Names the start of a load, by this rank's clock: when all ranks know it, and connections
    /// have been left alone for `settling`.
    pub fn go(&mut self, clocks: &[Clock], settling: Duration) -> Result<u64, String> {
        let slowest = clocks
            .iter()
            .map(|it| it.bound_ns)
            .max()
            .unwrap_or_default();
        // The bound is half a round trip.
        let lead = Duration::from_nanos(slowest.saturating_mul(40));
        let least = if self.are_all_here { LEAD_HERE } else { LEAD };
        let lead = lead.max(least).max(settling);
        let start_ns = now_ns().saturating_add(lead.as_nanos() as u64);
        for (member, clock) in self.members.iter_mut().zip(clocks) {
            let start_ns = start_ns.saturating_sub_signed(clock.offset_ns);
            member.send(&ToRank::Go { start_ns })?;
        }
        Ok(start_ns)
    }

    /// Waits for the next event of a load. Cancel-safe.
    pub async fn next(&mut self) -> Next {
        loop {
            if self.members.iter().all(|member| member.over.is_some()) {
                return Next::Over;
            }
            if self.stopped.is_some_and(|at| at.elapsed() > STOPPING) {
                let late = self.members.iter().find(|member| member.over.is_none());
                let late = late.map(|it| it.lost("it did not stop when it was told to"));
                return Next::Lost(late.unwrap_or_default());
            }
            let (rank, message) = match self.heard().await {
                Ok(heard) => heard,
                Err(lost) => return Next::Lost(lost),
            };
            let Some(member) = self.members.iter_mut().find(|it| it.hello.rank == rank) else {
                continue;
            };
            match message {
                Message::Told(ToLeader::Beat { answers }, _) => {
                    let answers = answers.min(member.indices.len() as u64);
                    let more = answers.saturating_sub(member.told);
                    member.told = answers;
                    if more > 0 {
                        return Next::Answers(more);
                    }
                }
                Message::Told(ToLeader::Hangs { timeouts }, _) => return Next::Hangs(timeouts),
                Message::Told(ToLeader::Over(over), _) => {
                    if over.answers > member.indices.len() as u64 {
                        return Next::Lost(member.lost("it tells of more answers than requests"));
                    }
                    let more = over.answers.saturating_sub(member.told);
                    member.told = over.answers;
                    member.over = Some(*over);
                    if more > 0 {
                        return Next::Answers(more);
                    }
                }
                Message::Gone(why) => return Next::Lost(member.lost(&why)),
                Message::Told(..) | Message::Answers(_) => {}
            }
        }
    }

    /// What comes from a rank next; an error if one is lost that says nothing. Cancel-safe.
    async fn heard(&mut self) -> Result<(u32, Message), String> {
        loop {
            // First, since answers of rank 0 cancel the wait below again and again.
            if let Some(lost) = self.silent() {
                return Err(lost);
            }
            if let Ok(message) = tokio::time::timeout(BEAT, self.messages.recv()).await {
                return message.ok_or_else(|| "all other ranks are gone".to_owned());
            }
        }
    }

    /// The first rank without a sign of life, in words.
    fn silent(&self) -> Option<String> {
        let now = now_ns();
        let silent = self.members.iter().find(|member| {
            let silent_ns = now.saturating_sub(member.heard_ns.load(Ordering::Relaxed));
            Duration::from_nanos(silent_ns) > LOST_AFTER
        })?;
        Some(silent.lost(&format!("nothing was heard of it for {LOST_AFTER:?}")))
    }

    /// Ends the load on all ranks.
    pub fn stop(&mut self) {
        self.stopped.get_or_insert_with(Instant::now);
        for member in &mut self.members {
            if member.over.is_none() {
                // Who is gone sends nothing.
                let _ = member.send(&ToRank::Stop);
            }
        }
    }

    /// Takes the answers of all ranks that have ended, into files of `folder`, and what else they
    /// tell of their shares.
    pub async fn fetch(&mut self, folder: &Path) -> Result<Vec<Ended>, String> {
        let mut ended = Vec::new();
        for member in &mut self.members {
            let Some(over) = member.over.take() else {
                continue;
            };
            let rank = member.hello.rank;
            if let Some(failed) = over.failed {
                return Err(format!("rank {rank} could not keep its answers: {failed}"));
            }
            let path = (over.answers > 0).then(|| folder.join(format!("answers-{rank}.bin")));
            if let Some(path) = &path {
                // Of a run that was killed.
                let _ = std::fs::remove_file(path);
                *member
                    .answers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(Wanted {
                    path: path.clone(),
                    bytes: over.bytes,
                });
                member.send(&ToRank::Fetch)?;
            }
            ended.push(Ended {
                rank,
                indices: member.indices.clone(),
                answers: path,
                count: over.answers,
                cut_off: over.cut_off,
                usage: over.usage,
            });
        }
        let mut waited_for = ended.iter().filter(|it| it.answers.is_some()).count();
        while waited_for > 0 {
            let (rank, message) = self.heard().await?;
            match message {
                Message::Answers(Ok(())) => waited_for -= 1,
                Message::Answers(Err(error)) => {
                    return Err(format!(
                        "the answers of rank {rank} did not arrive: {error}"
                    ));
                }
                Message::Gone(why) => return Err(self.lost(rank, &why)),
                Message::Told(..) => {}
            }
        }
        Ok(ended)
    }

    /// The next message that is not answers, with the time at which it was read.
    async fn told(&mut self) -> Result<(u32, ToLeader, u64), String> {
        loop {
            match self.heard().await? {
                (rank, Message::Told(told, read_ns)) => return Ok((rank, told, read_ns)),
                (rank, Message::Gone(why)) => return Err(self.lost(rank, &why)),
                (_, Message::Answers(_)) => {}
            }
        }
    }

    fn lost(&self, rank: u32, why: &str) -> String {
        let member = self.members.iter().find(|it| it.hello.rank == rank);
        member.map_or_else(|| why.to_owned(), |member| member.lost(why))
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.send(&ToRank::End);
        }
    }
}

impl Member {
    /// Begins to read what a rank sends.
    pub(crate) fn new(
        hello: Hello,
        stream: TcpStream,
        to_us: UnboundedSender<(u32, Message)>,
    ) -> io::Result<Self> {
        let heard_ns = Arc::new(AtomicU64::new(now_ns()));
        let answers = Arc::<Mutex<Option<Wanted>>>::default();
        let reader = Reader {
            rank: hello.rank,
            stream: stream.try_clone()?,
            heard_ns: heard_ns.clone(),
            answers: answers.clone(),
            to_us,
        };
        std::thread::Builder::new()
            .name(format!("rank-{}", hello.rank))
            .spawn(move || reader.read())?;
        Ok(Self {
            hello,
            stream,
            heard_ns,
            answers,
            told: 0,
            indices: Arc::default(),
            over: None,
        })
    }

    fn send(&mut self, message: &ToRank) -> Result<(), String> {
        let sent = write(&mut self.stream, message, 0);
        sent.map_err(|error| self.lost(&error.to_string()))
    }

    fn lost(&self, why: &str) -> String {
        format!(
            "rank {} of {} is lost: {why}",
            self.hello.rank, self.hello.host
        )
    }
}
