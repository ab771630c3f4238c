//! Ranks that are threads of one process.

use prony_contract::HttpRequest;
use prony_loadgen::deal::Rank;
use prony_loadgen::load::{Arrival, Load, Ramp, single_request_sessions};
use prony_loadgen::target::{Prepared, Target};
use prony_ranks::assembly::{Expected, Leader};
use prony_ranks::follower::Follower;
use prony_ranks::{Meeting, Next, Ranks};
use prony_truth_server::{Config, Server};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

fn leader(world: u32) -> Leader {
    let expected = Expected {
        world,
        token: "token".to_owned(),
        pipeline_sha256: String::new(),
        prony: "1".to_owned(),
    };
    Leader::listen(&Meeting::Tcp("127.0.0.1:0".to_owned()), expected).expect("a port")
}

fn follower(number: u32, of: u32, port: u16) -> JoinHandle<Result<(), String>> {
    std::thread::spawn(move || {
        let folder = tempfile::tempdir().expect("a folder");
        let follower = Follower {
            rank: Rank { number, of },
            meeting: Meeting::Tcp(format!("127.0.0.1:{port}")),
            token: "token".to_owned(),
            pipeline_sha256: None,
            prony: "1".to_owned(),
            folder: folder.path().to_owned(),
        };
        follower.follow(|| false, |_| {})
    })
}

fn assembled(leader: Leader) -> Ranks {
    leader.assemble(|_| {}).expect("all ranks")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(future)
}

#[test]
fn many_ranks_assemble_and_end() {
    const WORLD: u32 = 256;
    let leader = leader(WORLD);
    let port = leader.port();
    let others: Vec<_> = (1..WORLD)
        .map(|number| follower(number, WORLD, port))
        .collect();
    let mut ranks = assembled(leader);
    assert_eq!(ranks.hellos().count(), 255);
    let clocks = block_on(ranks.clocks()).expect("clocks");
    assert_eq!(clocks.len(), 255);
    for clock in clocks {
        // It is the same clock.
        assert!(
            clock.offset_ns.unsigned_abs() <= clock.bound_ns,
            "{clock:?}"
        );
    }
    drop(ranks);
    for other in others {
        assert_eq!(other.join().expect("no panic"), Ok(()));
    }
}

/// Passes bytes on to `port`, those of rank 0 `later` than they came; returns its own port.
fn one_way_slower(port: u16, later: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = listener.local_addr().expect("an address").port();
    let pass = |mut from: TcpStream, mut to: TcpStream, later: Duration| {
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                std::thread::sleep(later);
                if to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
    };
    std::thread::spawn(move || {
        let (rank, _) = listener.accept().expect("a rank");
        let rank_0 = TcpStream::connect(("127.0.0.1", port)).expect("rank 0");
        for stream in [&rank, &rank_0] {
            stream.set_nodelay(true).expect("set");
        }
        let copy = |stream: &TcpStream| stream.try_clone().expect("a socket");
        pass(copy(&rank), copy(&rank_0), Duration::ZERO);
        pass(rank_0, rank, later);
    });
    own
}

#[test]
fn a_way_that_is_slower_than_back_is_within_the_bound() {
    let leader = leader(2);
    let port = one_way_slower(leader.port(), Duration::from_millis(3));
    let other = follower(1, 2, port);
    let mut ranks = assembled(leader);
    let clocks = block_on(ranks.clocks()).expect("clocks");
    let [clock] = clocks.as_slice() else {
        panic!("one rank")
    };
    assert!(clock.bound_ns >= 1_500_000, "{clock:?}");
    // The error is all of the difference of both ways, halved.
    assert!(clock.offset_ns.unsigned_abs() >= 1_000_000, "{clock:?}");
    assert!(
        clock.offset_ns.unsigned_abs() <= clock.bound_ns,
        "{clock:?}"
    );
    drop(ranks);
    assert_eq!(other.join().expect("no panic"), Ok(()));
}

/// Passes bytes on to `port` and counts the pieces that each side sends; returns its own port.
fn counted(port: u16, counts: [Arc<AtomicUsize>; 2]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let (rank, _) = listener.accept().expect("a rank");
        let rank_0 = TcpStream::connect(("127.0.0.1", port)).expect("rank 0");
        let copy = |stream: &TcpStream| stream.try_clone().expect("a socket");
        let ways = [(copy(&rank), copy(&rank_0)), (rank_0, rank)];
        for ((mut from, mut to), count) in ways.into_iter().zip(counts) {
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = from.read(&mut bytes) {
                    count.fetch_add(1, Ordering::Relaxed);
                    if to.write_all(&bytes[..read]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    own
}

/// A load of so many requests, half of them at once.
fn load(server: &Server, requests: u32) -> (Target, Load<Arc<Prepared>>) {
    let target = Target::new(&server.url).expect("a target");
    let request = HttpRequest {
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        body: r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}"#
            .to_owned(),
        ..HttpRequest::get("")
    };
    let request = Arc::new(target.prepare(&request).expect("a request"));
    let load = Load {
        requests: vec![request; requests as usize],
        sessions: single_request_sessions(requests),
        think: Duration::ZERO,
        delays: BTreeMap::new(),
        arrival: Arrival::Closed {
            concurrency: requests / 2,
            ramp: Ramp::NONE,
        },
        timeout: Duration::from_secs(30),
        until: None,
        is_share: false,
    };
    (target, load)
}

#[test]
fn while_requests_are_in_flight_there_is_a_beat_a_second() {
    let config = Config {
        tokens: 1,
        time_to_first_token: Duration::from_millis(1500),
        ..Config::default()
    };
    let server = Server::spawn(config).expect("a server");
    let (target, load) = load(&server, 8);
    let leader = leader(2);
    let counts = [Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default()];
    let other = follower(1, 2, counted(leader.port(), counts.clone()));
    let mut ranks = assembled(leader);
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let clocks = ranks.clocks().await.expect("clocks");
        let settled = ranks.deal(&target, None, &load, 3).await.expect("dealt");
        ranks.go(&clocks, settled).expect("told");
        // The word to go has arrived.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = counts.each_ref().map(|it| it.load(Ordering::Relaxed));
        let begin = std::time::Instant::now();
        let mut answers = 0;
        loop {
            match ranks.next().await {
                Next::Answers(more) => answers += more,
                Next::Over => break,
                other => panic!("{other:?}"),
            }
        }
        let after = counts.each_ref().map(|it| it.load(Ordering::Relaxed));
        let seconds = begin.elapsed().as_secs_f64();
        assert!(seconds > 2.0, "{seconds}");
        assert_eq!(answers, 4);
        assert_eq!(after[1], before[1], "rank 0 says nothing");
        // And the word that it is over.
        let said = (after[0] - before[0]) as f64;
        assert!(said <= seconds + 2.0, "{said} in {seconds} s");
        let ended = ranks.fetch(folder.path()).await.expect("answers");
        assert_eq!(ended.len(), 1);
        assert_eq!(
            (ended[0].count, ended[0].indices.as_slice()),
            (4, &[1, 3, 5, 7][..])
        );
    });
    drop(ranks);
    assert_eq!(other.join().expect("no panic"), Ok(()));
}
