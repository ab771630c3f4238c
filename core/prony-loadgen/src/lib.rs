//! Sends requests and stamps what comes back.
//!
//! The hot path is: write the request, stamp; per arriving read: stamp, keep the bytes.
//! No plugin runs and nothing is parsed between a request's send and the stamp of its
//! last byte, except what HTTP needs to know where the body ends.
//!
//! - [`clock`]: the only clock that is read during a measurement;
//! - [`arrivals`]: times at which sessions of an open loop begin;
//! - [`load`]: requests, their arrival times, and their results;
//! - [`deal`]: the shares of a load that several processes send together;
//! - [`parcel`]: a load as bytes, for another process;
//! - [`spill`]: answers in a file, until the load has ended;
//! - `pace`: which requests are due, given what has ended and the time; pure;
//! - [`target`]: destination and bytes of HTTP requests;
//! - [`client`], [`stdio`], [`local`]: the drivers, which send what is due: to a server,
//!   to a process over its standard input and output, and to a worker process with the
//!   engine inside, which stamps for itself. Each has a `start`, from a [`load::Load`] to
//!   a [`load::Running`].

pub mod arrivals;
pub mod client;
pub mod clock;
pub mod deal;
mod exchange;
mod framing;
pub mod load;
pub mod local;
mod pace;
pub mod parcel;
pub mod spill;
pub mod stdio;
pub mod target;

pub use exchange::{Exchange, each_stamp};
