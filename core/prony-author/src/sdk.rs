//! `sdk/` in a project: the contract as the project's language sees it, out of prony's own binary.
//!
//! It is written again by every build and is not in version control, so it never speaks another
//! contract than the prony that builds.

use crate::project::{Kind, Lang, Project};
use crate::template::{self, render};
use std::path::PathBuf;

/// Folder of the SDK in a project.
pub const FOLDER: &str = "sdk";

/// The SDK in Rust and its contract, relative to prony's workspace.
static RUST: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
/// The manifest of prony's workspace, from which the crates of the SDK inherit.
static WORKSPACE: &str = include_str!("../../../Cargo.toml");
/// Versions of crates with which prony itself is tested.
pub(crate) static LOCK: &str = include_str!("../../../Cargo.lock");
/// The contract.
pub static WIT: &str = include_str!("../../../schemas/wit/plugin.wit");

macro_rules! generated {
    ($world:literal) => {
        [
            (
                concat!($world, ".h"),
                include_str!(concat!("../../../schemas/include/wasm/", $world, ".h")),
            ),
            (
                concat!($world, ".c"),
                include_str!(concat!("../../../schemas/include/wasm/", $world, ".c")),
            ),
        ]
    };
}

/// A file and its text.
pub type File = (PathBuf, String);

/// The files of `sdk/`, relative to the project.
pub(crate) fn files(project: &Project) -> Vec<File> {
    let Some(lang) = project.lang() else {
        return vec![file("wit/plugin.wit", WIT)];
    };
    let mut files = match lang {
        Lang::Rust => return rust(),
        Lang::C => c(project.kind),
        Lang::Python => python(project),
        Lang::Js => js(project),
    };
    files.push(file("wit/plugin.wit", WIT));
    files
}

fn file(path: &str, text: impl Into<String>) -> File {
    (PathBuf::from(FOLDER).join(path), text.into())
}

fn rust() -> Vec<File> {
    // Only what is inherited has to exist.
    let shared = WORKSPACE.split("\n[profile.").next().unwrap_or(WORKSPACE);
    let members = |line: &str| {
        if line.starts_with("members = ") {
            "members = [\"core/*\", \"plugins/*\"]\n".to_owned()
        } else {
            format!("{line}\n")
        }
    };
    let shared: String = shared.lines().map(members).collect();
    let sources = RUST.iter().map(|(path, text)| file(path, *text));
    [file("Cargo.toml", shared)]
        .into_iter()
        .chain(sources)
        .collect()
}

fn c(kind: Kind) -> Vec<File> {
    let json = file("prony_json.h", include_str!("../sdk/c/prony_json.h"));
    let generated = match kind {
        Kind::InProcessEngine => {
            let header = include_str!("../../../schemas/include/prony_plugin.h");
            return vec![json, file("prony_plugin.h", header)];
        }
        Kind::Engine => generated!("engine_plugin"),
        Kind::StdioEngine => generated!("stdio_engine_plugin"),
        Kind::Reporter => generated!("reporter_plugin"),
    };
    let generated = generated.into_iter().map(|(path, text)| file(path, text));
    [json].into_iter().chain(generated).collect()
}

fn python(project: &Project) -> Vec<File> {
    let entry = include_str!("../sdk/python/prony_entry.py");
    vec![
        file(
            "prony_plugin.py",
            include_str!("../sdk/python/prony_plugin.py"),
        ),
        file("prony_entry.py", render(entry, &template::values(project))),
    ]
}

fn js(project: &Project) -> Vec<File> {
    let entry = include_str!("../sdk/js/prony_entry.js");
    vec![
        file("prony_plugin.js", include_str!("../sdk/js/prony_plugin.js")),
        file("prony_entry.js", render(entry, &template::values(project))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_in_rust_is_a_workspace_of_its_own() {
        let files = rust();
        let (path, text) = &files[0];
        assert_eq!(path.to_str(), Some("sdk/Cargo.toml"));
        assert!(
            text.contains("members = [\"core/*\", \"plugins/*\"]"),
            "{text}"
        );
        assert!(text.contains("\nwit-bindgen = "), "{text}");
        assert!(!text.contains("[profile."), "{text}");
        let paths: Vec<_> = files.iter().filter_map(|(path, _)| path.to_str()).collect();
        for wanted in [
            "sdk/plugins/prony-plugin-sdk/src/wasm.rs",
            "sdk/core/prony-contract/src/abi.rs",
            "sdk/core/prony-result/src/words/flag.rs",
            "sdk/schemas/wit/plugin.wit",
        ] {
            assert!(paths.contains(&wanted), "{wanted}");
        }
    }
}
