//! `prony validate`

use super::run::base_of;
use crate::arguments::{Global, Layers};
use crate::{Exit, Outcome, files, output, pipeline, plugins};
use clap::{Args, ValueEnum};
use prony_diagnostic::Diagnostic;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony validate pipeline.yaml --deny warnings")]
pub(crate) struct Arguments {
    /// The pipelines; `-` is standard input, with paths relative to the working folder.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) layers: Layers,
    /// Take environment variables that the pipelines list and that are not set, such as secrets,
    /// for set: what depends on them is not checked. Files that pipelines name, such as models, need
    /// not be here.
    #[arg(long)]
    pub(crate) assume_env: bool,
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
    let mut all = Vec::new();
    let mut invalid = false;
    for file in &validate.files {
        let base = base_of(file)?;
        let registry = plugins::registry_of(global, &base)?.with_files_checked();
        let (loaded, is_valid, diagnostics) = if validate.assume_env {
            let (is_valid, diagnostics) =
                pipeline::check_without_environment(file, &validate.layers, &registry);
            (None, is_valid, diagnostics)
        } else {
            let (loaded, diagnostics) =
                pipeline::load(global, file, &validate.layers, &registry, Some(&base));
            let is_valid = loaded.is_some();
            (loaded, is_valid, diagnostics)
        };
        let denied = pipeline::is_denied(&validate.layers, &diagnostics);
        invalid |= !is_valid || denied;
        if validate.format == Format::Human {
            pipeline::show(global, &diagnostics);
            if is_valid && !global.quiet {
                let verdict = if denied { "not clean" } else { "valid" };
                println!(
                    "{}: {verdict}{}",
                    pipeline::name_of(file),
                    warnings(&diagnostics)
                );
                let datasets = loaded
                    .iter()
                    .flat_map(|it| files::datasets(&it.pipeline, &base));
                for line in datasets {
                    println!("  {line}");
                }
                for line in loaded
                    .iter()
                    .flat_map(|it| plugins::hiding(&it.pipeline, &registry))
                {
                    println!("  {line}");
                }
                for line in loaded.iter().flat_map(|it| pipeline::repeats(&it.pipeline)) {
                    println!("  {line}");
                }
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
