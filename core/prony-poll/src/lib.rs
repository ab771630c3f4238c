//! Waits for thousands of sockets and, to the nanosecond, for a time: `epoll` on
//! Linux, `kqueue` on macOS.
//!
//! It is a crate of its own because both ends of a measurement need it, and because
//! those that exist do something else. On Linux, `mio` (and tokio on top of it) rounds
//! timeouts up to whole milliseconds, which is longer than many gaps between tokens.
//! `polling` is exact, but sets a timer descriptor and registers it anew in every wait:
//! two system calls more, between any two tokens. `epoll_pwait2` takes nanoseconds.
//!
//! How late a wait ends is then up to the kernel: call [`exact_timers`] first.

#[cfg(target_os = "linux")]
#[path = "epoll.rs"]
mod system;
#[cfg(target_vendor = "apple")]
#[path = "kqueue.rs"]
mod system;
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
compile_error!("prony waits by `epoll` or by `kqueue`");

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What to wait for at a descriptor. With neither, only its end is told, and that on
/// Linux alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    /// There is something to read, or an end.
    pub read: bool,
    /// There is room for writing.
    pub write: bool,
}

impl Interest {
    /// Reading only.
    pub const READ: Self = Self {
        read: true,
        write: false,
    };
    /// Writing only.
    pub const WRITE: Self = Self {
        read: false,
        write: true,
    };
}

/// What happened at a descriptor. On macOS reading and writing may be told apart, in
/// two events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The number under which the descriptor was registered.
    pub token: u64,
    /// Reading brings bytes, an end or an error.
    pub readable: bool,
    /// Writing takes bytes, or brings an error.
    pub writable: bool,
    /// There is an error, or the other side is gone in both directions.
    pub closed: bool,
}

/// Room for what happens during one wait; to be used again and again.
pub struct Events {
    raw: Vec<system::Event>,
}

impl Events {
    /// For as many as `capacity` (at least 1) events in one wait; further ones come with
    /// the next.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            raw: Vec::with_capacity(capacity.max(1)),
        }
    }

    /// Whether the last wait brought as many as there is room for: there may be more.
    pub fn is_full(&self) -> bool {
        self.raw.len() == self.raw.capacity()
    }

    /// What happened during the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Event> {
        self.raw.iter().filter_map(system::read)
    }
}

/// Waits for descriptors and times. Level-triggered: what was not dealt with is told
/// again by the next wait. A descriptor that is closed is no longer waited for.
pub struct Poller {
    system: system::Poller,
}

impl Poller {
    /// One that waits for nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            system: system::Poller::new()?,
        })
    }

    /// Begins to wait for `fd`, whose events will bear `token` (any but `u64::MAX`).
    pub fn register(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        debug_assert_ne!(token, WAKER);
        self.system.register(fd, token, interest)
    }

    /// Waits for something else at `fd`, which is registered.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        debug_assert_ne!(token, WAKER);
        self.system.modify(fd, token, interest)
    }

    /// Ends waiting for `fd`, which is registered.
    pub fn deregister(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.system.deregister(fd)
    }

    /// Waits until something happens, a waker is used, a signal comes, or `timeout` has
    /// passed (never, if there is none), whichever is first. One system call.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.raw.clear();
        match self.system.wait(&mut events.raw, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            waited => waited,
        }
    }

    /// Something by which another thread ends a wait, this one or the next.
    pub fn waker(&self) -> Waker {
        Waker(self.system.waker())
    }
}

/// Ends a wait of the [`Poller`] it comes from.
#[derive(Clone)]
pub struct Waker(system::Waker);

impl Waker {
    /// Does so. Several calls before a wait end only one.
    pub fn wake(&self) -> io::Result<()> {
        self.0.wake()
    }
}

/// The token of wakers.
const WAKER: u64 = u64::MAX;

/// Makes the waits of this thread end as soon after their time as the kernel can. On
/// Linux they may otherwise end 50 µs late, so that they can be put together; macOS does
/// that only to processes in the background.
pub fn exact_timers() {
    // A kernel that refuses leaves the waits what they were: late, never wrong.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

/// Lets this process open as many files and sockets as the system allows it, and tells
/// how many that is (`None`: any number).
pub fn raise_open_files() -> Option<u64> {
    // What macOS takes at most when the limit is said to be none (`OPEN_MAX`).
    const ENOUGH: u64 = 10_240;
    let limit = getrlimit(Resource::Nofile);
    for current in [limit.maximum, Some(ENOUGH)] {
        let raised = Rlimit { current, ..limit };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return current;
        }
    }
    limit.current
}
