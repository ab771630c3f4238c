//! Looks at report pages in a browser, as their readers do.
//!
//! The pages are those that the tests of `reporter-html` write, that of a real run, and a history's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::workspace::{Workspace, create_folder};
use crate::{schemas, shell};

/// Names of the browser's program.
const PROGRAMS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/// Options of the command: a folder for pictures.
pub(crate) fn pages(workspace: &Workspace, shots: Option<&str>) -> Result<()> {
    let browser = browser(workspace)?;
    let folder = schemas::node(workspace)?;
    let mut pages = of_tests(workspace)?;
    pages.push(of_run(workspace)?);
    pages.push(of_history(workspace)?);
    let shots = match shots {
        Some(shots) => {
            create_folder(Path::new(shots))?;
            shots
        }
        None => "-",
    };
    shell::step(&format!("looking at {} pages in a browser", pages.len()));
    let mut check = Command::new("node");
    check.arg(folder.join("pages.mjs")).arg(browser).arg(shots);
    shell::run(check.args(pages)).context("a page is not as it should be (above)")?;
    picture(workspace, Picture::Check)
}

/// What is done about the picture in the README.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Picture {
    Write,
    Check,
}

/// The picture, and the record of what it shows.
const PICTURE: [&str; 2] = ["docs/report.png", "docs/report.json"];

/// The result whose page the picture shows.
const RESULT: &str = "docs/quickstart.json";

/// Takes the picture of the page of a new quickstart, or looks whether the page of the kept
/// result still is as the picture shows it.
pub(crate) fn picture(workspace: &Workspace, what: Picture) -> Result<()> {
    let browser = browser(workspace)?;
    let node = schemas::node(workspace)?;
    let folder = workspace.target.join("pages/picture");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    create_folder(&folder)?;
    let result = workspace.root.join(RESULT);
    if what == Picture::Write {
        fs::copy(quickstart(workspace, &folder)?, &result)?;
    }
    let copy = folder.join("result.json");
    fs::copy(&result, &copy).with_context(|| format!("cannot copy {}", result.display()))?;
    let mut report = Command::new(workspace.prony());
    report.args(["report", "--reporter", "html"]).arg(&copy);
    shell::run(&mut report)?;
    let mut take = Command::new("node");
    take.arg(node.join("picture.mjs"))
        .arg(browser)
        .arg(folder.join("report.html"))
        .args(PICTURE.map(|it| workspace.root.join(it)));
    match what {
        Picture::Write => shell::run(take.arg("write")),
        Picture::Check => shell::run(take.arg("check")).context(
            "the picture in the README is out of date (above): `cargo xtask pages --picture` takes it again",
        ),
    }
}

/// The result of a new run of the quickstart, which has to be valid.
fn quickstart(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let run = folder.join("quickstart");
    shell::step("a quickstart, for the picture in the README");
    let mut quickstart = Command::new(workspace.prony());
    quickstart
        .args(["--quiet", "run", "pipelines/quickstart.yaml", "--into"])
        .arg(&run)
        .current_dir(&workspace.root)
        .env("PRONY_CACHE", &workspace.cache);
    shell::run(&mut quickstart)?;
    Ok(run.join("result.json"))
}

/// The pages of the fixtures.
fn of_tests(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    shell::step("writing the pages of the fixtures");
    let folder = workspace.target.join("tmp/pages");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut tests = workspace.cargo("test");
    tests.args([
        "--release",
        "--locked",
        "-p",
        "reporter-html",
        "--test",
        "html",
    ]);
    shell::run(&mut tests)?;
    let entries =
        fs::read_dir(&folder).with_context(|| format!("no pages in {}", folder.display()))?;
    let mut pages = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    pages.sort();
    ensure!(!pages.is_empty(), "no pages in {}", folder.display());
    Ok(pages)
}

/// The page of a run of two engines, some of whose requests fail.
fn of_run(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("pages");
    create_folder(&folder)?;
    let page = run(workspace, &folder)?.join("report.html");
    ensure!(page.is_file(), "the run has left no page");
    Ok(page)
}

/// The page of a history with changes, another anchor, and runs that do not count.
fn of_history(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("pages/history");
    create_folder(&folder)?;
    let lines = workspace.root.join("fuzz/seeds/history/changes.jsonl");
    fs::copy(&lines, folder.join("0011223344556677.jsonl"))
        .with_context(|| format!("cannot copy {}", lines.display()))?;
    let page = workspace.target.join("pages/history.html");
    let mut show = Command::new(workspace.prony());
    show.args(["history", "show", "--history"]).arg(&folder);
    shell::run(show.arg("--html").arg(&page))?;
    Ok(page)
}

/// The folder of a new run below `folder`, of two engines, some of whose requests fail.
pub(crate) fn run(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let run = folder.join("run");
    if run.exists() {
        fs::remove_dir_all(&run)?;
    }
    let prony = workspace.prony();
    let server = |more: &str| {
        format!(
            "{{ plugin: openai, config: {{ model: truth, launch: {{ command: [{:?}, truth-server, \
             --port, \"${{{{ engine.port }}}}\", --tokens, \"16\"{more}], ready: {{ http: /health }} }} }} }}",
            prony.display()
        )
    };
    let pipeline = format!(
        "version: 1\nname: page\nengines:\n  left: {}\n  right: {}\ncompare: {{ baseline: left }}\n\
         models: [{{ id: truth }}]\nworkload: {{ prompts: [one, two], max_tokens: 64 }}\n\
         schedule: {{ cycles: 6, stop: never }}\nstages:\n  - load: {{}}\n  - warmup: {{ requests: 1 }}\n  \
         - measure: {{ requests: 6, arrival: {{ concurrency: 2 }} }}\n  - unload: {{}}\n  \
         - report: {{ reporters: [html] }}\n",
        server(""),
        server(", --inter-token-latency-us, \"3000\", --fault, cut, --fault-from, \"5\""),
    );
    let file = folder.join("pipeline.yaml");
    fs::write(&file, pipeline).with_context(|| format!("cannot write {}", file.display()))?;
    shell::step("a run, for its reports");
    let mut command = Command::new(prony);
    command
        .arg("--quiet")
        .arg("run")
        .arg(&file)
        .arg("--into")
        .arg(&run);
    // A busy machine makes it invalid, which is to be seen, too.
    let status = command.status().context("cannot start prony")?;
    let result = run.join("result.json");
    ensure!(result.is_file(), "the run has left no result: {status}");
    Ok(run)
}

/// The browser, installed by apt where that is possible.
fn browser(workspace: &Workspace) -> Result<PathBuf> {
    let found = || {
        let known = PROGRAMS.iter().map(|name| {
            let path = Path::new(name);
            path.is_file()
                .then(|| path.to_owned())
                .or_else(|| shell::on_path(name))
        });
        known.flatten().next()
    };
    if let Some(found) = found() {
        return Ok(found);
    }
    if shell::on_path("apt-get").is_some() {
        shell::step("installing chromium");
        let mut install = workspace.script("install-debian.sh");
        shell::run(install.args(["chromium", "fonts-dejavu-core"]))?;
    }
    found().context(
        "no browser: install chromium (Debian: `apt-get install chromium`); \
         `cargo xtask test --fast` leaves this check out",
    )
}
