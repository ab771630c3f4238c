//! The toolchains that make a plugin of a project.
//!
//! Toolchains that prony can install lie in its cache folder, in versions that are pinned here, never
//! in the project. For the rest, an error says what is missing and which command brings it.

mod c;
mod js;
mod python;
mod rust;

use crate::project::{Build, Kind, Lang, Project};
use crate::sdk;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Failure of a build.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that has to be installed.
    #[error("{what}: {cure}")]
    Missing {
        /// The missing part.
        what: String,
        /// The way to get it.
        cure: String,
    },
    /// A command that ended badly.
    #[error("`{command}` ended with {status}{words}")]
    Failed {
        /// The command.
        command: String,
        /// Its exit status.
        status: String,
        /// Its output, unless it was shown already, and the usual cause.
        words: String,
    },
    /// A file that could not be read or written.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A module that could not be joined to the contract.
    #[error("`{}`: {reason}", path.display())]
    Module {
        /// The module.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

/// Result of this module.
type Result<T> = std::result::Result<T, Error>;

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        path: path.to_owned(),
        source,
    }
}

/// A part of a toolchain, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version or place.
    pub found: Option<String>,
    /// The command or action that brings it. For what is there: none.
    pub cure: Option<String>,
    /// `true` if a build installs it by itself.
    pub is_installed_by_build: bool,
}

impl Tool {
    fn new(name: &str, found: Option<String>, cure: &str) -> Self {
        Self {
            name: name.to_owned(),
            cure: found.is_none().then(|| cure.to_owned()),
            found,
            is_installed_by_build: false,
        }
    }

    /// The same, which a build installs.
    fn installed_by_build(self) -> Self {
        Self {
            is_installed_by_build: true,
            ..self
        }
    }
}

/// The toolchains of this machine.
pub struct Toolchains<'a> {
    /// Folder for what prony installs.
    pub cache: PathBuf,
    /// Hears of steps that take time.
    pub say: &'a dyn Fn(&str),
}

impl Toolchains<'_> {
    /// The parts of the toolchain of a language for plugins of a kind.
    pub fn survey(&self, lang: Lang, kind: Kind) -> Vec<Tool> {
        match lang {
            Lang::Rust => rust::survey(kind),
            Lang::C => c::survey(self, kind),
            Lang::Python => python::survey(self),
            Lang::Js => js::survey(self),
        }
    }

    /// Installs what prony can install of the toolchain of a language. What is there stays.
    pub fn install(&self, lang: Lang) -> Result<()> {
        match lang {
            Lang::Rust => Ok(()),
            Lang::C => c::install(self),
            Lang::Python => python::install(self).map(|_| ()),
            Lang::Js => js::install(self).map(|_| ()),
        }
    }

    /// Builds a project: a core module, a component or a shared library, as the toolchain makes it.
    /// Writes `sdk/` before.
    pub fn build(&self, project: &Project) -> Result<Vec<u8>> {
        write_sdk(project)?;
        let output = project.output();
        if let Some(folder) = output.parent() {
            fs::create_dir_all(folder).map_err(io(folder))?;
        }
        match &project.build {
            Build::Command { command, .. } => {
                // What an earlier build left is not the result of this one.
                let _ = fs::remove_file(&output);
                self.say_run(&command.join(" "));
                let [program, arguments @ ..] = command.as_slice() else {
                    return Err(missing("the command is empty", "write it in `plugin.toml`"));
                };
                let mut run = Command::new(program);
                run.args(arguments).current_dir(&project.folder);
                shown(&mut run, "")?;
                read(&output)
            }
            Build::Lang { lang, source } => {
                let source = source.as_deref().unwrap_or_default();
                let source_file = project.folder.join(source);
                if *lang != Lang::Rust && !source_file.is_file() {
                    let what = format!("`{}` does not exist", source_file.display());
                    return Err(missing(&what, "correct `source` in `plugin.toml`"));
                }
                match lang {
                    Lang::Rust => rust::build(self, project),
                    Lang::C => c::build(self, project, source),
                    Lang::Python => python::build(self, project),
                    Lang::Js => js::build(self, project),
                }
            }
        }
    }

    fn say_run(&self, words: &str) {
        (self.say)(words);
    }

    /// A folder of what prony installs, and a name of the file that says that it is whole.
    fn folder(&self, name: &str) -> (PathBuf, PathBuf) {
        let folder = self.cache.join(name);
        let whole = folder.join(".whole");
        (folder, whole)
    }

    /// Installs something into a folder of the cache unless it is there and whole.
    fn installed(
        &self,
        name: &str,
        words: &str,
        install: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let (folder, whole) = self.folder(name);
        if whole.exists() {
            return Ok(folder);
        }
        fs::create_dir_all(&self.cache).map_err(io(&self.cache))?;
        // Another prony may be at it.
        let _one_at_a_time = prony_files::lock_folder(&self.cache).map_err(io(&self.cache))?;
        if whole.exists() {
            return Ok(folder);
        }
        self.say_run(&format!(
            "installing {words} into `{}`, once",
            folder.display()
        ));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(io(&folder))?;
        }
        install(&folder)?;
        fs::write(&whole, words).map_err(io(&whole))?;
        Ok(folder)
    }

    /// A Python environment with one package.
    fn environment(&self, package: &str, version: &str, size: &str) -> Result<PathBuf> {
        let name = format!("{package}-{version}");
        let words = format!("{package} {version} ({size})");
        let install = |folder: &Path| {
            let mut venv = Command::new("python3");
            venv.args(["-m", "venv"]).arg(folder);
            quiet(
                &mut venv,
                "Python 3 with `venv` makes it: on Debian `apt-get install python3-venv`",
            )?;
            let mut pip = Command::new(folder.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--no-input"]);
            pip.args([
                "--disable-pip-version-check",
                &format!("{package}=={version}"),
            ]);
            let hint = format!(
                "pip takes its settings from `pip config list`; without a network: where there is one, `python3 -m pip download --dest wheels {package}=={version}`, then here `PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels prony plugin build`"
            );
            shown(&mut pip, &hint)
        };
        self.installed(&name, &words, install)
    }
}

/// Writes the files of `sdk/` that are not there or differ, so that nothing is built anew
/// without need.
fn write_sdk(project: &Project) -> Result<()> {
    if project.lang() == Some(Lang::Rust) && !rust::uses_own_sdk(project) {
        return Ok(());
    }
    for (path, text) in sdk::files(project) {
        let path = project.folder.join(path);
        if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
            continue;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io(folder))?;
        }
        // A link in the folder of a stranger leads nowhere.
        prony_files::replace(&path, text.as_bytes()).map_err(io(&path))?;
    }
    Ok(())
}

fn missing(what: &str, cure: &str) -> Error {
    Error::Missing {
        what: what.to_owned(),
        cure: cure.to_owned(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    /// Bytes of a plugin, at most.
    const MAX_BYTES: u64 = 256 << 20;
    prony_files::read(path, MAX_BYTES).map_err(io(path))
}

/// The first line that a command prints; `None` if it cannot be run or fails.
fn version(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().ok().filter(|it| it.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn in_words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

fn not_started(command: &Command, error: std::io::Error) -> Error {
    let program = command.get_program().to_string_lossy().into_owned();
    if error.kind() == ErrorKind::NotFound {
        return missing(
            &format!("`{program}` is not installed, or not on the `PATH`"),
            "install it; `prony plugin doctor` lists what each language needs",
        );
    }
    Error::Io {
        path: program.into(),
        source: error,
    }
}

/// Runs a command whose output the user sees, on standard error.
fn shown(command: &mut Command, hint: &str) -> Result<()> {
    command.stdin(Stdio::null());
    command.stdout(std::io::stderr());
    let status = command.status().map_err(|it| not_started(command, it))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed {
        command: in_words(command),
        status: status.to_string(),
        words: behind("; ", hint),
    })
}

/// Runs a command whose output matters only if it fails.
fn quiet(command: &mut Command, hint: &str) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|it| not_started(command, it))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stderr.as_slice(), b"\n", &output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    // Of a tool's own frames an author has no use.
    let said = said.split("Stack backtrace:").next().unwrap_or_default();
    Err(Error::Failed {
        command: in_words(command),
        status: output.status.to_string(),
        words: behind(":\n", said.trim()) + &behind("\n", hint),
    })
}

fn behind(mark: &str, words: &str) -> String {
    if words.is_empty() {
        String::new()
    } else {
        format!("{mark}{words}")
    }
}

/// A place in a path that a command takes as text.
fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::Module {
        path: path.to_owned(),
        reason: "the path is not UTF-8, and the toolchain takes no other".to_owned(),
    })
}
