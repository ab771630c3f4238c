//! A plugin from the lock that it enters to the one that it leaves: where locks are found, which
//! version a name means, where plugins come from, and who has signed them.

use crate::kit::{Output, Scratch, With, pipeline, plugin_file, repository};
use crate::registry::{Registry, sha256};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use std::fs;

/// The adapter `lines` as if it had another version.
fn lines(version: &str) -> Vec<u8> {
    let mut bytes =
        fs::read(plugin_file("engine-lines.wasm")).expect("`cargo xtask build` made it");
    let own = b"lines0.1.0";
    let at = bytes.windows(own.len()).position(|it| it == own);
    let at = at.expect("its manifest has a version") + own.len() - 5;
    assert_eq!(version.len(), 5, "as many bytes");
    bytes[at..at + 5].copy_from_slice(version.as_bytes());
    bytes
}

/// A folder with a program that speaks to the adapter.
fn program() -> Scratch {
    let scratch = Scratch::new();
    for (name, example) in [("lines.py", "lines.py"), ("engine.py", "echo.py")] {
        let file = repository().join("examples/lines").join(example);
        scratch.write(name, fs::read(file).expect("an example"));
    }
    scratch
}

fn engine(plugin: &Value) -> Value {
    json!({ "plugin": plugin, "config": { "command": ["python3", "engine.py"] } })
}

fn write_pipeline<const N: usize>(scratch: &Scratch, name: &str, engines: &[(&str, Value); N]) {
    let engines = engines.each_ref().map(|(name, it)| (*name, engine(it)));
    let made = pipeline(engines)
        .with("schedule.cycles", 1)
        .with("workload.max_tokens", 4);
    scratch.write(name, format!("{made:#}"));
}

fn add(scratch: &Scratch, more: &[&str]) -> Output {
    scratch.bare(&[&["plugin", "add"], more].concat())
}

/// The entries of a lock file.
fn locked(scratch: &Scratch, lock: &str) -> Vec<Value> {
    let lock: Value = serde_json::from_str(&scratch.read(lock)).expect("a lock");
    lock["plugins"].as_array().expect("entries").clone()
}

#[test]
fn the_lock_beside_the_pipeline_is_found_from_any_folder_and_the_nearest_wins() {
    let scratch = program();
    for name in ["lines.py", "engine.py"] {
        scratch.write(&format!("project/{name}"), scratch.read(name));
    }
    scratch.write("far.wasm", lines("0.2.0"));
    scratch.write("near.wasm", lines("0.3.0"));
    let far = add(&scratch, &["far.wasm"]).exits(0);
    far.complains("which is nearer than prony's own")
        .complains("`prony plugin remove lines` takes this one away");
    add(&scratch, &["--lock", "project/prony.lock", "near.wasm"]).exits(0);
    write_pipeline(&scratch, "project/pipeline.yaml", &[("it", json!("lines"))]);
    let told = "the engine `lines` is that of `";
    scratch
        .bare(&["validate", "project/pipeline.yaml"])
        .exits(0)
        .prints(told)
        .prints("project/prony.lock`, which is nearer than that of `prony.lock` and prony's own");
    let output = scratch.bare(&["run", "project/pipeline.yaml"]);
    let run = scratch.latest(output).exits(0);
    let result = run.result();
    assert_eq!(result["plugins"][0]["version"], "0.3.0");
    assert!(result["warnings"].to_string().contains(told), "{result}");
    // A version is taken from whichever lock has it.
    write_pipeline(
        &scratch,
        "project/pipeline.yaml",
        &[("it", json!("lines@0.2.0"))],
    );
    let output = scratch.bare(&["run", "project/pipeline.yaml"]);
    let run = scratch.latest(output).exits(0);
    assert_eq!(run.result()["plugins"][0]["version"], "0.2.0");
    // Your own lock is for pipelines in every folder, further than that of this one.
    scratch.write("own.wasm", lines("0.4.0"));
    add(&scratch, &["--user", "own.wasm"]).exits(0);
    let all = scratch.bare(&["plugin", "list", "--json"]).exits(0).json();
    let all = all.as_array().expect("a list");
    let versions = all.iter().filter(|it| it["name"] == "lines");
    let versions: Vec<_> = versions.map(|it| it["version"].clone()).collect();
    assert_eq!(versions, ["0.2.0", "0.4.0", "0.1.0"]);
    scratch
        .bare(&["plugin", "remove", "--user", "lines"])
        .exits(0)
        .prints("removed engine `lines` 0.4.0");
}

#[test]
fn two_versions_of_an_adapter_are_compared_as_two_engines() {
    let scratch = program();
    scratch.write("old.wasm", lines("0.1.9"));
    scratch.write("new.wasm", lines("0.2.0"));
    add(&scratch, &["old.wasm"]).exits(0);
    add(&scratch, &["--beside", "new.wasm"]).exits(0);
    let engines = [("old", json!("lines@0.1.9")), ("new", json!("lines"))];
    write_pipeline(&scratch, "pipeline.yaml", &engines);
    let output = scratch.bare(&["run", "pipeline.yaml"]);
    let run = scratch.latest(output).exits(0);
    let result = run.result();
    let plugins = result["plugins"].as_array().expect("plugins");
    let engines: Vec<_> = plugins.iter().filter(|it| it["kind"] == "engine").collect();
    assert_eq!(engines[0]["version"], "0.1.9");
    assert_eq!(
        engines[1]["version"], "0.2.0",
        "the newest without a version"
    );
    assert_ne!(engines[0]["sha256"], engines[1]["sha256"]);
    // A version that nobody has is named with those that are there.
    write_pipeline(&scratch, "pipeline.yaml", &[("it", json!("lines@9.0.0"))]);
    scratch
        .bare(&["validate", "pipeline.yaml"])
        .exits(3)
        .complains("unknown engine plugin `lines@9.0.0`")
        .complains("lines@0.1.9");
    // Which one is to go has to be said.
    scratch
        .bare(&["plugin", "remove", "lines"])
        .exits(2)
        .complains("engine `lines@0.1.9` and engine `lines@0.2.0`: say which");
    scratch.bare(&["plugin", "remove", "lines@0.2.0"]).exits(0);
    let left = locked(&scratch, "prony.lock");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["version"], "0.1.9");
    let file = left[0]["path"].as_str().expect("a path");
    assert!(scratch.path(file).is_file(), "its own file stays");
    scratch.bare(&["plugin", "remove", "lines"]).exits(0);
    assert!(!scratch.path(file).exists(), "and goes with it");
    scratch
        .bare(&["plugin", "remove", "openai"])
        .exits(2)
        .complains("comes with prony, and stays");
}

#[test]
fn a_plugin_by_its_path_is_told_in_every_report() {
    let scratch = program();
    scratch.write("dev/own.wasm", lines("0.2.0"));
    let path = json!({ "path": "./dev/own.wasm" });
    write_pipeline(&scratch, "pipeline.yaml", &[("it", path)]);
    scratch.bare(&["validate", "pipeline.yaml"]).exits(0);
    let output = scratch.bare(&["run", "pipeline.yaml"]);
    let run = scratch.latest(output).exits(0);
    let result = run.result();
    assert_eq!(result["plugins"][0]["dev"], true);
    assert_eq!(result["plugins"][0]["version"], "0.2.0");
    let warnings = result["warnings"].to_string();
    assert!(
        warnings.contains("`./dev/own.wasm` is a build of a folder that somebody works on"),
        "{warnings}"
    );
    // What is wrong is told at its place.
    for (plugin, words) in [
        (json!({ "path": "./none.wasm" }), "[X0001]"),
        (
            json!({ "path": "own.wasm" }),
            "not of the form that is needed",
        ),
        (json!({ "file": "./own.wasm" }), "`path`"),
        (json!("./dev/own.wasm"), "{ path: ./dev/own.wasm }"),
        (json!({ "path": "./dev" }), "[X0003]"),
    ] {
        write_pipeline(&scratch, "pipeline.yaml", &[("it", plugin.clone())]);
        let told = scratch.bare(&["validate", "pipeline.yaml"]).exits(3).stderr;
        assert!(told.contains(words), "{plugin}: {words}\n{told}");
        assert!(told.contains("pipeline.yaml:"), "{told}");
    }
}

#[test]
fn a_path_grants_nothing() {
    let scratch = Scratch::new();
    let name = format!("engine-candle.{}", std::env::consts::DLL_EXTENSION);
    scratch.write(&name, fs::read(plugin_file(&name)).expect("it ships"));
    let path = json!({ "path": format!("./{name}") });
    write_pipeline(&scratch, "pipeline.yaml", &[("it", path)]);
    scratch
        .bare(&["run", "pipeline.yaml"])
        .exits(3)
        .complains("[X0007]")
        .complains("you have not granted that on this machine");
    scratch
        .bare(&["plugin", "info", &name])
        .exits(2)
        .complains("add `--grant native`");
}

#[test]
fn changed_and_missing_files_are_told_with_the_cure() {
    let scratch = program();
    scratch.write("plugins/mine.wasm", lines("0.2.0"));
    add(&scratch, &["plugins/mine.wasm"]).exits(0);
    write_pipeline(&scratch, "pipeline.yaml", &[("it", json!("lines"))]);
    let cure = "prony plugin add plugins/mine.wasm";
    let told = |code: &str| {
        let check = |output: Output| {
            assert!(output.stderr.contains(code), "{code}: {output:?}");
            let line = output.stderr.replace('\n', " ");
            assert!(line.contains(cure), "{cure}: {output:?}");
        };
        check(scratch.bare(&["plugin", "list"]).exits(0));
        check(scratch.bare(&["validate", "pipeline.yaml"]).exits(3));
        check(scratch.bare(&["run", "pipeline.yaml"]).exits(5));
        let info = scratch.bare(&["plugin", "info", "lines"]).exits(0);
        assert!(info.stdout.contains(code), "{info:?}");
    };
    scratch.write("engine-lines.wasm", lines("0.9.0"));
    told("has changed since it was locked");
    fs::remove_file(scratch.path("engine-lines.wasm")).expect("it is there");
    told("which the lock has as the engine `lines` 0.2.0");
    // As the message says.
    add(&scratch, &["plugins/mine.wasm"]).exits(0);
    scratch.bare(&["validate", "pipeline.yaml"]).exits(0);
}

#[test]
fn all_that_is_known_about_a_plugin_is_shown() {
    let scratch = Scratch::new();
    scratch.write("mine.wasm", lines("0.2.0"));
    let info = scratch.bare(&["plugin", "info", "mine.wasm"]).exits(0);
    for words in [
        "lines (engine)",
        "0.2.0",
        "wasm, sandboxed",
        "prony:plugin/types@",
        &sha256(&lines("0.2.0")),
        "no lock has it",
        "64 MiB and 10000 ms",
        "command",
    ] {
        assert!(info.stdout.contains(words), "{words}: {}", info.stdout);
    }
    add(&scratch, &["mine.wasm"]).exits(0).prints("not signed");
    let all = scratch.bare(&["plugin", "info", "lines", "--json"]);
    let all = all.exits(0).json();
    assert_eq!(all[0]["lock"], "prony.lock");
    assert_eq!(all[0]["source"], "mine.wasm");
    assert_eq!(all[0]["problem"], Value::Null);
    assert_eq!(all[0]["hides"].as_array().map(Vec::len), Some(1));
    scratch
        .bare(&["plugin", "info", "nothing"])
        .exits(2)
        .complains("no plugin `nothing`");
}

#[test]
fn an_update_reads_the_source_again_and_never_goes_back() {
    let scratch = Scratch::new();
    scratch.write("mine.wasm", lines("0.2.0"));
    add(&scratch, &["mine.wasm"]).exits(0);
    let update = || scratch.bare(&["plugin", "update", "lines"]);
    update().exits(0).prints("is as `mine.wasm` has it");
    scratch.write("mine.wasm", lines("0.3.0"));
    let (old, new) = (sha256(&lines("0.2.0")), sha256(&lines("0.3.0")));
    update().exits(0).prints(&format!(
        "engine `lines`: 0.2.0 (sha256 {}) → 0.3.0 (sha256 {})",
        &old[..12],
        &new[..12]
    ));
    let entries = locked(&scratch, "prony.lock");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["version"], "0.3.0");
    assert_eq!(entries[0]["path"], "engine-lines.wasm");
    scratch.write("mine.wasm", lines("0.2.9"));
    update().exits(5).complains("which is older than 0.3.0");
    scratch.write("mine.wasm", "nothing of the kind");
    update().exits(5).complains("[X0003]");
    fs::remove_file(scratch.path("mine.wasm")).expect("it is there");
    update().exits(5).complains("which is not there");
    assert_eq!(
        locked(&scratch, "prony.lock"),
        entries,
        "nothing was written"
    );
}

#[test]
fn an_address_gives_the_file_with_its_digest_or_none() {
    let (scratch, server) = (Scratch::new(), Registry::start());
    let file = lines("0.2.0");
    server.put("/files/lines.wasm", &file);
    let url = format!("{}/files/lines.wasm", server.url);
    let named = |bytes: &[u8]| format!("{url}#sha256={}", sha256(bytes));
    add(&scratch, &[&named(b"another")])
        .exits(5)
        .complains("[X0017]")
        .complains(&sha256(&file));
    add(&scratch, &[&url])
        .exits(5)
        .complains("`#sha256=` and 64 digits");
    add(
        &scratch,
        &[&format!("{}/none#sha256={}", server.url, sha256(&file))],
    )
    .exits(5)
    .complains("status 404");
    let open = format!("http://prony.invalid/a.wasm#sha256={}", sha256(&file));
    add(&scratch, &[&open]).exits(5).complains("use `https://`");
    assert!(!scratch.path("prony.lock").exists(), "nothing is locked");
    add(&scratch, &[&named(&file)]).exits(0);
    assert_eq!(locked(&scratch, "prony.lock")[0]["source"], named(&file));
    server.cut("/files/lines.wasm");
    add(&scratch, &[&named(&file)])
        .exits(5)
        .complains("[X0017]");
}

#[test]
fn a_registry_gives_what_its_manifest_names_and_no_other_under_the_same_version() {
    let (scratch, server) = (Scratch::new(), Registry::start());
    let manifest = server.push("acme/lines", "stable", &lines("0.2.0"), &[]);
    let source = format!("oci://{}/acme/lines:stable", server.host());
    add(&scratch, &[&source])
        .exits(0)
        .prints(&format!("manifest {manifest}"));
    let entries = locked(&scratch, "prony.lock");
    assert_eq!(entries[0]["source"], source);
    assert_eq!(entries[0]["resolved"], manifest);
    assert!(server.gave_tokens(), "it was asked for one");
    let update = || scratch.bare(&["plugin", "update"]);
    update().exits(0).prints("is as `oci://");
    // Another content of the same version.
    let mut swapped = lines("0.2.0");
    let text = b"Any program that speaks";
    let at = swapped.windows(text.len()).position(|it| it == text);
    swapped[at.expect("its description")] = b'a';
    server.push("acme/lines", "stable", &swapped, &[]);
    for told in [update(), add(&scratch, &[&source])] {
        told.exits(5)
            .complains("[X0017]")
            .complains("an author gives a change a new version");
    }
    // A blob that is not what its name says, or cut short.
    let digest = server.push("acme/lines", "stable", &lines("0.3.0"), &[]);
    let blob = format!("/v2/acme/lines/blobs/sha256:{}", sha256(&lines("0.3.0")));
    server.put(&blob, &swapped);
    update().exits(5).complains("and the manifest says");
    server.put(&blob, &lines("0.3.0")[..1000]);
    update().exits(5).complains("1000 bytes");
    server.put(&blob, &lines("0.3.0"));
    server.cut(&blob);
    update().exits(5).complains("[X0017]");
    assert_eq!(
        locked(&scratch, "prony.lock"),
        entries,
        "nothing was written"
    );
    // And a good one.
    server.put(&blob, &lines("0.3.0"));
    update().exits(0).prints("0.2.0 (sha256");
    assert_eq!(locked(&scratch, "prony.lock")[0]["resolved"], digest);
}

/// A pair of keys, and what minisign would write with them.
struct Signer {
    pair: Ed25519KeyPair,
    id: [u8; 8],
}

impl Signer {
    fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("32 bytes");
        let id = [seed; 8];
        Self { pair, id }
    }

    fn key(&self) -> String {
        let public = self.pair.public_key().as_ref();
        base64(&[b"Ed", &self.id[..], public].concat())
    }

    /// A signature in the form without a digest.
    fn sign(&self, bytes: &[u8]) -> String {
        let signature = self.pair.sign(bytes);
        let comment = "of a test";
        let all = [signature.as_ref(), comment.as_bytes()].concat();
        let global = self.pair.sign(&all);
        format!(
            "untrusted comment: of a test\n{}\ntrusted comment: {comment}\n{}\n",
            base64(&[b"Ed", &self.id[..], signature.as_ref()].concat()),
            base64(global.as_ref())
        )
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn the_first_signer_is_remembered_and_another_one_refused() {
    let scratch = Scratch::new();
    let (author, other) = (Signer::new(1), Signer::new(2));
    let put = |version: &str, signer: Option<&Signer>| {
        let file = lines(version);
        scratch.write("mine.wasm", &file);
        match signer {
            Some(signer) => drop(scratch.write("mine.wasm.minisig", signer.sign(&file))),
            None => fs::remove_file(scratch.path("mine.wasm.minisig")).expect("it is there"),
        }
    };
    let update = |more: &[&str]| scratch.bare(&[&["plugin", "update"], more].concat());
    scratch.write("mine.wasm", lines("0.2.0"));
    add(&scratch, &["--require-signed", "mine.wasm"])
        .exits(5)
        .complains("[X0018]")
        .complains("is not signed");
    put("0.2.0", Some(&author));
    add(&scratch, &["--require-signed", "mine.wasm"])
        .exits(5)
        .complains("no key to check it with");
    add(&scratch, &["--signer", &other.key(), "mine.wasm"])
        .exits(5)
        .complains("has signed it");
    add(&scratch, &["--signer", "nonsense", "mine.wasm"])
        .exits(2)
        .complains("not a public key of minisign");
    let comment = format!("untrusted comment: of a test\n{}\n", author.key());
    scratch.write("minisign.pub", comment);
    add(&scratch, &["--require-signed", "mine.wasm"])
        .exits(0)
        .prints(&format!("signed by {}", author.key()));
    fs::remove_file(scratch.path("minisign.pub")).expect("it is there");
    assert_eq!(locked(&scratch, "prony.lock")[0]["signer"], author.key());
    // The key is known now.
    put("0.3.0", Some(&author));
    update(&["--require-signed"]).exits(0).prints("→ 0.3.0");
    // Nobody's, another's, and one that is of another file.
    put("0.4.0", None);
    update(&[])
        .exits(5)
        .complains("not signed by a key that is known");
    put("0.4.0", Some(&other));
    update(&["--signer", &other.key()])
        .exits(5)
        .complains("add `--accept-new-signer`");
    scratch.write("mine.wasm", lines("0.5.0"));
    update(&["--signer", &other.key()])
        .exits(5)
        .complains("has signed it");
    // An older one that was rightly signed.
    put("0.2.0", Some(&author));
    update(&[]).exits(5).complains("which is older than 0.3.0");
    assert_eq!(locked(&scratch, "prony.lock")[0]["version"], "0.3.0");
    put("0.4.0", Some(&other));
    update(&["--signer", &other.key(), "--accept-new-signer"]).exits(0);
    assert_eq!(locked(&scratch, "prony.lock")[0]["signer"], other.key());
}

#[test]
fn a_registry_and_an_address_bring_signatures_along() {
    let (scratch, server) = (Scratch::new(), Registry::start());
    let (author, other, file) = (Signer::new(1), Signer::new(2), lines("0.2.0"));
    let add_signed = |source: &str| add(&scratch, &["--require-signed", source]);
    let source = format!("oci://{}/acme/lines:1", server.host());
    let push = |signature: &str| {
        let key = author.key();
        let annotations = [("prony.minisig", signature), ("prony.minisign.pub", &key)];
        server.push("acme/lines", "1", &file, &annotations)
    };
    server.push("acme/lines", "1", &file, &[]);
    add_signed(&source).exits(5).complains("is not signed");
    push(&other.sign(&file));
    add_signed(&source).exits(5).complains("has signed it");
    push(&author.sign(&file));
    let signed = format!("signed by {}", author.key());
    add_signed(&source).exits(0).prints(&signed);
    scratch.bare(&["plugin", "remove", "lines"]).exits(0);
    server.put("/files/lines.wasm", &file);
    server.put("/files/lines.wasm.minisig", author.sign(&file).as_bytes());
    server.put("/files/minisign.pub", author.key().as_bytes());
    let source = format!("{}/files/lines.wasm#sha256={}", server.url, sha256(&file));
    add_signed(&source).exits(0).prints(&signed);
}
