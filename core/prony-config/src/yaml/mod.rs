//! Parses YAML text to a [`Node`] tree, within budgets.

mod build;
mod check;
pub(crate) mod scalar;
mod syntax;

use prony_diagnostic::Diagnostic;

use crate::tree::Node;

/// Maximum nesting of lists and mappings.
pub(crate) const MAX_DEPTH: usize = 64;
/// Maximum number of values once aliases are expanded; a long text counts as several.
pub(crate) const MAX_NODES: usize = 100_000;
/// Maximum size of a file in bytes.
pub const MAX_BYTES: usize = 4_000_000;

/// Parses a text that holds one document.
pub(crate) fn parse(text: &str) -> Result<Node, Box<Diagnostic>> {
    check::check(text)?;
    build::build(text)
}
