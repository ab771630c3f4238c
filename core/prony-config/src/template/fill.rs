//! Replaces templates by values, as far as a file alone determines them, and checks the
//! others without a run.

use std::collections::{BTreeSet, HashMap, HashSet};

use minijinja::Environment;
use prony_diagnostic::Diagnostic;
use serde_json::{Map, Value, json};

use super::digits;
use super::expression::environment;
use super::names::{Names, Phase, Scope, Step, only, root};
use super::place::{Occurrence, misplaced, unclosed};
use super::render::{MAX_TEXT, NO_VALUE, TOO_LONG, evaluate, fill_shell, render_scalar};
use super::scan::{Part, Unclosed, is_template, parts, starts};
use crate::codes;
use crate::inputs::Inputs;
use crate::schema::Uneven;
use crate::secrets::Literal;
use crate::text::Texts;
use crate::tree::{Entry, Kind, Node, Span};
use crate::wording::literal;
use crate::yaml::{MAX_DEPTH, MAX_NODES};

/// Maximum number of problems: more would not be shown.
const MAX_PROBLEMS: usize = 100;

/// Maximum number of values read by all templates together.
const MAX_LOOKED_AT: usize = 100 * MAX_NODES;

/// A document with the values that are known when it is loaded.
pub(crate) struct Filled {
    /// The document; templates of the matrix and of the run remain in it.
    pub(crate) root: Node,
    /// The same before items of lists were left out and spliced in: its lists have the places
    /// that the file has.
    pub(crate) raw: Node,
    /// Problems of its templates.
    pub(crate) problems: Vec<Diagnostic>,
    /// The parts of `vars` and `env` needed by the run.
    pub(crate) context: Value,
    /// Names in use, such as `vars.size`.
    pub(crate) used: BTreeSet<String>,
    /// `true` if a value depends on the matrix alone.
    pub(crate) has_points: bool,
    /// Secrets in the file itself, which become templates when it is written out.
    pub(crate) literals: Vec<Literal>,
    /// Lists of [`raw`](Self::raw) whose items were left out or spliced in.
    pub(crate) lists: Vec<Uneven>,
    /// Values that remain templates when the file is written out.
    pub(super) kept: Vec<Kept>,
    names: Names,
    /// All variables, for the matrix points.
    values: Value,
}

/// A value that remains a template when the pipeline is written out: it is known only
/// later, or it comes from the environment and is private.
pub(super) struct Kept {
    pub(super) pointer: String,
    pub(super) text: String,
    pub(super) used: Vec<String>,
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

/// Replaces the templates that depend on `vars` and `env` only.
pub(crate) fn fill(texts: &Texts, root: &Node, inputs: &Inputs<'_>) -> Filled {
    let mut names = Names::new(root);
    if inputs.assume_env {
        let unset = names.env.iter().filter(|name| (inputs.env)(name).is_none());
        names.assumed = unset.cloned().collect();
    }
    let set = names.env.iter();
    let set = set.filter_map(|name| Some((name, (inputs.env)(name)?)));
    let set: Map<String, Value> = set
        .map(|(name, value)| (name.clone(), value.into()))
        .collect();
    let mut walk = Walk::new(
        texts,
        &names,
        Phase::Load,
        json!({ "vars": {}, "env": set }),
    );
    walk.sample();
    // Variables first, wherever they are in the file: everything else may use them.
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
        has_points,
        ..
    } = walk;
    let mut filled = Filled {
        raw: filled.clone(),
        root: filled,
        problems,
        context: Value::Null,
        used,
        has_points,
        literals: Vec::new(),
        lists: Vec::new(),
        kept,
        names,
        values,
    };
    filled.keep_what_is_needed();
    filled
}

impl Filled {
    /// The document of a matrix point, and the problems of its values.
    pub(crate) fn point(
        &self,
        texts: &Texts,
        matrix: &Map<String, Value>,
    ) -> (Node, Vec<Diagnostic>) {
        let mut values = self.values.clone();
        values["matrix"] = Value::Object(matrix.clone());
        let mut walk = Walk::new(texts, &self.names, Phase::Matrix, values);
        let root = walk.node(&self.raw);
        (root, walk.problems)
    }

    /// A document in which each literal `${{` is as it is read, but where templates are evaluated
    /// in the run: it must not be one for them.
    pub(crate) fn spelled(&self, root: &Node) -> Node {
        spelled(&self.names, &mut Vec::new(), root)
    }

    /// Values with the names that the run knows, and samples in the place of what it gives them:
    /// for a dry run.
    pub(crate) fn samples(&self, matrix: &Map<String, Value>) -> Value {
        let mut values = self.values.clone();
        values["matrix"] = Value::Object(matrix.clone());
        values
    }

    /// Returns `true` if values are not known because variables of the environment are assumed.
    pub(crate) fn is_assumed(&self) -> bool {
        !self.names.assumed.is_empty()
    }

    /// Names and values of the pipeline's environment variables that are set.
    pub(crate) fn env(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.values["env"].as_object().into_iter().flatten();
        all.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    }

    /// The pointers of values that remain templates.
    pub(crate) fn kept(&self) -> HashSet<&str> {
        self.kept.iter().map(|kept| &*kept.pointer).collect()
    }

    /// The environment variables that the values at some pointers depend on, directly or through
    /// variables.
    pub(crate) fn env_of(&self, pointers: &HashSet<&str>) -> BTreeSet<String> {
        let mut env = BTreeSet::new();
        let mut vars: HashSet<String> = HashSet::new();
        // A variable uses only earlier ones.
        for kept in self.kept.iter().rev() {
            let is_var = kept.pointer.starts_with("/vars/");
            let is_needed = is_var && vars.contains(&kept.var());
            if !is_needed && !pointers.contains(&*kept.pointer) {
                continue;
            }
            for name in &kept.used {
                env.extend(name.strip_prefix("env.").map(|name| root(name).to_owned()));
                vars.extend(var_of(name));
            }
        }
        env
    }

    /// The texts that expressions make of some environment variables, each with the name of
    /// one, before the run or at a matrix point.
    pub(crate) fn derived(
        &self,
        names: &BTreeSet<String>,
        matrix: Option<&Map<String, Value>>,
    ) -> Vec<(String, String)> {
        if names.is_empty() {
            return Vec::new();
        }
        let mut values = self.values.clone();
        if let Some(matrix) = matrix {
            values["matrix"] = Value::Object(matrix.clone());
        }
        // Variables that depend on one, and which.
        let mut vars: HashMap<String, &str> = HashMap::new();
        let mut derived = Vec::new();
        for kept in &self.kept {
            let secret = kept.used.iter().find_map(|name| {
                let env = name.strip_prefix("env.").map(root);
                let env = env.and_then(|name| names.get(name)).map(String::as_str);
                env.or_else(|| vars.get(&var_of(name)?).copied())
            });
            let Some(name) = secret else {
                continue;
            };
            if kept.pointer.starts_with("/vars/") {
                vars.insert(kept.var(), name);
            }
            let values = only(&values, &kept.used);
            for part in parts(&kept.text) {
                let Ok(Part::Expression(expression)) = part else {
                    continue;
                };
                // What is known only to the run cannot be evaluated, or has a sample.
                if let Ok(Value::String(value)) = evaluate(expression, &values)
                    && !expression.contains(&value)
                {
                    derived.push((name.to_owned(), value));
                }
            }
        }
        derived
    }

    /// Drops variables that no template of the run needs, directly or through others.
    fn keep_what_is_needed(&mut self) {
        let mut needed: BTreeSet<String> = BTreeSet::new();
        let is_var = |kept: &Kept| kept.pointer.starts_with("/vars/");
        for kept in self.kept.iter().filter(|kept| !is_var(kept)) {
            needed.extend(kept.used.iter().cloned());
        }
        // A variable uses only earlier ones. Its kept values are adjacent.
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

/// See [`Filled::spelled`].
fn spelled<'n>(names: &Names, path: &mut Vec<Step<'n>>, node: &'n Node) -> Node {
    let kind = match &node.kind {
        Kind::String(text) if digits::has_literal(text) && !names.is_of_run(path) => {
            Kind::String(digits::spelled(text))
        }
        Kind::List(items) => {
            let item = |(index, item)| {
                path.push(Step::Index(index));
                let item = spelled(names, path, item);
                path.pop();
                item
            };
            Kind::List(items.iter().enumerate().map(item).collect())
        }
        Kind::Map(entries) => {
            let entry = |entry: &'n Entry| {
                path.push(Step::Key(&entry.key));
                let value = spelled(names, path, &entry.value);
                path.pop();
                Entry {
                    value,
                    ..entry.clone()
                }
            };
            Kind::Map(entries.iter().map(entry).collect())
        }
        other => other.clone(),
    };
    Node {
        kind,
        span: node.span.clone(),
        written: node.written.clone(),
    }
}

pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

struct Walk<'a> {
    environment: Environment<'a>,
    texts: &'a Texts,
    names: &'a Names,
    /// The context of expressions: `vars`, `env`, and `matrix` at a matrix point.
    values: Value,
    /// The names known so far.
    phase: Phase,
    path: Vec<Step<'a>>,
    problems: Vec<Diagnostic>,
    kept: Vec<Kept>,
    used: BTreeSet<String>,
    /// Variables without a value, which has been reported or is not known.
    broken: HashSet<String>,
    /// Variables derived from the environment.
    private: HashSet<String>,
    has_points: bool,
    /// Values made by templates, counted as the parser counts.
    spent: usize,
    /// Values read by templates, counted in the same way.
    looked_at: usize,
    /// `true` if a value could not be filled in, for a reported reason.
    stuck: bool,
}

impl<'a> Walk<'a> {
    fn new(texts: &'a Texts, names: &'a Names, phase: Phase, values: Value) -> Self {
        Self {
            environment: environment(),
            texts,
            names,
            values,
            phase,
            path: Vec::new(),
            problems: Vec::new(),
            kept: Vec::new(),
            used: BTreeSet::new(),
            broken: HashSet::new(),
            private: HashSet::new(),
            has_points: false,
            spent: 0,
            looked_at: 0,
            stuck: false,
        }
    }

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
        Node::new(Kind::Map(filled), root.span.clone())
    }

    /// Fills in the variables in order; each may use those before it.
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
            self.values["vars"][&var.key] = digits::marked(&entry.value);
            filled.push(entry);
        }
        self.path.pop();
        Entry {
            value: Node::new(Kind::Map(filled), section.value.span.clone()),
            ..section.clone()
        }
    }

    fn entry(&mut self, entry: &'a Entry) -> Entry {
        if self.phase == Phase::Load && is_template(&entry.key) {
            self.problems.push(
                Diagnostic::error(codes::TEMPLATE_PLACE, "a key cannot be a template")
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
            written: node.written.clone(),
        }
    }

    /// The value of a scalar with templates; the scalar itself if it has none yet.
    fn scalar(&mut self, node: &'a Node, text: &'a str) -> Node {
        self.fill_scalar(node, text).unwrap_or_else(|| {
            self.stuck = true;
            node.clone()
        })
    }

    /// Fills in a scalar; `None` if that fails for a reported reason.
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
        let Some(places) = places.filter(|_| self.problems.len() == before) else {
            self.mention(text);
            return None;
        };
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
        let values = only(&self.values, &used);
        let mut is_kept = phase > Phase::Load || used.iter().any(|name| self.is_private(name));
        let value = if phase > self.phase {
            Some(node.clone())
        } else {
            match self.value(node, text, &places, &values) {
                Ok(value) => {
                    is_kept |= has_literal(&value);
                    Some(value)
                }
                Err(problem) => {
                    self.problems.push(*problem);
                    None
                }
            }
        };
        if self.phase == Phase::Load {
            self.has_points |= phase == Phase::Matrix;
            if is_kept {
                self.kept.push(Kept {
                    pointer: self.pointer(),
                    text: text.to_owned(),
                    used,
                });
            }
        }
        value
    }

    /// Marks every name mentioned by an erroneous text as used.
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

    /// Checks a condition: it must be one template, since with text around it, it is
    /// always a text.
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

    /// Reports the problems of a scalar's expressions and collects the names they use.
    /// Returns the places of the expressions in order, unless escapes or an alias hide
    /// them; `None` if one of them can have no value, which is reported elsewhere.
    fn check(
        &mut self,
        node: &'a Node,
        text: &'a str,
        scope: &Scope,
        used: &mut Vec<String>,
    ) -> Option<Vec<Option<Span>>> {
        let written = self.texts.get(&node.span);
        let opened: Vec<usize> = starts(written).map(|at| node.span.start + at).collect();
        // A template may hold `${{` in a string, and escapes may hide one in the file:
        // the place is valid only if the expression is there.
        let mut index = 0;
        let mut places = Vec::new();
        let mut unusable = false;
        for part in parts(text) {
            match part {
                Ok(Part::Text(_)) => {}
                Ok(Part::Expression(expression)) => {
                    let start = opened.get(index).map(|open| open + 3);
                    let stands =
                        |at: &usize| self.texts.get(&(*at..at + expression.len())) == expression;
                    let place = Occurrence {
                        environment: &self.environment,
                        names: self.names,
                        scope,
                        values: &self.values,
                        expression,
                        start: start.filter(stands),
                        scalar: &node.span,
                    };
                    places.push(place.start.map(|_| place.span(0..expression.len())));
                    if place.is_unusable() {
                        unusable = true;
                    } else {
                        let found = place.check(used);
                        self.problems.extend(found);
                    }
                    index += 1 + starts(expression).count();
                }
                Err(Unclosed(at)) => {
                    let rest = text.len() - at;
                    self.problems
                        .push(unclosed(opened.get(index), &node.span, rest));
                }
            }
        }
        (!unusable).then_some(places)
    }

    fn value(
        &mut self,
        node: &Node,
        text: &str,
        places: &[Option<Span>],
        values: &Value,
    ) -> Result<Node, Box<Diagnostic>> {
        let at = |span: &Span, code, message: &str, label: &str| {
            Diagnostic::error(code, message).at(span.clone(), label)
        };
        let too_large = |limit: &str| {
            let message = "the templates make too many values";
            let problem = at(
                &node.span,
                codes::BUDGET,
                message,
                "the limit is reached here",
            );
            let problem = problem.note(limit.to_owned());
            Box::new(problem.help("use shorter texts and smaller lists, or several pipelines"))
        };
        // Each use copies the values that it reads, so that is bounded too.
        let mut looked_at = 0;
        weigh(values, 0, &mut looked_at);
        self.looked_at += looked_at;
        if self.looked_at > MAX_LOOKED_AT {
            return Err(too_large("they look at large variables too often"));
        }
        let expressions = parts(text).filter_map(|part| match part {
            Ok(Part::Expression(expression)) => Some(expression),
            _ => None,
        });
        for (expression, place) in expressions.zip(places) {
            let reason = match evaluate(expression, values) {
                Ok(Value::Null) if !is_alone(text) => NO_VALUE.to_owned(),
                Ok(_) => continue,
                Err(reason) => reason,
            };
            let span = place.as_ref().unwrap_or(&node.span);
            let message = "the template cannot be evaluated";
            let problem = at(span, codes::TEMPLATE_VALUE, message, &reason);
            return Err(Box::new(match self.unset(expression) {
                Some(name) => {
                    let unset = format!("the environment variable {} is not set", literal(&name));
                    let set = if self.names.is_secret(&name) {
                        // Nobody is to write one into a file.
                        "set it".to_owned()
                    } else {
                        format!(
                            "set it, or give a default: `${{{{ env.{name} | default(\"…\") }}}}`"
                        )
                    };
                    problem
                        .note(unset)
                        .help(set)
                        .help("`prony validate --assume-env` checks the pipeline without it")
                }
                None => problem.help(if reason == NO_VALUE {
                    "name a value that is there, or give one with `| default(…)`"
                } else if reason.contains("unsupported types") {
                    "`~` joins texts, and `| int` makes a number of one"
                } else {
                    "change the expression, or the values that it is given"
                }),
            }));
        }
        let value = if self.is_shell() {
            fill_shell(text, values).map(Value::String)
        } else {
            render_scalar(text, values)
        };
        let value = value.map_err(|reason| {
            if reason == TOO_LONG {
                return too_large(&format!("a text may have {MAX_TEXT} bytes"));
            }
            let message = "a value cannot be put into a shell text";
            let problem = at(&node.span, codes::TEMPLATE_VALUE, message, &reason);
            Box::new(problem.help("hand it over under `env` of the step, and use `\"$NAME\"`"))
        })?;
        let mut weight = 0;
        if !weigh(&value, self.path.len(), &mut weight) {
            return Err(too_large(&format!("{MAX_DEPTH} levels are allowed")));
        }
        self.spent += weight;
        if self.spent > MAX_NODES {
            let limit = format!("{MAX_NODES} are allowed, a long text counts as several");
            return Err(too_large(&limit));
        }
        Ok(digits::node(&value, &node.span))
    }

    /// The first environment variable in a text that is listed but not set.
    fn unset(&self, text: &str) -> Option<String> {
        let unset = |name: &&String| self.values["env"].get(name.as_str()).is_none();
        let mut names = self.names.env.iter().filter(unset);
        names
            .find(|name| text.contains(&format!("env.{name}")))
            .cloned()
    }

    fn is_broken(&self, name: &str) -> bool {
        let env = name.strip_prefix("env.").map(root);
        var_of(name).is_some_and(|var| self.broken.contains(&var))
            || env.is_some_and(|env| self.names.assumed.contains(env))
    }

    fn is_private(&self, name: &str) -> bool {
        name.starts_with("env.") || var_of(name).is_some_and(|var| self.private.contains(&var))
    }

    /// Returns `true` for the shell text of a step.
    fn is_shell(&self) -> bool {
        matches!(
            self.path[..],
            [
                Step::Key("stages"),
                Step::Index(_),
                Step::Key(_),
                Step::Key("before" | "after"),
                Step::Index(_),
                Step::Key("run")
            ]
        )
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

    /// Provides values of the right types for names known only to the run, for dry runs.
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

/// Adds the weight of a value at a depth. Returns `false` if it is nested too deeply.
fn weigh(value: &Value, depth: usize, weight: &mut usize) -> bool {
    *weight += 1;
    if depth > MAX_DEPTH {
        return false;
    }
    let mut below = |value| weigh(value, depth + 1, weight);
    match value {
        Value::String(text) => {
            *weight += text.len() / 256;
            true
        }
        Value::Array(items) => items.iter().all(below),
        Value::Object(entries) => entries.values().all(&mut below),
        _ => true,
    }
}

/// Returns `true` if a value has a literal `${{` in it.
fn has_literal(node: &Node) -> bool {
    match &node.kind {
        Kind::String(text) => digits::has_literal(text),
        Kind::List(items) => items.iter().any(has_literal),
        Kind::Map(entries) => entries.iter().any(|entry| has_literal(&entry.value)),
        _ => false,
    }
}

/// Returns `true` if a text is one template and nothing else.
fn is_alone(text: &str) -> bool {
    let mut all = parts(text);
    matches!(
        (all.next(), all.next()),
        (Some(Ok(Part::Expression(_))), None)
    )
}
