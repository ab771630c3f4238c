//! A client that takes nothing for granted.

use prony_truth_server::{Config, Entry, Server};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server without latency, 8 tokens.
pub(crate) fn at_once() -> Config {
    Config {
        tokens: 8,
        time_to_first_token: Duration::ZERO,
        inter_token_latency: Duration::ZERO,
        ..Config::default()
    }
}

pub(crate) fn connect(server: &Server) -> TcpStream {
    let (_, address) = server.url.split_once("://").unwrap();
    TcpStream::connect(address).unwrap()
}

pub(crate) fn request(path: &str, headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes()
}

/// Everything that comes for a chat request, up to the end of the connection.
pub(crate) fn chat(server: &Server) -> Vec<u8> {
    ask(server, "/v1/chat/completions", "", &json!({}))
}

pub(crate) fn ask(server: &Server, path: &str, headers: &str, body: &Value) -> Vec<u8> {
    let mut stream = connect(server);
    stream.write_all(&request(path, headers, body)).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// An answer, taken apart.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// Out of its chunks, but not decompressed.
    pub(crate) body: Vec<u8>,
    pub(crate) chunks: usize,
}

impl Answer {
    /// Checks that the body is as long as the head says; panics if there is less or more.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Self {
            status,
            head,
            body: bytes[end..].to_vec(),
            chunks: 0,
        };
        if answer.header("transfer-encoding") == Some("chunked") {
            let mut rest = &bytes[end..];
            answer.body.clear();
            loop {
                let line = rest.windows(2).position(|it| it == b"\r\n").unwrap();
                let size = std::str::from_utf8(&rest[..line]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                rest = &rest[line + 2..];
                answer.body.extend_from_slice(&rest[..size]);
                assert_eq!(&rest[size..size + 2], b"\r\n");
                rest = &rest[size + 2..];
                if size == 0 {
                    break;
                }
                answer.chunks += 1;
            }
            assert_eq!(rest, b"");
        } else if let Some(length) = answer.header("content-length") {
            assert_eq!(answer.body.len(), length.parse::<usize>().unwrap());
        }
        answer
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn usage(&self) -> Value {
        let events = events(&self.text());
        let usage = |event: &Value| event.get("usage").cloned();
        events.iter().find_map(usage).unwrap()
    }
}

/// The events of a body, which ends as it should.
pub(crate) fn events(body: &str) -> Vec<Value> {
    let body = body.strip_suffix("data: [DONE]\n\n").unwrap();
    body.split_terminator("\n\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

/// The text of a chat, and its finish reason.
pub(crate) fn said(events: &[Value]) -> (String, Option<String>) {
    let choices = || events.iter().map(|event| &event["choices"][0]);
    let text = choices().filter_map(|choice| choice["delta"]["content"].as_str());
    let reason = choices().find_map(|choice| choice["finish_reason"].as_str());
    (text.collect(), reason.map(ToOwned::to_owned))
}

/// The text of this many tokens.
pub(crate) fn tokens(count: u32) -> String {
    let words: Vec<String> = (0..count).map(|token| format!(" t{token}")).collect();
    words.concat()
}

/// Each write was made no earlier than it was due; how late the latest was, in ns.
pub(crate) fn keeps_its_times(entry: &Entry) -> u64 {
    assert_eq!(entry.writes_ns.len(), entry.intended_ns.len());
    assert_eq!(entry.writes_ns.len(), entry.tokens_per_write.len());
    assert!(!entry.writes_ns.is_empty());
    let mut last = entry.received_ns;
    let mut latest = 0;
    for (&write, &intended) in entry.writes_ns.iter().zip(&entry.intended_ns) {
        assert!(write >= intended && intended >= entry.received_ns);
        assert!(write >= last, "writes are in their order");
        last = write;
        latest = latest.max(write - intended);
    }
    latest
}
