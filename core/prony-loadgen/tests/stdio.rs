//! The client for standard input and output against an engine with a known schedule, and
//! against engines that misbehave.

use prony_contract::{Ending, Message};
use prony_loadgen::Exchange;
use prony_loadgen::load::{Arrival, Load, Ramp, Running, Usage, single_request_sessions};
use prony_loadgen::stdio::Pipe;
use prony_record::ErrorClass;
use prony_truth_server::{StdioConfig, StdioFault, serve_stdio};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

fn config() -> StdioConfig {
    StdioConfig {
        tokens: 8,
        time_to_first_token: Duration::from_millis(2),
        inter_token_latency: Duration::from_micros(500),
        batch: 1,
        fault: None,
        fault_from: 0,
    }
}

/// An engine on a thread, and where what belongs to nobody goes.
fn engine(serve: impl FnOnce(PipeReader, PipeWriter) + Send + 'static) -> (Pipe, PipeReader) {
    let (input, to_engine) = io::pipe().expect("a pipe");
    let (from_engine, output) = io::pipe().expect("a pipe");
    let (log, to_log) = io::pipe().expect("a pipe");
    std::thread::spawn(move || serve(input, output));
    let file = |end: OwnedFd| File::from(end);
    let id_at = vec!["/params/stream_id".to_owned(), "/id".to_owned()];
    let (to, from) = (file(to_engine.into()), file(from_engine.into()));
    let pipe = Pipe::new(to, from, id_at, file(to_log.into())).expect("threads");
    (pipe, log)
}

fn truth(config: StdioConfig) -> (Pipe, PipeReader) {
    engine(move |input, output| {
        // A client that is gone is no defect.
        let _ = serve_stdio(BufReader::new(input), output, &config);
    })
}

fn request(number: u64) -> Message {
    let stream = format!("s{number}");
    let params = json!({ "stream_id": stream });
    Message {
        line: json!({ "id": number, "method": "generate", "params": params }).to_string(),
        ids: vec![number.to_string(), stream],
        ends: vec![
            Ending::is("/params/event", "completed"),
            Ending::is("/params/event", "error").failed(),
            Ending::at("/error").failed(),
        ],
    }
}

fn load(requests: u32, arrival: Arrival) -> Load<Message> {
    Load {
        requests: (1..=u64::from(requests)).map(request).collect(),
        sessions: single_request_sessions(requests),
        think: Duration::ZERO,
        delays: BTreeMap::new(),
        arrival,
        timeout: LIMIT,
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

fn all(mut running: Running) -> (BTreeMap<u32, Exchange>, Usage) {
    let mut exchanges = BTreeMap::new();
    while let Some(done) = running.blocking_next() {
        let before = exchanges.insert(done.index, done.exchange);
        assert!(before.is_none(), "a request ends once");
    }
    let usage = running.usage().cloned();
    (exchanges, usage.expect("an end"))
}

/// The lines of an answer, each with the read that completed it.
fn lines(exchange: &Exchange) -> Vec<(usize, Value)> {
    let mut at = 0;
    let whole = exchange.body.split_inclusive(|byte| *byte == b'\n');
    whole
        .map(|line| {
            at += line.len();
            let read = exchange.ends.partition_point(|end| (*end as usize) < at);
            (read, serde_json::from_slice(line).expect("a line of JSON"))
        })
        .collect()
}

/// Checks an answer of 8 tokens against what the engine says of its writing.
fn is_true(exchange: &Exchange, number: u32) {
    let seen = &exchange.seen;
    assert_eq!(seen.failed, None);
    assert_eq!(exchange.ends.len(), seen.reads_ns.len());
    assert_eq!(
        exchange.ends.last().map(|end| *end as usize),
        Some(exchange.body.len())
    );
    assert!(seen.stamps.intended_ns <= seen.stamps.sent_ns);
    assert!(seen.stamps.written_ns >= Some(seen.stamps.sent_ns));
    assert_eq!(seen.reads_ns.last(), Some(&seen.stamps.end_ns));
    let mut tokens = 0;
    let lines = lines(exchange);
    assert_eq!(lines[0].1["result"]["stream_id"], format!("s{number}"));
    for (read, line) in &lines[1..] {
        let params = &line["params"];
        assert_eq!(params["stream_id"], format!("s{number}"));
        let single = std::slice::from_ref(params);
        for token in params["tokens"].as_array().map_or(single, Vec::as_slice) {
            let Some(written) = token["written_ns"].as_u64() else {
                continue;
            };
            assert_eq!(token["token"], format!(" t{tokens}"));
            tokens += 1;
            assert!(
                seen.reads_ns[*read] >= written,
                "read before it was written"
            );
            // The schedule counts from when the engine has the request.
            let due = 2_000_000 + 500_000 * (tokens - 1);
            assert!(seen.reads_ns[*read] >= seen.stamps.sent_ns + due);
        }
    }
    assert_eq!(tokens, 8);
    assert_eq!(
        lines.last().expect("lines").1["params"]["event"],
        "completed"
    );
}

#[test]
fn a_known_schedule_is_recovered_alone_together_and_in_batches() {
    for (batch, concurrency) in [(1, 1), (1, 8), (3, 8)] {
        let (pipe, _log) = truth(StdioConfig { batch, ..config() });
        let (exchanges, usage) = all(pipe.start(load(24, closed(concurrency))));
        assert_eq!(exchanges.len(), 24);
        for (index, exchange) in &exchanges {
            is_true(exchange, index + 1);
        }
        assert!(usage.dropped.is_empty() && usage.reads > 0);
        assert_eq!(pipe.lost(), None);
        let together = |a: &Exchange, b: &Exchange| {
            let (a, b) = (a.seen.stamps, b.seen.stamps);
            a.sent_ns < b.end_ns && b.sent_ns < a.end_ns
        };
        assert_eq!(together(&exchanges[&0], &exchanges[&1]), concurrency > 1);
    }
}

#[test]
fn an_open_loop_sends_at_set_times_and_counts_from_them() {
    let (pipe, _log) = truth(config());
    let offsets_ns: Vec<u64> = (0..20).map(|n| n * 1_000_000).collect();
    let arrival = |max_in_flight| Arrival::Open {
        offsets_ns: offsets_ns.clone(),
        max_in_flight,
    };
    let (exchanges, _) = all(pipe.start(load(20, arrival(64))));
    assert_eq!(exchanges.len(), 20);
    let start = exchanges[&0].seen.stamps.intended_ns;
    for (index, exchange) in &exchanges {
        is_true(exchange, index + 1);
        let intended = exchange.seen.stamps.intended_ns - start;
        assert_eq!(intended, u64::from(*index) * 1_000_000);
    }
    // With room for one, each waits for the one before.
    let (exchanges, _) = all(pipe.start(load(20, arrival(1))));
    for (one, next) in exchanges.values().zip(exchanges.values().skip(1)) {
        assert!(one.seen.stamps.end_ns <= next.seen.stamps.sent_ns);
    }
    // What a duration leaves no time for is told.
    let mut short = load(20, arrival(1));
    short.until = Some(Duration::from_millis(1));
    let (exchanges, usage) = all(pipe.start(short));
    assert_eq!(exchanges.len() + usage.dropped.len(), 20);
    assert!(!usage.dropped.is_empty());
}

#[test]
fn turns_of_a_session_follow_one_another_and_wait_for_room() {
    let (pipe, _log) = truth(StdioConfig {
        batch: 8,
        ..config()
    });
    let think = Duration::from_millis(3);
    let open = Arrival::Open {
        offsets_ns: vec![0, 0, 1_000_000, 2_000_000],
        max_in_flight: 2,
    };
    for arrival in [closed(1), closed(3), open] {
        let is_open = matches!(arrival, Arrival::Open { .. });
        let mut load = load(12, arrival);
        load.sessions = vec![0..3, 3..4, 4..9, 9..12];
        load.think = think;
        let (exchanges, usage) = all(pipe.start(load));
        assert_eq!(exchanges.len(), 12);
        assert!(usage.dropped.is_empty());
        for next in [1, 2, 5, 6, 7, 8, 10, 11] {
            let before = exchanges[&(next - 1)].seen.stamps;
            let stamps = exchanges[&next].seen.stamps;
            let gap = stamps.sent_ns - before.end_ns;
            assert!(u128::from(gap) >= think.as_nanos(), "{next}: {gap}");
            if is_open {
                let due = before.end_ns + think.as_nanos() as u64;
                assert_eq!(stamps.intended_ns, due);
            }
        }
        for stamps in exchanges.values().map(|it| it.seen.stamps) {
            let meanwhile = exchanges.values().filter(|other| {
                let other = other.seen.stamps;
                other.sent_ns <= stamps.sent_ns && other.end_ns > stamps.sent_ns
            });
            assert!(!is_open || meanwhile.count() <= 2);
        }
    }
    // All begin, and have no time for more than a turn.
    let mut short = load(6, closed(2));
    short.arrival = Arrival::Open {
        offsets_ns: vec![0, 1_000_000],
        max_in_flight: 4,
    };
    short.sessions = vec![0..3, 3..6];
    short.think = Duration::from_hours(1);
    short.until = Some(LIMIT);
    let (exchanges, usage) = all(pipe.start(short));
    assert_eq!(exchanges.into_keys().collect::<Vec<_>>(), [0, 3]);
    assert!(usage.dropped.is_empty());
}

#[test]
fn each_fault_has_its_class() {
    let class = |fault, requests, timeout| {
        let (pipe, log) = truth(StdioConfig {
            fault: Some(fault),
            fault_from: 1,
            ..config()
        });
        let mut load = load(requests, closed(1));
        load.timeout = timeout;
        let (exchanges, _) = all(pipe.start(load));
        is_true(&exchanges[&0], 1);
        let failed = exchanges[&1].seen.failed.clone();
        (failed.map(|it| it.class), exchanges, pipe, log)
    };
    // What the engine says is the adapter's to read.
    for fault in [StdioFault::Refuse, StdioFault::Error] {
        let (class, exchanges, pipe, _) = class(fault, 3, LIMIT);
        assert_eq!((class, exchanges.len(), pipe.lost()), (None, 3, None));
        let last = lines(&exchanges[&1]).pop().expect("a line").1;
        assert!(last.get("error").is_some() || last["params"]["event"] == "error");
    }
    let (class_of, exchanges, pipe, _) = class(StdioFault::Exit, 3, LIMIT);
    assert_eq!(class_of, Some(ErrorClass::Truncated));
    assert_eq!(
        exchanges.len(),
        2,
        "nothing is sent to an engine that has ended"
    );
    assert_eq!(lines(&exchanges[&1]).len(), 5, "what came before is kept");
    assert!(pipe.lost().is_some());
    let stalled = Duration::from_millis(300);
    let (class_of, exchanges, pipe, _) = class(StdioFault::Stall, 3, stalled);
    assert_eq!(class_of, Some(ErrorClass::Timeout));
    assert_eq!(exchanges.len(), 2);
    let lost = pipe.lost().expect("no answer can be called off");
    assert!(lost.message.contains("request 1"), "{lost:?}");
    // A later load finds that out at once.
    assert!(all(pipe.start(load(3, closed(1)))).0.is_empty());
}

#[test]
fn what_belongs_to_nobody_is_for_the_log() {
    let (pipe, mut log) = truth(StdioConfig {
        fault: Some(StdioFault::Garbage),
        ..config()
    });
    let (exchanges, _) = all(pipe.start(load(2, closed(2))));
    for (index, exchange) in &exchanges {
        is_true(exchange, index + 1);
    }
    drop(pipe);
    let mut logged = String::new();
    log.read_to_string(&mut logged).expect("a log");
    assert_eq!(logged.matches("\"no object\"\n").count(), 2, "{logged}");
    assert_eq!(logged.matches("nobody's").count(), 2, "{logged}");
}

/// Whatever the bytes are cut into, the same lines belong to the same requests.
#[test]
fn no_cut_changes_what_belongs_to_whom() {
    let said = "{\"id\":1,\"result\":{}}\n\u{feff}garbage\u{e4}\n{\"id\":2,\"result\":{}}\r\n\n\
                {\"params\":{\"stream_id\":\"s2\",\"token\":\"\u{1f980}\"}}\n\
                {\"params\":{\"stream_id\":\"s1\",\"event\":\"completed\"}}\n\
                {\"params\":{\"stream_id\":\"s2\",\"event\":\"completed\"}}\n";
    let mut bytes = said.as_bytes().to_vec();
    bytes.splice(30..30, *b"\xff\xfe");
    let bodies = |cut: usize| {
        let bytes = bytes.clone();
        let (pipe, _log) = engine(move |mut input, mut output| {
            let mut room = [0; 4096];
            let mut asked = 0;
            while asked < 2 {
                let count = input.read(&mut room).expect("requests");
                asked += room[..count].split(|byte| *byte == b'\n').count() - 1;
            }
            for piece in bytes.chunks(cut) {
                output.write_all(piece).expect("a client");
                std::thread::yield_now();
            }
        });
        let (exchanges, _) = all(pipe.start(load(2, closed(2))));
        for exchange in exchanges.values() {
            assert_eq!(exchange.seen.failed, None);
            assert_eq!(exchange.ends.len(), exchange.seen.reads_ns.len());
            assert!(exchange.ends.is_sorted());
        }
        exchanges
            .into_values()
            .map(|exchange| exchange.body)
            .collect::<Vec<_>>()
    };
    let whole = bodies(usize::MAX);
    assert_eq!(lines_of(&whole), [2, 3]);
    for cut in [1, 2, 3, 7, 20, 64] {
        assert_eq!(bodies(cut), whole, "in pieces of {cut}");
    }
}

fn lines_of(bodies: &[Vec<u8>]) -> Vec<usize> {
    let count = |body: &Vec<u8>| body.split(|byte| *byte == b'\n').count() - 1;
    bodies.iter().map(count).collect()
}

/// An engine that does not read while it writes holds up nobody else.
#[test]
fn full_pipes_in_both_directions_do_not_lock() {
    let (pipe, _log) = engine(|mut input, mut output| {
        // More than a pipe holds, before anything is read.
        let stray = vec![b'x'; 1 << 20];
        output.write_all(&stray).expect("a client");
        output.write_all(b"\n").expect("a client");
        let mut asked = Vec::new();
        let mut room = vec![0; 64 << 10];
        while !asked.ends_with(b"\n") {
            let count = input.read(&mut room).expect("a request");
            asked.extend_from_slice(&room[..count]);
        }
        let length = asked.len();
        writeln!(output, "{{\"id\":1,\"error\":{length}}}").expect("a client");
    });
    let mut load = load(1, closed(1));
    let long = json!({ "id": 1, "prompt": "p".repeat(1 << 20) }).to_string();
    let length = long.len() + 1;
    load.requests[0].line = long;
    let (exchanges, _) = all(pipe.start(load));
    assert_eq!(exchanges[&0].seen.failed, None);
    assert_eq!(lines(&exchanges[&0])[0].1["error"], length);
}

#[test]
fn two_requests_with_one_id_are_a_defect_of_the_adapter() {
    let (pipe, _log) = truth(config());
    let mut load = load(2, closed(2));
    load.requests[1] = load.requests[0].clone();
    let (exchanges, _) = all(pipe.start(load));
    let failed = exchanges[&1].seen.failed.clone().expect("a failure");
    assert_eq!(failed.class, ErrorClass::Protocol);
    is_true(&exchanges[&0], 1);
}

/// An engine that reads nothing and writes `bytes` for ever.
fn endless(bytes: &'static [u8]) -> Pipe {
    let (pipe, mut log) = engine(move |_input, mut output| {
        let block = bytes.repeat((64 << 10) / bytes.len());
        while output.write_all(&block).is_ok() {}
    });
    std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
    pipe
}

#[test]
fn an_engine_that_writes_without_end_delays_no_timeout() {
    for (bytes, class) in [
        (&b"a"[..], ErrorClass::Protocol),
        (b"1,", ErrorClass::Protocol),
        (b"\n", ErrorClass::Timeout),
        (b"{\"id\":\"x\"}\n", ErrorClass::Timeout),
        (b"{\"id\":1}\n", ErrorClass::Timeout),
    ] {
        let pipe = endless(bytes);
        let timeout = Duration::from_millis(500);
        let (exchanges, _) = all(pipe.start(Load {
            timeout,
            ..load(1, closed(1))
        }));
        let failed = exchanges[&0].seen.failed.as_ref().expect("a failure");
        let words = String::from_utf8_lossy(bytes);
        assert_eq!(failed.class, class, "{words}: {}", failed.message);
        // And when it is told to.
        let pipe = endless(bytes);
        let running = pipe.start(load(1, closed(1)));
        std::thread::sleep(Duration::from_millis(100));
        running.stop();
        all(running);
    }
}
