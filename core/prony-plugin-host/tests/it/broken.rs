//! Files that are no plugins, or the wrong ones.

use crate::guest::{EVENT, Guest, manifest};
use crate::support::{core_module, model, request};
use prony_contract::{Api, Kind, Response};
use prony_plugin_host::{
    Error, Grant, Limits, Lock, Plugin, Registry, Setup, Trust, WasmHost, WasmPlugin,
};
use serde_json::json;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn load(bytes: &[u8]) -> Result<WasmPlugin, Error> {
    let cache = tempfile::tempdir().unwrap();
    WasmHost::new(cache.path(), Limits::default())?.load(Path::new("p.wasm"), bytes)
}

fn load_text(wat: &str) -> Error {
    load(&wat::parse_str(wat).unwrap()).err().expect("refused")
}

fn setup_in(cache: PathBuf) -> Setup {
    Setup {
        cache,
        ..Setup::default()
    }
}

fn add(folder: &TempDir, file: &Path, grants: &[Grant]) -> Result<prony_plugin_host::Entry, Error> {
    let lock = folder.path().join("lock/prony.lock");
    let trust = Trust {
        grants: Some(folder.path().join("user/grants")),
        bundled: Vec::new(),
    };
    let setup = Setup {
        cache: folder.path().join("cache"),
        trust,
        ..Setup::default()
    };
    prony_plugin_host::add(file, &lock, grants, &setup)
}

#[test]
fn what_is_no_plugin_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let module = std::fs::read(core_module("engine-faulty")).unwrap();
    let elf = [b"\x7fELF\x02\x01\x01\0", &[0xa5; 500][..]].concat();
    let random: Vec<u8> = (0..4_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let cases: [(&str, &[u8]); 9] = [
        ("empty", b""),
        ("seven bytes", b"\0asm\x01\0\0"),
        ("text", b"engine: openai\n"),
        ("random", &random),
        ("ELF", &elf),
        ("a truncated module", &module[..module.len() / 2]),
        ("a module's head", &module[..8]),
        ("a component's head", b"\0asm\x0d\0\x01\0"),
        ("another layer", b"\0asm\x07\0\x07\0"),
    ];
    for (what, bytes) in cases {
        let file = folder.path().join("file");
        std::fs::write(&file, bytes).unwrap();
        let error = add(&folder, &file, &[Grant::Native]).expect_err(what);
        assert!(matches!(error, Error::NotAPlugin { .. }), "{what}: {error}");
        assert!(
            error.to_string().contains("file` is not a prony plugin: "),
            "{error}"
        );
        assert!(!folder.path().join("lock").exists(), "{what} was locked");
    }
    let missing = add(&folder, Path::new("/no/such/file"), &[]).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }), "{missing}");
}

#[test]
fn a_damaged_module_never_breaks_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let module = std::fs::read(Guest::new().write(folder.path())).unwrap();
    let file = folder.path().join("damaged.wasm");
    let mut refused = 0;
    // The whole of a hand-written module, which ends with its world.
    for at in (8..module.len()).step_by(13) {
        let mut damaged = module.clone();
        damaged[at] ^= 0x55;
        std::fs::write(&file, &damaged).unwrap();
        refused += usize::from(add(&folder, &file, &[]).is_err());
        std::fs::write(&file, &module[..at]).unwrap();
        assert!(add(&folder, &file, &[]).is_err(), "cut at {at}");
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn a_truncated_component_is_refused_wherever_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let entry = add(&folder, &core_module("engine-faulty"), &[]).unwrap();
    let component = std::fs::read(folder.path().join("lock").join(entry.path)).unwrap();
    for part in (0..20).map(|part| component.len() * part / 20) {
        let error = load(&component[..part]).err().expect("refused");
        assert!(matches!(error, Error::NotAPlugin { .. }), "{part}: {error}");
    }
}

#[test]
fn imports_are_checked_before_anything_runs() {
    // It would trap if it ran.
    let error = load_text(
        r#"(component
            (import "wasi:cli/environment@0.2.0" (instance))
            (import "prony:plugin/types@1.0.0" (instance))
            (import "wasi:sockets/tcp@0.2.0" (instance))
            (core module $m (func $f unreachable) (start $f))
            (core instance (instantiate $m))
            (instance $i)
            (export "prony:plugin/engine@1.0.0" (instance $i)))"#,
    );
    let Error::Import { imports, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        imports,
        &["wasi:cli/environment@0.2.0", "wasi:sockets/tcp@0.2.0"]
    );
    let text = error.to_string();
    assert!(
        text.contains("`wasi:cli/environment@0.2.0`, `wasi:sockets/tcp@0.2.0`"),
        "{text}"
    );
    assert!(text.contains("without WASI"), "{text}");
    assert!(matches!(
        load_text(r#"(component (import "log" (func)))"#),
        Error::Import { .. }
    ));
}

#[test]
fn another_contract_is_named_with_ours() {
    for (version, refused) in [
        ("9.0.0", true),
        ("0.2.0", true),
        ("1.1.0", true),
        ("1.0.9", false),
    ] {
        let error = load_text(&format!(
            r#"(component (instance $i) (export "prony:plugin/engine@{version}" (instance $i)))"#
        ));
        assert_eq!(
            matches!(error, Error::Contract { .. }),
            refused,
            "{version}: {error}"
        );
        if refused {
            let text = error.to_string();
            assert!(
                text.contains(version) && text.contains("speaks 1.0"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_component_for_something_else_is_no_plugin() {
    for wat in [
        "(component)",
        r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#,
        r#"(component (instance $i) (export "prony:plugin/types@1.0.0" (instance $i)))"#,
        // Exports the interface and none of its functions.
        r#"(component (instance $i) (export "prony:plugin/engine@1.0.0" (instance $i)))"#,
    ] {
        let error = load_text(wat);
        assert!(matches!(error, Error::NotAPlugin { .. }), "{wat}: {error}");
    }
}

// Answers that break the contract.

/// Locks a guest and loads it from its lock.
fn guest(guest: &Guest) -> Result<std::sync::Arc<dyn Plugin>, Error> {
    let folder = tempfile::tempdir().unwrap();
    let entry = add(&folder, &guest.write(folder.path()), &[])?;
    let lock = folder.path().join("lock/prony.lock");
    Registry::open(&[lock], setup_in(folder.path().join("cache")))?.load(Kind::Engine, &entry.name)
}

#[test]
fn a_guest_written_by_hand_works() {
    let plugin = guest(&Guest::new()).unwrap();
    let made = plugin
        .encode(&json!({}), &model(), &request(Api::Chat))
        .unwrap();
    assert_eq!((made.method.as_str(), made.path.as_str()), ("GET", "/"));
    let events = plugin
        .decode(&json!({}), &Response::new(200, b"abc", &[3]))
        .unwrap();
    assert_eq!((events.len(), events[0].text.as_str()), (1, "GET"));
}

#[test]
fn a_manifest_must_be_readable_and_right() {
    let with = |manifest: &[u8]| Guest {
        manifest: manifest.to_vec(),
        ..Guest::new()
    };
    for (text, words) in [
        ("no JSON".to_owned(), "expected"),
        ("{}".to_owned(), "missing field"),
        (String::new(), "EOF"),
        (manifest("x", "reporter"), "its manifest says `reporter`"),
        (manifest("x", "teapot"), "unknown variant"),
    ] {
        let error = guest(&with(text.as_bytes())).err().unwrap();
        let Error::Answer { export, reason, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*export, "describe");
        assert!(reason.contains(words), "{text}: {reason}");
    }
    let error = guest(&with(b"\xff\xfe")).err().unwrap();
    assert!(
        matches!(
            error,
            Error::Trap {
                export: "describe",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_name_cannot_lead_out_of_the_folder() {
    for name in [
        "",
        "../../evil",
        "a/b",
        "/etc/x",
        "A",
        "a b",
        "a\0",
        &"a".repeat(65),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let written = Guest {
            manifest: manifest(name, "engine").into_bytes(),
            ..Guest::new()
        }
        .write(folder.path());
        let error = add(&folder, &written, &[]).unwrap_err();
        let Error::Answer { reason, .. } = &error else {
            panic!("{name:?}: {error}")
        };
        assert!(reason.contains("lower-case letters"), "{reason}");
        assert!(!folder.path().join("lock").exists());
    }
}

#[test]
fn answers_that_cannot_be_read_are_the_plugins_fault() {
    let plugin = guest(&Guest {
        body: b"\xff\xfe".to_vec(),
        ..Guest::new()
    })
    .unwrap();
    let error = plugin
        .encode(&json!({}), &model(), &request(Api::Chat))
        .unwrap_err();
    let Error::Answer { export, reason, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*export, "encode");
    assert!(reason.contains("utf-8"), "{reason}");

    for (event, events) in [
        ([0, 99, 0, 600, 3], [EVENT, 1]),
        ([0, 0, 0, u32::MAX - 1, 3], [EVENT, 1]),
        ([0, 0, 0, 600, u32::MAX], [EVENT, 1]),
        ([0, 0, 0, 600, 3], [u32::MAX - 3, 1]),
        ([0, 0, 0, 600, 3], [EVENT, u32::MAX]),
        ([0, 0, 0, 600, 3], [EVENT + 1, 1]),
    ] {
        let plugin = guest(&Guest {
            event,
            events,
            ..Guest::new()
        })
        .unwrap();
        let error = plugin
            .decode(&json!({}), &Response::new(200, b"abc", &[3]))
            .unwrap_err();
        assert!(
            matches!(&error, Error::Trap { plugin, export: "decode", .. } if plugin == "garbage"),
            "{event:?} {events:?}: {error}"
        );
    }
    let plugin = guest(&Guest {
        event: [1, 0, 0, 600, 3],
        ..Guest::new()
    })
    .unwrap();
    let error = plugin
        .decode(&json!({}), &Response::new(200, b"abc", &[3]))
        .unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Answer {
                export: "decode",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn several_memories_share_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    // A component of modules with 40 MiB each, and the limit is 64 MiB.
    let memories = Guest {
        extra: "(memory 640) (memory 640)",
        ..Guest::new()
    };
    let error = add(&folder, &memories.write(folder.path()), &[]).unwrap_err();
    assert!(error.to_string().contains("64 MiB of memory"), "{error}");
}

#[test]
fn damaged_locks_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prony.lock");
    for (text, words) in [
        ("", "EOF"),
        ("{", "EOF"),
        ("[]", "invalid"),
        ("\u{0}", "expected"),
        (r#"{ "version": 1 }"#, "missing field `plugins`"),
        (r#"{ "version": 1, "plugins": [{}] }"#, "missing field"),
        (
            r#"{ "version": 1, "plugins": [], "more": 1 }"#,
            "unknown field `more`",
        ),
        (
            r#"{ "version": 2, "plugins": {}, "more": 1 }"#,
            "version 2 is unknown; this prony reads version 1",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Lock::read(&path).unwrap_err();
        assert!(matches!(error, Error::Lock { .. }), "{text}: {error}");
        let shown = error.to_string();
        assert!(
            shown.contains(words) && shown.contains("prony.lock"),
            "{text}: {shown}"
        );
        let error = Registry::open(
            std::slice::from_ref(&path),
            setup_in(folder.path().to_owned()),
        )
        .err()
        .unwrap();
        assert!(matches!(error, Error::Lock { .. }), "{error}");
        // Adding to it must not throw away what it says.
        let module = core_module("engine-faulty");
        let error =
            prony_plugin_host::add(&module, &path, &[], &setup_in(folder.path().join("cache")));
        assert!(matches!(error, Err(Error::Lock { .. })), "{error:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_compiler_that_is_ended_or_fails_says_why() {
    for (script, words) in [
        ("kill -XCPU $$", "compiling it takes longer than 120s"),
        (
            "kill -ABRT $$",
            "compiling it takes more than 1024 MiB of memory",
        ),
        ("echo why >&2; exit 1", "is not a prony plugin: why"),
        ("exit 0", "is not a prony plugin"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup {
            compiler: ["sh", "-c", script].map(ToOwned::to_owned).to_vec(),
            ..setup_in(folder.path().join("cache"))
        };
        let lock = folder.path().join("prony.lock");
        let error = prony_plugin_host::add(&core_module("engine-faulty"), &lock, &[], &setup);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(words), "{script}: {error}");
    }
}
