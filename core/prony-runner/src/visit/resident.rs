//! A cycle whose two engines stay loaded and take turns.
//!
//! ```text
//! load A, load B ─ warm-up A, warm-up B ─ A B B A, A B B A, … ─ unload A, unload B
//! ```
//!
//! A is the one that the cycle's coin put first.

use super::work::Stage;
use super::{Running, Stop, Trouble, VisitRun, Visiting};
use crate::Result;
use crate::runner::Runner;
use prony_plan::Phase;
use serde_json::Value;

/// Which of the engines have their turn in a block.
const BLOCK: [usize; 4] = [0, 1, 1, 0];

/// An engine of the cycle.
pub(crate) struct Seat<'a> {
    visiting: Visiting<'a>,
    /// What templates know as `stages`, of this engine.
    stages: Value,
    running: Option<Running>,
    end: Option<Stop>,
    /// Whether it sends the requests of the current stage, and how many have succeeded.
    sends: Option<u32>,
}

impl<'a> Seat<'a> {
    /// `stages` is what templates know at the beginning of a turn.
    pub(crate) fn new(mut visiting: Visiting<'a>, stages: Value) -> Self {
        visiting.has_company = true;
        Self {
            visiting,
            stages,
            running: None,
            end: None,
            sends: None,
        }
    }

    async fn load(&mut self, runner: &mut Runner<'a>) -> Result<()> {
        std::mem::swap(&mut runner.stages, &mut self.stages);
        let mut run = VisitRun::new(runner, &mut self.visiting);
        self.end = run.begin_visit(&mut self.running).await?;
        drop(run);
        std::mem::swap(&mut runner.stages, &mut self.stages);
        Ok(())
    }

    /// Whether the engine may go on: like one that is alone.
    fn goes_on(&self, is_loading: bool) -> bool {
        let bearable = (!is_loading).then_some(Stop::Continue);
        self.running.is_some() && self.end <= bearable
    }

    /// Begins a stage.
    async fn open(&mut self, runner: &mut Runner<'a>, stage: &Stage<'a>) -> Result<()> {
        std::mem::swap(&mut runner.stages, &mut self.stages);
        let mut run = VisitRun::new(runner, &mut self.visiting);
        let of_visit = run.stage(stage.phase.name(), &stage.id);
        let opened = run.open(stage, &of_visit).await?;
        self.sends = matches!(opened, Ok(true)).then_some(0);
        let ended = run.settle(&of_visit, opened.map(drop), stage.on_failure)?;
        self.end = self.end.max(ended);
        drop(run);
        std::mem::swap(&mut runner.stages, &mut self.stages);
        Ok(())
    }

    /// Sends requests of a stage.
    async fn turn(
        &mut self,
        runner: &mut Runner<'a>,
        stage: &Stage<'a>,
        first: u32,
        count: u32,
    ) -> Result<()> {
        let (Some(running), Some(before)) = (&mut self.running, self.sends) else {
            return Ok(());
        };
        let mut run = VisitRun::new(runner, &mut self.visiting);
        let sent: std::result::Result<u32, Trouble> =
            run.send(stage, first, count, running).await?;
        self.sends = sent.as_ref().ok().map(|succeeded| before + succeeded);
        let of_visit = run.stage(stage.phase.name(), &stage.id);
        let ended = run.settle(&of_visit, sent.map(drop), stage.on_failure)?;
        self.end = self.end.max(ended);
        Ok(())
    }

    /// Ends a stage.
    async fn close(&mut self, runner: &mut Runner<'a>, stage: &Stage<'a>) -> Result<()> {
        let Some(succeeded) = self.sends.take() else {
            return Ok(());
        };
        std::mem::swap(&mut runner.stages, &mut self.stages);
        let mut run = VisitRun::new(runner, &mut self.visiting);
        let of_visit = run.stage(stage.phase.name(), &stage.id);
        let closed = run.close(stage, &of_visit, succeeded).await?;
        let ended = run.settle(&of_visit, closed, stage.on_failure)?;
        self.end = self.end.max(ended);
        drop(run);
        std::mem::swap(&mut runner.stages, &mut self.stages);
        Ok(())
    }

    async fn unload(mut self, runner: &mut Runner<'a>) -> Result<Option<Stop>> {
        std::mem::swap(&mut runner.stages, &mut self.stages);
        let run = VisitRun::new(runner, &mut self.visiting);
        run.end_visit(self.running, self.end).await
    }
}

/// Runs a cycle; how the visit of each engine ended. Whatever happens, all are unloaded.
pub(crate) async fn run<'a>(
    runner: &mut Runner<'a>,
    mut seats: Vec<Seat<'a>>,
    blocks: u32,
) -> Result<Vec<Option<Stop>>> {
    for seat in &mut seats {
        if !*runner.stop.borrow() {
            seat.load(runner).await?;
        }
    }
    let stages = seats.first_mut().map_or_else(Vec::new, |seat| {
        VisitRun::new(runner, &mut seat.visiting).work_stages()
    });
    let mut ready: Vec<bool> = seats.iter().map(|seat| seat.goes_on(true)).collect();
    for stage in &stages {
        for (seat, ready) in seats.iter_mut().zip(&mut ready) {
            *ready = *ready && seat.goes_on(false);
            if *ready {
                seat.open(runner, stage).await?;
            }
        }
        match stage.phase {
            Phase::Warmup => {
                for seat in &mut seats {
                    seat.turn(runner, stage, 0, stage.requests).await?;
                }
            }
            Phase::Measure => {
                let each = stage.requests / (2 * blocks);
                let mut sent = [0; 2];
                for which in (0..blocks).flat_map(|_| BLOCK) {
                    if let Some(seat) = seats.get_mut(which) {
                        seat.turn(runner, stage, sent[which], each).await?;
                    }
                    sent[which] += each;
                }
            }
        }
        for seat in &mut seats {
            seat.close(runner, stage).await?;
        }
    }
    let mut ends = Vec::new();
    for seat in seats {
        ends.push(seat.unload(runner).await?);
    }
    Ok(ends)
}
