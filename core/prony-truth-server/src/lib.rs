//! An OpenAI-compatible server that does exactly what it is told: tokens on an
//! absolute schedule, and every fault that an engine can have.
//!
//! It is how prony is held to the truth: what a run reports about this server
//! can be compared with what the server did. That includes images: the server
//! looks at each one, counts it as [`IMAGE_TOKENS`] and refuses what is none.

mod images;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Tokens of every prompt without its images, as the usage says.
pub const PROMPT_TOKENS: u32 = 7;

/// Tokens that each image adds to the prompt.
pub const IMAGE_TOKENS: u32 = 256;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// An error object inside a stream that began with HTTP 200.
    ErrorFrame,
    /// HTTP 200 and no body.
    Empty,
    /// The connection is closed after half of the tokens.
    Cut,
    /// HTTP 500 with an error object.
    Http500,
    /// HTTP 404 with an error text.
    Http404,
    /// Nothing comes after the first token.
    Hang,
    /// The process ends after half of the tokens.
    Crash,
    /// A `data` line that is not JSON.
    Garbage,
    /// A well-formed stream without a token.
    ZeroTokens,
    /// The stream ends by its rule but tells no finish reason.
    NoFinish,
    /// An answer that is not HTTP.
    NotHttp,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::ErrorFrame,
        Self::Empty,
        Self::Cut,
        Self::Http500,
        Self::Http404,
        Self::Hang,
        Self::Crash,
        Self::Garbage,
        Self::ZeroTokens,
        Self::NoFinish,
        Self::NotHttp,
    ];

    /// Its name, as on the command line.
    pub fn name(self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|name| name.as_str().map(ToOwned::to_owned))
            .unwrap_or_default()
    }
}

/// What the server does.
#[derive(Debug, Clone)]
pub struct Config {
    /// Tokens per answer, unless the request asks for fewer.
    pub tokens: u32,
    /// From the request to the first token.
    pub time_to_first_token: Duration,
    /// From token to token.
    pub inter_token_latency: Duration,
    /// What goes wrong, if anything.
    pub fault: Option<Fault>,
    /// The first request (from 0) with the fault.
    pub fault_from: u32,
    /// A request without an image is answered with HTTP 400, so that an answer
    /// proves that an image arrived.
    pub require_image: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tokens: 16,
            time_to_first_token: Duration::from_millis(20),
            inter_token_latency: Duration::from_millis(5),
            fault: None,
            fault_from: 0,
            require_image: false,
        }
    }
}

/// Serves until the process ends, one thread per connection.
pub fn serve(listener: &TcpListener, config: Config) {
    let config = Arc::new(config);
    let answered = Arc::new(AtomicU32::new(0));
    for stream in listener.incoming().flatten() {
        let (config, answered) = (config.clone(), answered.clone());
        std::thread::spawn(move || {
            // A client that goes away ends its connection and nothing else.
            let _ = connection(stream, &config, &answered);
        });
    }
}

fn connection(stream: TcpStream, config: &Config, answered: &AtomicU32) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some((path, body)) = read_request(&mut reader)? {
        let received = Instant::now();
        if !path.starts_with("/v1/") {
            writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
            continue;
        }
        let number = answered.fetch_add(1, Ordering::Relaxed);
        let fault = config.fault.filter(|_| number >= config.fault_from);
        let chat = path.ends_with("/chat/completions");
        let answer = Answer {
            writer: &mut writer,
            config,
            chat,
            received,
        };
        if !answer.send(&body, fault)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Path and JSON body of the next request; `None` at the end of the connection.
fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<(String, Value)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or_default();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((
        path,
        serde_json::from_slice(&body).unwrap_or_default(),
    )))
}

struct Answer<'a> {
    writer: &'a mut TcpStream,
    config: &'a Config,
    chat: bool,
    received: Instant,
}

impl Answer<'_> {
    /// Tells whether the connection goes on.
    fn send(mut self, request: &Value, fault: Option<Fault>) -> std::io::Result<bool> {
        let asked = request["max_tokens"]
            .as_u64()
            .map_or(u32::MAX, |tokens| tokens as u32);
        let tokens = self.config.tokens.min(asked);
        let images = match images::count(request) {
            Ok(0) if self.config.require_image => Err("an image is required".to_owned()),
            counted => counted,
        };
        let images = match images {
            Ok(images) => images,
            Err(message) => {
                let error = json!({ "message": message, "type": "invalid_request_error" });
                return self.refuse("400 Bad Request", &json!({ "error": error }));
            }
        };
        match fault {
            Some(Fault::Http500) => {
                return self.refuse(
                    "500 Internal Server Error",
                    &json!({ "error": { "message": "broken on purpose" } }),
                );
            }
            Some(Fault::Http404) => {
                return self.refuse("404 Not Found", &json!({ "error": "no such model" }));
            }
            Some(Fault::NotHttp) => {
                self.writer.write_all(b"220 ready to serve mail\r\n")?;
                return Ok(false);
            }
            Some(Fault::Empty) => {
                self.writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\n\r\n")?;
                return Ok(true);
            }
            _ => {}
        }
        self.writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
        let told = if fault == Some(Fault::ZeroTokens) {
            0
        } else {
            tokens
        };
        for token in 0..told {
            self.wait_for(token);
            let half = token == tokens / 2;
            match fault {
                Some(Fault::Cut) if half => return Ok(false),
                #[allow(clippy::exit, reason = "the fault is that the process ends")]
                Some(Fault::Crash) if half => std::process::exit(42),
                Some(Fault::Hang) if token == 1 => std::thread::sleep(Duration::from_hours(1)),
                Some(Fault::ErrorFrame) if half => {
                    self.message(&json!({ "error": { "message": "broken on purpose", "type": "server_error" } }).to_string())?;
                }
                Some(Fault::Garbage) if half => self.message("{\"choices\": [oops")?,
                _ => {}
            }
            self.message(&self.chunk(Some(&format!(" t{token}")), None).to_string())?;
        }
        let reason = if tokens == asked { "length" } else { "stop" };
        if fault != Some(Fault::NoFinish) {
            self.message(&self.chunk(None, Some(reason)).to_string())?;
        }
        let prompt = PROMPT_TOKENS + IMAGE_TOKENS * images;
        let usage = json!({
            "prompt_tokens": prompt, "completion_tokens": told, "total_tokens": prompt + told,
        });
        self.message(&json!({ "model": "truth", "choices": [], "usage": usage }).to_string())?;
        self.message("[DONE]")?;
        self.writer.write_all(b"0\r\n\r\n")?;
        Ok(true)
    }

    /// Sleeps until the token is due, counted from the request: a late token
    /// does not make the next one late.
    fn wait_for(&self, token: u32) {
        let due = self.received
            + self.config.time_to_first_token
            + self.config.inter_token_latency * token;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }

    fn chunk(&self, text: Option<&str>, finish: Option<&str>) -> Value {
        let mut choice = json!({ "index": 0, "finish_reason": finish });
        if self.chat {
            choice["delta"] = text.map_or_else(|| json!({}), |text| json!({ "content": text }));
        } else {
            choice["text"] = json!(text.unwrap_or_default());
        }
        json!({ "model": "truth", "system_fingerprint": "truth-1", "choices": [choice] })
    }

    fn message(&mut self, data: &str) -> std::io::Result<()> {
        let event = format!("data: {data}\n\n");
        write!(self.writer, "{:x}\r\n{event}\r\n", event.len())
    }

    fn refuse(self, status: &str, body: &Value) -> std::io::Result<bool> {
        let body = body.to_string();
        write!(
            self.writer,
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        Ok(true)
    }
}
