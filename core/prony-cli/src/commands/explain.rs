//! `prony explain`: pages about codes of diagnostics, flags of comparisons and metrics.

use crate::{Exit, Failure, Outcome, output};
use clap::Args;
use prony_config::CODES;
use prony_history::CODES as HISTORY_CODES;
use prony_plugin_host::CODES as PLUGIN_CODES;
use prony_result::{Metric, words::Flag};

/// Name of the page about all metrics.
const METRICS: &str = "metrics";

#[derive(Debug, Args)]
#[command(after_help = "Example: prony explain P0101")]
pub(crate) struct Arguments {
    /// The code or flag, or `metrics`. Without it, all are listed.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let Some(name) = &arguments.name else {
        for code in CODES {
            println!("{}  {}", code.code, code.summary);
        }
        for code in PLUGIN_CODES {
            println!("{}  {}", code.code, code.summary);
        }
        for code in HISTORY_CODES {
            println!("{}  {}", code.code, code.summary);
        }
        for flag in Flag::ALL {
            println!("{}  {}", flag.name(), flag.meaning());
        }
        return Ok(Exit::Ok);
    };
    if name == METRICS || Metric::named(name).is_some() {
        output::write(prony_metrics::explain::metrics().as_bytes());
        return Ok(Exit::Ok);
    }
    let code = name.to_ascii_uppercase();
    let of_plugin = || PLUGIN_CODES.iter().find(|it| it.code == code);
    let of_history = || HISTORY_CODES.iter().find(|it| it.code == code);
    let page = prony_config::explain(&code).or_else(|| of_plugin().map(|it| it.page));
    let page = page.or_else(|| of_history().map(|it| it.page));
    let page = page.or_else(|| Flag::named(name).map(prony_metrics::explain::explain));
    let page = page.ok_or_else(|| Failure::new(Exit::Usage, unknown(name)))?;
    output::lines(page);
    Ok(Exit::Ok)
}

/// The message for a name without a page, with the name that was probably meant.
fn unknown(name: &str) -> String {
    let codes = CODES.iter().map(|code| code.code);
    let flags = Flag::ALL.into_iter().map(Flag::name);
    // A code of another letter is about something else.
    let first = |name: &str| name.chars().next().map(|it| it.to_ascii_lowercase());
    let codes = codes.chain(PLUGIN_CODES.iter().map(|code| code.code));
    let codes = codes.chain(HISTORY_CODES.iter().map(|code| code.code));
    let pages = codes.chain(flags).chain([METRICS]);
    let pages = pages.filter(|page| first(page) == first(name));
    let similar = prony_config::similar(name, pages)
        .map_or_else(String::new, |it| format!(", but one on `{it}`"));
    format!(
        "there is no page on `{name}`{similar}: `prony explain` lists all, and `prony explain metrics` the metrics"
    )
}
