//! The plugin contract, as the host and the SDK share it.
//!
//! - the data that crosses the boundary, at the root of this crate:
//!   `schemas/wit/plugin.wit` says what each field means;
//! - [`artifact`]: rules for the files of reporters;
//! - [`abi`]: the C form of it, `schemas/include/prony_plugin.h`.
//!
//! Plugin authors find all of this in `prony_contract`.

pub mod abi;
pub mod artifact;
mod data;
mod role;

pub use data::*;
pub use role::{ROLE, ROLES, role_problems};

/// Version of the plugin contract, major and minor. A host takes plugins of its own major
/// number and of no later minor number: see [`speaks`].
pub const CONTRACT: (u32, u32) = (1, 0);

/// Returns `true` if a host of this contract takes plugins of contract `major.minor`.
pub fn speaks(major: u32, minor: u32) -> bool {
    major == CONTRACT.0 && minor <= CONTRACT.1
}

/// Largest memory that a plugin may ask for in place of the host's own limit, in MiB.
pub const MAX_MEMORY_MIB: u64 = 1024;
/// Longest time of a call that a plugin may ask for in the same way, in milliseconds.
pub const MAX_CALL_MS: u64 = 60_000;

/// Most ports that a launched server may ask for beside its own.
pub const MAX_MORE_PORTS: u32 = 16;

/// Identity of a plugin. Written with the SDK's `about!`.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// The name users write after `plugin:`.
    pub name: &'static str,
    /// Version of the plugin.
    pub version: &'static str,
    /// One line.
    pub description: &'static str,
}
