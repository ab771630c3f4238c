//! `prony completions`

use crate::{Exit, arguments, output};
use clap::Args;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: prony completions bash > ~/.local/share/bash-completion/completions/prony"
)]
pub(crate) struct Arguments {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut arguments::command(),
        "prony",
        &mut script,
    );
    output::write(&script);
    Exit::Ok
}
