//! Converts text to tokens and back, with the vocabulary of a GGUF file.

use crate::weights::{Gguf, as_u64};
use prony_chat::SpecialTokens;
use prony_plugin_sdk::{Error, Result};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, NormalizerWrapper, SplitDelimiterBehavior, Tokenizer as Trained};

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
/// Names of the vocabularies that start a text with a begin token by default, and look up
/// a whole word before they merge its parts.
const LLAMA3_NAMES: &[&str] = &["llama-bpe", "llama3", "llama-v3", "falcon3"];
/// Control tokens that end an answer, in addition to those named by the file.
const END_NAMES: &[&str] = &[
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<EOT>",
];

/// `tokenizer.ggml.token_type`.
mod token_type {
    pub(super) const UNKNOWN: u64 = 2;
    pub(super) const CONTROL: u64 = 3;
    pub(super) const USER_DEFINED: u64 = 4;
    pub(super) const BYTE: u64 = 6;
}

enum Encoder {
    /// A token per byte.
    Bytes,
    Trained(Box<Trained>),
}

/// Text to tokens and back.
pub struct Tokenizer {
    encoder: Encoder,
    /// Bytes of each token in an answer; empty for control tokens.
    pieces: Vec<Box<[u8]>>,
    begin: Option<(u32, String)>,
    add_begin: bool,
    end: Option<(u32, String)>,
    ends: Vec<u32>,
}

impl Tokenizer {
    /// The byte-level vocabulary of synthetic models: 256 bytes, begin, end, and made-up
    /// words, which occur only in answers.
    pub fn bytes(vocab: usize) -> Self {
        const ONSETS: [&str; 16] = [
            "b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z",
        ];
        const VOWELS: [&str; 8] = ["a", "e", "i", "o", "u", "ai", "ea", "ou"];
        let syllable = |index: usize| [ONSETS[index % 16], VOWELS[index / 16 % 8]].concat();
        let words = (0..vocab.saturating_sub(258)).map(|mut index| {
            let mut word = String::from(" ");
            loop {
                word.push_str(&syllable(index % 128));
                index /= 128;
                if index == 0 {
                    return word.into_bytes();
                }
                index -= 1;
            }
        });
        let pieces = (0..=255_u8)
            .map(|byte| vec![byte])
            .chain([Vec::new(), Vec::new()])
            .chain(words)
            .map(Vec::into_boxed_slice)
            .collect();
        Self {
            encoder: Encoder::Bytes,
            pieces,
            begin: Some((256, "<begin>".to_owned())),
            add_begin: true,
            end: Some((257, "<end>".to_owned())),
            ends: vec![257],
        }
    }

    /// The vocabulary of a GGUF file.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let wrong = |message: String| {
            Error::engine(format!("the file's tokenizer is not usable: {message}"))
        };
        let strings = |key: &str| -> Result<Vec<String>> {
            let array = gguf
                .array(key)
                .ok_or_else(|| wrong(format!("no list `{key}`")))?;
            array
                .iter()
                .map(|value| {
                    value
                        .to_string()
                        .cloned()
                        .map_err(|_| wrong(format!("`{key}` has an entry that is not a text")))
                })
                .collect()
        };
        let model = gguf
            .string("tokenizer.ggml.model")
            .unwrap_or_default()
            .to_owned();
        let tokens = strings("tokenizer.ggml.tokens")?;
        let types: Vec<u64> = gguf
            .array("tokenizer.ggml.token_type")
            .unwrap_or_default()
            .iter()
            .map(|value| as_u64(value).unwrap_or(0))
            .collect();
        let type_of = |id: usize| types.get(id).copied().unwrap_or(1);
        let named = |key: &str| -> Result<Option<u32>> {
            match gguf.number(&format!("tokenizer.ggml.{key}_token_id")) {
                Some(id) if (id as usize) < tokens.len() => Ok(Some(id as u32)),
                // Some writers use -1 or 2^32 - 1 for "none".
                Some(id) if id < u64::from(u32::MAX) => Err(wrong(format!(
                    "its {key} token is {id}, but it has {} tokens",
                    tokens.len()
                ))),
                _ => Ok(None),
            }
        };
        let special = |id: Option<u32>| id.map(|id| (id, tokens[id as usize].clone()));

        let (mut trained, mut pieces, begins) = match model.as_str() {
            "gpt2" => {
                let pre = gguf.string("tokenizer.ggml.pre").unwrap_or("default");
                let trained =
                    byte_level(&tokens, strings("tokenizer.ggml.merges")?, pre).map_err(wrong)?;
                let pieces: Vec<_> = tokens.iter().map(|token| unmap_bytes(token)).collect();
                (trained, pieces, LLAMA3_NAMES.contains(&pre))
            }
            "llama" => {
                let scores = gguf.array("tokenizer.ggml.scores").unwrap_or_default();
                let scores: Vec<f32> = scores
                    .iter()
                    .map(|value| value.to_f32().unwrap_or(0.0))
                    .collect();
                if scores.len() != tokens.len() {
                    return Err(wrong(format!(
                        "it has {} scores for {} tokens",
                        scores.len(),
                        tokens.len()
                    )));
                }
                let space = gguf.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
                let unknown = named("unknown")?.map(|id| tokens[id as usize].clone());
                let normal = |id: usize| type_of(id) == 1;
                let trained =
                    sentence_piece(&tokens, &scores, normal, unknown, space).map_err(wrong)?;
                let pieces = tokens
                    .iter()
                    .enumerate()
                    .map(|(id, token)| match byte_of(token) {
                        Some(byte) if type_of(id) == token_type::BYTE => vec![byte],
                        _ => token.replace('\u{2581}', " ").into_bytes(),
                    })
                    .collect();
                (trained, pieces, true)
            }
            other => {
                return Err(wrong(format!(
                    "its kind is `{other}`, this engine reads `gpt2` and `llama`"
                )));
            }
        };
        let mut added = Vec::new();
        for (id, token) in tokens.iter().enumerate() {
            match type_of(id) {
                token_type::CONTROL | token_type::UNKNOWN => pieces[id].clear(),
                token_type::USER_DEFINED => pieces[id] = token.clone().into_bytes(),
                _ => continue,
            }
            if !token.is_empty() && type_of(id) != token_type::UNKNOWN {
                added.push(
                    AddedToken::from(token.clone(), type_of(id) == token_type::CONTROL)
                        .normalized(false),
                );
            }
        }
        trained
            .add_tokens(added)
            .map_err(|error| wrong(error.to_string()))?;

        let (begin, end) = (named("bos")?, named("eos")?);
        let mut ends: Vec<u32> = [end, named("eot")?, named("eom")?]
            .into_iter()
            .flatten()
            .collect();
        let controls = tokens
            .iter()
            .enumerate()
            .filter(|(id, _)| type_of(*id) == token_type::CONTROL);
        ends.extend(
            controls
                .filter(|(_, token)| END_NAMES.contains(&token.as_str()))
                .map(|(id, _)| id as u32),
        );
        ends.sort_unstable();
        ends.dedup();
        Ok(Self {
            encoder: Encoder::Trained(Box::new(trained)),
            add_begin: gguf.flag("tokenizer.ggml.add_bos_token").unwrap_or(begins),
            begin: special(begin),
            end: special(end),
            pieces: pieces.into_iter().map(Vec::into_boxed_slice).collect(),
            ends,
        })
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Returns `true` if there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The tokens of a text, including control tokens in it, preceded by the begin token
    /// if the model requires one.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = match &self.encoder {
            Encoder::Bytes => text.bytes().map(u32::from).collect(),
            Encoder::Trained(trained) => {
                let encoding = trained
                    .encode_fast(text, false)
                    .map_err(|error| Error::engine(format!("cannot tokenize: {error}")))?;
                encoding.get_ids().to_vec()
            }
        };
        if let Some((begin, _)) = self
            .begin
            .as_ref()
            .filter(|(begin, _)| self.add_begin && ids.first() != Some(begin))
        {
            ids.insert(0, *begin);
        }
        Ok(ids)
    }

    /// The bytes of a token in an answer.
    pub fn piece(&self, id: u32) -> &[u8] {
        self.pieces.get(id as usize).map_or(&[], |piece| piece)
    }

    /// Tokens that end an answer.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Texts of the begin and the end token, for chat templates.
    pub fn special_tokens(&self) -> SpecialTokens {
        let named = [("bos_token", &self.begin), ("eos_token", &self.end)];
        let known = named.into_iter().filter_map(|(name, token)| {
            let (_, text) = token.as_ref()?;
            Some((name.to_owned(), text.clone()))
        });
        known.collect()
    }
}

/// A byte-level vocabulary (GPT-2 and its descendants).
fn byte_level(
    tokens: &[String],
    merges: Vec<String>,
    pre: &str,
) -> std::result::Result<Trained, String> {
    let Some((_, patterns)) = PATTERNS.iter().find(|(name, _)| *name == pre) else {
        let known: Vec<_> = PATTERNS
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        return Err(format!(
            "its word pattern `{pre}` is not known here (known: {})",
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
        .collect::<std::result::Result<Vec<_>, String>>()?;
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
        .ignore_merges(LLAMA3_NAMES.contains(&pre))
        .build()
        .map_err(|error| error.to_string())?;
    let mut trained = Trained::new(model);
    trained.with_pre_tokenizer(Some(Sequence::new(steps)));
    Ok(trained)
}

/// A `SentencePiece` vocabulary (Llama 2 and its descendants). It has scores
/// instead of merges: a pair merges when the result is a piece, best score first.
fn sentence_piece(
    tokens: &[String],
    scores: &[f32],
    normal: impl Fn(usize) -> bool,
    unknown: Option<String>,
    space: bool,
) -> std::result::Result<Trained, String> {
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
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if space {
        steps.push(Prepend::new("\u{2581}".to_owned()).into());
    }
    steps.push(
        Replace::new(" ", "\u{2581}")
            .map_err(|error| error.to_string())?
            .into(),
    );
    trained
        .with_normalizer(Some(Normalizers::new(steps)))
        .map_err(|error| error.to_string())?;
    Ok(trained)
}

fn vocabulary(tokens: &[String]) -> Vocab {
    tokens
        .iter()
        .enumerate()
        .map(|(id, token)| (token.clone(), id as u32))
        .collect()
}

/// The byte of a piece like `<0x0A>`.
fn byte_of(token: &str) -> Option<u8> {
    u8::from_str_radix(token.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

/// Reverses GPT-2's mapping of bytes to printable characters. Unmapped tokens are
/// returned unchanged.
fn unmap_bytes(token: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = token
        .chars()
        .map(|character| {
            let code = u32::from(character);
            let byte = match code {
                0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
                0x100..=0x120 => code - 0x100,
                0x121..=0x142 => code - 0x121 + 0x7f,
                0x143 => 0xad,
                _ => return None,
            };
            u8::try_from(byte).ok()
        })
        .collect();
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}
