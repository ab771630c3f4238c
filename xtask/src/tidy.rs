//! The repository's own rules, which no compiler checks.
//!
//! Every finding is a line `file:line: what is wrong`, so that an editor can jump there.

mod dependencies;
mod layout;
mod licences;
mod security;
mod text;

use std::fs;

use anyhow::{Result, bail};

use crate::shell;
use crate::workspace::Workspace;

/// A text file of the repository.
struct SourceFile {
    /// Relative to the repository's top folder, with forward slashes.
    path: String,
    text: String,
}

/// A broken rule.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

/// Checks all rules and prints all violations.
pub(crate) fn tidy(workspace: &Workspace) -> Result<()> {
    shell::step("checking the repository's rules");
    let files = source_files(workspace)?;
    let mut findings = layout::check(workspace, &files);
    findings.extend(dependencies::check(workspace, &files));
    findings.extend(licences::check(&files)?);
    findings.extend(security::check(&files));
    findings.extend(files.iter().flat_map(text::check));
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for Finding {
        path,
        line,
        message,
    } in &findings
    {
        eprintln!("{path}:{line}: {message}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => bail!("tidy found 1 violation"),
        count => bail!("tidy found {count} violations"),
    }
}

fn source_files(workspace: &Workspace) -> Result<Vec<SourceFile>> {
    Ok(workspace
        .files()?
        .into_iter()
        .filter_map(|path| {
            // Binaries are not text.
            let text = fs::read_to_string(workspace.root.join(&path)).ok()?;
            Some(SourceFile { path, text })
        })
        .collect())
}

/// Number of the first line that contains `needle`, from 1, for placing a finding.
fn line_of(text: &str, needle: &str) -> usize {
    text.lines()
        .position(|line| line.contains(needle))
        .map_or(1, |index| index + 1)
}
