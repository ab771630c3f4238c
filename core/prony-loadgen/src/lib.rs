//! Sends requests and stamps what comes back.
//!
//! The hot path is: write the request, stamp; per arriving read: stamp, keep the
//! bytes. No plugin runs and nothing is parsed between a request's send and the
//! stamp of its last byte, except what HTTP needs to know where the body ends.
//!
//! - [`clock`]: the only clock that is read during a measurement;
//! - [`http`]: exchanges with a server;
//! - [`closed_loop`]: a fixed number of requests in flight;
//! - [`local`]: engines inside a worker process, which stamps for itself.

pub mod clock;
pub mod closed_loop;
pub mod http;
pub mod local;

use prony_metrics::record::Observation;

/// What came back for one request: what the transport saw, and the bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Stamps are absolute readings of [`clock::now_ns`].
    pub seen: Observation,
    /// The body, transfer coding removed.
    pub body: Vec<u8>,
    /// End offset in `body` of each read; same length as `seen.reads_ns`.
    pub ends: Vec<u32>,
}
