//! Installs engines, by their names or those of a pipeline, each into a Python environment of its own in prony's
//! cache folder.
//!
//! `pip` and `git` do the work, with the user's own settings (`PIP_INDEX_URL`,
//! `PIP_FIND_LINKS`, `url.….insteadOf`). An environment is not movable, so it is made where
//! it stays; its record is written last, and one without a record is made again.

use super::run::stop_on_signal;
use crate::arguments::Global;
use crate::commands::runtime;
use crate::{Exit, Failure, Outcome, plugins};
use prony_config::{Engine, Pipeline};
use prony_contract::{Kind, Packages, Repository};
use prony_plugin_host::{Entry, Registry};
use prony_runner::installed::{self, Installed, RECORD, SOURCE};
use prony_runner::process::run_shown;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::watch;

/// Options with a place in which a pipeline brings an engine of its own.
const OWN: [&str; 2] = ["program", "python"];
/// Settings with which pip would not install into the environment, or not all.
const UNWANTED: [&str; 6] = [
    "PIP_DRY_RUN",
    "PIP_NO_DEPS",
    "PIP_PREFIX",
    "PIP_QUIET",
    "PIP_ROOT",
    "PIP_TARGET",
];

/// Installs every engine of a pipeline that prony can install and that is missing.
pub(super) fn engines(
    global: &Global,
    file: &Path,
    pipeline: &Pipeline,
    registry: &Registry,
    stop: &watch::Receiver<bool>,
) -> Result<(), Failure> {
    let cache = plugins::cache(global);
    let mut known = BTreeSet::new();
    for engine in &pipeline.engines {
        let name = engine.plugin.as_str();
        if !known.insert(name) {
            continue;
        }
        let say = |words: &str| {
            if !global.quiet {
                eprintln!("{name}: {words}");
            }
        };
        let (entry, _) = registry.find(Kind::Engine, name)?;
        let mut of_plugin = pipeline.engines.iter().filter(|it| it.plugin == name);
        if of_plugin.all(|it| brings_its_own(it, &cache)) {
            say("nothing to install, since the pipeline names its own");
            continue;
        }
        let Some(packages) = &entry.packages else {
            say(&by_hand(&entry));
            continue;
        };
        let place = Place {
            name,
            folder: installed::folder(&cache, &entry.name),
            command: format!("prony doctor --install {}", file.display()),
            stop,
        };
        place.bring(packages, &cache, &say)?;
    }
    Ok(())
}

/// Installs engines by their names. Fails for one that prony cannot install.
pub(super) fn named(global: &Global, names: &[String]) -> Outcome {
    let (registry, cache) = (plugins::registry(global)?, plugins::cache(global));
    let left = "an engine that is not wholly installed is installed again";
    let stop = stop_on_signal("what installs is ended", left)?;
    for name in names {
        let (entry, _) = registry.find(Kind::Engine, name)?;
        let place = Place {
            name,
            folder: installed::folder(&cache, &entry.name),
            command: format!("prony plugin install {name}"),
            stop: &stop,
        };
        let Some(packages) = &entry.packages else {
            return Err(place.failed(&by_hand(&entry)));
        };
        if packages.on(std::env::consts::OS).is_empty() {
            return Err(place.failed(&format!("it has no packages for {}", std::env::consts::OS)));
        }
        place.bring(packages, &cache, &|words| {
            if !global.quiet {
                eprintln!("{name}: {words}");
            }
        })?;
    }
    Ok(Exit::Ok)
}

/// The way to get an engine that prony does not install, in words.
fn by_hand(entry: &Entry) -> String {
    let Some((_, recipe)) = &entry.recipe else {
        return "nothing to install".to_owned();
    };
    let install = &recipe.install;
    let words = install.get(std::env::consts::OS).or(install.get("any"));
    let words = words.map_or("not for this system", String::as_str);
    format!("not installed by prony: {words}")
}

/// Returns `true` if the pipeline says where the engine is, other than in prony's cache.
fn brings_its_own(engine: &Engine, cache: &Path) -> bool {
    let is_given = |value: &Value| !value.is_null();
    if engine.config.get("base_url").is_some_and(is_given) {
        return true;
    }
    let home = installed::folder(cache, &engine.plugin);
    let is_own = |value: &Value| {
        let text = value.as_str().or_else(|| value[0].as_str());
        text.is_some_and(|text| {
            let text = text.replace("${{ prony.cache }}", &cache.to_string_lossy());
            // A bare name is looked for in the environment first.
            text.contains('/') && !Path::new(&text).starts_with(&home)
        })
    };
    OWN.iter()
        .any(|option| engine.config.get(*option).is_some_and(is_own))
}

/// The place of an engine's environment.
struct Place<'a> {
    name: &'a str,
    folder: PathBuf,
    /// The command that installs it, for messages.
    command: String,
    /// Becomes `true` when the installation is to end.
    stop: &'a watch::Receiver<bool>,
}

impl Place<'_> {
    /// Makes the environment unless it is there with the same packages.
    fn bring(&self, packages: &Packages, cache: &Path, say: &dyn Fn(&str)) -> Result<(), Failure> {
        let system = std::env::consts::OS;
        if packages.on(system).is_empty() {
            say(&format!("cannot run here: it has no packages for {system}"));
            return Ok(());
        }
        let wanted = Packages {
            linux: packages
                .linux
                .clone()
                .into_iter()
                .filter(|_| system == "linux")
                .collect(),
            macos: packages
                .macos
                .clone()
                .into_iter()
                .filter(|_| system == "macos")
                .collect(),
            ..packages.clone()
        };
        let io = |error: io::Error| self.failed(&format!("`{}`: {error}", self.folder.display()));
        let parent = self.folder.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(io)?;
        // Another prony may be at it.
        let lock = parent.join(format!(".{}.lock", self.name));
        // Not truncated: a link of that name may lead to another file.
        let open = File::options().append(true).create(true).open(lock);
        let lock = open.map_err(io)?;
        if lock.try_lock().is_err() {
            say("waiting for another prony that installs it");
            while lock.try_lock().is_err() {
                if *self.stop.borrow() {
                    return Err(self.interrupted());
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let there = Installed::of(cache, self.name);
        let is_wanted = there.as_ref().is_some_and(|it| it.packages == wanted);
        let runs = there.is_some() && self.runs();
        if is_wanted && runs {
            say(&format!(
                "is installed in {}: {}",
                self.folder.display(),
                asked_for(&wanted, system)
            ));
            return Ok(());
        }
        if there.is_some() && !runs {
            say("the Python that it is installed with no longer runs");
        } else if there.is_some() {
            say("other versions are wanted than are installed");
        }
        let python = self.python(wanted.python.as_deref())?;
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).map_err(io)?;
        }
        say(&format!(
            "making an environment in {}",
            self.folder.display()
        ));
        let made = self.make(&python, &wanted, say);
        made.inspect_err(|_| {
            // It would not be taken for whole, but would take up room.
            let _ = fs::remove_dir_all(&self.folder);
        })?;
        let packages = wanted.clone();
        self.keep(&Installed { packages }).map_err(io)?;
        say(&format!("installed {}", asked_for(&wanted, system)));
        Ok(())
    }

    /// Makes the environment.
    fn make(&self, python: &str, wanted: &Packages, say: &dyn Fn(&str)) -> Result<(), Failure> {
        // Without its own pip, which some systems cannot install; an outside one can install
        // into it just as well.
        let mut venv = Command::new(python);
        venv.args(["-m", "venv", "--without-pip"]).arg(&self.folder);
        self.run(venv, "Debian's package for it is python3-venv")?;
        let source = self.folder.join(SOURCE);
        if let Some(repository) = &wanted.repository {
            say(&format!("cloning {}", repository.url));
            self.clone_of(repository, &source)?;
            self.import_from(&source)?;
        }
        let system = std::env::consts::OS;
        let requirements: Vec<String> = wanted
            .on(system)
            .iter()
            .map(|it| it.replace("{source}", &source.to_string_lossy()))
            .collect();
        say(&format!("installing {}", asked_for(wanted, system)));
        let mut pip = self.pip(python);
        pip.args(["install", "--no-input"]).args(&requirements);
        self.run(pip, &self.without_a_network(&requirements))?;
        let there = installed::versions(&self.folder);
        let lacks = |name: &String| !there.iter().any(|it| it.split("==").next() == Some(name));
        let names = requirements.iter().filter_map(|it| name_of(it));
        let lacking: Vec<String> = names.filter(lacks).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        Err(self.failed(&format!(
            "pip ended well, but `{}` has no {}: see `{python} -m pip config list` and the variables `PIP_…` and `PYTHONPATH` for settings with which pip installs elsewhere or not at all",
            self.folder.display(),
            lacking.join(", ")
        )))
    }

    /// Clones a repository at its commit.
    fn clone_of(&self, repository: &Repository, source: &Path) -> Result<(), Failure> {
        let Repository { url, revision } = repository;
        let help = format!(
            "without a network: clone it where there is one, copy the clone here, and let git take it from there: `git config --global url.file:///PATH/TO/CLONE.insteadOf {url}`"
        );
        let mut clone = Command::new("git");
        clone
            // In a group of its own it could not read an answer.
            .env("GIT_TERMINAL_PROMPT", "0")
            .args(["clone", "--quiet", "--no-checkout", url])
            .arg(source);
        self.run(clone, &help)?;
        let mut checkout = Command::new("git");
        checkout.arg("-C").arg(source);
        checkout.args(["checkout", "--quiet", "--detach", revision, "--"]);
        self.run(checkout, &format!("the clone of {url} must have it"))?;
        let mut head = Command::new("git");
        head.arg("-C").arg(source).args(["rev-parse", "HEAD"]);
        let head = head.output();
        let head = head.map_err(|error| self.failed(&format!("`git`: {error}")))?;
        let head = String::from_utf8_lossy(&head.stdout).trim().to_owned();
        if !head.starts_with(revision) {
            return Err(self.failed(&format!(
                "{url} has something else under the name `{revision}`: commit {head}"
            )));
        }
        Ok(())
    }

    /// Lets the environment import the modules of a folder.
    fn import_from(&self, source: &Path) -> Result<(), Failure> {
        let io = |error: io::Error| self.failed(&error.to_string());
        for library in installed::libraries(&self.folder) {
            let line = format!("{}\n", source.display());
            fs::write(library.join("prony.pth"), line).map_err(io)?;
        }
        Ok(())
    }

    /// Returns `true` if the environment's Python runs: the one that it was made with may be gone.
    fn runs(&self) -> bool {
        let mut python = Command::new(self.folder.join("bin/python"));
        python.args(["-I", "-c", "import encodings"]);
        python.stdin(Stdio::null()).stderr(Stdio::null());
        python.status().is_ok_and(|status| status.success())
    }

    fn pip(&self, python: &str) -> Command {
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "--disable-pip-version-check", "--python"]);
        pip.arg(self.folder.join("bin/python"));
        for name in UNWANTED {
            pip.env_remove(name);
        }
        pip
    }

    /// Runs a command with its output on standard error, until it ends or is to end.
    fn run(&self, command: Command, help: &str) -> Result<(), Failure> {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        let words = words.join(" ");
        let mut stop = self.stop.clone();
        let ended = runtime()?.block_on(run_shown(command.into(), &mut stop));
        match ended {
            Ok(None) => Err(self.interrupted()),
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => Err(self.failed(&format!("`{words}` ended with {status}; {help}"))),
            Err(error) => Err(self.failed(&format!("`{words}`: {error}; {help}"))),
        }
    }

    fn interrupted(&self) -> Failure {
        let message = format!("the installation of `{}` was interrupted", self.name);
        Failure::new(Exit::Interrupted, message)
    }

    fn without_a_network(&self, requirements: &[String]) -> String {
        let quoted: Vec<String> = requirements.iter().map(|it| format!("'{it}'")).collect();
        format!(
            "without a network: where there is one, on the same system and with the same Python, `python3 -m pip download --dest wheels {}`; copy the folder `wheels` here, then `PIP_NO_INDEX=1 PIP_FIND_LINKS=/PATH/TO/wheels {}`",
            quoted.join(" "),
            self.command
        )
    }

    /// A Python that is new enough: the least one first, as the engine's authors use it.
    fn python(&self, least: Option<&str>) -> Result<String, Failure> {
        const NEWER: u32 = 6;
        let Some(least) = least else {
            return Ok("python3".to_owned());
        };
        let version = |text: &str| -> Option<(u32, u32)> {
            let (major, minor) = text.trim().split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        };
        let wrong = || self.failed(&format!("`{least}` is no version of Python"));
        let (major, minor) = version(least).ok_or_else(wrong)?;
        let newer = (minor + 1..=minor + NEWER).map(|minor| format!("python{major}.{minor}"));
        let names = [format!("python{least}"), "python3".to_owned()];
        for name in names.into_iter().chain(newer) {
            let mut ask = Command::new(&name);
            ask.args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]);
            let Ok(said) = ask.stderr(Stdio::null()).output() else {
                continue;
            };
            let found = version(&String::from_utf8_lossy(&said.stdout));
            if found.is_some_and(|found| found >= (major, minor)) {
                return Ok(name);
            }
        }
        Err(self.failed(&format!(
            "it needs Python {least} or newer, and there is none on the `PATH`: install it (on macOS `brew install python@{least}`)"
        )))
    }

    /// Writes the record, at once.
    fn keep(&self, record: &Installed) -> io::Result<()> {
        let new = self.folder.join(format!("{RECORD}.new"));
        let mut file = File::create(&new)?;
        serde_json::to_writer_pretty(&mut file, record)?;
        file.flush()?;
        file.sync_all()?;
        fs::rename(new, self.folder.join(RECORD))
    }

    fn failed(&self, words: &str) -> Failure {
        let message = format!("`{}` could not be installed: {words}", self.name);
        Failure::new(Exit::RunFailed, message)
    }
}

/// The name of the package that an argument of `pip install` requires everywhere.
fn name_of(argument: &str) -> Option<String> {
    let is_required = !argument.starts_with('-') && argument.contains("==");
    // A condition may not hold here.
    (is_required && !argument.contains(';')).then(|| {
        let end = argument.find(['[', '=', ' ']).unwrap_or(argument.len());
        installed::normalised(&argument[..end])
    })
}

/// The packages in words, with the commit of the repository.
fn asked_for(packages: &Packages, system: &str) -> String {
    let repository = packages.repository.iter();
    let repository = repository.map(|it| format!("{}@{}", it.url, it.revision));
    let of_source = |it: &String| it.replace("{source}/", "");
    let packages = packages.on(system).iter().map(of_source);
    repository.chain(packages).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(folder).args(arguments);
        let said = git.output().expect("git runs");
        assert!(said.status.success(), "{said:?}");
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }

    /// A repository with a module in two versions, and the commits of both.
    fn repository(folder: &Path) -> [String; 2] {
        git(folder, &["init", "--quiet"]);
        ["1", "2"].map(|version| {
            let module = format!("VERSION = {version}\n");
            fs::write(folder.join("stand_in.py"), module).expect("a file");
            fs::write(folder.join("requirements.txt"), "").expect("a file");
            git(folder, &["add", "."]);
            let author = ["-c", "user.name=it", "-c", "user.email=it@localhost"];
            git(
                folder,
                &[&author[..], &["commit", "--quiet", "-m", version]].concat(),
            );
            git(folder, &["rev-parse", "HEAD"])
        })
    }

    #[test]
    fn a_repository_is_cloned_at_its_commit_and_imported() {
        let scratch = tempfile::tempdir().expect("a folder");
        let [source, cache] = ["repository", "cache"].map(|it| scratch.path().join(it));
        fs::create_dir(&source).expect("a folder");
        let commits = repository(&source);
        let (_sender, stop) = watch::channel(false);
        let place = Place {
            name: "stand-in",
            folder: installed::folder(&cache, "stand-in"),
            command: "prony doctor --install pipeline.yaml".to_owned(),
            stop: &stop,
        };
        let packages = |revision: &str| {
            // A list of nothing, which has not to be downloaded.
            let arguments = ["-r", "{source}/requirements.txt"];
            let arguments: Vec<String> = arguments.map(str::to_owned).into();
            Packages {
                python: Some("3.8".to_owned()),
                repository: Some(Repository {
                    url: format!("file://{}", source.display()),
                    revision: revision.to_owned(),
                }),
                linux: arguments.clone(),
                macos: arguments,
            }
        };
        let version = || {
            let mut python = Command::new(place.folder.join("bin/python"));
            python.args(["-c", "import stand_in; print(stand_in.VERSION)"]);
            let said = python.output().expect("it runs");
            String::from_utf8_lossy(&said.stdout).trim().to_owned()
        };
        for (commit, expected) in commits.iter().zip(["1", "2"]) {
            let said = std::cell::RefCell::new(Vec::new());
            let say = |words: &str| said.borrow_mut().push(words.to_owned());
            let bring = || place.bring(&packages(&commit[..7]), &cache, &say);
            bring().map_err(|it| it.message).expect("it is installed");
            assert_eq!(version(), expected);
            let record = Installed::of(&cache, "stand-in").expect("a record");
            let versions = record.versions(&place.folder);
            assert!(versions[0].ends_with(commit), "{versions:?}");
            said.borrow_mut().clear();
            bring().map_err(|it| it.message).expect("it is there");
            assert!(said.borrow()[0].starts_with("is installed in "), "{said:?}");
            assert_eq!(said.borrow().len(), 1);
        }
        let python = place.folder.join("bin/python");
        fs::remove_file(&python).expect("it is there");
        let said = std::cell::RefCell::new(Vec::new());
        let say = |words: &str| said.borrow_mut().push(words.to_owned());
        let again = place.bring(&packages(&commits[1][..7]), &cache, &say);
        again.map_err(|it| it.message).expect("it is made again");
        assert!(said.borrow()[0].contains("no longer runs"), "{said:?}");
        assert_eq!(version(), "2");
        let missing = place.bring(&packages("abcdef0"), &cache, &|_| {});
        let told = missing.expect_err("there is no such commit").message;
        assert!(told.contains("checkout --quiet --detach abcdef0"), "{told}");
        assert!(!place.folder.exists());
    }

    #[test]
    fn an_engine_with_an_address_is_not_installed() {
        let brings = |config: Value| {
            let engine = Engine {
                name: "it".to_owned(),
                plugin: "stand-in".to_owned(),
                config: config.as_object().cloned().expect("an object"),
                history: None,
            };
            brings_its_own(&engine, Path::new("/cache"))
        };
        let json = |text: &str| serde_json::from_str(text).expect("valid JSON");
        assert!(brings(json(r#"{ "base_url": "http://localhost:80" }"#)));
        assert!(brings(json(r#"{ "base_url": "${{ env.SERVER }}" }"#)));
        assert!(!brings(json(r#"{ "base_url": null }"#)));
        assert!(brings(json(r#"{ "program": ["/opt/it", "serve"] }"#)));
        assert!(!brings(json(r#"{ "program": "it" }"#)));
    }

    #[test]
    fn requirements_have_names() {
        let names = [
            "MLX_lm[cpu]==0.32.4",
            "torch == 2.13",
            "-r",
            "a==1; python_version < '3'",
        ];
        let names: Vec<_> = names.into_iter().filter_map(name_of).collect();
        assert_eq!(names, ["mlx-lm", "torch"]);
    }

    #[test]
    fn a_lock_file_that_is_a_link_is_not_truncated() {
        let scratch = tempfile::tempdir().expect("a folder");
        let victim = scratch.path().join("victim");
        fs::write(&victim, "kept").expect("a file");
        let folder = installed::folder(scratch.path(), "it");
        let parent = folder.parent().expect("it is in a folder");
        fs::create_dir_all(parent).expect("a folder");
        std::os::unix::fs::symlink(&victim, parent.join(".it.lock")).expect("a link");
        let (_sender, stop) = watch::channel(false);
        let place = Place {
            name: "it",
            folder,
            command: "prony plugin install it".to_owned(),
            stop: &stop,
        };
        let packages = Packages {
            python: Some("3.99".to_owned()),
            linux: vec!["it==1".to_owned()],
            macos: vec!["it==1".to_owned()],
            ..Packages::default()
        };
        let failed = place.bring(&packages, scratch.path(), &|_| {});
        failed.expect_err("there is no such Python");
        assert_eq!(fs::read_to_string(&victim).expect("it is there"), "kept");
    }

    #[test]
    fn a_python_that_is_too_old_is_told() {
        let (_sender, stop) = watch::channel(false);
        let place = Place {
            name: "it",
            folder: PathBuf::from("/nowhere"),
            command: "prony doctor --install pipeline.yaml".to_owned(),
            stop: &stop,
        };
        assert_eq!(
            place.python(None).map_err(|it| it.message),
            Ok("python3".to_owned())
        );
        place
            .python(Some("3.0"))
            .map_err(|it| it.message)
            .expect("it is newer");
        let told = place.python(Some("3.99")).expect_err("it is older").message;
        assert!(told.contains("it needs Python 3.99 or newer"), "{told}");
    }
}
