//! `plugin.toml`: the file that makes a folder the project of a plugin.

use prony_contract::{CONTRACT, MAX_CALL_MS, MAX_MEMORY_MIB};
use serde::Deserialize;
use std::fmt;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use toml::Spanned;

/// Name of the file in the project's folder.
pub const FILE: &str = "plugin.toml";
/// Folder, relative to the project, of the built plugin. Not in version control.
const BUILT: &str = "build";
/// Most bytes of the file that are read.
const MAX_BYTES: u64 = 1 << 20;

/// Kind of a plugin, by its transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An adapter for a server.
    Engine,
    /// An adapter for a process that speaks lines of JSON.
    StdioEngine,
    /// An engine in a process; always native.
    InProcessEngine,
    /// A reporter.
    Reporter,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::Engine,
        Self::StdioEngine,
        Self::InProcessEngine,
        Self::Reporter,
    ];

    /// Name in `plugin.toml` and for `--kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::StdioEngine => "stdio-engine",
            Self::InProcessEngine => "in-process-engine",
            Self::Reporter => "reporter",
        }
    }

    /// The world of `plugin.wit` that a component of this kind is made for. `None` for an engine
    /// in a process, which has no such form.
    pub fn world(self) -> Option<&'static str> {
        match self {
            Self::Engine => Some("engine-plugin"),
            Self::StdioEngine => Some("stdio-engine-plugin"),
            Self::InProcessEngine => None,
            Self::Reporter => Some("reporter-plugin"),
        }
    }
}

/// Language of a project that prony builds by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lang {
    /// Rust, with the SDK.
    Rust,
    /// C.
    C,
    /// Python.
    Python,
    /// JavaScript.
    Js,
}

impl Lang {
    /// All languages.
    pub const ALL: [Self; 4] = [Self::Rust, Self::C, Self::Python, Self::Js];

    /// Name in `plugin.toml` and for `--lang`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Python => "python",
            Self::Js => "js",
        }
    }
}

/// The way to build a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Build {
    /// By prony, with the toolchain of a language.
    Lang {
        /// The language.
        lang: Lang,
        /// The main source file, relative to the folder. In Rust `Cargo.toml` says it.
        source: Option<String>,
    },
    /// By a command of the author's.
    Command {
        /// Program and arguments, run in the folder; no shell is involved.
        command: Vec<String>,
        /// The file that it makes, relative to the folder.
        output: String,
    },
}

/// Limits of one call that the plugin asks for instead of prony's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in MiB; at most [`MAX_MEMORY_MIB`].
    pub memory_mib: Option<u64>,
    /// Time, in milliseconds; at most [`MAX_CALL_MS`].
    pub call_ms: Option<u64>,
}

/// A plugin's project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The folder with `plugin.toml`.
    pub folder: PathBuf,
    /// Name of the plugin.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its version.
    pub version: String,
    /// Version of the contract that it was written for, major and minor.
    pub contract: (u32, u32),
    /// The way to build it.
    pub build: Build,
    /// The limits that it asks for.
    pub limits: Limits,
}

/// A mistake in `plugin.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Line and column, from 1; `None` if the file could not be read.
    pub place: Option<(usize, usize)>,
    /// The mistake, with what was expected and the way out.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.place {
            Some((line, column)) => write!(f, "{path}:{line}:{column}: {}", self.message),
            None => write!(f, "`{path}`: {}", self.message),
        }
    }
}

impl std::error::Error for Problem {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    kind: Kind,
    version: Spanned<String>,
    contract: Spanned<String>,
    build: Spanned<BuildTable>,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BuildTable {
    lang: Option<Lang>,
    source: Option<Spanned<String>>,
    command: Option<Spanned<Vec<String>>>,
    output: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    memory_mib: Option<Spanned<u64>>,
    call_ms: Option<Spanned<u64>>,
}

impl Project {
    /// Reads the `plugin.toml` of a folder.
    pub fn read(folder: &Path) -> Result<Self, Problem> {
        let path = folder.join(FILE);
        let text = prony_files::read_text(&path, MAX_BYTES).map_err(|error| {
            let message = if error.kind() == std::io::ErrorKind::NotFound {
                "there is no such file: `prony plugin new --lang LANG NAME` makes a folder with one"
                    .to_owned()
            } else {
                error.to_string()
            };
            Problem {
                path: path.clone(),
                place: None,
                message,
            }
        })?;
        Self::parse(folder, &text).map_err(|(span, message)| Problem {
            place: Some(place(&text, span.start)),
            path,
            message,
        })
    }

    /// The built plugin, whether it is there or not.
    pub fn output(&self) -> PathBuf {
        match &self.build {
            Build::Command { output, .. } => self.folder.join(output),
            Build::Lang { .. } => {
                let extension = if self.kind == Kind::InProcessEngine {
                    std::env::consts::DLL_EXTENSION
                } else {
                    "wasm"
                };
                let name = format!("{}.{extension}", self.name);
                self.folder.join(BUILT).join(name)
            }
        }
    }

    /// The language, unless the author's own command builds it.
    pub fn lang(&self) -> Option<Lang> {
        match &self.build {
            Build::Lang { lang, .. } => Some(*lang),
            Build::Command { .. } => None,
        }
    }

    fn parse(folder: &Path, text: &str) -> Result<Self, (Range<usize>, String)> {
        let file: File = toml::from_str(text).map_err(|error| {
            let message = error.message().trim().replace('\n', ", ");
            (error.span().unwrap_or(0..0), message)
        })?;
        if !is_name(file.name.get_ref()) {
            return Err((
                file.name.span(),
                "a name begins with a lower-case letter and has only these, digits, `-` and `_`, 64 at most".to_owned(),
            ));
        }
        if let Err(error) = semver::Version::parse(file.version.get_ref()) {
            return Err((
                file.version.span(),
                format!(
                    "a version has three numbers, as in `0.1.0` (semantic versioning): {error}"
                ),
            ));
        }
        let contract = contract(&file.contract)?;
        let build = build(file.kind, file.build)?;
        Ok(Self {
            folder: folder.to_owned(),
            name: file.name.into_inner(),
            kind: file.kind,
            version: file.version.into_inner(),
            contract,
            build,
            limits: limits(file.limits)?,
        })
    }
}

/// Returns `true` if a plugin may be called so.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

fn contract(text: &Spanned<String>) -> Result<(u32, u32), (Range<usize>, String)> {
    let (major, minor) = CONTRACT;
    let numbers = text.get_ref().split_once('.');
    let numbers = numbers.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match numbers {
        Some(numbers) if numbers == CONTRACT => Ok(numbers),
        Some((a, b)) => Err((
            text.span(),
            format!(
                "the project is for plugin contract {a}.{b}, and this prony speaks {major}.{minor}: once the source fits, write `contract = \"{major}.{minor}\"`, or use a prony that speaks {a}.{b}"
            ),
        )),
        None => Err((
            text.span(),
            format!("a contract is two numbers, here `{major}.{minor}`"),
        )),
    }
}

fn build(kind: Kind, table: Spanned<BuildTable>) -> Result<Build, (Range<usize>, String)> {
    let span = table.span();
    let BuildTable {
        lang,
        source,
        command,
        output,
    } = table.into_inner();
    match (lang, command) {
        (Some(lang), None) => {
            if let Some(output) = output {
                let message = format!(
                    "`output` belongs to `command`; prony itself writes `{BUILT}/NAME.wasm`"
                );
                return Err((output.span(), message));
            }
            if kind == Kind::InProcessEngine && !matches!(lang, Lang::Rust | Lang::C) {
                return Err((span, in_process(lang)));
            }
            let source = source.map(inside).transpose()?;
            if lang != Lang::Rust && source.is_none() {
                let message = format!("`source` is missing: the main file in {}", lang.name());
                return Err((span, message));
            }
            Ok(Build::Lang { lang, source })
        }
        (None, Some(command)) => {
            if command.get_ref().is_empty() {
                let message = "`command` needs a program, as in `[\"make\"]`".to_owned();
                return Err((command.span(), message));
            }
            let Some(output) = output else {
                let message = "`output` is missing: the file that `command` makes".to_owned();
                return Err((span, message));
            };
            Ok(Build::Command {
                command: command.into_inner(),
                output: inside(output)?,
            })
        }
        _ => Err((
            span,
            "give either `lang` (`rust`, `c`, `python`, `js`) or `command` with `output`"
                .to_owned(),
        )),
    }
}

/// Reason why a language has no engines in a process.
pub(crate) fn in_process(lang: Lang) -> String {
    format!(
        "an engine in a process is a shared library with the functions of `prony_plugin.h`, which `{}` does not make: write it in `rust` or `c`, or let a program in that language speak lines of JSON (`--kind stdio-engine`, or the plugin `lines`, which needs no adapter)",
        lang.name()
    )
}

fn limits(table: LimitsTable) -> Result<Limits, (Range<usize>, String)> {
    let within = |limit: Option<Spanned<u64>>, most: u64| match limit {
        Some(limit) if !(1..=most).contains(limit.get_ref()) => Err((
            limit.span(),
            format!("a plugin may ask for 1 to {most} here"),
        )),
        limit => Ok(limit.map(Spanned::into_inner)),
    };
    Ok(Limits {
        memory_mib: within(table.memory_mib, MAX_MEMORY_MIB)?,
        call_ms: within(table.call_ms, MAX_CALL_MS)?,
    })
}

/// A path that stays in the folder.
fn inside(path: Spanned<String>) -> Result<String, (Range<usize>, String)> {
    let mut parts = Path::new(path.get_ref()).components();
    if !path.get_ref().is_empty() && parts.all(|part| matches!(part, Component::Normal(_))) {
        return Ok(path.into_inner());
    }
    let message = "a path here is relative to the folder of `plugin.toml`, and lies in it";
    Err((path.span(), message.to_owned()))
}

/// Line and column of an offset, from 1; columns count characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"name = "acme"
kind = "engine"
version = "0.1.0"
contract = "1.0"

[build]
lang = "python"
source = "acme.py"

[limits]
memory_mib = 256
"#;

    fn parse(text: &str) -> Result<Project, (usize, usize, String)> {
        Project::parse(Path::new("acme"), text).map_err(|(span, message)| {
            let (line, column) = place(text, span.start);
            (line, column, message)
        })
    }

    #[test]
    fn a_project_is_read() {
        let project = parse(GOOD).expect("it is right");
        assert_eq!(project.kind, Kind::Engine);
        assert_eq!(project.lang(), Some(Lang::Python));
        assert_eq!(project.limits.memory_mib, Some(256));
        assert_eq!(project.output(), Path::new("acme/build/acme.wasm"));
        let own = GOOD.replace(
            "lang = \"python\"\nsource = \"acme.py\"",
            "command = [\"make\"]\noutput = \"out/a.wasm\"",
        );
        let own = parse(&own).expect("it is right");
        assert_eq!(own.output(), Path::new("acme/out/a.wasm"));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let cases = [
            ("acme\"\nkind", "Acme\"\nkind", 1, 8, "lower-case"),
            ("engine", "motor", 2, 8, "stdio-engine"),
            ("0.1.0", "0.1", 3, 11, "three numbers"),
            ("\"1.0\"", "\"0.2\"", 4, 12, "speaks 1.0"),
            ("\"1.0\"", "\"new\"", 4, 12, "two numbers"),
            ("\"python\"", "\"perl\"", 7, 8, "rust"),
            ("acme.py", "../acme.py", 8, 10, "lies in it"),
            ("source = \"acme.py\"", "", 6, 1, "`source` is missing"),
            ("256", "4096", 11, 14, "1 to 1024"),
            ("memory_mib", "memory", 11, 1, "memory_mib"),
            ("engine", "in-process-engine", 6, 1, "in a process"),
            ("lang = \"python\"", "command = []", 7, 11, "a program"),
            (
                "lang = \"python\"",
                "command = [\"make\"]",
                6,
                1,
                "`output`",
            ),
        ];
        for (from, to, line, column, words) in cases {
            let text = GOOD.replacen(from, to, 1);
            let (found_line, found_column, message) = parse(&text).expect_err(to);
            assert_eq!(
                (found_line, found_column),
                (line, column),
                "{to}: {message}"
            );
            assert!(message.contains(words), "{to}: {message}");
        }
    }

    #[test]
    fn a_folder_without_the_file_is_told() {
        let problem = Project::read(Path::new("/nowhere")).expect_err("there is none");
        assert_eq!(
            problem.to_string(),
            "`/nowhere/plugin.toml`: there is no such file: `prony plugin new --lang LANG NAME` makes a folder with one"
        );
    }
}
