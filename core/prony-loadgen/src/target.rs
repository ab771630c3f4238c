//! Destination of requests, and their bytes.

use crate::exchange::MAX_BODY;
use memchr::memmem::Finder;
use prony_contract::HttpRequest;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

/// Destination of requests: `http://host[:port]` or `https://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    authority: String,
    /// Host and port, for connecting.
    pub(crate) address: String,
    /// Server name in the certificate, for encrypted connections.
    pub(crate) encrypted_for: Option<String>,
    /// Port on the loopback interface, if that is where it is.
    local_port: Option<u16>,
}

/// A base URL that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not a base URL that prony can use: {reason}")]
pub struct BadUrl {
    url: String,
    reason: &'static str,
}

impl Target {
    /// Parses `http://host[:port]` or `https://host[:port]`.
    pub fn new(url: &str) -> Result<Self, BadUrl> {
        let bad = |reason| BadUrl {
            url: url.to_owned(),
            reason,
        };
        let (encrypted, authority) = match url.split_once("://") {
            Some(("http", authority)) => (false, authority),
            Some(("https", authority)) => (true, authority),
            _ => return Err(bad("it must start with `http://` or `https://`")),
        };
        let authority = authority.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(bad(
                "`http://host:port` is expected, without a path or a user",
            ));
        }
        let last_colon = authority
            .rfind(':')
            .filter(|colon| !authority[*colon..].contains(']'));
        let (host, port) = match last_colon {
            Some(colon) => {
                let port = authority[colon + 1..].parse::<u16>();
                let port = port.map_err(|_| bad("the port is not a number"))?;
                (&authority[..colon], port)
            }
            None => (authority, if encrypted { 443 } else { 80 }),
        };
        let address = format!("{host}:{port}");
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            authority: authority.to_owned(),
            address,
            encrypted_for: encrypted.then(|| host.to_owned()),
            local_port: ["127.0.0.1", "localhost"].contains(&host).then_some(port),
        })
    }

    /// Base URL, as [`Self::new`] takes it.
    pub fn url(&self) -> String {
        let scheme = match self.encrypted_for {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}", self.authority)
    }

    /// Port on the loopback interface of this machine; `None` for any other place.
    pub fn local_port(&self) -> Option<u16> {
        self.local_port
    }

    /// Renders a request, ready to be written. The error names the part that holds a line
    /// break or another control character.
    ///
    /// Answers are requested uncompressed, unless the request has its own
    /// `accept-encoding`.
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
        let mut headers = request.headers.iter();
        if !headers.any(|header| header.name.eq_ignore_ascii_case("accept-encoding")) {
            head.push_str("accept-encoding: identity\r\n");
        }
        head.push_str("content-length: ");
        head.push_str(&request.body.len().to_string());
        head.push_str("\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(request.body.as_bytes());
        Ok(Prepared {
            bytes: Bytes::Here(bytes),
            rules: Arc::new(AnswerRules {
                line: line(request),
                end_marks: EndMarks::new(&request.end_marks),
                answer_headers: request.answer_headers.clone(),
                max_body: MAX_BODY,
                keeps_head: false,
                model: request.model.clone(),
            }),
        })
    }
}

/// Method and path, without the query: it may hold a key.
fn line(request: &HttpRequest) -> String {
    let path = request.path.split('?').next().unwrap_or_default();
    format!("{} {path}", request.method)
}

/// A request as bytes, and what its answer is met with.
#[derive(Debug, Clone)]
pub struct Prepared {
    bytes: Bytes,
    pub(crate) rules: Arc<AnswerRules>,
}

/// All of a request but its bytes: mostly the same for all requests of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AnswerRules {
    /// Method and path, without the query.
    pub(crate) line: String,
    pub(crate) end_marks: EndMarks,
    /// Names of the answer's headers that are kept, in lower case.
    pub(crate) answer_headers: Vec<String>,
    /// Longest body of an answer, in bytes.
    pub(crate) max_body: usize,
    /// `true` if the answer's head is kept.
    pub(crate) keeps_head: bool,
    /// Server's name of the model that is asked for, if the adapter gives it.
    model: Option<String>,
}

#[derive(Debug, Clone)]
enum Bytes {
    Here(Vec<u8>),
    InFile {
        file: Arc<File>,
        at: u64,
        length: usize,
    },
}

impl Prepared {
    /// A request that was prepared elsewhere.
    pub(crate) fn new(bytes: Vec<u8>, rules: Arc<AnswerRules>) -> Self {
        Self {
            bytes: Bytes::Here(bytes),
            rules,
        }
    }

    /// Server's name of the model that is asked for, if the adapter gives it.
    pub fn model(&self) -> Option<&String> {
        self.rules.model.as_ref()
    }

    /// Size of the request, in bytes.
    #[expect(clippy::len_without_is_empty, reason = "no request is empty")]
    pub fn len(&self) -> usize {
        match &self.bytes {
            Bytes::Here(bytes) => bytes.len(),
            Bytes::InFile { length, .. } => *length,
        }
    }

    /// The same with a shorter answer.
    pub(crate) fn with_max_body(self, max_body: usize) -> Self {
        let rules = AnswerRules {
            max_body,
            ..AnswerRules::clone(&self.rules)
        };
        Self {
            rules: Arc::new(rules),
            ..self
        }
    }

    /// The same, of which the answer's head is kept ([`crate::Exchange::head`]).
    #[must_use]
    pub fn keeping_head(self) -> Self {
        let rules = AnswerRules {
            keeps_head: true,
            ..AnswerRules::clone(&self.rules)
        };
        Self {
            rules: Arc::new(rules),
            ..self
        }
    }

    /// The request from its [`RequestFile`], if it lies there.
    pub(crate) fn load(&self) -> io::Result<Option<Vec<u8>>> {
        match &self.bytes {
            Bytes::Here(_) => Ok(None),
            Bytes::InFile { file, at, length } => {
                let mut bytes = vec![0; *length];
                file.read_exact_at(&mut bytes, *at)?;
                Ok(Some(bytes))
            }
        }
    }

    /// The request, given what [`Self::load`] returned.
    pub(crate) fn bytes<'b>(&'b self, loaded: Option<&'b Vec<u8>>) -> &'b [u8] {
        match (&self.bytes, loaded) {
            (Bytes::Here(bytes), _) | (_, Some(bytes)) => bytes,
            (Bytes::InFile { .. }, None) => &[],
        }
    }
}

/// A file of requests that are too large to lie in memory together.
#[derive(Debug)]
pub struct RequestFile {
    file: Arc<File>,
    /// Size of what was handed over.
    length: u64,
    /// The last of it, not written yet.
    buffer: Vec<u8>,
    rules: Option<Arc<AnswerRules>>,
}

impl RequestFile {
    /// Size of what is written at a time, in bytes.
    const PIECE: usize = 1 << 20;

    /// Creates a file at `path`, in the place of an older one, and takes its name away: it is
    /// gone with its last request.
    pub fn create(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        std::fs::remove_file(path)?;
        Ok(Self {
            file: Arc::new(file),
            length: 0,
            buffer: Vec::new(),
            rules: None,
        })
    }

    /// Moves a request to the file, from where it is read when it is sent.
    pub fn put(&mut self, request: Prepared) -> io::Result<Prepared> {
        let Bytes::Here(bytes) = &request.bytes else {
            return Ok(request);
        };
        let (at, length) = (self.length, bytes.len());
        self.buffer.extend_from_slice(bytes);
        self.length += length as u64;
        if self.buffer.len() > Self::PIECE {
            self.flush()?;
        }
        let known = self.rules.take().filter(|known| *known == request.rules);
        let rules = known.unwrap_or(request.rules);
        self.rules = Some(rules.clone());
        let file = self.file.clone();
        Ok(Prepared {
            bytes: Bytes::InFile { file, at, length },
            rules,
        })
    }

    /// Writes the rest. Before that, the last requests cannot be read.
    pub fn flush(&mut self) -> io::Result<()> {
        (&*self.file).write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// Lines that end an answer, looked for while its bytes arrive and without parsing them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub(crate) struct EndMarks(Vec<Finder<'static>>);

impl PartialEq for EndMarks {
    fn eq(&self, other: &Self) -> bool {
        let needles = |marks: &Self| -> Vec<Vec<u8>> {
            let needles = marks.0.iter().map(|mark| mark.needle().to_vec());
            needles.collect()
        };
        needles(self) == needles(other)
    }
}

impl From<Vec<String>> for EndMarks {
    fn from(lines: Vec<String>) -> Self {
        Self::new(&lines)
    }
}

impl From<EndMarks> for Vec<String> {
    fn from(EndMarks(marks): EndMarks) -> Self {
        let lines = marks
            .iter()
            .map(|mark| String::from_utf8_lossy(mark.needle()));
        lines.map(std::borrow::Cow::into_owned).collect()
    }
}

impl EndMarks {
    fn new(lines: &[String]) -> Self {
        let lines = lines.iter().filter(|line| !line.is_empty());
        Self(lines.map(|line| Finder::new(line).into_owned()).collect())
    }

    /// The length of `body` up to the end of the first mark, of a body in which none was
    /// found up to `searched`. What follows a mark on its line is not there yet, or makes it
    /// another line.
    pub(crate) fn end(&self, body: &[u8], searched: usize) -> Option<usize> {
        let is_break = |at: Option<&u8>| at.is_none_or(|byte| matches!(byte, b'\r' | b'\n'));
        let of_mark = |mark: &Finder<'_>| {
            let length = mark.needle().len();
            // A mark may have begun in the bytes before.
            let from = searched.saturating_sub(length);
            let mut found = mark.find_iter(&body[from..]).map(|at| from + at);
            let whole = |at: &usize| {
                let before = at.checked_sub(1).and_then(|at| body.get(at));
                is_break(before) && is_break(body.get(at + length))
            };
            found.find(whole).map(|at| at + length)
        };
        self.0.iter().filter_map(of_mark).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_mark_is_a_line_of_its_own_however_it_arrives() {
        let marks = EndMarks::new(&["data: [DONE]".to_owned(), String::new()]);
        for (body, end) in [
            ("data: [DONE]", Some(12)),
            ("data: x\n\ndata: [DONE]\n\n", Some(21)),
            ("data: x\r\ndata: [DONE]\r\n", Some(21)),
            ("data: x\rdata: [DONE]", Some(20)),
            // A text that says so, in the middle of a line.
            (r#"data: {"content":"data: [DONE]"}"#, None),
            ("data: [DONE] \n", None),
            ("", None),
        ] {
            let body = body.as_bytes();
            assert_eq!(marks.end(body, 0), end, "{body:?}");
            // The same, a byte at a time; the line's own end comes later or not at all.
            let mut first = None;
            for length in 1..=body.len() {
                first = first.or_else(|| marks.end(&body[..length], length - 1));
            }
            let early = body.starts_with(b"data: [DONE] ").then_some(12);
            assert_eq!(first, early.or(end), "{body:?}");
        }
        assert_eq!(EndMarks::default().end(b"data: [DONE]", 0), None);
    }

    #[test]
    fn the_line_of_a_request_shows_no_query() {
        let target = Target::new("http://h:1").expect("a target");
        let line = |path| {
            let prepared = target.prepare(&HttpRequest::get(path));
            prepared.expect("a request").rules.line.clone()
        };
        assert_eq!(line("/v1/models?key=secret"), "GET /v1/models");
        assert_eq!(line("/v1/models"), "GET /v1/models");
    }

    #[test]
    fn a_request_in_a_file_is_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("requests");
        let mut file = RequestFile::create(&path).expect("a file");
        let target = Target::new("http://h:1").expect("a target");
        let prepared = |number: usize| {
            let request = HttpRequest {
                body: format!("{number}").repeat(number * 100),
                ..HttpRequest::get("/x").ends_at(["end"])
            };
            target.prepare(&request).expect("a request")
        };
        let moved = |number| file.put(prepared(number)).expect("written");
        let all: Vec<Prepared> = (0..200).map(moved).collect();
        file.flush().expect("written");
        assert!(!path.exists());
        for (number, moved) in all.iter().enumerate() {
            let loaded = moved.load().expect("read");
            let here = prepared(number);
            assert_eq!(moved.bytes(loaded.as_ref()), here.bytes(None));
            assert_eq!(moved.len(), here.len());
            assert_eq!(moved.rules, here.rules);
            // One for all.
            assert!(Arc::ptr_eq(&moved.rules, &all[0].rules));
        }
    }

    #[test]
    fn base_urls() {
        let read = |url| {
            Target::new(url)
                .map(|target| (target.address, target.encrypted_for))
                .map_err(|bad| bad.reason)
        };
        assert_eq!(
            read("http://localhost:8080/"),
            Ok(("localhost:8080".into(), None))
        );
        assert_eq!(
            read("https://[::1]"),
            Ok(("[::1]:443".into(), Some("::1".into())))
        );
        assert_eq!(
            read("https://a.example:8443"),
            Ok(("a.example:8443".into(), Some("a.example".into())))
        );
        for bad in [
            "",
            "localhost:1",
            "ftp://a",
            "http://",
            "http://a/v1",
            "http://u@a",
            "http://a:x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
