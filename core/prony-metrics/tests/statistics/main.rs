//! The statistics against references, and what must hold of them for any data.

mod advice;
mod bets;
mod control;
mod level;
mod orders;
mod predecessor;
mod properties;
mod rules;
mod vectors;
