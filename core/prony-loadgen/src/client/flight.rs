//! A request in flight: its response so far, and the end of it.

use super::socket::Arrived;
use crate::Exchange;
use crate::exchange::Coding;
use crate::framing::{self, Framing, Head, quotable};
use crate::pace::Due;
use crate::target::Prepared;
use prony_record::{ErrorClass, Failed, Stamps};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Maximum size of a response head, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// Maximum size of what follows an answer's own end, in bytes.
const MAX_AFTER_END: usize = 64 << 10;

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
    pub(super) request: Arc<Prepared>,
    /// The request, from its file, until it is written.
    pub(super) loaded: Option<Vec<u8>>,
    /// Bytes of the request written so far.
    pub(super) written: usize,
    /// `true` if there was no room for all of the request.
    pub(super) stalled: bool,
    pub(super) exchange: Exchange,
    head_bytes: Vec<u8>,
    head: Option<Head>,
    /// Bytes of the body after the mark that ended the answer, which are not kept; `None`
    /// while the answer goes on.
    after_end: Option<Vec<u8>>,
    /// Its share of the memory of all in flight.
    counted: usize,
}

/// Progress of a response after a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// More is to come.
    Part,
    /// The answer has ended by its own mark, the response has not.
    Answer,
    /// The response has ended; `true` if the connection can be reused.
    All(bool),
}

impl Flight {
    /// A request sent at `now`.
    pub(super) fn new(job: Job, request: Arc<Prepared>, now: u64) -> Self {
        let mut exchange = Exchange::default();
        let stamps = &mut exchange.seen.stamps;
        (stamps.intended_ns, stamps.sent_ns) = (job.due.intended_ns.unwrap_or(now), now);
        Self {
            job,
            request,
            loaded: None,
            written: 0,
            stalled: false,
            exchange,
            head_bytes: Vec::new(),
            head: None,
            after_end: None,
            counted: 0,
        }
    }

    /// Memory of the response so far, in bytes.
    pub(super) fn size(&self) -> usize {
        let after_end = self.after_end.as_ref().map_or(0, Vec::capacity);
        self.exchange.size() + self.head_bytes.capacity() + after_end
    }

    /// Adds what it has grown by to the memory of `all` in flight; returns that.
    pub(super) fn count(&mut self, all: &AtomicUsize) -> usize {
        let size = self.size();
        let grown = size.saturating_sub(self.counted);
        self.counted = self.counted.max(size);
        all.fetch_add(grown, Ordering::Relaxed) + grown
    }

    /// Takes its memory off that of `all` in flight.
    pub(super) fn discount(&self, all: &AtomicUsize) {
        all.fetch_sub(self.counted, Ordering::Relaxed);
    }

    /// Returns `true` if the answer has ended by its own mark.
    pub(super) fn is_answered(&self) -> bool {
        self.after_end.is_some()
    }

    /// Takes the bytes of a read.
    pub(super) fn receive(
        &mut self,
        arrived: Arrived,
        mut bytes: &[u8],
    ) -> Result<Received, Failed> {
        let protocol = |message: &str| Failed::new(ErrorClass::Protocol, message);
        let rules = &self.request.rules;
        let Exchange {
            seen,
            body,
            ends,
            coding,
            head: kept_head,
            headers,
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
                None => return Ok(Received::Part),
                Some((parsed, length)) => {
                    seen.stamps.head_ns = Some(arrived.at_ns);
                    // The kernel's stamp of the answer may precede our stamp of the
                    // sending.
                    let written = &mut seen.stamps.written_ns;
                    *written = written.map(|written| written.min(arrived.at_ns));
                    seen.status = Some(parsed.status);
                    seen.status_detail = match (parsed.status, &parsed.retry_after) {
                        (404, _) => Some(format!("`{}`", quotable(&rules.line))),
                        (_, Some(wait)) => Some(format!("`retry-after: {wait}`")),
                        _ => None,
                    };
                    *coding = parsed.coding;
                    bytes = &bytes[bytes.len() - (self.head_bytes.len() - length)..];
                    let mut all = std::mem::take(&mut self.head_bytes);
                    all.truncate(length);
                    if !rules.answer_headers.is_empty() {
                        *headers = framing::headers(&all, &rules.answer_headers);
                    }
                    if rules.keeps_head {
                        *kept_head = Some(all);
                    }
                    self.head.insert(parsed)
                }
            }
        };
        if let Some(rest) = &mut self.after_end {
            // Bounded by the time that is left to it, and by the size of a body.
            let complete = head.framing.feed(bytes, rest).map_err(protocol)?;
            return Ok(if complete {
                Received::All(head.keep_alive)
            } else if rest.len() > MAX_AFTER_END {
                Received::All(false)
            } else {
                Received::Part
            });
        }
        let before = body.len();
        let fed = head.framing.feed(bytes, body);
        // Also what came in the same read before the framing broke.
        if body.len() > before {
            seen.reads_ns.push(arrived.at_ns);
            ends.push(body.len() as u32);
        }
        let complete = fed.map_err(protocol)?;
        if complete || matches!(head.framing, Framing::Length(0)) {
            seen.stamps.end_ns = arrived.at_ns;
            if let Some(location) = &head.location {
                // Following it would put the detour into every time.
                seen.failed = Some(protocol(&format!(
                    "HTTP status {}: the server redirects to `{location}`; prony follows no redirects, so use the address that it leads to",
                    head.status
                )));
            }
            return Ok(Received::All(head.keep_alive));
        }
        // A compressed body has its lines elsewhere; it ends where the response does.
        if *coding == Coding::Identity
            && let Some(end) = rules.end_marks.end(body, before)
        {
            seen.stamps.end_ns = arrived.at_ns;
            self.after_end = Some(body.split_off(end));
            if let Some(last) = ends.last_mut() {
                *last = end as u32;
            }
            return Ok(Received::Answer);
        }
        if body.len() > rules.max_body {
            return Err(protocol(&format!(
                "the body is longer than {} MiB",
                rules.max_body >> 20
            )));
        }
        Ok(Received::Part)
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

/// The answer that bytes of a server make, as a connection takes them in.
#[cfg(feature = "fuzzing")]
pub(super) fn received(request: Arc<Prepared>, reads: &[&[u8]]) -> Exchange {
    let due = Due {
        session: 0,
        index: 0,
        intended_ns: None,
        sendable_ns: None,
    };
    let mut flight = Flight::new(Job { due, first: None }, request, 0);
    let mut at_ns = 0;
    let mut end = |flight: &mut Flight| {
        for bytes in reads {
            at_ns += 1000;
            let arrived = Arrived {
                count: bytes.len(),
                at_ns,
                read_ns: at_ns,
                by_kernel: false,
            };
            if let Received::All(_) = flight.receive(arrived, bytes)? {
                return Ok(());
            }
        }
        if flight.is_answered() {
            return Ok(());
        }
        flight.end_of_file(at_ns)
    };
    if let Err(failed) = end(&mut flight) {
        flight.exchange.seen.failed.get_or_insert(failed);
    }
    flight.exchange
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;
    use prony_contract::HttpRequest;

    #[test]
    fn bytes_before_the_framing_broke_belong_to_their_read() {
        let request = HttpRequest {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body: String::new(),
            ..HttpRequest::default()
        };
        let target = Target::new("http://127.0.0.1:1").expect("a URL");
        let request = Arc::new(target.prepare(&request).expect("a request"));
        let due = Due {
            session: 0,
            index: 0,
            intended_ns: None,
            sendable_ns: None,
        };
        let mut flight = Flight::new(Job { due, first: None }, request, 0);
        let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n";
        let arrived = Arrived {
            count: bytes.len(),
            at_ns: 7,
            read_ns: 7,
            by_kernel: true,
        };
        let failed = flight.receive(arrived, bytes).expect_err("a bad chunk");
        assert_eq!(failed.class, ErrorClass::Protocol);
        let exchange = flight.exchange;
        assert_eq!(exchange.body, b"hi");
        assert_eq!((exchange.ends, exchange.seen.reads_ns), (vec![2], vec![7]));
    }
}
