//! `prony validate`

use crate::arguments::{Global, Validate};
use crate::{Exit, Outcome, pipeline, plugins};

pub(crate) fn run(global: &Global, validate: &Validate) -> Outcome {
    let registry = plugins::registry(global)?;
    let mut all = Vec::new();
    let mut invalid = 0;
    for file in &validate.files {
        let (pipeline, diagnostics) = pipeline::load(file, &registry);
        invalid += usize::from(pipeline.is_none());
        if !validate.json {
            pipeline::show(global, &diagnostics);
            if pipeline.is_some() && !global.quiet {
                let warnings = diagnostics.len();
                let note = if warnings == 0 {
                    String::new()
                } else {
                    format!(
                        ", {warnings} warning{}",
                        if warnings == 1 { "" } else { "s" }
                    )
                };
                println!("{}: valid{note}", file.display());
            }
        }
        all.extend(diagnostics);
    }
    if validate.json {
        println!("{}", prony_diagnostic::json(&all));
    }
    Ok(if invalid == 0 {
        Exit::Ok
    } else {
        Exit::InvalidPipeline
    })
}
