//! `result.json`: the complete result, for other tools.
//!
//! The file is the [`RunResult`] itself, as described by `schemas/result.v1.json`. The
//! same result gives the same bytes, and reading the file back gives the same result:
//! fields keep their order, and numbers are read and written without loss.

use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{About, Artifact, Error, ErrorKind, Reporter, Result, about, plugin, words};

/// Options of the reporter.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Indents the file; otherwise it is one line.
    pretty: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { pretty: true }
    }
}

/// The reporter.
#[derive(Debug)]
pub struct Json {
    config: Config,
}

impl Reporter for Json {
    type Config = Config;
    const ABOUT: About = about!("json", "The whole result as JSON, for other tools");

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config })
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let write = if self.config.pretty {
            serde_json::to_string_pretty
        } else {
            serde_json::to_string
        };
        let mut text =
            write(result).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        // A file is printed, too.
        text = words::safe_json(&text);
        text.push('\n');
        Ok(vec![Artifact::text(
            "result.json",
            "application/json",
            text,
        )])
    }
}

plugin!(reporter: Json);
