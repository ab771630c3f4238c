//! Opens a report's page in the user's browser.

use crate::arguments::Global;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time in which a program that cannot open a page ends.
const TRIED: Duration = Duration::from_secs(2);

/// Opens the page among the files that reporters have written. A page that cannot be opened is a
/// note with its path, since it is there all the same.
pub(crate) fn open_page(global: &Global, files: &[PathBuf]) {
    let told = match files.iter().find(|it| is_page(it)) {
        Some(page) => open(page).map_err(|why| format!("{why}; the page is {}", page.display())),
        None => Err(
            "no page was written; `prony report --reporter html --open` writes the last run's"
                .to_owned(),
        ),
    };
    if let Err(told) = told
        && !global.quiet
    {
        eprintln!("note: `--open`: {told}");
    }
}

/// Returns `true` for the name of a page.
pub(crate) fn is_page(file: &Path) -> bool {
    file.extension().is_some_and(|it| it == "html")
}

fn open(page: &Path) -> Result<(), String> {
    let page = std::path::absolute(page).map_err(|error| error.to_string())?;
    let commands = commands(&page.to_string_lossy(), cfg!(target_os = "macos"), |name| {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    })?;
    let mut failures = Vec::new();
    for command in commands {
        match start(&command) {
            Ok(()) => return Ok(()),
            Err(failure) => failures.push(format!("`{}` {failure}", command[0])),
        }
    }
    Err(failures.join(", "))
}

/// The commands that may open a page, the first that works is the one. `BROWSER` has several
/// separated by colons, in which `%s` stands for the page.
fn commands(
    page: &str,
    is_macos: bool,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Vec<String>>, String> {
    let has = |name| variable(name).is_some();
    if let Some(browser) = variable("BROWSER") {
        let command = |text: &str| {
            let mut words = shlex::split(text).filter(|it| !it.is_empty())?;
            if words.iter().any(|it| it.contains("%s")) {
                words = words.iter().map(|it| it.replace("%s", page)).collect();
            } else {
                words.push(page.to_owned());
            }
            Some(words)
        };
        let commands: Vec<Vec<String>> = browser.split(':').filter_map(command).collect();
        return if commands.is_empty() {
            Err(format!("`BROWSER` is no command: `{browser}`"))
        } else {
            Ok(commands)
        };
    }
    let is_remote = has("SSH_CONNECTION") || has("SSH_TTY");
    let program = if is_macos && !is_remote {
        "open"
    } else if !is_macos && (has("DISPLAY") || has("WAYLAND_DISPLAY")) {
        "xdg-open"
    } else {
        let over = if is_remote { " over ssh" } else { "" };
        return Err(format!("there is no display{over}"));
    };
    Ok(vec![vec![program.to_owned(), page.to_owned()]])
}

/// Starts a command, and leaves it alone unless it fails at once: browsers stay.
fn start(command: &[String]) -> Result<(), String> {
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C to this terminal is not meant for it.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("does not start: {error}"))?;
    let begun = Instant::now();
    while begun.elapsed() < TRIED {
        if let Some(ended) = ended(&mut child) {
            return ended;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The end of a command, if it has come.
fn ended(child: &mut Child) -> Option<Result<(), String>> {
    match child.try_wait() {
        Ok(None) => None,
        Ok(Some(status)) if status.success() => Some(Ok(())),
        Ok(Some(status)) => Some(Err(format!("fails: {status}"))),
        Err(error) => Some(Err(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(is_macos: bool, variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let commands = commands("/r/report.html", is_macos, |name| {
            let mut all = variables.iter();
            let found = all.find(|(it, _)| *it == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        commands.map(|all| all.iter().map(|it| it.join(" ")).collect())
    }

    #[test]
    fn the_users_browser_comes_first_and_a_display_is_needed_for_another() {
        let one = |command: &str| Ok(vec![command.to_owned()]);
        let display = ("DISPLAY", ":0");
        let ssh = ("SSH_CONNECTION", "1");
        assert_eq!(found(false, &[display]), one("xdg-open /r/report.html"));
        assert_eq!(
            found(false, &[("WAYLAND_DISPLAY", "wayland-0"), ssh]),
            one("xdg-open /r/report.html")
        );
        assert_eq!(found(true, &[]), one("open /r/report.html"));
        let none = Err("there is no display over ssh".to_owned());
        assert_eq!(found(false, &[ssh]), none);
        assert_eq!(found(true, &[ssh, display]), none);
        assert_eq!(found(false, &[]), Err("there is no display".to_owned()));
        assert_eq!(
            found(false, &[("BROWSER", "w3m:fire\\ fox --new '%s' -x"), ssh]),
            Ok(vec![
                "w3m /r/report.html".to_owned(),
                "fire fox --new /r/report.html -x".to_owned()
            ])
        );
        assert!(found(true, &[("BROWSER", "'")]).is_err());
    }
}
