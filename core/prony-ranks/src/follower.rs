//! Ranks other than 0: load clients.

use crate::place::Meeting;
use crate::wire::{
    BEAT, HANDSHAKE, Hello, MAX_HEAD, MAX_STRANGER, Over, PROTOCOL, ToLeader, ToRank, host, nonce,
    proof, read, set_up, write,
};
use prony_loadgen::client::{Http, Poised};
use prony_loadgen::clock::now_ns;
use prony_loadgen::deal::Rank;
use prony_loadgen::load::Running;
use prony_loadgen::parcel::{self, Unpacked};
use prony_loadgen::spill::Spill;
use prony_record::ErrorClass;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Interval of tries to reach rank 0.
const RETRY: Duration = Duration::from_millis(250);
/// First line of a file of answers, which rank 0 reads.
const LINE: &[u8] = b"{\"schema\":\"prony-rank-answers/1\"}";

/// A rank that is to join the others.
#[derive(Debug)]
pub struct Follower {
    /// Its rank.
    pub rank: Rank,
    /// Where rank 0 is.
    pub meeting: Meeting,
    /// Known to all ranks; of a file it is in there.
    pub token: String,
    /// SHA-256 of its pipeline, if it was given one.
    pub pipeline_sha256: Option<String>,
    /// Version of prony.
    pub prony: String,
    /// A folder of its own, for answers and large requests.
    pub folder: PathBuf,
}

/// Why a process did not become a rank, in words.
enum NotMet {
    /// Something else than rank 0 of this world answers, or nothing.
    Silent(String),
    /// Rank 0 does not want it.
    Refused(String),
}

/// A message of rank 0.
enum Message {
    Load(Box<Unpacked>, u32),
    Go(u64),
    Stop,
    Fetch,
    End,
    /// Rank 0 is gone.
    Gone(String),
}

/// The way to rank 0.
#[derive(Clone)]
struct Line {
    stream: Arc<Mutex<TcpStream>>,
    /// Answers to the load under way.
    answers: Arc<AtomicU64>,
}

impl Line {
    fn send(&self, message: &ToLeader) -> io::Result<()> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut *stream, message, 0)
    }

    /// Sends a file of answers.
    fn send_answers(&self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut *stream, &ToLeader::Answers, length)?;
        if io::copy(&mut (&mut file).take(length), &mut *stream)? != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stream.flush()
    }
}

impl Follower {
    /// Joins the others and sends its shares until the run has ended. `tell` is given words about
    /// what it does, `is_stopped` ends the wait for rank 0. An error is a run that did not end as
    /// it should, in words.
    pub fn follow(
        mut self,
        is_stopped: impl Fn() -> bool,
        mut tell: impl FnMut(&str),
    ) -> Result<(), String> {
        let (stream, address) = self.join(is_stopped, &mut tell)?;
        tell(&format!("joined rank 0 at {address}"));
        let broken = |error: io::Error| format!("the connection to rank 0: {error}");
        let reader = stream.try_clone().map_err(broken)?;
        let line = Line {
            stream: Arc::new(Mutex::new(stream)),
            answers: Arc::default(),
        };
        let (to_us, messages) = unbounded_channel();
        let requests = self.folder.join("requests.bin");
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn(run).map_err(|error| error.to_string())
        };
        let of_reader = line.clone();
        spawn(
            "rank-0",
            Box::new(move || listen(&reader, &of_reader, &requests, &to_us)),
        )?;
        let of_beats = line.clone();
        spawn("beats", Box::new(move || beat(&of_beats)))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| error.to_string())?;
        runtime.block_on(self.serve(line, messages))
    }

    /// Connects to rank 0, which may not be there yet.
    fn join(
        &mut self,
        is_stopped: impl Fn() -> bool,
        tell: &mut impl FnMut(&str),
    ) -> Result<(TcpStream, String), String> {
        let begin = Instant::now();
        let mut told = begin;
        loop {
            let met = self.address().and_then(|address| {
                let stream = TcpStream::connect(&address);
                let met = stream.map_err(|error| format!("{address}: {error}"));
                met.map(|stream| (stream, address))
            });
            let reason = match met {
                Ok((mut stream, address)) => {
                    match self.introduce(&mut stream) {
                        Ok(()) => return Ok((stream, address)),
                        // What a file names may be somebody else by now.
                        Err(NotMet::Silent(words)) if matches!(self.meeting, Meeting::File(_)) => {
                            format!("{address}: {words}")
                        }
                        Err(NotMet::Silent(words) | NotMet::Refused(words)) => {
                            return Err(format!("rank 0 at {address}: {words}"));
                        }
                    }
                }
                Err(reason) => reason,
            };
            if is_stopped() {
                return Err("interrupted before rank 0 was there".to_owned());
            }
            if begin.elapsed() > crate::assembly::ASSEMBLY {
                return Err(format!(
                    "rank 0 was not there within {:?} ({reason})",
                    crate::assembly::ASSEMBLY
                ));
            }
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                tell(&format!("waiting for rank 0 ({reason})"));
            }
            std::thread::sleep(RETRY);
        }
    }

    /// Where rank 0 listens, as far as is known.
    fn address(&mut self) -> Result<String, String> {
        let path = match &self.meeting {
            Meeting::Tcp(address) => return Ok(address.clone()),
            Meeting::File(path) => path,
        };
        let told = |words: &str| format!("`{}`: {words}", path.display());
        let text = prony_files::read_text(path, 4096).map_err(|error| told(&error.to_string()))?;
        let mut lines = text.lines();
        let (Some(address), Some(token)) = (lines.next(), lines.next()) else {
            return Err(told("it does not say where rank 0 is"));
        };
        token.clone_into(&mut self.token);
        Ok(address.to_owned())
    }

    fn introduce(&self, stream: &mut TcpStream) -> Result<(), NotMet> {
        let broken = |error: io::Error| {
            NotMet::Silent(match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    format!("it said nothing within {HANDSHAKE:?}")
                }
                _ => error.to_string(),
            })
        };
        set_up(stream).map_err(broken)?;
        stream.set_read_timeout(Some(HANDSHAKE)).map_err(broken)?;
        let challenge = match read(stream, MAX_STRANGER).map_err(broken)? {
            (ToRank::Challenge { protocol, nonce }, 0) if protocol == PROTOCOL => nonce,
            (ToRank::Challenge { .. }, 0) => {
                return Err(NotMet::Refused("it is another version of prony".to_owned()));
            }
            _ => return Err(NotMet::Silent("it is no prony that leads ranks".to_owned())),
        };
        let own = nonce().map_err(broken)?;
        let hello = Hello {
            rank: self.rank.number,
            world: self.rank.of,
            prony: self.prony.clone(),
            pipeline_sha256: self.pipeline_sha256.clone(),
            host: host(),
            cpus: std::thread::available_parallelism().map_or(1, |it| it.get() as u32),
            nonce: own.clone(),
            proof: proof(&challenge, &self.token, false),
        };
        write(stream, &ToLeader::Hello(hello), 0).map_err(broken)?;
        // It waits for the others first.
        let wait = Some(crate::assembly::ASSEMBLY);
        stream.set_read_timeout(wait).map_err(broken)?;
        match read(stream, MAX_STRANGER) {
            Ok((ToRank::Welcome { proof: given }, 0))
                if given == proof(&own, &self.token, true) =>
            {
                stream.set_read_timeout(None).map_err(broken)
            }
            Ok((ToRank::Refused { reason }, 0)) => {
                Err(NotMet::Refused(format!("refused: {reason}")))
            }
            Ok(_) => Err(NotMet::Silent(
                "it does not have the token (`PRONY_TOKEN`)".to_owned(),
            )),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(NotMet::Refused(
                "it ended before all ranks were there".to_owned(),
            )),
            Err(error) => Err(broken(error)),
        }
    }

    /// Sends shares of loads until the run has ended.
    async fn serve(
        &self,
        line: Line,
        mut messages: UnboundedReceiver<Message>,
    ) -> Result<(), String> {
        let answers = self.folder.join("answers.bin");
        loop {
            let message = messages.recv().await;
            match message.unwrap_or_else(|| Message::Gone("rank 0 is gone".to_owned())) {
                Message::Load(unpacked, max_timeouts) => {
                    line.answers.store(0, Ordering::Relaxed);
                    // All that are in flight may meet one pause.
                    let most = unpacked.load.arrival.max_in_flight();
                    let mut share = Share {
                        line: &line,
                        messages: &mut messages,
                        answers: &answers,
                        max_timeouts: max_timeouts.max(most),
                    };
                    match share.send(*unpacked).await {
                        Ok(Some(over)) => tell(&line, &ToLeader::Over(Box::new(over)))?,
                        Ok(None) => {}
                        Err(End::Run) => return Ok(()),
                        Err(End::Lost(words)) => return Err(words),
                    }
                }
                Message::Fetch => {
                    let line = line.clone();
                    let path = answers.clone();
                    let sent = tokio::task::spawn_blocking(move || line.send_answers(&path)).await;
                    let sent = sent.unwrap_or_else(|error| Err(io::Error::other(error)));
                    sent.map_err(|error| format!("answers did not reach rank 0: {error}"))?;
                    let _ = std::fs::remove_file(&answers);
                }
                Message::End => return Ok(()),
                Message::Gone(words) => return Err(words),
                Message::Go(_) | Message::Stop => {}
            }
        }
    }
}

fn tell(line: &Line, message: &ToLeader) -> Result<(), String> {
    line.send(message)
        .map_err(|error| format!("rank 0 is gone: {error}"))
}

/// Signs of life, until rank 0 is gone.
fn beat(line: &Line) {
    loop {
        std::thread::sleep(BEAT);
        let answers = line.answers.load(Ordering::Relaxed);
        if line.send(&ToLeader::Beat { answers }).is_err() {
            return;
        }
    }
}

/// Reads what rank 0 sends; answers pings at once.
fn listen(stream: &TcpStream, line: &Line, requests: &Path, to_us: &UnboundedSender<Message>) {
    let mut stream = BufReader::with_capacity(1 << 20, stream);
    loop {
        let message = match read::<ToRank>(&mut stream, MAX_HEAD) {
            Ok((ToRank::Ping, 0)) => {
                let sent = line.send(&ToLeader::Pong { now_ns: now_ns() });
                match sent {
                    Ok(()) => continue,
                    Err(error) => Message::Gone(format!("rank 0 is gone: {error}")),
                }
            }
            Ok((ToRank::Load { max_timeouts }, body)) => {
                let mut parcel = (&mut stream).take(body);
                match parcel::read(&mut parcel, requests) {
                    Ok(unpacked) if parcel.limit() == 0 => {
                        Message::Load(Box::new(unpacked), max_timeouts)
                    }
                    Ok(_) => Message::Gone("rank 0 sent more than a share".to_owned()),
                    Err(error) => Message::Gone(format!("a share did not arrive: {error}")),
                }
            }
            Ok((ToRank::Go { start_ns }, 0)) => Message::Go(start_ns),
            Ok((ToRank::Stop, 0)) => Message::Stop,
            Ok((ToRank::Fetch, 0)) => Message::Fetch,
            Ok((ToRank::End, 0)) => Message::End,
            Ok(_) => Message::Gone("rank 0 sent a message with an unexpected body".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Message::Gone("rank 0 is gone: the connection was closed".to_owned())
            }
            Err(error) => Message::Gone(format!("rank 0 is gone: {error}")),
        };
        let is_last = matches!(message, Message::Gone(_) | Message::End);
        if to_us.send(message).is_err() || is_last {
            return;
        }
    }
}

/// Why a share has no end of its own.
enum End {
    /// The run has ended.
    Run,
    /// Rank 0 is gone, or what it said makes no sense.
    Lost(String),
}

impl From<String> for End {
    fn from(words: String) -> Self {
        Self::Lost(words)
    }
}

/// A share of a load on its way.
struct Share<'s> {
    line: &'s Line,
    messages: &'s mut UnboundedReceiver<Message>,
    /// File of its answers.
    answers: &'s Path,
    max_timeouts: u32,
}

impl Share<'_> {
    /// Sends it; `None` if it could not be begun, which rank 0 knows.
    async fn send(&mut self, unpacked: Unpacked) -> Result<Option<Over>, End> {
        let Unpacked {
            target,
            shards,
            load,
        } = unpacked;
        let http = Http::fit(target, shards, load.arrival.max_in_flight());
        let begun =
            Spill::create(self.answers, LINE).and_then(|spill| Ok((spill, http.poise(load)?)));
        let (spill, poised) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let reason = error.to_string();
                tell(self.line, &ToLeader::NotReady { reason })?;
                return Ok(None);
            }
        };
        let Some(running) = self.start(poised).await? else {
            // Stopped before it began.
            let kept = spill.finish();
            return Ok(Some(Over {
                answers: 0,
                bytes: 0,
                cut_off: Vec::new(),
                usage: None,
                failed: kept.err().map(|error| error.to_string()),
            }));
        };
        self.receive(running, spill).await.map(Some)
    }

    /// Waits for connections, then for the start. `None` if it is stopped before.
    async fn start(&mut self, poised: Poised) -> Result<Option<Running>, End> {
        let stop = poised.stopper();
        let mut waiting = tokio::task::spawn_blocking(move || {
            let settling = poised.wait();
            (poised, settling)
        });
        let poised = tokio::select! {
            ready = &mut waiting => {
                let (poised, settling) = ready.map_err(|error| error.to_string())?;
                tell(self.line, &ToLeader::Ready { settling })?;
                poised
            }
            message = self.messages.recv() => {
                stop();
                return unexpected(message).map(|()| None);
            }
        };
        match self.messages.recv().await {
            Some(Message::Go(start_ns)) => Ok(Some(poised.go(start_ns))),
            message => unexpected(message).map(|()| None),
        }
    }

    /// Keeps what is answered until the share is sent, or stopped.
    async fn receive(&mut self, mut running: Running, spill: Spill) -> Result<Over, End> {
        let mut stopped_ns = None;
        let (mut answers, mut timeouts) = (0_u64, 0);
        let mut cut_off = Vec::new();
        loop {
            let done = tokio::select! {
                done = running.next() => done,
                message = self.messages.recv() => {
                    unexpected(message)?;
                    stopped_ns.get_or_insert_with(now_ns);
                    running.stop();
                    continue;
                }
            };
            let Some(done) = done else { break };
            let seen = &done.exchange.seen;
            let is_ours = |since| seen.stamps.end_ns >= since;
            if seen.failed.is_some() && stopped_ns.is_some_and(is_ours) {
                cut_off.push((done.index, seen.stamps));
                continue;
            }
            let class = seen.failed.as_ref().map(|failed| failed.class);
            timeouts = if class == Some(ErrorClass::Timeout) {
                timeouts + 1
            } else {
                0
            };
            spill.keep(done.index, done.exchange, done.held);
            answers += 1;
            self.line.answers.store(answers, Ordering::Relaxed);
            if timeouts == self.max_timeouts {
                tell(self.line, &ToLeader::Hangs { timeouts })?;
            }
            if spill.has_failed() && stopped_ns.is_none() {
                stopped_ns = Some(now_ns());
                running.stop();
            }
        }
        let usage = running.usage().cloned();
        let kept = tokio::task::spawn_blocking(move || spill.finish()).await;
        let kept = kept.unwrap_or_else(|error| Err(io::Error::other(error)));
        let failed = match kept {
            Ok(kept) => kept.failed.map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let bytes = std::fs::metadata(self.answers).map_or(0, |it| it.len());
        Ok(Over {
            answers,
            bytes,
            cut_off,
            usage,
            failed,
        })
    }
}

/// Interprets a message other than the start: `Ok` if the share is to stop.
fn unexpected(message: Option<Message>) -> Result<(), End> {
    match message {
        Some(Message::Stop) => Ok(()),
        Some(Message::End) => Err(End::Run),
        Some(Message::Gone(words)) => Err(End::Lost(words)),
        None => Err(End::Lost("rank 0 is gone".to_owned())),
        Some(Message::Load(..) | Message::Go(_) | Message::Fetch) => Err(End::Lost(
            "rank 0 sent an unexpected message during a load".to_owned(),
        )),
    }
}
