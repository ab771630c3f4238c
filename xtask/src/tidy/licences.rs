//! Licences of third-party crates: each is one that `deny.toml` allows, by the same list that
//! cargo-deny reads.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Finding, SourceFile, line_of};
use crate::shell;

const POLICY: &str = "deny.toml";

pub(super) fn check(files: &[SourceFile]) -> Result<Vec<Finding>> {
    let Some(policy) = files.iter().find(|file| file.path == POLICY) else {
        return Ok(vec![Finding::new(POLICY, 1, "the file is missing")]);
    };
    let metadata = shell::output(Command::new("cargo").args([
        "metadata",
        "--format-version=1",
        "--all-features",
        "--locked",
        "--offline",
    ]))?;
    let metadata: Value = serde_json::from_slice(&metadata)?;
    let packages = metadata["packages"].as_array();
    Ok(findings(
        policy,
        packages.context("cargo names no packages")?,
    ))
}

fn findings(policy: &SourceFile, packages: &[Value]) -> Vec<Finding> {
    let allowed = allowed(&policy.text);
    let line = line_of(&policy.text, "allow = [");
    let third_party = packages
        .iter()
        .filter(|package| package["source"].is_string());
    third_party
        .filter_map(|package| {
            let licence = package["license"].as_str().unwrap_or("no licence");
            let name = package["name"].as_str().unwrap_or_default();
            (!is_allowed(licence, &allowed)).then(|| {
                let message = format!("`{name}` has the licence `{licence}`, which is not allowed");
                Finding::new(POLICY, line, message)
            })
        })
        .collect()
}

/// The texts of the list `allow`.
fn allowed(policy: &str) -> Vec<&str> {
    let list = policy.split("allow = [").nth(1).unwrap_or_default();
    let list = list.split(']').next().unwrap_or_default();
    list.split('"').skip(1).step_by(2).collect()
}

/// Evaluates an SPDX expression, and the `A/B` of old manifests.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ");
    let spaced = spaced.replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().collect();
    words.reverse();
    let held = any(&mut words, allowed);
    held && words.is_empty()
}

/// `all [OR all]...`
fn any(words: &mut Vec<&str>, allowed: &[&str]) -> bool {
    let mut held = all(words, allowed);
    while words.pop_if(|word| *word == "OR").is_some() {
        held |= all(words, allowed);
    }
    held
}

/// `one [AND one]...`
fn all(words: &mut Vec<&str>, allowed: &[&str]) -> bool {
    let mut held = one(words, allowed);
    while words.pop_if(|word| *word == "AND").is_some() {
        held &= one(words, allowed);
    }
    held
}

/// `(any)`, `LICENCE` or `LICENCE WITH EXCEPTION`
fn one(words: &mut Vec<&str>, allowed: &[&str]) -> bool {
    match words.pop() {
        Some("(") => any(words, allowed) & (words.pop() == Some(")")),
        Some(licence) => {
            let exception = words
                .pop_if(|word| *word == "WITH")
                .and_then(|_| words.pop());
            match exception {
                Some(exception) => allowed.contains(&&*format!("{licence} WITH {exception}")),
                None => allowed.contains(&licence),
            }
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_of_licences() {
        let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "ISC"];
        for (expression, expected) in [
            ("MIT", true),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0/MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 AND MIT", false),
            ("Apache-2.0 AND ISC", true),
            ("(GPL-3.0 OR MIT) AND BSD-3-Clause", false),
            ("(GPL-3.0 OR MIT) AND ISC", true),
            ("GPL-3.0 OR MIT AND ISC", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH other-exception", false),
            ("(MIT", false),
            ("MIT MIT", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
        }
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_found() {
        let policy = SourceFile {
            path: POLICY.to_owned(),
            text: "\n[licenses]\nallow = [\n  \"MIT\",\n]\n".to_owned(),
        };
        let package = |name: &str, licence: Value, source: Value| json!({ "name": name, "license": licence, "source": source });
        let packages = [
            package("own", json!("GPL-3.0"), Value::Null),
            package("good", json!("MIT"), json!("registry")),
            package("bad", json!("GPL-3.0"), json!("registry")),
            package("none", Value::Null, json!("registry")),
        ];
        let found = findings(&policy, &packages);
        let found: Vec<(usize, &str)> = found.iter().map(|it| (it.line, &*it.message)).collect();
        assert_eq!(
            found,
            [
                (3, "`bad` has the licence `GPL-3.0`, which is not allowed"),
                (
                    3,
                    "`none` has the licence `no licence`, which is not allowed"
                ),
            ]
        );
    }
}
