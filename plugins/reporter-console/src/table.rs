//! A table that fits into a number of columns.

use crate::text::{pad, shorten, width, wrap};
use std::collections::BTreeSet;

/// Space between columns.
const GAP: usize = 2;
/// Width below which a table is narrow: names are shortened more.
pub(crate) const NARROW: usize = 60;

/// Minimum width of a shortened name in a table of at most `max` columns.
fn min_name(max: usize) -> usize {
    if max < NARROW { 8 } else { 14 }
}

/// Contents of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name: left-aligned, may be shortened.
    Name,
    /// A word: left-aligned, never shortened.
    Word,
    /// A number: right-aligned, never shortened.
    Number,
    /// A picture, under its scale: left-aligned, never shortened.
    Picture,
}

/// One column.
#[derive(Debug)]
pub(crate) struct Column {
    title: String,
    unit: String,
    kind: Kind,
    /// Priority for dropping the column, highest first; 0 is always kept.
    drop_order: u8,
    cells: Vec<String>,
}

impl Column {
    /// A column that is always kept.
    pub(crate) fn new(title: &str, unit: &str, kind: Kind, cells: Vec<String>) -> Self {
        Self {
            title: title.to_owned(),
            unit: unit.to_owned(),
            kind,
            drop_order: 0,
            cells,
        }
    }

    /// The same column, dropped before those with a lower `order`.
    pub(crate) fn drop_order(self, order: u8) -> Self {
        Self {
            drop_order: order,
            ..self
        }
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        [self.title.as_str(), self.unit.as_str()]
            .into_iter()
            .chain(self.cells.iter().map(String::as_str))
    }

    fn width(&self) -> usize {
        self.lines().map(width).max().unwrap_or(0)
    }

    /// The minimum width after shortening, which must not make two names one.
    fn min_width(&self, max: usize) -> usize {
        if self.kind != Kind::Name {
            return self.width();
        }
        let names: BTreeSet<&String> = self.cells.iter().collect();
        let distinct = |columns: &usize| {
            let short: BTreeSet<String> = names.iter().map(|it| shorten(it, *columns)).collect();
            short.len() == names.len()
        };
        let heading = width(&self.title).max(width(&self.unit));
        let mut widths = min_name(max).max(heading)..self.width();
        widths.find(distinct).unwrap_or_else(|| self.width())
    }

    fn label(&self) -> String {
        if self.unit.is_empty() || self.kind == Kind::Picture {
            self.title.clone()
        } else {
            format!("{} ({})", self.title, self.unit)
        }
    }
}

/// A line of its own before a row: the row's number, from 0, and the text.
pub(crate) type Section = (usize, String);

/// The table in at most `max` columns where possible, and the dropped columns.
pub(crate) fn render(
    mut columns: Vec<Column>,
    sections: &[Section],
    max: usize,
) -> (String, Vec<String>) {
    let mut left_out = Vec::new();
    while total(&columns, |column| column.min_width(max)) > max {
        let drop_order = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.drop_order > 0);
        let Some((index, _)) = drop_order.max_by_key(|(_, column)| column.drop_order) else {
            break;
        };
        left_out.push(columns.remove(index).label());
    }
    let widths = shrink(&columns, max);
    let lines = columns
        .iter()
        .map(|column| column.lines().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for line in 0..lines {
        // Title and unit precede the rows.
        for (_, title) in sections.iter().filter(|(row, _)| row + 2 == line) {
            text.push_str(&wrap("", title, max));
        }
        let cells: Vec<String> = columns
            .iter()
            .zip(&widths)
            .map(|(column, columns)| {
                let cell = column.lines().nth(line).unwrap_or_default();
                pad(
                    &shorten(cell, *columns),
                    *columns,
                    column.kind == Kind::Number,
                )
            })
            .collect();
        let cells = cells.join(&" ".repeat(GAP));
        let cells = cells.trim_end();
        // Not every table has units.
        if line != 1 || !cells.is_empty() {
            text.push_str(cells);
            text.push('\n');
        }
        if line == 1 {
            text.push_str(
                &"─".repeat(widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)),
            );
            text.push('\n');
        }
    }
    (text, left_out)
}

fn total(columns: &[Column], width: impl Fn(&Column) -> usize) -> usize {
    columns.iter().map(width).sum::<usize>() + GAP * columns.len().saturating_sub(1)
}

/// Takes the excess from the widest names.
fn shrink(columns: &[Column], max: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = columns.iter().map(Column::width).collect();
    let mut excess = total(columns, Column::width).saturating_sub(max);
    while excess > 0 {
        let can_shrink =
            |(index, column): &(usize, &Column)| widths[*index] > column.min_width(max);
        let widest = columns
            .iter()
            .enumerate()
            .filter(can_shrink)
            .max_by_key(|(index, _)| widths[*index]);
        let Some((index, _)) = widest else { break };
        widths[index] -= 1;
        excess -= 1;
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        let cells = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        vec![
            Column::new("Name", "", Kind::Name, cells(["a-rather-long-name", "b"])),
            Column::new("Speed", "m/s", Kind::Number, cells(["1.5", "100.0"])),
            Column::new("Mood", "", Kind::Word, cells(["good", "bad"])).drop_order(1),
            Column::new("Noise", "dB", Kind::Number, cells(["1", "2"])).drop_order(2),
        ]
    }

    #[test]
    fn fits_by_shortening_names_first() {
        let (text, left_out) = render(columns(), &[], 34);
        assert!(left_out.is_empty());
        insta::assert_snapshot!(text, @r"
        Name            Speed  Mood  Noise
                          m/s           dB
        ──────────────────────────────────
        a-rathe…g-name    1.5  good      1
        b               100.0  bad       2
        ");
    }

    #[test]
    fn shortened_names_stay_apart() {
        let names = ["SmolLM2-135M-Instruct-Q8_0", "SmolLM2-360M-Instruct-Q8_0"];
        let names = names.map(str::to_owned).to_vec();
        let column = Column::new("Model", "", Kind::Name, names);
        let (text, _) = render(vec![column], &[], 10);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_ne!(rows[0], rows[1], "{text}");
        assert!(rows[0].contains('…'), "{text}");
    }

    #[test]
    fn sections_stand_before_their_rows() {
        let sections = [(0, "first".to_owned()), (1, "second".to_owned())];
        let (text, _) = render(columns(), &sections, 80);
        insta::assert_snapshot!(text, @r"
        Name                Speed  Mood  Noise
                              m/s           dB
        ──────────────────────────────────────
        first
        a-rather-long-name    1.5  good      1
        second
        b                   100.0  bad       2
        ");
    }

    #[test]
    fn leaves_out_the_least_important_columns() {
        let order = ["Noise (dB)", "Mood"];
        let mut one = 0;
        for most in 1..60 {
            let (text, left_out) = render(columns(), &[], most);
            assert_eq!(left_out, order[..left_out.len()], "{most}");
            let fits = text.lines().all(|line| width(line) <= most);
            assert!(fits || left_out.len() == order.len(), "{most}:\n{text}");
            one += usize::from(left_out.len() == 1);
        }
        assert!(one > 0);
        let (_, left_out) = render(columns(), &[], 1);
        assert_eq!(left_out, ["Noise (dB)", "Mood"]);
    }
}
