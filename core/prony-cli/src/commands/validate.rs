//! `prony validate`

use crate::arguments::{Global, Layers};
use crate::{Exit, Outcome, output, pipeline, plugins};
use clap::{Args, ValueEnum};
use prony_diagnostic::Diagnostic;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony validate pipeline.yaml --deny warnings")]
pub(crate) struct Arguments {
    /// The pipelines.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) layers: Layers,
    /// Output format.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Human,
    /// For programs: one JSON object.
    Json,
    /// For code scanning: SARIF 2.1.0.
    Sarif,
    /// For GitHub Actions: one annotation a line.
    Github,
}

pub(crate) fn run(global: &Global, validate: &Arguments) -> Outcome {
    let registry = plugins::registry(global)?;
    let mut all = Vec::new();
    let mut invalid = false;
    for file in &validate.files {
        let (loaded, diagnostics) = pipeline::load(file, &validate.layers, &registry);
        let denied = pipeline::is_denied(&validate.layers, &diagnostics);
        invalid |= loaded.is_none() || denied;
        if validate.format == Format::Human {
            pipeline::show(global, &diagnostics);
            if loaded.is_some() && !global.quiet {
                let verdict = if denied { "not clean" } else { "valid" };
                println!("{}: {verdict}{}", file.display(), warnings(&diagnostics));
            }
        }
        all.extend(diagnostics);
    }
    match validate.format {
        Format::Human => {}
        Format::Json => output::json(&prony_diagnostic::json(&all)),
        Format::Sarif => output::json(&prony_diagnostic::sarif(&all, &summary)),
        Format::Github => output::lines(&prony_diagnostic::github(&all)),
    }
    Ok(if invalid {
        Exit::InvalidPipeline
    } else {
        Exit::Ok
    })
}

fn warnings(diagnostics: &[Diagnostic]) -> String {
    match diagnostics.len() {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        n => format!(", {n} warnings"),
    }
}

fn summary(code: &str) -> Option<String> {
    let code = prony_config::CODES.iter().find(|c| c.code == code)?;
    Some(code.summary.to_owned())
}
