//! `prony plugin`: a module for each subcommand, with its arguments, and a line here.

mod add;
mod build;
mod doctor;
mod exchange;
mod list;
mod new;
mod options;
mod record;
mod show;
mod subject;
mod test;
mod trial;

use crate::Outcome;
use crate::arguments::Global;
use crate::commands::install;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin add --grant native target/release/libengine_mine.so")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Begin a plugin: a folder that builds, passes its tests and runs as it is.
    New(new::Arguments),
    /// Build a plugin in its folder, with the toolchain of its language.
    Build(build::Arguments),
    /// List the installed plugins.
    List(list::Arguments),
    /// Describe engines in Markdown: how to get them, their behaviour, their options.
    Show(show::Arguments),
    /// List every option of plugins in Markdown, with those inside of others.
    Options(options::Arguments),
    /// Install engines that are Python packages, each with its packages at fixed versions in a
    /// Python environment of its own in the cache folder.
    Install {
        /// Names of engines; `prony plugin show NAME` lists the packages of one.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Check a plugin, copy it next to a lock file and lock it; the folder of a project is built
    /// before.
    Add(add::Arguments),
    /// Show what is missing to build a plugin, and whether the lock has what was built.
    Doctor(doctor::Arguments),
    /// Check that a built plugin does what prony expects of every plugin: docs/conformance.md.
    Test(test::Arguments),
    /// Send a plugin's requests to a running engine and keep the answers as fixtures.
    Record(record::Arguments),
    /// Send one request and show the answer read by read, beside the events that `decode` makes of
    /// it.
    Try(trial::Arguments),
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    match &arguments.command {
        Command::New(it) => new::run(global, it),
        Command::Build(it) => build::run(global, it),
        Command::List(it) => list::run(global, it),
        Command::Show(it) => show::run(global, it),
        Command::Options(it) => options::run(global, it),
        Command::Install { names } => install::named(global, names),
        Command::Add(it) => add::run(global, it),
        Command::Doctor(it) => doctor::run(global, it),
        Command::Test(it) => test::run(global, it),
        Command::Record(it) => record::run(global, it),
        Command::Try(it) => trial::run(global, it),
    }
}
