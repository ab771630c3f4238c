//! The shared example files.

use std::fs;
use std::path::PathBuf;

use prony_diagnostic::{Diagnostic, human};

use super::plugins::Installed;
use crate::Pipeline;

type Loaded = Result<(Pipeline, Vec<Diagnostic>), Vec<Diagnostic>>;

pub(super) fn load(text: &str) -> Loaded {
    crate::load("test.yaml", text, &Installed)
}

/// A pipeline that loads, with some lines put in before the stages.
pub(super) fn with(lines: &str) -> String {
    format!(
        "version: 1\nname: demo\nmodel: {{ id: tiny }}\n{lines}\nstages:\n  - warmup: {{}}\n  - measure: {{}}\n"
    )
}

/// The pipeline of a text; shows the diagnostics if there is none.
pub(super) fn pipeline(text: &str) -> Pipeline {
    match load(text) {
        Ok((pipeline, _)) => pipeline,
        Err(problems) => panic!("{}", human(&problems, false)),
    }
}

/// The codes of what is found in a text.
pub(super) fn codes(text: &str) -> Vec<&'static str> {
    let problems = match load(text) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    problems.iter().map(|problem| problem.code).collect()
}

/// The YAML files of a folder of `schemas/tests`, in order.
pub(super) fn files(folder: &str) -> Vec<PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/tests/");
    let mut files: Vec<_> = fs::read_dir(format!("{root}{folder}"))
        .expect("the folder is there")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no examples in {folder}");
    files
}
