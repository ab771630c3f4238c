use std::process::Output;

use super::*;

/// An archive with everything that the installer moves, in its own folder with its
/// checksum; its program prints `says`.
fn archive(folder: &Path, says: &str) -> PathBuf {
    let name = "prony-0.0.0-test";
    let stage = folder.join("stage").join(name);
    let program = format!("#!/bin/sh\necho {says}\n");
    let plugin = format!("lib/prony/plugins/{says}.wasm");
    for (file, text) in [
        ("bin/prony", program.as_str()),
        (&plugin, "a plugin"),
        ("lib/prony/plugins/prony.lock", "{}"),
        ("completions/prony.bash", "bash"),
        ("completions/_prony", "zsh"),
        ("completions/prony.fish", "fish"),
        ("pipelines/quickstart.yaml", "version: 1"),
        ("LICENSE-MIT", "MIT"),
    ] {
        write(&stage.join(file), text).expect("the folder is writable");
    }
    let archive = format!("{name}.tar.gz");
    pack(&stage, &folder.join(&archive), SystemTime::UNIX_EPOCH).expect("tar and gzip work");
    let sums = sums(folder, &[&archive]).expect("a checksum tool works");
    write(&folder.join("SHA256SUMS"), &sums).expect("the folder is writable");
    folder.join(archive)
}

/// Runs the installer with `prefix`.
fn installer(prefix: &Path, arguments: &[&std::ffi::OsStr]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install.sh");
    Command::new("sh")
        .arg(script)
        .arg("--prefix")
        .arg(prefix)
        .args(arguments)
        .output()
        .expect("there is a shell")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn runs(prefix: &Path) -> String {
    let output = Command::new(prefix.join("bin/prony"))
        .output()
        .expect("it is installed");
    text(&output.stdout)
}

/// All files below a folder, relative to it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    list(folder, &mut files).expect("the folder is readable");
    files
        .iter()
        .map(|file| file.strip_prefix(folder).unwrap_or(file).to_owned())
        .collect()
}

#[test]
fn an_archive_is_installed_replaced_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = folder.path().join("a prefix");
    let first = archive(&folder.path().join("first one"), "first");
    let second = archive(&folder.path().join("second one"), "second");

    let output = installer(&prefix, &[first.as_os_str()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(runs(&prefix), "first\n");
    let told = text(&output.stdout);
    assert!(
        told.contains(&format!("export PATH=\"{}/bin:$PATH\"", prefix.display())),
        "{told}"
    );

    // Files that only the first one had are gone.
    let output = installer(&prefix, &[second.as_os_str()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(runs(&prefix), "second\n");
    let mut installed = below(&prefix);
    installed.sort_unstable();
    let expected = [
        "bin/prony",
        "lib/prony/plugins/prony.lock",
        "lib/prony/plugins/second.wasm",
        "share/bash-completion/completions/prony",
        "share/fish/vendor_completions.d/prony.fish",
        "share/prony/LICENSE-MIT",
        "share/prony/pipelines/quickstart.yaml",
        "share/zsh/site-functions/_prony",
    ];
    assert_eq!(installed, expected.map(PathBuf::from));

    write(&prefix.join("bin/other"), "").expect("the prefix is writable");
    let output = installer(&prefix, &["--uninstall".as_ref()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(below(&prefix), [PathBuf::from("bin/other")]);
    let output = installer(&prefix, &["--uninstall".as_ref()]);
    assert!(!output.status.success());
}

#[test]
fn an_archive_that_was_changed_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = folder.path().join("prefix");
    let good = archive(&folder.path().join("good"), "good");
    let bad = archive(&folder.path().join("bad"), "bad");
    assert!(installer(&prefix, &[good.as_os_str()]).status.success());

    let mut bytes = fs::read(&bad).expect("it was written");
    bytes[20] ^= 1;
    fs::write(&bad, bytes).expect("it can be written");
    let output = installer(&prefix, &[bad.as_os_str()]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("not installed"));
    assert_eq!(runs(&prefix), "good\n", "what was there stays");

    fs::write(bad.with_file_name("SHA256SUMS"), "").expect("it can be written");
    let output = installer(&prefix, &[bad.as_os_str()]);
    assert!(text(&output.stderr).contains("does not list"));
    fs::remove_file(bad.with_file_name("SHA256SUMS")).expect("it exists");
    let output = installer(&prefix, &[bad.as_os_str()]);
    assert!(text(&output.stderr).contains("cannot be verified"));
}

#[test]
fn packing_twice_gives_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = archive(&folder.path().join("one"), "same");
    let two = archive(&folder.path().join("two"), "same");
    let read = |file| fs::read(file).expect("it was written");
    assert!(read(one) == read(two), "the archives differ");
}

#[test]
fn a_release_fills_in_its_address() {
    let script = include_str!("../../scripts/install.sh");
    let filled = with_url(script, "https://example.org/v1");
    assert!(filled.contains("\nurl='https://example.org/v1'\n"));
}

#[test]
fn the_newest_glibc_is_found() {
    assert_eq!(
        glibc(b"a\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0"),
        Some((2, 34))
    );
    assert_eq!(glibc(b"GLIBC_PRIVATE\0GLIBC_"), None);
}
