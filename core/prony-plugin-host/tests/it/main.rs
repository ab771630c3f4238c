//! What plugins do wrong, and what the host makes of it: an error that says
//! what to do, and a host that goes on.
#![expect(clippy::unwrap_used, reason = "tests")]

mod broken;
mod contract;
mod guest;
mod native;
mod registry;
mod reporters;
#[path = "../support/mod.rs"]
mod support;
mod wasm;
