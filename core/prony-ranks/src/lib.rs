//! Several prony processes that send one load together: ranks.
//!
//! Rank 0 leads: it alone has the pipeline, starts engines, makes requests, decodes answers and
//! writes the journal. The others are load clients. For each stage rank 0 deals the requests
//! out ([`prony_loadgen::deal`]), tells a common start, and takes the raw answers when the stage
//! has ended. While requests are in flight nothing goes over the wire but a beat a second.
//!
//! ```text
//! rank                                     rank 0
//!      ◂── challenge ── hello ──▸               equal or refused: version, world, pipeline, token
//!      ◂── welcome
//!      ◂── ping … pong ──▸                      the offset of its clock
//!      ◂── load         ready ──▸               its share; connections are open
//!      ◂── go                                   the start, by its own clock
//!                       beat ──▸                each second
//!      ◂── stop         over ──▸                use of the client
//!      ◂── fetch     answers ──▸                as bytes, with their stamps
//!      ◂── end
//! ```
//!
//! - [`place`]: a process's rank, and where rank 0 is, by the environment;
//! - [`assembly`]: rank 0 until all others are there; [`leader`]: afterwards, with `reader`;
//! - [`follower`]: the others' side;
//! - `wire`: the messages; `nodes`: Slurm's lists of nodes.

pub mod assembly;
pub mod follower;
pub mod leader;
mod nodes;
pub mod place;
mod reader;
mod wire;

pub use leader::{Clock, Next, Ranks};
pub use place::{Meeting, Place};
pub use wire::host;
