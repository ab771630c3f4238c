//! The machine, its state, and the resources used by an engine's processes.
//!
//! - [`Fingerprint`]: the properties that make numbers of two runs comparable;
//! - [`State`] and [`Change`]: the machine before and after a visit, with the caveats
//!   that follow ([`Warning`]);
//! - [`Sampler`]: memory, CPU time and energy of a process tree, every 100 ms;
//! - [`client`]: CPU time of prony itself.
//!
//! An unreadable value is `None` and never an error: a container reveals less than a
//! laptop. Nothing here holds the name of a host or a user, or a serial number.
//!
//! Code for one operating system is in the module of its name; parsers are beside it, as
//! pure functions that are tested on every system.

mod change;
pub mod client;
mod clock;
mod control;
mod fingerprint;
mod gpu;
mod idle;
mod page_cache;
mod sampler;
mod series;
mod signal;
mod state;
mod tree;

#[cfg_attr(not(target_os = "linux"), path = "gpu/none.rs")]
#[cfg_attr(target_os = "linux", path = "gpu/nvml.rs")]
mod nvml;

#[cfg(any(test, target_os = "linux"))]
mod linux_text;
#[cfg(any(test, target_os = "macos"))]
mod macos_text;
#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(target_os = "macos", path = "macos.rs")]
mod os;

pub use change::{BusyGroup, Change, Warning};
pub use clock::now_ns;
pub use control::{Control, ControlTimes};
pub use fingerprint::{Difference, Fingerprint};
pub use gpu::{Gpu, GpuState, GpuUsage};
pub use idle::IdlePower;
pub use page_cache::page_cache_share;
pub use sampler::{Options, PERIOD, Sampler};
pub use series::{ENERGY_PERIOD, Usage, Window};
pub use signal::is_hangup_ignored;
pub use state::{Power, ProcessTime, State, out_of_memory_kills};
pub use tree::{
    Family, MARK, ProcessId, adopt_orphans, ended_orphans, listeners, marked, unmarked,
};
