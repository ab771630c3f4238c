//! The command from end to end: the real binary, the bundled plugins, and
//! engines whose behaviour is known to the token.

#![allow(
    clippy::print_stderr,
    reason = "a test that cannot run here says why and how to make it run"
)]

#[expect(dead_code, reason = "the tests of prony-hub use the rest")]
#[path = "../../../prony-hub/tests/server/mod.rs"]
mod hub;
mod kit;

mod aa;
mod account;
mod author;
mod brought;
mod browser;
mod ci;
mod cli;
mod compare;
mod config;
mod conformance;
mod conversations;
mod custom_pipelines;
mod datasets;
mod doctor;
mod exchanges;
mod failing_engines;
mod fair_work;
mod files;
mod history;
mod hub_package;
mod import;
mod in_process;
mod journal;
mod kept_answers;
mod known_truth;
mod left_behind;
mod lines;
mod loading;
mod mlx;
mod models;
mod open_loops;
mod parts;
mod plugin_life;
mod preempted;
mod provenance;
mod ranks;
mod real_engines;
mod registry;
mod reporters;
mod resume;
mod schedule;
mod secrets;
mod selfcheck;
mod stdio;
mod steps;
mod streams;
mod terminal;
mod trial;
mod walls;
mod workloads;
mod written_pipelines;
