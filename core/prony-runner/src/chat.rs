//! Conversations rendered as prompts, for engines that take raw prompts.

use crate::context::text;
use crate::request_set::{RequestSet, Texts};
use jiff::civil::DateTime;
use prony_chat::ChatTemplate;
use prony_config::{Api, MatrixPoint, Model, Work};
use prony_contract::{Api as Form, Kind};
use prony_plugin_host::{Registry, sha256_of};
use prony_result::{Rendering, words::count};
use prony_tokenizer::{Chat as ChatFile, Tokenizer};
use std::path::Path;
use std::sync::Arc;

/// Maximum size of a file with a chat template, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// The chat template of a model, which renders its conversations.
#[derive(Debug)]
pub(crate) struct Chat {
    template: ChatTemplate,
    /// Counts the tokens of rendered prompts.
    tokenizer: Option<Arc<Tokenizer>>,
    /// For the journal.
    rendering: Rendering,
}

/// Paths where a model's template may be: files or folders.
pub(crate) struct Places<'p> {
    /// The pipeline's `chat_template`.
    pub(crate) template: Option<&'p Path>,
    /// The model.
    pub(crate) model: Option<&'p Path>,
    /// Its tokenizer.
    pub(crate) tokenizer: Option<&'p Path>,
}

impl Chat {
    /// Reads and compiles the template, and renders every prompt once, so that a template
    /// that refuses one is found before any engine starts. `None` if nothing is to be
    /// rendered, or if only a check-up would use it and it cannot be used. `open` opens a
    /// tokenizer; `now` is the local time that templates see. The error is for people.
    pub(crate) fn new(
        point: &MatrixPoint,
        model: &Model,
        registry: &Registry,
        places: &Places<'_>,
        open: impl FnMut(&Path) -> Result<Arc<Tokenizer>, String>,
        requests: &RequestSet,
        now: DateTime,
    ) -> Result<Option<Self>, String> {
        let engines = engines_without_chats(point, model, registry)?;
        let is_needed = !engines.is_empty() || places.template.is_some();
        if point.workload.api != Api::Chat || !(is_needed || asks(point)) {
            return Ok(None);
        }
        let system = point.workload.system.as_ref();
        match Self::of(engines, places, open, requests, system, now) {
            Err(_) if !is_needed => Ok(None),
            chat => chat.map(Some),
        }
    }

    fn of(
        engines: Vec<String>,
        places: &Places<'_>,
        mut open: impl FnMut(&Path) -> Result<Arc<Tokenizer>, String>,
        requests: &RequestSet,
        system: Option<&String>,
        now: DateTime,
    ) -> Result<Self, String> {
        let (source, file) = source(places, &engines)?;
        let unusable = |error: prony_chat::Error| format!("`{file}`: {error}");
        let template = source.template.unwrap_or_default();
        let compiled = ChatTemplate::new(&template, source.tokens, now).map_err(unusable)?;
        let tokenizer = match places.tokenizer.or(places.model) {
            Some(path) => open(path),
            None => Err("the model has no `tokenizer`".to_owned()),
        };
        let mut chat = Self {
            template: compiled,
            rendering: Rendering {
                engines,
                template: file.clone(),
                template_sha256: sha256_of(template.as_bytes()),
                now: None,
                uncounted: tokenizer.as_ref().err().cloned(),
            },
            tokenizer: tokenizer.ok(),
        };
        for (prompt, number) in requests.prompts.iter().zip(1_u64..) {
            chat.render(&Texts::of(prompt, system))
                .map_err(|error| format!("`{file}`, prompt {number}: {error}"))?;
        }
        let dated = chat.template.is_dated();
        chat.rendering.now = dated.then(|| now.strftime("%Y-%m-%dT%H:%M:%S").to_string());
        Ok(chat)
    }

    /// The template, the engines that it is for, and its time, for the journal.
    pub(crate) fn rendering(&self) -> &Rendering {
        &self.rendering
    }

    /// Returns `true` for an engine that gets rendered prompts.
    pub(crate) fn is_for(&self, engine: &str) -> bool {
        self.rendering.engines.iter().any(|it| it == engine)
    }

    /// The prompt of a conversation. The error is for people.
    pub(crate) fn render(&self, texts: &Texts) -> Result<String, String> {
        let rendered = self.template.render(texts.messages());
        rendered.map_err(|error| error.to_string())
    }

    /// Tokens of the prompt of a conversation; `None` if they cannot be counted.
    pub(crate) fn count(&self, texts: &Texts) -> Option<u32> {
        let tokenizer = self.tokenizer.as_ref()?;
        let tokens = tokenizer.count(&self.render(texts).ok()?).ok()?;
        u32::try_from(tokens).ok()
    }
}

/// Returns `true` for a check-up, which compares what engines count with the rendering.
fn asks(point: &MatrixPoint) -> bool {
    let mut work = point.segments.iter().flat_map(|segment| &segment.work);
    work.any(|work| matches!(work, Work::Warmup(stage) if stage.question.is_some()))
}

/// Names of the engines that run with a model and take raw prompts only.
fn engines_without_chats(
    point: &MatrixPoint,
    model: &Model,
    registry: &Registry,
) -> Result<Vec<String>, String> {
    let mut engines = Vec::new();
    for engine in &point.engines {
        let (entry, _) = registry
            .find(Kind::Engine, &engine.plugin)
            .map_err(|error| error.to_string())?;
        let takes_chats = entry.apis_of(&engine.config).contains(&Form::Chat);
        if point.runs(&engine.name, &model.id) && !takes_chats {
            engines.push(engine.name.clone());
        }
    }
    Ok(engines)
}

/// The template with the special tokens, and the file that it comes from. The error says
/// which `engines` need it.
fn source(places: &Places<'_>, engines: &[String]) -> Result<(prony_chat::Config, String), String> {
    let mut found = Vec::new();
    for path in [places.model, places.tokenizer].into_iter().flatten() {
        found.push(ChatFile::open(path).map_err(|error| error.to_string())?);
    }
    if let Some(path) = places.template {
        let told = |reason: String| format!("`{}` of the model: {reason}", path.display());
        let template =
            prony_files::read_text(path, MAX_BYTES).map_err(|error| told(error.to_string()))?;
        let tokens = found.into_iter().map(|it| it.config.tokens);
        let config = prony_chat::Config {
            template: Some(template),
            tokens: tokens
                .reduce(|own, other| if own.is_empty() { other } else { own })
                .unwrap_or_default(),
        };
        return Ok((config, text(path)));
    }
    let looked: Vec<String> = found
        .iter()
        .map(|it| format!("`{}`", it.file.display()))
        .collect();
    let own = found.into_iter().find(|it| it.config.template.is_some());
    own.map(|it| (it.config, text(&it.file))).ok_or_else(|| {
        let engines: Vec<String> = engines.iter().map(|it| format!("`{it}`")).collect();
        let place = match looked.as_slice() {
            [] => "the model has no `path` to read one from".to_owned(),
            _ => format!("{} has none", looked.join(" or ")),
        };
        format!(
            "{} for which prony renders the chat template, and {place}: name a file with one as the model's `chat_template`, or use `api: completions`",
            match engines.len() {
                1 => format!("{} takes raw prompts,", engines[0]),
                several => format!(
                    "{} take raw prompts ({}),",
                    count(several as u64, "engine"),
                    engines.join(", ")
                ),
            }
        )
    })
}
