//! `prony reference`: docs/cli.md, made from the same definitions as the help.

use crate::{Exit, arguments, output};
use std::fmt::Write as _;

pub(crate) fn run() -> Exit {
    output::lines(&markdown());
    Exit::Ok
}

fn markdown() -> String {
    let whole = arguments::command();
    let mut text = "# Commands\n\n<!-- Made by `cargo xtask codegen`. -->\n\n\
        `prony help COMMAND` shows the same in a terminal. Every command has the global \
        options.\n"
        .to_owned();
    section(&mut text, "Global options", &mut without_commands(&whole));
    for command in whole.get_subcommands().filter(|it| !it.is_hide_set()) {
        let name = command.get_name();
        let _ = write!(text, "\n## prony {name}\n\n{}\n", about(command));
        usage(&mut text, command);
        for below in command
            .get_subcommands()
            .filter(|it| it.get_name() != "help")
        {
            let _ = write!(
                text,
                "\n### prony {name} {}\n\n{}\n",
                below.get_name(),
                about(below)
            );
            usage(&mut text, below);
        }
    }
    text += "\n## Exit codes\n\n| Code | Meaning |\n|---|---|\n";
    for exit in Exit::ALL {
        let _ = writeln!(text, "| {} | {} |", exit as u8, exit.meaning());
    }
    text
}

/// Only the program's own options.
fn without_commands(whole: &clap::Command) -> clap::Command {
    let options = whole.get_arguments().cloned();
    clap::Command::new("prony").args(options)
}

fn section(text: &mut String, title: &str, command: &mut clap::Command) {
    let _ = write!(text, "\n## {title}\n");
    table(text, command);
}

fn about(command: &clap::Command) -> String {
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    sentence(&about)
}

/// A text on one line, with a full stop unless it ends in punctuation.
fn sentence(text: &str) -> String {
    let line = text.trim().replace("\n\n", " ").replace('\n', " ");
    if line.is_empty() || line.ends_with(['.', '?']) {
        line
    } else {
        line + "."
    }
}

fn usage(text: &mut String, command: &clap::Command) {
    let mut command = command.clone();
    let line = command.render_usage().to_string();
    let line = line.trim_start_matches("Usage: ").trim();
    let _ = write!(text, "\n```text\n{line}\n```\n");
    table(text, &command);
    if let Some(after) = command.get_after_help().map(ToString::to_string) {
        let _ = write!(text, "\n{}\n", after.trim_end());
    }
}

/// A table of arguments and options, without global ones.
fn table(text: &mut String, command: &clap::Command) {
    let is_own = |it: &&clap::Arg| {
        command.get_name() == "prony" || it.get_help_heading() != Some("Global options")
    };
    let own = command
        .get_arguments()
        .filter(|it| !it.is_hide_set() && !["help", "version"].contains(&it.get_id().as_str()))
        .filter(is_own);
    let rows: Vec<String> = own
        .map(|argument| {
            let help = argument.get_long_help().or(argument.get_help());
            let mut help = sentence(&help.map(ToString::to_string).unwrap_or_default());
            let values: Vec<String> = argument
                .get_possible_values()
                .iter()
                .filter(|it| !it.is_hide_set())
                .map(|it| format!("`{}`", it.get_name()))
                .collect();
            let takes_value = argument.get_action().takes_values();
            if takes_value && !values.is_empty() {
                let _ = write!(help, " One of {}.", values.join(", "));
            }
            let defaults: Vec<String> = argument
                .get_default_values()
                .iter()
                .map(|it| format!("`{}`", it.to_string_lossy()))
                .collect();
            if takes_value && !defaults.is_empty() {
                let _ = write!(help, " Default: {}.", defaults.join(", "));
            }
            if let Some(variable) = argument.get_env() {
                let _ = write!(help, " Environment: `{}`.", variable.to_string_lossy());
            }
            format!("| `{}` | {} |", shown(argument), help.replace('|', "\\|"))
        })
        .collect();
    if !rows.is_empty() {
        let _ = write!(
            text,
            "\n| Argument | Meaning |\n|---|---|\n{}\n",
            rows.join("\n")
        );
    }
}

/// `-f, --overlay FILE`, or `FILE`.
fn shown(argument: &clap::Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let value: Vec<&str> = names.iter().map(clap::builder::Str::as_str).collect();
    let value = value.join(" ");
    let long = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    let name: Vec<String> = short.into_iter().chain(long).collect();
    let name = name.join(", ");
    match (name.is_empty(), argument.get_action().takes_values()) {
        (true, _) => value,
        (false, true) => format!("{name} {value}"),
        (false, false) => name,
    }
}
