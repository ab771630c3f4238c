//! `prony try`: from addresses to a verdict in one line.

use crate::arguments::{Global, Layers, Source};
use crate::commands::{init, run as run_command, runtime};
use crate::ranks::RankOptions;
use crate::{Exit, Failure, Outcome, output, plugins};
use clap::Args;
use prony_config::{Inputs, codes};
use prony_contract::Kind;
use prony_plugin_host::Registry;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Plugin for servers of which nothing else is said.
const ANY: &str = "openai";
/// Models named in a message.
const NAMED: usize = 10;

const AFTER_HELP: &str = "\
Example: prony try http://127.0.0.1:8080 http://127.0.0.1:8081

Other ways:
  prony try ENGINE=http://127.0.0.1:8080 OTHER=http://127.0.0.1:8000 --model my-model
  prony try --engine ENGINE --engine OTHER --model model.gguf
  prony try https://api.example.com/v1 --api-key-env EXAMPLE_KEY --model large

ENGINE is a name as `prony plugin list` prints it. Before an address it tells what the server is,
so that prony can ask it more.";

/// Measure running servers, or engines that prony starts, and compare them with the first.
///
/// Asks each server for its models, writes a short and fair pipeline to go on from, runs it, and
/// prints the verdict.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Addresses of servers that run, with or without `/v1`.
    #[arg(value_name = "[ENGINE=]URL", required_unless_present = "engines")]
    pub(crate) servers: Vec<String>,
    /// An engine to start, by its name in `prony plugin list`. May be repeated.
    #[arg(long = "engine", value_name = "NAME", requires = "model")]
    pub(crate) engines: Vec<String>,
    /// The model: of servers the name that they know it by, of engines to start a file, a folder
    /// or an id on the Hugging Face hub.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Files of a model on the hub, as `prony model pull` takes them. Defaults to all.
    #[arg(long, value_name = "NAME", requires = "engines")]
    pub(crate) files: Vec<String>,
    /// Environment variable with the servers' key.
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) api_key_env: Option<String>,
    /// The pipeline to write.
    #[arg(long, default_value = "try.yaml", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Overwrite the pipeline if it is there.
    #[arg(long)]
    pub(crate) force: bool,
    /// Write the pipeline and do not run it.
    #[arg(long)]
    pub(crate) no_run: bool,
    /// Folder in which to create the run's folder.
    #[arg(long, default_value = "results", value_name = "DIR")]
    pub(crate) results: PathBuf,
    /// Open the run's page in the browser when it is written: that of `BROWSER`, or the system's.
    #[arg(long, conflicts_with = "no_run")]
    pub(crate) open: bool,
}

/// An engine of the pipeline.
#[derive(Debug, Clone, PartialEq)]
struct Engine {
    name: String,
    plugin: String,
    /// Its options, in order.
    config: Vec<(&'static str, Value)>,
}

/// The model of the pipeline.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    id: String,
    path: Option<String>,
    /// Of the file at `path`.
    sha256: Option<String>,
    files: Vec<String>,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Outcome {
    crate::ranks::must_be_alone("try")?;
    let registry = plugins::registry(global)?;
    let key = arguments.api_key_env.as_deref();
    if let Some(key) = key.filter(|key| std::env::var_os(key).is_none()) {
        return Err(usage(format!(
            "`--api-key-env`: the variable `{key}` is not set"
        )));
    }
    let mut engines = Vec::new();
    let mut models = Vec::new();
    for server in &arguments.servers {
        let (engine, served) = ask(global, &registry, server, key)?;
        let url = &engine.config[0].1;
        if engines.iter().any(|it: &Engine| it.config[0].1 == *url) {
            return Err(usage(format!(
                "`{}` is given twice: `prony aa` compares an engine with itself",
                url.as_str().unwrap_or_default()
            )));
        }
        models.push(pick(&engine, &served, arguments.model.as_deref())?);
        engines.push(engine);
    }
    for name in &arguments.engines {
        known(&registry, name)?;
        engines.push(Engine {
            name: name.clone(),
            plugin: name.clone(),
            config: Vec::new(),
        });
    }
    name_apart(&mut engines);
    let model = if arguments.engines.is_empty() {
        of_servers(&mut engines, &models)
    } else {
        let model = arguments.model.as_deref().unwrap_or_default();
        of_engines(model, &arguments.files, &arguments.file)?
    };
    let mut text = pipeline(&engines, &model, key);
    let warned = warned(&registry, &arguments.file, &text);
    text.push_str(&allowed(&warned));
    init::write(&arguments.file, &text, arguments.force)?;
    if arguments.no_run {
        init::say_next(global, &arguments.file);
        return Ok(Exit::Ok);
    }
    if !global.quiet {
        let file = arguments.file.display();
        output::error_line(format_args!("wrote {file}, the pipeline that follows"));
    }
    let arguments = run_command::Arguments {
        ranks: RankOptions {
            ranks: None,
            no_ranks: true,
        },
        source: Source {
            file: arguments.file.clone(),
            layers: Layers::default(),
        },
        results: arguments.results.clone(),
        into: None,
        part: None,
        options: run_command::ResumeOptions {
            accept_new_setup: false,
            keep_failed: prony_runner::DEFAULT_KEPT,
            open: arguments.open,
        },
        json: false,
    };
    run_command::run(global, &arguments)
}

/// Warnings about a try that are no mistake of who makes it, and why they are allowed.
const OF_A_TRY: [(&str, &str); 2] = [
    (
        codes::FAIRNESS_QUANTISATION,
        "a first look at the engines with their own defaults",
    ),
    (
        codes::FAIRNESS_UNPINNED,
        "a first look; name the revision of the folder to measure the same weights again",
    ),
];

/// Codes of the warnings about the pipeline that is to be written.
fn warned(registry: &Registry, file: &Path, text: &str) -> Vec<&'static str> {
    let plugins = plugins::Locked(registry);
    let name = file.display().to_string();
    let inputs = Inputs {
        env: &|name| std::env::var(name).ok(),
        ..Inputs::one(&name, text, &plugins)
    };
    let warnings = prony_config::check_all(&inputs).unwrap_or_default();
    warnings.into_iter().map(|it| it.code).collect()
}

/// The section that allows warnings; empty without any.
fn allowed(warned: &[&str]) -> String {
    let mut text = String::new();
    for (code, reason) in OF_A_TRY {
        if warned.contains(&code) {
            let start = if text.is_empty() { "\nallow:\n" } else { "" };
            let _ = writeln!(text, "{start}  - {{ code: {code}, reason: \"{reason}\" }}");
        }
    }
    text
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}

fn known(registry: &Registry, name: &str) -> Result<(), Failure> {
    let found = registry.find(Kind::Engine, name);
    found.map(|_| ()).map_err(|error| usage(error.to_string()))
}

/// Asks a server for its models. Returns it as an engine, with the models.
fn ask(
    global: &Global,
    registry: &Registry,
    server: &str,
    key: Option<&str>,
) -> Result<(Engine, Vec<String>), Failure> {
    let (plugin, url) = match server.split_once('=') {
        Some((name, url)) if !name.contains(['/', ':', '?']) => (name, url),
        _ => (ANY, server),
    };
    known(registry, plugin)?;
    let has_user = |it: &str| {
        it.split(['/', '?', '#'])
            .next()
            .is_some_and(|it| it.contains('@'))
    };
    if has_user(url.split_once("://").map_or(url, |it| it.1)) {
        return Err(usage(
            "an address with a user in it is none that prony sends requests to: take the user and the password out of it; a key is given by `--api-key-env`".to_owned(),
        ));
    }
    let url = address(url, plugin == ANY);
    let mut config = json!({ "base_url": url });
    if let Some(key) = key {
        config["api_key"] = json!(std::env::var(key).unwrap_or_default());
    }
    let models = runtime()?.block_on(prony_runner::served::models(registry, plugin, &config));
    let models = models.map_err(|reason| {
        let message = format!("`{url}` does not tell its models: {reason}; does the server run, and is this its address?");
        Failure::new(Exit::RunFailed, message)
    })?;
    if !global.quiet {
        let names = named(&models);
        output::error_line(format_args!("{url} serves {names}"));
    }
    let name = if plugin == ANY {
        host(&url)
    } else {
        plugin.to_owned()
    };
    let mut config = vec![("base_url", given(&url))];
    if let Some(key) = key {
        config.push(("api_key", json!(format!("${{{{ env.{key} }}}}"))));
    }
    let engine = Engine {
        name,
        plugin: plugin.to_owned(),
        config,
    };
    Ok((engine, models))
}

/// An address as options take it: with a scheme, and the usual path for servers that need one.
fn address(url: &str, has_path: bool) -> String {
    let url = url.trim_end_matches('/');
    let url = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    if has_path && !rest.contains('/') {
        format!("{url}/v1")
    } else {
        url
    }
}

/// A text of somebody else's for a pipeline: nothing in it is a template.
fn given(text: &str) -> Value {
    json!(text.replace("${{", "${{ '${{' }}"))
}

/// Host and port of an address, as a name.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    // Without a user's name.
    let host = host.rsplit('@').next().unwrap_or(host);
    host.to_owned()
}

fn named(models: &[String]) -> String {
    if models.is_empty() {
        return "no model".to_owned();
    }
    let mut names: Vec<String> = models
        .iter()
        .take(NAMED)
        .map(|it| format!("`{it}`"))
        .collect();
    if models.len() > NAMED {
        names.push(format!("{} more", models.len() - NAMED));
    }
    names.join(", ")
}

/// The model of a server: the one that is asked for, or its only one.
fn pick(engine: &Engine, served: &[String], asked: Option<&str>) -> Result<String, Failure> {
    let url = engine.config[0].1.as_str().unwrap_or_default();
    match (asked, served) {
        (Some(asked), _) if served.iter().any(|it| it == asked) => Ok(asked.to_owned()),
        (None, [one]) => Ok(one.clone()),
        // Servers of one model often call it by the path of its file.
        (Some(asked), [one]) if is_called(one, asked) => Ok(one.clone()),
        (Some(asked), _) => Err(usage(format!(
            "`{url}` has no model `{asked}`; it serves {}",
            named(served)
        ))),
        (None, []) => Err(usage(format!(
            "`{url}` serves no model: load one, then try again"
        ))),
        (None, _) => Err(usage(format!(
            "`{url}` serves {}: say which by `--model`",
            named(served)
        ))),
    }
}

/// Returns `true` if a server's name of a model may stand for the one that is asked for: one
/// holds the other's last part, without the ending of a file.
fn is_called(served: &str, asked: &str) -> bool {
    let last = |name: &str| {
        let part = name.trim_end_matches('/').rsplit('/').next();
        let part = part.unwrap_or(name).to_lowercase();
        part.strip_suffix(".gguf").unwrap_or(&part).to_owned()
    };
    let (served, asked) = (last(served), last(asked));
    !asked.is_empty() && (served.contains(&asked) || asked.contains(&served))
}

/// Numbers engines of the same name.
fn name_apart(engines: &mut [Engine]) {
    let names: Vec<String> = engines.iter().map(|it| it.name.clone()).collect();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (engine, name) in engines.iter_mut().zip(&names) {
        let is_single = names.iter().filter(|it| *it == name).count() == 1;
        let mut number = 1;
        let mut new = if is_single {
            name.clone()
        } else {
            format!("{name}-1")
        };
        while !taken.insert(new.clone()) {
            number += 1;
            new = format!("{name}-{number}");
        }
        engine.name = new;
    }
}

/// The model of servers: its own name for each that calls it otherwise than the first.
fn of_servers(engines: &mut [Engine], models: &[String]) -> Model {
    let id = models.first().cloned().unwrap_or_default();
    for (engine, model) in engines.iter_mut().zip(models) {
        if *model != id {
            engine.config.push(("model", given(model)));
        }
    }
    Model {
        id,
        path: None,
        sha256: None,
        files: Vec::new(),
    }
}

/// The model of engines to start: a file or folder, or one of the hub. Paths in the pipeline are
/// relative to its folder, so that of a file elsewhere is absolute.
fn of_engines(model: &str, files: &[String], pipeline: &Path) -> Result<Model, Failure> {
    let path = Path::new(model);
    if path.exists() {
        let folder = prony_files::folder(pipeline);
        let path = if folder == Path::new(".") {
            path.to_owned()
        } else {
            std::path::absolute(path).map_err(|error| usage(format!("`{model}`: {error}")))?
        };
        let id = path.file_stem().unwrap_or(path.as_os_str());
        let sha256 = path.is_file().then(|| digest(&path)).transpose()?;
        return Ok(Model {
            id: id.to_string_lossy().into_owned(),
            sha256,
            path: Some(path.to_string_lossy().into_owned()),
            files: Vec::new(),
        });
    }
    let is_id = model.split('/').count() == 2 && !model.starts_with(['.', '/', '~']);
    if !is_id {
        return Err(usage(format!(
            "there is no file or folder `{model}`, and it is no `organisation/name` on the hub"
        )));
    }
    let all = ["*".to_owned()];
    Ok(Model {
        id: model.to_owned(),
        path: None,
        sha256: None,
        files: if files.is_empty() {
            all.to_vec()
        } else {
            files.to_vec()
        },
    })
}

/// The SHA-256 of a model's file, so that the pipeline measures the same weights again.
fn digest(path: &Path) -> Result<String, Failure> {
    let digest = prony_files::open(path).and_then(prony_plugin_host::sha256);
    digest.map_err(|error| usage(format!("`{}` cannot be read: {error}", path.display())))
}

/// The pipeline. Every text is quoted as JSON does, which YAML reads alike.
fn pipeline(engines: &[Engine], model: &Model, key: Option<&str>) -> String {
    let mut text = String::from(
        "# Written by `prony try`; edit it freely. docs/pipelines.md describes every option, and an\n\
         # editor completes them with what `prony schema pipeline --with-plugins` prints.\n\
         version: 1\nname: try\n\n",
    );
    if let Some(key) = key {
        let _ = writeln!(text, "env: [{key}]\n");
    }
    text.push_str("engines:\n");
    for engine in engines {
        let _ = writeln!(text, "  {}:", json!(engine.name));
        let _ = writeln!(text, "    plugin: {}", engine.plugin);
        if !engine.config.is_empty() {
            text.push_str("    config:\n");
        }
        for (option, value) in &engine.config {
            let _ = writeln!(text, "      {option}: {value}");
        }
    }
    if let [first, _, ..] = engines {
        let _ = writeln!(
            text,
            "\n# The others are compared with this engine.\ncompare: {{ baseline: {} }}",
            json!(first.name)
        );
    }
    let _ = write!(text, "\nmodel:\n  id: {}\n", given(&model.id));
    if let Some(path) = &model.path {
        let _ = writeln!(text, "  path: {}", given(path));
    }
    if let Some(sha256) = &model.sha256 {
        let _ = writeln!(text, "  sha256: {}", json!(sha256));
    }
    if !model.files.is_empty() {
        let _ = writeln!(
            text,
            "  files: {}",
            model
                .files
                .iter()
                .map(|file| given(file))
                .collect::<Value>()
        );
    }
    text.push_str(
        "\n# Engines whose answers differ in length do different work; the report says so.\n\
         # `ignore_eos: true` makes lengths equal where every engine honours it.\n\
         workload:\n  prompts:\n",
    );
    for prompt in PROMPTS {
        let _ = writeln!(text, "    - {prompt}");
    }
    text.push_str("  max_tokens: 64\n  temperature: 0\n\n");
    let cycles = if engines.len() > 1 { 60 } else { 6 };
    if engines.len() > 1 {
        text.push_str("# At most; the run ends as soon as the comparison is decided.\n");
    }
    let _ = writeln!(text, "schedule: {{ cycles: {cycles}, seed: 1 }}");
    text.push_str(
        "\n# A cold cache: each prompt begins with characters of its own, so no engine has it cached.\n\
         stages:\n  - load: {}\n  - warmup: { requests: 2 }\n  - measure: { requests: 6, cache: cold }\n  - unload: {}\n  - report: { reporters: [console, markdown, html, json] }\n",
    );
    text
}

const PROMPTS: [&str; 6] = [
    "What is the capital of France?",
    "Explain photosynthesis in simple words.",
    "Write a Python function that sorts a list.",
    "What are the benefits of exercise?",
    "Summarise the story of the hare and the tortoise.",
    "Name three rivers and the countries they flow through.",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(name: &str) -> Engine {
        Engine {
            name: name.to_owned(),
            plugin: ANY.to_owned(),
            config: vec![("base_url", json!("http://h:1/v1"))],
        }
    }

    #[test]
    fn addresses_are_completed() {
        for (given, has_path, expected) in [
            ("localhost:8080", true, "http://localhost:8080/v1"),
            ("http://localhost:8080/", true, "http://localhost:8080/v1"),
            ("https://h/api/v3/", true, "https://h/api/v3"),
            ("127.0.0.1:1", false, "http://127.0.0.1:1"),
        ] {
            assert_eq!(address(given, has_path), expected);
        }
        assert_eq!(host("https://me:x@h:8/v1?a=/"), "h:8");
    }

    #[test]
    fn names_are_apart() {
        let mut engines = ["a", "b", "a", "a-1"].map(engine);
        name_apart(&mut engines);
        let names: Vec<&str> = engines.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["a-1", "b", "a-2", "a-1-2"]);
    }

    #[test]
    fn what_a_server_calls_its_model_is_no_template() {
        let mut engines = [engine("a"), engine("b")];
        let names = ["${{ env.KEY }}".to_owned(), "b\n: ${{ 1 }}".to_owned()];
        let model = of_servers(&mut engines, &names);
        let text = pipeline(&engines, &model, Some("KEY"));
        assert!(text.contains(r#"id: "${{ '${{' }} env.KEY }}""#), "{text}");
        assert!(
            text.contains(r#"model: "b\n: ${{ '${{' }} 1 }}""#),
            "{text}"
        );
    }

    #[test]
    fn a_server_of_one_model_needs_no_name() {
        let served = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let picked = |names: &[&str], asked| {
            let picked = pick(&engine("a"), &served(names), asked);
            picked.map_err(|failure| failure.message)
        };
        assert_eq!(picked(&["m"], None), Ok("m".to_owned()));
        assert_eq!(
            picked(&["/models/m.gguf"], Some("m")),
            Ok("/models/m.gguf".to_owned())
        );
        assert_eq!(picked(&["m", "n"], Some("n")), Ok("n".to_owned()));
        assert!(
            picked(&["m"], Some("other"))
                .expect_err("it is refused")
                .contains("has no model `other`; it serves `m`")
        );
        assert!(
            picked(&["m", "n"], None)
                .expect_err("it is refused")
                .contains("say which by `--model`")
        );
        assert!(
            picked(&["m", "n"], Some("o"))
                .expect_err("it is refused")
                .contains("has no model `o`")
        );
        assert!(
            picked(&[], None)
                .expect_err("it is refused")
                .contains("serves no model")
        );
    }
}
