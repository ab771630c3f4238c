//! One client.

use crate::MODEL;
use crate::account;
use crate::answer::Answer;
use crate::clock::now_ns;
use crate::event_loop::Shared;
use crate::log::Entry;
use crate::request;
use crate::stream::Then;
use crate::transport::Transport;
use prony_poll::Interest;
use serde_json::json;
use std::io;
use std::sync::atomic::Ordering;

/// State of a connection: the event it waits for.
pub(crate) enum Wait {
    /// A request, or for the client to take more.
    Socket,
    /// A time.
    Until(u64),
    /// Nothing: it is over.
    Over,
}

pub(crate) struct Connection {
    pub(crate) transport: Transport,
    /// Events asked of the poller.
    pub(crate) interest: Interest,
    input: Vec<u8>,
    answer: Option<Answer>,
    /// Action that follows the last write.
    then: Then,
    /// The client sends nothing any more. It still gets its answers.
    ended: bool,
    /// The client does not take what it was sent yet.
    blocked: bool,
}

/// Requests that are larger, images included, are not read.
const MAX_INPUT: usize = 256 << 20;

impl Connection {
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            transport,
            interest: Interest::READ,
            input: Vec::new(),
            answer: None,
            then: Then::More,
            ended: false,
            blocked: false,
        }
    }

    pub(crate) fn wanted(&self) -> Interest {
        Interest {
            read: !self.ended,
            write: self.blocked,
        }
    }

    /// Reads once. `None`: there is nothing to do about it now.
    pub(crate) fn readable(
        &mut self,
        shared: &Shared,
        room: &mut Room,
    ) -> io::Result<Option<Wait>> {
        let more = self.transport.read(&mut room.read, &mut self.input)?;
        self.ended = !more || self.input.len() > MAX_INPUT;
        if self.then == Then::Hang && self.ended {
            return Ok(Some(Wait::Over));
        }
        if self.answer.is_some() && !self.blocked {
            return Ok(None);
        }
        self.advance(shared, room).map(Some)
    }

    /// Does what can be done now, but at most one write of an answer: which connection
    /// is next is decided by what is due first.
    pub(crate) fn advance(&mut self, shared: &Shared, room: &mut Room) -> io::Result<Wait> {
        self.blocked = !self.transport.flush()?;
        let mut written = false;
        loop {
            if self.blocked {
                return Ok(Wait::Socket);
            }
            match self.then {
                Then::More => {}
                Then::Next => self.finish(room),
                Then::Close => {
                    self.finish(room);
                    self.transport.end();
                    return Ok(Wait::Over);
                }
                Then::Cut => return Ok(Wait::Over),
                Then::Reset => {
                    self.transport.reset();
                    return Ok(Wait::Over);
                }
                Then::Hang if self.ended => return Ok(Wait::Over),
                Then::Hang => return Ok(Wait::Socket),
                #[allow(clippy::exit, reason = "the fault is that the process ends")]
                Then::Crash => std::process::exit(42),
            }
            let answer = match &mut self.answer {
                Some(answer) => answer,
                None => match self.next_answer(shared) {
                    Some(answer) => self.answer.insert(answer),
                    None if self.ended => return Ok(Wait::Over),
                    None => return Ok(Wait::Socket),
                },
            };
            let due = answer.due();
            if written || due > now_ns() {
                return Ok(Wait::Until(due));
            }
            room.write.clear();
            let (tokens, then) = answer.render(&mut room.write);
            self.then = then;
            if !room.write.is_empty() {
                written = true;
                let (stamp, sent) = self.transport.send(&room.write)?;
                self.blocked = !sent;
                if let Some(entry) = &mut answer.entry {
                    entry.writes_ns.push(stamp);
                    entry.intended_ns.push(due);
                    entry.tokens_per_write.push(tokens);
                }
            }
        }
    }

    fn finish(&mut self, room: &mut Room) {
        self.then = Then::More;
        if let Some(mut entry) = self.answer.take().and_then(|answer| answer.entry) {
            entry.complete = true;
            room.finished.push(entry);
        }
    }

    /// Log entry of an answer that is not finished.
    pub(crate) fn unfinished(self) -> Option<Entry> {
        self.answer.and_then(|answer| answer.entry)
    }

    /// The answer to the next request, if there is one.
    fn next_answer(&mut self, shared: &Shared) -> Option<Answer> {
        let received = now_ns();
        let request = match request::take(&mut self.input) {
            Ok(request) => request?,
            Err(message) => {
                self.input.clear();
                let error = json!({ "error": { "message": message } }).to_string();
                return Some(Answer::plain("400 Bad Request", &error, true, received));
            }
        };
        if let Some(recording) = &shared.config.recording {
            let number = shared.answered.fetch_add(1, Ordering::Relaxed);
            return Some(Answer::played(
                &request,
                number,
                received,
                recording,
                &shared.config,
            ));
        }
        let path = request.path.split('?').next().unwrap_or_default();
        Some(if path == "/v1/models" {
            let model =
                json!({ "id": MODEL, "object": "model", "created": 0, "owned_by": "prony" });
            let models = json!({ "object": "list", "data": [model] }).to_string();
            Answer::plain("200 OK", &models, request.close, received)
        } else if path.starts_with("/v1/") {
            let number = shared.answered.fetch_add(1, Ordering::Relaxed);
            let answer =
                Answer::of_model(&request, number, received, &shared.config, &shared.cache);
            if let Some(spent) = answer.spent {
                shared.counters.count(spent);
            }
            answer
        } else if path == "/props" {
            let settings = account::settings(&shared.config);
            Answer::plain("200 OK", &settings, request.close, received)
        } else if path == "/metrics" {
            let counters = shared.counters.text(&shared.config);
            Answer::plain("200 OK", &counters, request.close, received)
        } else {
            Answer::plain("200 OK", "ok", request.close, received)
        })
    }
}

/// Buffers and state used in turn by the connections of a thread.
pub(crate) struct Room {
    read: Vec<u8>,
    write: Vec<u8>,
    /// Entries for the log.
    pub(crate) finished: Vec<Entry>,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self {
            read: vec![0; 64 << 10],
            write: Vec::with_capacity(128 << 10),
            finished: Vec::new(),
        }
    }
}
