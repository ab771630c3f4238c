//! Checks of the schedule, and the verdicts it allows.

use prony_diagnostic::Diagnostic;
use prony_result::rule::{ALPHA, ALPHA_EQUIVALENT, FIRST_LOOK, ORDERS_LOG2, SPENDING};

use crate::pipeline::MAX_COMPARED_CYCLES;
use crate::tree::{Node, Span};
use crate::wording::literal;
use crate::{
    Arrival, Cache, Condition, Cycles, MatrixPoint, Measure, Order, Pipeline, Stop, Work, codes,
};

impl Pipeline {
    /// The first cycle after which a winner can be named, from 1; `None` if none can.
    pub fn first_winner(&self) -> Option<u32> {
        let comparisons = self.comparisons();
        let alpha = ALPHA / f64::from(comparisons.max(1));
        let first = match self.schedule.cycles {
            Cycles::AtMost(cycles) => first_look(cycles, alpha),
            Cycles::Open => Some(first_open_look(alpha)),
        };
        first.filter(|_| comparisons > 0)
    }

    /// The first cycle after which anything can be decided, from 1; `None` if nothing
    /// can.
    pub fn first_verdict(&self) -> Option<u32> {
        let equivalent = match self.schedule.cycles {
            Cycles::AtMost(cycles) => first_look(cycles, ALPHA_EQUIVALENT),
            Cycles::Open => Some(first_open_look(ALPHA_EQUIVALENT)),
        };
        equivalent.filter(|_| self.comparisons() > 0)
    }
}

/// The first interim analysis that can reject, of one after each of `cycles`, with the
/// two-sided error `alpha` over all of them. By analysis `n` a share `alpha (n / cycles)^1.5`
/// of 2^14 orders of the engines may be rejected; in a share of `2^(1 - n)` all coins fall
/// alike, up to `n = 14`, and from there on in two orders.
fn first_look(cycles: u32, alpha: f64) -> Option<u32> {
    const ORDERS: f64 = (1 << ORDERS_LOG2) as f64;
    let budget = |n: u32| {
        let share = (f64::from(n) / f64::from(cycles)).powf(SPENDING);
        (alpha / 2.0 * share * ORDERS + 1e-9).floor()
    };
    let can = |n: &u32| budget(*n) >= (ORDERS * 0.5_f64.powf(f64::from(*n))).max(1.0);
    (FIRST_LOOK..=cycles).find(can)
}

/// The first interim analysis of an open run that can reject, with the two-sided error `alpha`
/// over all of them: after the first ones the stakes on the right engine are at most `HEAD`,
/// each later cycle at most doubles them, and half of all must reach `1 / alpha`.
fn first_open_look(alpha: f64) -> u32 {
    /// The mean of `(exp(l) / cosh(l))^6` over bets `l` of 0.2, 0.4 and 0.7.
    const HEAD: f64 = 8.97;
    FIRST_LOOK + (2.0 / alpha / HEAD).log2().ceil().max(0.0) as u32
}

/// Finds combinations of options that conflict.
pub(crate) fn check(pipeline: &Pipeline, root: &Node) -> Vec<Diagnostic> {
    let check = Check { pipeline, root };
    let mut out: Vec<Diagnostic> = check.too_many().into_iter().collect();
    out.extend(check.open());
    out.extend(check.control());
    out.extend(check.never_warm());
    let schedule = &pipeline.schedule;
    if !schedule.resident {
        out.extend(schedule.blocks.map(|_| {
            Diagnostic::error(codes::RESIDENT, "there are no blocks without `resident`")
                .at(check.place("blocks"), "engines do not take turns")
                .help("add `resident: true`, or remove `blocks`")
        }));
        return out;
    }
    let found = check.engines().or_else(|| check.segments());
    out.extend(found.or_else(|| check.turns()));
    out
}

struct Check<'a> {
    pipeline: &'a Pipeline,
    root: &'a Node,
}

impl Check<'_> {
    /// The place of an option of the schedule.
    fn place(&self, key: &str) -> Span {
        let schedule = self.root.at("/schedule");
        let given = schedule.node.entry(key).map(|entry| &entry.value.span);
        given.cloned().unwrap_or_else(|| schedule.name_span())
    }

    /// Finds a measurement of a warm cache that does not hold all of its prompts: not all have been
    /// sent as they are since the engine was loaded, and it sends none twice.
    fn never_warm(&self) -> Option<Diagnostic> {
        let stages = self.root.at("/stages").node.items().iter();
        let nodes: Vec<&Node> = stages
            .filter_map(|stage| Some(&stage.entry("measure")?.value))
            .collect();
        self.pipeline.points.iter().find_map(|point| {
            let workload = &point.workload;
            let shares = workload.dataset.is_some()
                || workload.system.is_some()
                || workload
                    .synthetic
                    .as_ref()
                    .is_some_and(|it| it.prefix.is_some());
            let repeats = |requests| {
                let prompts = workload.prompt_count();
                shares || prompts.is_none_or(|prompts| requests > prompts)
            };
            let mut nodes = nodes.iter();
            for segment in &point.segments {
                // So many prompts, from the first, have been sent as they are.
                let mut filled = 0;
                for work in &segment.work {
                    match work {
                        Work::Warmup(stage) => {
                            let id = stage.id.as_deref().unwrap_or_default();
                            let is_cold = point.warmup_cache(id) == Some(Cache::Cold);
                            if !is_cold {
                                filled = filled.max(stage.requests);
                            }
                        }
                        Work::Measure(stage) => {
                            let node = nodes.next();
                            if stage.condition == Condition::Is(false) {
                                continue;
                            }
                            let is_warm = stage.cache == Some(Cache::Warm);
                            let is_filled = filled >= stage.requests;
                            if is_warm && !is_filled && !repeats(stage.requests) {
                                return node.map(|node| never_warm(node, stage, filled));
                            }
                            if stage.cache != Some(Cache::Cold) {
                                filled = filled.max(stage.requests);
                            }
                        }
                    }
                }
            }
            None
        })
    }

    fn too_many(&self) -> Option<Diagnostic> {
        let cycles = self.pipeline.schedule.cycles;
        let too_many = self.pipeline.engines.len() > 1 && cycles.planned() > MAX_COMPARED_CYCLES;
        (too_many && !cycles.is_open()).then(|| {
            Diagnostic::error(codes::MANY_CYCLES, "too many cycles for a comparison")
                .at(
                    self.place("cycles"),
                    format!("more than {MAX_COMPARED_CYCLES}"),
                )
                .note("what is not decided after 60 cycles is hardly decided by more")
                .help("set `cycles: 60`, or `cycles: open` for a run that ends when it is decided or you end it")
        })
    }

    /// Finds a run without a maximum of cycles that nothing decides.
    fn open(&self) -> Option<Diagnostic> {
        let schedule = &self.pipeline.schedule;
        if !schedule.cycles.is_open() {
            return None;
        }
        let (key, why) = if self.pipeline.comparisons() == 0 {
            ("cycles", "nothing is compared")
        } else if schedule.order == Order::Sequential {
            ("order", "no coin draws the order")
        } else if schedule.stop == Stop::Never {
            ("stop", "verdicts do not end it")
        } else {
            return None;
        };
        Some(
            Diagnostic::error(codes::OPEN_CYCLES, "open cycles that nothing decides")
                .at(self.place(key), why)
                .note("an open run goes on until its comparisons are decided, and they are by bets on the coin that draws the engines' order")
                .help("give the number of `cycles`"),
        )
    }

    /// Finds a control that no verdict would rest on.
    fn control(&self) -> Option<Diagnostic> {
        let schedule = &self.pipeline.schedule;
        schedule.control?;
        let one_at_a_time =
            |measure: &Measure| !measure.arrival.is_open() && measure.arrival.max_in_flight() == 1;
        let mut measures = self.pipeline.points.iter().flat_map(MatrixPoint::measures);
        let why = if self.pipeline.engines.len() < 2 {
            "nothing is compared"
        } else if schedule.resident {
            "both engines stay loaded"
        } else if schedule.order == Order::Sequential {
            "the order is fixed"
        } else if !measures.any(one_at_a_time) {
            "several requests are in flight"
        } else {
            return None;
        };
        Some(
            Diagnostic::error(codes::CONTROL, "a control that no verdict would rest on")
                .at(self.place("control"), why)
                .note("it is set against the level of the visits around it, which is for engines that are loaded for each visit, in an order drawn by a coin, and sent one request at a time")
                .help("remove `control`"),
        )
    }

    fn engines(&self) -> Option<Diagnostic> {
        let count = self.pipeline.engines.len();
        (count != 2).then(|| {
            let has = match count {
                1 => "there is 1".to_owned(),
                count => format!("there are {count}"),
            };
            Diagnostic::error(codes::RESIDENT, "`resident` is for two engines")
                .at(self.place("resident"), has)
                .note("two engines stay loaded and take turns in the order ABBA or BAAB")
                .help("compare two engines, or remove `resident`")
        })
    }

    fn segments(&self) -> Option<Diagnostic> {
        let several = self
            .pipeline
            .points
            .iter()
            .any(|point| point.segments.len() > 1);
        several.then(|| {
            let stages = self.root.at("/stages");
            let mut loads = stages.node.items().iter();
            let again = loads.by_ref().filter_map(|item| item.entry("load")).last();
            let place = again.map_or_else(|| stages.name_span(), |entry| entry.key_span.clone());
            Diagnostic::error(
                codes::RESIDENT,
                "engines that stay loaded are loaded again within a cycle",
            )
            .at(place, "a fresh start")
            .and(
                self.place("resident"),
                "both stay loaded for the whole cycle",
            )
            .help("keep one `load` and one `unload`, or remove `resident`")
        })
    }

    fn turns(&self) -> Option<Diagnostic> {
        let turns = 2 * self.pipeline.schedule.blocks()?;
        let never = Condition::Is(false);
        let measures = self.pipeline.points.iter().flat_map(MatrixPoint::measures);
        for measure in measures.filter(|measure| measure.condition != never) {
            let problem = |message: String| Diagnostic::error(codes::RESIDENT, message);
            let stage = format!("the stage {}", literal(&measure.id));
            let is_loop = matches!(measure.arrival, Arrival::Concurrency(_));
            if !is_loop || measure.duration.is_some() {
                return Some(
                    problem(format!("{stage} cannot be spread over turns"))
                        .at(self.measure(measure), "not a number of requests one after the other")
                        .note("a turn ends when its requests have ended, so only a closed loop without `duration` has turns")
                        .help("use `arrival: { concurrency: … }` and `requests`, or remove `resident`"),
                );
            }
            let each = measure.requests / turns;
            let fewest = measure.arrival.max_in_flight();
            if measure.requests % turns != 0 || each < fewest {
                let wanted = each.max(fewest) * turns;
                return Some(
                    problem(format!("the requests of {stage} do not fill its turns"))
                        .at(
                            self.measure(measure),
                            format!("{} requests over {turns} turns", measure.requests),
                        )
                        .note(format!(
                            "each engine has 2 turns in each of {} blocks, all of the same number of requests, and of no fewer than are in flight",
                            turns / 2
                        ))
                        .help(format!("set `requests: {wanted}`, or other `blocks` under `schedule`")),
                );
            }
        }
        None
    }

    /// The place of a `measure` stage's number of requests, or else of the stage.
    fn measure(&self, measure: &Measure) -> Span {
        let stages = self.root.at("/stages");
        let all = self.pipeline.points.iter().flat_map(MatrixPoint::measures);
        let index = all.map(|it| &it.id).position(|id| *id == measure.id);
        let mut entries = stages
            .node
            .items()
            .iter()
            .filter_map(|it| it.entry("measure"));
        let Some(entry) = entries.nth(index.unwrap_or_default()) else {
            return stages.name_span();
        };
        let requests = entry.value.entry("requests");
        requests.map_or_else(|| entry.key_span.clone(), |it| it.value.span.clone())
    }
}

fn never_warm(measure: &Node, stage: &Measure, filled: u32) -> Diagnostic {
    let span = measure
        .at_key("cache")
        .unwrap_or_else(|| measure.span.clone());
    let (held, sent) = match filled {
        0 => (
            "none of its prompts".to_owned(),
            "no request before it sends them as they are",
        ),
        _ => (
            format!("only {filled} of its {} prompts", stage.requests),
            "fewer requests before it send them as they are",
        ),
    };
    let message = format!(
        "the stage {} measures a warm cache that holds {held}",
        literal(&stage.id)
    );
    Diagnostic::error(codes::NEVER_WARM, message)
        .at(span, sent)
        .note("requests of a cold cache, and the warm-up for them, begin with what no cache knows")
        .help("put a `warmup` right before it, with as many requests as there are prompts")
}
