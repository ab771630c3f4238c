//! Files of models: any bytes give a vocabulary and a chat template, or a reason.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use prony_fuzz::file;
use prony_tokenizer::{Chat, Tokenizer};

/// A text with what vocabularies treat apart.
const TEXT: &str = "Hello, world 42!\n\u{e9}\u{1f600} <s> [INST]";

fuzz_target!(|data: &[u8]| -> Corpus {
    let path = file("model", data);
    let _ = Chat::open(&path);
    let Ok(tokenizer) = Tokenizer::open(&path) else {
        return Corpus::Keep;
    };
    if let Ok(tokens) = tokenizer.encode(TEXT) {
        let _ = tokenizer.decode(&tokens);
        assert_eq!(tokenizer.count(TEXT).ok(), Some(tokens.len()));
    }
    tokenizer.words(8);
    Corpus::Keep
});
