//! `prony compare`: the results of two runs beside each other.

use crate::arguments::{Compare, CompareFormat, FailOn};
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome};
use prony_metrics::across::{self, Across, Basis, MetricPair, Options, Pair};
use prony_result::{
    Verdict,
    words::{count, number, one_line, optional, signed_percent},
};
use std::fmt::Write as _;

pub(crate) fn run(arguments: &Compare) -> Outcome {
    let read = |name: &str| prony_journal::recorded(&arguments.results, name);
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
        CompareFormat::Text => println!("{}", text(&across).trim_end()),
        CompareFormat::Markdown => println!("{}", markdown(&across).trim_end()),
    }
    Ok(gate(&across, &arguments.fail_on))
}

/// What `--fail-on` makes of it.
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

/// What the verdict takes for granted, if anything.
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
        for unlike in &pair.differences {
            let _ = writeln!(text, "- {}", one_line(&unlike.sentence()));
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
        let _ = writeln!(text, "  {}", one_line(&pair.sentence));
        if let Some(assumption) = assumption(pair) {
            let _ = writeln!(text, "  {assumption}");
        }
    }
    for left_out in &across.left_out {
        let _ = writeln!(text, "\nleft out: {}", one_line(left_out));
    }
    text
}

fn markdown(across: &Across) -> String {
    /// Text that Markdown shows as it is, also in a table.
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
        let _ = writeln!(text, "\n**{}**", plain(&pair.sentence));
        if let Some(assumption) = assumption(pair) {
            let _ = writeln!(text, "\n{}", plain(assumption));
        }
    }
    for left_out in &across.left_out {
        let _ = writeln!(text, "\nLeft out: {}", plain(left_out));
    }
    text
}
