//! `prony import`

use crate::arguments::Global;
use crate::commands::init;
use crate::{Exit, Outcome, output, pipeline};
use clap::Args;
use clap::builder::PossibleValue;
use clap::builder::PossibleValuesParser;
use prony_config::foreign::{Imported, Importer};
use prony_importers::IMPORTERS;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = example())]
pub(crate) struct Arguments {
    /// The tool that the configuration is for.
    #[arg(value_parser = tools())]
    pub(crate) from: String,
    /// The configuration; `-` is standard input.
    pub(crate) file: PathBuf,
    /// The file to write instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite an existing file.
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
}

fn example() -> String {
    let tool = IMPORTERS[0].name;
    format!("Example: prony import {tool} benchmark.yaml -o pipeline.yaml")
}

fn tools() -> PossibleValuesParser {
    let value = |it: &Importer| PossibleValue::new(it.name).help(it.about);
    PossibleValuesParser::new(IMPORTERS.iter().map(value))
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let name = pipeline::name_of(&arguments.file);
    let text = match pipeline::read(&arguments.file) {
        Ok(text) => text,
        Err(problem) => {
            pipeline::show(global, &[prony_config::unreadable(&name, &problem)]);
            return Ok(Exit::InvalidPipeline);
        }
    };
    let mut importers = IMPORTERS.iter();
    let importer = importers.find(|it| it.name == arguments.from);
    let importer = importer.expect("the parser lets no other name through");
    match (importer.import)(&name, &text) {
        Ok(Imported { pipeline, notes }) => {
            pipeline::show(global, &notes);
            match &arguments.output {
                Some(file) => {
                    init::write(file, &pipeline, arguments.force)?;
                    init::say_next(global, file);
                }
                None => output::lines(&pipeline),
            }
            Ok(Exit::Ok)
        }
        Err(problems) => {
            pipeline::show(global, &problems);
            Ok(Exit::InvalidPipeline)
        }
    }
}
