//! `prony doctor`: starts every engine of a pipeline once and shows what it reports and
//! honours.

mod findings;

use super::install;
use super::run::{Destination, Job, base_of, load_plugins, stop_on_signal};
use crate::arguments::{Global, Source};
use crate::commands::print_json;
use crate::plugins::Locked;
use crate::{Exit, Failure, Outcome, output, pipeline, plugins};
use clap::Args;
use findings::{Findings, Seen};
use prony_config::{Pipeline, checkup};
use prony_plan::Plan;
use prony_plugin_host::Registry;
use tokio::sync::watch;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony doctor --install pipelines/smollm2.yaml")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) source: Source,
    /// First install the engines that are missing, each with its packages at fixed versions in
    /// a Python environment of its own in the cache folder.
    #[arg(long)]
    pub(crate) install: bool,
    /// Print as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The end of a check-up at a signal, in words.
const STOPPING: &str = "what was started is ended";
/// Its end at a second one.
const LEFT: &str =
    "a check-up keeps nothing, and an engine that is not wholly installed is installed again";

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let source = &arguments.source;
    let base = base_of(&source.file)?;
    let registry = plugins::registry_of(global, &base)?;
    let Some(loaded) = pipeline::open(global, source, &registry, Some(&base)) else {
        return Ok(Exit::InvalidPipeline);
    };
    let stop = stop_on_signal(STOPPING, LEFT)?;
    if arguments.install {
        install::engines(global, &source.file, &loaded.pipeline, &registry, &stop)?;
    }
    let findings = examine(global, source, &loaded.pipeline, &registry, &stop)?;
    if arguments.json {
        print_json(&findings)?;
    } else {
        output::lines(&findings.table());
    }
    Ok(findings.exit())
}

/// Examines the engines before a run. Returns `false` if one of them does not answer.
pub(super) fn before_run(
    global: &Global,
    source: &Source,
    given: &Pipeline,
    registry: &Registry,
) -> Result<bool, Failure> {
    let stop = stop_on_signal(STOPPING, LEFT)?;
    let findings = examine(global, source, given, registry, &stop)?;
    output::error_lines(&findings.table(), false);
    Ok(findings.exit() == Exit::Ok)
}

fn examine(
    global: &Global,
    source: &Source,
    given: &Pipeline,
    registry: &Registry,
    stop: &watch::Receiver<bool>,
) -> Result<Findings, Failure> {
    let failure = |message: String| Failure::new(Exit::RunFailed, message);
    let text = serde_yaml::to_string(&checkup(given)).map_err(|it| failure(it.to_string()))?;
    let name = format!("{} (check-up)", pipeline::name_of(&source.file));
    let layers = crate::arguments::Layers::default();
    let loaded =
        pipeline::turned(&name, text, given, &layers, registry).map_err(|diagnostics| {
            pipeline::show(global, &diagnostics);
            failure(
                "the check-up of this pipeline is no valid pipeline; please report it".to_owned(),
            )
        })?;
    let mut pipeline = loaded.pipeline;
    prony_config::ask(&mut pipeline, &Locked(registry));
    load_plugins(&pipeline, registry)?;
    let results = tempfile::Builder::new().prefix("prony-doctor-").tempdir();
    let results = results.map_err(|error| failure(error.to_string()))?;
    let job = Job {
        global,
        registry,
        base: base_of(&source.file)?,
        results: results.path(),
    };
    let folder = job.folder(&pipeline)?;
    let plan = Plan::new(&pipeline);
    let destination = Destination::new(folder.clone());
    let (_, result, _) = job.run(&pipeline, Vec::new(), &plan, destination, stop)?;
    let journal = prony_journal::read(&folder.journal())?;
    let findings = Findings::new(&Seen {
        given,
        checkup: &pipeline,
        registry,
        result: &result,
        events: &journal.events,
    });
    if findings.exit() != Exit::Ok {
        // What a failed engine printed says more than prony can.
        let _ = results.keep();
        eprintln!("what the engines printed is in {}", folder.logs().display());
    }
    Ok(findings)
}
