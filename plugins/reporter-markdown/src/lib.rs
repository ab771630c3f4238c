//! `report.md`: the result as a Markdown report.
//!
//! The report is a minijinja template ([`DEFAULT_TEMPLATE`]); the option `template`
//! replaces it. A template sees `result.json` as `result`, with these additions:
//!
//! - `result.models[].label`: the model and, where there are several, the matrix point
//!   and the `measure` stage;
//! - `result.models[].winner`: a name, `equivalent`, `inconclusive` or none;
//! - `result.models[].numbers`: `header` and `rows` of the metrics that are one number
//!   each;
//! - `result.models[].distributions[]`: `metric` (a title with unit), `engine` and
//!   `distribution`;
//! - `result.models[].problems`: problems, in sentences;
//! - `result.models[].comparisons[]`: `sentence`, `judgement_sentences` (a list: prefill,
//!   decode and other judgements), `judgement_lines` (the same in few lines), `difference`,
//!   `range`, `cycle_percents` and `notes` (the flags with their meaning);
//! - `result.models[].speeds`: `header` and `rows` of the numbers that a terminal shows;
//! - `result.cycles`: cycles made, of those planned, in words;
//! - `result.together`: sentences about several comparisons together, a list;
//! - `result.load` and `result.models[].engines[].load`: delivered and requested load, in
//!   words, or none;
//! - `result.models[].engines[].times_to_tokens`: pairs of a number of tokens and the
//!   distribution of the time to them;
//! - `result.selfcheck[].sentence`, if the pipeline asks for a selfcheck;
//! - `result.models[].noise_floor.sentence`: the machine's known noise, if there is a
//!   `noise_floor`;
//! - `result.engines[].config_json`: the config as indented JSON;
//! - `result.cells[].workload_json`: the workload of a matrix point as indented JSON, if
//!   it differs;
//! - `result.thresholds[]`: `label`, `what`, `bound`, `shown` and `word`;
//! - `summary.header` and `summary.rows`: the table at the top;
//! - `pictures`: the intervals as lines of characters under their scale, or none, and `legend`;
//! - `details`: the option of that name;
//! - `uniform`: `true` if every entry of `result.models` has the same workload.
//!
//! Filters, in addition to those of minijinja:
//!
//! - `md`: any value as literal Markdown text, also in a table; `md(80)` shortens it;
//! - `row`: a list as a line of a table, `rule`: the line below its heading;
//! - `fence`, `fence("json")`: a code block, shortened if it is long;
//! - `percentile`: a number, or `n too small`;
//! - `number`, `percent` (signed), `share` (of 0 to 1), `bytes`, `seconds`,
//!   `counted("noun")`: numbers as words; `counts`: a map of counts as a list.
//!
//! A block (`{% … %}`) takes the rest of its line with it, and an unknown name is an
//! error.

mod markup;
mod template;
mod view;

use minijinja::Environment;
use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::{About, Artifact, Error, Reporter, Result, about, plugin};

/// The template of the report.
pub const DEFAULT_TEMPLATE: &str = include_str!("report.md.jinja");

/// Options of the reporter.
#[derive(Debug, Clone, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Text of a minijinja template that replaces the built-in one.
    template: Option<String>,
    /// Opens the folded details of the built-in template. Defaults to what `--details` says.
    #[schemars(extend("x-prony-role" = "details"))]
    details: bool,
}

/// The reporter.
#[derive(Debug)]
pub struct Markdown {
    templates: Environment<'static>,
    config: Config,
}

impl Config {
    fn source(&self) -> &str {
        self.template.as_deref().unwrap_or(DEFAULT_TEMPLATE)
    }

    fn explain(&self, error: &minijinja::Error) -> Error {
        template::error(error, self.source(), self.template.is_some())
    }
}

impl Reporter for Markdown {
    type Config = Config;
    const ABOUT: About = about!(
        "markdown",
        "Results as a Markdown report, by a template of your own if you like"
    );

    fn new(config: Config) -> Result<Self> {
        let templates =
            template::environment(config.source()).map_err(|error| config.explain(&error))?;
        Ok(Self { templates, config })
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let view = view::view(result, self.config.details)?;
        let text = template::render(&self.templates, &view)
            .map_err(|error| self.config.explain(&error))?;
        Ok(vec![Artifact::text("report.md", "text/markdown", text)])
    }
}

plugin!(reporter: Markdown);
