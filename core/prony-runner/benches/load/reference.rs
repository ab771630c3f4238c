//! A plain client to compare with: one thread, sockets without anything around them, the
//! kernel's stamps where there are any, bytes kept, and the lightest decoding there is,
//! looking for the ends of events. It knows nothing of HTTP but how these answers end.

use crate::case::{Case, Seen, cpu_ns};
use prony_loadgen::client::settling_time;
use prony_loadgen::clock::now_ns;
use prony_poll::{Events, Interest, Poller};
use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;

struct Stream {
    socket: TcpStream,
    request: Vec<u8>,
    left: u32,
    /// Time at which the request in progress was sent.
    sent_ns: u64,
    bytes: Vec<u8>,
    /// For each read, where it ends and its stamp.
    reads: Vec<(usize, u64)>,
    events: u64,
}

/// The answers; wall-clock and CPU time.
pub(crate) fn run(case: &Case, url: &str) -> (Vec<Seen>, u64, u64) {
    let address = url.trim_start_matches("http://");
    prony_poll::raise_open_files();
    prony_poll::exact_timers();
    let poller = Poller::new().unwrap();
    let mut streams: Vec<Stream> = (0..case.streams)
        .map(|index| {
            let socket = TcpStream::connect(address).unwrap();
            socket.set_nodelay(true).unwrap();
            socket.set_nonblocking(true).unwrap();
            stamp(&socket);
            poller
                .register(socket.as_fd(), u64::from(index), Interest::READ)
                .unwrap();
            Stream {
                socket,
                request: request(case, address, index),
                left: case.answers,
                sent_ns: 0,
                bytes: Vec::new(),
                reads: Vec::new(),
                events: 0,
            }
        })
        .collect();
    std::thread::sleep(settling_time(case.streams));
    let (began, cpu) = (now_ns(), cpu_ns());
    for stream in &mut streams {
        stream.sent_ns = now_ns();
        stream.socket.write_all(&stream.request).unwrap();
    }
    let mut events = Events::with_capacity(1024);
    let mut room = vec![0; 64 << 10];
    let mut control = control();
    let mut seen = Vec::new();
    let mut open = streams.len();
    while open > 0 {
        poller.wait(&mut events, None).unwrap();
        let ahead = ahead();
        for event in events.iter() {
            let stream = &mut streams[event.token as usize];
            let (count, at_ns) = match read(&stream.socket, &mut room, &mut control, ahead) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{error}"),
            };
            assert!(count > 0);
            let bytes = &room[..count];
            stream.bytes.extend_from_slice(bytes);
            stream.reads.push((stream.bytes.len(), at_ns));
            stream.events += memchr::memmem::find_iter(bytes, b"\n\n").count() as u64;
            if bytes.ends_with(b"\r\n0\r\n\r\n") {
                seen.push(Seen {
                    bytes: std::mem::take(&mut stream.bytes),
                    reads: std::mem::take(&mut stream.reads),
                    stream: event.token as u32,
                    sent_ns: stream.sent_ns,
                });
                assert!(stream.events >= u64::from(case.tokens));
                stream.left -= 1;
                if stream.left == 0 {
                    open -= 1;
                } else {
                    stream.sent_ns = now_ns();
                    stream.socket.write_all(&stream.request).unwrap();
                }
            }
        }
    }
    (seen, now_ns() - began, cpu_ns() - cpu)
}

fn request(case: &Case, address: &str, stream: u32) -> Vec<u8> {
    let request = case.request(stream);
    let mut head = format!("POST {} HTTP/1.1\r\nhost: {address}\r\n", request.path);
    for header in &request.headers {
        for part in [&header.name, ": ", &header.value, "\r\n"] {
            head.push_str(part);
        }
    }
    let length = request.body.len();
    let mut bytes = format!("{head}content-length: {length}\r\n\r\n").into_bytes();
    bytes.extend(request.body.into_bytes());
    bytes
}

#[cfg(target_os = "linux")]
mod kernel {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
    use prony_loadgen::clock::now_ns;
    use rustix::time::{ClockId, clock_gettime};
    use std::io;
    use std::net::TcpStream;
    use std::os::fd::AsRawFd as _;

    pub(super) fn stamp(socket: &TcpStream) {
        setsockopt(socket, sockopt::ReceiveTimestampns, &true).unwrap();
    }

    pub(super) fn control() -> Vec<u8> {
        nix::cmsg_space!(nix::sys::time::TimeSpec)
    }

    /// Lead of the wall clock over the monotonic one.
    pub(super) fn ahead() -> u64 {
        let wall = clock_gettime(ClockId::Realtime);
        (wall.tv_sec as u64 * 1_000_000_000 + wall.tv_nsec as u64) - now_ns()
    }

    pub(super) fn read(
        socket: &TcpStream,
        room: &mut [u8],
        control: &mut [u8],
        ahead: u64,
    ) -> io::Result<(usize, u64)> {
        let mut parts = [io::IoSliceMut::new(room)];
        let message = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut parts,
            Some(control),
            MsgFlags::empty(),
        )?;
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => {
                Some(at.tv_sec() as u64 * 1_000_000_000 + at.tv_nsec() as u64 - ahead)
            }
            _ => None,
        });
        Ok((message.bytes, stamp.unwrap_or_else(now_ns)))
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use prony_loadgen::clock::now_ns;
    use std::io::{self, Read as _};
    use std::net::TcpStream;

    pub(super) fn stamp(_: &TcpStream) {}

    pub(super) fn control() -> Vec<u8> {
        Vec::new()
    }

    pub(super) fn ahead() -> u64 {
        0
    }

    pub(super) fn read(
        mut socket: &TcpStream,
        room: &mut [u8],
        _: &mut [u8],
        _: u64,
    ) -> io::Result<(usize, u64)> {
        Ok((socket.read(room)?, now_ns()))
    }
}

use kernel::{ahead, control, read, stamp};
