//! The shared example files.

use std::fs;
use std::path::{Path, PathBuf};

use prony_diagnostic::{Diagnostic, human};

use super::plugins::Installed;
use crate::{Inputs, Loaded, Pipeline};

type Outcome = Result<(Pipeline, Vec<Diagnostic>), Vec<Diagnostic>>;

pub(super) fn load(text: &str) -> Outcome {
    crate::load("test.yaml", text, &Installed)
}

/// A valid pipeline with some lines inserted before the stages.
pub(super) fn with(lines: &str) -> String {
    format!(
        "version: 1\nname: demo\nmodel: {{ id: tiny }}\n{lines}\nstages:\n  - warmup: {{}}\n  - measure: {{}}\n  - report: {{}}\n"
    )
}

/// Loads a pipeline from a text; panics with the diagnostics if it is invalid.
pub(super) fn pipeline(text: &str) -> Pipeline {
    match load(text) {
        Ok((pipeline, _)) => pipeline,
        Err(problems) => panic!("{}", human(&problems, false)),
    }
}

/// The codes of the diagnostics of a text.
pub(super) fn codes(text: &str) -> Vec<&'static str> {
    let problems = match load(text) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    problems.iter().map(|problem| problem.code).collect()
}

/// Loads a text that was written by a pipeline.
pub(super) fn again(text: &str) -> Pipeline {
    let inputs = Inputs {
        env: &test_env,
        ..Inputs::one("again.yaml", text, &Installed)
    };
    match crate::load_all(&inputs) {
        Ok(loaded) => loaded.pipeline,
        Err(problems) => panic!("{}\n{text}", human(&problems, false)),
    }
}

fn test_env(name: &str) -> Option<String> {
    (name == "PRONY_TEST_HOME").then(|| "/data/test".to_owned())
}

/// Loads files that overlay each other, with settings and variables. The first is the
/// pipeline; the others can also be extended.
pub(super) fn load_layers(
    layers: &[(&str, &str)],
    others: &[(&str, &str)],
    set: &[&str],
    var: &[&str],
) -> Result<Loaded, Vec<Diagnostic>> {
    let owned = |texts: &[&str]| -> Vec<String> { texts.iter().map(ToString::to_string).collect() };
    let (set, var) = (owned(set), owned(var));
    let files = layers
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let read = |name: &str| {
        let found = others.iter().find(|(other, _)| *other == name);
        let text = found.map(|(_, text)| (*text).to_owned());
        text.ok_or_else(|| "there is no such file".into())
    };
    crate::load_all(&Inputs {
        files: files.collect(),
        set: &set,
        var: &var,
        read: &read,
        look: &|_| Ok(()),
        env: &test_env,
        assume_env: false,
        plugins: &Installed,
        tools: &[],
    })
}

/// Loads a file of the repository; it may extend others.
pub(super) fn load_file(path: &Path, name: &str) -> Result<Loaded, Vec<Diagnostic>> {
    let bytes = fs::read(path).expect("a readable file");
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(vec![crate::unreadable(name, &"it is not UTF-8".into())]);
    };
    let folder = path.parent().expect("a folder");
    crate::load_all(&Inputs {
        read: &|name| {
            let text = fs::read_to_string(folder.join(name));
            text.map_err(|error| error.kind().to_string().as_str().into())
        },
        env: &test_env,
        ..Inputs::one(name, &text, &Installed)
    })
}

/// The YAML files below a folder of `tests`, in order. Those that begin with `_` are only
/// extended by others.
pub(super) fn files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files = below(&root.join(folder));
    files.sort();
    assert!(!files.is_empty(), "no examples in {folder}");
    files
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                below(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            name.ends_with(".yaml") && !name.starts_with('_')
        })
        .collect()
}
