//! The command line: arguments shared by all commands, and their help.

use crate::commands::Command;
use crate::commands::bundle::{self, Opened};
use crate::{Exit, Failure};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use prony_journal::RunFolder;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

/// Finds out which LLM inference engine is faster, and with what confidence.
#[derive(Debug, Parser)]
#[command(
    name = "prony",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Heading of the options common to all commands.
const GLOBAL: &str = "Global options";

/// Options common to all commands.
#[derive(Debug, Args)]
#[command(next_help_heading = GLOBAL)]
pub(crate) struct Global {
    /// Print only errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print more; -vv for debugging, -vvv for everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Show every finding and setting in reports, instead of what fits on a screen.
    #[arg(long, global = true)]
    pub(crate) details: bool,
    /// Use of colour.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    /// A lock file with plugins, instead of that beside the pipeline, `./prony.lock`, your own and
    /// the bundled one. May be repeated.
    #[arg(
        long = "lock",
        global = true,
        env = "PRONY_LOCK",
        value_name = "FILE",
        value_delimiter = ':'
    )]
    locks: Vec<PathBuf>,
    /// Folder for files that can be recreated: compiled plugins, installed engines, and what
    /// steps download. Models of the hub have the hub's own.
    #[arg(long, global = true, env = "PRONY_CACHE", value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Folders with models at ORGANISATION/NAME, as LM Studio keeps them: a model found there is
    /// not fetched. May be repeated.
    #[arg(
        long = "models",
        global = true,
        env = "PRONY_MODELS",
        value_name = "DIR",
        value_delimiter = ':'
    )]
    model_dirs: Vec<PathBuf>,
    /// File of your grants for native plugins, instead of `prony/grants` in your folder of
    /// configuration.
    #[arg(
        long = "grants",
        global = true,
        env = "PRONY_GRANTS",
        value_name = "FILE"
    )]
    pub(crate) grants_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    Always,
    Never,
}

impl Global {
    /// The words of a command line that stand for the places of files.
    pub(crate) fn as_words(&self) -> Vec<String> {
        let paths = |option: &'static str, paths: &[PathBuf]| {
            let words = paths
                .iter()
                .map(move |path| [option.to_owned(), path.to_string_lossy().into_owned()]);
            words.flatten().collect::<Vec<_>>()
        };
        let cache = self.cache.clone();
        let grants = self.grants_file.clone();
        [
            paths("--lock", &self.locks),
            paths("--cache", cache.as_slice()),
            paths("--models", &self.model_dirs),
            paths("--grants", grants.as_slice()),
        ]
        .concat()
    }

    /// The lock files given. An empty variable is one that is not set.
    pub(crate) fn locks(&self) -> Vec<PathBuf> {
        let mut locks = self.locks.clone();
        locks.retain(|path| !path.as_os_str().is_empty());
        locks
    }

    /// The folders of models, absolute.
    pub(crate) fn model_folders(&self) -> Vec<PathBuf> {
        let given = self
            .model_dirs
            .iter()
            .filter(|path| !path.as_os_str().is_empty());
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        given.map(absolute).collect()
    }

    /// Returns `true` if standard error gets colour.
    pub(crate) fn color(&self) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => wants_color(is_capable(), |name| {
                std::env::var(name).ok().filter(|value| !value.is_empty())
            }),
        }
    }
}

/// Returns `true` if standard error is a terminal that can move its cursor.
pub(crate) fn is_capable() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Returns `true` if colour is wanted, by the variables of <https://no-color.org> and
/// <https://bixense.com/clicolors>.
fn wants_color(is_capable: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_on = |name: &str| variable(name).is_some_and(|value| value != "0");
    let is_off = variable("CLICOLOR").is_some_and(|value| value == "0");
    variable("NO_COLOR").is_none() && (is_on("CLICOLOR_FORCE") || (is_capable && !is_off))
}

/// A pipeline and its overlays.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The pipeline; `-` is standard input, with paths relative to the working folder.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) layers: Layers,
}

/// Overlays, settings and variables of pipelines.
#[derive(Debug, Default, Args)]
pub(crate) struct Layers {
    /// A file to merge over the pipeline: mappings are merged, other values replaced,
    /// `null` removes. May be repeated.
    #[arg(short = 'f', long = "overlay", value_name = "FILE")]
    pub(crate) overlays: Vec<PathBuf>,
    /// Set a value, for example `models.0.enabled=false`. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// Override a variable of the pipeline. May be repeated.
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) var: Vec<String>,
    /// Model to keep, by its id; the others are switched off. May be repeated.
    #[arg(long = "model", value_name = "ID")]
    pub(crate) models: Vec<String>,
    /// Switch off models that are not here yet: neither at their `path` nor, with `files`, in the
    /// hub's cache folder or a folder of `--models`. Each is named once.
    #[arg(long)]
    pub(crate) only_present: bool,
    /// Treat warnings as errors.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) deny: Option<Deny>,
}

impl Layers {
    /// The words of a command line that stand for them.
    pub(crate) fn as_words(&self) -> Vec<String> {
        let overlays = self
            .overlays
            .iter()
            .map(|it| it.to_string_lossy().into_owned());
        let mut words: Vec<String> = Vec::new();
        let mut all = |option: &str, values: &mut dyn Iterator<Item = String>| {
            for value in values {
                words.extend([option.to_owned(), value]);
            }
        };
        all("--overlay", &mut overlays.into_iter());
        all("--set", &mut self.set.iter().cloned());
        all("--var", &mut self.var.iter().cloned());
        all("--model", &mut self.models.iter().cloned());
        if self.only_present {
            words.push("--only-present".to_owned());
        }
        if self.deny.is_some() {
            words.extend(["--deny".to_owned(), "warnings".to_owned()]);
        }
        words
    }
}

/// A run that the user chooses.
#[derive(Debug, Args)]
pub(crate) struct ChosenRun {
    /// The run: a folder or a name below the results folder. What only reads also takes a bundle,
    /// and `report` a `report.html` or `result.json`. `latest` is the last one that finished. Defaults to the newest that is over, even if cut
    /// short.
    run: Option<String>,
    /// Folder with runs.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
}

impl ChosenRun {
    /// Opens the run, also one in a bundle.
    pub(crate) fn open(&self) -> Result<Opened, Failure> {
        match &self.run {
            Some(name) => bundle::open(&self.results, name),
            None => Ok(Opened::newest(prony_journal::newest_run(&self.results)?)),
        }
    }

    /// The file with a result, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        let name = self.run.as_deref().filter(|name| !bundle::of(name))?;
        prony_journal::result_file(name)
    }

    /// The bundle, if it is one.
    pub(crate) fn bundle(&self) -> Option<&str> {
        self.run.as_deref().filter(|name| bundle::of(name))
    }

    /// The folder of the run, for what changes it; fails for a bundle.
    pub(crate) fn folder(&self) -> Result<RunFolder, Failure> {
        if let Some(name) = self.bundle() {
            let message = format!(
                "`{name}` is a bundle, which stays as it is: `tar -xzf {name}` unpacks it, and its folder can be given"
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        Ok(self.open()?.folder)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deny {
    /// Every warning not allowed by the pipeline.
    Warnings,
}

/// The commands by purpose, as shown in the help.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Measure",
        &[
            "try", "run", "resume", "merge", "launch", "rank", "aa", "plan",
        ],
    ),
    (
        "Look at results",
        &["report", "list", "compare", "history", "metrics", "export"],
    ),
    ("Prove results", &["verify", "attest", "bundle", "replay"]),
    (
        "Write pipelines",
        &[
            "init", "validate", "dataset", "doctor", "explain", "import", "schema",
        ],
    ),
    ("Plugins and models", &["plugin", "model"]),
    (
        "prony itself",
        &["selfcheck", "truth-server", "completions", "help"],
    ),
];

/// The command line for clap, with its help.
pub(crate) fn command() -> clap::Command {
    let mut command = Arguments::command();
    let commands = grouped(&command);
    command = command
        .help_template(format!(
            "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{commands}Global options:\n{{options}}\n{{after-help}}"
        ))
        .after_help(format!(
            "Exit codes: {}.\n\nExample: prony run pipelines/quickstart.yaml\n\n\
             `prony help COMMAND` explains a command, `prony help TOPIC` a topic: {}.",
            Exit::in_short(),
            crate::commands::help::TOPICS
                .map(|(name, _)| name)
                .join(", ")
        ));
    // From here on the commands have the global options, which their short help omits.
    command.build();
    let names: Vec<String> = command
        .get_subcommands()
        .map(|it| it.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, without_globals);
    }
    command
}

/// Hides the global options in the short help of a command and its subcommands.
fn without_globals(command: clap::Command) -> clap::Command {
    let below: Vec<String> = command
        .get_subcommands()
        .map(|it| it.get_name().to_owned())
        .collect();
    let command = command.mut_args(|argument| {
        let is_global = argument.get_help_heading() == Some(GLOBAL);
        argument.hide_short_help(is_global)
    });
    below.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, without_globals)
    })
}

fn grouped(command: &clap::Command) -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        let _ = writeln!(text, "{title}:");
        for name in names {
            let about = command
                .find_subcommand(name)
                .and_then(clap::Command::get_about)
                .map(ToString::to_string)
                .unwrap_or_default();
            let _ = writeln!(text, "  {name:13} {about}");
        }
        text += "\n";
    }
    text
}

/// Parses the arguments of this process; exits on a call for help, or an error.
pub(crate) fn parse() -> Arguments {
    let matches = command().try_get_matches();
    let matches = matches.unwrap_or_else(|error| shown(error).exit());
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// An error without the names of hidden commands.
fn shown(mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::MissingSubcommand {
        let names = GROUPS.iter().flat_map(|(_, names)| names.iter());
        let names = names.map(|name| (*name).to_owned()).collect();
        error.insert(ContextKind::ValidSubcommand, ContextValue::Strings(names));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_a_matter_of_the_terminal_and_the_usual_variables() {
        for (is_capable, variables, expected) in [
            (true, &[][..], true),
            (false, &[], false),
            (true, &[("NO_COLOR", "1")], false),
            (true, &[("CLICOLOR", "0")], false),
            (true, &[("CLICOLOR", "1")], true),
            (false, &[("CLICOLOR", "1")], false),
            (false, &[("CLICOLOR_FORCE", "1")], true),
            (false, &[("CLICOLOR_FORCE", "0")], false),
            (true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ] {
            let found = |name: &str| {
                let mut all = variables.iter();
                all.find(|(it, _)| *it == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(
                wants_color(is_capable, found),
                expected,
                "{is_capable} {variables:?}"
            );
        }
    }

    #[test]
    fn every_command_stands_in_one_group() {
        let command = Arguments::command();
        let shown = command.get_subcommands().filter(|it| !it.is_hide_set());
        let mut shown: Vec<&str> = shown.map(clap::Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|it| it.1).copied().collect();
        shown.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(shown, grouped);
    }

    /// The text after `Example:` in a command's help.
    fn example(command: &clap::Command) -> Option<String> {
        let text = command.get_after_help()?.to_string();
        let (_, example) = text.split_once("Example: ")?;
        Some(example.lines().next()?.to_owned())
    }

    #[test]
    fn every_example_is_understood() {
        let whole = command();
        for shown in whole.get_subcommands().filter(|it| !it.is_hide_set()) {
            let example = example(shown).unwrap_or_else(|| panic!("{}", shown.get_name()));
            let words = example.split(" > ").next().unwrap_or(&example);
            let parsed = command().try_get_matches_from(words.split_whitespace());
            let parsed = parsed.unwrap_or_else(|error| panic!("{example}: {error}"));
            let name = parsed.subcommand_name();
            assert_eq!(name, Some(shown.get_name()), "{example}");
        }
    }

    #[test]
    fn a_short_help_has_no_global_options_and_a_long_one_has() {
        for name in ["run", "compare", "plugin"] {
            let mut whole = command();
            let of = whole.find_subcommand_mut(name).expect("a command");
            let short = of.render_help().to_string();
            assert!(!short.contains("--cache"), "{short}");
            let long = of.render_long_help().to_string();
            assert!(long.contains("Global options:"), "{long}");
        }
        let top = command().render_help().to_string();
        assert!(
            top.contains("--cache") && !top.contains("truth-stdio"),
            "{top}"
        );
        let none = command().try_get_matches_from(["prony", "--quiet"]);
        let none = shown(none.expect_err("no command")).to_string();
        assert!(
            none.contains("doctor") && !none.contains("truth-stdio"),
            "{none}"
        );
    }

    #[test]
    fn clap_finds_nothing_to_complain_about() {
        command().debug_assert();
    }
}
