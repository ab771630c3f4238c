//! `prony export`

mod trace;

use super::run::base_of;
use crate::arguments::{ChosenRun, Global, Layers};
use crate::{Exit, Failure, Outcome, output, pipeline, plugins};
use clap::{Args, ValueEnum};
use prony_config::Pipeline;
use prony_journal::{Event, LeftOut, LeftOutCycles, Reader, RunFolder};
use prony_record::Record;
use prony_runner::SentMessages;
use serde_json::{Map, Value, json};
use trace::Trace;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony export latest --format csv > requests.csv")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) chosen: ChosenRun,
    /// Form of a row.
    #[arg(long, value_enum, default_value_t = Format::Jsonl, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Add the messages that were sent, made again from the run's pipeline and the files that it
    /// names; none if these have changed.
    #[arg(long)]
    pub(crate) prompts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// An object a line, with the answer and the time of each of its texts.
    Jsonl,
    /// Comma-separated values with a line of names, without answers; text that a spreadsheet would
    /// take for a formula begins with an apostrophe.
    Csv,
    /// Trace of Chrome's format, which Perfetto opens: each engine's requests in flight over time.
    Trace,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    if arguments.format == Format::Trace && arguments.prompts {
        let message = "a trace has no messages: leave out `--prompts`, or use another `--format`";
        return Err(Failure::new(Exit::Usage, message));
    }
    let opened = arguments.chosen.open()?;
    let folder = &opened.folder;
    super::report::note_left(folder);
    let mut pipeline = None;
    if arguments.prompts {
        pipeline = own_pipeline(global, folder)?;
        if pipeline.is_none() {
            return Ok(Exit::InvalidPipeline);
        }
    }
    let messages = pipeline.as_ref().map(|it| sent(folder, it)).transpose()?;
    let left_out = LeftOutCycles::of(&folder.journal())?;
    let mut is_first = true;
    let mut trace = Trace::default();
    for placed in Reader::open(&folder.journal())? {
        let event = placed?.event;
        if let Event::Damaged { line, reason, .. } = &event {
            eprintln!("warning: line {line} of the journal is left out: {reason}");
        }
        let Event::Request(record) = event else {
            continue;
        };
        if arguments.format == Format::Trace {
            trace.add(*record);
            continue;
        }
        let mut row = row(&record, left_out.reason(&record));
        if let (Some(messages), Some(pipeline)) = (&messages, &pipeline) {
            let message = |(role, content): (&str, String)| {
                // Before quotes in it are escaped.
                let content = pipeline.secrets.mask(&content);
                json!({ "role": role, "content": content })
            };
            let all = messages.of_request(&record.id);
            let all = all.map(|all| all.into_iter().map(message).collect::<Value>());
            row.insert("messages".to_owned(), all.into());
        }
        match arguments.format {
            Format::Csv => {
                if std::mem::take(&mut is_first) {
                    let names: Vec<&str> = row.keys().map(String::as_str).collect();
                    println!("{}", names.join(","));
                }
                let cells: Vec<String> = row.values().map(cell).collect();
                println!("{}", cells.join(","));
            }
            Format::Trace => {}
            Format::Jsonl => {
                let json = serde_json::to_string(&with_answer(row, &record));
                output::json(
                    &json.map_err(|error| Failure::new(Exit::RunFailed, error.to_string()))?,
                );
            }
        }
    }
    if arguments.format == Format::Trace {
        trace.end();
    }
    Ok(Exit::Ok)
}

/// The pipeline of a run; `None` if it does not load, which is told.
fn own_pipeline(global: &Global, folder: &RunFolder) -> Result<Option<Pipeline>, Failure> {
    let registry = plugins::registry(global)?;
    let layers = Layers::default();
    let (loaded, problems) = pipeline::load(global, &folder.pipeline(), &layers, &registry, None);
    if loaded.is_none() {
        pipeline::show(global, &problems);
    }
    Ok(loaded.map(|it| it.pipeline))
}

/// The messages of a run. Tells of which models there are none; fails if there are none at all.
fn sent<'p>(folder: &RunFolder, pipeline: &'p Pipeline) -> Result<SentMessages<'p>, Failure> {
    let base = base_of(&folder.pipeline())?;
    let messages = SentMessages::of(folder, pipeline, &base)?;
    for (point, model, reason) in messages.unknown() {
        let point = point.map_or_else(String::new, |point| format!(" · {point}"));
        eprintln!("warning: the messages of {model}{point} are left out: {reason}");
    }
    if messages.is_empty() {
        let message = "the messages of this run are not known: leave out `--prompts`";
        return Err(Failure::new(Exit::RunFailed, message.to_owned()));
    }
    Ok(messages)
}

/// The columns of a request: who it was, its times, its tokens, its failure, and why no
/// comparison has it.
fn row(record: &Record, left_out: Option<LeftOut>) -> Map<String, Value> {
    let (id, stamps) = (&record.id, &record.stamps);
    let ms = |ns: u64| ns as f64 / 1e6;
    let row = json!({
        "cell": id.point,
        "model": id.model,
        "engine": id.engine,
        "cycle": id.cycle,
        "phase": id.phase,
        "stage": id.stage,
        "index": id.index,
        "prompt": id.prompt,
        "image": id.image,
        "intended_ns": stamps.intended_ns,
        "sent_ns": stamps.sent_ns,
        "written_ns": stamps.written_ns,
        "head_ns": stamps.head_ns,
        "first_ns": record.arrivals.first().map(|it| it.0),
        "last_ns": record.arrivals.last().map(|it| it.0),
        "answered_ns": record.answered_ns,
        "end_ns": stamps.end_ns,
        "request_latency_ms": ms(record.latency_ns()),
        "time_to_first_token_ms": record.time_to_first_token_ns().map(ms),
        "texts": record.arrivals.len(),
        "reads": record.reads,
        "body_bytes": record.body_bytes,
        "output_tokens": record.tokens(),
        "hidden_tokens": record.hidden_tokens,
        "prompt_tokens": record.prompt_tokens,
        "cached_tokens": record.cached_tokens,
        "finish_reason": record.finish_reason,
        "served_model": record.served_model,
        "engine_version": record.engine_version,
        "status": record.status,
        "ok": record.ok(),
        "error": record.failed.as_ref().map(|it| it.class.name()),
        "message": record.failed.as_ref().map(|it| &it.message),
        "left_out": left_out.map(LeftOut::name),
    });
    match row {
        Value::Object(row) => row,
        _ => Map::new(),
    }
}

/// The same with the time, the number of tokens and the whole of its texts.
fn with_answer(mut row: Map<String, Value>, record: &Record) -> Map<String, Value> {
    let times: Vec<u64> = record.arrivals.iter().map(|it| it.0).collect();
    let tokens: Vec<u32> = record.arrivals.iter().map(|it| it.1).collect();
    row.insert("arrivals_ns".to_owned(), times.into());
    row.insert("arrival_tokens".to_owned(), tokens.into());
    row.insert("text".to_owned(), record.text.as_str().into());
    row
}

/// Returns `true` for what a spreadsheet would compute, also behind space and in full width.
fn is_formula(text: &str) -> bool {
    let begins = text.trim_start_matches([' ', '\n']);
    begins.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠'])
}

/// A value as RFC 4180 has it; nothing for what is not known. What a spreadsheet would take for a
/// formula begins with an apostrophe.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if is_formula(text) => cell(&Value::String(format!("'{text}"))),
        Value::String(text) if text.contains([',', '"', '\n', '\r']) => {
            format!(
                "\"{}\"",
                text.replace('"', "\"\"").replace(['\n', '\r'], " ")
            )
        }
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => cell(&Value::String(value.to_string())),
        other => other.to_string(),
    }
}
