//! `prony explain`

use crate::{Exit, Failure, Outcome};
use prony_config::CODES;

pub(crate) fn run(code: Option<&str>) -> Outcome {
    let Some(code) = code else {
        for code in CODES {
            println!("{}  {}", code.code, code.summary);
        }
        return Ok(Exit::Ok);
    };
    let wanted = code.to_ascii_uppercase();
    let page = prony_config::explain(&wanted).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("there is no code `{code}`: `prony explain` lists all"),
        )
    })?;
    println!("{}", page.trim_end());
    Ok(Exit::Ok)
}
