//! Number of events that the server sends when nothing holds it back, and the CPU time
//! of its own thread an event costs: `firehose [streams] [events] [seconds]`.
//!
//! The client is one thread that reads and throws away: it counts whole answers by their
//! last bytes. Server and client need a core each.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "an example")]

use prony_poll::{Events, Interest, Poller};
use prony_truth_server::{Config, Server};
use rustix::time::{ClockId, clock_gettime};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .map(|it| it.parse::<u32>().unwrap());
    let streams = numbers.next().unwrap_or(64) as usize;
    let tokens = numbers.next().unwrap_or(256);
    let seconds = Duration::from_secs(u64::from(numbers.next().unwrap_or(3)));
    let server = Server::spawn(Config {
        tokens,
        time_to_first_token: Duration::ZERO,
        inter_token_latency: Duration::ZERO,
        ..Config::default()
    })
    .unwrap();
    let address = server.url.trim_start_matches("http://");
    let request = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";

    let poller = Poller::new().unwrap();
    let mut connections: Vec<TcpStream> = (0..streams)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    for (index, stream) in connections.iter_mut().enumerate() {
        stream.set_nonblocking(true).unwrap();
        poller
            .register(stream.as_fd(), index as u64, Interest::READ)
            .unwrap();
        stream.write_all(request).unwrap();
    }
    let mut events = Events::with_capacity(streams);
    let mut room = vec![0; 256 << 10];
    let (mut answers, mut bytes) = (0_u64, 0_u64);
    let (began, cpu) = (Instant::now(), server_cpu());
    while began.elapsed() < seconds {
        poller
            .wait(&mut events, Some(Duration::from_secs(1)))
            .unwrap();
        for event in events.iter() {
            let stream = &mut connections[event.token as usize];
            match stream.read(&mut room) {
                Ok(length) => {
                    bytes += length as u64;
                    if room[..length].ends_with(b"\r\n0\r\n\r\n") {
                        answers += 1;
                        stream.write_all(request).unwrap();
                    }
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }
    let time = began.elapsed().as_secs_f64();
    let cpu = server_cpu() - cpu;
    let sent = (answers * u64::from(tokens)) as f64;
    println!(
        "{:.2} M events/s, {:.0} MB/s; server: {:.0} % of a core, {:.0} ns of CPU an event, {:.2} M events/s of a core",
        sent / time / 1e6,
        bytes as f64 / time / 1e6,
        cpu / time * 100.0,
        cpu / sent * 1e9,
        sent / cpu / 1e6,
    );
}

/// CPU seconds of this process without this thread.
fn server_cpu() -> f64 {
    let read = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    read(ClockId::ProcessCPUTime) - read(ClockId::ThreadCPUTime)
}
