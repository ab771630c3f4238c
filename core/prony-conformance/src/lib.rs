//! Conformance: what prony expects of every plugin, as checks of anything that answers the calls
//! of the contract.
//!
//! ```text
//! Kit ─ manifest, schema, config ─┬─ launch, encode, decode   HTTP or standard input and output
//!                                 ├─ generate                 in-process engines
//!                                 └─ render                   reporters
//! ```
//!
//! [`mutants`] wraps a good plugin by one defect at a time: the share of them that the checks
//! find says what the checks are worth.
//!
//! The crate stands on the contract alone, so authors of plugins compile no runtime to test
//! theirs; the host's plugins implement [`Subject`] where they are tested.

mod adapter;
mod bytes;
mod decode;
mod encode;
mod fields;
mod files;
mod fixture;
mod lines;
mod local;
pub mod mutants;
mod questions;
mod render;
mod samples;
mod schema;
mod sent;
mod settings;
mod subject;

pub use fixture::{events as events_json, exchange_json, file_stem};
pub use samples::sample_result;
pub use sent::{everyday, probe_request};
pub use settings::{KIT, Settings};
pub use subject::{Answer, Fault, Session, Subject};

use prony_contract::{Endpoint, Kind, Manifest, Model, Transport};
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A violation by a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check: `manifest`, `schema`, `config`, `launch`, `encode`, `decode`, `generate` or
    /// `render`.
    pub check: &'static str,
    /// Description of the violation.
    pub message: String,
    /// First difference from a file, as lines that begin with ` `, `-` (wanted) or `+` (found).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.message)
    }
}

/// A check that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, as in [`Finding::check`].
    pub check: &'static str,
    /// Extent of the check, in words.
    pub detail: String,
    /// `true` if there was nothing to check; the detail says why.
    pub skipped: bool,
    /// Violations; none: passed.
    pub findings: Vec<Finding>,
}

/// A violation before it is known which check found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) message: String,
    pub(crate) diff: Option<String>,
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Self {
            message,
            diff: None,
        }
    }
}

/// Hears of each check when it is over.
type OnCheck<'a> = Box<dyn FnMut(&Check) + 'a>;

/// The checks of one plugin.
pub struct Kit<'a> {
    subject: &'a dyn Subject,
    settings: Settings,
    fixtures: Option<PathBuf>,
    samples: usize,
    /// Time for the ways to cut one fixture.
    budget: Option<Duration>,
    bless: bool,
    transport: Option<Transport>,
    on_check: Option<OnCheck<'a>>,
    /// Ends with the first check that finds something.
    until_first: bool,
    findings: Vec<Finding>,
    /// Number of findings before the check that runs.
    before: usize,
}

impl<'a> Kit<'a> {
    /// Checks `subject`: `&my_plugin::PLUGIN`, or anything else that answers.
    pub fn new(subject: &'a dyn Subject) -> Self {
        Self {
            subject,
            settings: Settings::default(),
            fixtures: None,
            samples: usize::MAX,
            budget: None,
            bless: std::env::var_os("BLESS").is_some_and(|bless| bless == "1"),
            transport: None,
            on_check: None,
            until_first: false,
            findings: Vec::new(),
            before: 0,
        }
    }

    /// A config, as JSON, that the plugin accepts. Defaults to that of `kit.json`, or `{}`.
    #[must_use]
    pub fn config(mut self, json: &str) -> Self {
        match serde_json::from_str(json) {
            Ok(config) => self.settings.config = config,
            Err(error) => self.finding("config", format!("the example is no JSON: {error}")),
        }
        self
    }

    /// The folder of recorded responses, relative to the package. Settings come from its
    /// `kit.json`, if it has one, and those that were given before are replaced.
    #[must_use]
    pub fn fixtures(mut self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        match Settings::read(&folder) {
            Ok(Some(settings)) => self.settings = settings,
            Ok(None) => {}
            Err(problem) => self.finding("config", problem),
        }
        self.fixtures = Some(folder);
        self
    }

    /// Everything that `kit.json` has.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Limits the ways to cut each response to about `count`, for subjects that answer
    /// slowly. By default every place is tried for one cut or for a truncation.
    #[must_use]
    pub fn samples(mut self, count: usize) -> Self {
        self.samples = count.max(1);
        self
    }

    /// Limits them by time for each response, instead: a slow plugin is asked for fewer.
    #[must_use]
    pub fn budget(mut self, time: Duration) -> Self {
        self.budget = Some(time);
        self
    }

    /// States that the engine cannot be told this field, and why: `api`, `ignore_eos`, `model`,
    /// `seed`, `stop`, `temperature` or `top_p`.
    #[must_use]
    pub fn without(mut self, field: &str, reason: &str) -> Self {
        if !settings::MAY_BE_MISSING.contains(&field) {
            self.finding("config", format!("`{field}` may not be stated as not sent"));
        }
        let not_sent = &mut self.settings.not_sent;
        not_sent.insert(field.to_owned(), reason.to_owned());
        self
    }

    /// Writes the expected files of fixtures as the plugin says now, instead of comparing.
    /// Defaults to `BLESS=1` in the environment.
    #[must_use]
    pub fn bless(mut self, bless: bool) -> Self {
        self.bless = bless;
        self
    }

    /// Leaves out the checks behind the first that finds something.
    #[must_use]
    pub fn until_first(mut self) -> Self {
        self.until_first = true;
        self
    }

    /// Hands over each check when it is done.
    #[must_use]
    pub fn on_check(mut self, told: impl FnMut(&Check) + 'a) -> Self {
        self.on_check = Some(Box::new(told));
        self
    }

    /// Runs all checks.
    ///
    /// # Panics
    ///
    /// There are findings; the message lists all.
    pub fn check(self) {
        let findings = self.run();
        let lines: Vec<String> = findings
            .iter()
            .map(|it| match &it.diff {
                Some(diff) => format!("\n- {it}\n{diff}"),
                None => format!("\n- {it}"),
            })
            .collect();
        assert!(
            findings.is_empty(),
            "{} findings:{}",
            findings.len(),
            lines.concat()
        );
    }

    /// Runs all checks and returns the findings.
    pub fn run(mut self) -> Vec<Finding> {
        let Some(manifest) = self.manifest() else {
            self.done("manifest", String::new());
            return self.findings;
        };
        if self.is_over() {
            return self.findings;
        }
        match (manifest.kind, manifest.transport) {
            (Kind::Reporter, _) => {
                render::configs(&mut self);
                render::check(&mut self);
            }
            (Kind::Engine, Some(Transport::InProcess)) => local::check(&mut self, &manifest),
            (Kind::Engine, Some(_)) => {
                adapter::configs(&mut self);
                adapter::launch(&mut self);
                if self.is_over() {
                    return self.findings;
                }
                let calls = encode::check(&mut self, &manifest);
                if self.is_over() {
                    return self.findings;
                }
                decode::check(&mut self);
                encode::check_again(&mut self, &calls);
            }
            (Kind::Engine, None) => {}
        }
        self.findings
    }

    fn stdio(&self) -> bool {
        self.transport == Some(Transport::Stdio)
    }

    /// Returns `true` if the checks that follow may be left out.
    fn is_over(&self) -> bool {
        self.until_first && !self.findings.is_empty()
    }

    fn finding(&mut self, check: &'static str, problem: impl Into<Problem>) {
        let Problem { message, diff } = problem.into();
        self.findings.push(Finding {
            check,
            message,
            diff,
        });
    }

    /// Ends a check, whose findings are those since the last one.
    fn done(&mut self, check: &'static str, detail: String) {
        self.told(check, detail, false);
    }

    /// Says that a check has nothing to look at.
    fn skipped(&mut self, check: &'static str, reason: impl Into<String>) {
        self.told(check, reason.into(), true);
    }

    fn told(&mut self, check: &'static str, detail: String, skipped: bool) {
        let check = Check {
            check,
            detail,
            skipped,
            findings: self.findings[self.before..].to_vec(),
        };
        self.before = self.findings.len();
        if let Some(told) = &mut self.on_check {
            told(&check);
        }
    }

    /// Ways to cut a response, by how long `decode` of it takes.
    fn samples_for(&self, once: impl FnOnce()) -> usize {
        let Some(budget) = self.budget else {
            return self.samples;
        };
        let began = Instant::now();
        once();
        let each = began.elapsed().as_nanos().max(1);
        let fit = usize::try_from(budget.as_nanos() / each).unwrap_or(usize::MAX);
        // Cuts and truncations each take their share.
        self.samples.min((fit / 3).max(4))
    }

    fn manifest(&mut self) -> Option<Manifest> {
        let manifest = match self.subject.describe() {
            Ok(manifest) => manifest,
            Err(fault) => {
                self.finding("manifest", format!("`describe`: {fault}"));
                return None;
            }
        };
        for problem in manifest_problems(&manifest) {
            self.finding("manifest", problem);
        }
        self.transport = manifest.transport;
        if self.subject.describe().ok().as_ref() != Some(&manifest) {
            let message = "`describe` answers differently each time".to_owned();
            self.finding("manifest", message);
        }
        let form = match manifest.transport {
            Some(Transport::Http) => ", HTTP",
            Some(Transport::Stdio) => ", standard input and output",
            Some(Transport::InProcess) => ", in-process",
            None => "",
        };
        let Manifest { name, version, .. } = &manifest;
        let detail = format!("{} `{name}` {version}{form}", manifest.kind.name());
        self.done("manifest", detail);
        for problem in schema::problems(&manifest.config_schema) {
            self.finding("schema", problem);
        }
        let options = manifest.config_schema["properties"].as_object();
        let count = options.map_or(0, serde_json::Map::len);
        let s = if count == 1 { "" } else { "s" };
        self.done("schema", format!("{count} option{s}"));
        Some(manifest)
    }
}

fn manifest_problems(manifest: &Manifest) -> Vec<String> {
    let mut problems = Vec::new();
    let mut wrong = |message: String| problems.push(message);
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
    if core.split('.').count() != 3 || core.split('.').any(|part| part.parse::<u64>().is_err()) {
        wrong(format!(
            "the version `{}` is not like `1.2.3`",
            manifest.version
        ));
    }
    let description = manifest.description.trim();
    if description.is_empty() || description.contains('\n') || description.ends_with('.') {
        wrong("the description is not one line without a full stop".to_owned());
    }
    match (manifest.kind, manifest.transport) {
        (Kind::Engine, None) => {
            wrong("an engine needs a transport: `http`, `stdio` or `in_process`".to_owned());
        }
        (Kind::Reporter, Some(_)) => wrong("a reporter has no transport".to_owned()),
        _ => {}
    }
    problems
}

/// Config that no schema of ours takes, and what it is.
fn bad_configs(good: &Value) -> [(&'static str, Value); 2] {
    let mut unknown = good.clone();
    if let Some(options) = unknown.as_object_mut() {
        options.insert("no_such_option".to_owned(), 1.into());
    }
    [("an unknown option", unknown), ("a text", "text".into())]
}

fn model() -> Model {
    Model {
        id: "a-model".to_owned(),
        path: Some("/models/a-model.gguf".to_owned()),
    }
}

/// Another model.
fn other_model() -> Model {
    Model {
        id: "b-net-7".to_owned(),
        path: Some("/store/b-net-7.bin".to_owned()),
    }
}

fn endpoint() -> Endpoint {
    Endpoint {
        host: "127.0.0.1".to_owned(),
        port: 40_961,
        more_ports: Vec::new(),
    }
}
