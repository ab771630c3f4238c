//! Folder = package, and ARCHITECTURE.md lists each of them.

use std::path::Path;

use super::{Finding, SourceFile, line_of};
use crate::workspace::Workspace;

const MAP: &str = "ARCHITECTURE.md";

pub(super) fn check(workspace: &Workspace, files: &[SourceFile]) -> Vec<Finding> {
    let map = files
        .iter()
        .find(|file| file.path == MAP)
        .map(|file| file.text.as_str());
    let mut findings = Vec::new();
    if map.is_none() {
        findings.push(Finding::new(MAP, 1, "the file is missing"));
    }
    for package in &workspace.packages {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let Ok(manifest) = manifest.strip_prefix(&workspace.root) else {
            continue;
        };
        let path = manifest.to_string_lossy();
        if !path.starts_with("core/") && !path.starts_with("plugins/") {
            continue;
        }
        let folder = manifest
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default();
        if folder != name {
            let text = files
                .iter()
                .find(|file| file.path == path)
                .map_or("", |file| &file.text);
            let message = format!(
                "package `{name}` lies in the folder `{}`",
                folder.to_string_lossy()
            );
            findings.push(Finding::new(&path, line_of(text, "name ="), message));
        }
        if map.is_some_and(|map| !map.contains(name)) {
            findings.push(Finding::new(MAP, 1, format!("`{name}` is not mentioned")));
        }
    }
    findings
}
