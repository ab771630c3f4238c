//! The plugins of this repository, as declared in their manifests.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::workspace::Workspace;

/// Form in which a plugin is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// A sandboxed WebAssembly component.
    Wasm,
    /// A native library, for an in-process engine.
    Native,
}

impl Form {
    /// Name of the file that cargo makes from a crate.
    pub(crate) fn file(self, package: &str) -> String {
        let name = package.replace('-', "_");
        match self {
            Self::Wasm => format!("{name}.wasm"),
            Self::Native => format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"),
        }
    }
}

/// Audience of a plugin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Audience {
    /// Users: it ships with prony.
    Users,
    /// Only the tests.
    Tests,
}

/// A crate with a table `[package.metadata.prony]`, in which `ships = "wasm"` or
/// `ships = "native"` makes it a plugin that ships, and `tests = "wasm"` one that only
/// tests load.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plugin {
    /// Name of the crate.
    pub(crate) package: String,
    pub(crate) form: Form,
    pub(crate) audience: Audience,
}

/// Lists the plugins in the workspace's order.
///
/// # Errors
///
/// If a table has any other content.
pub(crate) fn plugins(workspace: &Workspace) -> Result<Vec<Plugin>> {
    read(&workspace.packages)
}

fn read(packages: &[Value]) -> Result<Vec<Plugin>> {
    let mut plugins = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(table) = package["metadata"]["prony"].as_object() else {
            continue;
        };
        let only = match table.iter().collect::<Vec<_>>()[..] {
            [(key, value)] => (key.as_str(), value.as_str()),
            _ => ("", None),
        };
        let (audience, form) = match only {
            ("ships", Some("wasm")) => (Audience::Users, Form::Wasm),
            ("ships", Some("native")) => (Audience::Users, Form::Native),
            ("tests", Some("wasm")) => (Audience::Tests, Form::Wasm),
            _ => bail!(
                "`package.metadata.prony` of `{name}` must be `ships = \"wasm\"`, \
                 `ships = \"native\"` or `tests = \"wasm\"`"
            ),
        };
        plugins.push(Plugin {
            package: name.to_owned(),
            form,
            audience,
        });
    }
    Ok(plugins)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn manifests_say_what_ships() {
        let packages = [
            json!({ "name": "prony-cli", "metadata": null }),
            json!({ "name": "engine-a", "metadata": { "prony": { "ships": "native" } } }),
            json!({ "name": "engine-b", "metadata": { "prony": { "tests": "wasm" }, "docs": 1 } }),
        ];
        let found = read(&packages).expect("all three are understood");
        let found: Vec<_> = found
            .iter()
            .map(|plugin| (plugin.form.file(&plugin.package), plugin.audience))
            .collect();
        assert_eq!(
            found,
            [
                (format!("{DLL_PREFIX}engine_a{DLL_SUFFIX}"), Audience::Users),
                ("engine_b.wasm".to_owned(), Audience::Tests),
            ]
        );
    }

    #[test]
    fn a_table_that_says_nothing_known_is_an_error() {
        for table in [
            json!({}),
            json!({ "ships": true }),
            json!({ "ships": "dylib" }),
            json!({ "ships": "wasm", "tests": "wasm" }),
        ] {
            let package = json!({ "name": "engine-a", "metadata": { "prony": table } });
            let error = read(&[package]).expect_err("unknown");
            assert!(error.to_string().contains("engine-a"), "{error}");
        }
    }
}
