//! Converts text to tokens and back, with a model's own vocabulary.
//!
//! A vocabulary comes from a `tokenizer.json` of Hugging Face's, a folder that holds one,
//! or a GGUF file. It is used to make prompts of a known length and to count the tokens
//! of a text without asking an engine. The same files hold a model's chat template.

mod chat;
mod gguf;
mod vocabulary;

pub use chat::Chat;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use tokenizers::Tokenizer as Trained;

/// Maximum size of a `tokenizer.json`, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Errors of opening or using a tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The path is a folder without a tokenizer.
    #[error(
        "the folder `{}` has no `tokenizer.json`; name a tokenizer.json, a folder that holds one, or a GGUF file",
        .0.display()
    )]
    NoneInFolder(PathBuf),
    /// The file cannot be used.
    #[error("`{}` is not usable: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Reason for rejecting it, and what can be used instead.
        reason: String,
    },
    /// A text could not be encoded, or tokens not be decoded.
    #[error("the tokenizer failed: {0}")]
    Failed(String),
}

/// A model's vocabulary.
#[derive(Debug, Clone)]
pub struct Tokenizer(Box<Trained>);

impl Tokenizer {
    /// Opens a vocabulary: a `tokenizer.json`, a folder that holds one, or a GGUF file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unusable = |reason| Error::Unusable {
            path: path.to_owned(),
            reason,
        };
        match open(path)? {
            File::Folder => {
                let inside = path.join("tokenizer.json");
                if !inside.is_file() {
                    return Err(Error::NoneInFolder(path.to_owned()));
                }
                Self::open(&inside)
            }
            File::Gguf(gguf) => vocabulary::from_gguf(&gguf)
                .map(|trained| Self(Box::new(trained)))
                .map_err(unusable),
            File::Other => {
                let json = bounded(path)?.ok_or_else(|| unusable("it is gone".to_owned()))?;
                Self::from_json(&json).map_err(unusable)
            }
        }
    }

    /// Reads the content of a `tokenizer.json`; the error is the reason.
    pub fn from_json(content: &[u8]) -> Result<Self, String> {
        Trained::from_bytes(content)
            .map(|mut trained| {
                // Padding and truncation are meant for training batches.
                trained.with_padding(None);
                let _ = trained.with_truncation(None);
                Self(Box::new(trained))
            })
            .map_err(|error| {
                format!("expected a GGUF file or a tokenizer.json of Hugging Face's ({error})")
            })
    }

    /// The tokens of a text. Control tokens spelled out in it count as such; none is
    /// added, not even a model's begin token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.0.encode_fast(text, false).map_err(failed)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Number of tokens of a text, as given by [`encode`](Self::encode).
    pub fn count(&self, text: &str) -> Result<usize, Error> {
        let encoding = self.0.encode_fast(text, false).map_err(failed)?;
        Ok(encoding.len())
    }

    /// The text of tokens, with control tokens spelled out.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, Error> {
        self.0.decode(tokens, false).map_err(failed)
    }

    /// Number of tokens in the vocabulary.
    pub fn len(&self) -> usize {
        self.0.get_vocab_size(true)
    }

    /// Returns `true` if the vocabulary has no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `most` lower-case words that are one token each, alone and after a space, in
    /// the vocabulary's order. In most vocabularies, any number of them joined by spaces
    /// has as many tokens as words; count to be sure.
    pub fn words(&self, most: usize) -> Vec<String> {
        let one_each = |word: &str| {
            self.count(word).is_ok_and(|count| count == 1)
                && self
                    .count(&format!("{word} {word}"))
                    .is_ok_and(|count| count == 2)
        };
        let mut seen = std::collections::HashSet::new();
        let ids = 0..u32::try_from(self.len()).unwrap_or(u32::MAX);
        ids.filter_map(|id| self.0.id_to_token(id))
            .filter_map(|token| {
                // Spellings of a space in byte-level and SentencePiece vocabularies.
                let word = token.trim_start_matches(['\u{120}', '\u{2581}', ' ']);
                let plain = word.len() >= 2 && word.bytes().all(|byte| byte.is_ascii_lowercase());
                plain.then(|| word.to_owned())
            })
            .filter(|word| seen.insert(word.clone()) && one_each(word))
            .take(most)
            .collect()
    }
}

/// Kinds of files at a path.
enum File {
    Folder,
    /// Metadata of a GGUF file.
    Gguf(gguf::Gguf),
    Other,
}

fn open(path: &Path) -> Result<File, Error> {
    let unreadable = unreadable(path);
    let metadata = std::fs::metadata(path).map_err(&unreadable)?;
    if metadata.is_dir() {
        return Ok(File::Folder);
    }
    let unusable = |reason| Error::Unusable {
        path: path.to_owned(),
        reason,
    };
    let mut file = prony_files::open(path).map_err(&unreadable)?;
    let mut start = Vec::new();
    std::io::Read::by_ref(&mut file)
        .take(4)
        .read_to_end(&mut start)
        .map_err(&unreadable)?;
    if start == gguf::MAGIC {
        let gguf = gguf::read(path).map_err(|problem| match problem {
            gguf::Problem::Io(source) => unreadable(source),
            gguf::Problem::Malformed(reason) => unusable(reason),
        })?;
        return Ok(File::Gguf(gguf));
    }
    Ok(File::Other)
}

/// The content of a file, if there is one, up to [`MAX_BYTES`].
fn bounded(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match prony_files::read(path, MAX_BYTES) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Err(Error::Unusable {
            path: path.to_owned(),
            reason: format!(
                "it is no GGUF file, and larger than a tokenizer's may be ({} MiB)",
                MAX_BYTES >> 20
            ),
        }),
        Err(error) => Err(unreadable(path)(error)),
    }
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Unreadable {
        path: path.to_owned(),
        source,
    }
}

fn failed(error: tokenizers::Error) -> Error {
    Error::Failed(error.to_string())
}

#[cfg(test)]
mod tests;
