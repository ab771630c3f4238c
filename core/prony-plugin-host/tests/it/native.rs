//! The native form: libraries in C, good and bad ones, and a linked plugin.

use crate::support::{Hosted, at, model, request};
use prony_contract::{Api, Response};
use prony_plugin_host::{Error, NativePlugin, Plugin};
use serde_json::json;
use std::env::consts::DLL_EXTENSION;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `tests/fixtures/plugin.c`; `wrong` names what it gets wrong.
pub(crate) fn library(folder: &Path, wrong: Option<&str>) -> PathBuf {
    let library = folder.join(format!("{}.{DLL_EXTENSION}", wrong.unwrap_or("lines")));
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-O1", "-shared", "-fPIC", "-fvisibility=hidden"]);
    match wrong {
        None => cc.args(["-Wall", "-Wextra", "-Werror", "-pedantic"]),
        // Being wrong is the point.
        Some(wrong) => cc.arg("-w").arg(format!("-D{wrong}")),
    };
    let output = cc
        .args([
            "-I",
            "../../schemas/include",
            "tests/fixtures/plugin.c",
            "-o",
        ])
        .arg(&library)
        .output()
        .expect("`cc` compiles the C plugin: install a C compiler");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    library
}

#[test]
fn a_plugin_in_c_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = NativePlugin::open(&library(folder.path(), None)).unwrap();
    prony_plugin_test::Engine::new(&Hosted(&plugin))
        .fixtures("tests/fixtures/lines")
        .check();
    let error = plugin
        .launch(&json!({ "a": 1 }), &model(), &at())
        .unwrap_err();
    assert_eq!(error.to_string(), "plugin `lines`: there are no options");
    let problems = plugin.check(&json!({ "a": 1 })).unwrap();
    assert_eq!(problems, [], "it has no check, as older plugins");
    let error = plugin.render(&json!({}), "{}").unwrap_err();
    assert!(
        matches!(
            error,
            Error::Unsupported {
                export: "render",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn wrong_tables_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (wrong, words) in [
        ("NO_SYMBOL", "it does not export `prony_plugin`"),
        ("NO_SYMBOL", "feature `export`"),
        ("UNDEFINED", "defined_nowhere"),
        ("NULL_TABLE", "`prony_plugin` returned no table"),
        ("BAD_MAGIC", "the magic number"),
        ("SHORT_TABLE", "another size than the contract's"),
        ("OTHER_EVENT", "another size than the contract's"),
    ] {
        let error = NativePlugin::open(&library(folder.path(), Some(wrong)))
            .err()
            .unwrap();
        assert!(
            matches!(error, Error::NotAPlugin { .. }),
            "{wrong}: {error}"
        );
        let text = error.to_string();
        assert!(text.contains(words) && text.contains(wrong), "{text}");
    }
    let error = NativePlugin::open(&library(folder.path(), Some("CONTRACT_9")))
        .err()
        .unwrap();
    assert!(matches!(error, Error::Contract { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("contract 9.0") && text.contains("speaks 1.0"),
        "{text}"
    );
    let error = NativePlugin::open(&library(folder.path(), Some("NO_CALL")))
        .err()
        .unwrap();
    assert!(
        matches!(
            error,
            Error::Unsupported {
                export: "describe",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn answers_that_cannot_be_read_are_the_plugins_fault() {
    let folder = tempfile::tempdir().unwrap();
    let open = |wrong| NativePlugin::open(&library(folder.path(), Some(wrong)));
    let answer = |error: Error, export: &str, words: &str| {
        let shown = error.to_string();
        let Error::Answer {
            export: place,
            reason,
            ..
        } = error
        else {
            panic!("{shown}")
        };
        assert_eq!(place, export);
        assert!(reason.contains(words), "{reason}");
    };
    answer(open("DESCRIBE_GARBAGE").err().unwrap(), "describe", "EOF");
    for (wrong, words) in [
        ("BAD_KIND", "event kind 99"),
        ("BAD_READ", "read 1000 of 1"),
        ("STRANGE_CODE", "return code 42"),
    ] {
        let plugin = open(wrong).unwrap();
        let error = plugin
            .decode(&json!({}), &Response::new(200, b"a\n", &[2]))
            .unwrap_err();
        answer(error, "decode", words);
    }
    let plugin = open("NO_MESSAGE").unwrap();
    let error = plugin
        .encode(&json!({}), &model(), &request(Api::Chat))
        .unwrap_err();
    answer(error, "encode", "without a message");
}

#[test]
fn files_that_are_no_libraries_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for bytes in [&b""[..], b"text", b"\x7fELF\x02\x01\x01 and no more"] {
        std::fs::write(&path, bytes).unwrap();
        let error = NativePlugin::open(&path).err().unwrap();
        assert!(matches!(error, Error::NotAPlugin { .. }), "{error}");
    }
    let error = NativePlugin::open(&folder.path().join("none"))
        .err()
        .unwrap();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn a_linked_plugin_works_and_its_panic_is_caught() {
    let plugin = NativePlugin::linked(&engine_faulty::PLUGIN).unwrap();
    for place in ["new", "launch", "encode", "decode"] {
        let config = json!({ "fault": "panic", "at": place });
        let error = match place {
            "launch" => plugin.launch(&config, &model(), &at()).unwrap_err(),
            "encode" => plugin
                .encode(&config, &model(), &request(Api::Chat))
                .unwrap_err(),
            _ => plugin
                .decode(&config, &Response::new(200, b"", &[]))
                .unwrap_err(),
        };
        let shown = error.to_string();
        let Error::Trap {
            plugin: name,
            export,
            reason,
            ..
        } = error
        else {
            panic!("{shown}")
        };
        assert_eq!(name, "faulty");
        assert_eq!(export, if place == "new" { "decode" } else { place });
        assert!(reason.contains("asked to panic in `"), "{reason}");
        assert_eq!(
            plugin
                .decode(&json!({}), &Response::new(200, b".\n", &[2]))
                .unwrap()
                .len(),
            1
        );
    }
    let error = plugin
        .decode(
            &json!({ "fault": "read" }),
            &Response::new(200, b"a\n", &[2]),
        )
        .unwrap_err();
    assert!(matches!(error, Error::Answer { .. }), "{error}");
    prony_plugin_test::Engine::new(&engine_faulty::PLUGIN)
        .fixtures("tests/fixtures/lines")
        .check();
}
