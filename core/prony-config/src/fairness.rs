//! Fairness: finds what makes numbers less meaningful than they seem.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use prony_diagnostic::Diagnostic;
use serde_json::Value;

use crate::tree::{Kind, Node, Span};
use crate::wording::{list, literal};
use crate::{
    Condition, Engine, MatrixPoint, Measure, Order, Pipeline, PluginKind, Plugins, Work, codes,
};

/// Minimum number of cycles for an interval of the difference to exist.
const MIN_CYCLES: u32 = 6;

/// Maximum number of cycles in a usual comparison whose engines are loaded for each visit.
const USUAL_CYCLES: u32 = 60;
/// Likewise, of engines that stay loaded within a cycle.
const USUAL_RESIDENT_CYCLES: u32 = 30;

/// Cycles that detect a difference of one percent when the cycles of a quiet machine
/// scatter by one percent: n = 12 (scatter / difference)², for a power of 90 % at a
/// two-sided level of 5 %.
const CYCLES_FOR_ONE_PERCENT: f64 = 12.0;

/// Annotation in a plugin's config schema that gives an option its role.
const ROLE: &str = "x-prony-role";
/// Shares of the machine.
const RESOURCES: &str = "resources";

/// Request options allowed in a map with the role `request`, and their roles.
const REQUEST_OPTIONS: [(&str, &str); 13] = [
    ("temperature", SAMPLING),
    ("top_p", SAMPLING),
    ("top_k", SAMPLING),
    ("min_p", SAMPLING),
    ("typical_p", SAMPLING),
    ("seed", SAMPLING),
    ("repeat_penalty", SAMPLING),
    ("repetition_penalty", SAMPLING),
    ("presence_penalty", SAMPLING),
    ("frequency_penalty", SAMPLING),
    ("cache_prompt", CACHE),
    ("max_tokens", LENGTH),
    ("ignore_eos", LENGTH),
];

const SAMPLING: &str = "sampling";
const CACHE: &str = "cache";
const LENGTH: &str = "length";

/// Role of options that select the build of an engine.
const VERSION: &str = "version";

/// Roles whose settings should be equal: code, description, reason.
const ROLES: [(&str, &str, &str, &str); 6] = [
    (
        SAMPLING,
        codes::FAIRNESS_SAMPLING,
        "sampling",
        "different sampling draws different tokens, and takes different time",
    ),
    (
        CACHE,
        codes::FAIRNESS_CACHE,
        "prefix cache",
        "an engine that answers repeated prompts from its cache does less work",
    ),
    (
        "context",
        codes::FAIRNESS_CONTEXT,
        "context length",
        "memory and the time of a token depend on it",
    ),
    (
        "quantisation",
        codes::FAIRNESS_QUANTISATION,
        "quantisation",
        "fewer bits are faster, and another model",
    ),
    (
        RESOURCES,
        codes::FAIRNESS_RESOURCES,
        "resource",
        "an engine with more of the machine is faster for that reason",
    ),
    (
        LENGTH,
        codes::FAIRNESS_LENGTH,
        "output length",
        "outputs of different length are different work",
    ),
];

/// Finds everything unfair about a pipeline. `root` supplies the places.
pub(crate) fn lint(pipeline: &Pipeline, root: &Node, plugins: &dyn Plugins) -> Vec<Diagnostic> {
    let Some(first) = pipeline.points.first() else {
        return Vec::new();
    };
    let lint = |point| Lint {
        pipeline,
        point,
        root,
    };
    let several = pipeline.engines.len() > 1;
    let mut out = Vec::new();
    if several {
        let lint = lint(first);
        out.extend(
            [
                lint.few_cycles(),
                lint.small_margin(),
                lint.sequential(),
                lint.no_baseline(),
            ]
            .into_iter()
            .flatten(),
        );
        out.extend(lint.unpinned());
        out.extend(lint.conditions());
    }
    // Problems of matrix points: each place once, with the first matrix point affected.
    let mut found: Vec<(Diagnostic, &MatrixPoint, usize)> = Vec::new();
    for point in &pipeline.points {
        let lint = lint(point);
        let mut problems: Vec<Diagnostic> = lint.no_warmup().into_iter().collect();
        if several {
            problems.extend(lint.temperature());
            problems.extend(lint.same_engines());
            problems.extend(lint.cache_state());
            let engines = lint.roles(plugins);
            problems.extend(lint.settings(&engines));
            problems.extend(lint.unpinned_engines(&engines));
            problems.extend(lint.unpinned_anchors(&engines));
        }
        for problem in problems {
            let place = |p: &Diagnostic| p.primary.as_ref().map(|label| label.span.clone());
            let same = |(other, ..): &&mut (Diagnostic, &MatrixPoint, usize)| {
                other.code == problem.code && place(other) == place(&problem)
            };
            match found.iter_mut().find(same) {
                Some((.., points)) => *points += 1,
                None => found.push((problem, point, 1)),
            }
        }
    }
    out.extend(found.into_iter().map(|(problem, point, points)| {
        if points < pipeline.points.len() {
            problem.note(format!(
                "in the matrix point {}",
                literal(point.id.as_deref().unwrap_or_default())
            ))
        } else {
            problem
        }
    }));
    out
}

struct Lint<'a> {
    pipeline: &'a Pipeline,
    point: &'a MatrixPoint,
    root: &'a Node,
}

impl Lint<'_> {
    /// The place of the value at a JSON pointer if it is given, else of the key
    /// `otherwise`.
    fn place(&self, pointer: &str, otherwise: &str) -> Span {
        let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
        let given = self.root.at(parent).node.at_key(key);
        given.unwrap_or_else(|| self.root.at(otherwise).name_span())
    }

    /// Finds a measurement that follows no other request since the engine was loaded.
    fn no_warmup(&self) -> Option<Diagnostic> {
        let (measure, warmups) = self.cold()?;
        let stages = self.root.at("/stages");
        let entries = |kind: &'static str| {
            let items = stages.node.items().iter();
            items.filter_map(move |item| item.entry(kind))
        };
        let problem = Diagnostic::warning(codes::FAIRNESS_NO_WARMUP, "there is no warm-up");
        let useless = entries("warmup")
            .nth(warmups.start)
            .filter(|_| !warmups.is_empty());
        let condition = useless.and_then(|entry| entry.value.entry("if"));
        let requests = useless.and_then(|entry| entry.value.entry("requests"));
        let never = self.never(warmups.start);
        let problem = if let Some(condition) = condition.filter(|_| never) {
            problem
                .at(condition.value.span.clone(), "it never runs")
                .help("remove its `if`")
        } else if let Some(requests) = requests {
            problem
                .at(requests.value.span.clone(), "no request is sent")
                .help("let it send a few requests; 3 are the default")
        } else if entries("warmup").next().is_some() {
            let place = entries("measure").nth(measure);
            let place = place.map_or_else(|| stages.name_span(), |entry| entry.key_span.clone());
            problem
                .at(place, "the first since the engine was loaded")
                .help("put a `warmup` before it")
        } else {
            problem
                .at(stages.name_span(), "no `warmup` stage")
                .help("add `- warmup: {}` before `measure`, for 3 requests that are not measured")
        };
        Some(problem.note("the first measured requests pay for cold caches and lazy work"))
    }

    /// The first measurement without a warm-up before it, and the warm-ups before it that
    /// send nothing, both as indices over all stages, from 0.
    fn cold(&self) -> Option<(usize, Range<usize>)> {
        let never = Condition::Is(false);
        let (mut measures, mut warmups) = (0, 0);
        for part in &self.point.segments {
            let first = warmups;
            let mut is_cold = true;
            for work in &part.work {
                match work {
                    Work::Warmup(warmup) => {
                        is_cold &= warmup.requests == 0 || warmup.condition == never;
                        warmups += 1;
                    }
                    Work::Measure(measure) => {
                        if is_cold && measure.condition != never {
                            return Some((measures, first..warmups));
                        }
                        measures += 1;
                    }
                }
            }
        }
        None
    }

    /// Returns `true` if a warm-up, by its index over all stages, never runs.
    fn never(&self, warmup: usize) -> bool {
        let work = self.point.segments.iter().flat_map(|segment| &segment.work);
        let mut warmups = work.filter_map(|work| match work {
            Work::Warmup(warmup) => Some(warmup),
            Work::Measure(_) => None,
        });
        let found = warmups.nth(warmup);
        found.is_some_and(|warmup| warmup.condition == Condition::Is(false))
    }

    fn few_cycles(&self) -> Option<Diagnostic> {
        let cycles = self.pipeline.schedule.cycles.planned();
        let comparisons = self.pipeline.comparisons();
        let is_too_few = comparisons > 0 && self.pipeline.first_winner().is_none();
        is_too_few.then(|| {
            let shared = match comparisons {
                1 => String::new(),
                n => format!(", which {n} comparisons share"),
            };
            let usual = if self.pipeline.schedule.resident {
                USUAL_RESIDENT_CYCLES
            } else {
                USUAL_CYCLES
            };
            Diagnostic::warning(
                codes::FAIRNESS_FEW_CYCLES,
                "the comparison cannot name a winner",
            )
            .at(self.place("/schedule/cycles", "/engines"), count(cycles))
            .note(format!(
                "that all cycles say the same happens by chance more often than the error of 4 percent allows{shared}"
            ))
            .help(format!(
                "set `cycles: {usual}` under `schedule`: a comparison ends when it is decided, which may be in its cycle 9"
            ))
        })
    }

    /// Finds a margin that so few cycles cannot resolve even on a quiet machine.
    fn small_margin(&self) -> Option<Diagnostic> {
        let cycles = self.pipeline.schedule.cycles.planned();
        let margin = self.pipeline.compare.as_ref()?.margin_percent;
        let place = || self.place("/compare/margin_percent", "/engines");
        let problem = |message| Diagnostic::warning(codes::FAIRNESS_MARGIN, message);
        if margin == 0.0 {
            return Some(
                problem("a margin that nothing is equivalent within")
                    .at(place(), "no difference at all")
                    .note("equal engines are then never shown to be equivalent")
                    .help("set the smallest difference that matters to you, such as 2"),
            );
        }
        let needed = (CYCLES_FOR_ONE_PERCENT / (margin * margin)).ceil();
        (cycles >= MIN_CYCLES && f64::from(cycles) < needed).then(|| {
            problem("too few cycles for the margin")
                .at(place(), format!("{margin} percent"))
                .note(format!(
                    "where cycles scatter by 1 percent, which is a quiet machine, that takes {needed} cycles; the schedule has {cycles}"
                ))
                .help("set more `cycles` under `schedule`, or a wider margin")
        })
    }

    fn sequential(&self) -> Option<Diagnostic> {
        (self.pipeline.schedule.order == Order::Sequential).then(|| {
            Diagnostic::warning(
                codes::FAIRNESS_SEQUENTIAL,
                "engines are compared in sequential order",
            )
            .at(
                self.place("/schedule/order", "/schedule"),
                "the same engine always goes first",
            )
            .note("what drifts during a run, such as temperature, counts for one engine only")
            .help("use `order: interleaved`")
        })
    }

    fn temperature(&self) -> Option<Diagnostic> {
        let workload = &self.point.workload;
        let temperature = workload.temperature;
        (temperature > 0.0 && !workload.ignore_eos).then(|| {
            Diagnostic::warning(
                codes::FAIRNESS_TEMPERATURE,
                "engines are compared with a temperature above 0",
            )
            .at(
                self.place("/workload/temperature", "/workload"),
                format!("the temperature is {temperature}"),
            )
            .note(
                "answers differ in length and content; only the tokens that both have are compared",
            )
            .help("set `temperature: 0`, or `ignore_eos: true` for outputs of one length")
        })
    }

    fn no_baseline(&self) -> Option<Diagnostic> {
        let compare = self.root.at("/compare");
        let given = self
            .root
            .entry("compare")
            .and_then(|compare| compare.value.entry("baseline"));
        if given.is_some() {
            return None;
        }
        let first = self.pipeline.engines.first()?;
        let place = match self.root.entry("compare") {
            Some(_) => compare.name_span(),
            None => self.root.at("/engines").name_span(),
        };
        Some(
            Diagnostic::warning(
                codes::FAIRNESS_BASELINE,
                "the comparison does not say what it compares with",
            )
            .at(
                place,
                format!("taken to be {}, the first", literal(&first.name)),
            )
            .note("which engine is the baseline decides how every difference reads")
            .help(match self.root.entry("compare") {
                Some(_) => format!("add `baseline: {}` to `compare`", first.name),
                None => format!("add `compare: {{ baseline: {} }}`", first.name),
            }),
        )
    }

    /// Finds a measurement that repeats prompts without stating whether a cache may
    /// answer them.
    fn cache_state(&self) -> Option<Diagnostic> {
        let workload = &self.point.workload;
        // A dataset states itself whether it repeats.
        let contents = workload.prompt_count()?.max(1) as usize * workload.images.len().max(1);
        let never = Condition::Is(false);
        let repeats = |measure: &&Measure| {
            measure.cache.is_none()
                && measure.condition != never
                && measure.requests as usize > contents
        };
        let nth = self.point.measures().position(|it| repeats(&it))?;
        let requests = self.point.measures().nth(nth)?.requests;
        let stages = self.root.at("/stages");
        let entries = stages.node.items().iter();
        let mut entries = entries.filter_map(|item| item.entry("measure"));
        let place = entries.nth(nth);
        let place = place.map_or_else(|| stages.name_span(), |entry| entry.key_span.clone());
        // Later turns of a conversation do not repeat it, though they begin with it.
        let (repeat, different) = match workload.dataset {
            Some(_) => ("may repeat", "conversations"),
            None => ("repeat", "different"),
        };
        Some(
            Diagnostic::warning(
                codes::FAIRNESS_CACHE_STATE,
                format!("prompts {repeat} and no state of the prefix cache is stated"),
            )
            .at(
                place,
                format!("{requests} requests, {contents} {different}"),
            )
            .note("an engine that answers a repeated prompt from its cache does less work than one that computes it")
            .help("say which state is measured: `cache: cold` or `cache: warm`; prony then verifies it"),
        )
    }

    /// Finds two engines that are the same plugin with the same options.
    fn same_engines(&self) -> Option<Diagnostic> {
        let engines = &self.point.engines;
        for (index, engine) in engines.iter().enumerate() {
            let same =
                |other: &&Engine| other.plugin == engine.plugin && other.config == engine.config;
            if let Some(first) = engines[..index].iter().find(same) {
                let key = |name: &str| self.engine(name).name_span();
                return Some(
                    Diagnostic::warning(codes::FAIRNESS_SAME, "an engine is compared with itself")
                        .at(
                            key(&engine.name),
                            format!("the same as {}", literal(&first.name)),
                        )
                        .and(key(&first.name), "plugin and options are equal")
                        .help("give one of them other options, or remove it"),
                );
            }
        }
        None
    }

    fn engine(&self, name: &str) -> crate::tree::Found<'_> {
        let pointer = name.replace('~', "~0").replace('/', "~1");
        self.root.at(&format!("/engines/{pointer}"))
    }

    /// Finds models that may change from one day to another.
    fn unpinned(&self) -> Option<Diagnostic> {
        let several = self.root.entry("models").map(|models| models.value.items());
        let one = self.root.entry("model").map(|model| &model.value);
        let nodes: Vec<&Node> = several.unwrap_or_default().iter().chain(one).collect();
        let loose: Vec<&&Node> = nodes
            .iter()
            .filter(|node| {
                let off = node
                    .entry("enabled")
                    .is_some_and(|e| matches!(e.value.kind, Kind::Bool(false)));
                node.entry("path").is_some()
                    && !off
                    && node.entry("sha256").is_none()
                    && node.entry("revision").is_none()
            })
            .collect();
        let first = loose.first()?;
        let label = match loose.len() {
            1 => "nothing says which weights these are".to_owned(),
            n => format!(
                "nothing says which weights these are, nor those of {} more",
                n - 1
            ),
        };
        Some(
            Diagnostic::warning(codes::FAIRNESS_UNPINNED, "the model is not pinned")
                .at(first.at_key("path").unwrap_or_else(|| first.span.clone()), label)
                .note("a run on another day or machine may then measure another model")
                .help("add its `sha256` (`sha256sum FILE` prints it), or the `revision` of the folder"),
        )
    }

    /// Finds stages that run for some engines only.
    fn conditions(&self) -> Vec<Diagnostic> {
        let stages = self.root.at("/stages").node.items();
        let conditions = stages.iter().filter_map(|item| match item.entries() {
            [stage] if stage.key == "measure" || stage.key == "warmup" => {
                Some((stage, stage.value.entry("if")?))
            }
            _ => None,
        });
        let of_engine =
            conditions.filter(|(_, condition)| condition.value.text().is_some_and(names_engine));
        of_engine
            .map(|(stage, condition)| {
                Diagnostic::warning(
                    codes::FAIRNESS_CONDITION,
                    "engines do not go through the same stages",
                )
                .at(condition.value.span.clone(), "depends on the engine")
                .note(format!(
                    "{} then runs for some engines only",
                    literal(&stage.key)
                ))
                .help("let all engines do the same, or compare in two pipelines")
            })
            .collect()
    }

    /// The engines with their options by role.
    fn roles(&self, plugins: &dyn Plugins) -> Vec<(&Engine, Roles)> {
        self.point
            .engines
            .iter()
            .filter_map(|engine| {
                let schema = plugins.config_schema(PluginKind::Engine, &engine.plugin)?;
                let mut roles = Roles::new();
                gather(
                    &schema,
                    &schema,
                    &Value::Object(engine.config.clone()),
                    &mut String::new(),
                    &mut roles,
                    0,
                );
                Some((engine, roles))
            })
            .collect()
    }

    /// Finds engines whose build may change from one day to another, although their
    /// plugins can pin it.
    fn unpinned_engines(&self, engines: &[(&Engine, Roles)]) -> Vec<Diagnostic> {
        let unpinned = |(engine, roles): &(&Engine, Roles)| {
            let versions = roles.get(VERSION)?;
            let option = versions.keys().next()?;
            if versions.values().any(|(_, value)| !value.is_null()) {
                return None;
            }
            let message = format!("the engine {} is not pinned", literal(&engine.name));
            Some(
                Diagnostic::warning(codes::FAIRNESS_ENGINE_VERSION, message)
                    .at(
                        self.engine(&engine.name).name_span(),
                        "nothing says which version this is",
                    )
                    .note("a run on another day or machine may then measure another build")
                    .help(format!(
                        "set {} in its `config` to the version that you mean",
                        literal(option)
                    )),
            )
        };
        engines.iter().filter_map(unpinned).collect()
    }

    /// Finds anchors of a history whose build nothing pins.
    fn unpinned_anchors(&self, engines: &[(&Engine, Roles)]) -> Vec<Diagnostic> {
        let unpinned = |(engine, roles): &(&Engine, Roles)| {
            let part = engine.history.as_ref().filter(|part| part.anchor)?;
            let versions = roles.get(VERSION);
            let is_pinned = part.version.is_some()
                || part.sha256.is_some()
                || versions.is_some_and(|it| it.values().any(|(_, value)| !value.is_null()))
                || names_digest(&Value::Object(engine.config.clone()));
            let message = format!("the anchor {} is not pinned", literal(&engine.name));
            (!is_pinned).then(|| {
                let place = self.engine(&engine.name);
                let place = place.node.at_key("history").unwrap_or(place.name_span());
                Diagnostic::warning(codes::FAIRNESS_ANCHOR, message)
                    .at(place, "nothing says which build this is")
                    .note("if its build changes, every run after that looks like a change of all other engines")
                    .help("give the `version` or the `sha256` of its program under `history`, or an image by its digest")
            })
        };
        engines.iter().filter_map(unpinned).collect()
    }

    /// Finds options of the same role that differ between engines.
    fn settings(&self, engines: &[(&Engine, Roles)]) -> Vec<Diagnostic> {
        let mut out = Vec::new();
        for (role, code, what, why) in ROLES {
            let with: Vec<_> = engines
                .iter()
                .filter_map(|(engine, roles)| Some((*engine, roles.get(role)?)))
                .collect();
            let Some(((first, settings), others)) = with.split_first() else {
                continue;
            };
            let different = others.iter().find_map(|(other, theirs)| {
                let names = differing((first, settings), (other, theirs), role);
                (!names.is_empty()).then_some((*other, *theirs, names))
            });
            let Some((other, theirs, names)) = different else {
                continue;
            };
            let place = |engine: &Engine, settings: &Settings| {
                let found = self.engine(&engine.name);
                let Some(config) = found.node.entry("config") else {
                    return found.name_span();
                };
                let given = names.iter().find_map(|name| {
                    let (pointer, _) = settings.get(*name)?;
                    let (above, key) = pointer.rsplit_once('/')?;
                    let above = config.value.at(above).node;
                    above.entry(&key.replace("~1", "/").replace("~0", "~"))
                });
                given.map_or_else(|| config.key_span.clone(), |entry| entry.key_span.clone())
            };
            let label = |engine: &Engine, settings: &Settings| {
                format!("{}: {}", literal(&engine.name), words(settings, &names))
            };
            out.push(
                Diagnostic::warning(code, format!("engines are compared with different {what} settings"))
                    .at(place(other, theirs), label(other, theirs))
                    .and(place(first, settings), label(first, settings))
                    .note(why)
                    .help(format!(
                        "{}; if the difference is what you measure, say so: `allow: [{{ code: {code}, reason: … }}]`",
                        cure(role, [(first, settings), (other, theirs)], &names)
                    )),
            );
        }
        out
    }
}

/// Option name to its pointer in the config and its value.
type Settings = BTreeMap<String, (String, Value)>;
type Roles = BTreeMap<String, Settings>;

/// Names of the options that differ in a `role`.
fn differing<'s>(
    (first, one): (&Engine, &'s Settings),
    (second, other): (&Engine, &'s Settings),
    role: &str,
) -> Vec<&'s str> {
    let all: BTreeSet<&str> = one.keys().chain(other.keys()).map(String::as_str).collect();
    // A share of the machine that is not set is as good as one that an engine does not have, and
    // so is the default of an option that the other does not have.
    let value = |engine: &Engine, settings: &'s Settings, name: &str| {
        let (pointer, value) = settings.get(name)?;
        let is_known = one.contains_key(name) && other.contains_key(name);
        let is_share = !value.is_null() && (is_known || is_given(engine, pointer));
        (role != RESOURCES || is_share).then_some(value)
    };
    let differs = |name: &&str| value(first, one, name) != value(second, other, name);
    // The same option, however each engine calls it.
    if let ([(_, (_, of_one))], [(_, (_, of_other))]) = (
        one.iter().collect::<Vec<_>>().as_slice(),
        other.iter().collect::<Vec<_>>().as_slice(),
    ) && of_one == of_other
    {
        return Vec::new();
    }
    all.into_iter().filter(differs).collect()
}

/// Returns `true` if the option at `pointer` of an engine's config is given.
fn is_given(engine: &Engine, pointer: &str) -> bool {
    Value::Object(engine.config.clone())
        .pointer(pointer)
        .is_some()
}

/// The way to equal settings, in words. An engine may have no such option.
fn cure(role: &str, engines: [(&Engine, &Settings); 2], names: &[&str]) -> String {
    if role == CACHE {
        return "make them equal; where an engine cannot, `cache: cold` in each `measure` gives none a prompt that its cache knows".to_owned();
    }
    let lacks = |(_, settings): &(&Engine, &Settings)| {
        !names.iter().any(|name| settings.contains_key(*name))
    };
    match engines.into_iter().find(lacks) {
        Some((engine, _)) if role == RESOURCES => format!(
            "make them equal; {} has no such option, so give it the same by its own `arguments` or `env`",
            literal(&engine.name)
        ),
        _ => "make them equal".to_owned(),
    }
}

/// Describes an engine's values of some options.
fn words(settings: &Settings, names: &[&str]) -> String {
    let given = names
        .iter()
        .filter_map(|name| Some((name, &settings.get(*name)?.1)));
    let given: Vec<_> = given.collect();
    if given.is_empty() {
        return "not set".to_owned();
    }
    if given.iter().all(|(_, value)| value.is_null()) {
        return "as the engine has it".to_owned();
    }
    let said = given
        .iter()
        .map(|(name, value)| format!("{name} = {value}"));
    let said: Vec<String> = said.collect();
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    list(&said)
}

/// Returns `true` if a text in a config names an image by its digest.
fn names_digest(config: &Value) -> bool {
    const DIGITS: usize = 64;
    match config {
        Value::String(text) => text.split("@sha256:").skip(1).any(|rest| {
            let digits = rest.chars().take_while(char::is_ascii_hexdigit);
            digits.count() == DIGITS
        }),
        Value::Array(items) => items.iter().any(names_digest),
        Value::Object(entries) => entries.values().any(names_digest),
        _ => false,
    }
}

/// The options of an engine's config that have a role, as JSON pointers into the config.
pub fn options_of(
    config: &Value,
    role: &str,
    plugin: &str,
    plugins: &dyn Plugins,
) -> Option<Vec<String>> {
    let schema = plugins.config_schema(PluginKind::Engine, plugin)?;
    Some(marked(&schema, config, role))
}

/// Returns `true` if an expression names the visited engine, rather than something else
/// whose name contains `engine`.
fn names_engine(text: &str) -> bool {
    const NAME: &str = "engine";
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    text.match_indices(NAME).any(|(at, _)| {
        !text[..at].ends_with(is_word) && text[at + NAME.len()..].trim_start().starts_with('.')
    })
}

/// The option of an engine with a role, as the path of its keys in `config`, and its value or
/// default. The first, if several options have the role.
pub(crate) fn option_of(
    engine: &Engine,
    role: &str,
    plugins: &dyn Plugins,
) -> Option<(Vec<String>, Value)> {
    let schema = plugins.config_schema(PluginKind::Engine, &engine.plugin)?;
    let config = Value::Object(engine.config.clone());
    let mut roles = Roles::new();
    gather(&schema, &schema, &config, &mut String::new(), &mut roles, 0);
    let (pointer, value) = roles.get(role)?.values().next()?;
    let keys = pointer.split('/').skip(1);
    let keys = keys.map(|key| key.replace("~1", "/").replace("~0", "~"));
    Some((keys.collect(), value.clone()))
}

/// The options of a config that its plugin's schema marks with a role, as JSON pointers into
/// the config.
pub(crate) fn marked(schema: &Value, config: &Value, role: &str) -> Vec<String> {
    let mut roles = Roles::new();
    gather(schema, schema, config, &mut String::new(), &mut roles, 0);
    let marked = roles.remove(role).unwrap_or_default();
    marked.into_values().map(|(pointer, _)| pointer).collect()
}

/// Collects the options of a config that its schema gives a role. An unset option has its
/// default; without one it is `null`: the engine decides.
fn gather(
    root: &Value,
    schema: &Value,
    config: &Value,
    pointer: &mut String,
    roles: &mut Roles,
    depth: usize,
) {
    const DEEPEST: usize = 16;
    if depth > DEEPEST {
        return;
    }
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => match reference.strip_prefix('#').and_then(|at| root.pointer(at)) {
            Some(target) => target,
            None => return,
        },
        None => schema,
    };
    for branches in ["allOf", "anyOf", "oneOf"] {
        for branch in schema
            .get(branches)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            gather(root, branch, config, pointer, roles, depth + 1);
        }
    }
    for (name, option) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        let given = config.get(name);
        match option.get(ROLE).and_then(Value::as_str) {
            Some("request") => {
                for role in [SAMPLING, CACHE, LENGTH] {
                    roles.entry(role.to_owned()).or_default();
                }
                for (key, value) in given.and_then(Value::as_object).into_iter().flatten() {
                    if let Some((_, role)) = REQUEST_OPTIONS.iter().find(|(name, _)| name == key) {
                        let place = (format!("{pointer}/{key}"), value.clone());
                        roles
                            .entry((*role).to_owned())
                            .or_default()
                            .insert(key.clone(), place);
                    }
                }
            }
            Some(role) => {
                let value = given
                    .or_else(|| option.get("default"))
                    .cloned()
                    .unwrap_or(Value::Null);
                roles
                    .entry(role.to_owned())
                    .or_default()
                    .insert(name.clone(), (pointer.clone(), value));
            }
            None => {
                // Options below an unset option have defaults too, but a recursive schema
                // must end.
                let (below, depth) = match given.or_else(|| option.get("default")) {
                    Some(given) => (given, depth + 1),
                    None => (&Value::Null, depth + DEEPEST / 4),
                };
                gather(root, option, below, pointer, roles, depth);
            }
        }
        pointer.truncate(length);
    }
}

fn count(cycles: u32) -> String {
    match cycles {
        1 => "1 cycle".to_owned(),
        n => format!("{n} cycles"),
    }
}
