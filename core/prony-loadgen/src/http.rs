//! HTTP/1.1 exchanges with a stamp per read.
//!
//! Our own client, because the point is to stamp as close to the socket as
//! possible and to do nothing else there: general clients parse, allocate and
//! hop between tasks before the caller learns that bytes arrived.

mod framing;

use crate::Exchange;
use crate::clock::now_ns;
use framing::{Framing, Head};
use prony_metrics::record::{ErrorClass, Failed, Observation};
use prony_plugin_sdk::HttpRequest;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Time to get a connection; a local server answers in microseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A kept connection that ends sooner than this after a request was sent had
/// been closed before the server saw the request.
const STALE_WITHIN: Duration = Duration::from_millis(10);
/// Longest response head.
const MAX_HEAD: usize = 64 << 10;
/// Longest response body that is kept.
const MAX_BODY: usize = 256 << 20;

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    authority: String,
    address: String,
}

/// A base URL that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not a base URL that prony can use: {reason}")]
pub struct BadUrl {
    url: String,
    reason: &'static str,
}

impl Target {
    /// From `http://host[:port]`.
    pub fn new(url: &str) -> Result<Self, BadUrl> {
        let bad = |reason| BadUrl {
            url: url.to_owned(),
            reason,
        };
        let authority = url
            .strip_prefix("http://")
            .ok_or_else(|| bad("it must start with `http://`"))?;
        let authority = authority.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(bad("`http://host:port` is expected, without a path"));
        }
        let last_colon = authority
            .rfind(':')
            .filter(|colon| !authority[*colon..].contains(']'));
        let address = match last_colon {
            Some(colon) if authority[colon + 1..].parse::<u16>().is_ok() => authority.to_owned(),
            Some(_) => return Err(bad("the port is not a number")),
            None => format!("{authority}:80"),
        };
        Ok(Self {
            authority: authority.to_owned(),
            address,
        })
    }

    /// The bytes of a request, ready to be written. An error names the part
    /// that holds a line break or another control character.
    pub fn prepare(&self, request: &HttpRequest) -> Result<Prepared, String> {
        let parts = request
            .headers
            .iter()
            .flat_map(|header| [&header.name, &header.value]);
        for part in parts.chain([&request.method, &request.path]) {
            if part.chars().any(char::is_control) {
                return Err(format!(
                    "{part:?} holds a control character and cannot be sent in a request's head"
                ));
            }
        }
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\n",
            request.method, request.path, self.authority
        );
        for header in &request.headers {
            for part in [&header.name, ": ", &header.value, "\r\n"] {
                head.push_str(part);
            }
        }
        head.push_str("accept-encoding: identity\r\ncontent-length: ");
        head.push_str(&request.body.len().to_string());
        head.push_str("\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(request.body.as_bytes());
        Ok(Prepared(bytes))
    }
}

/// A request as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared(Vec<u8>);

/// Sends requests to one target, one at a time, over one connection that is
/// kept while the server keeps it.
#[derive(Debug)]
pub struct Client {
    target: Target,
    stream: Option<TcpStream>,
    /// Reads go here first, so that the hot path allocates nothing.
    buffer: Vec<u8>,
}

impl Client {
    /// A client without a connection.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            stream: None,
            buffer: vec![0; 64 << 10],
        }
    }

    /// Sends one request and keeps what comes back, for at most `limit`.
    ///
    /// The connection is made before the clock starts: what is measured is the
    /// engine, not the handshake.
    ///
    /// A server may close a kept connection at any time, also while a request is
    /// on its way there. If it is found closed at once, that says nothing about
    /// the engine, and the request is sent once more on a new connection. If the
    /// server took its time before it closed, it had the request, and failed.
    pub async fn send(&mut self, request: &Prepared, limit: Duration) -> Exchange {
        let kept = self.stream.is_some();
        let mut exchange = self.send_once(request, limit).await;
        let stale = |seen: &Observation| {
            let took = seen.stamps.end_ns.saturating_sub(seen.stamps.sent_ns);
            matches!(seen, Observation { status: None, failed: Some(failed), .. }
                if failed.class == ErrorClass::Truncated)
                && u128::from(took) < STALE_WITHIN.as_nanos()
        };
        if kept && stale(&exchange.seen) {
            // The wait is the user's, so time goes on from the first sending.
            let first = exchange.seen.stamps;
            exchange = self.send_once(request, limit).await;
            let stamps = &mut exchange.seen.stamps;
            (stamps.intended_ns, stamps.sent_ns) = (first.intended_ns, first.sent_ns);
            exchange.seen.resent = true;
        }
        exchange
    }

    async fn send_once(&mut self, request: &Prepared, limit: Duration) -> Exchange {
        let mut exchange = Exchange::default();
        let mut stream = match self.connection().await {
            Ok(stream) => stream,
            Err(failed) => {
                let now = now_ns();
                let stamps = &mut exchange.seen.stamps;
                (stamps.intended_ns, stamps.sent_ns, stamps.end_ns) = (now, now, now);
                exchange.seen.failed = Some(failed);
                return exchange;
            }
        };
        let outcome = tokio::time::timeout(
            limit,
            converse(&mut stream, request, &mut self.buffer, &mut exchange),
        )
        .await;
        if !matches!(outcome, Ok(Ok(_))) {
            exchange.seen.stamps.end_ns = now_ns();
        }
        exchange.seen.body_bytes = exchange.body.len() as u64;
        match outcome {
            Ok(Ok(keep)) => {
                if keep {
                    self.stream = Some(stream);
                }
            }
            Ok(Err(failed)) => exchange.seen.failed = Some(failed),
            Err(_) => {
                exchange.seen.failed = Some(Failed::new(
                    ErrorClass::Timeout,
                    format!("no complete answer within {limit:?}"),
                ));
            }
        }
        exchange
    }

    /// The kept connection if it is still good, else a new one.
    async fn connection(&mut self) -> Result<TcpStream, Failed> {
        if let Some(stream) = self.stream.take() {
            // A server that closed an idle connection has left an end of file
            // there; anything readable before a request means trouble.
            match stream.try_read(&mut [0]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(stream),
                _ => {}
            }
        }
        let address = &self.target.address;
        let failed = |message| Failed::new(ErrorClass::Connect, message);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|_| {
                failed(format!(
                    "no connection to {address} within {CONNECT_TIMEOUT:?}"
                ))
            })?
            .map_err(|error| failed(format!("no connection to {address}: {error}")))?;
        stream
            .set_nodelay(true)
            .map_err(|error| failed(format!("{address}: {error}")))?;
        Ok(stream)
    }
}

/// The hot path. Returns whether the connection can be used again.
async fn converse(
    stream: &mut TcpStream,
    request: &Prepared,
    buffer: &mut [u8],
    exchange: &mut Exchange,
) -> Result<bool, Failed> {
    let Exchange { seen, body, ends } = exchange;
    let broken = |error: std::io::Error| {
        Failed::new(
            ErrorClass::Truncated,
            format!("the connection broke: {error}"),
        )
    };
    let sent = now_ns();
    (seen.stamps.intended_ns, seen.stamps.sent_ns) = (sent, sent);
    stream.write_all(&request.0).await.map_err(broken)?;
    seen.stamps.written_ns = Some(now_ns());

    let mut head_bytes = Vec::new();
    let mut head: Option<Head> = None;
    loop {
        let count = stream.read(buffer).await;
        let now = now_ns();
        let mut bytes = match count {
            Ok(0) => {
                seen.stamps.end_ns = now;
                return end_of_file(head.as_ref(), !head_bytes.is_empty());
            }
            Ok(count) => &buffer[..count],
            Err(error) if head.is_none() && !head_bytes.is_empty() => {
                return Err(Failed::new(
                    ErrorClass::Protocol,
                    format!("the connection broke within the response's head: {error}"),
                ));
            }
            Err(error) => return Err(broken(error)),
        };
        let head = if let Some(head) = &mut head {
            head
        } else {
            head_bytes.extend_from_slice(bytes);
            match Head::parse(&head_bytes)? {
                None if head_bytes.len() > MAX_HEAD => {
                    return Err(Failed::new(
                        ErrorClass::Protocol,
                        "the response head is too long",
                    ));
                }
                None => continue,
                Some((parsed, length)) => {
                    seen.stamps.head_ns = Some(now);
                    seen.status = Some(parsed.status);
                    bytes = &bytes[bytes.len() - (head_bytes.len() - length)..];
                    head.insert(parsed)
                }
            }
        };
        let before = body.len();
        let complete = head
            .framing
            .feed(bytes, body)
            .map_err(|reason| Failed::new(ErrorClass::Protocol, reason))?;
        if body.len() > before {
            seen.reads_ns.push(now);
            ends.push(body.len() as u32);
        }
        if complete {
            seen.stamps.end_ns = now;
            return Ok(head.keep_alive);
        }
        if body.len() > MAX_BODY {
            return Err(Failed::new(
                ErrorClass::Protocol,
                format!("the body is longer than {} MiB", MAX_BODY >> 20),
            ));
        }
    }
}

/// The server closed the connection: the end of a close-delimited body, and a
/// cut otherwise.
fn end_of_file(head: Option<&Head>, began: bool) -> Result<bool, Failed> {
    match head {
        Some(Head {
            framing: Framing::UntilClose,
            ..
        }) => Ok(false),
        Some(_) => Err(Failed::new(
            ErrorClass::Truncated,
            "the connection was closed within the body",
        )),
        None if began => Err(Failed::new(
            ErrorClass::Protocol,
            "the connection was closed within the response's head",
        )),
        None => Err(Failed::new(
            ErrorClass::Truncated,
            "the connection was closed before an answer",
        )),
    }
}

/// Whether `GET path` answers 200 within `limit`. For readiness probes.
pub async fn answers_200(target: &Target, path: &str, limit: Duration) -> bool {
    let request = HttpRequest {
        method: "GET".to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: String::new(),
    };
    let Ok(request) = target.prepare(&request) else {
        return false;
    };
    let exchange = Client::new(target.clone()).send(&request, limit).await;
    exchange.seen.failed.is_none() && exchange.seen.status == Some(200)
}
