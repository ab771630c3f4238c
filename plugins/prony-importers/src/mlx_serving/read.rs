//! Reading of a configuration, with everything that is wrong with it.

use std::ops::RangeInclusive;

use prony_diagnostic::Diagnostic;
use serde_json::Number;

use prony_config::foreign::{Entry, Kind, Node, Span, found, is_template, list, literal};
use prony_config::{Duration, codes, similar};

/// A configuration with all defaults filled in.
pub(super) struct Config {
    pub(super) max_tokens: u64,
    pub(super) temperature: Number,
    pub(super) timeout: Duration,
    pub(super) models: Vec<Model>,
    pub(super) questions: Count,
    pub(super) cycles: Count,
    pub(super) prompts: Vec<String>,
    /// Empty in a benchmark of text models.
    pub(super) images: Vec<String>,
}

/// One model; ids are unique.
pub(super) struct Model {
    pub(super) id: String,
    pub(super) size: Option<String>,
    pub(super) enabled: bool,
}

/// One number for all models.
pub(super) struct Count {
    /// The largest of those of the enabled models.
    pub(super) value: u64,
    /// `true` if they are not all the same.
    pub(super) differs: bool,
}

/// A whole number that may be left out.
struct Whole {
    key: &'static str,
    default: u64,
    range: RangeInclusive<u64>,
}

// The defaults are the documented ones; the limits are those of a pipeline.
const MAX_TOKENS: Whole = Whole {
    key: "max_tokens",
    default: 100,
    range: 1..=u32::MAX as u64,
};
const TIMEOUT_MS: Whole = Whole {
    key: "timeout_ms",
    default: 300_000,
    range: 1..=999_999_999,
};
const QUESTIONS: Whole = Whole {
    key: "questions",
    default: 5,
    range: 1..=1_000_000,
};
const CYCLES: Whole = Whole {
    key: "cycles",
    default: 1,
    range: 1..=10_000,
};
const TEMPERATURE: &str = "temperature";

const TEXT_KEYS: [&str; 3] = ["benchmark", "models", "questions"];
const VISION_KEYS: [&str; 4] = ["benchmark", "models", "prompts", "test_images"];
const BENCHMARK_KEYS: [&str; 3] = [MAX_TOKENS.key, TEMPERATURE, TIMEOUT_MS.key];
const MODEL_KEYS: [&str; 5] = ["name", "size", QUESTIONS.key, CYCLES.key, "enabled"];

/// The configuration, unless there are errors.
pub(super) fn read(root: &Node) -> (Option<Config>, Vec<Diagnostic>) {
    let is_other = given(root, "benchmark").is_none()
        && (root.entry("models").is_none() || root.entry("stages").is_some());
    if is_other {
        let problem = Diagnostic::error(
            codes::IMPORT_FORMAT,
            "this is not a configuration of mlx-serving's benchmark",
        )
        .at(root.span.clone(), "no `benchmark`, or no `models`")
        .note("it has `benchmark`, `models`, and `questions` or `prompts` with `test_images`")
        .help("name such a configuration; a pipeline needs no import");
        return (None, vec![problem]);
    }
    let mut reader = Reader::default();
    let config = reader.config(root);
    let failed = reader.problems.iter().any(Diagnostic::is_error);
    ((!failed).then_some(config), reader.problems)
}

/// Reads on after an error, with a value that would do.
#[derive(Default)]
struct Reader {
    problems: Vec<Diagnostic>,
}

/// A model as it is listed.
struct Listed {
    model: Model,
    name: Span,
    questions: Placed,
    cycles: Placed,
}

/// A number and where it stands, or else the model that has it.
#[derive(Clone)]
struct Placed {
    value: u64,
    place: Span,
}

impl Reader {
    fn config(&mut self, root: &Node) -> Config {
        let is_vision = root.entry("questions").is_none()
            && (root.entry("prompts").is_some() || root.entry("test_images").is_some());
        if is_vision {
            self.unknown_keys(root, &VISION_KEYS);
        } else {
            self.unknown_keys(root, &TEXT_KEYS);
        }
        let benchmark = self.benchmark(root);
        let (max_tokens, temperature, timeout) = match benchmark {
            Some(entry) => (
                self.whole(&entry.value, &entry.key_span, &MAX_TOKENS).value,
                self.temperature(entry),
                self.whole(&entry.value, &entry.key_span, &TIMEOUT_MS).value,
            ),
            None => (MAX_TOKENS.default, Number::from(0), TIMEOUT_MS.default),
        };
        let listed = self.models(root);
        let (questions, cycles) = (
            self.largest(&listed, QUESTIONS.key, |listed| &listed.questions),
            self.largest(&listed, CYCLES.key, |listed| &listed.cycles),
        );
        let (prompts, images) = if is_vision {
            (self.texts(root, "prompts"), self.images(root))
        } else {
            (self.texts(root, "questions"), Vec::new())
        };
        Config {
            max_tokens,
            temperature,
            timeout: Duration::from_millis(timeout),
            models: listed.into_iter().map(|listed| listed.model).collect(),
            questions,
            cycles,
            prompts,
            images,
        }
    }

    fn benchmark<'a>(&mut self, root: &'a Node) -> Option<&'a Entry> {
        let entry = self.required(root, "benchmark")?;
        if !matches!(entry.value.kind, Kind::Map(_)) {
            self.wrong_kind(&entry.value, "`benchmark`", "a mapping");
            return None;
        }
        self.unknown_keys(&entry.value, &BENCHMARK_KEYS);
        Some(entry)
    }

    fn temperature(&mut self, benchmark: &Entry) -> Number {
        let default = || Number::from_f64(0.7).unwrap_or(Number::from(0));
        let Some(entry) = given(&benchmark.value, TEMPERATURE) else {
            self.defaulted(&benchmark.key_span, TEMPERATURE, "0.7");
            return default();
        };
        let Kind::Number(number) = &entry.value.kind else {
            self.wrong_kind(&entry.value, "`temperature`", "a number");
            return default();
        };
        if number.as_f64().is_none_or(|number| number < 0.0) {
            self.problems.push(
                Diagnostic::error(codes::IMPORT_RANGE, "`temperature` is below 0")
                    .at(entry.value.span.clone(), found(&entry.value))
                    .help("0 means the likeliest token each time"),
            );
        }
        number.clone()
    }

    /// A whole number of a mapping; `place` stands for the mapping.
    fn whole(&mut self, section: &Node, place: &Span, whole: &Whole) -> Placed {
        let default = |place: &Span| Placed {
            value: whole.default,
            place: place.clone(),
        };
        let Some(entry) = given(section, whole.key) else {
            self.defaulted(place, whole.key, &whole.default.to_string());
            return default(place);
        };
        let node = &entry.value;
        let name = literal(whole.key);
        let Kind::Number(number) = &node.kind else {
            self.wrong_kind(node, &name, "a number");
            return default(&node.span);
        };
        let fits = |number: &u64| whole.range.contains(number);
        let Some(value) = number.as_u64().filter(fits) else {
            let (least, most) = (whole.range.start(), whole.range.end());
            self.problems.push(
                Diagnostic::error(codes::IMPORT_RANGE, format!("{name} is out of range"))
                    .at(node.span.clone(), found(node))
                    .help(format!("write a whole number from {least} to {most}")),
            );
            return default(&node.span);
        };
        Placed {
            value,
            place: node.span.clone(),
        }
    }

    fn models(&mut self, root: &Node) -> Vec<Listed> {
        let Some(entry) = self.items(root, "models") else {
            return Vec::new();
        };
        let mut models: Vec<Listed> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for node in entry.value.items() {
            let Some(listed) = self.model(node) else {
                continue;
            };
            match places.get(&listed.model.id) {
                None => {
                    places.insert(listed.model.id.clone(), models.len());
                    models.push(listed);
                }
                Some(at) => self.repeated(&mut models[*at], &listed),
            }
        }
        let failed = self.problems.iter().any(Diagnostic::is_error);
        if !failed && !models.iter().any(|listed| listed.model.enabled) {
            self.problems.push(
                Diagnostic::error(codes::IMPORT_NO_MODEL, "no model is enabled")
                    .at(entry.key_span.clone(), "all are skipped")
                    .help("set `enabled: true` for at least one model"),
            );
        }
        models
    }

    fn model(&mut self, node: &Node) -> Option<Listed> {
        if !matches!(node.kind, Kind::Map(_)) {
            self.wrong_kind(node, "a model", "a mapping");
            return None;
        }
        self.unknown_keys(node, &MODEL_KEYS);
        let name = self.required(node, "name")?;
        let id = self.text(&name.value, "`name`")?;
        if id.is_empty() {
            self.empty(&name.value.span, "`name`");
            return None;
        }
        if id.starts_with('.') {
            self.relative(&name.value.span, "the folder of a model");
        }
        let place = &name.value.span;
        Some(Listed {
            name: place.clone(),
            questions: self.whole(node, place, &QUESTIONS),
            cycles: self.whole(node, place, &CYCLES),
            model: Model {
                size: self.size(node),
                enabled: self.enabled(node, place),
                id,
            },
        })
    }

    /// A label; a number, such as `7`, is one too.
    fn size(&mut self, model: &Node) -> Option<String> {
        let node = &given(model, "size")?.value;
        match (&node.kind, &node.written) {
            // A number has no `1.10`.
            (Kind::Number(_), Some(written)) => Some(written.to_string()),
            (Kind::Number(number), None) => Some(number.to_string()),
            _ => self.text(node, "`size`"),
        }
    }

    fn enabled(&mut self, model: &Node, place: &Span) -> bool {
        let Some(entry) = given(model, "enabled") else {
            self.problems.push(
                Diagnostic::warning(codes::IMPORT_SKIPPED, "a model is not enabled")
                    .at(place.clone(), "has no `enabled`")
                    .note("the benchmark skips it, so the pipeline does too")
                    .help("if it is to run, remove its `enabled: false` from the pipeline"),
            );
            return false;
        };
        let Kind::Bool(enabled) = entry.value.kind else {
            self.wrong_kind(&entry.value, "`enabled`", "`true` or `false`");
            return false;
        };
        enabled
    }

    /// A model that is listed again: it is run if one of the two is.
    fn repeated(&mut self, first: &mut Listed, again: &Listed) {
        self.problems.push(
            Diagnostic::warning(
                codes::IMPORT_REPEATED,
                format!("the model {} is listed twice", literal(&first.model.id)),
            )
            .at(again.name.clone(), "listed again")
            .and(first.name.clone(), "listed here")
            .note("the pipeline lists it once; more `cycles` run it more often"),
        );
        match (first.model.enabled, again.model.enabled) {
            (true, true) => {
                let larger = |one: &mut Placed, other: &Placed| {
                    if other.value > one.value {
                        *one = other.clone();
                    }
                };
                larger(&mut first.questions, &again.questions);
                larger(&mut first.cycles, &again.cycles);
            }
            (false, true) => {
                first.questions = again.questions.clone();
                first.cycles = again.cycles.clone();
                first.model.enabled = true;
            }
            (_, false) => {}
        }
    }

    /// The largest of a number of all models that are enabled.
    fn largest(
        &mut self,
        models: &[Listed],
        key: &str,
        number: impl Fn(&Listed) -> &Placed,
    ) -> Count {
        let enabled = models.iter().filter(|listed| listed.model.enabled);
        let numbers: Vec<&Placed> = enabled.map(number).collect();
        let Some(largest) = numbers.iter().max_by_key(|number| number.value) else {
            return Count {
                value: 1,
                differs: false,
            };
        };
        let value = largest.value;
        let smaller = numbers.iter().find(|number| number.value < value);
        if let Some(smaller) = smaller {
            let key = literal(key);
            self.problems.push(
                Diagnostic::warning(
                    codes::IMPORT_DIFFERING,
                    format!("models have different numbers of {key}"),
                )
                .at(smaller.place.clone(), format!("{} here", smaller.value))
                .and(largest.place.clone(), format!("{value} here"))
                .note(format!(
                    "a pipeline has one number for all models: {value}, the largest, is taken"
                ))
                .help("to have them differ, put the models into two pipelines"),
            );
        }
        Count {
            value,
            differs: smaller.is_some(),
        }
    }

    fn images(&mut self, root: &Node) -> Vec<String> {
        let images = self.texts(root, "test_images");
        let relative = |image: &String| !image.starts_with('/');
        if let Some(at) = images.iter().position(relative) {
            let entry = root.entry("test_images");
            let item = entry.and_then(|entry| entry.value.items().get(at));
            let place = item.map_or_else(|| root.span.clone(), |item| item.span.clone());
            self.relative(&place, "the file of an image");
        }
        images
    }

    /// The texts of a list that must have some.
    fn texts(&mut self, root: &Node, key: &'static str) -> Vec<String> {
        let Some(entry) = self.items(root, key) else {
            return Vec::new();
        };
        let what = format!("an item of {}", literal(key));
        let items = entry.value.items().iter();
        items.filter_map(|item| self.text(item, &what)).collect()
    }

    /// A list that must be there and not be empty.
    fn items<'a>(&mut self, root: &'a Node, key: &'static str) -> Option<&'a Entry> {
        let entry = self.required(root, key)?;
        match &entry.value.kind {
            Kind::List(items) if items.is_empty() => {
                self.empty(&entry.value.span, &literal(key));
                None
            }
            Kind::List(_) => Some(entry),
            _ => {
                self.wrong_kind(&entry.value, &literal(key), "a list");
                None
            }
        }
    }

    fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let Kind::String(text) = &node.kind else {
            self.wrong_kind(node, what, "a string");
            return None;
        };
        if is_template(text) {
            self.problems.push(
                Diagnostic::error(
                    codes::IMPORT_TEMPLATE,
                    format!("{what} cannot be carried over"),
                )
                .at(node.span.clone(), "has `${{` in it")
                .note("it starts a template in a pipeline, and cannot be written otherwise")
                .help("write it in another way, for example with a space: `$ {{`"),
            );
            return None;
        }
        Some(text.clone())
    }

    fn required<'a>(&mut self, section: &'a Node, key: &'static str) -> Option<&'a Entry> {
        let entry = given(section, key);
        if entry.is_none() {
            let problem = Diagnostic::error(
                codes::IMPORT_MISSING,
                format!("{} is missing", literal(key)),
            )
            .help(format!("add {} to the configuration", literal(key)));
            self.problems.push(match section.entry(key) {
                Some(entry) => problem.at(entry.key_span.clone(), "has no value"),
                None => problem.at(section.span.clone(), "in this mapping"),
            });
        }
        entry
    }

    fn unknown_keys(&mut self, section: &Node, known: &[&str]) {
        for entry in section.entries() {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let problem = Diagnostic::warning(
                codes::IMPORT_UNKNOWN_KEY,
                format!("the key {} is not carried over", literal(&entry.key)),
            )
            .at(entry.key_span.clone(), "the benchmark ignores it")
            .note(format!("known here: {}", list(known)));
            self.problems
                .push(match similar(&entry.key, known.iter().copied()) {
                    Some(meant) => problem.help(format!("perhaps {} is meant", literal(meant))),
                    None => problem.help("remove it, or say it in the pipeline"),
                });
        }
    }

    fn defaulted(&mut self, place: &Span, key: &str, default: &str) {
        let problem = Diagnostic::warning(
            codes::IMPORT_DEFAULT,
            format!("{} is not given", literal(key)),
        );
        self.problems.push(
            problem
                .at(place.clone(), "not here")
                .note(format!("the documented default, {default}, is taken"))
                .help("change it in the pipeline if another value is meant"),
        );
    }

    fn relative(&mut self, place: &Span, what: &str) {
        self.problems.push(
            Diagnostic::warning(codes::IMPORT_PATH, format!("{what} is a relative path"))
                .at(place.clone(), "relative")
                .note("the benchmark starts from the folder it was called in, a pipeline from its own")
                .help("correct the path in the pipeline, or put the pipeline into that folder"),
        );
    }

    fn wrong_kind(&mut self, node: &Node, what: &str, wanted: &str) {
        self.problems.push(
            Diagnostic::error(codes::IMPORT_TYPE, format!("{what} must be {wanted}"))
                .at(node.span.clone(), format!("found {}", found(node)))
                .help(format!("write {wanted}")),
        );
    }

    fn empty(&mut self, place: &Span, what: &str) {
        let problem = Diagnostic::error(codes::IMPORT_RANGE, format!("{what} is empty"));
        self.problems.push(
            problem
                .at(place.clone(), "nothing in it")
                .help("put something into it"),
        );
    }
}

/// The entry of a key that has a value.
fn given<'a>(section: &'a Node, key: &str) -> Option<&'a Entry> {
    section
        .entry(key)
        .filter(|entry| !entry.value.kind.is_null())
}
