//! From the requests of a comparison to the numbers of its cycles.

use super::{Arm, Question, StudyDesign};
use crate::common::{Common, Part, Withheld, slack};
use crate::credit::{Credits, Pair, Pairs};
use crate::energy::comparable;
use crate::facts::Facts;
use crate::granularity::{Bounds, decode_speed, prefill_speed};
use crate::statistics::advice::Effort;
use crate::statistics::aggregate::{self, Block, median_log_ratio, quantile_log_ratio};
use crate::statistics::level::{self, CarryOver, Level};
use crate::statistics::predecessor::Before;
use crate::statistics::{Evidence, LogRatios, mean};
use crate::throughput::{Visit, rate};
use prony_result::TestStatistic;
use std::collections::{BTreeMap, BTreeSet};

/// The requests and times of one cycle.
#[derive(Default)]
struct Cycle<'a> {
    records: Vec<&'a Facts>,
    visits: Vec<Visit>,
}

impl Cycle<'_> {
    /// Logarithm of the time of its control, in seconds.
    fn control(&self) -> Option<f64> {
        let times = self.visits.iter().filter_map(|it| it.control_ns);
        times.min().map(|ns| (ns.max(1) as f64 / 1e9).ln())
    }
}

impl<'a> Arm<'a> {
    fn cycles(&self) -> BTreeMap<u32, Cycle<'a>> {
        let mut cycles = BTreeMap::<u32, Cycle<'a>>::new();
        for record in self.facts() {
            let cycle = cycles.entry(record.cycle).or_default();
            cycle.records.push(record);
        }
        for visit in self.visits {
            cycles.entry(visit.cycle).or_default().visits.push(*visit);
        }
        cycles
    }
}

/// A time that is known within bounds, as far as it must be one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The middle.
    Middle,
    /// The candidate as slow, and the baseline as fast, as it can be.
    Slowest,
    /// The candidate as fast, and the baseline as slow, as it can be.
    Fastest,
}

impl Bound {
    fn of(self, common: &Common) -> (f64, f64) {
        let middle = |part: &Part| (part.low_s * part.high_s).sqrt();
        let (a, b) = (&common.baseline, &common.candidate);
        match self {
            Self::Middle => (middle(a), middle(b)),
            Self::Slowest => (a.low_s, b.high_s),
            Self::Fastest => (a.high_s, b.low_s),
        }
    }
}

/// A cycle in which nothing failed.
#[derive(Debug, Clone, PartialEq)]
struct Measured {
    cycle: u32,
    /// `true` if the candidate was measured first.
    candidate_first: bool,
    /// Middles of the visits of baseline and candidate, in seconds since the run's origin.
    at_s: (f64, f64),
    /// Logarithms of the times of the controls of both, where either has one.
    controls: (Option<f64>, Option<f64>),
    /// The engines that were visited right before both.
    before: Before,
    /// The parts that both engines' answers have, by question.
    pairs: Vec<(Question, Common)>,
    /// Reason why a pair of answers has none.
    withheld: Option<Withheld>,
    /// `ln(candidate / baseline)` of the throughputs, by the tokens of all answers.
    throughput: f64,
    /// By how much that may be too high or too low, where answers differ in length.
    slack: (f64, f64),
}

/// The numbers of the cycles, on which everything that is said of two engines rests.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratios {
    /// Number that the verdict is about.
    pub statistic: TestStatistic,
    /// Cycles without a failure, in order.
    measured: Vec<Measured>,
    /// By cycle, the log ratio of the requests (of the prompt tokens, where both engines
    /// count the same) over the times to the first token.
    pub prefill: Vec<(u32, f64)>,
    /// Log ratios by which the prefill of the baseline and of the candidate may be faster than
    /// measured: 0 where streams show it all, infinite where they hide it.
    pub prefill_slack: (f64, f64),
    /// By cycle, the log ratio of the tokens after the first over their time.
    pub decode: Vec<(u32, f64)>,
    /// Log ratios by which decoding may be slower than measured, likewise.
    pub decode_slack: (f64, f64),
    /// By cycle, the log ratio of the output tokens over the latencies.
    pub end_to_end: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the median latencies, with enough requests.
    pub latency_p50: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the 90th percentiles of the latencies, likewise.
    pub latency_p90: Vec<(u32, f64)>,
    /// By cycle, the median over questions of the log ratio of the times to the first token,
    /// above zero where the candidate's are shorter.
    pub first_token: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the times to load, likewise.
    pub load_time: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the highest memory of the engine's processes, above zero
    /// where the candidate's is lower.
    pub memory: Vec<(u32, f64)>,
    /// By cycle, the log ratio of the output tokens per joule.
    pub energy: Vec<(u32, f64)>,
    /// Reason why the energy of a cycle cannot be compared, in words.
    pub energy_withheld: Option<&'static str>,
    /// Cycles that give no number, since something in them failed.
    pub degraded: BTreeSet<u32>,
}

impl Ratios {
    /// Without cycles.
    pub fn new(statistic: TestStatistic) -> Self {
        Self {
            statistic,
            measured: Vec::new(),
            prefill: Vec::new(),
            prefill_slack: (0.0, 0.0),
            decode: Vec::new(),
            decode_slack: (0.0, 0.0),
            end_to_end: Vec::new(),
            latency_p50: Vec::new(),
            latency_p90: Vec::new(),
            first_token: Vec::new(),
            load_time: Vec::new(),
            memory: Vec::new(),
            energy: Vec::new(),
            energy_withheld: None,
            degraded: BTreeSet::new(),
        }
    }

    /// Numbers of the cycles that have one, in order.
    pub fn cycles(&self) -> Vec<u32> {
        self.measured.iter().map(|it| it.cycle).collect()
    }

    /// By cycle, `ln(candidate / baseline)` of the throughputs as a user sees them: all tokens
    /// over all time.
    pub fn throughputs(&self) -> Vec<f64> {
        self.measured.iter().map(|it| it.throughput).collect()
    }

    /// The cycles, each with whether the candidate was measured first, and one log ratio, above
    /// zero where the candidate is faster: of a verdict on the typical request the median over
    /// questions, else of the throughputs.
    pub fn by_cycle(&self) -> Vec<(u32, bool, f64)> {
        let numbers = if self.statistic.is_of_request() {
            self.medians(Bound::Middle)
        } else {
            self.throughputs()
        };
        let cycles = self.measured.iter().zip(numbers);
        cycles
            .map(|(it, number)| (it.cycle, it.candidate_first, number))
            .collect()
    }

    /// By cycle, the log ratio of the sums of the times of equal work, above zero where the
    /// candidate is faster.
    pub fn totals(&self, bound: Bound) -> Vec<f64> {
        let total = |it: &Measured| {
            let times = it.pairs.iter().map(|(_, common)| bound.of(common));
            let (a, b) = times.fold((0.0, 0.0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
            // Without a common part nothing is said; see `withheld`.
            if it.pairs.is_empty() {
                0.0
            } else {
                aggregate::log_ratio(b, a)
            }
        };
        self.measured.iter().map(total).collect()
    }

    /// By cycle, the median over questions of the log ratio of the times of equal work.
    pub fn medians(&self, bound: Bound) -> Vec<f64> {
        let median = |it: &Measured| {
            let mut questions = BTreeMap::<Question, (Vec<f64>, Vec<f64>)>::new();
            for (question, common) in &it.pairs {
                let (a, b) = bound.of(common);
                let times = questions.entry(*question).or_default();
                times.0.push(a);
                times.1.push(b);
            }
            let blocks: Vec<Block<'_>> = questions
                .values()
                .map(|(baseline, candidate)| Block {
                    baseline,
                    candidate,
                })
                .collect();
            median_log_ratio(&blocks).unwrap_or(0.0)
        };
        self.measured.iter().map(median).collect()
    }

    /// The visits, for the statistic `level`.
    pub fn visits(&self, bound: Bound) -> Vec<level::Cycle> {
        let mut questions = BTreeMap::<Question, usize>::new();
        for (question, _) in self.measured.iter().flat_map(|it| &it.pairs) {
            let next = questions.len();
            questions.entry(*question).or_insert(next);
        }
        let next = |index: usize| self.measured.get(index + 1).map(|it| it.cycle);
        let cycle = |(index, it): (usize, &Measured)| {
            let visit = |(at_s, control): (f64, Option<f64>),
                         of: fn(&Common) -> &Part,
                         time: fn((f64, f64)) -> f64| {
                let request = |(question, common): &(Question, Common)| level::Request {
                    question: questions[question],
                    tokens: common.tokens,
                    first_s: of(common).first_s,
                    time_s: time(bound.of(common)),
                };
                level::Visit {
                    at_s,
                    control,
                    requests: it.pairs.iter().map(request).collect(),
                }
            };
            let baseline = visit(
                (it.at_s.0, it.controls.0),
                |it| &it.baseline,
                |times| times.0,
            );
            let candidate = visit(
                (it.at_s.1, it.controls.1),
                |it| &it.candidate,
                |times| times.1,
            );
            level::Cycle {
                baseline_first: !it.candidate_first,
                is_followed: next(index) == Some(it.cycle + 1),
                visits: if it.candidate_first {
                    [candidate, baseline]
                } else {
                    [baseline, candidate]
                },
            }
        };
        self.measured.iter().enumerate().map(cycle).collect()
    }

    /// The evidence by which a verdict is found.
    pub fn evidence(&self, bound: Bound) -> Box<dyn Evidence> {
        let level = |carry_over| Box::new(Level::new(self.visits(bound), carry_over));
        match self.statistic {
            TestStatistic::Level => level(CarryOver::Removed),
            TestStatistic::LevelTrusting => level(CarryOver::None),
            TestStatistic::Median => Box::new(LogRatios(self.medians(bound))),
            TestStatistic::Throughput => Box::new(LogRatios(self.rates(bound))),
        }
    }

    /// A number of requests that would tell more in the same time, judged from the first `n`
    /// cycles ([`advice`](crate::statistics::advice)); `None` where the present one is about
    /// right, or nothing is known of it: visits must load their engine and have one request
    /// in flight.
    pub fn better_requests(&self, n: usize) -> Option<u32> {
        let carry_over = match self.statistic {
            TestStatistic::Level => CarryOver::Removed,
            TestStatistic::LevelTrusting => CarryOver::None,
            TestStatistic::Median | TestStatistic::Throughput => return None,
        };
        let level = Level::new(self.visits(Bound::Middle), carry_over);
        // Fewer would leave out questions.
        let questions: BTreeSet<Question> = (self.measured.iter())
            .flat_map(|it| it.pairs.iter().map(|(question, _)| *question))
            .collect();
        let number = Effort::new(&level, n)?.advice()?;
        Some(number.max(u32::try_from(questions.len()).unwrap_or(u32::MAX)))
    }

    /// The engines before both visits of each cycle of a series.
    pub(super) fn before(&self, cycles: impl Iterator<Item = u32>) -> Vec<Before> {
        let of_cycle: BTreeMap<u32, Before> = self
            .measured
            .iter()
            .map(|it| (it.cycle, it.before))
            .collect();
        cycles
            .map(|cycle| of_cycle.get(&cycle).copied().unwrap_or_default())
            .collect()
    }

    /// The throughputs' log ratios, as far as answers of other lengths may have changed them.
    fn rates(&self, bound: Bound) -> Vec<f64> {
        let rate = |it: &Measured| match bound {
            Bound::Middle => it.throughput,
            Bound::Slowest => it.throughput - it.slack.0,
            Bound::Fastest => it.throughput + it.slack.1,
        };
        self.measured.iter().map(rate).collect()
    }

    /// Mean number of tokens that two answers have in common, if some differ in length.
    pub fn common_tokens(&self) -> Option<f64> {
        let pairs = || self.measured.iter().flat_map(|it| &it.pairs);
        let is_cut = pairs().any(|(_, common)| common.is_cut());
        let tokens = pairs().map(|(_, common)| f64::from(common.tokens));
        is_cut.then(|| mean(&tokens.collect::<Vec<f64>>()))
    }

    /// Reason why two answers have no part in common that could be compared.
    pub(super) fn withheld(&self) -> Option<Withheld> {
        self.measured.iter().find_map(|it| it.withheld)
    }

    /// Returns `true` if a number is known within bounds only.
    pub fn is_bounded(&self) -> bool {
        self.measured.iter().any(|it| match self.statistic {
            TestStatistic::Throughput => it.slack.0 > 0.0 || it.slack.1 > 0.0,
            _ => it
                .pairs
                .iter()
                .any(|(_, common)| common.baseline.doubt() > 0.0 || common.candidate.doubt() > 0.0),
        })
    }

    /// Takes in later cycles of the same comparison.
    pub fn extend(&mut self, later: Self) {
        self.measured.extend(later.measured);
        for (own, more) in [
            (&mut self.prefill, later.prefill),
            (&mut self.decode, later.decode),
            (&mut self.end_to_end, later.end_to_end),
            (&mut self.latency_p50, later.latency_p50),
            (&mut self.latency_p90, later.latency_p90),
            (&mut self.first_token, later.first_token),
            (&mut self.load_time, later.load_time),
            (&mut self.memory, later.memory),
            (&mut self.energy, later.energy),
        ] {
            own.extend(more);
        }
        self.degraded.extend(later.degraded);
    }

    /// Everything but the throughput, of a cycle without a failure.
    fn more(&mut self, cycle: u32, baseline: &Cycle, candidate: &Cycle, credits: &Credits) {
        let numbers = |d: Option<f64>| d.filter(|d| d.is_finite()).map(|d| (cycle, d));
        let less = |of: fn(&[Visit]) -> Option<f64>| {
            let (a, b) = of(&baseline.visits).zip(of(&candidate.visits))?;
            Some(aggregate::log_ratio(b, a))
        };
        self.load_time.extend(numbers(less(|visits| {
            let loads = visits.iter().map(|it| it.load_time_ns);
            loads.sum::<Option<u64>>().map(|ns| ns as f64)
        })));
        self.memory.extend(numbers(less(|visits| {
            let peaks = visits.iter().filter_map(|it| it.peak_memory_bytes);
            peaks.max().map(|bytes| bytes as f64)
        })));
        let energies = comparable(&baseline.visits, &candidate.visits);
        let (baseline, candidate) = (&baseline.records, &candidate.records);
        self.first_token
            .extend(numbers(first_token(baseline, candidate)));
        if let (Some(a), Some(b)) = (
            credited(baseline, |it| credits.baseline(it)),
            credited(candidate, |it| credits.candidate(it)),
        ) {
            let weight = prompt_weight(baseline, candidate);
            let prefill = (prefill_speed(&a, weight), prefill_speed(&b, weight));
            // Its lower bound is what a user sees.
            let d = prefill
                .0
                .zip(prefill.1)
                .map(|(a, b)| aggregate::log_ratio(a.0, b.0));
            self.prefill.extend(numbers(d));
            widen(&mut self.prefill_slack, prefill);
            let decode = (decode_speed(&a), decode_speed(&b));
            let d = decode
                .0
                .zip(decode.1)
                .map(|(a, b)| aggregate::log_ratio(a.1, b.1));
            self.decode.extend(numbers(d));
            widen(&mut self.decode_slack, decode);
            let end_to_end = |answers: &[(&Facts, u32)]| {
                let tokens: u64 = answers.iter().map(|(_, tokens)| u64::from(*tokens)).sum();
                // A journal may claim any time.
                let times = answers.iter().map(|(it, _)| it.latency_ns());
                let time = times.fold(0, u64::saturating_add);
                tokens as f64 / time as f64
            };
            let d = aggregate::log_ratio(end_to_end(&a), end_to_end(&b));
            self.end_to_end.extend(numbers(Some(d)));
            let tokens = |answers: &[(&Facts, u32)]| {
                let tokens = answers.iter().map(|(_, tokens)| u64::from(*tokens));
                tokens.sum::<u64>() as f64
            };
            match energies {
                Some(Ok((one, other))) => {
                    let d = aggregate::log_ratio(tokens(&a) / one, tokens(&b) / other);
                    self.energy.extend(numbers(Some(d)));
                }
                Some(Err(why)) => self.energy_withheld = Some(why),
                None => {}
            }
        }
        let latencies = |records: &[&Facts]| -> Vec<f64> {
            records.iter().map(|it| it.latency_ns() as f64).collect()
        };
        let block = Block {
            baseline: &latencies(baseline),
            candidate: &latencies(candidate),
        };
        self.latency_p50
            .extend(numbers(quantile_log_ratio(block, 0.5)));
        self.latency_p90
            .extend(numbers(quantile_log_ratio(block, 0.9)));
    }
}

/// The median over questions of the log ratio of the times to the first token; `None` if one
/// has none.
fn first_token(baseline: &[&Facts], candidate: &[&Facts]) -> Option<f64> {
    let times = |records: &[&Facts]| {
        let mut times = BTreeMap::<Question, Vec<f64>>::new();
        for record in records {
            let time = record.time_to_first_token_ns().filter(|ns| *ns > 0)?;
            times
                .entry(record.question())
                .or_default()
                .push(time as f64);
        }
        Some(times)
    };
    let (baseline, candidate) = (times(baseline)?, times(candidate)?);
    let blocks = baseline.iter().filter_map(|(question, baseline)| {
        let candidate = candidate.get(question)?;
        Some(Block {
            baseline,
            candidate,
        })
    });
    median_log_ratio(&blocks.collect::<Vec<_>>())
}

/// Records with the tokens that they are credited with; `None` if one has none.
pub(super) fn credited<'a>(
    records: &[&'a Facts],
    credit: impl Fn(&Facts) -> Option<u32>,
) -> Option<Vec<(&'a Facts, u32)>> {
    let answers = records
        .iter()
        .map(|record| Some((*record, credit(record)?)));
    answers.collect()
}

/// Weight of a prompt in the speed of prefill: its tokens if both engines count the same for
/// each request, and 1 otherwise. A longer chat template is not faster work.
fn prompt_weight(baseline: &[&Facts], candidate: &[&Facts]) -> fn(&Facts) -> u32 {
    let of = |records: &[&Facts]| -> BTreeMap<(u32, u32), Option<u32>> {
        let prompts = records
            .iter()
            .map(|it| (it.cycle_and_index(), it.prompt_tokens));
        prompts.collect()
    };
    let (a, b) = (of(baseline), of(candidate));
    if a == b && a.values().all(Option::is_some) {
        |record| record.prompt_tokens.unwrap_or(1)
    } else {
        |_| 1
    }
}

/// Takes the bounds of both engines' speeds in a cycle into their slack so far.
fn widen(slack: &mut (f64, f64), bounds: (Option<Bounds>, Option<Bounds>)) {
    let of = |bounds: Option<Bounds>| bounds.map_or(f64::INFINITY, |(low, high)| (high / low).ln());
    slack.0 = slack.0.max(of(bounds.0));
    slack.1 = slack.1.max(of(bounds.1));
}

/// The log ratios without their cycles, in order.
pub(super) fn values(by_cycle: &[(u32, f64)]) -> Vec<f64> {
    by_cycle.iter().map(|(_, d)| *d).collect()
}

/// The numbers of the cycles so far. A cycle that is not over, or that an interruption
/// left without some of its requests, is passed over.
///
/// The interim analyses and the verdict both start here, so that they cannot disagree.
pub fn ratios(baseline: Arm<'_>, candidate: Arm<'_>, pairs: &Pairs, design: StudyDesign) -> Ratios {
    let (of_baseline, of_candidate) = (baseline.cycles(), candidate.cycles());
    let whole = |cycles: &BTreeMap<u32, Cycle<'_>>| -> BTreeSet<u32> {
        let whole = |cycle: &Cycle<'_>| cycle.records.len() >= design.requests_per_visit as usize;
        let numbers = cycles.iter().filter(|(_, cycle)| whole(cycle));
        numbers.map(|(number, _)| *number).collect()
    };
    let broken: BTreeSet<u32> = baseline.failed | candidate.failed;
    let both: BTreeSet<u32> = &whole(&of_baseline) & &whole(&of_candidate);
    let pairs = pairs.of(baseline.facts(), candidate.facts());
    let credits = Credits::new(&pairs);
    let mut pairs_of = BTreeMap::<u32, Vec<Pair<'_>>>::new();
    for pair in pairs {
        pairs_of.entry(pair.candidate.cycle).or_default().push(pair);
    }
    let mut ratios = Ratios::new(design.statistic);
    for number in &both | &broken {
        let good = |cycles: &BTreeMap<u32, Cycle<'_>>, tokens: &dyn Fn(&Facts) -> Option<u32>| {
            let cycle = cycles.get(&number)?;
            let well = cycle.records.iter().all(|record| record.ok());
            well.then(|| rate(&cycle.records, &cycle.visits, design.concurrency, tokens))
                .flatten()
        };
        let a = good(&of_baseline, &|it| credits.baseline(it));
        let b = good(&of_candidate, &|it| credits.candidate(it));
        if let (Some(a), Some(b), false) = (a, b, broken.contains(&number)) {
            let throughput = aggregate::log_ratio(a, b);
            let (a, b) = (&of_baseline[&number], &of_candidate[&number]);
            let answers = pairs_of.get(&number).map_or(&[][..], Vec::as_slice);
            if let Some(mut measured) =
                measured(number, &a.records, &b.records, answers, throughput)
            {
                measured.controls = (a.control(), b.control());
                measured.before = [a, b].map(|it| it.visits.first()?.before);
                ratios.measured.push(measured);
                ratios.more(number, a, b, &credits);
            }
        } else {
            ratios.degraded.insert(number);
        }
    }
    ratios
}

/// A cycle's answers side by side; `None` if none of them was answered by both.
fn measured(
    cycle: u32,
    baseline: &[&Facts],
    candidate: &[&Facts],
    answers: &[Pair<'_>],
    throughput: f64,
) -> Option<Measured> {
    let mut withheld = None;
    let mut common_parts = Vec::new();
    for pair in answers {
        match pair.common {
            Some(Ok(part)) => common_parts.push((pair.baseline.question(), *part)),
            Some(Err(reason)) => withheld = withheld.or(Some(*reason)),
            None => {}
        }
    }
    let first = |records: &[&Facts]| records.iter().map(|it| it.sent_ns).min();
    let middle = |records: &[&Facts]| {
        let last = records.iter().map(|it| it.end_ns).max();
        let times = first(records).zip(last);
        times.map_or(0.0, |(first, last)| u64::midpoint(first, last) as f64 / 1e9)
    };
    (!answers.is_empty()).then(|| Measured {
        cycle,
        candidate_first: first(candidate) < first(baseline),
        at_s: (middle(baseline), middle(candidate)),
        pairs: common_parts,
        controls: (None, None),
        before: [None; 2],
        withheld,
        throughput,
        slack: slack(answers.iter().map(Pair::tokens)).unwrap_or((f64::INFINITY, f64::INFINITY)),
    })
}
