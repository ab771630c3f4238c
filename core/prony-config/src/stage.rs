//! The stages of a pipeline and the steps in them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checkup::Question;
use crate::file::MAX_PLUGINS;
use crate::{Condition, Duration, Ordered};

/// The stages of one segment of a visit, from load to unload.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Starts an engine with a model.
    pub load: Load,
    /// Warm-ups and measurements in order.
    pub work: Vec<Work>,
    /// Stops the engine.
    pub unload: Unload,
}

/// A stage that sends requests.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Requests that are not measured.
    Warmup(Warmup),
    /// Requests that are measured.
    Measure(Measure),
}

/// Prepares the machine. Runs once, before any engine starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Setup {
    /// Name for `stages.ID.outputs` in templates. Defaults to the stage's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"), length(max = 64), extend("x-literal" = true))]
    pub id: Option<String>,
    /// Condition of the stage, usually a template. Defaults to `true`.
    #[serde(rename = "if", skip_serializing_if = "Condition::is_always")]
    pub condition: Condition,
    /// Steps that run first, in order.
    pub before: Vec<Step>,
    /// Checks the load client against a server with a known schedule, with the most
    /// demanding load shapes of the pipeline. Takes some seconds; a run whose client is
    /// not accurate enough is invalid. Defaults to `false`.
    pub selfcheck: bool,
    /// Starts every engine once before the run, as `prony doctor` does, and ends if one does
    /// not answer. Defaults to `false`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub doctor: bool,
    /// Steps that run last, in order.
    pub after: Vec<Step>,
    /// Timeout of the whole stage. Without it only the steps' own timeouts hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Reaction to a failure of the stage. Defaults to `stop`.
    pub on_failure: OnFailure,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            id: None,
            condition: Condition::default(),
            before: Vec::new(),
            selfcheck: false,
            doctor: false,
            after: Vec::new(),
            timeout: None,
            on_failure: OnFailure::Stop,
        }
    }
}

/// Starts the engine with the model and waits until it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// Name for `stages.ID.outputs` in templates. Defaults to the stage's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"), length(max = 64), extend("x-literal" = true))]
    pub id: Option<String>,
    /// Steps that run before the engine starts, in order.
    pub before: Vec<Step>,
    /// Steps that run once the engine is ready, in order.
    pub after: Vec<Step>,
    /// Timeout of the start. Defaults to `10m`.
    pub timeout: Duration,
    /// Reaction to a failure of the stage. Defaults to `skip_model`.
    pub on_failure: OnFailure,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            id: None,
            before: Vec::new(),
            after: Vec::new(),
            timeout: Duration::from_secs(600),
            on_failure: OnFailure::SkipModel,
        }
    }
}

/// Sends requests that are not measured, so that caches fill and lazy work is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Warmup {
    /// Name for `stages.ID.outputs` in templates. Defaults to the stage's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"), length(max = 64), extend("x-literal" = true))]
    pub id: Option<String>,
    /// Condition of the stage, usually a template. Defaults to `true`.
    #[serde(rename = "if", skip_serializing_if = "Condition::is_always")]
    pub condition: Condition,
    /// Steps that run before the first request, in order.
    pub before: Vec<Step>,
    /// Steps that run after the last request, in order.
    pub after: Vec<Step>,
    /// Number of requests. Defaults to 3. 0 means no warm-up.
    #[schemars(range(max = 1_000_000))]
    pub requests: u32,
    /// Arrival process of the requests, for engines that must be warm for many at a time.
    /// Defaults to `concurrency: 1`.
    #[serde(skip_serializing_if = "Arrival::is_one_at_a_time")]
    pub arrival: Arrival,
    /// Timeout of the whole stage. Without it only the requests' own timeouts hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Reaction to a failure of the stage. Defaults to `skip_model`.
    pub on_failure: OnFailure,
    /// Content of its requests, in place of the workload's. Only check-ups have it.
    #[serde(skip)]
    pub question: Option<Question>,
}

impl Default for Warmup {
    fn default() -> Self {
        Self {
            id: None,
            condition: Condition::default(),
            before: Vec::new(),
            after: Vec::new(),
            requests: 3,
            arrival: Arrival::default(),
            timeout: None,
            on_failure: OnFailure::SkipModel,
            question: None,
        }
    }
}

/// Sends the requests that are measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Name in records and reports; unique in the pipeline.
    pub id: String,
    /// Condition of the stage.
    pub condition: Condition,
    /// Steps that run before the first request, in order.
    pub before: Vec<Step>,
    /// Steps that run after the last request, in order.
    pub after: Vec<Step>,
    /// Number of requests.
    pub requests: u32,
    /// Arrival process of the requests.
    pub arrival: Arrival,
    /// Threads of the load client; `None`: as many as the load needs.
    pub shards: Option<u32>,
    /// Time after the first request beyond which none is sent.
    pub duration: Option<Duration>,
    /// Expected state of the engines' prefix caches; `None` if unstated.
    pub cache: Option<Cache>,
    /// Timeout of the whole stage.
    pub timeout: Option<Duration>,
    /// Reaction to a failure of the stage.
    pub on_failure: OnFailure,
}

/// Stops the engine and frees its resources. Runs even if an earlier stage failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Unload {
    /// Name for `stages.ID.outputs` in templates. Defaults to the stage's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"), length(max = 64), extend("x-literal" = true))]
    pub id: Option<String>,
    /// Steps that run before the engine stops, in order.
    pub before: Vec<Step>,
    /// Steps that run once the engine has stopped, in order.
    pub after: Vec<Step>,
    /// Time allowed for a graceful stop before the engine is killed. Defaults to `30s`.
    pub timeout: Duration,
    /// Reaction to a failure of the stage. Defaults to `continue`.
    pub on_failure: OnFailure,
}

impl Default for Unload {
    fn default() -> Self {
        Self {
            id: None,
            before: Vec::new(),
            after: Vec::new(),
            timeout: Duration::from_secs(30),
            on_failure: OnFailure::Continue,
        }
    }
}

/// Writes the results. Runs once, at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// Names from `reporters`, or reporter plugins. Defaults to
    /// `[console, markdown, html, json]`.
    #[schemars(length(min = 1, max = MAX_PLUGINS))]
    pub reporters: Vec<String>,
    /// Reaction to a failure of a reporter. Defaults to `continue`, with the next one.
    pub on_failure: OnFailure,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            reporters: ["console", "markdown", "html", "json"]
                .map(String::from)
                .into(),
            on_failure: OnFailure::Continue,
        }
    }
}

/// Reaction of the run to a failure of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "failure policy")]
pub enum OnFailure {
    /// The run ends; engines are still unloaded and the results so far reported.
    Stop,
    /// The engine is unloaded and not tried with this model again. The run goes on.
    SkipModel,
    /// The run goes on with the next stage.
    Continue,
}

/// State of an engine's prefix cache during a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "state of the prefix cache")]
pub enum Cache {
    /// Every prompt is computed: no request of the pipeline is answered from a cache.
    Cold,
    /// A prompt sent before is answered from the cache.
    Warm,
}

/// Arrival process of requests. In a conversation of several turns it times the first
/// turn; each other turn follows when the one before has been answered. For a dataset of
/// such conversations, rates and numbers in flight therefore count conversations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "arrival process")]
pub enum Arrival {
    /// Closed loop: a fixed number of requests in flight; the next is sent when one ends.
    Concurrency(
        #[schemars(
            description = "Number of requests in flight.",
            range(min = 1, max = 65_536)
        )]
        u32,
    ),
    /// Closed loop whose slots start one after the other.
    Ramp(Ramp),
    /// Open loop with equal gaps.
    Constant(Rate),
    /// Open loop with exponential gaps: requests as from many independent users.
    Poisson(Rate),
    /// Open loop with gamma-distributed gaps: burstier or more regular than `poisson`.
    Gamma(Bursts),
    /// Open loop at the recorded times of the workload's `dataset`: `at_ms` of its lines, or the
    /// time stamps of its format.
    Replay(Replay),
}

impl Default for Arrival {
    fn default() -> Self {
        Self::Concurrency(1)
    }
}

impl Arrival {
    /// Returns `true` if a request is sent when the one before has ended.
    pub fn is_one_at_a_time(&self) -> bool {
        *self == Self::default()
    }

    /// Maximum number of requests in flight.
    pub fn max_in_flight(self) -> u32 {
        match self {
            Self::Concurrency(concurrency) | Self::Ramp(Ramp { concurrency, .. }) => concurrency,
            Self::Constant(Rate { max_in_flight, .. })
            | Self::Poisson(Rate { max_in_flight, .. })
            | Self::Gamma(Bursts { max_in_flight, .. })
            | Self::Replay(Replay { max_in_flight, .. }) => max_in_flight,
        }
    }

    /// Returns `true` if requests are sent without waiting for others to end.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Concurrency(_) | Self::Ramp(_))
    }

    /// Requests per second of an open loop, if the pipeline states it.
    pub fn rate(self) -> Option<f64> {
        match self {
            Self::Concurrency(_) | Self::Ramp(_) | Self::Replay(_) => None,
            Self::Constant(Rate { rate, .. })
            | Self::Poisson(Rate { rate, .. })
            | Self::Gamma(Bursts { rate, .. }) => Some(rate),
        }
    }
}

/// A closed loop with a staggered start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// Number of requests in flight.
    #[schemars(range(min = 1, max = 65_536))]
    pub concurrency: u32,
    /// Time over which the first requests are spread, so that they do not stay in step.
    pub over: Duration,
}

/// An open loop: requests are sent whether or not earlier ones have ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Mean number of requests per second.
    #[schemars(range(min = 0.001, max = 1_000_000))]
    pub rate: f64,
    /// Maximum number of requests in flight. Defaults to 1024. Further requests wait, and
    /// their latency counts from when they were due.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 2, max = 65_536))]
    pub max_in_flight: u32,
}

/// An open loop whose requests come in bursts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bursts {
    /// Mean number of requests per second.
    #[schemars(range(min = 0.001, max = 1_000_000))]
    pub rate: f64,
    /// Shape of the gaps' gamma distribution: below 1 requests come in bursts, 1 is
    /// `poisson`, above 1 they become regular.
    #[schemars(range(min = 0.01, max = 1000))]
    pub burstiness: f64,
    /// Maximum number of requests in flight. Defaults to 1024. Further requests wait, and
    /// their latency counts from when they were due.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 2, max = 65_536))]
    pub max_in_flight: u32,
}

/// An open loop with recorded times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Speed relative to the recording. Defaults to 1.
    #[serde(default = "as_recorded")]
    #[schemars(range(min = 0.001, max = 1000))]
    pub speed: f64,
    /// Maximum number of requests in flight. Defaults to 1024. Further requests wait, and
    /// their latency counts from when they were due.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 2, max = 65_536))]
    pub max_in_flight: u32,
}

fn as_recorded() -> f64 {
    1.0
}

impl Replay {
    /// Returns `true` if the speed is 1.
    pub fn is_as_recorded(self) -> bool {
        (self.speed - as_recorded()).abs() < f64::EPSILON
    }
}

fn max_in_flight() -> u32 {
    1024
}

/// A user's command, run by the shell in the folder of the pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Shell text. A status other than 0 is a failure.
    #[schemars(length(min = 1))]
    pub run: String,
    /// Name of the step in output. Defaults to the shell text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Timeout of the step. Defaults to `10m`.
    #[serde(default = "step_timeout")]
    pub timeout: Duration,
    /// Number of retries if the step fails. Defaults to 0. Each attempt has the full
    /// `timeout`; outputs of failed attempts are dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(max = 100))]
    pub retry: u32,
    /// Environment variables to set for the step.
    #[serde(default)]
    pub env: Ordered<String>,
    /// A path that the step makes; the step is skipped if it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creates: Option<String>,
    /// Condition of the step, usually a template. Defaults to `true`.
    #[serde(default, rename = "if", skip_serializing_if = "Condition::is_always")]
    pub condition: Condition,
    /// Names of values that the step outputs by appending lines `NAME=VALUE` to the file
    /// `$PRONY_OUTPUT`; available in templates as `stages.ID.outputs.NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = "^[a-z][a-z0-9_]*$")), extend("x-literal" = true, "uniqueItems" = true), length(max = 64))]
    pub outputs: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(retry: &u32) -> bool {
    *retry == 0
}

fn step_timeout() -> Duration {
    Duration::from_secs(600)
}
