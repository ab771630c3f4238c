//! `prony explain`: pages about codes of diagnostics and about flags of comparisons.

use crate::{Exit, Failure, Outcome};
use clap::Args;
use prony_config::CODES;
use prony_result::words::Flag;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony explain P0101")]
pub(crate) struct Arguments {
    /// The code or flag; without it all are listed.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let Some(name) = &arguments.name else {
        for code in CODES {
            println!("{}  {}", code.code, code.summary);
        }
        for flag in Flag::ALL {
            println!("{}  {}", flag.name(), flag.meaning());
        }
        return Ok(Exit::Ok);
    };
    let code = prony_config::explain(&name.to_ascii_uppercase());
    let page = code.or_else(|| Flag::named(name).map(prony_metrics::explain::explain));
    let page = page.ok_or_else(|| Failure::new(Exit::Usage, unknown(name)))?;
    println!("{}", page.trim_end());
    Ok(Exit::Ok)
}

/// What is said of a name that has no page: which one was probably meant.
fn unknown(name: &str) -> String {
    let codes = CODES.iter().map(|code| code.code);
    let flags = Flag::ALL.into_iter().map(Flag::name);
    let similar = prony_config::similar(name, codes.chain(flags))
        .map_or_else(String::new, |it| format!(", but one on `{it}`"));
    format!("there is no page on `{name}`{similar}: `prony explain` lists all")
}
