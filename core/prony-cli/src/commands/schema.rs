//! `prony schema`

use crate::arguments::Global;
use crate::commands::print_json;
use crate::{Exit, Failure, Outcome, plugins};
use clap::{Args, ValueEnum};
use prony_contract::Kind;
use prony_history::Record;
use prony_result::RunResult;

#[derive(Debug, Args)]
#[command(after_help = "Example: prony schema pipeline --with-plugins")]
pub(crate) struct Arguments {
    /// The schema to print.
    #[arg(value_enum, default_value_t)]
    pub(crate) of: SchemaOf,
    /// For `pipeline` and `overlay`: include the options of the installed plugins, for an editor.
    #[arg(long)]
    pub(crate) with_plugins: bool,
    /// For `plugin`: the plugin's name.
    #[arg(required_if_eq("of", "plugin"))]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// Pipeline files.
    #[default]
    Pipeline,
    /// Files that are laid over a pipeline (`--overlay`), or extend one.
    Overlay,
    /// `result.json`.
    Result,
    /// `prony.lock`.
    Lock,
    /// A line of a history.
    History,
    /// The `config` of an installed plugin.
    Plugin,
}

pub(crate) fn run(global: &Global, schema: &Arguments) -> Outcome {
    if schema.name.is_some() && schema.of != SchemaOf::Plugin {
        let message = "only `prony schema plugin` takes a name";
        return Err(Failure::new(Exit::Usage, message));
    }
    let is_pipeline = [SchemaOf::Pipeline, SchemaOf::Overlay].contains(&schema.of);
    if schema.with_plugins && !is_pipeline {
        let message = "only `pipeline` and `overlay` go with `--with-plugins`";
        return Err(Failure::new(Exit::Usage, message));
    }
    let json = match schema.of {
        SchemaOf::Pipeline if schema.with_plugins => {
            let registry = plugins::registry(global)?;
            prony_config::schema_with_plugins(&plugins::Locked(&registry))
        }
        SchemaOf::Pipeline => prony_config::schema(),
        SchemaOf::Overlay if schema.with_plugins => {
            let registry = plugins::registry(global)?;
            prony_config::overlay_schema_with_plugins(&plugins::Locked(&registry))
        }
        SchemaOf::Overlay => prony_config::overlay_schema(),
        SchemaOf::Lock => prony_plugin_host::lock_schema(),
        SchemaOf::Result => {
            let mut schema = schemars::schema_for!(RunResult);
            schema.insert("$id".to_owned(), "result.v1.json".into());
            schema.to_value()
        }
        SchemaOf::History => {
            let mut schema = schemars::schema_for!(Record);
            schema.insert("$id".to_owned(), "history.v1.json".into());
            schema.to_value()
        }
        SchemaOf::Plugin => {
            let registry = plugins::registry(global)?;
            let name = schema.name.as_deref().unwrap_or_default();
            let of = |kind| {
                registry
                    .find(kind, name)
                    .ok()
                    .map(|(entry, _)| entry.config_schema.clone())
            };
            of(Kind::Engine)
                .or_else(|| of(Kind::Reporter))
                .ok_or_else(|| {
                    Failure::new(
                        Exit::Usage,
                        format!(
                            "no plugin `{name}` is installed: `prony plugin list` shows what is"
                        ),
                    )
                })?
        }
    };
    print_json(&json)?;
    Ok(Exit::Ok)
}
