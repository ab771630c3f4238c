//! `prony run`

use crate::arguments::{Global, Source};
use crate::commands::{print_json, runtime};
use crate::neighbours::Neighbours;
use crate::progress::Progress;
use crate::ranks::{self, Led, RankOptions};
use crate::{Exit, Failure, Outcome, browser, part, pipeline, plugins};
use clap::Args;
use prony_config::Pipeline;
use prony_contract::Kind;
use prony_journal::{Reported, RunFolder};
use prony_plan::{Estimate, Part, Plan};
use prony_plugin_host::{Registry, sha256_of};
use prony_result::{self as result, words};
use prony_runner::{Inputs, Options, Resume, Runner};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
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
    /// Folder of the run itself, new or empty. If it holds this run, cut short, the run goes on;
    /// if it holds the whole run, it is reported.
    #[arg(long, value_name = "DIR", conflicts_with = "results")]
    pub(crate) into: Option<PathBuf>,
    /// Run one of N parts of the models and matrix points, and the others elsewhere; `auto` takes
    /// K and N from a job array. `prony merge` joins the parts.
    #[arg(long, value_name = "K/N", value_parser = part::wanted)]
    pub(crate) part: Option<part::Wanted>,
    #[command(flatten)]
    pub(crate) ranks: RankOptions,
    #[command(flatten)]
    pub(crate) options: ResumeOptions,
    /// Print the result as JSON instead of the reporters' output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of a run that goes on.
#[derive(Debug, Args)]
pub(crate) struct ResumeOptions {
    /// Go on with a run whose setup steps have other outputs than before.
    #[arg(long)]
    pub(crate) accept_new_setup: bool,
    /// Keep what came of so many failed requests of each engine and class of failure, in the run's
    /// folder `failed`.
    #[arg(long, default_value_t = prony_runner::DEFAULT_KEPT, value_name = "N")]
    pub(crate) keep_failed: u32,
    /// Open the run's page in the browser when it is written: that of `BROWSER`, or the system's.
    #[arg(long)]
    pub(crate) open: bool,
}

/// Output of a run besides the reports in its folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    /// The result as JSON instead of the reporters' output.
    pub(super) json: bool,
    /// The page in the browser.
    pub(super) open: bool,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let base = base_of(&arguments.source.file)?;
    let registry = plugins::registry_of(global, &base)?;
    let Some(loaded) = pipeline::open(global, &arguments.source, &registry, Some(&base)) else {
        return Ok(Exit::InvalidPipeline);
    };
    let mut notes = pipeline::notes(&loaded);
    let pipeline = loaded.pipeline;
    notes.extend(plugins::hiding(&pipeline, &registry));
    let place = ranks::own(&arguments.ranks, arguments.part.is_some())?;
    let plan = part::of_plan(Plan::new(&pipeline), arguments.part)?;
    let pipeline_sha256 = sha256_of(resolved(&pipeline)?.as_bytes());
    if let Some(place) = place.as_ref().filter(|place| place.rank.number > 0) {
        return ranks::follow(global, place, Some(pipeline_sha256));
    }
    if !global.quiet && !arguments.json {
        announce(&pipeline, &plan, &arguments.results);
    }
    let checked = ranks::Checked {
        pipeline: &pipeline,
        plan: &plan,
        registry: &registry,
        pipeline_sha256,
    };
    let led = ranks::lead(global, &arguments.ranks, place.as_ref(), &checked)?;
    let job = Job {
        global,
        registry: &registry,
        base,
        results: &arguments.results,
    };
    let destination = match &arguments.into {
        None => None,
        Some(path) => Some(Destination::at(path)?),
    };
    check_open_files(&plan)?;
    load_plugins(&pipeline, &registry)?;
    if pipeline.setup.doctor
        && !super::doctor::before_run(global, &arguments.source, &pipeline, &registry)?
    {
        let message = "an engine does not answer, so nothing was measured";
        return Err(Failure::new(Exit::RunFailed, message));
    }
    let destination = match destination {
        Some(destination) => destination,
        None => Destination::new(job.folder_of(&pipeline, plan.part)?),
    };
    check_room(&pipeline, &plan, destination.folder.path())?;
    let destination = Destination {
        accept_new_setup: arguments.options.accept_new_setup,
        keep_failed: arguments.options.keep_failed,
        led,
        ..destination
    };
    let shown = Shown {
        json: arguments.json,
        open: arguments.options.open,
    };
    job.run_and_show(&pipeline, notes, &plan, destination, shown)
}

/// The folder that a run is written to, and what it holds of the run.
pub(super) struct Destination {
    pub(super) folder: RunFolder,
    /// The run that died, if this is to go on with it.
    pub(super) resume: Option<Resume>,
    pub(super) accept_new_setup: bool,
    /// Raw bodies of failed requests to keep, of each engine and class.
    pub(super) keep_failed: u32,
    /// `true` if `latest` beside the folder is to point to it.
    pub(super) is_latest: bool,
    /// The other ranks that send the load, if there are any.
    pub(super) led: Option<Led>,
}

impl Destination {
    /// Of a new run.
    pub(super) fn new(folder: RunFolder) -> Self {
        Self {
            folder,
            resume: None,
            accept_new_setup: false,
            keep_failed: prony_runner::DEFAULT_KEPT,
            is_latest: true,
            led: None,
        }
    }

    /// Of a run at a path, begun or not.
    fn at(path: &Path) -> Result<Self, Failure> {
        let (folder, begun) = RunFolder::at(path)?;
        let resume = begun.then(|| Resume::open(&folder)).transpose()?;
        Ok(Self {
            folder,
            resume,
            accept_new_setup: false,
            keep_failed: prony_runner::DEFAULT_KEPT,
            is_latest: false,
            led: None,
        })
    }
}

/// The exit code of a run that has ended; prints why its numbers are invalid, or which
/// thresholds were missed.
pub(super) fn code(outcome: result::Outcome, result: &result::RunResult, reports: Exit) -> Exit {
    use result::Outcome::{Completed, Failed};
    let broken = broken_plugin(result);
    if let (Completed | Failed, Some(words)) = (outcome, broken) {
        eprintln!("error: {words}");
        return Exit::Plugin;
    }
    match outcome {
        result::Outcome::Completed if reports == Exit::Ok => valid(result),
        result::Outcome::Completed => reports,
        result::Outcome::Failed => Exit::RunFailed,
        result::Outcome::Interrupted | result::Outcome::Running => Exit::Interrupted,
    }
}

/// Common settings of a command's runs.
pub(super) struct Job<'a> {
    pub(super) global: &'a Global,
    pub(super) registry: &'a Registry,
    /// Folder that the paths in the pipeline are relative to.
    pub(super) base: PathBuf,
    /// Folder in which to create a folder for each run.
    pub(super) results: &'a Path,
}

impl Job<'_> {
    /// Creates the folder of a run.
    pub(super) fn folder(&self, pipeline: &Pipeline) -> Result<RunFolder, Failure> {
        self.folder_of(pipeline, None)
    }

    /// Creates the folder of the run of a part.
    fn folder_of(&self, pipeline: &Pipeline, part: Option<Part>) -> Result<RunFolder, Failure> {
        let mut name = pipeline.secrets.file_name(&pipeline.name).into_owned();
        if let Some(Part { number, of }) = part {
            let _ = write!(name, "-part-{number}-of-{of}");
        }
        RunFolder::create(self.results, &name).map_err(|error| {
            let message = format!(
                "cannot make a folder for the run: {error}; `--results DIR` puts it elsewhere"
            );
            Failure::new(Exit::RunFailed, message)
        })
    }

    /// Runs a pipeline until it ends or is stopped by a signal, and shows its reports.
    pub(super) fn run_and_show(
        &self,
        pipeline: &Pipeline,
        notes: Vec<String>,
        plan: &Plan,
        destination: Destination,
        shown: Shown,
    ) -> Outcome {
        let path = destination.folder.path().display().to_string();
        let goes_on = match &destination.led {
            None => format!("`prony resume {path}` goes on with the run"),
            Some(_) => format!("the same command with `--into {path}` goes on with the run"),
        };
        let left = format!(
            "what was measured is in {path}: `prony report {path}` reports it, and {goes_on}"
        );
        let stop = stop_on_signal(STOPPING, &left)?;
        let (outcome, result, mut reported) =
            self.run(pipeline, notes, plan, destination, &stop)?;
        if shown.json {
            print_json(&result)?;
            reported.stdout.clear();
        }
        if !self.global.quiet {
            eprintln!("results are in {path}");
            if result.run.outcome == result::Outcome::Interrupted {
                eprintln!("{goes_on}");
            }
        }
        let reports = super::report::show(self.global, &reported);
        if shown.open {
            browser::open_page(self.global, &reported.files);
        }
        Ok(code(outcome, &result, reports))
    }

    /// Runs a pipeline and writes its reports; `stop` becomes `true` when it is to end.
    pub(super) fn run(
        &self,
        pipeline: &Pipeline,
        notes: Vec<String>,
        plan: &Plan,
        destination: Destination,
        stop: &watch::Receiver<bool>,
    ) -> Result<(result::Outcome, result::RunResult, Reported), Failure> {
        let folder = &destination.folder;
        let options = Options {
            accept_new_setup: destination.accept_new_setup,
            keep_failed: destination.keep_failed,
            ..options(self.global, &self.base)?
        };
        let resolved = resolved(pipeline)?;
        let (ranks, _local) = destination.led.map(Led::into_parts).unzip();
        let mut progress = Progress::new(self.global, pipeline, plan);
        let mut finished = runtime()?.block_on(async {
            let mut neighbours = Neighbours::new(&options.cache);
            let mut observer = |event: &prony_journal::Event| {
                progress.see(event);
                // Between visits: nothing is measured.
                if let prony_journal::Event::Started(_) | prony_journal::Event::Visit(_) = event {
                    progress.tell_neighbours(&neighbours.new_ones());
                }
            };
            let inputs = Inputs {
                pipeline,
                resolved: &resolved,
                notes,
                plan,
                registry: self.registry,
                options: &options,
                folder,
                resume: destination.resume,
                ranks,
            };
            match Runner::new(inputs, stop.clone(), &mut observer) {
                Ok(runner) => match Box::pin(runner.run()).await {
                    // Its journal is one that goes on; this end of it is a failure.
                    Ok(finished) if finished.lost_rank => Ok(result::Outcome::Failed),
                    Ok(finished) => Ok(finished.outcome),
                    Err(error @ prony_journal::Error::Io { .. }) => {
                        eprintln!(
                            "error: the run ends here, since a file of it cannot be written or read: {error}"
                        );
                        Ok(result::Outcome::Failed)
                    }
                    Err(error) => Err(Failure::from(error)),
                },
                Err(prony_journal::Error::Ended { outcome }) => {
                    eprintln!(
                        "note: the run in `{}` had ended before, so nothing is measured; a new folder begins a new one",
                        folder.path().display()
                    );
                    Ok(outcome)
                }
                Err(error) => Err(Failure::from(error)),
            }
        })?;
        progress.end();
        let extent = prony_journal::wanted(&pipeline.reporters, self.registry);
        let (result, detail) = prony_journal::result_with(folder, extent)?;
        let kept = prony_journal::keep_result(&result, folder);
        let reported = prony_journal::report(
            &result,
            detail.as_ref(),
            &plugins::fitted(self.global, &pipeline.reporters, self.registry),
            pipeline.report.on_failure,
            self.registry,
            folder,
        )?;
        if let Err(error) = kept {
            eprintln!(
                "error: the result cannot be kept: {error}; `prony report` computes it again"
            );
            finished = result::Outcome::Failed;
        }
        if destination.is_latest
            && let Err(error) = folder.make_latest()
        {
            eprintln!("warning: `latest` does not point to this run: {error}");
        }
        Ok((finished, result, reported))
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
    let most = stages.map(|it| it.concurrency.min(it.requests)).max();
    prony_runner::check_open_files(most.unwrap_or(1))
        .map_err(|message| Failure::new(Exit::RunFailed, message))
}

/// Checks that the disk has room for the journal: for one cycle of each model at the least.
fn check_room(pipeline: &Pipeline, plan: &Plan, folder: &Path) -> Result<(), Failure> {
    /// Bytes of a request and of each of its tokens in the journal, measured.
    const REQUEST: u64 = 600;
    const TOKEN: u64 = 14;
    let Some(free) = prony_files::free_bytes(folder) else {
        return Ok(());
    };
    let points = pipeline.points.iter();
    let tokens = points.map(|it| it.workload.max_tokens).max();
    let tokens = u64::from(tokens.unwrap_or_default());
    let of_requests = |count: u64| count.saturating_mul(REQUEST + TOKEN * tokens);
    let all = of_requests(plan.requests());
    let least = all / u64::from(plan.cycles().max(1));
    let place = folder.display();
    if free < least {
        let message = format!(
            "a cycle may take {} of journal, and `{place}` has room for {}: make room, or put the results elsewhere",
            words::bytes(least),
            words::bytes(free)
        );
        return Err(Failure::new(Exit::RunFailed, message));
    }
    if free < all.saturating_mul(2) {
        eprintln!(
            "warning: all cycles may take {} of journal, and `{place}` has room for {}; the run ends when it is full, and `prony resume` goes on when there is room",
            words::bytes(all),
            words::bytes(free)
        );
    }
    Ok(())
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

/// Words about an engine whose plugin broke down, or could not read an answer, if there is one.
fn broken_plugin(result: &result::RunResult) -> Option<String> {
    let class = prony_record::ErrorClass::Plugin.name();
    let engines = result.models.iter().flat_map(|model| &model.engines);
    let counted = engines
        .filter_map(|it| Some((it, *it.errors.get(class)?)))
        .find(|(_, count)| *count > 0);
    let Some((engine, count)) = counted else {
        let mut stages = result.models.iter().flat_map(|model| &model.failures);
        let failure = stages.find(|failure| failure.plugin)?;
        return Some(format!(
            "the plugin of `{}` failed in `{}`: {}",
            failure.engine, failure.stage, failure.message
        ));
    };
    let message = engine.error_messages.get(class);
    let message = message.map_or_else(String::new, |it| format!(": {it}"));
    Some(format!(
        "the plugin of `{}` failed in {}{message}",
        engine.engine,
        words::count(count, "request")
    ))
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

/// An absolute path.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))
}

/// The folder that the paths in a pipeline file are relative to: of standard input the working
/// folder.
pub(super) fn base_of(file: &Path) -> Result<PathBuf, Failure> {
    if pipeline::is_stdin(file) {
        return absolute(Path::new("."));
    }
    let folder = prony_files::folder(&absolute(file)?);
    // In a run's folder the paths of its pipeline are still those of the first.
    Ok(prony_journal::pipeline_folder(&RunFolder::open(&folder)).unwrap_or(folder))
}

fn options(global: &Global, base: &Path) -> Result<Options, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))?;
    let locks = plugins::locks(global, Some(base));
    let mut worker = vec![program.to_string_lossy().into_owned()];
    for lock in &locks {
        worker.extend([
            "--lock".to_owned(),
            absolute(lock)?.to_string_lossy().into_owned(),
        ]);
    }
    if let Some(grants) = plugins::grants(global) {
        worker.extend(["--grants".to_owned(), grants.to_string_lossy().into_owned()]);
    }
    worker.push("worker".to_owned());
    Ok(Options {
        folder: absolute(base)?,
        cache: plugins::cache(global),
        models: global.model_folders(),
        locks: locks.into_iter().filter(|lock| lock.is_file()).collect(),
        worker,
        truth_server: super::selfcheck::truth_server()?,
        accept_new_setup: false,
        keep_failed: prony_runner::DEFAULT_KEPT,
    })
}

/// The pipeline with every default spelled out, as a pipeline file.
pub(super) fn resolved(pipeline: &Pipeline) -> Result<String, Failure> {
    let yaml = written(pipeline, |_| true)?;
    Ok(format!(
        "# The pipeline of this run, with every default spelled out.\n{yaml}"
    ))
}

/// The sections of a pipeline that are `shown`, with every default spelled out, as YAML.
pub(super) fn written(
    pipeline: &Pipeline,
    shown: impl Fn(&str) -> bool,
) -> Result<String, Failure> {
    let failure = |error: String| Failure::new(Exit::RunFailed, error);
    let mut value = serde_json::to_value(pipeline).map_err(|error| failure(error.to_string()))?;
    if let Some(sections) = value.as_object_mut() {
        sections.retain(|section, _| shown(section));
    }
    // Its own and those of the environment are templates; what is made of them is not.
    let value = pipeline.secrets.masked(&value);
    let value = value.map_err(|error| failure(error.to_string()))?;
    serde_yaml::to_string(&*value).map_err(|error| failure(error.to_string()))
}

/// The signal of a write beyond the limit of a file's size, on Linux and macOS.
const SIGXFSZ: i32 = 25;

/// The end of a run at a signal, in words.
pub(super) const STOPPING: &str = "engines are unloaded and what was measured is reported";

/// Becomes `true` at the first Ctrl-C, SIGTERM or SIGHUP: what was started is stopped, which
/// `stopping` tells. A second one kills everything at once; `left` tells what is left then. On
/// a thread of its own, so that it reacts whatever prony is doing.
pub(crate) fn stop_on_signal(stopping: &str, left: &str) -> Result<watch::Receiver<bool>, Failure> {
    let (sender, receiver) = watch::channel(false);
    let failure = |error: std::io::Error| Failure::new(Exit::RunFailed, error.to_string());
    let runtime = runtime()?;
    let inside = runtime.enter();
    let listen = |kind| signal(kind).map_err(failure);
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    // A file that may not grow is an error of its writer, not the end of the program.
    let file_size = listen(SignalKind::from_raw(SIGXFSZ))?;
    // `nohup` ignores it so that a run survives the end of its terminal.
    let mut hangup = if prony_runner::process::is_hangup_ignored() {
        None
    } else {
        Some(listen(SignalKind::hangup())?)
    };
    drop(inside);
    let (stopping, left) = (stopping.to_owned(), left.to_owned());
    let watch = async move {
        /// A terminal, and `timeout`, may signal the program and its group: that is one wish.
        const ONE_WISH: Duration = Duration::from_millis(300);
        let _listened_to = file_size;
        let mut asked: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = hung_up(hangup.as_mut()) => {}
            }
            if asked.is_some_and(|at| at.elapsed() < ONE_WISH) {
                continue;
            }
            asked = Some(Instant::now());
            if sender.send_replace(true) {
                prony_runner::process::kill_all();
                eprintln!("killed; {left}");
                // A terminal that takes nothing more holds nobody up.
                crate::output::end_view(Duration::from_secs(1));
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
