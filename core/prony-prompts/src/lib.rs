//! Prompts, made before any measurement.
//!
//! - [`dataset`]: conversations from the lines of a file;
//! - [`synthetic`]: texts of an exact number of tokens;
//! - the prompts of a workload, from either or from texts.
//!
//! Equal input and equal seeds give equal prompts. Nothing here reads a file or a clock.

pub mod dataset;
mod prompt;
pub mod synthetic;

pub use prompt::{History, Prompt, Shape, conversations, nonce, of_dataset, of_shape, texts};
