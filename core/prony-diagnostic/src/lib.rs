//! Messages to a user about a file, as data, and their rendering.
//!
//! A [`Diagnostic`] is built where a problem is found and rendered where it is shown.
//! Renderers return text; printing is the command line's business.
//!
//! Wording rules: lower case, no full stop, backticks around literals. The message stands
//! on its own; the label says what is wrong *here*; a note is a fact; a help is an
//! action.

mod diagnostic;
mod render;
mod source;

#[cfg(test)]
mod tests;

pub use diagnostic::{Diagnostic, Label, Severity, Suggestion};
pub use render::github::github;
pub use render::human::human;
pub use render::json::json;
pub use render::sarif::sarif;
pub use source::{Place, Source};
