//! `${{ expression }}` in values: syntax and evaluation.
//!
//! `vars` and `env` have values when a file is loaded, `matrix` at each matrix point, and
//! `model`, `engine`, `prony`, `pipeline` and the outputs of stages when the run has
//! reached them. Filters are `default`, `int`, `lower`, `replace`, `trim` and `upper`.

pub(crate) mod digits;
mod expression;
mod fill;
mod names;
mod place;
mod render;
mod restore;
mod scan;
mod shell;

pub use digits::shown;
pub(crate) use fill::{Filled, escape, fill};
pub(crate) use names::default_id;
pub use render::{render_shell, render_str, render_value};
pub use scan::is_template;
