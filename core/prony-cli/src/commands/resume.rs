//! `prony resume`

use super::run::{Destination, Job, ResumeOptions, Shown, base_of, check_open_files, load_plugins};
use crate::arguments::{ChosenRun, Global, Layers, Source};
use crate::part::{Wanted, of_plan};
use crate::{Exit, Outcome, pipeline, plugins};
use clap::Args;
use prony_plan::Plan;
use prony_runner::Resume;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony resume results/2026-11-24-05-26-42-smollm2")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) chosen: ChosenRun,
    #[command(flatten)]
    pub(crate) options: ResumeOptions,
    /// Print the result as JSON instead of the reporters' output.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    crate::ranks::must_be_alone("resume")?;
    let folder = arguments.chosen.folder()?;
    let ended = prony_journal::verify(&folder.journal())?.outcome;
    if let Some(outcome) = ended.filter(|it| *it != prony_result::Outcome::Interrupted) {
        return Err(prony_journal::Error::Ended { outcome }.into());
    }
    let resume = Resume::open(&folder)?;
    let source = Source {
        file: folder.pipeline(),
        layers: Layers::default(),
    };
    let base = base_of(&source.file)?;
    let registry = plugins::registry_of(global, &base)?;
    let Some(loaded) = pipeline::open(global, &source, &registry, Some(&base)) else {
        return Ok(Exit::InvalidPipeline);
    };
    let notes = pipeline::notes(&loaded);
    let pipeline = loaded.pipeline;
    let part = resume.started().plan.part.map(Wanted::Named);
    let plan = of_plan(Plan::new(&pipeline), part)?;
    check_open_files(&plan)?;
    load_plugins(&pipeline, &registry)?;
    let job = Job {
        global,
        registry: &registry,
        base,
        results: &arguments.chosen.results,
    };
    let destination = Destination {
        resume: Some(resume),
        accept_new_setup: arguments.options.accept_new_setup,
        keep_failed: arguments.options.keep_failed,
        ..Destination::new(folder)
    };
    let shown = Shown {
        json: arguments.json,
        open: arguments.options.open,
    };
    job.run_and_show(&pipeline, notes, &plan, destination, shown)
}
