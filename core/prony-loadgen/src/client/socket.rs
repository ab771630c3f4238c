//! A connection's socket, with arrival stamps.
//!
//! On Linux the kernel stamps every segment when it takes it from the network
//! (`SO_TIMESTAMPNS`, see socket(7)), so it does not matter how late a busy client gets
//! round to reading. Elsewhere, and where the kernel's stamp is implausible, the stamp is
//! taken right after the read.

use crate::clock::now_ns;
#[cfg(target_os = "linux")]
use crate::clock::{WallClock, nanoseconds};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrived {
    /// Number of bytes; 0 at the end.
    pub(super) count: usize,
    /// Arrival time of the last byte.
    pub(super) at_ns: u64,
    /// Time of the read's end.
    pub(super) read_ns: u64,
    /// `true` if the kernel made the stamp.
    pub(super) by_kernel: bool,
}

/// Stamps reads. One per thread.
#[derive(Debug)]
pub(super) struct Stamper {
    #[cfg(target_os = "linux")]
    clock: WallClock,
    #[cfg(target_os = "linux")]
    control: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Socket {
    /// Starts connecting. The socket becomes writable when it has connected, or failed.
    pub(super) fn connect(to: &SocketAddr) -> io::Result<Self> {
        let family = match to {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        #[cfg(target_os = "linux")]
        let socket = rustix::net::socket_with(
            family,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            Some(ipproto::TCP),
        )?;
        #[cfg(not(target_os = "linux"))]
        let socket = {
            let none = SocketFlags::empty();
            let socket =
                rustix::net::socket_with(family, SocketType::STREAM, none, Some(ipproto::TCP))?;
            rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&socket, true)?;
            // Writing to a closed connection must give an error, not a signal.
            sockopt::set_socket_nosigpipe(&socket, true)?;
            socket
        };
        sockopt::set_tcp_nodelay(&socket, true)?;
        #[cfg(target_os = "linux")]
        {
            use nix::sys::socket::{setsockopt, sockopt::ReceiveTimestampns};
            // Without it, the stamp is taken after the read.
            let _ = setsockopt(&socket, ReceiveTimestampns, &true);
        }
        match rustix::net::connect(&socket, to) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Self(socket)),
            Err(error) => Err(error.into()),
        }
    }

    /// Result of connecting, once it has ended.
    pub(super) fn connected(&self) -> io::Result<()> {
        Ok(sockopt::socket_error(&self.0)??)
    }

    /// Writes as much as there is room for.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        let flags = rustix::net::SendFlags::NOSIGNAL;
        #[cfg(not(target_os = "linux"))]
        let flags = rustix::net::SendFlags::empty();
        Ok(rustix::net::send(&self.0, bytes, flags)?)
    }

    /// Reads what has arrived, `WouldBlock` if nothing has.
    pub(super) fn read(&self, into: &mut [u8], stamper: &mut Stamper) -> io::Result<Arrived> {
        stamper.read(self, into)
    }
}

#[cfg(target_os = "linux")]
impl Stamper {
    pub(super) fn new() -> Self {
        Self {
            clock: WallClock::new(),
            control: nix::cmsg_space!(nix::sys::time::TimeSpec),
        }
    }

    /// Must be called after each wait.
    pub(super) fn refresh(&mut self) {
        self.clock.refresh();
    }

    fn read(&mut self, socket: &Socket, into: &mut [u8]) -> io::Result<Arrived> {
        use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
        use std::os::fd::AsRawFd as _;
        /// Accuracy of the comparison of the two clocks.
        const APART_NS: u64 = 100_000;
        /// An older stamp shows that a clock was set.
        const OLDEST_NS: u64 = 10_000_000_000;
        let mut parts = [io::IoSliceMut::new(into)];
        let control = Some(&mut self.control[..]);
        let fd = socket.0.as_raw_fd();
        let message = recvmsg::<()>(fd, &mut parts, control, MsgFlags::empty())?;
        let read_ns = now_ns();
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => {
                let wall_ns = nanoseconds(at.tv_sec() as u64, at.tv_nsec() as u64);
                let at_ns = self.clock.monotonic_ns(wall_ns);
                (read_ns.saturating_sub(OLDEST_NS)..=read_ns + APART_NS)
                    .contains(&at_ns)
                    .then_some(at_ns.min(read_ns))
            }
            _ => None,
        });
        Ok(Arrived {
            count: message.bytes,
            at_ns: stamp.unwrap_or(read_ns),
            read_ns,
            by_kernel: stamp.is_some(),
        })
    }
}

#[cfg(not(target_os = "linux"))]
impl Stamper {
    pub(super) fn new() -> Self {
        Self {}
    }

    /// Must be called after each wait.
    pub(super) fn refresh(&mut self) {}

    fn read(&mut self, socket: &Socket, into: &mut [u8]) -> io::Result<Arrived> {
        let (count, _) = rustix::net::recv(&socket.0, into, rustix::net::RecvFlags::empty())?;
        let read_ns = now_ns();
        Ok(Arrived {
            count,
            at_ns: read_ns,
            read_ns,
            by_kernel: false,
        })
    }
}
