//! Templates to values, as far as a file alone gives them; and everything that
//! can be said about the others before a run.

use std::collections::{BTreeSet, HashSet};

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use prony_diagnostic::Diagnostic;
use serde_json::{Map, Value, json};

use super::expression::{FILTERS, compile, environment, repeats, without_texts};
use super::names::{Names, Phase, Scope, Step, root};
use super::render::{NO_VALUE, evaluate, render_scalar};
use super::scan::{MAX_EXPRESSION, Part, Unclosed, is_template, parts, starts};
use crate::codes;
use crate::text::Texts;
use crate::tree::{Entry, Kind, Node, Span};
use crate::wording::{list, literal, nearest, similar};
use crate::yaml::{MAX_BYTES, MAX_DEPTH, MAX_NODES};

/// More are not looked for: they would not be shown.
const MAX_PROBLEMS: usize = 100;

/// A document with the values that are known when it is loaded.
pub(crate) struct Filled {
    /// Templates of the matrix and of the run are still in it.
    pub(crate) root: Node,
    /// Everything wrong with its templates.
    pub(crate) problems: Vec<Diagnostic>,
    /// `vars` and `env`, as far as the run needs them.
    pub(crate) context: Value,
    /// Names that are used somewhere, such as `vars.size`.
    pub(crate) used: BTreeSet<String>,
    /// Whether a value depends on the matrix alone.
    pub(crate) has_cells: bool,
    /// What a file that says the same must say as a template.
    kept: Vec<Kept>,
    names: Names,
    /// All variables, for the cells.
    values: Value,
}

/// A value that stays a template when the pipeline is written down: it is known
/// later only, or comes from the environment, which is nobody else's business.
struct Kept {
    pointer: String,
    text: String,
    used: Vec<String>,
}

impl Kept {
    /// The variable that it is part of.
    fn var(&self) -> String {
        let name = self.pointer.split('/').nth(2).unwrap_or_default();
        name.replace("~1", "/").replace("~0", "~")
    }
}

/// The variable of a name such as `vars.size.x`.
fn var_of(name: &str) -> Option<String> {
    Some(root(name.strip_prefix("vars.")?).to_owned())
}

/// Fills in what `vars` and `env` give.
pub(crate) fn fill(texts: &Texts, root: &Node, env: &dyn Fn(&str) -> Option<String>) -> Filled {
    let names = Names::new(root);
    let set = names.env.iter().filter_map(|name| Some((name, env(name)?)));
    let set: Map<String, Value> = set
        .map(|(name, value)| (name.clone(), value.into()))
        .collect();
    let mut walk = Walk {
        environment: environment(),
        texts,
        names: &names,
        values: json!({ "vars": {}, "env": set }),
        phase: Phase::Load,
        path: Vec::new(),
        problems: Vec::new(),
        kept: Vec::new(),
        used: BTreeSet::new(),
        broken: HashSet::new(),
        private: HashSet::new(),
        has_cells: false,
        spent: 0,
        stuck: false,
    };
    walk.sample();
    // Variables first, wherever they stand: all else may use them.
    let vars = root.entry("vars").map(|vars| walk.vars(vars));
    let mut filled = walk.document(root);
    if let (Some(vars), Kind::Map(entries)) = (vars, &mut filled.kind)
        && let Some(entry) = entries.iter_mut().find(|entry| entry.key == "vars")
    {
        *entry = vars;
    }
    let Walk {
        values,
        problems,
        kept,
        used,
        has_cells,
        ..
    } = walk;
    let mut filled = Filled {
        root: filled,
        problems,
        context: Value::Null,
        used,
        has_cells,
        kept,
        names,
        values,
    };
    filled.keep_what_is_needed();
    filled
}

impl Filled {
    /// The document of a cell of the matrix, and what is wrong with its values.
    pub(crate) fn cell(
        &self,
        texts: &Texts,
        matrix: &Map<String, Value>,
    ) -> (Node, Vec<Diagnostic>) {
        let mut values = self.values.clone();
        values["matrix"] = Value::Object(matrix.clone());
        let mut walk = Walk {
            environment: environment(),
            texts,
            names: &self.names,
            values,
            phase: Phase::Cell,
            path: Vec::new(),
            problems: Vec::new(),
            kept: Vec::new(),
            used: BTreeSet::new(),
            broken: HashSet::new(),
            private: HashSet::new(),
            has_cells: false,
            spent: 0,
            stuck: false,
        };
        let root = walk.node(&self.root);
        (root, walk.problems)
    }

    /// What the environment variables of the pipeline are set to.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = String> {
        let all = self.values["env"].as_object().into_iter().flatten();
        all.filter_map(|(_, value)| value.as_str().map(str::to_owned))
    }

    /// Puts back what must stay a template, into the same document as JSON.
    pub(crate) fn restore(&self, document: &mut Value) {
        for kept in &self.kept {
            put(document, &kept.pointer, Value::String(kept.text.clone()));
        }
        if let Some(vars) = document.get_mut("vars").and_then(Value::as_object_mut) {
            vars.retain(|name, _| self.context["vars"].get(name).is_some());
        }
        if let Some(env) = document.get_mut("env").and_then(Value::as_array_mut) {
            env.retain(|name| self.needs_env(name.as_str().unwrap_or_default()));
        }
        if let Some(document) = document.as_object_mut() {
            document.retain(|key, value| {
                let empty = value.as_object().is_some_and(Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty);
                !(empty && ["vars", "env"].contains(&key.as_str()))
            });
        }
    }

    fn needs_env(&self, name: &str) -> bool {
        let name = format!("env.{name}");
        self.kept.iter().any(|kept| kept.used.contains(&name))
    }

    /// Drops variables that no template of the run uses, and those they alone use.
    fn keep_what_is_needed(&mut self) {
        let mut needed: BTreeSet<String> = BTreeSet::new();
        let is_var = |kept: &Kept| kept.pointer.starts_with("/vars/");
        for kept in self.kept.iter().filter(|kept| !is_var(kept)) {
            needed.extend(kept.used.iter().cloned());
        }
        // A variable uses earlier ones only. What it keeps stands in one row.
        let mut vars: HashSet<String> = needed.iter().filter_map(|name| var_of(name)).collect();
        for kept in self.kept.iter().rev().filter(|kept| is_var(kept)) {
            if vars.contains(&kept.var()) {
                vars.extend(kept.used.iter().filter_map(|name| var_of(name)));
                needed.extend(kept.used.iter().cloned());
            }
        }
        self.kept
            .retain(|kept| !is_var(kept) || vars.contains(&kept.var()));
        let pick = |section: &str, needs: &dyn Fn(&String) -> bool| -> Map<String, Value> {
            let all = self.values[section]
                .as_object()
                .cloned()
                .unwrap_or_default();
            all.into_iter().filter(|(name, _)| needs(name)).collect()
        };
        let vars = pick("vars", &|var| vars.contains(var));
        let env = pick("env", &|name| needed.contains(&format!("env.{name}")));
        self.context = json!({ "vars": vars, "env": env });
    }
}

/// Sets the value at a pointer. A key that is not there, since its value is the
/// default, is added.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let mut at = document;
    for segment in pointer.split('/').skip(1) {
        let key = segment.replace("~1", "/").replace("~0", "~");
        at = match at {
            Value::Object(entries) => entries.entry(key).or_insert(Value::Object(Map::new())),
            Value::Array(items) => match key.parse().ok().and_then(|i: usize| items.get_mut(i)) {
                Some(item) => item,
                None => return,
            },
            _ => return,
        };
    }
    *at = value;
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

struct Walk<'a> {
    environment: Environment<'a>,
    texts: &'a Texts,
    names: &'a Names,
    /// What expressions see: `vars`, `env`, and `matrix` in a cell.
    values: Value,
    /// What is known by now.
    phase: Phase,
    path: Vec<Step<'a>>,
    problems: Vec<Diagnostic>,
    kept: Vec<Kept>,
    used: BTreeSet<String>,
    /// Variables without a value, which has been said.
    broken: HashSet<String>,
    /// Variables with something of the environment in them.
    private: HashSet<String>,
    has_cells: bool,
    /// Values that templates have made, counted as the parser counts.
    spent: usize,
    /// Whether a value could not be filled in, for a reason that is told.
    stuck: bool,
}

impl<'a> Walk<'a> {
    fn document(&mut self, root: &'a Node) -> Node {
        let Kind::Map(entries) = &root.kind else {
            return root.clone();
        };
        let mut filled = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.key == "vars" {
                filled.push(entry.clone());
            } else {
                filled.push(self.entry(entry));
            }
        }
        Node {
            kind: Kind::Map(filled),
            span: root.span.clone(),
        }
    }

    /// The variables in their order; each may use those before it.
    fn vars(&mut self, section: &'a Entry) -> Entry {
        let Kind::Map(vars) = &section.value.kind else {
            return section.clone();
        };
        self.path.push(Step::Key(&section.key));
        let mut filled = Vec::with_capacity(vars.len());
        for var in vars {
            let kept = self.kept.len();
            self.stuck = false;
            let entry = self.entry(var);
            if self.stuck {
                self.broken.insert(var.key.clone());
            }
            if self.kept.len() > kept {
                self.private.insert(var.key.clone());
            }
            self.values["vars"][&var.key] = entry.value.to_json();
            filled.push(entry);
        }
        self.path.pop();
        Entry {
            value: Node {
                kind: Kind::Map(filled),
                span: section.value.span.clone(),
            },
            ..section.clone()
        }
    }

    fn entry(&mut self, entry: &'a Entry) -> Entry {
        if self.phase == Phase::Load && is_template(&entry.key) {
            self.problems.push(
                Diagnostic::error(codes::TEMPLATE_PLACE, "a key can not be a template")
                    .at(entry.key_span.clone(), "holds a template")
                    .help("write the key itself"),
            );
        }
        self.path.push(Step::Key(&entry.key));
        let value = self.node(&entry.value);
        self.path.pop();
        Entry {
            key: entry.key.clone(),
            key_span: entry.key_span.clone(),
            value,
        }
    }

    fn node(&mut self, node: &'a Node) -> Node {
        let kind = match &node.kind {
            Kind::String(text) if is_template(text) => return self.scalar(node, text),
            Kind::List(items) => {
                let mut filled = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    self.path.push(Step::Index(index));
                    filled.push(self.node(item));
                    self.path.pop();
                }
                Kind::List(filled)
            }
            Kind::Map(entries) => Kind::Map(entries.iter().map(|e| self.entry(e)).collect()),
            other => other.clone(),
        };
        Node {
            kind,
            span: node.span.clone(),
        }
    }

    /// The value of a scalar with templates in it; itself when it has none yet.
    fn scalar(&mut self, node: &'a Node, text: &'a str) -> Node {
        self.fill_scalar(node, text).unwrap_or_else(|| {
            self.stuck = true;
            node.clone()
        })
    }

    /// Nothing when the scalar can not be filled in and the reason has been told.
    fn fill_scalar(&mut self, node: &'a Node, text: &'a str) -> Option<Node> {
        if self.problems.len() >= MAX_PROBLEMS {
            return None;
        }
        let Some(scope) = self.names.scope(&self.path) else {
            self.problems.push(misplaced(&node.span));
            self.mention(text);
            return None;
        };
        let mut used = Vec::new();
        let before = self.problems.len();
        let places = self.check(node, text, &scope, &mut used);
        self.condition(node, text);
        if self.problems.len() > before {
            self.mention(text);
            return None;
        }
        if self.phase == Phase::Load {
            self.used.extend(used.iter().cloned());
        }
        if used.iter().any(|name| self.is_broken(name)) {
            return None;
        }
        let phases = used
            .iter()
            .filter_map(|name| self.names.phase(name, &scope));
        let phase = phases.max().unwrap_or(Phase::Load);
        if self.phase == Phase::Load {
            self.has_cells |= phase == Phase::Cell;
            if phase > Phase::Load || used.iter().any(|name| self.is_private(name)) {
                self.kept.push(Kept {
                    pointer: self.pointer(),
                    text: text.to_owned(),
                    used,
                });
            }
        }
        if phase > self.phase {
            return Some(node.clone());
        }
        match self.value(node, text, &places) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.problems.push(*problem);
                None
            }
        }
    }

    /// Takes every name that a text with a mistake in it mentions for used.
    fn mention(&mut self, text: &str) {
        let groups = [
            ("vars", &self.names.vars),
            ("env", &self.names.env),
            ("matrix", &self.names.axes),
        ];
        for (group, names) in groups {
            let all = names.iter().map(|name| format!("{group}.{name}"));
            self.used
                .extend(all.filter(|name| text.contains(name.as_str())));
        }
    }

    /// A condition is one template: with text around it, it is always a text.
    fn condition(&mut self, node: &Node, text: &str) {
        let is_condition = matches!(
            (self.path.first(), self.path.last()),
            (Some(Step::Key("stages")), Some(Step::Key("if")))
        );
        if is_condition && !is_alone(text) && parts(text).all(|part| part.is_ok()) {
            self.problems.push(
                Diagnostic::error(codes::TEMPLATE_VALUE, "a condition must be one template")
                    .at(node.span.clone(), "a text, never `true` or `false`")
                    .help("put all of it into one `${{ … }}`"),
            );
        }
    }

    /// Everything wrong with the expressions of a scalar; the names they use.
    /// The places of the expressions in order, unless escapes or an alias hide them.
    fn check(
        &mut self,
        node: &'a Node,
        text: &'a str,
        scope: &Scope,
        used: &mut Vec<String>,
    ) -> Vec<Option<Span>> {
        let written = self.texts.get(&node.span);
        let opened: Vec<usize> = starts(written).map(|at| node.span.start + at).collect();
        // A template may hold `${{` in a string, and escapes may hide one in
        // the file: the place is taken only if the expression stands there.
        let mut index = 0;
        let mut places = Vec::new();
        for part in parts(text) {
            match part {
                Ok(Part::Text(_)) => {}
                Ok(Part::Expression(expression)) => {
                    let start = opened.get(index).map(|open| open + 3);
                    let stands =
                        |at: &usize| self.texts.get(&(*at..at + expression.len())) == expression;
                    let place = Place {
                        environment: &self.environment,
                        names: self.names,
                        scope,
                        values: &self.values,
                        expression,
                        start: start.filter(stands),
                        scalar: &node.span,
                    };
                    places.push(place.start.map(|_| place.span(0..expression.len())));
                    let found = place.check(used);
                    self.problems.extend(found);
                    index += 1 + starts(expression).count();
                }
                Err(Unclosed(at)) => {
                    let rest = text.len() - at;
                    self.problems
                        .push(unclosed(opened.get(index), &node.span, rest));
                }
            }
        }
        places
    }

    fn value(
        &mut self,
        node: &Node,
        text: &str,
        places: &[Option<Span>],
    ) -> Result<Node, Box<Diagnostic>> {
        let at = |span: &Span, code, message: &str, label: &str| {
            Diagnostic::error(code, message).at(span.clone(), label)
        };
        let expressions = parts(text).filter_map(|part| match part {
            Ok(Part::Expression(expression)) => Some(expression),
            _ => None,
        });
        for (expression, place) in expressions.zip(places) {
            let reason = match evaluate(expression, &self.values) {
                Ok(Value::Null) if !is_alone(text) => NO_VALUE.to_owned(),
                Ok(_) => continue,
                Err(reason) => reason,
            };
            let span = place.as_ref().unwrap_or(&node.span);
            let message = "the template can not be evaluated";
            let problem = at(span, codes::TEMPLATE_VALUE, message, &reason);
            return Err(Box::new(match self.unset(expression) {
                Some(name) => problem
                    .note(format!(
                        "the environment variable {} is not set",
                        literal(&name)
                    ))
                    .help(format!(
                        "set it, or give a default: `${{{{ env.{name} | default(\"…\") }}}}`"
                    )),
                None => problem,
            }));
        }
        let too_large = |limit: &str| {
            let message = "the templates make too many values";
            let problem = at(
                &node.span,
                codes::BUDGET,
                message,
                "the limit is reached here",
            );
            Box::new(problem.note(limit.to_owned()))
        };
        let value = render_scalar(text, &self.values)
            .map_err(|_| too_large(&format!("a text may have {MAX_TEXT} bytes")))?;
        let mut weight = 0;
        match weigh(&value, self.path.len(), &mut weight) {
            Ok(()) => {}
            Err(Unfit::Template) => {
                let message = "a template gives a template";
                let label = "the value has `${{` in it";
                return Err(Box::new(at(
                    &node.span,
                    codes::TEMPLATE_VALUE,
                    message,
                    label,
                )));
            }
            Err(Unfit::Deep) => {
                return Err(too_large(&format!("{MAX_DEPTH} levels are allowed")));
            }
        }
        self.spent += weight;
        if self.spent > MAX_NODES {
            let limit = format!("{MAX_NODES} are allowed, a long text counts as several");
            return Err(too_large(&limit));
        }
        Ok(Node::from_json(&value, &node.span))
    }

    /// The first environment variable in a text that is listed and not set.
    fn unset(&self, text: &str) -> Option<String> {
        let unset = |name: &&String| self.values["env"].get(name.as_str()).is_none();
        let mut names = self.names.env.iter().filter(unset);
        names
            .find(|name| text.contains(&format!("env.{name}")))
            .cloned()
    }

    fn is_broken(&self, name: &str) -> bool {
        var_of(name).is_some_and(|var| self.broken.contains(&var))
    }

    fn is_private(&self, name: &str) -> bool {
        name.starts_with("env.") || var_of(name).is_some_and(|var| self.private.contains(&var))
    }

    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for step in &self.path {
            pointer.push('/');
            match step {
                Step::Key(key) => pointer.push_str(&escape(key)),
                Step::Index(index) => pointer.push_str(&index.to_string()),
            }
        }
        pointer
    }

    /// Values of the right types for what only the run knows: dry runs see them.
    fn sample(&mut self) {
        let sample = |names: &[String]| -> Map<String, Value> {
            names.iter().map(|name| (name.clone(), json!(1))).collect()
        };
        self.values["matrix"] = Value::Object(sample(&self.names.axes));
        self.values["stages"] = self.names.sample_outputs();
        self.values["engine"] = json!({ "host": "127.0.0.1", "name": "engine", "port": 8080 });
        self.values["model"] = json!({ "id": "model", "path": "/model", "revision": "main" });
        self.values["pipeline"] = json!({ "dir": "/pipeline" });
        self.values["prony"] = json!({ "cache": "/cache" });
    }
}

/// Why a value can not stand in a document.
enum Unfit {
    Template,
    Deep,
}

/// Adds what a value at a depth counts for.
fn weigh(value: &Value, depth: usize, weight: &mut usize) -> Result<(), Unfit> {
    *weight += 1;
    if depth > MAX_DEPTH {
        return Err(Unfit::Deep);
    }
    let mut below = |value| weigh(value, depth + 1, weight);
    match value {
        Value::String(text) if is_template(text) => Err(Unfit::Template),
        Value::String(text) => {
            *weight += text.len() / 256;
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(below),
        Value::Object(entries) => entries.values().try_for_each(&mut below),
        _ => Ok(()),
    }
}

/// A template that is not closed, with so many bytes after it.
fn unclosed(opened: Option<&usize>, scalar: &Span, rest: usize) -> Diagnostic {
    let span = opened.map_or_else(|| scalar.clone(), |at| *at..at + 3);
    let problem = Diagnostic::error(codes::TEMPLATE_SYNTAX, "a template is not closed")
        .at(span, "opened here")
        .help("close it with `}}`");
    if rest > MAX_EXPRESSION {
        problem.note(format!("an expression has at most {MAX_EXPRESSION} bytes"))
    } else {
        problem
    }
}

fn misplaced(span: &Span) -> Diagnostic {
    Diagnostic::error(codes::TEMPLATE_PLACE, "a template is not evaluated here")
        .at(span.clone(), "holds a template")
        .note("`version`, `extends`, `env`, `allow`, and the `id` and `outputs` of stages are read before any template")
        .help("write the value itself")
}

/// An expression and where it stands.
struct Place<'p> {
    environment: &'p Environment<'p>,
    names: &'p Names,
    scope: &'p Scope,
    values: &'p Value,
    expression: &'p str,
    /// Its offset in the texts, unless escapes or an alias hide it.
    start: Option<usize>,
    scalar: &'p Span,
}

impl Place<'_> {
    fn check(&self, used: &mut Vec<String>) -> Vec<Diagnostic> {
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
        let mut names: Vec<_> = compiled.undeclared_variables(true).into_iter().collect();
        names.sort();
        let problems: Vec<_> = names
            .iter()
            .filter_map(|name| self.variable(name))
            .collect();
        let repeated = repeats(self.expression, self.values, &names);
        let problem = if repeated {
            let problem = Diagnostic::error(codes::TEMPLATE_VALUE, "a template repeats a list");
            let span = self.span(0..self.expression.len());
            Some(
                problem
                    .at(span, "`*` is for numbers")
                    .help("write the list out"),
            )
        } else if problems.is_empty() {
            // A dry run finds names that only come up when they are used.
            let tried = compiled.eval(minijinja::Value::from(Serde(self.values)));
            tried.err().and_then(|error| self.function(&error))
        } else {
            None
        };
        used.extend(names);
        problems.into_iter().chain(problem).collect()
    }

    fn variable(&self, name: &str) -> Option<Diagnostic> {
        if self.names.phase(name, self.scope).is_some() {
            return None;
        }
        let at = find_name(self.expression, name);
        let span = self.span(at.map_or(0..self.expression.len(), |at| at..at + name.len()));
        let known = self.names.all(self.scope);
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let names = nearest(name, known.iter().copied());
        let quoted = literal(name);
        let note = if known.is_empty() {
            "no variable is known here".to_owned()
        } else {
            format!("known here: {}", list(&names))
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
            let filters = format!("there are no functions; filters are {}", list(&FILTERS));
            return Some(problem.at(span, "not a function").note(filters));
        }
        let mut problem = Diagnostic::error(
            codes::TEMPLATE_NAME,
            format!("unknown variable {quoted} in a template"),
        )
        .at(span.clone(), "not a variable")
        .note(note);
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
            _ => problem,
        };
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
            let message = "a template uses a name that does not exist";
            let problem = Diagnostic::error(codes::TEMPLATE_NAME, message).at(span, reason);
            match error.kind() {
                ErrorKind::UnknownFilter => {
                    problem.note(format!("known filters: {}", list(&FILTERS)))
                }
                ErrorKind::UnknownTest => {
                    problem.help("compare with `==` or `!=`; there are no tests")
                }
                _ => problem.help(format!("use a filter: {}", list(&FILTERS))),
            }
        })
    }

    /// A range of the expression in the texts, at least one character long.
    fn span(&self, range: Span) -> Span {
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

/// Whether a text is one template and nothing else.
fn is_alone(text: &str) -> bool {
    let mut all = parts(text);
    matches!(
        (all.next(), all.next()),
        (Some(Ok(Part::Expression(_))), None)
    )
}

/// Where a name has a value.
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

/// Where a name stands in an expression, as a whole word and not in a text.
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

/// The longest text that a template may give.
pub(super) const MAX_TEXT: usize = MAX_BYTES;
