//! `summary.md` and `annotations.txt`, for GitHub Actions.
//!
//! The summary is for `$GITHUB_STEP_SUMMARY`, which drops one of more than a mebibyte as a whole:
//! this has at most 1,000,000 bytes, the worst first. Annotations are workflow commands, one a
//! line, for the standard output of a step. GitHub shows 10 of a kind, so there are at most 10,
//! the worst first, and the last says how many more there are.

mod annotation;
mod finding;
mod summary;

use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{About, Artifact, Reporter, Result, about, plugin};

/// Options of the reporter.
#[derive(Debug, Clone, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Prints the annotations, too, for a step that runs prony itself.
    print: bool,
}

/// The reporter.
#[derive(Debug)]
pub struct Github {
    config: Config,
}

impl Reporter for Github {
    type Config = Config;
    const ABOUT: About = about!(
        "github",
        "A step summary and annotations for GitHub Actions"
    );

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config })
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let findings = finding::findings(result);
        let commands = annotation::commands(&findings);
        let summary = summary::summary(result, &findings);
        let mut artifacts = vec![
            Artifact::text("summary.md", "text/markdown", summary),
            Artifact::text("annotations.txt", "text/plain", commands.clone()),
        ];
        if self.config.print {
            artifacts.push(Artifact::text("stdout", "text/plain", commands));
        }
        Ok(artifacts)
    }
}

plugin!(reporter: Github);
