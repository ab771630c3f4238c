//! Imports beyond the contract, found without compiling, and their usual causes.
//!
//! [`super::WasmHost::load`] asks the compiled component again: that check is the sandbox. This one
//! comes first, since compiling a large guest takes half a minute.

use wasmparser::{Parser, Payload};

/// The imports of a module or component that a plugin may not use. Of bytes that cannot be read,
/// those before the damage; what compiles or joins them says what is wrong.
pub(crate) fn beyond_contract(bytes: &[u8]) -> Vec<String> {
    found(bytes, &|name, is_module| {
        if is_module {
            !name.starts_with("prony:plugin/")
        } else {
            !super::may_import(name)
        }
    })
}

/// All imports of a module or component, as far as it can be read.
pub fn imports(bytes: &[u8]) -> Vec<String> {
    found(bytes, &|_, _| true)
}

/// The imports that are `wanted`, by the name of the import of a component or of the module that
/// a module imports from.
fn found(bytes: &[u8], wanted: &dyn Fn(&str, bool) -> bool) -> Vec<String> {
    let mut imports = Vec::new();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            // Modules inside a component get what it gives them.
            Ok(Payload::ComponentImportSection(reader)) if depth == 0 => {
                let names = reader.into_iter().flatten().map(|it| it.name.name);
                imports.extend(names.filter(|it| wanted(it, false)).map(str::to_owned));
            }
            Ok(Payload::ImportSection(reader)) if depth == 0 => {
                let names = reader.into_imports().flatten();
                let names = names.filter(|it| wanted(it.module, true));
                imports.extend(names.map(|it| format!("{}#{}", it.module, it.name)));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    imports
}

/// Parts of the names of imports, and what brings them into a plugin.
const CAUSES: [(&str, &str); 12] = [
    ("__wbindgen", "a crate that is made for browsers"),
    ("random", "random numbers"),
    ("clock", "a clock or a sleep"),
    ("poll", "printing, a clock or a sleep"),
    ("environ", "environment variables"),
    ("args", "arguments of a program"),
    ("fd_write", "printing, or a failed assertion"),
    ("std", "printing, or standard input"),
    ("exit", "the end of the process"),
    ("socket", "sockets"),
    ("http", "HTTP, which prony speaks for a plugin"),
    ("env#", "a function that is declared and nowhere defined"),
];

/// What the imports come from, as far as their names tell, and the way out in each language.
pub(crate) fn causes(imports: &[String]) -> String {
    let mut found: Vec<&str> = Vec::new();
    for import in imports {
        let cause = CAUSES.iter().find(|(part, _)| import.contains(part));
        let files = ["fd_", "path_", "filesystem"];
        let cause = match cause {
            Some((_, cause)) => cause,
            None if files.iter().any(|part| import.contains(part)) => "files",
            None => continue,
        };
        if !found.contains(&cause) {
            found.push(cause);
        }
    }
    let from = match found.as_slice() {
        [] => String::new(),
        found => format!("it comes from: {}; ", found.join(", ")),
    };
    format!(
        "{from}in Rust build for wasm32-unknown-unknown, without WASI; in C leave these calls out, and `printf` and `assert` too; in Python and JavaScript let `prony plugin build` build it, which leaves WASI out"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(wat: &str) -> Vec<String> {
        beyond_contract(&wat::parse_str(wat).expect("it is right"))
    }

    #[test]
    fn imports_of_modules_and_components_are_named() {
        let module = of(r#"(module
            (import "prony:plugin/log@0.2.0" "log" (func))
            (import "wasi_snapshot_preview1" "fd_write" (func))
            (import "env" "helper" (func)))"#);
        assert_eq!(module, ["wasi_snapshot_preview1#fd_write", "env#helper"]);
        let component = of(r#"(component
            (import "wasi:io/poll@0.2.0" (instance))
            (import "prony:plugin/types@0.2.0" (instance))
            (core module (import "inside" "f" (func)))
            (import "wasi:random/random@0.2.0" (instance)))"#);
        assert_eq!(
            component,
            ["wasi:io/poll@0.2.0", "wasi:random/random@0.2.0"]
        );
    }

    #[test]
    fn a_cause_is_told_once() {
        let imports = [
            "wasi_snapshot_preview1#fd_write",
            "wasi_snapshot_preview1#fd_read",
            "env#helper",
        ];
        let words = causes(&imports.map(str::to_owned));
        assert!(
            words.starts_with("it comes from: printing, or a failed assertion, files, a function"),
            "{words}"
        );
        assert!(causes(&["unheard:of/it".to_owned()]).starts_with("in Rust"));
    }
}
