//! `prony run`

use crate::arguments::{Global, Source};
use crate::commands::{print_json, runtime};
use crate::progress::Progress;
use crate::{Exit, Failure, Outcome, pipeline, plugins};
use clap::Args;
use prony_config::Pipeline;
use prony_contract::Kind;
use prony_journal::{Reported, RunFolder};
use prony_plan::{Estimate, Plan};
use prony_plugin_host::Registry;
use prony_result::{self as result, words};
use prony_runner::{Inputs, Options, Runner};
use std::path::{Path, PathBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony run pipelines/quickstart.yaml --set schedule.cycles=12")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Folder in which to create the run's folder.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Print the result as JSON instead of the reporters' output.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let registry = plugins::registry(global)?;
    let Some(loaded) = pipeline::open(global, &arguments.source, &registry) else {
        return Ok(Exit::InvalidPipeline);
    };
    let notes = pipeline::notes(&loaded);
    let pipeline = loaded.pipeline;
    let plan = Plan::new(&pipeline);
    if !global.quiet && !arguments.json {
        announce(&pipeline, &plan, &arguments.results);
    }
    let job = Job {
        global,
        registry: &registry,
        file: &arguments.source.file,
        results: &arguments.results,
    };
    check_open_files(&plan)?;
    load_plugins(&pipeline, &registry)?;
    if pipeline.setup.doctor
        && !super::doctor::before_run(global, &arguments.source, &pipeline, &registry)?
    {
        let message = "an engine does not answer, so nothing was measured";
        return Err(Failure::new(Exit::RunFailed, message));
    }
    let folder = job.folder(&pipeline)?;
    let left = format!(
        "what was measured is in {0}: `prony report {0}` reports it",
        folder.path().display()
    );
    let stop = stop_on_signal(STOPPING, &left)?;
    let (outcome, result, mut reported) = job.run(&pipeline, notes, &plan, &folder, &stop)?;
    if arguments.json {
        print_json(&result)?;
        reported.stdout.clear();
    }
    if !global.quiet {
        eprintln!("results are in {}", folder.path().display());
    }
    let reports = super::report::show(global, &reported);
    Ok(match outcome {
        result::Outcome::Completed if reports == Exit::Ok => valid(&result),
        result::Outcome::Completed => reports,
        result::Outcome::Failed => Exit::RunFailed,
        result::Outcome::Interrupted | result::Outcome::Running => Exit::Interrupted,
    })
}

/// Common settings of a command's runs.
pub(super) struct Job<'a> {
    pub(super) global: &'a Global,
    pub(super) registry: &'a Registry,
    /// The pipeline file.
    pub(super) file: &'a Path,
    /// Folder in which to create a folder for each run.
    pub(super) results: &'a Path,
}

impl Job<'_> {
    /// Creates the folder of a run.
    pub(super) fn folder(&self, pipeline: &Pipeline) -> Result<RunFolder, Failure> {
        RunFolder::create(self.results, &pipeline.name).map_err(|error| {
            let message = format!(
                "cannot make a folder for the run: {error}; `--results DIR` puts it elsewhere"
            );
            Failure::new(Exit::RunFailed, message)
        })
    }

    /// Runs a pipeline and writes its reports; `stop` becomes `true` when it is to end.
    pub(super) fn run(
        &self,
        pipeline: &Pipeline,
        notes: Vec<String>,
        plan: &Plan,
        folder: &RunFolder,
        stop: &watch::Receiver<bool>,
    ) -> Result<(result::Outcome, result::RunResult, Reported), Failure> {
        let options = options(self.global, self.file)?;
        let resolved = resolved(pipeline)?;
        let mut progress = Progress::new(self.global, plan);
        let finished = runtime()?.block_on(async {
            let mut observer = |event: &prony_journal::Event| progress.see(event);
            let inputs = Inputs {
                pipeline,
                resolved: &resolved,
                notes,
                plan,
                registry: self.registry,
                options: &options,
                folder,
            };
            let runner = Runner::new(inputs, stop.clone(), &mut observer)?;
            Ok::<_, Failure>(runner.run().await?)
        })?;
        progress.end();
        let result = prony_journal::result_of(folder)?;
        let reported = prony_journal::report(
            &result,
            &pipeline.reporters,
            pipeline.report.on_failure,
            self.registry,
            folder,
        )?;
        if let Err(error) = folder.make_latest() {
            eprintln!("warning: `latest` does not point to this run: {error}");
        }
        Ok((finished.outcome, result, reported))
    }
}

/// Loads every plugin of a pipeline, so that one that fails, such as a file that no
/// longer matches its lock, is reported before the run.
pub(super) fn load_plugins(pipeline: &Pipeline, registry: &Registry) -> Result<(), Failure> {
    for engine in &pipeline.engines {
        registry.load(Kind::Engine, &engine.plugin)?;
    }
    for reporter in &pipeline.reporters {
        registry.load(Kind::Reporter, &reporter.plugin)?;
    }
    Ok(())
}

/// Checks that the system allows as many open files as the run needs, before anything starts.
pub(super) fn check_open_files(plan: &Plan) -> Result<(), Failure> {
    let stages = plan.segments.iter().flat_map(|segment| &segment.stages);
    let most = stages.map(|stage| stage.concurrency).max();
    prony_runner::check_open_files(most.unwrap_or(1))
        .map_err(|message| Failure::new(Exit::RunFailed, message))
}

/// Prints the estimated duration, if there is an earlier run.
fn announce(pipeline: &Pipeline, plan: &Plan, results: &Path) {
    let Some((folder, past)) = prony_journal::past(results, &pipeline.name) else {
        return;
    };
    let estimate = Estimate::new(pipeline, plan, Some(&past));
    if let Some(seconds) = estimate.seconds {
        eprintln!(
            "{}{} and {}, about {} by what {} took",
            if estimate.least_seconds.is_some() {
                "at most "
            } else {
                ""
            },
            words::count(estimate.visits, "visit"),
            words::count(estimate.requests, "request"),
            super::plan::range(&estimate, seconds),
            folder.id()
        );
    }
}

/// Prints why numbers are invalid; valid ones may still miss a threshold.
fn valid(result: &result::RunResult) -> Exit {
    for reason in &result.invalid {
        eprintln!("error: not valid: {reason}");
    }
    if result.invalid.is_empty() {
        thresholds(result)
    } else {
        Exit::Invalid
    }
}

/// Prints the missed thresholds.
fn thresholds(result: &result::RunResult) -> Exit {
    let missed: Vec<String> = result
        .thresholds
        .iter()
        .filter(|threshold| !threshold.passed)
        .map(result::ThresholdResult::sentence)
        .collect();
    for sentence in &missed {
        eprintln!("error: threshold missed: {sentence}");
    }
    if missed.is_empty() {
        Exit::Ok
    } else {
        Exit::ThresholdFailed
    }
}

fn options(global: &Global, file: &Path) -> Result<Options, Failure> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))
    };
    let folder = absolute(file)?
        .parent()
        .map(ToOwned::to_owned)
        .unwrap_or_default();
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))?;
    let mut worker = vec![program.to_string_lossy().into_owned()];
    for lock in plugins::locks(global) {
        worker.extend([
            "--lock".to_owned(),
            absolute(&lock)?.to_string_lossy().into_owned(),
        ]);
    }
    if let Some(grants) = plugins::grants(global) {
        worker.extend(["--grants".to_owned(), grants.to_string_lossy().into_owned()]);
    }
    worker.push("worker".to_owned());
    Ok(Options {
        folder,
        cache: plugins::cache(global),
        worker,
        truth_server: super::selfcheck::truth_server()?,
    })
}

/// The pipeline with every default spelled out, as a pipeline file.
fn resolved(pipeline: &Pipeline) -> Result<String, Failure> {
    let failure = |error: String| Failure::new(Exit::RunFailed, error);
    let value = serde_json::to_value(pipeline).map_err(|error| failure(error.to_string()))?;
    let yaml = serde_yaml::to_string(&prony_journal::redact(&value))
        .map_err(|error| failure(error.to_string()))?;
    Ok(format!(
        "# The pipeline of this run, with every default spelled out.\n{yaml}"
    ))
}

/// The end of a run at a signal, in words.
pub(super) const STOPPING: &str = "engines are unloaded and what was measured is reported";

/// Becomes `true` at the first Ctrl-C, SIGTERM or SIGHUP: what was started is stopped, which
/// `stopping` tells. A second one kills everything at once; `left` tells what is left then. On
/// a thread of its own, so that it reacts whatever prony is doing.
pub(super) fn stop_on_signal(stopping: &str, left: &str) -> Result<watch::Receiver<bool>, Failure> {
    let (sender, receiver) = watch::channel(false);
    let failure = |error: std::io::Error| Failure::new(Exit::RunFailed, error.to_string());
    let runtime = runtime()?;
    let inside = runtime.enter();
    let listen = |kind| signal(kind).map_err(failure);
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    // `nohup` ignores it so that a run survives the end of its terminal.
    let mut hangup = if prony_runner::process::is_hangup_ignored() {
        None
    } else {
        Some(listen(SignalKind::hangup())?)
    };
    drop(inside);
    let (stopping, left) = (stopping.to_owned(), left.to_owned());
    let watch = async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = hung_up(hangup.as_mut()) => {}
            }
            if sender.send_replace(true) {
                prony_runner::process::kill_all();
                eprintln!("killed; {left}");
                #[expect(clippy::exit, reason = "the user asked twice")]
                std::process::exit(Exit::Interrupted as i32);
            }
            eprintln!("stopping: {stopping}; once more kills at once");
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(watch))
        .map_err(failure)?;
    Ok(receiver)
}

async fn hung_up(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}
