//! What the server answers to requests with images, over HTTP.

use prony_truth_server::{Config, IMAGE_TOKENS, Images, PROMPT_TOKENS, serve};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

fn server(images: Images) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = Config {
        tokens: 2,
        time_to_first_token: Duration::ZERO,
        inter_token_latency: Duration::ZERO,
        images,
        ..Config::default()
    };
    std::thread::spawn(move || serve(&listener, config));
    address
}

/// Status and the whole rest of the answer.
fn ask(server: SocketAddr, path: &str, body: &Value) -> (u16, String) {
    let mut stream = TcpStream::connect(server).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST /v1/{path} HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

fn chat(server: SocketAddr, urls: &[&str]) -> (u16, String) {
    let images = urls
        .iter()
        .map(|url| json!({ "type": "image_url", "image_url": { "url": url } }));
    let text = json!({ "type": "text", "text": "p" });
    let content: Value = images.chain([text]).collect();
    let body = json!({ "max_tokens": 2, "messages": [{ "role": "user", "content": content }] });
    ask(server, "chat/completions", &body)
}

#[test]
fn each_image_costs_its_tokens() {
    let server = server(Images::Counted);
    for images in 0..3 {
        let (status, answer) = chat(server, &vec![PNG; images as usize]);
        assert_eq!(status, 200, "{answer}");
        let tokens = format!(
            "\"prompt_tokens\":{},",
            PROMPT_TOKENS + images * IMAGE_TOKENS
        );
        assert!(answer.contains(&tokens), "{tokens}: {answer}");
        assert!(answer.contains("[DONE]"), "{answer}");
    }
}

#[test]
fn what_is_no_image_is_a_bad_request() {
    for url in ["http://h/a.png", "data:image/png;base64,AAAA"] {
        let (status, answer) = chat(server(Images::Counted), &[PNG, url]);
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains("{\"error\":{\"message\":\"an "), "{answer}");
    }
}

#[test]
fn an_image_can_be_required() {
    let server = server(Images::Required);
    assert_eq!(chat(server, &[PNG]).0, 200);
    for (status, answer) in [
        chat(server, &[]),
        ask(server, "completions", &json!({ "prompt": "p" })),
    ] {
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains("an image is required"), "{answer}");
    }
}

#[test]
fn dropped_images_cost_nothing_and_must_be_images_all_the_same() {
    let server = server(Images::Dropped);
    let (status, answer) = chat(server, &[PNG]);
    assert_eq!(status, 200, "{answer}");
    let tokens = format!("\"prompt_tokens\":{PROMPT_TOKENS},");
    assert!(answer.contains(&tokens), "{answer}");
    assert_eq!(chat(server, &["http://h/a.png"]).0, 400);
}
