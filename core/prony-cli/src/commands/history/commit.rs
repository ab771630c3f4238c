//! The commit that a run measured, from what the command was given or finds around it.

use prony_history::Given;
use std::path::Path;
use std::process::{Command, Stdio};

/// Commit and reference: of the options, else of the variables that GitHub and GitLab set, else of
/// the git repository of the working folder.
pub(super) fn given(commit: Option<&str>, reference: Option<&str>) -> Given {
    let variable = |name: &str| std::env::var(name).ok().filter(|it| !it.is_empty());
    let of_ci = [
        ("GITHUB_SHA", "GITHUB_REF"),
        ("CI_COMMIT_SHA", "CI_COMMIT_REF_NAME"),
    ];
    let of_ci = of_ci
        .into_iter()
        .find_map(|(commit, reference)| Some((variable(commit)?, variable(reference))));
    let (found, its_reference) = match (commit, of_ci) {
        // What stands around is of another commit.
        (Some(commit), _) => (Some(commit.to_owned()), None),
        (None, Some((commit, reference))) => (Some(commit), reference),
        (None, None) => {
            let here = Path::new(".");
            let branch = git(here, &["symbolic-ref", "--quiet", "HEAD"]);
            (git(here, &["rev-parse", "HEAD"]), branch)
        }
    };
    Given {
        commit: found,
        reference: reference.map(str::to_owned).or(its_reference),
        at: None,
    }
}

/// The first line that git prints in a folder; `None` if it fails, or is not there.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    lines(folder, arguments).ok()?.into_iter().next()
}

/// The lines that git prints in a folder, or why it prints none.
pub(super) fn lines(folder: &Path, arguments: &[&str]) -> Result<Vec<String>, String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments);
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("git cannot be started: {error}"))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let told = told.lines().next().unwrap_or_default();
        return Err(format!("git {}: {told}", arguments.join(" ")));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(str::to_owned).collect())
}
