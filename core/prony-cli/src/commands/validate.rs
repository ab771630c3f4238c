//! `prony validate`

use crate::arguments::{Format, Global, Validate};
use crate::{Exit, Outcome, pipeline, plugins};
use prony_diagnostic::Diagnostic;

pub(crate) fn run(global: &Global, validate: &Validate) -> Outcome {
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
        Format::Json => println!("{}", prony_diagnostic::json(&all)),
        Format::Sarif => println!("{}", prony_diagnostic::sarif(&all, &summary)),
        Format::Github => println!("{}", prony_diagnostic::github(&all).trim_end()),
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
