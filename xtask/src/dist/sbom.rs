//! The contents of the archive, according to cargo, and their bill of materials.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::plugins::Plugin;
use crate::shell;
use crate::workspace::Workspace;

/// A crate in the archive.
#[derive(Debug, PartialEq)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
    /// An SPDX expression, if the crate declares one.
    pub(super) licence: Option<String>,
    /// Folder of its source.
    pub(super) folder: PathBuf,
    /// `true` if it is not part of this repository.
    pub(super) third_party: bool,
    /// SHA-256 of the package in the lock file, in hexadecimal.
    checksum: Option<String>,
    /// Package URLs of the crates it links.
    uses: BTreeSet<String>,
}

/// All crates linked into the archive's files.
pub(super) struct Dependencies {
    /// Package URLs of prony and the plugins.
    roots: BTreeSet<String>,
    /// By package URL.
    crates: BTreeMap<String, Crate>,
}

impl Dependencies {
    /// Asks cargo what prony and `plugins` link on any of `targets`. Omits crates used
    /// only by build scripts and tests.
    pub(super) fn read(
        workspace: &Workspace,
        plugins: &[Plugin],
        targets: &[&str],
    ) -> Result<Self> {
        let mut cargo = workspace.cargo("metadata");
        cargo.args(["--format-version=1", "--locked"]);
        for target in targets {
            cargo.args(["--filter-platform", target]);
        }
        let metadata: Value = serde_json::from_slice(&shell::output(&mut cargo)?)?;
        let lock = fs::read_to_string(workspace.root.join("Cargo.lock"))?;
        let mut roots = vec!["prony-cli"];
        roots.extend(plugins.iter().map(|plugin| plugin.package.as_str()));
        Self::from_metadata(&metadata, &checksums(&lock), &roots)
    }

    fn from_metadata(
        metadata: &Value,
        checksums: &BTreeMap<(&str, &str), &str>,
        roots: &[&str],
    ) -> Result<Self> {
        let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
        let by_id = |values: Vec<Value>| -> BTreeMap<String, Value> {
            let id = |value: &Value| value["id"].as_str().unwrap_or_default().to_owned();
            values
                .into_iter()
                .map(|value| (id(&value), value))
                .collect()
        };
        let packages = by_id(list(&metadata["packages"]));
        let nodes = by_id(list(&metadata["resolve"]["nodes"]));
        let mut found = BTreeMap::new();
        let mut open: Vec<&str> = packages
            .iter()
            .filter(|(_, package)| {
                package["source"].is_null()
                    && roots.contains(&package["name"].as_str().unwrap_or_default())
            })
            .map(|(id, _)| id.as_str())
            .collect();
        let roots = open.iter().map(|id| package_url(&packages[*id])).collect();
        let mut seen: BTreeSet<&str> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            let package = packages
                .get(id)
                .with_context(|| format!("cargo metadata has no package `{id}`"))?;
            let linked = nodes.get(id).map(|node| &node["deps"]).map_or(
                Vec::new(),
                |dependencies: &Value| match dependencies {
                    Value::Array(dependencies) => dependencies
                        .iter()
                        .filter(|dependency| is_linked(dependency))
                        .filter_map(|dependency| dependency["pkg"].as_str())
                        .collect(),
                    _ => Vec::new(),
                },
            );
            let (url, mut item) = read_crate(package, checksums)?;
            for id in linked {
                let Some(package) = packages.get(id).filter(|package| !is_macro(package)) else {
                    continue;
                };
                item.uses.insert(package_url(package));
                if seen.insert(id) {
                    open.push(id);
                }
            }
            found.insert(url, item);
        }
        Ok(Self {
            roots,
            crates: found,
        })
    }

    /// The crates by name and version.
    pub(super) fn crates(&self) -> impl Iterator<Item = &Crate> {
        self.crates.values()
    }

    /// The source folders of third parties, without duplicates.
    pub(super) fn source_folders(&self) -> BTreeSet<PathBuf> {
        self.crates()
            .filter(|item| item.third_party)
            .filter_map(|item| item.folder.parent().map(Path::to_owned))
            .collect()
    }

    /// The bill of materials, in the form of `CycloneDX` 1.5
    /// (<https://cyclonedx.org/docs/1.5/json/>).
    pub(super) fn sbom(&self, version: &str) -> Value {
        let components: Vec<Value> = self
            .crates
            .iter()
            .map(|(url, item)| {
                let mut component = json!({
                    "type": "library",
                    "bom-ref": url,
                    "name": item.name,
                    "version": item.version,
                    "purl": url,
                });
                if let Some(licence) = &item.licence {
                    component["licenses"] = json!([{ "expression": licence }]);
                }
                if let Some(checksum) = &item.checksum {
                    component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
                }
                component
            })
            .collect();
        let whole = json!({ "ref": "prony", "dependsOn": self.roots });
        let dependencies: Vec<Value> = std::iter::once(whole)
            .chain(
                self.crates
                    .iter()
                    .map(|(url, item)| json!({ "ref": url, "dependsOn": item.uses })),
            )
            .collect();
        json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "application",
                    "bom-ref": "prony",
                    "name": "prony",
                    "version": version,
                },
            },
            "components": components,
            "dependencies": dependencies,
        })
    }
}

/// Returns `true` for a dependency of the crate itself, not of its build script or its
/// tests.
fn is_linked(dependency: &Value) -> bool {
    dependency["dep_kinds"]
        .as_array()
        .is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
}

/// Returns `true` for a crate that runs only in the compiler.
fn is_macro(package: &Value) -> bool {
    package["targets"].as_array().is_some_and(|targets| {
        targets.iter().any(|target| {
            target["kind"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind == "proc-macro"))
        })
    })
}

fn package_url(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    // A `+` would be read as a space.
    let version = text("version").replace('+', "%2B");
    format!("pkg:cargo/{}@{version}", text("name"))
}

fn read_crate(
    package: &Value,
    checksums: &BTreeMap<(&str, &str), &str>,
) -> Result<(String, Crate)> {
    let text = |key: &str| {
        package[key]
            .as_str()
            .with_context(|| format!("a package of cargo metadata has no `{key}`"))
    };
    let (name, version) = (text("name")?, text("version")?);
    let manifest = Path::new(text("manifest_path")?);
    Ok((
        package_url(package),
        Crate {
            name: name.to_owned(),
            version: version.to_owned(),
            // An older spelling of `OR` in cargo.
            licence: package["license"]
                .as_str()
                .map(|licence| licence.split('/').map(str::trim).collect::<Vec<_>>())
                .map(|licences| licences.join(" OR ")),
            folder: manifest.parent().unwrap_or(manifest).to_owned(),
            third_party: !package["source"].is_null(),
            checksum: checksums
                .get(&(name, version))
                .map(|checksum| (*checksum).to_owned()),
            uses: BTreeSet::new(),
        },
    ))
}

/// The checksums in a cargo lock file, by name and version. Only cargo writes it, always
/// in the same form, so reading its lines suffices.
fn checksums(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let value = |key: &str| {
            package.lines().find_map(|line| {
                line.strip_prefix(key)?
                    .strip_prefix(" = \"")?
                    .strip_suffix('"')
            })
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (value("name"), value("version"), value("checksum"))
        {
            found.insert((name, version), checksum);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, source: Option<&str>, kind: &str) -> Value {
        json!({
            "id": name,
            "name": name,
            "version": "1.0.0+x",
            "source": source,
            "license": "MIT/Apache-2.0",
            "manifest_path": format!("/src/{name}/Cargo.toml"),
            "targets": [{ "kind": [kind] }],
        })
    }

    fn uses(name: &str, kind: Option<&str>) -> Value {
        json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] })
    }

    #[test]
    fn what_is_linked_is_in_the_bill_and_nothing_else() {
        let metadata = json!({
            "packages": [
                package("prony-cli", None, "bin"),
                package("a", Some("registry"), "lib"),
                package("b", Some("registry"), "lib"),
                package("derive", Some("registry"), "proc-macro"),
                package("script", Some("registry"), "lib"),
                package("other", None, "lib"),
            ],
            "resolve": { "nodes": [
                { "id": "prony-cli", "deps": [
                    uses("a", None), uses("derive", None), uses("other", Some("dev")),
                ] },
                { "id": "a", "deps": [uses("b", None), uses("script", Some("build"))] },
                { "id": "b", "deps": [uses("a", None)] },
            ] },
        });
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0+x\"\nchecksum = \"12ab\"\n\
                    \n[[package]]\nname = \"prony-cli\"\nversion = \"1.0.0+x\"\n";
        let found = Dependencies::from_metadata(&metadata, &checksums(lock), &["prony-cli"])
            .expect("the metadata is complete");

        let sbom = found.sbom("0.1.0");
        let component = |url: &str| {
            let components = sbom["components"].as_array().expect("a list");
            components.iter().find(|c| c["bom-ref"] == url).cloned()
        };
        assert_eq!(sbom["components"].as_array().map(Vec::len), Some(3));
        assert_eq!(
            component("pkg:cargo/a@1.0.0%2Bx"),
            Some(json!({
                "type": "library",
                "bom-ref": "pkg:cargo/a@1.0.0%2Bx",
                "name": "a",
                "version": "1.0.0+x",
                "purl": "pkg:cargo/a@1.0.0%2Bx",
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
                "hashes": [{ "alg": "SHA-256", "content": "12ab" }],
            }))
        );
        assert_eq!(
            sbom["dependencies"][0],
            json!({ "ref": "prony", "dependsOn": ["pkg:cargo/prony-cli@1.0.0%2Bx"] })
        );
        assert_eq!(
            sbom["dependencies"][3],
            json!({
                "ref": "pkg:cargo/prony-cli@1.0.0%2Bx",
                "dependsOn": ["pkg:cargo/a@1.0.0%2Bx"],
            })
        );
        assert_eq!(
            found.source_folders().into_iter().collect::<Vec<_>>(),
            [PathBuf::from("/src")]
        );
    }
}
