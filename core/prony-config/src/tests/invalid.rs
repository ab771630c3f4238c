//! Every `schemas/tests/invalid/NAME.yaml` gives the text in `NAME.diag`.
//! Run with `BLESS=1` to write those files.

use std::fs;

use prony_diagnostic::{Diagnostic, human};

use super::fixtures::files;
use super::plugins::Installed;

#[test]
fn invalid_files_are_explained() {
    let mut differing = Vec::new();
    for path in files("invalid") {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).expect("a readable file");
        let problems = crate::load(&name, &text, &Installed).expect_err(&name);
        assert!(problems.iter().any(Diagnostic::is_error), "{name}");
        let code = name.split('-').next().expect("a code");
        assert!(
            problems.iter().any(|p| p.code == code),
            "{name} lacks {code}"
        );
        let actual = human(&problems, false);
        let expected_path = path.with_extension("diag");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected_path, &actual).expect("a writable folder");
        } else if fs::read_to_string(&expected_path).unwrap_or_default() != actual {
            differing.push(format!("{name}\n{actual}"));
        }
    }
    assert!(
        differing.is_empty(),
        "not as in the .diag file (BLESS=1 accepts):\n{}",
        differing.join("\n")
    );
}
