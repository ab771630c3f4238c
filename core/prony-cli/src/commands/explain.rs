//! `prony explain`

use crate::commands::print;
use crate::{Exit, Failure, Outcome};
use prony_config::CODES;

pub(crate) fn run(code: Option<&str>) -> Outcome {
    let Some(code) = code else {
        for code in CODES {
            print(&format!("{}  {}", code.code, code.summary))?;
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
    print(page.trim_end())?;
    Ok(Exit::Ok)
}
