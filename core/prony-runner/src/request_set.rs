//! The request set of a model, made before any measurement.

use crate::dataset;
use crate::images::{self, Images};
use prony_chat::Message;
use prony_config::{Api, Arrival, Cache, Length, MatrixPoint, Synthetic, Work, Workload};
use prony_contract::{self as contract, ChatMessage};
use prony_files::kind::NotText;
use prony_plugin_host::{Digester, sha256_of};
use prony_prompts::dataset::Image;
use prony_prompts::{Prompt, Shape, synthetic};
use prony_result::words::count;
use prony_tokenizer::Tokenizer;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::io::BufWriter;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

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
    /// The prompts' own images, by their numbers.
    images: BTreeMap<u32, Vec<Arc<contract::Image>>>,
    /// Facts about the dataset that the user must be told.
    pub(crate) notes: Vec<String>,
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
    /// Digests of the prompts' own images, by their numbers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    own_images: BTreeMap<u32, Vec<String>>,
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
        let is_timed = replays(point).next().is_some();
        let (mut prompts, notes) = prompts(workload, is_timed, tokenizer, folder, seed)?;
        if workload.api == Api::Completions && prompts.iter().any(|it| it.system.is_some()) {
            return Err(
                "the dataset has system messages, which do not go with `api: completions`"
                    .to_owned(),
            );
        }
        if workload.api == Api::Completions && prompts.iter().any(|it| !it.history.is_empty()) {
            return Err(
                "the dataset has conversations of several turns, which do not go with `api: completions`: a chat template renders them"
                    .to_owned(),
            );
        }
        recorded(point, &prompts)?;
        let own_images = match &workload.dataset {
            Some(dataset) => own_images(&dataset.path, folder, &mut prompts)?,
            None => BTreeMap::new(),
        };
        if !own_images.is_empty() && workload.api == Api::Completions {
            return Err(
                "the dataset has images, which do not go with `api: completions`".to_owned(),
            );
        }
        let digests = |of: &Vec<Arc<contract::Image>>| {
            let each = of.iter().map(|image| sha256_of(&image.data));
            each.collect()
        };
        if !is_timed {
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
            own_images: own_images
                .iter()
                .map(|(prompt, of)| (*prompt, digests(of)))
                .collect(),
            cold_seed: is_cold(point).then_some(seed),
        };
        // Not kept: histories written out take the square of their turns.
        let mut digester = BufWriter::new(Digester::default());
        serde_json::to_writer(&mut digester, &content).map_err(|error| error.to_string())?;
        let digester = digester.into_inner().map_err(|error| error.to_string())?;
        Ok(Self {
            prompts,
            images: own_images,
            notes,
            sha256: digester.finish(),
            seed,
        })
    }

    /// The prompt of request `index` of a stage; prompts repeat in turn.
    pub(crate) fn prompt(&self, index: u32) -> &Prompt {
        &self.prompts[index as usize % self.prompts.len()]
    }

    /// Returns `true` if prompts have images of their own.
    pub(crate) fn has_images(&self) -> bool {
        !self.images.is_empty()
    }

    /// Numbers of the prompts that have images of their own.
    pub(crate) fn with_images(&self) -> impl Iterator<Item = u32> {
        self.images.keys().copied()
    }

    /// The own images of the prompt of request `index` of a stage.
    pub(crate) fn images(&self, index: u32) -> impl Iterator<Item = contract::Image> {
        let prompt = index % self.prompts.len() as u32;
        let images = self.images.get(&prompt).into_iter().flatten();
        images.map(|image| contract::Image::clone(image))
    }

    /// Conversations among a stage's `count` requests from `first` on, as ranges of
    /// request numbers minus `first`.
    pub(crate) fn conversations(&self, first: u32, count: u32) -> Vec<Range<u32>> {
        prony_prompts::conversations(&self.prompts, first, count)
    }

    /// The texts of request `index` of a stage at its matrix point.
    pub(crate) fn texts(&self, point: &MatrixPoint, index: u32) -> Texts {
        Texts::of(self.prompt(index), point.workload.system.as_ref())
    }

    /// Beginning of a request's first message that makes it unknown to any cache. It does not
    /// follow from the engine: all get the same texts.
    pub(crate) fn nonce(
        &self,
        point: Option<&str>,
        model: &str,
        cycle: u32,
        stage: &str,
        index: u32,
    ) -> String {
        let point = point.unwrap_or_default();
        let place = format!("{point}/{model}/{cycle}/{stage}/{index}");
        prony_prompts::nonce(self.seed, &place)
    }
}

/// Names and requests of the stages that replay recorded times.
fn replays(point: &MatrixPoint) -> impl Iterator<Item = (&str, u32)> {
    let work = point.segments.iter().flat_map(|segment| &segment.work);
    work.filter_map(|work| {
        let (id, requests, arrival) = match work {
            Work::Measure(it) => (it.id.as_str(), it.requests, it.arrival),
            Work::Warmup(it) => (
                it.id.as_deref().unwrap_or("warmup"),
                it.requests,
                it.arrival,
            ),
        };
        matches!(arrival, Arrival::Replay(_)).then_some((id, requests))
    })
}

/// Checks that `replay` has recorded times.
fn recorded(point: &MatrixPoint, prompts: &[Prompt]) -> Result<(), String> {
    for (stage, requests) in replays(point) {
        if requests as usize > prompts.len() {
            return Err(format!(
                "the stage `{stage}` is to replay {} of a dataset that has {}: lower `requests`",
                count(requests.into(), "request"),
                prompts.len()
            ));
        }
        let mut sent = prompts.iter().take(requests as usize);
        if sent.any(|it| it.begins() && it.at_ns.is_none()) {
            return Err(format!(
                "the stage `{stage}` is to replay a dataset in which not every conversation has a time"
            ));
        }
    }
    Ok(())
}

/// Returns `true` if a measurement of the matrix point has a cold cache.
pub(crate) fn is_cold(point: &MatrixPoint) -> bool {
    point.measures().any(|it| it.cache == Some(Cache::Cold))
}

/// The prompts, and what the user must be told of them.
fn prompts(
    workload: &Workload,
    is_timed: bool,
    tokenizer: Option<&Path>,
    folder: &Path,
    seed: u64,
) -> Result<(Vec<Prompt>, Vec<String>), String> {
    let max_tokens = workload.max_tokens;
    if let Some(of) = &workload.dataset {
        let path = prony_files::located(folder, &of.path);
        let options = dataset::options(of, is_timed, seed)?;
        let read = dataset::read(&path, &options, max_tokens, tokenizer, &mut |_| ());
        let read = read.map_err(|problems| told(&of.path, &problems))?;
        let notes = read
            .notes
            .iter()
            .map(|note| format!("the dataset {} ({}): {note}", of.path, read.format.name()));
        return Ok((read.prompts, notes.collect()));
    }
    let prompts = if let Some(synthetic) = &workload.synthetic {
        of_synthetic(synthetic, tokenizer, folder, max_tokens, seed)?
    } else {
        let files = workload.prompt_files.iter();
        let files: Vec<String> = files
            .map(|path| read(path, folder))
            .collect::<Result<_, _>>()?;
        let texts = workload.prompts.iter().cloned().chain(files);
        prony_prompts::texts(texts, max_tokens)
    };
    Ok((prompts, Vec::new()))
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
        let others = problems.len() - MAX_SHOWN;
        lines.push(format!("and {others} more kinds of problems"));
    }
    lines.join("; ")
}

/// Takes the images out of prompts and reads them. Files are relative to the dataset's folder.
fn own_images(
    dataset: &str,
    folder: &Path,
    prompts: &mut [Prompt],
) -> Result<BTreeMap<u32, Vec<Arc<contract::Image>>>, String> {
    let folder = prony_files::folder(&prony_files::located(folder, dataset));
    let mut files: HashMap<String, Arc<contract::Image>> = HashMap::new();
    let mut all = BTreeMap::new();
    for (number, prompt) in (0..).zip(prompts) {
        let mut of_prompt = Vec::new();
        for image in std::mem::take(&mut prompt.images) {
            of_prompt.push(match image {
                Image::Bytes(bytes) => {
                    let image = images::image_of(bytes.to_vec());
                    Arc::new(
                        image.map_err(|reason| {
                            format!("an image in the dataset {dataset}: {reason}")
                        })?,
                    )
                }
                Image::File(path) => {
                    if let Some(known) = files.get(&path) {
                        known.clone()
                    } else {
                        let image = images::image_at(&prony_files::located(&folder, &path));
                        let image = Arc::new(image.map_err(|reason| {
                            format!("the image `{path}` of the dataset {dataset}: {reason}")
                        })?);
                        files.insert(path, image.clone());
                        image
                    }
                }
            });
        }
        if !of_prompt.is_empty() {
            all.insert(number, of_prompt);
        }
    }
    Ok(all)
}

fn of_synthetic(
    asked: &Synthetic,
    tokenizer: Option<&Path>,
    folder: &Path,
    max_tokens: u32,
    seed: u64,
) -> Result<Vec<Prompt>, String> {
    let path = match (&asked.tokenizer, tokenizer) {
        (Some(path), _) => prony_files::located(folder, path),
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

/// Reads a file as text.
fn read(path: &str, folder: &Path) -> Result<String, String> {
    let told = |reason: String| format!("`{path}` of the workload: {reason}");
    let place = prony_files::located(folder, path);
    let io = |error: std::io::Error| {
        let inner = error.get_ref().and_then(|it| it.downcast_ref::<NotText>());
        told(match inner {
            Some(not) => format!("{not}: {}", not.help(&place)),
            None => error.to_string(),
        })
    };
    let text = prony_files::read_text(&place, MAX_BYTES).map_err(io)?;
    if text.trim().is_empty() {
        return Err(told("it is empty".to_owned()));
    }
    Ok(text)
}
