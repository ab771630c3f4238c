//! `prony explain`: pages about codes of diagnostics and about flags of comparisons.

use crate::{Exit, Failure, Outcome};
use prony_config::CODES;
use prony_plugin_sdk::words::Flag;

pub(crate) fn run(name: Option<&str>) -> Outcome {
    let Some(name) = name else {
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

/// What is said of a name that has no page, with those that are like it.
fn unknown(name: &str) -> String {
    const SHOWN: usize = 3;
    let digits = |char: char| char.is_ascii_digit();
    let alike = match name.contains(digits) {
        true => name.to_ascii_uppercase(),
        false => name.to_ascii_lowercase(),
    };
    let codes = CODES.iter().map(|code| code.code);
    let flags = Flag::ALL.into_iter().map(Flag::name);
    let near = prony_config::nearest(&alike, codes.chain(flags));
    let near: Vec<String> = near
        .iter()
        .take(SHOWN)
        .map(|it| format!("`{it}`"))
        .collect();
    format!(
        "there is no page `{name}`; near are {}, and `prony explain` lists all",
        near.join(", ")
    )
}
