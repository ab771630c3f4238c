//! Linux.

use crate::{Interest, WAKER};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use epoll::Event;

pub(crate) fn read(event: &Event) -> Option<crate::Event> {
    let token = event.data.u64();
    let flags = event.flags;
    let closed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
    (token != WAKER).then_some(crate::Event {
        token,
        readable: flags.contains(EventFlags::IN),
        writable: flags.contains(EventFlags::OUT),
        closed,
    })
}

pub(crate) struct Poller {
    epoll: OwnedFd,
    waker: Arc<OwnedFd>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &waker, EventData::new_u64(WAKER), EventFlags::IN)?;
        let waker = Arc::new(waker);
        Ok(Self { epoll, waker })
    }

    pub(crate) fn register(
        &self,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let data = EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, fd, data, flags(interest))?)
    }

    pub(crate) fn modify(
        &self,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let data = EventData::new_u64(token);
        Ok(epoll::modify(&self.epoll, fd, data, flags(interest))?)
    }

    pub(crate) fn deregister(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    pub(crate) fn wait(
        &self,
        events: &mut Vec<Event>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        // An unrepresentable timeout means none.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref())?;
        if events.iter().any(|event| event.data.u64() == WAKER) {
            // Emptied here, so that nobody else has to know of it.
            let _ = rustix::io::read(self.waker.as_fd(), &mut [0; 8]);
        }
        Ok(())
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker(self.waker.clone())
    }
}

#[derive(Clone)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(crate) fn wake(&self) -> io::Result<()> {
        match rustix::io::write(self.0.as_fd(), &1_u64.to_ne_bytes()) {
            // The counter is full: the wait ends anyway.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn flags(interest: Interest) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, interest.read);
    flags.set(EventFlags::OUT, interest.write);
    flags
}
