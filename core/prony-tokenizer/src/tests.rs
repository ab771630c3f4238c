use super::*;
use proptest::prelude::*;
use serde_json::json;

/// A tokenizer.json whose tokens are words and the text between them.
fn words_json() -> String {
    let vocab: serde_json::Map<String, serde_json::Value> = ["<unk>", "red", "green", "blue", "X"]
        .into_iter()
        .enumerate()
        .map(|(id, word)| (word.to_owned(), json!(id)))
        .collect();
    json!({
        "version": "1.0",
        "added_tokens": [{ "id": 0, "content": "<unk>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true }],
        "pre_tokenizer": { "type": "Whitespace" },
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" },
    })
    .to_string()
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// A GGUF file with a byte-level vocabulary: all bytes, and `hi` as one token.
fn gguf(pre: &str) -> Vec<u8> {
    let mut tokens: Vec<String> = (0_u32..256)
        .map(|byte| {
            let code = match byte {
                0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => byte,
                0..=0x20 => byte + 0x100,
                0x7f..=0xa0 => byte + 0x121 - 0x7f,
                _ => 0x143,
            };
            char::from_u32(code).expect("a character").to_string()
        })
        .collect();
    tokens.extend(["hi", "\u{120}hi", "<|end|>"].map(str::to_owned));
    let merges = ["h i", "\u{120} hi"];
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(5_u64.to_le_bytes());
    for (key, value) in [
        ("tokenizer.ggml.model", "gpt2"),
        ("tokenizer.ggml.pre", pre),
    ] {
        bytes.extend(text(key));
        bytes.extend(8_u32.to_le_bytes());
        bytes.extend(text(value));
    }
    let mut list = |key: &str, kind: u32, items: Vec<Vec<u8>>| {
        bytes.extend(text(key));
        bytes.extend(9_u32.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend((items.len() as u64).to_le_bytes());
        bytes.extend(items.concat());
    };
    let types = (0..tokens.len()).map(|id| if id == 258 { 3_i32 } else { 1 });
    let types = types.map(|kind| kind.to_le_bytes().to_vec()).collect();
    list(
        "tokenizer.ggml.tokens",
        8,
        tokens.iter().map(|it| text(it)).collect(),
    );
    list(
        "tokenizer.ggml.merges",
        8,
        merges.iter().map(|it| text(it)).collect(),
    );
    list("tokenizer.ggml.token_type", 5, types);
    bytes
}

/// A GGUF file with this template and a begin token, and no end token.
fn with_template(template: &str) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(3_u64.to_le_bytes());
    bytes.extend(text("tokenizer.chat_template"));
    bytes.extend(8_u32.to_le_bytes());
    bytes.extend(text(template));
    bytes.extend(text("tokenizer.ggml.bos_token_id"));
    bytes.extend(4_u32.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(text("tokenizer.ggml.tokens"));
    bytes.extend(9_u32.to_le_bytes());
    bytes.extend(8_u32.to_le_bytes());
    bytes.extend(2_u64.to_le_bytes());
    bytes.extend([text("<unk>"), text("<s>")].concat());
    bytes
}

fn opened(name: &str, content: &[u8]) -> Result<Tokenizer, Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("a file");
    Tokenizer::open(&path)
}

fn reason(name: &str, content: &[u8]) -> String {
    match opened(name, content) {
        Err(Error::Unusable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tokenizer_json_counts_alone_and_in_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, words_json()).expect("a file");
    for path in [&*path, folder.path()] {
        let it = Tokenizer::open(path).expect("a tokenizer");
        assert_eq!(it.encode("red blue red").expect("tokens"), [1, 3, 1]);
        assert_eq!(it.count("red blue no").expect("a count"), 3);
        assert_eq!(it.words(10), ["red", "green", "blue"]);
        assert_eq!(it.words(2).len(), 2);
    }
}

#[test]
fn a_gguf_file_counts_as_its_vocabulary_says() {
    let it = opened("model.gguf", &gguf("smollm")).expect("a tokenizer");
    assert_eq!(it.len(), 259);
    assert_eq!(it.encode("hi hi").expect("tokens"), [256, 257]);
    assert_eq!(
        it.encode("h!<|end|>hi").expect("tokens"),
        [104, 33, 258, 256]
    );
    assert_eq!(it.words(5), ["hi"]);
}

proptest! {
    #[test]
    fn bytes_come_back_as_they_were(text in "\\PC{0,40}") {
        let it = opened("model.gguf", &gguf("gpt-2")).expect("a tokenizer");
        let tokens = it.encode(&text).expect("tokens");
        prop_assert_eq!(it.count(&text).expect("a count"), tokens.len());
        prop_assert_eq!(it.decode(&tokens).expect("a text"), text);
    }

    #[test]
    fn a_broken_file_is_an_error(cut in 0_usize..7000, flip in 0_usize..7000, bit in 0_u8..8) {
        let mut bytes = gguf("gpt-2");
        let flip = flip % bytes.len();
        bytes[flip] ^= 1 << bit;
        bytes.truncate(cut.max(1));
        // An error or a tokenizer, but no panic.
        let _ = opened("model.gguf", &bytes);
    }
}

#[test]
fn what_cannot_be_used_is_said_with_what_can() {
    assert_eq!(
        reason("tokenizer.json", b"no json"),
        "expected a GGUF file or a tokenizer.json of Hugging Face's (expected ident at line 1 column 2)"
    );
    let why = reason("model.gguf", &gguf("klingon"));
    assert!(
        why.starts_with("its word pattern `klingon` is not known (known: `default`"),
        "{why}"
    );
    assert!(why.ends_with("name the model's tokenizer.json"), "{why}");
    let whole = gguf("gpt-2");
    assert_eq!(
        reason("model.gguf", &whole[..20]),
        "the GGUF file ends within its metadata"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let none = Tokenizer::open(folder.path()).expect_err("an error");
    assert!(
        none.to_string().contains("has no `tokenizer.json`"),
        "{none}"
    );
    let none = Tokenizer::open(&folder.path().join("x")).expect_err("an error");
    assert!(none.to_string().starts_with("cannot read `"), "{none}");
}

#[test]
fn a_chat_template_comes_from_a_gguf_file_or_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path
    };
    let gguf = write("model.gguf", &with_template("{{ bos_token }}"));
    let chat = Chat::open(&gguf).expect("a template");
    assert_eq!(chat.config.template.as_deref(), Some("{{ bos_token }}"));
    assert_eq!(chat.config.tokens["bos_token"], "<s>");
    assert_eq!(chat.config.tokens.len(), 1);
    assert_eq!(chat.file, gguf);

    // A folder without any has none, and says where it would be.
    let chat = Chat::open(folder.path()).expect("a folder");
    assert_eq!(chat.config, prony_chat::Config::default());
    let config = write(
        "tokenizer_config.json",
        br#"{"chat_template":"old","eos_token":"</s>"}"#,
    );
    assert_eq!(chat.file, config);
    let weights = write("model.safetensors", b"weights");
    for path in [folder.path(), &weights] {
        let chat = Chat::open(path).expect("a template");
        assert_eq!(chat.config.template.as_deref(), Some("old"));
        assert_eq!(chat.file, config);
    }
    // A file of its own counts before the one in the config, which has the tokens.
    let own = write("chat_template.jinja", b"new");
    let chat = Chat::open(folder.path()).expect("a template");
    assert_eq!(chat.config.template.as_deref(), Some("new"));
    assert_eq!(chat.config.tokens["eos_token"], "</s>");
    assert_eq!(chat.file, own);

    write("tokenizer_config.json", b"[]");
    let error = Chat::open(folder.path())
        .expect_err("no config")
        .to_string();
    assert!(
        error.contains("tokenizer_config.json` is not usable: expected a tokenizer_config.json"),
        "{error}"
    );
}
