//! The licences of the crates in the archive, which must be distributed with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use super::sbom::Dependencies;

/// Prefixes of the names of files with a licence or a notice.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"];

/// All third-party licences: a list of crates, then each text once, under the crates that
/// use it.
pub(super) fn text(dependencies: &Dependencies) -> Result<String> {
    let mut list = String::from("The crates that are part of prony, and their licences:\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for item in dependencies.crates().filter(|item| item.third_party) {
        let name = format!("{} {}", item.name, item.version);
        let licence = item.licence.as_deref().unwrap_or("see its licence file");
        writeln!(list, "  {name}: {licence}")?;
        let folder = fs::read_dir(&item.folder)
            .with_context(|| format!("cannot read {}", item.folder.display()))?;
        for entry in folder {
            let path = entry?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let upper = file.to_uppercase();
            if !path.is_file() || !NAMES.iter().any(|start| upper.starts_with(start)) {
                continue;
            }
            let text = fs::read(&path)?;
            let text = String::from_utf8_lossy(&text).trim().replace("\r\n", "\n");
            texts.entry(text).or_default().push(name.clone());
        }
    }
    for (text, mut crates) in texts {
        crates.sort_unstable();
        crates.dedup();
        write!(
            list,
            "\n{}\n{}\n\n{text}\n",
            "-".repeat(80),
            crates.join(", ")
        )?;
    }
    Ok(list)
}
