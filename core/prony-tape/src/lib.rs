//! What is sent, made before anything is measured.
//!
//! - [`dataset`]: conversations from the lines of a file;
//! - [`synthetic`]: prompts of an exact number of tokens.
//!
//! Equal input and equal seeds give equal prompts. Nothing here reads a file or a clock.

pub mod dataset;
pub mod synthetic;
