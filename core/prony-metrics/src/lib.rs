//! From records to a verdict, as pure functions.
//!
//! - [`record`]: what is kept of a request, and the rules that decide whether it
//!   succeeded;
//! - [`statistics`]: verdicts from numbers, and what can be said of them;
//! - [`summary`]: the metrics of one model on one engine;
//! - [`comparison`]: a candidate against the baseline;
//! - [`across`]: the results of two runs side by side;
//! - [`definition`]: the metrics as other tools define them;
//! - [`threshold`]: results against what they must reach.
//!
//! Nothing here does I/O or reads a clock.

pub mod across;
pub mod comparison;
pub mod definition;
pub mod record;
pub mod statistics;
pub mod summary;
pub mod threshold;
pub mod validity;
