//! The renderers. Each takes diagnostics and returns text.

pub(crate) mod human;
pub(crate) mod json;
