//! From the requests of a cycle to its log ratio.
//!
//! Rates are ratios of sums. The mean of the requests' rates weighs a short answer like
//! a long one, so that an engine can look faster by being fast where it matters least.

use super::mean;
use super::quantile::median;

/// A request that succeeded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer, by the same tokenizer for both engines.
    pub output_tokens: u32,
    /// Time to the first token, in seconds.
    pub first_token_s: f64,
    /// Time to the last byte, in seconds.
    pub latency_s: f64,
}

impl Timing {
    fn decode_s(&self) -> f64 {
        self.latency_s - self.first_token_s
    }

    /// Time per output token after the first, in seconds; `None` below two tokens.
    pub fn time_per_output_token(&self) -> Option<f64> {
        let rest = self.output_tokens.checked_sub(1).filter(|rest| *rest > 0)?;
        Some(self.decode_s() / f64::from(rest))
    }
}

/// Output tokens per second, one request after the other:
/// `sum of output tokens / sum of latencies`. `None` if either is zero.
pub fn throughput(requests: &[Timing]) -> Option<f64> {
    rate(requests, |it| it.output_tokens, |it| it.latency_s)
}

/// Prompt tokens per second: `sum of prompt tokens / sum of times to the first token`.
pub fn prefill_rate(requests: &[Timing]) -> Option<f64> {
    rate(requests, |it| it.prompt_tokens, |it| it.first_token_s)
}

/// Output tokens per second after the first: `sum of (n - 1) / sum of (latency - first)`.
pub fn decode_rate(requests: &[Timing]) -> Option<f64> {
    rate(
        requests,
        |it| it.output_tokens.saturating_sub(1),
        Timing::decode_s,
    )
}

fn rate(
    requests: &[Timing],
    tokens: impl Fn(&Timing) -> u32,
    seconds: impl Fn(&Timing) -> f64,
) -> Option<f64> {
    let tokens: u64 = requests.iter().map(|it| u64::from(tokens(it))).sum();
    let seconds: f64 = requests.iter().map(seconds).sum();
    (tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
}

/// Output tokens per second with several requests in flight: tokens of the requests
/// that ended inside a window over its length, where the window leaves out the time
/// in which requests came up and ran out. `requests` are `(end, tokens)`, times in seconds.
pub fn window_throughput(requests: &[(f64, u32)], from_s: f64, to_s: f64) -> Option<f64> {
    let tokens: u64 = requests
        .iter()
        .filter(|(end, _)| (from_s..to_s).contains(end))
        .map(|(_, tokens)| u64::from(*tokens))
        .sum();
    (tokens > 0 && to_s > from_s).then(|| tokens as f64 / (to_s - from_s))
}

/// Mean output lengths of a question that differ by more than this share are not
/// the same work.
pub const LENGTH_TOLERANCE: f64 = 0.01;

/// Whether two mean output lengths of one question differ so much that only times
/// per token may be compared.
pub fn length_mismatch(baseline: f64, candidate: f64) -> bool {
    (baseline - candidate).abs() > LENGTH_TOLERANCE * baseline.max(candidate)
}

/// `ln(candidate / baseline)` of two rates: the statistic `sum` of a cycle when the rates
/// are ratios of sums.
pub fn log_ratio(baseline: f64, candidate: f64) -> f64 {
    (candidate / baseline).ln()
}

/// Latencies of both engines for one question, or one block of a cycle, in seconds; per
/// token where lengths differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block<'a> {
    /// Of the baseline, at least one.
    pub baseline: &'a [f64],
    /// Of the candidate, at least one.
    pub candidate: &'a [f64],
}

/// The statistic `med` of a cycle: the median over blocks of
/// `mean ln(baseline) - mean ln(candidate)`, above zero where the candidate is faster.
/// It speaks for the typical request, and hardly moves with a single slow one. `None`
/// without blocks.
pub fn median_log_ratio(blocks: &[Block<'_>]) -> Option<f64> {
    let mean_ln = |values: &[f64]| mean(&values.iter().map(|it| it.ln()).collect::<Vec<_>>());
    let ratios: Vec<f64> = blocks
        .iter()
        .map(|block| mean_ln(block.baseline) - mean_ln(block.candidate))
        .collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}

/// Requests of each engine in a cycle that its `p` quantile takes.
pub const MIN_PER_CYCLE: usize = 10;

/// The log ratio of a latency quantile of one cycle, above zero where the candidate is
/// faster; to be judged like that of throughput. `None` below
/// [`MIN_PER_CYCLE`] requests on either side.
pub fn quantile_log_ratio(block: Block<'_>, p: f64) -> Option<f64> {
    let at = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        (sorted.len() >= MIN_PER_CYCLE).then(|| super::quantile::quantile(&sorted, p).ln())
    };
    Some(at(block.baseline)? - at(block.candidate)?)
}
