//! What can be said about templates before they are evaluated.

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use prony_diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::expression::{FILTERS, compile, environment};
use super::scan::{MAX_EXPRESSION, Part, Unclosed, is_template, parts, starts};
use crate::codes;
use crate::tree::{Kind, Node, Span};
use crate::wording::{list, literal, nearest, similar};

/// Known once the file is read.
const EARLY: [&str; 2] = ["pipeline.dir", "prony.cache"];
/// Known from the `load` stage on.
const LATE: [&str; 5] = [
    "engine.host",
    "engine.name",
    "engine.port",
    "model.id",
    "model.path",
];

/// More are not looked for: they would not be shown.
const MAX_PROBLEMS: usize = 100;

/// Which variables a place of the file may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Nothing,
    Early,
    All,
}

/// Everything wrong with the templates of a document.
pub(crate) fn check(text: &str, root: &Node) -> Vec<Diagnostic> {
    let mut walk = Walk {
        environment: environment(),
        text,
        path: Vec::new(),
        problems: Vec::new(),
    };
    walk.node(root);
    walk.problems
}

fn scope(path: &[&str]) -> Scope {
    match path {
        ["engine", "config", ..] | ["engines", _, "config", ..] => Scope::All,
        ["model", "path"] | ["models", "-", "path"] => Scope::Early,
        ["stages", "-", stage, "before" | "after", "-", rest @ ..] => match (rest, *stage) {
            (["run" | "creates"] | ["env", _], "setup") => Scope::Early,
            (["run" | "creates"] | ["env", _], _) => Scope::All,
            _ => Scope::Nothing,
        },
        _ => Scope::Nothing,
    }
}

struct Walk<'a> {
    environment: Environment<'a>,
    text: &'a str,
    /// Keys, and `-` for an item of a list.
    path: Vec<&'a str>,
    problems: Vec<Diagnostic>,
}

impl<'a> Walk<'a> {
    fn node(&mut self, node: &'a Node) {
        match &node.kind {
            Kind::String(value) if is_template(value) => self.scalar(node, value),
            Kind::List(items) => {
                self.path.push("-");
                for item in items {
                    self.node(item);
                }
                self.path.pop();
            }
            Kind::Map(entries) => {
                for entry in entries {
                    if is_template(&entry.key) {
                        self.problems
                            .push(misplaced("a key can not be a template", &entry.key_span));
                    }
                    self.path.push(&entry.key);
                    self.node(&entry.value);
                    self.path.pop();
                }
            }
            _ => {}
        }
    }

    fn scalar(&mut self, node: &'a Node, value: &'a str) {
        let scope = scope(&self.path);
        if scope == Scope::Nothing {
            self.problems
                .push(misplaced("a template is not evaluated here", &node.span));
            return;
        }
        let written = self.text.get(node.span.clone()).unwrap_or_default();
        let opened: Vec<usize> = starts(written).map(|at| node.span.start + at).collect();
        // A template may hold `${{` in a string, and escapes may hide one in
        // the file: the place is taken only if the expression stands there.
        let mut index = 0;
        for part in parts(value) {
            if self.problems.len() >= MAX_PROBLEMS {
                return;
            }
            match part {
                Ok(Part::Text(_)) => {}
                Ok(Part::Expression(expression)) => {
                    let start = opened.get(index).map(|open| open + 3);
                    let place = Place {
                        environment: &self.environment,
                        expression,
                        start: start.filter(|at| self.text[*at..].starts_with(expression)),
                        scalar: &node.span,
                    };
                    self.problems.extend(place.check(scope));
                    index += 1 + starts(expression).count();
                }
                Err(Unclosed(_)) => self.problems.push(unclosed(opened.get(index), &node.span)),
            }
        }
    }
}

fn unclosed(opened: Option<&usize>, scalar: &Span) -> Diagnostic {
    let span = opened.map_or_else(|| scalar.clone(), |at| *at..at + 3);
    Diagnostic::error(codes::TEMPLATE_SYNTAX, "a template is not closed")
        .at(span, "opened here")
        .note(format!("an expression has at most {MAX_EXPRESSION} bytes"))
        .help("close it with `}}`")
}

fn misplaced(message: &str, span: &Span) -> Diagnostic {
    Diagnostic::error(codes::TEMPLATE_PLACE, message)
        .at(span.clone(), "holds a template")
        .note("templates work in an engine's `config`, a model's `path`, and the `run`, `env` and `creates` of steps")
        .help("write the value itself")
}

/// An expression and where it stands.
struct Place<'a> {
    environment: &'a Environment<'a>,
    expression: &'a str,
    /// Its offset in the file, unless escapes or an alias hide it.
    start: Option<usize>,
    scalar: &'a Span,
}

impl Place<'_> {
    fn check(&self, scope: Scope) -> Vec<Diagnostic> {
        let compiled = match compile(self.environment, self.expression) {
            Ok(compiled) => compiled,
            Err(error) => {
                let reason = error.detail().unwrap_or("not an expression");
                let range = error.range().unwrap_or(0..self.expression.len());
                let problem =
                    Diagnostic::error(codes::TEMPLATE_SYNTAX, "the template can not be parsed")
                        .at(self.span(range), reason);
                return vec![problem];
            }
        };
        let mut used: Vec<_> = compiled.undeclared_variables(true).into_iter().collect();
        used.sort();
        let problems: Vec<_> = used
            .iter()
            .filter_map(|name| self.variable(name, scope))
            .collect();
        if !problems.is_empty() {
            return problems;
        }
        // A dry run finds names that only come up when they are used.
        match compiled.eval(minijinja::Value::from(Serde(sample()))) {
            Err(error) => self.function(&error).into_iter().collect(),
            Ok(_) => Vec::new(),
        }
    }

    fn variable(&self, name: &str, scope: Scope) -> Option<Diagnostic> {
        let late = LATE.contains(&name);
        if EARLY.contains(&name) || (late && scope == Scope::All) {
            return None;
        }
        let at = self.expression.find(name);
        let span = self.span(at.map_or(0..self.expression.len(), |at| at..at + name.len()));
        let quoted = literal(name);
        if late {
            return Some(
                Diagnostic::error(
                    codes::TEMPLATE_SCOPE,
                    format!("the variable {quoted} has no value here"),
                )
                .at(span, "not known yet")
                .note(format!("known here: {}", list(&EARLY))),
            );
        }
        let known: Vec<&str> = match scope {
            Scope::All => EARLY.into_iter().chain(LATE).collect(),
            _ => EARLY.to_vec(),
        };
        let names = nearest(name, known.iter().copied());
        let problem = Diagnostic::error(
            codes::TEMPLATE_NAME,
            format!("unknown variable {quoted} in a template"),
        )
        .at(span.clone(), "not a variable")
        .note(format!("known here: {}", list(&names)));
        Some(match similar(name, known.iter().copied()) {
            Some(meant) if at.is_some() && self.start.is_some() => {
                problem.suggest("a variable with a similar name exists", span, meant)
            }
            _ => problem,
        })
    }

    fn function(&self, error: &minijinja::Error) -> Option<Diagnostic> {
        let unknown = matches!(
            error.kind(),
            ErrorKind::UnknownFilter
                | ErrorKind::UnknownTest
                | ErrorKind::UnknownFunction
                | ErrorKind::UnknownMethod
        );
        let reason = error.detail().unwrap_or("unknown name");
        let span = self.span(error.range().unwrap_or(0..self.expression.len()));
        unknown.then(|| {
            Diagnostic::error(
                codes::TEMPLATE_NAME,
                "a template uses a name that does not exist",
            )
            .at(span, reason)
            .note(format!("known filters: {}", list(&FILTERS)))
        })
    }

    /// A range of the expression in the file, at least one character long.
    fn span(&self, range: Span) -> Span {
        let Some(start) = self.start else {
            return self.scalar.clone();
        };
        let trimmed = self.expression.trim_end().len();
        let from = range.start.min(trimmed);
        let to = range.end.min(trimmed).max(from);
        if from == to {
            return start + from..(start + from + 1).min(self.scalar.end);
        }
        start + from..start + to
    }
}

/// Values of the right types for a dry run.
fn sample() -> Value {
    json!({
        "engine": { "host": "127.0.0.1", "name": "engine", "port": 8080 },
        "model": { "id": "model", "path": "/model" },
        "pipeline": { "dir": "/pipeline" },
        "prony": { "cache": "/cache" },
    })
}
