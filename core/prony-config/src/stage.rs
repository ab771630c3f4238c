//! The stages of a pipeline and the steps in them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::file::MAX_PLUGINS;
use crate::{Condition, Duration, Ordered};

/// One load-to-unload, with what happens in between: the stages of one visit.
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
    /// Requests that are.
    Measure(Measure),
}

/// Prepares the machine. Runs once, before any engine starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Setup {
    /// The name for `stages.ID.outputs` in templates: the stage's kind unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"), length(max = 64), extend("x-literal" = true))]
    pub id: Option<String>,
    /// Whether the stage runs: `true` unless given. Usually a template.
    #[serde(rename = "if", skip_serializing_if = "Condition::is_always")]
    pub condition: Condition,
    /// Steps that run first, in order.
    pub before: Vec<Step>,
    /// Whether the load client is held against a server with a known schedule, sending as
    /// the pipeline does where it asks most: `false` unless given. It takes some seconds; a
    /// run whose client is not exact enough is not valid.
    pub selfcheck: bool,
    /// Steps that run last, in order.
    pub after: Vec<Step>,
    /// The longest that the whole stage may take. Without it only the steps' own timeouts hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What happens when the stage fails: `stop` unless given.
    pub on_failure: OnFailure,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            id: None,
            condition: Condition::default(),
            before: Vec::new(),
            selfcheck: false,
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
    /// The name for `stages.ID.outputs` in templates: the stage's kind unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"), length(max = 64), extend("x-literal" = true))]
    pub id: Option<String>,
    /// Steps that run before the engine starts, in order.
    pub before: Vec<Step>,
    /// Steps that run once the engine is ready, in order.
    pub after: Vec<Step>,
    /// The longest that starting may take: `10m` unless given.
    pub timeout: Duration,
    /// What happens when the stage fails: `skip_model` unless given.
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
    /// The name for `stages.ID.outputs` in templates: the stage's kind unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"), length(max = 64), extend("x-literal" = true))]
    pub id: Option<String>,
    /// Whether the stage runs: `true` unless given. Usually a template.
    #[serde(rename = "if", skip_serializing_if = "Condition::is_always")]
    pub condition: Condition,
    /// Steps that run before the first request, in order.
    pub before: Vec<Step>,
    /// Steps that run after the last request, in order.
    pub after: Vec<Step>,
    /// Number of requests, one after the other: 3 unless given. 0 means no warm-up.
    #[schemars(range(max = 1_000_000))]
    pub requests: u32,
    /// The longest that the whole stage may take. Without it only the requests' own timeouts hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What happens when the stage fails: `skip_model` unless given.
    pub on_failure: OnFailure,
}

impl Default for Warmup {
    fn default() -> Self {
        Self {
            id: None,
            condition: Condition::default(),
            before: Vec::new(),
            after: Vec::new(),
            requests: 3,
            timeout: None,
            on_failure: OnFailure::SkipModel,
        }
    }
}

/// Sends the requests that are measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Its name in records and reports; unique in the pipeline.
    pub id: String,
    /// Whether it runs.
    pub condition: Condition,
    /// Steps that run before the first request, in order.
    pub before: Vec<Step>,
    /// Steps that run after the last request, in order.
    pub after: Vec<Step>,
    /// Number of requests.
    pub requests: u32,
    /// When requests are sent.
    pub arrival: Arrival,
    /// Threads of the load client; `None`: as many as the load needs.
    pub shards: Option<u32>,
    /// No request is sent later than this after the first.
    pub duration: Option<Duration>,
    /// Whether engines may answer from their prefix caches; `None` if the pipeline does not
    /// say.
    pub cache: Option<Cache>,
    /// The longest that the whole stage may take.
    pub timeout: Option<Duration>,
    /// What happens when the stage fails.
    pub on_failure: OnFailure,
}

/// Stops the engine and frees what it held. Runs even when an earlier stage failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Unload {
    /// The name for `stages.ID.outputs` in templates: the stage's kind unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]*$"), length(max = 64), extend("x-literal" = true))]
    pub id: Option<String>,
    /// Steps that run before the engine stops, in order.
    pub before: Vec<Step>,
    /// Steps that run once the engine has stopped, in order.
    pub after: Vec<Step>,
    /// The longest that a polite stop may take before the engine is killed: `30s` unless given.
    pub timeout: Duration,
    /// What happens when the stage fails: `continue` unless given.
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
    /// What writes the results: names from `reporters`, or reporter plugins.
    /// `[console, markdown, json]` unless given.
    #[schemars(length(min = 1, max = MAX_PLUGINS))]
    pub reporters: Vec<String>,
    /// What happens when a reporter fails: `continue` with the next one unless given.
    pub on_failure: OnFailure,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            reporters: ["console", "markdown", "json"].map(String::from).into(),
            on_failure: OnFailure::Continue,
        }
    }
}

/// What happens to the run when a stage fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "failure policy")]
pub enum OnFailure {
    /// The run ends; engines are still unloaded and results so far reported.
    Stop,
    /// The engine is unloaded and not tried with this model again. The run goes on.
    SkipModel,
    /// The run goes on with the next stage.
    Continue,
}

/// The state of an engine's prefix cache that a measurement is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "state of the prefix cache")]
pub enum Cache {
    /// Every prompt is computed: nothing that the pipeline sends is answered from a cache.
    Cold,
    /// A prompt that was sent before is answered from the cache.
    Warm,
}

/// When requests are sent. Of a conversation of several turns that is its first; the others
/// follow, each when the one before has been answered. So where a dataset has such
/// conversations, rates and numbers in flight are of conversations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "arrival process")]
pub enum Arrival {
    /// Closed loop: so many requests are in flight; the next is sent when one ends.
    Concurrency(
        #[schemars(
            description = "Number of requests in flight.",
            range(min = 1, max = 65_536)
        )]
        u32,
    ),
    /// Closed loop whose lanes begin one after the other.
    Ramp(Ramp),
    /// Open loop with equal gaps.
    Constant(Rate),
    /// Open loop with exponential gaps: requests come as from many users who know
    /// nothing of each other.
    Poisson(Rate),
    /// Open loop with gamma distributed gaps: in bursts, or more regular than `poisson`.
    Gamma(Bursts),
    /// Open loop at the times that the lines of the workload's `dataset` state in `at_ms`.
    Replay(Replay),
}

impl Default for Arrival {
    fn default() -> Self {
        Self::Concurrency(1)
    }
}

impl Arrival {
    /// The most requests in flight.
    pub fn most_in_flight(self) -> u32 {
        match self {
            Self::Concurrency(concurrency) | Self::Ramp(Ramp { concurrency, .. }) => concurrency,
            Self::Constant(Rate { max_in_flight, .. })
            | Self::Poisson(Rate { max_in_flight, .. })
            | Self::Gamma(Bursts { max_in_flight, .. })
            | Self::Replay(Replay { max_in_flight, .. }) => max_in_flight,
        }
    }

    /// Whether requests are sent without waiting for others to end.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Concurrency(_) | Self::Ramp(_))
    }

    /// Requests per second of an open loop, if the pipeline says so.
    pub fn rate(self) -> Option<f64> {
        match self {
            Self::Concurrency(_) | Self::Ramp(_) | Self::Replay(_) => None,
            Self::Constant(Rate { rate, .. })
            | Self::Poisson(Rate { rate, .. })
            | Self::Gamma(Bursts { rate, .. }) => Some(rate),
        }
    }
}

/// A closed loop that does not begin all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// Number of requests in flight.
    #[schemars(range(min = 1, max = 65_536))]
    pub concurrency: u32,
    /// Over how long the first ones are sent, so that they do not stay in step.
    pub over: Duration,
}

/// An open loop: requests are sent whether or not earlier ones have ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests per second, in the mean.
    #[schemars(range(min = 0.001, max = 1_000_000))]
    pub rate: f64,
    /// The most requests in flight: 1024 unless given. What is due beyond waits, and its
    /// latency counts from when it was due.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 2, max = 65_536))]
    pub max_in_flight: u32,
}

/// An open loop whose requests come in bursts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bursts {
    /// Requests per second, in the mean.
    #[schemars(range(min = 0.001, max = 1_000_000))]
    pub rate: f64,
    /// The shape of the gaps' gamma distribution: below 1 requests come in bursts, 1 is
    /// `poisson`, above 1 they become regular.
    #[schemars(range(min = 0.01, max = 1000))]
    pub burstiness: f64,
    /// The most requests in flight: 1024 unless given. What is due beyond waits, and its
    /// latency counts from when it was due.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 2, max = 65_536))]
    pub max_in_flight: u32,
}

/// An open loop whose times were recorded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// How many times as fast as recorded: 1 unless given.
    #[serde(default = "as_recorded")]
    #[schemars(range(min = 0.001, max = 1000))]
    pub speed: f64,
    /// The most requests in flight: 1024 unless given. What is due beyond waits, and its
    /// latency counts from when it was due.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 2, max = 65_536))]
    pub max_in_flight: u32,
}

fn as_recorded() -> f64 {
    1.0
}

impl Replay {
    /// Whether it goes neither faster nor slower.
    pub fn is_as_recorded(self) -> bool {
        (self.speed - as_recorded()).abs() < f64::EPSILON
    }
}

fn max_in_flight() -> u32 {
    1024
}

/// A command of the user's, run by the shell in the folder of the pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The shell text. A status other than 0 is a failure.
    #[schemars(length(min = 1))]
    pub run: String,
    /// What to call the step in output. Without it the shell text is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The longest that the step may take: `10m` unless given.
    #[serde(default = "step_timeout")]
    pub timeout: Duration,
    /// How many more times the step is tried when it fails: 0 unless given. Each time it
    /// has all of its `timeout`; what an attempt gave that failed is dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(max = 100))]
    pub retry: u32,
    /// Environment variables to set for the step.
    #[serde(default)]
    pub env: Ordered<String>,
    /// A path that the step makes; the step is skipped when it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creates: Option<String>,
    /// Whether the step runs: `true` unless given. Usually a template.
    #[serde(default, rename = "if", skip_serializing_if = "Condition::is_always")]
    pub condition: Condition,
    /// Names of values that the step gives by appending lines `NAME=VALUE` to the
    /// file `$PRONY_OUTPUT`; templates have them as `stages.ID.outputs.NAME`.
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
