//! Sends requests and stamps what comes back.
//!
//! The hot path is: write the request, stamp; per arriving read: stamp, keep the
//! bytes. No plugin runs and nothing is parsed between a request's send and the
//! stamp of its last byte, except what HTTP needs to know where the body ends.
//!
//! - [`clock`]: the only clock that is read during a measurement;
//! - [`target`]: where requests go, and their bytes;
//! - [`arrivals`]: when requests are sent;
//! - [`client`]: sends them to a server;
//! - [`stdio`]: sends them to a process, over its standard input and output;
//! - [`local`]: engines inside a worker process, which stamps for itself.

pub mod arrivals;
pub mod client;
pub mod clock;
mod exchange;
mod framing;
pub mod local;
pub mod stdio;
pub mod target;

pub use exchange::Exchange;
