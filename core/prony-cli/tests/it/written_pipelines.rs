//! Every pipeline that is written down somewhere is a valid one.

use crate::kit::{Scratch, repository};
use std::fs;
use std::path::{Path, PathBuf};

fn validates(file: &Path) {
    let file = file.to_str().expect("the path is text");
    let said = Scratch::new().prony(&["validate", file]);
    said.exits(0).prints(": valid");
}

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
        validates(file);
    }
}

#[test]
fn the_readme() {
    let Ok(readme) = fs::read_to_string(repository().join("README.md")) else {
        eprintln!("there is no README.md to check");
        return;
    };
    let scratch = Scratch::new();
    let mut block: Option<String> = None;
    for (number, line) in (1..).zip(readme.lines()) {
        match &mut block {
            None if line.trim_end() == "```yaml" => block = Some(String::new()),
            None => {}
            Some(text) if line.trim_end() == "```" => {
                validates(&scratch.write(&format!("ends-in-line-{number}.yaml"), &*text));
                block = None;
            }
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    assert_eq!(block, None, "a code block does not end");
}
