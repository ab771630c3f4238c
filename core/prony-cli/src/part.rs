//! The part of a pipeline that a process runs: named by `--part`, or taken from its job array.

use prony_plan::{Part, Plan};
use std::env;

use crate::{Exit, Failure};

/// `--part`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A part by its number.
    Named(Part),
    /// The part of the job array in the environment.
    Auto,
}

/// The value of `--part`.
pub(crate) fn wanted(text: &str) -> Result<Wanted, String> {
    if text == "auto" {
        return Ok(Wanted::Auto);
    }
    let part = text.parse().map(Wanted::Named);
    part.map_err(|error: String| format!("{error}; `auto` takes it from a job array"))
}

/// The variable with the number of parts, where the system does not say it.
const PARTS: &str = "PRONY_PARTS";
/// Systems that number the tasks of an array and do not say how many there are: the variable, and
/// the number of the first task.
const NUMBERED: [(&str, u32); 3] = [
    ("JOB_COMPLETION_INDEX", 0),
    ("HQ_TASK_ID", 1),
    ("PARALLEL_SEQ", 1),
];

/// The part of a plan.
pub(crate) fn of_plan(plan: Plan, wanted: Option<Wanted>) -> Result<Plan, Failure> {
    let part = match wanted {
        None => return Ok(plan),
        Some(Wanted::Named(part)) => part,
        Some(Wanted::Auto) => {
            let variable = |name: &str| env::var(name).ok().filter(|it| !it.is_empty());
            let (part, source) =
                of_array(&variable).map_err(|message| Failure::new(Exit::Usage, message))?;
            eprintln!("note: part {part}, by {source}");
            part
        }
    };
    plan.part(part).map_err(|units| {
        let units = prony_result::words::count(units as u64, "part");
        let message = format!(
            "the pipeline has at most {units}, since a part is at least one model at one matrix point, and not {}",
            part.of
        );
        Failure::new(Exit::Usage, message)
    })
}

/// The part by the variables of a job array, and their names.
fn of_array(variable: &dyn Fn(&str) -> Option<String>) -> Result<(Part, String), String> {
    let number = |name: &str, text: &str| {
        let number = text.parse::<u32>();
        number.map_err(|_| format!("`{name}` is `{text}`, and no number of a task"))
    };
    let parts = variable(PARTS);
    let parts = parts.map(|text| number(PARTS, &text)).transpose()?;
    if let Some(text) = variable("SLURM_ARRAY_TASK_ID") {
        let id = number("SLURM_ARRAY_TASK_ID", &text)?;
        let setting = |name: &str, default: u32| match variable(name) {
            Some(text) => number(name, &text),
            None => Ok(default),
        };
        let first = setting("SLURM_ARRAY_TASK_MIN", 0)?;
        let step = setting("SLURM_ARRAY_TASK_STEP", 1)?;
        let of = setting("SLURM_ARRAY_TASK_COUNT", 0)?;
        // Tasks that are run again are an array of their own, which does not say how many there
        // were.
        let is_whole = first <= 1 && step == 1 && parts.is_none_or(|it| it == of);
        let at = id.checked_sub(first).filter(|_| is_whole);
        return part(at, of, "SLURM_ARRAY_TASK_ID", &text);
    }
    for (name, first) in NUMBERED {
        if let Some(text) = variable(name) {
            let at = number(name, &text)?.checked_sub(first);
            let of = parts.ok_or_else(|| {
                format!(
                    "`{name}` numbers this task, and nothing says how many there are: set `{PARTS}`"
                )
            })?;
            return part(at, of, name, &text);
        }
    }
    let names = NUMBERED.map(|(name, _)| format!("`{name}`")).join(", ");
    Err(format!(
        "`--part auto` needs a task of a job array: `SLURM_ARRAY_TASK_ID`, or {names} with `{PARTS}`; `--part K/N` names a part"
    ))
}

/// The part at an index from 0.
fn part(at: Option<u32>, of: u32, name: &str, text: &str) -> Result<(Part, String), String> {
    let number = at.map(|at| at.saturating_add(1));
    match number.filter(|it| *it <= of) {
        Some(number) => Ok((Part { number, of }, format!("`{name}`"))),
        None => Err(format!(
            "`{name}` is `{text}`, and the array has {of}: number its tasks one by one, from 0 or 1, or name the part with `--part K/N`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<String, String> {
        let variable = |name: &str| {
            let mut all = variables.iter();
            all.find(|it| it.0 == name).map(|it| it.1.to_owned())
        };
        of_array(&variable).map(|(part, source)| format!("{part} by {source}"))
    }

    #[test]
    fn the_part_is_that_of_the_array() {
        let slurm = |id: &str, min: &str, count: &str| {
            found(&[
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_MIN", min),
                ("SLURM_ARRAY_TASK_COUNT", count),
                ("SLURM_ARRAY_TASK_STEP", "1"),
            ])
        };
        let by = |part: &str, name: &str| Ok(format!("{part} by `{name}`"));
        assert_eq!(slurm("0", "0", "4"), by("1/4", "SLURM_ARRAY_TASK_ID"));
        assert_eq!(slurm("4", "1", "4"), by("4/4", "SLURM_ARRAY_TASK_ID"));
        let index = [("JOB_COMPLETION_INDEX", "0"), (PARTS, "2")];
        assert_eq!(found(&index), by("1/2", "JOB_COMPLETION_INDEX"));
        let sequence = [("PARALLEL_SEQ", "2"), (PARTS, "2")];
        assert_eq!(found(&sequence), by("2/2", "PARALLEL_SEQ"));
    }

    #[test]
    fn what_names_no_part_is_told() {
        for (variables, words) in [
            (&[][..], "needs a task of a job array"),
            (&[("HQ_TASK_ID", "1")], "set `PRONY_PARTS`"),
            (
                &[("HQ_TASK_ID", "0"), (PARTS, "2")],
                "`HQ_TASK_ID` is `0`, and the array has 2",
            ),
            (&[("PARALLEL_SEQ", "3"), (PARTS, "2")], "the array has 2"),
            (
                &[("PARALLEL_SEQ", "x"), (PARTS, "2")],
                "no number of a task",
            ),
            (
                &[
                    ("SLURM_ARRAY_TASK_ID", "3"),
                    ("SLURM_ARRAY_TASK_MIN", "3"),
                    ("SLURM_ARRAY_TASK_COUNT", "1"),
                ],
                "name the part with `--part K/N`",
            ),
            (
                &[
                    ("SLURM_ARRAY_TASK_ID", "2"),
                    ("SLURM_ARRAY_TASK_STEP", "2"),
                    ("SLURM_ARRAY_TASK_COUNT", "4"),
                ],
                "one by one",
            ),
        ] {
            let told = found(variables).expect_err("no part");
            assert!(told.contains(words), "{told}");
        }
    }
}
