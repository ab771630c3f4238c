//! The request set of a model, made before any measurement.

use crate::images::Images;
use prony_chat::Message;
use prony_config::{Api, Arrival, Cache, Length, MatrixPoint, Measure, Synthetic, Workload};
use prony_contract::ChatMessage;
use prony_plugin_host::Digester;
use prony_prompts::dataset::MAX_PROBLEMS;
use prony_prompts::{Prompt, Shape, synthetic};
use prony_result::words::count;
use prony_tokenizer::Tokenizer;
use serde::Serialize;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _};
use std::ops::Range;
use std::path::Path;

/// Maximum size of a file of prompts, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// The texts of a request, in order.
#[derive(Debug)]
pub(crate) struct Texts {
    pub(crate) system: Option<String>,
    pub(crate) history: Vec<ChatMessage>,
    pub(crate) prompt: String,
}

impl Texts {
    /// The texts of a prompt; `system` is that of the workload.
    pub(crate) fn of(prompt: &Prompt, system: Option<&String>) -> Self {
        Self {
            system: prompt
                .system
                .as_deref()
                .map(str::to_owned)
                .or_else(|| system.cloned()),
            history: prompt.history.to_vec(),
            prompt: prompt.text.clone(),
        }
    }

    /// A prompt alone.
    pub(crate) fn raw(prompt: String) -> Self {
        Self {
            system: None,
            history: Vec::new(),
            prompt,
        }
    }

    pub(crate) fn first(&mut self) -> &mut String {
        let history = self.history.first_mut().map(|message| &mut message.content);
        self.system.as_mut().or(history).unwrap_or(&mut self.prompt)
    }

    /// The messages of the conversation.
    pub(crate) fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        let message = |role, content| Message { role, content };
        let system = self.system.iter();
        let system = system.map(move |it| message("system", it));
        let history = self.history.iter();
        let history = history.map(move |it| message(it.role.name(), &it.content));
        let prompt = message("user", &self.prompt);
        system.chain(history).chain([prompt])
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.messages().map(|message| message.content)
    }
}

/// The prompts of a model at a matrix point, in order.
#[derive(Debug)]
pub(crate) struct RequestSet {
    pub(crate) prompts: Vec<Prompt>,
    /// SHA-256 of everything that requests are made from.
    pub(crate) sha256: String,
    /// Seed of the nonces of cold requests.
    seed: u64,
}

/// The content of the digest, in this order.
#[derive(Serialize)]
struct Content<'a, I> {
    api: Api,
    system: Option<&'a str>,
    prompts: &'a [Prompt],
    images: I,
    /// Seed of the nonces.
    cold_seed: Option<u64>,
}

impl RequestSet {
    /// Reads or makes the prompts. `tokenizer` makes synthetic ones, unless they name
    /// their own; paths are relative to `folder`. The error is for people.
    pub(crate) fn new(
        point: &MatrixPoint,
        tokenizer: Option<&Path>,
        folder: &Path,
        images: &Images,
        seed: u64,
    ) -> Result<Self, String> {
        let workload = &point.workload;
        let mut prompts = prompts(workload, tokenizer, folder, seed)?;
        if workload.api == Api::Completions && prompts.iter().any(|it| it.system.is_some()) {
            return Err(
                "the dataset has system messages, which do not go with `api: completions`"
                    .to_owned(),
            );
        }
        if workload.api == Api::Completions && prompts.iter().any(|it| !it.begins()) {
            return Err(
                "the dataset has conversations of several turns, which do not go with `api: completions`: a chat template renders them"
                    .to_owned(),
            );
        }
        recorded(point, &prompts)?;
        let replays = |it: &Measure| matches!(it.arrival, Arrival::Replay(_));
        if !point.measures().any(replays) {
            // Unused times are no part of the request set.
            for prompt in &mut prompts {
                prompt.at_ns = None;
            }
        }
        let content = Content {
            api: workload.api,
            system: workload.system.as_deref(),
            prompts: &prompts,
            images: images.digests(workload),
            cold_seed: is_cold(point).then_some(seed),
        };
        // Not kept: histories written out take the square of their turns.
        let mut digester = BufWriter::new(Digester::default());
        serde_json::to_writer(&mut digester, &content).map_err(|error| error.to_string())?;
        let digester = digester.into_inner().map_err(|error| error.to_string())?;
        Ok(Self {
            prompts,
            sha256: digester.finish(),
            seed,
        })
    }

    /// The prompt of request `index` of a stage; prompts repeat in turn.
    pub(crate) fn prompt(&self, index: u32) -> &Prompt {
        &self.prompts[index as usize % self.prompts.len()]
    }

    /// Conversations among a stage's `count` requests from `first` on, as ranges of
    /// request numbers minus `first`.
    pub(crate) fn conversations(&self, first: u32, count: u32) -> Vec<Range<u32>> {
        prony_prompts::conversations(&self.prompts, first, count)
    }

    /// Beginning of a request's first message that makes it unknown to any cache.
    pub(crate) fn nonce(&self, place: &str) -> String {
        prony_prompts::nonce(self.seed, place)
    }
}

/// Checks that `replay` has recorded times.
fn recorded(point: &MatrixPoint, prompts: &[Prompt]) -> Result<(), String> {
    let replays = |it: &&Measure| matches!(it.arrival, Arrival::Replay(_));
    for measure in point.measures().filter(replays) {
        if measure.requests as usize > prompts.len() {
            return Err(format!(
                "the stage `{}` is to replay {} of a dataset that has {}: lower `requests`",
                measure.id,
                count(measure.requests.into(), "request"),
                prompts.len()
            ));
        }
        let mut sent = prompts.iter().take(measure.requests as usize);
        if sent.any(|it| it.begins() && it.at_ns.is_none()) {
            return Err(format!(
                "the stage `{}` is to replay a dataset in which not every line has `at_ms`",
                measure.id
            ));
        }
    }
    Ok(())
}

/// Returns `true` if a measurement of the matrix point has a cold cache.
pub(crate) fn is_cold(point: &MatrixPoint) -> bool {
    point.measures().any(|it| it.cache == Some(Cache::Cold))
}

fn prompts(
    workload: &Workload,
    tokenizer: Option<&Path>,
    folder: &Path,
    seed: u64,
) -> Result<Vec<Prompt>, String> {
    let max_tokens = workload.max_tokens;
    if let Some(dataset) = &workload.dataset {
        let lines = lines(&dataset.path, folder)?;
        let open = || {
            let path = tokenizer.ok_or_else(|| {
                "it needs a tokenizer: add `tokenizer` or `path` to the model".to_owned()
            })?;
            Tokenizer::open(path).map_err(|error| error.to_string())
        };
        return prony_prompts::of_dataset(lines, dataset.limit, max_tokens, open, seed)
            .map_err(|problems| told(&dataset.path, &problems));
    }
    if let Some(synthetic) = &workload.synthetic {
        return of_synthetic(synthetic, tokenizer, folder, max_tokens, seed);
    }
    let files = workload.prompt_files.iter();
    let files: Vec<String> = files
        .map(|path| read(path, folder))
        .collect::<Result<_, _>>()?;
    let texts = workload.prompts.iter().cloned().chain(files);
    Ok(prony_prompts::texts(texts, max_tokens))
}

/// The first problems of a file, and the number of others.
fn told(path: &str, problems: &[String]) -> String {
    const MAX_SHOWN: usize = 5;
    let mut lines: Vec<String> = problems
        .iter()
        .take(MAX_SHOWN)
        .map(|problem| format!("{path}{problem}"))
        .collect();
    if problems.len() > MAX_SHOWN {
        let least = if problems.len() < MAX_PROBLEMS {
            ""
        } else {
            "at least "
        };
        let others = problems.len() - MAX_SHOWN;
        lines.push(format!("and {least}{others} more problems"));
    }
    lines.join("; ")
}

fn of_synthetic(
    asked: &Synthetic,
    tokenizer: Option<&Path>,
    folder: &Path,
    max_tokens: u32,
    seed: u64,
) -> Result<Vec<Prompt>, String> {
    let path = match (&asked.tokenizer, tokenizer) {
        (Some(path), _) => folder.join(path),
        (None, Some(of_model)) => of_model.to_owned(),
        (None, None) => {
            return Err(
                "synthetic prompts need a tokenizer: add `tokenizer` to `synthetic` or to the model, or `path` to the model"
                    .to_owned(),
            );
        }
    };
    let tokenizer = Tokenizer::open(&path).map_err(|error| error.to_string())?;
    let shape = Shape {
        count: asked.count,
        input: length(asked.input_tokens),
        output: asked.output_tokens.map(length),
        prefix: asked.prefix.map(|prefix| (prefix.tokens, prefix.groups)),
    };
    prony_prompts::of_shape(shape, &tokenizer, max_tokens, seed)
        .map_err(|error| format!("synthetic prompts: {error}"))
}

fn length(length: Length) -> synthetic::Length {
    match length {
        Length::Fixed(tokens) => synthetic::Length::Fixed(tokens),
        Length::Uniform(it) => synthetic::Length::Uniform {
            min: it.min,
            max: it.max,
        },
        Length::Normal(it) => synthetic::Length::Normal {
            mean: it.mean,
            stddev: it.stddev,
            min: it.min,
            max: it.max,
        },
        Length::Lognormal(it) => synthetic::Length::LogNormal {
            median: it.median,
            sigma: it.sigma,
            min: it.min,
            max: it.max,
        },
    }
}

/// The lines of a dataset, read one by one: no more of the file than is asked for.
fn lines(
    path: &str,
    folder: &Path,
) -> Result<impl Iterator<Item = Result<String, String>>, String> {
    let file = prony_files::open(&folder.join(path))
        .map_err(|error| format!("`{path}` of the workload: {error}"))?;
    let mut file = BufReader::new(file.take(MAX_BYTES + 1));
    let mut bytes = 0;
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        match file.read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(count) => bytes += count as u64,
            Err(error) => return Some(Err(error.to_string())),
        }
        if bytes > MAX_BYTES {
            let most = MAX_BYTES >> 20;
            return Some(Err(format!(
                "the lines up to here come to more than {most} MiB: lower `limit`"
            )));
        }
        // As `str::lines` does.
        line.pop_if(|byte| *byte == b'\n');
        line.pop_if(|byte| *byte == b'\r');
        Some(String::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned()))
    }))
}

/// Reads a file as text.
fn read(path: &str, folder: &Path) -> Result<String, String> {
    let told = |reason: String| format!("`{path}` of the workload: {reason}");
    let io = |error: std::io::Error| told(error.to_string());
    let text = prony_files::read_text(&folder.join(path), MAX_BYTES).map_err(io)?;
    if text.trim().is_empty() {
        return Err(told("it is empty".to_owned()));
    }
    Ok(text)
}
