//! Mutants of the adapter for `OpenAI`'s API, with each protocol that it speaks.

mod support;

use engine_openai::PLUGIN;
use prony_conformance::mutants::Of;
use support::{all_are_found, fixtures};

#[test]
fn mutants_of_openai() {
    all_are_found(
        "openai",
        &PLUGIN,
        Of::Http,
        |kit| kit.fixtures(fixtures("engine-openai/fixtures")),
        &[
            "asks for no header of the answer",
            "headers of the answer lost",
            "another base URL",
            "an empty command",
            "a text counts one token less",
            "tokens of texts not told",
            "engine's stamps lost",
            "all forms claimed",
            "images claimed",
            "a history claimed",
        ],
    );
}

#[test]
fn mutants_of_native_protocols() {
    for protocol in ["llama-cpp", "ollama", "sglang", "tgi"] {
        all_are_found(
            protocol,
            &PLUGIN,
            Of::Http,
            |kit| kit.fixtures(fixtures(&format!("engine-openai/fixtures/{protocol}"))),
            &[
                "asks for no header of the answer",
                "headers of the answer lost",
                "another base URL",
                "an empty command",
                "a text counts one token less",
                "tokens of texts not told",
                "engine's stamps lost",
                "all forms claimed",
                "images claimed",
                "a history claimed",
                "first turn dropped",
                "ignore_eos dropped",
                "ignore_eos inverted",
                "history turned round",
                "history trimmed",
                "second image dropped",
                "images swapped",
                "wrong model",
                "end marks lost",
                "another model named",
                "cached count lost",
                "reasoning count lost",
                "reasoning as text",
                "tool call as text",
                "served model lost",
                "another model served",
                "engine version lost",
                "engine's times lost",
                "engine's times a thousandfold",
            ],
        );
    }
}

#[test]
fn mutants_of_a_launched_server() {
    let config = r#"{ "launch": {
        "command": ["server", "--port", 40961],
        "ready": { "log_line": "listening" }
    } }"#;
    all_are_found(
        "openai, launched",
        &PLUGIN,
        Of::Http,
        |kit| {
            kit.fixtures(fixtures("engine-openai/fixtures"))
                .config(config)
        },
        &[
            "asks for no header of the answer",
            "headers of the answer lost",
            "another base URL",
            "an empty command",
            "a text counts one token less",
            "tokens of texts not told",
            "engine's stamps lost",
            "all forms claimed",
            "images claimed",
            "a history claimed",
        ],
    );
}
