//! Loading a pipeline: any text gives a pipeline or diagnostics, never a panic.
//!
//! What else must hold of any text:
//!
//! - a pipeline written out, as `prony run` does, loads again and is the same;
//! - a text that does not load has an error, and every place that a diagnostic
//!   points at lies in the text;
//! - with the suggested edits made it loads, as is promised;
//! - every renderer can show every diagnostic.
//!
//! A text is a pipeline file. A line `#=== NAME` begins another one, which the
//! pipeline may extend; `#=== overlay` one that is laid over it; the lines after
//! `#=== set` and `#=== var` are options.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::{Corpus, fuzz_target};
use prony_config::{Inputs, Pipeline, PluginKind, Plugins, explain, load, load_all};
use prony_diagnostic::{Diagnostic, github, human, json, sarif};
use prony_importers::TOOLS;
use serde_json::{Value, json};

const MAIN: &str = "fuzz.yaml";

/// Diagnostics beyond this many are left out, and their suggestions with them.
const ALL_DIAGNOSTICS: usize = 50;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else {
        return Corpus::Reject;
    };
    let case = Case::new(text);
    match case.load() {
        Ok((pipeline, warnings)) => {
            assert!(warnings.iter().all(|warning| !warning.is_error()));
            case.check_diagnostics(&warnings);
            check_written(&pipeline);
        }
        Err(problems) => {
            assert!(problems.iter().any(Diagnostic::is_error), "no error");
            case.check_diagnostics(&problems);
            case.check_suggestions(&problems);
        }
    }
    Corpus::Keep
});

/// What a text stands for.
#[derive(Clone)]
struct Case {
    /// The pipeline and its overlays.
    files: Vec<(String, String)>,
    /// What may be extended, by name.
    others: BTreeMap<String, String>,
    set: Vec<String>,
    var: Vec<String>,
}

impl Case {
    fn new(text: &str) -> Self {
        let mut parts = text.split("\n#=== ");
        let main = parts.next().unwrap_or_default();
        let mut case = Self {
            files: vec![(MAIN.to_owned(), main.to_owned())],
            others: BTreeMap::new(),
            set: Vec::new(),
            var: Vec::new(),
        };
        for part in parts {
            let (name, rest) = part.split_once('\n').unwrap_or((part, ""));
            match name.trim() {
                "overlay" => {
                    let name = format!("overlay-{}.yaml", case.files.len());
                    case.files.push((name, rest.to_owned()));
                }
                "set" => case.set.extend(rest.lines().map(str::to_owned)),
                "var" => case.var.extend(rest.lines().map(str::to_owned)),
                name => {
                    case.others.insert(name.to_owned(), rest.to_owned());
                }
            }
        }
        case
    }

    fn load(&self) -> Result<(Pipeline, Vec<Diagnostic>), Vec<Diagnostic>> {
        load_all(&Inputs {
            files: self.files.clone(),
            set: &self.set,
            var: &self.var,
            read: &|name| {
                let found = self.others.get(name).cloned();
                found.ok_or_else(|| "there is no such file".into())
            },
            look: &|file| {
                let is_there = file.path.len() % 2 == 0;
                is_there
                    .then_some(())
                    .ok_or_else(|| "it is not there".into())
            },
            env: &|name| (name == "HOME").then(|| "/home/you".to_owned()),
            assume_env: false,
            plugins: &Installed,
            tools: TOOLS,
        })
        .map(|loaded| (loaded.pipeline, loaded.warnings))
    }

    /// The text of a file that a diagnostic names, for making edits.
    fn text(&mut self, name: &str) -> Option<&mut String> {
        let file = self.files.iter_mut().find(|(file, _)| file == name);
        file.map(|(_, text)| text)
            .or_else(|| self.others.get_mut(name))
    }

    fn is_text(&self, text: &str) -> bool {
        let files = self.files.iter().map(|(_, text)| text);
        let options = self.set.iter().chain(&self.var);
        files
            .chain(self.others.values())
            .chain(options)
            .any(|it| is_masked(text, it))
    }

    fn check_diagnostics(&self, diagnostics: &[Diagnostic]) {
        for diagnostic in diagnostics {
            let labels = diagnostic.primary.iter().chain(&diagnostic.secondary);
            let spans = labels.map(|label| (label.source_in(diagnostic), &label.span));
            let edit = diagnostic.suggestion.iter();
            let edits = edit.map(|edit| (edit.source_in(diagnostic), &edit.span));
            for (source, span) in spans.chain(edits) {
                let source = source.expect("a place is a place of a file");
                assert!(self.is_text(&source.text), "{source:?} is none of ours");
                assert!(
                    source.text.get(span.clone()).is_some(),
                    "{span:?} of {} bytes: {diagnostic:?}",
                    source.text.len()
                );
            }
            assert!(explain(diagnostic.code).is_some(), "{}", diagnostic.code);
        }
        let shown = human(diagnostics, true);
        assert_eq!(shown.is_empty(), diagnostics.is_empty());
        let describe = |code: &str| explain(code).map(str::to_owned);
        for document in [json(diagnostics), sarif(diagnostics, &describe)] {
            serde_json::from_str::<Value>(&document).expect("valid JSON");
        }
        let commands = github(diagnostics);
        assert!(
            commands.lines().all(|line| line.starts_with("::")),
            "{commands}"
        );
    }

    /// Makes all suggested edits at once, as someone would who follows them.
    fn check_suggestions(&self, problems: &[Diagnostic]) {
        if problems.len() >= ALL_DIAGNOSTICS {
            return;
        }
        let mut edits: Vec<_> = problems
            .iter()
            .filter_map(|problem| {
                let edit = problem.suggestion.as_ref()?;
                let name = &edit.source_in(problem)?.name;
                Some((name, edit.span.start, edit.span.end, &edit.replacement))
            })
            .collect();
        if edits.is_empty() {
            return;
        }
        edits.sort_unstable();
        edits.dedup();
        let mut edited = self.clone();
        // From the end, so that the places before it stay where they are.
        for (name, start, end, replacement) in edits.into_iter().rev() {
            let text = edited.text(name).expect("only files are edited");
            text.replace_range(start..end, replacement);
        }
        if let Err(problems) = edited.load() {
            panic!(
                "the suggested edits do not help: {:?} {:?}\n{}",
                edited.files,
                edited.others,
                human(&problems, false)
            );
        }
    }
}

/// Both forms in which a pipeline is kept say the same as the file.
fn check_written(pipeline: &Pipeline) {
    let yaml = serde_yaml::to_string(pipeline).expect("YAML can hold a pipeline");
    let json = serde_json::to_string(pipeline).expect("JSON can hold a pipeline");
    for written in [yaml, json] {
        match load("written.yaml", &written, &Installed) {
            Ok((again, _)) => assert_eq!(
                *pipeline, again,
                "written out, it is another pipeline:\n{written}"
            ),
            Err(problems) => panic!(
                "written out, it does not load:\n{}\n{written}",
                human(&problems, false)
            ),
        }
    }
}

/// A few plugins: those that the seeds name.
struct Installed;

impl Plugins for Installed {
    fn config_schema(&self, kind: PluginKind, name: &str) -> Option<Value> {
        match (kind, name) {
            (PluginKind::Engine, "openai") => Some(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "base_url": { "type": "string" },
                    "threads": { "type": "integer", "minimum": 1 },
                    "extra": { "type": ["string", "null"] },
                    "body": { "type": "object" },
                    "launch": {
                        "type": "object",
                        "required": ["command"],
                        "additionalProperties": false,
                        "properties": {
                            "command": {
                                "type": "array",
                                "minItems": 1,
                                "items": { "type": ["string", "number"] },
                            },
                            "env": {
                                "type": "object",
                                "additionalProperties": { "type": "string" },
                            },
                            "ready": { "oneOf": [
                                {
                                    "type": "object",
                                    "required": ["http"],
                                    "additionalProperties": false,
                                    "properties": { "http": { "type": "string" } },
                                },
                                {
                                    "type": "object",
                                    "required": ["log"],
                                    "additionalProperties": false,
                                    "properties": { "log": { "type": "string" } },
                                },
                            ] },
                        },
                    },
                },
            })),
            (PluginKind::Engine, "candle" | "mock") => Some(json!({ "type": "object" })),
            (PluginKind::Reporter, "html") => Some(json!({
                "type": "object",
                "required": ["title"],
                "additionalProperties": false,
                "properties": { "title": { "type": "string" } },
            })),
            (PluginKind::Reporter, "console" | "json" | "markdown") => {
                Some(json!({ "type": "object", "additionalProperties": false }))
            }
            _ => None,
        }
    }

    fn names(&self, kind: PluginKind) -> Vec<String> {
        let names: &[&str] = match kind {
            PluginKind::Engine => &["candle", "mock", "openai"],
            PluginKind::Reporter => &["console", "html", "json", "markdown"],
        };
        names.iter().map(ToString::to_string).collect()
    }
}

/// Returns `true` if `text` is `whole`, with each byte of its secrets as `*`.
fn is_masked(text: &str, whole: &str) -> bool {
    let bytes = text.bytes().zip(whole.bytes());
    let is_same = |(shown, own): (u8, u8)| shown == own || shown == b'*';
    text.len() == whole.len() && bytes.map(is_same).all(|same| same)
}
