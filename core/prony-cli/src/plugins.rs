//! Finds the installed plugins.

use crate::Failure;
use crate::arguments::Global;
use etcetera::base_strategy::{BaseStrategy as _, choose_native_strategy};
use prony_config::{Api, OptionProblem, PluginKind, Reporter};
use prony_contract::Kind;
use prony_plugin_host::{Registry, Setup, Trust};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// File name of lock files.
pub(crate) const LOCK: &str = "prony.lock";

/// The lock files to read, existing or not: as given, or the project's and then the
/// bundled one.
pub(crate) fn locks(global: &Global) -> Vec<PathBuf> {
    let given = global.locks();
    if !given.is_empty() {
        return given;
    }
    let mut locks = vec![PathBuf::from(LOCK)];
    locks.extend(bundled());
    locks
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
    }
}

/// The installed plugins.
pub(crate) fn registry(global: &Global) -> Result<Registry, Failure> {
    Ok(Registry::open(&locks(global), setup(global))?)
}

/// Role of a reporter's option that is a number of columns.
const WIDTH: &str = "width";

/// Reporters that write for the terminal behind standard output, if there is one: an option for
/// the number of columns that the pipeline does not set is that of the terminal.
pub(crate) fn fitted(reporters: &[Reporter], registry: &Registry) -> Vec<Reporter> {
    let columns = terminal_size::terminal_size_of(std::io::stdout())
        .map(|(width, _)| u64::from(width.0))
        // A terminal may not know.
        .filter(|columns| *columns > 0);
    let mut fitted = reporters.to_vec();
    for reporter in &mut fitted {
        let found = registry.find(Kind::Reporter, &reporter.plugin);
        let (Some(columns), Ok((entry, _))) = (columns, found) else {
            continue;
        };
        let options = entry.config_schema["properties"].as_object();
        for (name, option) in options.into_iter().flatten() {
            if option["x-prony-role"] == WIDTH {
                let least = option["minimum"].as_u64().unwrap_or_default();
                let width = reporter.config.entry(name);
                width.or_insert(columns.max(least).into());
            }
        }
    }
    fitted
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

    fn names(&self, kind: PluginKind) -> Vec<String> {
        self.0
            .entries()
            .filter(|(entry, _)| entry.kind == sdk(kind))
            .map(|(entry, _)| entry.name.clone())
            .collect()
    }
}

fn sdk(kind: PluginKind) -> Kind {
    match kind {
        PluginKind::Engine => Kind::Engine,
        PluginKind::Reporter => Kind::Reporter,
    }
}
