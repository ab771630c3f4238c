//! Faults made on purpose: what a kill, a failing disk or damaged bytes cost a run.
//!
//! Each try is a run that meets one fault. Afterwards nothing of it may be left running, `prony
//! verify` may find no damage, the same command has to bring the run to its end, and what stood in
//! the journal has to stand there to the byte.

mod calls;
mod images;
mod limits;
mod row;
mod signals;
mod subject;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use self::row::table;
use self::subject::{Load, Subject};
use crate::workspace::Workspace;
use crate::{build, shell};

/// Number of tries.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Extent {
    /// A minute, for every run of the tests.
    Short,
    /// Ten minutes.
    Usual,
    /// As long as it takes.
    Long,
}

impl Extent {
    /// Time beyond which no try begins.
    fn limit(self) -> Option<Duration> {
        self.of(
            Some(Duration::from_secs(50)),
            Some(Duration::from_mins(10)),
            None,
        )
    }

    /// The number for this extent.
    fn of<T>(self, short: T, usual: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Usual => usual,
            Self::Long => long,
        }
    }
}

/// Kinds of faults, by the name that chooses one, in the order in which they are made.
const KINDS: [&str; 6] = ["signals", "limits", "calls", "errors", "images", "kills"];

/// Seed of all random times.
const SEED: u64 = 16;

/// Makes the faults of some kinds, or of all, and prints a table.
pub(crate) fn faults(workspace: &Workspace, options: &[&str]) -> Result<()> {
    let mut extent = Extent::Usual;
    let mut kinds = Vec::new();
    for option in options {
        match *option {
            "--short" => extent = Extent::Short,
            "--long" => extent = Extent::Long,
            name if KINDS.contains(&name) => kinds.push(name),
            other => bail!(
                "`{other}` is neither `--short` nor `--long` nor one of: {}",
                KINDS.join(", ")
            ),
        }
    }
    if kinds.is_empty() {
        kinds = KINDS.to_vec();
    }
    build::build(workspace)?;
    make(workspace, extent, &kinds)
}

/// A minute of it, with what is already built.
pub(crate) fn slice(workspace: &Workspace) -> Result<()> {
    make(workspace, Extent::Short, &KINDS[..4])
}

fn make(workspace: &Workspace, extent: Extent, kinds: &[&str]) -> Result<()> {
    if !cfg!(target_os = "linux") {
        shell::step("faults: left out, since they are made by Linux");
        return Ok(());
    }
    let begin = Instant::now();
    let mut rows = Vec::new();
    let mut one = Subject::new(workspace, Load::One, 2)?;
    let mut several = Subject::new(workspace, Load::Several, 2)?;
    for (at, kind) in kinds.iter().enumerate() {
        // What one kind leaves is for the others.
        let until = extent.limit().map(|limit| {
            let left = limit.saturating_sub(begin.elapsed());
            Instant::now() + left / (kinds.len() - at) as u32
        });
        (one.until, several.until) = (until, until);
        match *kind {
            "calls" => {
                calls::kills(&mut one, extent, &mut rows)?;
                calls::kills(&mut several, extent, &mut rows)?;
            }
            "errors" => {
                calls::errors(&mut one, extent, &mut rows)?;
                calls::errors(&mut several, extent, &mut rows)?;
            }
            "signals" => {
                signals::asked(&mut one, extent, &mut rows)?;
                signals::killed(&mut several, extent, &mut rows)?;
            }
            "limits" => limits::limits(workspace, &mut several, extent, &mut rows)?,
            "images" => images::images(workspace, &mut several, extent, &mut rows)?,
            _ => signals::equal_engines(workspace, until, extent, &mut rows)?,
        }
    }
    println!("{}", table(&rows));
    let misses: Vec<&String> = rows.iter().flat_map(|row| &row.misses).collect();
    for miss in &misses {
        eprintln!("error: {miss}");
    }
    shell::step(&format!("faults: {:.0} s", begin.elapsed().as_secs_f64()));
    if !misses.is_empty() {
        bail!(
            "{} of the tries went wrong; the first: {}",
            misses.len(),
            misses[0]
        );
    }
    Ok(())
}
