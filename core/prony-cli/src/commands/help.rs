//! `prony help`: the help of a command, or a page on a topic.

use crate::{Exit, Failure, Outcome, arguments, output};
use clap::Args;

/// The topics with their pages; the one on exit codes is made from [`Exit`].
pub(crate) const TOPICS: [(&str, &str); 5] = [
    ("environment", include_str!("../../help/environment.md")),
    ("exit-codes", ""),
    ("pipelines", include_str!("../../help/pipelines.md")),
    ("plugins", include_str!("../../help/plugins.md")),
    ("results", include_str!("../../help/results.md")),
];

#[derive(Debug, Args)]
#[command(after_help = "Example: prony help exit-codes")]
pub(crate) struct Arguments {
    /// A command, or one of the topics environment, exit-codes, pipelines, plugins and
    /// results.
    #[arg(value_name = "COMMAND|TOPIC")]
    names: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut command = arguments::command();
    let Some((first, more)) = arguments.names.split_first() else {
        output::write(command.render_long_help().to_string().as_bytes());
        return Ok(Exit::Ok);
    };
    if let (Some(page), []) = (page(first), more) {
        output::lines(&page);
        return Ok(Exit::Ok);
    }
    let mut shown = &mut command;
    for name in &arguments.names {
        let known: Vec<String> = shown
            .get_subcommands()
            .filter(|it| !it.is_hide_set())
            .map(|it| it.get_name().to_owned())
            .chain(TOPICS.map(|(topic, _)| topic.to_owned()))
            .collect();
        let Some(found) = shown.find_subcommand_mut(name) else {
            let similar = prony_config::similar(name, known.iter().map(String::as_str))
                .map_or_else(String::new, |similar| {
                    format!("; did you mean `{similar}`?")
                });
            let message = format!("there is no help on `{name}`{similar}");
            return Err(Failure::new(Exit::Usage, message));
        };
        shown = found;
    }
    output::write(shown.render_long_help().to_string().as_bytes());
    Ok(Exit::Ok)
}

/// The page on a topic.
fn page(name: &str) -> Option<String> {
    let (_, page) = TOPICS.iter().find(|(topic, _)| *topic == name)?;
    if !page.is_empty() {
        return Some((*page).to_owned());
    }
    let lines = Exit::ALL.map(|exit| format!("  {:3}  {}", exit as u8, exit.meaning()));
    Some(format!(
        "Exit codes of all commands:\n\n{}",
        lines.join("\n")
    ))
}
