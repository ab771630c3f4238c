//! Fetches files of which a digest is known, or that a registry of OCI artifacts has, and checks
//! signatures.
//!
//! Nothing here writes a file, or runs while something is measured. Plugins are fetched by `prony
//! plugin add` and `update` only; prony-hub uses the HTTP client.

mod http;
mod oci;
mod signature;
mod web;

pub use http::{agent, follow, origin};
pub use signature::{Signature, key};

/// A file that a source gave, with what it says of it.
#[derive(Debug)]
pub struct Fetched {
    /// The file.
    pub bytes: Vec<u8>,
    /// Digest of the manifest that a registry's tag names now, `sha256:…`.
    pub resolved: Option<String>,
    /// Text of the signature beside the file, if there is one.
    pub signature: Option<String>,
    /// Text of the public key beside the file, if there is one.
    pub key: Option<String>,
}

/// Reason why nothing was fetched, or why it was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address that cannot be fetched from.
    #[error("`{source_text}`: {reason}")]
    Source {
        /// The address.
        source_text: String,
        /// The mistake, with what was expected.
        reason: String,
    },
    /// The network, or a server that does not give the file.
    #[error("{url} gives no file: {reason}")]
    NotGiven {
        /// Address that was asked.
        url: String,
        /// The reason in words.
        reason: String,
    },
    /// The source gave something else than what was named.
    #[error("{url} gave something else: {reason}")]
    Different {
        /// Address that was asked.
        url: String,
        /// The difference.
        reason: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Maximum size of a plugin, in bytes; the host reads no larger one.
const MAX_FILE: u64 = 512 << 20;

/// Returns `true` for the address of a file elsewhere.
pub fn is_address(source: &str) -> bool {
    source.contains("://")
}

/// Fetches the file at `https://…#sha256=HEX` or `oci://HOST/REPOSITORY:TAG`. Over plain HTTP only
/// from this machine.
///
/// # Errors
///
/// The address is none of these, nothing came, or it is not what the digest names.
pub fn fetch(source: &str) -> Result<Fetched> {
    match source.split_once("://") {
        Some(("https" | "http", _)) => web::fetch(source),
        Some(("oci", reference)) => oci::fetch(source, reference),
        _ => Err(Error::Source {
            source_text: source.to_owned(),
            reason: "a plugin comes from a file, a folder, `https://…#sha256=HEX` or `oci://HOST/REPOSITORY:TAG`".to_owned(),
        }),
    }
}
