//! The loop of a thread: waits for sockets and times, and drives connections.

use crate::Config;
use crate::account::Counters;
use crate::clock::now_ns;
use crate::connection::{Connection, Room, Wait};
use crate::prompt::PrefixCache;
use crate::transport::Transport;
use prony_poll::{Events, Interest, Poller, Waker, exact_timers};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// State shared by all threads.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) cache: PrefixCache,
    /// Requests to the model so far.
    pub(crate) answered: AtomicU32,
    pub(crate) counters: Counters,
    /// `true` if all threads are to end.
    pub(crate) stop: AtomicBool,
    /// By thread number.
    pub(crate) threads: Vec<Thread>,
}

/// Means for other threads to reach a thread.
pub(crate) struct Thread {
    pub(crate) inbox: Mutex<Vec<TcpStream>>,
    pub(crate) waker: Waker,
}

/// Token of the listener; connections have smaller ones.
const LISTENER: u64 = u64::MAX - 1;
/// Length of the queue of clients waiting to be accepted.
const BACKLOG: i32 = 4096;
/// Number of due times handled before the sockets are checked again.
const TIMES: usize = 64;
/// Pause in accepting when there are too many connections.
const PAUSE_NS: u64 = 10_000_000;
/// The log is written when nothing has happened for this long…
const QUIET: Duration = Duration::from_millis(2);
/// …and while nothing is due for that long.
const SPARE_NS: u64 = 1_000_000;

pub(crate) struct EventLoop<'a> {
    shared: &'a Shared,
    thread: usize,
    poller: Poller,
    /// In one thread only, which distributes the connections to all in turn.
    listener: Option<TcpListener>,
    accepted: usize,
    connections: Vec<Slot>,
    free: Vec<u32>,
    /// Time and token, earliest first.
    times: BinaryHeap<Reverse<(u64, u64)>>,
    room: Room,
}

/// A slot for a connection. Tokens hold the slot and its generation, so that events for a
/// closed connection do not reach its successor.
#[derive(Default)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

impl<'a> EventLoop<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        thread: usize,
        poller: Poller,
        listener: Option<TcpListener>,
    ) -> io::Result<Self> {
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
            // The standard library limits the queue to 128 clients, which a simultaneous
            // start exceeds; a second call raises it, where allowed.
            let _ = rustix::net::listen(listener, BACKLOG);
            poller.register(listener.as_fd(), LISTENER, Interest::READ)?;
        }
        Ok(Self {
            shared,
            thread,
            poller,
            listener,
            accepted: 0,
            connections: Vec::new(),
            free: Vec::new(),
            times: BinaryHeap::new(),
            room: Room::new(),
        })
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        exact_timers();
        let mut events = Events::with_capacity(1024);
        while !self.shared.stop.load(Ordering::Acquire) {
            self.pass_times();
            let mut timeout = self.until_due().map(Duration::from_nanos);
            if !self.room.finished.is_empty() {
                timeout = Some(timeout.map_or(QUIET, |timeout| timeout.min(QUIET)));
            }
            self.poller.wait(&mut events, timeout)?;
            let mut quiet = true;
            for event in events.iter() {
                quiet = false;
                if event.token == LISTENER {
                    self.accept();
                } else {
                    self.with(event.token, |connection, shared, room| {
                        if event.closed {
                            return Ok(Some(Wait::Over));
                        }
                        let mut wait = None;
                        if event.writable {
                            wait = Some(connection.advance(shared, room)?);
                        }
                        if event.readable && !matches!(wait, Some(Wait::Over)) {
                            wait = connection.readable(shared, room)?.or(wait);
                        }
                        Ok(wait)
                    });
                }
            }
            self.take_in();
            if quiet {
                self.write_log();
            }
        }
        for slot in &mut self.connections {
            let entry = slot.connection.take().and_then(Connection::unfinished);
            self.room.finished.extend(entry);
        }
        for entry in self.room.finished.drain(..) {
            self.shared.config.log.keep(entry);
        }
        Ok(())
    }

    /// Nanoseconds until something is due.
    fn until_due(&self) -> Option<u64> {
        let Reverse((due, _)) = self.times.peek()?;
        Some(due.saturating_sub(now_ns()))
    }

    fn pass_times(&mut self) {
        let mut now = now_ns();
        for _ in 0..TIMES {
            let Some(Reverse((due, token))) = self.times.peek().copied() else {
                return;
            };
            if due > now {
                now = now_ns();
                if due > now {
                    return;
                }
            }
            self.times.pop();
            if token == LISTENER {
                self.listen(Interest::READ);
            } else {
                self.with(token, |connection, shared, room| {
                    connection.advance(shared, room).map(Some)
                });
            }
        }
    }

    /// Lets a connection act, and registers what it then waits for.
    fn with(
        &mut self,
        token: u64,
        act: impl FnOnce(&mut Connection, &Shared, &mut Room) -> io::Result<Option<Wait>>,
    ) {
        let (index, generation) = (token as u32, (token >> 32) as u32);
        let Some(slot) = self.connections.get_mut(index as usize) else {
            return;
        };
        let Some(connection) = slot
            .connection
            .as_mut()
            .filter(|_| slot.generation == generation)
        else {
            return;
        };
        // A client that disconnects ends only its connection.
        let wait = act(connection, self.shared, &mut self.room).unwrap_or(Some(Wait::Over));
        match wait {
            Some(Wait::Over) => return self.close(index),
            Some(Wait::Until(due)) => self.times.push(Reverse((due, token))),
            Some(Wait::Socket) | None => {}
        }
        let wanted = connection.wanted();
        if wanted != connection.interest {
            connection.interest = wanted;
            let stream = connection.transport.stream.as_fd();
            if self.poller.modify(stream, token, wanted).is_err() {
                self.close(index);
            }
        }
    }

    fn close(&mut self, index: u32) {
        let slot = &mut self.connections[index as usize];
        slot.generation = slot.generation.wrapping_add(1) & (u32::MAX >> 1);
        // Dropping the stream closes it, which removes it from the poller.
        let entry = slot.connection.take().and_then(Connection::unfinished);
        self.room.finished.extend(entry);
        self.free.push(index);
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        match listener.accept() {
            Ok((stream, _)) => {
                let thread = self.accepted % self.shared.threads.len();
                self.accepted = self.accepted.wrapping_add(1);
                if thread == self.thread {
                    self.begin(stream);
                } else {
                    let thread = &self.shared.threads[thread];
                    let inbox = thread.inbox.lock();
                    inbox.unwrap_or_else(PoisonError::into_inner).push(stream);
                    let _ = thread.waker.wake();
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionAborted
                ) => {}
            Err(_) => {
                // Too many open files, most likely. The listener would be reported again
                // and again.
                self.listen(Interest::default());
                self.times.push(Reverse((now_ns() + PAUSE_NS, LISTENER)));
            }
        }
    }

    fn listen(&self, interest: Interest) {
        if let Some(listener) = &self.listener {
            let _ = self.poller.modify(listener.as_fd(), LISTENER, interest);
        }
    }

    fn take_in(&mut self) {
        let inbox = &self.shared.threads[self.thread].inbox;
        let streams = std::mem::take(&mut *inbox.lock().unwrap_or_else(PoisonError::into_inner));
        for stream in streams {
            self.begin(stream);
        }
    }

    fn begin(&mut self, stream: TcpStream) {
        let tls = self.shared.config.tls.as_ref().map(|tls| &tls.config);
        let Ok(transport) = Transport::new(stream, tls) else {
            return;
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(Slot::default());
            self.connections.len() as u32 - 1
        });
        let slot = &mut self.connections[index as usize];
        let token = u64::from(slot.generation) << 32 | u64::from(index);
        let stream = transport.stream.as_fd();
        if self.poller.register(stream, token, Interest::READ).is_ok() {
            slot.connection = Some(Connection::new(transport));
        } else {
            self.free.push(index);
        }
    }

    /// Writes the log as long as that delays nothing.
    fn write_log(&mut self) {
        let mut written = 0;
        while written < self.room.finished.len()
            && self.until_due().is_none_or(|until| until > SPARE_NS)
        {
            // Written in order, so that the lines are.
            let entry = std::mem::take(&mut self.room.finished[written]);
            self.shared.config.log.keep(entry);
            written += 1;
        }
        self.room.finished.drain(..written);
    }
}
