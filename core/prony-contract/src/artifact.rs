//! Rules for the files of reporters.

use crate::Artifact;

/// Files of a reporter, at most.
pub const MAX_FILES: usize = 100;
/// Bytes of a reporter, at most.
pub const MAX_BYTES: usize = 256 << 20;
/// Characters of a file's name, at most.
pub const MAX_NAME: usize = 100;
/// prony's own names in the folder of a run.
pub const OWN: [&str; 8] = [
    "answers.bin",
    "answers.damaged",
    "attestation.json",
    "attestation.test-result.json",
    "failed",
    "journal.jsonl",
    "logs",
    "pipeline.yaml",
];

/// The reason why a reporter may not write a file of this name, and the way out.
pub fn file_name_problem(name: &str) -> Option<String> {
    if !is_file_name(name) {
        return Some(format!(
            "`{}` is not a name that a reporter may write: letters, digits, `.`, `_` and `-` are, in at most {MAX_NAME} characters that begin with a letter or a digit",
            name.escape_debug()
        ));
    }
    let lower = name.to_ascii_lowercase();
    (OWN.contains(&&*lower) || lower == "stdout")
        .then(|| format!("`{name}` is not a name that a reporter may write: it is prony's own"))
}

/// The reason why the artifacts of one reporter cannot be kept together.
pub fn artifacts_problem(artifacts: &[Artifact]) -> Option<String> {
    let bytes: usize = artifacts.iter().map(|it| it.bytes.len()).sum();
    if artifacts.len() > MAX_FILES || bytes > MAX_BYTES {
        return Some(format!(
            "it made {} files of {} MiB: {MAX_FILES} files and {} MiB are the most",
            artifacts.len(),
            bytes >> 20,
            MAX_BYTES >> 20
        ));
    }
    let mut seen = std::collections::HashSet::new();
    artifacts
        .iter()
        .filter(|it| it.name != "stdout")
        .find_map(|Artifact { name, .. }| {
            file_name_problem(name).or_else(|| {
                // Some file systems do not tell cases apart.
                let is_new = seen.insert(name.to_ascii_lowercase());
                (!is_new).then(|| {
                    format!("`{name}` is a file that a reporter has written already, or is so where upper and lower case are the same")
                })
            })
        })
}

/// Returns `true` for a name that means the same file on every system.
pub fn is_file_name(name: &str) -> bool {
    /// Devices of Windows, with any extension.
    const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];
    let stem = name.split('.').next().unwrap_or_default();
    let stem = stem.trim_end_matches(|end: char| end.is_ascii_digit());
    let is_device = DEVICES.contains(&&*stem.to_ascii_lowercase());
    (1..=MAX_NAME).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !name.ends_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && !is_device
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_a_closed_alphabet() {
        for name in ["report.md", "a", "A-b_c.1.json", "console.txt"] {
            assert!(is_file_name(name), "{name}");
        }
        let long = "a".repeat(MAX_NAME + 1);
        for name in [
            "",
            ".",
            "..",
            ".hidden",
            "-rf",
            "a/b",
            "/a",
            "a b",
            "a\n",
            "\u{1b}[2J",
            "a.",
            "é",
            "NUL",
            "com1.txt",
            "a:b",
            "a\\b",
            &long,
        ] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }
}
