//! The statistic `level`: engines against the level of the machine at the time.
//!
//! On a restless machine, bursts of load that touch single visits and drift between two
//! visits cost power. Both can be seen without knowing the engines: a visit is compared
//! with the visits around it, whoever they were of, and what lies far away counts little. Each
//! visit so gives a residual, and the difference of a cycle's two residuals is its
//! contribution. Nothing here knows which engine came first.
//!
//! A visit may leave the machine slower for the next one, and one engine more so than the
//! other. At a second visit the visit before was always the other engine's; at a first visit
//! it was either one's, by the coin of the cycle before. So the residual of the next cycle's
//! first visit can take that out of the second visit: `g = ψ₁ - 3/7 ψ₂ - 4/7 ψ₁'`, the least
//! squares solution for a level estimated with a weight of 3 requests.
//!
//! The constants were chosen on simulated machines (ARCHITECTURE.md); a choice of them costs
//! power, never validity.

use super::control;
use super::evidence::{Evidence, NORMAL, biweight};
use super::orders::{FIRST_LOOK, MAX_CYCLES, p_value};
use super::quantile::median;
use super::quantile::quantile;
use super::sequential::Decision;
use super::warnings::SIGNIFICANT;
use std::collections::BTreeMap;

/// Visits on either side that make the first level of a visit.
const WINDOW: usize = 5;
/// Quantile of them: load makes machines slower, not faster.
const LOW: f64 = 0.35;
/// Scales after which a request has no weight.
const CUT: f64 = 3.0;
/// Weight of the level in a visit's residual, in requests.
const PRIOR: f64 = 3.0;
/// Times that level, scale and weights are computed from each other.
const ROUNDS: usize = 6;
/// Quantile of the differences between the visits of a cycle, and the share of it, below
/// which the scale is not: a difference that every cycle has is no burst.
const FLOOR: (f64, f64) = (0.2, 0.5);
/// Smallest scale.
const MIN_SCALE: f64 = 1e-6;
/// Weight of the next cycle's first visit, against carry-over.
const CARRY: f64 = 4.0 / 7.0;

/// A successful request, up to the token that both engines' answers have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// The question; the same in all visits.
    pub question: usize,
    /// The tokens that both answers of the cycle have.
    pub tokens: u32,
    /// From sending to the first token, in seconds, if known.
    pub first_s: Option<f64>,
    /// From sending to the last of these tokens, in seconds, above zero.
    pub time_s: f64,
}

impl Request {
    /// Time to the first token, in times between two tokens.
    fn start(&self) -> Option<f64> {
        let steps = f64::from(self.tokens.saturating_sub(1));
        let rest = self.time_s - self.first_s?;
        (steps > 0.0 && rest > 0.0).then(|| (self.time_s - rest) * steps / rest)
    }
}

/// One engine's share of a cycle.
#[derive(Debug, Clone, PartialEq)]
pub struct Visit {
    /// Middle of its requests, in seconds since any time.
    pub at_s: f64,
    /// Its successful requests.
    pub requests: Vec<Request>,
    /// Logarithm of the time of a fixed load beside it, if there was one.
    pub control: Option<f64>,
}

/// A cycle: its visits in the order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Cycle {
    /// `true` if the baseline was visited first.
    pub baseline_first: bool,
    /// `true` if no other visit lies between it and the next cycle of the series.
    pub is_followed: bool,
    /// The first visit and the second.
    pub visits: [Visit; 2],
}

/// Assumption about what a visit leaves behind for the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CarryOver {
    /// Something that may depend on the engine: it is taken out.
    #[default]
    Removed,
    /// Nothing, or the same after either engine. Stated before the run.
    None,
}

/// By how much a visit after the candidate is slower than one after the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Carried {
    /// As a log ratio: what [`CarryOver::Removed`] takes out.
    pub log_ratio: f64,
    /// The p value of no such effect, nominal.
    pub p_value: f64,
}

impl Carried {
    /// Returns `true` if it is large and no chance.
    pub fn is_told(self) -> bool {
        /// As a log ratio.
        const NOTICED: f64 = 0.01;
        self.log_ratio.abs() > NOTICED && self.p_value < SIGNIFICANT
    }
}

/// Weights of requests in a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weights {
    /// Less for what lies far from its level, none for bursts.
    Biweight,
    /// The same for all.
    Equal,
}

/// Residuals of all visits, and what they came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Contribution of each cycle.
    pub contributions: Vec<f64>,
    /// Residual of each visit.
    pub residuals: Vec<f64>,
    /// Trust in each visit: the weight of its requests over that and the level's.
    pub trust: Vec<f64>,
    /// Level around each visit.
    pub levels: Vec<f64>,
    /// Scale of the requests.
    pub scale: f64,
    /// By how much second visits are slower, whatever the engines.
    pub order_effect: f64,
}

/// The visits of a comparison whose engines are loaded for each visit.
#[derive(Debug, Clone)]
pub struct Level {
    cycles: Vec<Cycle>,
    carry_over: CarryOver,
    weights: Weights,
    /// Log times without questions of up to [`MAX_CYCLES`] cycles before each number of
    /// cycles, from the first look on.
    centred: Vec<Vec<Vec<f64>>>,
}

impl Level {
    /// Of cycles in the order of time.
    pub fn new(cycles: Vec<Cycle>, carry_over: CarryOver) -> Self {
        let centred = (FIRST_LOOK..=cycles.len())
            .map(|n| centred(&cycles[n.saturating_sub(MAX_CYCLES)..n]))
            .collect();
        Self {
            cycles,
            carry_over,
            weights: Weights::Biweight,
            centred,
        }
    }

    /// The cycles, in order.
    pub(super) fn series(&self) -> &[Cycle] {
        &self.cycles
    }

    /// Log times of the first `n` cycles without what a question costs and what a control
    /// explains, by visit, with the candidate's prolonged by `advantage`.
    pub fn logs(&self, n: usize, advantage: f64) -> Vec<Vec<f64>> {
        self.prolonged(0, n, advantage)
    }

    /// Fit of the first `n` cycles, with the candidate's times prolonged by `advantage`.
    pub fn fit(&self, n: usize, advantage: f64) -> Fit {
        self.fit_of(0, n, advantage)
    }

    /// Fit of the cycles from `start` up to `n`, likewise.
    fn fit_of(&self, start: usize, n: usize, advantage: f64) -> Fit {
        let logs = self.prolonged(start, n, advantage);
        fit(&self.cycles[start..n], &logs, self.carry_over, self.weights)
    }

    fn prolonged(&self, start: usize, n: usize, advantage: f64) -> Vec<Vec<f64>> {
        let cycles = &self.cycles[start..n];
        let known = n
            .checked_sub(FIRST_LOOK)
            .filter(|_| start == n.saturating_sub(MAX_CYCLES))
            .and_then(|at| self.centred.get(at));
        let mut logs = known.cloned().unwrap_or_else(|| centred(cycles));
        for (k, logs) in logs.iter_mut().enumerate() {
            if (k % 2 == 1) == cycles[k / 2].baseline_first {
                for log in logs {
                    *log += advantage;
                }
            }
        }
        let visits = cycles.iter().flat_map(|cycle| &cycle.visits);
        let controls: Vec<Option<f64>> = visits.map(|visit| visit.control).collect();
        control::subtract(&mut logs, &controls);
        logs
    }

    /// `g` of a cycle as `s g`, by its coin.
    fn with_coin(cycle: &Cycle, g: f64) -> f64 {
        if cycle.baseline_first { g } else { -g }
    }

    /// Carry-over by the first `n` cycles; `None` where nothing was measured. Without weights,
    /// where these may take it for bursts.
    pub fn carried_over(&self, n: usize) -> Option<Carried> {
        match self.like_bursts(n) {
            Some(carried) => Some(carried),
            None => self.carried(n),
        }
    }

    fn carried(&self, n: usize) -> Option<Carried> {
        let estimate = |carry_over| {
            let level = Self {
                carry_over,
                ..self.clone()
            };
            level.estimate(n)
        };
        let removed = estimate(CarryOver::Removed)?;
        // The coin of a cycle decides which engine the next cycle's first visit comes after.
        // Without the advantage, its residual knows nothing else of that coin.
        let residuals = self.fit(n, removed).residuals;
        let next = |(c, cycle): (usize, &Cycle)| {
            let residual = residuals.get(2 * c + 2).filter(|_| cycle.is_followed);
            let residual = residual.copied().unwrap_or(0.0);
            if cycle.baseline_first {
                residual
            } else {
                -residual
            }
        };
        let signed: Vec<f64> = self.cycles[..n].iter().enumerate().map(next).collect();
        Some(Carried {
            log_ratio: (estimate(CarryOver::None)? - removed) / CARRY,
            p_value: p_value(&signed),
        })
    }

    /// Returns `true` if a decision by the first `n` cycles cannot be the work of what one engine leaves
    /// behind. Where visits after that engine are slower by more than requests scatter, they
    /// look like bursts and lose their weight, and with them the other engine's visits. Then
    /// engines are not shown to be equivalent, and the same without weights must name a
    /// winner, too.
    pub fn withstands(&self, decision: Decision, n: usize) -> bool {
        /// Of a single look.
        const P_VALUE: f64 = 0.05;
        if self.like_bursts(n).is_none() {
            return true;
        }
        if !decision.is_win() {
            return false;
        }
        let (own, plain) = (self.signed(n, 0.0), self.plain().signed(n, 0.0));
        let is_alike = own.iter().sum::<f64>() * plain.iter().sum::<f64>() > 0.0;
        is_alike && p_value(&plain) < P_VALUE
    }

    /// The same with equal weights.
    fn plain(&self) -> Self {
        Self {
            weights: Weights::Equal,
            ..self.clone()
        }
    }

    /// Carry-over, if it is so large that the visits after one engine may look like bursts.
    fn like_bursts(&self, n: usize) -> Option<Carried> {
        /// Scales up to which visits keep most of their weight.
        const HARMLESS: f64 = 2.0;
        let plain = self.plain();
        let carried = [self.carried(n), plain.carried(n)];
        // The least scatter that there is without a difference of the engines: which difference
        // is theirs is in doubt.
        let advantages = [Some(0.0), self.estimate(n), plain.estimate(n)];
        let scales = advantages.into_iter().flatten();
        let scales = scales.map(|advantage| self.fit(n, advantage).scale);
        let harmless = HARMLESS * scales.fold(f64::INFINITY, f64::min);
        let is_harmful = |it: Carried| it.is_told() && it.log_ratio.abs() > harmless;
        let is_one = carried.into_iter().flatten().any(is_harmful);
        is_one.then_some(carried[1]).flatten()
    }
}

impl Evidence for Level {
    fn cycles(&self) -> usize {
        self.cycles.len()
    }

    fn signed(&self, n: usize, advantage: f64) -> Vec<f64> {
        let contributions = self.fit(n, advantage).contributions;
        let cycles = self.cycles.iter().zip(contributions);
        cycles.map(|(cycle, g)| Self::with_coin(cycle, g)).collect()
    }

    fn lag(&self) -> usize {
        match self.carry_over {
            CarryOver::Removed => 1,
            CarryOver::None => 0,
        }
    }

    /// A fit looks back at no more than [`MAX_CYCLES`] cycles: the level of a visit is made of
    /// its neighbours, and a run without end may have thousands.
    fn frozen(&self, advantage: f64) -> Vec<f64> {
        let lag = self.lag();
        (lag + 1..=self.cycles.len())
            .map(|n| {
                let start = n.saturating_sub(MAX_CYCLES);
                let fit = self.fit_of(start, n, advantage);
                let c = n - 1 - lag;
                Self::with_coin(&self.cycles[c], fit.contributions[c - start])
            })
            .collect()
    }

    fn unweighted(&self, n: usize) -> Option<Vec<f64>> {
        self.plain().influences(n)
    }

    fn plain_ratios(&self, n: usize) -> Vec<f64> {
        let of_cycles = self.cycles[..n].iter().filter_map(|cycle| {
            let [first, second] = &cycle.visits;
            let pairs = first.requests.iter().filter_map(|a| {
                let mut others = second.requests.iter();
                let b = others.find(|b| b.question == a.question)?;
                Some((a.time_s / b.time_s).ln())
            });
            let pairs: Vec<f64> = pairs.collect();
            let sign = if cycle.baseline_first { 1.0 } else { -1.0 };
            (!pairs.is_empty()).then(|| sign * median(&pairs))
        });
        of_cycles.collect()
    }
}

/// Log times of all visits without what a question costs: the median over visits of its
/// distance to the visit's median.
fn centred(cycles: &[Cycle]) -> Vec<Vec<f64>> {
    let visits = || cycles.iter().flat_map(|cycle| &cycle.visits);
    let lengths = Lengths::new(visits().flat_map(|visit| &visit.requests));
    let logs: Vec<Vec<f64>> = visits()
        .map(|visit| {
            let of = |it: &Request| it.time_s.ln() - lengths.cost(it);
            visit.requests.iter().map(of).collect()
        })
        .collect();
    let mut of_question = BTreeMap::<usize, Vec<f64>>::new();
    for (visit, logs) in visits().zip(&logs).filter(|(_, logs)| !logs.is_empty()) {
        let middle = median(logs);
        for (request, log) in visit.requests.iter().zip(logs) {
            let distances = of_question.entry(request.question).or_default();
            distances.push(log - middle);
        }
    }
    let effects: BTreeMap<usize, f64> = of_question
        .into_iter()
        .map(|(question, distances)| (question, median(&distances)))
        .collect();
    visits()
        .zip(logs)
        .map(|(visit, logs)| {
            let requests = visit.requests.iter().zip(logs);
            requests
                .map(|(request, log)| log - effects[&request.question])
                .collect()
        })
        .collect()
}

/// Cost of an answer of another length than the usual one of its question.
///
/// An answer of `k` tokens takes the time to its first token and `k - 1` times that between
/// two tokens. Their ratio is a question's, not an engine's: it is the median over all its
/// requests, which does not change if an engine is slower in everything.
struct Lengths {
    /// By question, its usual length and ratio.
    of_question: BTreeMap<usize, (u32, f64)>,
}

impl Lengths {
    /// Of questions that are answered at different lengths; there is nothing to say of
    /// others.
    fn new<'a>(requests: impl Iterator<Item = &'a Request>) -> Self {
        let mut questions = BTreeMap::<usize, Vec<&Request>>::new();
        for request in requests {
            questions.entry(request.question).or_default().push(request);
        }
        questions.retain(|_, requests| requests.iter().any(|it| it.tokens != requests[0].tokens));
        let usual = |requests: Vec<&Request>| {
            let mut tokens: Vec<u32> = requests.iter().map(|it| it.tokens).collect();
            tokens.sort_unstable();
            let starts: Vec<f64> = requests.iter().filter_map(|it| it.start()).collect();
            let start = if starts.is_empty() {
                1.0
            } else {
                median(&starts)
            };
            (tokens[tokens.len() / 2], start)
        };
        let of_question = questions
            .into_iter()
            .map(|(question, requests)| (question, usual(requests)))
            .collect();
        Self { of_question }
    }

    /// Log ratio of a request's expected time and that of an answer of usual length.
    fn cost(&self, request: &Request) -> f64 {
        let Some((usual, start)) = self.of_question.get(&request.question) else {
            return 0.0;
        };
        let steps = |tokens: u32| start + f64::from(tokens) - 1.0;
        (steps(request.tokens) / steps(*usual)).ln()
    }
}

/// Residuals from the level, from log times without questions, by visit.
fn fit(cycles: &[Cycle], logs: &[Vec<f64>], carry_over: CarryOver, weights: Weights) -> Fit {
    let count = logs.len();
    let times: Vec<f64> = cycles
        .iter()
        .flat_map(|cycle| cycle.visits.iter().map(|visit| visit.at_s))
        .collect();
    let middles: Vec<Option<f64>> = logs
        .iter()
        .map(|logs| (!logs.is_empty()).then(|| median(logs)))
        .collect();
    let mut levels = first_levels(&middles);
    let decay = decay(&times);
    let apart: Vec<f64> = middles
        .chunks_exact(2)
        .filter_map(|of_cycle| Some((of_cycle[0]? - of_cycle[1]?).abs()))
        .collect();
    let floor = FLOOR.1 * low_quantile(apart, FLOOR.0).unwrap_or(0.0);
    let side = |k: usize| if k.is_multiple_of(2) { -1.0 } else { 1.0 };
    let mut fit = Fit {
        contributions: Vec::new(),
        residuals: Vec::new(),
        trust: vec![0.0; count],
        levels: Vec::new(),
        scale: 0.0,
        order_effect: 0.0,
    };
    let mut order = 0.0;
    let mut distances = vec![0.0; count];
    for _ in 0..ROUNDS {
        let expected = |k: usize| levels[k] + side(k) * order;
        let below = logs.iter().enumerate().flat_map(|(k, logs)| {
            let expected = expected(k);
            logs.iter()
                .filter(move |log| **log < expected)
                .map(move |log| expected - log)
        });
        let scale = low_quantile(below.collect(), 0.5).map_or(fit.scale, |it| NORMAL * it);
        fit.scale = scale.max(floor).max(MIN_SCALE);
        let cut = CUT * fit.scale;
        for (k, logs) in logs.iter().enumerate() {
            let expected = expected(k);
            let (mut total, mut sum) = (0.0, 0.0);
            for log in logs {
                let distance = log - expected;
                let weight = match weights {
                    Weights::Biweight => biweight(distance / cut),
                    Weights::Equal => 1.0,
                };
                total += weight;
                sum += weight * distance;
            }
            fit.trust[k] = total / (total + PRIOR);
            distances[k] = if total > 0.0 { sum / total } else { 0.0 };
        }
        let measured: Vec<f64> = (0..count).map(|k| levels[k] + distances[k]).collect();
        let around = around(&measured, &fit.trust, &decay);
        for (level, around) in levels.iter_mut().zip(around) {
            *level = around.unwrap_or(*level);
        }
        fit.residuals = (0..count)
            .map(|k| fit.trust[k] * (measured[k] - levels[k]))
            .collect();
        let trust: f64 = fit.trust.iter().sum();
        let sum: f64 = (0..count).map(|k| side(k) * fit.residuals[k]).sum();
        let more = if trust > 1e-6 { sum / trust } else { 0.0 };
        order += more;
        for (k, residual) in fit.residuals.iter_mut().enumerate() {
            *residual -= fit.trust[k] * side(k) * more;
        }
    }
    let carry = match carry_over {
        CarryOver::Removed => CARRY,
        CarryOver::None => 0.0,
    };
    let of_next = |c: usize| {
        let next = fit
            .residuals
            .get(2 * c + 2)
            .filter(|_| cycles[c].is_followed);
        next.copied().unwrap_or(0.0)
    };
    fit.contributions = (0..cycles.len())
        .map(|c| {
            fit.residuals[2 * c] - (1.0 - carry) * fit.residuals[2 * c + 1] - carry * of_next(c)
        })
        .collect();
    fit.levels = levels;
    fit.order_effect = 2.0 * order;
    fit
}

/// The first level of each visit: a low quantile of the medians of the visits around it.
fn first_levels(middles: &[Option<f64>]) -> Vec<f64> {
    let all = || middles.iter().flatten().copied().collect::<Vec<f64>>();
    (0..middles.len())
        .map(|k| {
            let end = (k + WINDOW + 1).min(middles.len());
            let near = middles[k.saturating_sub(WINDOW)..end].iter().flatten();
            let near = low_quantile(near.copied().collect(), LOW);
            near.or_else(|| low_quantile(all(), LOW)).unwrap_or(0.0)
        })
        .collect()
}

/// Share that a visit's neighbour keeps in its level, by visit from the second on: it falls
/// by e over the median distance of visits.
fn decay(times: &[f64]) -> Vec<f64> {
    let gaps: Vec<f64> = times.windows(2).map(|two| two[1] - two[0]).collect();
    if gaps.is_empty() {
        return gaps;
    }
    let reach = median(&gaps);
    let share = |gap: &f64| {
        if reach > 0.0 {
            (-gap / reach).exp()
        } else {
            1.0
        }
    };
    gaps.iter().map(share).collect()
}

/// Mean of what the other visits measured, by trust and nearness; `None` where no other
/// visit is to be trusted.
fn around(measured: &[f64], trust: &[f64], decay: &[f64]) -> Vec<Option<f64>> {
    let count = measured.len();
    let mut sums = vec![(0.0, 0.0); count];
    let mut pass = |order: &mut dyn Iterator<Item = (usize, usize)>| {
        let (mut sum, mut weight) = (0.0, 0.0);
        for (from, to) in order {
            let share = decay[from.min(to)];
            sum = share * (sum + trust[from] * measured[from]);
            weight = share * (weight + trust[from]);
            sums[to].0 += sum;
            sums[to].1 += weight;
        }
    };
    pass(&mut (1..count).map(|k| (k - 1, k)));
    pass(&mut (1..count).rev().map(|k| (k, k - 1)));
    sums.into_iter()
        .map(|(sum, weight)| (weight > 1e-6).then(|| sum / weight))
        .collect()
}

/// A quantile of type 7 without sorting everything; `None` without values.
fn low_quantile(mut values: Vec<f64>, p: f64) -> Option<f64> {
    let at = (values.len().checked_sub(1)?) as f64 * p;
    let below = at.floor() as usize;
    let (_, low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let low = *low;
    let next = above.iter().copied().min_by(f64::total_cmp);
    let sorted = [low, next.unwrap_or(low)];
    Some(quantile(&sorted, at - below as f64))
}

/// Isolated slow requests, where a few requests decide about throughput, of which a typical
/// request knows nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowRequests {
    /// p value of as uneven a number between the engines, over the orders of the coins.
    pub p_value: f64,
    /// Share of the baseline's requests, 0 to 1.
    pub baseline: f64,
    /// Share of the candidate's.
    pub candidate: f64,
}

/// Finds isolated slow requests, once, at the end. A request is slow if it lies more than 3
/// scales above the median of its visit. A visit with more than two of them was touched by a
/// burst, and counts as none.
pub fn slow_requests(cycles: &[Cycle]) -> SlowRequests {
    /// The most slow requests of a visit that are isolated.
    const ISOLATED: usize = 2;
    /// Median size of a visit's own distances from its median, over the requests' true one,
    /// for five requests.
    const SHRUNK: f64 = 0.8;
    let mut found = SlowRequests {
        p_value: 1.0,
        baseline: 0.0,
        candidate: 0.0,
    };
    let distances: Vec<Vec<f64>> = centred(cycles)
        .into_iter()
        .map(|logs| {
            let middle = low_quantile(logs.clone(), 0.5).unwrap_or(0.0);
            logs.into_iter().map(|log| log - middle).collect()
        })
        .collect();
    let sizes = distances.iter().flatten().map(|it| it.abs()).collect();
    let Some(size) = low_quantile(sizes, 0.5) else {
        return found;
    };
    let cut = CUT * NORMAL * size / SHRUNK;
    let slow = |k: usize| {
        let slow = distances[k].iter().filter(|it| **it > cut).count();
        if slow > ISOLATED { 0.0 } else { slow as f64 }
    };
    let mut signed = Vec::with_capacity(cycles.len());
    let mut requests = (0, 0);
    for (c, cycle) in cycles.iter().enumerate() {
        let (a, b) = if cycle.baseline_first {
            (2 * c, 2 * c + 1)
        } else {
            (2 * c + 1, 2 * c)
        };
        signed.push(slow(a) - slow(b));
        found.baseline += slow(a);
        found.candidate += slow(b);
        requests.0 += distances[a].len();
        requests.1 += distances[b].len();
    }
    found.baseline /= requests.0.max(1) as f64;
    found.candidate /= requests.1.max(1) as f64;
    found.p_value = p_value(&signed);
    found
}
