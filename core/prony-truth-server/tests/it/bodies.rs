//! Framing, compression, encryption, and what an answer says.

use crate::kit::{Answer, ask, at_once, chat, connect, events, request, said, tokens};
use flate2::write::GzDecoder;
use prony_truth_server::{Config, Framing, Identity, Server};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_end_is_told_in_three_ways() {
    let mut bodies = Vec::new();
    for framing in [Framing::Chunked, Framing::Close, Framing::Length] {
        let server = Server::spawn(Config {
            framing,
            ..at_once()
        })
        .unwrap();
        let answer = Answer::of(&chat(&server));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert_eq!(answer.header("content-encoding"), None);
        let chunked = framing == Framing::Chunked;
        assert_eq!(answer.header("transfer-encoding").is_some(), chunked);
        let length = framing == Framing::Length;
        assert_eq!(answer.header("content-length").is_some(), length);
        let close = framing == Framing::Close;
        assert_eq!(answer.header("connection").is_some(), close);
        // One chunk an event: the tokens, the finish, the usage, `[DONE]`.
        assert_eq!(answer.chunks, if chunked { 8 + 3 } else { 0 });
        bodies.push(answer.text());
    }
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(bodies[0], bodies[2]);
}

#[test]
fn a_body_that_ends_with_the_connection_ends_it() {
    let server = Server::spawn(Config {
        framing: Framing::Close,
        ..at_once()
    })
    .unwrap();
    let mut stream = connect(&server);
    let body = request("/v1/chat/completions", "", &json!({}));
    stream.write_all(&body).unwrap();
    let mut answer = Vec::new();
    // This side has not ended it.
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(said(&events(&Answer::of(&answer).text())).0, tokens(8));
}

#[test]
fn who_accepts_it_gets_it_compressed() {
    for framing in [Framing::Chunked, Framing::Close, Framing::Length] {
        let server = Server::spawn(Config {
            framing,
            gzip: true,
            inter_token_latency: Duration::from_millis(1),
            ..at_once()
        })
        .unwrap();
        let path = "/v1/chat/completions";
        let plain = Answer::of(&ask(&server, path, "", &json!({})));
        assert_eq!(plain.header("content-encoding"), None);
        let accepting = "accept-encoding: deflate, gzip\r\n";
        let answer = Answer::of(&ask(&server, path, accepting, &json!({})));
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        let mut decoder = GzDecoder::new(Vec::new());
        decoder.write_all(&answer.body).unwrap();
        assert_eq!(decoder.finish().unwrap(), plain.body);
        if framing == Framing::Chunked {
            // A chunk for each token, for the end, and for the trailer of gzip.
            assert!(answer.chunks >= 9, "{}", answer.chunks);
        }
    }
}

#[test]
fn a_client_that_trusts_the_certificate_gets_its_answer() {
    let identity = Identity::self_signed().unwrap();
    let pem = identity.certificate_pem().to_owned();
    let server = Server::spawn(Config {
        tls: Some(identity),
        tokens: 3000,
        ..at_once()
    })
    .unwrap();
    assert!(server.url.starts_with("https://127.0.0.1:"));
    let client = |roots: RootCertStore, versions: &[&'static rustls::SupportedProtocolVersion]| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(client, connect(&server))
    };
    let body = request("/v1/chat/completions", "connection: close\r\n", &json!({}));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        roots.add(certificate).unwrap();
        let mut stream = client(roots, &[version]);
        stream.write_all(&body).unwrap();
        let mut answer = Vec::new();
        // An end without TLS's own would be an error.
        stream.read_to_end(&mut answer).unwrap();
        let answer = Answer::of(&answer);
        assert_eq!(said(&events(&answer.text())).0, tokens(3000));
    }
    let mut stranger = client(RootCertStore::empty(), &[&rustls::version::TLS13]);
    stranger.write_all(&body).unwrap_err();
}

#[test]
fn tls_is_paced_too() {
    let log = prony_truth_server::Log::in_memory();
    let identity = Identity::self_signed().unwrap();
    let pem = identity.certificate_pem().to_owned();
    let server = Server::spawn(Config {
        tls: Some(identity),
        log,
        inter_token_latency: Duration::from_millis(2),
        ..at_once()
    })
    .unwrap();
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(client, connect(&server));
    let body = request("/v1/completions", "connection: close\r\n", &json!({}));
    stream.write_all(&body).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    let log = server.stop().unwrap();
    assert_eq!(log[0].tokens_per_write, [0, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
    crate::kit::keeps_its_times(&log[0]);
}

#[test]
fn the_request_says_how_many_tokens() {
    let server = Server::spawn(Config {
        eos_after: Some(5),
        ..at_once()
    })
    .unwrap();
    for (body, count, reason) in [
        (json!({}), 5, "stop"),
        (json!({ "max_tokens": 3 }), 3, "length"),
        (json!({ "max_completion_tokens": 3 }), 3, "length"),
        (json!({ "max_tokens": 5 }), 5, "length"),
        (json!({ "max_tokens": 6 }), 5, "stop"),
        (json!({ "max_tokens": 6, "ignore_eos": true }), 6, "length"),
        (json!({ "ignore_eos": true }), 8, "stop"),
        (json!({ "max_tokens": 9, "ignore_eos": true }), 8, "stop"),
        (json!({ "max_tokens": 0 }), 0, "length"),
    ] {
        let answer = Answer::of(&ask(&server, "/v1/chat/completions", "", &body));
        let told = said(&events(&answer.text()));
        assert_eq!(told, (tokens(count), Some(reason.to_owned())), "{body}");
        assert_eq!(answer.usage()["completion_tokens"], count, "{body}");
    }
}

#[test]
fn each_path_has_its_shape() {
    let server = Server::spawn(at_once()).unwrap();
    let plain = Answer::of(&ask(&server, "/v1/completions", "", &json!({})));
    let events = events(&plain.text());
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, tokens(8));
    assert!(events.iter().all(|it| it["object"] == "text_completion"));
    let chat = Answer::of(&chat(&server));
    let events = crate::kit::events(&chat.text());
    let object = "chat.completion.chunk";
    assert!(events.iter().all(|it| it["object"] == object));
    let model =
        |it: &serde_json::Value| it["model"] == "truth" && it["system_fingerprint"] == "truth-1";
    assert!(events.iter().all(model));
    let models = Answer::of(&ask(&server, "/v1/models", "", &json!({})));
    assert!(models.text().contains(r#""id":"truth""#));
    for path in ["/health", "/"] {
        let answer = Answer::of(&ask(&server, path, "", &json!({})));
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
}

#[test]
fn what_is_not_http_is_refused() {
    let server = Server::spawn(at_once()).unwrap();
    let mut stream = connect(&server);
    stream.write_all(b"EHLO there\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(Answer::of(&answer).status, 400);
}
