//! From the file's types to a [`Pipeline`]: defaults that depend on other
//! values are filled in, and what a schema can not say is checked.

mod engines;
mod lint;
mod models;
mod reporters;
mod stages;

use prony_diagnostic::Diagnostic;

use crate::file::File;
use crate::tree::{Node, Span};
use crate::wording::literal;
use crate::{Api, Pipeline, Plugins, Workload, codes};

/// The pipeline, unless there are errors, and all that is to be said about it.
pub(crate) fn resolve(
    file: File,
    root: &Node,
    plugins: &dyn Plugins,
) -> (Option<Pipeline>, Vec<Diagnostic>) {
    let context = Context { root, plugins };
    let mut problems = Vec::new();
    let engines = context.engines(file.engine, file.engines, &mut problems);
    let models = context.models(file.model, file.models, &mut problems);
    let compare = context.compare(file.compare, &engines, &mut problems);
    context.workload(&file.workload, &mut problems);
    let stages = context.stages(file.stages, file.workload.prompts.len(), &mut problems);
    let used = stages
        .as_ref()
        .map(|stages| stages.report.reporters.as_slice());
    let reporters = context.reporters(used, file.reporters, &mut problems);
    let Some(stages) = stages.filter(|_| !problems.iter().any(Diagnostic::is_error)) else {
        return (None, problems);
    };
    let pipeline = Pipeline {
        name: file.name,
        description: file.description,
        engines,
        models,
        workload: file.workload,
        compare,
        schedule: file.schedule,
        stages,
        reporters,
    };
    problems.extend(lint::lint(&pipeline, &context));
    (Some(pipeline), problems)
}

/// What the checks need besides the values: their places and the plugins.
struct Context<'a> {
    root: &'a Node,
    plugins: &'a dyn Plugins,
}

impl Context<'_> {
    /// The place of the value at a JSON pointer, or of the nearest one above it.
    fn value(&self, pointer: &str) -> Span {
        self.root.at(pointer).node.span.clone()
    }

    /// The place of the key at a JSON pointer, or of the nearest one above it.
    fn key(&self, pointer: &str) -> Span {
        self.root.at(pointer).name_span()
    }

    /// The place of a value if it is given, or else of the key that stands for it.
    fn place(&self, pointer: &str, otherwise: &str) -> Span {
        let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
        let given = self.root.at(parent).node.at_key(key);
        given.unwrap_or_else(|| self.key(otherwise))
    }

    fn workload(&self, workload: &Workload, out: &mut Vec<Diagnostic>) {
        if workload.api == Api::Completions && workload.system.is_some() {
            out.push(
                Diagnostic::error(
                    codes::SYSTEM_PROMPT,
                    "`system` does not go with `completions`",
                )
                .at(self.key("/workload/system"), "would not be sent")
                .and(self.value("/workload/api"), "sends prompts as they are")
                .help("use `api: chat`, or put the text into the prompts"),
            );
        }
    }

    /// Exactly one of two keys is given: an error otherwise.
    fn one_of(&self, code: &'static str, one: &str, several: &str, out: &mut Vec<Diagnostic>) {
        let entries = (self.root.entry(one), self.root.entry(several));
        let (one, several) = (literal(one), literal(several));
        match entries {
            (Some(first), Some(second)) => out.push(
                Diagnostic::error(code, format!("{one} and {several} are both given"))
                    .at(second.key_span.clone(), format!("{several} here"))
                    .and(first.key_span.clone(), format!("{one} here"))
                    .help(format!("move what {one} says into {several}")),
            ),
            (None, None) => out.push(
                Diagnostic::error(code, format!("neither {one} nor {several} is given"))
                    .at(self.root.span.clone(), "in this pipeline")
                    .help(format!("add {one} for one, or {several} for several")),
            ),
            _ => {}
        }
    }
}
