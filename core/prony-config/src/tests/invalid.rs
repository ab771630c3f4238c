//! Variants of what the page of a code shows (`explain.rs`), and codes whose pages
//! show no file: every `core/prony-config/tests/invalid/**/CODE-name.yaml` gives the
//! text in `CODE-name.diag`, with that code in it. In `fairness`, all of it is
//! warnings; elsewhere there is an error, unless the code is a warning's. Run with
//! `BLESS=1` to write those files.

use std::fs;
use std::path::Path;

use prony_diagnostic::{Diagnostic, human};

use super::explain::{SHOWN, block, has_way_out};
use super::fixtures::{files, load_file};
use crate::CODES;

/// Files that lack their code for now.
const NOT_YET: [&str; 0] = [];

/// Codes that a file cannot cause, and their causes.
const NO_FILE: [(&str, &str); 4] = [
    ("P0010", "an argument of `--set` or `--var`"),
    ("P0110", "the plugin itself"),
    ("P0206", "an argument of `--var`"),
    ("P0335", "the plugin itself"),
];

fn problems(path: &Path, name: &str) -> Vec<Diagnostic> {
    match load_file(path, name) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().expect("a name");
    name.to_string_lossy().into_owned()
}

#[test]
fn invalid_files_are_explained() {
    let mut wrong = Vec::new();
    for path in files("invalid") {
        let name = file_name(&path);
        let problems = problems(&path, &name);
        let actual = human(&problems, false);
        let code = name.split('-').next().expect("a code");
        let Some(known) = CODES.iter().find(|known| known.code == code) else {
            wrong.push(format!("{name}: there is no {code}"));
            continue;
        };
        let stem = name.strip_suffix(".yaml").expect("a YAML file");
        if NOT_YET.contains(&stem) {
            if problems.iter().any(|p| p.code == code) {
                wrong.push(format!("{name} has {code} now"));
            }
            continue;
        }
        if !problems.iter().any(|p| p.code == code) {
            wrong.push(format!("{name} lacks {code}\n{actual}"));
        }
        let failed = problems.iter().any(Diagnostic::is_error);
        if !failed && !known.is_warning() {
            wrong.push(format!("{name} is valid\n{actual}"));
        }
        if failed && path.to_string_lossy().contains("/fairness/") {
            wrong.push(format!("{name} has errors\n{actual}"));
        }
        let expected_path = path.with_extension("diag");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected_path, &actual).expect("a writable folder");
        } else if fs::read_to_string(&expected_path).unwrap_or_default() != actual {
            wrong.push(format!("{name} is not as in its .diag file\n{actual}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "(BLESS=1 accepts texts):\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_problem_has_a_way_out() {
    let mut without = Vec::new();
    for path in files("invalid") {
        let mut problems = problems(&path, &file_name(&path));
        problems.retain(|problem| !has_way_out(problem));
        if !problems.is_empty() {
            without.push(human(&problems, false));
        }
    }
    assert!(without.is_empty(), "{}", without.join("\n"));
}

#[test]
fn every_code_is_shown_on_its_page_or_by_a_file() {
    let names: Vec<String> = files("invalid")
        .iter()
        .map(|path| file_name(path))
        .collect();
    let missing: Vec<&str> = CODES
        .iter()
        .filter(|code| block(code.page, SHOWN).is_none())
        .map(|code| code.code)
        // Import codes are about other files.
        .filter(|code| !code.starts_with("P05"))
        .filter(|code| !names.iter().any(|name| name.starts_with(code)))
        .collect();
    assert_eq!(missing, NO_FILE.map(|(code, _)| code));
    assert!(names.len() >= 75, "{}", names.len());
}
