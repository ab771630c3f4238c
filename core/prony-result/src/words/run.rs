//! Sentences about a run as a whole.

use super::{count, level, one_line};
use crate::{Comparison, ModelResult, RunResult, Verdict};

impl RunResult {
    /// Cycles made, of those planned: `9 of 40 cycles, decided`, `9 to 12 of 40 cycles`
    /// where models differ, `40 cycles` where all were made, `9 cycles, decided` of an open
    /// run.
    pub fn cycles_sentence(&self) -> String {
        let planned = self.run.cycles;
        let made = |model: &ModelResult| model.engines.iter().map(|it| it.cycles).max();
        let made = || self.models.iter().map(|it| made(it).unwrap_or(0));
        let (least, most) = (made().min().unwrap_or(0), made().max().unwrap_or(0));
        let cycles = count(planned.into(), "cycle");
        if least >= planned {
            // Replacement cycles make up for failed ones.
            return match most - planned {
                0 => cycles,
                more => format!("{cycles} and {}", count(more.into(), "replacement cycle")),
            };
        }
        let least = if least == most {
            String::new()
        } else {
            format!("{least} to ")
        };
        let mut comparisons = self.comparisons().peekable();
        let decided = comparisons.peek().is_some()
            && comparisons.all(|it| it.verdict != Verdict::Inconclusive);
        let decided = if decided { ", decided" } else { "" };
        if self.comparisons().any(|it| it.open) {
            return format!("{least}{}{decided}", count(most.into(), "cycle"));
        }
        format!("{least}{most} of {cycles}{decided}")
    }

    /// Sentences about several comparisons together, without a full stop: for each
    /// candidate, the number of comparisons per verdict at their shared error, and then
    /// the geometric means. Empty if only one comparison was made.
    pub fn together(&self) -> Vec<String> {
        let means = self.overall.iter().map(crate::Overall::sentence);
        self.family_sentence().into_iter().chain(means).collect()
    }

    fn comparisons(&self) -> impl Iterator<Item = &Comparison> {
        self.models.iter().flat_map(|model| &model.comparisons)
    }

    /// `Together at 96 % (Holm), B against A: faster on 2 of 3 models, equivalent on 1`.
    fn family_sentence(&self) -> Option<String> {
        let family = self.family.as_ref().filter(|it| it.comparisons > 1)?;
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for comparison in self.comparisons() {
            let pair = (comparison.candidate.as_str(), comparison.baseline.as_str());
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        let grouped = |it: &ModelResult| it.cell.is_some() || it.measure.is_some();
        let noun = if self.models.iter().any(grouped) {
            "comparison"
        } else {
            "model"
        };
        let of_pair = |(candidate, baseline): &(&str, &str)| {
            let own = || {
                self.comparisons()
                    .filter(|it| it.candidate == *candidate && it.baseline == *baseline)
            };
            let all = count(own().count() as u64, noun);
            let mut of_all = format!(" of {all}");
            let found: Vec<String> = [
                Verdict::Faster,
                Verdict::Slower,
                Verdict::Equivalent,
                Verdict::Inconclusive,
            ]
            .into_iter()
            .filter_map(|verdict| {
                let number = own().filter(|it| it.verdict == verdict).count();
                let of_all = (number > 0).then(|| std::mem::take(&mut of_all))?;
                Some(format!("{} on {number}{of_all}", verdict.word()))
            })
            .collect();
            format!(
                "{} against {}: {}",
                one_line(candidate),
                one_line(baseline),
                found.join(", ")
            )
        };
        let mut parts: Vec<String> = pairs.iter().map(of_pair).collect();
        if family.equivalent > 0 {
            let own = level(1.0 - family.alpha_equivalent);
            parts.push(format!("each claim of equivalence on its own at {own}"));
        }
        let made = self.comparisons().count() as u64;
        let missing = u64::from(family.comparisons).saturating_sub(made);
        if missing > 0 {
            parts.push(format!("{missing} of {} not made", family.comparisons));
        }
        let level = level(1.0 - family.alpha);
        Some(format!("Together at {level} (Holm), {}", parts.join("; ")))
    }
}
