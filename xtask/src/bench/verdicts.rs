//! Verdicts on real engines: how often equal engines get a winner, and a known difference is
//! found, on this machine as it is and under bursts of load.
//!
//! Two rules judge the same runs: prony's own, whose verdict is in the result, and the one
//! before it, which the simulator keeps as a comparator.

mod restless;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::workspace::{Workspace, create_folder};
use crate::{build, engines, python, shell};
use restless::Restless;

/// Two engines, as a pipeline.
struct Pair {
    name: &'static str,
    what: &'static str,
    /// The candidate is faster; otherwise the engines are equal.
    is_faster: bool,
    /// About the time of a cycle, in seconds.
    cycle_s: f64,
}

const PAIRS: [Pair; 4] = [
    Pair {
        name: "embedded",
        what: "the embedded engine against itself",
        is_faster: false,
        cycle_s: 0.5,
    },
    Pair {
        name: "llama-cpp",
        what: "llama.cpp against itself",
        is_faster: false,
        cycle_s: 0.7,
    },
    Pair {
        name: "truth-equal",
        what: "the test server against itself",
        is_faster: false,
        cycle_s: 1.3,
    },
    Pair {
        name: "truth-server",
        what: "the test server, the candidate 2 % faster",
        is_faster: true,
        cycle_s: 1.3,
    },
];

/// What else the machine does.
#[derive(Clone, Copy, PartialEq)]
enum Load {
    /// Nothing that the bench adds.
    None,
    /// Work on all cores, in bursts.
    Bursts,
}

impl Load {
    const ALL: [Self; 2] = [Self::None, Self::Bursts];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bursts => "bursts",
        }
    }
}

struct Options {
    pairs: Vec<&'static Pair>,
    loads: Vec<Load>,
    runs: u64,
    cycles: u64,
    seed: u64,
    /// Results to judge once more, instead of running anything.
    table: Option<PathBuf>,
}

impl Options {
    fn parse(options: &[&str]) -> Result<Self> {
        let mut parsed = Self {
            pairs: Vec::new(),
            loads: Load::ALL.to_vec(),
            runs: 10,
            cycles: 60,
            seed: 1,
            table: None,
        };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let mut number = |least: u64| {
                let number = options.next().and_then(|it| it.parse().ok());
                number
                    .filter(|it| *it >= least)
                    .with_context(|| format!("`{option}` needs a number of at least {least}"))
            };
            match *option {
                "--runs" => parsed.runs = number(1)?,
                "--cycles" => parsed.cycles = number(6)?,
                "--seed" => parsed.seed = number(0)?,
                "--quick" => (parsed.runs, parsed.cycles) = (1, 10),
                "--load" => {
                    let name = options.next();
                    let load = Load::ALL.into_iter().find(|it| Some(&it.name()) == name);
                    parsed.loads = vec![load.context("`--load` needs `none` or `bursts`")?];
                }
                "--table" => {
                    parsed.table = Some(options.next().context("`--table` needs a folder")?.into());
                }
                name => parsed.pairs.push(pair(name)?),
            }
        }
        if parsed.pairs.is_empty() {
            parsed.pairs = PAIRS.iter().collect();
        }
        Ok(parsed)
    }
}

fn pair(name: &str) -> Result<&'static Pair> {
    let found = PAIRS.iter().find(|pair| pair.name == name);
    found.with_context(|| {
        let names = PAIRS.map(|pair| pair.name).join(", ");
        format!("`{name}` is neither an option nor one of: {names}")
    })
}

pub(super) fn verdicts(workspace: &Workspace, options: &[&str]) -> Result<()> {
    let options = Options::parse(options)?;
    let mut sim = workspace.cargo("build");
    sim.args(["--release", "--locked", "--package", "prony-metrics"]);
    shell::run(sim.args(["--example", "sim"]))?;
    if let Some(folder) = &options.table {
        print!("{}", table(workspace, folder)?);
        return Ok(());
    }
    build::build(workspace)?;
    if options.pairs.iter().any(|pair| pair.name == "llama-cpp") {
        engines::install(workspace, &["llama.cpp"])?;
        random_llama(workspace)?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let folder = format!("bench/verdicts/{now}");
    let folder = workspace.target.join(folder);
    shell::step(&format!("results go to {}", folder.display()));
    // A copy, so that the checkout can change meanwhile.
    create_folder(&folder)?;
    for pair in &PAIRS {
        let file = format!("{}.yaml", pair.name);
        let source = workspace.root.join("xtask/src/bench/verdicts").join(&file);
        fs::copy(&source, folder.join(&file))
            .with_context(|| format!("cannot copy {}", source.display()))?;
    }
    // In rounds, so that whatever else the machine does meets all alike.
    for round in 0..options.runs {
        shell::step(&format!("round {} of {}", round + 1, options.runs));
        for pair in &options.pairs {
            for &load in &options.loads {
                run(workspace, &options, &folder, pair, load, round)
                    .with_context(|| format!("{}, load {}", pair.name, load.name()))?;
            }
        }
        let table = table(workspace, &folder)?;
        print!("{table}");
        fs::write(folder.join("table.md"), table)?;
    }
    Ok(())
}

/// Packages of `pipelines/gpu/random-llama.py`.
const PACKAGES: [&str; 4] = [
    "gguf==0.19.0",
    "numpy==2.4.6",
    "safetensors==0.8.0",
    "tokenizers==0.23.3",
];

/// Makes the model of llama.cpp unless it exists: so small that it is loaded at once.
fn random_llama(workspace: &Workspace) -> Result<()> {
    let folder = workspace.target.join("bench/random-llama");
    if folder.join("model.gguf").exists() {
        return Ok(());
    }
    shell::step("making a random Llama");
    let environment = workspace.target.join("bench/python");
    python::venv(&environment, &PACKAGES)?;
    let mut script = Command::new(environment.join("bin/python"));
    script.arg(workspace.root.join("pipelines/gpu/random-llama.py"));
    shell::run(script.arg(&folder).args(["512", "4"]))
}

/// Runs a pair once. The run's folder is below `PAIR/LOAD/ROUND`.
fn run(
    workspace: &Workspace,
    options: &Options,
    folder: &Path,
    pair: &Pair,
    load: Load,
    round: u64,
) -> Result<()> {
    let file = folder.join(format!("{}.yaml", pair.name));
    let folder = folder
        .join(pair.name)
        .join(load.name())
        .join(format!("{round:03}"));
    create_folder(&folder)?;
    let seed = options.seed + round;
    let mut prony = command_that_ends_with_this(&workspace.prony());
    prony
        .args(["run", "--quiet", "--results"])
        .args([&folder, &file])
        .args(["--set", &format!("schedule.seed={seed}")])
        .args(["--set", &format!("schedule.cycles={}", options.cycles)])
        .current_dir(&workspace.root)
        .env("PRONY_CACHE", &workspace.cache)
        .env_remove("PRONY_LOCK");
    if pair.name == "llama-cpp" {
        let model = workspace.target.join("bench/random-llama/model.gguf");
        prony.args(["--set", &format!("model.path={}", model.display())]);
    }
    // `prony truth-server` is to be found.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(workspace.release()).chain(std::env::split_paths(&path));
    prony.env("PATH", std::env::join_paths(found)?);
    let said = File::create(folder.join("output.txt"))?;
    prony.stdin(Stdio::null()).stderr(said.try_clone()?);
    prony.stdout(said);
    let restless = (load == Load::Bursts).then(|| Restless::new(pair.cycle_s, seed));
    let status = prony.status()?;
    drop(restless);
    match status.code() {
        // 6 is not valid: it is counted as such, beside the verdict that prony named.
        Some(0 | 6) => Ok(()),
        _ => bail!(
            "prony failed ({status}): see {}/output.txt",
            folder.display()
        ),
    }
}

/// A command that is asked to end when this program does, where the system can do that.
/// Without a signal a run would go on to its end, and end its engines then.
fn command_that_ends_with_this(program: &Path) -> Command {
    match shell::on_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// A decision of a rule.
struct Decision {
    verdict: String,
    cycles: f64,
}

/// A run, judged by both rules.
struct Judged {
    /// In the order of [`RULES`].
    rules: [Decision; 2],
    /// Wall-clock time of a cycle, in seconds.
    cycle_s: f64,
    is_valid: bool,
    date: String,
    machine: String,
    /// As it began.
    load_average: Option<f64>,
}

const RULES: [&str; 2] = ["signed ranks", "prony"];

/// Judges the results below a folder, and makes a table of them.
fn table(workspace: &Workspace, folder: &Path) -> Result<String> {
    let mut table = "\
| engines | load | runs | rule | winner: false | right | equivalent | inconclusive | cycles | minutes |
|---|---|---|---|---|---|---|---|---|---|
"
    .to_owned();
    let mut all = Vec::new();
    for pair in &PAIRS {
        for load in Load::ALL {
            let files = results(&folder.join(pair.name).join(load.name()))?;
            let runs = judge(workspace, &files)?;
            if !runs.is_empty() {
                for rule in 0..RULES.len() {
                    table += &row(pair, load, &runs, rule);
                }
            }
            all.extend(runs);
        }
    }
    table.extend(conditions(&mut all));
    Ok(table)
}

/// When and where runs were made, as a paragraph; absent without any.
fn conditions(runs: &mut [Judged]) -> Option<String> {
    runs.sort_by(|a, b| a.date.cmp(&b.date));
    let loads = runs.iter().filter_map(|run| run.load_average);
    let lowest = loads.clone().fold(f64::INFINITY, f64::min);
    let highest = loads.fold(0.0, f64::max);
    let (first, last) = (runs.first()?, runs.last()?);
    Some(format!(
        "\n{} to {}, {}; load average as runs began {lowest:.1} to {highest:.1}\n",
        first.date, last.date, first.machine
    ))
}

/// One row: what a rule said of the runs of a pair.
fn row(pair: &Pair, load: Load, runs: &[Judged], rule: usize) -> String {
    let count = |verdict: &str| {
        let said = runs.iter().filter(|it| it.rules[rule].verdict == verdict);
        said.count()
    };
    let (faster, slower) = (count("faster"), count("slower"));
    let (wrong, right) = if pair.is_faster {
        (slower, faster.to_string())
    } else {
        (faster + slower, "-".to_owned())
    };
    let mean = |of: &dyn Fn(&Judged) -> f64| -> f64 {
        runs.iter().map(of).sum::<f64>() / runs.len() as f64
    };
    let cycles = mean(&|it| it.rules[rule].cycles);
    let minutes = mean(&|it| it.rules[rule].cycles * it.cycle_s / 60.0);
    let invalid = match runs.iter().filter(|it| !it.is_valid).count() {
        0 => String::new(),
        invalid => format!(" ({invalid} not valid)"),
    };
    format!(
        "| {} | {} | {}{invalid} | {} | {wrong} | {right} | {} | {} | {cycles:.1} | {minutes:.1} |\n",
        pair.what,
        load.name(),
        runs.len(),
        RULES[rule],
        count("equivalent"),
        count("inconclusive"),
    )
}

/// The results of a pair under a load, in order: `ROUND/RUN/result.json`.
fn results(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for round in folders(folder)? {
        for run in folders(&round)? {
            found.extend(Some(run.join("result.json")).filter(|it| it.exists()));
        }
    }
    Ok(found)
}

/// The folders in a folder, in order, without links; none if it does not exist.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            found.extend(entry.file_type()?.is_dir().then(|| entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Judges the results of complete runs by both rules.
fn judge(workspace: &Workspace, files: &[PathBuf]) -> Result<Vec<Judged>> {
    let mut sim = Command::new(workspace.release().join("examples/sim"));
    let before = shell::output(sim.arg("judge").args(files))?;
    let before = String::from_utf8(before)?;
    let mut judged = Vec::new();
    for (file, before) in files.iter().zip(before.lines()) {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let result = serde_json::from_str(&text)?;
        let by_both = of_result(&result, before);
        judged.extend(by_both.with_context(|| format!("{} is incomplete", file.display()))?);
    }
    Ok(judged)
}

/// Reads a result, beside the verdict and the cycles of the rule before; nothing of a run that
/// was broken off.
fn of_result(result: &Value, before: &str) -> Result<Option<Judged>> {
    if result["run"]["outcome"] != "completed" {
        return Ok(None);
    }
    let comparison = &result["models"][0]["comparisons"][0];
    let number = |name: &str| {
        comparison[name]
            .as_f64()
            .with_context(|| format!("no `{name}`"))
    };
    let (verdict, cycles) = before.split_once(' ').context("no verdict")?;
    let before = Decision {
        verdict: verdict.to_owned(),
        cycles: cycles.parse()?,
    };
    let now = Decision {
        verdict: comparison["verdict"]
            .as_str()
            .context("no verdict")?
            .to_owned(),
        cycles: number("cycles")?,
    };
    let environment = &result["environment"];
    let word = |of: &Value| of.as_str().unwrap_or("?").to_owned();
    let date = word(&result["run"]["started_at"]);
    Ok(Some(Judged {
        rules: [before, now],
        cycle_s: number("cycle_s")?,
        is_valid: result["invalid"].as_array().is_none_or(Vec::is_empty),
        date: date.get(..16).unwrap_or(&date).to_owned(),
        machine: format!(
            "{} processors ({}), {}, kernel {}",
            environment["cpus"],
            word(&environment["cpu"]),
            word(&environment["os"]),
            word(&environment["kernel"])
        ),
        load_average: environment["load_average"].as_f64(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_name_pairs_and_sizes() {
        let options = |words: &[&str]| Options::parse(words);
        let all = options(&[]).expect("all are optional");
        assert_eq!((all.pairs.len(), all.runs, all.cycles), (4, 10, 60));
        assert!(all.loads == Load::ALL);
        let some = options(&["truth-server", "--quick", "--runs", "3", "--load", "none"])
            .expect("all are known");
        assert_eq!((some.pairs.len(), some.runs, some.cycles), (1, 3, 10));
        assert!(some.loads == [Load::None]);
        for (words, wrong) in [
            (
                &["--cycles", "5"][..],
                "`--cycles` needs a number of at least 6",
            ),
            (&["--runs"], "`--runs` needs a number of at least 1"),
            (&["--load", "some"], "`--load` needs `none` or `bursts`"),
            (
                &["vllm"],
                "`vllm` is neither an option nor one of: embedded, llama-cpp,",
            ),
        ] {
            let error = options(words)
                .map(|_| ())
                .expect_err("it is wrong")
                .to_string();
            assert!(error.starts_with(wrong), "{error}");
        }
    }

    /// A run in which the rule before said `inconclusive`, after 40 cycles of 1.5 s.
    fn run(verdict: &str, cycles: u32) -> Judged {
        let result = json!({
            "run": { "outcome": "completed", "started_at": "2026-11-27T15:11:57Z" },
            "environment": { "cpus": 2, "load_average": 1.5 },
            "models": [{ "comparisons": [
                { "verdict": verdict, "cycles": cycles, "cycle_s": 1.5 }
            ] }],
        });
        of_result(&result, "inconclusive 40")
            .expect("all is there")
            .expect("it was completed")
    }

    #[test]
    fn a_winner_is_right_or_false_by_what_is_true() {
        let runs = [run("faster", 12), run("slower", 20), run("equivalent", 40)];
        let [equal, .., faster] = &PAIRS;
        assert_eq!(
            row(equal, Load::None, &runs, 1),
            "| the embedded engine against itself | none | 3 | prony | 2 | - | 1 | 0 | 24.0 | 0.6 |\n"
        );
        assert_eq!(
            row(faster, Load::Bursts, &runs, 1),
            "| the test server, the candidate 2 % faster | bursts | 3 | prony | 1 | 1 | 1 | 0 | 24.0 | 0.6 |\n"
        );
        assert_eq!(
            row(faster, Load::Bursts, &runs, 0),
            "| the test server, the candidate 2 % faster | bursts | 3 | signed ranks | 0 | 0 | 0 | 3 | 40.0 | 1.0 |\n"
        );
    }

    #[test]
    fn a_run_that_was_broken_off_is_left_out() {
        let result = json!({ "run": { "outcome": "interrupted" } });
        assert!(
            of_result(&result, "inconclusive 7")
                .expect("it is read")
                .is_none()
        );
    }
}
