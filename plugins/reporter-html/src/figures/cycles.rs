//! A comparison cycle by cycle, and what each interim analysis said.

use super::{Figure, Plot, Table};
use crate::scale::Scale;
use crate::svg::Anchor;
use prony_plugin_sdk::result::Comparison;
use prony_plugin_sdk::result::detail::{ComparisonDetail, LookDetail};
use prony_plugin_sdk::words;
use std::fmt::Write as _;

/// Differences beyond are drawn at the edge.
const EDGE: f64 = 300.0;

/// `None` without a cycle.
pub(crate) fn cycles(
    id: &str,
    comparison: &Comparison,
    detail: &ComparisonDetail,
) -> Option<Figure> {
    let last = detail.cycles.iter().map(|it| it.cycle).max()?;
    let reach = reach(comparison, detail);
    let mut plot = Plot::new(
        240.0,
        |from, to| Scale::linear(0.5, f64::from(last) + 0.5, from, to),
        |from, to| Scale::linear(-reach, reach, from, to),
    );
    plot.axes("cycle", "candidate faster by, %");
    let (top, bottom) = (
        plot.y.at(comparison.margin_percent),
        plot.y.at(-comparison.margin_percent),
    );
    let (from, to) = (super::LEFT, super::RIGHT);
    plot.svg
        .rect((from, top), (to - from, bottom - top), "margin", "");
    let zero = plot.y.at(0.0);
    plot.svg.line((from, zero), (to, zero), "zero");
    for look in &detail.looks {
        draw_look(&mut plot, look, detail);
    }
    for it in &detail.cycles {
        let first = it.first.as_deref().unwrap_or_default();
        let shape = usize::from(first == comparison.candidate);
        let title = format!(
            "cycle {}: {}, {first} first",
            it.cycle,
            words::signed_percent(it.difference_percent)
        );
        let at = (
            plot.x.at(f64::from(it.cycle)),
            plot.y.at(it.difference_percent),
        );
        plot.svg.mark(at, shape, "mark point", &title);
    }
    plot.legend(
        &[
            (0, &format!("{} first", comparison.baseline)),
            (1, &format!("{} first", comparison.candidate)),
        ],
        true,
    );
    if let Some(decided) = decided(detail)
        && let Some(cycle) = cycle_of(decided, detail)
    {
        let x = plot.x.at(f64::from(cycle));
        let at = (x.clamp(from + 60.0, to - 60.0), super::TOP + 12.0);
        let text = format!("decided: {}", decided.decision);
        plot.svg.text(at, Anchor::Middle, "label", &text);
    }
    Some(Figure::new(
        format!("{id}-cycles"),
        format!(
            "{} against {}, cycle by cycle",
            comparison.candidate, comparison.baseline
        ),
        finding(comparison, detail),
        plot.finish(),
        table(detail),
    ))
}

fn reach(comparison: &Comparison, detail: &ComparisonDetail) -> f64 {
    let points = detail.cycles.iter().map(|it| it.difference_percent);
    // The first intervals are too wide to scale by.
    let last = detail.looks.last();
    let ends = last.and_then(|it| Some([it.low_percent?, it.high_percent?]));
    let all = points.chain(ends.into_iter().flatten());
    let finite = all.filter(|it| it.is_finite()).map(f64::abs);
    let most = finite.fold(2.0 * comparison.margin_percent, f64::max);
    (most * 1.1).clamp(0.1, EDGE)
}

/// The number of the last cycle that an analysis used.
fn cycle_of(look: &LookDetail, detail: &ComparisonDetail) -> Option<u32> {
    let index = (look.cycles as usize).checked_sub(1)?;
    Some(detail.cycles.get(index)?.cycle)
}

fn draw_look(plot: &mut Plot, look: &LookDetail, detail: &ComparisonDetail) {
    let cycle = cycle_of(look, detail);
    let (Some(low), Some(high), Some(cycle)) = (look.low_percent, look.high_percent, cycle) else {
        return;
    };
    let x = plot.x.at(f64::from(cycle));
    let (low, high) = (plot.y.at(low), plot.y.at(high));
    plot.svg
        .rect((x - 3.0, high), (6.0, low - high), "look", "");
}

fn decided(detail: &ComparisonDetail) -> Option<&LookDetail> {
    let is_decided = |it: &&LookDetail| !matches!(&*it.decision, "continue" | "inconclusive");
    detail.looks.iter().find(is_decided)
}

fn finding(comparison: &Comparison, detail: &ComparisonDetail) -> String {
    let what = if comparison
        .statistic
        .is_some_and(prony_plugin_sdk::result::TestStatistic::is_of_request)
    {
        "the median over the questions of the difference in time"
    } else {
        "the difference of the throughputs"
    };
    let mut text = format!(
        "A mark is one cycle, {what}; its shape says which engine went first. A bar is the \
         interval after so many cycles."
    );
    let (mut sums, mut counts) = ([0.0; 2], [0_u32; 2]);
    for it in &detail.cycles {
        let of = usize::from(it.first.as_ref() == Some(&comparison.candidate));
        sums[of] += it.difference_percent;
        counts[of] += 1;
    }
    if counts.iter().all(|it| *it > 0) {
        let means = [0, 1].map(|of| words::signed_percent(sums[of] / f64::from(counts[of])));
        let _ = write!(
            text,
            " Mean of the cycles with {} first: {}, with {} first: {}.",
            comparison.baseline, means[0], comparison.candidate, means[1]
        );
    }
    if let Some(it) = decided(detail) {
        let _ = write!(
            text,
            " It was decided after {}.",
            words::count(it.cycles.into(), "cycle")
        );
    }
    text
}

fn table(detail: &ComparisonDetail) -> Table {
    let mut table = Table::new([
        "Cycle",
        "First",
        "Difference",
        "Interval after it",
        "Decision",
    ]);
    for (index, it) in detail.cycles.iter().enumerate() {
        let look = detail
            .looks
            .iter()
            .find(|look| look.cycles as usize == index + 1);
        let ends = look.and_then(|it| Some([it.low_percent?, it.high_percent?]));
        let range = ends.map_or_else(String::new, |ends| {
            let [low, high] = ends.map(words::signed_percent);
            format!("{low} to {high}")
        });
        table.row([
            it.cycle.to_string(),
            it.first.clone().unwrap_or_default(),
            words::signed_percent(it.difference_percent),
            range,
            look.map_or_else(String::new, |it| it.decision.clone()),
        ]);
    }
    table
}
