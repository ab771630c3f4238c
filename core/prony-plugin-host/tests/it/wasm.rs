//! A guest harms nobody but itself. `engine-faulty` misbehaves as its config
//! says.

use crate::support::{Hosted, at, core_module, model, request};
use prony_contract::{Api, ErrorKind, EventKind, Response};
use prony_plugin_host::{Error, Limits, Plugin, Setup, WasmHost, WasmPlugin};
use serde_json::json;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The component, with a cache that all tests of this file share.
struct Component {
    path: PathBuf,
    bytes: Vec<u8>,
    folder: tempfile::TempDir,
}

fn component() -> &'static Component {
    static COMPONENT: OnceLock<Component> = OnceLock::new();
    COMPONENT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("prony.lock");
        let cache = folder.path().join("cache");
        let entry = prony_plugin_host::add(
            &core_module("engine-faulty"),
            &lock,
            &[],
            &Setup {
                cache,
                ..Setup::default()
            },
        )
        .unwrap();
        let path = folder.path().join(entry.path);
        let bytes = std::fs::read(&path).unwrap();
        Component {
            path,
            bytes,
            folder,
        }
    })
}

fn load_from(cache: &Path, limits: Limits) -> WasmPlugin {
    let it = component();
    let host = WasmHost::new(cache, limits).unwrap();
    host.load(&it.path, &it.bytes).unwrap()
}

fn faulty(limits: Limits) -> WasmPlugin {
    load_from(&component().folder.path().join("cache"), limits)
}

/// Calls what the config names and expects a trap in it; then a call without a
/// fault, which must work.
fn breakdown(plugin: &WasmPlugin, fault: &str, place: &str) -> (String, Vec<String>, String) {
    let config = json!({ "fault": fault, "at": place });
    let error = match place {
        "launch" => plugin.launch(&config, &model(), &at()).unwrap_err(),
        "encode" => plugin
            .encode(&config, &model(), &request(Api::Chat))
            .unwrap_err(),
        _ => plugin
            .decode(&config, &Response::new(200, b".\n", &[2]))
            .unwrap_err(),
    };
    let shown = error.to_string();
    assert_eq!(error.code(), "X0010", "{shown}");
    let Error::Trap {
        plugin: name,
        export,
        reason,
        log,
    } = error
    else {
        panic!("{shown}")
    };
    assert_eq!(name, "faulty");
    assert_eq!(export, if place == "new" { "decode" } else { place });
    assert!(
        shown.contains("`faulty`") && shown.contains(export),
        "{shown}"
    );
    let events = plugin
        .decode(&json!({}), &Response::new(200, b"a\n.\n", &[4]))
        .unwrap();
    assert_eq!(
        events.iter().map(|it| it.kind).collect::<Vec<_>>(),
        [EventKind::Text, EventKind::End]
    );
    (reason, log, shown)
}

#[test]
fn a_panic_in_any_call_is_told_with_its_words() {
    let plugin = faulty(Limits::default());
    for place in ["new", "launch", "encode", "decode"] {
        let (_, log, shown) = breakdown(&plugin, "panic", place);
        assert!(log[0].contains("asked to panic in `"), "{log:?}");
        assert!(log[0].contains("engine-faulty"), "names no place: {log:?}");
        assert!(shown.contains("it logged: "), "{shown}");
    }
}

#[test]
fn a_long_message_is_cut() {
    let (_, log, _) = breakdown(&faulty(Limits::default()), "long_panic", "decode");
    assert!(log[0].len() < 5_000, "{}", log[0].len());
    assert!(log[0].ends_with("é…"));
}

#[test]
fn a_trap_says_what_it_was() {
    let plugin = faulty(Limits::default());
    let (reason, log, _) = breakdown(&plugin, "trap", "decode");
    assert!(reason.contains("unreachable"), "{reason}");
    assert_eq!(log, [""; 0]);
    let (reason, ..) = breakdown(&plugin, "recursion", "encode");
    // Rust's guests keep large frames in linear memory, below address 0.
    assert!(
        reason.contains("stack") || reason.contains("out of bounds"),
        "{reason}"
    );
}

#[test]
fn an_endless_loop_is_stopped_in_time() {
    let plugin = faulty(Limits {
        time: Duration::from_millis(200),
        ..Limits::default()
    });
    for place in ["new", "launch", "encode", "decode"] {
        let start = Instant::now();
        let (reason, ..) = breakdown(&plugin, "loop", place);
        let took = start.elapsed();
        assert_eq!(reason, "it took longer than 200ms");
        assert!(took > Duration::from_millis(100), "{took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

#[test]
fn time_is_counted_for_each_call_alone() {
    let plugin = faulty(Limits {
        time: Duration::from_secs(2),
        ..Limits::default()
    });
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| {
            let config = json!({ "fault": "loop" });
            plugin
                .decode(&config, &Response::new(200, b"", &[]))
                .is_err()
        });
        while !stuck.is_finished() {
            plugin
                .decode(&json!({}), &Response::new(200, b"a\n", &[2]))
                .unwrap();
        }
        assert!(stuck.join().unwrap());
    });
}

#[test]
fn a_memory_eater_is_stopped_at_its_limit() {
    let plugin = faulty(Limits {
        memory: 8 << 20,
        ..Limits::default()
    });
    for place in ["launch", "decode"] {
        let (reason, ..) = breakdown(&plugin, "memory", place);
        assert_eq!(reason, "it needs more than its 8 MiB of memory");
    }
}

#[test]
fn a_huge_answer_arrives() {
    let plugin = faulty(Limits::default());
    let config = json!({ "fault": "huge" });
    let events = plugin
        .decode(&config, &Response::new(200, b".\n", &[2]))
        .unwrap();
    assert_eq!(events[0].text.len(), engine_faulty::HUGE);
    let config = json!({ "fault": "huge", "at": "encode" });
    let made = plugin
        .encode(&config, &model(), &request(Api::Chat))
        .unwrap();
    assert!(made.body.len() > engine_faulty::HUGE);
}

#[test]
fn errors_and_wrong_reads_are_told_apart() {
    let plugin = faulty(Limits::default());
    let decode = |fault: &str| {
        plugin
            .decode(
                &json!({ "fault": fault }),
                &Response::new(200, b"a\n", &[2]),
            )
            .unwrap_err()
    };
    let Error::Reported { error, .. } = decode("error") else {
        panic!()
    };
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Engine, "asked to fail")
    );
    let Error::Answer { export, reason, .. } = decode("read") else {
        panic!()
    };
    assert_eq!(export, "decode");
    assert!(reason.contains("read 1000 of 1"), "{reason}");
    let Error::Reported { error, .. } = decode("no such fault") else {
        panic!()
    };
    assert_eq!(error.kind, ErrorKind::InvalidConfig);
    let Err(Error::Unsupported { export, .. }) = plugin.render(&json!({}), "{}") else {
        panic!()
    };
    assert_eq!(export, "render");
}

#[test]
fn eight_threads_decode_at_once() {
    let plugin = faulty(Limits::default());
    let body: Vec<u8> = (0..500)
        .flat_map(|i| format!("t{i}\n").into_bytes())
        .collect();
    let ends: Vec<u32> = (1..=body.len() as u32).collect();
    let wanted = plugin
        .decode(&json!({}), &Response::new(200, &body, &ends))
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (plugin, body, ends, wanted) = (&plugin, &body, &ends, &wanted);
            scope.spawn(move || {
                for round in 0..25 {
                    if (thread + round) % 5 == 0 {
                        let config = json!({ "fault": "panic" });
                        assert!(
                            plugin
                                .decode(&config, &Response::new(200, body, ends))
                                .is_err()
                        );
                    }
                    assert_eq!(
                        &plugin
                            .decode(&json!({}), &Response::new(200, body, ends))
                            .unwrap(),
                        wanted
                    );
                }
            });
        }
    });
}

#[test]
fn the_component_conforms() {
    prony_plugin_test::Engine::new(&Hosted(&faulty(Limits::default())))
        .fixtures("tests/fixtures/lines")
        .samples(100)
        .check();
}

// The cache.

/// The one compiled file in a cache: its path, inode and mode.
fn compiled(cache: &Path) -> (PathBuf, u64, u32) {
    let files: Vec<_> = std::fs::read_dir(cache)
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    let [path] = &files[..] else {
        panic!("{files:?}")
    };
    let metadata = path.metadata().unwrap();
    (path.clone(), metadata.ino(), metadata.mode() & 0o777)
}

fn works(plugin: &WasmPlugin) {
    assert_eq!(plugin.describe().unwrap().name, "faulty");
    assert_eq!(
        plugin
            .decode(&json!({}), &Response::new(200, b".\n", &[2]))
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_component_is_compiled_once() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("new/cache");
    works(&load_from(&cache, Limits::default()));
    let first = compiled(&cache);
    let written = first.0.metadata().unwrap().modified().unwrap();
    assert_eq!(first.2, 0o600);
    works(&load_from(&cache, Limits::default()));
    assert_eq!(compiled(&cache), first);
    assert_eq!(first.0.metadata().unwrap().modified().unwrap(), written);
}

#[test]
fn a_damaged_cache_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    works(&load_from(folder.path(), Limits::default()));
    let (path, ..) = compiled(folder.path());
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let half = good[..good.len() / 2].to_vec();
    for bad in [
        b"no ELF".to_vec(),
        Vec::new(),
        half,
        good[..64].to_vec(),
        flipped,
    ] {
        std::fs::write(&path, bad).unwrap();
        works(&load_from(folder.path(), Limits::default()));
        let (_, _, mode) = compiled(folder.path());
        assert_eq!(mode, 0o600);
        assert!(std::fs::read(&path).unwrap() == good);
    }
}

#[test]
fn a_cache_that_others_could_write_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    works(&load_from(folder.path(), Limits::default()));
    for mode in [0o666, 0o660, 0o604] {
        let (path, before, _) = compiled(folder.path());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        works(&load_from(folder.path(), Limits::default()));
        let (_, after, mode) = compiled(folder.path());
        assert_ne!(before, after);
        assert_eq!(mode, 0o600);
    }
}

#[test]
fn a_cache_that_cannot_be_written_only_costs_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    works(&load_from(&file.join("cache"), Limits::default()));
}

#[test]
fn configs_cross_the_boundary_unchanged() {
    let plugin = faulty(Limits::default());
    for config in [
        json!(null),
        json!([1]),
        json!("\u{0}é"),
        json!({ "at": null }),
    ] {
        let result = plugin.decode(&config, &Response::new(200, b"", &[]));
        let Err(Error::Reported { error, .. }) = result else {
            panic!("{config}: {result:?}")
        };
        assert_eq!(error.kind, ErrorKind::InvalidConfig, "{config}");
    }
    assert_eq!(
        plugin
            .decode(&json!({}), &Response::new(200, b"", &[]))
            .unwrap(),
        []
    );
}
