//! The matrix: what its entries name, and the points it has.

use std::collections::HashMap;

use prony_diagnostic::Diagnostic;
use serde_json::{Map, Value};

use super::{Document, is_hole};
use crate::codes;
use crate::template::Filled;
use crate::tree::{Entry, Kind, Node};
use crate::wording::{list, literal, nearest, similar};

/// The most matrix points of a pipeline.
pub(crate) const MAX_CELLS: usize = 1000;

/// Names that `include` and `exclude` know beside the axes.
const ENGINE: &str = "engine";
const MODEL: &str = "model";

/// A point of the matrix.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    /// `axis=value,axis=value`; empty when there is no matrix.
    pub(crate) id: String,
    pub(crate) values: Map<String, Value>,
    /// Engine and model pairs that do not run here; `None` means any.
    excluded: Vec<(Option<String>, Option<String>)>,
    /// If not empty, only what fits one of these pairs runs here.
    only: Vec<(Option<String>, Option<String>)>,
}

impl Point {
    /// Whether an engine runs with a model at this point.
    pub(crate) fn runs(&self, engine: &str, model: &str) -> bool {
        let fits = |(e, m): &(Option<String>, Option<String>)| {
            e.as_deref().is_none_or(|e| e == engine) && m.as_deref().is_none_or(|m| m == model)
        };
        !self.excluded.iter().any(fits) && (self.only.is_empty() || self.only.iter().any(fits))
    }
}

impl Document<'_> {
    pub(super) fn matrix(&self, filled: &Filled, out: &mut Vec<Diagnostic>) {
        let Some(matrix) = self.entry("matrix") else {
            return;
        };
        let axes = axes(&matrix.value);
        for axis in &axes {
            if [ENGINE, MODEL].contains(&axis.key.as_str()) {
                let message = format!("an axis cannot be called {}", literal(&axis.key));
                out.push(
                    Diagnostic::error(codes::MATRIX_NAME, message)
                        .at(axis.key_span.clone(), "not the name of an axis")
                        .note("every engine is run with every model without an axis for it")
                        .help("list them under `engines` and `models`; `exclude` leaves pairs out"),
                );
            }
            duplicates(axis, out);
        }
        let entries = |key: &str| {
            let entries = matrix.value.entry(key).map(|entry| entry.value.items());
            entries.unwrap_or_default()
        };
        for key in ["include", "exclude"] {
            for point in entries(key) {
                self.point(key, point, &axes, out);
            }
        }
        let included = entries("include");
        let size = axes
            .iter()
            .map(|axis| axis.value.items().len())
            .try_fold(1_usize, usize::checked_mul)
            .and_then(|size| size.checked_add(included.len()));
        if size.is_none_or(|size| size > MAX_CELLS) {
            out.push(
                Diagnostic::error(codes::MATRIX_SIZE, "the matrix has too many matrix points")
                    .at(
                        matrix.key_span.clone(),
                        size.map_or_else(
                            || "more than can be counted".into(),
                            |size| format!("{size} matrix points"),
                        ),
                    )
                    .note(format!("{MAX_CELLS} are allowed"))
                    .help("use fewer values, or several pipelines"),
            );
        } else if !axes.is_empty() && axes.iter().all(|axis| !axis.value.items().is_empty()) {
            repeated(&filled.root, included, &axes, out);
        }
        if axes.iter().any(|axis| axis.value.items().is_empty()) || axes.is_empty() {
            return; // which has been said
        }
        if size.is_some_and(|size| size <= MAX_CELLS) && points(&filled.root).is_empty() {
            out.push(
                Diagnostic::error(codes::MATRIX_SIZE, "the matrix has no matrix point")
                    .at(matrix.key_span.clone(), "everything is left out")
                    .help("remove an entry of `exclude`"),
            );
        }
    }

    /// An entry of `include` or `exclude` names what there is.
    fn point(&self, kind: &str, point: &Node, all: &[&Entry], out: &mut Vec<Diagnostic>) {
        let engines: Vec<&str> = self.engine_names().iter().map(|(name, _)| *name).collect();
        let ids = self
            .model_nodes()
            .into_iter()
            .filter_map(|model| model.entry("id")?.value.text());
        let models: Vec<&str> = ids.collect();
        for entry in point.entries() {
            let known: Vec<String> = match entry.key.as_str() {
                ENGINE => engines.iter().map(|name| (*name).to_owned()).collect(),
                MODEL => models.iter().map(|name| (*name).to_owned()).collect(),
                key => {
                    let Some(axis) = all.iter().find(|axis| axis.key == key) else {
                        let names: Vec<&str> = all
                            .iter()
                            .map(|a| a.key.as_str())
                            .chain([ENGINE, MODEL])
                            .collect();
                        let message = format!("there is no axis {}", literal(key));
                        let mut problem = Diagnostic::error(codes::MATRIX_NAME, message)
                            .at(entry.key_span.clone(), "not an axis")
                            .note(format!(
                                "known: {}",
                                list(&nearest(key, names.iter().copied()))
                            ));
                        if let Some(meant) = similar(key, names.iter().copied()) {
                            problem = problem.suggest(
                                "an axis with a similar name exists",
                                entry.key_span.clone(),
                                meant,
                            );
                        } else {
                            problem = problem.help("name an axis, or add one under `axes`");
                        }
                        out.push(problem);
                        continue;
                    };
                    // `include` is there for values that the axis does not have.
                    if kind == "include" {
                        continue;
                    }
                    axis.value.items().iter().filter_map(scalar).collect()
                }
            };
            let Some(value) = scalar(&entry.value) else {
                continue;
            };
            if known.is_empty() || known.contains(&value) {
                continue;
            }
            let names: Vec<&str> = known.iter().map(String::as_str).collect();
            let message = format!("{} has no {}", literal(&entry.key), literal(&value));
            let mut problem = Diagnostic::error(codes::MATRIX_NAME, message)
                .at(
                    entry.value.span.clone(),
                    if kind == "include" {
                        "not there"
                    } else {
                        "leaves nothing out"
                    },
                )
                .note(format!(
                    "known: {}",
                    list(&nearest(&value, names.iter().copied()))
                ));
            if let Some(meant) = similar(&value, names.iter().copied()) {
                problem = problem.suggest(
                    "one with a similar name exists",
                    entry.value.span.clone(),
                    meant,
                );
            } else {
                problem = problem.help("name one that is there, or remove the entry");
            }
            out.push(problem);
        }
        if kind == "include" {
            let missing: Vec<&str> = all
                .iter()
                .map(|axis| axis.key.as_str())
                .filter(|axis| point.entry(axis).is_none())
                .collect();
            if !missing.is_empty() {
                out.push(
                    Diagnostic::error(codes::MATRIX_NAME, "a point without a value for every axis")
                        .at(point.span.clone(), format!("no {}", list(&missing)))
                        .help("give every axis a value"),
                );
            }
        }
    }
}

/// Points that are included although they are there.
fn repeated(root: &Node, included: &[Node], axes: &[&Entry], out: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<String, Option<&Node>> = HashMap::new();
    let combined = points_of(root, false);
    seen.extend(combined.into_iter().map(|point| (point.id, None)));
    for node in included {
        let point = new(values(node, axes), axes);
        if pair(node) != (None, None) && !seen.get(&point.id).is_some_and(Option::is_none) {
            continue; // one point for several engines or models
        }
        let Some(first) = seen.insert(point.id.clone(), Some(node)) else {
            continue;
        };
        let message = format!("the point {} is in the matrix already", literal(&point.id));
        let mut problem =
            Diagnostic::error(codes::MATRIX_VALUE, message).at(node.span.clone(), "included again");
        problem = match first {
            Some(first) => problem.and(first.span.clone(), "included here"),
            None => problem.note("it is a combination of the axes' values"),
        };
        out.push(problem.help("remove it; `exclude` leaves an engine or a model out of a point"));
    }
}

/// What an included point says of every axis.
fn values(point: &Node, axes: &[&Entry]) -> Map<String, Value> {
    let value = |axis: &&Entry| Some((axis.key.clone(), point.entry(&axis.key)?.value.to_json()));
    axes.iter().filter_map(value).collect()
}

fn axes(matrix: &Node) -> Vec<&Entry> {
    let axes = matrix.entry("axes").map(|axes| axes.value.entries());
    axes.unwrap_or_default().iter().collect()
}

/// A scalar as it stands in a matrix point's id; nothing when it is not known.
pub(super) fn scalar(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::String(text) if !is_hole(node) => Some(text.clone()),
        Kind::Number(number) => Some(number.to_string()),
        Kind::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

fn duplicates(axis: &Entry, out: &mut Vec<Diagnostic>) {
    let mut seen = HashMap::new();
    for item in axis.value.items() {
        let Some(value) = scalar(item) else { continue };
        if let Some(first) = seen.insert(value.clone(), item.span.clone()) {
            let message = format!(
                "the axis {} has {} twice",
                literal(&axis.key),
                literal(&value)
            );
            out.push(
                Diagnostic::error(codes::MATRIX_VALUE, message)
                    .at(item.span.clone(), "given again")
                    .and(first, "given here")
                    .help("remove one"),
            );
        }
    }
}

/// The points of a document's matrix in order: the last axis changes fastest,
/// what is included comes last. One point without values when there is no matrix.
pub(crate) fn points(root: &Node) -> Vec<Point> {
    points_of(root, true)
}

fn points_of(root: &Node, with_included: bool) -> Vec<Point> {
    let Some(matrix) = root.entry("matrix").map(|entry| &entry.value) else {
        return vec![Point {
            id: String::new(),
            values: Map::new(),
            excluded: Vec::new(),
            only: Vec::new(),
        }];
    };
    let axes = axes(matrix);
    let mut values = vec![Map::new()];
    for axis in &axes {
        let items = axis.value.items();
        let extended = values.iter().flat_map(|point: &Map<String, Value>| {
            items.iter().map(move |item| {
                let mut point = point.clone();
                point.insert(axis.key.clone(), item.to_json());
                point
            })
        });
        // Bounded before it is built: the size is checked elsewhere.
        values = extended.take(MAX_CELLS + 1).collect();
    }
    let list = |key: &str| {
        matrix
            .entry(key)
            .map(|entry| entry.value.items())
            .unwrap_or_default()
    };
    let mut points: Vec<Point> = Vec::new();
    for values in values {
        let mut point = new(values, &axes);
        let mut gone = false;
        for rule in list("exclude") {
            if fits(rule, &point.values) {
                match pair(rule) {
                    (None, None) => gone = true,
                    pair => point.excluded.push(pair),
                }
            }
        }
        if !gone && !axes.is_empty() {
            points.push(point);
        }
    }
    if !with_included {
        return points;
    }
    for extra in list("include").iter().take(MAX_CELLS) {
        let mut point = new(self::values(extra, &axes), &axes);
        match pair(extra) {
            (None, None) => {}
            pair => point.only.push(pair),
        }
        match points.iter_mut().find(|other| other.id == point.id) {
            None => points.push(point),
            Some(other) if !other.only.is_empty() => other.only.append(&mut point.only),
            Some(_) => {}
        }
    }
    points
}

fn new(values: Map<String, Value>, axes: &[&Entry]) -> Point {
    let quoted = |value: &Value| {
        let text = id_text(value);
        // Values with separators in them must not make two ids the same.
        if text.is_empty() || text.contains([',', '=', '"']) {
            Value::from(text).to_string()
        } else {
            text
        }
    };
    let parts = axes
        .iter()
        .filter_map(|axis| Some(format!("{}={}", axis.key, quoted(values.get(&axis.key)?))));
    Point {
        id: parts.collect::<Vec<_>>().join(","),
        values,
        excluded: Vec::new(),
        only: Vec::new(),
    }
}

/// A scalar as it stands in ids.
pub(super) fn id_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether every axis value that a rule names is the point's.
fn fits(rule: &Node, values: &Map<String, Value>) -> bool {
    rule.entries().iter().all(|entry| {
        [ENGINE, MODEL].contains(&entry.key.as_str())
            || values.get(&entry.key).map(id_text) == scalar(&entry.value)
    })
}

/// The engine and model that a rule is limited to.
fn pair(rule: &Node) -> (Option<String>, Option<String>) {
    let name = |key: &str| rule.entry(key).and_then(|entry| scalar(&entry.value));
    (name(ENGINE), name(MODEL))
}
