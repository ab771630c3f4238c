//! Waits for thousands of sockets and, to the nanosecond, for a time: `epoll` on Linux,
//! `kqueue` on macOS.
//!
//! It is a separate crate because both ends of a measurement need it, and because
//! existing ones do something else. On Linux, `mio` (and tokio on top of it) rounds
//! timeouts up to whole milliseconds, which is longer than many gaps between tokens.
//! `polling` is exact, but sets a timer descriptor and registers it anew in every wait:
//! two more system calls between any two tokens. `epoll_pwait2` takes nanoseconds.
//!
//! The kernel then determines how late a wait ends: call [`exact_timers`] first.

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

/// Events to wait for at a descriptor. With neither, only its end is reported, and only
/// on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    /// `true` to wait for bytes to read, or an end.
    pub read: bool,
    /// `true` to wait for room to write.
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

/// An event at a descriptor. On macOS reading and writing may come as two events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The number under which the descriptor was registered.
    pub token: u64,
    /// `true` if reading gives bytes, an end or an error.
    pub readable: bool,
    /// `true` if writing accepts bytes, or gives an error.
    pub writable: bool,
    /// `true` after an error, or if the other side is gone in both directions.
    pub closed: bool,
}

/// Buffer for the events of one wait; reusable.
pub struct Events {
    raw: Vec<system::Event>,
}

impl Events {
    /// Room for `capacity` (at least 1) events per wait; further ones come with the next.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            raw: Vec::with_capacity(capacity.max(1)),
        }
    }

    /// Returns `true` if the last wait filled the buffer: there may be more events.
    pub fn is_full(&self) -> bool {
        self.raw.len() == self.raw.capacity()
    }

    /// The number of events of the last wait.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Returns `true` if the last wait had no event.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The events of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Event> {
        self.raw.iter().filter_map(system::read)
    }
}

/// Waits for descriptors and times. Level-triggered: an unhandled event is reported again
/// by the next wait. A closed descriptor is no longer waited for.
pub struct Poller {
    system: system::Poller,
}

impl Poller {
    /// A poller without descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            system: system::Poller::new()?,
        })
    }

    /// Starts waiting for `fd`, whose events carry `token` (any but `u64::MAX`).
    pub fn register(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        debug_assert_ne!(token, WAKER);
        self.system.register(fd, token, interest)
    }

    /// Changes the interest in `fd`, which is registered.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        debug_assert_ne!(token, WAKER);
        self.system.modify(fd, token, interest)
    }

    /// Stops waiting for `fd`, which is registered.
    pub fn deregister(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.system.deregister(fd)
    }

    /// Waits for an event, a waker, a signal, or the end of `timeout` (`None`: never),
    /// whichever comes first. One system call.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.raw.clear();
        match self.system.wait(&mut events.raw, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            waited => waited,
        }
    }

    /// A waker with which another thread ends a wait, this one or the next.
    pub fn waker(&self) -> Waker {
        Waker(self.system.waker())
    }
}

/// Ends a wait of the [`Poller`] it comes from.
#[derive(Clone)]
pub struct Waker(system::Waker);

impl Waker {
    /// Ends the wait. Several calls before a wait end only one.
    pub fn wake(&self) -> io::Result<()> {
        self.0.wake()
    }
}

/// The token of wakers.
const WAKER: u64 = u64::MAX;

/// Makes the waits of this thread end as soon after their time as the kernel can. On
/// Linux they may otherwise end 50 µs late, so that the kernel can batch them; macOS does
/// that only to background processes.
pub fn exact_timers() {
    // If the kernel refuses, waits remain as before: late, never wrong.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

/// Raises this process's limit of open files and sockets to the system's maximum. Returns
/// the limit; `None` for any number.
pub fn raise_open_files() -> Option<u64> {
    // The maximum accepted by macOS if the limit is unlimited (`OPEN_MAX`).
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
