//! The plugin that its author names: a file, the folder of a project, or an installed one.

use crate::arguments::Global;
use crate::{Exit, Failure, output, plugins};
use clap::{Args, ValueEnum};
use prony_author::FILE;
use prony_conformance::{Answer, Fault, Session, Settings, Subject};
use prony_contract::{
    Artifact, Endpoint, Event, HttpRequest, Kind, LaunchPlan, Manifest, Message, Model, Request,
    Response, StdioPlan,
};
use prony_plugin_host::{AskedLimits, Error, LocalEngine, Plugin, PluginFile, Registry};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct Source {
    /// The built plugin, the folder of its project (`plugin.toml`), or the name of an installed
    /// one.
    #[arg(default_value = ".", value_name = "FILE|FOLDER|NAME")]
    plugin: PathBuf,
    /// Its config, as JSON or as a file of JSON. Defaults to `config` in `kit.json` of the
    /// fixtures, or else to `{}`.
    #[arg(long, value_name = "JSON|FILE")]
    config: Option<String>,
    /// The folder of fixtures. Defaults to `fixtures` in the project's folder or beside the file.
    #[arg(long, value_name = "DIR")]
    pub(super) fixtures: Option<PathBuf>,
    /// Id of the model. Defaults to that of `kit.json`.
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// File or folder of the model.
    #[arg(long, value_name = "PATH")]
    model_path: Option<String>,
    /// Permission for a shared library to run outside the sandbox, this once.
    #[arg(long, value_enum, value_name = "GRANT")]
    grant: Option<GrantOf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GrantOf {
    /// Run as native code, outside the sandbox.
    Native,
}

/// A plugin under test, with what its author says about it.
pub(super) struct Tested {
    pub(super) subject: Hosted,
    /// The name that it is called by in messages.
    pub(super) shown: String,
    /// Folder of the project, or that in which the command runs.
    pub(super) folder: PathBuf,
    /// Folder of fixtures, whether it is there or not.
    pub(super) fixtures: PathBuf,
    pub(super) settings: Settings,
}

impl Source {
    /// Loads the plugin.
    pub(super) fn load(&self, global: &Global) -> Result<Tested, Failure> {
        let path = &self.plugin;
        let has_project = path.join(FILE).is_file();
        let mut asked = AskedLimits::default();
        let (file, folder, shown) = if has_project {
            let project = super::build::read(path)?;
            let file = project.output();
            if !file.is_file() {
                return Err(wrong(format!(
                    "`{}` is not built yet: run `prony plugin build {}`",
                    file.display(),
                    path.display()
                )));
            }
            if let Some(source) = plugins::newer_source(&project, &file) {
                output::error_line(format_args!(
                    "warning: `{source}` is newer than `{}`: `prony plugin build {}` builds it again",
                    file.display(),
                    path.display()
                ));
            }
            asked.memory_mib = project.limits.memory_mib;
            asked.call_ms = project.limits.call_ms;
            (Some(file), path.clone(), project.name)
        } else if path.is_file() {
            let name = path.file_name().unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            (Some(path.clone()), prony_files::folder(path), name)
        } else if path.is_dir() {
            return Err(wrong(format!(
                "`{}` has no `{FILE}`: name the built file, or `prony plugin new --lang LANG NAME` makes a project",
                path.display()
            )));
        } else {
            (None, PathBuf::from("."), path.display().to_string())
        };
        let subject = match &file {
            Some(file) => {
                let native = self.grant == Some(GrantOf::Native);
                let opened = PluginFile::open(file, native, asked, &plugins::setup(global));
                let opened = opened.map_err(refused)?;
                Hosted(Loaded::File(Box::new(opened)))
            }
            None => installed(global, &shown)?,
        };
        let fixtures = self.fixtures.clone();
        let beside = folder.strip_prefix(".").unwrap_or(&folder);
        let fixtures = fixtures.unwrap_or_else(|| beside.join("fixtures"));
        let settings = self.settings(&fixtures)?;
        Ok(Tested {
            subject,
            shown,
            folder,
            fixtures,
            settings,
        })
    }

    /// Everything about the plugin that stands in `kit.json` of a folder, or in arguments.
    pub(super) fn settings(&self, fixtures: &Path) -> Result<Settings, Failure> {
        let settings = Settings::read(fixtures).map_err(wrong)?;
        let mut settings = settings.unwrap_or_default();
        if let Some(config) = &self.config {
            settings.config = read_config(config)?;
        }
        if self.model.is_some() || self.model_path.is_some() {
            let known = settings.model.take();
            let id = self
                .model
                .clone()
                .or_else(|| known.as_ref().map(|it| it.id.clone()));
            let path = self.model_path.clone();
            let path = path.or_else(|| known.and_then(|it| it.path));
            let id = id.or_else(|| path.clone());
            settings.model = Some(Model {
                id: id.unwrap_or_default(),
                path,
            });
        }
        Ok(settings)
    }

    /// Returns `true` if the config stands on the command line.
    pub(super) fn has_config(&self) -> bool {
        self.config.is_some()
    }

    /// The plugin as the user named it.
    pub(super) fn shown(&self) -> String {
        self.plugin.display().to_string()
    }
}

/// The way out of a missing grant is to give it here: nothing is installed.
fn refused(error: Error) -> Failure {
    match error {
        Error::NotGranted { path } => wrong(format!(
            "`{}` is a native library and would run outside the sandbox: if you trust it, add `--grant native`",
            path.display()
        )),
        error => error.into(),
    }
}

pub(super) fn wrong(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}

fn installed(global: &Global, name: &str) -> Result<Hosted, Failure> {
    let registry = plugins::registry(global)?;
    let kinds = [Kind::Engine, Kind::Reporter];
    let kind = kinds
        .into_iter()
        .find(|kind| registry.find(*kind, name).is_ok());
    let Some(kind) = kind else {
        return Err(wrong(format!(
            "there is no file or folder `{name}`, and no plugin of that name is installed: `prony plugin list` shows what is"
        )));
    };
    let plugin = registry.load(kind, name)?;
    Ok(Hosted(Loaded::Installed {
        plugin,
        registry: Box::new(registry),
        name: name.to_owned(),
    }))
}

/// Reads a config: JSON, or a file of it.
fn read_config(given: &str) -> Result<Value, Failure> {
    const MAX_BYTES: u64 = 16 << 20;
    let text = if given.trim_start().starts_with('{') {
        given.to_owned()
    } else {
        let text = prony_files::read_text(Path::new(given), MAX_BYTES);
        text.map_err(|error| {
            wrong(format!(
                "`--config`: `{given}` is neither an object of JSON nor a file: {error}"
            ))
        })?
    };
    serde_json::from_str(&text).map_err(|error| {
        wrong(format!(
            "`--config` is no JSON, line {} column {}: {error}",
            error.line(),
            error.column()
        ))
    })
}

impl Tested {
    /// The model: that of the settings, or one that only has a name.
    pub(super) fn model(&self) -> Model {
        self.settings.model.clone().unwrap_or_else(|| Model {
            id: "a-model".to_owned(),
            path: None,
        })
    }
}

/// A plugin of the host, for the checks.
pub(super) struct Hosted(Loaded);

enum Loaded {
    File(Box<PluginFile>),
    Installed {
        plugin: Arc<dyn Plugin>,
        registry: Box<Registry>,
        name: String,
    },
}

impl Hosted {
    pub(super) fn plugin(&self) -> &dyn Plugin {
        match &self.0 {
            Loaded::File(file) => file.plugin(),
            Loaded::Installed { plugin, .. } => &**plugin,
        }
    }

    /// Loads the model of an in-process engine, in this process.
    pub(super) fn open_engine(
        &self,
        config: &Value,
        model: &Model,
    ) -> prony_plugin_host::Result<LocalEngine> {
        match &self.0 {
            Loaded::File(file) => file.open_engine(config, model),
            Loaded::Installed { registry, name, .. } => {
                let plugin = registry.load_native(Kind::Engine, name)?;
                LocalEngine::open(plugin, config, model)
            }
        }
    }
}

fn fault(error: Error) -> Fault {
    match error {
        Error::Reported { error, .. } => Fault::Reported(error),
        other => Fault::Broken(other.to_string()),
    }
}

impl Subject for Hosted {
    fn describe(&self) -> Answer<Manifest> {
        self.plugin().describe().map_err(fault)
    }

    fn check(&self, config: &Value) -> Answer<Vec<prony_contract::Error>> {
        self.plugin().check(config).map_err(fault)
    }

    fn launch(&self, config: &Value, model: &Model, at: &Endpoint) -> Answer<LaunchPlan> {
        self.plugin().launch(config, model, at).map_err(fault)
    }

    fn encode(&self, config: &Value, model: &Model, request: &Request) -> Answer<HttpRequest> {
        self.plugin().encode(config, model, request).map_err(fault)
    }

    fn launch_stdio(&self, config: &Value, model: &Model) -> Answer<StdioPlan> {
        self.plugin().launch_stdio(config, model).map_err(fault)
    }

    fn encode_stdio(
        &self,
        config: &Value,
        model: &Model,
        request: &Request,
        number: u64,
    ) -> Answer<Message> {
        let made = self.plugin().encode_stdio(config, model, request, number);
        made.map_err(fault)
    }

    fn decode(&self, config: &Value, response: &Response<'_>) -> Answer<Vec<Event>> {
        self.plugin().decode(config, response).map_err(fault)
    }

    fn render(&self, config: &Value, result: &str) -> Answer<Vec<Artifact>> {
        self.plugin().render(config, result).map_err(fault)
    }

    fn open(&self, config: &Value, model: &Model) -> Answer<Box<dyn Session + '_>> {
        let opened = self.open_engine(config, model).map_err(fault)?;
        Ok(Box::new(Loading(opened)))
    }
}

struct Loading(LocalEngine);

impl Session for Loading {
    fn generate(&mut self, request: &Request) -> Answer<Vec<Event>> {
        let events = self.0.generate(request, || 0, u64::MAX).map_err(fault)?;
        Ok(events.into_iter().map(|(_, event)| event).collect())
    }
}
