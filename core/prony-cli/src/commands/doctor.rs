//! `prony doctor`: starts every engine of a pipeline once and shows what it reports.

use super::run::{Job, load_plugins, stop_on_signal};
use crate::arguments::{Global, Source};
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome, output, pipeline, plugins};
use clap::Args;
use prony_config::{Pipeline, checkup};
use prony_contract::Kind;
use prony_journal::{Event, Journal};
use prony_plan::Plan;
use prony_plugin_host::Registry;
use prony_record::Record;
use prony_result::{EngineResult, Failure as Failed, ModelResult, SettingInForce};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Tokens in a piece of text above which prefill and decode cannot be told apart.
const COARSE: f64 = 1.5;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony doctor pipelines/smollm2.yaml")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Print as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Findings about the engines of a pipeline.
#[derive(Debug, Serialize)]
struct Findings {
    model: String,
    engines: Vec<Finding>,
    /// Obstacles to a fair comparison, each with its cure.
    problems: Vec<String>,
}

/// Findings about an engine.
#[derive(Debug, Default, Serialize)]
struct Finding {
    engine: String,
    /// Reason why it could not be asked; absent if it answered.
    failure: Option<String>,
    /// Name of each question and the answer.
    answers: Vec<(&'static str, String)>,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let registry = plugins::registry(global)?;
    let Some(loaded) = pipeline::open(global, &arguments.source, &registry) else {
        return Ok(Exit::InvalidPipeline);
    };
    let findings = examine(global, &arguments.source, &loaded.pipeline, &registry)?;
    if arguments.json {
        print_json(&findings)?;
    } else {
        output::line(format_args!("{}", findings.table()));
    }
    Ok(findings.exit())
}

/// Examines the engines before a run. Returns `false` if one of them does not answer.
pub(super) fn before_run(
    global: &Global,
    source: &Source,
    given: &Pipeline,
    registry: &Registry,
) -> Result<bool, Failure> {
    let findings = examine(global, source, given, registry)?;
    eprintln!("{}", findings.table());
    Ok(findings.exit() == Exit::Ok)
}

fn examine(
    global: &Global,
    source: &Source,
    given: &Pipeline,
    registry: &Registry,
) -> Result<Findings, Failure> {
    let failure = |message: String| Failure::new(Exit::RunFailed, message);
    let text = serde_yaml::to_string(&checkup(given)).map_err(|it| failure(it.to_string()))?;
    let name = format!("{} (check-up)", source.file.display());
    let layers = crate::arguments::Layers::default();
    let loaded = pipeline::turned(&name, text, &layers, registry).map_err(|diagnostics| {
        pipeline::show(global, &diagnostics);
        failure("the check-up of this pipeline is no valid pipeline; please report it".to_owned())
    })?;
    let pipeline = loaded.pipeline;
    load_plugins(&pipeline, registry)?;
    let results = tempfile::tempdir().map_err(|error| failure(error.to_string()))?;
    let job = Job {
        global,
        registry,
        file: &source.file,
        results: results.path(),
    };
    let folder = job.folder(&pipeline)?;
    let stop = stop_on_signal("a check-up keeps nothing")?;
    let plan = Plan::new(&pipeline);
    let (_, result, _) = job.run(&pipeline, Vec::new(), &plan, &folder, &stop)?;
    let journal = prony_journal::read(&folder.journal())?;
    let model = result.models.first();
    let engines: Vec<Finding> = pipeline
        .engines
        .iter()
        .map(|engine| {
            let install = || install(registry, &engine.plugin);
            finding(&engine.name, model, &journal, install)
        })
        .collect();
    Ok(Findings {
        model: model.map_or_else(String::new, |model| model.id.clone()),
        problems: model.map_or_else(Vec::new, |model| problems(model, &result.warnings)),
        engines,
    })
}

/// Instructions for installing an engine on this system, if its recipe has any.
fn install(registry: &Registry, plugin: &str) -> Option<String> {
    let (entry, _) = registry.find(Kind::Engine, plugin).ok()?;
    let (_, recipe) = entry.recipe.as_ref()?;
    let system = std::env::consts::OS;
    let command = recipe.install.get(system).or(recipe.install.get("any"))?;
    Some(format!("to install it: {command}"))
}

fn finding(
    name: &str,
    model: Option<&ModelResult>,
    journal: &Journal,
    install: impl Fn() -> Option<String>,
) -> Finding {
    let mut finding = Finding {
        engine: name.to_owned(),
        ..Finding::default()
    };
    let engine = model.and_then(|model| model.engines.iter().find(|it| it.engine == name));
    let records = journal.events.iter().filter_map(|event| match event {
        Event::Request(record) if record.id.engine == name => Some(&**record),
        _ => None,
    });
    let records: Vec<&Record> = records.collect();
    let good: Vec<&Record> = records
        .iter()
        .copied()
        .filter(|record| record.ok())
        .collect();
    // A failure without an engine is the model's, such as a file that is not there.
    let is_of_it = |it: &&Failed| it.engine == name || it.engine.is_empty();
    let failed = model.and_then(|model| model.failures.iter().find(is_of_it));
    let failed = failed.map(|it| format!("{}: {}", it.stage, it.message));
    let failed = failed.or_else(|| {
        let failed = records.iter().find_map(|record| record.failed.as_ref())?;
        Some(format!("{}: {}", failed.class.name(), failed.message))
    });
    if let (Some(engine), false) = (engine, good.is_empty()) {
        finding.answers = answers(engine, &records, &good);
        return finding;
    }
    let mut why = failed.unwrap_or_else(|| "it was not started".to_owned());
    if let Some(install) = install().filter(|_| why.contains("did not start")) {
        why = format!("{why}; {install}");
    }
    finding.failure = Some(why);
    finding
}

fn answers(
    engine: &EngineResult,
    records: &[&Record],
    good: &[&Record],
) -> Vec<(&'static str, String)> {
    let numbers = |of: &dyn Fn(&Record) -> Option<u32>| -> Option<String> {
        let told: Option<Vec<String>> = good
            .iter()
            .map(|it| of(it).map(|n| n.to_string()))
            .collect();
        told.map(|told| told.join(", "))
    };
    let told = |numbers: Option<String>| numbers.unwrap_or_else(|| "not told".to_owned());
    let names = |names: &[String]| match names {
        [] => "not told".to_owned(),
        names => names.join(", "),
    };
    let ms = |of: &Option<prony_result::Distribution>| {
        of.as_ref().map_or_else(
            || "not started by prony".to_owned(),
            |it| format!("{:.2} s", it.p50 / 1000.0),
        )
    };
    let tokens = match (
        numbers(&|it| it.output_tokens),
        numbers(&|it| it.counted_tokens),
    ) {
        (Some(told), _) => told,
        (None, Some(counted)) => format!("not told; {counted} by the tokenizer"),
        (None, None) => "not told".to_owned(),
    };
    let pieces = engine.cadence.arrivals_per_token.filter(|it| *it > 0.0);
    let resent = records.iter().filter(|record| record.resent).count();
    let texts: BTreeSet<&str> = good.iter().map(|it| it.text.as_str()).collect();
    let reasons: Vec<String> = engine
        .finish_reasons
        .iter()
        .map(|(reason, count)| format!("{reason} {count} times"))
        .collect();
    vec![
        (
            "requests answered",
            format!("{} of {}", good.len(), records.len()),
        ),
        ("load time", ms(&engine.load_time_ms)),
        ("unload time", ms(&engine.unload_time_ms)),
        ("version", names(&engine.engine_versions)),
        ("served model", names(&engine.served_models)),
        ("settings in force", in_force(&engine.settings)),
        ("prompt tokens", told(numbers(&|it| it.prompt_tokens))),
        ("cached tokens", told(numbers(&|it| it.cached_tokens))),
        ("output tokens", tokens),
        (
            "tokens in a piece of text",
            pieces.map_or_else(|| "unknown".to_owned(), |it| format!("{:.2}", 1.0 / it)),
        ),
        (
            "finish reason",
            if reasons.is_empty() {
                "not told".to_owned()
            } else {
                reasons.join(", ")
            },
        ),
        (
            "equal requests",
            match texts.len() {
                1 => "equal answers".to_owned(),
                several => format!("{several} different answers"),
            },
        ),
        (
            "kept connection",
            match resent {
                0 => "usable".to_owned(),
                times => format!("closed without a word, {times} times"),
            },
        ),
        (
            "own clock",
            if engine.own_clock.is_some() {
                "told"
            } else {
                "not told"
            }
            .to_owned(),
        ),
        (
            "own counters",
            if engine.own_counts.is_empty() {
                "not told"
            } else {
                "told"
            }
            .to_owned(),
        ),
    ]
}

/// The settings that an engine tells, with what was asked for where that is something else.
fn in_force(settings: &[SettingInForce]) -> String {
    let told = settings.iter().filter(|it| !it.in_force.is_empty());
    let told = told.map(|it| {
        let asked = if it.differs {
            format!(" (asked for {})", it.asked_for())
        } else {
            String::new()
        };
        format!("{} {}{asked}", it.name, it.told())
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() {
        return "not told".to_owned();
    }
    told.join(", ")
}

/// Obstacles to a fair comparison, each with its cure.
fn problems(model: &ModelResult, warnings: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    let engines: Vec<&EngineResult> = model.engines.iter().filter(|it| it.succeeded > 0).collect();
    for engine in &engines {
        let name = &engine.engine;
        if engine.output_tokens == 0 {
            problems.push(format!(
                "`{name}` does not tell how many tokens it generates: add `tokenizer:` to the model, and prony counts"
            ));
        }
        if engine.cached_tokens > 0 {
            problems.push(format!(
                "`{name}` answers repeated prompts from its prefix cache ({} prompt tokens here): state `cache: cold` or `cache: warm` in `measure`, or switch the cache off",
                engine.cached_tokens
            ));
        } else if engine.told_cached_tokens().is_none() {
            problems.push(format!(
                "`{name}` does not tell cached tokens, so `cache: cold` and `cache: warm` cannot be verified"
            ));
        }
        let pieces = engine.cadence.arrivals_per_token.filter(|it| *it > 0.0);
        if let Some(tokens) = pieces.map(|it| 1.0 / it).filter(|it| *it > COARSE) {
            problems.push(format!(
                "`{name}` sends {tokens:.1} tokens at a time: prefill and decode cannot be told apart; let its server send each token, if it can"
            ));
        }
    }
    let prompts: BTreeSet<u64> = engines
        .iter()
        .filter_map(|it| it.prompt_tokens_per_request.as_ref())
        .map(|it| it.p50.round() as u64)
        .collect();
    if prompts.len() > 1 {
        let counts: Vec<String> = prompts.iter().map(ToString::to_string).collect();
        problems.push(format!(
            "the engines count {} tokens of the same prompt: their chat templates or tokenizers differ; `api: completions` sends prompts as they are",
            counts.join(" and ")
        ));
    }
    // Of one start there is no verdict, and the machine's state is for the run to tell.
    let is_about_engines = |it: &&String| {
        engines
            .iter()
            .any(|engine| it.contains(&format!("`{}`", engine.engine)))
    };
    problems.extend(warnings.iter().filter(is_about_engines).cloned());
    problems
}

impl Findings {
    fn exit(&self) -> Exit {
        if self.engines.iter().any(|engine| engine.failure.is_some()) {
            Exit::RunFailed
        } else {
            Exit::Ok
        }
    }

    /// A line for each question, a column for each engine, and the problems.
    fn table(&self) -> String {
        let mut text = format!("{}\n", self.model);
        let healthy: Vec<&Finding> = self
            .engines
            .iter()
            .filter(|it| it.failure.is_none())
            .collect();
        if let Some(first) = healthy.first() {
            let head = std::iter::once(String::new())
                .chain(healthy.iter().map(|it| it.engine.clone()))
                .collect();
            let row = |(index, (question, _)): (usize, &(&str, String))| {
                let answers = healthy.iter().map(|it| it.answers[index].1.clone());
                std::iter::once((*question).to_owned())
                    .chain(answers)
                    .collect()
            };
            let rows: Vec<Vec<String>> = first.answers.iter().enumerate().map(row).collect();
            text.push_str(&aligned(&[vec![head], rows].concat()));
        }
        for engine in &self.engines {
            if let Some(failure) = &engine.failure {
                let _ = writeln!(text, "\n`{}` does not answer: {failure}", engine.engine);
            }
        }
        for problem in &self.problems {
            let _ = write!(text, "\nwarning: {problem}");
        }
        if self.problems.is_empty() && healthy.len() == self.engines.len() {
            text.push_str("\nnothing was found that would make a comparison unfair");
        }
        text
    }
}

/// Rows with their columns aligned.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|it| width(it).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
