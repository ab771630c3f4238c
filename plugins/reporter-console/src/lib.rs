//! Results as aligned tables for a terminal.
//!
//! Plain text without colour: a reporter does not know where its text ends up. Tables fit
//! into `width` columns; long names are shortened in the middle, and if that is not
//! enough, the least important columns are dropped (and named).

mod report;
mod table;
mod text;

use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{About, Artifact, Error, Reporter, Result, about, plugin};

/// Minimum width that shows the engines and their speed.
const MIN_WIDTH: usize = 40;

/// Options of the reporter.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Columns of the table, at least 40. Defaults to the terminal's, or to 120 where there is
    /// none.
    #[schemars(range(min = 40), extend("x-prony-role" = "width"))]
    width: usize,
    /// Every finding as a sentence, and what was counted and set beside the numbers. Defaults to
    /// what `--details` says.
    #[schemars(extend("x-prony-role" = "details"))]
    details: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            width: 120,
            details: false,
        }
    }
}

/// The reporter.
#[derive(Debug)]
pub struct Console {
    config: Config,
}

impl Reporter for Console {
    type Config = Config;
    const ABOUT: About = about!("console", "Results as an aligned table for a terminal");

    fn new(config: Config) -> Result<Self> {
        if config.width < MIN_WIDTH {
            return Err(Error::config(
                "/width",
                format!("must be at least {MIN_WIDTH}"),
            ));
        }
        Ok(Self { config })
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let text = report::report(result, &self.config);
        Ok(vec![Artifact::text("stdout", "text/plain", text)])
    }
}

plugin!(reporter: Console);
