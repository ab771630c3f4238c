//! `${{ expression }}` in values: what may stand in one and what it gives.
//!
//! An expression knows `model.id`, `model.path`, `engine.name`, `engine.host`,
//! `engine.port`, `prony.cache` and `pipeline.dir`, and the filters `default`,
//! `int`, `lower`, `replace`, `trim` and `upper`.

mod check;
mod expression;
mod render;
mod scan;

pub(crate) use check::check;
pub use render::{render_str, render_value};
pub(crate) use scan::is_template;
