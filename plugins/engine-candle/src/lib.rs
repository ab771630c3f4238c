//! An in-process engine for GGUF models with the Llama architecture, on candle.
//!
//! ```yaml
//! engines:
//!   candle: { plugin: candle, config: { dtype: q8_0, threads: 1 } }
//! ```
//!
//! The weights come from the GGUF file at the model's `path`, or from a seeded
//! generator (`weights: { synthetic: {} }`), which needs no file.

pub mod config;
mod matrix;
pub mod model;
mod runtime;
pub mod sampler;
pub mod text;
pub mod tokenizer;
pub mod weights;

use crate::config::{Config, Weights};
use crate::model::Llama;
use crate::sampler::Sampler;
use crate::text::{StopFilter, Utf8Stream};
use crate::tokenizer::Tokenizer;
use crate::weights::{Gguf, Random, Source};
use prony_chat::{ChatTemplate, Message, SpecialTokens};
use prony_plugin_sdk::{
    About, Api, Error, EventKind, LocalEngine, Model, Request, Result, about, plugin,
};

/// Template of synthetic models.
const TRIVIAL: &str = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

/// Value of [`EventKind::EngineVersion`]. A test compares it with the lock file.
pub const ENGINE_VERSION: &str = "candle 0.11.1";

/// The engine: a loaded model.
pub struct Candle {
    name: String,
    model: Llama,
    tokenizer: Tokenizer,
    /// A template that does not compile affects only chat requests.
    chat: Result<ChatTemplate>,
    context: usize,
}

impl LocalEngine for Candle {
    type Config = Config;
    const ABOUT: About = about!(
        "candle",
        "GGUF Llama models in a process of their own, on candle"
    );
    const HISTORY: bool = true;

    fn check(config: Config) -> Vec<Error> {
        let shape = match &config.weights {
            Some(Weights::Synthetic(shape)) => shape.check(),
            _ => Ok(()),
        };
        shape.err().into_iter().collect()
    }

    fn load(config: Config, model: &Model) -> Result<Self> {
        runtime::fix_threads(config.threads)?;
        let device = runtime::device(config.device)?;
        let weights = match (config.weights, &model.path) {
            (Some(weights), _) => weights,
            (None, Some(path)) => Weights::Gguf(path.clone()),
            (None, None) => {
                return Err(Error::config(
                    "/weights",
                    format!(
                        "model `{}` has no `path`: name its GGUF file there or under `weights.gguf`, or use `weights.synthetic`",
                        model.id
                    ),
                ));
            }
        };
        let (name, tokenizer, chat, mut source): (_, _, _, Box<dyn Source>) = match weights {
            Weights::Synthetic(shape) => {
                let source = Random::new(&shape, config.dtype, &device)?;
                let tokenizer = Tokenizer::bytes(shape.vocab);
                (
                    model.id.clone(),
                    tokenizer,
                    compiled(TRIVIAL, SpecialTokens::new()),
                    Box::new(source),
                )
            }
            Weights::Gguf(path) => {
                let source = Gguf::open(&path, config.dtype, &device)?;
                let tokenizer = Tokenizer::from_gguf(&source)?;
                let chat = match source.string("tokenizer.chat_template") {
                    Some(template) => compiled(template, tokenizer.special_tokens()),
                    None => Err(Error::unsupported(format!(
                        "`{path}` has no chat template: use `api: completions`"
                    ))),
                };
                (
                    source
                        .string("general.name")
                        .unwrap_or(&model.id)
                        .to_owned(),
                    tokenizer,
                    chat,
                    Box::new(source),
                )
            }
        };
        let hyper = source.hyper();
        if tokenizer.len() > hyper.vocab {
            return Err(Error::engine(format!(
                "the tokenizer has {} tokens, but the embedding has {} rows",
                tokenizer.len(),
                hyper.vocab
            )));
        }
        let context = match config.context {
            Some(0) => {
                return Err(Error::config(
                    "/context",
                    "`context` is 0, expected at least 1",
                ));
            }
            Some(limit) if limit > hyper.context => {
                return Err(Error::config(
                    "/context",
                    format!(
                        "`context` is {limit}, but the model was made for {}",
                        hyper.context
                    ),
                ));
            }
            Some(limit) => limit,
            None => hyper.context,
        };
        let mut model = Llama::load(source.as_mut(), &device)?;
        // candle lays weights out for the CPU at their first use, which belongs to
        // loading, not to the first request.
        model.start(1)?;
        model.feed(&[0])?;
        Ok(Self {
            name,
            model,
            tokenizer,
            chat,
            context,
        })
    }

    fn generate(
        &mut self,
        request: &Request,
        emit: &mut dyn FnMut(EventKind, u32, &str) -> bool,
    ) -> Result<()> {
        let mut sampler = Sampler::new(request)?;
        let prompt = self.prompt(request)?;
        // Room for the prompt and one token; a longer answer ends at the context.
        if prompt.len() >= self.context {
            return Err(Error::unsupported(format!(
                "the prompt has {} tokens, but the context of {} tokens leaves room for {}",
                prompt.len(),
                self.context,
                self.context - 1
            )));
        }
        let room = self.context - prompt.len();
        let limit = room.min(request.max_tokens as usize);
        emit(EventKind::ServedModel, 0, &self.name);
        emit(EventKind::EngineVersion, 0, ENGINE_VERSION);

        let banned: &[u32] = if request.ignore_eos {
            self.tokenizer.ends()
        } else {
            &[]
        };
        let mut characters = Utf8Stream::default();
        let mut stops = StopFilter::new(&request.stop);
        let mut count = 0;
        let mut finish = "length";
        let mut logits = Vec::new();
        if limit > 0 {
            self.model.start(prompt.len() + limit)?;
            logits = self.model.feed(&prompt)?;
        }
        while count < limit {
            let token = sampler.pick(&mut logits, banned);
            count += 1;
            if !request.ignore_eos && self.tokenizer.ends().contains(&token) {
                // Counted, but without text; pending text is due now.
                let (mut text, stopped) = stops.push(&characters.finish());
                if !stopped {
                    text.push_str(&stops.finish());
                }
                if !text.is_empty() {
                    emit(EventKind::Text, 0, &text);
                }
                finish = "stop";
                break;
            }
            let mut complete = characters.push(self.tokenizer.piece(token));
            if count == limit {
                complete.push_str(&characters.finish());
            }
            let (mut text, stopped) = stops.push(&complete);
            if count == limit && !stopped {
                text.push_str(&stops.finish());
            }
            let is_wanted = emit(EventKind::Text, 1, &text);
            if stopped {
                finish = "stop";
                break;
            }
            if !is_wanted {
                return Ok(());
            }
            if count < limit {
                logits = self.model.feed(&[token])?;
            }
        }
        emit(EventKind::OutputTokens, count as u32, "");
        emit(EventKind::PromptTokens, prompt.len() as u32, "");
        emit(EventKind::CachedTokens, 0, "");
        emit(EventKind::Finish, 0, finish);
        emit(EventKind::End, 0, "");
        Ok(())
    }
}

impl Candle {
    /// The tokens of a request's prompt.
    fn prompt(&self, request: &Request) -> Result<Vec<u32>> {
        let rendered = match request.api {
            Api::Chat => Some(
                self.chat
                    .as_ref()
                    .map_err(Clone::clone)?
                    .render(messages(request))
                    .map_err(|error| Error::engine(error.to_string()))?,
            ),
            Api::Completions if !request.history.is_empty() => {
                return Err(Error::unsupported(
                    "`api: completions` cannot carry a conversation, which a chat template renders: use `api: chat`, or conversations of one turn",
                ));
            }
            Api::Completions => {
                prony_plugin_sdk::without_system(request)?;
                None
            }
        };
        let tokens = self
            .tokenizer
            .encode(rendered.as_ref().unwrap_or(&request.prompt))?;
        if tokens.is_empty() {
            return Err(Error::unsupported(
                "the prompt is empty, and this model has no begin token to start from",
            ));
        }
        Ok(tokens)
    }
}

/// A chat template, ready to render.
fn compiled(template: &str, tokens: SpecialTokens) -> Result<ChatTemplate> {
    ChatTemplate::new(template, tokens, jiff::ZonedDateTime::now().datetime())
        .map_err(|error| Error::engine(error.to_string()))
}

/// The messages of a request, in order.
fn messages(request: &Request) -> impl Iterator<Item = Message<'_>> {
    let said = |role, content| Message { role, content };
    let system = request.system.iter().map(move |it| said("system", it));
    let history = request.history.iter();
    let history = history.map(move |it| said(it.role.name(), &it.content));
    let prompt = said("user", &request.prompt);
    system.chain(history).chain([prompt])
}

plugin!(local_engine: Candle);
