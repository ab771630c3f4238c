//! Remains that a crash may leave of the bytes of a real journal and of real answers. The tests of the
//! crates that read them look at each image.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Extent;
use super::row::Row;
use super::subject::Subject;
use crate::shell;
use crate::workspace::{Workspace, create_folder};

/// Kills of a run until one leaves answers behind.
const KILLS: u32 = 20;
/// Bytes of answers that are worth looking at; the first line has about 500.
const ENOUGH: u64 = 2000;
/// Interval between looks at the file: a stage takes some 30 ms.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Has every image of a run looked at.
pub(super) fn images(
    workspace: &Workspace,
    subject: &mut Subject,
    extent: Extent,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let folder = workspace.target.join("faults/images");
    create_folder(&folder)?;
    record(subject, &folder)?;
    for (test, variable, file) in [
        ("damage", "PRONY_JOURNAL", "journal.jsonl"),
        ("crash_images", "PRONY_ANSWERS", "answers.bin"),
    ] {
        shell::step(&format!("crash images of {file}"));
        let mut cargo = workspace.cargo("test");
        cargo
            .args(["--workspace", "--release", "--locked", "--test", test])
            .args(["--", "--ignored", "--nocapture", "of_a_real_run"])
            .env(variable, folder.join(file))
            .env("PRONY_IMAGES", extent.of("500", "2000", "all"));
        let output = cargo.output().context("cannot start cargo")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut found = 0;
        for line in text.lines() {
            let Some((kind, count)) = line
                .strip_prefix("images: ")
                .and_then(|it| it.split_once(": "))
            else {
                continue;
            };
            let count = count.parse().with_context(|| line.to_owned())?;
            found += 1;
            rows.push(Row {
                fault: format!("{file}: {kind}"),
                tries: count,
                verified: count,
                ..Row::default()
            });
        }
        if !output.status.success() || found == 0 {
            let errors = String::from_utf8_lossy(&output.stderr);
            rows.push(Row {
                fault: file.to_owned(),
                misses: vec![format!("images of {file}: {text}{errors}")],
                ..Row::default()
            });
        }
    }
    Ok(())
}

/// Puts the files of a run into a folder: answers that a kill has left, and the journal of the
/// run when it has gone on to its end.
fn record(subject: &mut Subject, folder: &Path) -> Result<()> {
    let answers = subject.run().join("answers.bin");
    let has_some = || fs::metadata(&answers).is_ok_and(|it| it.len() > ENOUGH);
    for _ in 0..KILLS {
        subject.clear()?;
        let mut running = subject.start(&[])?;
        while !running.has_ended()? && !has_some() {
            std::thread::sleep(LOOK_EVERY);
        }
        running.kill()?;
        running.wait()?;
        if has_some() {
            fs::copy(&answers, folder.join("answers.bin"))?;
            subject.start(&[])?.wait()?;
            let journal = subject.run().join("journal.jsonl");
            fs::copy(journal, folder.join("journal.jsonl"))?;
            return Ok(());
        }
    }
    bail!("no kill leaves answers behind")
}
