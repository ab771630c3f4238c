//! Ways to compare two engines, each with its answer on a simulated machine.

use crate::comparators::{Student, Table, bootstrap, mann_whitney, welch_p_value};
use crate::machine::{Disturbances, Machine, Question, Reply, START_S, Scenario, TOKENS, WARMUP};
use prony_metrics::statistics::aggregate::{Block, log_ratio, median_log_ratio};

use prony_metrics::statistics::level::{CarryOver, Cycle, Level, Request, Visit};
use prony_metrics::statistics::predecessor::{self, Before};
use prony_metrics::statistics::sequential::MAX_CYCLES_RELOAD;
use prony_metrics::statistics::{Decision, Evidence, LogRatios, Rule, Sequential, SignedRank};
use prony_result::to_log_ratio;

/// Most cycles when both engines stay loaded within a cycle.
const MAX_CYCLES_RESIDENT: usize = 30;
/// Two-sided error of what looks once.
const ALPHA: f64 = 0.05;
/// A difference that a design without an interval takes for one.
const NOTICED: f64 = 0.01;
/// Cycles of a design that looks once.
const ONE_LOOK: usize = 12;
const RESAMPLES: usize = 800;
/// Differences below count as none.
const MARGIN_PERCENT: f64 = 2.0;
/// About what a request takes, in seconds.
const REQUEST_S: f64 = 2.05;

/// One experiment's answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) decision: Decision,
    /// Cycles until it was given; 1 where an engine is started once.
    pub(crate) cycles: usize,
    /// Minutes until then; 0 where nobody asks.
    pub(crate) minutes: f64,
    /// A winner would be named, now or later, if `equivalent` did not end a run; known of
    /// equal engines.
    pub(crate) unstopped_win: bool,
}

/// Way in which engines are loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Loading {
    /// Both stay loaded within a cycle, and each question is asked ABBA.
    Resident,
    /// Each engine is loaded for its visit, and asked each question once.
    Reload,
}

impl Loading {
    pub(crate) fn max_cycles(self) -> usize {
        match self {
            Self::Resident => MAX_CYCLES_RESIDENT,
            Self::Reload => MAX_CYCLES_RELOAD,
        }
    }
}

/// The conditions of an experiment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) scenario: Scenario,
    pub(crate) disturbances: Disturbances,
    pub(crate) loading: Loading,
    /// Questions of a cycle.
    pub(crate) questions: usize,
    /// True log ratio of the candidate's speed to the baseline's.
    pub(crate) difference: f64,
}

impl Setting {
    /// Five questions on an undisturbed machine.
    pub(crate) fn new(scenario: Scenario, loading: Loading) -> Self {
        Self {
            scenario,
            disturbances: Disturbances::NONE,
            loading,
            questions: 5,
            difference: 0.0,
        }
    }

    /// The same with a true difference, as a log ratio.
    pub(crate) fn with(&self, difference: f64) -> Self {
        Self {
            difference,
            ..*self
        }
    }

    /// Requests of each engine in a cycle, warm-up included.
    fn requests(&self) -> usize {
        WARMUP
            + match self.loading {
                Loading::Resident => 2 * self.questions,
                Loading::Reload => self.questions,
            }
    }

    /// About what a cycle takes, in seconds.
    fn cycle_s(&self) -> f64 {
        let load_s = START_S + self.disturbances.load_s;
        2.0 * (load_s + self.requests() as f64 * REQUEST_S)
    }
}

/// Outcome of an experiment, by cycle.
#[derive(Debug, Default)]
pub(crate) struct Cycles {
    /// The engines are equally fast.
    equal: bool,
    /// `ln(candidate / baseline)` of tokens per second.
    pub(crate) sum: Vec<f64>,
    /// Median log ratio of the times to the same token.
    pub(crate) med: Vec<f64>,
    visits: Vec<Cycle>,
    /// Time at which it had ended, in minutes.
    minutes: Vec<f64>,
}

/// Runs cycles in coin-flip order.
pub(crate) fn interleaved(setting: &Setting, seed: u64) -> Cycles {
    let most = setting.loading.max_cycles();
    let horizon = most as f64 * setting.cycle_s();
    let mut machine = Machine::new(
        setting.scenario,
        setting.disturbances,
        setting.difference,
        horizon,
        seed,
    );
    let questions = machine.questions(setting.questions);
    let mut cycles = Cycles {
        equal: setting.difference.abs() < f64::EPSILON,
        ..Cycles::default()
    };
    while cycles.sum.len() < most {
        let order = machine.begin_cycle();
        let [first, second] = order;
        let mut asked = Asked::new(questions.len());
        let whole = match setting.loading {
            Loading::Resident => {
                for engine in order {
                    machine.start(engine);
                }
                for engine in order {
                    machine.warm_up(engine);
                }
                let turns = [first, second, second, first];
                asked.ask(&mut machine, &turns, &questions)
            }
            Loading::Reload => order.into_iter().all(|engine| {
                machine.start(engine);
                machine.warm_up(engine);
                asked.ask(&mut machine, &[engine], &questions)
            }),
        };
        if whole {
            cycles.push(first == 0, &asked);
            cycles.minutes.push(machine.clock() / 60.0);
        } else if let Some(before) = cycles.visits.last_mut() {
            before.is_followed = false;
        }
    }
    cycles
}

/// Answers of a cycle; arrays are of the baseline and of the candidate.
struct Asked {
    /// By question, its answers.
    replies: [Vec<Vec<Reply>>; 2],
    /// Time of all requests, in seconds.
    total_s: [f64; 2],
    /// Middle of the requests, in seconds.
    at_s: [f64; 2],
}

impl Asked {
    fn new(questions: usize) -> Self {
        Self {
            replies: [0, 1].map(|_| vec![Vec::new(); questions]),
            total_s: [0.0; 2],
            at_s: [0.0; 2],
        }
    }

    /// Asks every question in turns; `false` if the cycle is broken off.
    fn ask(&mut self, machine: &mut Machine, turns: &[usize], questions: &[Question]) -> bool {
        let begun = machine.clock();
        for (index, question) in questions.iter().enumerate() {
            for engine in turns {
                if machine.breaks() {
                    return false;
                }
                let sent = machine.clock();
                self.replies[*engine][index].extend(machine.ask(*engine, *question));
                self.total_s[*engine] += machine.clock() - sent;
            }
        }
        for engine in turns {
            self.at_s[*engine] = f64::midpoint(begun, machine.clock());
        }
        true
    }

    /// Tokens that all answers to a question have.
    fn common(&self, question: usize) -> Option<usize> {
        let replies = self.replies.iter().flat_map(|of| &of[question]);
        replies.map(|reply| reply.tokens).min()
    }

    /// Times of an engine's answers to a question, on equal work, in seconds.
    fn times_s(&self, engine: usize, question: usize) -> Vec<f64> {
        let replies = &self.replies[engine][question];
        let common = self.common(question).unwrap_or(0);
        replies.iter().map(|reply| reply.time_s(common)).collect()
    }

    /// Tokens per second.
    fn throughput(&self, engine: usize) -> f64 {
        let replies = self.replies[engine].iter().flatten();
        let tokens: usize = replies.map(|reply| reply.tokens).sum();
        tokens as f64 / self.total_s[engine]
    }

    /// The engine's requests that succeeded.
    fn visit(&self, engine: usize) -> Visit {
        let of_question = |(question, replies): (usize, &Vec<Reply>)| {
            let tokens = self.common(question)?;
            let reply = replies.first()?;
            Some(Request {
                question,
                tokens: tokens as u32,
                first_s: Some(reply.time_s(1)),
                time_s: reply.time_s(tokens),
            })
        };
        let requests = self.replies[engine].iter().enumerate();
        Visit {
            at_s: self.at_s[engine],
            control: None,
            requests: requests.filter_map(of_question).collect(),
        }
    }
}

impl Cycles {
    fn push(&mut self, baseline_first: bool, asked: &Asked) {
        let [baseline, candidate] = [0, 1].map(|engine| asked.throughput(engine));
        // Nothing speaks for either engine where one has no answer at all.
        let both = baseline > 0.0 && candidate > 0.0;
        let sum = both.then(|| log_ratio(baseline, candidate));
        self.sum.push(sum.unwrap_or(0.0));
        let times = |engine: usize| -> Vec<Vec<f64>> {
            let questions = 0..asked.replies[engine].len();
            questions.map(|it| asked.times_s(engine, it)).collect()
        };
        let (baseline, candidate) = (times(0), times(1));
        let blocks: Vec<Block<'_>> = baseline
            .iter()
            .zip(&candidate)
            .filter(|(baseline, candidate)| !baseline.is_empty() && !candidate.is_empty())
            .map(|(baseline, candidate)| Block {
                baseline,
                candidate,
            })
            .collect();
        self.med.push(median_log_ratio(&blocks).unwrap_or(0.0));
        let order = if baseline_first { [0, 1] } else { [1, 0] };
        self.visits.push(Cycle {
            baseline_first,
            is_followed: true,
            visits: order.map(|engine| asked.visit(engine)),
        });
    }

    /// The statistic `level` of all visits.
    pub(crate) fn level(&self, carry_over: CarryOver) -> Level {
        Level::new(self.visits.clone(), carry_over)
    }

    /// Judges after every cycle of at most `most`.
    pub(crate) fn sequential(&self, evidence: &dyn Evidence, most: usize) -> Answer {
        let rule = Rule::new(MARGIN_PERCENT, most);
        let judge = |alpha_equivalent: f64| {
            let rule = Rule {
                alpha_equivalent,
                ..rule
            };
            let look = Sequential::new(rule).judge(evidence);
            let look = look.expect("there are cycles");
            (look.decision, look.cycles)
        };
        self.answer(judge(rule.alpha_equivalent), || judge(0.0).0)
    }

    /// The same, with a decision withheld that what one engine leaves behind may explain.
    pub(crate) fn withstanding(&self, level: &Level, most: usize) -> Answer {
        let answer = self.sequential(level, most);
        let holds = |answer: &Answer| level.withstands(answer.decision, answer.cycles);
        Self::withheld(answer, holds)
    }

    /// The same of a number for each cycle, from which nothing is taken out.
    pub(crate) fn withstanding_number(&self, numbers: &[f64], most: usize) -> Answer {
        let evidence = LogRatios(numbers.to_vec());
        let answer = self.sequential(&evidence, most);
        let before = self.before();
        let margin = Rule::new(MARGIN_PERCENT, most).margin;
        Self::withheld(answer, |answer| {
            evidence.unweighted(answer.cycles).is_none_or(|own| {
                let before = &before[..answer.cycles];
                predecessor::withstands(&own, before, answer.decision, margin)
            })
        })
    }

    fn withheld(answer: Answer, holds: impl FnOnce(&Answer) -> bool) -> Answer {
        if answer.decision.is_conclusive() && !holds(&answer) {
            return Answer {
                decision: Decision::Inconclusive,
                unstopped_win: false,
                ..answer
            };
        }
        answer
    }

    /// The engines visited right before both of each cycle.
    fn before(&self) -> Vec<Before> {
        let mut last = None;
        let of_cycle = |cycle: &Cycle| {
            let (first, second) = if cycle.baseline_first { (0, 1) } else { (1, 0) };
            let mut before = [None; 2];
            before[first] = last.replace(second as u32);
            before[second] = Some(first as u32);
            before
        };
        self.visits.iter().map(of_cycle).collect()
    }

    /// Judges `sum` after every cycle by a [`Table`].
    pub(crate) fn table(&self) -> Answer {
        let judge = |margin: f64| Table::judge(&self.sum, margin);
        self.answer(judge(to_log_ratio(MARGIN_PERCENT)), || judge(0.0).0)
    }

    /// An answer after some cycles, and the decision if `equivalent` ended no run.
    fn answer(
        &self,
        (decision, cycles): (Decision, usize),
        unstopped: impl FnOnce() -> Decision,
    ) -> Answer {
        // Asked of equal engines alone, as it takes time.
        let ended = self.equal && decision == Decision::Equivalent;
        Answer {
            decision,
            cycles,
            minutes: self.minutes[cycles - 1],
            unstopped_win: decision.is_win() || (ended && unstopped().is_win()),
        }
    }
}

/// Names the winner by the sign of an estimate, if it is to be named.
fn winner(named: bool, estimate: f64, cycles: usize) -> Answer {
    let decision = match (named, estimate > 0.0) {
        (false, _) => Decision::Inconclusive,
        (true, true) => Decision::Faster,
        (true, false) => Decision::Slower,
    };
    Answer {
        decision,
        cycles,
        minutes: 0.0,
        unstopped_win: named,
    }
}

/// A test that looks once, after 12 cycles.
pub(crate) fn signed_rank(d: &[f64]) -> Answer {
    let ranks = SignedRank::new(&d[..ONE_LOOK]).expect("there are cycles");
    winner(ranks.p_value() <= ALPHA, ranks.estimate(), ONE_LOOK)
}

/// The same with a t test.
pub(crate) fn paired_t(d: &[f64]) -> Answer {
    let student = Student::new(&d[..ONE_LOOK]).expect("cycles differ");
    winner(student.p_value() <= ALPHA, student.mean, ONE_LOOK)
}

/// The same with the percentile bootstrap.
pub(crate) fn percentile_bootstrap(d: &[f64], seed: u64) -> Answer {
    let interval = bootstrap(&d[..ONE_LOOK], ALPHA, RESAMPLES, seed);
    let (low, high) = interval.expect("cycles differ");
    winner(low > 0.0 || high < 0.0, low, ONE_LOOK)
}

/// The signed-rank test at 5 % after every cycle, as if each were the only one.
pub(crate) fn peeking(d: &[f64]) -> Answer {
    (1..=d.len())
        .filter_map(|n| SignedRank::new(&d[..n]))
        .find(|ranks| ranks.p_value() <= ALPHA)
        .map_or_else(
            || winner(false, 0.0, d.len()),
            |ranks| winner(true, ranks.estimate(), ranks.count()),
        )
}

/// Log latencies of the baseline, asked everything before the candidate is started.
pub(crate) fn one_after_the_other(
    scenario: Scenario,
    difference: f64,
    requests: usize,
    seed: u64,
) -> [Vec<f64>; 2] {
    let horizon = 2.0 * (20.0 + (requests + 3) as f64 * REQUEST_S);
    let mut machine = Machine::new(scenario, Disturbances::NONE, difference, horizon, seed);
    let questions = machine.questions(requests);
    [0, 1].map(|engine| {
        machine.start(engine);
        machine.warm_up(engine);
        questions
            .iter()
            .filter_map(|question| machine.ask(engine, *question))
            .map(|reply| reply.time_s(TOKENS).ln())
            .collect()
    })
}

/// The engine whose total is smaller by more than 1 %.
pub(crate) fn smaller_total([baseline, candidate]: &[Vec<f64>; 2]) -> Answer {
    let total = |logs: &[f64]| logs.iter().map(|log| log.exp()).sum::<f64>();
    let estimate = (total(baseline) / total(candidate)).ln();
    winner(estimate.abs() > NOTICED, estimate, 1)
}

/// The t test of two independent samples.
pub(crate) fn welch([baseline, candidate]: &[Vec<f64>; 2]) -> Answer {
    let named = welch_p_value(baseline, candidate) <= ALPHA;
    winner(named, sum(baseline) - sum(candidate), 1)
}

/// The rank test of two independent samples.
pub(crate) fn ranks([baseline, candidate]: &[Vec<f64>; 2]) -> Answer {
    let test = mann_whitney(baseline, candidate).expect("latencies differ");
    let middle = (baseline.len() * candidate.len()) as f64 / 2.0;
    winner(test.p_value <= ALPHA, test.u - middle, 1)
}

/// The t test of the questions' differences.
pub(crate) fn by_question([baseline, candidate]: &[Vec<f64>; 2]) -> Answer {
    let pairs = baseline.iter().zip(candidate);
    let d: Vec<f64> = pairs
        .map(|(baseline, candidate)| baseline - candidate)
        .collect();
    let student = Student::new(&d).expect("latencies differ");
    winner(student.p_value() <= ALPHA, student.mean, 1)
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}
