//! Locks, grants and digests.

use crate::native::library;
use crate::support::{core_module, model, request};
use prony_contract::{Api, ErrorKind, Image, Kind, Request};
use prony_plugin_host::{Entry, Error, Form, Grant, Lock, Registry, Setup, Trust};
use serde_json::json;
use std::env::consts::DLL_EXTENSION;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Installed {
    folder: TempDir,
    lock: PathBuf,
    file: PathBuf,
    entry: Entry,
}

/// A user whose grants lie in `folder`.
fn trust(folder: &TempDir) -> Trust {
    Trust {
        grants: Some(folder.path().join("user/grants")),
        bundled: Vec::new(),
    }
}

/// The host of this user.
fn setup(folder: &TempDir) -> Setup {
    Setup {
        cache: folder.path().join("cache"),
        trust: trust(folder),
        ..Setup::default()
    }
}

fn install(file: &Path, grants: &[Grant], folder: TempDir) -> Installed {
    let lock = folder.path().join("plugins/prony.lock");
    let entry = prony_plugin_host::add(file, &lock, grants, &setup(&folder)).unwrap();
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
        Registry::open(std::slice::from_ref(&self.lock), setup(&self.folder)).unwrap()
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
        assert_eq!(installed.entry.contract, "1.0");
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
    let error = prony_plugin_host::add(&file, &lock, &[], &setup(&folder)).unwrap_err();
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
fn a_lock_file_grants_nothing() {
    // As a stranger's folder brings it: locked with a grant, which its author has given.
    let installed = native();
    installed.load().unwrap();
    let user = tempfile::tempdir().unwrap();
    let opened = |trust| {
        let locks = std::slice::from_ref(&installed.lock);
        let setup = Setup {
            trust,
            ..setup(&user)
        };
        let registry = Registry::open(locks, setup).unwrap();
        let name = &installed.entry.name;
        let loaded = registry.load(Kind::Engine, name).map(drop);
        loaded.and(registry.load_native(Kind::Engine, name).map(drop))
    };
    for trust in [trust(&user), Trust::default()] {
        let error = opened(trust).unwrap_err();
        assert!(matches!(error, Error::NotGranted { .. }), "{error}");
    }
    // Of another library of the same name.
    std::fs::create_dir(user.path().join("user")).unwrap();
    let grants = user.path().join("user/grants");
    std::fs::write(&grants, format!("{}  engine lines\n", "0".repeat(64))).unwrap();
    let error = opened(trust(&user)).unwrap_err();
    assert!(matches!(error, Error::NotGranted { .. }), "{error}");
    std::fs::write(&grants, format!("{}\n", installed.entry.sha256)).unwrap();
    opened(trust(&user)).unwrap();
    // What ships with prony needs none.
    opened(Trust {
        bundled: vec![installed.lock.clone()],
        ..Trust::default()
    })
    .unwrap();
}

#[test]
fn a_library_that_others_can_replace_is_refused() {
    let installed = native();
    let plugins = installed.lock.parent().unwrap().to_owned();
    for place in [&installed.file, &plugins] {
        let before = std::fs::metadata(place).unwrap().permissions();
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = installed.load().unwrap_err();
        assert!(matches!(error, Error::Exposed { .. }), "{error}");
        assert!(error.to_string().contains("chmod o-w"), "{error}");
        std::fs::set_permissions(place, before).unwrap();
        installed.load().unwrap();
    }
}

#[test]
fn what_was_verified_is_what_is_loaded() {
    let installed = native();
    installed.load().unwrap();
    let name = format!("{}.{DLL_EXTENSION}", installed.entry.sha256);
    let copy = installed.folder.path().join("cache").join(name);
    let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o500);
    // Another's copy is made anew.
    std::fs::remove_file(&copy).unwrap();
    std::fs::write(&copy, "no library").unwrap();
    installed.load().unwrap();
    assert_eq!(
        std::fs::read(&copy).unwrap(),
        std::fs::read(&installed.file).unwrap()
    );
}

#[test]
fn plugins_are_added_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("prony.lock");
    let setup = setup(&folder);
    let names = ["engine-faulty", "engine-openai"];
    std::thread::scope(|scope| {
        for name in names {
            let add = || {
                let module = core_module(name);
                prony_plugin_host::add(&module, &lock, &[], &setup).unwrap();
            };
            scope.spawn(add);
        }
    });
    assert_eq!(Lock::read(&lock).unwrap().plugins.len(), names.len());
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
        let error = installed.load().unwrap_err();
        assert!(matches!(error, Error::Gone { .. }), "{error}");
        let again = format!("prony plugin remove {}@", installed.entry.name);
        assert!(error.to_string().contains(&again), "{error}");
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
    // An engine's own name is not always the plugin's.
    let error = registry.load(Kind::Engine, "Faulty").err().unwrap();
    let text = error.to_string();
    assert!(
        text.contains("`Faulty` is installed, but `faulty` is:"),
        "{text}"
    );
    let none = Registry::open(&[PathBuf::from("/no/such/lock")], Setup::default()).unwrap();
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
    let registry = Registry::open(&locks, setup(&first.folder)).unwrap();
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
    let registry = Registry::open(&locks, setup(&first.folder)).unwrap();
    assert_eq!(registry.entries().count(), 1);
    let (_, path) = registry.find(Kind::Engine, "faulty").unwrap();
    assert_eq!(path, first.file);
}
