//! Kills and errors at calls of the system, made by strace.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;

use super::Extent;
use super::row::Row;
use super::subject::{Load, Subject, text};
use crate::shell;

/// The calls by which a run gets to the disk, each with its names on all processors.
const CALLS: [&str; 6] = [
    "write",
    "fdatasync",
    "fsync",
    "?rename,?renameat,?renameat2",
    "ftruncate",
    "openat",
];

/// Errors that a disk gives.
const ERRORS: [&str; 3] = ["EIO", "ENOSPC", "EROFS"];

/// A call of prony on the folder of its run.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    /// An entry of [`CALLS`].
    call: &'static str,
    /// Name of the call.
    name: String,
    /// Number among the calls of this name that a thread made, from 1.
    number: u32,
    /// The file, if it was not the first thread that called.
    file: Option<String>,
}

/// Kills prony at calls of each kind.
pub(super) fn kills(subject: &mut Subject, extent: Extent, rows: &mut Vec<Row>) -> Result<()> {
    let title = format!("SIGKILL at a call, {}", subject.load.words());
    at_each(
        subject,
        title,
        "signal=SIGKILL",
        extent.of(1, 5, 1_000),
        rows,
    )
}

/// Lets calls of each kind fail.
pub(super) fn errors(subject: &mut Subject, extent: Extent, rows: &mut Vec<Row>) -> Result<()> {
    for error in ERRORS {
        // A minute has room for one of them with several in flight.
        if extent == Extent::Short && (subject.load == Load::Several) != (error == "ENOSPC") {
            continue;
        }
        let title = format!("{error} of a call, {}", subject.load.words());
        let fault = format!("error={error}");
        at_each(subject, title, &fault, extent.of(1, 2, 1_000), rows)?;
    }
    Ok(())
}

/// Makes a fault at up to `most` calls of each kind, evenly over the run.
fn at_each(
    subject: &mut Subject,
    title: String,
    fault: &str,
    most: usize,
    rows: &mut Vec<Row>,
) -> Result<()> {
    if shell::on_path("strace").is_none() {
        rows.push(Row::left_out(title, "there is no strace"));
        return Ok(());
    }
    let places = places(subject)?;
    let mut row = Row::new(title);
    shell::step(&row.fault);
    for call in CALLS {
        let own: Vec<&Place> = places.iter().filter(|it| it.call == call).collect();
        for place in some(&own, most) {
            let what = format!("{} number {}", place.name, place.number);
            let log = subject.beside.join("strace");
            let wrapper = wrapper(place, fault, &log)?;
            subject.attempt(&mut row, &what, &wrapper, |_, running| {
                running.wait()?;
                let told = fs::read_to_string(&log).unwrap_or_default();
                Ok(told.contains("(INJECTED)") || told.contains("killed by SIGKILL"))
            })?;
        }
    }
    rows.push(row);
    Ok(())
}

/// At most so many of the items, evenly spaced, with the first and the last.
fn some<T: Copy>(items: &[T], most: usize) -> Vec<T> {
    if items.len() <= most {
        return items.to_vec();
    }
    if most == 1 {
        return vec![items[items.len() / 2]];
    }
    let at = |index| index * (items.len() - 1) / (most - 1);
    (0..most).map(|index| items[at(index)]).collect()
}

/// strace as it makes the fault at a place.
fn wrapper(place: &Place, fault: &str, log: &Path) -> Result<Vec<String>> {
    let log = text(log)?;
    let mut words = vec!["strace", "-qq", "-o", log];
    // Else of the first thread alone, so that engines are not traced.
    if let Some(file) = &place.file {
        words.extend(["-f", "-P", file]);
    }
    let trace = format!("trace={}", place.name);
    let inject = format!("inject={}:{fault}:when={}", place.name, place.number);
    words.extend(["-e", &trace, "-e", &inject, "--"]);
    Ok(words.into_iter().map(str::to_owned).collect())
}

/// The calls of an undisturbed run on its folder.
fn places(subject: &mut Subject) -> Result<Vec<Place>> {
    subject.clear()?;
    let log = subject.beside.join("strace");
    let trace = format!("trace={}", CALLS.join(","));
    let words = ["strace", "-f", "-y", "-qq", "-o"];
    let mut wrapper: Vec<String> = words.map(str::to_owned).to_vec();
    wrapper.push(text(&log)?.to_owned());
    wrapper.extend(["-e", &trace, "--"].map(str::to_owned));
    subject.start(&wrapper)?.wait()?;
    let log = fs::read(&log)?;
    let run = subject.run();
    let run = text(&run)?;
    Ok(places_in(&String::from_utf8_lossy(&log), run))
}

/// The same, from what strace has told.
fn places_in(log: &str, run: &str) -> Vec<Place> {
    let mut first = None;
    let mut numbers: BTreeMap<(&str, &str, Option<&str>), u32> = BTreeMap::new();
    let mut places = Vec::new();
    for line in log.lines() {
        let Some((thread, told)) = line.split_once(' ') else {
            continue;
        };
        // The end of a call whose begin was told.
        let Some((name, arguments)) = told.trim_start().split_once('(') else {
            continue;
        };
        let of = |call: &&str| call.split(',').any(|it| it.trim_start_matches('?') == name);
        let Some(call) = CALLS.into_iter().find(of) else {
            continue;
        };
        let first = *first.get_or_insert(thread);
        let file = path_in(arguments, run);
        // strace counts the calls of each thread; where it looks at a file, those on it.
        let by_file = file.filter(|_| thread != first);
        let number = numbers.entry((thread, name, by_file)).or_default();
        *number += 1;
        if file.is_some() {
            places.push(Place {
                call,
                name: name.to_owned(),
                number: *number,
                file: by_file.map(str::to_owned),
            });
        }
    }
    places
}

/// The first path below a folder that the arguments of a call name.
fn path_in<'a>(arguments: &'a str, folder: &str) -> Option<&'a str> {
    let (at, _) = arguments
        .match_indices(folder)
        .find(|(at, _)| arguments[at + folder.len()..].starts_with(['/', '>', '"']))?;
    let path = &arguments[at..];
    let end = path.find(['>', '"', '(', ','])?;
    Some(&path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_as_strace_counts_them() {
        let log = "\
7  openat(AT_FDCWD, \"/lib/x\", O_RDONLY) = 3</lib/x>
7  openat(AT_FDCWD, \"/r/run/journal.jsonl\", O_RDWR) = 4</r/run/journal.jsonl>
8  write(5</r/run/answers.bin>, \"a\", 1 <unfinished ...>
7  write(4</r/run/journal.jsonl>, \"x\", 1) = 1
8  <... write resumed>) = 1
8  write(1</dev/null>, \"a\", 1) = 1
8  write(5</r/run/answers.bin>, \"b\", 1) = 1
7  write(4</r/running>, \"x\", 1) = 1
7  rename(\"/r/run/.a.new\", \"/r/run/result.json\") = 0
7  exit_group(0) = ?
";
        let place = |call, name: &str, number, file: Option<&str>| Place {
            call,
            name: name.to_owned(),
            number,
            file: file.map(str::to_owned),
        };
        let answers = Some("/r/run/answers.bin");
        assert_eq!(
            places_in(log, "/r/run"),
            [
                place("openat", "openat", 2, None),
                place("write", "write", 1, answers),
                place("write", "write", 1, None),
                place("write", "write", 2, answers),
                place(CALLS[3], "rename", 1, None),
            ]
        );
    }

    #[test]
    fn some_are_spread_over_all() {
        let all: Vec<u32> = (0..10).collect();
        assert_eq!(some(&all, 3), [0, 4, 9]);
        assert_eq!(some(&all, 1), [5]);
        assert_eq!(some(&all, 10), all);
    }
}
