//! Disks and memory that come to their end while a run goes on.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::Extent;
use super::row::Row;
use super::signals::Times;
use super::subject::{Load, Running, Subject};
use crate::shell;
use crate::workspace::{Workspace, create_folder};

/// Bytes by which a limit is above what is used.
const MARGIN: u64 = 4096;

/// Makes each kind of limits at random times.
pub(super) fn limits(
    workspace: &Workspace,
    subject: &mut Subject,
    extent: Extent,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let tries = extent.of(1, 5, 50);
    let words = subject.load.words();
    let memory = format!("no more memory, {words}");
    let size = format!("a limit of the size of files, {words}");
    if shell::on_path("prlimit").is_none() {
        for title in [memory, size] {
            rows.push(Row::left_out(title, "there is no prlimit"));
        }
    } else {
        rows.push(at_random(subject, memory, tries, |_, running| {
            Ok(limit(running, "data", used_memory(running.pid())))
        })?);
        rows.push(at_random(subject, size, tries, |subject, running| {
            let journal = fs::metadata(subject.run().join("journal.jsonl"));
            Ok(limit(running, "fsize", journal.ok().map(|it| it.len())))
        })?);
    }
    rows.push(full_disk(workspace, subject.until, tries)?);
    Ok(())
}

fn at_random(
    subject: &mut Subject,
    title: String,
    tries: u32,
    disturb: impl Fn(&Subject, &mut Running) -> Result<bool>,
) -> Result<Row> {
    let mut row = Row::new(title);
    shell::step(&row.fault);
    let mut times = Times::new();
    for _ in 0..tries {
        let time = times.within(subject.took);
        let what = format!("after {} ms", time.as_millis());
        subject.attempt(&mut row, &what, &[], |subject, running| {
            running.sleep_until(time)?;
            disturb(subject, running)
        })?;
    }
    Ok(row)
}

/// Sets a limit just above what is used; `false` if nothing is.
fn limit(running: &Running, name: &str, used: Option<u64>) -> bool {
    let Some(used) = used else { return false };
    let bytes = used + MARGIN;
    let limit = format!("--{name}={bytes}:{bytes}");
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &running.pid().to_string(), &limit]);
    // It may end at this moment.
    shell::succeeds(&mut prlimit)
}

/// Memory that a process may write to, in bytes.
fn used_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmData:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// A disk in memory; gone when this is.
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: &Path) -> Result<Option<Self>> {
        create_folder(folder)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "prony-faults"]);
        Ok(shell::succeeds(mount.arg(folder)).then(|| Self(folder.to_owned())))
    }

    /// Fills it to the last byte; the file gives the room back when it is removed.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("filler");
        let mut file = File::create(&path).context("cannot fill the disk")?;
        for size in [MARGIN as usize, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        shell::succeeds(Command::new("umount").arg(&self.0));
    }
}

fn full_disk(workspace: &Workspace, until: Option<Instant>, tries: u32) -> Result<Row> {
    let load = Load::Several;
    let title = format!("a full disk, {}", load.words());
    let folder = workspace.target.join("faults/disk");
    let Some(disk) = Disk::mount(&folder)? else {
        return Ok(Row::left_out(title, "this user may not mount a disk"));
    };
    let mut subject = Subject::in_folder(workspace, &folder, load, 2)?;
    subject.until = until;
    at_random(&mut subject, title, tries, |_, running| {
        let runs = !running.has_ended()?;
        let filler = disk.fill()?;
        running.wait()?;
        fs::remove_file(filler)?;
        Ok(runs)
    })
}
