//! Conformance kit for plugin authors: what prony expects of every adapter,
//! as one test.
//!
//! Put recorded responses into a folder and write `tests/conformance.rs`:
//!
//! ```
//! # mod my_engine {
//! #     use prony_plugin_sdk::*;
//! #     #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #     #[serde(deny_unknown_fields)]
//! #     pub struct Config {
//! #         /// Where the server listens.
//! #         base_url: String,
//! #     }
//! #     pub struct Lines { config: Config }
//! #     impl Engine for Lines {
//! #         type Config = Config;
//! #         const ABOUT: About = about!("lines", "One token a line");
//! #         fn new(config: Config) -> Result<Self> { Ok(Self { config }) }
//! #         fn launch(&self, _: &Model, _: &Endpoint) -> Result<LaunchPlan> {
//! #             Ok(LaunchPlan::attach(&self.config.base_url, Ready::Immediate))
//! #         }
//! #         fn encode(&self, _: &Model, it: &Request) -> Result<HttpRequest> {
//! #             Ok(HttpRequest::post_json("/", &serde_json::json!([it.system, it.prompt, it.max_tokens, it.seed])))
//! #         }
//! #         fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()> {
//! #             if response.status != 200 {
//! #                 events.failure(response.last_chunk(), "refused");
//! #                 return Ok(());
//! #             }
//! #             for (chunk, line) in response.lines() {
//! #                 if line == b"." {
//! #                     events.finish(chunk, "stop");
//! #                     events.end(chunk);
//! #                 } else {
//! #                     events.text(chunk, 1, &String::from_utf8_lossy(line));
//! #                 }
//! #             }
//! #             Ok(())
//! #         }
//! #     }
//! #     pub static PLUGIN: native::PluginTable = native::engine_table::<Lines>();
//! # }
//! # fn conformance() {
//! // #[test] fn conformance() {
//! prony_plugin_test::Engine::new(&my_engine::PLUGIN)
//!     .config(r#"{ "base_url": "http://127.0.0.1:8080" }"#)
//!     .fixtures("fixtures")
//!     .check();
//! // }
//! # }
//! # std::fs::create_dir_all(std::env::temp_dir().join("prony-kit-doc/fixtures")).unwrap();
//! # std::env::set_current_dir(std::env::temp_dir().join("prony-kit-doc")).unwrap();
//! # std::fs::write("fixtures/two.body", "a\nb\n.\n").unwrap();
//! # std::fs::write("fixtures/two.events.json", r#"[{"kind":"text","tokens":1,"text":"a"},{"kind":"text","tokens":1,"text":"b"},{"kind":"finish","text":"stop"},{"kind":"end"}]"#).unwrap();
//! # conformance();
//! ```
//!
//! `BLESS=1 cargo test` writes what the adapter says now; read the diff before
//! committing it. A fixture `NAME` is these files:
//!
//! | File | What |
//! |---|---|
//! | `NAME.sse` or `NAME.body` | a response body, byte for byte; `NAME.404.body` came with status 404 |
//! | `NAME.events.json` | the events that it stands for, without `chunk` (blessed) |
//! | `NAME.request.json` | optional: a `request` of the contract |
//! | `NAME.http.json` | the HTTP exchange that it becomes, or over standard input the message (blessed) |
//!
//! The checks:
//!
//! - **manifest**: name, version, description, kind;
//! - **schema**: the config's schema refuses unknown keys and describes every
//!   option;
//! - **config**: the example is accepted, nonsense is answered with an error, and `check` has
//!   nothing against the example;
//! - **launch**, **encode**: deterministic, well-formed, nothing asked is lost; each form of
//!   requests that the manifest names is taken, and no other, less those that an option of the
//!   config rules out (`x-prony-apis` in its schema);
//!   every image is in the body, in base64, or the request is an error; every
//!   message of a conversation is in the body, in order, or the request is refused
//!   as unsupported;
//! - **decode**: each fixture gives the same events however its bytes are cut
//!   into reads, each stamped with the read that completed it; a response cut
//!   short gives the events up to there and no `end`; refusals are failures;
//!   no input breaks the plugin.
//!
//! A [`Subject`] other than a linked table (a WASM component in a host, say) is
//! checked by the same code.

mod bytes;
mod decode;
mod encode;
mod fixture;
mod questions;
mod schema;
mod subject;

pub use subject::{Answer, Fault, Subject};

use prony_plugin_sdk::{Endpoint, ErrorKind, Kind, Model, Ready, Transport};
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;

/// A violation by an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check: `manifest`, `schema`, `config`, `launch`, `encode` or `decode`.
    pub check: &'static str,
    /// Description of the violation.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.message)
    }
}

/// The check of an engine adapter.
pub struct Engine<'a> {
    subject: &'a dyn Subject,
    config: Value,
    fixtures: Option<PathBuf>,
    samples: usize,
    seeded: bool,
    /// It speaks over standard input and output.
    stdio: bool,
    findings: Vec<Finding>,
}

impl<'a> Engine<'a> {
    /// Checks `subject`: `&my_plugin::PLUGIN`, or anything else that answers.
    pub fn new(subject: &'a dyn Subject) -> Self {
        Self {
            subject,
            config: json!({}),
            fixtures: None,
            samples: usize::MAX,
            seeded: true,
            stdio: false,
            findings: Vec::new(),
        }
    }

    /// A config, as JSON, that the adapter accepts. Defaults to `{}`.
    #[must_use]
    pub fn config(mut self, json: &str) -> Self {
        match serde_json::from_str(json) {
            Ok(config) => self.config = config,
            Err(error) => self.finding("config", format!("the example is no JSON: {error}")),
        }
        self
    }

    /// The folder of recorded responses, relative to the package.
    #[must_use]
    pub fn fixtures(mut self, folder: impl Into<PathBuf>) -> Self {
        self.fixtures = Some(folder.into());
        self
    }

    /// Limits the ways to cut each response to about `count`, for subjects that answer
    /// slowly. By default every place is tried for one cut or for a truncation.
    #[must_use]
    pub fn samples(mut self, count: usize) -> Self {
        self.samples = count.max(1);
        self
    }

    /// The engine has no seed to send.
    #[must_use]
    pub fn without_seed(mut self) -> Self {
        self.seeded = false;
        self
    }

    /// Panics with a list of all findings, if there are any.
    pub fn check(self) {
        let findings = self.run();
        let lines: Vec<String> = findings.iter().map(|it| format!("\n- {it}")).collect();
        assert!(
            findings.is_empty(),
            "{} findings:{}",
            findings.len(),
            lines.concat()
        );
    }

    /// Runs all checks and returns the findings.
    pub fn run(mut self) -> Vec<Finding> {
        self.manifest();
        self.configs();
        self.launch();
        encode::check(&mut self);
        decode::check(&mut self);
        self.findings
    }

    fn finding(&mut self, check: &'static str, message: impl Into<String>) {
        self.findings.push(Finding {
            check,
            message: message.into(),
        });
    }

    fn manifest(&mut self) {
        let manifest = match self.subject.describe() {
            Ok(manifest) => manifest,
            Err(fault) => return self.finding("manifest", format!("`describe`: {fault}")),
        };
        let mut wrong = |message: String| self.finding("manifest", message);
        let name = &manifest.name;
        if !name.starts_with(|first: char| first.is_ascii_lowercase())
            || !name
                .chars()
                .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_'))
        {
            wrong(format!(
                "the name `{name}` is not made of lower-case letters, digits, `-` and `_`"
            ));
        }
        let core = manifest.version.split(['-', '+']).next().unwrap_or("");
        if core.split('.').count() != 3 || core.split('.').any(|part| part.parse::<u64>().is_err())
        {
            wrong(format!(
                "the version `{}` is not like `1.2.3`",
                manifest.version
            ));
        }
        let description = manifest.description.trim();
        if description.is_empty() || description.contains('\n') || description.ends_with('.') {
            wrong("the description is not one line without a full stop".to_owned());
        }
        if manifest.kind != Kind::Engine {
            wrong("the kind is not `engine`".to_owned());
        }
        if !matches!(manifest.transport, Some(Transport::Http | Transport::Stdio)) {
            wrong(
                "the transport is neither `http` nor `stdio`: this kit checks adapters".to_owned(),
            );
        }
        self.stdio = manifest.transport == Some(Transport::Stdio);
        for problem in schema::problems(&manifest.config_schema) {
            self.finding("schema", problem);
        }
        if self.subject.describe().ok().as_ref() != Some(&manifest) {
            self.finding("manifest", "`describe` answers differently each time");
        }
    }

    fn configs(&mut self) {
        if let Err(fault) = self.launched(&self.config) {
            self.finding("config", format!("the example is refused: {fault}"));
        }
        let problems = self.subject.check(&self.config);
        match &problems {
            Ok(problems) => {
                for problem in problems {
                    self.finding(
                        "config",
                        format!(
                            "`check` has something against the example: {}",
                            problem.message
                        ),
                    );
                }
            }
            Err(fault) => self.finding("config", format!("`check`: {fault}")),
        }
        if self.subject.check(&self.config) != problems {
            self.finding("config", "`check` answers differently each time");
        }
        let mut unknown = self.config.clone();
        unknown["no_such_option"] = json!(1);
        for (what, config) in [("an unknown option", &unknown), ("a text", &json!("text"))] {
            match self.launched(config) {
                Err(Fault::Reported(error)) if error.kind == ErrorKind::InvalidConfig => {}
                Err(fault) => self.finding(
                    "config",
                    format!("{what} must give an `invalid-config` error: {fault}"),
                ),
                Ok(()) => self.finding("config", format!("{what} is accepted")),
            }
        }
    }

    fn launched(&self, config: &Value) -> Answer<()> {
        if self.stdio {
            self.subject.launch_stdio(config, &model()).map(drop)
        } else {
            let plan = self.subject.launch(config, &model(), &endpoint());
            plan.map(drop)
        }
    }

    fn launch_stdio(&mut self) {
        let plan = || self.subject.launch_stdio(&self.config, &model()).ok();
        let Some(made) = plan() else {
            return;
        };
        let is_steady = plan().as_ref() == Some(&made);
        let mut wrong = |message: String| self.finding("launch", message);
        if !is_steady {
            wrong("answers differently each time".to_owned());
        }
        if made.command.argv.first().is_none_or(String::is_empty) {
            wrong("the command is empty".to_owned());
        }
        match &made.ready {
            Ready::Http(_) => wrong("nothing can be asked over HTTP".to_owned()),
            Ready::LogLine(text) if text.is_empty() => {
                wrong("an empty ready line is in every line".to_owned());
            }
            _ => {}
        }
        if made.id_at.is_empty() {
            wrong("`id_at` is empty: no line would be anybody's".to_owned());
        }
        for pointer in made.id_at.iter().filter(|it| !it.starts_with('/')) {
            wrong(format!("`{pointer}` in `id_at` is no JSON pointer"));
        }
        for message in made.opening.iter().chain(&made.closing) {
            for problem in encode::problems(message) {
                wrong(problem);
            }
        }
    }

    fn launch(&mut self) {
        if self.stdio {
            return self.launch_stdio();
        }
        let Ok(plan) = self.subject.launch(&self.config, &model(), &endpoint()) else {
            return;
        };
        if self
            .subject
            .launch(&self.config, &model(), &endpoint())
            .ok()
            .as_ref()
            != Some(&plan)
        {
            self.finding("launch", "answers differently each time");
        }
        let mut wrong = |message: String| self.finding("launch", message);
        let authority = plan.base_url.strip_prefix("http://").unwrap_or_default();
        if authority.is_empty() || authority.contains(['/', '?', '#']) {
            wrong(format!(
                "the base URL `{}` is not `http://host:port` without a path",
                plan.base_url
            ));
        }
        if let Some(command) = &plan.command {
            if command.argv.first().is_none_or(String::is_empty) {
                wrong("the command is empty".to_owned());
            }
            let at = endpoint();
            if authority != format!("{}:{}", at.host, at.port) {
                wrong(format!(
                    "a launched server must listen at {}:{}, and the base URL is `{}`",
                    at.host, at.port, plan.base_url
                ));
            }
        }
        if let Some(models) = &plan.models
            && !models.path.starts_with('/')
        {
            wrong(format!(
                "the path of the models, `{}`, does not start with `/`",
                models.path
            ));
        }
        for problem in plan.questions.iter().flat_map(questions::problems) {
            wrong(problem);
        }
        match &plan.ready {
            Ready::Http(path) if !path.starts_with('/') => {
                wrong(format!("the ready path `{path}` does not start with `/`"));
            }
            Ready::LogLine(text) if text.is_empty() => {
                wrong("an empty ready line is in every line".to_owned());
            }
            _ => {}
        }
    }
}

fn model() -> Model {
    Model {
        id: "a-model".to_owned(),
        path: Some("/models/a-model.gguf".to_owned()),
    }
}

fn endpoint() -> Endpoint {
    Endpoint {
        host: "127.0.0.1".to_owned(),
        port: 40_961,
    }
}
