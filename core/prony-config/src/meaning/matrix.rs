//! The matrix: checks of its entries, and its points.

use std::collections::HashMap;

use prony_diagnostic::Diagnostic;
use serde_json::{Map, Value};

use super::{Document, is_hole};
use crate::codes;
use crate::template::{Filled, digits};
use crate::tree::{Entry, Kind, Node};
use crate::wording::{alternatives, list, literal, offer, similar};

/// Maximum number of matrix points in a pipeline.
pub(crate) const MAX_POINTS: usize = 1000;

/// Names that `include` and `exclude` accept in addition to the axes.
const ENGINE: &str = "engine";
const MODEL: &str = "model";

/// A matrix point.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Combination {
    /// `axis=value,axis=value`; empty when there is no matrix.
    pub(crate) id: String,
    /// The value of each axis for expressions: numbers may be marked.
    pub(crate) values: Map<String, Value>,
    /// Engine and model pairs that do not run here; `None` means any.
    excluded: Vec<(Option<String>, Option<String>)>,
    /// If not empty, only engines and models matching one of these pairs run here.
    only: Vec<(Option<String>, Option<String>)>,
}

impl Combination {
    /// Returns `true` if an engine runs with a model at this point.
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
        if size.is_none_or(|size| size > MAX_POINTS) {
            out.push(
                Diagnostic::error(codes::MATRIX_SIZE, "the matrix has too many points")
                    .at(
                        matrix.key_span.clone(),
                        size.map_or_else(
                            || "more than can be counted".into(),
                            |size| format!("{size} points"),
                        ),
                    )
                    .note(format!("{MAX_POINTS} are allowed"))
                    .help("use fewer values, or several pipelines"),
            );
        } else if !axes.is_empty() && axes.iter().all(|axis| !axis.value.items().is_empty()) {
            repeated(&filled.root, included, &axes, out);
        }
        if axes.iter().any(|axis| axis.value.items().is_empty()) || axes.is_empty() {
            return; // which has been said
        }
        if size.is_some_and(|size| size <= MAX_POINTS) && combinations(&filled.root).is_empty() {
            out.push(
                Diagnostic::error(codes::MATRIX_SIZE, "the matrix has no point")
                    .at(matrix.key_span.clone(), "everything is left out")
                    .help("remove an entry of `exclude`"),
            );
        }
    }

    /// Checks that an entry of `include` or `exclude` names existing axes, engines and
    /// models.
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
                        let problem = Diagnostic::error(codes::MATRIX_NAME, message)
                            .at(entry.key_span.clone(), "not an axis")
                            .note(alternatives("known", key, &names));
                        out.push(offer(
                            problem,
                            similar(key, names.iter().copied()),
                            &entry.key_span,
                            "an axis with a similar name exists",
                            "name an axis, or add one under `axes`",
                        ));
                        continue;
                    };
                    // `include` may give values that the axis lacks.
                    if kind == "include" {
                        continue;
                    }
                    axis.value.items().iter().filter_map(scalar).collect()
                }
            };
            let axis = all.iter().find(|axis| axis.key == entry.key);
            let items = axis.map(|axis| axis.value.items()).unwrap_or_default();
            let Some(value) = meant(&entry.value, items) else {
                continue;
            };
            if known.is_empty() || known.contains(&value) {
                continue;
            }
            let names: Vec<&str> = known.iter().map(String::as_str).collect();
            let message = format!("{} has no {}", literal(&entry.key), literal(&value));
            let problem = Diagnostic::error(codes::MATRIX_NAME, message)
                .at(
                    entry.value.span.clone(),
                    if kind == "include" {
                        "not there"
                    } else {
                        "leaves nothing out"
                    },
                )
                .note(alternatives("known", &value, &names));
            out.push(offer(
                problem,
                similar(&value, names.iter().copied()),
                &entry.value.span,
                "one with a similar name exists",
                "name one that is there, or remove the entry",
            ));
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

/// Finds included points that already exist.
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

/// Values of an included point, by axis.
fn values(point: &Node, axes: &[&Entry]) -> Map<String, Value> {
    let value = |axis: &&Entry| {
        let value = &point.entry(&axis.key)?.value;
        Some((axis.key.clone(), digits::marked(value)))
    };
    axes.iter().filter_map(value).collect()
}

fn axes(matrix: &Node) -> Vec<&Entry> {
    let axes = matrix.entry("axes").map(|axes| axes.value.entries());
    axes.unwrap_or_default().iter().collect()
}

/// The value of an axis as written in a matrix point's id; `None` if unknown.
pub(super) fn scalar(node: &Node) -> Option<String> {
    let is_known = !matches!(node.kind, Kind::Null | Kind::Map(_)) && !is_hole(node);
    let is_known = is_known && !node.items().iter().any(is_hole);
    is_known.then(|| id_text(&digits::marked(node)))
}

/// The one of an axis' values that a node names, as written in ids: the one that is written like
/// it or, without such a one, an equal number. Its own text if there is neither.
pub(super) fn meant(node: &Node, items: &[Node]) -> Option<String> {
    let text = scalar(node)?;
    let is_written_so = |item: &&Node| scalar(item).as_ref() == Some(&text);
    let is_equal = |item: &&Node| item.to_json() == node.to_json();
    let mut same = items
        .iter()
        .filter(is_written_so)
        .chain(items.iter().filter(is_equal));
    same.next().map_or(Some(text.clone()), scalar)
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

/// The points of a document's matrix in order: the last axis changes fastest, included
/// points come last. One point without values if there is no matrix.
pub(crate) fn combinations(root: &Node) -> Vec<Combination> {
    points_of(root, true)
}

fn points_of(root: &Node, with_included: bool) -> Vec<Combination> {
    let Some(matrix) = root.entry("matrix").map(|entry| &entry.value) else {
        return vec![Combination {
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
                point.insert(axis.key.clone(), digits::marked(item));
                point
            })
        });
        // Bounded while building: the size is checked elsewhere.
        values = extended.take(MAX_POINTS + 1).collect();
    }
    let list = |key: &str| {
        matrix
            .entry(key)
            .map(|entry| entry.value.items())
            .unwrap_or_default()
    };
    let rules: Vec<Rule> = list("exclude")
        .iter()
        .map(|it| Rule::new(it, &axes))
        .collect();
    let mut points: Vec<Combination> = Vec::new();
    for values in values {
        let mut point = new(values, &axes);
        let texts = point
            .values
            .iter()
            .map(|(axis, value)| (axis.as_str(), id_text(value)));
        let texts: HashMap<&str, String> = texts.collect();
        let fitting: Vec<_> = rules.iter().filter(|rule| rule.fits(&texts)).collect();
        let mut gone = false;
        for rule in fitting {
            match &rule.pair {
                (None, None) => gone = true,
                pair => point.excluded.push(pair.clone()),
            }
        }
        if !gone && !axes.is_empty() {
            points.push(point);
        }
    }
    if !with_included {
        return points;
    }
    for extra in list("include").iter().take(MAX_POINTS) {
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

fn new(values: Map<String, Value>, axes: &[&Entry]) -> Combination {
    let quoted = |value: &Value| {
        let text = id_text(value);
        // Values that contain separators must not make two ids equal.
        if text.is_empty() || text.contains([',', '=', '"']) {
            Value::from(text).to_string()
        } else {
            text
        }
    };
    let parts = axes
        .iter()
        .filter_map(|axis| Some(format!("{}={}", axis.key, quoted(values.get(&axis.key)?))));
    Combination {
        id: parts.collect::<Vec<_>>().join(","),
        values,
        excluded: Vec::new(),
        only: Vec::new(),
    }
}

/// A value as written in ids; a list as its items.
pub(crate) fn id_text(value: &Value) -> String {
    match digits::shown(value) {
        Value::String(text) => text,
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(id_text).collect();
            items.join(" ")
        }
        other => other.to_string(),
    }
}

/// An entry of `exclude`.
struct Rule {
    pair: (Option<String>, Option<String>),
    /// Axes with the values that it names, as written in ids.
    values: Vec<(String, Option<String>)>,
}

impl Rule {
    fn new(rule: &Node, axes: &[&Entry]) -> Self {
        let named = rule.entries().iter();
        let named = named.filter(|entry| ![ENGINE, MODEL].contains(&entry.key.as_str()));
        let value = |entry: &Entry| {
            let mut own = axes.iter().filter(|axis| axis.key == entry.key);
            let items = own
                .next()
                .map(|axis| axis.value.items())
                .unwrap_or_default();
            (entry.key.clone(), meant(&entry.value, items))
        };
        Self {
            pair: pair(rule),
            values: named.map(value).collect(),
        }
    }

    /// Returns `true` if a point, with texts by axis, has every value that it names.
    fn fits(&self, texts: &HashMap<&str, String>) -> bool {
        let mut values = self.values.iter();
        values.all(|(axis, value)| texts.get(axis.as_str()) == value.as_ref())
    }
}

/// The engine and model that a rule is limited to.
fn pair(rule: &Node) -> (Option<String>, Option<String>) {
    let name = |key: &str| rule.entry(key).and_then(|entry| scalar(&entry.value));
    (name(ENGINE), name(MODEL))
}
