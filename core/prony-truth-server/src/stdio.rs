//! The truth server over standard input and output: JSON-RPC 2.0, one message a line.
//!
//! `generate` is answered at once; tokens follow as notifications `stream.chunk`, each at
//! its time and with the time of its writing (`written_ns`, of the monotonic clock), then
//! `stream.stats` and `stream.event`. Several streams can be in progress at the same
//! time.

use crate::clock::now_ns;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, BufRead, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdioFault {
    /// A line that is not JSON, and one of an unknown stream, in the middle of the
    /// answer.
    Garbage,
    /// `generate` is refused.
    Refuse,
    /// The stream ends with an error.
    Error,
    /// The process ends in the middle of the answer, in the middle of a line.
    Exit,
    /// The answer stops in the middle.
    Stall,
    /// The model cannot be loaded.
    Load,
}

impl StdioFault {
    /// All faults.
    pub const ALL: [Self; 6] = [
        Self::Garbage,
        Self::Refuse,
        Self::Error,
        Self::Exit,
        Self::Stall,
        Self::Load,
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Refuse => "refuse",
            Self::Error => "error",
            Self::Exit => "exit",
            Self::Stall => "stall",
            Self::Load => "load",
        }
    }
}

/// Behaviour of the engine.
#[derive(Debug, Clone)]
pub struct StdioConfig {
    /// Tokens per answer, unless the request asks for fewer.
    pub tokens: u32,
    /// Time from the request to the first token.
    pub time_to_first_token: Duration,
    /// Time from token to token.
    pub inter_token_latency: Duration,
    /// Tokens per line (at least 1), due with the last of them.
    pub batch: u32,
    /// The fault, if any.
    pub fault: Option<StdioFault>,
    /// The first request (from 0) with the fault.
    pub fault_from: u32,
}

struct Stream {
    id: Value,
    fault: Option<StdioFault>,
    tokens: u32,
    sent: u32,
    received_ns: u64,
}

/// Serves `input` until it ends or `shutdown` comes.
pub fn serve_stdio(
    input: impl BufRead + Send + 'static,
    mut output: impl Write,
    config: &StdioConfig,
) -> io::Result<()> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in input.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    prony_poll::exact_timers();
    let mut streams: Vec<Stream> = Vec::new();
    let mut due: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut say = |value: Value| -> io::Result<()> {
        let mut line = value.to_string();
        line.push('\n');
        output.write_all(line.as_bytes())?;
        output.flush()
    };
    loop {
        let wait = due.peek().map(|next| next.0.0.saturating_sub(now_ns()));
        let line = match wait {
            Some(0) => None,
            Some(ns) => match lines.recv_timeout(Duration::from_nanos(ns)) {
                Ok(line) => Some(line),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            },
            None => match lines.recv() {
                Ok(line) => Some(line),
                Err(_) => return Ok(()),
            },
        };
        if let Some(line) = line {
            let call: Value = serde_json::from_str(&line).unwrap_or_default();
            let (id, params) = (&call["id"], &call["params"]);
            let result = |result: Value| json!({ "jsonrpc": "2.0", "id": id, "result": result });
            let refusal = |code: i32, message: &str| json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } });
            match call["method"].as_str() {
                Some("load_model") if config.fault == Some(StdioFault::Load) => {
                    say(refusal(-32001, "told not to load"))?;
                }
                Some("load_model") => say(result(json!({ "state": "ready" })))?,
                Some("unload_model") => say(result(json!({ "success": true })))?,
                Some("shutdown") => return say(result(json!({ "success": true }))),
                Some("generate") => {
                    let number = streams.len() as u32;
                    let fault = config.fault.filter(|_| number >= config.fault_from);
                    let limit = params["max_tokens"].as_u64().unwrap_or(u64::MAX);
                    let received_ns = now_ns();
                    let stream = Stream {
                        id: params["stream_id"].clone(),
                        fault,
                        tokens: config.tokens.min(limit.try_into().unwrap_or(u32::MAX)),
                        sent: 0,
                        received_ns,
                    };
                    if fault == Some(StdioFault::Refuse) {
                        say(refusal(-32002, "told to refuse"))?;
                    } else {
                        say(result(json!({ "stream_id": stream.id })))?;
                        due.push(Reverse((next(config, &stream), streams.len())));
                    }
                    streams.push(stream);
                }
                _ => say(refusal(-32602, "Unknown method"))?,
            }
        } else if let Some(Reverse((_, index))) = due.pop() {
            let stream = &mut streams[index];
            let id = stream.id.clone();
            if stream.sent >= stream.tokens / 2 {
                match stream.fault.take() {
                    Some(StdioFault::Garbage) => {
                        say(json!("no object"))?;
                        say(json!({ "params": { "stream_id": "nobody's" } }))?;
                    }
                    Some(StdioFault::Error) => {
                        say(event(
                            json!({ "stream_id": id, "event": "error", "error": "told to fail" }),
                        ))?;
                        continue;
                    }
                    Some(StdioFault::Stall) => continue,
                    Some(StdioFault::Exit) => {
                        return output
                            .write_all(b"{\"jsonrpc\":")
                            .and_then(|()| output.flush());
                    }
                    _ => {}
                }
            }
            let count = config.batch.max(1).min(stream.tokens - stream.sent);
            let token = |n: u32| json!({ "stream_id": id, "token": format!(" t{n}"), "written_ns": now_ns() });
            let batch: Vec<Value> = (stream.sent..stream.sent + count).map(token).collect();
            stream.sent += count;
            let params = if config.batch > 1 {
                json!({ "stream_id": id, "tokens": batch, "batch_size": count, "is_batch": true })
            } else {
                batch.into_iter().next().unwrap_or_default()
            };
            say(json!({ "jsonrpc": "2.0", "method": "stream.chunk", "params": params }))?;
            if stream.sent < stream.tokens {
                due.push(Reverse((next(config, stream), index)));
            } else {
                let stats = json!({ "stream_id": id, "tokens_generated": stream.tokens });
                say(json!({ "jsonrpc": "2.0", "method": "stream.stats", "params": stats }))?;
                say(event(
                    json!({ "stream_id": id, "event": "completed", "finish_reason": "completed" }),
                ))?;
            }
        }
    }
}

fn event(params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": "stream.event", "params": params })
}

/// Due time of a stream's next line: counted from the request, so that a late one does
/// not delay those after it.
fn next(config: &StdioConfig, stream: &Stream) -> u64 {
    let last = (stream.sent + config.batch.max(1))
        .min(stream.tokens)
        .max(1)
        - 1;
    let gaps = config.inter_token_latency.as_nanos() as u64 * u64::from(last);
    stream.received_ns + config.time_to_first_token.as_nanos() as u64 + gaps
}
