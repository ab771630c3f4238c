//! What a wait ends with, on the system it runs on.
#![expect(clippy::unwrap_used, reason = "tests")]

use prony_poll::{Event, Events, Interest, Poller, exact_timers, raise_open_files};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Longer than any wait here should take.
const LONG: Option<Duration> = Some(Duration::from_secs(20));
const NOW: Option<Duration> = Some(Duration::ZERO);

fn wait(poller: &Poller, timeout: Option<Duration>) -> Vec<Event> {
    let mut events = Events::with_capacity(8);
    poller.wait(&mut events, timeout).unwrap();
    events.iter().collect()
}

#[test]
fn a_wait_is_never_too_short() {
    exact_timers();
    let poller = Poller::new().unwrap();
    for nanos in [1, 1_000, 70_000, 999_999, 1_000_001, 2_345_678] {
        let timeout = Duration::from_nanos(nanos);
        let begin = Instant::now();
        assert_eq!(wait(&poller, Some(timeout)), []);
        assert!(begin.elapsed() >= timeout, "{timeout:?}");
    }
}

#[test]
fn waits_are_not_rounded_to_milliseconds() {
    exact_timers();
    let poller = Poller::new().unwrap();
    // The shortest of many, so that what else the machine does is left out: even one
    // that ends below a millisecond shows that they are not rounded up.
    let shortest = (0..200)
        .map(|_| {
            let begin = Instant::now();
            wait(&poller, Some(Duration::from_micros(100)));
            begin.elapsed()
        })
        .min()
        .unwrap();
    assert!(shortest < Duration::from_millis(1), "{shortest:?}");
}

#[test]
fn what_is_not_read_is_told_again() {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let poller = Poller::new().unwrap();
    poller.register(here.as_fd(), 7, Interest::READ).unwrap();
    assert_eq!(wait(&poller, NOW), []);
    there.write_all(b"ab").unwrap();
    for _ in 0..2 {
        let events = wait(&poller, LONG);
        assert_eq!(events.len(), 1);
        assert!(events[0].readable && !events[0].writable && !events[0].closed);
        assert_eq!(events[0].token, 7);
    }
    here.read_exact(&mut [0; 2]).unwrap();
    assert_eq!(wait(&poller, NOW), []);
}

#[test]
fn interest_can_be_changed_and_ended() {
    let (here, mut there) = UnixStream::pair().unwrap();
    let poller = Poller::new().unwrap();
    poller.register(here.as_fd(), 1, Interest::READ).unwrap();
    poller.modify(here.as_fd(), 2, Interest::WRITE).unwrap();
    there.write_all(b"a").unwrap();
    let events = wait(&poller, LONG);
    assert_eq!(events.len(), 1);
    assert!(events[0].writable && !events[0].readable);
    assert_eq!(events[0].token, 2);
    poller.modify(here.as_fd(), 3, Interest::default()).unwrap();
    assert_eq!(wait(&poller, NOW), []);
    poller.modify(here.as_fd(), 4, Interest::READ).unwrap();
    assert_eq!(wait(&poller, LONG)[0].token, 4);
    poller.deregister(here.as_fd()).unwrap();
    assert_eq!(wait(&poller, NOW), []);
}

#[test]
fn the_other_end_going_away_is_readable() {
    let (here, there) = UnixStream::pair().unwrap();
    let poller = Poller::new().unwrap();
    poller.register(here.as_fd(), 1, Interest::READ).unwrap();
    drop(there);
    assert!(wait(&poller, LONG)[0].readable);
}

#[test]
fn a_waker_ends_one_wait_and_is_no_event() {
    let poller = Poller::new().unwrap();
    let waker = poller.waker();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| waker.clone().wake().unwrap());
        assert_eq!(wait(&poller, LONG), []);
    });
    assert!(begin.elapsed() < LONG.unwrap());
    let pause = Duration::from_millis(20);
    let begin = Instant::now();
    assert_eq!(wait(&poller, Some(pause)), []);
    assert!(begin.elapsed() >= pause, "it was woken a second time");
}

#[test]
fn a_closed_descriptor_is_forgotten() {
    let (here, mut there) = UnixStream::pair().unwrap();
    let poller = Poller::new().unwrap();
    poller.register(here.as_fd(), 1, Interest::READ).unwrap();
    drop(here);
    let _ = there.write_all(b"a");
    assert_eq!(wait(&poller, NOW), []);
}

#[test]
fn more_events_than_there_is_room_for_come_later() {
    let pairs: Vec<_> = (0..20).map(|_| UnixStream::pair().unwrap()).collect();
    let poller = Poller::new().unwrap();
    for (token, (here, _)) in pairs.iter().enumerate() {
        poller
            .register(here.as_fd(), token as u64, Interest::WRITE)
            .unwrap();
    }
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < pairs.len() {
        let events = wait(&poller, LONG);
        assert!(!events.is_empty() && events.len() <= 8);
        for event in events {
            seen.insert(event.token);
            let (here, _) = &pairs[event.token as usize];
            let interest = Interest::default();
            poller.modify(here.as_fd(), event.token, interest).unwrap();
        }
    }
}

#[test]
fn files_can_be_raised_twice() {
    assert_eq!(raise_open_files(), raise_open_files());
}
