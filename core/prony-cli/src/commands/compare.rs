//! `prony compare`: compares the results of two runs.

use crate::commands::{bundle, print_json};
use crate::{Exit, Failure, Outcome, output};
use clap::{Args, ValueEnum};
use prony_metrics::across::{self, Across, Basis, MetricPair, Options, Pair};
use prony_result::{
    Verdict,
    words::{count, number, one_line, optional, signed_percent},
};
use std::fmt::Write as _;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 2 usage, or nothing to compare, 4 what `--fail-on` names.\n\nExample: prony compare before after --fail-on regression";

/// Two versions of an engine are best compared as two engines of one pipeline, whose
/// cycles take turns. For runs made one after the other, differences are shown without
/// naming a winner, since the machine may have changed in between.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The run to compare with: a name below the results folder, a folder, a page
    /// `report.html` or a file `result.json`.
    pub(crate) base: String,
    /// The run to compare.
    pub(crate) candidate: String,
    /// The engine. Defaults to all that both have.
    #[arg(long, value_name = "NAME")]
    pub(crate) engine: Option<String>,
    /// Name of the engine in the candidate, if different.
    #[arg(long, value_name = "NAME")]
    pub(crate) candidate_engine: Option<String>,
    /// Differences up to this count as none, for example `2%`. Defaults to the base's
    /// margin.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) margin: Option<f64>,
    /// Assume that the machine was equally fast in both runs, and name a winner.
    #[arg(long)]
    pub(crate) assume_stable: bool,
    /// Condition that ends with exit code 4. May be repeated.
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) fail_on: Vec<FailOn>,
    /// Folder with runs.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: CompareFormat,
    /// Print as JSON.
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// A verdict that the candidate is slower by more than the margin.
    Regression,
    /// No verdict, or an inconclusive one.
    Inconclusive,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompareFormat {
    /// For a terminal.
    #[default]
    Text,
    /// For a merge request or a build summary.
    Markdown,
}

/// `2%` or `2`.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let value = number.parse::<f64>().ok();
    value
        .filter(|value| (0.0..100.0).contains(value))
        .ok_or_else(|| "expected a percentage from 0 to below 100, such as `2%`".to_owned())
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let read = |name: &str| -> Result<_, Failure> {
        let opened = bundle::of(name).then(|| bundle::open(&arguments.results, name));
        Ok(match opened.transpose()? {
            Some(opened) => prony_journal::result_of(&opened.folder)?,
            None => prony_journal::recorded(&arguments.results, name)?,
        })
    };
    let (base, candidate) = (read(&arguments.base)?, read(&arguments.candidate)?);
    let offset_s = if across::same_run(&base, &candidate) {
        Some(0.0)
    } else {
        prony_journal::seconds_between(&base, &candidate)
    };
    let options = Options {
        base_engine: arguments.engine.clone(),
        candidate_engine: arguments.candidate_engine.clone(),
        margin_percent: arguments.margin,
        assume_stable: arguments.assume_stable,
        offset_s,
    };
    let across = across::across(&base, &candidate, &options)
        .map_err(|reason| Failure::new(Exit::Usage, reason))?;
    match arguments.format {
        _ if arguments.json => print_json(&across)?,
        CompareFormat::Text => output::lines(&text(&across)),
        CompareFormat::Markdown => output::lines(&markdown(&across)),
    }
    Ok(gate(&across, &arguments.fail_on))
}

/// The exit code for `--fail-on`.
fn gate(across: &Across, fail_on: &[FailOn]) -> Exit {
    let undecided = |pair: &&Pair| matches!(pair.verdict, None | Some(Verdict::Inconclusive));
    let mut exit = Exit::Ok;
    for pair in across.pairs.iter().filter(|pair| pair.regression) {
        if fail_on.contains(&FailOn::Regression) {
            eprintln!("error: regression: {}: {}", title(pair), pair.sentence);
            exit = Exit::ThresholdFailed;
        }
    }
    let open: Vec<&Pair> = across.pairs.iter().filter(undecided).collect();
    if fail_on.contains(&FailOn::Inconclusive) {
        for pair in &open {
            eprintln!("error: not decided: {}: {}", title(pair), pair.reason);
            exit = Exit::ThresholdFailed;
        }
    } else if !fail_on.is_empty() && !open.is_empty() {
        eprintln!(
            "note: {} of {} not decided, so a regression would not be found there; `--fail-on inconclusive` fails then",
            open.len(),
            count(across.pairs.len() as u64, "comparison")
        );
    }
    exit
}

fn title(pair: &Pair) -> String {
    let (one, two) = (
        one_line(&pair.base_engine),
        one_line(&pair.candidate_engine),
    );
    let engines = if one == two {
        one
    } else {
        format!("{one} against {two}")
    };
    format!("{} · {engines}", one_line(&pair.label))
}

/// The assumption behind the verdict, if any.
fn assumption(pair: &Pair) -> Option<&'static str> {
    (pair.basis == Basis::TwoSamples).then_some(
        "assumed, not measured: the machine was equally fast in both runs (--assume-stable); Mann-Whitney over cycles",
    )
}

fn row(metric: &MetricPair) -> [String; 4] {
    [
        metric.title.clone(),
        optional(metric.base, number),
        optional(metric.candidate, number),
        optional(metric.difference_percent, signed_percent),
    ]
}

fn text(across: &Across) -> String {
    let mut text = String::new();
    for (side, about) in [("base", &across.base), ("candidate", &across.candidate)] {
        let _ = writeln!(
            text,
            "{side:10} {} ({})",
            one_line(&about.run),
            one_line(&about.started_at)
        );
    }
    for unlike in &across.differences {
        let _ = writeln!(text, "- {}", one_line(&unlike.sentence()));
    }
    for pair in &across.pairs {
        let _ = writeln!(text, "\n{}", title(pair));
        let _ = writeln!(text, "  {}", one_line(&pair.sentence));
        if let Some(assumption) = assumption(pair) {
            let _ = writeln!(text, "  {assumption}");
        }
        for unlike in &pair.differences {
            let _ = writeln!(text, "  - {}", one_line(&unlike.sentence()));
        }
        let _ = writeln!(
            text,
            "  {:18}{:>12}{:>12}{:>12}",
            "", "base", "candidate", "difference"
        );
        for metric in &pair.metrics {
            let [name, base, candidate, difference] = row(metric);
            let _ = writeln!(text, "  {name:18}{base:>12}{candidate:>12}{difference:>12}");
        }
    }
    for left_out in &across.left_out {
        let _ = writeln!(text, "\nleft out: {}", one_line(left_out));
    }
    text
}

fn markdown(across: &Across) -> String {
    /// Escapes text for Markdown, also in a table.
    fn plain(text: &str) -> String {
        let mut out = String::new();
        for char in one_line(text).chars() {
            if matches!(char, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '|' | '#') {
                out.push('\\');
            }
            out.push(char);
        }
        out
    }
    let mut text = String::new();
    let (base, candidate) = (plain(&across.base.run), plain(&across.candidate.run));
    let _ = writeln!(text, "# {candidate} against {base}\n");
    for unlike in &across.differences {
        let _ = writeln!(text, "- {}", plain(&unlike.sentence()));
    }
    for pair in &across.pairs {
        let _ = writeln!(text, "\n## {}\n", plain(&title(pair)));
        let _ = writeln!(text, "**{}**\n", plain(&pair.sentence));
        if let Some(assumption) = assumption(pair) {
            let _ = writeln!(text, "{}\n", plain(assumption));
        }
        for unlike in &pair.differences {
            let _ = writeln!(text, "- {}", plain(&unlike.sentence()));
        }
        let _ = writeln!(
            text,
            "\n| | Base | Candidate | Difference |\n|---|---:|---:|---:|"
        );
        for metric in &pair.metrics {
            let _ = writeln!(text, "| {} |", row(metric).join(" | "));
        }
    }
    for left_out in &across.left_out {
        let _ = writeln!(text, "\nLeft out: {}", plain(left_out));
    }
    text
}
