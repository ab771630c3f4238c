//! Turns validation errors into diagnostics with places.

use jsonschema::error::ValidationErrorKind as Kind;
use jsonschema::{Draft, ValidationError, Validator};
use prony_diagnostic::Diagnostic;
use serde_json::Value;

use super::problem::{self, has_type};
use crate::tree::{Entry, Found, Node};
use crate::{template, wording};

/// Maximum number of errors taken from one validation: nobody would read more.
const MAX_ERRORS: usize = 100;

/// A schema, prepared for checking documents.
pub(crate) struct Checker<'s> {
    schema: &'s Value,
    validator: Validator,
}

impl<'s> Checker<'s> {
    /// Fails with the reason if the schema itself is invalid.
    pub(crate) fn new(schema: &'s Value) -> Result<Self, String> {
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .build(schema)
            .map_err(|error| error.to_string())?;
        Ok(Self { schema, validator })
    }

    /// Finds everything in a node that the schema does not allow. Skips scalars with
    /// templates: they have no value yet.
    pub(crate) fn check(&self, found: &Found<'_>) -> Vec<Diagnostic> {
        let check = Check {
            schema: self.schema,
            root: found,
        };
        let value = found.node.to_json();
        let mut problems = Vec::new();
        for error in self.validator.iter_errors(&value).take(MAX_ERRORS) {
            check.error(&error, &mut problems);
        }
        problems
    }
}

/// One validation of one document.
struct Check<'a> {
    schema: &'a Value,
    root: &'a Found<'a>,
}

impl<'a> Check<'a> {
    fn error(&self, error: &ValidationError<'_>, out: &mut Vec<Diagnostic>) {
        let found = self.at(error);
        if is_hole(found.node) {
            return;
        }
        let rule = error.schema_path().as_str();
        let (owner, _) = rule.rsplit_once('/').unwrap_or_default();
        let schema = follow(self.schema, owner).unwrap_or(&Value::Null);
        match error.kind() {
            Kind::AdditionalProperties { unexpected }
            | Kind::UnevaluatedProperties { unexpected } => {
                let known = properties(schema);
                let entries = unexpected.iter().filter_map(|key| found.node.entry(key));
                // A template as a key has been reported.
                let entries = entries.filter(|entry| !template::is_template(&entry.key));
                let is_only = unexpected.len() == 1;
                out.extend(entries.take(MAX_ERRORS).map(|entry| {
                    match problem::other_name(entry, schema, found.node) {
                        Some(problem) => problem,
                        None => problem::unknown_key(entry, &found, &known, is_only),
                    }
                }));
            }
            Kind::Required { property } => {
                let property = property.as_str().unwrap_or_default();
                // A misspelt key is reported as unknown; that it is missing follows from
                // that.
                if !is_misspelt(property, found.node.entries(), &properties(schema)) {
                    let place = format!("{owner}/properties/{property}");
                    let schema = follow(self.schema, &place);
                    out.push(problem::missing_key(property, &found, schema));
                }
            }
            Kind::OneOfNotValid { context } | Kind::AnyOf { context } => {
                let branches = follow(self.schema, rule).and_then(Value::as_array);
                let branches = branches.map(Vec::as_slice).unwrap_or_default();
                self.alternatives(&found, schema, rule, branches, context, out);
            }
            Kind::OneOfMultipleValid { .. } => {
                let branches = follow(self.schema, rule).and_then(Value::as_array);
                match branches.and_then(|branches| choice(branches)) {
                    Some(keys) => out.extend(problem::several_given(&found, &keys)),
                    None => out.push(problem::other(&found, &error.masked().to_string())),
                }
            }
            // A value with only one allowed value is reported as such, whatever its type.
            Kind::Type { .. } if schema.get("const").is_some() => {}
            Kind::Type { .. } => {
                let item = follow(self.schema, &format!("{owner}/items"));
                out.push(problem::wrong_type(&found, schema, item));
            }
            // A value of the wrong type is reported only as that.
            Kind::Enum { .. } if !has_type(&found.node.kind, schema) => {}
            Kind::Enum { options } => {
                let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
                let options: Vec<_> = options.iter().collect();
                out.push(problem::unknown_value(&found, schema, &options));
            }
            Kind::Constant { expected_value } => {
                out.push(problem::not_constant(&found, expected_value));
            }
            Kind::Pattern { pattern } => out.push(problem::pattern(&found, schema, pattern)),
            Kind::Minimum { limit } => out.push(problem::bound(&found, "at least", limit)),
            Kind::Maximum { limit } => out.push(problem::bound(&found, "at most", limit)),
            Kind::ExclusiveMinimum { limit } => out.push(problem::bound(&found, "above", limit)),
            Kind::ExclusiveMaximum { limit } => out.push(problem::bound(&found, "below", limit)),
            Kind::MinItems { limit: 1 }
            | Kind::MinLength { limit: 1 }
            | Kind::MinProperties { limit: 1 } => out.push(problem::empty(&found)),
            Kind::MinItems { limit }
            | Kind::MinProperties { limit }
            | Kind::MinLength { limit } => {
                out.push(problem::size(&found, "at least", *limit));
            }
            Kind::MaxItems { limit }
            | Kind::MaxProperties { limit }
            | Kind::MaxLength { limit } => {
                out.push(problem::size(&found, "at most", *limit));
            }
            Kind::UniqueItems => out.extend(problem::repeated(&found)),
            Kind::PropertyNames { error } => {
                let key = error.instance().as_str().unwrap_or_default();
                match (found.node.entry(key), error.kind()) {
                    (Some(entry), _) if template::is_template(&entry.key) => {}
                    (Some(entry), Kind::Pattern { pattern }) => {
                        out.push(problem::key_pattern(entry, &found, pattern));
                    }
                    _ => out.push(problem::other(&found, &error.to_string())),
                }
            }
            _ => out.push(problem::other(&found, &error.masked().to_string())),
        }
    }

    /// Reports a value that fits none of several alternatives. If the value shows which
    /// one was meant, reports the problems with that one.
    fn alternatives(
        &self,
        found: &Found<'_>,
        schema: &Value,
        rule: &str,
        branches: &'a [Value],
        context: &[Vec<ValidationError<'static>>],
        out: &mut Vec<Diagnostic>,
    ) {
        let real = |error: &&ValidationError<'static>| !is_hole(self.at(error).node);
        if context
            .iter()
            .any(|errors| !errors.iter().any(|e| real(&e)))
        {
            return; // only templates are in the way
        }
        if let Some(keys) = choice(branches) {
            let entries = found.node.entries();
            let known = properties(schema);
            let is_given = |key: &&str| entries.iter().any(|entry| entry.key == **key);
            // What is wrong with one that is given, or misspelt, is told by its own schema.
            let is_told = |key: &&str| is_given(key) || is_misspelt(key, entries, &known);
            if !keys.iter().any(is_told) {
                out.push(problem::none_given(found, &keys));
            }
            return;
        }
        if let Some(options) = all(branches, |branch| branch.get("const")) {
            out.push(problem::unknown_value(found, schema, &options));
            return;
        }
        if let Some(tags) = all(branches, tag) {
            let form = |(index, tag): (usize, &&'a str)| {
                let place = format!("{rule}/{index}/properties/{tag}");
                let value = follow(self.schema, &place).unwrap_or(&Value::Null);
                problem::Form { tag, value }
            };
            let forms: Vec<_> = tags.iter().enumerate().map(form).collect();
            match found.node.entries() {
                [] => out.push(problem::no_tag(found, schema, &forms)),
                [entry] => match tags.iter().position(|tag| *tag == entry.key) {
                    Some(meant) => context[meant].iter().for_each(|e| self.error(e, out)),
                    None => out.push(problem::unknown_tag(entry, schema, &tags)),
                },
                entries => out.push(problem::several_tags(found, entries, schema, &forms)),
            }
            return;
        }
        let mut numbers = branches.iter().filter(|it| it["type"] == "integer");
        let is_number = |text: &str| text.trim().parse::<f64>().is_ok();
        if let Some(number) = numbers
            .next()
            .filter(|_| found.node.text().is_some_and(is_number))
        {
            out.push(problem::wrong_type(found, number, None));
            return;
        }
        let here = |error: &ValidationError<'_>| std::ptr::eq(self.at(error).node, found.node);
        let ruled_out = |errors: &[ValidationError<'static>]| {
            errors.iter().any(|e| match e.kind() {
                Kind::Type { .. } => here(e),
                Kind::Constant { .. } => true,
                _ => false,
            })
        };
        let mut meant = context.iter().filter(|errors| !ruled_out(errors));
        match (meant.next(), meant.next()) {
            (Some(errors), None) => errors.iter().for_each(|e| self.error(e, out)),
            _ => out.push(problem::no_alternative(found, branches)),
        }
    }

    fn at(&self, error: &ValidationError<'_>) -> Found<'a> {
        let below = self.root.node.at(error.instance_path().as_str());
        if std::ptr::eq(below.node, self.root.node) {
            self.root.clone()
        } else {
            below
        }
    }
}

fn is_hole(node: &Node) -> bool {
    node.text().is_some_and(template::is_template)
}

/// Applies a function to every branch; `None` if any branch gives `None`.
fn all<'b, T>(branches: &'b [Value], of: impl Fn(&'b Value) -> Option<T>) -> Option<Vec<T>> {
    (!branches.is_empty())
        .then(|| branches.iter().map(of).collect())
        .flatten()
}

/// The keys of which exactly one is to be given, if alternatives say so and nothing else.
fn choice(branches: &[Value]) -> Option<Vec<&str>> {
    all(branches, |branch| {
        let [key] = branch.get("required")?.as_array()?.as_slice() else {
            return None;
        };
        let is_open = branch.get("type").is_none() && branch.get("additionalProperties").is_none();
        is_open.then(|| key.as_str()).flatten()
    })
}

/// The key that identifies an externally tagged alternative.
fn tag(branch: &Value) -> Option<&str> {
    let [tag] = branch.get("required")?.as_array()?.as_slice() else {
        return None;
    };
    let closed = branch.get("additionalProperties") == Some(&Value::Bool(false));
    let only = properties(branch).len() == 1;
    (closed && only).then(|| tag.as_str()).flatten()
}

fn properties(schema: &Value) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .map(|map| map.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

/// Returns `true` if one of the unknown keys is probably this one.
fn is_misspelt(property: &str, entries: &[Entry], known: &[&str]) -> bool {
    entries.iter().take(MAX_ERRORS).any(|entry| {
        !known.contains(&entry.key.as_str())
            && wording::similar(&entry.key, known.iter().copied()) == Some(property)
    })
}

/// Finds the part of a schema at a path, through references.
pub(super) fn follow<'s>(schema: &'s Value, path: &str) -> Option<&'s Value> {
    let mut at = referred(schema, schema)?;
    for segment in path.split('/').skip(1) {
        if segment == "$ref" {
            continue;
        }
        let segment = segment.replace("~1", "/").replace("~0", "~");
        at = match at {
            Value::Array(items) => items.get(segment.parse::<usize>().ok()?)?,
            other => other.get(&segment)?,
        };
        at = referred(schema, at)?;
    }
    Some(at)
}

/// Finds what a part of a schema refers to, if it does. `None` if that is nowhere, or the way there
/// never ends.
fn referred<'s>(schema: &'s Value, mut at: &'s Value) -> Option<&'s Value> {
    const MAX_STEPS: usize = 64;
    for _ in 0..MAX_STEPS {
        let Some(reference) = at.get("$ref").and_then(Value::as_str) else {
            return Some(at);
        };
        at = schema.pointer(reference.strip_prefix('#')?)?;
    }
    None
}
