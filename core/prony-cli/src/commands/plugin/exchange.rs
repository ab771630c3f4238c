//! One request of an adapter: encoded, sent, received.

use super::record::is_private;
use super::subject::{Tested, wrong};
use crate::commands::runtime;
use crate::{Exit, Failure};
use clap::Args;
use prony_contract::{Api, Endpoint, HttpRequest, Manifest, Message, Request, Transport};
use prony_runner::author::{self, Exchange};
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Address of the running server. Put into the config as `base_url`, if it has such an option.
    #[arg(long, value_name = "URL")]
    pub(super) base_url: Option<String>,
    /// The prompt. May be repeated.
    #[arg(
        long = "prompt",
        value_name = "TEXT",
        default_value = "Count from one to five."
    )]
    pub(super) prompts: Vec<String>,
    /// Form of the requests: `chat` or `completions`. Defaults to the first that the adapter
    /// takes.
    #[arg(long, value_name = "FORM", value_parser = api)]
    pub(super) api: Option<Api>,
    /// Most tokens of an answer.
    #[arg(long, default_value_t = 24, value_name = "N")]
    pub(super) max_tokens: u32,
    /// Time for an answer, and for a process to become ready, in seconds.
    #[arg(long, default_value_t = 60, value_name = "S")]
    pub(super) timeout_s: u64,
}

fn api(name: &str) -> Result<Api, String> {
    let found = Api::all().into_iter().find(|api| api.name() == name);
    found.ok_or_else(|| "give `chat` or `completions`".to_owned())
}

/// A request with its answer.
pub(super) struct Answered {
    pub(super) request: Request,
    pub(super) sent: Sent,
    pub(super) exchange: Exchange,
}

/// A request as it was sent.
pub(super) enum Sent {
    Http(HttpRequest),
    Line(Message),
}

impl Asked {
    pub(super) fn requests(&self, tested: &Tested, manifest: &Manifest) -> Vec<Request> {
        let config = tested.settings.config.as_object();
        let apis = config.map_or_else(
            || manifest.apis.clone(),
            |config| Api::of_config(&manifest.apis, &manifest.config_schema, config),
        );
        let api = self.api.or_else(|| apis.first().copied());
        let prompts = self.prompts.iter();
        prompts
            .map(|prompt| Request {
                max_tokens: self.max_tokens,
                ..prony_conformance::everyday(api.unwrap_or_default(), prompt)
            })
            .collect()
    }

    /// The address, in the config where the adapter looks for it.
    pub(super) fn put_address(&self, tested: &mut Tested, manifest: &Manifest, url: Option<&str>) {
        let url = self.base_url.as_deref().or(url);
        let has_option = manifest.config_schema["properties"]
            .get("base_url")
            .is_some();
        if let (Some(url), true, Some(config)) =
            (url, has_option, tested.settings.config.as_object_mut())
        {
            config.insert("base_url".to_owned(), json!(url));
        }
    }

    /// Sends requests to the server, or to the process that the adapter starts.
    pub(super) fn send(
        &self,
        tested: &Tested,
        manifest: &Manifest,
        requests: Vec<Request>,
    ) -> Result<Vec<Answered>, Failure> {
        let timeout = Duration::from_secs(self.timeout_s.max(1));
        match manifest.transport {
            Some(Transport::Http) => self.over_http(tested, requests, timeout),
            Some(Transport::Stdio) => over_stdio(tested, requests, timeout),
            _ => Err(wrong(format!(
                "`{}` is no adapter: nothing is sent",
                tested.shown
            ))),
        }
    }

    fn over_http(
        &self,
        tested: &Tested,
        requests: Vec<Request>,
        timeout: Duration,
    ) -> Result<Vec<Answered>, Failure> {
        let (plugin, config, model) = (
            tested.subject.plugin(),
            &tested.settings.config,
            tested.model(),
        );
        // Nothing is launched, so nothing listens here.
        let at = Endpoint {
            host: "127.0.0.1".to_owned(),
            port: 1,
            more_ports: Vec::new(),
        };
        let plan = plugin.launch(config, &model, &at)?;
        let base_url = match (&plan.command, &self.base_url) {
            (None, _) => plan.base_url,
            (Some(_), Some(url)) => url.clone(),
            (Some(_), None) => {
                return Err(wrong(
                    "the config starts the engine: start it yourself and give its address by `--base-url`".to_owned(),
                ));
            }
        };
        let exchanges = requests
            .iter()
            .map(|request| plugin.encode(config, &model, request))
            .collect::<Result<Vec<_>, _>>()?;
        let sent = author::over_http(&base_url, &exchanges, timeout);
        let answers = runtime()?.block_on(sent).map_err(failed)?;
        let all = requests.into_iter().zip(exchanges).zip(answers);
        Ok(all
            .map(|((request, sent), exchange)| Answered {
                request,
                sent: Sent::Http(sent),
                exchange,
            })
            .collect())
    }
}

fn failed(message: String) -> Failure {
    Failure::new(Exit::RunFailed, message)
}

fn over_stdio(
    tested: &Tested,
    requests: Vec<Request>,
    timeout: Duration,
) -> Result<Vec<Answered>, Failure> {
    let (plugin, config, model) = (
        tested.subject.plugin(),
        &tested.settings.config,
        tested.model(),
    );
    let plan = plugin.launch_stdio(config, &model)?;
    let messages = (1..)
        .zip(&requests)
        .map(|(number, request)| plugin.encode_stdio(config, &model, request, number))
        .collect::<Result<Vec<_>, _>>()?;
    let log = tempfile::NamedTempFile::new().map_err(|error| failed(error.to_string()))?;
    let sent = author::over_stdio(plan, messages.clone(), &tested.folder, log.path(), timeout);
    let answers = runtime()?.block_on(sent).map_err(failed)?;
    let all = requests.into_iter().zip(messages).zip(answers);
    Ok(all
        .map(|((request, sent), exchange)| Answered {
            request,
            sent: Sent::Line(sent),
            exchange,
        })
        .collect())
}

/// Names and values of a response's head.
pub(super) fn headers(head: Option<&[u8]>) -> Vec<(String, String)> {
    let head = String::from_utf8_lossy(head.unwrap_or_default()).into_owned();
    let lines = head.lines().filter(|line| !line.starts_with("HTTP/"));
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect()
}

/// The values of options that are secrets, by the schema of the config.
pub(super) fn secrets(manifest: &Manifest, config: &Value) -> Vec<String> {
    let options = manifest.config_schema["properties"].as_object();
    let secret = options
        .into_iter()
        .flatten()
        .filter(|(_, option)| option["x-prony-role"] == "secret");
    let mut found = Vec::new();
    for (name, _) in secret {
        texts(&config[name.as_str()], &mut found);
    }
    private_headers(config, &mut found);
    found.retain(|secret| secret.len() >= 4);
    // One may begin another.
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    found.dedup();
    found
}

/// Values of `headers` that may let somebody in, wherever a config has them; also without the
/// word before them.
fn private_headers(config: &Value, into: &mut Vec<String>) {
    let Value::Object(map) = config else { return };
    for (name, value) in map {
        if name != "headers" {
            private_headers(value, into);
            continue;
        }
        for (header, value) in value.as_object().into_iter().flatten() {
            if let Some(text) = value.as_str()
                && is_private(&header.to_ascii_lowercase())
            {
                into.extend(text.split_once(' ').map(|(_, rest)| rest.to_owned()));
                into.push(text.to_owned());
            }
        }
    }
}

fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|it| texts(it, into)),
        Value::Object(map) => map.values().for_each(|it| texts(it, into)),
        _ => {}
    }
}
