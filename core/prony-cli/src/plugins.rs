//! Finds the installed plugins.

use crate::Failure;
use crate::arguments::Global;
use etcetera::base_strategy::{BaseStrategy as _, choose_native_strategy};
use prony_author::{Build, FILE, Project};
use prony_config::{Api, OptionProblem, Pipeline, PluginKind, Reporter, Workload};
use prony_contract::{ErrorKind, Image, Kind, Model, Request, Transport};
use prony_plugin_host::{AskedLimits, Entry, Registry, Setup, Trust, is_path};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// File name of lock files.
pub(crate) const LOCK: &str = "prony.lock";

/// The lock files to read, existing or not, the nearest first: as given, or that of the folder
/// that a pipeline lies in, of the working folder, the user's own, and the bundled one.
pub(crate) fn locks(global: &Global, beside: Option<&Path>) -> Vec<PathBuf> {
    let given = global.locks();
    if !given.is_empty() {
        return given;
    }
    let here = Path::new(".").canonicalize().ok();
    let beside = beside.filter(|folder| folder.canonicalize().ok() != here);
    let mut locks: Vec<PathBuf> = beside.map(|folder| folder.join(LOCK)).into_iter().collect();
    locks.push(PathBuf::from(LOCK));
    locks.extend(of_user());
    locks.extend(bundled());
    locks
}

/// The user's own lock file, for pipelines in every folder; `None` without a home.
pub(crate) fn of_user() -> Option<PathBuf> {
    let user = choose_native_strategy().ok()?;
    Some(user.data_dir().join("prony").join("plugins").join(LOCK))
}

/// Returns `true` for a lock file that belongs to prony itself.
pub(crate) fn is_bundled(lock: &Path) -> bool {
    bundled().iter().any(|own| own == lock)
}

/// prony's own lock files, existing or not.
fn bundled() -> Vec<PathBuf> {
    let program = std::env::current_exe();
    let bin = program
        .ok()
        .and_then(|it| it.parent().map(ToOwned::to_owned));
    let folders = ["plugins", "../lib/prony/plugins"];
    let lock = |bin: &PathBuf| folders.map(|folder| bin.join(folder).join(LOCK));
    bin.iter().flat_map(lock).collect()
}

/// The native code that may run: prony's own, and what the user has granted.
fn trust(global: &Global) -> Trust {
    Trust {
        grants: grants(global),
        bundled: bundled(),
    }
}

/// The file of the user's grants, absolute; `None` if the user has no home.
pub(crate) fn grants(global: &Global) -> Option<PathBuf> {
    let given = global.grants_file.clone();
    let given = given.filter(|file| !file.as_os_str().is_empty());
    let file = given.or_else(|| {
        let user = choose_native_strategy().ok()?;
        Some(user.config_dir().join("prony").join("grants"))
    })?;
    Some(std::path::absolute(&file).unwrap_or(file))
}

/// prony's cache folder, absolute.
pub(crate) fn cache(global: &Global) -> PathBuf {
    // An empty variable is one that is not set.
    let given = global.cache.clone();
    let given = given.filter(|folder| !folder.as_os_str().is_empty());
    let folder = given.unwrap_or_else(|| {
        // The platform's folder; without a home there is still a place for files.
        choose_native_strategy()
            .map_or_else(|_| std::env::temp_dir(), |user| user.cache_dir())
            .join("prony")
    });
    std::path::absolute(&folder).unwrap_or(folder)
}

/// The host's place on this machine.
pub(crate) fn setup(global: &Global) -> Setup {
    let program = std::env::current_exe().map(|it| it.to_string_lossy().into_owned());
    let compiler = program.map(|program| vec![program, "compile-component".to_owned()]);
    Setup {
        cache: cache(global).join("plugins"),
        trust: trust(global),
        compiler: compiler.unwrap_or_default(),
        say: (!global.quiet).then_some(|words| eprintln!("{words}")),
        project: Some(of_project),
    }
}

/// The file that was built in the folder of a project, unless a source is newer than that.
fn of_project(folder: &Path) -> Result<(PathBuf, AskedLimits), String> {
    let project = Project::read(folder).map_err(|problem| problem.to_string())?;
    let file = project.output();
    let build = format!("run `prony plugin build {}`", folder.display());
    if !file.exists() {
        return Err(format!("it is not built yet: {build}"));
    }
    match newer_source(&project, &file) {
        Some(source) => Err(format!("`{source}` is newer than what was built: {build}")),
        None => Ok((file, asked_limits(&project))),
    }
}

/// A file of the project that was changed after the build.
pub(crate) fn newer_source(project: &Project, built: &Path) -> Option<String> {
    let changed = |path: &Path| path.metadata().and_then(|it| it.modified()).ok();
    let built = changed(built)?;
    let mut files = vec![project.folder.join(FILE)];
    let source = match &project.build {
        Build::Lang {
            source: Some(source),
            ..
        } => source.clone(),
        _ => "src/lib.rs".to_owned(),
    };
    files.push(project.folder.join(source));
    let newer = files.iter().find(|file| changed(file) > Some(built));
    newer.map(|file| file.display().to_string())
}

/// The limits that a project asks for.
pub(crate) fn asked_limits(project: &Project) -> AskedLimits {
    AskedLimits {
        memory_mib: project.limits.memory_mib,
        call_ms: project.limits.call_ms,
    }
}

/// The installed plugins, as they are found from the working folder.
pub(crate) fn registry(global: &Global) -> Result<Registry, Failure> {
    Ok(Registry::open(&locks(global, None), setup(global))?)
}

/// The plugins of a pipeline in a folder.
pub(crate) fn registry_of(global: &Global, folder: &Path) -> Result<Registry, Failure> {
    let registry = Registry::open(&locks(global, Some(folder)), setup(global))?;
    Ok(registry.with_base(folder.to_owned()))
}

/// A sentence for each plugin of a pipeline that takes the place of others of its name.
pub(crate) fn hiding(pipeline: &Pipeline, registry: &Registry) -> Vec<String> {
    let engines = pipeline.engines.iter();
    let engines = engines.map(|engine| (Kind::Engine, engine.plugin.as_str()));
    let reporters = pipeline.reporters.iter();
    let reporters = reporters.map(|reporter| (Kind::Reporter, reporter.plugin.as_str()));
    let mut told = Vec::new();
    for (kind, name) in engines.chain(reporters) {
        let line = hidden(registry, kind, name);
        told.extend(line.filter(|line| !told.contains(line)));
    }
    told
}

/// Words about a plugin that takes the place of another one of its name.
pub(crate) fn hidden(registry: &Registry, kind: Kind, name: &str) -> Option<String> {
    let locks = registry.hidden(kind, name);
    let (taken, others) = locks.split_first()?;
    let shown = |lock: &Path| {
        if is_bundled(lock) {
            "prony's own".to_owned()
        } else {
            format!("that of `{}`", lock.display())
        }
    };
    let others: Vec<String> = others.iter().map(|lock| shown(lock)).collect();
    Some(format!(
        "the {} `{name}` is {}, which is nearer than {}",
        kind.name(),
        shown(taken),
        others.join(" and ")
    ))
}

/// Reporters with the options that the pipeline leaves to the terminal and the command line: the
/// number of columns is that of the terminal behind standard output, if there is one, and details
/// are shown if `--details` asks for them.
pub(crate) fn fitted(
    global: &Global,
    reporters: &[Reporter],
    registry: &Registry,
) -> Vec<Reporter> {
    let columns = terminal_size::terminal_size_of(std::io::stdout())
        .map(|(width, _)| u64::from(width.0))
        // A terminal may not know.
        .filter(|columns| *columns > 0);
    let mut fitted = reporters.to_vec();
    for reporter in &mut fitted {
        let Ok((entry, _)) = registry.find(Kind::Reporter, &reporter.plugin) else {
            continue;
        };
        let options = entry.config_schema["properties"].as_object();
        for (name, option) in options.into_iter().flatten() {
            let value = match option[prony_contract::ROLE].as_str() {
                Some("width") => {
                    let least = option["minimum"].as_u64().unwrap_or_default();
                    columns.map(|it| it.max(least).into())
                }
                Some("details") => global.details.then_some(Value::Bool(true)),
                _ => None,
            };
            if let Some(value) = value {
                reporter.config.entry(name).or_insert(value);
            }
        }
    }
    fitted
}

/// A request like a workload's, as an engine that takes these forms of requests gets it.
fn sample(workload: &Workload, apis: &[prony_contract::Api]) -> Request {
    let is_chat = workload.api == Api::Chat && apis.contains(&prony_contract::Api::Chat);
    let images = workload.images.iter().take(1).map(|_| Image {
        media_type: "image/png".to_owned(),
        // A PNG's first bytes: an adapter has no use for the others.
        data: b"\x89PNG\r\n\x1a\n".to_vec(),
    });
    Request {
        api: if is_chat {
            prony_contract::Api::Chat
        } else {
            prony_contract::Api::Completions
        },
        prompt: workload
            .prompts
            .first()
            .cloned()
            .unwrap_or_else(|| "Hello".to_owned()),
        // For an engine that takes raw prompts prony renders it.
        system: workload.system.clone().filter(|_| is_chat),
        history: Vec::new(),
        max_tokens: workload.max_tokens,
        temperature: workload.temperature,
        top_p: workload.top_p,
        seed: workload.seed,
        stop: workload.stop.clone(),
        ignore_eos: workload.ignore_eos,
        images: images.collect(),
    }
}

/// Names and schemas from the lock, for validation.
pub(crate) struct Locked<'a>(pub(crate) &'a Registry);

impl prony_config::Plugins for Locked<'_> {
    fn config_schema(&self, kind: PluginKind, name: &str) -> Option<Value> {
        self.0
            .find(sdk(kind), name)
            .ok()
            .map(|(entry, _)| entry.config_schema.clone())
    }

    fn apis(&self, engine: &str, config: &Map<String, Value>) -> Vec<Api> {
        let found = self.0.find(Kind::Engine, engine);
        let apis = found.map_or_else(
            |_| prony_contract::Api::all(),
            |(entry, _)| entry.apis_of(config),
        );
        let api = |api| match api {
            prony_contract::Api::Chat => Api::Chat,
            prony_contract::Api::Completions => Api::Completions,
        };
        apis.into_iter().map(api).collect()
    }

    fn check(&self, kind: PluginKind, name: &str, config: &Value) -> Vec<OptionProblem> {
        // One that cannot be loaded or breaks down says so when it runs.
        let plugin = self.0.load(sdk(kind), name);
        let errors = plugin.and_then(|plugin| plugin.check(config));
        let problem = |error: prony_contract::Error| OptionProblem {
            pointer: error.path.unwrap_or_default(),
            message: error.message,
        };
        errors
            .unwrap_or_default()
            .into_iter()
            .map(problem)
            .collect()
    }

    fn refusal(&self, engine: &str, config: &Value, workload: &Workload) -> Option<String> {
        let (entry, _) = self.0.find(Kind::Engine, engine).ok()?;
        let options = config.as_object()?;
        let sample = sample(workload, &entry.apis_of(options));
        let model = Model {
            id: "model".to_owned(),
            path: None,
        };
        // One that cannot be loaded or breaks down says so when it runs.
        let plugin = self.0.load(Kind::Engine, engine).ok()?;
        let refused = match entry.transport {
            Some(Transport::InProcess) => return None,
            Some(Transport::Stdio) => plugin.encode_stdio(config, &model, &sample, 1).err(),
            Some(Transport::Http) | None => plugin.encode(config, &model, &sample).err(),
        };
        match refused?.into_reported() {
            error if error.kind == ErrorKind::Unsupported => Some(error.message),
            _ => None,
        }
    }

    fn problem(&self, kind: PluginKind, name: &str) -> Option<String> {
        let error = if is_path(name) {
            self.0.find(sdk(kind), name).err()
        } else {
            self.0.problem(sdk(kind), name)
        };
        error.map(|error| format!("[{}] {error}", error.code()))
    }

    fn names(&self, kind: PluginKind) -> Vec<String> {
        let of_kind = |entry: &&Entry| entry.kind == sdk(kind);
        let plain = self.0.entries().map(|(entry, _)| entry).filter(of_kind);
        let mut names: Vec<String> = plain.map(|entry| entry.name.clone()).collect();
        // Versions can be told apart where there are several.
        let all: Vec<&Entry> = self
            .0
            .all()
            .map(|(entry, _)| entry)
            .filter(of_kind)
            .collect();
        for entry in &all {
            let has_others = |it: &&Entry| it.is_like(entry) && it.version != entry.version;
            let name = format!("{}@{}", entry.name, entry.version);
            if all.iter().any(has_others) && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

fn sdk(kind: PluginKind) -> Kind {
    match kind {
        PluginKind::Engine => Kind::Engine,
        PluginKind::Reporter => Kind::Reporter,
    }
}
