//! The answer to a request.

use flate2::write::{GzDecoder, ZlibDecoder};
use prony_contract::{Error, Event, Pair};
use prony_record::{ErrorClass, Failed, Observation, Stamps};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// Maximum size of an unpacked body, in bytes.
pub(crate) const MAX_BODY: usize = 256 << 20;

/// Maximum memory of all answers in flight together, in bytes.
pub(crate) const MAX_IN_FLIGHT: usize = 320 << 20;

/// Number of bytes unpacked at a time.
const PIECE: usize = 64 << 10;

/// Content coding of the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Coding {
    #[default]
    Identity,
    Gzip,
    Deflate,
}

/// The answer to one request: the transport's observations, and the bytes, or the events
/// of an engine in a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Stamps are absolute readings of [`crate::clock::now_ns`].
    pub seen: Observation,
    /// The body, transfer coding removed.
    pub body: Vec<u8>,
    /// End offset in `body` of each read; same length as `seen.reads_ns`.
    pub ends: Vec<u32>,
    /// The response's head, as it came, if it was to be kept.
    pub head: Option<Vec<u8>>,
    /// Headers of the response that the request asked for.
    pub headers: Vec<Pair>,
    /// For an engine in a worker, which needs no decoding: its events, or the plugin's
    /// error. `read` of an event is an index into `seen.reads_ns`.
    pub events: Option<Result<Vec<Event>, Error>>,
    pub(crate) coding: Coding,
}

impl Exchange {
    /// Memory of the answer so far, in bytes. Each read takes some, too: an answer that
    /// comes byte by byte has more stamps than text.
    pub(crate) fn size(&self) -> usize {
        let texts = |events: &Vec<Event>| -> usize {
            let texts = events.iter().map(|event| event.text.len());
            texts.sum::<usize>() + events.capacity() * size_of::<Event>()
        };
        let events = self.events.iter().flatten().map(texts);
        size_of::<Self>()
            + self.body.capacity()
            + self.ends.capacity() * size_of::<u32>()
            + self.seen.reads_ns.capacity() * size_of::<u64>()
            + events.sum::<usize>()
    }

    /// Frees spare memory.
    pub(crate) fn shrink(&mut self) {
        self.body.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.seen.reads_ns.shrink_to_fit();
    }

    /// Moves the stamps, which are of another machine's clock, to this one's, by its offset.
    pub fn shift(&mut self, offset_ns: i64) {
        let Observation {
            stamps, reads_ns, ..
        } = &mut self.seen;
        for stamp in each_stamp(stamps).chain(reads_ns) {
            *stamp = stamp.saturating_add_signed(offset_ns);
        }
    }

    /// Unpacks a compressed body. The assignment of bytes to reads is kept, so the stamps
    /// remain valid; it is done here so that it costs no time during the measurement.
    pub fn unpack(&mut self) {
        let unpacked = match std::mem::take(&mut self.coding) {
            Coding::Identity => return,
            Coding::Gzip => self.unpack_by(GzDecoder::new(Vec::new()), GzDecoder::get_ref),
            Coding::Deflate => self.unpack_by(ZlibDecoder::new(Vec::new()), ZlibDecoder::get_ref),
        };
        match unpacked {
            Ok((body, ends)) => (self.body, self.ends) = (body, ends),
            Err(error) => {
                (self.body, self.ends) = (Vec::new(), Vec::new());
                self.seen.reads_ns.clear();
                // An error of the transport explains more.
                self.seen.failed.get_or_insert_with(|| {
                    let message = format!("the compressed body is broken: {error}");
                    Failed::new(ErrorClass::Protocol, message)
                });
            }
        }
    }

    /// Body and ends, unpacked by `decoder`, whose output is in `plain`.
    fn unpack_by<W: Write>(
        &self,
        mut decoder: W,
        plain: impl Fn(&W) -> &Vec<u8>,
    ) -> io::Result<(Vec<u8>, Vec<u32>)> {
        let (mut from, mut ends) = (0, Vec::with_capacity(self.ends.len()));
        for end in &self.ends {
            // In small pieces, since few packed bytes can hold very many.
            for piece in self.body[from..*end as usize].chunks(PIECE) {
                decoder.write_all(piece)?;
                if plain(&decoder).len() > MAX_BODY {
                    let message = format!("it is longer than {} MiB", MAX_BODY >> 20);
                    return Err(io::Error::other(message));
                }
            }
            decoder.flush()?;
            from = *end as usize;
            ends.push(plain(&decoder).len() as u32);
        }
        Ok((plain(&decoder).clone(), ends))
    }
}

/// All stamps of a request but those of its reads.
pub fn each_stamp(stamps: &mut Stamps) -> impl Iterator<Item = &mut u64> {
    let Stamps {
        intended_ns,
        sent_ns,
        written_ns,
        head_ns,
        end_ns,
    } = stamps;
    [intended_ns, sent_ns, end_ns]
        .into_iter()
        .chain(written_ns.as_mut())
        .chain(head_ns.as_mut())
}

/// Fails an answer of `size` bytes, one of `answers` that together take `all`, if that is
/// too much. Those with the largest shares are to blame.
pub(crate) fn check_in_flight(size: usize, all: usize, answers: usize) -> Result<(), Failed> {
    if all <= MAX_IN_FLIGHT || size <= MAX_IN_FLIGHT / answers.max(1) {
        return Ok(());
    }
    let limit = MAX_IN_FLIGHT >> 20;
    let message = format!("the answers in flight together take more than {limit} MiB");
    Err(Failed::new(ErrorClass::Protocol, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    #[test]
    fn stamps_move_together() {
        let mut exchange = Exchange::default();
        exchange.seen.stamps = Stamps {
            intended_ns: 10,
            sent_ns: 11,
            written_ns: Some(12),
            head_ns: None,
            end_ns: 20,
        };
        exchange.seen.reads_ns = vec![15, 20];
        exchange.shift(-5);
        assert_eq!(exchange.seen.reads_ns, [10, 15]);
        let Stamps {
            intended_ns,
            sent_ns,
            written_ns,
            head_ns,
            end_ns,
        } = exchange.seen.stamps;
        assert_eq!(
            (intended_ns, sent_ns, written_ns, head_ns, end_ns),
            (5, 6, Some(7), None, 15)
        );
    }

    #[test]
    fn what_a_read_brought_stays_what_it_brought() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let mut exchange = Exchange {
            coding: Coding::Gzip,
            ..Exchange::default()
        };
        let mut plain_ends = Vec::new();
        let mut plain = String::new();
        for text in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
            encoder.write_all(text.as_bytes()).expect("packs");
            encoder.flush().expect("packs");
            exchange.ends.push(encoder.get_ref().len() as u32);
            exchange.seen.reads_ns.push(0);
            plain += text;
            plain_ends.push(plain.len() as u32);
        }
        exchange.body = encoder.get_ref().clone();
        let packed = exchange.clone();
        exchange.unpack();
        assert_eq!(exchange.body, plain.as_bytes());
        assert_eq!(exchange.ends, plain_ends);
        assert_eq!(exchange.seen.failed, None);

        let mut broken = packed;
        broken.body[0] ^= 0xff;
        broken.unpack();
        let failed = broken.seen.failed.expect("a failure");
        assert_eq!(failed.class, ErrorClass::Protocol);
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let zeros = vec![0; 1 << 20];
        for _ in 0..300 {
            encoder.write_all(&zeros).expect("packs");
        }
        let body = encoder.finish().expect("packs");
        let mut exchange = Exchange {
            coding: Coding::Gzip,
            ends: vec![body.len() as u32],
            body,
            ..Exchange::default()
        };
        exchange.unpack();
        assert!(exchange.seen.failed.is_some());
    }
}
