//! The server, over HTTP.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tests"
)]

mod bodies;
mod faults;
mod images;
mod kit;
mod prompts;
mod recordings;
mod schedule;
