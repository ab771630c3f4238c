//! Every check that CI runs, in one command.

use std::process::Command;

use anyhow::{Result, bail};

use crate::workspace::Workspace;
use crate::{
    build, codegen, engines, faults, fuzz, hub, model, outputs, pages, ranks, schemas, shell, tidy,
};

/// Duration of fuzzing for each target, in seconds: enough to catch regressions.
const FUZZ_SECONDS: u32 = 4;

/// Extent of the checks.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Extent {
    /// Also checks that download something, or take minutes: a real engine with a real
    /// model, other validators, the fuzzer.
    Full,
    Fast,
}

/// Runs all checks, even after a failure, and the tests last, so that their summary is at
/// the end of a log.
pub(crate) fn test(workspace: &Workspace, extent: Extent) -> Result<()> {
    let mut tried: Vec<&str> = Vec::new();
    let mut failed: Vec<&str> = Vec::new();
    let mut reasons: Vec<String> = Vec::new();
    let mut check = |name, result: Result<()>| {
        if !tried.contains(&name) {
            tried.push(name);
        }
        if let Err(error) = result {
            eprintln!("error: {error:#}");
            reasons.push(format!("{name}: {error:#}"));
            if !failed.contains(&name) {
                failed.push(name);
            }
        }
    };

    check("tidy", tidy::tidy(workspace));
    check("fmt", cargo(workspace, "fmt", &["--all", "--check"]));
    // It is not a member of the workspace, so `--all` does not know it.
    let fuzz_crate = format!("{}/Cargo.toml", fuzz::FOLDER);
    check(
        "fmt",
        cargo(
            workspace,
            "fmt",
            &["--check", "--manifest-path", &fuzz_crate],
        ),
    );
    build::build_for_tests(workspace)?;
    check("codegen", codegen::codegen(workspace, codegen::Mode::Check));
    check(
        "clippy",
        cargo(
            workspace,
            "clippy",
            &[
                "--workspace",
                "--all-targets",
                "--release",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
        ),
    );
    let mut tests = workspace.cargo("test");
    tests.args(["--workspace", "--release", "--locked", "--no-fail-fast"]);
    tests.env("PRONY_CACHE", &workspace.cache);
    if extent == Extent::Full {
        check("schemas", schemas::check(workspace));
        check("outputs", outputs::check(workspace));
        check("pages", pages::pages(workspace, None));
        check("faults", faults::slice(workspace));
        check("ranks", ranks::check(workspace));
        check("fuzz", fuzz::all(workspace, FUZZ_SECONDS));
        check("engines", engines::install(workspace, &engines::TESTED));
        check("model", model::smollm2(workspace));
        check("hub", hub::install(workspace));
        check("toolchains", build::toolchains(workspace));
        // A test that finds no engine must now fail instead of passing without doing
        // anything.
        tests.env("PRONY_REQUIRE_ENGINES", "1");
    } else {
        tests.env_remove("PRONY_REQUIRE_ENGINES");
    }
    check("test", run(&mut tests));

    if !failed.is_empty() {
        // Once more, since what came after may be long.
        for reason in &reasons {
            eprintln!("error: {reason}");
        }
        bail!("failed: {}", failed.join(", "));
    }
    shell::step(&format!("all checks passed: {}", tried.join(", ")));
    Ok(())
}

fn cargo(workspace: &Workspace, command: &str, arguments: &[&str]) -> Result<()> {
    run(workspace.cargo(command).args(arguments))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command
        .get_args()
        .next()
        .unwrap_or_default()
        .to_string_lossy();
    shell::step(&format!("cargo {name}"));
    shell::run(command)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, SystemTime};

    fn run(program: &str, arguments: &[&str], folder: &Path) {
        let mut command = Command::new(program);
        let status = command.args(arguments).current_dir(folder).status();
        assert!(
            status.expect("a file of the test").success(),
            "{program} {arguments:?}"
        );
    }

    /// A fresh checkout with two files; what is in the folder is replaced.
    fn checkout(folder: &Path, second: &str) {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder.join("src")).expect("a file of the test");
        fs::write(folder.join("src/a b.rs"), "first").expect("a file of the test");
        fs::write(folder.join("src/é.rs"), second).expect("a file of the test");
        run("git", &["init", "-q"], folder);
        run("git", &["add", "-A"], folder);
    }

    #[test]
    fn a_fresh_checkout_keeps_the_times_of_what_is_the_same() {
        let root = tempfile::tempdir().expect("a file of the test");
        let record = root.path().join("target/sources.json");
        let record = record.to_str().expect("a file of the test");
        let times = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/times");
        let time = |path: &Path| {
            path.metadata()
                .expect("a file of the test")
                .modified()
                .expect("a file of the test")
        };
        let here = root.path().join("here");
        let [first, second] = ["src/a b.rs", "src/é.rs"].map(|name| here.join(name));

        checkout(&here, "second");
        run(times, &[record], &here);
        let (of_first, of_second, of_folder) =
            (time(&first), time(&second), time(&here.join("src")));

        checkout(&here, "changed");
        let later = SystemTime::now() + Duration::from_hours(1);
        File::open(&first)
            .expect("a file of the test")
            .set_modified(later)
            .expect("a file of the test");
        run(times, &[record], &here);
        assert_eq!(time(&first), of_first);
        assert!(time(&second) > of_second);
        assert_eq!(time(&here.join("src")), of_folder);
        let changed = time(&second);

        // A name more is another content of its folder; a change taken back is a change.
        checkout(&here, "second");
        fs::write(here.join("src/new.rs"), "").expect("a file of the test");
        run(times, &[record], &here);
        assert_eq!(time(&first), of_first);
        assert!(time(&second) > changed);
        assert!(time(&here.join("src")) > of_folder);

        let there = root.path().join("there");
        checkout(&there, "second");
        run(times, &[record], &there);
        assert!(time(&there.join("src/a b.rs")) > of_first);
    }
}
