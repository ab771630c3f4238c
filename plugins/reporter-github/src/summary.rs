//! The summary of a step, in Markdown.

use crate::finding::{Finding, Kind, rank};
use prony_plugin_sdk::result::{
    Comparison, METRICS, ModelResult, Quantity, RunResult, Series, Verdict,
};
use prony_plugin_sdk::words::{MISSING, count, number, one_line, share};
use std::fmt::Write as _;

/// Bytes of a summary, at most. GitHub drops one of more than a mebibyte.
const MAX: usize = 1_000_000;
/// Bytes kept free for headings, and for what is said of lines that are left out.
const RESERVE: usize = 5000;
/// Characters of a name and of a sentence, at most.
const MAX_NAME: usize = 200;
const MAX_SENTENCE: usize = 1000;

/// A text that does not grow too large.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Adds a heading, or what belongs to one.
    fn always(&mut self, text: &str) {
        self.0 += text;
    }

    /// Adds as many lines as there is room for, and says how many are left out.
    fn lines(&mut self, lines: impl ExactSizeIterator<Item = String>, noun: &str) {
        let all = lines.len();
        for (index, line) in lines.enumerate() {
            if self.0.len() + line.len() > MAX - RESERVE {
                let left = count((all - index) as u64, noun);
                let _ = write!(self.0, "\n{left} more in `result.json`\n");
                return;
            }
            self.0 += &line;
        }
    }
}

pub(crate) fn summary(result: &RunResult, findings: &[Finding]) -> String {
    let mut text = Text::default();
    text.always(&format!(
        "### {}: {}\n\n",
        name(&result.run.name),
        headline(result, findings)
    ));
    comparisons(&mut text, result);
    for (kind, heading) in [
        (Kind::NotValid, "Not valid"),
        (Kind::Threshold, "Thresholds missed"),
        (Kind::Engine, "Not measured"),
    ] {
        let own: Vec<&Finding> = findings.iter().filter(|it| it.kind == kind).collect();
        if own.is_empty() {
            continue;
        }
        text.always(&format!("#### {heading}\n\n"));
        let line = |it: &&Finding| format!("- {}\n", sentence(&it.sentence));
        text.lines(own.iter().map(line), "line");
        text.always("\n");
    }
    let passed = result.thresholds.iter().filter(|it| it.passed).count();
    if passed > 0 && result.invalid.is_empty() {
        let of = count(result.thresholds.len() as u64, "threshold");
        text.always(&format!("{passed} of {of} kept.\n\n"));
    }
    numbers(&mut text, result);
    let machine = format!("{}, {}", result.environment.cpu, result.environment.os);
    text.always(&format!(
        "{} · {} · {} · prony {}\n",
        name(&result.cycles_sentence()),
        name(&result.run.id),
        name(&machine),
        name(&result.prony_version)
    ));
    text.0
}

/// The outcome in a line: the sentence of the only comparison, or else numbers of findings.
fn headline(result: &RunResult, findings: &[Finding]) -> String {
    let of = |kind| findings.iter().filter(|it| it.kind == kind).count() as u64;
    let comparisons: Vec<&Comparison> = all(result).map(|it| it.1).collect();
    let mut parts = Vec::new();
    if of(Kind::NotValid) > 0 {
        parts.push("the numbers are not valid".to_owned());
    }
    if of(Kind::Run) > 0 {
        parts.push(format!(
            "the run {}",
            match result.run.outcome.word() {
                "failed" => "failed".to_owned(),
                word => format!("is {word}"),
            }
        ));
    }
    match (comparisons.as_slice(), of(Kind::NotValid)) {
        ([only], 0) => parts.push(sentence(&only.sentence())),
        (all, 0) => {
            let regressions = of(Kind::Regression);
            parts.extend((regressions > 0).then(|| count(regressions, "regression")));
            for verdict in [
                Verdict::Slower,
                Verdict::Inconclusive,
                Verdict::Equivalent,
                Verdict::Faster,
            ] {
                let own =
                    |it: &&&Comparison| it.verdict == verdict && rank(it).0 != Kind::Regression;
                let number = all.iter().filter(own).count();
                parts.extend((number > 0).then(|| format!("{number} {}", verdict.word())));
            }
        }
        _ => {}
    }
    let missed = of(Kind::Threshold);
    parts.extend((missed > 0).then(|| format!("{} missed", count(missed, "threshold"))));
    let lost = of(Kind::Engine);
    parts.extend((lost > 0).then(|| format!("{} not measured", count(lost, "engine"))));
    if parts.is_empty() {
        return result.run.outcome.word().to_owned();
    }
    parts.join(", ")
}

/// All comparisons with their entries.
fn all(result: &RunResult) -> impl Iterator<Item = (&ModelResult, &Comparison)> {
    let of = |model: &'_ ModelResult| model.comparisons.len();
    let models = result.models.iter().filter(move |it| of(it) > 0);
    models.flat_map(|model| model.comparisons.iter().map(move |it| (model, it)))
}

/// The table of comparisons, the worst first.
fn comparisons(text: &mut Text, result: &RunResult) {
    let mut rows: Vec<_> = all(result).collect();
    if rows.is_empty() || !result.invalid.is_empty() {
        return;
    }
    rows.sort_by(|(_, one), (_, two)| {
        let (one, two) = (rank(one), rank(two));
        one.0.cmp(&two.0).then(two.1.total_cmp(&one.1))
    });
    text.always("| Model | Candidate | Baseline | Difference | Interval | Cycles | Verdict |\n");
    text.always("|---|---|---|---:|---:|---:|---|\n");
    let row = |(model, it): &(&ModelResult, &Comparison)| {
        let verdict = match rank(it).0 {
            Kind::Regression => format!("**{}**", it.verdict.word()),
            _ => it.verdict.word().to_owned(),
        };
        format!(
            "| {} | {} | {} | {} | {} | {} | {verdict} |\n",
            name(&model.label()),
            name(&it.candidate),
            name(&it.baseline),
            name(&it.difference()),
            name(&it.range()),
            it.cycles
        )
    };
    text.lines(rows.iter().map(row), "comparison");
    text.always("\n");
    let only = rows.len() == 1;
    let undecided: Vec<_> = rows
        .iter()
        .filter(|it| rank(it.1).0 == Kind::Undecided && !only)
        .collect();
    let line = |(model, it): &&(&ModelResult, &Comparison)| {
        format!(
            "- {}\n",
            sentence(&format!("{}: {}", model.label(), it.sentence()))
        )
    };
    if !undecided.is_empty() {
        text.always("#### Not decided\n\n");
        text.lines(undecided.iter().map(line), "line");
        text.always("\n");
    }
    let flagged = rows.iter().flat_map(|(model, it)| {
        let of = format!("{}, {}", model.label(), it.candidate);
        let flags = it.flag_sentences().into_iter();
        flags.map(move |flag| format!("- {}\n", sentence(&format!("{of}: {flag}"))))
    });
    let flagged: Vec<String> = flagged.collect();
    if !flagged.is_empty() {
        text.always("#### Flags\n\n");
        text.lines(flagged.into_iter(), "flag");
        text.always("\n");
    }
}

/// The table of the engines' numbers, folded.
fn numbers(text: &mut Text, result: &RunResult) {
    let metrics = METRICS.iter().filter(|it| it.is_compared);
    let shown: Vec<Quantity> = metrics.filter_map(|it| Quantity::named(it.name)).collect();
    let success = Quantity::named("success_rate");
    let series = result.series();
    if series.is_empty() {
        return;
    }
    let headings: Vec<String> = shown.iter().map(|it| it.metric.short_heading()).collect();
    text.always("<details><summary>Numbers</summary>\n\n");
    text.always(&format!(
        "| Model | Engine | {} | Success |\n",
        headings.join(" | ")
    ));
    text.always(&format!("|---|---|{}\n", "---:|".repeat(shown.len() + 1)));
    let row = |it: &Series<'_>| {
        let cell =
            |quantity: &Quantity| quantity.of(it).map_or_else(|_| MISSING.to_owned(), number);
        let cells: Vec<String> = shown.iter().map(cell).collect();
        let success = success.and_then(|quantity| quantity.of(it).ok());
        format!(
            "| {} | {} | {} | {} |\n",
            name(&it.model.label()),
            name(&it.engine.engine),
            cells.join(" | "),
            success.map_or_else(|| MISSING.to_owned(), share)
        )
    };
    text.lines(series.iter().map(row), "engine");
    text.always("\n</details>\n\n");
}

fn name(text: &str) -> String {
    escape(text, MAX_NAME)
}

fn sentence(text: &str) -> String {
    escape(text, MAX_SENTENCE)
}

/// One line in which nothing is markup, shortened to `max` characters.
fn escape(text: &str, max: usize) -> String {
    let line = one_line(text);
    let mut escaped = String::with_capacity(line.len() + 8);
    for (index, char) in line.chars().enumerate() {
        if index == max {
            escaped.push('…');
            break;
        }
        // Also what GitHub makes links of: issues and people.
        if matches!(
            char,
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '#' | '&' | '$' | '@'
        ) {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(
            escape("a|b\n`c` <d> *e* [g](h) @me #1", 100),
            r"a\|b \`c\` \<d\> \*e\* \[g\](h) \@me \#1"
        );
        assert_eq!(escape("abcdef", 3), "abc…");
    }

    #[test]
    fn lines_beyond_the_limit_are_counted() {
        let mut text = Text::default();
        let lines: Vec<String> = (0..3000).map(|_| "x".repeat(1000) + "\n").collect();
        text.lines(lines.into_iter(), "line");
        assert!(text.0.len() <= MAX - RESERVE + 100);
        assert!(
            text.0.ends_with("\n2006 lines more in `result.json`\n"),
            "{}",
            &text.0[text.0.len() - 60..]
        );
    }
}
