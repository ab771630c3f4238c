//! A vocabulary from the metadata of a GGUF file.

use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, NormalizerWrapper, SplitDelimiterBehavior, Tokenizer as Trained};

use crate::gguf::{Gguf, Value};

/// Word patterns of byte-level vocabularies, by the name in the file. Applied one after
/// the other; unmatched text is a word too.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const PATTERNS: &[(&str, &[&str])] = &[
    (
        "default",
        &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    ),
    ("gpt-2", &[GPT2]),
    ("gpt2", &[GPT2]),
    ("olmo", &[GPT2]),
    ("smollm", &[r"\p{N}", GPT2]),
    ("starcoder", &[r"\p{N}", GPT2]),
    ("refact", &[r"\p{N}", GPT2]),
    ("codeshell", &[r"\p{N}", GPT2]),
    ("llama-bpe", &[LLAMA3]),
    ("llama3", &[LLAMA3]),
    ("llama-v3", &[LLAMA3]),
    ("smaug-bpe", &[LLAMA3]),
    ("falcon3", &[LLAMA3]),
    ("qwen2", &[QWEN2]),
    ("deepseek-r1-qwen", &[QWEN2]),
];
/// Names of the vocabularies that look up a whole word before they merge its parts.
const WHOLE_WORDS: &[&str] = &["llama-bpe", "llama3", "llama-v3", "falcon3"];

/// `tokenizer.ggml.token_type`.
mod token_type {
    pub(super) const NORMAL: i128 = 1;
    pub(super) const CONTROL: i128 = 3;
    pub(super) const USER_DEFINED: i128 = 4;
}

/// The vocabulary of a GGUF file; the error is the reason.
pub(crate) fn from_gguf(gguf: &Gguf) -> Result<Trained, String> {
    let tokens = texts(gguf, "tokenizer.ggml.tokens")?;
    let types = gguf.list("tokenizer.ggml.token_type").unwrap_or_default();
    let type_of = |id: usize| match types.get(id) {
        Some(Value::Integer(number)) => *number,
        _ => token_type::NORMAL,
    };
    let mut trained = match gguf.text("tokenizer.ggml.model") {
        Some("gpt2") => {
            let pre = gguf.text("tokenizer.ggml.pre").unwrap_or("default");
            byte_level(&tokens, texts(gguf, "tokenizer.ggml.merges")?, pre)?
        }
        Some("llama") => {
            let scores: Vec<f64> = gguf
                .list("tokenizer.ggml.scores")
                .unwrap_or_default()
                .iter()
                .map(|value| match value {
                    Value::Float(score) => *score,
                    _ => 0.0,
                })
                .collect();
            if scores.len() != tokens.len() {
                return Err(format!(
                    "it has {} scores for {} tokens",
                    scores.len(),
                    tokens.len()
                ));
            }
            let space = gguf.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
            let unknown = gguf
                .integer("tokenizer.ggml.unknown_token_id")
                .and_then(|id| tokens.get(usize::try_from(id).ok()?).cloned());
            let normal = |id: usize| type_of(id) == token_type::NORMAL;
            sentence_piece(&tokens, &scores, normal, unknown, space)?
        }
        Some(other) => {
            return Err(format!(
                "its kind is `{other}`; supported in a GGUF file are `gpt2` (byte-level BPE) and `llama` (SentencePiece), and any tokenizer.json"
            ));
        }
        None => {
            return Err(
                "the GGUF file has no vocabulary (`tokenizer.ggml.model`); name a tokenizer.json"
                    .to_owned(),
            );
        }
    };
    let added = tokens.iter().enumerate().filter_map(|(id, token)| {
        let control = match type_of(id) {
            token_type::CONTROL => true,
            token_type::USER_DEFINED => false,
            _ => return None,
        };
        let added = AddedToken::from(token.clone(), control).normalized(false);
        (!token.is_empty()).then_some(added)
    });
    trained
        .add_tokens(added.collect::<Vec<_>>())
        .map_err(|error| error.to_string())?;
    Ok(trained)
}

fn texts(gguf: &Gguf, key: &str) -> Result<Vec<String>, String> {
    let list = gguf
        .list(key)
        .ok_or_else(|| format!("the GGUF file has no list `{key}`"))?;
    let text = |value: &Value| match value {
        Value::Text(text) => Ok(text.clone()),
        _ => Err(format!("`{key}` has an entry that is not a text")),
    };
    list.iter().map(text).collect()
}

/// A byte-level vocabulary (GPT-2 and its descendants).
fn byte_level(tokens: &[String], merges: Vec<String>, pre: &str) -> Result<Trained, String> {
    let Some((_, patterns)) = PATTERNS.iter().find(|(name, _)| *name == pre) else {
        let known: Vec<_> = PATTERNS
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        return Err(format!(
            "its word pattern `{pre}` is not known (known: {}); name the model's tokenizer.json",
            known.join(", ")
        ));
    };
    let merges = merges
        .iter()
        .map(|merge| {
            let (left, right) = merge
                .split_once(' ')
                .ok_or_else(|| format!("its merge `{merge}` has no space"))?;
            Ok((left.to_owned(), right.to_owned()))
        })
        .collect::<Result<Vec<_>, String>>()?;
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for pattern in *patterns {
        let split = Split::new(
            SplitPattern::Regex((*pattern).to_owned()),
            SplitDelimiterBehavior::Isolated,
            false,
        );
        steps.push(split.map_err(|error| error.to_string())?.into());
    }
    steps.push(ByteLevel::new(false, true, false).into());
    let model = BPE::builder()
        .vocab_and_merges(vocabulary(tokens), merges)
        .ignore_merges(WHOLE_WORDS.contains(&pre))
        .build()
        .map_err(|error| error.to_string())?;
    let mut trained = Trained::new(model);
    trained.with_pre_tokenizer(Some(Sequence::new(steps)));
    trained.with_decoder(Some(ByteLevel::default()));
    Ok(trained)
}

/// A `SentencePiece` vocabulary (Llama 2 and its descendants). It has scores
/// instead of merges: a pair merges when the result is a piece, best score first.
fn sentence_piece(
    tokens: &[String],
    scores: &[f64],
    normal: impl Fn(usize) -> bool,
    unknown: Option<String>,
    space: bool,
) -> Result<Trained, String> {
    let vocab = vocabulary(tokens);
    let mut merges = Vec::new();
    for (id, token) in tokens.iter().enumerate().filter(|(id, _)| normal(*id)) {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if vocab.contains_key(left) && vocab.contains_key(right) {
                merges.push((scores[id], id, left, right));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let merges = merges
        .into_iter()
        .map(|(_, _, left, right)| (left.to_owned(), right.to_owned()))
        .collect();
    let mut builder = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(unknown) = unknown {
        builder = builder.unk_token(unknown);
    }
    let mut trained = Trained::new(builder.build().map_err(|error| error.to_string())?);
    let text = |error: tokenizers::Error| error.to_string();
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if space {
        steps.push(Prepend::new("\u{2581}".to_owned()).into());
    }
    steps.push(Replace::new(" ", "\u{2581}").map_err(text)?.into());
    trained
        .with_normalizer(Some(Normalizers::new(steps)))
        .map_err(|error| error.to_string())?;
    let mut back: Vec<DecoderWrapper> = vec![
        Replace::new("\u{2581}", " ").map_err(text)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if space {
        back.push(Strip::new(' ', 1, 0).into());
    }
    trained.with_decoder(Some(Decoders::new(back)));
    Ok(trained)
}

fn vocabulary(tokens: &[String]) -> Vocab {
    tokens
        .iter()
        .enumerate()
        .map(|(id, token)| (token.clone(), id as u32))
        .collect()
}
