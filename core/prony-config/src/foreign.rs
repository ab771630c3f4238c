//! Files of other tools: how one is told from a pipeline, and what an importer needs to
//! read it. The formats are not known here; whoever loads a pipeline hands them in.

use prony_diagnostic::Diagnostic;

use crate::load::tidy;
use crate::text::Texts;
use crate::{codes, yaml};

pub use crate::template::is_template;
pub use crate::tree::{Entry, Kind, Node, Span};
pub use crate::wording::{found, list, literal};

/// A tool whose files are told from pipelines.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Name in a sentence: `this is a configuration of …`.
    pub tool: &'static str,
    /// Keys that no pipeline has: a file is the tool's if it has all of one group. A path leads
    /// into the file, with `/` between keys and `*` for any key or item: `services/*/image`.
    pub signs: &'static [&'static [&'static str]],
    /// Words in files that are not YAML, any of which tells them.
    pub words: &'static [&'static str],
    /// The way from such a file to a pipeline.
    pub way: Way,
}

/// The way from a file of another tool to a pipeline.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// It is converted.
    Import(Importer),
    /// It is written anew; what to do, as an imperative.
    Advice(&'static str),
}

/// Makes pipelines of the configurations of one tool.
#[derive(Debug, Clone, Copy)]
pub struct Importer {
    /// Name on the command line.
    pub name: &'static str,
    /// One line of help: the tool and the keys of its files.
    pub about: &'static str,
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

impl Tool {
    /// The place of the first of its signs in a document.
    fn sign(&self, root: &Node) -> Option<Span> {
        self.signs.iter().find_map(|group| {
            let mut places = group.iter().map(|path| place(root, path));
            let first = places.next()??;
            places.all(|place| place.is_some()).then_some(first)
        })
    }

    /// The diagnostic of one of its files.
    fn is_it(&self, span: Span, wanted: &str) -> Diagnostic {
        let message = format!("this is a configuration of {}, not {wanted}", self.tool);
        let problem =
            Diagnostic::error(codes::OTHER_FORMAT, message).at(span, "not a key of pipelines");
        match self.way {
            Way::Import(importer) => problem.help(format!(
                "convert it: `prony import {} FILE > pipeline.yaml`",
                importer.name
            )),
            Way::Advice(advice) => problem.help(advice),
        }
    }
}

/// The place of what a path leads to.
fn place(node: &Node, path: &str) -> Option<Span> {
    let (key, rest) = path
        .split_once('/')
        .map_or((path, None), |(key, rest)| (key, Some(rest)));
    let below = |span: &Span, node: &Node| match rest {
        Some(rest) => place(node, rest),
        None => Some(span.clone()),
    };
    let is_it = |entry: &&Entry| key == "*" || entry.key == key;
    let mut entries = node.entries().iter().filter(is_it);
    let mut items = node.items().iter().filter(|_| key == "*");
    let entry = entries.find_map(|entry| below(&entry.key_span, &entry.value));
    entry.or_else(|| items.find_map(|item| below(&item.span, item)))
}

/// The diagnostic of a document that is a configuration of one of these tools.
pub(crate) fn recognise(root: &Node, tools: &[Tool]) -> Option<Diagnostic> {
    const OURS: [&str; 3] = ["engine", "engines", "workload"];
    if OURS.iter().any(|key| root.entry(key).is_some()) {
        return None;
    }
    let mut tools = tools.iter();
    tools.find_map(|tool| Some(tool.is_it(tool.sign(root)?, "a pipeline")))
}

/// The same for a text that is not YAML.
pub(crate) fn recognise_text(text: &str, tools: &[Tool]) -> Option<Diagnostic> {
    tools.iter().find_map(|tool| {
        let mut words = tool.words.iter();
        let at = words.find_map(|word| text.find(word).map(|at| at..at + word.len()))?;
        Some(tool.is_it(at, "a pipeline"))
    })
}

/// The diagnostic of a document that is to be imported from the tool `wanted`, and is one of
/// these others'.
pub fn other_than(wanted: &str, root: &Node, tools: &[Tool]) -> Option<Diagnostic> {
    let is_other = |tool: &&Tool| !matches!(tool.way, Way::Import(it) if it.name == wanted);
    let (tool, span) = tools
        .iter()
        .find_map(|tool| Some((tool, tool.sign(root)?)))?;
    let ours = tools.iter().find(|tool| !is_other(tool))?;
    is_other(&tool).then(|| tool.is_it(span, &format!("of {}", ours.tool)))
}
