//! `prony plugin doctor`

use super::build;
use crate::arguments::Global;
use crate::{Exit, Failure, Outcome, plugins};
use clap::Args;
use prony_author::{FILE, Kind, Lang, Project, Toolchains};
use prony_plugin_host::{Form, Lock, contract, sha256_of};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony plugin doctor acme")]
pub(super) struct Arguments {
    /// Folder with `plugin.toml`. Without one, the toolchains of all languages are listed.
    folder: Option<PathBuf>,
    /// Install what prony can install, into its cache folder.
    #[arg(long)]
    fix: bool,
}

/// A line of the checkup.
struct Finding {
    what: String,
    found: String,
    /// The command or action that cures it; none if nothing is wrong.
    cure: Option<String>,
}

impl Finding {
    fn good(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            found: found.into(),
            cure: None,
        }
    }

    fn bad(what: impl Into<String>, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            cure: Some(cure.into()),
            ..Self::good(what, found)
        }
    }
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    let here = PathBuf::from(".");
    let folder = match &arguments.folder {
        Some(folder) => Some(folder),
        None => here.join(FILE).exists().then_some(&here),
    };
    let mut findings = vec![Finding::good("contract", contract())];
    // What a build installs by itself is no reason to fail.
    let mut is_fit = true;
    if let Some(folder) = folder {
        let project = build::read(folder)?;
        let wanted = project.lang().map(|lang| (lang, project.kind));
        fix(global, arguments.fix, wanted.into_iter())?;
        is_fit &= tools(global, wanted.into_iter(), &mut findings);
        of_project(global, &project, &mut findings);
    } else {
        let all = Lang::ALL.into_iter().map(|lang| (lang, Kind::Engine));
        fix(global, arguments.fix, all.clone())?;
        tools(global, all, &mut findings);
    }
    let width = findings.iter().map(|it| it.what.chars().count()).max();
    let width = width.unwrap_or(0);
    for Finding { what, found, cure } in &findings {
        println!("{what:width$}  {found}");
        if let Some(cure) = cure {
            println!("{:width$}  → {cure}", "");
        }
    }
    Ok(if is_fit { Exit::Ok } else { Exit::Plugin })
}

/// Installs what prony can install of toolchains, if it is asked for.
fn fix(
    global: &Global,
    is_asked: bool,
    wanted: impl Iterator<Item = (Lang, Kind)>,
) -> Result<(), Failure> {
    let toolchains = Toolchains {
        cache: build::cache(global),
        say: &|words| build::tell(global, words),
    };
    for (lang, kind) in wanted.filter(|_| is_asked) {
        if kind != Kind::InProcessEngine {
            toolchains.install(lang).map_err(build::failed)?;
        }
    }
    Ok(())
}

/// Adds the parts of toolchains. Returns `false` if one is missing that the user has to install.
fn tools(
    global: &Global,
    wanted: impl Iterator<Item = (Lang, Kind)>,
    findings: &mut Vec<Finding>,
) -> bool {
    let toolchains = Toolchains {
        cache: build::cache(global),
        say: &|_| {},
    };
    let mut is_fit = true;
    for (lang, kind) in wanted {
        for tool in toolchains.survey(lang, kind) {
            let what = format!("{}: {}", lang.name(), tool.name);
            is_fit &= tool.found.is_some() || tool.is_installed_by_build;
            findings.push(match (tool.found, tool.cure) {
                (Some(found), _) => Finding::good(what, found),
                (None, cure) => Finding::bad(what, "missing", cure.unwrap_or_default()),
            });
        }
    }
    is_fit
}

/// Adds what is to say of a project: its build, and its entry in the lock.
fn of_project(global: &Global, project: &Project, findings: &mut Vec<Finding>) {
    let file = project.output();
    let shown = file.display().to_string();
    let again = format!("`prony plugin build {}`", project.folder.display());
    let Ok(built) = std::fs::read(&file) else {
        findings.push(Finding::bad("built file", format!("no `{shown}`"), again));
        return;
    };
    findings.push(match plugins::newer_source(project, &file) {
        Some(source) => Finding::bad("built file", format!("older than `{source}`"), again),
        None => Finding::good(
            "built file",
            format!("`{shown}`, {} KiB", built.len() >> 10),
        ),
    });
    locked(global, project, &built, findings);
}

fn locked(global: &Global, project: &Project, built: &[u8], findings: &mut Vec<Finding>) {
    let grant = match project.kind {
        Kind::InProcessEngine => "--grant native ",
        _ => "",
    };
    let add = format!("`prony plugin add {grant}{}`", project.folder.display());
    for path in plugins::locks(global, None)
        .iter()
        .filter(|path| path.exists())
    {
        let what = format!("lock `{}`", path.display());
        let lock = match Lock::read(path) {
            Ok(lock) => lock,
            Err(error) => {
                findings.push(Finding::bad(what, error.to_string(), add.clone()));
                continue;
            }
        };
        let mut entries = lock.plugins.iter();
        let Some(entry) = entries.find(|it| it.name == project.name) else {
            continue;
        };
        let file = prony_files::folder(path).join(&entry.path);
        let digest = |bytes: &[u8]| sha256_of(bytes);
        let held = std::fs::read(&file).map(|bytes| digest(&bytes)).ok();
        findings.push(if held.as_ref() != Some(&entry.sha256) {
            Finding::bad(
                what,
                format!("`{}` is gone or has changed", file.display()),
                add,
            )
        } else if entry.contract != contract() {
            Finding::bad(what, format!("contract {}", entry.contract), add)
        } else if entry.sha256 != digest(built) {
            Finding::bad(what, "another build than the one in the folder", add)
        } else {
            let form = match entry.form {
                Form::Wasm => "sandboxed",
                Form::Native => "native, not sandboxed",
            };
            Finding::good(what, format!("this build, {form}"))
        });
        return;
    }
    findings.push(Finding::bad(
        "lock",
        format!("none has `{}`", project.name),
        add,
    ));
}
