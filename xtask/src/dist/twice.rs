//! Builds the archive in two folders and compares every byte.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::{clear, list};
use crate::shell;
use crate::workspace::{Workspace, create_folder};

/// Fails if a second build of the same commit, in another folder and with another target
/// folder, is another archive; the error names the files that differ.
pub(crate) fn twice(workspace: &Workspace) -> Result<()> {
    let mut git = Command::new("git");
    git.args(["status", "--porcelain"])
        .current_dir(&workspace.root);
    ensure!(
        shell::output(&mut git)?.is_empty(),
        "commit first: the second build is of the last commit"
    );
    super::dist(workspace)?;
    let folder = workspace.target.join("twice");
    clear(&folder)?;
    let checkout = folder.join("checkout");
    let mut git = Command::new("git");
    git.args(["clone", "--quiet", "--no-hardlinks"]);
    shell::run(git.arg(&workspace.root).arg(&checkout))?;
    let target = folder.join("target");
    shell::step("the same once more, in another folder");
    let mut cargo = workspace.cargo("xtask");
    cargo
        .arg("dist")
        .current_dir(&checkout)
        .env("CARGO_TARGET_DIR", &target);
    shell::run(&mut cargo)?;
    let [one, other] = [&workspace.target, &target].map(|it| it.join("archives"));
    let mut differing = differing(&one, &other)?;
    for archive in differing
        .clone()
        .iter()
        .filter(|it| super::has_extension(it, "gz"))
    {
        let mut unpacked = Vec::new();
        for (number, from) in [&one, &other].into_iter().enumerate() {
            let to = folder.join("unpacked").join(number.to_string());
            create_folder(&to)?;
            let mut tar = Command::new("tar");
            shell::run(tar.arg("-xzf").arg(from.join(archive)).arg("-C").arg(&to))?;
            unpacked.push(to);
        }
        differing.extend(self::differing(&unpacked[0], &unpacked[1])?);
    }
    if differing.is_empty() {
        fs::remove_dir_all(&folder)?;
        shell::step("both builds are the same to the byte");
        return Ok(());
    }
    let names: Vec<String> = differing
        .iter()
        .map(|it| it.display().to_string())
        .collect();
    bail!(
        "the builds differ (kept in {}): {}",
        folder.display(),
        names.join(", ")
    )
}

/// Files that are not the same in two folders, or are in one only; relative to them.
fn differing(one: &Path, other: &Path) -> Result<Vec<PathBuf>> {
    let mut names = BTreeSet::new();
    for folder in [one, other] {
        let mut files = Vec::new();
        list(folder, &mut files)?;
        for file in files {
            let name = file.strip_prefix(folder).context("a file of the folder")?;
            names.insert(name.to_owned());
        }
    }
    let is_same = |name: &Path| {
        let [one, other] = [one, other].map(|folder| fs::read(folder.join(name)).ok());
        one.is_some() && one == other
    };
    Ok(names.into_iter().filter(|name| !is_same(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_or_is_missing_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        for (folder, name, text) in [
            (&one, "same", "a"),
            (&other, "same", "a"),
            (&one, "in/changed", "a"),
            (&other, "in/changed", "b"),
            (&other, "new", ""),
        ] {
            let path = folder.join(name);
            create_folder(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        let found = differing(&one, &other).expect("read");
        assert_eq!(found, [Path::new("in/changed"), Path::new("new")]);
        assert!(differing(&one, &one).expect("read").is_empty());
    }
}
