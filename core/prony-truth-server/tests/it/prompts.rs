//! What the usage says of prompts.

use crate::kit::{Answer, ask, at_once};
use prony_truth_server::{Config, IMAGE_TOKENS, PROMPT_TOKENS, PromptTokens, Server};
use serde_json::{Value, json};

fn usage(server: &Server, messages: &[Value]) -> Value {
    let body = json!({ "messages": messages });
    Answer::of(&ask(server, "/v1/chat/completions", "", &body)).usage()
}

fn message(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

#[test]
fn prompts_cost_the_same_unless_words_are_counted() {
    let server = Server::spawn(at_once()).unwrap();
    let usage = usage(&server, &[message("a b c")]);
    assert_eq!(usage["prompt_tokens"], PROMPT_TOKENS);
    assert_eq!(usage["total_tokens"], PROMPT_TOKENS + 8);
    assert_eq!(usage["prompt_tokens_details"], Value::Null);
}

#[test]
fn words_are_counted() {
    let server = Server::spawn(Config {
        prompt_tokens: PromptTokens::Words,
        ..at_once()
    })
    .unwrap();
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } });
    let parts = json!({ "role": "user", "content": [{ "type": "text", "text": "d e" }, image] });
    let usage = usage(&server, &[message("a b\nc"), parts]);
    assert_eq!(usage["prompt_tokens"], 5 + 2 * PROMPT_TOKENS + IMAGE_TOKENS);
    let plain = ask(&server, "/v1/completions", "", &json!({ "prompt": "a b" }));
    assert_eq!(Answer::of(&plain).usage()["prompt_tokens"], 2);
}

#[test]
fn the_prefix_cache_tells_what_it_knew() {
    let server = Server::spawn(Config {
        prefix_cache: true,
        threads: 2,
        ..at_once()
    })
    .unwrap();
    for (text, cached) in [
        ("a b c d", 0),
        ("a b c d", 4),
        ("a b c e f", 3),
        ("x a b c", 0),
        ("a b c e f g", 5),
    ] {
        let usage = usage(&server, &[message(text)]);
        assert_eq!(
            usage["prompt_tokens_details"]["cached_tokens"], cached,
            "{text}"
        );
        let words = text.split(' ').count() as u32;
        assert_eq!(usage["prompt_tokens"], words + PROMPT_TOKENS);
    }
}
