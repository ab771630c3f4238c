//! Every pipeline that is written down somewhere is a valid one.

use crate::kit::{Scratch, repository};
use std::fs;
use std::path::{Path, PathBuf};

/// All YAML files below a folder, if there is one.
fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                yaml_files(&path, found);
            }
        } else if path
            .extension()
            .is_some_and(|it| it == "yaml" || it == "yml")
        {
            found.push(path);
        }
    }
}

#[test]
fn pipelines_and_examples() {
    let mut files = Vec::new();
    yaml_files(&repository().join("pipelines"), &mut files);
    assert!(files.len() >= 2, "{files:?}");
    yaml_files(&repository().join("examples"), &mut files);
    for file in &files {
        let name = file.to_str().expect("the path is text");
        let text = fs::read_to_string(file).expect("a readable file");
        assert!(
            text.starts_with("# yaml-language-server: $schema="),
            "{name} has no modeline"
        );
        // What is there to be laid over or extended is part of another file.
        if !name.ends_with(".overlay.yaml") && !name.ends_with("/base.yaml") {
            let output =
                Scratch::new().prony(&["validate", "--assume-env", "--deny=warnings", name]);
            output.exits(0).prints(": valid\n");
        }
    }
}

/// A block without a `version` is a part of a pipeline: it is laid over one.
const WHOLE: &str = "\
version: 1
name: whole
engine: { plugin: openai, config: { base_url: http://127.0.0.1:8080 } }
model: { id: model }
workload: { prompts: [hello], temperature: 0 }
stages:
  - warmup: {}
  - measure: {}
  - report: {}
";

#[test]
fn yaml_in_the_documents() {
    let mut files = Vec::new();
    markdown_files(&repository(), &mut files);
    let mut blocks = 0;
    for file in &files {
        let text = fs::read_to_string(file).expect("a readable file");
        for (line, block) in yaml_blocks(&text) {
            blocks += 1;
            let scratch = Scratch::new();
            let name = file.file_name().expect("a name").to_string_lossy();
            let part = format!("{name}-line-{line}.yaml");
            scratch.write(&part, &block);
            let is_whole = block.lines().any(|line| line.starts_with("version:"));
            let arguments = if is_whole {
                vec!["validate", "--assume-env", &part]
            } else {
                let mut whole = WHOLE.to_owned();
                // An engine with a plugin is one of its own.
                let own = if block.contains("plugin:") {
                    "engine"
                } else {
                    "engines"
                };
                for (one, several) in [("engine", "engines"), ("engine", own), ("model", "models")]
                {
                    if block
                        .lines()
                        .any(|it| it.starts_with(&format!("{several}:")))
                    {
                        let keep = |line: &&str| !line.starts_with(&format!("{one}:"));
                        whole = whole
                            .lines()
                            .filter(keep)
                            .fold(String::new(), |all, line| all + line + "\n");
                    }
                }
                scratch.write("whole.yaml", whole);
                vec!["validate", "--assume-env", "whole.yaml", "-f", &part]
            };
            let output = scratch.prony(&arguments);
            // The plugin of an example is not installed.
            let is_example = file.components().any(|part| part.as_os_str() == "examples");
            if !(is_example && output.stderr.contains("P0107")) {
                output.exits(0);
            }
        }
    }
    assert!(blocks >= 2, "{files:?}");
}

/// All Markdown files of the repository but the pages of `prony explain`, which
/// show what is wrong and are tested on their own.
fn markdown_files(folder: &Path, found: &mut Vec<PathBuf>) {
    const OTHERS: [&str; 4] = ["target", "results", "explain", "node_modules"];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !OTHERS.contains(&name.as_str()) {
                markdown_files(&path, found);
            }
        } else if path.extension().is_some_and(|it| it == "md") {
            found.push(path);
        }
    }
}

/// The YAML blocks of a Markdown text, with the line each starts in.
fn yaml_blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match &mut open {
            None if line.trim_end() == "```yaml" => open = Some((number, String::new())),
            None => {}
            Some(_) if line.trim_end() == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    assert_eq!(open, None, "a code block does not end");
    blocks
}
