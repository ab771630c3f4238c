//! A load as bytes, for another process.
//!
//! ```text
//! head                     a line of JSON
//! turns of each session    u32    all numbers little-endian
//! start of each session    u64    in an open loop: nanoseconds since the start
//! each request             number of its rules u32, length u32, bytes
//! ```

use crate::load::{Arrival, Load, Ramp};
use crate::target::{AnswerRules, Prepared, RequestFile, Target};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read as _, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Longest first line, in bytes.
const MAX_LINE: u64 = 64 << 20;
/// Longest request, in bytes.
const MAX_REQUEST: u32 = 1 << 30;
/// Memory of requests, in bytes; further ones lie in a file.
const MAX_HERE: usize = 64 << 20;

/// Everything of a load but its sessions and requests, and how it is sent.
#[derive(Serialize, Deserialize)]
struct Head {
    /// Base URL of the server.
    url: String,
    /// Threads of the client, if the pipeline states it.
    shards: Option<u32>,
    sessions: u32,
    requests: u32,
    arrival: ArrivalHead,
    think: Duration,
    delays: Vec<(u32, Duration)>,
    timeout: Duration,
    until: Option<Duration>,
    rules: Vec<AnswerRules>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ArrivalHead {
    Closed { concurrency: u32, ramp: Ramp },
    Open { max_in_flight: u32 },
}

/// A share of a load, ready to be written.
#[derive(Debug)]
pub struct Parcel<'l> {
    head: Vec<u8>,
    load: &'l Load<Arc<Prepared>>,
    /// Number of the rules of each request.
    rules: Vec<u32>,
}

impl<'l> Parcel<'l> {
    /// The share of a load, which is to be sent to `target` by so many threads, if that is
    /// stated.
    pub fn new(target: &Target, shards: Option<u32>, load: &'l Load<Arc<Prepared>>) -> Self {
        let mut known: Vec<&Arc<AnswerRules>> = Vec::new();
        let mut number = |rules: &'l Arc<AnswerRules>| {
            let is_it = |it: &&Arc<AnswerRules>| Arc::ptr_eq(it, rules) || **it == *rules;
            let place = known.iter().rposition(is_it).unwrap_or_else(|| {
                known.push(rules);
                known.len() - 1
            });
            place as u32
        };
        let rules = load.requests.iter().map(|it| number(&it.rules)).collect();
        let head = Head {
            url: target.url(),
            shards,
            sessions: load.sessions.len() as u32,
            requests: load.requests.len() as u32,
            arrival: match &load.arrival {
                Arrival::Closed { concurrency, ramp } => ArrivalHead::Closed {
                    concurrency: *concurrency,
                    ramp: *ramp,
                },
                Arrival::Open { max_in_flight, .. } => ArrivalHead::Open {
                    max_in_flight: *max_in_flight,
                },
            },
            think: load.think,
            delays: load.delays.iter().map(|it| (*it.0, *it.1)).collect(),
            timeout: load.timeout,
            until: load.until,
            rules: known.into_iter().map(|it| AnswerRules::clone(it)).collect(),
        };
        let mut head =
            serde_json::to_vec(&head).unwrap_or_else(|_| unreachable!("it is plain data"));
        head.push(b'\n');
        Self { head, load, rules }
    }

    /// Its size, in bytes.
    pub fn size(&self) -> u64 {
        let of_session = if self.load.arrival.is_open() { 12 } else { 4 };
        let sessions = self.load.sessions.len() * of_session;
        let requests = self.load.requests.iter().map(|it| 8 + it.len() as u64);
        self.head.len() as u64 + sessions as u64 + requests.sum::<u64>()
    }

    /// Writes it: [`Self::size`] bytes.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.head)?;
        for session in &self.load.sessions {
            to.write_all(&(session.len() as u32).to_le_bytes())?;
        }
        if let Arrival::Open { offsets_ns, .. } = &self.load.arrival {
            for offset_ns in &offsets_ns[..self.load.sessions.len()] {
                to.write_all(&offset_ns.to_le_bytes())?;
            }
        }
        for (request, rules) in self.load.requests.iter().zip(&self.rules) {
            let loaded = request.load()?;
            let bytes = request.bytes(loaded.as_ref());
            to.write_all(&rules.to_le_bytes())?;
            to.write_all(&(bytes.len() as u32).to_le_bytes())?;
            to.write_all(bytes)?;
        }
        Ok(())
    }
}

/// A share of a load that was read.
#[derive(Debug)]
pub struct Unpacked {
    /// Where its requests go.
    pub target: Target,
    /// Threads of the client, if the pipeline states it.
    pub shards: Option<u32>,
    /// The share.
    pub load: Load<Arc<Prepared>>,
}

/// Reads a share of a load. Requests that are too large for the memory are put into a file at
/// `path`.
pub fn read(from: &mut impl BufRead, path: &Path) -> io::Result<Unpacked> {
    let bad = |words: &str| io::Error::new(io::ErrorKind::InvalidData, words);
    let mut line = Vec::new();
    io::Read::take(&mut *from, MAX_LINE).read_until(b'\n', &mut line)?;
    let head: Head = serde_json::from_slice(&line)?;
    let mut sessions = Vec::new();
    let mut end = 0_u32;
    for _ in 0..head.sessions {
        let begin = end;
        end = end
            .checked_add(number(from)?)
            .filter(|end| *end <= head.requests)
            .ok_or_else(|| bad("its sessions have more requests than there are"))?;
        sessions.push(begin..end);
    }
    let arrival = match head.arrival {
        ArrivalHead::Closed { concurrency, ramp } => Arrival::Closed { concurrency, ramp },
        ArrivalHead::Open { max_in_flight } => {
            let mut offsets_ns = Vec::new();
            for _ in 0..head.sessions {
                let mut bytes = [0; 8];
                from.read_exact(&mut bytes)?;
                offsets_ns.push(u64::from_le_bytes(bytes));
            }
            Arrival::Open {
                offsets_ns,
                max_in_flight,
            }
        }
    };
    let rules: Vec<Arc<AnswerRules>> = head.rules.into_iter().map(Arc::new).collect();
    let (mut file, mut size) = (None, 0);
    let mut requests = Vec::new();
    for _ in 0..head.requests {
        let rules = rules.get(number(from)? as usize);
        let rules = rules.ok_or_else(|| bad("a request has no rules"))?;
        let length = number(from)?;
        if length > MAX_REQUEST {
            return Err(bad("a request is too long"));
        }
        let mut bytes = Vec::new();
        io::Read::take(&mut *from, u64::from(length)).read_to_end(&mut bytes)?;
        if bytes.len() != length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        size += bytes.len();
        let mut request = Prepared::new(bytes, rules.clone());
        if size > MAX_HERE {
            if file.is_none() {
                file = Some(RequestFile::create(path)?);
            }
            if let Some(file) = &mut file {
                request = file.put(request)?;
            }
        }
        requests.push(Arc::new(request));
    }
    if let Some(file) = &mut file {
        file.flush()?;
    }
    let load = Load {
        requests,
        sessions,
        think: head.think,
        delays: head.delays.into_iter().collect(),
        arrival,
        timeout: head.timeout,
        until: head.until,
        is_share: true,
    };
    Ok(Unpacked {
        target: Target::new(&head.url).map_err(|error| bad(&error.to_string()))?,
        shards: head.shards,
        load,
    })
}

fn number(from: &mut impl BufRead) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deal::Rank;
    use prony_contract::HttpRequest;

    fn whole(arrival: Arrival) -> (Target, Load<Arc<Prepared>>) {
        let target = Target::new("https://a.example:8443").expect("a target");
        let request = |at: usize| {
            let request = HttpRequest {
                body: "x".repeat(at * 7),
                ..HttpRequest::get("/x").ends_at(["data: [DONE]", "end"])
            };
            let prepared = target.prepare(&request).expect("a request");
            let prepared = if at == 4 {
                prepared.keeping_head()
            } else {
                prepared
            };
            Arc::new(prepared)
        };
        let load = Load {
            requests: (0..9).map(request).collect(),
            sessions: vec![0..2, 2..3, 3..7, 7..9],
            think: Duration::from_millis(3),
            delays: [(1, Duration::ZERO), (5, Duration::from_secs(1))].into(),
            arrival,
            timeout: Duration::from_secs(9),
            until: Some(Duration::from_mins(1)),
            is_share: false,
        };
        (target, load)
    }

    #[test]
    fn a_share_arrives_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        for arrival in [
            Arrival::Closed {
                concurrency: 4,
                ramp: Ramp::new(Duration::from_secs(2), 4),
            },
            Arrival::Open {
                offsets_ns: vec![0, 5, 5, 9],
                max_in_flight: 6,
            },
        ] {
            let (target, load) = whole(arrival);
            let share = load.share_of(Rank { number: 1, of: 2 }).load;
            let parcel = Parcel::new(&target, Some(3), &share);
            let mut bytes = Vec::new();
            parcel.write(&mut bytes).expect("written");
            assert_eq!(bytes.len() as u64, parcel.size());
            let unpacked = read(&mut bytes.as_slice(), &folder.path().join("r"));
            let unpacked = unpacked.expect("read");
            assert_eq!((unpacked.target, unpacked.shards), (target, Some(3)));
            assert_eq!(format!("{:?}", unpacked.load), format!("{share:?}"));
            // Cut anywhere, it is an error and no panic.
            for length in 0..bytes.len() {
                let cut = read(&mut &bytes[..length], &folder.path().join("r"));
                assert!(cut.is_err(), "{length}");
            }
        }
    }
}
