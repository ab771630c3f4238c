//! The table of metrics, one row each. Thresholds, tables, `prony compare`, the JSON
//! Schema of pipelines and `docs/metrics.md` are made from it.

#[cfg(doc)]
use super::Objectives;
use super::{Distribution, EngineResult};
use crate::words::{self, number};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::borrow::Cow;

/// A measured property of an engine.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Path in an engine's entry of `result.json`, with `.` between the parts. Names
    /// carry their unit.
    pub name: &'static str,
    /// Title in reports, without the unit: `Request latency`.
    pub title: &'static str,
    /// Group that it is listed in.
    pub group: Group,
    /// Unit of its values.
    pub unit: Unit,
    /// Direction of improvement.
    pub better: Better,
    /// Source of its values.
    pub source: Source,
    /// Description, in one sentence.
    pub doc: &'static str,
    /// `true` if a threshold can bound it; `false` if the pipeline states it, so it is
    /// not measured.
    pub is_bounded: bool,
    /// `true` if it appears in the tables of all metrics; otherwise it is reported
    /// elsewhere or not at all.
    pub is_reported: bool,
    /// `true` if `prony compare` shows it; of a distribution, the median.
    pub is_compared: bool,
    /// Columns in tables that lack room for all metrics.
    pub columns: &'static [Column],
}

/// Source of a metric's values.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// A field holding one number.
    Number(fn(&EngineResult) -> Option<f64>),
    /// A field holding a distribution; a threshold bounds one statistic of it.
    Distribution(fn(&EngineResult) -> Option<Distribution>),
    /// The requests themselves, judged against the [`Objectives`] of a threshold.
    Requests,
}

/// Direction in which a metric improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// Neither: it describes.
    Neither,
}

impl Better {
    /// `higher`, `lower` or `neither`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::Neither => "neither",
        }
    }
}

/// The unit of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Tokens per second.
    TokensPerSecond,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A fraction from 0 to 1.
    Share,
    /// A percentage from 0 to 100.
    Percent,
    /// Percent of one core, or of the cores available: above 100 with several.
    CpuPercent,
    /// A difference in percent, above or below 0.
    Deviation,
    /// Joules per output token.
    JoulesPerToken,
    /// Watts.
    Watts,
    /// A number of the things named by the title.
    Count,
    /// A number of the things named by the title, per second.
    PerSecond,
    /// A ratio of two numbers.
    Ratio,
}

impl Unit {
    /// Symbol shown in tables: `tok/s`, `ms`; empty if the title suffices.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::TokensPerSecond => "tok/s",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Bytes => "B",
            Self::Share => "0 to 1",
            Self::Percent | Self::CpuPercent | Self::Deviation => "%",
            Self::JoulesPerToken => "J/tok",
            Self::Watts => "W",
            Self::PerSecond => "/s",
            Self::Count | Self::Ratio => "",
        }
    }

    /// Smallest and largest possible value.
    pub fn range(self) -> (f64, f64) {
        match self {
            Self::Share => (0.0, 1.0),
            Self::Percent => (0.0, 100.0),
            Self::Deviation => (f64::NEG_INFINITY, f64::INFINITY),
            _ => (0.0, f64::INFINITY),
        }
    }

    /// Formats a value with its unit, unless the title implies it: `98.3 %`, `5.12 GiB`,
    /// `45.2`.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Share => words::share(value),
            Self::Seconds => words::seconds(value),
            Self::Bytes => words::bytes(value as u64),
            Self::Count => value.to_string(),
            _ => number(value),
        }
    }
}

/// Groups in which metrics are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Work done per unit of time.
    Throughput,
    /// Time taken.
    Latency,
    /// Regularity of the text's arrival.
    Cadence,
    /// Time taken by the engine's own account.
    OwnClock,
    /// Number of requests, and how many were good.
    Requests,
    /// Number of tokens, and the source of the count.
    Tokens,
    /// Resources used by the engine.
    Engine,
    /// Delivered load.
    Load,
    /// Activity of the load client.
    Client,
}

impl Group {
    /// All groups, in listing order.
    pub const ALL: [Self; 9] = [
        Self::Throughput,
        Self::Latency,
        Self::Cadence,
        Self::OwnClock,
        Self::Requests,
        Self::Tokens,
        Self::Engine,
        Self::Load,
        Self::Client,
    ];

    /// Name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Cadence => "cadence",
            Self::OwnClock => "own clock",
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Engine => "engine",
            Self::Load => "delivered load",
            Self::Client => "load client",
        }
    }

    /// Iterates over the group's metrics.
    pub fn metrics(self) -> impl Iterator<Item = &'static Metric> {
        METRICS.iter().filter(move |it| it.group == self)
    }
}

/// A summary statistic of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "statistic")]
pub enum Statistic {
    /// The arithmetic mean.
    Mean,
    /// The smallest value.
    Min,
    /// The median.
    #[default]
    P50,
    /// The 90th percentile. It needs 44 samples.
    P90,
    /// The 95th percentile. It needs 90 samples.
    P95,
    /// The 99th percentile. It needs 459 samples.
    P99,
    /// The largest value.
    Max,
}

impl Statistic {
    /// All statistics.
    pub const ALL: [Self; 7] = [
        Self::Mean,
        Self::Min,
        Self::P50,
        Self::P90,
        Self::P95,
        Self::P99,
        Self::Max,
    ];

    /// Name in `result.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Min => "min",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::Max => "max",
        }
    }

    /// Finds a statistic by name; `None` if there is none with that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Reads the statistic from a distribution; `None` if the sample is too small for it.
    pub fn of(self, distribution: &Distribution) -> Option<f64> {
        match self {
            Self::Mean => Some(distribution.mean),
            Self::Min => Some(distribution.min),
            Self::P50 => Some(distribution.p50),
            Self::P90 => distribution.p90,
            Self::P95 => distribution.p95,
            Self::P99 => distribution.p99,
            Self::Max => Some(distribution.max),
        }
    }

    /// Fraction of samples below the statistic, for percentiles that need a minimum
    /// sample size.
    pub fn tail(self) -> Option<f64> {
        match self {
            Self::P90 => Some(0.9),
            Self::P95 => Some(0.95),
            Self::P99 => Some(0.99),
            Self::Mean | Self::Min | Self::P50 | Self::Max => None,
        }
    }
}

/// A table column for a metric, or for one statistic of it.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Short title: `TTFT`.
    pub title: &'static str,
    /// Statistic and unit, below the title: `p50 ms`.
    pub unit: &'static str,
    /// Statistic shown; absent for a plain number.
    pub statistic: Option<Statistic>,
    /// Divisor from the metric's unit to the column's.
    pub divisor: f64,
    /// Priority for dropping the column when width is short, highest first; 0 is always
    /// kept.
    pub drop_order: u8,
}

impl Column {
    const fn number(title: &'static str, unit: &'static str, drop_order: u8) -> Self {
        Self {
            title,
            unit,
            statistic: None,
            divisor: 1.0,
            drop_order,
        }
    }

    const fn of(
        statistic: Statistic,
        title: &'static str,
        unit: &'static str,
        drop_order: u8,
    ) -> Self {
        Self {
            statistic: Some(statistic),
            ..Self::number(title, unit, drop_order)
        }
    }

    const fn per(self, divisor: f64) -> Self {
        Self { divisor, ..self }
    }

    /// Formats the cell of an engine: a number, `n=12` if the sample is too small for the
    /// statistic, `None` if nothing was measured.
    pub fn cell(&self, metric: &Metric, engine: &EngineResult) -> Option<String> {
        match (metric.value(engine, self.statistic), metric.source) {
            (Some(value), _) if metric.unit == Unit::Share => Some(words::share_number(value)),
            (Some(value), _) => Some(number(value / self.divisor)),
            (None, Source::Distribution(of)) => Some(format!("n={}", of(engine)?.n)),
            (None, _) => None,
        }
    }
}

impl Metric {
    /// Makes a metric that is reported and can be bounded, without columns.
    const fn new(
        name: &'static str,
        title: &'static str,
        group: Group,
        (unit, better): (Unit, Better),
        source: Source,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            title,
            group,
            unit,
            better,
            source,
            doc,
            is_bounded: true,
            is_reported: true,
            is_compared: false,
            columns: &[],
        }
    }

    const fn number(
        name: &'static str,
        title: &'static str,
        group: Group,
        measured_in: (Unit, Better),
        of: fn(&EngineResult) -> Option<f64>,
        doc: &'static str,
    ) -> Self {
        Self::new(name, title, group, measured_in, Source::Number(of), doc)
    }

    /// Makes a distribution of times in milliseconds; lower is better.
    const fn times(
        name: &'static str,
        title: &'static str,
        group: Group,
        of: fn(&EngineResult) -> Option<Distribution>,
        doc: &'static str,
    ) -> Self {
        let measured_in = (Unit::Milliseconds, Better::Lower);
        Self::new(
            name,
            title,
            group,
            measured_in,
            Source::Distribution(of),
            doc,
        )
    }

    const fn columns(self, columns: &'static [Column]) -> Self {
        Self { columns, ..self }
    }

    const fn compared(self) -> Self {
        Self {
            is_compared: true,
            ..self
        }
    }

    const fn stated(self) -> Self {
        Self {
            is_bounded: false,
            ..self
        }
    }

    const fn not_reported(self) -> Self {
        Self {
            is_reported: false,
            ..self
        }
    }

    /// Finds a metric by name; `None` if there is none with that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        METRICS.iter().find(|it| it.name == name)
    }

    /// Iterates over the metrics that a threshold can bound, by group.
    pub fn bounded() -> impl Iterator<Item = &'static Self> {
        let all = Group::ALL.into_iter().flat_map(Group::metrics);
        all.filter(|it| it.is_bounded)
    }

    /// Returns `true` if it is a distribution; a threshold bounds one statistic of it.
    pub fn is_distribution(&self) -> bool {
        matches!(self.source, Source::Distribution(_))
    }

    /// Title with the unit, unless the values show it: `Load time, ms`.
    pub fn heading(&self) -> String {
        match self.unit.symbol() {
            "" => self.title.to_owned(),
            symbol => format!("{}, {symbol}", self.title),
        }
    }

    /// Short title of its number or median: `TTFT, p50 ms`.
    pub fn short_heading(&self) -> String {
        let statistic = self.is_distribution().then(Statistic::default);
        let column = self.columns.iter().find(|it| it.statistic == statistic);
        match (column, statistic) {
            (Some(column), _) => format!("{}, {}", column.title, column.unit),
            (None, Some(median)) => format!("{}, {}", self.heading(), median.name()),
            (None, None) => self.heading(),
        }
    }

    /// The distribution of an engine; `None` if the metric has no distribution or nothing
    /// was measured.
    pub fn distribution(&self, engine: &EngineResult) -> Option<Distribution> {
        match self.source {
            Source::Distribution(of) => of(engine),
            Source::Number(_) | Source::Requests => None,
        }
    }

    /// The value of an engine in the metric's unit; for a distribution, the given
    /// statistic or the median. `None` if nothing was measured, the sample is too small,
    /// or the value is only in the requests.
    pub fn value(&self, engine: &EngineResult, statistic: Option<Statistic>) -> Option<f64> {
        match self.source {
            Source::Number(of) => of(engine),
            Source::Distribution(of) => statistic.unwrap_or_default().of(&of(engine)?),
            Source::Requests => None,
        }
    }
}

/// Metrics are equal if their names are.
impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// Reads a metric by name; fails unless it can be bounded.
impl<'de> Deserialize<'de> for &'static Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        let metric = Metric::named(&name).filter(|it| it.is_bounded);
        metric.ok_or_else(|| D::Error::custom(format!("no metric `{name}` can be bounded")))
    }
}

impl JsonSchema for Metric {
    fn schema_name() -> Cow<'static, str> {
        "Metric".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let choice = |it: &Self| {
            let better = match it.better {
                Better::Neither => String::new(),
                better => format!(" {} is better.", capital(better.name())),
            };
            json_schema!({
                "type": "string",
                "const": it.name,
                "description": format!("{}{better}", it.doc),
            })
        };
        json_schema!({
            "title": "metric",
            "description": "A metric that can be bounded.",
            "oneOf": Self::bounded().map(choice).collect::<Vec<_>>(),
        })
    }
}

fn time_to_tokens<const COUNT: u32>(engine: &EngineResult) -> Option<Distribution> {
    engine.cadence.time_to_tokens_ms.get(&COUNT).copied()
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

use Better::{Higher, Lower, Neither};
use Statistic::{Mean, P50, P90};

const GIB: f64 = 1_073_741_824.0;

/// All metrics, in the order of tables.
pub static METRICS: &[Metric] = &[
    Metric::number(
        "output_tokens_per_sec",
        "Output tokens per second",
        Group::Throughput,
        (Unit::TokensPerSecond, Higher),
        |it| it.output_tokens_per_sec,
        "Output tokens of successful requests over the time of all requests.",
    )
    .compared()
    .columns(&[Column::number("Speed", "tok/s", 0)]),
    Metric::times(
        "request_latency_ms",
        "Request latency",
        Group::Latency,
        |it| it.request_latency_ms,
        "Time from sending (open loop: from when the request was due) to the end of the answer, of successful requests.",
    )
    .compared()
    .columns(&[
        Column::of(Mean, "Latency", "mean ms", 6),
        Column::of(P50, "Latency", "p50 ms", 2),
        Column::of(P90, "Latency", "p90 ms", 5),
    ]),
    Metric::times(
        "time_to_first_token_ms",
        "Time to first token",
        Group::Latency,
        |it| it.time_to_first_token_ms,
        "Time from sending (in an open loop, from when the request was due) to the first token.",
    )
    .compared()
    .columns(&[Column::of(P50, "TTFT", "p50 ms", 3)]),
    Metric::times(
        "time_to_first_answer_token_ms",
        "Time to first answer token",
        Group::Latency,
        |it| it.time_to_first_answer_token_ms,
        "Time from sending to the first token of the answer itself, of requests with reasoning before it.",
    ),
    Metric::times(
        "stream_tail_ms",
        "Stream tail",
        Group::Latency,
        |it| it.stream_tail_ms,
        "Time from the end of an answer to the end of its stream, which is in no latency.",
    ),
    Metric::times(
        "inter_token_latency_ms",
        "Inter-token latency",
        Group::Latency,
        |it| it.inter_token_latency_ms,
        "Gaps between arrivals of text, of all successful requests together.",
    )
    .compared()
    .columns(&[Column::of(P50, "ITL", "p50 ms", 7)]),
    Metric::times(
        "time_per_output_token_ms",
        "Time per output token",
        Group::Latency,
        |it| it.time_per_output_token_ms,
        "Time after the first token over the tokens after the first, of each request.",
    ),
    Metric::number(
        "cycles",
        "Cycles",
        Group::Requests,
        (Unit::Count, Neither),
        |it| Some(it.cycles.into()),
        "Cycles in which the engine was measured.",
    )
    .stated(),
    Metric::number(
        "requests",
        "Requests",
        Group::Requests,
        (Unit::Count, Neither),
        |it| Some(it.requests as f64),
        "Requests that were due.",
    )
    .stated(),
    Metric::number(
        "succeeded",
        "Succeeded",
        Group::Requests,
        (Unit::Count, Higher),
        |it| Some(it.succeeded as f64),
        "Requests that succeeded by every rule.",
    ),
    Metric::number(
        "success_rate",
        "Success rate",
        Group::Requests,
        (Unit::Share, Higher),
        |it| it.success_rate,
        "Share of requests that succeeded, 0 to 1.",
    )
    .columns(&[Column::number("Success", "%", 1)]),
    Metric::new(
        "goodput_percent",
        "Goodput",
        Group::Requests,
        (Unit::Percent, Higher),
        Source::Requests,
        "Share of requests that succeeded within the `ttft_ms`, `tpot_ms` and `latency_ms` of the threshold, 0 to 100.",
    )
    .not_reported(),
    Metric::number(
        "output_tokens",
        "Output tokens",
        Group::Tokens,
        (Unit::Count, Neither),
        |it| Some(it.output_tokens as f64),
        "Generated tokens of successful requests.",
    ),
    Metric::new(
        "output_tokens_per_request",
        "Output tokens per request",
        Group::Tokens,
        (Unit::Count, Neither),
        Source::Distribution(|it| it.output_tokens_per_request),
        "Generated tokens of each successful request.",
    ),
    Metric::new(
        "prompt_tokens_per_request",
        "Prompt tokens per request",
        Group::Tokens,
        (Unit::Count, Neither),
        Source::Distribution(|it| it.prompt_tokens_per_request),
        "Prompt tokens of each successful request, where the engine reports them.",
    ),
    Metric::number(
        "reasoning_tokens",
        "Reasoning tokens",
        Group::Tokens,
        (Unit::Count, Neither),
        |it| Some(it.reasoning_tokens? as f64),
        "Reasoning tokens of successful requests, which are among the output tokens.",
    )
    .not_reported(),
    Metric::number(
        "hidden_tokens",
        "Hidden tokens",
        Group::Tokens,
        (Unit::Count, Neither),
        |it| Some(it.hidden_tokens? as f64),
        "Tokens of successful requests that the engine says it generated and did not send; they are in no rate.",
    )
    .not_reported(),
    Metric::number(
        "cached_tokens",
        "Cached prompt tokens",
        Group::Tokens,
        (Unit::Count, Neither),
        |it| Some(it.told_cached_tokens()? as f64),
        "Prompt tokens that came from a prefix cache, where the engine reports them.",
    ),
    Metric::number(
        "cache.cached_share",
        "Cached share",
        Group::Tokens,
        (Unit::Share, Neither),
        |it| it.cache.as_ref()?.cached_share,
        "Share of prompt tokens that came from the prefix cache, where the measurement states the cache's state, 0 to 1.",
    )
    .not_reported(),
    Metric::number(
        "cache.broken",
        "Requests in another cache state",
        Group::Tokens,
        (Unit::Count, Lower),
        |it| Some(it.cache.as_ref()?.broken? as f64),
        "Requests that were not in the state of the prefix cache that the measurement states; absent where only the engine's counters tell.",
    )
    .not_reported(),
    Metric::number(
        "cache.new",
        "Requests with a new prompt",
        Group::Tokens,
        (Unit::Count, Lower),
        |it| Some(it.cache.as_ref()?.new? as f64),
        "Requests of a measurement of a warm cache whose prompt had not been answered before, and of which the engine does not show that they were answered from the cache.",
    )
    .not_reported(),
    Metric::number(
        "token_check.mismatched",
        "Requests with another token count",
        Group::Tokens,
        (Unit::Count, Lower),
        |it| Some(it.token_check.as_ref()?.mismatched as f64),
        "Requests whose tokens the engine and the model's tokenizer count differently.",
    )
    .not_reported(),
    Metric::number(
        "prompt_check.mismatched",
        "Requests with another prompt",
        Group::Tokens,
        (Unit::Count, Lower),
        |it| Some(it.prompt_check.as_ref()?.mismatched as f64),
        "Requests whose prompt tokens the engine counts differently from the prompt as prony renders it.",
    )
    .not_reported(),
    Metric::number(
        "token_check.output_tokens_per_sec",
        "Output tokens per second, counted independently",
        Group::Throughput,
        (Unit::TokensPerSecond, Higher),
        |it| it.token_check.as_ref()?.output_tokens_per_sec,
        "Throughput by the count of the model's tokenizer.",
    )
    .not_reported(),
    Metric::number(
        "total_time_s",
        "Time",
        Group::Engine,
        (Unit::Seconds, Lower),
        |it| Some(it.total_time_s),
        "Wall-clock time of the measure stages.",
    ),
    Metric::times(
        "load_time_ms",
        "Load time",
        Group::Engine,
        |it| it.load_time_ms,
        "Time from starting the engine to its being ready, with the requests that load its model.",
    )
    .columns(&[Column::of(P50, "Load", "p50 s", 8).per(1000.0)]),
    Metric::times(
        "start_to_first_token_ms",
        "Start to first token",
        Group::Engine,
        |it| it.start_to_first_token_ms,
        "Time from starting the engine to the first token of its first answer, warm-ups included.",
    ),
    Metric::times(
        "unload_time_ms",
        "Unload time",
        Group::Engine,
        |it| it.unload_time_ms,
        "Time from asking the engine to end until all its processes were gone, without the requests that unload its model.",
    ),
    Metric::number(
        "peak_memory_bytes",
        "Peak memory",
        Group::Engine,
        (Unit::Bytes, Lower),
        |it| Some(it.peak_memory_bytes? as f64),
        "Highest resident memory of the engine's processes, sampled.",
    )
    .columns(&[Column::number("Memory", "peak GiB", 9).per(GIB)]),
    Metric::number(
        "peak_gpu_memory_bytes",
        "Peak GPU memory",
        Group::Engine,
        (Unit::Bytes, Lower),
        |it| Some(it.peak_gpu_memory_bytes? as f64),
        "Highest memory of the engine's processes on all GPUs, sampled.",
    ),
    Metric::number(
        "energy.gpu_j_per_token",
        "GPU energy per token",
        Group::Engine,
        (Unit::JoulesPerToken, Lower),
        |it| it.energy.as_ref()?.gpu_j_per_token,
        "Energy of the GPUs that the engine used while measuring, idle power taken off, over the output tokens of successful requests.",
    ),
    Metric::number(
        "energy.processor_j_per_token",
        "Processor energy per token",
        Group::Engine,
        (Unit::JoulesPerToken, Lower),
        |it| it.energy.as_ref()?.processor_j_per_token,
        "Energy of the processor packages while measuring, idle power taken off, over the output tokens of successful requests.",
    ),
    Metric::number(
        "energy.mean_gpu_power_w",
        "Mean GPU power",
        Group::Engine,
        (Unit::Watts, Lower),
        |it| it.energy.as_ref()?.mean_gpu_power_w,
        "Mean power of the GPUs that the engine used while measuring, idle power included.",
    ),
    Metric::number(
        "energy.idle_gpu_power_w",
        "Idle GPU power",
        Group::Engine,
        (Unit::Watts, Neither),
        |it| it.energy.as_ref()?.idle_gpu_power_w,
        "Power of the GPUs that the engine used before any engine ran, taken off from energies.",
    )
    .not_reported(),
    Metric::number(
        "cpu_percent",
        "CPU time",
        Group::Engine,
        (Unit::CpuPercent, Lower),
        |it| it.cpu_percent,
        "CPU time of the engine's processes while measuring, in percent of one core.",
    )
    .not_reported(),
    Metric::times(
        "cadence.time_to_tokens_ms.1",
        "Time to one token",
        Group::Cadence,
        time_to_tokens::<1>,
        "Time from when a request was due until one token had come, of requests whose every arrival names its tokens.",
    )
    .not_reported(),
    Metric::times(
        "cadence.time_to_tokens_ms.8",
        "Time to 8 tokens",
        Group::Cadence,
        time_to_tokens::<8>,
        "Time from when a request was due until 8 tokens had come, of requests whose every arrival names its tokens.",
    )
    .not_reported(),
    Metric::times(
        "cadence.time_to_tokens_ms.32",
        "Time to 32 tokens",
        Group::Cadence,
        time_to_tokens::<32>,
        "Time from when a request was due until 32 tokens had come, of requests whose every arrival names its tokens.",
    )
    .not_reported(),
    Metric::times(
        "cadence.time_to_tokens_ms.128",
        "Time to 128 tokens",
        Group::Cadence,
        time_to_tokens::<128>,
        "Time from when a request was due until 128 tokens had come, of requests whose every arrival names its tokens.",
    )
    .not_reported(),
    Metric::number(
        "cadence.stall_ratio",
        "Stalls",
        Group::Cadence,
        (Unit::Share, Lower),
        |it| it.cadence.stall_ratio,
        "Share of the time between first and last arrival in gaps of more than five times the median gap, 0 to 1.",
    )
    .not_reported(),
    Metric::number(
        "cadence.arrivals_per_token",
        "Arrivals per token",
        Group::Cadence,
        (Unit::Ratio, Neither),
        |it| it.cadence.arrivals_per_token,
        "Arrivals of text for each output token: below 1 the engine sends several tokens at a time.",
    )
    .not_reported(),
    Metric::number(
        "cadence.shared_stamp_share",
        "Shared stamps",
        Group::Cadence,
        (Unit::Ratio, Neither),
        |it| it.cadence.shared_stamp_share,
        "Share of tokens with the same stamp as the one before, 0 to 1.",
    )
    .not_reported(),
    Metric::times(
        "own_clock.queue_ms",
        "Queue, own clock",
        Group::OwnClock,
        |it| it.own_clock.as_ref()?.queue_ms,
        "Time in the engine before work on a request began, by its own account.",
    )
    .not_reported(),
    Metric::times(
        "own_clock.prefill_ms",
        "Prefill, own clock",
        Group::OwnClock,
        |it| it.own_clock.as_ref()?.prefill_ms,
        "Time from the beginning of work on a request to its first token, by the engine's own account.",
    )
    .not_reported(),
    Metric::times(
        "own_clock.time_to_first_token_ms",
        "Time to first token, own clock",
        Group::OwnClock,
        |it| it.own_clock.as_ref()?.time_to_first_token_ms,
        "Queue, where reported, plus prefill by the engine's own account, or else the time from sending to its own stamp of the first text.",
    )
    .not_reported(),
    Metric::times(
        "own_clock.first_token_difference_ms",
        "Time to first token, difference of the clocks",
        Group::OwnClock,
        |it| it.own_clock.as_ref()?.first_token_difference_ms,
        "Time to first token from sending less the one by the engine's own clock: network, rendering of the prompt and the text, and the queue where the engine does not report it.",
    )
    .not_reported(),
    Metric::times(
        "own_clock.time_per_output_token_ms",
        "Time per output token, own clock",
        Group::OwnClock,
        |it| it.own_clock.as_ref()?.time_per_output_token_ms,
        "Time from the first token to the last over the tokens after the first, by the engine's own account or its own stamps.",
    )
    .not_reported(),
    Metric::times(
        "own_clock.seen_time_per_output_token_ms",
        "Time per output token, beside own clock",
        Group::OwnClock,
        |it| it.own_clock.as_ref()?.seen_time_per_output_token_ms,
        "Time from the first text to the last over the tokens in between, as prony saw them; only where the stream leaves no doubt of more than 1 % about these tokens.",
    )
    .not_reported(),
    Metric::times(
        "own_clock.delivery_ms",
        "Delivery",
        Group::OwnClock,
        |it| it.own_clock.as_ref()?.delivery_ms,
        "Time from the engine's own stamp of a text to its arrival, of all texts together.",
    )
    .not_reported(),
    Metric::number(
        "delivered.sent",
        "Requests sent",
        Group::Load,
        (Unit::Count, Higher),
        |it| Some(it.delivered.as_ref()?.sent as f64),
        "Requests that were sent, of those that were due.",
    )
    .not_reported(),
    Metric::number(
        "delivered.sent_per_sec",
        "Requests sent per second",
        Group::Load,
        (Unit::PerSecond, Higher),
        |it| it.delivered.as_ref()?.sent_per_sec,
        "Requests sent per second, from the first to the last.",
    )
    .not_reported(),
    Metric::number(
        "delivered.mean_in_flight",
        "Mean requests in flight",
        Group::Load,
        (Unit::Ratio, Neither),
        |it| it.delivered.as_ref()?.mean_in_flight,
        "Mean number of requests in flight, from the first sending to the last byte.",
    )
    .not_reported(),
    Metric::number(
        "delivered.max_in_flight",
        "Most requests in flight",
        Group::Load,
        (Unit::Count, Neither),
        |it| Some(it.delivered.as_ref()?.max_in_flight.into()),
        "Largest number of requests in flight.",
    )
    .not_reported(),
    Metric::number(
        "delivered.littles_law_residual_percent",
        "Little's law residual",
        Group::Load,
        (Unit::Deviation, Neither),
        |it| it.delivered.as_ref()?.littles_law_residual_percent,
        "Requests ending per second times their mean latency, against the mean in flight: 0 for a steady load.",
    )
    .not_reported(),
    Metric::number(
        "client.read_delay_p50_ms",
        "Read delay, p50",
        Group::Client,
        (Unit::Milliseconds, Lower),
        |it| it.client.as_ref()?.read_delay_p50_ms,
        "Time from the stamp of an arrival to the end of its read, median.",
    )
    .not_reported(),
    Metric::number(
        "client.byte_delay_p90_ms",
        "Read delay of bytes, p90",
        Group::Client,
        (Unit::Milliseconds, Lower),
        |it| it.client.as_ref()?.byte_delay_p90_ms,
        "Time from the stamp of an arrival to the end of its read, 90th percentile of all bytes.",
    )
    .not_reported(),
    Metric::number(
        "client.unseen_p50_ms",
        "Unseen, p50",
        Group::Client,
        (Unit::Milliseconds, Lower),
        |it| it.client.as_ref()?.unseen_p50_ms,
        "Longest time that the first byte of a read can have waited for the client, median.",
    )
    .not_reported(),
    Metric::number(
        "client.read_delay_p99_ms",
        "Read delay, p99",
        Group::Client,
        (Unit::Milliseconds, Lower),
        |it| Some(it.client.as_ref()?.read_delay_p99_ms),
        "Time from the stamp of an arrival to the end of its read, 99th percentile.",
    )
    .not_reported(),
    Metric::number(
        "client.send_delay_p90_ms",
        "Send delay, p90",
        Group::Client,
        (Unit::Milliseconds, Lower),
        |it| Some(it.client.as_ref()?.send_delay_p90_ms),
        "Time from when a request could have been sent to its sending, 90th percentile.",
    )
    .not_reported(),
    Metric::number(
        "client.send_delay_p99_ms",
        "Send delay, p99",
        Group::Client,
        (Unit::Milliseconds, Lower),
        |it| Some(it.client.as_ref()?.send_delay_p99_ms),
        "Time from when a request could have been sent to its sending, 99th percentile.",
    )
    .not_reported(),
    Metric::number(
        "client.cpu_percent",
        "CPU time of the load client",
        Group::Client,
        (Unit::CpuPercent, Lower),
        |it| Some(it.client.as_ref()?.cpu_percent),
        "CPU time of the load client, in percent of the cores that it may use.",
    )
    .not_reported(),
    Metric::number(
        "client.dropped",
        "Requests never sent",
        Group::Client,
        (Unit::Count, Lower),
        |it| Some(it.client.as_ref()?.dropped as f64),
        "Requests of an open loop that were due and never sent, because the stage ended.",
    )
    .not_reported(),
    Metric::number(
        "client.held_up_ms",
        "Load client held up",
        Group::Client,
        (Unit::Milliseconds, Lower),
        |it| it.client.as_ref()?.held_up_ms,
        "Time in which the load client read and sent nothing, because answers came faster than they could be kept.",
    )
    .not_reported(),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    /// Path prefixes of numbers in an engine's entry that are not metrics, and the
    /// reason.
    const NO_METRICS: [(&str, &str); 17] = [
        ("gpus.", "of GPUs, and not of the engine"),
        (
            "errors.",
            "by class: `succeeded` and `success_rate` are their metrics",
        ),
        ("finish_reasons.", "by what engines call them"),
        ("notes.", "by what there is to know"),
        (
            "by_cycle.",
            "`output_tokens_per_sec` once more, of each cycle",
        ),
        (
            "cached_tokens_told",
            "how many requests `cached_tokens` rests on",
        ),
        ("cache.requests", "how many requests the check rests on"),
        ("cache.counted", "how many requests the check rests on"),
        (
            "cache.unexplained",
            "how many requests the check cannot rest on",
        ),
        (
            "token_check.requests",
            "how many requests the check rests on",
        ),
        (
            "token_check.engine_tokens",
            "`output_tokens` of these requests",
        ),
        (
            "prompt_check.",
            "how many requests the check rests on, and its largest difference",
        ),
        ("token_check.", "what `token_check.mismatched` is made of"),
        (
            "own_counts.",
            "the engine's own counters, which are in no rate and no verdict",
        ),
        ("delivered.intended", "stated by the pipeline"),
        ("client.reads", "how many pieces a stream came in"),
        (
            "client.shards",
            "stated by the pipeline, or chosen by its load",
        ),
    ];

    /// A value of a schema with a distinct number in each place, and the paths of those
    /// numbers; a distribution counts as one place.
    #[derive(Default)]
    struct Sample {
        next: u32,
        places: Vec<String>,
    }

    impl Sample {
        fn of(&mut self, schema: &Value, root: &Value, at: &str) -> Value {
            let below = |key: &str| {
                if at.is_empty() {
                    key.to_owned()
                } else {
                    format!("{at}.{key}")
                }
            };
            if let Some(reference) = schema["$ref"].as_str() {
                let target = root.pointer(&reference[1..]).expect("a definition");
                if !reference.ends_with("/Distribution") {
                    return self.of(target, root, at);
                }
                let before = self.places.len();
                let value = self.of(target, root, at);
                self.places.truncate(before);
                self.places.push(at.to_owned());
                return value;
            }
            if let Some(branches) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
                return self.of(&branches[0], root, at);
            }
            if schema.get("const").is_some() {
                return schema["const"].clone();
            }
            if schema.get("type").is_none() {
                // Any value.
                return "".into();
            }
            let types = schema["type"].as_array().cloned();
            let types = types.unwrap_or_else(|| vec![schema["type"].clone()]);
            match types[0].as_str().expect("a type") {
                "object" if schema.get("properties").is_some() => {
                    let properties = schema["properties"].as_object().expect("properties");
                    let field = |(key, schema): (&String, &Value)| {
                        (key.clone(), self.of(schema, root, &below(key)))
                    };
                    Value::Object(properties.iter().map(field).collect())
                }
                "object" if schema.get("patternProperties").is_some() => {
                    let values = schema["patternProperties"].as_object().expect("a pattern");
                    let schema = values.values().next().expect("a pattern");
                    let field = |key: &str| (key.to_owned(), self.of(schema, root, &below(key)));
                    Value::Object(["1", "8", "32", "128"].map(field).into_iter().collect())
                }
                "object" => {
                    json!({ "x": self.of(&schema["additionalProperties"], root, &below("x")) })
                }
                "array" => json!([self.of(&schema["items"], root, &below("0"))]),
                "integer" | "number" => {
                    self.places.push(at.to_owned());
                    self.next += 1;
                    self.next.into()
                }
                "string" => "".into(),
                "boolean" => true.into(),
                other => panic!("{at}: {other}"),
            }
        }
    }

    fn sample() -> (Value, EngineResult, Vec<String>) {
        let schema = schemars::schema_for!(EngineResult).to_value();
        let mut sample = Sample::default();
        let value = sample.of(&schema, &schema, "");
        let engine = serde_json::from_value(value.clone()).expect("an engine's entry");
        (value, engine, sample.places)
    }

    #[test]
    fn every_number_of_a_result_is_a_metric_or_known_to_be_none() {
        let (_, _, places) = sample();
        assert!(places.len() > 40, "{places:?}");
        let is_none = |place: &str| NO_METRICS.iter().any(|(none, _)| place.starts_with(none));
        let unknown: Vec<&String> = places
            .iter()
            .filter(|place| Metric::named(place).is_none() && !is_none(place))
            .collect();
        assert_eq!(unknown, [""; 0], "add a row to METRICS");
        for (none, _) in NO_METRICS {
            let of_it = places
                .iter()
                .any(|place| place.starts_with(none) && Metric::named(place).is_none());
            assert!(of_it, "{none} is not there");
        }
    }

    #[test]
    fn every_row_reads_the_field_of_its_name() {
        let (value, engine, _) = sample();
        for metric in METRICS {
            let field = value.pointer(&format!("/{}", metric.name.replace('.', "/")));
            match metric.source {
                Source::Number(_) => {
                    let field = field.and_then(Value::as_f64);
                    assert!(field.is_some(), "{}", metric.name);
                    assert_eq!(metric.value(&engine, None), field, "{}", metric.name);
                }
                Source::Distribution(_) => {
                    for statistic in Statistic::ALL {
                        let field = field.and_then(|it| it[statistic.name()].as_f64());
                        assert!(field.is_some(), "{}", metric.name);
                        let seen = metric.value(&engine, Some(statistic));
                        assert_eq!(seen, field, "{} {statistic:?}", metric.name);
                    }
                }
                Source::Requests => assert_eq!((field, metric.value(&engine, None)), (None, None)),
            }
        }
    }

    #[test]
    fn rows_are_of_one_form() {
        let names: BTreeSet<&str> = METRICS.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), METRICS.len(), "a name is there twice");
        let grouped: usize = Group::ALL.map(|it| it.metrics().count()).iter().sum();
        assert_eq!(grouped, METRICS.len());
        for metric in METRICS {
            let Metric { name, doc, .. } = metric;
            assert!(
                doc.ends_with('.') && !doc[..doc.len() - 1].contains(". "),
                "{name}: {doc}"
            );
            // The unit is part of the name.
            let unit = match metric.unit {
                Unit::TokensPerSecond | Unit::PerSecond => "_per_sec",
                Unit::JoulesPerToken => "_j_per_token",
                Unit::Watts => "_w",
                Unit::Milliseconds if name.starts_with("cadence.time_to_tokens_ms.") => "",
                Unit::Milliseconds => "_ms",
                Unit::Seconds => "_s",
                Unit::Bytes => "_bytes",
                Unit::Percent | Unit::CpuPercent | Unit::Deviation => "_percent",
                Unit::Share | Unit::Count | Unit::Ratio => "",
            };
            assert!(name.ends_with(unit), "{name}");
            if metric.is_compared {
                let median = metric.is_distribution().then(Statistic::default);
                let has = metric.columns.iter().any(|it| it.statistic == median);
                assert!(has, "{name} needs a short title");
            }
            for column in metric.columns {
                assert_eq!(
                    column.statistic.is_some(),
                    metric.is_distribution(),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn metrics_go_by_their_names() {
        for metric in Metric::bounded() {
            let json = serde_json::to_value(metric).expect("JSON");
            assert_eq!(json, metric.name);
            assert_eq!(<&Metric>::deserialize(json).expect("a metric"), metric);
        }
        for unknown in ["requests", "speed"] {
            assert!(<&Metric>::deserialize(json!(unknown)).is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_cell_tells_too_few_samples_from_nothing_measured() {
        let (_, mut engine, _) = sample();
        let latency = Metric::named("request_latency_ms").expect("a metric");
        let [_, _, p90] = latency.columns else {
            panic!("{:?}", latency.columns)
        };
        engine.request_latency_ms = engine.request_latency_ms.map(|it| Distribution {
            n: 12,
            p90: None,
            ..it
        });
        assert_eq!(p90.cell(latency, &engine).as_deref(), Some("n=12"));
        engine.request_latency_ms = None;
        assert_eq!(p90.cell(latency, &engine), None);
    }
}
