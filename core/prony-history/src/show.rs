//! A history on a terminal.

use crate::{Run, Series, day};
use prony_result::words::{count, number, one_line, percent, signed_percent};
use std::fmt::Write as _;

/// Runs that are drawn, the last ones.
const DRAWN: usize = 100;
/// Bars, from the smallest to the largest difference.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A run that does not count.
const NOT_COUNTED: char = '·';
/// A place where something begins that is not compared with what was before.
const APART: char = '┊';

/// All series, one after the other.
pub fn text(all: &[Series]) -> String {
    let texts: Vec<String> = all.iter().map(one).collect();
    texts.join("\n")
}

fn one(series: &Series) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}  ({}, series {})",
        series.label,
        one_line(&series.pipeline),
        series.digest
    );
    let runs = count(series.runs.len() as u64, "run");
    let days = match (series.runs.first(), series.runs.last()) {
        (Some(first), Some(last)) => format!("{} … {}", day(&first.at), day(&last.at)),
        _ => String::new(),
    };
    let against = match &series.anchor {
        Some(anchor) => format!("against the anchor {}", one_line(anchor)),
        None => "without an anchor".to_owned(),
    };
    let margin = series.margin_percent;
    let _ = writeln!(text, "  {runs}, {days}, {against}, margin {margin} %");
    let _ = writeln!(text, "  {}{}", line(series), range(series));
    for segment in &series.segments {
        let joined = if segment.apart {
            "  another anchor: no bridge joins it to the runs before"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "  {} … {}  {:>4}  {:>9}{joined}",
            day(&segment.from),
            day(&segment.to),
            segment.runs,
            signed_percent(segment.level_percent),
        );
    }
    for finding in series.findings() {
        let _ = writeln!(text, "  {finding}");
    }
    for sentence in series.not_counted() {
        let _ = writeln!(text, "  {NOT_COUNTED} {sentence}");
    }
    if let Some(absolute) = absolute(&series.runs) {
        let _ = writeln!(text, "  {absolute}");
    }
    text
}

/// The smallest and the largest difference that are drawn.
fn extent(series: &Series) -> Option<(f64, f64)> {
    let drawn = series.runs.iter().rev().take(DRAWN);
    let drawn = drawn.filter(|it| it.segment.is_some());
    let values: Vec<f64> = drawn.filter_map(|it| it.difference_percent).collect();
    let least = values.iter().copied().reduce(f64::min)?;
    Some((least, values.into_iter().fold(least, f64::max)))
}

fn range(series: &Series) -> String {
    let range = extent(series);
    range.map_or_else(String::new, |(least, largest)| {
        format!("  {} … {}", signed_percent(least), signed_percent(largest))
    })
}

/// A bar for each run, with a mark before a change.
fn line(series: &Series) -> String {
    let first = series.runs.len().saturating_sub(DRAWN);
    // A scatter within the margin is not to look like a mountain.
    let (least, largest) = extent(series).unwrap_or_default();
    let middle = f64::midpoint(least, largest);
    let half = ((largest - least) / 2.0)
        .max(series.margin_percent)
        .max(f64::MIN_POSITIVE);
    let mut line = String::new();
    let mut segment: Option<usize> = None;
    for run in &series.runs[first..] {
        let (Some(of), Some(value)) = (run.segment, run.difference_percent) else {
            line.push(NOT_COUNTED);
            continue;
        };
        if segment.is_some_and(|before| before != of) {
            line.push(if series.segments[of].apart {
                APART
            } else {
                '|'
            });
        }
        segment = Some(of);
        let share = (value - middle) / (2.0 * half) + 0.5;
        let bar = (share * (BARS.len() - 1) as f64).round() as usize;
        line.push(BARS[bar.min(BARS.len() - 1)]);
    }
    line
}

/// Speeds of runs of which nothing else is known.
fn absolute(runs: &[Run]) -> Option<String> {
    let alone = runs.iter().filter(|it| it.difference_percent.is_none());
    let speeds: Vec<f64> = alone.filter_map(|it| it.output_tokens_per_sec).collect();
    let least = speeds.iter().copied().reduce(f64::min)?;
    let largest = speeds.iter().copied().fold(least, f64::max);
    Some(format!(
        "{} {} … {} tok/s (within {}): no change is searched in these",
        count(speeds.len() as u64, "run"),
        number(least),
        number(largest),
        percent(100.0 * (largest / least - 1.0)),
    ))
}
