//! The pages of `prony explain` are accurate.

use prony_diagnostic::{Diagnostic, human};

use super::plugins::Shipped;
use crate::foreign::Importer;
use crate::{CODES, Inputs, explain, load_all};

/// Codes whose pages show a command, and why no file alone can show them.
const NO_FILE: [(&str, &str); 8] = [
    ("F0016", "no plugin that ships has such an option"),
    ("P0005", "the character could not be seen on the page"),
    ("P0009", "the file is not there"),
    ("P0010", "it is about an argument"),
    ("P0011", "it takes several files"),
    ("P0106", "no plugin that ships has such a rule"),
    ("P0108", "no plugin that ships has a broken schema"),
    ("P0206", "it is about an argument"),
];

/// A tool whose files have the key that the page of `P0012` shows.
const OTHER_TOOL: Importer = Importer {
    name: "other",
    tool: "another tool",
    about: "another tool",
    key: "benchmark",
    import: |_, _| Err(Vec::new()),
};

/// The text of a page's code block with the language `kind`.
fn block<'p>(page: &'p str, kind: &str) -> Option<&'p str> {
    let (_, rest) = page.split_once(&format!("\n```{kind}\n"))?;
    let (block, _) = rest.split_once("\n```\n")?;
    Some(block)
}

fn problems(text: &str) -> Vec<Diagnostic> {
    let inputs = Inputs {
        importers: &[OTHER_TOOL],
        ..Inputs::one("page.yaml", text, &Shipped)
    };
    match load_all(&inputs) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    }
}

#[test]
fn every_page_has_its_form() {
    for code in CODES {
        let page = code.page;
        assert_eq!(explain(code.code), Some(page));
        let title = page.lines().next().unwrap_or_default();
        assert!(title.starts_with(&format!("# {}: ", code.code)), "{title}");
        assert!(!title.ends_with('.'), "{title}");
        assert!(page.ends_with("\n```\n"), "{title}");
        assert_eq!(page.matches("\n```").count() % 2, 0, "{title}");
        let known = NO_FILE.iter().any(|(known, _)| *known == code.code);
        let imports = code.code.starts_with("P05");
        assert_eq!(block(page, "sh").is_some(), known || imports, "{title}");
        assert_ne!(
            block(page, "sh").is_some(),
            block(page, "yaml fails").is_some(),
            "{title}"
        );
    }
}

#[test]
fn what_fails_on_a_page_fails_for_that_reason_alone() {
    let mut wrong = Vec::new();
    for code in CODES {
        let Some(text) = block(code.page, "yaml fails") else {
            continue;
        };
        let problems = problems(text);
        let all = problems.iter().all(|problem| problem.code == code.code);
        if problems.is_empty() || !all {
            wrong.push(format!(
                "{}\n{text}\n{}",
                code.code,
                human(&problems, false)
            ));
        }
        let failed = problems.iter().any(Diagnostic::is_error);
        if failed == code.is_warning() {
            wrong.push(format!("{} is of another severity", code.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_works_on_a_page_works_without_a_word() {
    let mut wrong = Vec::new();
    for code in CODES {
        let Some(text) = block(code.page, "yaml works") else {
            continue;
        };
        let problems = problems(text);
        if !problems.is_empty() {
            wrong.push(format!(
                "{}\n{text}\n{}",
                code.code,
                human(&problems, false)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
