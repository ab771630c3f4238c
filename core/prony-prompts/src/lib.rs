//! Prompts, made before any measurement.
//!
//! - [`dataset`]: conversations from files as they are on disk;
//! - [`synthetic`]: texts of an exact number of tokens;
//! - the prompts of a workload, from either or from texts.
//!
//! Equal input and equal seeds give equal prompts. Nothing here reads a file or a clock.

pub mod dataset;
mod of_dataset;
mod prompt;
pub mod synthetic;

pub use of_dataset::{LazyTokenizer, OfDataset, of_dataset, prompts_of};
pub use prompt::{History, Prompt, Shape, conversations, nonce, of_shape, texts};
