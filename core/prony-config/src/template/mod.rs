//! `${{ expression }}` in values: what may stand in one and what it gives.
//!
//! `vars` and `env` have values when a file is loaded, `matrix` in each matrix point, and
//! `model`, `engine`, `prony`, `pipeline` and the outputs of stages when the run
//! has come to them. Filters are `default`, `int`, `lower`, `replace`, `trim` and
//! `upper`.

mod expression;
mod fill;
mod names;
mod place;
mod render;
mod scan;

pub(crate) use fill::{Filled, fill};
pub(crate) use names::default_id;
pub use render::{render_str, render_value};
pub(crate) use scan::is_template;
