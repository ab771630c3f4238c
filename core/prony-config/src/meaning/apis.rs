//! The workload's form of requests, against those that the engines take.

use prony_diagnostic::Diagnostic;
use serde_json::{Map, Value};

use super::{Document, is_false, is_hole, known};
use crate::plugins::plugin_of;
use crate::tree::{Entry, Node, Span};
use crate::wording::literal;
use crate::{Api, PluginKind, codes};

impl Document<'_> {
    pub(super) fn apis(&self, out: &mut Vec<Diagnostic>) {
        let workload = self.entry("workload").map(|section| &section.value);
        let Some(workload) = workload.filter(|it| !it.kind.is_null() && !is_hole(it)) else {
            return;
        };
        let stated = workload.entry("api");
        let api = match stated.map(|entry| entry.value.text()) {
            None | Some(Some("chat")) => Api::Chat,
            Some(Some("completions")) => Api::Completions,
            // Known at a matrix point, or reported by the schema.
            Some(_) => return,
        };
        if api == Api::Completions {
            self.template_without_chat(stated, out);
        }
        for (plugin, span, config) in self.engine_plugins() {
            let apis = self.plugins.apis(plugin, &config);
            if apis.contains(&api) {
                continue;
            }
            if api == Api::Chat && apis.contains(&Api::Completions) {
                self.with_raw_prompts(workload, plugin, &span, out);
                continue;
            }
            let wanted = match api {
                Api::Chat => "chat",
                Api::Completions => "completions",
            };
            let message = format!("{} does not take `api: {wanted}`", literal(plugin));
            let mut problem =
                Diagnostic::error(codes::API, message).at(span, "would refuse every request");
            if let Some(stated) = stated {
                problem = problem.and(stated.value.span.clone(), "the form of the requests");
            }
            out.push(problem.help(if apis.contains(&Api::Chat) {
                "use `api: chat`, or another engine"
            } else {
                "use another engine"
            }));
        }
    }

    /// Checks that prony can render conversations for an engine that takes raw prompts.
    fn with_raw_prompts(
        &self,
        workload: &Node,
        plugin: &str,
        span: &Span,
        out: &mut Vec<Diagnostic>,
    ) {
        let takes = format!("{} takes raw prompts", literal(plugin));
        if let Some(images) = workload.entry("images") {
            out.push(
                Diagnostic::error(
                    codes::IMAGES,
                    format!("{takes}, which have no place for images"),
                )
                .at(images.key_span.clone(), "would not be sent")
                .and(span.clone(), "takes raw prompts")
                .help("leave the images out, or the engine"),
            );
        }
        // A pair left out of the matrix needs nothing; which are, a point knows.
        let matrix = self.entry("matrix");
        if matrix.is_some_and(|matrix| matrix.value.entry("exclude").is_some()) {
            return;
        }
        let is_on = |model: &&Node| !model.entry("enabled").is_some_and(|it| is_false(&it.value));
        for model in self.model_nodes().into_iter().filter(is_on) {
            let id = model
                .entry("id")
                .and_then(|id| Some((id, known(&id.value)?)));
            let has = |key: &str| model.entry(key).is_some();
            let (Some((entry, id)), false) = (id, has("path") || has("files") || has("tokenizer"))
            else {
                continue;
            };
            out.push(
                Diagnostic::error(
                    codes::CHAT_TEMPLATE,
                    format!("there is no chat template of {} to render", literal(id)),
                )
                .at(entry.value.span.clone(), "has neither `path` nor `tokenizer`")
                .and(span.clone(), "takes raw prompts")
                .note("prony renders a conversation with the model's own chat template for an engine that takes raw prompts")
                .help("add the `path` of the model's folder or GGUF file, or use `api: completions`"),
            );
        }
    }

    /// Finds chat templates that are never rendered.
    fn template_without_chat(&self, api: Option<&Entry>, out: &mut Vec<Diagnostic>) {
        for model in self.model_nodes() {
            let (Some(template), Some(api)) = (model.entry("chat_template"), api) else {
                continue;
            };
            out.push(
                Diagnostic::error(
                    codes::CHAT_TEMPLATE,
                    "`chat_template` does not go with `completions`",
                )
                .at(template.key_span.clone(), "would not be rendered")
                .and(api.value.span.clone(), "sends prompts as they are")
                .help("use `api: chat`, or remove `chat_template`"),
            );
        }
    }

    /// The engines' installed plugins, each with its place and its config.
    fn engine_plugins(&self) -> Vec<(&str, Span, Map<String, Value>)> {
        let one = self.entry("engine").map(|engine| &engine.value);
        let several = self.entry("engines").map(|engines| engines.value.entries());
        let several = several.unwrap_or_default().iter().map(|entry| &entry.value);
        let plugins = one.into_iter().chain(several).filter_map(|engine| {
            let plugin = plugin_of(engine)?;
            let config = engine.entry("config").map(|config| config.value.to_json());
            let config = match config {
                Some(Value::Object(config)) => config,
                _ => Map::new(),
            };
            Some((known(plugin)?, plugin.span.clone(), config))
        });
        let is_installed = |name: &str| {
            let schema = self.plugins.config_schema(PluginKind::Engine, name);
            schema.is_some()
        };
        plugins.filter(|(name, ..)| is_installed(name)).collect()
    }
}
