//! `prony import`

use crate::arguments::Global;
use crate::commands::init;
use crate::{Exit, Outcome, pipeline};
use clap::{Args, ValueEnum};
use prony_config::Imported;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony import mlx-serving benchmark.yaml -o pipeline.yaml")]
pub(crate) struct Arguments {
    /// The tool that the configuration is for.
    #[arg(value_enum)]
    pub(crate) from: ImportFrom,
    /// The configuration.
    pub(crate) file: PathBuf,
    /// The file to write instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite an existing file.
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFrom {
    /// mlx-serving's benchmark: `benchmark`, `models`, `questions` or `prompts` and
    /// `test_images`.
    MlxServing,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let name = arguments.file.display().to_string();
    let text = match pipeline::read(&arguments.file) {
        Ok(text) => text,
        Err(reason) => {
            pipeline::show(global, &[prony_config::unreadable(&name, reason)]);
            return Ok(Exit::InvalidPipeline);
        }
    };
    let imported = match arguments.from {
        ImportFrom::MlxServing => prony_config::import_mlx_serving(&name, &text),
    };
    match imported {
        Ok(Imported { pipeline, notes }) => {
            pipeline::show(global, &notes);
            match &arguments.output {
                Some(file) => {
                    init::write(file, &pipeline, arguments.force)?;
                    init::say_next(global, file);
                }
                None => println!("{}", pipeline.trim_end()),
            }
            Ok(Exit::Ok)
        }
        Err(problems) => {
            pipeline::show(global, &problems);
            Ok(Exit::InvalidPipeline)
        }
    }
}
