//! Names that an expression may use, by its place.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::tree::{Kind, Node};

/// Names known throughout the run.
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

/// The names defined by a document.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) vars: Vec<String>,
    /// Index of each variable among them.
    order: HashMap<String, usize>,
    pub(super) env: Vec<String>,
    /// Those of them that are listed as secrets.
    secrets: HashSet<String>,
    /// Environment variables that are taken for set, with values that are not known.
    pub(super) assumed: HashSet<String>,
    pub(super) axes: Vec<String>,
    /// Variables and axes that no expression can name, such as `vars.a-b`.
    pub(super) unusable: Vec<String>,
    /// The kinds of the stages in order; empty for invalid ones.
    stages: Vec<String>,
    /// The moment at which each output, such as `stages.setup.outputs.x`, is first set.
    outputs: HashMap<String, Moment>,
}

/// A step of a run: index of its stage, `true` if it comes after the stage, and its own
/// index.
type Moment = (usize, bool, usize);

/// Moment at which a name gets its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// At loading of the file.
    Load,
    /// For each point of the matrix.
    Matrix,
    /// During the run, once it is reached.
    Run,
}

/// The names available at a place.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// Number of variables available, in the order of the file.
    vars: usize,
    matrix: bool,
    run: Option<Run>,
}

/// The names of a run available at a place.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// `true` if there is a model and an engine.
    visit: bool,
    /// `true` if the engine has an address.
    endpoint: bool,
    /// Outputs set before this moment are available.
    until: Moment,
}

impl Run {
    /// The available names, except outputs.
    fn names(self) -> impl Iterator<Item = &'static str> {
        let visit = MODEL
            .iter()
            .chain(&["engine.name"])
            .filter(move |_| self.visit);
        let endpoint = ENDPOINT.iter().filter(move |_| self.endpoint);
        RUN.iter().chain(visit).chain(endpoint).copied()
    }
}

impl Names {
    pub(super) fn new(root: &Node) -> Self {
        let keys = |node: Option<&Node>| -> Vec<String> {
            let entries = node.map(Node::entries).unwrap_or_default();
            entries.iter().map(|entry| entry.key.clone()).collect()
        };
        let section = |key: &str| root.entry(key).map(|entry| &entry.value);
        let items = |key| section(key).map(Node::items).unwrap_or_default();
        let env = items("env").iter().chain(items("secrets"));
        let secrets = items("secrets").iter().filter_map(Node::text);
        // Axes outside `axes` are reported once.
        let matrix = section("matrix");
        let axes = matrix.and_then(|matrix| matrix.entry("axes"));
        let mut stages: Vec<String> = Vec::new();
        let mut outputs = HashMap::new();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for item in section("stages").map(Node::items).unwrap_or_default() {
            // An invalid stage keeps its index.
            let (kind, stage) = match item.entries() {
                [entry] => (entry.key.as_str(), Some(&entry.value)),
                _ => ("", None),
            };
            let given = stage.and_then(|stage| stage.entry("id")?.value.text());
            let same = counts.entry(kind).or_default();
            let id = given.map_or_else(|| default_id(kind, *same), str::to_owned);
            *same += 1;
            for (after, step, output) in stage.map(outputs_of).unwrap_or_default() {
                let name = format!("stages.{id}.outputs.{output}");
                outputs.entry(name).or_insert((stages.len(), after, step));
            }
            stages.push(kind.to_owned());
        }
        let vars = keys(section("vars"));
        let order = vars.iter().cloned().zip(0..).collect();
        let axes = keys(axes.map(|entry| &entry.value).or(matrix));
        let is_word = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let sections = [("vars", &vars), ("matrix", &axes)];
        let unusable = sections.iter().flat_map(|(section, names)| {
            let unnamed = names.iter().filter(|name| !is_word(name));
            unnamed.map(move |name| format!("{section}.{name}"))
        });
        Self {
            unusable: unusable.collect(),
            vars,
            order,
            env: env.filter_map(Node::text).map(str::to_owned).collect(),
            secrets: secrets.map(str::to_owned).collect(),
            assumed: HashSet::new(),
            axes,
            stages,
            outputs,
        }
    }

    /// Returns `true` if an environment variable is a secret, as listed or by its name.
    pub(super) fn is_secret(&self, name: &str) -> bool {
        self.secrets.contains(name) || crate::secrets::is_secret_name(name)
    }

    /// The names available to a value at a path; `None` where templates are not
    /// evaluated.
    pub(super) fn scope(&self, path: &[Step<'_>]) -> Option<Scope> {
        let scope = |matrix, run| {
            Some(Scope {
                vars: self.vars.len(),
                matrix,
                run,
            })
        };
        let run = |visit, endpoint, until| {
            Some(Run {
                visit,
                endpoint,
                until,
            })
        };
        let common = || scope(false, None);
        let point = || scope(true, None);
        match path {
            [Key("version" | "extends" | "env" | "secrets" | "allow"), ..] => None,
            [Key("vars"), Key(name), ..] => Some(Scope {
                vars: self.order.get(*name).copied().unwrap_or(0),
                ..Scope::default()
            }),
            [Key("engine"), Key("config"), ..] | [Key("engines"), _, Key("config"), ..] => {
                let position =
                    |is: &dyn Fn(&str) -> bool| self.stages.iter().position(|kind| is(kind));
                let until = match position(&|kind| kind == "load") {
                    Some(load) => (load, false, usize::MAX),
                    None => (position(&|kind| kind != "setup").unwrap_or(0), false, 0),
                };
                scope(true, run(true, true, until))
            }
            [Key("model"), Key("path" | "tokenizer" | "chat_template")]
            | [
                Key("models"),
                _,
                Key("path" | "tokenizer" | "chat_template"),
            ] => {
                let setup = self.stages.iter().take_while(|kind| *kind == "setup");
                scope(true, run(false, false, (setup.count(), false, 0)))
            }
            [Key("models"), _, Key("id")] | [Key("model"), Key("id")] => common(),
            [Key("model" | "models" | "workload"), ..] => point(),
            [Key("stages"), Index(stage), Key(kind), rest @ ..] => {
                let visit = *kind != "setup" && *kind != "report";
                match rest {
                    [Key("id"), ..] | [Key("before" | "after"), Index(_), Key("outputs"), ..] => {
                        None
                    }
                    [Key("if")] => {
                        let started = visit && *kind != "load";
                        scope(visit, run(visit, started, (*stage, false, 0)))
                    }
                    [
                        Key(when @ ("before" | "after")),
                        Index(step),
                        Key("run" | "creates" | "if" | "env"),
                        ..,
                    ] => {
                        let after = *when == "after";
                        let started = visit && (*kind != "load" || after);
                        scope(visit, run(visit, started, (*stage, after, *step)))
                    }
                    _ if visit => point(),
                    _ => common(),
                }
            }
            _ => common(),
        }
    }

    /// Returns `true` if templates at a path are evaluated in the run.
    pub(super) fn is_of_run(&self, path: &[Step<'_>]) -> bool {
        self.scope(path).is_some_and(|scope| scope.run.is_some())
    }

    /// A sample value for every output of every stage.
    pub(super) fn sample_outputs(&self) -> Value {
        let mut stages = json!({});
        for name in self.outputs.keys() {
            if let [_, id, _, output] = name.split('.').collect::<Vec<_>>()[..] {
                stages[id]["outputs"][output] = "1".into();
            }
        }
        stages
    }

    /// The phase in which a name is known, if it is known at this place.
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
            let is_axis = self.axes.iter().any(|known| is_below(known, axis));
            return (scope.matrix && is_axis).then_some(Phase::Matrix);
        }
        let run = scope.run?;
        let given = || {
            self.outputs
                .get(output(name))
                .is_some_and(|at| *at < run.until)
        };
        (run.names().any(|known| is_below(known, name)) || given()).then_some(Phase::Run)
    }

    /// Returns `true` if a name has a value at another place.
    pub(super) fn elsewhere(&self, name: &str) -> bool {
        let everywhere = Scope {
            vars: self.vars.len(),
            matrix: true,
            run: Some(Run {
                visit: true,
                endpoint: true,
                until: (usize::MAX, true, usize::MAX),
            }),
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
        let of_run = scope
            .run
            .into_iter()
            .flat_map(Run::names)
            .map(str::to_owned);
        let until = scope.run.map(|run| run.until);
        let given = self
            .outputs
            .iter()
            .filter(|(_, at)| until.is_some_and(|until| **at < until));
        // In the order of the run, since a map has none.
        let mut given: Vec<_> = given.map(|(name, at)| (*at, name.clone())).collect();
        given.sort();
        let outputs = given.into_iter().map(|(_, name)| name);
        vars.chain(env)
            .chain(axes)
            .chain(of_run)
            .chain(outputs)
            .collect()
    }
}

/// Selects the values named by an expression: `vars.size` of `vars.size.x`. Its context
/// must not grow with unrelated values.
pub(super) fn only(values: &Value, names: &[String]) -> Value {
    let mut picked = Value::Object(Map::new());
    for name in names {
        let depth = if root(name) == "stages" { 4 } else { 2 };
        let path: Vec<&str> = name.split('.').take(depth).collect();
        let mut from = Some(values);
        let mut into = &mut picked;
        for (index, key) in path.iter().enumerate() {
            from = from.and_then(|value| value.get(key));
            let Some(entries) = into.as_object_mut() else {
                break;
            };
            let last = index + 1 == depth;
            let value = match from {
                Some(value) if last => value.clone(),
                Some(_) if !last => Value::Object(Map::new()),
                _ => break,
            };
            into = entries.entry(*key).or_insert(value);
        }
    }
    picked
}

/// The first part of a path.
pub(super) fn root(path: &str) -> &str {
    path.split('.').next().unwrap_or_default()
}

/// Returns `true` if a path is a name or leads into its value.
fn is_below(name: &str, path: &str) -> bool {
    path.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// `stages.ID.outputs.NAME`, from a path that goes on below it.
fn output(path: &str) -> &str {
    let end = path.match_indices('.').nth(3).map(|(at, _)| at);
    &path[..end.unwrap_or(path.len())]
}

/// Default id of a stage without an `id`, after `same` others of its kind.
pub(crate) fn default_id(kind: &str, same: usize) -> String {
    match same {
        0 => kind.to_owned(),
        n => format!("{kind}_{}", n + 1),
    }
}

/// The outputs of a stage: `true` if set after it, index of the step, and name.
fn outputs_of(stage: &Node) -> Vec<(bool, usize, String)> {
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
