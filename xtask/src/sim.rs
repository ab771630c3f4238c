//! Simulates the reliability of verdicts, and of changes in a history.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::workspace::{Workspace, create_folder};
use crate::{python, schemas, shell};

/// Apache Otava and all that it needs.
const REQUIREMENTS: &str = "xtask/validators/history-requirements.txt";
/// Compares its changes with prony's.
const COMPARE: &str = "xtask/validators/history.py";
/// The page with the tables, and the lines between which they stand.
const PAGE: &str = "docs/history.md";
const MARKS: [&str; 2] = ["<!-- sim history -->\n", "<!-- end -->"];

/// Runs the simulator, which is an example of `prony-metrics`: this program depends on no
/// other package of the workspace.
pub(crate) fn sim(workspace: &Workspace, options: &[&str]) -> Result<()> {
    shell::step("simulating");
    shell::run(&mut example(workspace, "sim", options))
}

fn example(workspace: &Workspace, name: &str, options: &[&str]) -> Command {
    let mut command = workspace.cargo("run");
    command
        .args(["--release", "--quiet", "--package", "prony-metrics"])
        .args(["--example", name, "--"])
        .args(options);
    command
}

/// Simulates histories, and holds the changes found against those of Apache Otava. Writes both
/// tables into docs/history.md, unless options ask for something else than the usual histories.
pub(crate) fn history(workspace: &Workspace, options: &[&str]) -> Result<()> {
    shell::step("simulating histories");
    // Its output is shown by the table below; what it complains of is shown as it comes.
    let found = shell::output(&mut example(workspace, "history", options))
        .context("a machine does not keep what docs/history.md promises (above)")?;
    let found = String::from_utf8(found)?;
    println!("{found}");
    let folder = workspace.target.join("history");
    create_folder(&folder)?;
    let histories = folder.join("histories.jsonl");
    let file = File::create(&histories).context("the histories cannot be written")?;
    let mut print = example(workspace, "history", options);
    shell::run(print.arg("--histories").stdout(file))?;
    shell::step("searching them with Apache Otava");
    let venv = workspace.cache.join("validators/history");
    let requirements = workspace.root.join(REQUIREMENTS);
    if !schemas::is_installed(&venv, &requirements) {
        let packages = [OsStr::new("--requirement"), requirements.as_os_str()];
        python::venv(&venv, &packages).context(
            "apache-otava could not be installed: it needs python3 with pip, and a package index",
        )?;
        schemas::mark_installed(&venv, &requirements)?;
    }
    let mut compare = Command::new(venv.join("bin/python"));
    compare.arg(workspace.root.join(COMPARE));
    compare.stdin(Stdio::from(File::open(&histories)?));
    let told = compare.stderr(Stdio::inherit()).output()?;
    let agreed = String::from_utf8(told.stdout)?;
    println!("{agreed}");
    ensure!(
        told.status.success(),
        "Apache Otava finds other changes (above)"
    );
    if options.is_empty() {
        write(workspace, &format!("{found}\n{agreed}"))?;
    }
    Ok(())
}

/// Puts the tables into the page.
fn write(workspace: &Workspace, tables: &str) -> Result<()> {
    let path = workspace.root.join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let missing = || format!("{PAGE} has no place for the tables");
    let (before, rest) = page.split_once(MARKS[0]).with_context(missing)?;
    let (_, behind) = rest.split_once(MARKS[1]).with_context(missing)?;
    let page = format!("{before}{}{tables}{}{behind}", MARKS[0], MARKS[1]);
    fs::write(&path, page).with_context(|| format!("cannot write {PAGE}"))
}
