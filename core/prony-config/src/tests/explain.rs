//! The pages of `prony explain`: what they say is what happens. A page's ```` ```yaml fails ````
//! is a fixture with its diagnostics below it, and ```` ```yaml works ```` is its way out.
//! Run with `BLESS=1` to write the diagnostics.

use std::fs;
use std::path::Path;

use prony_diagnostic::{Diagnostic, human};

use super::plugins::Shipped;
use crate::foreign::{Importer, Tool, Way};
use crate::{CODES, Inputs, explain, load_all};

/// Codes whose pages show a command, and why no file alone can show them.
const NO_FILE: [(&str, &str); 11] = [
    ("F0016", "no plugin that ships has such an option"),
    ("P0005", "the character could not be seen on the page"),
    ("P0009", "the file is not there"),
    ("P0010", "it is about an argument"),
    ("P0011", "it takes several files"),
    ("P0106", "no plugin that ships has such a rule"),
    ("P0108", "no plugin that ships has a broken schema"),
    ("P0110", "it takes the plugin itself"),
    ("P0206", "it is about an argument"),
    ("P0328", "every plugin that ships takes `completions`"),
    ("P0335", "the plugin itself is asked"),
];

/// The pipeline of a page that has the problem.
const FAILS: &str = "yaml fails";

/// The same without it.
pub(super) const WORKS: &str = "yaml works";

/// The diagnostics of the one that fails, as a terminal shows them.
pub(super) const SHOWN: &str = "text";

/// A tool whose files have the key that the page of `P0012` shows.
const OTHER_TOOL: Tool = Tool {
    tool: "another tool",
    signs: &[&["benchmark"]],
    words: &[],
    way: Way::Import(Importer {
        name: "TOOL",
        about: "another tool",
        import: |_, _| Err(Vec::new()),
    }),
};

/// The text of a page's code block with the language `kind`.
pub(super) fn block<'p>(page: &'p str, kind: &str) -> Option<&'p str> {
    let (_, rest) = page.split_once(&format!("\n```{kind}\n"))?;
    let (block, _) = rest.split_once("\n```\n")?;
    Some(block)
}

fn problems(text: &str) -> Vec<Diagnostic> {
    let inputs = Inputs {
        tools: &[OTHER_TOOL],
        look: &|file| {
            if file.path.contains("missing") {
                let reason = format!("there is no `{}` in `/bench`", file.path);
                Err(reason.as_str().into())
            } else {
                Ok(())
            }
        },
        ..Inputs::one("pipeline.yaml", text, &Shipped)
    };
    match load_all(&inputs) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    }
}

pub(super) fn has_way_out(problem: &Diagnostic) -> bool {
    !problem.help.is_empty() || problem.suggestion.is_some()
}

/// A page with these diagnostics between its two pipelines.
fn showing(page: &str, problems: &[Diagnostic]) -> String {
    let works = format!("\n```{WORKS}\n");
    let (before, after) = page.split_once(&works).expect("one that works");
    let shown = format!("\n```{SHOWN}\n");
    let (fails, _) = before.split_once(&shown).unwrap_or((before, ""));
    format!(
        "{fails}{shown}{}```\n{works}{after}",
        human(problems, false)
    )
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
        let has = |kind: &str| block(page, kind).is_some();
        assert_eq!(has("sh"), known || imports, "{title}");
        assert_ne!(has("sh"), has(FAILS), "{title}");
        assert_eq!(has(FAILS), has(WORKS), "{title}");
        assert!(has(FAILS) || !has(SHOWN), "{title}");
    }
}

#[test]
fn what_fails_on_a_page_fails_as_shown_for_that_reason_alone() {
    let mut wrong = Vec::new();
    for code in CODES {
        let Some(text) = block(code.page, FAILS) else {
            continue;
        };
        let problems = problems(text);
        let shown = human(&problems, false);
        let all = problems.iter().all(|problem| problem.code == code.code);
        if problems.is_empty() || !all {
            wrong.push(format!("{}\n{text}\n{shown}", code.code));
        }
        let failed = problems.iter().any(Diagnostic::is_error);
        if failed == code.is_warning() {
            wrong.push(format!("{} is of another severity", code.code));
        }
        if !problems.iter().all(has_way_out) {
            wrong.push(format!("{} has no way out\n{shown}", code.code));
        }
        let page = showing(code.page, &problems);
        if page == code.page {
            continue;
        }
        if std::env::var_os("BLESS").is_some() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("explain");
            fs::write(folder.join(format!("{}.md", code.code)), page).expect("a writable folder");
        } else {
            wrong.push(format!("{} does not show\n{shown}", code.code));
        }
    }
    assert!(
        wrong.is_empty(),
        "(BLESS=1 accepts texts):\n{}",
        wrong.join("\n")
    );
}

#[test]
fn what_works_on_a_page_works_without_a_word() {
    let mut wrong = Vec::new();
    for code in CODES {
        let Some(text) = block(code.page, WORKS) else {
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
