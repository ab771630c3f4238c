//! An interval as a line of characters.

use super::short_percent;

/// Ends of a scale, in percent.
const REACHES: [f64; 14] = [
    1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0, 80.0, 120.0, 200.0, 500.0, 1000.0,
];

/// A scale of differences in percent, with no difference in its middle, for intervals one below
/// the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    reach_percent: f64,
    margin_percent: f64,
    columns: usize,
}

impl Scale {
    /// What the characters of a line mean.
    pub const LEGEND: &str =
        "● estimate, ├─┤ interval, ╎ ends of the margin, │ no difference, ◀ ▶ beyond the scale";

    /// A scale on an odd number of at least 9 `columns` that shows all `differences` with the ends
    /// of their intervals; `None` if there are none.
    pub fn new(
        columns: usize,
        margin_percent: f64,
        differences: impl IntoIterator<Item = (Option<f64>, Option<[f64; 2]>)>,
    ) -> Option<Self> {
        let ends = differences
            .into_iter()
            .flat_map(|(difference, ends)| ends.into_iter().flatten().chain(difference));
        let ends = ends.filter(|it| it.is_finite()).map(f64::abs);
        let farthest = ends.reduce(f64::max)?.max(margin_percent);
        let reach = REACHES.into_iter().find(|it| *it >= farthest);
        Some(Self {
            reach_percent: reach.unwrap_or(REACHES[REACHES.len() - 1]),
            margin_percent,
            columns: columns.max(9) | 1,
        })
    }

    /// Its ends: `-5 %` and `+5 %`.
    pub fn ends(&self) -> [String; 2] {
        let end = short_percent(self.reach_percent);
        [format!("-{end}"), format!("+{end}")]
    }

    /// Its ends and its middle: `-5 %      0      +5 %`.
    pub fn axis(&self) -> String {
        let [low, high] = self.ends();
        let middle = self.columns / 2;
        let left = format!("{low:<middle$}0");
        format!("{left}{high:>middle$}")
    }

    /// `●` at the difference between the ends of its interval `├ ┤`, on `│`, no difference, between
    /// `╎`, the margins. An end beyond the scale is an arrow, and what is no number is left out.
    pub fn line(&self, difference: Option<f64>, interval: Option<[f64; 2]>) -> String {
        let mut line = vec![' '; self.columns];
        let margins = [-self.margin_percent, self.margin_percent];
        for margin in margins.map(|it| self.column(it)) {
            line[margin] = '╎';
        }
        line[self.columns / 2] = '│';
        let is_shown = |[low, high]: &[f64; 2]| low <= high && (high - low).is_finite();
        let interval = interval.filter(is_shown);
        // What excludes zero stays clear of its line, however near it ends.
        let middle = self.columns / 2;
        let columns = match interval {
            Some([low, _]) if low > 0.0 => middle + 1..=self.columns - 1,
            Some([_, high]) if high < 0.0 => 0..=middle - 1,
            _ => 0..=self.columns - 1,
        };
        let place = |percent| self.column(percent).clamp(*columns.start(), *columns.end());
        if let Some([low, high]) = interval {
            for place in &mut line[place(low)..=place(high)] {
                *place = if *place == '│' { '┼' } else { '─' };
            }
            line[place(high)] = self.end(high, '┤');
            line[place(low)] = self.end(low, '├');
        }
        if let Some(difference) = difference.filter(|it| it.is_finite()) {
            line[place(difference)] = self.end(difference, '●');
        }
        line.into_iter().collect()
    }

    fn column(&self, percent: f64) -> usize {
        let half = (self.columns / 2) as f64;
        let share = (percent / self.reach_percent).clamp(-1.0, 1.0);
        (half + (share * half).round()) as usize
    }

    fn end(&self, percent: f64, mark: char) -> char {
        if percent > self.reach_percent {
            '▶'
        } else if percent < -self.reach_percent {
            '◀'
        } else {
            mark
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_lie_on_one_scale() {
        let rows = [
            (Some(4.2), Some([3.1, 5.4])),
            (Some(0.3), Some([-0.4, 0.9])),
            (Some(-1.0), Some([-7.5, 2.5])),
            (Some(-3.0), None),
            (None, None),
        ];
        let scale = Scale::new(33, 2.0, rows).expect("differences");
        let lines: Vec<String> = rows.iter().map(|it| scale.line(it.0, it.1)).collect();
        assert_eq!(scale.axis(), "-8 %            0            +8 %");
        assert_eq!(
            lines,
            [
                "            ╎   │   ╎ ├─●──┤     ",
                "            ╎  ├┼●┤ ╎            ",
                " ├────────────●─┼────┤           ",
                "          ● ╎   │   ╎            ",
                "            ╎   │   ╎            ",
            ]
        );
    }

    #[test]
    fn both_sides_are_drawn_alike_and_what_excludes_zero_does_not_touch_it() {
        let rows = [
            (Some(12.5), Some([0.1, 15.0])),
            (Some(-12.5), Some([-15.0, -0.1])),
            (Some(0.0), Some([-12.5, 12.5])),
            (Some(0.01), Some([0.001, 0.02])),
        ];
        let scale = Scale::new(21, 1.0, rows).expect("differences");
        let lines: Vec<String> = rows.iter().map(|it| scale.line(it.0, it.1)).collect();
        let mirrored = |line: &str| -> String {
            let swapped = line.chars().rev().map(|it| match it {
                '├' => '┤',
                '┤' => '├',
                other => other,
            });
            swapped.collect()
        };
        assert_eq!(lines[0], mirrored(&lines[1]));
        assert_eq!(lines[2], mirrored(&lines[2]));
        for line in [&lines[0], &lines[1], &lines[3]] {
            assert!(line.chars().nth(10) == Some('│'), "{line}");
        }
    }

    #[test]
    fn what_lies_beyond_every_scale_is_an_arrow() {
        let rows = [(Some(2000.0), Some([-2000.0, 3000.0]))];
        let scale = Scale::new(9, 2.0, rows).expect("a difference");
        assert_eq!(scale.line(rows[0].0, rows[0].1), "◀───┼───▶");
        assert_eq!(Scale::new(9, 2.0, [(None, None)]), None);
        let narrow = Scale::new(0, 2.0, [(Some(0.0), Some([0.0, 0.0]))]).expect("a difference");
        assert_eq!(narrow.line(Some(0.0), Some([0.0, 0.0])), "╎   ●   ╎");
        assert_eq!(Scale::new(9, 2.0, [(Some(f64::NAN), None)]), None);
        let unknown = [f64::NEG_INFINITY, f64::NAN];
        assert_eq!(scale.line(Some(f64::NAN), Some(unknown)), "    │    ");
    }
}
