//! `prony run`

use crate::arguments::{Global, Run};
use crate::commands::print_json;
use crate::progress::Progress;
use crate::{Exit, Failure, Outcome, pipeline, plugins};
use prony_config::Pipeline;
use prony_plan::Plan;
use prony_plugin_sdk::result;
use prony_runner::{Options, RunFolder, Runner};
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub(crate) fn run(global: &Global, arguments: &Run) -> Outcome {
    let registry = plugins::registry(global)?;
    let (pipeline, diagnostics) = pipeline::load(&arguments.file, &registry);
    pipeline::show(global, &diagnostics);
    let Some(pipeline) = pipeline else {
        return Ok(Exit::InvalidPipeline);
    };
    let plan = Plan::new(&pipeline);
    let options = options(global, &arguments.file)?;
    let folder = RunFolder::create(&arguments.results, &pipeline.name)?;
    let resolved = resolved(&pipeline)?;
    let mut progress = Progress::new(global, &plan);

    let finished = runtime()?.block_on(async {
        let stop = stop_on_signal()?;
        let mut observer = |event: &prony_runner::Event| progress.see(event);
        let runner = Runner::new(
            &pipeline,
            &resolved,
            &plan,
            &registry,
            &options,
            &folder,
            stop,
            &mut observer,
        )?;
        Ok::<_, Failure>(runner.run().await?)
    })?;
    progress.end();

    let events = prony_runner::read(&folder.journal())?;
    let result = prony_runner::result(&events)
        .ok_or_else(|| Failure::new(Exit::RunFailed, "the journal has no beginning"))?;
    let mut reported = prony_runner::report(
        &result,
        &pipeline.reporters,
        pipeline.stages.report.on_failure,
        &registry,
        &folder,
    )?;
    if arguments.json {
        print_json(&result)?;
        reported.stdout.clear();
    }
    if !global.quiet {
        eprintln!("results are in {}", folder.path().display());
    }
    let reports = super::report::show(global, &reported);
    Ok(match finished.outcome {
        result::Outcome::Completed => reports,
        result::Outcome::Failed => Exit::RunFailed,
        result::Outcome::Interrupted => Exit::Interrupted,
    })
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
    worker.push("worker".to_owned());
    Ok(Options {
        folder,
        cache: plugins::cache(global),
        worker,
    })
}

/// The pipeline with every default spelled out, as a pipeline file.
fn resolved(pipeline: &Pipeline) -> Result<String, Failure> {
    let failure = |error: String| Failure::new(Exit::RunFailed, error);
    let value = serde_json::to_value(pipeline).map_err(|error| failure(error.to_string()))?;
    let yaml = serde_yaml::to_string(&prony_runner::redacted(&value))
        .map_err(|error| failure(error.to_string()))?;
    Ok(format!(
        "# The pipeline of this run, with every default spelled out.\n{yaml}"
    ))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))
}

/// Turns true at the first Ctrl-C, SIGTERM or SIGHUP: engines are stopped and
/// what was measured is reported. A second one kills everything at once.
/// On a thread of its own, so that it is heard whatever the run is busy with.
fn stop_on_signal() -> Result<watch::Receiver<bool>, Failure> {
    let (sender, receiver) = watch::channel(false);
    let failure = |error: std::io::Error| Failure::new(Exit::RunFailed, error.to_string());
    let runtime = runtime()?;
    let inside = runtime.enter();
    let listen = |kind| signal(kind).map_err(failure);
    let (mut interrupt, mut terminate, mut hangup) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
        listen(SignalKind::hangup())?,
    );
    drop(inside);
    let watch = async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if sender.send_replace(true) {
                prony_runner::process::kill_all();
                #[expect(clippy::exit, reason = "the user asked twice")]
                std::process::exit(Exit::Interrupted as i32);
            }
            eprintln!(
                "stopping: engines are unloaded and what was measured is reported; once more kills at once"
            );
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(watch))
        .map_err(failure)?;
    Ok(receiver)
}
