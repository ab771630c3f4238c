//! Recipes: known engines as data, one file each in `recipes/`, and the adapter's config
//! that follows from one and its options.

use crate::config::{self, Config, EndMark, Launch, Probe, Word};
use crate::protocol::Protocol;
use prony_plugin_sdk::{Api, CounterKind, Endpoint, Error, Model, Packages, Recipe};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Name and file of each recipe, by name.
const FILES: &[(&str, &str)] = &[
    ("koboldcpp", include_str!("../recipes/koboldcpp.json")),
    ("llama-cpp", include_str!("../recipes/llama-cpp.json")),
    ("lm-studio", include_str!("../recipes/lm-studio.json")),
    ("mlx-engine", include_str!("../recipes/mlx-engine.json")),
    ("mlx-lm", include_str!("../recipes/mlx-lm.json")),
    ("mlx-vlm", include_str!("../recipes/mlx-vlm.json")),
    ("ollama", include_str!("../recipes/ollama.json")),
    ("openvino", include_str!("../recipes/openvino.json")),
    ("sglang", include_str!("../recipes/sglang.json")),
    ("tabbyapi", include_str!("../recipes/tabbyapi.json")),
    ("tgi", include_str!("../recipes/tgi.json")),
    ("transformers", include_str!("../recipes/transformers.json")),
    ("vllm", include_str!("../recipes/vllm.json")),
];

/// A recipe's file. Texts may have placeholders: `{model}` is the model's path, or its id
/// if it has none; `{path}`, `{id}`, `{folder}` and `{name}` (of the path), `{host}` and
/// `{port}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    description: String,
    /// Version and system that it was run with; `None` if it was written from documentation
    /// and never run.
    tried: Option<String>,
    /// Forms of requests that the engine takes, by one protocol or another.
    #[serde(default = "Api::all")]
    apis: Vec<Api>,
    /// Protocols that it speaks, the one to use first.
    #[serde(default = "openai")]
    protocols: Vec<Protocol>,
    /// Way to install the engine, by system: `linux`, `macos` or `any`.
    #[serde(default)]
    install: BTreeMap<String, String>,
    /// Packages that prony installs when it is asked to.
    packages: Option<Packages>,
    /// Peculiarities of the engine, a sentence each.
    #[serde(default)]
    notes: Vec<String>,
    /// Base URL of a server that already runs, for an engine that prony does not start.
    attach: Option<String>,
    /// The program and its first arguments.
    #[serde(default)]
    program: Vec<String>,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    options: BTreeMap<String, Setting>,
    #[serde(default)]
    request: Requests,
    #[serde(default)]
    ready: Probe,
    /// The engine's own account, by path.
    #[serde(default)]
    tells: BTreeMap<String, Told>,
    /// Path of a `POST` that empties the prefix cache.
    reset: Option<String>,
}

/// Places in an answer of the engine about itself: JSON pointers or Prometheus metrics.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Told {
    settings: BTreeMap<String, Place>,
    counters: BTreeMap<CounterKind, String>,
}

/// Place of a setting in an answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    at: String,
    /// Option that asks for it, if it has another name.
    option: Option<String>,
    /// Option by whose value that one's is divided: what several share.
    shared_by: Option<String>,
}

fn openai() -> Vec<Protocol> {
    vec![Protocol::Openai]
}

/// An option of a recipe.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    /// JSON Schema of its value, with its default.
    schema: Value,
    /// Effect of `true` or of any other value, which replaces `{value}` in texts.
    #[serde(default)]
    on: Effect,
    /// Effect of `false`.
    #[serde(default)]
    off: Effect,
}

impl Setting {
    /// JSON Schema of its value, with the engine's own names for it: those of its flags.
    fn named(&self) -> Value {
        let mut schema = self.schema.clone();
        let words = self.on.arguments.iter().chain(&self.off.arguments);
        let flags = words.filter_map(|word| word.strip_prefix("--"));
        let flags = flags.map(|flag| flag.split('=').next().unwrap_or(flag));
        let names: BTreeSet<String> = flags.map(|flag| flag.replace('-', "_")).collect();
        if !names.is_empty() {
            schema["x-prony-aliases"] = json!(names);
        }
        schema
    }
}

/// Effect of an option on the command and on requests.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Effect {
    /// The program, instead of the first word of [`File::program`].
    program: Option<String>,
    arguments: Vec<String>,
    env: BTreeMap<String, String>,
    body: Map<String, Value>,
}

/// Differences of the engine's requests from the adapter's usual ones.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Requests {
    /// Model name to send.
    model: Option<String>,
    api_key: Option<String>,
    /// Path before every request's path, for example `/v3`.
    base_path: Option<String>,
    /// Fields that have the engine go on after the model's end of an answer, where it is not
    /// `ignore_eos: true`.
    ignore_eos: Option<Map<String, Value>>,
    body: Map<String, Value>,
    omit: Vec<String>,
    rename: BTreeMap<String, String>,
}

/// The options that every recipe has, beside its own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Common {
    /// Attach to this running server, for example `http://127.0.0.1:8080`, instead of starting
    /// one.
    #[schemars(regex(pattern = config::BASE_URL), extend("patternErrorMessage" = config::BASE_URL_FORM, "x-prony-aliases" = ["url", "endpoint", "api_base"]))]
    base_url: Option<String>,
    /// Path whose `GET` must answer 200 before the first request, when attaching.
    /// Without it the server is taken to be ready.
    attach_ready: Option<String>,
    /// Program and first arguments, instead of the recipe's own.
    #[schemars(length(min = 1), extend("items" = config::command_word(), "x-prony-aliases" = ["command", "cmd"]))]
    program: Option<Vec<Word>>,
    /// More arguments, after the recipe's own.
    #[serde(default)]
    #[schemars(extend("x-prony-aliases" = ["args", "extra_args", "flags"]))]
    arguments: Vec<Word>,
    /// Environment variables.
    #[serde(default)]
    env: BTreeMap<String, Word>,
    /// Working folder.
    #[schemars(extend("x-prony-path" = "folder"))]
    cwd: Option<String>,
    /// Path of the model for this engine, instead of the model's own: where one engine reads a
    /// GGUF file and another a folder with the same weights.
    #[schemars(extend("x-prony-role" = "quantisation", "x-prony-path" = true))]
    model_path: Option<String>,
    /// Model name to send, instead of the one that the server knows.
    model: Option<String>,
    /// Sent as `authorization: Bearer …`.
    api_key: Option<String>,
    /// More fields for the request body. They win over the recipe's own, and those of sampling over
    /// the workload's; what would change the work, such as `max_tokens`, is refused.
    #[serde(default)]
    #[schemars(extend("x-prony-role" = "request"))]
    body: Map<String, Value>,
    /// Fields of the request body that this server does not take, beside those that the
    /// recipe leaves out.
    #[serde(default)]
    omit: Vec<String>,
    /// Fields of the request body that this server calls otherwise.
    #[serde(default)]
    rename: BTreeMap<String, String>,
    /// More request headers. `host` and those of the connection are prony's own.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Finish reasons that end a complete answer, beside the usual ones.
    #[serde(default)]
    finish_reasons: Vec<String>,
    /// Handling of streams that lack the mark of their end, `data: [DONE]`.
    #[serde(default)]
    end_mark: EndMark,
}

/// The options of [`Common`] that are for the command.
const OF_COMMAND: [&str; 4] = ["program", "arguments", "env", "cwd"];

/// The option that every recipe has whose engine speaks several protocols.
const PROTOCOL: &str = "protocol";

/// All recipes, by name.
pub(crate) fn all() -> Vec<Recipe> {
    let recipe = |(name, text): &(&str, &str)| {
        let mut file = parse(name, text);
        file.notes.extend(file.told());
        Recipe {
            name: (*name).to_owned(),
            config_schema: file.schema(),
            description: file.description,
            tried: file.tried,
            apis: file.apis,
            install: file.install,
            packages: file.packages,
            notes: file.notes,
        }
    };
    FILES.iter().map(recipe).collect()
}

/// The recipe in a file. One that is none is a mistake of who built the plugin, which the
/// message names.
fn parse(name: &str, text: &str) -> File {
    let file = serde_json::from_str(text).map_err(|error| format!("recipes/{name}.json: {error}"));
    file.expect("a shipped recipe is valid")
}

/// The adapter's config for the recipe `name` with these `options`. The launch command and
/// the model's name keep their placeholders, for [`fill`]. Fails, in words for people, for an
/// unknown recipe or option, and for an option of the command if no command is run.
pub(crate) fn config(name: &str, mut options: Map<String, Value>) -> Result<Config, Error> {
    let file = FILES.iter().find(|(known, _)| *known == name);
    let file = file.map(|(name, text)| parse(name, text));
    let file =
        file.ok_or_else(|| Error::config("/recipe", format!("there is no recipe `{name}`")))?;
    let is_given = |it: Option<&Value>| it.is_some_and(|it| !it.is_null());
    let attaches = is_given(options.get("base_url")) || file.program.is_empty();
    let useless = |option: &str| {
        let words = format!(
            "`{option}` is for the command that starts the engine, and this one runs already: remove it, or `base_url`"
        );
        Err(Error::config(format!("/{option}"), words))
    };
    let common = OF_COMMAND.iter().find(|it| is_given(options.get(**it)));
    if let (true, Some(option)) = (attaches, common) {
        return useless(option);
    }
    let mut effects = Vec::new();
    // Nobody asks a server that runs already for a setting.
    let mut asked: BTreeMap<&str, Value> = BTreeMap::new();
    for (option, setting) in &file.options {
        let given = options.remove(option).filter(|it| !it.is_null());
        let value = given
            .clone()
            .or_else(|| setting.schema.get("default").cloned());
        let Some(value) = value else { continue };
        if !attaches {
            asked.insert(option, value.clone());
        }
        let effect = match value {
            Value::Bool(false) => &setting.off,
            _ => &setting.on,
        };
        let of_command =
            effect.program.is_some() || !effect.arguments.is_empty() || !effect.env.is_empty();
        if given.is_some() && attaches && of_command {
            return useless(option);
        }
        if given.is_some() && effect.program.is_some() && is_given(options.get("program")) {
            let words =
                format!("`{option}` and `program` both name the program: remove one of them");
            return Err(Error::config(format!("/{option}"), words));
        }
        effects.push((effect, argument(&value)));
    }
    let protocol = options.remove(PROTOCOL).filter(|it| !it.is_null());
    let protocol = match protocol {
        None => file.protocols.first().copied().unwrap_or_default(),
        Some(name) => file.protocol(&name)?,
    };
    let common: Common = serde_json::from_value(Value::Object(options))
        .map_err(|error| Error::config("", error.to_string()))?;
    let first = common.program.as_ref().map(|program| program.first());
    if first.is_some_and(|first| first.is_none_or(|word| word.0.is_empty())) {
        let words = "`program` is empty: name a program, or leave it out";
        return Err(Error::config("/program", words));
    }
    let tells = file.tells.iter();
    let tells = tells.map(|(path, told)| (path.clone(), told.asked_for(&asked)));
    let tells = tells.collect();
    let mut body = file.request.body;
    for (effect, _) in &effects {
        body.extend(effect.body.clone());
    }
    body.extend(common.body);
    let mut omit = file.request.omit;
    omit.extend(common.omit);
    let mut rename = file.request.rename;
    rename.extend(common.rename);
    let base_url = common.base_url.or(file.attach);
    let launch = base_url.is_none().then(|| {
        let mut own = file.program;
        for (effect, value) in &effects {
            if let (Some(first), Some(program)) = (own.first_mut(), &effect.program) {
                *first = program.replace("{value}", value);
            }
        }
        let own = own.into_iter().map(Word).collect();
        let mut command: Vec<Word> = common.program.unwrap_or(own);
        command.extend(file.arguments.into_iter().map(Word));
        let env = file.env.into_iter();
        let mut env: BTreeMap<String, Word> = env.map(|(name, text)| (name, Word(text))).collect();
        for (effect, value) in &effects {
            let with_value = |text: &String| text.replace("{value}", value);
            command.extend(effect.arguments.iter().map(with_value).map(Word));
            let of_effect = effect.env.iter();
            env.extend(of_effect.map(|(name, text)| (name.clone(), Word(with_value(text)))));
        }
        command.extend(common.arguments);
        env.extend(common.env);
        Launch {
            command,
            env,
            cwd: common.cwd,
            ready: file.ready,
        }
    });
    Ok(Config {
        base_url,
        attach_ready: common.attach_ready,
        launch,
        protocol,
        model_path: common.model_path,
        model: common.model.or(file.request.model),
        api_key: common.api_key.or(file.request.api_key),
        body,
        omit,
        rename,
        headers: common.headers,
        finish_reasons: common.finish_reasons,
        end_mark: common.end_mark,
        base_path: file.request.base_path,
        ignore_eos: file.request.ignore_eos,
        is_recipe: true,
        tells,
        reset: file.reset,
    })
}

impl Told {
    /// The places, with the values that they should have by these options.
    fn asked_for(&self, asked: &BTreeMap<&str, Value>) -> config::Told {
        let settings = self.settings.iter().map(|(name, place)| {
            let option = place.option.as_deref().unwrap_or(name);
            let asked_for = asked.get(option).cloned();
            let share = |whole: Value| {
                let Some(option) = &place.shared_by else {
                    return Some(whole);
                };
                let parts = asked.get(option.as_str())?.as_u64()?;
                whole.as_u64()?.checked_div(parts).map(Value::from)
            };
            let place = config::Place {
                at: place.at.clone(),
                asked: asked_for.and_then(share),
            };
            (name.clone(), place)
        });
        config::Told {
            settings: settings.collect(),
            counters: self.counters.clone(),
        }
    }
}

/// `text` with its placeholders replaced; `at` is where a launched server must listen.
/// Unknown placeholders stay. Fails if it needs the model's path and there is none.
pub(crate) fn fill(text: &str, model: &Model, at: Option<&Endpoint>) -> Result<String, Error> {
    let path = model.path.as_deref();
    let of_path = |place: &str| {
        path.ok_or_else(|| {
            Error::config(
                "",
                format!("add the model's `path`: the command of this engine contains {place}"),
            )
        })
    };
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((place, after)) = after.split_once('}') else {
            break;
        };
        filled.push_str(before);
        match (place, at) {
            ("model", _) => filled.push_str(path.unwrap_or(&model.id)),
            ("id", _) => filled.push_str(&model.id),
            ("path", _) => filled.push_str(of_path("it")?),
            ("folder", _) => filled.push_str(split(of_path("its folder")?).0),
            ("name", _) => filled.push_str(split(of_path("its name")?).1),
            ("host", Some(at)) => filled.push_str(&at.host),
            ("port", Some(at)) => filled.push_str(&at.port.to_string()),
            // A user's own text, such as JSON.
            _ => {
                filled.push('{');
                filled.push_str(place);
                filled.push('}');
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Folder and name of a path.
fn split(path: &str) -> (&str, &str) {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').unwrap_or((".", path))
}

/// A value as a command-line argument.
fn argument(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl File {
    /// The protocol of this name, which the engine must speak.
    fn protocol(&self, name: &Value) -> Result<Protocol, Error> {
        let known = self.protocols.iter();
        let found = known.clone().find(|it| *name == it.name());
        found.copied().ok_or_else(|| {
            let known: Vec<&str> = known.map(|it| it.name()).collect();
            let known = known.join("`, `");
            Error::config(
                "/protocol",
                format!("`protocol` is one of `{known}`, not {name}"),
            )
        })
    }

    /// Note on the engine's own account; `None` if it has none.
    fn told(&self) -> Option<String> {
        let list = |names: BTreeSet<String>| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        let told = || self.tells.values();
        let settings = told().flat_map(|it| it.settings.keys().cloned());
        let counters = told().flat_map(|it| it.counters.keys());
        let name = |kind: &CounterKind| json!(kind).as_str().map(str::to_owned);
        let settings = list(settings.collect());
        let counters = list(counters.filter_map(name).collect());
        let parts = [("settings", settings), ("counters", counters)];
        let parts = parts.into_iter();
        let parts = parts.filter_map(|(what, names)| Some(format!("its {what} {}", names?)));
        let parts: Vec<String> = parts.collect();
        (!parts.is_empty()).then(|| format!("It is asked for {}.", parts.join(" and ")))
    }

    /// JSON Schema of the recipe's options.
    fn schema(&self) -> Value {
        let mut schema = schemars::schema_for!(Common).to_value();
        let mut properties = Map::new();
        for (name, setting) in &self.options {
            properties.insert(name.clone(), setting.named());
        }
        if self.protocols.len() > 1 {
            let protocol = Protocol::schema(&self.protocols);
            properties.insert(PROTOCOL.to_owned(), protocol);
        }
        if let Value::Object(common) = schema["properties"].take() {
            let of_command = |name: &String| OF_COMMAND.contains(&name.as_str());
            let starts = !self.program.is_empty();
            let common = common.into_iter();
            let common = common.filter(|(name, _)| starts || !of_command(name));
            properties.extend(common.map(|(name, mut option)| {
                option["x-prony-common"] = json!(true);
                (name, option)
            }));
        }
        schema["properties"] = Value::Object(properties);
        schema["description"] = json!(format!("Options of {}.", self.description));
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_asked_for_by_its_option() {
        let asked = |options: Value| {
            let options = options.as_object().cloned().expect("an object");
            let config = config("llama-cpp", options).expect("a config");
            let settings = config.tells.into_values().flat_map(|it| it.settings);
            let asked = settings.filter_map(|(name, place)| Some((name, place.asked?)));
            asked.collect::<BTreeMap<String, Value>>()
        };
        let of = |context: u32, parallel: u32| {
            BTreeMap::from([
                ("context_per_request".to_owned(), json!(context)),
                ("parallel".to_owned(), json!(parallel)),
            ])
        };
        assert_eq!(asked(json!({})), of(4096, 1));
        assert_eq!(
            asked(json!({ "context": 8192, "parallel": 4 })),
            of(2048, 4)
        );
        assert_eq!(asked(json!({ "base_url": "http://h:1" })), BTreeMap::new());
    }

    #[test]
    fn recipes_are_whole() {
        const PLACES: [&str; 7] = ["model", "path", "id", "folder", "name", "host", "port"];
        for (name, text) in FILES {
            let file: File = serde_json::from_str(text).unwrap_or_else(|it| panic!("{name}: {it}"));
            assert!(!file.protocols.is_empty(), "{name}");
            assert_ne!(file.attach.is_some(), !file.program.is_empty(), "{name}");
            let effects = file.options.values().flat_map(|it| [&it.on, &it.off]);
            let of_effects = effects.flat_map(|it| it.arguments.iter().chain(it.env.values()));
            let own = file.arguments.iter().chain(file.env.values());
            let own: Vec<&String> = own.chain(file.request.model.iter()).collect();
            if !file.program.is_empty() {
                assert!(own.iter().any(|it| it.contains("{port}")), "{name}");
            }
            for text in own.into_iter().chain(of_effects) {
                for place in text.split('{').skip(1) {
                    let place = place.split('}').next().unwrap_or_default();
                    let known = PLACES.contains(&place) || place == "value";
                    assert!(known, "{name}: {{{place}}}");
                }
            }
            for (option, setting) in &file.options {
                let described = setting.schema["description"].is_string();
                assert!(described, "{name}: {option}");
                let validator = jsonschema::validator_for(&setting.schema);
                let validator = validator.unwrap_or_else(|it| panic!("{name}: {option}: {it}"));
                if let Some(default) = setting.schema.get("default") {
                    assert!(validator.is_valid(default), "{name}: {option}");
                }
            }
            for (path, told) in &file.tells {
                assert!(path.starts_with('/'), "{name}: {path}");
                let places = told.settings.values().map(|place| &place.at);
                for at in places.chain(told.counters.values()) {
                    assert!(prony_plugin_sdk::is_place(at), "{name}: {at}");
                }
            }
            for place in file.tells.values().flat_map(|told| told.settings.values()) {
                for option in place.option.iter().chain(&place.shared_by) {
                    assert!(file.options.contains_key(option), "{name}: {option}");
                }
            }
            let packages = file.packages.unwrap_or_default();
            for requirement in packages.linux.iter().chain(&packages.macos) {
                let is_pinned = requirement.contains("==") || requirement.contains("{source}");
                assert!(
                    is_pinned || requirement.starts_with('-'),
                    "{name}: {requirement}"
                );
            }
            assert!(config(name, Map::new()).is_ok(), "{name}");
        }
        assert!(FILES.is_sorted_by_key(|(name, _)| name));
    }
}
