//! `prony plugin`: a module for each subcommand, with its arguments, and a line here.

mod add;
mod build;
mod doctor;
mod exchange;
mod info;
mod list;
mod new;
mod options;
mod origin;
mod record;
mod remove;
mod show;
mod subject;
mod test;
mod trial;
mod update;

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
    /// before, an address fetched.
    Add(add::Arguments),
    /// Take a plugin out of a lock file, with its file.
    Remove(remove::Arguments),
    /// Read the sources of locked plugins again and lock what they have now.
    ///
    /// The folder of a project is built, a file read, the tag of a registry resolved. The lock is
    /// written only if all is well: nothing that another key signed, no older version, and from an
    /// address no other content under the same version. Without a name nothing is updated that would
    /// run code: folders and native libraries.
    Update(update::Arguments),
    /// Show all that is known about a plugin: version, contract, imports, digest, lock, signer.
    Info(info::Arguments),
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
        Command::Remove(it) => remove::run(global, it),
        Command::Update(it) => update::run(global, it),
        Command::Info(it) => info::run(global, it),
        Command::Doctor(it) => doctor::run(global, it),
        Command::Test(it) => test::run(global, it),
        Command::Record(it) => record::run(global, it),
        Command::Try(it) => trial::run(global, it),
    }
}
