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
        not_http stall slow_headers reset wrong_length bad_chunk redirect huge_head endless_head \
        endless_interim endless_extension endless_chunks endless_trailers ignore_stop ignore_seed \
        ignore_ignore_eos cut_prompt no_usage no_end_mark";
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

/// Text and finish reason of the answer to a chat with these fields.
fn answer_to(server: &Server, fields: &serde_json::Value) -> (String, Option<String>) {
    let bytes = crate::kit::ask(server, "/v1/chat/completions", "", fields);
    said(&events(&Answer::of(&bytes).text()))
}

fn with(fault: Option<Fault>, config: Config) -> Server {
    Server::spawn(Config { fault, ..config }).unwrap()
}

#[test]
fn a_stop_text_ends_an_answer_unless_it_is_ignored() {
    let to = |fault, stop| answer_to(&with(fault, at_once()), &json!({ "stop": stop }));
    let reason = |reason: &str| Some(reason.to_owned());
    let asked = json!(["none", "t3 t4"]);
    assert_eq!(to(None, asked.clone()), (tokens(4), reason("stop")));
    assert_eq!(to(None, json!("t7")), (tokens(7), reason("stop")));
    assert_eq!(to(Some(Fault::IgnoreStop), asked).0, tokens(8));
}

#[test]
fn a_seed_decides_what_is_sampled_unless_it_is_ignored() {
    let sampling = || Config {
        samples: true,
        ..at_once()
    };
    let server = with(None, sampling());
    let to = |seed: u32, temperature: u32| {
        let fields = json!({ "seed": seed, "temperature": temperature });
        answer_to(&server, &fields).0
    };
    assert_eq!(to(1, 1), to(1, 1));
    assert_ne!(to(1, 1), to(2, 1));
    assert_eq!([to(1, 0), to(2, 0)], [tokens(8), tokens(8)]);
    let server = with(Some(Fault::IgnoreSeed), sampling());
    let fields = json!({ "seed": 1, "temperature": 1 });
    assert_ne!(answer_to(&server, &fields), answer_to(&server, &fields));
}

#[test]
fn ignore_eos_is_honoured_or_not() {
    let config = || Config {
        eos_after: Some(3),
        ..at_once()
    };
    let fields = json!({ "ignore_eos": true, "max_tokens": 8 });
    let to = |fault| answer_to(&with(fault, config()), &fields).0;
    assert_eq!(to(None), tokens(8));
    assert_eq!(to(Some(Fault::IgnoreIgnoreEos)), tokens(3));
}

#[test]
fn a_prompt_beyond_the_context_is_refused_or_cut() {
    let config = || Config {
        prompt_tokens: prony_truth_server::PromptTokens::Words,
        context: Some(5),
        ..at_once()
    };
    let to = |fault| {
        let fields = json!({ "prompt": "1 2 3 4 5 6" });
        Answer::of(&crate::kit::ask(
            &with(fault, config()),
            "/v1/completions",
            "",
            &fields,
        ))
    };
    assert_eq!(to(None).status, 400);
    assert_eq!(to(Some(Fault::CutPrompt)).usage()["prompt_tokens"], 5);
}

#[test]
fn usage_and_end_mark_may_be_missing() {
    let silent = Answer::of(&bytes(Fault::NoUsage)).text();
    assert!(!silent.contains("usage") && silent.ends_with("data: [DONE]\n\n"));
    let endless = Answer::of(&bytes(Fault::NoEndMark)).text();
    assert!(endless.contains("usage") && !endless.contains("DONE"));
}

#[test]
fn tokens_of_a_write_may_be_one_event() {
    let config = Config {
        coalesce: 4,
        merge: true,
        inter_token_latency: Duration::from_millis(1),
        ..at_once()
    };
    let events = events(&Answer::of(&chat(&Server::spawn(config).unwrap())).text());
    assert_eq!(events[0]["choices"][0]["delta"]["content"], tokens(4));
    assert_eq!(said(&events).0, tokens(8));
}
