//! Checks the published schemas with other validators.
//!
//! prony checks pipelines with its own reading of its own schema, so a mistake in both
//! would go unseen. Two other implementations, in two other languages, must agree that
//! the schemas are valid, and on which files are valid by them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::workspace::{Workspace, create_folder, is_pipeline};
use crate::{python, shell};

const SCHEMAS: [&str; 5] = [
    "schemas/pipeline.v1.json",
    "schemas/overlay.v1.json",
    "schemas/result.v1.json",
    "schemas/lock.v1.json",
    "schemas/history.v1.json",
];

/// The schema for all pipelines.
const PIPELINE: &str = SCHEMAS[0];

/// The schema for files that are laid over a pipeline.
const OVERLAY: &str = SCHEMAS[1];

/// Files here are invalid by the schema alone.
const INVALID: &str = "core/prony-config/tests/invalid/schema/";

/// Folder with the versions to install, and ajv's caller.
const FOLDER: &str = "xtask/validators";

/// In an installed folder, a copy of the list that was installed.
const STAMP: &str = ".installed";

/// Maximum number of reasons reported for one file.
const MAX_REASONS: usize = 3;

const WITHOUT: &str = "`cargo xtask test --fast` leaves this check out";

/// Checks the schemas and all pipelines of the repository with both validators.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let files = workspace.files()?;
    let mut wanted: BTreeMap<&str, Wanted> = BTreeMap::new();
    for path in &files {
        if let Some(verdict) = Wanted::of(workspace, path)? {
            wanted.insert(path, verdict);
        }
    }
    for verdict in [Wanted::Valid, Wanted::Invalid] {
        if !wanted.values().any(|found| *found == verdict) {
            bail!("no {verdict:?} pipeline to check was found; {INVALID} has the invalid ones");
        }
    }

    let overlays = files.iter().filter(|path| path.ends_with(".overlay.yaml"));
    let overlays: BTreeMap<&str, Wanted> = overlays
        .map(|path| (path.as_str(), Wanted::Valid))
        .collect();
    let mut disagreements = in_editor(workspace, &wanted, &overlays)?;
    for validator in [check_jsonschema(workspace)?, ajv(workspace)?] {
        shell::step(&format!(
            "checking {} schemas and {} pipelines with {}",
            SCHEMAS.len(),
            wanted.len(),
            validator.name
        ));
        let schemas: BTreeMap<&str, Wanted> = SCHEMAS.map(|path| (path, Wanted::Valid)).into();
        let found = validator.run(workspace, &["--check-metaschema"], &schemas)?;
        disagreements.extend(disagree(validator.name, &schemas, &found));
        // An invalid schema would be blamed on every pipeline.
        if !found.contains_key(PIPELINE) {
            let found = validator.run(workspace, &["--schemafile", PIPELINE], &wanted)?;
            disagreements.extend(disagree(validator.name, &wanted, &found));
        }
        if !found.contains_key(OVERLAY) && !overlays.is_empty() {
            let found = validator.run(workspace, &["--schemafile", OVERLAY], &overlays)?;
            disagreements.extend(disagree(validator.name, &overlays, &found));
        }
    }
    for line in &disagreements {
        eprintln!("{line}");
    }
    match disagreements.len() {
        0 => Ok(()),
        1 => bail!("a validator does not say what it should (above)"),
        count => bail!("the validators do not say what they should ({count} times, above)"),
    }
}

/// Lines about what an editor with yaml-language-server shows wrongly: false errors in valid
/// pipelines, and what it completes, says of mistakes and describes.
fn in_editor(
    workspace: &Workspace,
    wanted: &BTreeMap<&str, Wanted>,
    overlays: &BTreeMap<&str, Wanted>,
) -> Result<Vec<String>> {
    let folder = node(workspace)?;
    let with_plugins = folder.join("pipeline-with-plugins.v1.json");
    let schema = ["schema", "pipeline", "--with-plugins"];
    let schema = shell::output(Command::new(workspace.prony()).args(schema))?;
    fs::write(&with_plugins, schema)
        .with_context(|| format!("cannot write {}", with_plugins.display()))?;
    let all = wanted.iter().chain(overlays);
    let valid = all.filter(|(_, it)| **it == Wanted::Valid);
    let valid: BTreeMap<&str, Wanted> = valid.map(|(path, it)| (*path, *it)).collect();
    shell::step(&format!(
        "opening {} pipelines with yaml-language-server",
        valid.len()
    ));
    let server = Validator {
        name: "yaml-language-server",
        program: "node".into(),
        arguments: vec![folder.join("editor.mjs").to_string_lossy().into_owned()],
    };
    let with_plugins = with_plugins.to_string_lossy();
    let mode = [PIPELINE, OVERLAY, &with_plugins];
    let found = server.run(workspace, &mode, &valid)?;
    let lines = found.into_iter().flat_map(|(path, verdict)| match verdict {
        Verdict::Unreadable(reason) => vec![format!("{path}: {reason}")],
        Verdict::Invalid(reasons) => {
            let reasons = reasons.into_iter().take(MAX_REASONS);
            reasons
                .map(|reason| format!("in an editor, {path}: {reason}"))
                .collect()
        }
    });
    Ok(lines.collect())
}

/// Expected verdict of a validator on a file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wanted {
    Valid,
    Invalid,
}

impl Wanted {
    /// The expectation for a path of the repository; `None` if it is not a pipeline.
    fn of(workspace: &Workspace, path: &str) -> Result<Option<Self>> {
        if !is_pipeline(path) {
            return Ok(None);
        }
        if path.starts_with(INVALID) {
            return Ok(Some(Self::Invalid));
        }
        let valid = path.starts_with("pipelines/")
            || path.starts_with("core/prony-config/tests/valid/")
            // An example may include other kinds of YAML.
            || (path.starts_with("examples/") && names_stages(workspace, path)?);
        Ok(valid.then_some(Self::Valid))
    }
}

/// Returns `true` if a file looks like a pipeline, complete or an overlay.
fn names_stages(workspace: &Workspace, path: &str) -> Result<bool> {
    let text = fs::read_to_string(workspace.root.join(path))
        .with_context(|| format!("cannot read {path}"))?;
    Ok(text
        .lines()
        .any(|line| line.starts_with("stages:") || line.starts_with("extends:")))
}

/// Objections of a validator to a file.
enum Verdict {
    /// The validator cannot parse it as YAML or JSON.
    Unreadable(String),
    /// Place and reason of each.
    Invalid(Vec<String>),
}

/// A program that checks files and reports errors as JSON.
pub(crate) struct Validator {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Validator {
    /// The program with its own arguments, in the repository's top folder.
    pub(crate) fn command(&self, workspace: &Workspace) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&workspace.root);
        command
    }

    /// The verdicts on files with objections, by file.
    fn run(
        &self,
        workspace: &Workspace,
        mode: &[&str],
        files: &BTreeMap<&str, Wanted>,
    ) -> Result<BTreeMap<String, Verdict>> {
        let report = shell::report(self.command(workspace).args(mode).args(files.keys()))?;
        let report: Value = serde_json::from_slice(&report)
            .with_context(|| format!("{} says nothing that can be read", self.name))?;
        let entries = |key: &str| report[key].as_array().cloned().unwrap_or_default();
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();

        let mut verdicts = BTreeMap::new();
        for entry in entries("errors") {
            let reason = format!("{}: {}", text(&entry, "path"), text(&entry, "message"));
            let verdict = verdicts
                .entry(text(&entry, "filename"))
                .or_insert_with(|| Verdict::Invalid(Vec::new()));
            if let Verdict::Invalid(reasons) = verdict {
                reasons.push(reason);
            }
        }
        for entry in entries("parse_errors") {
            let verdict = Verdict::Unreadable(text(&entry, "message"));
            verdicts.insert(text(&entry, "filename"), verdict);
        }
        Ok(verdicts)
    }
}

/// A line for each file on which a validator's verdict is unexpected.
fn disagree(
    validator: &str,
    wanted: &BTreeMap<&str, Wanted>,
    found: &BTreeMap<String, Verdict>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (&path, wanted) in wanted {
        match (wanted, found.get(path)) {
            (Wanted::Valid, None) | (Wanted::Invalid, Some(Verdict::Invalid(_))) => {}
            (Wanted::Valid, Some(Verdict::Invalid(reasons))) => {
                for reason in reasons.iter().take(MAX_REASONS) {
                    lines.push(format!("{path}: valid, but {validator} says: {reason}"));
                }
            }
            (_, Some(Verdict::Unreadable(reason))) => {
                lines.push(format!("{path}: {validator} cannot parse it: {reason}"));
            }
            (Wanted::Invalid, None) => {
                lines.push(format!("{path}: invalid, but {validator} accepts it"));
            }
        }
    }
    lines
}

/// Installs check-jsonschema, which is written in Python.
pub(crate) fn check_jsonschema(workspace: &Workspace) -> Result<Validator> {
    let requirements = workspace.root.join(FOLDER).join("requirements.txt");
    let venv = workspace.cache.join("validators/python");
    let python = venv.join("bin/python");
    // An environment works only with the Python that created it.
    let starts = || shell::succeeds(Command::new(&python).args(["-c", "import check_jsonschema"]));
    if !(is_installed(&venv, &requirements) && starts()) {
        shell::step("installing check-jsonschema");
        let packages = [OsStr::new("--requirement"), requirements.as_os_str()];
        python::venv(&venv, &packages).with_context(|| {
            format!(
                "check-jsonschema could not be installed: \
                 it needs python3 with pip, and a package index; {WITHOUT}"
            )
        })?;
        mark_installed(&venv, &requirements)?;
    }
    Ok(Validator {
        name: "check-jsonschema",
        program: python,
        arguments: ["-m", "check_jsonschema", "--output-format", "json"]
            .map(str::to_owned)
            .into(),
    })
}

/// ajv, which is written in JavaScript.
fn ajv(workspace: &Workspace) -> Result<Validator> {
    let folder = node(workspace)?;
    Ok(Validator {
        name: "ajv",
        program: "node".into(),
        arguments: vec![folder.join("check.mjs").to_string_lossy().into_owned()],
    })
}

/// Installs what is written in JavaScript. Returns its folder.
pub(crate) fn node(workspace: &Workspace) -> Result<PathBuf> {
    for program in ["node", "npm"] {
        if shell::on_path(program).is_none() {
            bail!(
                "{program} is missing: install Node.js with npm \
                 (Debian: `apt-get install nodejs npm`, macOS: `brew install node`); {WITHOUT}"
            );
        }
    }
    let source = workspace.root.join(FOLDER);
    let folder = workspace.cache.join("validators/node");
    create_folder(&folder)?;
    // Node looks for packages beside the script that imports them.
    for file in [
        "actions.mjs",
        "check.mjs",
        "editor.mjs",
        "pages.mjs",
        "picture.mjs",
        "package.json",
        "package-lock.json",
    ] {
        fs::copy(source.join(file), folder.join(file))
            .with_context(|| format!("cannot copy {file} to {}", folder.display()))?;
    }
    let lock = source.join("package-lock.json");
    if !is_installed(&folder, &lock) {
        shell::step("installing the checks that are written in JavaScript");
        let options = [
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ];
        shell::run(
            Command::new("npm")
                .arg("ci")
                .args(options)
                .current_dir(&folder),
        )
        .with_context(|| {
            format!("they could not be installed: is npm's registry reachable? {WITHOUT}")
        })?;
        mark_installed(&folder, &lock)?;
    }
    Ok(folder)
}

/// Returns `true` if a folder holds exactly the packages of this list.
pub(crate) fn is_installed(folder: &Path, list: &Path) -> bool {
    let now = fs::read(list);
    now.is_ok_and(|now| fs::read(folder.join(STAMP)).is_ok_and(|then| then == now))
}

pub(crate) fn mark_installed(folder: &Path, list: &Path) -> Result<()> {
    fs::copy(list, folder.join(STAMP))
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let wanted = BTreeMap::from([
            ("good", Wanted::Valid),
            ("bad", Wanted::Invalid),
            ("good?", Wanted::Valid),
            ("bad?", Wanted::Invalid),
            ("torn", Wanted::Invalid),
        ]);
        let found = BTreeMap::from([
            ("bad".to_owned(), Verdict::Invalid(vec!["a".to_owned()])),
            (
                "good?".to_owned(),
                Verdict::Invalid(vec!["$.b: c".to_owned()]),
            ),
            ("torn".to_owned(), Verdict::Unreadable("d".to_owned())),
        ]);
        assert_eq!(
            disagree("ajv", &wanted, &found),
            [
                "bad?: invalid, but ajv accepts it",
                "good?: valid, but ajv says: $.b: c",
                "torn: ajv cannot parse it: d",
            ]
        );
    }
}
