//! A configuration as a pipeline file. What stands for a value is written by a
//! serialiser; text is put together here only where it is a comment.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::read::{Config, Count, Model};
use prony_config::foreign::literal;
use prony_config::{Duration, MAX_COMPARED_CYCLES, is_of_hub};

/// The engines of the benchmark, with what they need.
const ENGINES: &str = include_str!("engines.yaml");

/// Engines for models that see.
const VISION_ENGINES: &str = include_str!("vision_engines.yaml");

/// The fewest cycles for a verdict.
const MIN_CYCLES: u64 = 6;

/// The most cycles of a comparison.
const MAX_CYCLES: u64 = MAX_COMPARED_CYCLES as u64;

/// The longest name that is made of a file's.
const MAX_NAME: usize = 100;

/// The text of the pipeline. Fails when a value cannot be written.
pub(super) fn write(file: &str, config: &Config) -> Result<String, serde_yaml::ser::Error> {
    let parts = [
        head(file, config),
        section(&json!({ "version": 1, "name": name(file) }))?,
        format!("\n{}\n", engines(config)),
        comment(&models_differ(config)),
        section(&json!({ "models": config.models.iter().map(model).collect::<Vec<_>>() }))?,
        "\n".to_owned(),
        comment(&workload_differs(config)),
        section(&json!({ "workload": workload(config) }))?,
        "\n".to_owned(),
        comment(&schedule_differs(&config.cycles)),
        section(&json!({ "schedule": { "cycles": config.cycles.value.min(MAX_CYCLES) } }))?,
        format!("\n{}", stages(&config.questions)),
    ];
    Ok(parts.concat())
}

fn engines(config: &Config) -> &'static str {
    if config.images.is_empty() {
        ENGINES
    } else {
        VISION_ENGINES
    }
}

fn section(value: &Value) -> Result<String, serde_yaml::ser::Error> {
    let options = serde_yaml::ser_options! { compact_list_indent: false };
    serde_yaml::to_string_with_options(value, options)
}

/// Lines as comments.
fn comment(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| ["# ", *line, "\n"]).collect()
}

fn head(file: &str, config: &Config) -> String {
    let kind = if config.images.is_empty() {
        "text"
    } else {
        "vision"
    };
    let made = format!("Made of {} by `prony import mlx-serving`:", literal(file));
    let kind = format!("a benchmark of {kind} models. Where the two differ, a comment says so.");
    let rest = [
        "For completion in an editor, make the file that the first line names:",
        "`prony schema pipeline --with-plugins > pipeline.v1.json`.",
    ];
    let modeline = "# yaml-language-server: $schema=pipeline.v1.json\n#\n";
    format!("{modeline}{}{}", comment(&[&made, &kind]), comment(&rest))
}

/// A name for the pipeline, after the file's.
fn name(file: &str) -> String {
    let stem = Path::new(file)
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy();
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c) => c,
        _ => '-',
    };
    let name: String = stem.chars().map(plain).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let name: String = name.chars().take(MAX_NAME).collect();
    if name.is_empty() {
        "imported".to_owned()
    } else {
        name
    }
}

fn model(model: &Model) -> Value {
    let mut out = Map::new();
    out.insert("id".into(), json!(model.id));
    out.extend(model.size.iter().map(|size| ("size".into(), json!(size))));
    // An id that is none of the hub says where the model is, and so does a name alone.
    if model.id.contains('/') && is_of_hub(&model.id) {
        out.insert("files".into(), json!(["*"]));
    } else {
        out.insert("path".into(), json!(model.id));
    }
    if !model.enabled {
        out.insert("enabled".into(), json!(false));
    }
    Value::Object(out)
}

fn models_differ(config: &Config) -> Vec<&'static str> {
    let mut lines = vec![
        "A model that is not here is fetched from the Hugging Face hub, as there, and locked in",
        "`models.lock`, so that a later run measures the same weights. `--models DIR` names a",
        "folder that has them already, each at ORGANISATION/NAME.",
    ];
    if config.models.iter().any(|model| !model.enabled) {
        lines.push("What the benchmark skips has `enabled: false`.");
    }
    lines
}

fn workload(config: &Config) -> Value {
    #[derive(Serialize)]
    struct Workload<'a> {
        prompts: &'a [String],
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        images: &'a [String],
        max_tokens: u64,
        temperature: &'a serde_json::Number,
        request_timeout: Duration,
    }
    json!(Workload {
        prompts: &config.prompts,
        images: &config.images,
        max_tokens: config.max_tokens,
        temperature: &config.temperature,
        request_timeout: config.timeout,
    })
}

fn workload_differs(config: &Config) -> Vec<&'static str> {
    let mut lines = vec![
        "There both engines were given a prompt as it is. Here both get it in the model's",
        "chat template, as their users do; `api: completions` would send it as it is.",
    ];
    if !config.images.is_empty() {
        lines.extend([
            "There the images went round with the prompts, each prompt with one of them, and",
            "mlx-serving was not sent any. Here each round of prompts starts with the next",
            "image; the first round is as there.",
        ]);
    }
    lines.extend([
        "There the limit of a request held for mlx-engine only, and one that was answered",
        "with an error counted as a success.",
    ]);
    if config.temperature.as_f64() > Some(0.0) {
        lines.extend([
            "With a temperature above 0 answers differ in length, so engines do different",
            "work: `prony explain F0004`.",
        ]);
    }
    lines
}

fn schedule_differs(cycles: &Count) -> Vec<&'static str> {
    let mut lines = vec![
        "There a cycle was a repetition with the model still loaded, and mlx-engine went",
        "first. Here it is a fresh start of every engine, in an order that a coin decides:",
        "repetitions in one process share its luck, and whoever goes second finds a warm",
        "machine.",
    ];
    if cycles.value < MIN_CYCLES {
        lines.push("The number is as there; `prony plan` says how early a verdict can come.");
    }
    if cycles.value > MAX_CYCLES {
        lines.push("There are more repetitions there; a comparison has at most 127 cycles.");
    }
    if cycles.differs {
        lines.push("It is the largest of the numbers that the models have there.");
    }
    lines
}

fn stages(questions: &Count) -> String {
    let largest = if questions.differs {
        "  # The largest of the numbers that the models have there.\n"
    } else {
        ""
    };
    format!(
        "stages:
  # The limit is as there. A model that fails is reported and the others go on;
  # there it ended the run.
  - load: {{ timeout: 10m }}
  # Not there, where the first question paid for what is done once.
  - warmup: {{}}
{largest}  - measure: {{ requests: {} }}
  - report: {{ reporters: [console, markdown, html, json] }}
",
        questions.value
    )
}
