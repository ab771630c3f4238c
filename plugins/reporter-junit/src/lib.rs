//! `junit.xml`: verdicts and thresholds as test cases, for what shows test results.
//!
//! A suite is an entry of the result (model, matrix point, `measure` stage); its cases are its
//! engines, comparisons and thresholds. A regression beyond the margin and a missed threshold are
//! failures, a comparison without a verdict is skipped, and an engine that was not measured is an
//! error. In a run that is not valid everything is an error. Reasons stand in the body, since
//! GitLab shows nothing else.

mod xml;

use prony_plugin_sdk::result::{
    Comparison, EngineResult, ModelResult, RunResult, ThresholdResult, Verdict,
};
use prony_plugin_sdk::words::{State, count, one_line};
use prony_plugin_sdk::{About, Artifact, Reporter, Result, about, plugin};
use std::collections::HashSet;
use std::fmt::Write as _;
use xml::escape;

/// Options of the reporter.
#[derive(Debug, Clone, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Makes a comparison without a verdict a failure; otherwise it is skipped.
    fail_on_inconclusive: bool,
}

/// The reporter.
#[derive(Debug)]
pub struct Junit {
    config: Config,
}

impl Reporter for Junit {
    type Config = Config;
    const ABOUT: About = about!(
        "junit",
        "Verdicts and thresholds as JUnit XML, for what shows test results"
    );

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config })
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let suites = self.suites(result);
        let text = document(result, &suites);
        Ok(vec![Artifact::text("junit.xml", "application/xml", text)])
    }
}

/// How a case ended, with what its body says.
#[derive(Debug)]
enum Ending {
    Passed(String),
    Skipped(String),
    /// With the kind of the failure.
    Failed(&'static str, String),
    /// With the kind of the error.
    Error(&'static str, String),
}

/// A test case.
#[derive(Debug)]
struct Case {
    name: String,
    /// Wall-clock time of its measurement, in seconds.
    seconds: Option<f64>,
    ending: Ending,
}

/// The cases of an entry of the result.
#[derive(Debug)]
struct Suite {
    name: String,
    cases: Vec<Case>,
}

impl Junit {
    fn suites(&self, result: &RunResult) -> Vec<Suite> {
        let invalid = result.invalid_reason();
        let mut placed = HashSet::new();
        let mut suites: Vec<Suite> = Vec::new();
        for model in &result.models {
            let mut cases: Vec<Case> = model.engines.iter().map(|it| measured(model, it)).collect();
            cases.extend(broken(model));
            cases.extend(model.comparisons.iter().map(|it| self.comparison(it)));
            let label = model.label();
            let own = result.thresholds.iter().enumerate();
            for (index, threshold) in own.filter(|(_, it)| it.label() == label) {
                placed.insert(index);
                cases.push(bound(threshold));
            }
            suites.push(Suite { name: label, cases });
        }
        // A threshold that covers nothing belongs to no entry.
        let others = result.thresholds.iter().enumerate();
        let others = others.filter(|(index, _)| !placed.contains(index));
        let cases: Vec<Case> = others.map(|(_, it)| bound(it)).collect();
        if !cases.is_empty() {
            let name = "thresholds".to_owned();
            suites.push(Suite { name, cases });
        }
        if let Some(why) = &invalid {
            let cases = suites.iter_mut().flat_map(|it| &mut it.cases);
            for case in cases {
                let ending = format!("the run is not valid: {why}");
                case.ending = Ending::Error("not valid", ending);
                case.seconds = None;
            }
        }
        suites
    }

    fn comparison(&self, comparison: &Comparison) -> Case {
        let flags = comparison.flag_sentences().into_iter();
        let lines: Vec<String> = std::iter::once(comparison.sentence())
            .chain(flags)
            .collect();
        let sentence = lines.join("\n");
        let ending = match comparison.verdict {
            Verdict::Slower if !comparison.within_margin => Ending::Failed("regression", sentence),
            Verdict::Inconclusive if self.config.fail_on_inconclusive => {
                Ending::Failed("inconclusive", sentence)
            }
            Verdict::Inconclusive => Ending::Skipped(sentence),
            Verdict::Faster | Verdict::Slower | Verdict::Equivalent => Ending::Passed(sentence),
        };
        Case {
            name: format!("{} against {}", comparison.candidate, comparison.baseline),
            seconds: None,
            ending,
        }
    }
}

/// The case of an engine: all of its requests were measured.
fn measured(model: &ModelResult, engine: &EngineResult) -> Case {
    let requests = count(engine.requests, "request");
    let problems = model.problems_of(&engine.engine).join("\n");
    let words = |first: String| match problems.as_str() {
        "" => first,
        problems => format!("{first}\n{problems}"),
    };
    let ending = match model.state(&engine.engine) {
        State::Measured => {
            let of = format!("{} of {requests} succeeded", engine.succeeded);
            Ending::Passed(words(of))
        }
        State::NotCounted => Ending::Error(
            "not counted",
            words("its tokens are not counted, or their count is not plausible".to_owned()),
        ),
        State::Failed if engine.requests == 0 => {
            Ending::Error("failed", words("no request was sent".to_owned()))
        }
        State::Failed => Ending::Error("failed", words(format!("none of {requests} succeeded"))),
        State::NotMeasured => Ending::Error("not measured", words("not measured".to_owned())),
    };
    Case {
        name: format!("{} is measured", engine.engine),
        seconds: (engine.requests > 0).then_some(engine.total_time_s),
        ending,
    }
}

/// The case of an entry that failed before any engine had a part in it.
fn broken(model: &ModelResult) -> Option<Case> {
    let problems = model.problems_of("");
    (!problems.is_empty()).then(|| Case {
        name: "the model is there".to_owned(),
        seconds: None,
        ending: Ending::Error("failed", problems.join("\n")),
    })
}

fn bound(threshold: &ThresholdResult) -> Case {
    let sentence = threshold.sentence();
    Case {
        name: format!(
            "{}: {} {}",
            threshold.engine,
            threshold.what(),
            threshold.bound()
        ),
        seconds: None,
        ending: if threshold.passed {
            Ending::Passed(sentence)
        } else {
            Ending::Failed("threshold", sentence)
        },
    }
}

fn document(result: &RunResult, suites: &[Suite]) -> String {
    let all = || suites.iter().flat_map(|it| &it.cases);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuites name=\"{}\" {} time=\"{}\">",
        escape(&result.run.name),
        counts(all()),
        result.run.duration_s
    );
    let started = result.run.started_at.trim_end_matches('Z');
    for suite in suites {
        let seconds: Vec<f64> = suite.cases.iter().filter_map(|it| it.seconds).collect();
        let time = if seconds.is_empty() {
            String::new()
        } else {
            format!(" time=\"{}\"", seconds.iter().sum::<f64>())
        };
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" {}{time} timestamp=\"{}\">",
            escape(&suite.name),
            counts(suite.cases.iter()),
            escape(started)
        );
        for case in &suite.cases {
            text += &of_case(&suite.name, case);
        }
        text += "  </testsuite>\n";
    }
    text + "</testsuites>\n"
}

fn counts<'a>(cases: impl Iterator<Item = &'a Case>) -> String {
    let (mut tests, mut failures, mut errors, mut skipped) = (0_u64, 0_u64, 0_u64, 0_u64);
    for case in cases {
        tests += 1;
        match case.ending {
            Ending::Passed(_) => {}
            Ending::Skipped(_) => skipped += 1,
            Ending::Failed(..) => failures += 1,
            Ending::Error(..) => errors += 1,
        }
    }
    format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"")
}

fn of_case(suite: &str, case: &Case) -> String {
    let time = case.seconds.filter(|it| it.is_finite());
    let time = time.map_or_else(String::new, |it| format!(" time=\"{it}\""));
    let (suite, name) = (escape(suite), escape(&case.name));
    let body = match &case.ending {
        Ending::Passed(words) => format!("<system-out>{}</system-out>", lines(words)),
        Ending::Skipped(words) => {
            format!(
                "<skipped message=\"inconclusive\">{}</skipped>",
                lines(words)
            )
        }
        Ending::Failed(kind, words) => {
            format!(
                "<failure type=\"{kind}\" message=\"{kind}\">{}</failure>",
                lines(words)
            )
        }
        Ending::Error(kind, words) => {
            format!(
                "<error type=\"{kind}\" message=\"{kind}\">{}</error>",
                lines(words)
            )
        }
    };
    format!("    <testcase classname=\"{suite}\" name=\"{name}\"{time}>{body}</testcase>\n")
}

/// Lines that were made here, of texts of the result.
fn lines(words: &str) -> String {
    let lines: Vec<String> = words.lines().map(|line| escape(&one_line(line))).collect();
    lines.join("\n")
}

plugin!(reporter: Junit);
