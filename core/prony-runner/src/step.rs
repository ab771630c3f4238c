//! Steps: the user's own commands before and after a stage.

use crate::process::{Process, describe};
use prony_config::{Secrets, Step, template};
use serde_json::Value;
use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Maximum size of a step's outputs, in bytes.
const MAX_OUTPUT: u64 = 1 << 20;

/// The environment of steps.
#[derive(Debug, Clone)]
pub(crate) struct StepEnvironment {
    /// Folder of the pipeline file, in which steps run.
    pub(crate) folder: PathBuf,
    /// prony's cache folder, `PRONY_CACHE` to steps.
    pub(crate) cache: PathBuf,
    /// Folder for logs, absolute.
    pub(crate) logs: PathBuf,
}

/// Display name of a step: its name, or the first line of its text.
pub fn name(step: &Step) -> String {
    step.name.clone().unwrap_or_else(|| {
        step.run
            .trim()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    })
}

/// Returns `true` if the path that the step creates exists.
pub(crate) fn is_done(
    step: &Step,
    context: &Value,
    environment: &StepEnvironment,
) -> Result<bool, String> {
    let Some(creates) = &step.creates else {
        return Ok(false);
    };
    let path = template::render_str(creates, context)?;
    Ok(prony_files::located(&environment.folder, path).exists())
}

/// Outputs of a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outputs {
    /// The declared outputs: name and value.
    pub(crate) given: Vec<(String, String)>,
    /// Its other output lines, in words. Never the text itself, which may be secret.
    pub(crate) ignored: Vec<String>,
}

/// A step's command, without the file for its outputs.
pub(crate) fn command(
    step: &Step,
    context: &Value,
    environment: &StepEnvironment,
    secrets: &Secrets,
) -> Result<Command, String> {
    let mut command = Command::new("sh");
    let text = template::render_shell(&step.run, context)?;
    if let Cow::Owned(_) = secrets.mask(&text) {
        // Everyone on the machine may read the arguments of a process, but not its environment.
        let run = "run=$PRONY_RUN; unset PRONY_RUN; eval \"$run\"";
        command.args(["-c", run]).env("PRONY_RUN", text);
    } else {
        command.arg("-c").arg(text);
    }
    command
        .current_dir(&environment.folder)
        .env("PRONY_CACHE", &environment.cache);
    for (key, value) in step.env.iter() {
        let value = template::render_str(value, context)?;
        command.env(key, prony_files::with_home(value));
    }
    Ok(command)
}

/// Runs a step to its end and reads its outputs.
pub(crate) async fn run(
    step: &Step,
    mut command: Command,
    environment: &StepEnvironment,
    log: &str,
) -> Result<Outputs, String> {
    let file = OutputFile::create(&environment.logs.join(format!("{log}.outputs")))?;
    command.env("PRONY_OUTPUT", &file.0);
    let log = environment.logs.join(format!("{log}.log"));
    let mut process =
        Process::start(command, &log).map_err(|error| format!("`sh` did not start: {error}"))?;
    let limit = step.timeout.to_std();
    match tokio::time::timeout(limit, process.wait()).await {
        Ok(Ok(status)) if status.success() => {
            // Ends processes left running in its group.
            process
                .stop_group(std::time::Duration::from_millis(200))
                .await;
            file.read()
                .and_then(|text| outputs(&text, &step.outputs))
                .map_err(|reason| format!("step `{}`: {reason}", name(step)))
        }
        Ok(Ok(status)) => Err(format!(
            "step `{}` failed ({}); {}",
            name(step),
            describe(status),
            process.last_words()
        )),
        Ok(Err(error)) => Err(format!("step `{}`: {error}", name(step))),
        Err(_) => {
            let words = process.last_words();
            process.stop_group(std::time::Duration::from_secs(2)).await;
            Err(format!(
                "step `{}` took longer than its limit of {limit:?}; {words}",
                name(step)
            ))
        }
    }
}

/// The file at `PRONY_OUTPUT`, removed after the step.
struct OutputFile(PathBuf);

impl OutputFile {
    fn create(path: &Path) -> Result<Self, String> {
        prony_files::replace(path, b"")
            .map_err(|error| format!("`{}`: {error}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    fn read(&self) -> Result<String, String> {
        let failed = |error: std::io::Error| format!("`PRONY_OUTPUT`: {error}");
        let bytes = match prony_files::read(&self.0, MAX_OUTPUT) {
            // Removed by the step: there are no outputs.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                let limit = MAX_OUTPUT >> 20;
                return Err(format!("`PRONY_OUTPUT` got more than {limit} MiB"));
            }
            bytes => bytes.map_err(failed)?,
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Parses outputs from lines `NAME=VALUE`; the last one of a name counts. Fails if a
/// declared one is missing.
fn outputs(text: &str, declared: &[String]) -> Result<Outputs, String> {
    let mut outputs = Outputs::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once('=').unwrap_or_default();
        let name = name.trim();
        if declared.iter().any(|it| it == name) {
            outputs.given.retain(|(known, _)| known != name);
            outputs.given.push((name.to_owned(), value.to_owned()));
        } else if is_name(name) {
            let ignored = format!("gave `{name}`, which is no output that it declares");
            outputs.ignored.push(ignored);
        } else {
            let ignored = "wrote a line that is not `NAME=VALUE` to its outputs";
            outputs.ignored.push(ignored.to_owned());
        }
    }
    let given = |name: &&String| outputs.given.iter().any(|(known, _)| known == *name);
    match declared.iter().find(|name| !given(name)) {
        Some(missing) => Err(format!(
            "it declares the output `{missing}` and did not give it: `echo \"{missing}=…\" >> \"$PRONY_OUTPUT\"` does"
        )),
        None => Ok(outputs),
    }
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(text: &str, outputs: &[&str]) -> Step {
        serde_json::from_value(json!({ "run": text, "outputs": outputs })).expect("a step")
    }

    /// Runs a step in a folder of its own; returns its outputs and the remaining files in
    /// the logs.
    fn run_step(step: &Step) -> (Result<Outputs, String>, Vec<String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).expect("a folder");
            path
        };
        let environment = StepEnvironment {
            folder: path("pipeline"),
            cache: path("cache"),
            logs: path("logs"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let context = json!({ "matrix": { "x": "from a template" } });
        let command =
            command(step, &context, &environment, &Secrets::default()).expect("a command");
        let done = runtime
            .expect("a runtime")
            .block_on(run(step, command, &environment, "step"));
        let left = std::fs::read_dir(&environment.logs)
            .expect("a folder")
            .flatten();
        let left = left.map(|entry| entry.file_name().to_string_lossy().into_owned());
        (done, left.collect())
    }

    #[test]
    fn a_step_gives_what_it_writes() {
        let text = r#"echo 'gpu=a=b c ' >> "$PRONY_OUTPUT"
            echo "word=${{ matrix.x }}" >> "$PRONY_OUTPUT""#;
        let (done, left) = run_step(&step(text, &["gpu", "word"]));
        let given = [("gpu", "a=b c "), ("word", "from a template")];
        assert_eq!(
            done.expect("it succeeds").given,
            given.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(left, ["step.log"], "the file of outputs is gone");
    }

    #[test]
    fn a_step_that_does_not_give_what_it_declares_has_failed() {
        let (done, left) = run_step(&step(r#"echo gpu=x > "$PRONY_OUTPUT""#, &["gpu", "cards"]));
        let problem = done.expect_err("an output is missing");
        assert!(
            problem.contains("it declares the output `cards` and did not give it"),
            "{problem}"
        );
        assert!(problem.starts_with("step `echo gpu=x"), "{problem}");
        assert_eq!(left, ["step.log"]);
        let (done, _) = run_step(&step("rm \"$PRONY_OUTPUT\"", &[]));
        assert_eq!(done, Ok(Outputs::default()), "nothing was asked for");
    }

    #[test]
    fn what_is_not_declared_is_ignored_and_told() {
        let text = "gpu=1\n\nother=2\nno output\r\nse cret=\ngpu=3\n";
        let outputs = outputs(text, &["gpu".to_owned()]).expect("outputs");
        assert_eq!(outputs.given, [("gpu".to_owned(), "3".to_owned())]);
        let no_output = "wrote a line that is not `NAME=VALUE` to its outputs";
        assert_eq!(
            outputs.ignored,
            [
                "gave `other`, which is no output that it declares",
                no_output,
                no_output,
            ]
        );
    }

    #[test]
    fn outputs_have_a_limit() {
        let (done, _) = run_step(&step("head -c 1048577 /dev/zero > \"$PRONY_OUTPUT\"", &[]));
        let problem = done.expect_err("too much");
        assert!(
            problem.ends_with("`PRONY_OUTPUT` got more than 1 MiB"),
            "{problem}"
        );
    }
}
