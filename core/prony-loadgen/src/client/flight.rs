//! A request in flight: its response so far, and the end of it.

use super::socket::Arrived;
use crate::Exchange;
use crate::exchange::MAX_BODY;
use crate::framing::{Framing, Head};
use crate::pace::Due;
use prony_record::{ErrorClass, Failed, Stamps};
use std::io;

/// Maximum size of a response head, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// A request to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) due: Due,
    /// Stamps of an earlier sending, over a connection that was already closed.
    pub(super) first: Option<Stamps>,
}

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) job: Job,
    /// Bytes of the request written so far.
    pub(super) written: usize,
    /// `true` if there was no room for all of the request.
    pub(super) stalled: bool,
    pub(super) exchange: Exchange,
    head_bytes: Vec<u8>,
    head: Option<Head>,
}

impl Flight {
    /// A request sent at `now`.
    pub(super) fn new(job: Job, now: u64) -> Self {
        let mut exchange = Exchange::default();
        let stamps = &mut exchange.seen.stamps;
        (stamps.intended_ns, stamps.sent_ns) = (job.due.intended_ns.unwrap_or(now), now);
        Self {
            job,
            written: 0,
            stalled: false,
            exchange,
            head_bytes: Vec::new(),
            head: None,
        }
    }

    /// Takes the bytes of a read. At the end of the response, returns `true` if the
    /// connection can be reused.
    pub(super) fn receive(
        &mut self,
        arrived: Arrived,
        mut bytes: &[u8],
    ) -> Result<Option<bool>, Failed> {
        let protocol = |message: &str| Failed::new(ErrorClass::Protocol, message);
        let Exchange {
            seen,
            body,
            ends,
            coding,
            ..
        } = &mut self.exchange;
        let head = if let Some(head) = &mut self.head {
            head
        } else {
            self.head_bytes.extend_from_slice(bytes);
            let parsed = Head::parse(&self.head_bytes)?;
            let so_far = parsed.as_ref().map_or(self.head_bytes.len(), |head| head.1);
            if so_far > MAX_HEAD {
                let limit = MAX_HEAD >> 10;
                return Err(protocol(&format!(
                    "the response's head is longer than {limit} KiB"
                )));
            }
            match parsed {
                None => return Ok(None),
                Some((parsed, length)) => {
                    seen.stamps.head_ns = Some(arrived.at_ns);
                    // The kernel's stamp of the answer may precede our stamp of the
                    // sending.
                    let written = &mut seen.stamps.written_ns;
                    *written = written.map(|written| written.min(arrived.at_ns));
                    seen.status = Some(parsed.status);
                    *coding = parsed.coding;
                    bytes = &bytes[bytes.len() - (self.head_bytes.len() - length)..];
                    self.head_bytes = Vec::new();
                    self.head.insert(parsed)
                }
            }
        };
        let before = body.len();
        let complete = head.framing.feed(bytes, body).map_err(protocol)?;
        if body.len() > before {
            seen.reads_ns.push(arrived.at_ns);
            ends.push(body.len() as u32);
        }
        if complete || matches!(head.framing, Framing::Length(0)) {
            seen.stamps.end_ns = arrived.at_ns;
            return Ok(Some(head.keep_alive));
        }
        if body.len() > MAX_BODY {
            return Err(protocol(&format!(
                "the body is longer than {} MiB",
                MAX_BODY >> 20
            )));
        }
        Ok(None)
    }

    /// Handles a close by the server: the end of a close-delimited body, otherwise a cut.
    pub(super) fn end_of_file(&mut self, at_ns: u64) -> Result<(), Failed> {
        self.exchange.seen.stamps.end_ns = at_ns;
        let failed = |class, message: &str| Err(Failed::new(class, message));
        match &self.head {
            Some(Head {
                framing: Framing::UntilClose,
                ..
            }) => Ok(()),
            Some(_) => failed(
                ErrorClass::Truncated,
                "the connection was closed within the body",
            ),
            None if !self.head_bytes.is_empty() => failed(
                ErrorClass::Protocol,
                "the connection was closed within the response's head",
            ),
            None => failed(
                ErrorClass::Truncated,
                "the connection was closed before an answer",
            ),
        }
    }

    /// The error of a failed read or write.
    pub(super) fn broken(&self, error: &io::Error) -> Failed {
        let class = match error.kind() {
            // Bytes that are not TLS.
            io::ErrorKind::InvalidData => ErrorClass::Protocol,
            _ if self.head.is_none() && !self.head_bytes.is_empty() => ErrorClass::Protocol,
            _ => ErrorClass::Truncated,
        };
        let place = if class == ErrorClass::Protocol {
            " within the response's head"
        } else {
            ""
        };
        Failed::new(class, format!("the connection broke{place}: {error}"))
    }

    /// Returns `true` if nothing of the response has arrived.
    pub(super) fn is_unanswered(&self) -> bool {
        self.head.is_none() && self.head_bytes.is_empty()
    }
}
