//! Names that come from outside and become parts of paths.

use crate::{Error, Result};

/// Most bytes of a part of a path.
const MAX_PART: usize = 255;

/// Checks the id of a model: `name` or `organisation/name`.
/// <https://huggingface.co/docs/huggingface_hub/package_reference/utilities#huggingface_hub.utils.validate_repo_id>
pub(crate) fn check_id(id: &str) -> Result<()> {
    let is_part = |part: &str| {
        (1..=96).contains(&part.len())
            && part
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("--")
            && !part.contains("..")
    };
    if id.split('/').count() <= 2 && id.split('/').all(is_part) {
        return Ok(());
    }
    Err(Error::Name {
        kind: "model",
        name: id.to_owned(),
        expected: "expected `organisation/name` of letters, digits, `-`, `_` and `.`",
    })
}

/// Checks a path below a folder: a file's name, or a revision.
pub(crate) fn check_path(kind: &'static str, path: &str) -> Result<()> {
    let is_part = |part: &str| {
        (1..=MAX_PART).contains(&part.len())
            && part != "."
            && part != ".."
            && !part.contains('\\')
            && !part.chars().any(char::is_control)
    };
    if path.split('/').all(is_part) {
        return Ok(());
    }
    Err(Error::Name {
        kind,
        name: path.to_owned(),
        expected: "expected a path without empty parts, `.`, `..`, `\\` and control characters",
    })
}

/// `true` for a commit as the hub names it.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hexadecimal(text)
}

pub(crate) fn is_hexadecimal(text: &str) -> bool {
    text.bytes()
        .all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it))
}

/// `true` if both are parts of one split GGUF file and `first` is the first:
/// `NAME-00001-of-00003.gguf`.
pub(crate) fn is_next_part(first: &str, other: &str) -> bool {
    let part = |name: &str| -> Option<(String, u32, u32)> {
        let (rest, total) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let is_number = |it: &str| it.len() == 5 && it.bytes().all(|it| it.is_ascii_digit());
        let (number, total) = (is_number(number) && is_number(total)).then_some((number, total))?;
        Some((stem.to_owned(), number.parse().ok()?, total.parse().ok()?))
    };
    match (part(first), part(other)) {
        (Some((stem, 1, total)), Some((of, number, its_total))) => {
            stem == of && total == its_total && number > 1
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_hub() {
        for id in ["gpt2", "Qwen/Qwen2.5-0.5B-Instruct-GGUF", "a/b_c.d"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in [
            "", "/", "a/", "/b", "a/b/c", "../b", "a/..", "a/.b", "a b/c", "a/b--c", "a/b\n",
            "a\\b", "-a/b",
        ] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn paths_stay_below_their_folder() {
        for path in ["a", "a/b.json", "refs/pr/1", "ä.txt", "..a"] {
            assert!(check_path("file", path).is_ok(), "{path}");
        }
        for path in [
            "",
            "/a",
            "a//b",
            "a/../b",
            ".",
            "a/",
            "a\\b",
            "a\0",
            "a\u{1b}[m",
        ] {
            assert!(check_path("file", path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn parts_of_a_split_file_belong_together() {
        let first = "m-q4-00001-of-00003.gguf";
        assert!(is_next_part(first, "m-q4-00002-of-00003.gguf"));
        for other in [
            "m-q4-00001-of-00003.gguf",
            "m-q8-00002-of-00003.gguf",
            "m-q4-00002-of-00004.gguf",
            "config.json",
        ] {
            assert!(!is_next_part(first, other), "{other}");
        }
        assert!(!is_next_part(
            "m-q4-00002-of-00003.gguf",
            "m-q4-00003-of-00003.gguf"
        ));
    }
}
