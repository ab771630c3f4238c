//! A history as one page: figures in SVG, complete without script or network, light and dark. Each
//! figure's numbers stand in a table below it.

use crate::{Run, Segment, Series, day, short};
use prony_result::words::{count, html, number, optional, signed_percent};
use std::fmt::Write as _;

const CSS: &str = include_str!("page.css");
/// Size of a figure and its margins, in its own pixels.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 30.0;
/// Height of a row of labels above a figure, and the width of a character in one, at most.
const ROW: f64 = 14.0;
const CHARACTER: f64 = 9.0;
/// Lines across a figure, about.
const TICKS: f64 = 5.0;

/// The whole page.
pub fn page(all: &[Series]) -> String {
    let mut body = String::new();
    let alarms = all.iter().filter(|it| it.alarm().is_some()).count();
    let title = match alarms {
        0 => "History: no regression".to_owned(),
        n => format!("History: {}", count(n as u64, "regression")),
    };
    for (number, series) in all.iter().enumerate() {
        section(&mut body, number, series);
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{title}</title><style>{CSS}</style></head>\n<body><main><h1>{title}</h1>\n{body}</main></body></html>\n"
    )
}

fn section(body: &mut String, number: usize, series: &Series) {
    let anchor = match &series.anchor {
        Some(anchor) => format!("differences to the anchor {anchor}"),
        None => "no anchor".to_owned(),
    };
    let _ = write!(
        body,
        "<section aria-labelledby=\"s{number}\"><h2 id=\"s{number}\">{}</h2>\n<p class=\"muted\">{}, {}, margin {} %, series {}</p>\n",
        html(&series.label),
        count(series.runs.len() as u64, "run"),
        html(&anchor),
        series.margin_percent,
        html(&series.digest),
    );
    let findings = series.findings();
    if series.alarm().is_some() {
        body.push_str("<div class=\"alarm\"><strong>A regression is in force</strong>\n");
    } else {
        body.push_str("<div class=\"calm\"><strong>No regression in force</strong>\n");
    }
    if findings.is_empty() {
        body.push_str("<p>No change, no trend and nothing suspected.</p>");
    }
    for finding in findings {
        let _ = write!(body, "<p>{}</p>", html(&finding));
    }
    body.push_str("</div>\n");
    if let Some(figure) = figure(number, series) {
        body.push_str(&figure);
    }
    for sentence in series.not_counted() {
        let _ = writeln!(body, "<p class=\"muted\">Grey: {}</p>", html(&sentence));
    }
    table(body, series);
    body.push_str("</section>\n");
}

/// The scale of a figure.
struct Scale {
    low: f64,
    high: f64,
    runs: usize,
}

impl Scale {
    fn new(series: &Series) -> Option<Self> {
        let estimates = series.runs.iter().filter_map(|it| it.difference_percent);
        let estimates: Vec<f64> = estimates.filter(|it| it.is_finite()).collect();
        let least = estimates.iter().copied().reduce(f64::min)?;
        let most = estimates.iter().copied().fold(least, f64::max);
        // As much as the margin at least, so that noise is not drawn as mountains; and one night
        // with a wide interval, which ends at the edge then, does not flatten all others.
        let room = (0.06 * (most - least))
            .max(series.margin_percent / 2.0)
            .max(0.1);
        let widest = (most - least).max(2.0 * room);
        let ends = series
            .runs
            .iter()
            .flat_map(|it| [it.low_percent, it.high_percent]);
        let ends = ends.flatten().filter(|it| it.is_finite());
        let ends: Vec<f64> = ends
            .map(|it| it.clamp(least - widest, most + widest))
            .collect();
        let low = ends.iter().copied().fold(least, f64::min);
        let high = ends.iter().copied().fold(most, f64::max);
        Some(Self {
            low: low - room,
            high: high + room,
            runs: series.runs.len(),
        })
    }

    fn x(&self, at: f64) -> f64 {
        let share = (at + 0.5) / self.runs.max(1) as f64;
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, percent: f64) -> f64 {
        let share = (percent - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    /// Round numbers within it.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / TICKS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|it| it * power);
        let step = step.into_iter().find(|it| *it >= rough).unwrap_or(power);
        let first = (self.low / step).ceil();
        let all = (0..=20).map(|it| (first + f64::from(it)) * step);
        all.take_while(|it| *it <= self.high).collect()
    }
}

fn figure(number: usize, series: &Series) -> Option<String> {
    let scale = Scale::new(series)?;
    let mut svg = String::new();
    for tick in scale.ticks() {
        let y = scale.y(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            // A zero with a sign, and the last digits of a sum, are no labels.
            signed_percent((tick * 1e6).round() / 1e6 + 0.0),
        );
    }
    let mut labels = Labels::default();
    for (index, segment) in series.segments.iter().enumerate() {
        draw_segment(&mut svg, &scale, series, index, segment, &mut labels);
    }
    for (index, run) in series.runs.iter().enumerate() {
        draw_run(&mut svg, &scale, index, run);
    }
    for (at, anchor, run) in [
        (LEFT, "start", series.runs.first()),
        (WIDTH - RIGHT, "end", series.runs.last()),
    ] {
        let at_day = run.map(|run| html(&day(&run.at))).unwrap_or_default();
        let _ = write!(
            svg,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{at_day}</text>",
            HEIGHT - 8.0
        );
    }
    Some(format!(
        "<figure><div class=\"frame\" tabindex=\"0\" role=\"group\" aria-labelledby=\"f{number}\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"f{number}\">{svg}</svg></div>\
         <figcaption id=\"f{number}\">{}: speed against the anchor, a mark for each run with its interval, cut off at the edge; above is faster. Lines are the levels of segments, in which nothing changes, dashes the changes between them.</figcaption></figure>\n",
        html(&series.label)
    ))
}

/// The ends of the labels above a figure, in two rows, the lower one first.
#[derive(Default)]
struct Labels([f64; 2]);

impl Labels {
    /// Height for a label between two ends, from left to right; `None` where it would lie on others.
    fn place(&mut self, left: f64, right: f64) -> Option<f64> {
        let row = self.0.iter().position(|end| *end < left)?;
        self.0[row] = right + CHARACTER;
        Some(TOP - 8.0 - ROW * row as f64)
    }
}

/// The level of a segment, and the change before it.
fn draw_segment(
    svg: &mut String,
    scale: &Scale,
    series: &Series,
    index: usize,
    segment: &Segment,
    labels: &mut Labels,
) {
    let mut runs = series.runs.iter().enumerate();
    let is_its = |run: &Run| run.segment == Some(index);
    let Some((first, _)) = runs.find(|(_, run)| is_its(run)) else {
        return;
    };
    let last = series.runs.iter().rposition(is_its).unwrap_or(first);
    let y = scale.y(segment.level_percent);
    let (from, to) = (scale.x(first as f64 - 0.4), scale.x(last as f64 + 0.4));
    let _ = write!(
        svg,
        "<line class=\"level\" x1=\"{from:.1}\" y1=\"{y:.1}\" x2=\"{to:.1}\" y2=\"{y:.1}\"/>"
    );
    if index == 0 {
        return;
    }
    let x = scale.x(first as f64 - 0.5);
    let before = series.segments[index - 1].level_percent;
    let class = if segment.apart {
        "apart"
    } else if segment.level_percent < before {
        "worse"
    } else {
        "better"
    };
    let label = match class {
        "apart" => "another anchor".to_owned(),
        _ => short(series.runs[first].commit.as_deref()),
    };
    let _ = write!(
        svg,
        "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>",
        HEIGHT - BOTTOM,
    );
    let width = CHARACTER * label.chars().count() as f64;
    let (anchor, left) = if x > WIDTH / 2.0 {
        ("end", x - width)
    } else {
        ("start", x)
    };
    // Without room the change is in the sentences alone.
    if let Some(y) = labels.place(left, left + width) {
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            html(&label),
        );
    }
}

fn draw_run(svg: &mut String, scale: &Scale, index: usize, run: &Run) {
    let Some(value) = run.difference_percent.filter(|it| it.is_finite()) else {
        return;
    };
    let counts = run.segment.is_some();
    let (x, y) = (scale.x(index as f64), scale.y(value));
    let class = if counts { "run" } else { "grey" };
    if let (Some(low), Some(high)) = (run.low_percent, run.high_percent) {
        let end = |percent: f64| scale.y(percent.clamp(scale.low, scale.high));
        let _ = write!(
            svg,
            "<line class=\"interval {class}\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>",
            end(low),
            end(high)
        );
    }
    // Those that do not count have another shape, too.
    let path = if counts {
        format!(
            "M{:.1} {y:.1}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0",
            x - 3.5
        )
    } else {
        format!("M{:.1} {:.1}l7 7m0 -7l-7 7", x - 3.5, y - 3.5)
    };
    let title = format!(
        "{} {}: {}",
        day(&run.at),
        short(run.commit.as_deref()),
        signed_percent(value)
    );
    let _ = write!(
        svg,
        "<path class=\"mark {class}\" d=\"{path}\"><title>{}</title></path>",
        html(&title)
    );
}

fn table(body: &mut String, series: &Series) {
    body.push_str("<details><summary>All runs</summary><div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"All runs\"><table><thead><tr><th scope=\"col\">Time</th><th scope=\"col\">Commit</th><th scope=\"col\">Difference</th><th scope=\"col\">Interval</th><th scope=\"col\">tok/s</th><th scope=\"col\">Segment</th></tr></thead><tbody>\n");
    for run in series.runs.iter().rev() {
        let interval = match (run.low_percent, run.high_percent) {
            (Some(low), Some(high)) => {
                format!("{} … {}", signed_percent(low), signed_percent(high))
            }
            _ => optional(None, number),
        };
        let part = match run.segment {
            Some(segment) => (segment + 1).to_string(),
            None => "not counted".to_owned(),
        };
        let _ = writeln!(
            body,
            "<tr><td>{}</td><td><code>{}</code></td><td>{}</td><td>{interval}</td><td>{}</td><td>{part}</td></tr>",
            html(&run.at),
            html(&short(run.commit.as_deref())),
            optional(run.difference_percent, signed_percent),
            optional(run.output_tokens_per_sec, number),
        );
    }
    body.push_str("</tbody></table></div></details>\n");
}
