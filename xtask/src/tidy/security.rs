//! Every statement of SECURITY.md names the tests that hold it.

use std::path::Path;

use super::{Finding, SourceFile};

const MODEL: &str = "SECURITY.md";

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let Some(model) = files.iter().find(|file| file.path == MODEL) else {
        return vec![Finding::new(MODEL, 1, "the file is missing")];
    };
    let is_test = |name: &str| {
        let function = format!("fn {name}(");
        files.iter().any(|file| {
            Path::new(&file.path)
                .extension()
                .is_some_and(|it| it == "rs")
                && file.text.match_indices(&function).any(|(at, _)| {
                    let above = file.text[..at].lines().rev().map(str::trim);
                    // What stands before it on its own line, such as `async`.
                    let above = above.skip(usize::from(!file.text[..at].ends_with('\n')));
                    let mut attributes = above.take_while(|line| line.starts_with(['#', '/']));
                    attributes.any(|line| line.starts_with("#[") && line.ends_with("test]"))
                })
        })
    };
    let mut findings = Vec::new();
    for (line, row) in (1..).zip(model.text.lines()) {
        let Some(cells) = row.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            continue;
        };
        let tests = cells.rsplit('|').next().unwrap_or_default().trim();
        if tests == "Tests" || (!tests.is_empty() && tests.chars().all(|c| c == '-')) {
            continue;
        }
        // Between backticks is every second part.
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            findings.push(Finding::new(MODEL, line, "a statement without a test"));
        }
        for name in names.into_iter().filter(|name| !is_test(name)) {
            let message = format!("there is no test `{name}`");
            findings.push(Finding::new(MODEL, line, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn statements_without_a_test_are_found() {
        let model = "| It | Tests |\n|---|---|\n| a | `one` |\n| b | `two`, `help` |\n| c | |\n";
        let code =
            "mod a {\n    #[test]\n    /// It.\n    async fn one() {}\n\n    fn help() {}\n}\n";
        let found = check(&[file(MODEL, model), file("a.rs", code)]);
        let found: Vec<(usize, &str)> = found.iter().map(|it| (it.line, &*it.message)).collect();
        assert_eq!(
            found,
            [
                (4, "there is no test `two`"),
                (4, "there is no test `help`"),
                (5, "a statement without a test"),
            ]
        );
    }
}
