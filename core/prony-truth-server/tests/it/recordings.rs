//! Recorded responses are played as they are.

use crate::kit::{at_once, connect, keeps_its_times, request};
use prony_truth_server::{Config, Log, Recording, Server};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

/// Neither HTTP nor anything else.
const BYTES: &[u8] = b"HTTP/9 what?\r\n\0\xff, and no end";

fn playing(times: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let http = folder.path().join("case.http");
    std::fs::write(&http, BYTES).unwrap();
    std::fs::write(folder.path().join("case.txt"), times).unwrap();
    Server::spawn(Config {
        recording: Some(Recording::read(&http).unwrap()),
        log: Log::in_memory(),
        ..at_once()
    })
    .unwrap()
}

#[test]
fn each_piece_is_written_raw_and_at_its_time() {
    let server = playing("end of connection: keep\npieces:\n+3 10\n+0 7\n+20 0\n+5 11\n");
    let mut stream = connect(&server);
    for path in ["/v1/models", "/health?a=b"] {
        stream.write_all(&request(path, "", &json!({}))).unwrap();
        let mut answer = vec![0; BYTES.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, BYTES);
    }
    let log = server.stop().unwrap();
    let paths: Vec<_> = log.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["/v1/models", "/health?a=b"]);
    for entry in log {
        assert!(entry.complete);
        // A piece of nothing is a pause and no write.
        let due = entry.intended_ns.iter().map(|at| at - entry.received_ns);
        assert_eq!(due.collect::<Vec<_>>(), [3, 3, 28].map(|ms| ms * 1_000_000));
        keeps_its_times(&entry);
    }
}

#[test]
fn connections_end_as_the_recording_says() {
    let read = |stream: &mut std::net::TcpStream| {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map(|_| answer)
    };
    let closing = playing("end of connection: close\npieces:\n+0 28\n");
    let mut stream = connect(&closing);
    stream.write_all(&request("/", "", &json!({}))).unwrap();
    assert_eq!(read(&mut stream).unwrap(), BYTES);

    let holding = playing("end of connection: hold\npieces:\n+0 28\n");
    let mut stream = connect(&holding);
    let twice = [request("/", "", &json!({})), request("/", "", &json!({}))].concat();
    stream.write_all(&twice).unwrap();
    let mut answer = vec![0; BYTES.len()];
    stream.read_exact(&mut answer).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    // Nothing more comes, and no end, until the client ends it.
    read(&mut stream).unwrap_err();
    stream.set_read_timeout(None).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read(&mut stream).unwrap(), b"");
}

#[test]
fn what_cannot_be_played_names_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let http = folder.path().join("case.http");
    let error = |words: &str| {
        let error = Recording::read(&http).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    error("case.http: ");
    std::fs::write(&http, BYTES).unwrap();
    error("case.txt: ");
    std::fs::write(folder.path().join("case.txt"), "keep\n").unwrap();
    error("case.txt: there is no line");
}
