//! What is worth telling of a result, the worst first.

use prony_plugin_sdk::result::{Comparison, ModelResult, Outcome, RunResult, Verdict};
use prony_plugin_sdk::words::{State, one_line};

/// Kinds of findings, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The numbers are not valid.
    NotValid,
    /// The run did not come to its end, or something in it failed.
    Run,
    /// A candidate is slower by more than the margin.
    Regression,
    /// A threshold is missed.
    Threshold,
    /// An engine was not measured.
    Engine,
    /// A comparison has no verdict.
    Undecided,
    /// A comparison has one that is no regression.
    Decided,
}

impl Kind {
    /// Title of an annotation.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::NotValid => "prony: not valid",
            Self::Run => "prony: run",
            Self::Regression => "prony: regression",
            Self::Threshold => "prony: threshold",
            Self::Engine => "prony: engine",
            Self::Undecided => "prony: not decided",
            Self::Decided => "prony: verdict",
        }
    }

    /// Name of the workflow command.
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::NotValid | Self::Run | Self::Regression | Self::Threshold | Self::Engine => {
                "error"
            }
            Self::Undecided | Self::Decided => "notice",
        }
    }
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    /// One line, without a full stop.
    pub(crate) sentence: String,
    /// Size, to order those of a kind.
    size: f64,
}

impl Finding {
    fn new(kind: Kind, sentence: &str, size: f64) -> Self {
        Self {
            kind,
            sentence: one_line(sentence),
            size,
        }
    }
}

/// All findings, the worst first, else in the result's order.
pub(crate) fn findings(result: &RunResult) -> Vec<Finding> {
    let of = |kind| move |sentence: &String| Finding::new(kind, sentence, 0.0);
    let mut all: Vec<Finding> = result.invalid.iter().map(of(Kind::NotValid)).collect();
    match result.run.outcome {
        Outcome::Completed => {}
        outcome => {
            let sentence = format!("the run: {}", outcome.word());
            all.push(Finding::new(Kind::Run, &sentence, 0.0));
        }
    }
    let is_valid = result.invalid.is_empty();
    for model in &result.models {
        all.extend(of_engines(model));
        let comparisons = model.comparisons.iter().filter(|_| is_valid);
        all.extend(comparisons.map(|it| of_comparison(model, it)));
    }
    let thresholds = result.thresholds.iter().filter(|_| is_valid);
    let missed = thresholds.filter(|it| !it.passed);
    let missed = missed.map(|it| Finding::new(Kind::Threshold, &it.sentence(), 0.0));
    all.extend(missed);
    all.sort_by(|one, two| one.kind.cmp(&two.kind).then(two.size.total_cmp(&one.size)));
    all
}

/// The kind of a comparison, and how much it matters among those of its kind.
pub(crate) fn rank(comparison: &Comparison) -> (Kind, f64) {
    let size = comparison.difference_percent.map_or(0.0, f64::abs);
    match comparison.verdict {
        Verdict::Slower if !comparison.within_margin => (Kind::Regression, size),
        Verdict::Inconclusive => (Kind::Undecided, size),
        Verdict::Faster | Verdict::Slower | Verdict::Equivalent => (Kind::Decided, size),
    }
}

fn of_comparison(model: &ModelResult, comparison: &Comparison) -> Finding {
    let (kind, size) = rank(comparison);
    let mut sentence = format!("{}: {}", model.label(), comparison.sentence());
    for flag in comparison.flag_sentences() {
        sentence += "; ";
        sentence += flag.trim_end_matches('.');
    }
    Finding::new(kind, &sentence, size)
}

/// The engines that were not measured, with what is known of the reasons.
fn of_engines(model: &ModelResult) -> Vec<Finding> {
    let label = model.label();
    let lost = |engine: &str, what: &str| {
        let problems = model.problems_of(engine);
        let why = problems.first().map_or(what, String::as_str);
        Finding::new(Kind::Engine, &format!("{label}: {why}"), 0.0)
    };
    let mut all = Vec::new();
    if !model.problems_of("").is_empty() {
        all.push(lost("", "the model was not measured"));
    }
    for engine in &model.engines {
        let name = &engine.engine;
        let what = match model.state(name) {
            State::Measured => continue,
            State::Failed => format!("{name} failed"),
            State::NotCounted => format!("the tokens of {name} are not counted, or not plausibly"),
            State::NotMeasured => format!("{name} was not measured"),
        };
        all.push(lost(name, &what));
    }
    all
}
