//! `load`: from a config to a ready engine.

use super::engine::{Link, LiveEngine, Running, watch};
use super::{CRASH_GRACE, Staged, exchanges};
use crate::context::text;
use crate::installed::{self, Installed};
use crate::launched::Launched;
use crate::process::{Process, describe};
use prony_config::{as_texts, option_paths, template};
use prony_contract::{Endpoint, Kind, LaunchPlan, MAX_MORE_PORTS, Ready, StdioPlan, Transport};
use prony_journal::Event;
use prony_loadgen::client::{Probe, probe};
use prony_loadgen::clock::now_ns;
use prony_loadgen::local::Worker;
use prony_loadgen::stdio::Pipe;
use prony_loadgen::target::Target;
use serde_json::Value;
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Interval between readiness probes of a starting server.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// Timeout of one probe.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

impl LiveEngine<'_, '_> {
    /// Starts the engine and waits until it is ready. Returns the time taken in
    /// nanoseconds; `None` if it was already running. `running` is set as soon as there
    /// is something to stop.
    pub(super) async fn start_within(&mut self, limit: Duration) -> Staged<Option<u64>> {
        let mut at = Endpoint {
            host: self.requests.run.host(),
            port: free_port()?,
            more_ports: Vec::new(),
        };
        // Steps may need it, too.
        self.at = Some(at.clone());
        let engine = self.requests.engine;
        let config = Value::Object(engine.config.clone());
        let mut config = template::render_value(&config, &self.context())?;
        let plugin = engine.plugin.as_str();
        let registry = self.requests.run.registry;
        let (entry, _) = registry
            .find(Kind::Engine, plugin)
            .map_err(|error| error.to_string())?;
        as_texts(&mut config, &entry.config_schema);
        for pointer in option_paths(&config, &entry.config_schema) {
            if let Some(Value::String(path)) = config.pointer_mut(&pointer) {
                *path = text(Path::new(&prony_files::with_home(&*path)));
            }
        }
        self.requests.config = config;
        let transport = entry.transport.unwrap_or(Transport::Http);
        if transport == Transport::Http {
            let manifest = self.requests.adapter()?.describe();
            let count = manifest.map_err(|error| error.to_string())?.more_ports;
            at.more_ports = more_ports(count)?;
            self.at = Some(at.clone());
        }
        let begin = now_ns();
        match transport {
            Transport::InProcess => self.start_worker(plugin, limit).await,
            Transport::Stdio => self.start_stdio(limit).await,
            Transport::Http => self.start_server(&at, limit).await,
        }?;
        let running = self.running.as_ref();
        let was_started = running.is_some_and(|running| running.process.is_some());
        Ok(was_started.then(|| now_ns() - begin))
    }

    async fn start_worker(&mut self, plugin: &str, limit: Duration) -> Staged<()> {
        let [program, arguments @ ..] = self.requests.run.options.worker.as_slice() else {
            return Err("no worker command is set".to_owned().into());
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg(self.requests.run.registry.from_anywhere(plugin))
            .current_dir(&self.requests.run.options.folder);
        let (process, orders, answers) = Process::start_piped(command, &self.log())
            .map_err(|error| format!("`{program}` did not start: {error}"))?;
        let (config, model) = (self.requests.config.clone(), self.requests.model.clone());
        let running = self.running.insert(Running {
            sampler: watch(&process),
            process: Some(process),
            link: Link::Worker(Worker::new(orders, answers)),
        });
        let Running {
            process: Some(process),
            link: Link::Worker(worker),
            ..
        } = running
        else {
            return Err("a worker has a process".to_owned().into());
        };
        let loaded = tokio::time::timeout(limit, worker.load(config, model)).await;
        match loaded {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => match process.exited_within(CRASH_GRACE).await {
                Some(status) => Err(format!(
                    "the engine ended while loading ({}); {}",
                    describe(status),
                    process.last_words()
                )
                .into()),
                None => Err(message.into()),
            },
            Err(_) => Err(format!(
                "the model was not loaded within {limit:?}; {}",
                process.last_words()
            )
            .into()),
        }
    }

    async fn start_server(&mut self, at: &Endpoint, limit: Duration) -> Staged<()> {
        let requests = &self.requests;
        let plugin = requests.adapter()?;
        let plan: LaunchPlan = plugin.launch(&requests.config, &requests.model, at)?;
        let target = Target::new(&plan.base_url).map_err(|error| error.to_string())?;
        if target.local_port().is_some() && requests.run.has_ranks_elsewhere() {
            return Err(format!(
                "the engine is at `{}`, which ranks on other machines cannot reach: give its address in their network",
                plan.base_url
            )
            .into());
        }
        let launched = plan.command.as_ref();
        let program = launched.and_then(|it| it.argv.first());
        let missing = program.and_then(|it| self.missing(it));
        let process = match &plan.command {
            None => None,
            Some(launch) => {
                let (program, command) = self.command(launch)?;
                let process = Process::start(command, &self.log());
                let process = process.map_err(|error| self.not_started(program, &error))?;
                self.tell_program(launch)?;
                Some(process)
            }
        };
        let running = self.running.insert(Running {
            sampler: process.as_ref().and_then(watch),
            process,
            link: Link::Http {
                target: target.clone(),
                models: plan.models,
                questions: plan.questions,
                unload: plan.unload,
                reset: plan.reset,
            },
        });
        let begin = Instant::now();
        let mut last_answer = None;
        loop {
            let ready = match &plan.ready {
                Ready::Immediate => true,
                Ready::Http(path) => match probe(&target, path, PROBE_LIMIT).await {
                    Ok(Probe::Ready) => true,
                    Ok(Probe::NotReady(words)) => {
                        last_answer = words.or(last_answer);
                        false
                    }
                    Err(error) => {
                        return Err(format!(
                            "prony cannot ask whether the engine is ready: {error}"
                        )
                        .into());
                    }
                },
                Ready::LogLine(line) => running
                    .process
                    .as_mut()
                    .is_none_or(|process| process.has_logged(line)),
            };
            // Checked even if it answered: another process may be answering on a port
            // that the server failed to bind.
            if let Some(process) = &mut running.process {
                still_runs(process).map_err(|words| with_hint(words, missing.as_ref()))?;
            }
            if ready {
                running.owns_its_port()?;
                break;
            }
            if begin.elapsed() > limit {
                let words = running.process.as_ref().map_or_else(
                    || format!("`{}` does not answer", plan.base_url),
                    Process::last_words,
                );
                let answer = last_answer.map(|it| format!("the last answer was {it}"));
                let words = match (answer, &running.process) {
                    (Some(answer), None) => answer,
                    (Some(answer), Some(_)) => format!("{answer}; {words}"),
                    (None, _) => words,
                };
                return Err(format!("the engine was not ready within {limit:?}; {words}").into());
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
        let rest = limit.saturating_sub(begin.elapsed());
        let loaded = exchanges::send(&target, &plan.load, rest).await;
        if let Err(words) = loaded {
            if let Some(process) = &mut running.process {
                still_runs(process)?;
            }
            return Err(format!("the model was not loaded: {words}").into());
        }
        Ok(())
    }
}

impl LiveEngine<'_, '_> {
    /// Converts a plugin's command for the system, with its program's name. The environment
    /// that prony installed for the engine comes first on its `PATH`, and prony's folder of
    /// programs last.
    fn command<'l>(
        &self,
        launch: &'l prony_contract::Command,
    ) -> std::result::Result<(&'l str, Command), String> {
        let [program, arguments @ ..] = launch.argv.as_slice() else {
            return Err("the launch command is empty".to_owned());
        };
        let folder = self.working_folder(launch);
        if !folder.is_dir() {
            return Err(format!(
                "`{program}` did not start: there is no folder `{}` to start it in (`cwd`)",
                folder.display()
            ));
        }
        let mut command = Command::new(prony_files::with_home(program));
        command.args(arguments.iter().map(prony_files::with_home));
        command.current_dir(folder);
        let variables = launch.env.iter();
        command.envs(variables.map(|it| (&it.name, prony_files::with_home(&it.value))));
        if let Some(path) = self.path(launch) {
            command.env("PATH", path);
        }
        Ok((program, command))
    }

    fn working_folder(&self, launch: &prony_contract::Command) -> PathBuf {
        let here = &self.requests.run.options.folder;
        let cwd = launch.cwd.as_ref();
        cwd.map_or(here.clone(), |cwd| prony_files::located(here, cwd))
    }

    /// The engine's `PATH`.
    fn path(&self, launch: &prony_contract::Command) -> Option<OsString> {
        let own = launch.env.iter().rfind(|pair| pair.name == "PATH");
        let path = own.map(|pair| prony_files::with_home(&pair.value));
        let path = path.or_else(|| std::env::var_os("PATH"));
        let (cache, plugin) = self.source();
        let own = Installed::of(cache, &plugin)
            .is_some()
            .then(|| installed::folder(cache, &plugin).join("bin"));
        let shared = Some(installed::programs(cache)).filter(|folder| folder.is_dir());
        if own.is_none() && shared.is_none() {
            return path;
        }
        let others = path.iter().flat_map(std::env::split_paths);
        // A path with a colon in it cannot be on a `PATH`.
        let all = own.into_iter().chain(others).chain(shared);
        std::env::join_paths(all).ok().or(path.clone())
    }

    /// prony's cache folder, and the engine's name in it: that of its plugin, whichever version.
    fn source(&self) -> (&Path, String) {
        let run = &self.requests.run;
        let plugin = &self.requests.engine.plugin;
        let found = run.registry.find(Kind::Engine, plugin);
        let name = found.map_or_else(|_| plugin.clone(), |(entry, _)| entry.name.clone());
        (&run.options.cache, name)
    }

    /// Journals the program that was started, and the packages that prony installed for it.
    fn tell_program(&self, launch: &prony_contract::Command) -> Staged<()> {
        let Some(program) = launch.argv.first() else {
            return Ok(());
        };
        let found = if program.contains('/') {
            prony_files::located(&self.working_folder(launch), program)
        } else {
            let path = self.path(launch);
            let here = self.working_folder(launch);
            let folders = path.iter().flat_map(std::env::split_paths);
            let mut places = folders.map(|folder| here.join(folder).join(program));
            // As the system looks for it.
            places
                .find(|place| is_program(place))
                .unwrap_or_else(|| program.into())
        };
        let mut environment: Vec<_> = launch
            .env
            .iter()
            .map(|it| (OsString::from(&it.name), prony_files::with_home(&it.value)))
            .collect();
        environment.extend(self.path(launch).map(|path| ("PATH".into(), path)));
        self.requests.run.note_program(Launched {
            engine: self.requests.visit.engine.clone(),
            program: found.clone(),
            argv: launch.argv.clone(),
            environment,
            folder: self.working_folder(launch),
            is_installed: found.starts_with(installed::engines(self.source().0)),
        });
        let (cache, plugin) = self.source();
        let environment = installed::folder(cache, &plugin);
        let own = found.starts_with(&environment);
        let installed = Installed::of(cache, &plugin).filter(|_| own);
        self.requests.run.tell(Event::Program {
            visit: self.requests.visit.clone(),
            program: text(&found),
            packages: installed.map_or_else(Vec::new, |it| it.versions(&environment)),
        })?;
        Ok(())
    }

    /// The way to get the engine, if `program` or one of its modules may be missing.
    fn missing(&self, program: &str) -> Option<String> {
        let (cache, plugin) = self.source();
        let registry = self.requests.run.registry;
        let (entry, _) = registry.find(Kind::Engine, &plugin).ok()?;
        let system = std::env::consts::OS;
        let packages = entry.packages.as_ref();
        if packages.is_some_and(|it| !it.on(system).is_empty()) {
            let install = format!("`prony plugin install {plugin}`");
            if Installed::of(cache, &plugin).is_none() {
                return Some(format!("to install it: {install}"));
            }
            let environment = installed::folder(cache, &plugin);
            // Another place than prony's is the user's matter.
            let own = !program.contains('/') || Path::new(program).starts_with(&environment);
            let environment = environment.display();
            return own
                .then(|| format!("to install it again: `rm -r '{environment}'`, then {install}"));
        }
        let (_, recipe) = entry.recipe.as_ref()?;
        let words = recipe.install.get(system).or(recipe.install.get("any"))?;
        Some(format!("to install it: {words}"))
    }

    fn not_started(&self, program: &str, error: &std::io::Error) -> String {
        let words = format!("`{program}` did not start: {error}");
        match self.missing(program) {
            Some(hint) if error.kind() == ErrorKind::NotFound => format!("{words}; {hint}"),
            _ => words,
        }
    }

    /// Starts an engine that uses its standard input and output, and sends its opening
    /// messages.
    async fn start_stdio(&mut self, limit: Duration) -> Staged<()> {
        let requests = &self.requests;
        let plugin = requests.adapter()?;
        let plan: StdioPlan = plugin.launch_stdio(&requests.config, &requests.model)?;
        let (program, command) = self.command(&plan.command)?;
        let not_started = |error| self.not_started(program, &error);
        let (process, input, output) =
            Process::start_piped(command, &self.log()).map_err(not_started)?;
        self.tell_program(&plan.command)?;
        let missing = self.missing(program);
        let piped = || {
            let log = File::options().append(true).open(self.log())?;
            let (input, output) = (input.into_owned_fd()?, output.into_owned_fd()?);
            Pipe::new(input.into(), output.into(), plan.id_at, log)
        };
        let pipe = piped().map_err(not_started)?;
        let running = self.running.insert(Running {
            sampler: watch(&process),
            process: Some(process),
            link: Link::Stdio {
                pipe,
                closing: plan.closing,
            },
        });
        let Running {
            process: Some(process),
            link: Link::Stdio { pipe, .. },
            ..
        } = running
        else {
            return Err("an engine with pipes has a process".to_owned().into());
        };
        let begin = Instant::now();
        loop {
            let ready = match &plan.ready {
                Ready::Immediate => true,
                Ready::LogLine(line) => process.has_logged(line),
                Ready::Http(_) => {
                    let message = "`http` tells whether a server is ready, and this engine speaks \
                                   over its standard output";
                    return Err(message.to_owned().into());
                }
            };
            still_runs(process).map_err(|words| with_hint(words, missing.as_ref()))?;
            if ready {
                break;
            }
            if begin.elapsed() > limit {
                let words = process.last_words();
                return Err(format!("the engine was not ready within {limit:?}; {words}").into());
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
        for message in plan.opening {
            let rest = limit.saturating_sub(begin.elapsed());
            let Err(words) = pipe.ask(message, rest).await else {
                continue;
            };
            return Err(match process.exited_within(CRASH_GRACE).await {
                Some(status) => format!(
                    "the engine ended while loading ({}); {}",
                    describe(status),
                    process.last_words()
                ),
                None => format!("the engine did not load: {words}"),
            }
            .into());
        }
        Ok(())
    }
}

/// Returns `true` for a file that may be executed.
fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

fn still_runs(process: &mut Process) -> std::result::Result<(), String> {
    match process.exited() {
        None => Ok(()),
        Some(status) => Err(format!(
            "the engine ended before it was ready ({}); {}",
            describe(status),
            process.last_words()
        )),
    }
}

/// `words` about a Python program that ended, with the way to get the module that it lacks.
fn with_hint(words: String, missing: Option<&String>) -> String {
    match missing {
        Some(hint) if words.contains("No module named") => format!("{words}; {hint}"),
        _ => words,
    }
}

/// Free ports, no two of them equal.
fn more_ports(count: u32) -> std::result::Result<Vec<u16>, String> {
    if count > MAX_MORE_PORTS {
        return Err(format!(
            "the plugin asks for {count} ports beside the server's own, and {MAX_MORE_PORTS} are the most"
        ));
    }
    // All are held until the last is known.
    let held: Vec<_> = (0..count)
        .map(|_| std::net::TcpListener::bind(("127.0.0.1", 0)))
        .collect();
    let port = |listener: std::io::Result<std::net::TcpListener>| {
        let address = listener.and_then(|listener| listener.local_addr());
        address.map(|address| address.port())
    };
    let ports: std::io::Result<_> = held.into_iter().map(port).collect();
    ports.map_err(|error| format!("no free port on 127.0.0.1: {error}"))
}

/// A port that is free now. If another process takes it before the engine does, the
/// engine fails to start and reports it.
fn free_port() -> std::result::Result<u16, String> {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no free port on 127.0.0.1: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_ports_are_as_many_as_asked_for_and_differ() {
        for count in [0, 1, MAX_MORE_PORTS] {
            let mut ports = more_ports(count).expect("ports");
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ports.len(), count as usize);
        }
        let refused = more_ports(MAX_MORE_PORTS + 1).expect_err("too many");
        assert!(refused.contains("asks for 17 ports"), "{refused}");
    }

    #[test]
    fn only_a_file_that_may_be_executed_is_a_program() {
        let scratch = tempfile::tempdir().expect("a folder");
        let file = scratch.path().join("program");
        std::fs::write(&file, "").expect("a file");
        for (mode, expected) in [(0o644, false), (0o744, true), (0o611, true)] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&file, mode).expect("it is ours");
            assert_eq!(is_program(&file), expected);
        }
        assert!(!is_program(scratch.path()));
    }
}
