//! Rules about the text of files.

use std::path::Path;

use super::{Finding, SourceFile};

/// Engines that core must not name: anything specific belongs in the plugin.
const ENGINES: [&str; 7] = [
    "llama.cpp",
    "llama-server",
    "vllm",
    "mlx",
    "candle",
    "sglang",
    "ollama",
];

/// Printing macros; in core only the command-line program may use them.
const PRINTING: [&str; 5] = ["println!(", "eprintln!(", "print!(", "eprint!(", "dbg!("];

const MODELINE: &str = "# yaml-language-server: $schema=";

pub(super) fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let path = file.path.as_str();

    let is_pipeline = path
        .strip_prefix("pipelines/")
        .is_some_and(|name| !name.contains('/') && has_extension(name, "yaml"));
    if is_pipeline && !file.text.starts_with(MODELINE) {
        findings.push(Finding::new(
            path,
            1,
            format!("the first line must be `{MODELINE}…`"),
        ));
    }

    if path.starts_with("core/") && path.contains("/src/") && has_extension(path, "rs") {
        for (number, line) in code_lines(path, &file.text) {
            let lower = line.to_lowercase();
            for engine in ENGINES.iter().filter(|engine| lower.contains(*engine)) {
                findings.push(Finding::new(
                    path,
                    number,
                    format!("core must not know the engine `{engine}`"),
                ));
            }
            if !path.starts_with("core/prony-cli/")
                && let Some(call) = PRINTING.iter().find(|call| contains_word(line, call))
            {
                let name = call.trim_end_matches('(');
                findings.push(Finding::new(
                    path,
                    number,
                    format!("`{name}` outside prony-cli"),
                ));
            }
        }
    }

    // Cargo itself writes the index's name into its lock file.
    if !path.ends_with("Cargo.lock") {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(host) = registry_host(line) {
                let message = format!("names the package registry's host `{host}`");
                findings.push(Finding::new(path, index + 1, message));
            }
            if let Some(folder) = machine_path(line) {
                let message = format!("names a folder of one machine, `{folder}`");
                findings.push(Finding::new(path, index + 1, message));
            }
        }
    }
    findings
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|found| found == extension)
}

/// The numbered lines of a Rust file that are neither comments nor tests. By convention a
/// file's unit tests come last, so everything after the mark is a test, unless the mark
/// precedes a single line such as `mod tests;`.
fn code_lines<'a>(path: &str, text: &'a str) -> Vec<(usize, &'a str)> {
    let mut code = Vec::new();
    if path.contains("/tests/") || path.ends_with("/tests.rs") {
        return code;
    }
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let start = line.trim_start();
        if start.starts_with("#[cfg(test)]") {
            if lines.next().is_some_and(|(_, next)| next.ends_with(';')) {
                continue;
            }
            break;
        }
        if !start.starts_with("//") {
            code.push((index + 1, line));
        }
    }
    code
}

/// Returns `true` if `line` contains `needle` other than as the end of a longer name.
fn contains_word(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// A host that serves packages. The choice is the machine's, and a name hard-coded here
/// would bypass a configured mirror.
fn registry_host(line: &str) -> Option<&str> {
    // Spelled in parts, since this file is checked too.
    const KINDS: [&str; 7] = [
        "registry", "index", "static", "files", "deb", "security", "ftp",
    ];
    const NAMES: [[&str; 2]; 4] = [
        ["pypi", "org"],
        ["crates", "io"],
        ["npmjs", "com"],
        ["npmjs", "org"],
    ];
    line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-'))
        .map(|word| word.trim_matches('.'))
        .find(|word| {
            let labels: Vec<&str> = word.split('.').collect();
            let [.., name, top] = labels[..] else {
                return false;
            };
            NAMES.contains(&[name, top])
                || (labels.len() > 2
                    && KINDS.contains(&labels[0])
                    && matches!(top, "org" | "io" | "net" | "com" | "dev"))
        })
}

/// A path that exists only on the author's machine.
fn machine_path(line: &str) -> Option<&str> {
    const FOLDERS: [&str; 4] = ["work", "root", "farm", "home"];
    // A path also starts after a colon (`src:/dest`) or an equals sign, but not within
    // another path, a variable or a URL.
    line.match_indices('/').find_map(|(at, _)| {
        let before = &line[..at];
        // A quote may open here, or close what this path continues.
        let unquoted = before
            .strip_suffix('"')
            .filter(|before| before.ends_with(char::is_alphanumeric));
        let before = unquoted.unwrap_or(before).chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || "/._-$}>*".contains(c)) {
            return None;
        }
        let rest = &line[at + 1..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))?;
        let folder = &rest[..end];
        // A placeholder such as the home folder of `you` or `$USER` belongs to no
        // machine.
        let next = rest[end..].strip_prefix('/')?;
        let placeholder = next.starts_with(['$', '<', '{', '*'])
            || next.starts_with("you")
            || next.starts_with("user");
        (FOLDERS.contains(&folder) && !placeholder).then(|| &line[at..=at + end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<(usize, String)> {
        let file = SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&file)
            .into_iter()
            .map(|finding| (finding.line, finding.message))
            .collect()
    }

    #[test]
    fn core_neither_prints_nor_knows_engines() {
        let text = "// for vLLM\nlet a = \"vLLM\";\nprintln!(\"x\");\nwriteln!(f);\n#[cfg(test)]\nprintln!(\"mlx\");\n";
        assert_eq!(
            findings("core/prony-plan/src/lib.rs", text),
            [
                (2, "core must not know the engine `vllm`".to_owned()),
                (3, "`println!` outside prony-cli".to_owned()),
            ]
        );
        assert_eq!(findings("core/prony-plan/src/tests.rs", text), []);
        assert_eq!(findings("plugins/engine-candle/src/lib.rs", text), []);
    }

    #[test]
    fn code_after_a_test_module_elsewhere_is_checked() {
        let text =
            "#[cfg(test)]\nmod tests;\nprintln!();\n#[cfg(test)]\nmod more {\nprintln!();\n}\n";
        let found = findings("core/prony-plan/src/lib.rs", text);
        assert_eq!(found, [(3, "`println!` outside prony-cli".to_owned())]);
    }

    #[test]
    fn pipelines_name_their_schema() {
        assert_eq!(
            findings(
                "pipelines/a.yaml",
                "# yaml-language-server: $schema=x\nversion: 1\n"
            ),
            []
        );
        assert_eq!(findings("pipelines/a.yaml", "version: 1\n").len(), 1);
        assert_eq!(findings("examples/a.yaml", "version: 1\n"), []);
    }

    #[test]
    fn registry_hosts_are_found() {
        for parts in [
            ["https://py", "pi.org/simple"],
            ["see crates", ".io."],
            ["http://deb.", "debian.org/x"],
        ] {
            assert!(registry_host(&parts.concat()).is_some(), "{parts:?}");
        }
        for line in [
            "source.crates-io",
            "github.com",
            "docs.example.org",
            "files.rs",
            "index.html",
        ] {
            assert_eq!(registry_host(line), None, "{line}");
        }
    }

    #[test]
    fn machine_paths_are_found() {
        for parts in [
            ["cd /wo", "rk/main"],
            ["\"/ro", "ot/.cache\""],
            ["x:/ho", "me/ann/y"],
        ] {
            assert!(machine_path(&parts.concat()).is_some(), "{parts:?}");
        }
        for line in [
            "$dest/root/usr",
            "\"$dest\"/bin/x",
            "a/work/b",
            "https://x/home/y",
            "/home/you/x",
            "/home/$USER/",
        ] {
            assert_eq!(machine_path(line), None, "{line}");
        }
    }
}
