//! Project automation: everything that takes more than one cargo command.
//!
//! It is the first thing compiled on a clean clone, so it has few dependencies. Code that
//! uses other package systems is a shell script in `scripts/`, which can be run and read
//! on its own.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task runner talks to whoever started it"
)]

mod agree;
mod bench;
mod build;
mod clients;
mod codegen;
mod dist;
mod engines;
mod faults;
mod fuzz;
mod hub;
mod macos;
mod model;
mod outputs;
mod pages;
mod plugins;
mod python;
mod ranks;
mod schemas;
mod shell;
mod sim;
mod test;
mod tidy;
mod wasm;
mod workspace;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

const HELP: &str = "\
usage: cargo xtask COMMAND

  setup                 make the target wasm32-unknown-unknown usable
  build                 build prony and the plugins that ship, ready to run
  quickstart [ARGS]     build, then run pipelines/quickstart.yaml (ARGS go to prony)
  dist [--twice]        build the archive that users download, with SBOM, checksums
                        and install.sh, in target/archives; --twice builds the last
                        commit in another folder, too, and compares every byte
  test [--fast]         build everything and run every check that CI runs;
                        --fast leaves out the real engines, the model, faults, and
                        what downloads tools: schemas and fuzz
  check-macos [-p NAME] type-check for macOS on Apple silicon, from any system
  engines [NAME...]     install real engines into prony's cache
                        (llama.cpp, mlx-lm, transformers; default: the first two)
  toolchains            install the toolchains of plugins in C, Python and JavaScript into
                        prony's cache (150 MB)
  clients [NAME...]     install other load clients into prony's cache (vllm 0.7 GB,
                        aiperf 1.2 GB, guidellm 6 GB with torch; default: all)
  agree [--without NAME...] [--requests N] [--to FILE]
                        measure servers with prony and with the other clients that
                        are installed, side by side, and write docs/agreement.md;
                        --without leaves out a client, llama.cpp or truth-server
  model smollm2         download the model of pipelines/smollm2.yaml (93 MB)
  codegen [--check]     write (or only compare) the JSON Schemas in schemas/,
                        docs/metrics.md, docs/cli.md, docs/engines.md and
                        docs/options.md
  schemas               try the published schemas and all pipelines with two
                        validators that are not prony's, and as an editor does, with
                        yaml-language-server (needs node and npm)
  outputs               read reports for other tools with those tools' own readers,
                        and lint the action for GitHub (needs python3 with pip, node
                        and npm)
  pages [FOLDER]        look at report pages in a browser: the fixtures' and a real
                        run's; with pictures in FOLDER (needs node, npm and chromium,
                        which apt installs), and whether the picture in the README is
                        out of date
  pages --picture       take that picture, docs/report.png, of a new quickstart
  hub                   try the cache folder of models with the Hugging Face hub's own
                        Python package, both ways
  fuzz [TARGET] [--seconds N]
                        give what reads bytes of others (pipelines, journals, answers,
                        http, stdio, decoders, events, datasets, models) bytes that
                        nobody would write, each 60 s unless given; needs a C++
                        compiler
  fuzz TARGET FILE...   give it once more what was found
  faults [--short|--long] [calls|errors|kills|signals|limits|images]...
                        kill runs, let their disk fail and damage their files, and
                        check that each goes on: ten minutes, some of it, or all
                        (Linux; strace for calls and errors, root for a full disk)
  bench [NAME] [--strict]
                        measure prony itself; without a name, list the benches;
                        --strict fails when a target is missed
  bench scale [--long]  memory and time with growing numbers of requests, up to
                        100,000, or a million
  bench verdicts [PAIR...] [--load none|bursts] [--quick] [--runs N] [--cycles N]
                 [--seed N]
                        how often equal engines get a winner, and a difference is
                        found, on this machine, with and without bursts of load
                        (pairs: embedded, llama-cpp, truth-equal, truth-server)
  bench verdicts --table FOLDER
                        the table of such results once more
  sim [designs|disturbances|speed] [--quick] [--experiments N] [--seed N]
                        how often each way of comparing engines names a false
                        winner and finds a true one, on simulated machines, and
                        what disturbs it; what a look costs
  sim history [--quick] [--experiments N] [--seed N]
                        how often `prony history` alarms without a change and finds
                        one, on simulated machines, and how often Apache Otava
                        agrees; writes the tables of docs/history.md (python3 with pip)
  ranks                 run a pipeline by ranks and by parts under Slurm with two nodes on
                        this machine, Open MPI, GNU parallel, and as a Kubernetes job
                        starts them (Linux, as root; apt installs what is missing)
  tidy                  check the repository's own rules
  help                  print this

environment:
  CARGO_TARGET_DIR      where cargo builds (default: target)
  PRONY_CACHE           where engines and models go
                        (default: $XDG_CACHE_HOME/prony or ~/.cache/prony;
                        on macOS ~/Library/Caches/prony)
  PRONY_NO_RUSTUP       never ask rustup to download anything
  PRONY_DEBIAN_MIRROR   a Debian mirror, where apt's own is not to be used
  RUST_SRC_DIR          a `library` folder with the source of this Rust's std
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some((&command, rest)) = arguments.split_first() else {
        print!("{HELP}");
        bail!("which command?");
    };
    if matches!(command, "help" | "--help" | "-h") || rest == ["--help"] {
        print!("{HELP}");
        return Ok(());
    }
    let workspace = Workspace::find().context("cannot read the cargo workspace here")?;
    match (command, rest) {
        ("setup", []) => {
            shell::step("checking the WebAssembly target");
            wasm::ensure_target(&workspace)
        }
        ("build", []) => build::build(&workspace),
        ("quickstart", extra) => build::quickstart(&workspace, extra),
        ("dist", []) => dist::dist(&workspace),
        ("dist", ["--twice"]) => dist::twice(&workspace),
        ("test", []) => test::test(&workspace, test::Extent::Full),
        ("test", ["--fast"]) => test::test(&workspace, test::Extent::Fast),
        ("check-macos", []) => macos::check(&workspace, &["--workspace"]),
        ("check-macos", ["-p", package]) => macos::check(&workspace, &["-p", package]),
        ("engines", []) => engines::install(&workspace, &engines::TESTED),
        ("engines", names) => engines::install(&workspace, names),
        ("toolchains", []) => build::toolchains(&workspace),
        ("clients", names) => clients::install(&workspace, names),
        ("agree", options) => agree::agree(&workspace, options),
        ("model", ["smollm2"]) => model::smollm2(&workspace),
        ("codegen", []) => {
            build::prony(&workspace)?;
            codegen::codegen(&workspace, codegen::Mode::Write)
        }
        ("codegen", ["--check"]) => {
            build::prony(&workspace)?;
            codegen::codegen(&workspace, codegen::Mode::Check)
        }
        ("hub", []) => hub::check(&workspace),
        ("outputs", []) => outputs::check(&workspace),
        ("pages", []) => pages::pages(&workspace, None),
        ("pages", ["--picture"]) => {
            build::build(&workspace)?;
            pages::picture(&workspace, pages::Picture::Write)
        }
        ("pages", [folder]) => pages::pages(&workspace, Some(folder)),
        ("schemas", []) => schemas::check(&workspace),
        ("fuzz", arguments) => fuzz::run(&workspace, arguments),
        ("faults", options) => faults::faults(&workspace, options),
        ("bench", []) => {
            bench::list();
            Ok(())
        }
        ("bench", ["verdicts", options @ ..]) => bench::verdicts(&workspace, options),
        ("bench", ["scale"]) => bench::scale(&workspace, false),
        ("bench", ["scale", "--long"]) => bench::scale(&workspace, true),
        ("bench", [name]) => bench::bench(&workspace, name, bench::Targets::Shown),
        ("bench", [name, "--strict"]) => bench::bench(&workspace, name, bench::Targets::Strict),
        ("sim", ["history", options @ ..]) => sim::history(&workspace, options),
        ("sim", options) => sim::sim(&workspace, options),
        ("ranks", []) => ranks::check(&workspace),
        ("tidy", []) => tidy::tidy(&workspace),
        _ => bail!(
            "`{}` is not understood; `cargo xtask help` lists the commands",
            arguments.join(" ")
        ),
    }
}
