//! The commands: a module each, with its arguments, and a line here.

mod aa;
mod attest;
pub(crate) mod bundle;
mod compare;
mod compile_component;
mod completions;
mod dataset;
mod doctor;
mod explain;
mod export;
pub(crate) mod help;
mod history;
mod import;
mod init;
mod install;
mod launch;
mod list;
mod merge;
mod metrics;
mod model;
mod plan;
mod plugin;
mod rank;
mod reference;
mod replay;
mod report;
mod resume;
mod run;
mod schema;
mod selfcheck;
mod trial;
mod truth_server;
mod truth_stdio;
mod validate;
mod verify;
mod worker;

pub(crate) use run::stop_on_signal;

use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, output};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline and report.
    Run(run::Arguments),
    Try(trial::Arguments),
    /// Compare an engine with itself: how much of a difference is noise?
    Aa(aa::Arguments),
    /// Show what a pipeline would run, in order.
    Plan(plan::Arguments),
    /// Report a run again, from its journal.
    Report(report::Arguments),
    /// Go on with a run that was cut short.
    Resume(resume::Arguments),
    /// Print what to submit to Slurm or Kubernetes so that several machines send the load.
    Launch(launch::Arguments),
    /// Send a share of the load of a run that rank 0 leads on another machine or process.
    ///
    /// It needs no pipeline: rank 0 sends it the requests. Slurm, an MPI launcher or an indexed job
    /// says which rank it is, or `PRONY_RANK` and `PRONY_WORLD`; `PRONY_RENDEZVOUS` says where rank 0
    /// is (`tcp://HOST:PORT` or `file:PATH`), for which it waits 10 minutes, and `PRONY_TOKEN` is
    /// the secret that they share.
    Rank(rank::Arguments),
    /// Join the runs of the parts of a pipeline: `prony run --part`.
    Merge(merge::Arguments),
    /// Check that nothing of a run is damaged.
    ///
    /// It finds what happened by accident. It cannot prove who wrote a run: whoever edits one can
    /// compute its checksums anew. A signature over what `prony attest` writes proves more.
    Verify(verify::Arguments),
    /// Print the requests of a run, a row each.
    Export(export::Arguments),
    /// List the runs in the results folder.
    List(list::Arguments),
    /// Compare the results of two runs.
    Compare(compare::Arguments),
    /// Keep the runs of many nights, and find the changes in them.
    History(history::Arguments),
    /// Write down what a run was made from and what it found, as in-toto statements.
    Attest(attest::Arguments),
    /// Pack a run into one file, without weights.
    Bundle(bundle::Arguments),
    /// Run a run's pipeline again and say whether its comparisons are reproduced.
    Replay(replay::Arguments),
    /// Score a run by other tools' definitions of their metrics.
    Metrics(metrics::Arguments),
    /// Write a commented pipeline as a starting point.
    Init(init::Arguments),
    /// Check pipelines without running anything.
    Validate(validate::Arguments),
    /// Show what is in a dataset, and what would be sent of it.
    Dataset(dataset::Arguments),
    /// Start every engine once and show what it reports.
    Doctor(doctor::Arguments),
    /// Explain a code such as `P0101`, a flag such as `carry_over`, or the metrics.
    Explain(explain::Arguments),
    /// Convert another tool's configuration into a pipeline.
    Import(import::Arguments),
    /// Print a JSON Schema.
    Schema(schema::Arguments),
    /// List plugins and add them; begin, build, check and try plugins of your own.
    Plugin(plugin::Arguments),
    /// Fetch models from the Hugging Face hub, and list those that are here.
    Model(model::Arguments),
    /// Test prony's own load client against a server with a known schedule.
    Selfcheck(selfcheck::Arguments),
    /// Serve an OpenAI-compatible API with a known schedule and known faults.
    TruthServer(truth_server::Arguments),
    /// Print a completion script for a shell.
    Completions(completions::Arguments),
    /// Explain a command or a topic.
    Help(help::Arguments),
    /// The truth server over standard input and output, as JSON-RPC.
    #[command(hide = true)]
    TruthStdio(truth_stdio::Arguments),
    /// Serve an in-process engine on standard input and output.
    #[command(hide = true)]
    Worker(worker::Arguments),
    /// Compile the component at standard input, within limits, to standard output.
    #[command(hide = true)]
    CompileComponent(compile_component::Arguments),
    /// Print the reference of all commands, in Markdown.
    #[command(hide = true)]
    Reference,
}

impl Command {
    pub(crate) fn run(&self, global: &Global) -> Outcome {
        match self {
            Self::Run(it) => run::run(global, it),
            Self::Try(it) => trial::run(global, it),
            Self::Aa(it) => aa::run(global, it),
            Self::Plan(it) => plan::run(global, it),
            Self::Launch(it) => launch::run(global, it),
            Self::Rank(it) => rank::run(global, it),
            Self::Report(it) => report::run(global, it),
            Self::Resume(it) => resume::run(global, it),
            Self::Merge(it) => merge::run(global, it),
            Self::Verify(it) => verify::run(global, it),
            Self::Export(it) => export::run(global, it),
            Self::List(it) => list::run(global, it),
            Self::Compare(it) => compare::run(it),
            Self::History(it) => history::run(global, it),
            Self::Attest(it) => attest::run(it),
            Self::Bundle(it) => bundle::run(global, it),
            Self::Replay(it) => replay::run(global, it),
            Self::Metrics(it) => metrics::run(it),
            Self::Init(it) => init::run(global, it),
            Self::Validate(it) => validate::run(global, it),
            Self::Dataset(it) => dataset::run(it),
            Self::Doctor(it) => doctor::run(global, it),
            Self::Explain(it) => explain::run(it),
            Self::Import(it) => import::run(global, it),
            Self::Schema(it) => schema::run(global, it),
            Self::Plugin(it) => plugin::run(global, it),
            Self::Model(it) => model::run(global, it),
            Self::Selfcheck(it) => selfcheck::run(global, it),
            Self::TruthServer(it) => truth_server::run(it),
            Self::Completions(it) => Ok(completions::run(it)),
            Self::Help(it) => help::run(it),
            Self::TruthStdio(it) => truth_stdio::run(it),
            Self::Worker(it) => worker::run(global, it),
            Self::CompileComponent(it) => compile_component::run(it),
            Self::Reference => Ok(reference::run()),
        }
    }
}

/// Pretty JSON on standard output.
fn print_json<T: serde::Serialize>(value: &T) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))?;
    output::json(&json);
    Ok(())
}

/// A runtime on the calling thread.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))
}
