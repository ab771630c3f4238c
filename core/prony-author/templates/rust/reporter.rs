//! A reporter: a line for each engine. prony writes the files that it returns.

use prony_plugin_sdk::result::RunResult;
use prony_plugin_sdk::*;

/// Options under `reporters.<name>.config`. Doc comments become the schema that
/// `prony validate` checks and editors complete.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Separator between two fields. Defaults to a tab.
    #[serde(default = "tab")]
    separator: String,
}

fn tab() -> String {
    "\t".to_owned()
}

/// A name for a line: without what would break the line, or command a terminal.
fn field(text: &str) -> String {
    text.replace(char::is_control, " ")
}

struct Lines {
    separator: String,
}

plugin!(reporter: Lines);

impl Reporter for Lines {
    type Config = Config;
    const ABOUT: About = about!("{{ name }}", "{{ description }}");

    fn new(config: Config) -> Result<Self> {
        Ok(Self { separator: config.separator })
    }

    fn render(&self, result: &RunResult) -> Result<Vec<Artifact>> {
        let mut text = ["model", "engine", "output_tokens_per_sec"].join(&self.separator) + "\n";
        for model in &result.models {
            for engine in &model.engines {
                // A number that could not be measured is left out.
                let speed = engine.output_tokens_per_sec.map_or_else(String::new, |it| it.to_string());
                text += &[field(&model.label()), field(&engine.engine), speed].join(&self.separator);
                text.push('\n');
            }
        }
        Ok(vec![Artifact::text("{{ name }}.tsv", "text/tab-separated-values", text)])
    }
}
