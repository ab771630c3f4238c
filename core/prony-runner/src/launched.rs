//! Programs that really ran behind a launch command: the program with its version, and the image of a
//! container.

use crate::log::safe_name;
use crate::process::{Process, describe};
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// Time that a program has to tell its version, and a container runtime the digest of an image.
const LIMIT: Duration = Duration::from_secs(5);
/// Time between the request to end and the kill.
const GRACE: Duration = Duration::from_millis(500);
/// Lines of a version that are kept, and their length in characters.
const MAX_LINES: usize = 4;
const MAX_LINE: usize = 200;
/// Programs that run containers.
const RUNTIMES: [&str; 3] = ["docker", "podman", "nerdctl"];

/// A program that was started for an engine.
#[derive(Debug, Clone)]
pub(crate) struct Launched {
    /// The engine.
    pub(crate) engine: String,
    /// The program's path, or its name if nobody knows where the system found it.
    pub(crate) program: PathBuf,
    /// The command.
    pub(crate) argv: Vec<String>,
    /// Variables that were set for it.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Folder that it was started in.
    pub(crate) folder: PathBuf,
    /// `true` if prony installed the program.
    pub(crate) is_installed: bool,
}

/// A fact about a program, or the reason why it is unknown.
pub(crate) type Known = std::result::Result<String, String>;

impl Launched {
    /// The first lines that `PROGRAM --version` prints. A script that prony did not install is not
    /// run: it may do anything. Not for use during a measurement.
    pub(crate) async fn version(&self, logs: &Path) -> Known {
        if is_script(&self.program) && !self.is_installed {
            return Err("it is a script, which was not run to ask for its version".to_owned());
        }
        let mut command = self.command(self.program.as_os_str());
        command.arg("--version");
        let printed = printed(command, &self.log(logs, "version")).await?;
        let lines = printed.lines().map(str::trim).filter(|it| !it.is_empty());
        let lines: Vec<String> = lines
            .take(MAX_LINES)
            .map(|line| line.chars().take(MAX_LINE).collect())
            .collect();
        if lines.is_empty() {
            return Err("`--version` printed nothing".to_owned());
        }
        Ok(lines.join("\n"))
    }

    /// The image that the command runs in a container, if it does, and its digest: by its name,
    /// or else by what the runtime knows of it.
    pub(crate) async fn image(&self, logs: &Path) -> Option<(String, Known)> {
        let (runtime, image) = image_of(&self.argv)?;
        if let Some(digest) = digest_in(image) {
            return Some((image.to_owned(), Ok(digest)));
        }
        let mut command = self.command(runtime.as_ref());
        let log = self.log(logs, "image");
        inspect(&mut command, image);
        let told = printed(command, &log).await;
        Some((image.to_owned(), told.and_then(|text| digest_of(&text))))
    }

    fn command(&self, program: &std::ffi::OsStr) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        let environment = self.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value)));
        command
    }

    fn log(&self, logs: &Path, what: &str) -> PathBuf {
        logs.join(format!("{what}-{}.log", safe_name(&self.engine)))
    }
}

/// The digest of an image here, by its name or by the first container runtime that knows it.
pub async fn image_digest(image: &str) -> Option<String> {
    if let Some(digest) = digest_in(image) {
        return Some(digest);
    }
    let scratch = tempfile::NamedTempFile::new().ok()?;
    for runtime in RUNTIMES {
        let mut command = Command::new(runtime);
        inspect(&mut command, image);
        let told = printed(command, scratch.path()).await;
        if let Some(digest) = told.ok().and_then(|text| digest_of(&text).ok()) {
            return Some(digest);
        }
    }
    None
}

fn inspect(command: &mut Command, image: &str) {
    command.args(["image", "inspect", "--format"]);
    command.args(["{{json .RepoDigests}} {{.Id}}", "--", image]);
}

/// Output of a command that ends with success within the limit.
async fn printed(command: Command, log: &Path) -> Known {
    /// Bytes that are looked at.
    const MAX_BYTES: u64 = 16 << 10;
    let asked = {
        let command = command.as_std();
        let program = command.get_program().to_string_lossy();
        let program = program.rsplit('/').next().unwrap_or_default().to_owned();
        let first = command.get_args().next();
        first.map_or(program.clone(), |it| format!("{program} {}", it.display()))
    };
    let start = std::fs::metadata(log).map_or(0, |it| it.len());
    let mut process = Process::start(command, log)
        .map_err(|error| format!("`{asked}` did not start: {error}"))?;
    let status = process.exited_within(LIMIT).await;
    process.stop(GRACE).await;
    let text = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(log)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = text().unwrap_or_default();
    match status {
        None => Err(format!("`{asked}` did not end within {LIMIT:?}")),
        Some(status) if status.success() => Ok(text),
        Some(status) => {
            let words = text.lines().map(str::trim).find(|it| !it.is_empty());
            let words = words.map_or_else(String::new, |it| {
                format!(": {}", it.chars().take(MAX_LINE).collect::<String>())
            });
            Err(format!("`{asked}` failed ({}){words}", describe(status)))
        }
    }
}

fn is_script(path: &Path) -> bool {
    let mut begin = [0; 2];
    let file = std::fs::File::open(path);
    file.and_then(|mut it| it.read_exact(&mut begin)).is_ok() && &begin == b"#!"
}

/// The program of a container runtime in a command, and the image that it runs.
fn image_of(argv: &[String]) -> Option<(&str, &str)> {
    /// Options of `run` that take no value.
    const FLAGS: [&str; 20] = [
        "--detach",
        "--disable-content-trust",
        "--help",
        "--init",
        "--interactive",
        "--no-healthcheck",
        "--no-hosts",
        "--oom-kill-disable",
        "--privileged",
        "--publish-all",
        "--quiet",
        "--read-only",
        "--read-only-tmpfs",
        "--replace",
        "--rm",
        "--rmi",
        "--sig-proxy",
        "--tls-verify",
        "--tty",
        "--use-api-socket",
    ];
    /// Letters of such options, which may stand together: `-it`.
    const LETTERS: &str = "dhiPqt";
    let name = |it: &String| it.rsplit('/').next().unwrap_or_default().to_owned();
    let at = argv
        .iter()
        .position(|it| RUNTIMES.contains(&name(it).as_str()))?;
    let rest = &argv[at + 1..];
    let run = rest.iter().position(|it| it == "run")?;
    // Before it are options of the runtime with their values: `docker --context far run`.
    let (options, words): (Vec<&String>, Vec<&String>) = rest[..run]
        .iter()
        .filter(|it| *it != "container")
        .partition(|it| it.starts_with('-'));
    if words.len() > options.len() {
        return None;
    }
    let mut arguments = rest[run + 1..].iter();
    while let Some(argument) = arguments.next() {
        let Some(option) = argument.strip_prefix('-') else {
            return Some((&argv[at], argument));
        };
        if argument == "--" {
            return arguments.next().map(|image| (&*argv[at], &**image));
        }
        let is_alone = if option.starts_with('-') {
            option.contains('=') || FLAGS.contains(&argument.as_str())
        } else {
            // `-it` has flags, `-p8000:80` its value in it, `-p 8000:80` and `-itp 8000:80` not.
            let value = option.find(|letter| !LETTERS.contains(letter));
            value.is_none_or(|at| at + 1 < option.len())
        };
        if !is_alone {
            arguments.next();
        }
    }
    None
}

/// The digest in the name of an image: `name@sha256:…`.
fn digest_in(image: &str) -> Option<String> {
    let (_, digest) = image.split_once("@sha256:")?;
    let is_one = digest.len() == 64 && digest.chars().all(|it| it.is_ascii_hexdigit());
    is_one.then(|| digest.to_ascii_lowercase())
}

/// The digest in what the runtime prints: that of the repository, or else the id of an image
/// that was built here.
fn digest_of(text: &str) -> Known {
    let unknown = || format!("its runtime tells no digest: {}", text.trim());
    let line = text.lines().rfind(|it| !it.trim().is_empty());
    let (digests, id) = line
        .and_then(|line| line.trim().rsplit_once(' '))
        .ok_or_else(unknown)?;
    let digests: Vec<String> = serde_json::from_str::<Option<Vec<String>>>(digests)
        .ok()
        .flatten()
        .unwrap_or_default();
    let id = id.trim_start_matches("sha256:");
    let of_repository = digests.iter().find_map(|it| digest_in(it));
    of_repository
        .or_else(|| digest_in(&format!("@sha256:{id}")))
        .ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launched(program: &str) -> Launched {
        Launched {
            engine: "engine".to_owned(),
            program: program.into(),
            argv: vec![program.to_owned()],
            environment: Vec::new(),
            folder: "/".into(),
            is_installed: false,
        }
    }

    #[test]
    fn the_image_is_the_first_argument_that_is_no_option() {
        let image = |command: &str| {
            let argv: Vec<String> = command.split(' ').map(str::to_owned).collect();
            image_of(&argv).map(|(_, image)| image.to_owned())
        };
        let some = |image: &str| Some(image.to_owned());
        assert_eq!(image("docker run tgi:3"), some("tgi:3"));
        assert_eq!(
            image(
                "/usr/bin/docker run --rm -it --gpus all -p 80:80 -e A=b --name=x ghcr.io/t/g@sha256:00 --model m"
            ),
            some("ghcr.io/t/g@sha256:00")
        );
        assert_eq!(
            image("sudo podman run -itp 80:80 -p80:80 --tls-verify=false a"),
            some("a")
        );
        assert_eq!(
            image("docker --context far container run --init -- a b"),
            some("a")
        );
        assert_eq!(image("docker compose run service"), None);
        assert_eq!(image("docker exec server run"), None);
        assert_eq!(image("docker run --rm"), None);
        assert_eq!(image("llama-server run a"), None);
    }

    #[test]
    fn a_digest_is_that_of_the_repository_or_the_id() {
        let (one, two) = ("1".repeat(64), "ab".repeat(32));
        assert_eq!(digest_in(&format!("a/b:3@sha256:{one}")), Some(one.clone()));
        assert_eq!(digest_in("a/b@sha256:12"), None);
        let printed = format!("[\"a/b@sha256:{one}\"] sha256:{two}\n");
        assert_eq!(digest_of(&printed), Ok(one));
        for nothing in ["[]", "null"] {
            assert_eq!(digest_of(&format!("{nothing} {two}\n")), Ok(two.clone()));
        }
        assert!(digest_of("").is_err());
        assert!(digest_of("no such image").is_err());
    }

    #[tokio::test]
    async fn a_version_is_what_the_program_prints() {
        let logs = tempfile::tempdir().expect("a folder");
        // A program of every system that tells its version.
        let told = launched("/usr/bin/env").version(logs.path()).await;
        #[cfg(target_os = "linux")]
        assert!(told.is_ok_and(|it| it.contains("env")));
        #[cfg(not(target_os = "linux"))]
        drop(told);
        let mut without_image = launched("/usr/bin/env");
        without_image.argv = vec!["docker".to_owned(), "run".to_owned()];
        assert!(without_image.image(logs.path()).await.is_none());
    }

    #[tokio::test]
    async fn a_version_that_is_not_told_has_a_reason() {
        let logs = tempfile::tempdir().expect("a folder");
        let script = logs.path().join("engine.sh");
        std::fs::write(&script, "#!/bin/sh\ntouch it-ran\n").expect("a script");
        let told = launched(&script.to_string_lossy())
            .version(logs.path())
            .await;
        assert!(told.is_err_and(|why| why.contains("script")));
        let told = launched("/nowhere/engine").version(logs.path()).await;
        assert!(told.is_err_and(|why| why.contains("did not start")));
        // It never looks at its arguments.
        let told = launched("/bin/false").version(logs.path()).await;
        assert!(told.is_ok() || told.is_err_and(|why| why.contains("failed")));
    }
}
