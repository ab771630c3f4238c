//! The statistics against references, and what must hold of them for any data.

mod boundaries;
mod experiments;
mod properties;
mod rules;
mod vectors;
