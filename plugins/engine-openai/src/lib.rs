//! Servers with `OpenAI`'s API, or with a native one of Ollama, TGI, llama.cpp or `SGLang`:
//! chat and plain completions, streamed.
//!
//! Attaches to a running server (`base_url`) or has prony start one (`launch`).

mod config;
mod decode;
mod encode;
mod protocol;
mod recipe;

use config::{Config, Given};
use prony_plugin_sdk::{
    About, Command, Endpoint, Engine, Error, Events, HttpRequest, LaunchPlan, Model, Pair, Ready,
    Recipe, Request, Response, Result, about,
};

/// The adapter.
pub struct OpenAi {
    config: Config,
}

prony_plugin_sdk::plugin!(engine: OpenAi);

impl Engine for OpenAi {
    type Config = Given;
    const ABOUT: About = about!(
        "openai",
        "Any server with OpenAI's API, or a native one of Ollama, TGI, llama.cpp or SGLang"
    );
    const IMAGES: bool = true;
    const HISTORY: bool = true;

    fn recipes() -> Vec<Recipe> {
        recipe::all()
    }

    fn new(Given(config): Given) -> Result<Self> {
        let config = config?;
        match (&config.base_url, &config.launch) {
            (None, None) => Err(Error::config(
                "",
                "`base_url` (attach to a server) or `launch` (start one) is needed",
            )),
            (Some(_), Some(_)) => Err(Error::config(
                "/base_url",
                "`base_url` and `launch` exclude each other: a launched server listens where prony says",
            )),
            (Some(url), None)
                if let Some(problem) = config::base_url_problem(url, config.protocol) =>
            {
                Err(Error::config("/base_url", problem))
            }
            (None, Some(launch)) if launch.command.is_empty() => Err(Error::config(
                "/launch/command",
                "the command is empty: give the program and its arguments",
            )),
            (None, Some(launch)) if launch.command.first().is_some_and(|it| it.0.is_empty()) => {
                Err(Error::config(
                    "/launch/command/0",
                    "the program is an empty text: give its name or path",
                ))
            }
            (None, Some(_)) if config.attach_ready.is_some() => Err(Error::config(
                "/attach_ready",
                "it is for a server that runs already (`base_url`), and this one is started: remove it",
            )),
            _ => {
                let problem = config
                    .header_problem()
                    .or_else(|| encode::field_problem(&config))
                    .or_else(|| config.told_problem());
                problem.map_or_else(|| Ok(Self { config }), Err)
            }
        }
    }

    fn launch(&self, model: &Model, at: &Endpoint) -> Result<LaunchPlan> {
        let model = &*self.config.model_here(model);
        let models = encode::list_of_models(&self.config);
        let questions = encode::questions(&self.config, model)?;
        let (load, unload) = encode::loading(&self.config, model)?;
        let told = |plan: LaunchPlan| {
            let reset = encode::reset(&self.config);
            plan.lists_models(models)
                .asks(questions)
                .loads(load, unload)
                .resets(reset)
        };
        let Some(launch) = &self.config.launch else {
            let root = config::root(self.config.base_url.as_deref().unwrap_or_default());
            let ready = self
                .config
                .attach_ready
                .clone()
                .map_or(Ready::Immediate, Ready::Http);
            return Ok(told(LaunchPlan::attach(root, ready)));
        };
        let fill = |text: &str| {
            if self.config.is_recipe {
                recipe::fill(text, model, Some(at))
            } else {
                Ok(text.to_owned())
            }
        };
        let command = launch.command.iter().map(|word| fill(&word.0));
        let env = launch.env.iter();
        let env = env.map(|(name, value)| Ok(Pair::new(name, fill(&value.0)?)));
        let command = Command {
            argv: command.collect::<Result<_>>()?,
            env: env.collect::<Result<_>>()?,
            cwd: launch.cwd.clone(),
        };
        let ready = match &launch.ready {
            config::Probe::Http(path) => Ready::Http(path.clone()),
            config::Probe::LogLine(text) => Ready::LogLine(text.clone()),
        };
        Ok(told(LaunchPlan::spawn(command, at, ready)))
    }

    fn encode(&self, model: &Model, request: &Request) -> Result<HttpRequest> {
        encode::request(&self.config, &self.config.model_here(model), request)
    }

    fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()> {
        let rules = decode::Rules {
            end_mark: self.config.end_mark,
            finish_reasons: &self.config.finish_reasons,
        };
        self.config.protocol.decode(rules, response, events)
    }
}
