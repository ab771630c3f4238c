//! Locks, grants and digests.

use crate::native::library;
use crate::support::{core_module, model, request};
use prony_contract::{Api, ErrorKind, Image, Kind, Request};
use prony_plugin_host::{Entry, Error, Form, Grant, Lock, Registry};
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Installed {
    folder: TempDir,
    lock: PathBuf,
    file: PathBuf,
    entry: Entry,
}

fn install(file: &Path, grants: &[Grant], folder: TempDir) -> Installed {
    let lock = folder.path().join("plugins/prony.lock");
    let entry = prony_plugin_host::add(file, &lock, grants, &folder.path().join("cache")).unwrap();
    let file = folder.path().join("plugins").join(&entry.path);
    Installed {
        folder,
        lock,
        file,
        entry,
    }
}

fn native() -> Installed {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path(), None);
    install(&library, &[Grant::Native], folder)
}

fn wasm() -> Installed {
    install(
        &core_module("engine-faulty"),
        &[],
        tempfile::tempdir().unwrap(),
    )
}

impl Installed {
    fn registry(&self) -> Registry {
        Registry::open(
            std::slice::from_ref(&self.lock),
            &self.folder.path().join("cache"),
        )
        .unwrap()
    }

    fn load(&self) -> Result<(), Error> {
        self.registry()
            .load(Kind::Engine, &self.entry.name)
            .map(drop)
    }
}

#[test]
fn what_was_added_can_be_loaded() {
    for installed in [native(), wasm()] {
        installed.load().unwrap();
        let lock = Lock::read(&installed.lock).unwrap();
        assert_eq!(lock.plugins, std::slice::from_ref(&installed.entry));
        let digest = prony_plugin_host::sha256_of(&std::fs::read(&installed.file).unwrap());
        assert_eq!(installed.entry.sha256, digest);
        assert_eq!(installed.entry.contract, "0.2");
        let registry = installed.registry();
        let [a, b] = [0; 2].map(|_| registry.load(Kind::Engine, &installed.entry.name).unwrap());
        assert!(std::sync::Arc::ptr_eq(&a, &b), "loaded twice");
    }
}

#[test]
fn only_what_says_so_is_handed_images() {
    // Neither adapter looks at the images of a request, nor says that it does.
    let with_image = Request {
        images: vec![Image {
            media_type: "image/png".to_owned(),
            data: b"png".to_vec(),
        }],
        ..request(Api::Chat)
    };
    for installed in [native(), wasm()] {
        assert!(!installed.entry.images);
        let name = &installed.entry.name;
        let plugin = installed.registry().load(Kind::Engine, name).unwrap();
        plugin
            .encode(&json!({}), &model(), &request(Api::Chat))
            .unwrap();
        let error = plugin
            .encode(&json!({}), &model(), &with_image)
            .unwrap_err();
        let Error::Reported { error, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.message.contains("takes no images"), "{error}");
    }
    // `engine-openai` does, and its lock says so.
    let installed = install(
        &core_module("engine-openai"),
        &[],
        tempfile::tempdir().unwrap(),
    );
    let registry = installed.registry();
    assert!(registry.find(Kind::Engine, "openai").unwrap().0.images);
    let plugin = registry.load(Kind::Engine, "openai").unwrap();
    let config = json!({ "base_url": "http://h" });
    let made = plugin.encode(&config, &model(), &with_image).unwrap();
    assert!(made.body.contains("data:image/png;base64,cG5n"));
}

#[test]
fn adding_again_replaces() {
    let first = wasm();
    let again = install(&core_module("engine-faulty"), &[], first.folder);
    assert_eq!(Lock::read(&again.lock).unwrap().plugins, [first.entry]);
}

#[test]
fn a_library_needs_a_grant() {
    let folder = tempfile::tempdir().unwrap();
    let file = library(folder.path(), None);
    let lock = folder.path().join("prony.lock");
    let error = prony_plugin_host::add(&file, &lock, &[], folder.path()).unwrap_err();
    assert!(matches!(error, Error::NotGranted { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("prony plugin add --grant native"),
        "{error}"
    );
    assert!(!lock.exists());

    let installed = native();
    assert_eq!(installed.entry.grants, [Grant::Native]);
    let text = std::fs::read_to_string(&installed.lock).unwrap();
    let mut lock: Lock = serde_json::from_str(&text).unwrap();
    lock.plugins[0].grants.clear();
    std::fs::write(&installed.lock, serde_json::to_string(&lock).unwrap()).unwrap();
    let error = installed.load().unwrap_err();
    assert!(matches!(error, Error::NotGranted { .. }), "{error}");
}

#[test]
fn a_component_gets_no_grant() {
    let folder = tempfile::tempdir().unwrap();
    let installed = install(&core_module("engine-faulty"), &[Grant::Native], folder);
    assert_eq!(
        (installed.entry.form, &installed.entry.grants[..]),
        (Form::Wasm, &[][..])
    );
}

#[test]
fn a_library_that_all_can_write_is_refused() {
    let installed = native();
    std::fs::set_permissions(&installed.file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let error = installed.load().unwrap_err();
    assert!(matches!(error, Error::WorldWritable { .. }), "{error}");
    assert!(error.to_string().contains("chmod o-w"), "{error}");
}

#[test]
fn a_changed_file_is_refused() {
    for installed in [native(), wasm()] {
        let mut bytes = std::fs::read(&installed.file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&installed.file, &bytes).unwrap();
        let error = installed.load().unwrap_err();
        let Error::Digest { found, locked, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(locked, &installed.entry.sha256);
        assert_eq!(found, &prony_plugin_host::sha256_of(&bytes));
        assert!(error.to_string().contains("prony plugin add"), "{error}");
        std::fs::remove_file(&installed.file).unwrap();
        assert!(matches!(installed.load(), Err(Error::Io { .. })));
    }
}

#[test]
fn unknown_plugins_are_named() {
    let registry = wasm().registry();
    for (kind, name) in [(Kind::Engine, "nope"), (Kind::Reporter, "faulty")] {
        let error = registry.load(kind, name).err().unwrap();
        assert!(matches!(error, Error::Unknown { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(name) && text.contains("prony plugin list"),
            "{text}"
        );
    }
    let none = Registry::open(&[PathBuf::from("/no/such/lock")], Path::new("/no/cache")).unwrap();
    assert_eq!(none.entries().count(), 0);
}

#[test]
fn a_worker_takes_libraries_only() {
    let error = wasm()
        .registry()
        .load_native(Kind::Engine, "faulty")
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("must be a native library"),
        "{error}"
    );
    native()
        .registry()
        .load_native(Kind::Engine, "lines")
        .unwrap();
}

/// The lock of `installed`, changed; it ends with a recipe of this name.
fn with_recipe(installed: &Installed, name: &str) -> Lock {
    let mut lock = Lock::read(&installed.lock).unwrap();
    let recipe = json!({ "name": name, "description": "d", "config_schema": {} });
    let recipe = serde_json::from_value(recipe).unwrap();
    lock.plugins.last_mut().unwrap().recipes.push(recipe);
    lock
}

fn write(installed: &Installed, lock: &Lock) {
    std::fs::write(&installed.lock, serde_json::to_string(lock).unwrap()).unwrap();
}

#[test]
fn no_recipe_takes_the_place_of_a_plugin() {
    let (first, second) = (native(), wasm());
    write(&first, &with_recipe(&first, "faulty"));
    let locks = [first.lock.clone(), second.lock.clone()];
    let registry = Registry::open(&locks, &first.folder.path().join("cache")).unwrap();
    let (entry, path) = registry.find(Kind::Engine, "faulty").unwrap();
    assert_eq!((&entry.recipe, path), (&None, second.file.clone()));
    assert_eq!(registry.entries().count(), 2);
}

#[test]
fn names_in_a_lock_are_names_and_differ() {
    for (name, words) in [
        ("A\u{1b}[31m", "the name `A\\u{1b}[31m` of a recipe is not"),
        ("", "the name `` of a recipe"),
    ] {
        let installed = wasm();
        write(&installed, &with_recipe(&installed, name));
        let error = Lock::read(&installed.lock).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let installed = wasm();
    write(&installed, &with_recipe(&installed, "tiny"));
    let mut twice = with_recipe(&installed, "tiny");
    write(&installed, &twice);
    let error = Lock::read(&installed.lock).unwrap_err().to_string();
    assert!(error.contains("two recipes `tiny`"), "{error}");
    twice.plugins[0].recipes.clear();
    twice.plugins.push(twice.plugins[0].clone());
    write(&installed, &twice);
    let error = Lock::read(&installed.lock).unwrap_err().to_string();
    assert!(error.contains("two plugins `faulty`"), "{error}");

    let installed = wasm();
    let text = serde_json::to_string(&with_recipe(&installed, "tiny")).unwrap();
    let text = text.replace(r#""name":"tiny""#, r#""name":"tiny","more":1"#);
    std::fs::write(&installed.lock, text).unwrap();
    let error = Lock::read(&installed.lock).unwrap_err().to_string();
    assert!(error.contains("unknown field `more`"), "{error}");
}

#[test]
fn the_first_lock_that_names_a_plugin_wins() {
    let (first, second) = (wasm(), wasm());
    let locks = [first.lock.clone(), second.lock.clone()];
    let registry = Registry::open(&locks, &first.folder.path().join("cache")).unwrap();
    assert_eq!(registry.entries().count(), 1);
    let (_, path) = registry.find(Kind::Engine, "faulty").unwrap();
    assert_eq!(path, first.file);
}
