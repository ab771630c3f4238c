//! Figures, each with its title, its finding in words, and its numbers as a table.

mod curves;
mod cycles;
mod forest;
mod sweep;
mod visits;
mod waterfall;

use crate::scale::{Scale, label};
use crate::svg::{Anchor, LINE, Svg, WIDTH, width};
use serde::Serialize;

pub(crate) use curves::curves;
pub(crate) use cycles::cycles;
pub(crate) use forest::forest;
pub(crate) use sweep::sweeps;
pub(crate) use visits::{drift, lifecycle, memory};
pub(crate) use waterfall::waterfall;

/// Number of things that a figure draws, so that a page of many entries stays small.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Rows of a table.
    pub(crate) rows: usize,
    /// One quantile in so many of a distribution.
    quantile_step: usize,
    /// Requests of an engine, one by one.
    requests: usize,
    /// Texts of a request.
    texts: usize,
    /// Visits of an engine, stage by stage.
    visits: usize,
    /// Visits of an engine, as lines over time.
    lines: usize,
    /// Points of such a line.
    points: usize,
}

impl Room {
    /// For a page of so many entries.
    pub(crate) fn of(entries: usize) -> Self {
        if entries <= 2 {
            Self {
                rows: 400,
                quantile_step: 1,
                requests: 24,
                texts: 64,
                visits: 12,
                lines: 6,
                points: 100,
            }
        } else {
            Self {
                rows: 16,
                quantile_step: 8,
                requests: 5,
                texts: 12,
                visits: 3,
                lines: 2,
                points: 25,
            }
        }
    }
}

/// A figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// Unique on the page.
    pub(crate) id: String,
    pub(crate) title: String,
    /// The finding, in words.
    pub(crate) finding: String,
    /// SVG; safe as it is.
    pub(crate) svg: String,
    /// The numbers.
    pub(crate) table: Table,
}

/// A table of texts.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Table {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self {
            header: header.map(str::to_owned).to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.to_vec());
    }
}

impl Figure {
    /// Of a drawing with the height that it has come to.
    fn new(
        id: String,
        title: String,
        finding: String,
        (svg, height): (Svg, f64),
        table: Table,
    ) -> Self {
        let svg = svg.finish(height, &format!("{id}-title"), &format!("{id}-finding"));
        Self {
            id,
            title,
            finding,
            svg,
            table,
        }
    }
}

/// The frame of a figure with two axes.
struct Plot {
    svg: Svg,
    x: Scale,
    y: Scale,
    height: f64,
}

/// Room for the numbers of the vertical axis.
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 16.0;
const TOP: f64 = 26.0;
/// Room for the numbers of the horizontal axis and its title.
const BOTTOM: f64 = 40.0;

impl Plot {
    /// A frame of some height; the scales come with their ends in pixels.
    fn new(height: f64, x: impl Fn(f64, f64) -> Scale, y: impl Fn(f64, f64) -> Scale) -> Self {
        Self {
            svg: Svg::default(),
            x: x(LEFT, RIGHT),
            y: y(height - BOTTOM, TOP),
            height,
        }
    }

    /// Grids, numbers and titles of both axes.
    fn axes(&mut self, x_title: &str, y_title: &str) {
        let bottom = self.height - BOTTOM;
        for tick in self.y.ticks(5) {
            let y = self.y.at(tick);
            self.svg.line((LEFT, y), (RIGHT, y), "grid");
            let at = (LEFT - 6.0, y + 4.0);
            self.svg.text(at, Anchor::End, "tick", &label(tick));
        }
        let mut free = f64::NEG_INFINITY;
        for tick in self.x.ticks(7) {
            let x = self.x.at(tick);
            self.svg.line((x, TOP), (x, bottom), "grid");
            let text = label(tick);
            let half = width(&text) / 2.0;
            if x - half > free && x + half < WIDTH {
                let at = (x, bottom + LINE);
                self.svg.text(at, Anchor::Middle, "tick", &text);
                free = x + half + 4.0;
            }
        }
        let at = (f64::midpoint(LEFT, RIGHT), self.height - 6.0);
        self.svg.text(at, Anchor::Middle, "axis", x_title);
        self.svg.text((4.0, 12.0), Anchor::Start, "axis", y_title);
    }

    /// Names of engines at the top right, each with its line.
    fn legend(&mut self, names: &[(usize, &str)], marks: bool) {
        let mut x = RIGHT;
        for (index, name) in names.iter().rev() {
            let name = crate::svg::fit(name, 150.0);
            x -= width(&name);
            self.svg.text((x, 12.0), Anchor::Start, "label", &name);
            x -= 26.0;
            if marks {
                self.svg
                    .mark((x + 12.0, 8.0), *index, &format!("mark e{index}"), "");
            } else {
                let class = format!("curve e{index}");
                self.svg.path(&format!("M{x:.1} 8h20"), &class);
            }
            x -= 14.0;
        }
    }

    fn finish(self) -> (Svg, f64) {
        (self.svg, self.height)
    }
}

/// The class of an engine's colour and dashes. There are six; then they begin again.
fn class(index: usize) -> usize {
    index % 6
}
