//! Renders a conversation with a model's own chat template.
//!
//! Chat templates are written in Jinja for the Python library `transformers`. This crate
//! renders them to the same text: the same whitespace, special tokens, functions
//! (`raise_exception`, `strftime_now`), filters (`tojson`) and methods of Python values.
//! Its tests hold it to what `transformers` itself renders.

mod config;
mod methods;
mod tags;
mod template;

pub use config::{Config, SpecialTokens};
pub use template::{ChatTemplate, Message};

/// Errors of reading or rendering a chat template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A `tokenizer_config.json` that cannot be read.
    #[error("expected a tokenizer_config.json of Hugging Face's: {0}")]
    Config(String),
    /// Several templates, and none of them is called `default`.
    #[error(
        "it has several chat templates ({0}), and none is called `default`; name a file with the one to use as the model's `chat_template`"
    )]
    NoDefault(String),
    /// The template does not compile.
    #[error("line {line} of the chat template: {reason}")]
    Syntax {
        /// Line in the template, from 1.
        line: usize,
        /// Reason for rejecting it.
        reason: String,
    },
    /// The template compiles, but does not render the conversation.
    #[error("line {line} of the chat template failed: {reason}")]
    Failed {
        /// Line in the template, from 1.
        line: usize,
        /// Reason of the failure.
        reason: String,
    },
    /// The template refuses the conversation, in its own words (`raise_exception`).
    #[error("the chat template refuses the conversation: {0}")]
    Refused(String),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
