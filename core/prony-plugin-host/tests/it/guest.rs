//! Components written by hand, to answer what no SDK would.

use crate::support::core_module;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A guest with fixed answers.
pub(crate) struct Guest {
    pub(crate) manifest: Vec<u8>,
    /// Body of every request.
    pub(crate) body: Vec<u8>,
    /// Read, kind, tokens, and start and length of the text of an event.
    pub(crate) event: [u32; 5],
    /// Start and length of the list of events.
    pub(crate) events: [u32; 2],
    /// More of the module.
    pub(crate) extra: &'static str,
}

/// Where the event lies.
pub(crate) const EVENT: u32 = 128;

impl Guest {
    /// Nothing wrong with it.
    pub(crate) fn new() -> Self {
        Self {
            manifest: manifest("garbage", "engine").into_bytes(),
            body: b"{}".to_vec(),
            event: [0, 0, 1, 600, 3],
            events: [EVENT, 1],
            extra: "",
        }
    }

    /// As a core module, which `add` turns into a component.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let [describe, encode, decode] = [16, 32, 112];
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        let [read, kind, tokens, text, length] = self.event;
        // In the middle the time, which lies at a multiple of 8.
        let event = [read, kind, tokens, 0, 0, 0, text, length];
        let (manifest, body) = (self.manifest.len() as u32, self.body.len() as u32);
        let data = [
            (describe, words(&[1024, manifest])),
            (encode, words(&[0, 600, 3, 604, 1, 0, 0, 700, body])),
            (decode, words(&[0, self.events[0], self.events[1]])),
            (EVENT, words(&event)),
            (600, b"GET /".to_vec()),
            (700, self.body.clone()),
            (1024, self.manifest.clone()),
        ];
        let mut segments = String::new();
        for (at, bytes) in data {
            let escaped = bytes.iter().fold(String::new(), |mut text, byte| {
                write!(text, "\\{byte:02x}").unwrap();
                text
            });
            writeln!(segments, "(data (i32.const {at}) \"{escaped}\")").unwrap();
        }
        let twelve = "i32 ".repeat(12);
        let module = format!(
            r#"(module
                (memory (export "memory") 2)
                (global $free (mut i32) (i32.const 65536))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and
                        (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
                    (global.set $free (i32.add (local.get $at) (local.get 3)))
                    (local.get $at))
                (func (export "prony:plugin/engine@1.0.0#describe") (result i32)
                    (i32.const {describe}))
                (func (export "prony:plugin/engine@1.0.0#launch") (param {twelve}) (result i32)
                    unreachable)
                (func (export "prony:plugin/engine@1.0.0#encode") (param i32) (result i32)
                    (i32.const {encode}))
                (func (export "prony:plugin/engine@1.0.0#decode")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                    (i32.const {decode}))
                {segments}
                {extra}
            )"#,
            extra = self.extra,
        );
        let mut bytes = wat::parse_str(module).unwrap();
        bytes.extend(component_type(
            &std::fs::read(core_module("engine-faulty")).unwrap(),
        ));
        let path = folder.join("guest.wasm");
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

pub(crate) fn manifest(name: &str, kind: &str) -> String {
    serde_json::json!({
        "name": name, "kind": kind, "version": "1.0.0", "description": "x",
        "transport": "http", "config_schema": {},
    })
    .to_string()
}

/// The custom section that says which world a core module was built for, taken
/// from one that the SDK has built.
fn component_type(module: &[u8]) -> Vec<u8> {
    fn number(bytes: &[u8]) -> (usize, usize) {
        let (mut value, mut length) = (0, 0);
        for byte in bytes {
            value |= usize::from(byte & 0x7f) << (7 * length);
            length += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        (value, length)
    }
    let mut at = 8;
    while at < module.len() {
        let (size, width) = number(&module[at + 1..]);
        let (start, end) = (at + 1 + width, at + 1 + width + size);
        let (name, width) = number(&module[start..]);
        let name = &module[start + width..][..name.min(size)];
        let is_of_world = name.windows(13).any(|part| part == b"engine-plugin");
        if module[at] == 0 && name.starts_with(b"component-type") && is_of_world {
            return module[at..end].to_vec();
        }
        at = end;
    }
    panic!("no `component-type` section");
}
