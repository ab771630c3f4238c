//! `prony try`.

use crate::kit::{Scratch, Server};

#[test]
fn two_addresses_lead_to_a_verdict_and_a_pipeline() {
    let fast = Server::start(&[
        "--tokens",
        "8",
        "--time-to-first-token-ms",
        "2",
        "--inter-token-latency-us",
        "500",
    ]);
    let slow = Server::start(&[
        "--tokens",
        "8",
        "--time-to-first-token-ms",
        "10",
        "--inter-token-latency-us",
        "2000",
    ]);
    let scratch = Scratch::new();
    let address = fast.url.trim_start_matches("http://").trim_end_matches('/');
    let output = scratch.prony(&["try", &slow.url, address]).exits(0);
    let output = output
        .complains("serves `truth`")
        .complains("wrote try.yaml");
    assert!(output.stdout.contains("faster"), "{output:?}");
    // The pipeline is clean, and there to go on from.
    scratch
        .prony(&["validate", "try.yaml", "--deny", "warnings"])
        .exits(0);
    let again = scratch
        .prony(&["try", &slow.url, &fast.url, "--no-run"])
        .exits(2);
    again.complains("`try.yaml` exists already");
    scratch
        .prony(&["try", &slow.url, "--no-run", "--file", "one.yaml"])
        .exits(0)
        .prints("prony run one.yaml");
    scratch
        .prony(&["validate", "one.yaml", "--deny", "warnings"])
        .exits(0);
}

#[test]
fn a_model_that_is_not_served_and_an_address_given_twice_are_refused() {
    let server = Server::start(&[]);
    let scratch = Scratch::new();
    scratch
        .prony(&["try", &server.url, "--model", "other", "--no-run"])
        .exits(2)
        .complains("has no model `other`; it serves `truth`");
    scratch
        .prony(&["try", &server.url, &format!("{}/", server.url), "--no-run"])
        .exits(2)
        .complains("is given twice: `prony aa` compares an engine with itself");
    assert!(!scratch.path("try.yaml").exists(), "nothing is written");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let scratch = Scratch::new();
    let output = scratch.prony(&["try", "127.0.0.1:9"]).exits(1);
    output.complains("`http://127.0.0.1:9/v1` does not tell its models");
    scratch
        .prony(&["try", "nothing=127.0.0.1:9"])
        .exits(2)
        .complains("nothing");
    scratch
        .prony(&["try", "--engine", "llama.cpp", "--model", "m.gguf"])
        .exits(2)
        .complains("no engine plugin `llama.cpp` is installed, but `llama-cpp` is");
    scratch.prony(&["try"]).exits(2);
    let with_password = scratch
        .prony(&["try", "http://me:hunter22@127.0.0.1:9"])
        .exits(2);
    let with_password = with_password.complains("take the user and the password out of it");
    assert!(!with_password.stderr.contains("hunter22"));
    let key = [
        "try",
        "127.0.0.1:9",
        "--api-key-env",
        "PRONY_TEST_NO_SUCH_KEY",
    ];
    scratch.prony(&key).exits(2).complains("is not set");
    assert!(!scratch.path("try.yaml").exists(), "nothing is written");
}

#[test]
fn engines_are_started_with_a_model() {
    let scratch = Scratch::new();
    scratch.write("model.gguf", "none");
    let engines = [
        "try",
        "--engine",
        "candle",
        "--engine",
        "candle",
        "--model",
        "model.gguf",
        "--no-run",
    ];
    scratch.prony(&engines).exits(0);
    let text = scratch.read("try.yaml");
    assert!(
        text.contains("\"candle-1\"")
            && text.contains("\"candle-2\"")
            && text.contains("path: \"model.gguf\"\n  sha256: \"140bedbf"),
        "{text}"
    );
    scratch.prony(&["validate", "try.yaml"]).exits(0);
    // Of a folder nothing says which weights it holds, which a first look need not.
    std::fs::create_dir(scratch.path("weights")).expect("a folder");
    let folder = [
        "try",
        "--engine",
        "candle",
        "--engine",
        "mlx-lm",
        "--model",
        "weights",
        "--no-run",
        "--file",
        "folder.yaml",
    ];
    scratch.prony(&folder).exits(0);
    assert!(scratch.read("folder.yaml").contains("code: F0009"));
    scratch
        .prony(&["validate", "folder.yaml", "--deny", "warnings"])
        .exits(0);
    let hub = [
        "try",
        "--engine",
        "candle",
        "--model",
        "acme/tiny",
        "--files",
        "*.gguf",
        "--no-run",
        "--force",
    ];
    scratch.prony(&hub).exits(0);
    assert!(scratch.read("try.yaml").contains("files: [\"*.gguf\"]"));
    scratch.prony(&["validate", "try.yaml"]).exits(0);
    let missing = ["try", "--engine", "candle", "--model", "./none.gguf"];
    scratch
        .prony(&missing)
        .exits(2)
        .complains("no file or folder");
}

#[test]
fn init_asks_on_a_terminal() {
    let server = Server::start(&["--tokens", "8"]);
    for (answers, expected) in [
        (format!("{}\n\n", server.url), "base_url"),
        ("\ncandle candle\nacme/tiny\n".to_owned(), "\"candle-2\""),
        ("\n\n".to_owned(), "name: hello"),
    ] {
        let scratch = Scratch::new();
        let output = scratch.on_a_terminal(&["init"], &answers);
        assert!(output.contains("Servers that run"), "{output}");
        assert!(output.contains("wrote pipeline.yaml"), "{output}");
        assert!(scratch.read("pipeline.yaml").contains(expected), "{output}");
    }
}
