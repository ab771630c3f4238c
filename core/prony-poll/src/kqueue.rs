//! macOS.

use crate::{Interest, WAKER};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::kqueue::{
    EventFilter, EventFlags, UserDefinedFlags, UserFlags, kevent_timespec, kqueue,
};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use rustix::event::kqueue::Event;

pub(crate) fn read(event: &Event) -> Option<crate::Event> {
    let token = event.udata().addr() as u64;
    let (readable, writable) = match event.filter() {
        EventFilter::Read(_) => (true, false),
        EventFilter::Write(_) => (false, true),
        _ => return None,
    };
    // A half-closed connection is found by reading; one that accepts no more writes is
    // closed.
    let ended = writable && event.flags().contains(EventFlags::EOF);
    Some(crate::Event {
        token,
        readable,
        writable,
        closed: ended || event.flags().contains(EventFlags::ERROR),
    })
}

pub(crate) struct Poller {
    queue: Arc<OwnedFd>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let queue = kqueue()?;
        rustix::io::fcntl_setfd(&queue, rustix::io::FdFlags::CLOEXEC)?;
        change(
            &queue,
            user(UserFlags::empty(), EventFlags::ADD | EventFlags::CLEAR),
        )?;
        let queue = Arc::new(queue);
        Ok(Self { queue })
    }

    pub(crate) fn register(
        &self,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        self.modify(fd, token, interest)
    }

    pub(crate) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        for (filter, wanted) in [
            (EventFilter::Read(fd), interest.read),
            (EventFilter::Write(fd), interest.write),
        ] {
            let flags = if wanted {
                EventFlags::ADD
            } else {
                EventFlags::DELETE
            };
            match change(&self.queue, Event::new(filter, flags, udata(token))) {
                Err(Errno::NOENT) if !wanted => {}
                changed => changed?,
            }
        }
        Ok(())
    }

    pub(crate) fn deregister(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.modify(fd, 0, Interest::default())
    }

    pub(crate) fn wait(
        &self,
        events: &mut Vec<Event>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        // An unrepresentable timeout means none.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // SAFETY: nothing is registered by this call.
        unsafe { kevent_timespec(&*self.queue, &[], spare_capacity(events), timeout.as_ref())? };
        Ok(())
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker(self.queue.clone())
    }
}

#[derive(Clone)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(crate) fn wake(&self) -> io::Result<()> {
        Ok(change(
            &self.0,
            user(UserFlags::TRIGGER, EventFlags::empty()),
        )?)
    }
}

fn user(user_flags: UserFlags, flags: EventFlags) -> Event {
    let filter = EventFilter::User {
        ident: 0,
        flags: user_flags,
        user_flags: UserDefinedFlags::new(0),
    };
    Event::new(filter, flags, udata(WAKER))
}

fn udata(token: u64) -> *mut std::ffi::c_void {
    std::ptr::without_provenance_mut(token as usize)
}

fn change(queue: &OwnedFd, event: Event) -> Result<(), Errno> {
    let none: &mut [Event] = &mut [];
    // SAFETY: the descriptor is open now, being borrowed. When it is closed, the kernel
    // takes it out of the queue; its number, which may then be used again, is only ever
    // compared, never used as a descriptor.
    unsafe { kevent_timespec(queue, &[event], none, Some(&Timespec::default()))? };
    Ok(())
}
