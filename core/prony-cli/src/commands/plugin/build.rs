//! `prony plugin build`

use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use prony_author::{Project, Toolchains};
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin build acme")]
pub(super) struct Arguments {
    /// Folder with `plugin.toml`.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let project = read(&arguments.folder)?;
    let file = built(global, &project)?;
    if !global.quiet {
        println!("made `{}`", file.display());
    }
    Ok(Exit::Ok)
}

/// The project in a folder.
pub(super) fn read(folder: &Path) -> Result<Project, Failure> {
    Project::read(folder)
        .map_err(|problem| Failure::new(Exit::Plugin, format!("[X0015] {problem}")))
}

/// Builds a project and checks the imports of what came of it. Returns the file.
pub(super) fn built(global: &Global, project: &Project) -> Result<PathBuf, Failure> {
    let begin = Instant::now();
    let say = |words: &str| tell(global, words);
    let toolchains = Toolchains {
        cache: cache(global),
        say: &say,
    };
    let bytes = toolchains.build(project).map_err(failed)?;
    let file = project.output();
    let (_, bytes) = prony_plugin_host::finished(&file, bytes)?;
    prony_files::replace(&file, &bytes)
        .map_err(|error| Failure::new(Exit::RunFailed, format!("`{}`: {error}", file.display())))?;
    say(&format!(
        "built {} KiB in {:.1} s",
        bytes.len() >> 10,
        begin.elapsed().as_secs_f64()
    ));
    Ok(file)
}

/// The failure of a toolchain, with its output line by line.
pub(super) fn failed(error: prony_author::Error) -> Failure {
    let text = error.to_string();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let message = format!("[X0016] {}", lines.next().unwrap_or_default());
    Failure {
        rows: lines.map(str::to_owned).collect(),
        ..Failure::new(Exit::Plugin, message)
    }
}

/// The folder of the toolchains that prony installs.
pub(super) fn cache(global: &Global) -> PathBuf {
    plugins::cache(global).join("toolchains")
}

/// Says what goes on, on standard error.
pub(super) fn tell(global: &Global, words: &str) {
    if !global.quiet {
        eprintln!("{words}");
    }
}
