//! Rank 0 until all others are there.

use crate::leader::{Member, Ranks};
use crate::place::Meeting;
pub use crate::wire::nonce;
use crate::wire::{
    HANDSHAKE, Hello, MAX_STRANGER, PROTOCOL, ToLeader, ToRank, host, proof, read, set_up, write,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::unbounded_channel;

/// Time for all ranks to come.
pub(crate) const ASSEMBLY: Duration = Duration::from_mins(10);
/// Interval of words about those that are missing.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Most processes that are asked who they are at the same time.
const MAX_STRANGERS: usize = 1024;
/// Interval of looks for connections.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Requirements that every rank has to meet.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Number of ranks.
    pub world: u32,
    /// Known to all ranks, and to nobody else.
    pub token: String,
    /// SHA-256 of the pipeline.
    pub pipeline_sha256: String,
    /// Version of prony.
    pub prony: String,
}

/// Rank 0 before the others have come.
#[derive(Debug)]
pub struct Leader {
    listener: TcpListener,
    expected: Expected,
    /// Name of this machine, for others.
    host: String,
    file: Option<OwnFile>,
}

/// The file in which rank 0 says where it is; removed when dropped.
#[derive(Debug)]
pub(crate) struct OwnFile(PathBuf);

impl Drop for OwnFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A process that does not become a rank.
enum Refusal {
    /// It does not have the token, or is no prony: somebody else's.
    Stranger(String),
    /// It is one of ours, and differs.
    Differs(String),
}

impl Leader {
    /// Listens where the ranks meet. On a file's disk the token is made here, and is in the file.
    pub fn listen(meeting: &Meeting, mut expected: Expected) -> Result<Self, String> {
        let listen = |address: &str| {
            TcpListener::bind(address)
                .map_err(|error| format!("rank 0 cannot listen at {address}: {error}"))
        };
        let anywhere = |port: u16| {
            listen(&format!("[::]:{port}")).or_else(|_| listen(&format!("0.0.0.0:{port}")))
        };
        let (listener, host, file) = match meeting {
            Meeting::Tcp(address) => {
                let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
                let listener = if is_loopback(host) {
                    listen(address)?
                } else {
                    anywhere(port.parse().unwrap_or_default())?
                };
                (listener, host.to_owned(), None)
            }
            Meeting::File(path) => {
                let listener = anywhere(0)?;
                let told = |error: io::Error| {
                    format!("`{}`, where the ranks meet: {error}", path.display())
                };
                if expected.token.is_empty() {
                    expected.token = nonce().map_err(told)?;
                }
                let port = listener.local_addr().map_err(told)?.port();
                let text = format!("{}:{port}\n{}\n", host(), expected.token);
                write_own(path, &text).map_err(told)?;
                (listener, host(), Some(OwnFile(path.clone())))
            }
        };
        listener
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            listener,
            expected,
            host,
            file,
        })
    }

    /// The port at which it listens.
    pub fn port(&self) -> u16 {
        self.listener.local_addr().map_or(0, |it| it.port())
    }

    /// Waits for all ranks. `tell` is given words about strangers and about who is missing.
    pub fn assemble(self, mut tell: impl FnMut(&str)) -> Result<Ranks, String> {
        let begin = Instant::now();
        let mut told = begin;
        let (to_us, handshakes) = mpsc::channel();
        let mut asked = 0;
        let mut come: BTreeMap<u32, (TcpStream, Hello)> = BTreeMap::new();
        loop {
            let missing = self.missing(&come);
            if missing.is_empty() {
                break;
            }
            if begin.elapsed() > ASSEMBLY {
                return Err(format!(
                    "{} did not come within {ASSEMBLY:?}",
                    in_words(&missing)
                ));
            }
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                tell(&format!(
                    "waiting for {} at {}:{}, {ASSEMBLY:?} at most",
                    in_words(&missing),
                    self.host,
                    self.port()
                ));
            }
            match self.listener.accept() {
                // One that comes again is asked later.
                Ok(_) if asked >= MAX_STRANGERS => {}
                Ok((stream, _)) => {
                    let (expected, to_us) = (self.expected.clone(), to_us.clone());
                    // One that says nothing holds nobody up.
                    let spawned = std::thread::Builder::new()
                        .name("handshake".to_owned())
                        .spawn(move || {
                            let met = meet(stream, &expected);
                            let _ = to_us.send(met);
                        });
                    // Without a thread it is refused, and comes again.
                    asked += usize::from(spawned.is_ok());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(LOOK_EVERY);
                }
                Err(error) => {
                    if told.elapsed() > TELL_EVERY {
                        told = Instant::now();
                        tell(&format!("a connection could not be taken: {error}"));
                    }
                    std::thread::sleep(LOOK_EVERY);
                }
            }
            while let Ok(met) = handshakes.try_recv() {
                asked -= 1;
                match met {
                    Ok((mut stream, hello)) => {
                        // One that has died meanwhile may have started again.
                        if come.get(&hello.rank).is_some_and(|it| is_open(&it.0)) {
                            let reason = format!("rank {} is there already", hello.rank);
                            refuse(&mut stream, &reason);
                            tell(&format!(
                                "a process of {} was refused: {reason}",
                                hello.host
                            ));
                            continue;
                        }
                        come.insert(hello.rank, (stream, hello));
                    }
                    Err(Refusal::Stranger(words)) => tell(&words),
                    Err(Refusal::Differs(words)) => return Err(words),
                }
            }
        }
        self.welcome(come)
    }

    fn missing(&self, come: &BTreeMap<u32, (TcpStream, Hello)>) -> Vec<u32> {
        let all = 1..self.expected.world;
        all.filter(|rank| !come.contains_key(rank)).collect()
    }

    fn welcome(self, come: BTreeMap<u32, (TcpStream, Hello)>) -> Result<Ranks, String> {
        let (to_us, messages) = unbounded_channel();
        let mut are_all_here = true;
        let mut members = Vec::new();
        for (rank, (mut stream, hello)) in come {
            let gone = |error: io::Error| format!("rank {rank} of {} is gone: {error}", hello.host);
            if !is_open(&stream) {
                return Err(gone(io::ErrorKind::ConnectionAborted.into()));
            }
            let proof = proof(&hello.nonce, &self.expected.token, true);
            write(&mut stream, &ToRank::Welcome { proof }, 0).map_err(gone)?;
            stream.set_read_timeout(None).map_err(gone)?;
            let peer = stream.peer_addr().map_err(gone)?;
            are_all_here &= peer.ip().to_canonical().is_loopback();
            let member = Member::new(hello.clone(), stream, to_us.clone());
            members.push(member.map_err(gone)?);
        }
        Ok(Ranks::new(
            self.expected.world,
            members,
            messages,
            self.host,
            are_all_here,
            self.file,
        ))
    }
}

/// Returns `true` if the other side has not closed a connection.
fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    let peeked = stream
        .set_nonblocking(true)
        .and_then(|()| stream.peek(&mut byte));
    let is_open = matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).is_ok() && is_open
}

/// Performs the handshake with a process that has connected.
fn meet(mut stream: TcpStream, expected: &Expected) -> Result<(TcpStream, Hello), Refusal> {
    let from = stream
        .peer_addr()
        .map_or_else(|_| "somewhere".to_owned(), |it| it.to_string());
    let stranger =
        |words: &str| Refusal::Stranger(format!("a process at {from} was refused: {words}"));
    let talk = |stream: &mut TcpStream| -> io::Result<(Hello, String)> {
        // A socket is as its listener is, on macOS.
        stream.set_nonblocking(false)?;
        set_up(stream)?;
        stream.set_read_timeout(Some(HANDSHAKE))?;
        stream.set_write_timeout(Some(HANDSHAKE))?;
        let challenge = nonce()?;
        let message = ToRank::Challenge {
            protocol: PROTOCOL,
            nonce: challenge.clone(),
        };
        write(stream, &message, 0)?;
        match read(stream, MAX_STRANGER)? {
            (ToLeader::Hello(hello), 0) => Ok((hello, challenge)),
            _ => Err(io::Error::other("it did not say who it is")),
        }
    };
    let (hello, challenge) = talk(&mut stream).map_err(|error| stranger(&error.to_string()))?;
    if hello.proof != proof(&challenge, &expected.token, false) {
        let reason = "the token differs (`PRONY_TOKEN`)";
        refuse(&mut stream, reason);
        return Err(stranger(reason));
    }
    if let Some(difference) = difference(&hello, expected) {
        refuse(&mut stream, &difference);
        return Err(Refusal::Differs(format!(
            "rank {} of {} cannot take part: {difference}",
            hello.rank, hello.host
        )));
    }
    Ok((stream, hello))
}

/// The first thing in which a rank is not as the others, in words.
fn difference(hello: &Hello, expected: &Expected) -> Option<String> {
    let Expected {
        world,
        pipeline_sha256,
        prony,
        ..
    } = expected;
    if hello.prony != *prony {
        return Some(format!(
            "its version of prony is {}, and that of rank 0 {prony}",
            hello.prony
        ));
    }
    if hello.world != *world {
        return Some(format!(
            "its world has {} ranks, and that of rank 0 {world}",
            hello.world
        ));
    }
    if hello.rank == 0 || hello.rank >= *world {
        return Some(format!(
            "its rank is {}, and the others are 1 to {}",
            hello.rank,
            world - 1
        ));
    }
    let own = hello.pipeline_sha256.as_ref();
    own.is_some_and(|own| own != pipeline_sha256).then(|| {
        "its pipeline is another one than that of rank 0: start it with the same file, overlays and options, or as `prony rank`".to_owned()
    })
}

fn refuse(stream: &mut TcpStream, reason: &str) {
    let reason = reason.to_owned();
    // Who does not listen is refused, too.
    let _ = write(stream, &ToRank::Refused { reason }, 0);
}

/// Writes a file that only its owner reads, as a whole or not at all.
fn write_own(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = file.write_all(text.as_bytes());
    let written = written.and_then(|()| file.sync_all());
    written
        .and_then(|()| std::fs::rename(&beside, path))
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&beside);
        })
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|it| it.is_loopback())
}

/// Ranks by their numbers, in words: `rank 2`, or `ranks 2, 5`.
fn in_words(ranks: &[u32]) -> String {
    const MOST: usize = 8;
    let mut numbers: Vec<String> = ranks.iter().take(MOST).map(u32::to_string).collect();
    if ranks.len() > MOST {
        numbers.push(format!("and {} more", ranks.len() - MOST));
    }
    let noun = if ranks.len() == 1 { "rank" } else { "ranks" };
    format!("{noun} {}", numbers.join(", "))
}
