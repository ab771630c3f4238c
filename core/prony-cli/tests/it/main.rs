//! The command from end to end: the real binary, the bundled plugins, and
//! engines whose behaviour is known to the token.

#![allow(
    clippy::print_stderr,
    reason = "a test that cannot run here says why and how to make it run"
)]

mod kit;

mod aa;
mod account;
mod cli;
mod compare;
mod config;
mod conversations;
mod custom_pipelines;
mod doctor;
mod failing_engines;
mod fair_work;
mod import;
mod in_process;
mod journal;
mod kept_answers;
mod known_truth;
mod left_behind;
mod lines;
mod loading;
mod mlx;
mod open_loops;
mod provenance;
mod real_engines;
mod reporters;
mod resume;
mod schedule;
mod secrets;
mod selfcheck;
mod stdio;
mod steps;
mod streams;
mod walls;
mod workloads;
mod written_pipelines;
