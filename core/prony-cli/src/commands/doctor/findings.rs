//! The findings of a check-up: a table of answers, and warnings.

use crate::Exit;
use crate::plugins::Locked;
use prony_config::{
    Api, Ask, CHECKUP_REQUESTS, Engine, MatrixPoint, Pipeline, Work, context_of, setting,
    stop_word, too_many,
};
use prony_contract::{Kind, Transport};
use prony_journal::Event;
use prony_plugin_host::Registry;
use prony_record::{ErrorClass, Record};
use prony_result::{Distribution, EngineResult, Failure, ModelResult, RunResult, SettingInForce};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Maximum width of a column of the table, in characters.
const MAX_WIDTH: usize = 100;

const NOT_TOLD: &str = "not told";
const CANNOT_TELL: &str = "cannot tell";

/// Findings about the engines of a pipeline.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
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

/// Everything that a check-up has seen.
pub(super) struct Seen<'a> {
    /// The pipeline as the user gave it.
    pub(super) given: &'a Pipeline,
    pub(super) checkup: &'a Pipeline,
    pub(super) registry: &'a Registry,
    pub(super) result: &'a RunResult,
    pub(super) events: &'a [Event],
}

/// Everything that a check-up has seen of an engine that answered.
struct Patient<'a> {
    engine: &'a Engine,
    point: &'a MatrixPoint,
    result: &'a EngineResult,
    /// The equal requests.
    records: Vec<&'a Record>,
    /// The answers to the questions.
    asked: Vec<&'a Record>,
    /// The program that prony started.
    program: Option<&'a str>,
    transport: Transport,
    /// Context length that it was given, in tokens.
    context: Option<u32>,
}

/// An engine's regard for an option of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Regard {
    Honoured,
    Ignored,
    CannotTell,
}

impl Regard {
    fn word(self) -> &'static str {
        match self {
            Self::Honoured => "honoured",
            Self::Ignored => "ignored",
            Self::CannotTell => CANNOT_TELL,
        }
    }
}

/// Fate of a prompt that is longer than the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overlong {
    Refused,
    Cut { sent: u32, read: u32 },
    Taken { read: u32 },
    CannotTell,
}

impl<'a> Patient<'a> {
    fn new(seen: &Seen<'a>, engine: &'a Engine, model: &'a ModelResult) -> Option<Self> {
        let result = model.engines.iter().find(|it| it.engine == engine.name)?;
        let (records, asked): (Vec<&Record>, Vec<&Record>) = records_of(seen.events, &engine.name)
            .partition(|record| Ask::of_stage(&record.id.stage).is_none());
        let program = seen.events.iter().find_map(|event| match event {
            Event::Program { visit, program, .. } if visit.engine == engine.name => {
                Some(program.as_str())
            }
            _ => None,
        });
        let entry = seen.registry.find(Kind::Engine, &engine.plugin).ok();
        let transport = entry.and_then(|(entry, _)| entry.transport);
        records.iter().any(|record| record.ok()).then(|| Self {
            engine,
            point: &seen.checkup.points[0],
            result,
            records,
            asked,
            program,
            transport: transport.unwrap_or(Transport::Http),
            context: context_of(engine, &Locked(seen.registry)),
        })
    }

    fn name(&self) -> &str {
        &self.engine.name
    }

    /// The equal requests that were answered.
    fn good(&self) -> impl Iterator<Item = &'a Record> {
        self.records.iter().copied().filter(|record| record.ok())
    }

    /// The good answers to a question.
    fn said(&self, ask: Ask) -> Vec<&'a Record> {
        let records = self.asked.iter().copied();
        let of_it = records.filter(|record| Ask::of_stage(&record.id.stage) == Some(ask));
        of_it.filter(|record| record.ok()).collect()
    }

    /// The same request twice gives the same answer, and another with another seed.
    fn seed(&self) -> Regard {
        match (
            self.said(Ask::Seed).as_slice(),
            self.said(Ask::OtherSeed).as_slice(),
        ) {
            ([one, two], _) if one.text != two.text => Regard::Ignored,
            ([one, _], [other]) if one.text != other.text => Regard::Honoured,
            // It may be too sure of its words to sample others.
            _ => Regard::CannotTell,
        }
    }

    /// The answer ends at a word that the plain answer has.
    fn stop(&self) -> Regard {
        let (plain, stopped) = (self.said(Ask::Plain), self.said(Ask::Stop));
        let ([plain, ..], [stopped, ..]) = (plain.as_slice(), stopped.as_slice()) else {
            return Regard::CannotTell;
        };
        let Some(at) = stop_word(&plain.text).and_then(|word| Some((word, plain.text.find(word)?)))
        else {
            return Regard::CannotTell;
        };
        let (word, at) = at;
        match stopped.text.find(word) {
            // An engine may hand out the word, too.
            Some(found) if !stopped.text[found + word.len()..].trim().is_empty() => Regard::Ignored,
            _ if plain.text[..at + word.len()].starts_with(stopped.text.trim_end()) => {
                Regard::Honoured
            }
            _ => Regard::CannotTell,
        }
    }

    /// An answer that ends early by itself does not when it is told so.
    fn ignore_eos(&self) -> Regard {
        let (plain, endless) = (self.said(Ask::Plain), self.said(Ask::IgnoreEos));
        let ([plain, ..], [endless, ..]) = (plain.as_slice(), endless.as_slice()) else {
            return Regard::CannotTell;
        };
        let is_cut = |record: &Record| record.finish_reason.as_deref() == Some("length");
        match (is_cut(plain), is_cut(endless)) {
            (false, true) => Regard::Honoured,
            (_, false) => Regard::Ignored,
            // It never ends early.
            (true, true) => Regard::CannotTell,
        }
    }

    fn overlong(&self) -> Overlong {
        let Some(context) = self.context else {
            return Overlong::CannotTell;
        };
        let is_it = |record: &&Record| Ask::of_stage(&record.id.stage) == Some(Ask::Context);
        let Some(record) = self.asked.iter().copied().find(is_it) else {
            return Overlong::CannotTell;
        };
        let sent = too_many(context);
        let refusals = [ErrorClass::Http4xx, ErrorClass::EngineError];
        match (&record.failed, record.prompt_tokens) {
            (Some(failed), _) if refusals.contains(&failed.class) => Overlong::Refused,
            (None, Some(read)) if read < sent => Overlong::Cut { sent, read },
            (None, Some(read)) => Overlong::Taken { read },
            _ => Overlong::CannotTell,
        }
    }

    /// Tokens that the engine counts beyond those of the prompts as prony renders them, of
    /// each request for which both are known.
    fn beyond_template(&self) -> BTreeSet<i64> {
        let difference =
            |it: &Record| Some(i64::from(it.prompt_tokens?) - i64::from(it.rendered_tokens?));
        self.good().filter_map(difference).collect()
    }

    /// Text in an arrival, in tokens.
    fn tokens_at_a_time(&self) -> Option<f64> {
        let pieces = self.result.cadence.arrivals_per_token;
        pieces.filter(|it| *it > 0.0).map(|it| 1.0 / it)
    }

    fn answers(&self) -> Vec<(&'static str, String)> {
        let numbers = |of: &dyn Fn(&Record) -> Option<u32>| -> Option<String> {
            let told = self.good().map(|it| of(it).map(|n| n.to_string()));
            told.collect::<Option<Vec<_>>>().map(|told| told.join(", "))
        };
        let told = |numbers: Option<String>| numbers.unwrap_or_else(|| NOT_TOLD.to_owned());
        let names = |names: &[String]| match names {
            [] => NOT_TOLD.to_owned(),
            names => names.join(", "),
        };
        let seconds = |of: &Option<Distribution>| {
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
            (None, Some(counted)) => format!("{NOT_TOLD}; {counted} by the tokenizer"),
            (None, None) => NOT_TOLD.to_owned(),
        };
        let reasons = self.result.finish_reasons.iter();
        let reasons: Vec<String> = reasons
            .map(|(reason, count)| format!("{reason} {count} times"))
            .collect();
        let texts: BTreeSet<&str> = self.good().map(|it| it.text.as_str()).collect();
        let answered = self.good().count();
        let own_clock = self.result.own_clock.is_some();
        vec![
            (
                "requests answered",
                format!("{answered} of {CHECKUP_REQUESTS}"),
            ),
            ("load time", seconds(&self.result.load_time_ms)),
            ("unload time", seconds(&self.result.unload_time_ms)),
            (
                "program",
                self.program
                    .unwrap_or(match self.transport {
                        Transport::InProcess => "prony itself",
                        _ => "not started by prony",
                    })
                    .to_owned(),
            ),
            ("version", names(&self.result.engine_versions)),
            ("served model", names(&self.result.served_models)),
            ("port", self.port().to_owned()),
            (
                "usage: prompt tokens",
                told(numbers(&|it| it.prompt_tokens)),
            ),
            (
                "usage: cached tokens",
                told(numbers(&|it| it.cached_tokens)),
            ),
            ("usage: output tokens", tokens),
            (
                "tokens per chunk",
                self.tokens_at_a_time()
                    .map_or_else(|| CANNOT_TELL.to_owned(), |it| format!("{it:.2}")),
            ),
            ("end mark", self.end_mark().to_owned()),
            (
                "finish reason",
                if reasons.is_empty() {
                    NOT_TOLD.to_owned()
                } else {
                    reasons.join(", ")
                },
            ),
            ("keep-alive", self.keep_alive()),
            (
                "equal requests",
                match texts.len() {
                    1 => "equal answers".to_owned(),
                    several => format!("{several} different answers"),
                },
            ),
            ("seed", self.seed().word().to_owned()),
            ("stop", self.stop().word().to_owned()),
            ("ignore_eos", self.ignore_eos().word().to_owned()),
            ("chat template", self.chat_template()),
            ("context length", self.context_length()),
            ("settings in force", in_force(&self.result.settings)),
            (
                "own counters",
                if self.result.own_counts.is_empty() {
                    NOT_TOLD
                } else {
                    "told"
                }
                .to_owned(),
            ),
            (
                "own clock",
                if own_clock { "told" } else { NOT_TOLD }.to_owned(),
            ),
        ]
    }

    fn port(&self) -> &'static str {
        match (self.transport, self.program) {
            // Anything else would not have been measured.
            (Transport::Http, Some(_)) => "as given",
            (Transport::Http, None) => "of the running server",
            _ => "none",
        }
    }

    fn end_mark(&self) -> &'static str {
        let mut notes = self.good().flat_map(|record| &record.notes);
        // The words of the adapter.
        if notes.any(|note| note.starts_with("the stream ended without")) {
            "not sent"
        } else {
            "sent"
        }
    }

    fn keep_alive(&self) -> String {
        if self.transport != Transport::Http {
            return "no connection".to_owned();
        }
        let all = || self.records.iter().chain(&self.asked);
        let resent = all().filter(|record| record.resent).count();
        if self.good().all(|record| record.closed) {
            "closed after each answer".to_owned()
        } else if resent > 0 {
            format!("closed without a word, {resent} times")
        } else {
            "kept".to_owned()
        }
    }

    fn chat_template(&self) -> String {
        if self.point.workload.api == Api::Completions {
            return "not used".to_owned();
        }
        let beyond = self.beyond_template();
        match beyond.iter().copied().collect::<Vec<i64>>().as_slice() {
            [] => CANNOT_TELL.to_owned(),
            [0] => "honoured".to_owned(),
            _ => format!("{} tokens than prony renders", in_words(&beyond)),
        }
    }

    fn context_length(&self) -> String {
        let Some(context) = self.context else {
            return "not set".to_owned();
        };
        match self.overlong() {
            Overlong::Refused => format!("{context}, more is refused"),
            Overlong::Cut { sent, read } => {
                format!("{context}, more is cut: {read} of at least {sent} tokens are read")
            }
            Overlong::Taken { read } => format!("more than {context}: it takes {read} tokens"),
            Overlong::CannotTell => format!("{context}; {CANNOT_TELL} what becomes of more"),
        }
    }

    /// Obstacles to a fair comparison on the part of this engine, each with its cure.
    fn problems(&self, seen: &Seen<'_>, model: &ModelResult) -> Vec<String> {
        let mut problems = Vec::new();
        let name = self.name();
        let workload = &seen.given.points[0].workload;
        let plugins = Locked(seen.registry);
        let mut tell = |problem: String| problems.push(format!("`{name}` {problem}"));
        if self.result.output_tokens == 0 {
            tell(format!(
                "does not tell how many tokens it generates: `models: [{{ id: {}, tokenizer: FILE }}]` lets prony count them",
                model.id
            ));
        }
        let states = seen.given.points.iter().flat_map(|point| &point.segments);
        let states = states.flat_map(|segment| &segment.work);
        let states: Vec<_> = states
            .filter_map(|work| match work {
                Work::Measure(measure) => Some(measure.cache),
                Work::Warmup(_) => None,
            })
            .collect();
        if self.result.cached_tokens > 0 && states.contains(&None) {
            let off = setting(self.engine, "cache", &json!(false), &plugins);
            let off = off.map_or_else(String::new, |line| format!(", or `{line}` switches it off"));
            tell(format!(
                "answers repeated prompts from its prefix cache ({} prompt tokens here): state `measure: {{ cache: cold }}` or `measure: {{ cache: warm }}`{off}",
                self.result.cached_tokens
            ));
        }
        let is_stated = states.iter().any(Option::is_some);
        if is_stated && self.result.told_cached_tokens().is_none() {
            tell("does not tell cached tokens, so `cache: cold` and `cache: warm` cannot be verified".to_owned());
        }
        if workload.ignore_eos && self.ignore_eos() == Regard::Ignored {
            tell("ignores `ignore_eos`, so its answers may be shorter than others: `workload: { ignore_eos: false }` lets every engine end where its model does".to_owned());
        }
        if workload.temperature > 0.0 && self.seed() == Regard::Ignored {
            tell(format!(
                "ignores the seed, so at `temperature: {}` each of its answers is another: `workload: {{ temperature: 0 }}` gives every engine the same work",
                workload.temperature
            ));
        }
        if !workload.stop.is_empty() && self.stop() == Regard::Ignored {
            tell("ignores `stop`, so its answers may be longer than others: `workload: { stop: [] }` stops no engine".to_owned());
        }
        if let Overlong::Cut { sent, read } = self.overlong() {
            let line = setting(self.engine, "context", &json!(sent), &plugins);
            tell(format!(
                "cuts a prompt that is longer than its context, and reads {read} of at least {sent} tokens: {} makes room for more",
                line.map_or_else(|| "a longer context".to_owned(), |line| format!("`{line}`"))
            ));
        }
        let beyond = self.beyond_template();
        if beyond.iter().any(|it| *it != 0) {
            tell(format!(
                "counts {} tokens in a prompt than prony renders with the model's chat template: `models: [{{ id: {}, chat_template: FILE }}]` names another template, and `workload: {{ api: completions }}` sends prompts as they are",
                in_words(&beyond),
                model.id
            ));
        }
        problems
    }
}

/// `3 more`, `2 fewer`, `1 fewer to 3 more`.
fn in_words(differences: &BTreeSet<i64>) -> String {
    let word = |it: &i64| match it {
        0 => "0 more".to_owned(),
        1.. => format!("{it} more"),
        _ => format!("{} fewer", -it),
    };
    let ends = [differences.first(), differences.last()];
    let mut ends: Vec<String> = ends.into_iter().flatten().map(word).collect();
    ends.dedup();
    ends.join(" to ")
}

fn records_of<'a>(events: &'a [Event], engine: &str) -> impl Iterator<Item = &'a Record> {
    events.iter().filter_map(move |event| match event {
        Event::Request(record) if record.id.engine == engine => Some(&**record),
        _ => None,
    })
}

impl Findings {
    pub(super) fn new(seen: &Seen<'_>) -> Self {
        let model = seen.result.models.first();
        let mut engines = Vec::new();
        let mut patients = Vec::new();
        for engine in &seen.checkup.points[0].engines {
            let patient = model.and_then(|model| Patient::new(seen, engine, model));
            let answers = patient.as_ref().map(Patient::answers);
            engines.push(Finding {
                engine: engine.name.clone(),
                failure: answers.is_none().then(|| failure(seen, &engine.name)),
                answers: answers.unwrap_or_default(),
            });
            patients.extend(patient);
        }
        let problems = model.map_or_else(Vec::new, |model| problems(seen, model, &patients));
        Self {
            model: model.map_or_else(String::new, |model| model.id.clone()),
            engines,
            problems,
        }
    }

    pub(super) fn exit(&self) -> Exit {
        if self.engines.iter().any(|engine| engine.failure.is_some()) {
            Exit::RunFailed
        } else {
            Exit::Ok
        }
    }

    /// A line for each question, a column for each engine, and the problems.
    pub(super) fn table(&self) -> String {
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

/// Reason why an engine did not answer.
fn failure(seen: &Seen<'_>, engine: &str) -> String {
    let model = seen.result.models.first();
    // A failure without an engine is the model's, such as a file that is not there.
    let is_of_it = |it: &&Failure| it.engine == engine || it.engine.is_empty();
    let failed = model.and_then(|model| model.failures.iter().find(is_of_it));
    let failed = failed.map(|it| format!("{}: {}", it.stage, it.message));
    let failed = failed.or_else(|| {
        let failed = records_of(seen.events, engine).find_map(|record| record.failed.as_ref())?;
        Some(format!("{}: {}", failed.class.name(), failed.message))
    });
    failed.unwrap_or_else(|| "it was not started".to_owned())
}

/// Obstacles to a fair comparison, each with its cure.
fn problems(seen: &Seen<'_>, model: &ModelResult, patients: &[Patient<'_>]) -> Vec<String> {
    let of_each = patients.iter().flat_map(|it| it.problems(seen, model));
    let mut problems: Vec<String> = of_each.collect();
    // Of one start there is no verdict, and the machine's state is for the run to tell. What
    // the prefix cache does is told above, with its cure.
    let is_about_engines = |it: &&String| {
        let named = |patient: &Patient<'_>| it.contains(&format!("`{}`", patient.name()));
        patients.iter().any(named) && !it.contains("from its prefix cache")
    };
    let warnings = seen.result.warnings.iter();
    problems.extend(warnings.filter(is_about_engines).cloned());
    problems
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
        return NOT_TOLD.to_owned();
    }
    told.join(", ")
}

/// Rows with their columns aligned, and long cells on several lines.
fn aligned(rows: &[Vec<String>]) -> String {
    let wrap =
        |row: &Vec<String>| -> Vec<Vec<String>> { row.iter().map(|it| wrapped(it)).collect() };
    let rows: Vec<Vec<Vec<String>>> = rows.iter().map(wrap).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let lines = rows.iter().flat_map(|row| &row[column]);
        lines.map(|line| line.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|it| width(it).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        for at in 0..row.iter().map(Vec::len).max().unwrap_or(0) {
            let cells = row.iter().zip(&widths).map(|(lines, width)| {
                let line = lines.get(at).map_or("", String::as_str);
                format!("{line:<width$}")
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

/// The lines of a cell, none longer than [`MAX_WIDTH`], broken at spaces where there are any.
fn wrapped(cell: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut width = 0;
    for word in cell.split_inclusive(' ') {
        let length = word.trim_end().chars().count();
        if width > 0 && width + length > MAX_WIDTH {
            lines.push(String::new());
            width = 0;
        }
        for sign in word.chars() {
            if width == MAX_WIDTH && sign != ' ' {
                lines.push(String::new());
                width = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(sign);
            }
            width += 1;
        }
    }
    lines
        .into_iter()
        .map(|it| it.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cell_has_several_lines() {
        let words = vec!["setting 4096,"; 20].join(" ");
        let lines = wrapped(&words);
        assert!(
            lines.iter().all(|it| it.chars().count() <= MAX_WIDTH),
            "{lines:?}"
        );
        assert_eq!(lines.join(" "), words);
        assert_eq!(wrapped(&"ä".repeat(250)).len(), 3);
        assert_eq!(wrapped(""), [""]);
        let rows = [["", "one"], ["a", words.as_str()], ["b", "x"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let table = aligned(&rows);
        assert_eq!(table.lines().count(), 2 + lines.len(), "{table}");
        assert!(table.ends_with("b  x\n"), "{table}");
    }
}
