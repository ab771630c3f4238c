//! The fuzz targets, and where their seeds come from.

use std::path::Path;

use super::FOLDER;

/// A program of the fuzz crate, named after its file.
pub(super) struct Target {
    pub(super) name: &'static str,
    /// Beginnings of the paths of its seeds, beside `fuzz/seeds/NAME/`.
    seeds: &'static [&'static str],
    /// Ends of their names, after the last dot; any if there are none.
    extensions: &'static [&'static str],
    /// Maximum length of an input, in bytes: several times the longest example.
    pub(super) max_len: usize,
    /// `true` if there is a file of words for it.
    pub(super) has_dictionary: bool,
}

/// All of them, in the order in which they run.
pub(super) const TARGETS: [Target; 11] = [
    Target {
        name: "pipeline",
        seeds: &["core/prony-config/tests/", "pipelines/", "examples/"],
        extensions: &["yaml", "yml"],
        max_len: 16 << 10,
        has_dictionary: true,
    },
    Target {
        name: "importers",
        seeds: &["plugins/prony-importers/"],
        extensions: &["yaml"],
        max_len: 8 << 10,
        has_dictionary: false,
    },
    Target {
        name: "journal",
        seeds: &["core/prony-journal/tests/fixtures/"],
        extensions: &["jsonl"],
        max_len: 32 << 10,
        has_dictionary: false,
    },
    Target {
        name: "history",
        seeds: &[],
        extensions: &[],
        max_len: 16 << 10,
        has_dictionary: false,
    },
    Target {
        name: "answers",
        seeds: &[],
        extensions: &[],
        max_len: 8 << 10,
        has_dictionary: false,
    },
    Target {
        name: "http",
        seeds: &["core/prony-cli/tests/it/streams/"],
        extensions: &["http"],
        max_len: 8 << 10,
        has_dictionary: false,
    },
    Target {
        name: "stdio",
        seeds: &["plugins/engine-lines/fixtures/"],
        extensions: &["body"],
        max_len: 8 << 10,
        has_dictionary: false,
    },
    Target {
        name: "decoders",
        seeds: &[
            "plugins/engine-lines/fixtures/",
            "plugins/engine-openai/fixtures/",
        ],
        extensions: &["body", "sse"],
        max_len: 8 << 10,
        has_dictionary: false,
    },
    Target {
        name: "events",
        seeds: &[],
        extensions: &[],
        max_len: 4 << 10,
        has_dictionary: false,
    },
    Target {
        name: "dataset",
        seeds: &["examples/"],
        extensions: &["jsonl"],
        max_len: 8 << 10,
        has_dictionary: false,
    },
    Target {
        name: "models",
        seeds: &["core/prony-cli/tests/it/mlx/"],
        extensions: &["json"],
        max_len: 16 << 10,
        has_dictionary: false,
    },
];

impl Target {
    /// Returns `true` for the path of a seed, relative to the repository.
    pub(super) fn is_seed(&self, path: &str) -> bool {
        let extension = Path::new(path).extension().and_then(|it| it.to_str());
        let is_like_them = extension.is_some_and(|it| self.extensions.contains(&it));
        path.starts_with(&format!("{FOLDER}/seeds/{}/", self.name))
            || (is_like_them && self.seeds.iter().any(|start| path.starts_with(start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_found_by_folder_and_kind() {
        let pipeline = &TARGETS[0];
        assert!(pipeline.is_seed("pipelines/quickstart.yaml"));
        assert!(pipeline.is_seed("fuzz/seeds/pipeline/keys.yaml"));
        assert!(!pipeline.is_seed("pipelines/fetch-smollm2.sh"));
        assert!(!pipeline.is_seed("fuzz/seeds/models/tiny.gguf"));
    }
}
