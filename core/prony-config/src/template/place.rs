//! An expression at its place in a file, and its checks.

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use prony_diagnostic::Diagnostic;
use serde_json::Value;

use super::digits;
use super::expression::{FILTERS, compile, names, repeats, without_texts};
use super::names::{Names, Scope, only};
use super::scan::MAX_EXPRESSION;
use crate::codes;
use crate::tree::Span;
use crate::wording::{alternatives, list, literal, similar};

/// The way to write what is no template.
const LITERAL: &str = "for a `${{` that is no template, write `${{ '${{' }}`";

/// Reports a template that is not closed, with `rest` bytes after it.
pub(super) fn unclosed(opened: Option<&usize>, scalar: &Span, rest: usize) -> Diagnostic {
    let span = opened.map_or_else(|| scalar.clone(), |at| *at..at + 3);
    let problem = Diagnostic::error(codes::TEMPLATE_SYNTAX, "a template is not closed")
        .at(span, "opened here")
        .help("close it with `}}`")
        .help(LITERAL);
    if rest > MAX_EXPRESSION {
        problem.note(format!("an expression has at most {MAX_EXPRESSION} bytes"))
    } else {
        problem
    }
}

pub(super) fn misplaced(span: &Span) -> Diagnostic {
    Diagnostic::error(codes::TEMPLATE_PLACE, "a template is not evaluated here")
        .at(span.clone(), "holds a template")
        .note("`version`, `extends`, `env`, `allow`, and the `id` and `outputs` of stages are read before any template")
        .help("write the value itself")
}

/// An expression and its place.
pub(super) struct Occurrence<'p> {
    pub(super) environment: &'p Environment<'p>,
    pub(super) names: &'p Names,
    pub(super) scope: &'p Scope,
    pub(super) values: &'p Value,
    pub(super) expression: &'p str,
    /// Its offset in the texts, unless escapes or an alias hide it.
    pub(super) start: Option<usize>,
    pub(super) scalar: &'p Span,
}

impl Occurrence<'_> {
    /// Returns `true` if it uses an unusable name, which is reported at its definition.
    pub(super) fn is_unusable(&self) -> bool {
        let mut names = self.names.unusable.iter();
        names.any(|name| self.expression.contains(name.as_str()))
    }

    /// Checks the expression; adds the names it uses to `used`.
    pub(super) fn check(&self, used: &mut Vec<String>) -> Vec<Diagnostic> {
        if digits::literal(self.expression).is_some() {
            return Vec::new();
        }
        let compiled = match compile(self.environment, self.expression) {
            Ok(compiled) => compiled,
            Err(error) => return vec![self.syntax(&error)],
        };
        let names = names(self.environment, &compiled, self.expression);
        let problems: Vec<_> = names
            .iter()
            .filter_map(|name| self.variable(name))
            .collect();
        let values = only(self.values, &names);
        let repeated = repeats(self.expression, &values, &names);
        let problem = if repeated {
            let problem = Diagnostic::error(codes::TEMPLATE_VALUE, "a template repeats a list");
            let span = self.span(0..self.expression.len());
            Some(
                problem
                    .at(span, "`*` is for numbers")
                    .help("write the list out"),
            )
        } else if problems.is_empty() {
            // A dry run finds names that only appear in evaluation.
            let values = digits::plain(&values);
            let tried = compiled.eval(minijinja::Value::from(Serde(&values)));
            tried.err().and_then(|error| self.function(&error))
        } else {
            None
        };
        used.extend(names);
        problems.into_iter().chain(problem).collect()
    }

    /// Reports an expression that cannot be parsed.
    fn syntax(&self, error: &minijinja::Error) -> Diagnostic {
        let problem = Diagnostic::error(codes::TEMPLATE_SYNTAX, "the template cannot be parsed");
        if let Some((range, word)) = foreign_operator(self.expression) {
            let operator = self.expression[range.clone()].trim().to_owned();
            let span = self.span(range);
            let problem = problem.at(span.clone(), "not an operator of templates");
            let message = format!("write `{}` for {}", word.trim(), literal(&operator));
            return match self.start {
                Some(_) => problem.suggest(message, span, word),
                None => problem.help(message),
            };
        }
        let reason = error.detail().unwrap_or("not an expression");
        let range = error.range().unwrap_or(0..self.expression.len());
        let help = if reason.contains("end of string") {
            "close the quote"
        } else if reason.contains("after expression") {
            "put an operator between the two: `~` joins texts, `==` compares"
        } else {
            "write a whole expression, such as `vars.NAME` or `matrix.AXIS + 1`"
        };
        problem
            .at(self.span(range), reason)
            .help(help)
            .help(LITERAL)
    }

    fn variable(&self, name: &str) -> Option<Diagnostic> {
        if self.names.phase(name, self.scope).is_some() {
            return None;
        }
        let at = find_name(self.expression, name);
        let span = self.span(at.map_or(0..self.expression.len(), |at| at..at + name.len()));
        let known = self.names.all(self.scope);
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let quoted = literal(name);
        let note = if known.is_empty() {
            "no variable is known here".to_owned()
        } else {
            alternatives("known here", name, &known)
        };
        if self.names.elsewhere(name) {
            let message = format!("the variable {quoted} has no value here");
            let problem = Diagnostic::error(codes::TEMPLATE_SCOPE, message);
            let problem = problem.at(span, "not known here").note(note);
            return Some(problem.help(where_known(name)));
        }
        if at.is_some_and(|at| {
            self.expression[at + name.len()..]
                .trim_start()
                .starts_with('(')
        }) {
            let message = format!("unknown function {quoted} in a template");
            let problem = Diagnostic::error(codes::TEMPLATE_NAME, message);
            let filters = format!("use a filter: {}", list(&FILTERS));
            let problem = problem.at(span, "not a function");
            return Some(problem.note("there are no functions").help(filters));
        }
        let mut problem = Diagnostic::error(
            codes::TEMPLATE_NAME,
            format!("unknown variable {quoted} in a template"),
        )
        .at(span.clone(), "not a variable")
        .note(note);
        let guess = similar(name, known.iter().copied());
        problem = match name.split_once('.') {
            Some(("env", variable)) => problem.help(format!(
                "to read it from the environment, list it: `env: [{variable}]`"
            )),
            Some(("vars", variable)) => problem.help(format!(
                "to have it, give it a value under `vars`: `{variable}: …`"
            )),
            _ if ["vars", "env", "matrix", "stages"].contains(&name) => {
                problem.help(format!("name what is in it: `{name}.NAME`"))
            }
            Some(("stages", _)) if guess.is_none() => problem.help(
                "a value of a step is called `stages.ID.outputs.NAME` and listed in its `outputs`",
            ),
            _ if guess.is_none() => problem
                .help("write `vars.NAME`, `env.NAME` or `matrix.AXIS`, or put a text in quotes"),
            _ => problem,
        };
        Some(match guess {
            Some(meant) if at.is_some() && self.start.is_some() => {
                problem.suggest("a variable with a similar name exists", span, meant)
            }
            _ => problem,
        })
    }

    fn function(&self, error: &minijinja::Error) -> Option<Diagnostic> {
        let range = error.range().unwrap_or(0..self.expression.len());
        let span = self.span(range.clone());
        let filters = list(&FILTERS);
        let is_unknown = |message: String, label: &str| {
            Diagnostic::error(codes::TEMPLATE_NAME, message).at(span.clone(), label)
        };
        let reason = error.detail().unwrap_or("unknown name");
        let other = || is_unknown("a template uses a name that does not exist".into(), reason);
        Some(match error.kind() {
            ErrorKind::UnknownFilter => {
                let name = self.expression.get(range).unwrap_or_default();
                let message = format!("unknown filter {} in a template", literal(name));
                let problem = is_unknown(message, "not a filter").note(format!("known: {filters}"));
                match similar(name, FILTERS) {
                    Some(meant) if self.start.is_some() => {
                        problem.suggest("a filter with a similar name exists", span, meant)
                    }
                    _ => problem.help("use one of them, or compute the value in a step"),
                }
            }
            ErrorKind::UnknownTest => other().help("compare with `==` or `!=`; there are no tests"),
            ErrorKind::UnknownFunction | ErrorKind::UnknownMethod => {
                other().help(format!("use a filter: {filters}"))
            }
            _ => return None,
        })
    }

    /// A range of the expression in the texts, at least one character long.
    pub(super) fn span(&self, range: Span) -> Span {
        let Some(start) = self.start else {
            return self.scalar.clone();
        };
        let trimmed = self.expression.trim_end().len();
        let leading = self.expression.len() - self.expression.trim_start().len();
        // The parser's ranges may end inside a character.
        let from = range.start.max(leading).min(trimmed);
        let from = self.expression.floor_char_boundary(from);
        let to = range.end.min(trimmed).max(from);
        let to = self.expression.ceil_char_boundary(to);
        if from == to {
            let next = self.expression[from..].chars().next();
            let end = start + from + next.map_or(1, char::len_utf8);
            return start + from..end.min(self.scalar.end);
        }
        start + from..start + to
    }
}

/// The first operator of other languages in an expression, and the word for it.
fn foreign_operator(expression: &str) -> Option<(Span, &'static str)> {
    let code = without_texts(expression);
    let not = code.match_indices('!').find(|(at, _)| {
        // `!=` compares.
        !code[at + 1..].starts_with('=')
    });
    let found = [
        code.find("&&").map(|at| (at..at + 2, "and")),
        code.find("||").map(|at| (at..at + 2, "or")),
        not.map(|(at, _)| (at..at + 1, "not")),
    ];
    let (range, word) = found.into_iter().flatten().min_by_key(|(it, _)| it.start)?;
    let is_space = |c: Option<char>| c.is_none_or(char::is_whitespace);
    let after = code[range.end..].chars().next();
    let before = code[..range.start].chars().next_back();
    Some((
        range,
        match (word, is_space(before), is_space(after)) {
            ("and", true, true) => "and",
            ("and", ..) => " and ",
            ("or", true, true) => "or",
            ("or", ..) => " or ",
            (_, _, true) => "not",
            _ => "not ",
        },
    ))
}

/// Describes where a name has a value.
fn where_known(name: &str) -> &'static str {
    match name.split('.').next().unwrap_or_default() {
        "vars" => "a variable knows those above it: move its definition up",
        "matrix" => {
            "the matrix is known in engines' `config`, in models but their `id`, in `workload`, and in stages between `setup` and `report`"
        }
        "stages" => {
            "outputs are known after the step that gives them, in steps, `if` and engines' `config`"
        }
        "prony" | "pipeline" => {
            "it is known in engines' `config`, a model's `path`, steps and `if`"
        }
        _ => "it is known in engines' `config`, and in steps and `if` from the `load` stage on",
    }
}

/// Finds a name in an expression, as a whole word and not in a text.
fn find_name(expression: &str, name: &str) -> Option<usize> {
    let code = without_texts(expression);
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let whole = |at: &usize| {
        !code[..*at].ends_with(is_word)
            && !code[at + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    let mut found = code.match_indices(name).map(|(at, _)| at);
    found.find(whole)
}
