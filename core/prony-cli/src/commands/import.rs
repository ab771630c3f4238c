//! `prony import`

use crate::arguments::{Global, Import, ImportFrom};
use crate::commands::init;
use crate::{Exit, Outcome, pipeline};
use prony_config::Imported;

pub(crate) fn run(global: &Global, arguments: &Import) -> Outcome {
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
