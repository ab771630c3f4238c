//! Configurations of other benchmarks, made into pipelines.

mod read;
mod write;

use prony_diagnostic::Diagnostic;

use crate::load::tidy;
use crate::text::Texts;
use crate::{codes, yaml};

/// A pipeline made of a configuration of another tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The text of a valid pipeline file, with comments.
    pub pipeline: String,
    /// What could not be carried over exactly: warnings, in the order of the file.
    pub notes: Vec<Diagnostic>,
}

/// Makes a pipeline of a configuration of mlx-serving's benchmark.
///
/// `name` is what diagnostics call the file; the pipeline is called after it.
/// When there is an error, everything wrong with the file is returned.
pub fn import_mlx_serving(name: &str, text: &str) -> Result<Imported, Vec<Diagnostic>> {
    let mut texts = Texts::default();
    texts.add(name, text);
    let (config, mut problems) = match yaml::parse(text) {
        Ok(root) => read::read(&root),
        Err(problem) => (None, vec![*problem]),
    };
    let pipeline = config.and_then(|config| match pipeline(name, &config) {
        Ok(pipeline) => Some(pipeline),
        Err(problem) => {
            problems.push(*problem);
            None
        }
    });
    for problem in &mut problems {
        texts.place(problem);
    }
    let notes = tidy(problems, &texts);
    match pipeline {
        Some(pipeline) => Ok(Imported { pipeline, notes }),
        None => Err(notes),
    }
}

/// The pipeline, unless it gets larger than one may be: it says more than the
/// configuration does.
fn pipeline(name: &str, config: &read::Config) -> Result<String, Box<Diagnostic>> {
    let too_large = |reason: String| {
        let message = "the file cannot be made into a pipeline";
        let problem = Diagnostic::error(codes::BUDGET, message).note(reason);
        Box::new(problem.help("split the configuration into several"))
    };
    let pipeline = write::write(name, config).map_err(|error| too_large(error.to_string()))?;
    match yaml::parse(&pipeline) {
        Ok(_) => Ok(pipeline),
        Err(problem) => Err(too_large(problem.message)),
    }
}
