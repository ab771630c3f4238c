//! Which names an expression may use, by where it stands.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::tree::{Kind, Node};

/// Known wherever the run's names are.
const RUN: [&str; 2] = ["pipeline.dir", "prony.cache"];
const MODEL: [&str; 3] = ["model.id", "model.path", "model.revision"];
const ENDPOINT: [&str; 2] = ["engine.host", "engine.port"];

/// A step from a node to one below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

use Step::{Index, Key};

/// The names that a document gives.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) vars: Vec<String>,
    /// Where each variable stands among them.
    order: HashMap<String, usize>,
    pub(super) env: Vec<String>,
    pub(super) axes: Vec<String>,
    stages: Vec<Stage>,
}

/// What a stage gives to those that come after it.
#[derive(Debug)]
struct Stage {
    id: String,
    kind: String,
    /// Outputs with the place of their step: `after` or `before`, and its index.
    outputs: Vec<(bool, usize, String)>,
}

/// When a name has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// When the file is loaded.
    Load,
    /// For each cell of the matrix.
    Cell,
    /// When the run has come to it.
    Run,
}

/// What may be used at a place.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// So many of the variables, in the order of the file.
    vars: usize,
    matrix: bool,
    run: Vec<String>,
}

impl Names {
    pub(super) fn new(root: &Node) -> Self {
        let keys = |node: Option<&Node>| -> Vec<String> {
            let entries = node.map(Node::entries).unwrap_or_default();
            entries.iter().map(|entry| entry.key.clone()).collect()
        };
        let section = |key: &str| root.entry(key).map(|entry| &entry.value);
        let env = section("env").map(Node::items).unwrap_or_default();
        // Axes that do not stand under `axes` are told so, once.
        let matrix = section("matrix");
        let axes = matrix.and_then(|matrix| matrix.entry("axes"));
        let mut stages: Vec<Stage> = Vec::new();
        for item in section("stages").map(Node::items).unwrap_or_default() {
            // An item that is no stage keeps its place.
            let (kind, stage) = match item.entries() {
                [entry] => (entry.key.as_str(), Some(&entry.value)),
                _ => ("", None),
            };
            let given = stage.and_then(|stage| stage.entry("id")?.value.text());
            let same = stages.iter().filter(|stage| stage.kind == kind).count();
            stages.push(Stage {
                id: given.map_or_else(|| default_id(kind, same), str::to_owned),
                kind: kind.to_owned(),
                outputs: stage.map(outputs).unwrap_or_default(),
            });
        }
        let vars = keys(section("vars"));
        let order = vars.iter().cloned().zip(0..).collect();
        Self {
            vars,
            order,
            env: env
                .iter()
                .filter_map(Node::text)
                .map(str::to_owned)
                .collect(),
            axes: keys(axes.map(|entry| &entry.value).or(matrix)),
            stages,
        }
    }

    /// The names for a value at a path; none where templates are not evaluated.
    pub(super) fn scope(&self, path: &[Step<'_>]) -> Option<Scope> {
        let scope = |matrix, run| {
            Some(Scope {
                vars: self.vars.len(),
                matrix,
                run,
            })
        };
        let common = || scope(false, Vec::new());
        let cell = || scope(true, Vec::new());
        match path {
            [Key("version" | "extends" | "env" | "allow"), ..] => None,
            [Key("vars"), Key(name), ..] => Some(Scope {
                vars: self.order.get(*name).copied().unwrap_or(0),
                ..Scope::default()
            }),
            [Key("engine"), Key("config"), ..] | [Key("engines"), _, Key("config"), ..] => {
                let load = self.stages.iter().position(|stage| stage.kind == "load");
                let first = load.or_else(|| self.stages.iter().position(|s| s.kind != "setup"));
                let outputs = match load {
                    Some(load) => self.outputs(load, false, usize::MAX),
                    None => self.outputs(first.unwrap_or(0), false, 0),
                };
                scope(true, Self::run(true, true, outputs))
            }
            [Key("model"), Key("path")] | [Key("models"), _, Key("path")] => {
                let setup = self.stages.iter().take_while(|stage| stage.kind == "setup");
                scope(
                    true,
                    Self::run(false, false, self.outputs(setup.count(), false, 0)),
                )
            }
            [Key("models"), _, Key("id")] | [Key("model"), Key("id")] => common(),
            [Key("model" | "models" | "workload"), ..] => cell(),
            [Key("stages"), Index(stage), Key(kind), rest @ ..] => {
                let visit = *kind != "setup" && *kind != "report";
                match rest {
                    [Key("id"), ..] | [Key("before" | "after"), Index(_), Key("outputs"), ..] => {
                        None
                    }
                    [Key("if")] => {
                        let outputs = self.outputs(*stage, false, 0);
                        scope(visit, Self::run(visit, visit && *kind != "load", outputs))
                    }
                    [
                        Key(when @ ("before" | "after")),
                        Index(step),
                        Key("run" | "creates" | "if" | "env"),
                        ..,
                    ] => {
                        let after = *when == "after";
                        let outputs = self.outputs(*stage, after, *step);
                        let started = visit && (*kind != "load" || after);
                        scope(visit, Self::run(visit, started, outputs))
                    }
                    _ if visit => cell(),
                    _ => common(),
                }
            }
            _ => common(),
        }
    }

    fn run(visit: bool, endpoint: bool, outputs: Vec<String>) -> Vec<String> {
        let mut names: Vec<&str> = RUN.to_vec();
        if visit {
            names.extend(MODEL);
            names.push("engine.name");
        }
        if endpoint {
            names.extend(ENDPOINT);
        }
        names
            .into_iter()
            .map(str::to_owned)
            .chain(outputs)
            .collect()
    }

    /// The outputs of the stages before one, and of its own steps before one.
    fn outputs(&self, stage: usize, after: bool, step: usize) -> Vec<String> {
        let name = |stage: &Stage, output: &str| format!("stages.{}.outputs.{output}", stage.id);
        let mut names = Vec::new();
        for (index, at) in self.stages.iter().enumerate().take(stage.saturating_add(1)) {
            let own = at
                .outputs
                .iter()
                .filter(|(is_after, at_step, _)| {
                    index < stage || (*is_after, *at_step) < (after, step)
                })
                .map(|(_, _, output)| name(at, output));
            names.extend(own);
        }
        names
    }

    /// A value for every output of every stage.
    pub(super) fn sample_outputs(&self) -> Value {
        let mut stages = Map::new();
        for stage in &self.stages {
            let outputs = stage
                .outputs
                .iter()
                .map(|(.., name)| (name.clone(), "1".into()));
            stages.insert(
                stage.id.clone(),
                json!({ "outputs": outputs.collect::<Map<String, Value>>() }),
            );
        }
        Value::Object(stages)
    }

    /// Everything that has a value somewhere.
    fn anywhere(&self) -> Vec<String> {
        Self::run(true, true, self.outputs(self.stages.len(), false, 0))
    }

    /// What a name is known in, if it is known at this place.
    pub(super) fn phase(&self, name: &str, scope: &Scope) -> Option<Phase> {
        if let Some(var) = name.strip_prefix("vars.") {
            let at = self.order.get(root(var));
            return at.is_some_and(|at| *at < scope.vars).then_some(Phase::Load);
        }
        if let Some(variable) = name.strip_prefix("env.") {
            return self
                .env
                .iter()
                .any(|env| env == variable)
                .then_some(Phase::Load);
        }
        if let Some(axis) = name.strip_prefix("matrix.") {
            return (scope.matrix && first(&self.axes, axis)).then_some(Phase::Cell);
        }
        first(&scope.run, name).then_some(Phase::Run)
    }

    /// Whether a name has a value at another place.
    pub(super) fn elsewhere(&self, name: &str) -> bool {
        let everywhere = Scope {
            vars: self.vars.len(),
            matrix: true,
            run: self.anywhere(),
        };
        self.phase(name, &everywhere).is_some()
    }

    /// All names of a scope.
    pub(super) fn all(&self, scope: &Scope) -> Vec<String> {
        let named = |kind: &'static str| move |name: &String| format!("{kind}.{name}");
        let vars = self.vars.iter().take(scope.vars).map(named("vars"));
        let env = self.env.iter().map(named("env"));
        let axes = if scope.matrix {
            self.axes.as_slice()
        } else {
            &[]
        };
        let axes = axes.iter().map(named("matrix"));
        let run = scope.run.iter().cloned();
        let mut seen = HashSet::new();
        let all = vars.chain(env).chain(axes).chain(run);
        all.filter(|name| seen.insert(name.clone())).collect()
    }
}

/// The first part of a path.
pub(super) fn root(path: &str) -> &str {
    path.split('.').next().unwrap_or_default()
}

/// Whether a path starts with one of the names: what is below a name is its value's.
fn first(names: &[String], path: &str) -> bool {
    names.iter().any(|name| {
        path.strip_prefix(name.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// What a stage is called that has no `id`, after so many of its kind.
pub(crate) fn default_id(kind: &str, same: usize) -> String {
    match same {
        0 => kind.to_owned(),
        n => format!("{kind}_{}", n + 1),
    }
}

fn outputs(stage: &Node) -> Vec<(bool, usize, String)> {
    let mut found = Vec::new();
    for (after, key) in [(false, "before"), (true, "after")] {
        let steps = stage.entry(key).map(|entry| entry.value.items());
        for (index, step) in steps.unwrap_or_default().iter().enumerate() {
            let outputs = step.entry("outputs").map(|entry| entry.value.items());
            for output in outputs.unwrap_or_default() {
                if let Kind::String(name) = &output.kind {
                    found.push((after, index, name.clone()));
                }
            }
        }
    }
    found
}
