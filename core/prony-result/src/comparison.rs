//! A candidate against the baseline: of one model, and over several.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Comparison of a candidate with the baseline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The candidate is faster.
    Faster,
    /// The candidate is slower.
    Slower,
    /// They differ by less than the margin.
    Equivalent,
    /// The data does not say.
    #[default]
    Inconclusive,
}

/// Number of which a verdict speaks. It follows from the pipeline, before the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestStatistic {
    /// The typical request at equal state of the machine: the time of each against the level
    /// of the visits around it, without what an engine leaves behind for the next visit.
    Level,
    /// The same, trusting that nothing is left behind.
    LevelTrusting,
    /// The typical request: by cycle, the median over its questions of the ratio of times.
    Median,
    /// The throughput of a cycle's visits.
    Throughput,
}

impl TestStatistic {
    /// `true` if it speaks of the typical request rather than of throughput.
    pub fn is_of_request(self) -> bool {
        self != Self::Throughput
    }

    /// Meaning, in words: what is compared, and why that.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Level => {
                "the typical request at equal state of the machine, without what an engine leaves behind (level)"
            }
            Self::LevelTrusting => {
                "the typical request at equal state of the machine, trusting that engines leave nothing behind (level_trusting)"
            }
            Self::Median => "the typical request, cycle by cycle (median)",
            Self::Throughput => {
                "the throughput of each visit, as its requests share their time (throughput)"
            }
        }
    }
}

/// A candidate against the baseline, for one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The baseline engine.
    pub baseline: String,
    /// The candidate engine.
    pub candidate: String,
    /// The verdict on the candidate.
    pub verdict: Verdict,
    /// The faster engine, if the verdict names one.
    pub winner: Option<String>,
    /// Number that the verdict is about; absent in results of before there was a choice,
    /// which speak of the throughput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistic: Option<TestStatistic>,
    /// By how much the candidate is faster, in percent of the baseline's speed: the
    /// advantage at which the score of all cycles is zero. After an early stop it is biased
    /// away from zero, so the interval comes first.
    pub difference_percent: Option<f64>,
    /// Interval of the difference: the advantages that no look has rejected, valid at all
    /// looks together. Absent where so few cycles give none.
    pub interval: Option<Interval>,
    /// The interval that must lie inside the margin for `equivalent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_equivalent: Option<Interval>,
    /// `true` if it lies inside the margin: of a winner, that it is faster by less than
    /// the margin.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub within_margin: bool,
    /// Difference of the pooled throughputs (ratio of sums), in percent.
    pub pooled_difference_percent: Option<f64>,
    /// Differences up to this count as none, in percent.
    pub margin_percent: f64,
    /// Cycles that the verdict rests on: those up to the look that gave it, or all.
    pub cycles: u32,
    /// Number of the cycle after which the verdict fell; absent if none fell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<u32>,
    /// Cycles left out because a start or a request failed.
    pub degraded_cycles: u32,
    /// `ln(candidate / baseline)` of each cycle's throughput, also of cycles after the
    /// verdict.
    pub cycle_log_ratios: Vec<f64>,
    /// The p value of no difference as if the cycles had been looked at once: nominal,
    /// no verdict rests on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal_p_value: Option<f64>,
    /// Cycles that a run needs to tell a difference of the margin, judged from how much
    /// these differ: a normal approximation for 90 % power. From 6 cycles on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_cycles: Option<u32>,
    /// Wall-clock time of a cycle, in seconds: the median from one start to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle_s: Option<f64>,
    /// Number of requests that a visit should have to tell more in the same time, judged from
    /// the time of a visit and from how much requests and visits differ; absent where the
    /// present one is less than a factor of 2 away, or where nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub better_requests: Option<u32>,
    /// `true` if the run has no last cycle: cycles may be added until it is decided.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// The difference that the planned cycles can tell, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detectable_percent: Option<f64>,
    /// The throughput of all requests, as a ratio of sums on equal work; absent where the
    /// verdict is about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Judgement>,
    /// The p value of one engine having no more isolated slow requests than the other.
    /// Absent where the verdict is about throughput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_requests_p_value: Option<f64>,
    /// By how much a visit after the candidate is slower than one after the baseline, in
    /// percent: the verdict is without it. Absent unless larger than 1 % and significant, and
    /// where `statistic` is not `level`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carry_over_percent: Option<f64>,
    /// `true` if what engines leave behind for the next visit is neither taken out of the
    /// comparison nor tested: with `resident`, a fixed order or `carry_over: none`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carry_over_kept: bool,
    /// The typical request: the median over questions of the ratio of times. Absent where the
    /// verdict is about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median: Option<Judgement>,
    /// The time to the first token, per prompt token where both engines count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<Judgement>,
    /// The time per output token after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<Judgement>,
    /// Output tokens over the latencies of their requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_to_end: Option<Judgement>,
    /// The median latency of each cycle, where it has 10 requests on each engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p50: Option<Judgement>,
    /// The 90th percentile of the latency of each cycle, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p90: Option<Judgement>,
    /// Output tokens per joule, where the energy of both engines is known: of GPUs and
    /// processor if the processor's is, else of GPUs if both use one. `faster` means that the
    /// candidate gives more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<Judgement>,
    /// The time to the first token: by cycle, the median over questions of the ratio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_token: Option<Judgement>,
    /// The time to load, where a run starts both engines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_time: Option<Judgement>,
    /// The highest memory of the engines' processes: the baseline's over the candidate's, so
    /// `faster` means that the candidate needs less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Judgement>,
    /// The 99th percentile of the time to the first token over all cycles, where both
    /// engines have the 459 requests that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_p99: Option<TailJudgement>,
    /// The 99th percentile of the latency over all cycles, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p99: Option<TailJudgement>,
    /// The p value of one engine failing no more often than the other (exact `McNemar`
    /// test of paired requests), where a request failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_p_value: Option<f64>,
    /// Latencies far from those of the same engine and question, per engine. They count
    /// like all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outliers: Vec<Outliers>,
    /// Mean number of tokens that two answers have in common, over all pairs: the verdict and
    /// `total` rest on them. Absent if all pairs are equally long, or where the verdict is about
    /// throughput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_tokens: Option<f64>,
    /// Obstacle that forbids a verdict whatever the numbers say, in words; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// Reason for the verdict, in words.
    pub reason: String,
    /// Limits of the comparison, for example `length_mismatch`; `prony explain` has a
    /// page on each.
    pub flags: Vec<String>,
    /// Comparison of the work of both; absent if no request was answered by both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_work: Option<SameWork>,
}

impl Comparison {
    /// Takes back every verdict, for a reason that forbids it whatever the numbers say.
    pub fn withhold(&mut self, obstacle: &str) {
        self.verdict = Verdict::Inconclusive;
        self.winner = None;
        self.stopped_at = None;
        self.reason = self
            .obstacle
            .get_or_insert_with(|| obstacle.to_owned())
            .clone();
        let sides = [
            &mut self.total,
            &mut self.median,
            &mut self.prefill,
            &mut self.decode,
            &mut self.end_to_end,
            &mut self.latency_p50,
            &mut self.latency_p90,
            &mut self.energy,
            &mut self.time_to_first_token,
            &mut self.load_time,
            &mut self.memory,
        ];
        for side in sides.into_iter().flatten() {
            side.verdict = Verdict::Inconclusive;
        }
        for tail in [&mut self.time_to_first_token_p99, &mut self.latency_p99] {
            *tail = None;
        }
    }
}

/// Judgement of one side of the work, by the same rule as the verdict. It is not
/// among the comparisons that the verdicts are adjusted for, and names no winner.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// On the candidate.
    pub verdict: Verdict,
    /// By how much the candidate is faster, in percent of the baseline's speed.
    pub difference_percent: Option<f64>,
    /// The interval that it rests on: of an equivalence the one that lies inside the margin,
    /// else that of the difference. Absent where the cycles give none.
    pub interval: Option<Interval>,
    /// Reason why they give none, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_interval: Option<String>,
    /// Cycles that it rests on.
    pub cycles: u32,
    /// Reason why nothing can be said, in words; absent if there are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
}

/// An interval, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Lower end.
    pub low_percent: f64,
    /// Upper end.
    pub high_percent: f64,
    /// Confidence level that it attains, 0 to 1.
    pub level: f64,
}

/// Comparison of a percentile over all cycles together: a permutation test that swaps
/// the engines' labels cycle by cycle, once, of what had been measured in the end. It is not
/// among the comparisons that the verdicts are adjusted for, and names no winner. It finds
/// large differences only, and never says `equivalent`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TailJudgement {
    /// On the candidate.
    pub verdict: Verdict,
    /// By how much the candidate is faster, in percent of the baseline's speed: the ratio of
    /// the percentiles.
    pub difference_percent: f64,
    /// The two-sided p value of no difference.
    pub p_value: f64,
    /// Cycles that it rests on.
    pub cycles: u32,
}

/// Latencies beyond Tukey's fences, of what is left when the medians of question and
/// engine are taken away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outliers {
    /// The engine.
    pub engine: String,
    /// More than 1.5 and at most 3 interquartile ranges beyond the quartiles.
    pub mild: u64,
    /// More than 3.
    pub far: u64,
}

/// Comparison of the work of two engines: their answers to the same requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SameWork {
    /// Pairs of successful answers to the same request of the same cycle.
    pub pairs: u64,
    /// Pairs whose answers are equal, over all pairs, 0 to 1. Reasoning is not compared.
    pub identical_share: f64,
    /// Characters that the answers of the other pairs have in common at their beginning,
    /// median; absent if all are equal.
    pub first_divergence_characters_p50: Option<f64>,
    /// Source of the lengths below, of the pairs where it is least certain: `text` if all
    /// pairs are equal, `tokenizer` if the others were counted independently, else `engine`.
    #[schemars(extend("enum" = ["engine", "tokenizer", "text"]))]
    pub lengths_by: String,
    /// Pairs of equal answers of which the engines count the tokens differently.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub counted_otherwise: u64,
    /// Output tokens of the baseline's answers in these pairs.
    pub baseline_output_tokens: Option<Lengths>,
    /// Output tokens of the candidate's answers in these pairs.
    pub candidate_output_tokens: Option<Lengths>,
    /// Questions (a prompt, with its image) of which both lengths are known.
    pub questions: u32,
    /// Number of them whose answers differ in length by more than 1 %, all their pairs taken
    /// together.
    pub questions_of_unequal_length: u32,
    /// The largest such difference: the candidate's length over the baseline's less 1, in
    /// percent.
    pub largest_length_difference_percent: Option<f64>,
    /// The largest difference in prompt tokens of one pair: the candidate's less the
    /// baseline's, by the engines' own counts. A few tokens are another chat template; many
    /// are another prompt, such as one without its image.
    pub largest_prompt_difference_tokens: Option<i64>,
}

impl SameWork {
    /// `true` if the answers to every question are equally long, within 1 %. If not, what an
    /// answer took as a whole is not comparable, and only what took the part common to both is.
    pub fn is_of_equal_length(&self) -> bool {
        self.questions_of_unequal_length == 0
    }
}

/// The lengths of answers in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lengths {
    /// Number of answers.
    pub n: u64,
    /// Shortest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// Longest.
    pub max: f64,
}

/// All comparisons of a run: every matrix point, model, `measure` stage and candidate that was
/// planned. They are judged together by Holm's procedure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Family {
    /// Number planned.
    pub comparisons: u32,
    /// The chance of naming any winner that is none, at most, 0 to 1.
    pub alpha: f64,
    /// The chance of one claim of `equivalent` being wrong, at most; not adjusted.
    pub alpha_equivalent: f64,
    /// Comparisons that name a winner.
    pub winners: u32,
    /// Comparisons that are equivalent.
    pub equivalent: u32,
    /// The others.
    pub inconclusive: u32,
}

/// A candidate against the baseline over several models: the geometric mean of the
/// ratios. It takes no part in any verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overall {
    /// The baseline engine.
    pub baseline: String,
    /// The candidate engine.
    pub candidate: String,
    /// The point of the matrix; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// Id of the `measure` stage; absent when the cell has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// Models in it.
    pub models: u32,
    /// The geometric mean of the ratios, minus 1, in percent. Absent if a model has no
    /// verdict that can be trusted: the set of models is fixed before the run.
    pub difference_percent: Option<f64>,
    /// Its interval: of the mean log ratios of the cycles where the models share cycles,
    /// else by the normal approximation.
    pub interval: Option<Interval>,
    /// Reason why there is no number; absent if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}
