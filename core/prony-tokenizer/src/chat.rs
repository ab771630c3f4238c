//! A model's chat template and special tokens, from its files.

use std::path::{Path, PathBuf};

use prony_chat::Config;

use crate::gguf::Gguf;
use crate::{Error, File, bounded};

/// Names of special tokens in templates, and the keys of their ids in a GGUF file.
const TOKENS: [(&str, &str); 7] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("cls_token", "tokenizer.ggml.cls_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("mask_token", "tokenizer.ggml.mask_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
    // Spelled so in the format.
    ("sep_token", "tokenizer.ggml.seperator_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
];

/// A model's chat template and special tokens, and the file that the template comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// The template, if the model has one, and the special tokens.
    pub config: Config,
    /// File with the template, or the one that lacks it.
    pub file: PathBuf,
}

impl Chat {
    /// Reads the template of the model at `path`: from a GGUF file, or from a folder (for any
    /// other file, its own), there from `chat_template.jinja` or else `tokenizer_config.json`.
    /// Fails if a file cannot be read or is not what its name says.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let folder = match crate::open(path)? {
            File::Gguf(gguf) => {
                return Ok(Self {
                    config: of_gguf(&gguf),
                    file: path.to_owned(),
                });
            }
            File::Folder => path,
            File::Other => path.parent().unwrap_or(Path::new(".")),
        };
        let file = folder.join("tokenizer_config.json");
        let unusable = |file: &Path, reason: String| Error::Unusable {
            path: file.to_owned(),
            reason,
        };
        let mut chat = Self {
            config: match bounded(&file)? {
                Some(json) => {
                    Config::from_json(&json).map_err(|error| unusable(&file, error.to_string()))?
                }
                None => Config::default(),
            },
            file,
        };
        let own = folder.join("chat_template.jinja");
        if let Some(template) = bounded(&own)? {
            let template = String::from_utf8(template)
                .map_err(|_| unusable(&own, "it is not UTF-8".to_owned()))?;
            chat.config.template = Some(template);
            chat.file = own;
        }
        Ok(chat)
    }
}

fn of_gguf(gguf: &Gguf) -> Config {
    let tokens = gguf.list("tokenizer.ggml.tokens").unwrap_or_default();
    let token = |(name, key): (&str, &str)| {
        let id = usize::try_from(gguf.integer(key)?).ok()?;
        let text = tokens.get(id)?.text()?;
        Some((name.to_owned(), text.to_owned()))
    };
    Config {
        template: gguf.text("tokenizer.chat_template").map(str::to_owned),
        tokens: TOKENS.into_iter().filter_map(token).collect(),
    }
}
