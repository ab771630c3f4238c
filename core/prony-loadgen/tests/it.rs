//! The client against the server with a known schedule: what the one saw is what the
//! other did.

use prony_contract::{HttpRequest, Pair};
use prony_loadgen::Exchange;
use prony_loadgen::client::{Http, settling_time};
use prony_loadgen::load::{Arrival, Load, MAX_WAITING, Ramp, Usage, single_request_sessions};
use prony_loadgen::target::{Prepared, Target};
use prony_record::ErrorClass;
use prony_truth_server::{Config, Entry, Fault, Framing, Log, Server};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// By how much the two clocks that a kernel's stamp goes through may be apart.
const APART_NS: u64 = 100_000;

fn http(server: &Server) -> Http {
    Http::new(Target::new(&server.url).expect("a URL"))
}

fn load(server: &Server, requests: u32, max_tokens: u32) -> Load<Arc<Prepared>> {
    let target = http(server).target;
    let request = |index: u32| HttpRequest {
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        headers: vec![
            Pair {
                name: "x-request-id".into(),
                value: index.to_string(),
            },
            Pair {
                name: "accept-encoding".into(),
                value: "gzip".into(),
            },
        ],
        body: format!(
            r#"{{"messages":[{{"role":"user","content":"{index}"}}],"max_tokens":{max_tokens}}}"#
        ),
        ..HttpRequest::default()
    };
    Load {
        requests: (0..requests)
            .map(|index| Arc::new(target.prepare(&request(index)).expect("a request")))
            .collect(),
        sessions: single_request_sessions(requests),
        think: Duration::ZERO,
        delays: BTreeMap::new(),
        arrival: closed(1),
        timeout: Duration::from_secs(20),
        until: None,
        is_share: false,
    }
}

fn closed(concurrency: u32) -> Arrival {
    Arrival::Closed {
        concurrency,
        ramp: Ramp::NONE,
    }
}

fn config() -> Config {
    Config {
        time_to_first_token: Duration::from_millis(2),
        inter_token_latency: Duration::from_millis(1),
        log: Log::in_memory(),
        ..Config::default()
    }
}

/// Runs a load to its end.
fn run(http: &Http, load: Load<Arc<Prepared>>) -> (BTreeMap<u32, Exchange>, Usage) {
    let mut running = http.start(load).expect("starts");
    let mut exchanges = BTreeMap::new();
    while let Some(done) = running.blocking_next() {
        let twice = exchanges.insert(done.index, done.exchange);
        assert!(twice.is_none(), "{} ended twice", done.index);
    }
    let usage = running.usage().cloned();
    (exchanges, usage.expect("a shard"))
}

fn bodies(exchanges: BTreeMap<u32, Exchange>) -> Vec<String> {
    exchanges
        .into_values()
        .map(|mut exchange| {
            exchange.unpack();
            assert_eq!(exchange.seen.failed, None);
            assert_eq!(exchange.ends.len(), exchange.seen.reads_ns.len());
            assert_eq!(exchange.ends.last(), Some(&(exchange.body.len() as u32)));
            String::from_utf8(exchange.body).expect("text")
        })
        .collect()
}

fn entry(log: &[Entry], index: u32) -> &Entry {
    let id = Some(index.to_string());
    log.iter().find(|entry| entry.id == id).expect("an entry")
}

#[test]
fn what_the_server_did_is_what_the_client_saw() {
    let server = Server::spawn(config()).expect("a server");
    let (exchanges, usage) = run(
        &http(&server),
        Load {
            arrival: closed(4),
            ..load(&server, 20, 16)
        },
    );
    let log = server.stop().expect("stops");
    assert_eq!(exchanges.len(), 20);
    assert!(usage.dropped.is_empty());
    if cfg!(target_os = "linux") {
        assert_eq!(usage.stamped_by_kernel, usage.reads);
    }
    for (index, exchange) in exchanges {
        let (truth, stamps) = (entry(&log, index), exchange.seen.stamps);
        let written = stamps.written_ns.expect("written");
        assert!(stamps.sent_ns <= written && stamps.intended_ns == stamps.sent_ns);
        assert!(stamps.sent_ns <= truth.received_ns);
        // No byte is seen before it was written, and what was written is seen in order.
        let reads = &exchange.seen.reads_ns;
        assert!(reads.is_sorted());
        let body = String::from_utf8_lossy(&exchange.body);
        let mut tokens = 0..16;
        for (count, write) in truth.tokens_per_write.iter().zip(&truth.writes_ns) {
            for token in tokens.by_ref().take(*count as usize) {
                let at = body.find(&format!("\" t{token}\"")).expect("a token") as u32;
                let read = exchange.ends.partition_point(|end| *end <= at);
                assert!(reads[read] + APART_NS >= *write, "{token}");
            }
        }
        assert_eq!(tokens.next(), None);
        assert!(stamps.end_ns + APART_NS >= *truth.writes_ns.last().expect("writes"));
    }
}

#[test]
fn shards_see_together_what_one_sees() {
    let server = Server::spawn(config()).expect("a server");
    let seen = |shards, arrival| {
        bodies(
            run(
                &Http {
                    shards,
                    ..http(&server)
                },
                Load {
                    arrival,
                    ..load(&server, 50, 8)
                },
            )
            .0,
        )
    };
    let one = seen(1, closed(10));
    assert_eq!(one.len(), 50);
    assert_eq!(one, seen(3, closed(10)));
    let open = || Arrival::Open {
        offsets_ns: (0..50).map(|k| k * 500_000).collect(),
        max_in_flight: 7,
    };
    assert_eq!(one, seen(1, open()));
    assert_eq!(one, seen(3, open()));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(12))]

    #[test]
    fn shards_together_bring_every_request_of_a_tape_once(
        shards in 2_u32..6,
        requests in 1_u32..40,
        in_flight in 2_u32..12,
        gaps in proptest::collection::vec(0_u64..1_000_000, 40),
        open: bool,
    ) {
        let server = Server::spawn(config()).expect("a server");
        let arrival = || if open {
            let offsets = gaps.iter().take(requests as usize).scan(0, |at, gap| {
                *at += gap;
                Some(*at)
            });
            Arrival::Open { offsets_ns: offsets.collect(), max_in_flight: in_flight }
        } else {
            closed(in_flight)
        };
        let seen = |shards| {
            let load = Load { arrival: arrival(), ..load(&server, requests, 4) };
            let (exchanges, usage) = run(&Http { shards, ..http(&server) }, load);
            assert!(exchanges.keys().copied().eq(0..requests));
            assert!(usage.dropped.is_empty());
            let reads: usize = exchanges.values().map(|it| it.seen.reads_ns.len()).sum();
            assert!(usage.reads >= reads as u64);
            bodies(exchanges)
        };
        proptest::prop_assert_eq!(seen(1), seen(shards));
    }
}

#[test]
fn every_framing_brings_the_same_body() {
    let seen = |framing, gzip, coalesce| {
        let config = Config {
            framing,
            gzip,
            coalesce,
            ..config()
        };
        let server = Server::spawn(config).expect("a server");
        bodies(
            run(
                &http(&server),
                Load {
                    arrival: closed(2),
                    ..load(&server, 6, 16)
                },
            )
            .0,
        )
    };
    let plain = seen(Framing::Chunked, false, 1);
    assert!(plain[0].contains("[DONE]"));
    for framing in [Framing::Chunked, Framing::Close, Framing::Length] {
        for gzip in [false, true] {
            assert_eq!(plain, seen(framing, gzip, 5), "{framing:?} {gzip}");
        }
    }
}

#[test]
fn an_open_loop_sends_when_it_should_and_never_more_than_it_may() {
    let server = Server::spawn(config()).expect("a server");
    let offsets_ns: Vec<u64> = (0..40).map(|k| k * 400_000).collect();
    let (exchanges, _) = run(
        &http(&server),
        Load {
            arrival: Arrival::Open {
                offsets_ns: offsets_ns.clone(),
                max_in_flight: 3,
            },
            ..load(&server, 40, 16)
        },
    );
    assert_eq!(exchanges.len(), 40);
    let stamps: Vec<_> = exchanges.values().map(|it| it.seen.stamps).collect();
    let start = stamps[0].intended_ns - offsets_ns[0];
    for (stamps, offset) in stamps.iter().zip(&offsets_ns) {
        assert_eq!(stamps.intended_ns, start + offset);
        assert!(stamps.sent_ns >= stamps.intended_ns);
        let meanwhile = exchanges.values().filter(|other| {
            let other = other.seen.stamps;
            // The kernel stamps an end before the client acts on it.
            other.sent_ns <= stamps.sent_ns && other.end_ns > stamps.sent_ns + APART_NS
        });
        assert!(meanwhile.count() <= 3);
    }
    // 18 ms each, at most 3 at a time: most had to wait, and that is seen.
    let late = |stamps: &prony_record::Stamps| stamps.sent_ns - stamps.intended_ns;
    assert!(late(stamps.last().expect("40")) > 100_000_000);
}

#[test]
fn what_a_load_had_no_time_for_is_told() {
    let server = Server::spawn(config()).expect("a server");
    let (exchanges, usage) = run(
        &http(&server),
        Load {
            arrival: Arrival::Open {
                offsets_ns: (0..40).map(|k| k * 1_000_000).collect(),
                max_in_flight: 1,
            },
            until: Some(Duration::from_millis(50)),
            ..load(&server, 40, 16)
        },
    );
    let mut all: Vec<u32> = exchanges
        .into_keys()
        .chain(usage.dropped.iter().map(|it| it.0))
        .collect();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());
    assert!(usage.dropped.len() > 30);
    let (closed, usage) = run(
        &http(&server),
        Load {
            until: Some(Duration::from_millis(50)),
            ..load(&server, 40, 16)
        },
    );
    assert!(!closed.is_empty() && closed.len() < 10);
    assert!(usage.dropped.is_empty(), "a closed loop owes nothing");
}

#[test]
fn turns_of_a_session_follow_one_another() {
    let server = Server::spawn(config()).expect("a server");
    let think = Duration::from_millis(3);
    for arrival in [
        closed(2),
        Arrival::Open {
            offsets_ns: vec![0, 0, 1_000_000, 2_000_000],
            max_in_flight: 4,
        },
    ] {
        let (exchanges, _) = run(
            &http(&server),
            Load {
                sessions: vec![0..3, 3..4, 4..9, 9..12],
                think,
                arrival,
                ..load(&server, 12, 4)
            },
        );
        assert_eq!(exchanges.len(), 12);
        for next in [1, 2, 5, 6, 7, 8, 10, 11] {
            let before = exchanges[&(next - 1)].seen.stamps.end_ns;
            let gap = exchanges[&next].seen.stamps.sent_ns - before;
            assert!(u128::from(gap) >= think.as_nanos(), "{next}: {gap}");
        }
    }
}

#[test]
fn a_ramp_begins_slot_by_slot() {
    let server = Server::spawn(config()).expect("a server");
    let (exchanges, _) = run(
        &http(&server),
        Load {
            arrival: Arrival::Closed {
                concurrency: 4,
                ramp: Ramp::new(Duration::from_millis(200), 4),
            },
            ..load(&server, 4, 32)
        },
    );
    let mut sent: Vec<u64> = exchanges
        .values()
        .map(|it| it.seen.stamps.sent_ns)
        .collect();
    sent.sort_unstable();
    assert!(
        sent.windows(2).all(|pair| pair[1] - pair[0] > 25_000_000),
        "{sent:?}"
    );
}

#[test]
fn faults_of_the_transport_have_their_class() {
    for (fault, class) in [
        (Fault::Cut, Some(ErrorClass::Truncated)),
        (Fault::Reset, Some(ErrorClass::Truncated)),
        (Fault::WrongLength, Some(ErrorClass::Truncated)),
        (Fault::NotHttp, Some(ErrorClass::Protocol)),
        (Fault::BadChunk, Some(ErrorClass::Protocol)),
        (Fault::HugeHead, Some(ErrorClass::Protocol)),
        (Fault::EndlessHead, Some(ErrorClass::Protocol)),
        (Fault::EndlessInterim, Some(ErrorClass::Protocol)),
        (Fault::EndlessExtension, Some(ErrorClass::Protocol)),
        (Fault::EndlessChunks, Some(ErrorClass::Timeout)),
        (Fault::EndlessTrailers, Some(ErrorClass::Protocol)),
        (Fault::Hang, Some(ErrorClass::Timeout)),
        (Fault::Stall, None),
        (Fault::SlowHeaders, None),
        (Fault::Redirect, Some(ErrorClass::Protocol)),
    ] {
        let server = Server::spawn(Config {
            fault: Some(fault),
            fault_from: 2,
            stall: Duration::from_millis(20),
            ..config()
        });
        let server = server.expect("a server");
        let (exchanges, _) = run(
            &http(&server),
            Load {
                timeout: Duration::from_millis(400),
                ..load(&server, 4, 8)
            },
        );
        for (index, exchange) in exchanges {
            let failed = exchange.seen.failed.map(|failed| failed.class);
            let expected = class.filter(|_| index >= 2);
            assert_eq!(failed, expected, "{fault:?} {index}");
            if fault == Fault::Redirect && index >= 2 {
                assert_eq!(exchange.seen.status, Some(302), "it is not followed");
            }
        }
    }
}

#[test]
fn nobody_listening_is_told_of_every_request() {
    let server = Server::spawn(config()).expect("a server");
    let (http, load) = (http(&server), load(&server, 300, 8));
    server.stop().expect("stops");
    let (exchanges, _) = run(&http, load);
    assert_eq!(exchanges.len(), 300);
    for exchange in exchanges.into_values() {
        let failed = exchange.seen.failed.expect("a failure");
        assert_eq!(failed.class, ErrorClass::Connect, "{}", failed.message);
        assert!(exchange.seen.stamps.end_ns > 0);
    }
}

#[test]
fn a_load_ends_when_it_is_told_to() {
    let server = Server::spawn(Config {
        time_to_first_token: Duration::from_hours(1),
        ..config()
    });
    let server = server.expect("a server");
    let sharded = Http {
        shards: 3,
        ..http(&server)
    };
    let mut running = sharded
        .start(Load {
            arrival: closed(3),
            timeout: Duration::from_hours(1),
            ..load(&server, 9, 8)
        })
        .expect("starts");
    // So that all are in flight.
    std::thread::sleep(Duration::from_millis(300));
    let stopped_ns = prony_loadgen::clock::now_ns();
    running.stop();
    for _ in 0..3 {
        let done = running.blocking_next().expect("what was in flight");
        let seen = done.exchange.seen;
        assert_eq!(seen.failed.map(|it| it.class), Some(ErrorClass::Timeout));
        assert!(seen.stamps.written_ns.is_some_and(|it| it < stopped_ns));
        assert!(seen.stamps.end_ns >= stopped_ns);
    }
    assert!(running.blocking_next().is_none());
    assert_eq!(running.usage().map(|usage| usage.shards), Some(3));
}

#[test]
fn rare_looks_lose_nothing() {
    let server = Server::spawn(config()).expect("a server");
    let rarely = Http {
        poll_every: Duration::from_millis(5),
        ..http(&server)
    };
    let (exchanges, usage) = run(
        &rarely,
        Load {
            arrival: closed(20),
            ..load(&server, 60, 16)
        },
    );
    assert_eq!(bodies(exchanges).len(), 60);
    if cfg!(target_os = "linux") {
        // Stamps are those of the arrivals all the same.
        assert!(usage.read_lag_ns.max() > 1_000_000);
    }
}

/// What it is that makes tokens share a stamp: the server's writes, or a client that looks
/// too seldom.
#[test]
fn the_client_knows_what_it_may_not_have_seen() {
    let seen = |coalesce, look_ms| {
        let server = Server::spawn(Config {
            coalesce,
            inter_token_latency: Duration::from_millis(2),
            ..config()
        });
        let server = server.expect("a server");
        let http = Http {
            poll_every: Duration::from_millis(look_ms),
            ..http(&server)
        };
        let (exchanges, usage) = run(
            &http,
            Load {
                arrival: closed(4),
                ..load(&server, 8, 64)
            },
        );
        let reads = exchanges.values().map(|it| it.seen.reads_ns.len()).sum();
        assert_eq!(bodies(exchanges).len(), 8);
        let reads: usize = reads;
        assert!(reads < 8 * 40, "tokens came together: {reads}");
        usage.unseen_ns.value_at_quantile(0.5)
    };
    // Writes are 32 ms apart, and each is read when it comes.
    assert!(seen(16, 0) < 16_000_000);
    if cfg!(target_os = "linux") {
        // Each token has its write, and those of 32 ms are read together.
        assert!(seen(1, 32) > 16_000_000);
    }
}

#[test]
fn connections_settle_before_the_first_request() {
    let server = Server::spawn(config()).expect("a server");
    let first_after = |concurrency| {
        let begin_ns = prony_loadgen::clock::now_ns();
        let (exchanges, _) = run(
            &http(&server),
            Load {
                arrival: closed(concurrency),
                ..load(&server, 60, 2)
            },
        );
        let first = exchanges.values().map(|it| it.seen.stamps.sent_ns).min();
        u128::from(first.expect("requests") - begin_ns)
    };
    let settling = |connections| settling_time(connections).as_nanos();
    assert!(first_after(50) >= settling(50));
    assert!(settling(50) > settling(2) && settling(2) > 0);
    assert_eq!(settling(1), 0);
    // However many there are, it has an end.
    assert_eq!(settling(u32::MAX), settling(1 << 20));
}

#[test]
fn an_open_loop_to_nobody_ends_too() {
    let server = Server::spawn(config()).expect("a server");
    let (http, mut load) = (http(&server), load(&server, 300, 8));
    load.arrival = Arrival::Open {
        offsets_ns: (0..300).map(|k| k * 1_000_000).collect(),
        max_in_flight: 20,
    };
    server.stop().expect("stops");
    let (exchanges, _) = run(&http, load);
    assert_eq!(exchanges.len(), 300);
    for exchange in exchanges.into_values() {
        let failed = exchange.seen.failed.expect("a failure");
        assert_eq!(failed.class, ErrorClass::Connect, "{}", failed.message);
    }
}

#[test]
fn turns_wait_for_room_and_those_after_the_end_are_not_due() {
    let server = Server::spawn(config()).expect("a server");
    let open = |max_in_flight| Arrival::Open {
        offsets_ns: vec![0, 1_000_000, 2_000_000],
        max_in_flight,
    };
    let sessions = vec![0..3, 3..6, 6..9];
    let (exchanges, usage) = run(
        &http(&server),
        Load {
            sessions: sessions.clone(),
            arrival: open(2),
            ..load(&server, 9, 4)
        },
    );
    assert_eq!(exchanges.len(), 9);
    assert!(usage.dropped.is_empty());
    for stamps in exchanges.values().map(|it| it.seen.stamps) {
        let meanwhile = exchanges.values().filter(|other| {
            let other = other.seen.stamps;
            other.sent_ns <= stamps.sent_ns && other.end_ns > stamps.sent_ns + APART_NS
        });
        assert!(meanwhile.count() <= 2);
    }
    for next in [1, 2, 4, 5, 7, 8] {
        // Due when the one before had ended.
        let before = exchanges[&(next - 1)].seen.stamps.end_ns;
        assert_eq!(exchanges[&next].seen.stamps.intended_ns, before);
    }
    // All begin, and have no time for more than a turn.
    let (exchanges, usage) = run(
        &http(&server),
        Load {
            sessions,
            think: Duration::from_hours(1),
            until: Some(Duration::from_secs(30)),
            arrival: open(3),
            ..load(&server, 9, 4)
        },
    );
    assert_eq!(exchanges.into_keys().collect::<Vec<_>>(), [0, 3, 6]);
    assert!(usage.dropped.is_empty());
}

#[test]
fn a_turn_follows_one_that_failed() {
    for (fault, arrival) in [
        (Fault::Http500, closed(2)),
        (Fault::Cut, closed(1)),
        (
            Fault::Cut,
            Arrival::Open {
                offsets_ns: vec![0],
                max_in_flight: 2,
            },
        ),
    ] {
        let server = Server::spawn(Config {
            fault: Some(fault),
            ..config()
        });
        let server = server.expect("a server");
        let (exchanges, usage) = run(
            &http(&server),
            Load {
                sessions: std::iter::once(0..3).collect(),
                arrival,
                ..load(&server, 3, 4)
            },
        );
        assert_eq!(exchanges.len(), 3, "{fault:?}");
        let is_bad = |it: &Exchange| it.seen.failed.is_some() || it.seen.status != Some(200);
        assert!(exchanges.values().all(is_bad), "{fault:?}");
        assert!(usage.dropped.is_empty());
        let stamps: Vec<_> = exchanges.values().map(|it| it.seen.stamps).collect();
        assert!(
            stamps
                .windows(2)
                .all(|pair| pair[0].end_ns <= pair[1].sent_ns)
        );
    }
}

const FLOODS: [Fault; 5] = [
    Fault::EndlessHead,
    Fault::EndlessInterim,
    Fault::EndlessExtension,
    Fault::EndlessChunks,
    Fault::EndlessTrailers,
];

#[test]
fn a_flood_delays_neither_timeouts_nor_others() {
    for fault in FLOODS {
        let server = Server::spawn(Config {
            fault: Some(fault),
            fault_from: 1,
            ..config()
        });
        let server = server.expect("a server");
        let timeout = Duration::from_millis(500);
        let flooded = Load {
            arrival: closed(4),
            timeout,
            ..load(&server, 4, 100)
        };
        let (exchanges, _) = run(&http(&server), flooded);
        let (mut well, mut failed) = (0, 0);
        for exchange in exchanges.into_values() {
            let stamps = exchange.seen.stamps;
            let took = Duration::from_nanos(stamps.end_ns - stamps.sent_ns);
            assert!(took < 10 * timeout, "{fault:?}: {took:?}");
            match exchange.seen.failed {
                None => well += 1,
                Some(_) => failed += 1,
            }
        }
        assert_eq!((well, failed), (1, 3), "{fault:?}");
    }
}

#[test]
fn a_load_ends_when_it_is_told_to_also_in_a_flood() {
    let server = Server::spawn(Config {
        fault: Some(Fault::EndlessChunks),
        ..config()
    });
    let server = server.expect("a server");
    let flooded = Load {
        arrival: closed(64),
        timeout: Duration::from_mins(10),
        ..load(&server, 64, 8)
    };
    let mut running = http(&server).start(flooded).expect("starts");
    std::thread::sleep(Duration::from_millis(200));
    running.stop();
    while running.blocking_next().is_some() {}
    assert!(running.usage().is_some(), "it has ended");
}

#[test]
fn a_client_waits_for_who_keeps_its_answers_and_tells() {
    let server = Server::spawn(Config {
        tokens: 256,
        time_to_first_token: Duration::ZERO,
        inter_token_latency: Duration::ZERO,
        ..config()
    });
    let server = server.expect("a server");
    let requests = 4000;
    let large = || Load {
        arrival: closed(16),
        ..load(&server, requests, 256)
    };
    let (all, usage) = run(&http(&server), large());
    assert_eq!((all.len(), usage.held_up_ns), (requests as usize, 0));
    let size: usize = all.values().map(|it| it.body.len()).sum();
    assert!(size > 2 * MAX_WAITING, "{size}");

    let mut running = http(&server).start(large()).expect("starts");
    let mut kept = Vec::new();
    let mut bytes = 0;
    while bytes <= MAX_WAITING / 4 * 3 {
        let done = running.blocking_next().expect("an answer");
        bytes += done.exchange.body.len();
        kept.push(done);
    }
    // It fills the last quarter, and waits.
    std::thread::sleep(Duration::from_secs(1));
    let early = kept.len();
    drop(kept);
    let mut late = 0;
    while running.blocking_next().is_some() {
        late += 1;
    }
    assert_eq!(early + late, requests as usize);
    let usage = running.usage().expect("a shard");
    assert!(usage.held_up_ns > 0);
}

/// The URL of a server that writes `head` to each client, then `bytes` without end.
fn flood(head: &'static [u8], bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, bytes) = (client.expect("a client"), bytes.clone());
            std::thread::spawn(move || {
                let mut sent = client.write_all(head);
                while sent.is_ok() {
                    sent = client.write_all(&bytes);
                }
            });
        }
    });
    format!("http://{address}")
}

#[test]
fn what_is_in_flight_together_is_limited() {
    let url = flood(b"HTTP/1.1 200 OK\r\n\r\n", vec![b'a'; 64 << 10]);
    let target = Target::new(&url).expect("a URL");
    let request = Arc::new(target.prepare(&HttpRequest::get("/")).expect("a request"));
    let all = Load {
        requests: vec![request; 6],
        sessions: single_request_sessions(6),
        think: Duration::ZERO,
        delays: BTreeMap::new(),
        arrival: closed(6),
        timeout: Duration::from_mins(5),
        until: None,
        is_share: false,
    };
    let (exchanges, _) = run(&Http::new(target), all);
    let messages = exchanges.values().map(|exchange| {
        let failed = exchange.seen.failed.as_ref().expect("no answer fits");
        assert_eq!(failed.class, ErrorClass::Protocol);
        &*failed.message
    });
    let messages: Vec<&str> = messages.collect();
    let together = "the answers in flight together take more than 320 MiB";
    assert!(messages.contains(&together), "{messages:?}");
}
