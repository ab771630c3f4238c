//! Configurations of other tools: any text gives a pipeline that loads, or an error.
#![no_main]

use engine_openai::OpenAi;
use libfuzzer_sys::{Corpus, fuzz_target};
use prony_config::{Api, PluginKind, Plugins, load};
use prony_diagnostic::{Diagnostic, human};
use prony_importers::IMPORTERS;
use prony_plugin_sdk::Engine;
use serde_json::{Map, Value, json};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else {
        return Corpus::Reject;
    };
    for importer in IMPORTERS {
        match (importer.import)("fuzz.yaml", text) {
            Ok(imported) => {
                assert!(!imported.notes.iter().any(Diagnostic::is_error));
                human(&imported.notes, true);
                if let Err(problems) = load("imported.yaml", &imported.pipeline, &Used) {
                    let shown = human(&problems, false);
                    panic!(
                        "what was imported does not load:\n{shown}\n{}",
                        imported.pipeline
                    );
                }
            }
            Err(problems) => {
                assert!(problems.iter().any(Diagnostic::is_error), "no error");
                human(&problems, true);
            }
        }
    }
    Corpus::Keep
});

/// The plugins that imported pipelines use.
struct Used;

impl Plugins for Used {
    fn config_schema(&self, kind: PluginKind, name: &str) -> Option<Value> {
        match (kind, name) {
            (PluginKind::Engine, "mlx-serving") => Some(json!({ "type": "object" })),
            (PluginKind::Engine, name) => {
                let mut recipes = OpenAi::recipes().into_iter();
                let recipe = recipes.find(|it| it.name == name);
                recipe.map(|it| it.config_schema)
            }
            (PluginKind::Reporter, "console" | "html" | "json" | "markdown") => {
                Some(json!({ "type": "object", "additionalProperties": false }))
            }
            (PluginKind::Reporter, _) => None,
        }
    }

    fn apis(&self, engine: &str, _config: &Map<String, Value>) -> Vec<Api> {
        match engine {
            "mlx-serving" => vec![Api::Completions],
            _ => vec![Api::Chat, Api::Completions],
        }
    }

    fn names(&self, kind: PluginKind) -> Vec<String> {
        let names: &[&str] = match kind {
            PluginKind::Engine => &["mlx-engine", "mlx-serving", "mlx-vlm"],
            PluginKind::Reporter => &["console", "html", "json", "markdown"],
        };
        names.iter().map(ToString::to_string).collect()
    }
}
