//! The stages in their one legal order.

use prony_diagnostic::Diagnostic;

use super::Context;
use crate::file::Stage;
use crate::tree::Span;
use crate::wording::literal;
use crate::{Stages, Warmup, codes};

/// The kinds of stages in order.
const ORDER: [&str; 6] = ["setup", "load", "warmup", "measure", "unload", "report"];
const LEGAL: &str =
    "the order is `setup`, `load`, `warmup`, `measure`, `unload`, `report`, each at most once";

impl Context<'_> {
    /// The stages with those that are left out filled in; none on an error.
    pub(super) fn stages(
        &self,
        stages: Vec<Stage>,
        prompts: usize,
        out: &mut Vec<Diagnostic>,
    ) -> Option<Stages> {
        if !self.in_order(&stages, out) {
            return None;
        }
        let (mut setup, mut load, mut warmup) = (None, None, None);
        let (mut measure, mut unload, mut report) = (None, None, None);
        for stage in stages {
            match stage {
                Stage::Setup(stage) => setup = Some(stage),
                Stage::Load(stage) => load = Some(stage),
                Stage::Warmup(stage) => warmup = Some(stage),
                Stage::Measure(stage) => measure = Some(stage),
                Stage::Unload(stage) => unload = Some(stage),
                Stage::Report(stage) => report = Some(stage),
            }
        }
        let Some(measure) = measure else {
            out.push(
                Diagnostic::error(codes::STAGE_ORDER, "there is no `measure` stage")
                    .at(self.key("/stages"), "nothing is measured")
                    .note("all other stages may be left out")
                    .help("add `- measure: {}`"),
            );
            return None;
        };
        Some(Stages {
            setup: setup.unwrap_or_default(),
            load: load.unwrap_or_default(),
            warmup: warmup.unwrap_or(Warmup {
                requests: 0,
                ..Warmup::default()
            }),
            measure: measure.resolve(prompts),
            unload: unload.unwrap_or_default(),
            report: report.unwrap_or_default(),
        })
    }

    fn in_order(&self, stages: &[Stage], out: &mut Vec<Diagnostic>) -> bool {
        let before = out.len();
        let mut seen: [Option<usize>; ORDER.len()] = [None; ORDER.len()];
        for (index, stage) in stages.iter().enumerate() {
            let rank = rank(stage);
            let name = literal(ORDER[rank]);
            let place = self.stage(index, rank);
            if let Some(first) = seen[rank] {
                out.push(
                    Diagnostic::error(
                        codes::STAGE_ORDER,
                        format!("the stage {name} is given twice"),
                    )
                    .at(place, "given again")
                    .and(self.stage(first, rank), "given here")
                    .note(LEGAL)
                    .help("put the two into one"),
                );
                continue;
            }
            seen[rank] = Some(index);
            let later = (rank + 1..ORDER.len()).find_map(|r| seen[r].map(|at| (r, at)));
            if let Some((other, at)) = later {
                let other_name = literal(ORDER[other]);
                out.push(
                    Diagnostic::error(
                        codes::STAGE_ORDER,
                        format!("the stage {name} comes after {other_name}"),
                    )
                    .at(place, "too late")
                    .and(self.stage(at, other), format!("{name} comes before this"))
                    .note(LEGAL)
                    .help(format!("move {name} before {other_name}")),
                );
            }
        }
        out.len() == before
    }

    /// The key of the stage at an index.
    fn stage(&self, index: usize, rank: usize) -> Span {
        self.key(&format!("/stages/{index}/{}", ORDER[rank]))
    }
}

fn rank(stage: &Stage) -> usize {
    match stage {
        Stage::Setup(_) => 0,
        Stage::Load(_) => 1,
        Stage::Warmup(_) => 2,
        Stage::Measure(_) => 3,
        Stage::Unload(_) => 4,
        Stage::Report(_) => 5,
    }
}
