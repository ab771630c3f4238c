//! Files of other tools: how one is told from a pipeline, and what an importer needs to
//! read it. The formats are not known here; whoever loads a pipeline hands them in.

use prony_diagnostic::Diagnostic;

use crate::load::tidy;
use crate::text::Texts;
use crate::{codes, yaml};

pub use crate::template::is_template;
pub use crate::tree::{Entry, Kind, Node, Span};
pub use crate::wording::{found, list, literal};

/// Makes pipelines of the configurations of one tool.
#[derive(Debug, Clone, Copy)]
pub struct Importer {
    /// Name on the command line.
    pub name: &'static str,
    /// Name of the tool in a sentence: `this is a configuration of …`.
    pub tool: &'static str,
    /// One line of help: the tool and the keys of its files.
    pub about: &'static str,
    /// A key at the top of each of its files that no pipeline has.
    pub key: &'static str,
    /// Makes a pipeline of the text of a file; the name is what diagnostics call it. With
    /// an error, everything wrong with the file is returned.
    pub import: fn(name: &str, text: &str) -> Result<Imported, Vec<Diagnostic>>,
}

/// A pipeline made of a configuration of another tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The text of a valid pipeline file, with comments.
    pub pipeline: String,
    /// Warnings about what could not be carried over exactly, in the order of the file.
    pub notes: Vec<Diagnostic>,
}

/// Reads a file of another tool into a tree and has `write` make the text of a pipeline of
/// it. `write` adds what is wrong, with spans of the tree; without a pipeline one of the
/// diagnostics must be an error.
pub fn convert(
    name: &str,
    text: &str,
    write: impl FnOnce(&Node, &mut Vec<Diagnostic>) -> Option<String>,
) -> Result<Imported, Vec<Diagnostic>> {
    let mut texts = Texts::default();
    texts.add(name, text);
    let mut problems = Vec::new();
    let written = match yaml::parse(text) {
        Ok(root) => write(&root, &mut problems),
        Err(problem) => {
            problems.push(*problem);
            None
        }
    };
    // A pipeline says more than the configuration, so it may be too large for one.
    let pipeline = written.filter(|pipeline| match yaml::parse(pipeline) {
        Ok(_) => true,
        Err(problem) => {
            problems.push(too_large(problem.message));
            false
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

/// The diagnostic of a configuration that no pipeline can be made of.
pub fn too_large(reason: String) -> Diagnostic {
    Diagnostic::error(codes::BUDGET, "the file cannot be made into a pipeline")
        .note(reason)
        .help("split the configuration into several")
}

/// The diagnostic of a pipeline file that is a configuration of another tool.
pub(crate) fn recognise(root: &Node, importers: &[Importer]) -> Option<Diagnostic> {
    if root.entry("version").is_some() || root.entry("stages").is_some() {
        return None;
    }
    let mut known = importers.iter();
    let (importer, entry) = known.find_map(|it| Some((it, root.entry(it.key)?)))?;
    Some(
        Diagnostic::error(
            codes::OTHER_FORMAT,
            format!(
                "this is a configuration of {}, not a pipeline",
                importer.tool
            ),
        )
        .at(entry.key_span.clone(), "not a key of pipelines")
        .help(format!(
            "convert it: `prony import {} FILE > pipeline.yaml`",
            importer.name
        )),
    )
}
