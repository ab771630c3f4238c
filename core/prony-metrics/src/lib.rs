//! From records to a verdict, as pure functions.
//!
//! - [`statistics`]: verdicts from numbers, and what can be said of them;
//! - [`facts`]: requests as numbers, which is what stays of a record in memory;
//! - [`durations`]: hundreds of millions of them, and their exact quantiles;
//! - [`summary`]: the metrics of one model on one engine;
//! - [`comparison`]: a candidate against the baseline;
//! - [`delivered`]: the load that was delivered, against the one that was asked for;
//! - [`mod@explain`]: the pages about what limits a comparison;
//! - [`across`]: the results of two runs side by side;
//! - [`definition`]: the metrics as other tools define them;
//! - [`account`]: an engine's own settings and counters, beside what prony knows;
//! - [`cache`]: whether an engine kept to the state of its prefix cache;
//! - [`tokens`]: an engine's count of tokens against an independent one;
//! - [`same_work`]: whether two engines gave the same answers;
//! - [`credit`]: the tokens that two answers to one request are compared by;
//! - [`mod@common`]: the part of two answers that both have;
//! - [`granularity`]: how finely a stream shows what its engine does;
//! - [`history`]: changes and trends in the runs of many nights;
//! - [`validity`]: whether numbers are of the engine at all;
//! - [`threshold`]: results against what they must reach.
//!
//! Nothing here does I/O or reads a clock.

pub mod account;
pub mod across;
pub mod cache;
pub mod common;
pub mod comparison;
pub mod credit;
pub mod curve;
pub mod definition;
pub mod delivered;
pub mod durations;
pub(crate) mod energy;
pub mod explain;
pub mod facts;
#[cfg(test)]
mod fixture;
pub mod granularity;
pub mod history;
pub mod prompts;
pub mod same_work;
pub mod served;
pub mod statistics;
pub mod summary;
pub mod threshold;
pub mod throughput;
pub mod tokens;
pub mod validity;
