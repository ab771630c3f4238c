//! `report.html`: the result as one page with figures.
//!
//! The page is one file that needs nothing else: no network, no library, and no script to be
//! complete. Figures are SVG; the script only adds a line that reads out the point next to the
//! pointer. The result itself is embedded, so that `prony report` and `prony compare` can read
//! the page.

mod figures;
mod page;
mod scale;
mod svg;

use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{About, Artifact, Reporter, Result, Want, about, plugin};

/// Options of the reporter: none.
#[derive(Debug, Clone, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// The reporter.
#[derive(Debug)]
pub struct Html;

impl Reporter for Html {
    type Config = Config;
    const ABOUT: About = about!("html", "Results as one page with figures");
    const WANTS: &'static [Want] = &[Want::Detail];

    fn new(_: Config) -> Result<Self> {
        Ok(Self)
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let page = page::page(result)?;
        Ok(vec![Artifact::text("report.html", "text/html", page)])
    }
}

plugin!(reporter: Html);
