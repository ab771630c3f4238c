//! Messages between ranks: a head of JSON and a body of bytes.
//!
//! ```text
//! length of the head   u32    all numbers little-endian
//! length of the body   u64
//! head                 JSON
//! body                 bytes
//! ```

use prony_loadgen::load::Usage;
use prony_record::Stamps;
use rustix::net::sockopt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Number of the protocol.
pub(crate) const PROTOCOL: u32 = 1;
/// Longest head before the other side has proved who it is, in bytes.
pub(crate) const MAX_STRANGER: u32 = 64 << 10;
/// Longest head, in bytes.
pub(crate) const MAX_HEAD: u32 = 256 << 20;
/// Time for the answer to a message before a rank is welcome.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// Interval of the signs of life of a rank.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// Time without one after which a rank is lost.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(5);

/// A message of rank 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToRank {
    /// The first: to prove that both have the same token.
    Challenge {
        protocol: u32,
        nonce: String,
    },
    Welcome {
        proof: String,
    },
    Refused {
        reason: String,
    },
    Ping,
    /// A share of a load; the body is a parcel.
    Load {
        /// Requests in a row without an answer in time, after which the engine hangs.
        max_timeouts: u32,
    },
    /// The load starts at this reading of the rank's clock.
    Go {
        start_ns: u64,
    },
    /// The load ends now.
    Stop,
    /// The answers are wanted.
    Fetch,
    /// The run has ended.
    End,
}

/// A message of another rank.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToLeader {
    Hello(Hello),
    Pong {
        now_ns: u64,
    },
    /// Connections are open; they are to be left alone for so long.
    Ready {
        settling: Duration,
    },
    /// The share cannot be sent.
    NotReady {
        reason: String,
    },
    /// A sign of life; with the number of answers to the load so far.
    Beat {
        answers: u64,
    },
    /// So many requests in a row had no answer in time.
    Hangs {
        timeouts: u32,
    },
    Over(Box<Over>),
    /// The body is a file of answers, as of [`prony_loadgen::spill`].
    Answers,
}

/// A rank about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Its rank.
    pub rank: u32,
    /// Ranks of its world.
    pub world: u32,
    /// Its version of prony.
    pub prony: String,
    /// SHA-256 of its pipeline; absent if it was not given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_sha256: Option<String>,
    /// Name of its machine.
    pub host: String,
    /// Logical CPUs that it may use.
    pub cpus: u32,
    /// Its own challenge.
    pub(crate) nonce: String,
    /// Its answer to rank 0's.
    pub(crate) proof: String,
}

/// The end of a rank's share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Over {
    /// Answers that are kept.
    pub(crate) answers: u64,
    /// Size of their file, in bytes.
    pub(crate) bytes: u64,
    /// Requests that were in flight when the load was stopped, with their stamps.
    pub(crate) cut_off: Vec<(u32, Stamps)>,
    /// Use of the client; `None` if it was stopped before it began.
    pub(crate) usage: Option<Usage>,
    /// Reason why answers could not be kept.
    pub(crate) failed: Option<String>,
}

/// Writes a message; the `body` bytes follow.
pub(crate) fn write(to: &mut impl Write, message: &impl Serialize, body: u64) -> io::Result<()> {
    let head = serde_json::to_vec(message)?;
    let mut bytes = Vec::with_capacity(12 + head.len());
    bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body.to_le_bytes());
    bytes.extend_from_slice(&head);
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads a message and the length of its body, which the caller reads next.
pub(crate) fn read<M: DeserializeOwned>(from: &mut impl Read, max: u32) -> io::Result<(M, u64)> {
    let mut lengths = [0; 12];
    from.read_exact(&mut lengths)?;
    let (head, body) = lengths.split_at(4);
    let head = u32::from_le_bytes(head.try_into().unwrap_or_default());
    let body = u64::from_le_bytes(body.try_into().unwrap_or_default());
    if head > max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message is too long, or the other side is no prony",
        ));
    }
    let mut bytes = Vec::new();
    from.take(u64::from(head)).read_to_end(&mut bytes)?;
    if bytes.len() != head as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((serde_json::from_slice(&bytes)?, body))
}

/// 128 random bits, in hexadecimal digits.
pub fn nonce() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex(&bytes))
}

/// The answer to a challenge of rank 0 or, with `is_leader`, to one of another rank.
pub(crate) fn proof(nonce: &str, token: &str, is_leader: bool) -> String {
    let side = if is_leader { "leader" } else { "rank" };
    hex(&Sha256::digest(format!("prony {side} {nonce} {token}")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Sets a connection up: no delay, and an error once the other machine acknowledges nothing for
/// [`LOST_AFTER`].
pub(crate) fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    // Where the system cannot say how often, it asks less often.
    let _ = sockopt::set_tcp_keepidle(stream, LOST_AFTER);
    let _ = sockopt::set_tcp_keepintvl(stream, LOST_AFTER);
    let _ = sockopt::set_tcp_keepcnt(stream, 2);
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, LOST_AFTER.as_millis() as u32)?;
    Ok(())
}

/// Name of this machine.
pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_as_it_was() {
        let message = ToRank::Go { start_ns: 7 };
        let mut bytes = Vec::new();
        write(&mut bytes, &message, 3).expect("written");
        bytes.extend_from_slice(b"abc");
        let mut from = bytes.as_slice();
        let (read_message, body) = read::<ToRank>(&mut from, MAX_STRANGER).expect("read");
        assert_eq!((read_message, body, from), (message, 3, &b"abc"[..]));
        for length in 0..bytes.len() - 3 {
            assert!(read::<ToRank>(&mut &bytes[..length], MAX_STRANGER).is_err());
        }
        // Of a stranger.
        let http = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let told = read::<ToRank>(&mut &http[..], MAX_STRANGER).expect_err("no message");
        assert!(told.to_string().contains("no prony"), "{told}");
    }
}
