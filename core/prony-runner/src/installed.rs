//! Engines that prony installed, each in a Python environment of its own in the cache folder.

use prony_contract::Packages;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the record in an environment, which is written last: an environment without one is
/// not whole.
pub const RECORD: &str = "prony.json";
/// Folder of an environment with the clone of a repository.
pub const SOURCE: &str = "source";

/// The record of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The engine's packages and their places, of this system only.
    pub packages: Packages,
}

impl Installed {
    /// The whole environment of an engine, by the name of its plugin; `None` if there is none.
    pub fn of(cache: &Path, engine: &str) -> Option<Self> {
        let record = fs::read(folder(cache, engine).join(RECORD)).ok()?;
        serde_json::from_slice(&record).ok()
    }

    /// The commit of the repository, if there is one, and every package in an environment with
    /// its version, for example `mlx-lm==0.32.2`: as they are now, since others may have
    /// changed them.
    pub fn versions(&self, environment: &Path) -> Vec<String> {
        let repository = self.packages.repository.iter().map(|it| {
            let head = fs::read_to_string(environment.join(SOURCE).join(".git/HEAD"));
            let head = head.unwrap_or_default();
            // A branch, if it is not at a commit: `ref: refs/heads/main`.
            format!("{}@{}", it.url, head.trim().trim_start_matches("ref: "))
        });
        repository.chain(versions(environment)).collect()
    }
}

/// Folder of everything that was installed for engines.
pub fn engines(cache: &Path) -> PathBuf {
    cache.join("engines")
}

/// Folder of programs for every engine, such as the llama.cpp that `cargo xtask engines` gets.
pub fn programs(cache: &Path) -> PathBuf {
    engines(cache).join("bin")
}

/// Folder of an engine's environment, whole or not.
pub fn folder(cache: &Path, engine: &str) -> PathBuf {
    engines(cache).join(engine)
}

/// Folders of an environment that its Python imports packages from.
pub fn libraries(environment: &Path) -> Vec<PathBuf> {
    let pythons = fs::read_dir(environment.join("lib"));
    let pythons = pythons.into_iter().flatten().flatten();
    let libraries = pythons.map(|python| python.path().join("site-packages"));
    libraries.filter(|it| it.is_dir()).collect()
}

/// Every package in an environment with its version, sorted, by the folders in which Python
/// keeps what it knows of them: `mlx_lm-0.32.2.dist-info`.
pub fn versions(environment: &Path) -> Vec<String> {
    let libraries = libraries(environment).into_iter();
    let entries = libraries.flat_map(|it| fs::read_dir(it).into_iter().flatten().flatten());
    let of_entry = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let (name, version) = name
            .to_str()?
            .strip_suffix(".dist-info")?
            .rsplit_once('-')?;
        Some(format!("{}=={version}", normalised(name)))
    };
    let mut versions: Vec<_> = entries.filter_map(of_entry).collect();
    versions.sort();
    versions
}

/// The name of a package as it is compared: `mlx-lm` of `MLX_LM` (the "normalized name" of
/// the Python packaging specifications).
pub fn normalised(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_those_that_are_there() {
        let environment = tempfile::tempdir().expect("a folder");
        let packages = environment.path().join("lib/python3.11/site-packages");
        for folder in ["MLX_lm-0.32.2.dist-info", "mlx_lm", "a.b-1+cpu.dist-info"] {
            fs::create_dir_all(packages.join(folder)).expect("a folder");
        }
        assert_eq!(
            versions(environment.path()),
            ["a-b==1+cpu", "mlx-lm==0.32.2"]
        );
        assert_eq!(versions(&packages), [""; 0]);
    }
}
