//! YAML text to a [`Node`] tree, within budgets.

mod build;
mod check;
pub(crate) mod scalar;
mod syntax;

use prony_diagnostic::Diagnostic;

use crate::tree::Node;

/// The deepest nesting of lists and mappings.
pub(crate) const MAX_DEPTH: usize = 64;
/// The most values once aliases are written out; a long text counts as several.
pub(crate) const MAX_NODES: usize = 100_000;
/// The largest file in bytes.
pub const MAX_BYTES: usize = 4_000_000;

/// Reads the one document of a text.
pub(crate) fn parse(text: &str) -> Result<Node, Box<Diagnostic>> {
    check::check(text)?;
    build::build(text)
}
