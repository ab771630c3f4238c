//! The hub's cache folder is the one of the hub's own Python package, both ways.

use crate::hub::{self, COMMIT, Trouble};
use crate::kit::Scratch;
use crate::real_engines::{cache, installed};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Python with the package, in prony's cache: `cargo xtask hub` makes it.
const PYTHON: &str = "hub-package/bin/python";

/// Output of `script` with the package, whose cache is `home`.
fn python(script: &str, home: &Path, variables: &[(&str, &str)]) -> Value {
    let output = Command::new(cache().join(PYTHON))
        .args(["-c", script])
        .env("HF_HOME", home)
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env("HF_HUB_DISABLE_XET", "1")
        .env_remove("HF_HUB_CACHE")
        .envs(variables.iter().copied())
        .output()
        .expect("python starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"))
}

/// Prints the folder that the package finds a model in, the names and sizes of its files, and
/// what it finds wrong with the cache.
const LOOK: &str = "
import json, os
from huggingface_hub import scan_cache_dir, snapshot_download
folder = snapshot_download('acme/tiny')
files = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
files = {os.path.relpath(file, folder): os.path.getsize(file) for file in files}
cache = scan_cache_dir()
print(json.dumps({
    'folder': folder,
    'files': files,
    'warnings': [str(it) for it in cache.warnings],
    'revisions': [it.commit_hash for repo in cache.repos for it in repo.revisions],
    'refs': [list(it.refs) for repo in cache.repos for it in repo.revisions],
}))
";

fn check(found: &Value) {
    let files = found["files"].as_object().expect("files");
    let wanted = hub::files();
    assert_eq!(files.len(), wanted.len(), "{found:#}");
    let folder = Path::new(found["folder"].as_str().expect("a folder"));
    for (name, content) in wanted {
        assert_eq!(files[name], content.len(), "{name}");
        assert_eq!(
            fs::read(folder.join(name)).expect("a file"),
            content,
            "{name}"
        );
    }
    assert_eq!(found["warnings"], serde_json::json!([]), "{found:#}");
    assert_eq!(found["revisions"], serde_json::json!([COMMIT]));
    assert_eq!(found["refs"], serde_json::json!([["main"]]));
}

#[test]
fn the_hubs_package_reads_what_prony_fetched_without_asking() {
    if !installed(&[PYTHON]) {
        return;
    }
    let (hub, scratch) = (hub::Server::start(Trouble::None), Scratch::new());
    let home = scratch.path("home");
    let variables = [
        ("HF_ENDPOINT", hub.address.clone()),
        ("HF_HOME", home.display().to_string()),
        ("HF_HUB_OFFLINE", String::new()),
    ];
    scratch
        .prony_in(&variables, &["model", "pull", "acme/tiny"])
        .exits(0);
    let requests = hub.requests();
    let offline = [("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", &*hub.address)];
    check(&python(LOOK, &home, &offline));
    assert_eq!(hub.requests(), requests, "nobody was asked");
}

#[test]
fn prony_reads_what_the_hubs_package_fetched_without_asking() {
    if !installed(&[PYTHON]) {
        return;
    }
    let (hub, scratch) = (hub::Server::start(Trouble::None), Scratch::new());
    let home = scratch.path("home");
    check(&python(LOOK, &home, &[("HF_ENDPOINT", &*hub.address)]));
    let requests = hub.requests();
    let variables = [
        ("HF_ENDPOINT", hub.address.clone()),
        ("HF_HOME", home.display().to_string()),
        ("HF_HUB_OFFLINE", "1".to_owned()),
    ];
    let pulled = scratch
        .prony_in(&variables, &["model", "pull", "acme/tiny", "--json"])
        .exits(0)
        .json();
    assert_eq!(pulled[0]["commit"], COMMIT);
    let listed = scratch
        .prony_in(&variables, &["model", "list", "--json"])
        .exits(0)
        .json();
    assert_eq!(listed[0]["id"], "acme/tiny", "{listed:#}");
    assert_eq!(hub.requests(), requests, "nobody was asked");
}
