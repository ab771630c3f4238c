//! The way from text to pipeline.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use prony_diagnostic::{Diagnostic, Source};
use serde_json::Map;

use crate::file::{Allow, File, Stage};
use crate::inputs::{Inputs, Unreadable};
use crate::meaning::{self, Combination};
use crate::merge::{Merged, Removed};
use crate::named::Named;
use crate::plugins::own_name;
use crate::schema::{
    Checker, Settled, Uneven, ask_plugins, check_plugins, flatten, keys, settle, strict,
};
use crate::secrets::{Gathered, MAX_SECRETS, Secrets, check_names, in_texts};
use crate::template::{self, Filled};
use crate::text::Texts;
use crate::tree::{Found, Node, Span};
use crate::wording::{self, literal};
use crate::{
    Pipeline, Plugins, blanks, codes, edits, fairness, foreign, merge, refused, resolve, schedule,
    yaml,
};

/// The most diagnostics of one run: a file with more is not the file meant.
const MAX_DIAGNOSTICS: usize = 50;

/// A pipeline and what is to be said about it.
#[derive(Debug)]
pub struct Loaded {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Warnings, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// Warnings that the pipeline allows: code, and the reason given.
    pub allowed: Vec<(String, String)>,
}

/// Checks the text of a pipeline file that stands alone and reads it.
///
/// `name` is what diagnostics call the file. On success the diagnostics are
/// warnings; on failure at least one of them is an error. They come in the
/// order of the file.
pub fn load(
    name: &str,
    text: &str,
    plugins: &dyn Plugins,
) -> Result<(Pipeline, Vec<Diagnostic>), Vec<Diagnostic>> {
    load_all(&Inputs::one(name, text, plugins)).map(|loaded| (loaded.pipeline, loaded.warnings))
}

/// As [`load`], with overlays, settings, variables, and files that others extend.
pub fn load_all(inputs: &Inputs<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    let (checked, diagnostics) = told(inputs);
    match checked.pipeline {
        Some(pipeline) => Ok(Loaded {
            pipeline,
            warnings: diagnostics,
            allowed: checked.allowed,
        }),
        None => Err(diagnostics),
    }
}

/// As [`load_all`], for the diagnostics alone: the warnings about a valid pipeline. With
/// [`assume_env`](Inputs::assume_env) what depends on variables that are not set is skipped.
pub fn check_all(inputs: &Inputs<'_>) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let (checked, diagnostics) = told(inputs);
    if checked.pipeline.is_some() || checked.is_assumed {
        Ok(diagnostics)
    } else {
        Err(diagnostics)
    }
}

/// The outcome of a check, and its diagnostics as they are shown.
fn told(inputs: &Inputs<'_>) -> (Checked, Vec<Diagnostic>) {
    let mut texts = Texts::default();
    let mut checked = check(inputs, &mut texts);
    let is_valid = checked.pipeline.is_some() || checked.is_assumed;
    for diagnostic in &mut checked.problems {
        texts.place(diagnostic);
    }
    if !is_valid {
        let is_valid = |tried: &Inputs<'_>| check(tried, &mut Texts::default()).pipeline.is_some();
        edits::keep_sound(inputs, &mut checked.problems, &is_valid);
    }
    let mut diagnostics = tidy(std::mem::take(&mut checked.problems), &texts);
    diagnostics.iter_mut().for_each(blanks::name);
    if !is_valid && let (Some(first), Some(name)) = (diagnostics.first_mut(), overlay(inputs)) {
        first.notes.push(format!(
            "what is laid over a pipeline is checked with it: `prony validate PIPELINE -f {name}`"
        ));
    }
    let secrets = checked.secrets.take().unwrap_or_else(|| in_texts(&texts));
    for diagnostic in &mut diagnostics {
        mask(diagnostic, &secrets);
    }
    if let Some(pipeline) = &mut checked.pipeline {
        pipeline.secrets = secrets;
    }
    (checked, diagnostics)
}

/// The name of a file that stands alone and has nothing of what every pipeline has.
fn overlay<'a>(inputs: &'a Inputs<'_>) -> Option<&'a str> {
    const ALWAYS: [&str; 3] = ["version", "stages", "extends"];
    let [(name, text)] = inputs.files.as_slice() else {
        return None;
    };
    let root = yaml::parse(text).ok()?;
    let known = keys();
    let is_part = |key: &str| known.contains(&key) && !ALWAYS.contains(&key);
    let entries = root.entries();
    let is_overlay = !entries.is_empty() && entries.iter().all(|entry| is_part(&entry.key));
    (is_overlay && !inputs.is_layered()).then_some(name)
}

/// For the caller that does the reading: a file that cannot be read.
pub fn unreadable(name: &str, problem: &Unreadable) -> Diagnostic {
    let Unreadable { reason, help } = problem;
    Diagnostic::error(codes::UNREADABLE, format!("cannot read the file: {reason}"))
        .help(help.as_deref().unwrap_or(Unreadable::HELP))
        .in_file(&Arc::new(Source::new(name, "")))
}

/// Outcome of a check: a pipeline, unless there are errors.
#[derive(Default)]
struct Checked {
    pipeline: Option<Pipeline>,
    problems: Vec<Diagnostic>,
    allowed: Vec<(String, String)>,
    /// The secrets, unless there is no document to find them in.
    secrets: Option<Secrets>,
    /// `true` if it is valid as far as it is known, and no pipeline can be made without the
    /// values that are assumed.
    is_assumed: bool,
}

fn check(inputs: &Inputs<'_>, texts: &mut Texts) -> Checked {
    let failed = |problems| Checked {
        problems,
        ..Checked::default()
    };
    let Merged { root, removed } = match merge::merge(inputs, texts) {
        Ok(merged) => merged,
        Err(problems) => return failed(problems),
    };
    if let Some(problem) = foreign::recognise(&root, inputs.tools) {
        return failed(vec![problem]);
    }
    let checker = match &*CHECKER {
        Ok(checker) => checker,
        Err(reason) => return failed(vec![Diagnostic::error(codes::SCHEMA, reason)]),
    };
    let mut filled = template::fill(texts, &root, inputs);
    let settled = settle(&mut filled.raw, texts, inputs.plugins);
    filled.root = filled.raw.clone();
    flatten(&mut filled.root, &settled.lists);
    let mut gathered = Gathered::new(&filled, inputs.plugins);
    let layers = Layers {
        removed: &removed,
        settled,
    };
    let found = check_filled(inputs, texts, checker, layers, &mut filled, &mut gathered);
    Checked {
        secrets: Some(gathered.secrets()),
        ..found
    }
}

/// Origin of a document.
struct Layers<'a> {
    removed: &'a [Removed],
    settled: Settled,
}

/// Checks a document whose templates have values, as far as these are known.
fn check_filled(
    inputs: &Inputs<'_>,
    texts: &Texts,
    checker: &Checker<'_>,
    Layers { removed, settled }: Layers<'_>,
    filled: &mut Filled,
    gathered: &mut Gathered,
) -> Checked {
    let failed = |problems| Checked {
        problems,
        ..Checked::default()
    };
    let mut problems = std::mem::take(&mut filled.problems);
    if gathered.is_too_much() {
        let (most, bytes) = MAX_SECRETS;
        let problem = Diagnostic::error(codes::BUDGET, "the pipeline has too many secrets");
        let limit = format!("{most} are allowed, of {} KiB together", bytes >> 10);
        problems.push(problem.note(limit).help("use fewer, or several pipelines"));
    }
    problems.extend(checked(
        &filled.root,
        checker,
        settled.problems,
        inputs.plugins,
    ));
    let layered = inputs.is_layered() || texts.sources().count() > 1 + inputs.var.len();
    problems.extend(meaning::check(filled, inputs.plugins, layered));
    let has_secrets = filled.env().next().is_some();
    for problem in &mut problems {
        Merged::blame(removed, &filled.root, problem);
        edit_no_template(problem, texts, has_secrets);
    }
    // A name that is misspelt where it is used, or stands outside of a template, is
    // not unused as well.
    let names_nothing = |problem: &Diagnostic| {
        let suggested = problem.suggestion.as_ref();
        problem.code == codes::TEMPLATE_NAME
            || suggested.is_some_and(|s| template::is_template(&s.replacement))
    };
    if problems.iter().any(names_nothing) {
        problems.retain(|problem| problem.code != codes::UNUSED_VARIABLE);
    }
    if problems.iter().any(Diagnostic::is_error) {
        follow_no_errors(&mut problems);
        return failed(problems);
    }
    if !filled.has_points {
        let samples = filled.samples(&Map::new());
        let asked = &mut HashMap::new();
        problems.extend(ask_plugins(&filled.root, &samples, inputs.plugins, asked));
        if problems.iter().any(Diagnostic::is_error) {
            return failed(problems);
        }
    }
    let mut named = Named::default();
    let points = points(filled, texts, checker, inputs.plugins, gathered, &mut named);
    let (points, lists) = match points {
        Ok((points, lists)) => (points, lists.unwrap_or(settled.lists)),
        Err(found) if found.is_empty() => {
            return Checked {
                is_assumed: true,
                ..failed(problems)
            };
        }
        Err(found) => {
            problems.extend(found);
            return failed(problems);
        }
    };
    if filled.has_points {
        let stages: Vec<&[Stage]> = points.iter().map(|(_, file)| &*file.stages).collect();
        problems.extend(meaning::unreachable_in_points(&filled.root, &stages));
        if problems.iter().any(Diagnostic::is_error) {
            return failed(problems);
        }
    }
    let masked = check_names(&filled.root, &points, &gathered.secrets());
    if !masked.is_empty() {
        problems.extend(masked);
        return failed(problems);
    }
    let Some((_, written)) = points.first().cloned() else {
        return failed(problems);
    };
    let allow = written.allow.clone();
    filled.literals = gathered.literals();
    problems.append(&mut gathered.problems);
    filled.lists = lists;
    let pipeline = resolve::pipeline(written, points, filled);
    let impossible = schedule::check(&pipeline, &filled.root);
    if !impossible.is_empty() {
        problems.extend(impossible);
        return failed(problems);
    }
    let refused = refused::problems(&pipeline, filled, inputs.plugins);
    if !refused.is_empty() {
        problems.extend(refused);
        return failed(problems);
    }
    if !inputs.assume_env && pipeline.setup.before.is_empty() && pipeline.setup.after.is_empty() {
        let missing = named.problems(inputs);
        let is_fatal = missing.iter().any(Diagnostic::is_error);
        problems.extend(missing);
        if is_fatal {
            return failed(problems);
        }
    }
    let unfair = fairness::lint(&pipeline, &filled.root, inputs.plugins);
    // A warm-up that never runs is told once, by what comes of it.
    let place = |problem: &Diagnostic| problem.primary.as_ref().map(|label| label.span.clone());
    let is_told = |problem: &Diagnostic| {
        let cold = |other: &Diagnostic| {
            other.code == codes::FAIRNESS_NO_WARMUP && place(other) == place(problem)
        };
        problem.code == codes::UNREACHABLE && unfair.iter().any(cold)
    };
    problems.retain(|problem| !is_told(problem));
    problems.extend(unfair);
    let allowed = allowed(&allow, &filled.root, &mut problems);
    Checked {
        pipeline: Some(pipeline),
        problems,
        allowed,
        secrets: None,
        is_assumed: false,
    }
}

static CHECKER: LazyLock<Result<Checker<'static>, String>> =
    LazyLock::new(|| Checker::new(strict()));

/// Problems of a settled document by the schemas. Of two about one value the schema's is told,
/// unless it is that a number is none.
fn checked(
    root: &Node,
    checker: &Checker<'_>,
    changed: Vec<Diagnostic>,
    plugins: &dyn Plugins,
) -> Vec<Diagnostic> {
    let mut problems = checker.check(&Found::root(root));
    problems.extend(check_plugins(root, plugins));
    let place = |problem: &Diagnostic| problem.primary.as_ref().map(|label| label.span.clone());
    for number in changed {
        let is_here = |problem: &Diagnostic| place(problem) == place(&number);
        problems.retain(|problem| !(problem.code == codes::WRONG_TYPE && is_here(problem)));
        if !problems.iter().any(is_here) {
            problems.push(number);
        }
    }
    problems
}

/// The matrix points with their documents.
type Points = Vec<(Combination, File)>;

/// The documents of all matrix points, or what is wrong with the values of some: nothing, if one
/// cannot be read for values that are assumed. Then the lists
/// of the first one whose items were left out or spliced in, if it has a document of its own.
/// `named` gets the files that they name.
fn points(
    filled: &Filled,
    texts: &Texts,
    checker: &Checker<'_>,
    plugins: &dyn Plugins,
    gathered: &mut Gathered,
    named: &mut Named,
) -> Result<(Points, Option<Vec<Uneven>>), Vec<Diagnostic>> {
    let combinations = meaning::combinations(&filled.root);
    let has_secrets = filled.env().next().is_some();
    let mut points = Vec::with_capacity(combinations.len());
    let mut problems: Vec<Diagnostic> = Vec::new();
    let mut lists = None;
    let mut asked = HashMap::new();
    for combination in combinations {
        let file = if filled.has_points {
            let (mut root, mut found) = filled.point(texts, &combination.values);
            let settled = settle(&mut root, texts, plugins);
            gathered.point(filled, &root, &combination.values, plugins);
            flatten(&mut root, &settled.lists);
            lists.get_or_insert(settled.lists);
            found.extend(checked(&root, checker, settled.problems, plugins));
            found.extend(meaning::check_point(&root, plugins));
            if found.is_empty() {
                let samples = filled.samples(&combination.values);
                found.extend(ask_plugins(&root, &samples, plugins, &mut asked));
            }
            for mut problem in found {
                edit_no_template(&mut problem, texts, has_secrets);
                let place =
                    |problem: &Diagnostic| problem.primary.as_ref().map(|label| label.span.clone());
                let is_same = |other: &Diagnostic| {
                    other.code == problem.code && place(other) == place(&problem)
                };
                // Each place once, with the first matrix point it is wrong in.
                if !problems.iter().any(is_same) {
                    problems.push(
                        problem.note(format!("in the matrix point {}", literal(&combination.id))),
                    );
                }
            }
            if !problems.is_empty() {
                continue;
            }
            named.add_all(&root, plugins);
            read(&root, filled)
        } else {
            points.first().map_or_else(
                || {
                    named.add_all(&filled.root, plugins);
                    read(&filled.root, filled)
                },
                |(_, first): &(Combination, File)| Ok(first.clone()),
            )
        };
        match file {
            Ok(file) if !has_work(&combination, &file) => {
                let place = filled.root.at("/matrix").name_span();
                problems.push(
                    Diagnostic::error(codes::MATRIX_SIZE, "a matrix point at which nothing runs")
                        .at(
                            place,
                            format!("nothing is left of {}", literal(&combination.id)),
                        )
                        .help("leave out the whole point, or less of it"),
                );
            }
            Ok(file) => points.push((combination, file)),
            // A value that is not known has no type.
            Err(_) if filled.is_assumed() => return Err(problems),
            Err(problem) => return Err(vec![*problem]),
        }
    }
    if problems.is_empty() {
        Ok((points, lists))
    } else {
        Err(problems)
    }
}

/// Returns `true` if an engine runs with a model at this point.
fn has_work(combination: &Combination, file: &File) -> bool {
    let one = file.engine.iter();
    let one = one.map(|engine| own_name(engine.plugin.as_str()));
    let several = file
        .engines
        .iter()
        .flat_map(|engines| engines.iter().map(|(name, _)| name));
    let engines: Vec<&str> = one.chain(several).collect();
    let models = file.model.iter().chain(file.models.iter().flatten());
    models.filter(|model| model.enabled).any(|model| {
        engines
            .iter()
            .any(|engine| combination.runs(engine, &model.id))
    })
}

/// Takes out the warnings about what an error is about: that comes first.
fn follow_no_errors(problems: &mut Vec<Diagnostic>) {
    let place = |problem: &Diagnostic| problem.primary.as_ref().map(|label| label.span.clone());
    let errors = problems.iter().filter(|problem| problem.is_error());
    let wrong: Vec<Span> = errors.filter_map(place).collect();
    let follows = |problem: &Diagnostic| place(problem).is_some_and(|span| wrong.contains(&span));
    problems.retain(|problem| problem.is_error() || !follows(problem));
}

/// Removes the edit of a value that a template gives, since it cannot be made where the
/// template stands, and the expected value where it may tell a secret.
fn edit_no_template(problem: &mut Diagnostic, texts: &Texts, has_secrets: bool) {
    let is_template = |suggestion: &mut prony_diagnostic::Suggestion| {
        let text = texts.get(&suggestion.span);
        // An alias may stand for one.
        template::is_template(text) || text.starts_with('*')
    };
    if let Some(suggestion) = problem.suggestion.take_if(is_template) {
        let words = if has_secrets {
            suggestion.message
        } else {
            suggestion.in_words()
        };
        problem.help.insert(0, words);
    }
}

fn read(root: &Node, filled: &Filled) -> Result<File, Box<Diagnostic>> {
    let value = filled.spelled(root).to_json();
    serde_path_to_error::deserialize(&value).map_err(|error| {
        // The schema comes from the same types, so what it lets through and they do not take is
        // a fault of prony's. The types' own words are not for users.
        let pointer: String = error.path().iter().filter_map(segment).collect();
        let found = root.at(&pointer);
        let problem = Diagnostic::error(codes::SCHEMA, "a value cannot be read");
        Box::new(
            problem
                .at(
                    found.node.span.clone(),
                    format!("found {}", wording::found(found.node)),
                )
                .note("the schema takes it, and prony does not: this is a fault of prony's")
                .help("write the value in another way, without a template"),
        )
    })
}

/// A segment of a path as a part of a JSON pointer.
fn segment(segment: &serde_path_to_error::Segment) -> Option<String> {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Map { key } => Some(format!("/{}", template::escape(key))),
        Segment::Seq { index } => Some(format!("/{index}")),
        Segment::Enum { variant } => Some(format!("/{}", template::escape(variant))),
        Segment::Unknown => None,
    }
}

/// Takes secrets out of a diagnostic and of the lines of the file that it shows.
fn mask(diagnostic: &mut Diagnostic, secrets: &Secrets) {
    if secrets.longest() == 0 {
        return;
    }
    let blank = |source: &mut Arc<Source>| {
        let mut text = source.text.clone().into_bytes();
        // Of the same length, so that places stay where they are.
        if secrets.blank(&mut text) {
            let text = String::from_utf8_lossy(&text).into_owned();
            *source = Arc::new(Source::new(source.name.clone(), text));
        }
    };
    diagnostic.source.iter_mut().for_each(blank);
    let labels = diagnostic
        .primary
        .iter_mut()
        .chain(&mut diagnostic.secondary);
    let labels = labels.map(|label| {
        label.source.iter_mut().for_each(blank);
        &mut label.text
    });
    let suggestion = diagnostic.suggestion.iter_mut().flat_map(|suggestion| {
        suggestion.source.iter_mut().for_each(blank);
        [&mut suggestion.message, &mut suggestion.replacement]
    });
    let texts = labels
        .chain(suggestion)
        .chain(&mut diagnostic.notes)
        .chain(&mut diagnostic.help)
        .chain([&mut diagnostic.message]);
    for text in texts {
        if let Cow::Owned(masked) = secrets.mask(text) {
            *text = masked;
        }
    }
}

/// Takes out the warnings that the pipeline allows, and says which it allows for nothing.
fn allowed(allow: &[Allow], root: &Node, problems: &mut Vec<Diagnostic>) -> Vec<(String, String)> {
    let mut allowed = Vec::new();
    let mut unused = Vec::new();
    for (index, entry) in allow.iter().enumerate() {
        let earlier = allow[..index].iter().any(|other| other.code == entry.code);
        if !earlier && problems.iter().any(|problem| problem.code == entry.code) {
            allowed.push((entry.code.clone(), entry.reason.clone()));
        } else {
            let place = root.at(&format!("/allow/{index}/code")).node.span.clone();
            let message = if earlier {
                format!("the warning {} is allowed twice", literal(&entry.code))
            } else {
                format!(
                    "the warning {} is allowed and does not come up",
                    literal(&entry.code)
                )
            };
            unused.push(
                Diagnostic::warning(codes::UNUSED_ALLOW, message)
                    .at(place, "nothing to allow")
                    .help("remove the entry"),
            );
        }
    }
    problems.retain(|problem| !allow.iter().any(|entry| entry.code == problem.code));
    problems.extend(unused);
    allowed
}

/// In the order of the files, each once, not too many.
pub(crate) fn tidy(mut diagnostics: Vec<Diagnostic>, texts: &Texts) -> Vec<Diagnostic> {
    let order: HashMap<&str, usize> = texts
        .sources()
        .enumerate()
        .map(|(index, source)| (source.name.as_str(), index))
        .collect();
    diagnostics.sort_by_key(|diagnostic| {
        let file = diagnostic
            .source
            .as_ref()
            .and_then(|source| order.get(source.name.as_str()));
        let place = diagnostic.primary.as_ref().map(|label| label.span.start);
        (file.copied(), place)
    });
    diagnostics.dedup();
    let more = diagnostics.len().saturating_sub(MAX_DIAGNOSTICS);
    // An error must not give way to warnings that come before it.
    if more > 0 {
        diagnostics.sort_by_key(|d| !d.is_error());
    }
    diagnostics.truncate(MAX_DIAGNOSTICS);
    if let (Some(last), 1..) = (diagnostics.last_mut(), more) {
        last.notes.push(match more {
            1 => "1 more problem is not shown".to_owned(),
            more => format!("{more} more problems are not shown"),
        });
    }
    diagnostics
}
