//! Lists the sources of the SDK, so that a project in Rust builds anywhere from what is in prony's
//! own binary.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Parts of the SDK, relative to the workspace. It is read as text: nothing of it is linked in.
const PARTS: [&str; 7] = [
    "plugins/prony-plugin-sdk/Cargo.toml",
    "plugins/prony-plugin-sdk/src",
    "core/prony-contract/Cargo.toml",
    "core/prony-contract/src",
    "core/prony-result/Cargo.toml",
    "core/prony-result/src",
    "schemas/wit",
];

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let mut files = Vec::new();
    for part in PARTS {
        collect(&root, Path::new(part), &mut files);
        println!("cargo::rerun-if-changed={}", root.join(part).display());
    }
    files.sort();
    let lines = files.iter().map(|file| {
        let from = root.join(file);
        format!(
            "    ({:?}, include_str!({:?})),\n",
            file.to_string_lossy(),
            from.to_string_lossy()
        )
    });
    let table = format!("&[\n{}]", lines.collect::<String>());
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("sdk.rs"), table).expect("the folder can be written");
}

fn collect(root: &Path, part: &Path, files: &mut Vec<PathBuf>) {
    let path = root.join(part);
    if path.is_file() {
        files.push(part.to_owned());
        return;
    }
    for entry in fs::read_dir(&path).expect("the workspace is whole") {
        let name = entry.expect("the workspace is whole").file_name();
        collect(root, &part.join(name), files);
    }
}
