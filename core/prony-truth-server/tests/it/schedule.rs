//! What is due when, from the server's own log.

use crate::kit::{
    Answer, ask, at_once, chat, connect, events, keeps_its_times, request, said, tokens,
};
use prony_truth_server::{Config, Entry, Fault, Log, Server};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

const FIRST: u64 = 10_000_000;
const NEXT: u64 = 1_234_567;

fn paced() -> Config {
    Config {
        tokens: 8,
        time_to_first_token: Duration::from_nanos(FIRST),
        inter_token_latency: Duration::from_nanos(NEXT),
        log: Log::in_memory(),
        ..Config::default()
    }
}

/// Of one answer, when each write with tokens was due after the request.
fn due(entry: &Entry) -> Vec<u64> {
    let writes = entry.intended_ns.iter().zip(&entry.tokens_per_write);
    let with_tokens = writes.filter(|(_, tokens)| **tokens > 0);
    with_tokens
        .map(|(due, _)| due - entry.received_ns)
        .collect()
}

fn one(config: Config) -> Entry {
    let server = Server::spawn(config).unwrap();
    let answer = Answer::of(&chat(&server));
    assert_eq!(said(&events(&answer.text())).0, tokens(8));
    let mut log = server.stop().unwrap();
    assert_eq!(log.len(), 1);
    assert!(log[0].complete);
    log.remove(0)
}

#[test]
fn each_token_is_written_at_its_own_absolute_time() {
    let entry = one(paced());
    // The head at once, the end with the last token.
    assert_eq!(entry.tokens_per_write, [0, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
    assert_eq!(entry.intended_ns[0], entry.received_ns);
    let exact: Vec<u64> = (0..8).map(|token| FIRST + NEXT * token).collect();
    assert_eq!(due(&entry), exact);
    assert_eq!(entry.intended_ns[9], entry.intended_ns[8]);
    eprintln!("latest write: {} ns", keeps_its_times(&entry));
}

#[test]
fn tokens_can_be_coalesced() {
    let entry = one(Config {
        coalesce: 3,
        ..paced()
    });
    assert_eq!(entry.tokens_per_write, [0, 3, 3, 2, 0]);
    assert_eq!(due(&entry), [2, 5, 7].map(|token| FIRST + NEXT * token));
    keeps_its_times(&entry);
}

#[test]
fn what_is_due_at_once_is_written_at_once() {
    let log = Log::in_memory();
    let entry = one(Config { log, ..at_once() });
    assert_eq!(entry.tokens_per_write, [8]);
    assert_eq!(entry.intended_ns, [entry.received_ns]);
    let first = Config {
        inter_token_latency: Duration::ZERO,
        ..paced()
    };
    let entry = one(first);
    assert_eq!(entry.tokens_per_write, [0, 8]);
    assert_eq!(due(&entry), [FIRST]);
    keeps_its_times(&entry);
}

#[test]
fn a_large_answer_comes_whole() {
    let config = Config {
        tokens: 20_000,
        ..at_once()
    };
    let server = Server::spawn(config).unwrap();
    // More than sockets hold, and nobody reads for a while.
    let mut stream = connect(&server);
    let body = request("/v1/chat/completions", "connection: close\r\n", &json!({}));
    stream.write_all(&body).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = Answer::of(&answer);
    assert_eq!(said(&events(&answer.text())).0, tokens(20_000));
}

#[test]
fn jitter_is_the_same_each_time() {
    let jittered = |seed| Config {
        jitter: Duration::from_micros(500),
        seed,
        ..paced()
    };
    let (entry, again, other) = (one(jittered(1)), one(jittered(1)), one(jittered(2)));
    assert_eq!(due(&entry), due(&again));
    assert_ne!(due(&entry), due(&other));
    for (token, due) in (0..).zip(due(&entry)) {
        let off = due.abs_diff(FIRST + NEXT * token);
        assert!(off <= 500_000, "{token}: {off} ns");
    }
    keeps_its_times(&entry);
}

#[test]
fn a_stall_moves_the_second_half() {
    let entry = one(Config {
        fault: Some(Fault::Stall),
        stall: Duration::from_millis(30),
        ..paced()
    });
    let stall = |token| if token < 4 { 0 } else { 30_000_000 };
    let exact: Vec<u64> = (0..8)
        .map(|token| FIRST + NEXT * token + stall(token))
        .collect();
    assert_eq!(due(&entry), exact);
    keeps_its_times(&entry);
}

#[test]
fn slow_headers_come_byte_by_byte() {
    let entry = one(Config {
        fault: Some(Fault::SlowHeaders),
        stall: Duration::from_millis(30),
        ..paced()
    });
    let head = entry.tokens_per_write.iter().position(|it| *it > 0);
    let head = head.unwrap();
    assert!(head > 50, "{head} writes before the first token");
    assert_eq!(entry.intended_ns[head - 1], entry.received_ns + 30_000_000);
    assert_eq!(due(&entry)[0], 30_000_000 + FIRST);
    keeps_its_times(&entry);
}

#[test]
fn requests_are_numbered_and_named_in_the_log() {
    let server = Server::spawn(Config {
        log: Log::in_memory(),
        ..at_once()
    })
    .unwrap();
    let path = "/v1/completions";
    ask(&server, path, "X-Request-Id: first one\r\n", &json!({}));
    ask(&server, "/health", "x-request-id: none\r\n", &json!({}));
    ask(&server, "/v1/models", "x-request-id: none\r\n", &json!({}));
    ask(&server, path, "", &json!({ "max_tokens": 0 }));
    // They get there by themselves, once the server has nothing else to do.
    let begin = Instant::now();
    while server.log().len() < 2 {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
    let log = server.stop().unwrap();
    let ids: Vec<_> = log
        .iter()
        .map(|it| (it.request, it.id.as_deref()))
        .collect();
    assert_eq!(ids, [(0, Some("first one")), (1, None)]);
}

#[test]
fn the_log_is_a_file_of_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let server = Server::spawn(Config {
        log: Log::to_file(&path).unwrap(),
        ..at_once()
    })
    .unwrap();
    for _ in 0..3 {
        chat(&server);
    }
    assert_eq!(server.stop().unwrap(), []);
    let text = std::fs::read_to_string(&path).unwrap();
    let entries: Vec<Entry> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(entries.len(), 3);
    for (number, entry) in (0..).zip(&entries) {
        assert_eq!(entry.request, number);
        assert_eq!(entry.tokens_per_write, [8]);
        keeps_its_times(entry);
    }
}

#[test]
fn a_client_that_goes_away_is_logged_and_harms_nobody() {
    let server = Server::spawn(Config {
        tokens: 1000,
        ..paced()
    })
    .unwrap();
    let body = request("/v1/completions", "", &json!({}));
    let mut stream = connect(&server);
    stream.write_all(&body).unwrap();
    stream.read_exact(&mut [0; 500]).unwrap();
    drop(stream);
    let few = json!({ "max_tokens": 2 });
    let answer = ask(&server, "/v1/completions", "", &few);
    assert_eq!(Answer::of(&answer).status, 200);
    let log = server.stop().unwrap();
    let complete = |number| log.iter().find(|it| it.request == number).unwrap().complete;
    assert!(!complete(0) && complete(1));
}

#[test]
fn a_connection_serves_many_requests_in_their_order() {
    let server = Server::spawn(paced()).unwrap();
    let mut stream = connect(&server);
    let mut bytes = Vec::new();
    for id in 0..3 {
        let last = if id == 2 { "connection: close\r\n" } else { "" };
        let headers = format!("x-request-id: {id}\r\n{last}");
        bytes.extend(request("/v1/completions", &headers, &json!({})));
    }
    stream.write_all(&bytes).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("[DONE]").count(), 3);
    let log = server.stop().unwrap();
    for pair in log.windows(2) {
        assert!(pair[1].received_ns >= *pair[0].writes_ns.last().unwrap());
        assert_eq!(pair[1].request, pair[0].request + 1);
    }
    assert_eq!(log.len(), 3);
}

#[test]
fn a_server_ends_with_its_handle() {
    let server = Server::spawn(at_once()).unwrap();
    let mut stream = connect(&server);
    drop(server);
    // It would be open until the process ends.
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
}

/// Opens them all, asks on all, then reads from all: the sockets hold what comes.
fn many(connections: usize, config: Config) -> Vec<Entry> {
    let count = config.tokens;
    let server = Server::spawn(config).unwrap();
    let mut streams: Vec<_> = (0..connections).map(|_| connect(&server)).collect();
    let body = request("/v1/chat/completions", "connection: close\r\n", &json!({}));
    for stream in &mut streams {
        stream.write_all(&body).unwrap();
    }
    for stream in &mut streams {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = Answer::of(&answer);
        assert_eq!(said(&events(&answer.text())).0, tokens(count));
    }
    let log = server.stop().unwrap();
    assert_eq!(log.len(), connections);
    let mut numbers: Vec<u32> = log.iter().map(|entry| entry.request).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..connections as u32));
    log
}

#[test]
fn threads_share_the_connections() {
    let log = many(
        30,
        Config {
            threads: 3,
            ..paced()
        },
    );
    for entry in &log {
        keeps_its_times(entry);
    }
}

#[test]
fn one_thread_holds_4096_slow_streams() {
    const STREAMS: usize = 4096;
    // Both ends are in this process.
    let files = prony_poll::raise_open_files();
    if files.is_some_and(|files| files < 2 * STREAMS as u64 + 100) {
        eprintln!("skipped: only {files:?} files may be open");
        return;
    }
    let log = many(
        STREAMS,
        Config {
            tokens: 4,
            time_to_first_token: Duration::from_secs(2),
            inter_token_latency: Duration::from_millis(250),
            ..paced()
        },
    );
    let mut late: Vec<u64> = log.iter().map(keeps_its_times).collect();
    late.sort_unstable();
    eprintln!(
        "latest write of a stream: {} ns in the median, {} ns at most",
        late[STREAMS / 2],
        late[STREAMS - 1]
    );
    let exact = [0, 1, 2, 3].map(|token| 2_000_000_000 + 250_000_000 * token);
    assert!(log.iter().all(|entry| due(entry) == exact));
}
