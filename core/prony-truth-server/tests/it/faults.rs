//! The bytes of each fault.

use crate::kit::{Answer, at_once, chat, connect, events, request, said, tokens};
use prony_truth_server::{Config, Fault, Framing, Log, Server};
use serde_json::json;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

fn server(fault: Fault) -> Server {
    Server::spawn(Config {
        fault: Some(fault),
        ..at_once()
    })
    .unwrap()
}

/// Everything a chat with this fault brings.
fn bytes(fault: Fault) -> Vec<u8> {
    chat(&server(fault))
}

fn text(fault: Fault) -> String {
    String::from_utf8(bytes(fault)).unwrap()
}

#[test]
fn every_fault_has_its_name() {
    let names = Fault::ALL.map(Fault::name);
    let expected = "error_frame empty cut http500 http404 hang crash garbage zero_tokens no_finish \
        not_http stall slow_headers reset wrong_length bad_chunk redirect huge_head";
    assert!(names.iter().eq(expected.split_whitespace()), "{names:?}");
}

#[test]
fn faults_begin_when_they_are_to() {
    let server = Server::spawn(Config {
        fault: Some(Fault::Http500),
        fault_from: 2,
        ..at_once()
    })
    .unwrap();
    let statuses = [(); 4].map(|()| Answer::of(&chat(&server)).status);
    assert_eq!(statuses, [200, 200, 500, 500]);
}

#[test]
fn an_error_frame_is_in_the_middle() {
    let answer = Answer::of(&bytes(Fault::ErrorFrame));
    let events = events(&answer.text());
    assert_eq!(events[4]["error"]["message"], "broken on purpose");
    assert_eq!(said(&events).0, tokens(8));
}

#[test]
fn empty_is_well_formed() {
    let answer = Answer::of(&bytes(Fault::Empty));
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.header("content-length"), Some("0"));
}

#[test]
fn a_cut_leaves_half() {
    for framing in [Framing::Chunked, Framing::Close, Framing::Length] {
        let server = Server::spawn(Config {
            fault: Some(Fault::Cut),
            framing,
            log: Log::in_memory(),
            ..at_once()
        })
        .unwrap();
        let text = String::from_utf8(chat(&server)).unwrap();
        assert!(
            text.contains("\" t3\"") && !text.contains("\" t4\""),
            "{text}"
        );
        assert!(!text.contains("\r\n0\r\n") && !text.contains("DONE"));
        let log = server.stop().unwrap();
        assert_eq!(log[0].tokens_per_write.iter().sum::<u32>(), 4);
        assert!(!log[0].complete);
    }
}

#[test]
fn a_reset_is_no_end() {
    let server = server(Fault::Reset);
    let mut stream = connect(&server);
    let body = request("/v1/chat/completions", "", &json!({}));
    stream.write_all(&body).unwrap();
    let mut answer = Vec::new();
    let error = stream.read_to_end(&mut answer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let text = String::from_utf8(answer).unwrap();
    assert!(!text.contains("\" t4\""), "{text}");
}

#[test]
fn http_errors_have_their_status() {
    let answer = Answer::of(&bytes(Fault::Http500));
    assert_eq!(answer.status, 500);
    assert_eq!(
        answer.text(),
        r#"{"error":{"message":"broken on purpose"}}"#
    );
    let answer = Answer::of(&bytes(Fault::Http404));
    assert_eq!(answer.status, 404);
    assert_eq!(answer.text(), r#"{"error":"no such model"}"#);
}

#[test]
fn a_hang_comes_after_the_first_token() {
    let server = server(Fault::Hang);
    let mut stream = connect(&server);
    let body = request("/v1/chat/completions", "", &json!({}));
    stream.write_all(&body).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    let text = String::from_utf8(answer).unwrap();
    assert!(text.contains("\" t0\""), "{text}");
    let pause = Some(Duration::from_millis(200));
    stream.set_read_timeout(pause).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
}

#[test]
fn a_crash_ends_the_process() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::crashing", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    // The harness may have put its own words before.
    let line = output.lines().map(Result::unwrap);
    let address = { line }
        .find_map(|line| Some(line.split_once("serves at http://")?.1.to_owned()))
        .unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let body = request("/v1/chat/completions", "", &json!({}));
    stream.write_all(&body).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(!answer.contains("\" t4\""), "{answer}");
    assert_eq!(child.wait().unwrap().code(), Some(42));
}

#[test]
#[ignore = "a process for `a_crash_ends_the_process`"]
fn crashing() {
    let server = server(Fault::Crash);
    println!("serves at {}", server.url);
    std::thread::sleep(Duration::from_secs(20));
}

#[test]
fn garbage_is_one_line() {
    let answer = Answer::of(&bytes(Fault::Garbage));
    assert!(answer.text().contains("data: {\"choices\": [oops\n\n"));
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
}

#[test]
fn zero_tokens_are_counted_as_such() {
    let answer = Answer::of(&bytes(Fault::ZeroTokens));
    let said = said(&events(&answer.text()));
    assert_eq!(said, (String::new(), Some("stop".to_owned())));
    assert_eq!(answer.usage()["completion_tokens"], 0);
}

#[test]
fn no_finish_has_all_else() {
    let answer = Answer::of(&bytes(Fault::NoFinish));
    assert_eq!(said(&events(&answer.text())), (tokens(8), None));
    assert_eq!(answer.usage()["completion_tokens"], 8);
}

#[test]
fn not_http_is_another_protocol() {
    assert_eq!(text(Fault::NotHttp), "220 ready to serve mail\r\n");
}

#[test]
fn a_wrong_length_promises_too_much() {
    let server = server(Fault::WrongLength);
    let mut stream = connect(&server);
    let body = request("/v1/chat/completions", "", &json!({}));
    stream.write_all(&body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    assert_eq!(length, body.len() + 64);
    assert_eq!(said(&events(body)).0, tokens(8));
}

#[test]
fn a_bad_chunk_has_no_size() {
    let text = text(Fault::BadChunk);
    let (before, after) = text.split_once("\r\nzz\r\n").unwrap();
    assert!(before.contains("\" t3\"") && !before.contains("\" t4\""));
    assert!(after.contains("\" t4\"") && after.ends_with("\r\n0\r\n\r\n"));
}

#[test]
fn a_redirect_leads_somewhere() {
    let server = server(Fault::Redirect);
    let answer = Answer::of(&chat(&server));
    assert_eq!(answer.status, 302);
    let path = answer.header("location").unwrap();
    let there = crate::kit::ask(&server, path, "", &json!({}));
    assert_eq!(Answer::of(&there).text(), "ok");
}

#[test]
fn a_huge_head_is_a_right_one() {
    let answer = Answer::of(&bytes(Fault::HugeHead));
    assert!(answer.head.len() > 64 << 10);
    assert_eq!(said(&events(&answer.text())).0, tokens(8));
}
